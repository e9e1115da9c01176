"""The worst errors of a model, cut out and drawn: truth on the left, what was found on the right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from cellbrook.export.pictures import image_rgb
from cellbrook.metrics import average_precision, find_errors
from cellbrook.metrics.errors import KINDS, ObjectError
from cellbrook.training import synthetic
from cellbrook.training.compact import pool_diameter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.accuracy.data import Pair

    import cellbrook

SEEDS = range(700_000, 700_004)
"""Of generated images that no training pool holds and no setting was chosen on."""

SIDE_PX, GENERATED_SIDE_PX = 256, 320
LEAST_PX, LARGEST_PX = 80, 192  # side of what is cut out
PANEL_PX = 256
GUILTY, OTHERS = (255, 255, 255), {"true": (90, 200, 255), "pred": (255, 170, 60)}
WORDS = {
    "missed": "missed",
    "spurious": "made up",
    "merged": "{} objects in one",
    "split": "one object in {}",
    "boundary": "outline off (IoU {:.2f})",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """One error in one image.

    Parameters
    ----------
    source : str
        Where the image is from, in words.
    image : ndarray of shape (C, Y, X)
    true, pred : ndarray of shape (Y, X)
        Labels.
    error : ObjectError
    """

    source: str
    image: np.ndarray
    true: np.ndarray
    pred: np.ndarray
    error: ObjectError

    @property
    def kind(self) -> str:
        return self.error.kind

    @property
    def words(self) -> str:
        error = self.error
        told = {"merged": len(error.true_labels), "split": len(error.pred_labels), "boundary": error.iou}
        return f"{self.source}: {WORDS[error.kind].format(told.get(error.kind))}."


def worst_failures(pairs: Sequence[tuple[Pair, Path]], count: int) -> list[Failure]:
    """Return the worst error of each kind in turn, no image twice."""
    ranked: dict[str, list[tuple[float, int, ObjectError]]] = {kind: [] for kind in KINDS}
    for at, (pair, path) in enumerate(pairs):
        for error in find_errors(pair.read_masks(), tifffile.imread(path)).errors:
            ranked[error.kind].append((-error.severity, at, error))
    order = {kind: sorted(found, key=lambda item: item[:2]) for kind, found in ranked.items()}
    taken: set[int] = set()
    chosen: list[Failure] = []
    while len(chosen) < count and any(order.values()):
        for found in order.values():
            while found and found[0][1] in taken:
                found.pop(0)
            if found and len(chosen) < count:
                _, at, error = found.pop(0)
                taken.add(at)
                pair, path = pairs[at]
                image, axes = pair.read_image()
                planes = (
                    np.moveaxis(image, -1, 0) if axes == "YXS" else image[None] if axes == "YX" else image
                )
                source = f"dsb2018 {pair.id}"
                chosen.append(Failure(source, planes, pair.read_masks(), tifffile.imread(path), error))
    return chosen


def generated_failures(segmenter: cellbrook.Segmenter, count: int) -> tuple[dict[str, float], list[Failure]]:
    """Segment generated images; return the mean AP at 0.5 of each family, and a failure of each of the worst."""
    values: dict[str, float] = {}
    failures: dict[str, Failure] = {}
    for family in synthetic.FAMILIES:
        if family == "empty":
            continue
        found = []
        for seed in SEEDS:
            diameter = pool_diameter(family, np.random.default_rng(seed))
            sample = synthetic.generate(family, seed, GENERATED_SIDE_PX, diameter)
            pred = segmenter.segment(sample.image, axes="CYX", keep_output=False).labels
            ap = float(average_precision(sample.labels, pred, thresholds=(0.5,))[0][0])
            found.append((ap, seed, sample, pred))
        values[family] = float(np.mean([ap for ap, *_ in found]))
        ap, seed, sample, pred = min(found, key=lambda item: item[:2])
        errors = [e for e in find_errors(sample.labels, pred).errors if e.kind != "boundary" or e.iou < 0.5]
        if errors:
            source = f"generated, {family.replace('_', ' ')}, AP 0.5 of this image {ap:.2f}"
            kinds = [e.kind for e in errors]
            common = [e for e in errors if e.kind == max(KINDS, key=kinds.count)]
            # the worst of them whose objects are seen whole
            error = next((e for e in common if is_whole(e, sample.labels, pred)), common[0])
            failures[family] = Failure(source, sample.image, sample.labels, pred, error)
    order = sorted(failures, key=values.__getitem__)
    return values, [failures[family] for family in order[:count]]


def is_whole(error: ObjectError, true: np.ndarray, pred: np.ndarray) -> bool:
    """Return whether none of the objects in question touches the edge of the image."""
    guilty = np.isin(true, error.true_labels) | np.isin(pred, error.pred_labels)
    return not (guilty[[0, -1]].any() or guilty[:, [0, -1]].any())


def draw(failure: Failure) -> np.ndarray:
    """Return the picture, shape (Y, X, 3), uint8: truth and prediction side by side, enlarged to panels."""
    true = np.isin(failure.true, failure.error.true_labels)
    pred = np.isin(failure.pred, failure.error.pred_labels)
    rows, columns = window(true | pred)
    image = image_rgb(failure.image)[rows, columns]
    zoom = max(1, PANEL_PX // max(image.shape[:2]))
    panels = []
    for name, labels, guilty in (("true", failure.true, true), ("pred", failure.pred, pred)):
        panel = enlarged(image, zoom)
        shown, marked = enlarged(labels[rows, columns], zoom), enlarged(guilty[rows, columns], zoom)
        edge = outline(shown)
        panel[beside(edge)] //= 3  # so that a line stands out on a bright image too
        panel[edge] = OTHERS[name]
        panel[edge & marked] = GUILTY
        panels.append(panel)
    gap = np.full((panels[0].shape[0], 6, 3), 255, np.uint8)
    return np.ascontiguousarray(np.concatenate([panels[0], gap, panels[1]], axis=1))


def window(guilty: np.ndarray) -> tuple[slice, slice]:
    """Return a square around what is marked, with surroundings, inside the image."""
    y, x = np.nonzero(guilty)
    side = round(np.clip(1.8 * max(np.ptp(y), np.ptp(x)), LEAST_PX, LARGEST_PX))
    slices = []
    for centre, length in zip(((y.min() + y.max()) / 2, (x.min() + x.max()) / 2), guilty.shape, strict=True):
        first = max(0, min(round(centre - side / 2), length - side))
        slices.append(slice(first, min(first + side, length)))
    return slices[0], slices[1]


def enlarged(array: np.ndarray, zoom: int) -> np.ndarray:
    return array.repeat(zoom, axis=0).repeat(zoom, axis=1)


def beside(edge: np.ndarray) -> np.ndarray:
    """Return the pixels that touch a line."""
    padded = np.pad(edge, 1)
    near = padded[2:, 1:-1] | padded[:-2, 1:-1] | padded[1:-1, 2:] | padded[1:-1, :-2]
    return near & ~edge


def outline(labels: np.ndarray) -> np.ndarray:
    """Return the pixels of objects that touch another label or background."""
    edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        differs = np.diff(labels.astype(np.int64), axis=axis) != 0
        pad = [(0, 0), (0, 0)]
        for side in ((0, 1), (1, 0)):
            pad[axis] = side
            edge |= np.pad(differs, pad)
    return edge & (labels > 0)
