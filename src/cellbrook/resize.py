"""Resizing, and the separable filters behind it.

Pixels are squares and keep their places: the image's outer edges stay its outer edges (half-pixel alignment),
so a map that was computed on the resized image and resized back lies where it belongs.

Enlarging is bilinear. Shrinking by a factor s averages the bilinear interpolation over s - 1 pixels, which is
the plain 2 x 2 mean at s = 2, joins enlarging without a jump at s = 1, and keeps straight ramps straight at
every factor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cellbrook._kernels import _native
from cellbrook.core.threads import resolve_threads
from cellbrook.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["resize", "scaled_shape", "smooth"]

_WIDE_SIGMA = 16.0


class AxisWeights(NamedTuple):
    """One axis of a separable filter: ``out[i] = sum_k weights[i, k] * input[start[i] + k]``."""

    start: NDArray[np.int32]  # (n_out,)
    weights: NDArray[np.float32]  # (n_out, taps); the windows lie inside the input


def scaled_shape(shape_YX: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return the shape of an image resized by `scale`, each side rounded and at least 1.

    Raises
    ------
    UsageError
        If `scale` is not a positive, finite number.

    Examples
    --------
    >>> scaled_shape((101, 4), 0.1)
    (10, 1)
    """
    if not (np.isfinite(scale) and scale > 0):
        raise UsageError(f"scale must be a positive number, got {scale}")
    rows, cols = shape_YX
    return max(1, round(rows * scale)), max(1, round(cols * scale))


def resize(
    image: NDArray[np.float32], shape_YX: tuple[int, int], *, threads: int | None = None
) -> NDArray[np.float32]:
    """Resize an image, or every channel of one.

    Parameters
    ----------
    image : ndarray of shape (C, Y, X) or (Y, X), float32
        Finite values: a NaN would spread to the pixels around it.
    shape_YX : tuple of int
        Rows and columns of the result, at least 1 each. Each axis is enlarged or shrunk by itself.
    threads : int or None
        Processor threads. None: the cores this process may use.

    Returns
    -------
    ndarray of shape (C, *shape_YX) or shape_YX, float32
        `image` itself if it has that shape already.

    Raises
    ------
    UsageError
        If the image is not float32 with two or three axes, has no pixels, or the shape has a side below 1.

    Examples
    --------
    >>> import numpy as np
    >>> resize(np.array([[0, 1, 2, 3]], np.float32), (1, 2))
    array([[0.5, 2.5]], dtype=float32)
    """
    rows, cols = (int(n) for n in shape_YX)
    if image.ndim not in (2, 3) or image.dtype != np.float32:
        raise UsageError(
            f"resize expects float32 of shape (C, Y, X) or (Y, X), got {image.dtype} of shape {image.shape}"
        )
    if rows < 1 or cols < 1:
        raise UsageError(f"resize expects at least 1 x 1 pixels as a result, got {rows} x {cols}")
    if image.shape[-2:] == (rows, cols):
        return image
    if 0 in image.shape[-2:]:
        raise UsageError(f"an image without pixels cannot be resized: its shape is {image.shape}")
    return _apply(
        image, _resize_weights(image.shape[-2], rows), _resize_weights(image.shape[-1], cols), threads
    )


def smooth(image: NDArray[np.float32], sigma: float, *, threads: int | None = None) -> NDArray[np.float32]:
    """Filter with a Gaussian; the image is mirrored at its edges.

    Parameters
    ----------
    image : ndarray of shape (C, Y, X) or (Y, X), float32
        Finite values.
    sigma : float
        Standard deviation in pixels; 0 returns the image itself.
    threads : int or None
        Processor threads. None: the cores this process may use.

    Returns
    -------
    ndarray of the same shape, float32

    Notes
    -----
    The Gaussian is cut off at 4 sigma. Beyond a sigma of 16 pixels the image is shrunk to a sigma of about 8
    before and enlarged after, which costs less the wider the Gaussian is and changes the result by about a
    thousandth of its range.
    """
    if sigma <= 0 or 0 in image.shape:
        return image
    rows, cols = image.shape[-2:]
    if sigma > _WIDE_SIGMA:
        shrink = sigma * 2 / _WIDE_SIGMA
        # shrinking and enlarging blur as well, by about this variance together
        rest = np.sqrt(sigma**2 - shrink**2 / 4) / shrink
        small = resize(image, scaled_shape((rows, cols), 1 / shrink), threads=threads)
        return resize(smooth(small, rest, threads=threads), (rows, cols), threads=threads)
    return _apply(image, _gauss_weights(rows, sigma), _gauss_weights(cols, sigma), threads)


