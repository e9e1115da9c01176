"""Intensities: the range that networks expect, whatever the camera gave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook._kernels import _native
from cellbrook.core.params import NormalizeParams
from cellbrook.core.threads import resolve_threads
from cellbrook.errors import UsageError
from cellbrook.resize import resize, smooth

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["noise_channels", "normalize", "percentile_ranges", "stack_ranges"]

# Normalised values are not clipped: a network may use how bright the brightest are. Only what no image means
# is held back (a float64 outlier of 1e300 would become infinite and, in the network, NaN everywhere).
_LIMIT = 1e6
# Whole numbers within so few of each other are noise of the last digit, which would look like cells once it is stretched:
# they stay within this many parts of the range.
_LEAST_LEVELS = 8
# Within so few levels a compression may leave nothing but its blocks. Anything with an edge would still be seen inside
# them, so there is nothing to find; stretched, blocks look like cells. Of all steps between neighbours more than this share
# then lies at their borders (in real images a seventh at most, in compressed ones half).
_FEW_LEVELS, _BLOCK, _AT_BORDERS = 16, 8, 0.8
# Where it left edges besides, at least this share lies there, and what blocks differ by is what levels are counted in.
_OFTEN_AT_BORDERS = 0.3
# White noise averages out: means of blocks of 8 x 8 px then vary by an eighth of what pixels do. Of 1,300 channels of real
# images and 660 generated ones with cells, one block at least is 8 of these standard deviations off its neighbours, of pure
# noise of up to 2048 x 2048 px none is 5.1; the variance is 1.2 and 1.07 times what noise would have.
_NOISE_BLOCK, _NOISE_OFF, _NOISE_VARIANCE, _NOISE_LEAST_PX = 8, 6.0, 1.5, 64
# Where all but a fiftieth of the pixels at either end lie within so many standard deviations of the noise around the median,
# they are background: stretched to the range of noise, objects would reach many times the values that networks know. What is
# so much farther off belongs to objects, and where three quarters of it begin or end takes the place of the percentile.
_FEW, _NOISE_REACH, _OBJECT_REACH, _OBJECT_SHARE, _LEAST_OBJECT_PX = 0.02, 4.0, 6.0, 0.75, 30
_QUARTILE = 0.6745  # of a normal distribution, in standard deviations
# A block whose range is below this fraction of the image's own is empty: stretching it would show noise as
# cells.
_FLAT_BLOCK = 0.1
_STRIP_PIXELS = 1 << 16
_KIND = {"u": 0, "b": 0, "i": 1, "f": 2}


def normalize(
    image_CYX: NDArray[Any],
    params: NormalizeParams | None = None,
    *,
    ranges: NDArray[np.float64] | None = None,
    sparse: bool = False,
    threads: int | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Stretch each channel so that its percentiles become 0 and 1, without clipping.

    Parameters
    ----------
    image_CYX : ndarray of shape (C, Y, X), any bool, integer or float type
        May have no pixels.
    params : NormalizeParams or None
        None: the defaults. With ``normalize=False`` the image is only cast to float32; nothing else is done
        to it.
    ranges : ndarray of shape (C, 2) or None
        What becomes 0 and 1 in each channel, as `percentile_ranges` gives it: so that parts of a large image
        are normalised by the percentiles of the whole. Not together with ``tile_norm_size``, which needs the
        whole image.
    sparse : bool
        Where nearly all of a channel is background, go by the objects instead; not where `params` has percentiles
        of its own.
    threads : int or None
        Processor threads. None: the cores this process may use.
    out : ndarray of shape (C, Y, X), float32, C-contiguous, or None
        Where to write the result; may be `image_CYX` itself.

    Returns
    -------
    ndarray of shape (C, Y, X), float32
        Without NaN or infinities unless ``normalize=False``: they become 0 (1 with `invert`). A channel all
        of one value becomes 0.

    Raises
    ------
    UsageError
        If the image does not have three axes and real numbers, or `ranges` make no sense.

    Notes
    -----
    Percentiles are exact, interpolated linearly as `numpy.percentile` does, and taken over finite pixels
    only. Where the two are equal although the channel is not constant (a few bright cells on a flat
    background, or most of the picture saturated) they are moved outwards to a tenth and a hundredth of their
    distance from 0 and 100, and at last to the extremes, until they differ. Whole numbers are stretched
    as if they spanned eight levels at least, but for pictures of 0 and 1 alone; where a strong compression left
    blocks, a level is what they differ by. A channel of a few levels of which it left only the blocks counts as constant,
    as does one of noise beside others (`noise_channels`).

    Smoothing and sharpening come first, on the raw intensities: smooth(image) - smooth(image, sharpen_radius)
    with both. At edges the image is mirrored.

    With `sparse`, a channel counts as background if its percentiles 2 and 98 lie within four standard deviations of its
    noise (from its quartiles or from what neighbours differ by, whichever is less) around the median. What is more than six
    away then is of objects, and if that is 30 px or more, the bright ones' third quartile becomes 1, the dark ones' first
    quartile 0, unless the percentiles are farther out.

    Examples
    --------
    >>> import numpy as np
    >>> ramp = np.arange(101, dtype=np.uint8).reshape(1, 1, 101)
    >>> normalize(ramp)[0, 0, [1, 50, 99]].round(3).tolist()
    [0.0, 0.5, 1.0]
    """
    params = params or NormalizeParams()
    _check(image_CYX)
    threads = resolve_threads(threads)
    if out is None:
        out = np.empty(image_CYX.shape, np.float32)
    elif out.shape != image_CYX.shape or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise UsageError(
            f"out must be contiguous float32 of shape {image_CYX.shape}, got {out.dtype} of {out.shape}"
        )
    if ranges is not None:
        ranges = np.asarray(ranges, np.float64)
        if ranges.shape != (len(image_CYX), 2):
            raise UsageError(f"ranges must be of shape ({len(image_CYX)}, 2), got {ranges.shape}")
        if params.tile_norm_size > 0:
            raise UsageError("ranges and tile_norm_size exclude each other: give one of them")
    if image_CYX.size == 0:
        return out
    if not params.normalize:
        np.copyto(out, image_CYX, casting="unsafe")
        return out
    silent = noise_channels(image_CYX) if ranges is None else ()
    for c in range(len(image_CYX)):
        channel, offset = _filtered(_plain(image_CYX[c]), params, threads)
        low, high = (
            _channel_range(channel, params, threads, sparse=sparse) if ranges is None else ranges[c] - offset
        )
        if not high > low or c in silent:
            out[c] = 0
        elif params.tile_norm_size > 0 and max(channel.shape) > params.tile_norm_size:
            _stretch_blocks(channel, float(low), float(high), params, out[c], threads)
        else:
            _stretch(channel, float(low), float(high), params.invert, out[c], threads)
    return out


