"""Classes that people gave to objects: read from the object table beside a label file."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellbrook.errors import CellbrookError, ImageError
from cellbrook.export.table import read_text
from cellbrook.io.files import OUTPUT_ENDINGS, stem_of
from cellbrook.io.hashing import sha256_of
from cellbrook.io.pairs import image_id, mark_of

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)


def read_classes(labels: Any, *, given: bool = False) -> dict[int, str] | None:
    """Return the class of each label from the ``*_objects.csv`` beside a label file; None without such a table.

    Of ``x_img_labels.tif`` that is ``x_img_objects.csv``, or ``x_objects.csv``, with columns ``label`` and ``class``, as
    Cellbrook, a person or a spreadsheet wrote it. Objects without a class are left out. A warning is logged for a table that
    cannot be read.

    Parameters
    ----------
    labels : Path or anything
        What is no path has no classes.
    given : bool
        Take no table that a model's run wrote and nobody has changed since: its classes are the model's.
    """
    frames = classes_by_frame(labels, given=given)
    return None if frames is None else of_frame(frames, None)


def classes_by_frame(labels: Any, *, given: bool = False) -> dict[int | None, dict[int, str]] | None:
    """Return what `read_classes` does for each time point of a time series, whose objects may have a class in each.

    Returns
    -------
    dict of int to dict of int to str, or None
        By the number in the column ``t``, or by None where there is no such column; see `of_frame`.
    """
    if not isinstance(labels, Path):
        return None
    for path in object_tables(labels):
        if given and _of_a_model(path):
            continue
        try:
            classes = _classes(path)
        except CellbrookError as error:
            log.warning("no classes are taken from a table: %s", error)
            continue
        if classes is not None:
            return classes
    return None


def of_frame(frames: Mapping[int | None, Mapping[int, str]], t: int | None) -> dict[int, str]:
    """Return the class of each label of a time point, out of `classes_by_frame`; None: of labels without any."""
    chosen = frames.values() if t is None else (frames.get(None, {}), frames.get(t, {}))
    return {label: name for classes in chosen for label, name in classes.items()}


def class_names(labels: Path) -> set[str]:
    """Return the classes that occur in the table beside a label file; none if there is no table that can be read.

    Parameters
    ----------
    labels : Path
        The label file.
    """
    for path in object_tables(labels):
        try:
            columns = read_text(path)
        except CellbrookError:
            continue
        if "class" in columns:
            return {*columns["class"]} - {""}
    return set()


def object_tables(labels: Path) -> list[Path]:
    """Return the tables beside a label file that tell of its objects, those of its own name first.

    Parameters
    ----------
    labels : Path
        The label file. For ``x_img_labels.tif`` a table may be ``x_img_labels_objects.csv``, ``x_img_objects.csv`` or
        ``x_objects.csv``.
    """
    stem = stem_of(labels)
    names = dict.fromkeys((stem, stem.removesuffix(mark_of(stem)), image_id(labels.name)))
    tables = (labels.parent / f"{name}{OUTPUT_ENDINGS['objects']}" for name in names)
    return [path for path in tables if path.exists()]


def as_label(text: str, path: Path) -> int:
    """Return the label in a cell of a table; a spreadsheet may have made 7.0 of it.

    Raises
    ------
    ImageError
        If it is no whole number.
    """
    try:
        value = float(text)
        if value.is_integer():
            return int(value)
    except ValueError:
        pass
    raise ImageError(f"{path}: expected a whole number as label, got {text!r}")


def _classes(table: Path) -> dict[int | None, dict[int, str]] | None:
    """Return the class of each label that has one, by time point; None if the table does not tell of classes."""
    columns = read_text(table)
    if "class" not in columns:
        return None
    if "label" not in columns:
        raise ImageError(f"{table}: has a column class, but no column label")
    times = columns.get("t") or [""] * len(columns["label"])
    frames: dict[int | None, dict[int, str]] = {}
    for label, t, name in zip(columns["label"], times, columns["class"], strict=True):
        if label:
            own = frames.setdefault(as_label(t, table) if t else None, {})
            own |= {as_label(label, table): name} if name else {}
    return frames


def _of_a_model(table: Path) -> bool:
    run = table.with_name(table.name.removesuffix(OUTPUT_ENDINGS["objects"]) + OUTPUT_ENDINGS["run"])
    try:
        document = json.loads(run.read_text(encoding="utf-8"))
        return "model" in document and bool(document["files"]["objects"]["sha256"] == sha256_of(table))
    except (OSError, ValueError, KeyError, TypeError):
        return False
