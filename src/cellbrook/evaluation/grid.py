"""Which settings are tried when they are tuned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cellbrook.dynamics import settled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.core.params import SegmentParams

OFF = math.inf
"""A flow threshold that keeps all."""


class Limit(NamedTuple):
    """What is kept: the largest flow error and the smallest score."""

    flow_threshold: float
    min_score: float

    def __str__(self) -> str:
        error = "" if self.flow_threshold == OFF else f"flow {self.flow_threshold:g}"
        score = f"score {self.min_score:.2g}" if self.min_score else ""
        return " ".join(filter(None, (error, score))) or "all"


def _order(limit: Limit) -> tuple[float, float]:
    return limit.flow_threshold, -limit.min_score


FLOW_LIMITS = tuple(Limit(v, 0.0) for v in (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5, 2, OFF))
"""From strict to lax, for models whose scores only order."""

SCORE_LIMITS = tuple(Limit(OFF, v) for v in (0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.0))
"""The same for models whose scores are probabilities, in which the flow error has its part."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The settings that are tried: every combination.

    Parameters
    ----------
    diameters : tuple of str
        As ``--diameter`` takes them; the network runs once for each.
    cellprob_thresholds, min_sizes : tuple of float and int
        Values for the parameters of these names, ascending.
    limits : tuple of Limit
        Values for ``flow_threshold`` and ``min_score``, from strict to lax.
    """

    diameters: tuple[str, ...] = ("auto",)
    cellprob_thresholds: tuple[float, ...] = (-4, -3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 4)
    limits: tuple[Limit, ...] = FLOW_LIMITS
    min_sizes: tuple[int, ...] = (0, 5, 10, 15, 25, 40, 60, 90, 130, 200, 300, 450, 700, 1000)

    def including(self, start: Setting) -> Grid:
        """Return a grid that also holds the values of a setting."""
        return Grid(
            (start.diameter, *(d for d in self.diameters if d != start.diameter)),
            tuple(sorted({*self.cellprob_thresholds, start.cellprob_threshold})),
            tuple(sorted({*self.limits, start.limit}, key=_order)),
            tuple(sorted({*self.min_sizes, start.min_size})),
        )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Numbers of diameters, cellprob thresholds, limits and sizes."""
        return (
            len(self.diameters),
            len(self.cellprob_thresholds),
            len(self.limits),
            len(self.min_sizes),
        )

    def at(self, index: tuple[int, ...]) -> Setting:
        """Return the setting at a place of the grid."""
        d, c, f, s = index
        return Setting(self.diameters[d], self.cellprob_thresholds[c], *self.limits[f], self.min_sizes[s])

    def index(self, setting: Setting) -> tuple[int, int, int, int]:
        """Return the place of a setting that the grid holds."""
        return (
            self.diameters.index(setting.diameter),
            self.cellprob_thresholds.index(setting.cellprob_threshold),
            self.limits.index(setting.limit),
            self.min_sizes.index(setting.min_size),
        )

    def distance(self, defaults: Setting) -> NDArray[np.float64]:
        """Return how far each setting is from others, for ties; of shape `shape`."""
        values: tuple[NDArray[Any], ...] = (
            np.array([float(d != defaults.diameter) for d in self.diameters]) * 2,
            np.array(self.cellprob_thresholds) - defaults.cellprob_threshold,
            np.arange(self.shape[2]) - sum(_order(limit) < _order(defaults.limit) for limit in self.limits),
            np.arange(self.shape[3]) - np.searchsorted(self.min_sizes, defaults.min_size),
        )
        diameter, cellprob, flow, size = (np.abs(v).astype(float) for v in values)
        far: NDArray[np.float64] = (
            diameter[:, None, None, None] + cellprob[:, None, None] + flow[:, None] / 2 + size / 2
        )
        return far


class Setting(NamedTuple):
    """One combination; see `Grid`."""

    diameter: str
    cellprob_threshold: float
    flow_threshold: float
    min_score: float
    min_size: int

    @property
    def limit(self) -> Limit:
        """What of it decides which candidates are kept."""
        return Limit(self.flow_threshold, self.min_score)

    @classmethod
    def of(cls, params: SegmentParams, score_weights: tuple[float, ...] = ()) -> Setting:
        """Return what of the parameters is searched; what they leave to the model is filled in."""
        masks = settled(params.mask_params, score_weights)
        flow = masks.flow_threshold
        return cls(
            params.model_params.diameter,
            float(masks.cellprob_threshold),
            float(flow) if flow else OFF,
            float(masks.min_score or 0),
            max(0, masks.min_size),
        )

    def keywords(self) -> dict[str, Any]:
        """Return the keywords of `cellbrook.segment`; a flow threshold that keeps all is 0."""
        return self._asdict() | {"flow_threshold": 0.0 if self.flow_threshold == OFF else self.flow_threshold}
