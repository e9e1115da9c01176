"""How well two segmentations of the same image agree."""

from cellbrook.metrics.agreement import (
    PanopticQuality,
    aggregated_jaccard_index,
    panoptic_quality,
    seg_score,
)
from cellbrook.metrics.boundary import BoundaryScores, boundary_f, boundary_scores
from cellbrook.metrics.evaluation import (
    EvaluationResult,
    ImageCounts,
    Interval,
    count_image,
    evaluate,
    summarise,
)
from cellbrook.metrics.matching import (
    MatchResult,
    Overlaps,
    average_precision,
    mask_ious,
    matching,
    overlaps,
)

__all__ = [
    "BoundaryScores",
    "EvaluationResult",
    "ImageCounts",
    "Interval",
    "MatchResult",
    "Overlaps",
    "PanopticQuality",
    "aggregated_jaccard_index",
    "average_precision",
    "boundary_f",
    "boundary_scores",
    "count_image",
    "evaluate",
    "mask_ious",
    "matching",
    "overlaps",
    "panoptic_quality",
    "seg_score",
    "summarise",
]
