"""Pictures of the synthetic scenes, as a camera would give them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TILE_ROWS = 512  # noise is drawn in bands: float64 for a whole 4096 x 4096 image would take 128 MB a step


def fluorescence(labels: NDArray[np.uint32], seed: int = 0) -> NDArray[np.uint16]:
    """Return a uint16 fluorescence image of labelled cells.

    Cells differ in brightness and are dimmer towards their borders; blur, uneven background, photon noise and
    read noise follow.
    """
    rng = np.random.default_rng(seed + 2)
    brightness = rng.lognormal(np.log(2500), 0.35, int(labels.max()) + 1).astype(np.float32)
    brightness[0] = 0
    border = ndimage.grey_dilation(labels, 3) != ndimage.grey_erosion(labels, 3)
    inside = ((labels > 0) & ~border).astype(np.float32)
    signal = brightness[labels] * (0.25 + 0.75 * ndimage.gaussian_filter(inside, 2.0))
    signal = ndimage.gaussian_filter(signal, 1.2)
    ramp = np.linspace(150, 400, labels.shape[1], dtype=np.float32)
    image = np.empty(labels.shape, np.uint16)
    for top in range(0, len(image), _TILE_ROWS):
        band = signal[top : top + _TILE_ROWS] + ramp
        noisy = 2.0 * rng.poisson(band / 2.0) + rng.normal(0, 12, band.shape) + 100
        image[top : top + _TILE_ROWS] = np.clip(noisy, 0, 65535)
    return image