def percentile_ranges(
    image_CYX: NDArray[Any],
    params: NormalizeParams | None = None,
    *,
    sparse: bool = False,
    threads: int | None = None,
) -> NDArray[np.float64]:
    """Return what `normalize` makes 0 and 1 in each channel.

    Parameters
    ----------
    image_CYX : ndarray of shape (C, Y, X)
        As for `normalize`.
    params : NormalizeParams or None
        None: the defaults. With `sharpen_radius` or `smooth_radius` the ranges are those of the filtered
        image.
    sparse : bool
        As for `normalize`.
    threads : int or None
        Processor threads. None: the cores this process may use.

    Returns
    -------
    ndarray of shape (C, 2), float64
        Low and high of each channel; equal where the channel is constant or noise beside others, 0 and 0 where it
        has no finite pixel.

    Raises
    ------
    UsageError
        As for `normalize`.
    """
    params = params or NormalizeParams()
    _check(image_CYX)
    threads = resolve_threads(threads)
    ranges = np.zeros((len(image_CYX), 2))
    if image_CYX.size:
        for c in range(len(image_CYX)):
            channel, offset = _filtered(_plain(image_CYX[c]), params, threads)
            ranges[c] = np.add(_channel_range(channel, params, threads, sparse=sparse), offset)
    return _silenced(ranges, noise_channels(image_CYX))


