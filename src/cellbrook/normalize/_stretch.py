"""Ranges to 0 and 1: of a whole channel, or of each of its blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook._kernels import _native
from cellbrook.normalize._levels import of_enough_levels
from cellbrook.normalize._ranges import percentile_range
from cellbrook.resize import resize, smooth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.core.params import NormalizeParams

# Normalised values are not clipped: a network may use how bright the brightest are. Only what no image means
# is held back (a float64 outlier of 1e300 would become infinite and, in the network, NaN everywhere).
LIMIT = 1e6
# A block whose range is below this fraction of the image's own is empty: stretching it would show noise as
# cells.
_FLAT_BLOCK = 0.1
_STRIP_PIXELS = 1 << 16


def stretch(
    channel: NDArray[Any],
    low: float,
    high: float,
    invert: bool,
    out: NDArray[np.float32],
    threads: int,
    limit: float = LIMIT,
) -> None:
    scale = 1 / max(high - low, 1e-300)
    source, target = channel.reshape(-1), out.reshape(-1)
    if source.dtype != np.float16:
        _native.stretch(source, target, low, scale, invert, limit, threads)
        return
    for start in range(0, len(source), _STRIP_PIXELS):  # the kernel has no half-precision numbers
        part = slice(start, start + _STRIP_PIXELS)
        _native.stretch(source[part].astype(np.float32), target[part], low, scale, invert, limit, threads)


def stretch_blocks(
    channel: NDArray[Any],
    low: float,
    high: float,
    params: NormalizeParams,
    out: NDArray[np.float32],
    threads: int,
) -> None:
    """Stretch by percentiles of the blocks of a grid, smoothed, and interpolated between their centres."""
    grid = _block_ranges(channel, low, high, params, threads)
    rows, cols = channel.shape
    across = resize(grid, (grid.shape[1], cols), threads=threads)  # (2, blocks, X)
    position = np.clip((np.arange(rows) + 0.5) * grid.shape[1] / rows - 0.5, 0, grid.shape[1] - 1)
    above = np.minimum(position.astype(np.int64), max(0, grid.shape[1] - 2))
    below = np.minimum(above + 1, grid.shape[1] - 1)
    part = (position - above).astype(np.float32)[:, None]
    strip = max(1, _STRIP_PIXELS // cols)
    for start in range(0, rows, strip):  # never the full maps of lows and highs
        y = slice(start, start + strip)
        relative = np.empty(channel[y].shape, np.float32)
        stretch(channel[y], low, high, False, relative, threads)
        lows, highs = (m[above[y]] * (1 - part[y]) + m[below[y]] * part[y] for m in across)
        np.divide(relative - lows, highs - lows, out=out[y])
        if params.invert:
            np.subtract(1, out[y], out=out[y])


def _block_ranges(
    channel: NDArray[Any], low: float, high: float, params: NormalizeParams, threads: int
) -> NDArray[np.float32]:
    """Return each block's range, (2, blocks down, blocks across), in units of the image's own range."""
    rows, cols = channel.shape
    edges_y = np.linspace(0, rows, -(-rows // params.tile_norm_size) + 1).round().astype(int)
    edges_x = np.linspace(0, cols, -(-cols // params.tile_norm_size) + 1).round().astype(int)
    found = np.zeros((2, len(edges_y) - 1, len(edges_x) - 1))
    for i in range(found.shape[1]):
        for j in range(found.shape[2]):
            block = np.ascontiguousarray(channel[edges_y[i] : edges_y[i + 1], edges_x[j] : edges_x[j + 1]])
            bottom, top = percentile_range(block, params, threads)
            # an empty block that was widened could not be told from others
            if top - bottom >= _FLAT_BLOCK * (high - low):
                bottom, top = of_enough_levels(block, bottom, top)
            found[:, i, j] = bottom, top
    grid = np.clip((found - low) / (high - low), -LIMIT, LIMIT).astype(np.float32)
    flat = grid[1] - grid[0] < _FLAT_BLOCK
    if flat.all():
        return np.broadcast_to(np.array([0, 1], np.float32)[:, None, None], grid.shape)
    while flat.any():
        _fill_from_neighbours(grid, flat)
    # about 1-2-1: wider would pull the outermost blocks off a slope of light
    return smooth(grid, 0.7, threads=1)


def _fill_from_neighbours(grid: NDArray[np.float32], flat: NDArray[np.bool_]) -> None:
    """Give flat blocks beside filled ones the mean of those, in place, and take them off `flat`."""
    known = np.pad(~flat, 1).astype(np.float32)
    values = np.pad(np.where(flat, 0, grid), ((0, 0), (1, 1), (1, 1)))
    offsets = [(i, j) for i in range(3) for j in range(3)]
    rows, cols = flat.shape
    count = sum(known[i : i + rows, j : j + cols] for i, j in offsets)
    total = sum(values[:, i : i + rows, j : j + cols] for i, j in offsets)
    new = flat & (count > 0)
    grid[:, new] = (total / np.maximum(count, 1))[:, new]
    flat[new] = False
