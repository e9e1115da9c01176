"""How well the outlines of two label images agree."""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import UsageError
from cellbrook.metrics.matching import as_labels, share

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class BoundaryScores:
    """Agreement of outlines within a tolerance.

    Parameters
    ----------
    n_true, n_pred : int
        Outline pixels of each image.
    true_hits, pred_hits : int
        Those of them that lie within the tolerance of the other image's outline.
    """

    n_true: int
    n_pred: int
    true_hits: int
    pred_hits: int

    @property
    def precision(self) -> float:
        """Share of the predicted outline that is near a true one."""
        return float(share(self.pred_hits, self.n_pred, self.n_true))

    @property
    def recall(self) -> float:
        """Share of the true outline that is near a predicted one."""
        return float(share(self.true_hits, self.n_true, self.n_pred))

    @property
    def f(self) -> float:
        """Harmonic mean of the two; 1 where neither image has an outline, 0 where just one has."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def boundary_scores(true: ArrayLike, pred: ArrayLike, tolerance_px: float = 2.0) -> BoundaryScores:
    """Compare outlines: which part of each lies within a distance of the other.

    The outline of an object is those of its pixels that touch another label, background or the image's edge
    by a side (a face in 3-D). Which object an outline belongs to does not matter. A stack in which no object goes
    through planes, such as the frames of a film, is compared plane by plane.

    Parameters
    ----------
    true, pred : ndarray of shape (Y, X) or (Z, Y, X), any integer dtype
        Label images of equal shape, 0 = background.
    tolerance_px : float
        Largest Euclidean distance in pixels between outlines that agree. 0: the very same pixels.

    Returns
    -------
    BoundaryScores
        Counts, with `precision`, `recall` and `f`.

    Raises
    ------
    UsageError
        If the shapes differ, an image holds anything but labels, or the tolerance is negative.

    Examples
    --------
    >>> import numpy as np
    >>> true = np.zeros((20, 20), int)
    >>> true[5:15, 5:15] = 1
    >>> boundary_scores(true, np.roll(true, 1, axis=1)).f, boundary_scores(true, true * 0).f
    (1.0, 0.0)
    """
    first, second = as_labels(true, "true"), as_labels(pred, "pred")
    if first.shape != second.shape:
        raise UsageError(
            f"label images to compare must have one shape, got true {first.shape} and pred {second.shape}: "
            "bring them to the same axes and size first"
        )
    if not 0 <= tolerance_px < math.inf:
        raise UsageError(f"tolerance_px must be 0 or more, got {tolerance_px}")
    if first.ndim > 2 and not (_spans_planes(first) or _spans_planes(second)):
        planes = [boundary_scores(t, p, tolerance_px) for t, p in zip(first, second, strict=True)]
        return BoundaryScores(
            *(sum(getattr(plane, f.name) for plane in planes) for f in dataclasses.fields(BoundaryScores))
        )
    edge_true, edge_pred = outlines(first), outlines(second)
    return BoundaryScores(
        n_true=int(np.count_nonzero(edge_true)),
        n_pred=int(np.count_nonzero(edge_pred)),
        true_hits=int(np.count_nonzero(edge_true & _dilate(edge_pred, tolerance_px))),
        pred_hits=int(np.count_nonzero(edge_pred & _dilate(edge_true, tolerance_px))),
    )


def _spans_planes(labels: NDArray[Any]) -> bool:
    """Tell whether some object lies in two neighbouring planes, one above the other."""
    return any(((low == high) & (low != 0)).any() for low, high in itertools.pairwise(labels))


def boundary_f(true: ArrayLike, pred: ArrayLike, tolerance_px: float = 2.0) -> float:
    """Return the boundary F score: `boundary_scores(...).f`."""
    return boundary_scores(true, pred, tolerance_px).f


def outlines(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which pixels of objects touch another label, background or the image's edge by a side."""
    out: NDArray[np.bool_] = np.empty(labels.shape, bool)
    # in slabs that stay in the processor's cache, with a neighbour on either side
    step = max(1, _SLAB_PX * len(labels) // max(labels.size, 1))
    for start in range(0, len(labels), step):
        first = max(0, start - 1)
        marks = _outlines(labels[first : start + step + 1])
        out[start : start + step] = marks[start - first :][:step]
    return out


_SLAB_PX = 1 << 17


def _outlines(labels: NDArray[Any]) -> NDArray[np.bool_]:
    out: NDArray[np.bool_] = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        marks, along = np.moveaxis(out, axis, 0), np.moveaxis(labels, axis, 0)
        changes = along[1:] != along[:-1]
        marks[1:] |= changes
        marks[:-1] |= changes
        marks[:1] = marks[-1:] = True
    out &= labels != 0
    return out


def _dilate(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Return which pixels lie within `radius` of the mask: a disk, or a ball in 3-D.

    A ball is a stack of bars along the last axis, shifted along the others: one bar length at a time is grown
    from the one before, so a radius r costs about 4 r passes in 2-D.
    """
    reach = math.floor(radius)
    limit = radius * radius + 1e-9
    out = mask.copy()
    bar = mask.copy()
    offsets = np.indices((2 * reach + 1,) * (mask.ndim - 1)).reshape(mask.ndim - 1, -1).T - reach
    half = [math.isqrt(int(limit - (o @ o))) if o @ o <= limit else -1 for o in offsets]
    for width in range(reach + 1):
        if width:
            bar[..., width:] |= mask[..., :-width]
            bar[..., :-width] |= mask[..., width:]
        for offset, wanted in zip(offsets, half, strict=True):
            if wanted == width:
                to, source = (
                    # an offset beyond the image leaves nothing (and a negative stop would count from the end)
                    tuple(
                        slice(max(0, o), max(0, min(n, n + o))) for o, n in zip(way, mask.shape, strict=False)
                    )
                    for way in (offset, -offset)
                )
                out[to] |= bar[source]
    return out