def stack_ranges(
    image: NDArray[Any],
    params: NormalizeParams | None = None,
    *,
    sparse: bool = False,
    threads: int | None = None,
) -> NDArray[np.float64]:
    """Return `percentile_ranges` of a whole stack, so that an empty plane is not stretched into noise.

    Parameters
    ----------
    image : ndarray of shape (..., C, Y, X)
    params, sparse, threads
        As for `percentile_ranges`.
    """
    channels = (image[..., c, :, :].reshape(1, -1, image.shape[-1]) for c in range(image.shape[-3]))
    ranges = np.concatenate(
        [percentile_ranges(channel, params, sparse=sparse, threads=threads) for channel in channels]
    )
    return _silenced(ranges, noise_channels(image))


def noise_channels(image: NDArray[Any]) -> tuple[int, ...]:
    """Return which channels hold nothing but noise: a camera's, of a dye that is not there.

    Stretched to the range of the others, noise would be taken for a stain.

    Parameters
    ----------
    image : ndarray of shape (..., C, Y, X)
        With planes of less than 64 px no channel is judged.

    Returns
    -------
    tuple of int
        Their indices, 0-based; none if no other is left.

    Notes
    -----
    Noise is independent from pixel to pixel, so that means of small blocks differ from the line between their neighbours by
    little, and by a known amount. Second differences do not see uneven light. An image without objects in which a
    slow background is to be seen does not count.
    """
    count = image.shape[-3]
    if count < 2 or min(image.shape[-2:]) < _NOISE_LEAST_PX:
        return ()
    found = tuple(c for c in range(count) if _only_noise(image[..., c, :, :]))
    return found if len(found) < count else ()


def _silenced(ranges: NDArray[np.float64], channels: tuple[int, ...]) -> NDArray[np.float64]:
    ranges[list(channels), 1] = ranges[list(channels), 0]
    return ranges


