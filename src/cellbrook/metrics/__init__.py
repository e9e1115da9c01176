"""How well two segmentations of the same image agree."""

from cellbrook.metrics.matching import (
    MatchResult,
    Overlaps,
    average_precision,
    mask_ious,
    matching,
    overlaps,
)

__all__ = ["MatchResult", "Overlaps", "average_precision", "mask_ious", "matching", "overlaps"]
