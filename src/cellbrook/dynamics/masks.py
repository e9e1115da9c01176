"""Flows to labels: every foreground pixel follows the flow; pixels that gather in one place are one object."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

import numpy as np

from cellbrook.core.params import MaskParams
from cellbrook.core.threads import resolve_threads
from cellbrook.dynamics._compat import labels_as_cellpose
from cellbrook.dynamics._inputs import as_flows_and_cellprob
from cellbrook.dynamics._regions import Discards, keep_only, kernel, measure
from cellbrook.dynamics._table import build_table, score_of
from cellbrook.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from cellbrook.core.objects import ObjectTable

logger = logging.getLogger(__name__)

FLOW_THRESHOLD = 0.4
"""Largest flow error where a score is no probability, as in Cellpose."""

MIN_SCORE = 0.4
"""Smallest probability worth keeping: a further object raises AP, which is about 0.7, if it is right more often than
0.7 / 1.7 = 0.41 of the time."""

LARGEST_EXACT = 512
"""Objects longer than this, in pixels, are compared with their flows at every few pixels: the time for all of them grows
with the cube of the length, half a minute for an object of 1,024 x 1,024, and says nothing that fewer do not."""


def labels_from_flows(
    flows: ArrayLike,
    cellprob: ArrayLike,
    params: MaskParams | None = None,
    *,
    score_weights: tuple[float, ...] = (),
    threads: int | None = None,
) -> tuple[NDArray[np.uint32], ObjectTable]:
    """Gather pixels into objects.

    1. *Strides.* Each pixel with ``cellprob > cellprob_threshold`` takes steps along the flow (bilinear between pixel
       centres, kept inside the image, zero outside the foreground) until it is 3 px away or has come to rest. From
       where it is then, rounded to a pixel, that pixel's stride leads on: to a sink in the end, or round a cycle,
       which counts as a sink.
    2. *Basins.* Sinks within 2 px of each other are one. Neighbouring basins are joined, least parted first, while
       the flow does not run apart along their common border: a long object whose flow leads to a line instead of
       a point stays whole.
    3. *Candidates.* Each connected piece of a basin (4 neighbours, 6 in 3-D) is a candidate. It is discarded as
       ``fragment`` if it is smaller than `min_size` and not the largest piece of its basin, then as ``too_small``,
       ``too_large``, ``touches_border`` or for its ``flow_error`` or ``score``, in this order. A large piece is
       judged like any other candidate.
    4. *Labels.* Holes are filled with the label around them, never over another label, and labels are numbered 1 ...
       n in raster order of their first pixels.

    Nothing is dropped silently: accepted and discarded rows together are all candidates.

    Parameters
    ----------
    flows : ndarray of shape (2, Y, X) or (3, Z, Y, X)
        Flow as (dy, dx) or (dz, dy, dx), in pixels a step: of length about 1 inside objects.
    cellprob : ndarray of shape (Y, X) or (Z, Y, X)
        Logit of the probability that the pixel belongs to an object. Where it is not finite, or the flow is not or is
        longer than any image, the pixel is background.
    params : MaskParams or None
        None: the defaults. `niter` limits the steps of a pixel to whole strides within it. ``compat="cellpose"``
        repeats Cellpose 4.2 instead of the above.
    score_weights : tuple of float
        A model's calibration, from its card: scores are then probabilities, and `params` that are left to the model
        keep what is likely enough to be right, instead of what has a small flow error.
    threads : int or None
        Threads to use; None: every core this process may use. The result does not depend on it.

    Returns
    -------
    labels : ndarray of shape (Y, X) or (Z, Y, X), uint32
        0 is background.
    objects : ObjectTable
        One row an object: ``label``, ``area_px``, half-open ``bbox_y0, bbox_x0, bbox_y1, bbox_x1`` (and ``bbox_z0,
        bbox_z1``), ``centroid_y, centroid_x`` (and ``centroid_z``), ``flow_error`` (mean squared difference between
        the flows and those its shape implies), ``cellprob`` (mean logit), ``score`` (0 to 1, from
        how far `cellprob` lies above the threshold, and `flow_error`: with `score_weights` the probability that the object
        is right, without the sigmoid of the former times ``exp(-flow_error)``, which only orders), ``touches_border``.
        `discarded` has the same columns, ``reason`` and ``figure``; what was not computed is NaN.

    Raises
    ------
    UsageError
        If shapes, dtypes or the type of `params` do not fit.

    References
    ----------
    .. [1] Stringer et al., Nat Methods 18, 100-106 (2021), Methods, "Dynamics".

    Examples
    --------
    >>> import numpy as np
    >>> from cellbrook.dynamics import flows_from_labels
    >>> truth = np.zeros((20, 30), np.uint32)
    >>> truth[2:12, 3:14] = 1
    >>> truth[5:16, 14:25] = 2
    >>> labels, objects = labels_from_flows(flows_from_labels(truth), np.where(truth, 5.0, -5.0))
    >>> bool((labels == truth).all()), objects["area_px"].tolist()
    (True, [110, 121])
    """
    params = MaskParams() if params is None else params
    if not isinstance(params, MaskParams):
        raise UsageError(f"params must be MaskParams(...), got {type(params).__name__}")
    if params.compat not in (None, "cellpose"):
        raise UsageError(f"compat must be None or 'cellpose', got {params.compat!r}")
    params = settled(params, score_weights)
    flow_array, logits = as_flows_and_cellprob(flows, cellprob)
    workers = resolve_threads(threads)
    if logits.size == 0:
        return np.zeros(logits.shape, np.uint32), build_table(logits.ndim, None, None)
    find = _by_strides if params.compat is None else labels_as_cellpose
    labels, objects = find(flow_array, logits, params, score_weights, workers)
    logger.debug("%d objects, discarded: %s", len(objects), objects.discard_counts())
    return labels, objects


def _by_strides(
    flows: NDArray[np.float32],
    cellprob: NDArray[np.float32],
    params: MaskParams,
    weights: tuple[float, ...],
    threads: int,
) -> tuple[NDArray[np.uint32], ObjectTable]:
    ndim = cellprob.ndim
    labels, basin = kernel("find_candidates", ndim)(
        flows, cellprob, params.cellprob_threshold, -1 if params.niter is None else params.niter, threads
    )
    count = len(basin)
    candidates = measure(labels, count, cellprob, threads)

    discards = Discards(count)
    area = candidates.area
    small = area < params.min_size
    discards.add(small & ~_largest_of_basin(basin, area), "fragment", area)
    discards.add(small, "too_small", area)
    if params.max_size_fraction is not None:
        discards.add(area > params.max_size_fraction * labels.size, "too_large", area)
    if params.exclude_border:
        discards.add(candidates.border_pixels > 0, "touches_border", candidates.border_pixels)
    flow_error = np.full(count, np.nan)
    large = discards.left & (candidates.extent > LARGEST_EXACT)
    kernel("flow_errors", ndim)(labels, flows, (discards.left & ~large).astype(np.uint8), flow_error, threads)
    for index in np.flatnonzero(large).tolist():
        flow_error[index] = _coarse_flow_error(labels, flows, candidates.box(index), index + 1, threads)
    assert params.flow_threshold is not None
    assert params.min_score is not None
    if params.flow_threshold > 0:
        discards.add(flow_error > params.flow_threshold, "flow_error", flow_error)
    score = score_of(candidates.cellprob, flow_error, weights, params.cellprob_threshold)
    discards.add(score < params.min_score, "score", score)

    kept = np.flatnonzero(discards.left)
    keep_only(labels, kept, count, threads)
    if params.fill_holes and kernel("fill_label_holes", ndim)(labels, len(kept), False, threads):
        # what was judged were the pixels that the network gave it
        accepted = measure(labels, len(kept), None, threads).with_cellprob(candidates.cellprob[kept])
    else:
        accepted = candidates.select(kept)
    dropped = np.flatnonzero(~discards.left)
    return labels, build_table(
        ndim,
        accepted.with_flow_error(flow_error[kept]),
        candidates.select(dropped).with_flow_error(flow_error[dropped]),
        discards.reason[dropped],
        discards.figure[dropped],
        weights,
        params.cellprob_threshold,
    )


def settled(params: MaskParams, score_weights: tuple[float, ...]) -> MaskParams:
    """Return the parameters with what they leave to the model filled in.

    Parameters
    ----------
    params : MaskParams
        What the user said.
    score_weights : tuple of float
        From the model's card; empty if its scores are no probabilities.
    """
    known = bool(score_weights) and params.compat is None
    error, score = params.flow_threshold, params.min_score
    return dataclasses.replace(
        params,
        flow_threshold=(0.0 if known else FLOW_THRESHOLD) if error is None else error,
        min_score=(MIN_SCORE if known else 0.0) if score is None else score,
    )


def _coarse_flow_error(
    labels: NDArray[np.uint32], flows: NDArray[np.float32], box: tuple[slice, ...], label: int, threads: int
) -> float:
    """Return the flow error of one object from every k-th pixel of it."""
    step = -(-max(s.stop - s.start for s in box) // (LARGEST_EXACT // 2))
    every = tuple(slice(s.start, s.stop, step) for s in box)
    inside = np.ascontiguousarray(labels[every] == label).astype(np.uint32)
    error = np.full(1, np.nan)
    picked = np.ascontiguousarray(flows[(slice(None), *every)])
    kernel("flow_errors", labels.ndim)(inside, picked, np.ones(1, np.uint8), error, threads)
    return float(error[0])


def _largest_of_basin(basin: NDArray[np.int32], area: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which pieces are the largest of their basin; of equal ones the first."""
    order = np.lexsort((np.arange(len(basin)), -area, basin))
    first = np.ones(len(basin), bool)
    first[1:] = basin[order][1:] != basin[order][:-1]
    largest = np.zeros(len(basin), bool)
    largest[order[first]] = True
    return largest
