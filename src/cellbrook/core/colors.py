"""Colours for labels: one table for label images, overlays and previews."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# From one id to the next, hue and lightness advance by these fractions of their range. Found by random search
# for the largest difference (CIEDE2000) between ids up to 8 apart, as seen with normal and with
# red-green-blind eyes.
_HUE_STEP = 0.5834532754872636
_LIGHTNESS_STEP = 0.9087757975926071
# Lightness carries the difference for those who cannot tell red from green; below 0.5 a colour drowns in a
# dark image.
_LIGHTNESS = (0.50, 0.93)


def label_colors(n: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return a colour for every label.

    Colours of ids that are close to each other differ strongly, in lightness as well as in hue, so that
    neighbouring objects can be told apart with impaired colour vision too. The colour of an id does not
    depend on `n`.

    Parameters
    ----------
    n : int
        Largest label.
    seed : int
        Another seed gives other colours, spread as well.

    Returns
    -------
    ndarray of shape (n + 1, 3), uint8
        sRGB. Row 0, the background, is black; no other row is.

    Examples
    --------
    >>> label_colors(2).shape
    (3, 3)
    >>> int(label_colors(1)[0].max())
    0
    """
    if n < 0:
        raise ValueError(f"n must be 0 or more, got {n}")
    ids = np.arange(1, n + 1, dtype=np.float64)
    start = np.array([0.05, 0.35]) + seed * np.array([0.6180339887498949, 0.4142135623730951])
    hue = np.modf(start[0] + ids * _HUE_STEP)[0] * (2 * np.pi)
    lightness = _LIGHTNESS[0] + (_LIGHTNESS[1] - _LIGHTNESS[0]) * np.modf(start[1] + ids * _LIGHTNESS_STEP)[0]
    table = np.zeros((n + 1, 3), np.uint8)
    table[1:] = _oklch_to_srgb(lightness, hue)
    return table


def _oklch_to_srgb(lightness: NDArray[np.float64], hue: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the most colourful sRGB of this OKLab lightness and hue, by bisection of the chroma."""
    a, b = np.cos(hue), np.sin(hue)
    low, high = np.zeros_like(hue), np.full_like(hue, 0.26)
    for _ in range(6):
        chroma = (low + high) / 2
        rgb = _oklab_to_linear(lightness, chroma * a, chroma * b)
        inside = ((rgb >= -0.002) & (rgb <= 1.002)).all(axis=-1)
        low, high = np.where(inside, chroma, low), np.where(inside, high, chroma)
    rgb = np.clip(_oklab_to_linear(lightness, low * a, low * b), 0.0, 1.0)
    encoded = np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055)
    table: NDArray[np.uint8] = np.rint(encoded * 255).astype(np.uint8)
    return table


def _oklab_to_linear(
    lightness: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return linear sRGB, shape (n, 3), of OKLab colours.

    References
    ----------
    .. [1] Ottosson, "A perceptual color space for image processing",
       https://bottosson.github.io/posts/oklab
    """
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return np.stack(
        [
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        ],
        axis=-1,
    )
