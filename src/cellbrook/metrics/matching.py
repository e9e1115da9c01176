"""One-to-one matching of the objects of two label images, and what is counted from it.

Everything here works on the sparse table of overlapping pairs (`overlaps`), which one pass over the pixels
gives, so time and memory follow the number of objects and not its square.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cellbrook._kernels import _native
from cellbrook.core.threads import resolve_threads
from cellbrook.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Overlaps:
    """Which objects of two label images share pixels, and how many.

    Parameters
    ----------
    true_ids, pred_ids : ndarray of shape (n_true,), (n_pred,), int64
        Labels that occur, ascending, without the background.
    true_areas, pred_areas : ndarray of shape (n_true,), (n_pred,), int64
        Their areas in pixels.
    true_index, pred_index : ndarray of shape (k,), int64
        The overlapping pairs, as places in `true_ids` and `pred_ids`, sorted.
    count : ndarray of shape (k,), int64
        Pixels that each pair shares.
    """

    true_ids: NDArray[np.int64]
    true_areas: NDArray[np.int64]
    pred_ids: NDArray[np.int64]
    pred_areas: NDArray[np.int64]
    true_index: NDArray[np.int64]
    pred_index: NDArray[np.int64]
    count: NDArray[np.int64]

    @property
    def n_true(self) -> int:
        """Number of true objects."""
        return len(self.true_ids)

    @property
    def n_pred(self) -> int:
        """Number of predicted objects."""
        return len(self.pred_ids)

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each pair, shape (k,), float64."""
        return self.count / self.union

    @property
    def union(self) -> NDArray[np.int64]:
        """Pixels in either object of each pair, shape (k,), int64."""
        return self.true_areas[self.true_index] + self.pred_areas[self.pred_index] - self.count


@dataclass(frozen=True, slots=True)
class MatchResult:
    """What a one-to-one matching at one IoU threshold gives.

    Parameters
    ----------
    threshold : float
        Smallest IoU of a match.
    n_true, n_pred : int
        Objects in each image.
    tp, fp, fn : int
        Matches, predicted objects without one, true objects without one.
    precision, recall, f1 : float
        tp / n_pred, tp / n_true, and 2 tp / (n_true + n_pred).
    accuracy : float
        tp / (tp + fp + fn): the value that `average_precision` returns.
    panoptic_quality : float
        Sum of the matches' IoU divided by tp + fp / 2 + fn / 2.
    mean_matched_score : float
        Mean IoU of the matches, 0 without any.
    mean_true_score : float
        Sum of the matches' IoU divided by the number of true objects.
    pairs : ndarray of shape (tp, 2), int64
        Labels (true, predicted) of each match, ascending by true label.
    scores : ndarray of shape (tp,), float64
        IoU of each match.

    Notes
    -----
    If both images are empty, the prediction is right: precision, recall, f1, accuracy and panoptic_quality
    are 1. If one is empty they are 0.
    """

    threshold: float
    n_true: int
    n_pred: int
    tp: int
    fp: int
    fn: int
    precision: float
    recall: float
    f1: float
    accuracy: float
    panoptic_quality: float
    mean_matched_score: float
    mean_true_score: float
    pairs: NDArray[np.int64]
    scores: NDArray[np.float64]


def overlaps(true: ArrayLike, pred: ArrayLike, *, threads: int | None = None) -> Overlaps:
    """Find which objects of two label images overlap, and by how many pixels.

    Parameters
    ----------
    true, pred : ndarray of shape (Y, X) or (Z, Y, X), any integer dtype or bool
        Label images of equal shape, 0 = background. Labels may have gaps.
    threads : int or None
        Processor threads. None: the cores this process may use.

    Returns
    -------
    Overlaps
        The sparse table.

    Raises
    ------
    UsageError
        If the shapes differ or an image holds anything but labels from 0.

    Examples
    --------
    >>> table = overlaps([[1, 1, 7]], [[0, 2, 2]])
    >>> table.count.tolist(), table.iou.round(2).tolist()
    ([1, 1], [0.33, 0.5])
    """
    first, second = as_labels(true, "true"), as_labels(pred, "pred")
    if first.shape != second.shape:
        raise UsageError(
            f"label images to compare must have one shape, got true {first.shape} and pred {second.shape}: "
            "bring them to the same axes and size first"
        )
    codes_a, names_a = _compact(first, "true")
    codes_b, names_b = _compact(second, "pred")
    ids_a, areas_a, ids_b, areas_b, a, b, count = _native.overlaps(codes_a, codes_b, resolve_threads(threads))
    if names_a is not None:
        ids_a = names_a[ids_a]
    if names_b is not None:
        ids_b = names_b[ids_b]
    return Overlaps(ids_a, areas_a, ids_b, areas_b, a, b, count)


