"""Intensities: the range that networks expect, whatever the camera gave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.params import NormalizeParams
from cellbrook.core.threads import resolve_threads
from cellbrook.errors import UsageError
from cellbrook.normalize._noise import noise_channels
from cellbrook.normalize._ranges import KIND, channel_range, widened_to_few_objects
from cellbrook.normalize._stretch import stretch, stretch_blocks
from cellbrook.resize import smooth

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["noise_channels", "normalize", "percentile_ranges", "stack_ranges", "widened_to_few_objects"]


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
            channel_range(channel, params, threads, sparse=sparse) if ranges is None else ranges[c] - offset
        )
        if not high > low or c in silent:
            out[c] = 0
        elif params.tile_norm_size > 0 and max(channel.shape) > params.tile_norm_size:
            stretch_blocks(channel, float(low), float(high), params, out[c], threads)
        else:
            stretch(channel, float(low), float(high), params.invert, out[c], threads)
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
            ranges[c] = np.add(channel_range(channel, params, threads, sparse=sparse), offset)
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


def _silenced(ranges: NDArray[np.float64], channels: tuple[int, ...]) -> NDArray[np.float64]:
    ranges[list(channels), 1] = ranges[list(channels), 0]
    return ranges


def _check(image_CYX: NDArray[Any]) -> None:
    if image_CYX.ndim != 3 or image_CYX.dtype.kind not in KIND:
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
    low, _ = channel_range(channel, params, threads)
    # Relative to the low percentile: float32 keeps the digits of a small signal on a large offset.
    image = np.empty(channel.shape, np.float32)
    stretch(channel, low, low + 1.0, False, image, threads, limit=1e30)
    result = smooth(image, params.smooth_radius, threads=threads)
    if params.sharpen_radius > 0:
        return result - smooth(image, params.sharpen_radius, threads=threads), 0.0
    return result, low
