"""Single figures for the agreement of two label images: panoptic quality, aggregated Jaccard index, SEG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from cellbrook.errors import UsageError
from cellbrook.metrics.matching import Overlaps, assign_rows, match_table, overlaps, ratio

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Jaccard = Literal["kumar", "cellpose"]


class PanopticQuality(NamedTuple):
    """Panoptic quality and its two factors.

    Parameters
    ----------
    quality : float
        Segmentation times recognition.
    segmentation : float
        Mean IoU of the matches.
    recognition : float
        F1 of the matches.
    """

    quality: float
    segmentation: float
    recognition: float


def panoptic_quality(
    true: ArrayLike, pred: ArrayLike, threshold: float = 0.5, *, threads: int | None = None
) -> PanopticQuality:
    """Return the panoptic quality: how many objects are found, times how well they are outlined.

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
    PanopticQuality
        (quality, segmentation, recognition); all 1 where both images are empty, 0 where one is.

    Raises
    ------
    UsageError
        If the shapes differ, an image holds anything but labels, or the threshold is out of range.

    References
    ----------
    .. [1] Kirillov et al., Panoptic Segmentation, CVPR 2019.
    """
    found = match_table(overlaps(true, pred, threads=threads), threshold)
    segmentation = 1.0 if found.n_true == found.n_pred == 0 else found.mean_matched_score
    return PanopticQuality(found.panoptic_quality, segmentation, found.f1)


def aggregated_jaccard_index(
    true: ArrayLike, pred: ArrayLike, definition: Jaccard = "kumar", *, threads: int | None = None
) -> float:
    """Return the aggregated Jaccard index: pixels that agree over all pixels involved.

    Parameters
    ----------
    true, pred : ndarray of shape (Y, X) or (Z, Y, X), any integer dtype
        Label images of equal shape, 0 = background.
    definition : {"kumar", "cellpose"}
        "kumar", as published [1]_: each true object with the predicted one of highest IoU, however low and
        whether or not another true object has it too; the sum of their intersections over the sum of their
        unions plus the areas of all predicted objects that nobody has. "cellpose": objects are assigned one
        to one (see `mask_ious`); the sum of intersections over all foreground. The two differ.
    threads : int or None
        Processor threads. None: the cores this process may use.

    Returns
    -------
    float
        From 0 to 1; 1 where both images are empty, 0 where one is.

    Raises
    ------
    UsageError
        If the shapes differ, an image holds anything but labels, or the definition is unknown.

    References
    ----------
    .. [1] Kumar et al., IEEE Trans Med Imaging 36, 1550-1560 (2017).
    """
    return float(ratio(*jaccard_parts(overlaps(true, pred, threads=threads), definition)))


def seg_score(true: ArrayLike, pred: ArrayLike, *, threads: int | None = None) -> float:
    """Return SEG of the Cell Tracking Challenge: mean Jaccard index of the true objects.

    A predicted object belongs to a true one if it covers more than half of it; a true object without one
    counts 0. Predicted objects that belong to nothing do not lower it.

    Parameters
    ----------
    true, pred : ndarray of shape (Y, X) or (Z, Y, X), any integer dtype
        Label images of equal shape, 0 = background.
    threads : int or None
        Processor threads. None: the cores this process may use.

    Returns
    -------
    float
        From 0 to 1; 1 where both images are empty, 0 where one is.

    Raises
    ------
    UsageError
        If the shapes differ or an image holds anything but labels.

    References
    ----------
    .. [1] Maska et al., Bioinformatics 30, 1609-1617 (2014).
    """
    table = overlaps(true, pred, threads=threads)
    if not table.n_true:
        return float(not table.n_pred)
    return float(seg_scores(table).mean())


def seg_scores(table: Overlaps) -> NDArray[np.float64]:
    """Return the Jaccard index of each true object, 0 where nothing covers more than half of it."""
    rows = np.flatnonzero(2 * table.count > table.true_areas[table.true_index])
    scores = np.zeros(table.n_true)
    scores[table.true_index[rows]] = table.iou[rows]
    return scores


def jaccard_parts(table: Overlaps, definition: Jaccard) -> tuple[int, int]:
    """Return numerator and denominator of the aggregated Jaccard index, in pixels."""
    if definition == "cellpose":
        rows = assign_rows(table, 0.5, table.iou)
        foreground = table.true_areas.sum() + table.pred_areas.sum() - table.count.sum()
        return int(table.count[rows].sum()), int(foreground)
    if definition != "kumar":
        raise UsageError(f"definition must be 'kumar' or 'cellpose', got {definition!r}")
    # first row of each true object once sorted by IoU; on equal IoU the lower predicted label
    order = np.lexsort((table.pred_index, -table.iou, table.true_index))
    first = np.unique(table.true_index[order], return_index=True)[1]
    rows = order[first]
    untouched = np.ones(table.n_true, bool)
    untouched[table.true_index[rows]] = False
    unused = np.ones(table.n_pred, bool)
    unused[table.pred_index[rows]] = False
    union = table.union[rows].sum() + table.true_areas[untouched].sum() + table.pred_areas[unused].sum()
    return int(table.count[rows].sum()), int(union)


def adjusted_rand_index(a: ArrayLike, b: ArrayLike) -> float:
    """Return how alike two partitions of the pixels are, whatever the numbers of the labels; background is a part too.

    Parameters
    ----------
    a, b : ndarray of equal shape, any integer dtype

    Returns
    -------
    float
        1 for equal partitions, about 0 for unrelated ones.

    Raises
    ------
    UsageError
        If the shapes differ.

    References
    ----------
    Hubert and Arabie, Comparing partitions, Journal of Classification 2, 1985.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise UsageError(f"expected two label images of equal shape, got {a.shape} and {b.shape}")
    of_a, of_b = (np.unique(x, return_inverse=True)[1].ravel() for x in (a, b))
    together = np.unique(of_a * (int(of_b.max(initial=0)) + 1) + of_b, return_counts=True)[1]
    both, pairs_a, pairs_b = (
        float((n * (n - 1.0) / 2).sum()) for n in (together, np.bincount(of_a), np.bincount(of_b))
    )
    expected = pairs_a * pairs_b / max(a.size * (a.size - 1.0) / 2, 1.0)
    largest = (pairs_a + pairs_b) / 2
    return 1.0 if largest == expected else (both - expected) / (largest - expected)