def _apply(
    image: NDArray[np.float32], along_y: AxisWeights, along_x: AxisWeights, threads: int | None
) -> NDArray[np.float32]:
    stack = np.ascontiguousarray(image if image.ndim == 3 else image[None])
    out = np.empty((stack.shape[0], len(along_y.start), len(along_x.start)), np.float32)
    _native.resample(stack, *along_y, *along_x, out, resolve_threads(threads))
    return out if image.ndim == 3 else out[0]


def _apply_reference(image: ArrayLike, along_y: AxisWeights, along_x: AxisWeights) -> NDArray[np.float64]:
    """Do what `_apply` does, as two matrix products in float64: its specification."""
    array = np.asarray(image, np.float64)
    return _matrix(along_y, array.shape[-2]) @ array @ _matrix(along_x, array.shape[-1]).T


def _matrix(axis: AxisWeights, n_in: int) -> NDArray[np.float64]:
    dense = np.zeros((len(axis.start), n_in))
    columns = axis.start[:, None] + np.arange(axis.weights.shape[1])
    np.put_along_axis(dense, columns, axis.weights.astype(np.float64), axis=1)
    return dense


def _resize_weights(n_in: int, n_out: int) -> AxisWeights:
    if n_in == n_out:
        return AxisWeights(np.arange(n_in, dtype=np.int32), np.ones((n_in, 1), np.float32))
    step = n_in / n_out
    centre = (np.arange(n_out) + 0.5) * step - 0.5
    half = max(0.0, (step - 1) / 2)
    first = np.floor(centre - half).astype(np.int64)
    taps = int(np.max(np.ceil(centre + half).astype(np.int64) - first)) + 1
    source = first[:, None] + np.arange(taps)
    distance = source - centre[:, None]
    if half > 1e-6:
        weights = (_hat_integral(half - distance) - _hat_integral(-half - distance)) / (2 * half)
    else:
        weights = np.maximum(0.0, 1 - np.abs(distance))
    return _fold(np.clip(source, 0, n_in - 1), weights, n_in)


def _hat_integral(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Integral from minus infinity to t of the weight max(0, 1 - |u|) of linear interpolation."""
    t = np.clip(t, -1, 1)
    return np.where(t < 0, (1 + t) ** 2 / 2, 1 - (1 - t) ** 2 / 2)


def _gauss_weights(n: int, sigma: float) -> AxisWeights:
    radius = max(1, int(np.ceil(4 * sigma)))
    offset = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offset / sigma) ** 2)
    source = np.arange(n)[:, None] + offset
    mirrored = source % (2 * n)  # the image, then its mirror image, and so on: scipy's "reflect"
    mirrored = np.where(mirrored < n, mirrored, 2 * n - 1 - mirrored)
    return _fold(mirrored, np.broadcast_to(kernel / kernel.sum(), source.shape), n)


def _fold(source: NDArray[np.int64], weights: NDArray[np.float64], n_in: int) -> AxisWeights:
    """Add up weights that fall on the same input pixel; shift windows so that they lie inside the input."""
    n_out = len(source)
    start = source.min(axis=1)
    taps = int((source.max(axis=1) - start).max()) + 1
    start = np.minimum(start, n_in - taps)
    folded = np.zeros((n_out, taps))
    np.add.at(folded, (np.arange(n_out)[:, None], source - start[:, None]), weights)
    folded /= folded.sum(axis=1, keepdims=True)
    return AxisWeights(start.astype(np.int32), np.ascontiguousarray(folded, np.float32))
