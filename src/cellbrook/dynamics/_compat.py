"""Flows to labels as Cellpose 4.2 does it, to the pixel, its defects included."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellbrook._kernels import _native
from cellbrook.dynamics._regions import Discards, keep_only, kernel, measure
from cellbrook.dynamics._table import Figures, build_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.core.objects import ObjectTable
    from cellbrook.core.params import MaskParams

_NITER = 200
_MAX_SIZE_FRACTION = 0.4


def labels_as_cellpose(
    flows: NDArray[np.float32],
    cellprob: NDArray[np.float32],
    params: MaskParams,
    weights: tuple[float, ...],
    threads: int,
) -> tuple[NDArray[np.uint32], ObjectTable]:
    """Return labels and objects; see `cellbrook.dynamics.labels_from_flows`.

    Candidates are the seeds: peaks of the histogram of end points. One without pixels (``empty``) was outnumbered by a
    seed beside it; its box is empty and its centroid is the seed. An object in the hole of another is ``overwritten``
    when the hole is filled. As in the original, volumes are not checked for their flow error, holes are filled only
    if `min_size` is above 0, and without any background the first object may be small.
    """
    ndim, size = cellprob.ndim, cellprob.size
    labels, seeds = kernel("peer_candidates", ndim)(
        flows, cellprob, params.cellprob_threshold, _NITER if params.niter is None else params.niter, threads
    )
    count = len(seeds)
    by_seed = measure(labels, count, cellprob, threads)
    order = np.argsort(np.where(by_seed.area > 0, by_seed.first_pixel, np.inf), kind="stable")
    keep_only(labels, order, count, threads)  # numbered in raster order, seeds without pixels last
    candidates = _placed_at_seeds(by_seed.select(order), seeds[order, 0], cellprob.shape)

    discards = Discards(count)
    area = candidates.area
    discards.add(area == 0, "empty", seeds[order, 1])
    largest = _MAX_SIZE_FRACTION if params.max_size_fraction is None else params.max_size_fraction
    discards.add(area > largest * size, "too_large", area)
    _drop(labels, discards, threads)

    flow_error = np.full(count, np.nan)
    assert params.flow_threshold is not None
    if ndim == 2 and params.flow_threshold > 0:
        kernel("peer_flow_errors", ndim)(labels, flows, flow_error, threads)
        discards.add(flow_error > params.flow_threshold, "flow_error", flow_error)
    final = area
    if params.min_size > 0:
        discards.add(_small(area, discards.left, size, params.min_size), "too_small", area)
        _drop(labels, discards, threads)
        if params.fill_holes:
            kernel("fill_label_holes", ndim)(labels, count, True, threads)
            final = measure(labels, count, None, threads).area
            discards.add(final == 0, "overwritten", final)
            discards.add(_small(final, discards.left, size, params.min_size), "too_small", final)
    if params.exclude_border:
        _drop(labels, discards, threads)
        border = measure(labels, count, None, threads).border_pixels
        discards.add(border > 0, "touches_border", border)
    _drop(labels, discards, threads)

    kept = np.flatnonzero(discards.left)
    kept = kept[np.argsort(measure(labels, count, None, threads).first_pixel[kept], kind="stable")]
    keep_only(labels, kept, count, threads)
    dropped = np.flatnonzero(~discards.left)
    accepted = measure(labels, len(kept), cellprob, threads)
    return labels, build_table(
        ndim,
        accepted.with_flow_error(flow_error[kept]),
        candidates.select(dropped).with_flow_error(flow_error[dropped]),
        discards.reason[dropped],
        discards.figure[dropped],
        weights,
        params.cellprob_threshold,
    )


def _placed_at_seeds(candidates: Figures, seeds: NDArray[np.int32], shape: tuple[int, ...]) -> Figures:
    """Give candidates without pixels the place of their seed."""
    rows, ndim = candidates.rows.copy(), candidates.ndim
    empty = candidates.area == 0
    for axis, place in enumerate(np.unravel_index(seeds[empty], shape)):
        rows[empty, 3 + 2 * axis] = rows[empty, 4 + 2 * axis] = place
        rows[empty, 3 + 2 * ndim + axis] = place
    return Figures(rows, ndim)


def _drop(labels: NDArray[np.uint32], discards: Discards, threads: int) -> None:
    """Turn discarded candidates into background; the others keep their numbers."""
    numbers = np.where(discards.left, np.arange(1, len(discards.reason) + 1), 0)
    kernel_map = np.concatenate([[0], numbers]).astype(np.uint32)
    _native.map_labels(labels, kernel_map, threads)


def _small(area: NDArray[np.float64], left: NDArray[np.bool_], size: int, min_size: int) -> NDArray[np.bool_]:
    """Return which are too small: the original skips the smallest value in the image, as that is the background."""
    small = area < min_size
    if left.any() and area[left].sum() == size:
        small[np.flatnonzero(left)[0]] = False
    return np.asarray(small)
