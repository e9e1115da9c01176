"""From an ideal picture to what a camera writes: blur, shading, noise, offset, saturation, digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.training.synthetic._fields import blur, log_uniform, smooth_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Camera:
    """What one acquisition does to a picture whose ordinary values lie between 0 and 1.

    Attributes
    ----------
    psf_px : float
        Standard deviation of the blur before noise.
    photons : float
        Mean photon count at value 1; the noise at value v is sqrt(v / photons).
    read_noise : float
        Standard deviation of signal-independent noise, in picture values.
    grain_px : float
        Standard deviation of the blur after noise (resampled or filtered files).
    shading : float
        Relative change of illumination over the field.
    full_scale : float
        Camera units of value 1.
    offset : float
        Camera units of value 0.
    ceiling : float
        Saturation, in camera units.
    blockiness : float
        Step of the 8 x 8 cosine quantisation relative to value 1; 0 = none.
    """

    psf_px: float = 0.7
    photons: float = 1000.0
    read_noise: float = 0.0
    grain_px: float = 0.0
    shading: float = 0.0
    full_scale: float = 255.0
    offset: float = 0.0
    ceiling: float = 255.0
    blockiness: float = 0.0


def fluorescence_camera(rng: np.random.Generator, detail_px: float, faintest: float, ground: float) -> Camera:
    """Draw a camera for dark-field pictures.

    Parameters
    ----------
    rng : numpy.random.Generator
    detail_px : float
        Bound of the blur, a share of the object's size.
    faintest : float
        Value of the faintest objects, above the ground; noise and digits leave them visible, since a label
        that nobody could have drawn teaches nothing.
    ground : float
        Typical value of the background.
    """
    ceiling = float(rng.choice([255.0, 255.0, 4095.0, 65535.0]))
    full = ceiling * min(
        1.6, max(log_uniform(rng, 0.04 if ceiling > 255 else 0.12, 1.6), 4 / faintest / ceiling)
    )
    noisy = rng.uniform() < 0.35
    photons = log_uniform(rng, 15, 150) if noisy else log_uniform(rng, 150, 8000)
    read_noise = log_uniform(rng, 0.002, 0.06 if noisy else 0.02)
    return Camera(
        psf_px=min(rng.uniform(0.5, 1.6), detail_px),
        photons=max(photons, 4 / faintest, 1.5 * ground / faintest**2),
        read_noise=min(read_noise, 0.6 * faintest),
        grain_px=float(rng.uniform(0.4, 0.9)) if rng.uniform() < 0.3 else 0.0,
        shading=float(rng.uniform(0, 0.5)),
        full_scale=full,
        offset=ceiling * float(rng.choice([0.0, rng.uniform(0, 0.06)])),
        ceiling=ceiling,
        blockiness=float(rng.uniform(0.01, 0.04)) if rng.uniform() < 0.12 else 0.0,
    )


def transmission_camera(
    rng: np.random.Generator, detail_px: float, contrast: float, colour: bool = False
) -> Camera:
    """Draw a camera for bright pictures: phase contrast, brightfield, or `colour` for stained slides.

    Parameters
    ----------
    rng : numpy.random.Generator
    detail_px : float
        Bound of the blur, a share of the object's size.
    contrast : float
        Values by which objects differ from the ground; noise stays below it.
    colour : bool
        A colour camera: 8 bits, well lit.
    """
    ceiling = 255.0 if colour else float(rng.choice([255.0, 255.0, 255.0, 4095.0, 65535.0]))
    return Camera(
        psf_px=min(rng.uniform(0.4, 1.3), detail_px),
        photons=max(log_uniform(rng, 1500 if colour else 300, 20000), 3 / contrast**2),
        read_noise=min(log_uniform(rng, 0.001, 0.02), 0.3 * contrast),
        grain_px=float(rng.uniform(0.4, 0.8)) if rng.uniform() < 0.35 else 0.0,
        shading=float(rng.uniform(0, 0.25)),
        full_scale=ceiling * float(rng.uniform(0.8 if colour else 0.5, 1.05)),
        offset=0.0,
        ceiling=ceiling,
        blockiness=float(rng.uniform(0.03, 0.1)) * min(contrast, 0.3) if rng.uniform() < 0.2 else 0.0,
    )


def _cosine_matrix() -> NDArray[np.float32]:
    k, x = np.mgrid[:8, :8]
    matrix = np.sqrt(2 / 8) * np.cos(np.pi * (2 * x + 1) * k / 16)
    matrix[0] /= np.sqrt(2)
    return np.asarray(matrix, dtype=np.float32)


def quantise_blocks(image: Field, step: float) -> Field:
    """Return `image` with its 8 x 8 cosine coefficients rounded, coarser at high frequency (as JPEG does)."""
    height, width = image.shape
    padded = np.pad(image, ((0, -height % 8), (0, -width % 8)), mode="edge")
    rows, columns = padded.shape[0] // 8, padded.shape[1] // 8
    blocks = padded.reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3)
    matrix = _cosine_matrix()
    steps = np.float32(step) * (1 + np.add.outer(np.arange(8), np.arange(8)) / 3).astype(np.float32)
    coefficients = np.rint(matrix @ blocks @ matrix.T / steps) * steps
    back = (matrix.T @ coefficients @ matrix).transpose(0, 2, 1, 3).reshape(padded.shape)
    return np.ascontiguousarray(back[:height, :width], dtype=np.float32)


def illumination(rng: np.random.Generator, shape: tuple[int, int], strength: float) -> Field:
    """Return a smooth positive field (Y, X) with mean near 1: a gradient, a vignette and a soft stain."""
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    slope_y, slope_x, bowl = rng.uniform(-1, 1, 3) * strength * 0.5
    field = slope_y * y + slope_x * x - abs(bowl) * (x * x + y * y - 0.66)
    field = field + 0.15 * strength * smooth_noise(rng, shape, max(shape) / 3)
    return np.asarray(np.exp(field), dtype=np.float32)


def expose(rng: np.random.Generator, picture: Field, camera: Camera) -> NDArray[np.float32]:
    """Return what `camera` makes of a picture.

    Parameters
    ----------
    rng : numpy.random.Generator
    picture : ndarray of shape (C, Y, X), float32
        Ordinary values between 0 and 1; negative values are cut.

    Returns
    -------
    ndarray of shape (C, Y, X), float32
        Whole camera units from 0 to the ceiling.
    """
    shape = (picture.shape[1], picture.shape[2])
    light = illumination(rng, shape, camera.shading)
    out = np.empty(picture.shape, np.float32)
    for c, plane in enumerate(picture.astype(np.float32)):
        value = np.maximum(blur(plane, camera.psf_px) * light, 0)
        if camera.photons < 40:
            value = rng.poisson(value * camera.photons).astype(np.float32) / np.float32(camera.photons)
            spread = np.full(shape, camera.read_noise, np.float32)
        else:
            spread = np.sqrt(value / np.float32(camera.photons) + np.float32(camera.read_noise**2))
        value = value + spread * rng.standard_normal(shape, dtype=np.float32)
        value = blur(value, camera.grain_px) * np.float32(camera.full_scale) + np.float32(camera.offset)
        if camera.blockiness:
            value = quantise_blocks(value, camera.blockiness * min(camera.full_scale, camera.ceiling))
        out[c] = np.clip(np.rint(value), 0, camera.ceiling)
    return out
