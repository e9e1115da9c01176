"""Channels that hold nothing but noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# White noise averages out: means of blocks of 8 x 8 px then vary by an eighth of what pixels do. Of 1,300 channels of real
# images and 660 generated ones with cells, one block at least is 8 of these standard deviations off its neighbours, of pure
# noise of up to 2048 x 2048 px none is 5.1; the variance is 1.2 and 1.07 times what noise would have.
_NOISE_BLOCK, _NOISE_OFF, _NOISE_VARIANCE, _NOISE_LEAST_PX = 8, 6.0, 1.5, 64


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


def _only_noise(channel: NDArray[Any]) -> bool:
    planes = [channel[place] for place in np.ndindex(channel.shape[:-2])]  # views: a stack is not copied
    rows = channel.shape[-2] // _NOISE_BLOCK
    places = np.linspace(0, rows * len(planes) - 1, min(rows * len(planes), 32)).astype(int).tolist()
    bands = (planes[k // rows][k % rows * _NOISE_BLOCK :][:_NOISE_BLOCK] for k in places)
    sample = finite(np.concatenate(list(bands)))
    low, high = np.percentile(sample.ravel()[::7], (1, 99))
    np.clip(sample, low, high, out=sample)  # one hot pixel would be all of the variance
    variance = float(np.mean(np.square(np.diff(sample, axis=1)))) / 2
    of_blocks = 6 * variance / _NOISE_BLOCK**2  # of second differences of independent values
    if not 0 < np.mean(np.square(np.diff(_block_means(sample), 2, axis=1))) < _NOISE_VARIANCE * of_blocks:
        return False
    return all(_most_off(np.clip(finite(p), low, high)) < _NOISE_OFF * of_blocks**0.5 for p in planes)


def finite(pixels: NDArray[Any]) -> NDArray[np.float32]:
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
