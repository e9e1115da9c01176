"""``project.toml``: what a person may read and change by hand."""

from __future__ import annotations

import dataclasses
import json
import shlex
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.params import SegmentParams
from cellbrook.errors import ProjectError, UsageError
from cellbrook.io.atomic import atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

SCHEMA = 1
FILE = "project.toml"


@dataclass(frozen=True, slots=True)
class ClassInfo:
    """A class that objects can have.

    Parameters
    ----------
    id : int
        From 1; 1 to 9 have keys in the workspace.
    name : str
        What it is called.
    color : str
        "#rrggbb".
    """

    id: int
    name: str
    color: str = "#888888"


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """What holds for all images of a project.

    Parameters
    ----------
    name : str
        What people call it.
    channels : str or None
        Channels that are segmented, as `cellbrook segment --channels`. None: all.
    axes : str or None
        What the images' dimensions are. None: from their metadata.
    pixel_size : float or None
        Side of a pixel in micrometres. None: from the metadata.
    z : str or None
        "max", "mean" or a plane's number. None: each plane by itself.
    model : str
        The active model: the name of one in ``models/``, or of one that is shipped or installed.
    classes : tuple of ClassInfo
        Classes of objects.
    """

    name: str
    channels: str | None = None
    axes: str | None = None
    pixel_size: float | None = None
    z: str | None = None
    model: str = "compact"
    classes: tuple[ClassInfo, ...] = field(default=())


SHAPING = ("axes", "z")
"""Settings that decide of what shape labels are: they stay once there are images."""

COLORS = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999", "#8c6bb1",
)  # fmt: skip
"""Of classes that nobody gave a colour; colour-blind eyes tell them apart."""


_OF_IMAGES = ("channels", "axes", "pixel_size", "z")
"""Settings that are parameters of a segmentation, too."""


def settings_of(given: Mapping[str, Any]) -> ProjectSettings:
    """Return settings of what a person gave: numbers may stand for text, and a list for channels, as in `cellbrook.segment`.

    Raises
    ------
    UsageError
        If one is unknown, is of the wrong type or makes no sense.

    Examples
    --------
    >>> settings_of({"name": "plate", "channels": [0, 2], "z": 5}).channels
    '0,2'
    """
    known = [f.name for f in dataclasses.fields(ProjectSettings)]
    if unknown := sorted(set(given) - set(known)):
        raise UsageError(f"unknown setting {unknown[0]!r} of a project: known are {', '.join(known)}")
    plain = dict(given)
    if isinstance(channels := plain.get("channels"), list | tuple | range | np.ndarray):
        plain["channels"] = ",".join(map(str, channels))
    params = SegmentParams.from_keywords(**{n: plain[n] for n in _OF_IMAGES if n in plain})
    plain |= {n: getattr(params.input_params, n) for n in _OF_IMAGES}
    plain["classes"] = _checked_classes(plain.get("classes", ()))
    for name in ("name", "model"):
        if not isinstance(plain.get(name, ""), str):
            raise UsageError(f"the {name} of a project is text, got {plain[name]!r}")
    return ProjectSettings(**plain)


def _checked_classes(classes: Any) -> tuple[ClassInfo, ...]:
    if not isinstance(classes, list | tuple) or not all(isinstance(c, ClassInfo) for c in classes):
        raise UsageError(f"classes are a list of ClassInfo, got {classes!r}")
    if not all(isinstance(text, str) for c in classes for text in (c.name, c.color)):
        raise UsageError("names and colours of classes are text")
    ids = [c.id for c in classes]
    if not all(isinstance(i, int) and 0 < i < 256 for i in ids) or len(set(ids)) < len(ids):
        raise UsageError(f"classes have different ids from 1 to 255, got {ids}")
    return tuple(classes)


def advice(folder: Path, errors: Iterable[str]) -> list[str]:
    """Return how to follow errors that name options of `cellbrook segment` which hold for all images of a project."""
    said = " ".join(errors)
    found = []
    if "--axes" in said:
        found.append("axes hold for all images of a project: cellbrook project create NEW IMAGES --axes AXES")
    if "--channels" in said:
        place = shlex.quote(str(folder))
        found.append(
            f"channels hold for all images of a project: cellbrook project set {place} --channels 0,1"
        )
    return found


def with_classes(known: Sequence[ClassInfo], names: Iterable[str]) -> tuple[ClassInfo, ...]:
    """Return classes with those added whose names are new.

    Raises
    ------
    UsageError
        If there would be more than 255.

    Examples
    --------
    >>> [(c.id, c.name) for c in with_classes((ClassInfo(2, "Tumor"),), ["Stroma", "Tumor", "Immune"])]
    [(2, 'Tumor'), (1, 'Stroma'), (3, 'Immune')]
    """
    classes = list(known)
    for name in dict.fromkeys(names):
        if name in {c.name for c in classes}:
            continue
        number = next((i for i in range(1, 256) if i not in {c.id for c in classes}), None)
        if number is None:
            raise UsageError(f"a project has at most 255 classes: there is no room for {name!r}")
        classes.append(ClassInfo(number, name, COLORS[(number - 1) % len(COLORS)]))
    return tuple(classes)


def write_settings(folder: Path, settings: ProjectSettings) -> None:
    """Write ``project.toml``, whole or not at all."""
    lines = [f"schema = {SCHEMA}"]
    for entry in dataclasses.fields(settings):
        value = getattr(settings, entry.name)
        if entry.name != "classes" and value is not None:
            lines.append(f"{entry.name} = {_toml(value)}")
    for item in settings.classes:
        lines += ["", "[[classes]]", *(f"{k} = {_toml(v)}" for k, v in dataclasses.asdict(item).items())]
    with atomic(folder / FILE) as target:
        target.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_settings(folder: Path) -> ProjectSettings:
    """Read ``project.toml``.

    Raises
    ------
    ProjectError
        If it is missing, damaged, or of a later version.
    """
    path = folder / FILE
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ProjectError(
            f"{folder} is not a project: there is no {FILE} in it; make one with `cellbrook project create {folder}`"
        ) from None
    except OSError as error:
        raise ProjectError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ProjectError(
            f"{path}: not TOML as Cellbrook writes it: {' '.join(str(error).split())}"
        ) from error
    schema = table.pop("schema", None)
    if not isinstance(schema, int):
        raise ProjectError(f"{path}: says no schema version: is it another program's file?")
    if schema > SCHEMA:
        raise ProjectError(
            f"{folder} has schema {schema}, this version of Cellbrook knows {SCHEMA}: update Cellbrook to open it"
        )
    try:
        table["classes"] = tuple(ClassInfo(**entry) for entry in table.get("classes", ()))
        return settings_of(table)
    except (TypeError, UsageError) as error:
        raise ProjectError(f"{path}: {error}") from error


def _toml(value: str | float | int) -> str:
    # a JSON string is a TOML string, but for the one character that JSON leaves unescaped
    return (
        json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        if isinstance(value, str)
        else repr(value)
    )
