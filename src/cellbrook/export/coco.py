"""COCO annotations with run-length masks."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import ImageError
from cellbrook.export._layout import class_ids, classes_of, row_finder
from cellbrook.export.polygons import Polygon, Shape, polygons_to_labels
from cellbrook.io.writers import atomic
from cellbrook.measure import measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellbrook.core.objects import ObjectTable


def write_coco(
    path: str | Path,
    labels: NDArray[Any],
    objects: ObjectTable | None = None,
    *,
    axes: str | None = None,
    file_name: str = "",
    classes: Sequence[str] = (),
    threads: int | None = None,
) -> Path:
    """Write every object as a COCO annotation.

    Parameters
    ----------
    path : str or Path
        Replaced whole if it exists.
    labels : ndarray of shape (Y, X), (Z, Y, X), (T, Y, X) or (T, Z, Y, X), integer
        0 is background. Each plane is an image of its own.
    objects : ObjectTable or None
        Its ``score`` and ``class`` columns, where it has them, go with the annotations.
    axes : str or None
        Axes of `labels`. None: by their number.
    file_name : str
        The image's file name.
    classes : sequence of str
        The classes of all images that belong together, so that a class has the same ``category_id`` in their files. Those
        that only `objects` has follow in order of the alphabet, then "cell", for objects without a class.
    threads : int or None
        Processor threads. None: all that this process may use.

    Returns
    -------
    Path
        The file: JSON with ``segmentation`` as compressed run lengths (exact, holes and pieces included),
        ``area`` in pixels, ``bbox`` as x, y, width, height, ``iscrowd`` 0 and, beyond the standard,
        ``label``.
    """
    labels = np.asarray(labels)
    planes = labels.reshape(-1, *labels.shape[-2:])
    height, width = planes.shape[1:]
    row_of = row_finder(objects, (axes or {2: "YX", 3: "ZYX", 4: "TZYX"}[labels.ndim])[:-2])
    own, ids = classes_of(objects), class_ids(objects, classes)
    unnamed = "cell" if "cell" not in ids else "no class"
    scores = objects["score"].tolist() if objects is not None and "score" in objects else None

    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for p, plane in enumerate(planes):
        place = [int(i) for i in np.unravel_index(p, labels.shape[:-2])] if labels.ndim > 2 else []
        images.append({"id": p + 1, "file_name": file_name, "width": width, "height": height})
        if place:
            images[-1]["plane"] = place
        table = measure(plane, threads=threads)
        boxes = np.stack([table[f"bbox_{e}"] for e in ("y0", "x0", "y1", "x1")], axis=1).tolist()
        here, area = table["label"].tolist(), table["area_px"].tolist()
        texts = compressed_counts([run_lengths(plane, n, box) for n, box in zip(here, boxes, strict=True)])
        for label, pixels, (y0, x0, y1, x1), counts in zip(here, area, boxes, texts, strict=True):
            row = row_of(label, place)
            name = own[row] if own and row is not None else ""
            annotation = {
                "id": len(annotations) + 1,
                "image_id": p + 1,
                "category_id": ids.setdefault(name or unnamed, len(ids) + 1),
                "segmentation": {"size": [height, width], "counts": counts},
                "area": pixels,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "iscrowd": 0,
                "label": label,
            }
            if scores is not None and row is not None and np.isfinite(scores[row]):
                annotation["score"] = float(f"{scores[row]:.7g}")
            annotations.append(annotation)
    document = {
        "images": images,
        "categories": [
            {"id": k, "name": name, "supercategory": ""} for name, k in (ids or {unnamed: 1}).items()
        ],
        "annotations": annotations,
    }
    with atomic(path) as target:
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        target.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    return Path(path)


def run_lengths(labels: NDArray[Any], label: int, box: Sequence[int]) -> NDArray[np.int64]:
    """Return COCO's run lengths of one object: down the columns, background first.

    Parameters
    ----------
    labels : ndarray of shape (Y, X), integer
        The label image.
    label : int
        The object.
    box : sequence of int
        Its half-open bounding box: y0, x0, y1, x1.

    Returns
    -------
    ndarray of shape (n,), int64
        Lengths that add up to the number of pixels.

    Examples
    --------
    >>> run_lengths(np.array([[0, 3], [3, 3]]), 3, (0, 0, 2, 2)).tolist()
    [1, 3]
    """
    y0, x0, y1, x1 = box
    height = labels.shape[0]
    inside = np.zeros((x1 - x0, y1 - y0 + 2), np.int8)
    inside[:, 1:-1] = (labels[y0:y1, x0:x1] == label).T
    steps = np.diff(inside, axis=1)
    column, row = np.nonzero(steps)  # starts and ends in turn, column by column
    edges = (column + x0) * height + row + y0
    if y0 == 0 and y1 == height:  # a run may go on at the top of the next column
        goes_on = np.flatnonzero(edges[1:-1:2] == edges[2::2]) * 2 + 1
        edges = np.delete(edges, np.concatenate([goes_on, goes_on + 1]))
    ends = np.concatenate([[0], edges, [labels.size]] if edges[-1] < labels.size else [[0], edges])
    return np.diff(ends)


def compressed_counts(runs: Sequence[NDArray[np.int64]]) -> list[str]:
    """Return run lengths as COCO's text: five bits a character, differences to the one before last.

    Parameters
    ----------
    runs : sequence of ndarray of shape (n,), int64
        Run lengths of each object.
    """
    if not runs:
        return []
    deltas = []
    for lengths in runs:
        delta = lengths.copy()
        delta[3:] -= lengths[1:-2]
        deltas.append(delta)
    rest = np.concatenate(deltas)
    characters = np.zeros((len(rest), 14), np.uint8)  # 64 bits need 13
    open_ = np.ones(len(rest), bool)
    for k in range(characters.shape[1]):
        bits = rest & 31
        rest = rest >> 5
        more = np.where(bits & 16, rest != -1, rest != 0)
        characters[:, k] = np.where(open_, bits + 32 * more + 48, 0)
        open_ &= more
        if not open_.any():
            break
    used = characters != 0
    text = characters[used].tobytes().decode("ascii")
    ends = np.cumsum(used.sum(axis=1))[np.cumsum([len(lengths) for lengths in runs]) - 1].tolist()
    return [text[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


def read_coco(
    document: dict[str, Any], shape: tuple[int, ...], name: str
) -> tuple[NDArray[np.uint32], dict[int, str]]:
    """Read the annotations of one image, such as CVAT, Label Studio and Cellbrook write, as labels.

    Parameters
    ----------
    document : dict
        With ``images``, ``annotations`` and ``categories``.
    shape : tuple of int
        Shape of the label image.
    name : str
        The image's name. Of several images in the document the one whose file name begins so counts.

    Returns
    -------
    labels : ndarray of that shape, uint32
        Annotations that Cellbrook wrote have their labels again; others are numbered from 1 in their order. Of several that
        hold a pixel the last has it. Crowds and annotations without an outline are left out.
    classes : dict of int to str
        The category of each, where there are several.

    Raises
    ------
    ImageError
        If the document is damaged, no image of it is meant, or that one is of another size.
    """
    try:
        planes = _planes(document, shape, name)
        found = [
            a
            for a in document["annotations"]
            if a["image_id"] in planes and not a.get("iscrowd") and a.get("segmentation")
        ]
        keys = [(a.get("label"), a["image_id"]) for a in found]
        ours = all(isinstance(k, int) and k > 0 for k, _ in keys) and len(set(keys)) == len(keys)
        numbers = [k for k, _ in keys] if ours else range(1, len(found) + 1)
        shapes, masks = [], []
        for number, annotation in zip(numbers, found, strict=True):
            plane, outline = planes[annotation["image_id"]], annotation["segmentation"]
            if isinstance(outline, dict):
                masks.append((number, plane, _pixels(outline, shape[-2:])))
            else:
                shapes.append(Shape(number, _polygons(outline), plane))
        labels = polygons_to_labels(shapes, shape)
        for number, plane, (y, x) in masks:
            labels[plane][y, x] = number
        kinds = {c["id"]: str(c["name"]) for c in document.get("categories", ())}
        none = {"no class"} if "no class" in kinds.values() else {"cell"} if ours else set()
        classes = {n: kinds[a["category_id"]] for n, a in zip(numbers, found, strict=True) if len(kinds) > 1}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ImageError(f"damaged COCO annotations: {type(error).__name__}: {error}") from error
    return labels, {number: kind for number, kind in classes.items() if kind not in none}


def _planes(document: dict[str, Any], shape: tuple[int, ...], name: str) -> dict[Any, tuple[int, ...]]:
    """Return the ids of the document's images that are planes of this one."""
    images = document["images"]
    if not images:
        raise ImageError("these COCO annotations name no image")
    named = {str(i.get("file_name", "")) for i in images}
    if len(named) > 1:
        images = [i for i in images if PurePosixPath(str(i["file_name"])).name.startswith(name)]
        exact = [i for i in images if PurePosixPath(str(i["file_name"])).stem == name]
        images = exact or images
        if len({i["file_name"] for i in images}) != 1:
            listed = ", ".join(sorted(named)[:5])
            raise ImageError(f"no image {name!r} in these COCO annotations, or several: they are of {listed}")
    planes = {i["id"]: tuple(i.get("plane", (0,) * (len(shape) - 2))) for i in images}
    for plane in planes.values():
        if len(plane) != len(shape) - 2 or any(not 0 <= i < n for i, n in zip(plane, shape, strict=False)):
            raise ImageError(f"these COCO annotations are of plane {plane}, outside a stack of {shape[:-2]}")
    for image in images:
        size = (image.get("height"), image.get("width"))
        if size != tuple(shape[-2:]):
            raise ImageError(
                f"these COCO annotations are of an image of {size[0]} x {size[1]} px, {name} has {shape[-2]} x {shape[-1]}"
            )
    return planes


def _polygons(rings: list[list[float]]) -> tuple[Polygon, ...]:
    """Return the pieces of an annotation, which come as x, y, x, y ..."""
    return tuple(Polygon(np.asarray(ring, np.float64).reshape(-1, 2)[:, ::-1]) for ring in rings)


def _pixels(mask: dict[str, Any], size: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns of what run lengths, plain or compressed, cover."""
    counts = mask["counts"]
    runs = np.asarray(_counts(counts) if isinstance(counts, str) else counts, np.int64)
    if list(mask["size"]) != list(size) or (runs < 0).any() or runs.sum() != size[0] * size[1]:
        raise ValueError("run lengths do not fit their image")
    first, length = (np.cumsum(runs) - runs)[1::2], runs[1::2]
    covered = np.repeat(first - np.cumsum(length) + length, length) + np.arange(length.sum())
    column, row = np.divmod(covered, size[0])
    return row, column


def _counts(text: str) -> list[int]:
    """Return the run lengths of `compressed_counts`."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (1 << shift) if code & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts
