"""The frame every family paints in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from cellbrook.training.synthetic._fields import log_uniform

if TYPE_CHECKING:
    from numpy.typing import NDArray

Target = Literal["nuclei", "cells"]


@dataclass(frozen=True, slots=True)
class Scene:
    """What a family is asked for.

    Attributes
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        (Y, X) of the canvas: the wanted image and a margin on all sides, cut off later, so that objects
        are cut by the image's edge as in a real field.
    diameter : float
        Typical object diameter in px.
    """

    rng: np.random.Generator
    shape: tuple[int, int]
    diameter: float

    def chance(self, probability: float) -> bool:
        """Return True with `probability`."""
        return bool(self.rng.uniform() < probability)

    def uniform(self, low: float, high: float) -> float:
        """Return a uniform number."""
        return float(self.rng.uniform(low, high))

    def choose_sign(self, probability: float) -> float:
        """Return 1 with `probability`, otherwise -1."""
        return 1.0 if self.chance(probability) else -1.0

    def log_uniform(self, low: float, high: float) -> float:
        """Return a log-uniform number."""
        return log_uniform(self.rng, low, high)

    def count(self, coverage: float) -> int:
        """Return how many objects of the typical diameter cover the share `coverage` of the canvas."""
        area = self.shape[0] * self.shape[1]
        return max(1, round(coverage * area / (np.pi / 4 * self.diameter**2)))

    def vary(self, n: int, centre: float, spread: float) -> NDArray[np.float32]:
        """Return `n` log-normal numbers around `centre`, cut at 2.2 standard deviations."""
        z = np.clip(self.rng.standard_normal(n), -2.2, 2.2)
        return (centre * np.exp(spread * z)).astype(np.float32)

    def turn(self, n: int) -> NDArray[np.float32]:
        """Return `n` angles in radians."""
        return self.rng.uniform(-np.pi, np.pi, n).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Painting:
    """What a family returns, still with its margin: image (C, Y, X) in camera units and labels (Y, X).

    `nuclei` (Y, X) carries the label of the cell around each nucleus where both are to be seen; `contents` names what a
    field without cells shows.
    """

    image: NDArray[np.float32]
    labels: NDArray[np.int32]
    channel_names: tuple[str, ...]
    target: Target
    nuclei: NDArray[np.int32] | None = None
    contents: tuple[str, ...] = ()
