"""Smooth random fields and filters on (Y, X) float32 images, in NumPy alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.floating[Any]]

# Mean standard deviation of white noise after cubic B-spline interpolation on both axes; divides it out.
_BSPLINE_STD = 0.479


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a number whose logarithm is uniform between those of `low` and `high`."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def blur_axis0(image: Field, sigma: float) -> Field:
    """Return `image` (N, M) convolved along its first axis with a Gaussian; edges are repeated."""
    radius = max(1, int(np.ceil(2.7 * sigma)))
    weights = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    weights = (weights / (weights[0] + 2 * weights[1:].sum())).astype(np.float32)
    n = image.shape[0]
    rows = np.clip(np.arange(-radius, n + radius), 0, n - 1)
    padded = image[rows]
    out = padded[radius : radius + n] * weights[0]
    for k in range(1, radius + 1):
        out += weights[k] * (padded[radius - k : radius - k + n] + padded[radius + k : radius + k + n])
    return np.asarray(out, dtype=np.float32)


def _enlarge_axis0(image: Field, n: int, step: int) -> Field:
    position = np.clip((np.arange(n) + 0.5) / step - 0.5, 0, image.shape[0] - 1)
    low = np.minimum(position.astype(np.intp), max(0, image.shape[0] - 2))
    high = np.minimum(low + 1, image.shape[0] - 1)
    weight = (position - low).astype(np.float32)[:, None]
    below = image[low]
    return np.asarray(below + weight * (image[high] - below), dtype=np.float32)


def blur(image: Field, sigma: float, sigma_x: float | None = None) -> Field:
    """Return `image` convolved with a Gaussian; edges are repeated.

    Parameters
    ----------
    image : ndarray of shape (Y, X), float32
    sigma : float
        Standard deviation in pixels along Y, and along X unless `sigma_x` is given. Below 0.2: no blur.
    sigma_x : float, optional
        Standard deviation in pixels along X.

    Notes
    -----
    Wide Gaussians work on an image of block means, which costs the same for any width.
    """
    sigma_x = sigma if sigma_x is None else sigma_x
    height, width = image.shape
    step_y, step_x = max(1, int(sigma / 2.2)), max(1, int(sigma_x / 2.2))
    if step_y > 1 or step_x > 1:
        rows, columns = -(-height // step_y), -(-width // step_x)
        padded = np.pad(image, ((0, rows * step_y - height), (0, columns * step_x - width)), mode="edge")
        small = padded.reshape(rows, step_y, columns, step_x).mean(axis=(1, 3), dtype=np.float32)
    else:
        small = image
    if sigma >= 0.2:
        small = blur_axis0(small, sigma / step_y)
    if sigma_x >= 0.2:
        small = blur_axis0(np.ascontiguousarray(small.T), sigma_x / step_x).T
    if step_y > 1:
        small = _enlarge_axis0(small, height, step_y)
    if step_x > 1:
        small = _enlarge_axis0(np.ascontiguousarray(small.T), width, step_x).T
    return np.ascontiguousarray(small, dtype=np.float32)


def _bspline_axis0(grid: Field, n: int, scale: float, offset: float) -> Field:
    position = np.arange(n) / scale + offset
    low = position.astype(np.intp)
    t = (position - low).astype(np.float32)[:, None]
    s = 1 - t
    out = (s**3 / 6) * grid[low]
    out += ((3 * t**3 - 6 * t**2 + 4) / 6) * grid[low + 1]
    out += ((3 * s**3 - 6 * s**2 + 4) / 6) * grid[low + 2]
    out += (t**3 / 6) * grid[low + 3]
    return np.asarray(out, dtype=np.float32)


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], scale: float, scale_x: float | None = None
) -> Field:
    """Return smooth Gaussian noise with mean 0 and standard deviation near 1.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        (Y, X) of the result.
    scale : float
        Distance in pixels between independent values; at least 1 is used.
    scale_x : float, optional
        The same along X where it differs.
    """
    scale_y, scale_x = max(1.0, scale), max(1.0, scale if scale_x is None else scale_x)
    rows, columns = int(shape[0] / scale_y) + 6, int(shape[1] / scale_x) + 6
    grid = rng.standard_normal((rows, columns), dtype=np.float32) / np.float32(_BSPLINE_STD**2)
    offset_y, offset_x = rng.uniform(0, 1, 2)
    # the grid grows by scale_y first: the second axis is then the longer work
    tall = _bspline_axis0(grid, shape[0], scale_y, float(offset_y))
    out = _bspline_axis0(np.ascontiguousarray(tall.T), shape[1], scale_x, float(offset_x)).T
    return np.ascontiguousarray(out * np.float32(_BSPLINE_STD), dtype=np.float32)


def fractal_noise(
    rng: np.random.Generator, shape: tuple[int, int], scale: float, octaves: int = 3, gain: float = 0.6
) -> Field:
    """Return noise with detail from `scale` px downwards, standard deviation near 1."""
    total = np.zeros(shape, np.float32)
    power = 0.0
    for octave in range(octaves):
        weight = gain**octave
        total += np.float32(weight) * smooth_noise(rng, shape, scale / 2**octave)
        power += weight**2
    return np.asarray(total / np.float32(np.sqrt(power)), dtype=np.float32)


def warp_index(
    rng: np.random.Generator, shape: tuple[int, int], scale: float, amplitude: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return row and column indices (Y, X) that displace an image smoothly by about `amplitude` px."""
    rows = np.arange(shape[0])[:, None] + amplitude * smooth_noise(rng, shape, scale)
    columns = np.arange(shape[1])[None, :] + amplitude * smooth_noise(rng, shape, scale)
    return (
        np.clip(np.rint(rows), 0, shape[0] - 1).astype(np.intp),
        np.clip(np.rint(columns), 0, shape[1] - 1).astype(np.intp),
    )


def smoothstep(x: Field, low: float, high: float) -> Field:
    """Return 0 below `low`, 1 above `high` and a smooth rise between."""
    t = np.clip((x - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def fibres(rng: np.random.Generator, shape: tuple[int, int], width: float, length: float) -> Field:
    """Return noise (Y, X) of strands along one wavy direction, `width` px wide and `length` px long."""
    height, breadth = shape
    side = int(1.5 * max(height, breadth)) + 1
    straight = smooth_noise(rng, (side, side), width, length)
    angle = rng.uniform(-np.pi, np.pi)
    y = np.arange(height, dtype=np.float32)[:, None] - height / 2
    x = np.arange(breadth, dtype=np.float32)[None, :] - breadth / 2
    wave = rng.uniform(0.05, 0.35) * length * smooth_noise(rng, shape, 1.5 * length)
    across = y * np.cos(angle) - x * np.sin(angle) + wave + side / 2
    along = x * np.cos(angle) + y * np.sin(angle) + side / 2
    rows = np.clip(across, 0, side - 1).astype(np.intp)
    columns = np.clip(along, 0, side - 1).astype(np.intp)
    return np.asarray(straight[rows, columns], dtype=np.float32)
