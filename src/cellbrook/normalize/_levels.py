"""What the least difference is that can mean something: of whole numbers, and where a compression left blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Whole numbers within so few of each other are noise of the last digit, which would look like cells once it is stretched:
# they stay within this many parts of the range.
_LEAST_LEVELS = 8
# Within so few levels a compression may leave nothing but its blocks. Anything with an edge would still be seen inside
# them, so there is nothing to find; stretched, blocks look like cells. Of all steps between neighbours more than this share
# then lies at their borders (in real images a seventh at most, in compressed ones half).
_FEW_LEVELS, _BLOCK, _AT_BORDERS = 16, 8, 0.8
# Where it left edges besides, at least this share lies there, and what blocks differ by is what levels are counted in.
_OFTEN_AT_BORDERS = 0.3


def of_enough_levels(channel: NDArray[Any], low: float, high: float) -> tuple[float, float]:
    """Widen a range of so few levels that it would show noise as cells; where all is noise nothing is left of it."""
    level = _level(channel)
    few = high - low < _FEW_LEVELS
    if not high > low or not (few or high - low < _LEAST_LEVELS * level) or not _counts_levels(channel):
        return low, high
    return low, low if few and _only_blocks(channel) else max(high, low + _LEAST_LEVELS * level)


def _counts_levels(channel: NDArray[Any]) -> bool:
    """Tell whether values are levels of a camera: whole numbers, in whatever type, but not 0 and 1 alone."""
    finite = channel[np.isfinite(channel)] if channel.dtype.kind == "f" else channel
    beyond = finite.max() > 1 or finite.min() < 0
    return bool(beyond and (channel.dtype.kind != "f" or (finite == np.rint(finite)).all()))


def _only_blocks(channel: NDArray[Any]) -> bool:
    """Tell whether a compression (JPEG and its kin) left nothing but blocks, all over the image."""
    return _borders(_some_rows(channel), _AT_BORDERS) is not None


def _level(channel: NDArray[Any]) -> float:
    """Return the least that neighbouring values differ by: 1, or what the blocks of a compression do."""
    levels = []
    for image in (channel, channel.T):
        rows = np.nan_to_num(_some_rows(image).astype(np.float64), copy=False, posinf=0, neginf=0)
        borders = _borders(rows, _OFTEN_AT_BORDERS)
        if borders is None:
            return 1.0
        with np.errstate(over="ignore"):
            steps = np.abs(rows[:, borders + 1] - rows[:, borders])
        levels.append(float(np.percentile(steps[steps > 0], 10)))  # rounding may make one of two
    return max(1.0, min(levels))


def _some_rows(image: NDArray[Any]) -> NDArray[Any]:
    rows: NDArray[Any] = image[:: max(1, len(image) // 64)]
    return rows


def _borders(rows: NDArray[Any], least: float) -> NDArray[np.intp] | None:
    """Return the columns before borders of blocks; None if less than `least` of all steps lie there, or half have none."""
    steps = np.count_nonzero(rows[:, 1:] != rows[:, :-1], axis=0)
    columns = max(
        (np.arange(k, len(steps), _BLOCK) for k in range(_BLOCK)), key=lambda at: int(steps[at].sum())
    )
    borders = steps[columns]
    everywhere = len(borders) >= _BLOCK and np.count_nonzero(borders) > len(borders) / 2
    return columns if everywhere and borders.sum() > least * steps.sum() else None
