"""What becomes 0 and 1 in a channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook._kernels import _native
from cellbrook.core.params import NormalizeParams
from cellbrook.normalize._levels import of_enough_levels
from cellbrook.normalize._noise import finite

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Where all but a fiftieth of the pixels at either end lie within so many standard deviations of the noise around the median,
# they are background: stretched to the range of noise, objects would reach many times the values that networks know. What is
# so much farther off belongs to objects, and where three quarters of it begin or end takes the place of the percentile.
_FEW, _NOISE_REACH, _OBJECT_REACH, _OBJECT_SHARE, _LEAST_OBJECT_PX = 0.02, 4.0, 6.0, 0.75, 30
_QUARTILE = 0.6745  # of a normal distribution, in standard deviations
KIND = {"u": 0, "b": 0, "i": 1, "f": 2}


def channel_range(
    channel: NDArray[Any], params: NormalizeParams, threads: int, *, sparse: bool = False
) -> tuple[float, float]:
    low, high = percentile_range(channel, params, threads)
    usual = NormalizeParams()
    if sparse and (params.percentile_low, params.percentile_high) == (
        usual.percentile_low,
        usual.percentile_high,
    ):
        low, high = widened_to_few_objects(channel, low, high, threads)
    return of_enough_levels(channel, low, high)


def widened_to_few_objects(
    channel: NDArray[Any], low: float, high: float, threads: int = 1
) -> tuple[float, float]:
    """Widen a range of background to that of the few objects on it; leave that of any other image as it is.

    Parameters
    ----------
    channel : ndarray, shape (Y, X)
        A channel, or parts from all over it.
    low, high : float
        Percentiles of it.
    threads : int
        To compute with.

    Returns
    -------
    low, high : float
    """
    fractions = np.array([_FEW, 0.25, 0.5, 0.75, 1 - _FEW])
    lowest, quarter, median, three, highest = percentiles(channel, fractions, threads)
    rows = np.clip(finite(channel[:: max(1, len(channel) // 64)]), low, high)
    # structures make quartiles far apart, and hardly what neighbours differ by; edges the reverse
    of_neighbours = np.sqrt(np.mean(np.square(np.diff(rows, axis=1))) / 2) if rows.shape[1] > 1 else 0.0
    noise = min((three - quarter) / (2 * _QUARTILE), float(of_neighbours))
    if channel.dtype.kind != "f":
        noise = max(noise, 0.5)  # of rounding to levels
    if max(median - lowest, highest - median) >= _NOISE_REACH * noise:
        return low, high
    reach = _OBJECT_REACH * noise
    bright = channel[channel > median + reach]
    dark = channel[channel < median - reach]
    if np.count_nonzero(np.isfinite(bright)) >= _LEAST_OBJECT_PX:
        high = max(high, *percentiles(bright, np.array([_OBJECT_SHARE]), 1))
    if np.count_nonzero(np.isfinite(dark)) >= _LEAST_OBJECT_PX:
        low = min(low, *percentiles(dark, np.array([1 - _OBJECT_SHARE]), 1))
    return low, high


def percentile_range(channel: NDArray[Any], params: NormalizeParams, threads: int) -> tuple[float, float]:
    wider = np.array([[1.0], [0.1], [0.01], [0.0]])
    outside = wider * np.array([params.percentile_low, 100 - params.percentile_high]) / 100
    fractions = outside * [1, -1] + [0, 1]
    for pairs in (
        fractions[:1],
        fractions[1:],
    ):  # the wider ones together, as a pass over the image costs most
        found = percentiles(channel, pairs.ravel(), threads)
        for low, high in zip(found[::2], found[1::2], strict=True):
            if high - low > _rounding(channel.dtype, low, high):
                return low, high
    return low, low


def _rounding(dtype: np.dtype[Any], low: float, high: float) -> float:
    """Return the largest difference that is mere rounding: a constant float image has no signal."""
    return 4 * float(np.finfo(dtype).eps) * max(abs(low), abs(high)) if dtype.kind == "f" else 0.0


def percentiles(channel: NDArray[Any], fractions: NDArray[np.float64], threads: int) -> tuple[float, ...]:
    flat = channel.reshape(-1)
    found = np.zeros(len(fractions))
    bits = flat.view(f"u{flat.dtype.itemsize}")
    if not _native.percentiles(bits, KIND[flat.dtype.kind], fractions, found, threads):
        return (0.0,) * len(fractions)
    return tuple(found.tolist())


def percentiles_reference(channel: NDArray[Any], fractions: NDArray[np.float64]) -> tuple[float, ...]:
    """Do what `percentiles` does: its specification."""
    values = channel[np.isfinite(channel)].astype(np.float64)
    return tuple(np.quantile(values, fractions).tolist()) if values.size else (0.0,) * len(fractions)
