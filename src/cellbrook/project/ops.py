"""Edits: what a person, a model or an import does to labels. Plain values; `OpLog.apply` carries them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from cellbrook.core.objects import ObjectTable
    from cellbrook.project.objects import ObjectRow, Origin
    from cellbrook.project.regions import Region

Mode = Literal["overwrite", "keep", "inside"]

MODEL_RUNS = ("predict", "rethreshold", "segment", "window")
"""What the log calls results of a model."""

REGION = "region"
"""What the log calls edits of regions: they say nothing of how far an image is."""


@dataclass(frozen=True, slots=True)
class Paint:
    """Give pixels to an object, or take them away.

    Parameters
    ----------
    label : int
        The object, which was leased; 0 erases.
    runs : array-like of shape (n, 3)
        Rows ``y, x0, x1`` (half-open). What lies outside the image is cut off.
    plane : int
        From 0.
    mode : {"overwrite", "keep", "inside"}
        Take pixels from others; keep others' pixels as they are; write only pixels of the objects `inside`.
    inside : tuple of int
        For mode "inside"; 0 is background.
    """

    label: int
    runs: ArrayLike
    plane: int = 0
    mode: Mode = "overwrite"
    inside: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Merge:
    """Make one object of several: the first of `ids` takes the others' pixels."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """Make objects background."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Relabel:
    """Give an object another id, one that was leased and is not in use."""

    old: int
    new: int


@dataclass(frozen=True, slots=True)
class SetClass:
    """Give objects a class; 0 takes it away."""

    ids: tuple[int, ...]
    class_id: int


@dataclass(frozen=True, slots=True)
class Lock:
    """Lock objects, so that nothing changes them, or unlock them."""

    ids: tuple[int, ...]
    locked: bool = True


@dataclass(frozen=True, slots=True)
class Split:
    """Cut an object along a line, and the largest piece keeps the id; or between two planes of a z-stack.

    Parameters
    ----------
    id : int
        The object.
    points : tuple of (y, x)
        Corners of the line, in pixels. Empty: the cut lies between planes, and what is in `plane` and behind it, at
        that time, gets another id.
    plane : int
        From 0.
    """

    id: int
    points: tuple[tuple[float, float], ...]
    plane: int = 0


@dataclass(frozen=True, slots=True)
class Interpolate:
    """Give objects the planes that they skip between two in which they lie, in the shape between; other objects stay."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Replace:
    """Put a model's result, or an import, in the place of what was there.

    What is protected stays, and the new objects are cut back where they meet it; a new object that loses more than half
    that way is left out, and of one that falls to pieces the largest stays. A new object keeps the id of an old one that it
    overlaps by more than half (IoU), so that running again changes little. An object to which a person gave a class stays
    where no new one takes its place. What a person deleted, a model does not bring back, unless all of its objects were
    deleted at once: that is to start anew.

    Parameters
    ----------
    labels : ndarray of shape (planes, h, w) or (h, w), integer
        Any numbers; 0 is background.
    objects : ObjectTable or None
        Rows by ``label``; ``score, flow_error, cellprob, class`` are kept. With a column ``plane``, a row holds in that
        plane only, or, of -1, in all.
    planes : tuple of int
        Which planes they are.
    y0, x0 : int
        Where the window lies. Objects that an inner border of the window cuts are left out, and old objects that reach
        out of the window stay.
    protect : bool
        True: locked objects and those touched by hand stay, and deleted ones stay away. False: only locked ones stay.
    origin : {"auto", "manual", "edited"}
        Of the new objects.
    kind : str
        What the log calls it, such as "predict" or "import".
    """

    labels: NDArray[Any]
    objects: ObjectTable | None = None
    planes: tuple[int, ...] = (0,)
    y0: int = 0
    x0: int = 0
    protect: bool = True
    origin: Origin = "auto"
    kind: str = "predict"


@dataclass(frozen=True, slots=True)
class SetPixels:
    """Put the pixels of a window exactly so; ids must have been leased. For merging copies, and for recipes of one's own.

    Parameters
    ----------
    mask : ndarray of shape (h, w), bool
        Which pixels are written.
    labels : ndarray of shape (h, w), uint32
        What they become.
    plane, y0, x0 : int
        Where the window lies.
    rows : tuple of ObjectRow
        What objects of these ids and planes are then, apart from their boxes and areas. Of others, as after painting.
    """

    mask: NDArray[np.bool_]
    labels: NDArray[np.uint32]
    plane: int = 0
    y0: int = 0
    x0: int = 0
    rows: tuple[ObjectRow, ...] = ()


@dataclass(frozen=True, slots=True)
class SetRegion:
    """Draw a region, give it another name or shape, or, with no polygons, take it away. Labels stay as they are."""

    region: Region


@dataclass(frozen=True, slots=True)
class Batch:
    """Several edits as one: one revision, one undo.

    Parameters
    ----------
    ops : tuple
        Done in this order.
    kind : str
        What the log calls it.
    """

    ops: tuple[Op, ...]
    kind: str = "batch"


Op = (
    Paint
    | Merge
    | Delete
    | Relabel
    | SetClass
    | Lock
    | Split
    | Interpolate
    | Replace
    | SetPixels
    | SetRegion
    | Batch
)


def kind_of(op: Op) -> str:
    """Return what the log calls an edit."""
    if isinstance(op, Replace | Batch):
        return op.kind
    if isinstance(op, SetClass):
        return "set_class"
    if isinstance(op, SetRegion):
        return REGION
    return "erase" if isinstance(op, Paint) and op.label == 0 else type(op).__name__.lower()
