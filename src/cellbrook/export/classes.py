"""Classes that people gave to objects: read from the object table beside a label file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cellbrook.errors import CellbrookError
from cellbrook.export.table import read_csv
from cellbrook.io.files import OUTPUT_ENDINGS
from cellbrook.io.hashing import sha256_of
from cellbrook.io.pairs import MARKS, image_id


def read_classes(labels: Any, *, complete: bool = False, given: bool = False) -> dict[int, str] | None:
    """Return the class of each label from the ``*_objects.csv`` beside a label file; None without such a table.

    Of ``x_img_labels.tif`` that is ``x_img_objects.csv``, or ``x_objects.csv``, with columns ``label`` and ``class``.

    Parameters
    ----------
    labels : Path or anything
        What is no path has no classes.
    complete : bool
        Take a table only if every object in it has a class. Else objects without one are left out.
    given : bool
        Take no table that a model's run wrote and nobody has changed since: its classes are the model's.
    """
    if not isinstance(labels, Path):
        return None
    stem = labels.stem.removesuffix(".ome")
    bare = next((stem.removesuffix(mark) for mark in MARKS if stem.endswith(mark)), stem)
    for name in dict.fromkeys((stem, bare, image_id(labels.name))):
        path = labels.parent / f"{name}_objects.csv"
        if not path.exists() or (given and _of_a_model(path)):
            continue
        try:
            columns = read_csv(path)
        except CellbrookError:
            continue
        if "label" in columns and "class" in columns:
            pairs = zip(columns["label"].tolist(), columns["class"].tolist(), strict=True)
            classes = {int(label): _name(value) for label, value in pairs if label == label}
            if complete and "" in classes.values():
                continue
            return {label: name for label, name in classes.items() if name}
    return None


def _of_a_model(table: Path) -> bool:
    run = table.with_name(table.name.removesuffix(OUTPUT_ENDINGS["objects"]) + OUTPUT_ENDINGS["run"])
    try:
        document = json.loads(run.read_text(encoding="utf-8"))
        return "model" in document and bool(document["files"]["objects"]["sha256"] == sha256_of(table))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _name(value: Any) -> str:
    """Return a class as it was written: a column of numbers with gaps was read as one of floats."""
    if isinstance(value, float):
        return "" if value != value else f"{value:g}"
    return str(value)
