"""The worst errors of each kind, cut out with their surroundings."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.evaluation.files import read_channels, read_together
from cellbrook.export.pictures import image_rgb
from cellbrook.export.polygons import trace
from cellbrook.metrics.errors import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from cellbrook.evaluation.compare import Evaluation
    from cellbrook.evaluation.files import Pair
    from cellbrook.metrics.errors import ErrorKind, ObjectError

MARGIN = 0.6
"""Surroundings shown on each side, as a part of the error's extent."""

LEAST_SIDE_PX, LARGEST_SIDE_PX = 48, 400
_IN_A_ROW = 2  # errors of one image before those of others get their turn


@dataclass(frozen=True, slots=True)
class Outline:
    """An object's border inside a crop.

    Parameters
    ----------
    label : int
        Of the object, as its file has it.
    rings : tuple of ndarray of shape (n, 2)
        Corners as (y, x) in pixels of the crop.
    guilty : bool
        True for the objects that the error is about.
    """

    label: int
    rings: tuple[NDArray[Any], ...]
    guilty: bool


@dataclass(frozen=True, slots=True)
class Crop:
    """One error with its surroundings.

    Parameters
    ----------
    name : str
        Which image.
    error : ObjectError
        What went wrong, with labels as the files have them.
    plane : tuple of int
        Index of the plane shown; () in 2-D.
    box : tuple of int
        Half-open (y0, x0, y1, x1) in the image.
    picture : ndarray of shape (Y, X, 3), uint8, or None
        The image; None where it was not found.
    true, pred : tuple of Outline
        Objects of each side.
    """

    name: str
    error: ObjectError
    plane: tuple[int, ...]
    box: tuple[int, int, int, int]
    picture: NDArray[np.uint8] | None
    true: tuple[Outline, ...]
    pred: tuple[Outline, ...]

    @property
    def kind(self) -> ErrorKind:
        """Kind of the error."""
        return self.error.kind

    def to_dict(self) -> dict[str, Any]:
        """Return where it is and what is wrong, without pixels."""
        return {
            "name": self.name,
            "kind": self.kind,
            "plane": list(self.plane),
            "box": list(self.box),
            "true_labels": list(self.error.true_labels),
            "pred_labels": list(self.error.pred_labels),
            "severity": self.error.severity,
            "iou": self.error.iou,
            "picture": self.picture is not None,
        }


def worst_crops(evaluation: Evaluation, per_kind: int = 8) -> list[Crop]:
    """Cut out the worst errors of each kind.

    Two errors of each image come first, then two more of each, so that one bad image does not fill the page.
    Files are read again; one that has gone meanwhile is left out.

    Parameters
    ----------
    evaluation : Evaluation
        From `evaluate`.
    per_kind : int
        How many of each kind.

    Returns
    -------
    list of Crop
        By kind, the worst first.
    """
    chosen: dict[int, list[ObjectError]] = defaultdict(list)
    order: list[tuple[int, ObjectError]] = []
    for kind in KINDS:
        ranked = []
        for at, found in enumerate(evaluation.errors):
            own = [error for error in found.errors if error.kind == kind]
            ranked += [(place // _IN_A_ROW, -error.severity, at, error) for place, error in enumerate(own)]
        ranked.sort(key=lambda item: item[:3])
        for _, _, at, error in ranked[: max(per_kind, 0)]:
            chosen[at].append(error)
            order.append((at, error))
    crops: dict[int, Crop] = {}
    for at, errors in chosen.items():
        for error, crop in _crops_of(evaluation.pairs[at], errors):
            crops[id(error)] = crop
    return [crops[id(error)] for _, error in order if id(error) in crops]


def _crops_of(pair: Pair, errors: list[ObjectError]) -> list[tuple[ObjectError, Crop]]:
    try:
        *sides, _ = read_together(pair)
    except (OSError, ValueError):
        return []
    true, pred = (side.labels for side in sides)
    image = None if pair.image is None else read_channels(pair.image, true.shape)
    crops = []
    for error in errors:
        guilty = np.isin(true, error.true_labels) | np.isin(pred, error.pred_labels)
        if not guilty.any():
            continue
        plane = _fullest_plane(guilty)
        box = _box(guilty[plane])
        cut = (slice(box[0], box[2]), slice(box[1], box[3]))
        picture = None
        if image is not None:
            pixels, names = image
            # stretched as the whole plane is, so that a dim object looks dim
            picture = _picture(pixels[plane], names, cut)
        outlines = (
            _outlines(side.labels[plane][cut], own, side.original)
            for side, own in zip(sides, (error.true_labels, error.pred_labels), strict=True)
        )
        shown = replace(
            error,
            true_labels=_in_file(error.true_labels, sides[0].original),
            pred_labels=_in_file(error.pred_labels, sides[1].original),
        )
        crops.append((error, Crop(pair.name, shown, plane, box, picture, *outlines)))
    return crops


def _in_file(labels: Iterable[int], original: NDArray[np.int64] | None) -> tuple[int, ...]:
    """Return the numbers in the file of objects that may have others for the comparison; see `Side`."""
    return tuple(label if original is None else int(original[label]) for label in labels)


def _fullest_plane(guilty: NDArray[np.bool_]) -> tuple[int, ...]:
    if guilty.ndim == 2:
        return ()
    sizes = guilty.sum(axis=(-2, -1))
    return tuple(int(i) for i in np.unravel_index(int(sizes.argmax()), sizes.shape))


def _box(guilty: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return a square around what is guilty, shifted into the image where that is large enough."""
    rows, columns = np.flatnonzero(guilty.any(1)), np.flatnonzero(guilty.any(0))
    extents = (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)
    largest = max(high - low for low, high in extents)
    side = min(max(LEAST_SIDE_PX, math.ceil(largest * (1 + 2 * MARGIN))), max(LARGEST_SIDE_PX, largest + 8))
    starts, stops = [], []
    for (low, high), length in zip(extents, guilty.shape, strict=True):
        start = max(0, min((low + high - side) // 2, length - side))
        starts.append(start)
        stops.append(min(length, start + side))
    return starts[0], starts[1], stops[0], stops[1]


def _picture(
    pixels: NDArray[Any], names: tuple[str, ...], cut: tuple[slice, slice]
) -> NDArray[np.uint8] | None:
    try:
        return np.ascontiguousarray(image_rgb(pixels, channel_names=names)[cut])
    except ValueError:
        return None


def _outlines(
    labels: NDArray[Any], guilty: tuple[int, ...], original: NDArray[np.int64] | None
) -> tuple[Outline, ...]:
    shapes = list(trace(labels))
    names = _in_file((shape.label for shape in shapes), original)
    return tuple(
        Outline(name, shape.rings, shape.label in guilty) for name, shape in zip(names, shapes, strict=True)
    )
