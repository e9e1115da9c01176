"""What the page and the server say to each other: the Python half of ``frontend/src/core/wire.ts``.

``design/0005-wire.md`` explains it; a test compares the field names of the two halves.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct, field

PROTOCOL = 1
TILE = 512
LARGEST_MESSAGE = 4 * 2**20
"""Bytes of a message from the page; a stroke is below 1 kB, 100,000 ids below 1 MB."""
FOLDER = "application/x-cellbrook-folder"
"""Type of a part of an upload that is an OME-Zarr folder: a line of JSON, ``[[path, bytes], ...]``, then the contents."""

Box = tuple[int, int, int, int]
Point = tuple[float, float]
Mode = Literal["overwrite", "keep", "inside"]
JobKind = Literal[
    "segment", "rethreshold", "limits", "train", "evaluate", "suggest", "batch", "again", "agreement"
]
JobState = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
EditKind = Literal[
    "paint",
    "merge",
    "delete",
    "relabel",
    "set_class",
    "lock",
    "split",
    "interpolate",
    "accept",
    "prompt",
    "region",
    "batch",
]


class ChannelInfo(Struct, kw_only=True):
    """A channel, with the range in which it is shown at first, in raw units."""

    index: int
    name: str
    color: str
    low: float
    high: float
    min: float
    max: float


class ImageInfo(Struct, kw_only=True):
    """An image; `channels` is empty in lists until it was opened once."""

    id: str
    name: str
    state: str
    axes: str = "YX"
    shape: tuple[int, int] = (0, 0)
    z: int = 1
    t: int = 1
    channels: list[ChannelInfo] = field(default_factory=list)
    pixel_bits: Literal[8, 16] = 8
    value_scale: float = 1.0
    value_offset: float = 0.0
    pixel_size_um: float | None = None
    levels: int = 1
    rev: int = 0
    objects: int = 0
    score: float | None = None
    limits: dict[str, Any] | None = None
    model: str | None = None
    volume: bool = False
    joined: bool = False
    z_step: float = 1.0
    problem: str | None = None
    again: bool = False
    pixels: str = ""


class ClassInfo(Struct, kw_only=True):
    """A class that objects can be given."""

    id: int
    name: str
    color: str


class ModelInfo(Struct, kw_only=True):
    """A model that can be chosen."""

    name: str
    title: str
    active: bool
    note: str


class Round(Struct, kw_only=True):
    """A round of training, with its scores on what was held back."""

    name: str
    ap_before: float | None
    ap_after: float | None
    frozen_before: float | None
    frozen_after: float | None
    objects: int
    active: bool
    words: list[str]


class ProjectInfo(Struct, kw_only=True):
    """A project; `Project` on the wire."""

    name: str
    path: str
    classes: list[ClassInfo]
    models: list[ModelInfo]
    model: str
    images: list[ImageInfo]
    rounds: list[Round]
    sample: bool
    read_only: bool


class JobInfo(Struct, kw_only=True):
    """A job; `Job` on the wire."""

    id: str
    kind: str
    image: str | None
    state: JobState
    done: int = 0
    total: int = 0
    message: str = ""
    eta_s: float | None = None
    stopping: bool = False
    ended: bool = False
    error: str | None = None
    hint: str | None = None
    result: dict[str, Any] | None = None


ObjectRow = dict[str, Any]
"""``{id, ...}`` with the columns of `OBJECT_COLUMNS` but "class_given", or ``{id, gone: true}``."""

OBJECT_COLUMNS = (
    "id", "plane", "y0", "x0", "y1", "x1", "area", "class", "class_given", "origin", "locked", "score", "flow_error",
    "discarded", "reason",
)  # fmt: skip


class ToServer(Struct, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """What a page may say."""


class Hello(ToServer, tag="hello"):
    """First; `client` names the browser's tab, so that what it sends again after a lost connection is known as its own."""

    protocol: int
    client: str = ""


class Open(ToServer, tag="open"):
    """The page now shows this plane of this image."""

    image: str
    plane: int


class RegionShape(Struct, kw_only=True, forbid_unknown_fields=True):
    """A region as it is drawn; `DrawnRegion` on the wire. Its polygons are outlines, each with the holes in it."""

    id: str
    name: str
    polygons: list[list[list[Point]]]


class EditPart(Struct, kw_only=True, forbid_unknown_fields=True):
    """One of several edits that are done, and undone, as one."""

    plane: int
    kind: EditKind
    label: int | None = None
    runs: bytes | None = None
    mode: Mode = "overwrite"
    ids: list[int] | None = None
    value: float | None = None
    line: list[Point] | None = None


class Edit(ToServer, tag="edit"):
    """A change of the document."""

    op_id: str
    image: str
    plane: int
    base_rev: int
    kind: EditKind
    label: int | None = None
    box: Box | None = None
    runs: bytes | None = None
    mode: Mode = "overwrite"
    ids: list[int] | None = None
    value: float | None = None
    line: list[Point] | None = None
    regions: list[RegionShape] | None = None
    parts: list[EditPart] | None = None


class Undo(ToServer, tag="undo"):
    """Take back this user's last change of an image."""

    image: str


class Redo(ToServer, tag="redo"):
    """Do it again."""

    image: str


class Lease(ToServer, tag="lease"):
    """Ask for fresh ids to draw with."""

    image: str
    count: int


class Submit(ToServer, tag="submit"):
    """Start a job."""

    kind: JobKind
    image: str | None
    params: dict[str, Any]


class Cancel(ToServer, tag="cancel"):
    """Stop a job."""

    job: str


class Set(ToServer, tag="set"):
    """Change a setting of the project, or the state of an image."""

    what: Literal["classes", "model", "state", "name", "pixel_size_um"]
    value: Any


class Ping(ToServer, tag="ping"):
    """Answered at once with the same number."""

    t: float


class FromServer(Struct, kw_only=True, tag_field="type"):
    """What the server may say."""


class Welcome(FromServer, tag="welcome"):
    """Answers hello."""

    protocol: int
    user: str
    project: ProjectInfo


class Opened(FromServer, tag="opened"):
    """Answers open, with ids to draw with (first to last, both included)."""

    image: str
    plane: int
    rev: int
    first_id: int
    last_id: int


class Ack(FromServer, tag="ack"):
    """An edit is in the log."""

    op_id: str
    image: str
    rev: int
    objects: list[ObjectRow]


class Reject(FromServer, tag="reject"):
    """An edit was refused and changed nothing; these tiles have newer pixels."""

    op_id: str
    image: str
    rev: int
    tiles: list[tuple[int, int]]
    reason: str


class Patch(FromServer, tag="patch"):
    """Pixels, objects or regions changed by somebody else, by undo or redo, or by a job."""

    image: str
    plane: int
    rev: int
    by: str
    runs: bytes | None = None
    tiles: list[tuple[int, int]] = field(default_factory=list)
    objects: list[ObjectRow] = field(default_factory=list)
    regions: bool = False


class Leased(FromServer, tag="leased"):
    """Answers lease."""

    image: str
    first_id: int
    last_id: int


class JobMessage(FromServer, tag="job"):
    """A job moved on."""

    job: JobInfo


class ImageMessage(FromServer, tag="image"):
    """An image changed its state, or became known better."""

    image: ImageInfo


class ProjectMessage(FromServer, tag="project"):
    """Settings or the list of images changed."""

    project: ProjectInfo


class Notice(FromServer, tag="notice"):
    """Something to tell the user, and what to do about it."""

    level: Literal["info", "warning", "error"]
    message: str
    hint: str = ""


class Pong(FromServer, tag="pong"):
    """Answers ping."""

    t: float


AnyToServer = Hello | Open | Edit | Undo | Redo | Lease | Submit | Cancel | Set | Ping

_decoder = msgspec.msgpack.Decoder(AnyToServer)
_encoder = msgspec.msgpack.Encoder()


def decode(data: bytes) -> AnyToServer:
    """Read a message of the page.

    Raises
    ------
    msgspec.MsgspecError
        If it is none; the text says what is wrong.
    """
    message: AnyToServer = _decoder.decode(data)
    return message


def encode(message: FromServer) -> bytes:
    """Write a message for the page."""
    return _encoder.encode(message)