def _only_noise(channel: NDArray[Any]) -> bool:
    planes = [channel[place] for place in np.ndindex(channel.shape[:-2])]  # views: a stack is not copied
    rows = channel.shape[-2] // _NOISE_BLOCK
    places = np.linspace(0, rows * len(planes) - 1, min(rows * len(planes), 32)).astype(int).tolist()
    bands = (planes[k // rows][k % rows * _NOISE_BLOCK :][:_NOISE_BLOCK] for k in places)
    sample = _finite(np.concatenate(list(bands)))
    low, high = np.percentile(sample.ravel()[::7], (1, 99))
    np.clip(sample, low, high, out=sample)  # one hot pixel would be all of the variance
    variance = float(np.mean(np.square(np.diff(sample, axis=1)))) / 2
    of_blocks = 6 * variance / _NOISE_BLOCK**2  # of second differences of independent values
    if not 0 < np.mean(np.square(np.diff(_block_means(sample), 2, axis=1))) < _NOISE_VARIANCE * of_blocks:
        return False
    return all(_most_off(np.clip(_finite(p), low, high)) < _NOISE_OFF * of_blocks**0.5 for p in planes)


def _finite(pixels: NDArray[Any]) -> NDArray[np.float32]:
    return np.nan_to_num(pixels.astype(np.float32), copy=False, posinf=0, neginf=0)


def _most_off(plane: NDArray[np.float32]) -> float:
    """Return how far a block is at most off the line between its neighbours."""
    half = _NOISE_BLOCK // 2  # what lies on the corner of four blocks is inside one of the other grid's
    grids = _block_means(plane), _block_means(plane[half:, half:])
    return max(float(np.abs(np.diff(means, 2, axis=axis)).max()) for means in grids for axis in (0, 1))


def _block_means(image: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, cols = (n // _NOISE_BLOCK for n in image.shape)
    image = image[: rows * _NOISE_BLOCK, : cols * _NOISE_BLOCK]
    means: NDArray[np.float32] = image.reshape(rows, _NOISE_BLOCK, cols, _NOISE_BLOCK).mean(axis=(1, 3))
    return means


def _check(image_CYX: NDArray[Any]) -> None:
    if image_CYX.ndim != 3 or image_CYX.dtype.kind not in _KIND:
        raise UsageError(
            f"normalize expects real numbers of shape (C, Y, X), got {image_CYX.dtype} of {image_CYX.shape}"
        )


def _plain(channel: NDArray[Any]) -> NDArray[Any]:
    """Return the channel contiguous, in native byte order and of a type that the kernels know."""
    kind = channel.dtype.kind
    if kind == "b":
        return np.ascontiguousarray(channel).view(np.uint8)
    if kind == "f" and channel.dtype.itemsize > 8:
        channel = channel.astype(np.float64)
    return np.ascontiguousarray(channel, channel.dtype.newbyteorder("="))


def _filtered(channel: NDArray[Any], params: NormalizeParams, threads: int) -> tuple[NDArray[Any], float]:
    """Return the channel smoothed and sharpened, and what is to be added to it."""
    if params.smooth_radius <= 0 and params.sharpen_radius <= 0:
        return channel, 0.0
    low, _ = _channel_range(channel, params, threads)
    # Relative to the low percentile: float32 keeps the digits of a small signal on a large offset.
    image = np.empty(channel.shape, np.float32)
    _stretch(channel, low, low + 1.0, False, image, threads, limit=1e30)
    result = smooth(image, params.smooth_radius, threads=threads)
    if params.sharpen_radius > 0:
        return result - smooth(image, params.sharpen_radius, threads=threads), 0.0
    return result, low


def _channel_range(
    channel: NDArray[Any], params: NormalizeParams, threads: int, *, sparse: bool = False
) -> tuple[float, float]:
    low, high = _percentile_range(channel, params, threads)
    usual = NormalizeParams()
    if sparse and (params.percentile_low, params.percentile_high) == (
        usual.percentile_low,
        usual.percentile_high,
    ):
        low, high = widened_to_few_objects(channel, low, high, threads)
    return _of_enough_levels(channel, low, high)


def widened_to_few_objects(
    channel: NDArray[Any], low: float, high: float, threads: int = 1
) -> tuple[float, float]:
    """Widen a range of background to that of the few objects on it; leave that of any other image as it is.

    Parameters
    ----------
    channel : ndarray, shape (Y, X)
        A channel, or parts from all over it.
    low, high : float
        Percentiles of it.
    threads : int
        To compute with.

    Returns
    -------
    low, high : float
    """
    fractions = np.array([_FEW, 0.25, 0.5, 0.75, 1 - _FEW])
    lowest, quarter, median, three, highest = _percentiles(channel, fractions, threads)
    rows = np.clip(_finite(channel[:: max(1, len(channel) // 64)]), low, high)
    # structures make quartiles far apart, and hardly what neighbours differ by; edges the reverse
    of_neighbours = np.sqrt(np.mean(np.square(np.diff(rows, axis=1))) / 2) if rows.shape[1] > 1 else 0.0
    noise = min((three - quarter) / (2 * _QUARTILE), float(of_neighbours))
    if channel.dtype.kind != "f":
        noise = max(noise, 0.5)  # of rounding to levels
    if max(median - lowest, highest - median) >= _NOISE_REACH * noise:
        return low, high
    reach = _OBJECT_REACH * noise
    bright = channel[channel > median + reach]
    dark = channel[channel < median - reach]
    if np.count_nonzero(np.isfinite(bright)) >= _LEAST_OBJECT_PX:
        high = max(high, *_percentiles(bright, np.array([_OBJECT_SHARE]), 1))
    if np.count_nonzero(np.isfinite(dark)) >= _LEAST_OBJECT_PX:
        low = min(low, *_percentiles(dark, np.array([1 - _OBJECT_SHARE]), 1))
    return low, high


def _percentile_range(channel: NDArray[Any], params: NormalizeParams, threads: int) -> tuple[float, float]:
    wider = np.array([[1.0], [0.1], [0.01], [0.0]])
    outside = wider * np.array([params.percentile_low, 100 - params.percentile_high]) / 100
    fractions = outside * [1, -1] + [0, 1]
    for pairs in (
        fractions[:1],
        fractions[1:],
    ):  # the wider ones together, as a pass over the image costs most
        found = _percentiles(channel, pairs.ravel(), threads)
        for low, high in zip(found[::2], found[1::2], strict=True):
            if high - low > _rounding(channel.dtype, low, high):
                return low, high
    return low, low


def _of_enough_levels(channel: NDArray[Any], low: float, high: float) -> tuple[float, float]:
    """Widen a range of so few levels that it would show noise as cells; where all is noise nothing is left of it."""
    level = _level(channel)
    few = high - low < _FEW_LEVELS
    if not high > low or not (few or high - low < _LEAST_LEVELS * level) or not _counts_levels(channel):
        return low, high
    return low, low if few and _only_blocks(channel) else max(high, low + _LEAST_LEVELS * level)


def _counts_levels(channel: NDArray[Any]) -> bool:
    """Tell whether values are levels of a camera: whole numbers, in whatever type, but not 0 and 1 alone."""
    finite = channel[np.isfinite(channel)] if channel.dtype.kind == "f" else channel
    beyond = finite.max() > 1 or finite.min() < 0
    return bool(beyond and (channel.dtype.kind != "f" or (finite == np.rint(finite)).all()))


def _only_blocks(channel: NDArray[Any]) -> bool:
    """Tell whether a compression (JPEG and its kin) left nothing but blocks, all over the image."""
    return _borders(_some_rows(channel), _AT_BORDERS) is not None


def _level(channel: NDArray[Any]) -> float:
    """Return the least that neighbouring values differ by: 1, or what the blocks of a compression do."""
    levels = []
    for image in (channel, channel.T):
        rows = _some_rows(image).astype(np.float64)
        borders = _borders(rows, _OFTEN_AT_BORDERS)
        if borders is None:
            return 1.0
        with np.errstate(over="ignore"):
            steps = np.abs(rows[:, borders + 1] - rows[:, borders])
        levels.append(float(np.percentile(steps[steps > 0], 10)))  # rounding may make one of two
    return max(1.0, min(levels))


def _some_rows(image: NDArray[Any]) -> NDArray[Any]:
    rows: NDArray[Any] = image[:: max(1, len(image) // 64)]
    return rows


def _borders(rows: NDArray[Any], least: float) -> NDArray[np.intp] | None:
    """Return the columns before borders of blocks; None if less than `least` of all steps lie there, or half have none."""
    steps = np.count_nonzero(rows[:, 1:] != rows[:, :-1], axis=0)
    columns = max(
        (np.arange(k, len(steps), _BLOCK) for k in range(_BLOCK)), key=lambda at: int(steps[at].sum())
    )
    borders = steps[columns]
    everywhere = len(borders) >= _BLOCK and np.count_nonzero(borders) > len(borders) / 2
    return columns if everywhere and borders.sum() > least * steps.sum() else None


def _rounding(dtype: np.dtype[Any], low: float, high: float) -> float:
    """Return the largest difference that is mere rounding: a constant float image has no signal."""
    return 4 * float(np.finfo(dtype).eps) * max(abs(low), abs(high)) if dtype.kind == "f" else 0.0


def _percentiles(channel: NDArray[Any], fractions: NDArray[np.float64], threads: int) -> tuple[float, ...]:
    flat = channel.reshape(-1)
    found = np.zeros(len(fractions))
    bits = flat.view(f"u{flat.dtype.itemsize}")
    if not _native.percentiles(bits, _KIND[flat.dtype.kind], fractions, found, threads):
        return (0.0,) * len(fractions)
    return tuple(found.tolist())


def _percentiles_reference(channel: NDArray[Any], fractions: NDArray[np.float64]) -> tuple[float, ...]:
    """Do what `_percentiles` does: its specification."""
    values = channel[np.isfinite(channel)].astype(np.float64)
    return tuple(np.quantile(values, fractions).tolist()) if values.size else (0.0,) * len(fractions)


def _stretch(
    channel: NDArray[Any],
    low: float,
    high: float,
    invert: bool,
    out: NDArray[np.float32],
    threads: int,
    limit: float = _LIMIT,
) -> None:
    scale = 1 / max(high - low, 1e-300)
    source, target = channel.reshape(-1), out.reshape(-1)
    if source.dtype != np.float16:
        _native.stretch(source, target, low, scale, invert, limit, threads)
        return
    for start in range(0, len(source), _STRIP_PIXELS):  # the kernel has no half-precision numbers
        part = slice(start, start + _STRIP_PIXELS)
        _native.stretch(source[part].astype(np.float32), target[part], low, scale, invert, limit, threads)


def _stretch_blocks(
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
        _stretch(channel[y], low, high, False, relative, threads)
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
            bottom, top = _percentile_range(block, params, threads)
            # an empty block that was widened could not be told from others
            if top - bottom >= _FLAT_BLOCK * (high - low):
                bottom, top = _of_enough_levels(block, bottom, top)
            found[:, i, j] = bottom, top
    grid = np.clip((found - low) / (high - low), -_LIMIT, _LIMIT).astype(np.float32)
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
