"""From the kernels' figures to the object table."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.objects import ObjectTable

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of n regions, as the kernel ``region_figures`` gives them.

    Parameters
    ----------
    rows : ndarray of shape (n, 4 + 3 * ndim), float64
        Area, border pixels, mean cellprob; low and high (half-open) along each axis; centroid; first pixel in
        raster order.
    ndim : int
        2 or 3.
    flow_error : ndarray of shape (n,), float64, or None
        None: not computed.
    """

    rows: NDArray[np.float64]
    ndim: int
    flow_error: NDArray[np.float64] | None = None

    @property
    def cellprob(self) -> NDArray[np.float64]:
        """Mean logit over the pixels of each region."""
        return self.rows[:, 2]

    @property
    def area(self) -> NDArray[np.float64]:
        """Pixels of each region."""
        return self.rows[:, 0]

    @property
    def extent(self) -> NDArray[np.float64]:
        """Longest side of each region's bounding box, in pixels."""
        low, high = self._boxes()
        return np.asarray((high - low).max(axis=1, initial=0))

    def box(self, index: int) -> tuple[slice, ...]:
        """Return the bounding box of one region."""
        low, high = self._boxes()
        return tuple(slice(int(a), int(b)) for a, b in zip(low[index], high[index], strict=True))

    def _boxes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return low and high (half-open) along each axis, each of shape (n, ndim)."""
        both = self.rows[:, 3 : 3 + 2 * self.ndim]
        return both[:, ::2], both[:, 1::2]

    @property
    def border_pixels(self) -> NDArray[np.float64]:
        """Pixels in the first or last row, column or plane of the image."""
        return self.rows[:, 1]

    @property
    def first_pixel(self) -> NDArray[np.float64]:
        """First pixel of each region in raster order, as an index of the flattened image."""
        return self.rows[:, -1]

    def select(self, index: ArrayLike) -> Figures:
        """Return some of the regions."""
        picked = np.asarray(index)
        return Figures(
            self.rows[picked], self.ndim, None if self.flow_error is None else self.flow_error[picked]
        )

    def with_flow_error(self, flow_error: NDArray[np.float64]) -> Figures:
        """Return the same regions with their flow errors."""
        return dataclasses.replace(self, flow_error=flow_error)

    def with_cellprob(self, cellprob: NDArray[np.float64]) -> Figures:
        """Return the same regions with other mean logits."""
        rows = self.rows.copy()
        rows[:, 2] = cellprob
        return dataclasses.replace(self, rows=rows)

    def columns(self, weights: tuple[float, ...], threshold: float) -> dict[str, NDArray[Any]]:
        """Return the columns of the object table, labels counted from 1; see `score_of` for the arguments."""
        n, rows = len(self.rows), self.rows
        axes = "zyx"[-self.ndim :]
        low = {f"bbox_{a}0": rows[:, 3 + 2 * k].astype(np.int64) for k, a in enumerate(axes)}
        high = {f"bbox_{a}1": rows[:, 4 + 2 * k].astype(np.int64) for k, a in enumerate(axes)}
        centroid = {f"centroid_{a}": rows[:, 3 + 2 * self.ndim + k].copy() for k, a in enumerate(axes)}
        error = np.full(n, np.nan) if self.flow_error is None else self.flow_error
        return {
            "label": np.arange(1, n + 1, dtype=np.int64),
            "area_px": rows[:, 0].astype(np.int64),
            **low,
            **high,
            **centroid,
            "flow_error": error,
            "cellprob": self.cellprob.copy(),
            "score": score_of(self.cellprob, error, weights, threshold),
            "touches_border": rows[:, 1] > 0,
        }


def score_of(
    cellprob: NDArray[np.float64],
    flow_error: NDArray[np.float64],
    weights: tuple[float, ...],
    threshold: float,
) -> NDArray[np.float64]:
    """Return how far to trust each object, 0 to 1.

    Parameters
    ----------
    cellprob, flow_error : ndarray of shape (n,)
        Of each object; an unknown flow error counts as 0.
    weights : tuple of float
        A model's calibration: bias and weights of the two, of which the score is the sigmoid: the probability that an
        object is right. Without, it is ``sigmoid(cellprob) * exp(-flow_error)``, which only orders objects.
    threshold : float
        The cellprob above which the objects' pixels lie: who lowers it takes the network to be too careful by so much
        everywhere, and faint objects are to be trusted more, not less for the faint pixels that they have now.
    """
    error = np.nan_to_num(flow_error, nan=0.0)
    over = cellprob - threshold
    if not weights:
        return np.asarray(_sigmoid(over) * np.exp(-error))
    bias, of_cellprob, of_flow_error = weights
    return _sigmoid(bias + of_cellprob * over + of_flow_error * error)


def _sigmoid(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-logit)))


def build_table(
    ndim: int,
    accepted: Figures | None,
    discarded: Figures | None,
    reason: NDArray[np.str_] | None = None,
    figure: NDArray[np.float64] | None = None,
    weights: tuple[float, ...] = (),
    threshold: float = 0.0,
) -> ObjectTable:
    """Return the table of accepted objects with that of the discarded candidates; None stands for no rows."""
    none = Figures(np.zeros((0, 4 + 3 * ndim)), ndim)
    dropped = (discarded or none).columns(weights, threshold)
    dropped["reason"] = np.zeros(0, "U14") if reason is None else reason
    dropped["figure"] = np.zeros(0) if figure is None else figure
    return ObjectTable((accepted or none).columns(weights, threshold), discarded=ObjectTable(dropped))