def matching(
    true: ArrayLike, pred: ArrayLike, threshold: float = 0.5, *, threads: int | None = None
) -> MatchResult:
    """Match predicted to true objects one to one and count the matches.

    Of all one-to-one assignments, the one with the most pairs of IoU >= `threshold` is taken; among those,
    the one with the largest sum of IoU over all its pairs. Above 0.5 matches cannot conflict; below, this
    decides.

    Parameters
    ----------
    true, pred : ndarray of shape (Y, X) or (Z, Y, X), any integer dtype
        Label images of equal shape, 0 = background.
    threshold : float
        Smallest IoU of a match, above 0 and at most 1.
    threads : int or None
        Processor threads. None: the cores this process may use.

    Returns
    -------
    MatchResult
        Counts, ratios and the matched pairs.

    Raises
    ------
    UsageError
        If the shapes differ, an image holds anything but labels, or the threshold is out of range.

    Examples
    --------
    >>> result = matching([[1, 1, 1, 0, 2, 2]], [[5, 5, 0, 0, 0, 6]])
    >>> result.tp, result.fp, result.fn, result.pairs.tolist()
    (2, 0, 0, [[1, 5], [2, 6]])
    """
    table = overlaps(true, pred, threads=threads)
    return match_table(table, threshold)


def average_precision(
    true: Any, pred: Any, thresholds: float | ArrayLike = (0.5, 0.75, 0.9), *, threads: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Average precision AP = TP / (TP + FP + FN) at several IoU thresholds.

    Parameters
    ----------
    true, pred : ndarray of shape (Y, X) or (Z, Y, X), any integer dtype, or list of such
        Label images, 0 = background; or equally long lists or tuples of them, whose shapes may differ from
        pair to pair. A 3-D array is one volume.
    thresholds : float or sequence of float
        IoU thresholds, above 0 and at most 1.
    threads : int or None
        Processor threads. None: the cores this process may use.

    Returns
    -------
    ap : ndarray of shape (n_thresholds,) or (n_images, n_thresholds), float64
        1 where both images are empty, 0 where one is.
    tp, fp, fn : ndarray of the same shape, int64
        Matched objects; predicted ones without a match; true ones without a match.

    Raises
    ------
    UsageError
        If shapes or lengths differ, an image holds anything but labels, or a threshold is out of range.

    References
    ----------
    .. [1] Stringer et al., Nat Methods 18, 100-106 (2021), Methods, "Quantification of segmentation quality".

    Examples
    --------
    >>> ap, tp, fp, fn = average_precision([[1, 1, 1, 0, 2, 2]], [[5, 5, 0, 0, 0, 6]], (0.5, 0.6))
    >>> ap.round(3).tolist(), tp.tolist()
    ([1.0, 0.333], [2, 1])
    """
    levels = as_thresholds(thresholds)
    single = not isinstance(true, (list, tuple)) or not _holds_images(true)
    pairs = [(true, pred)] if single else list(_zip_images(true, pred))
    tp = np.zeros((len(pairs), len(levels)), np.int64)
    n_true, n_pred = np.zeros((2, len(pairs), 1), np.int64)
    for row, (one_true, one_pred) in enumerate(pairs):
        table = overlaps(one_true, one_pred, threads=threads)
        iou = table.iou
        n_true[row], n_pred[row] = table.n_true, table.n_pred
        tp[row] = [len(match_rows(table, float(level), iou)) for level in levels]
    fp, fn = n_pred - tp, n_true - tp
    ap = ratio(tp, tp + fp + fn)
    return (ap[0], tp[0], fp[0], fn[0]) if single else (ap, tp, fp, fn)


def mask_ious(
    true: ArrayLike, pred: ArrayLike, *, threads: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the IoU of each true object with the predicted object it is assigned to.

    The assignment is that of `matching` at 0.5, but pairs below 0.5 are kept.

    Parameters
    ----------
    true, pred : ndarray of shape (Y, X) or (Z, Y, X), any integer dtype
        Label images of equal shape, 0 = background.
    threads : int or None
        Processor threads. None: the cores this process may use.

    Returns
    -------
    iou : ndarray of shape (n_true,), float64
        One value a true label, ascending by label; 0 where nothing is assigned.
    pred_labels : ndarray of shape (n_true,), int64
        The assigned predicted label; 0 where there is none.

    Raises
    ------
    UsageError
        If the shapes differ or an image holds anything but labels.
    """
    table = overlaps(true, pred, threads=threads)
    values = table.iou
    rows = assign_rows(table, 0.5, values)
    iou, labels = np.zeros(table.n_true), np.zeros(table.n_true, np.int64)
    iou[table.true_index[rows]] = values[rows]
    labels[table.true_index[rows]] = table.pred_ids[table.pred_index[rows]]
    return iou, labels


def match_table(table: Overlaps, threshold: float) -> MatchResult:
    """Match on a table that `overlaps` gave; see `matching`."""
    level = float(as_thresholds(threshold)[0])
    iou = table.iou
    rows = match_rows(table, level, iou)
    scores = iou[rows]
    pairs = np.stack([table.true_ids[table.true_index[rows]], table.pred_ids[table.pred_index[rows]]], axis=1)
    n_true, n_pred, tp = table.n_true, table.n_pred, len(rows)
    fp, fn, total = n_pred - tp, n_true - tp, float(scores.sum())
    empty = n_true == n_pred == 0
    # one image empty: nothing to divide by, and the prediction is wrong
    precision, recall = (1.0, 1.0) if empty else (tp / max(n_pred, 1), tp / max(n_true, 1))
    return MatchResult(
        threshold=level,
        n_true=n_true,
        n_pred=n_pred,
        tp=tp,
        fp=fp,
        fn=fn,
        precision=precision,
        recall=recall,
        f1=float(ratio(2 * tp, n_true + n_pred)),
        accuracy=float(ratio(tp, tp + fp + fn)),
        panoptic_quality=float(ratio(total, tp + fp / 2 + fn / 2)),
        mean_matched_score=total / max(tp, 1),
        mean_true_score=total / max(n_true, 1),
        pairs=pairs,
        scores=scores,
    )


def match_rows(table: Overlaps, threshold: float, iou: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the rows of the table that are matches of IoU >= `threshold`, ascending."""
    rows = np.flatnonzero(iou >= threshold)
    if _unique(table.true_index[rows]) and _unique(table.pred_index[rows]):
        return rows  # no two candidates compete for one object, so every one is in the best assignment
    chosen = assign_rows(table, threshold, iou)
    return chosen[iou[chosen] >= threshold]


def assign_rows(table: Overlaps, threshold: float, iou: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the rows of the best one-to-one assignment over all overlapping pairs, ascending.

    The number of pairs of IoU >= `threshold` counts first, then the sum of IoU over all pairs.
    """
    if not len(iou):
        return np.zeros(0, np.int64)
    weight = (iou >= threshold) + iou / (2 * min(table.n_true, table.n_pred))
    start = np.searchsorted(table.true_index, np.arange(table.n_true + 1))
    chosen = _native.assign(table.n_pred, start, table.pred_index, weight)
    return np.flatnonzero(chosen[table.true_index] == table.pred_index)


def ratio(part: ArrayLike, whole: ArrayLike) -> NDArray[np.float64]:
    """Divide; nothing out of nothing is 1, because an empty prediction of an empty image is right."""
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    out: NDArray[np.float64] = np.ones(np.broadcast_shapes(part.shape, whole.shape))
    np.divide(part, whole, out=out, where=whole > 0)
    return out


def share(part: ArrayLike, whole: ArrayLike, other: ArrayLike) -> NDArray[np.float64]:
    """Divide; where `whole` is 0 the value is 1 if `other` is 0 too (both empty), else 0."""
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    out: NDArray[np.float64] = np.where(whole > 0, part / np.maximum(whole, 1), np.asarray(other) == 0)
    return out


def as_thresholds(thresholds: float | ArrayLike) -> NDArray[np.float64]:
    """Check IoU thresholds and return them as a 1-D array."""
    levels = np.atleast_1d(np.asarray(thresholds, float))
    if levels.ndim != 1 or not len(levels) or not ((levels > 0) & (levels <= 1)).all():
        raise UsageError(f"IoU thresholds must be above 0 and at most 1, got {thresholds!r}")
    return levels


def as_labels(labels: ArrayLike, name: Literal["true", "pred"]) -> NDArray[Any]:
    """Check that an array can be a label image: integer or bool, not negative."""
    array = np.asarray(labels)
    if array.dtype.kind not in "biu":
        raise UsageError(
            f"{name} must be a label image of an integer type, got {array.dtype}: convert it, such as with "
            "labels.astype('uint32')"
        )
    return array


def _compact(labels: NDArray[Any], name: str) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
    """Return the labels flat in an unsigned type of at most 32 bits, with each code's label if renamed."""
    flat = np.ascontiguousarray(labels).reshape(-1)
    if flat.dtype == bool:
        return flat.view(np.uint8), None
    if not flat.dtype.isnative:
        flat = flat.astype(flat.dtype.newbyteorder("="))
    if flat.dtype.kind == "i" and flat.size and flat.min() < 0:
        raise UsageError(f"{name} must hold labels from 0, got {flat.min()}: negative labels have no meaning")
    if flat.dtype.itemsize <= 4:
        return flat.view(f"u{flat.dtype.itemsize}"), None
    if not flat.size or flat.max() <= np.iinfo(np.uint32).max:
        return flat.astype(np.uint32), None
    if flat.max() > np.iinfo(np.int64).max:
        raise UsageError(f"{name} must hold labels below 2**63, got {flat.max()}")
    with_zero = np.append(flat, flat.dtype.type(0))  # so that code 0 is label 0
    names, codes = np.unique(with_zero, return_inverse=True)
    return codes[:-1].astype(np.uint32), names.astype(np.int64)


def _unique(index: NDArray[np.int64]) -> bool:
    return not len(index) or int(np.bincount(index).max()) == 1


def _holds_images(images: list[Any] | tuple[Any, ...]) -> bool:
    """Return whether this is a list of images and not one image written as nested lists."""
    return not images or hasattr(images[0], "shape")


def _zip_images(true: Any, pred: Any) -> Iterator[tuple[Any, Any]]:
    if not isinstance(pred, (list, tuple)) or len(true) != len(pred):
        got = len(pred) if isinstance(pred, (list, tuple)) else type(pred).__name__
        raise UsageError(f"true and pred must be lists of equal length, got {len(true)} and {got}")
    return zip(true, pred, strict=True)
