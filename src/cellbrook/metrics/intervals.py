"""How sure a figure is: bootstrap intervals over images."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEW_IMAGES = 10
"""Below so many images a bootstrap interval is rough, and said to be."""


class Interval(NamedTuple):
    """A value with its 95 % interval; `low` and `high` are None where there is one image only."""

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_draws(n_images: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """Return how often each image is drawn in each sample, shape (resamples, n_images)."""
    draws: NDArray[np.int64] = np.random.default_rng(seed).multinomial(
        n_images, np.full(n_images, 1 / n_images), size=max(resamples, 1)
    )
    return draws


def intervals(values: NDArray[np.float64], samples: NDArray[np.float64] | None) -> tuple[Interval, ...]:
    """Return each value with the 2.5th and 97.5th percentile of its samples.

    Parameters
    ----------
    values : ndarray of shape () or (n,)
        The figures.
    samples : ndarray of shape (resamples,) or (resamples, n), or None
        The same figures of each bootstrap sample. None: no interval.
    """
    flat = np.atleast_1d(values)
    if samples is None:
        return tuple(Interval(float(value), None, None) for value in flat)
    low, high = np.percentile(samples.reshape(len(samples), -1), (2.5, 97.5), axis=0)
    return tuple(Interval(*map(float, three)) for three in zip(flat, low, high, strict=True))


def interval_note(n_images: int) -> str | None:
    """Return what a reader should know of intervals from so few images; None if they are many enough."""
    if n_images == 1:
        return "one image: how much the figures vary from image to image cannot be said"
    if n_images < FEW_IMAGES:
        return f"only {n_images} images: the intervals are rough, and likely too narrow"
    return None
