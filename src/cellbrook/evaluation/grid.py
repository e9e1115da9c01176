"""Which settings are tried when they are tuned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cellbrook.core.params import SegmentParams

if TYPE_CHECKING:
    from numpy.typing import NDArray

OFF = math.inf
"""A flow threshold that keeps all."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The settings that are tried: every combination.

    Parameters
    ----------
    diameters : tuple of str
        As ``--diameter`` takes them; the network runs once for each.
    cellprob_thresholds, flow_thresholds, min_sizes : tuple of float, float and int
        Values for the parameters of these names, ascending; a flow threshold of infinity keeps all.
    """

    diameters: tuple[str, ...] = ("auto",)
    cellprob_thresholds: tuple[float, ...] = (-4, -3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 4)
    flow_thresholds: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5, 2, OFF)
    min_sizes: tuple[int, ...] = (0, 5, 10, 15, 25, 40, 60, 90, 130, 200, 300, 450, 700, 1000)

    def including(self, start: Setting) -> Grid:
        """Return a grid that also holds the values of a setting."""
        return Grid(
            (start.diameter, *(d for d in self.diameters if d != start.diameter)),
            tuple(sorted({*self.cellprob_thresholds, start.cellprob_threshold})),
            tuple(sorted({*self.flow_thresholds, start.flow_threshold})),
            tuple(sorted({*self.min_sizes, start.min_size})),
        )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Numbers of diameters, cellprob thresholds, flow thresholds and sizes."""
        return (
            len(self.diameters),
            len(self.cellprob_thresholds),
            len(self.flow_thresholds),
            len(self.min_sizes),
        )

    def at(self, index: tuple[int, ...]) -> Setting:
        """Return the setting at a place of the grid."""
        d, c, f, s = index
        return Setting(
            self.diameters[d], self.cellprob_thresholds[c], self.flow_thresholds[f], self.min_sizes[s]
        )

    def index(self, setting: Setting) -> tuple[int, int, int, int]:
        """Return the place of a setting that the grid holds."""
        return (
            self.diameters.index(setting.diameter),
            self.cellprob_thresholds.index(setting.cellprob_threshold),
            self.flow_thresholds.index(setting.flow_threshold),
            self.min_sizes.index(setting.min_size),
        )

    def distance(self) -> NDArray[np.float64]:
        """Return how far each setting is from the program's defaults, for ties; of shape `shape`."""
        defaults = Setting.of(SegmentParams())
        values: tuple[NDArray[Any], ...] = (
            np.array([float(d != defaults.diameter) for d in self.diameters]) * 2,
            np.array(self.cellprob_thresholds) - defaults.cellprob_threshold,
            np.arange(self.shape[2]) - np.searchsorted(self.flow_thresholds, defaults.flow_threshold),
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
    min_size: int

    @classmethod
    def of(cls, params: SegmentParams) -> Setting:
        """Return what of the parameters is searched."""
        masks = params.mask_params
        flow = masks.flow_threshold
        return cls(
            params.model_params.diameter,
            float(masks.cellprob_threshold),
            OFF if flow is None or flow <= 0 else float(flow),
            max(0, masks.min_size),
        )

    def keywords(self) -> dict[str, Any]:
        """Return the keywords of `cellbrook.segment`; a flow threshold that keeps all is 0."""
        return self._asdict() | {"flow_threshold": 0.0 if self.flow_threshold == OFF else self.flow_threshold}
