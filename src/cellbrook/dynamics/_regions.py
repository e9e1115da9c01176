"""Measuring and renumbering label images through the kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook._kernels import _native
from cellbrook.dynamics._table import Figures

if TYPE_CHECKING:
    from numpy.typing import NDArray


def kernel(name: str, ndim: int) -> Any:
    """Return the kernel of that name for images of two or three dimensions."""
    return getattr(_native, f"{name}_{ndim}d")


def measure(
    labels: NDArray[np.uint32], count: int, cellprob: NDArray[np.float32] | None, threads: int
) -> Figures:
    """Return the figures of labels 1 ... `count`."""
    return Figures(kernel("region_figures", labels.ndim)(labels, count, cellprob, threads), labels.ndim)


def keep_only(labels: NDArray[np.uint32], kept: NDArray[np.intp], count: int, threads: int) -> None:
    """Renumber, in place, the labels ``kept + 1`` as 1, 2 ... in the order given; of 1 ... `count` all others go."""
    new_label = np.zeros(count + 1, np.uint32)
    new_label[kept + 1] = np.arange(1, len(kept) + 1)
    _native.map_labels(labels, new_label, threads)


def in_raster_order(labels: NDArray[np.uint32], count: int, threads: int) -> NDArray[np.intp]:
    """Return 0 ... `count` - 1 ordered by where the labels 1 ... `count` have their first pixels."""
    return np.argsort(measure(labels, count, None, threads).first_pixel, kind="stable")


class Discards:
    """Why candidates are discarded: the first reason that applies counts."""

    def __init__(self, count: int) -> None:
        self.reason = np.full(count, "", dtype="U14")
        self.figure = np.full(count, np.nan)

    def add(self, which: NDArray[np.bool_], reason: str, figure: NDArray[Any]) -> None:
        """Discard candidates that are still there, each with the figure that decided."""
        new = which & self.left
        self.reason[new] = reason
        self.figure[new] = figure[new]

    @property
    def left(self) -> NDArray[np.bool_]:
        """Candidates without a reason."""
        return np.asarray(self.reason == "")
