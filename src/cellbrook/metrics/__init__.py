"""How well two segmentations of the same image agree."""

from cellbrook.metrics.agreement import (
    PanopticQuality,
    adjusted_rand_index,
    aggregated_jaccard_index,
    panoptic_quality,
    seg_score,
)
from cellbrook.metrics.boundary import BoundaryScores, boundary_f, boundary_scores
from cellbrook.metrics.classes import ClassCounts, class_scores, count_classes
from cellbrook.metrics.errors import ImageErrors, ObjectError, find_errors
from cellbrook.metrics.evaluation import EvaluationResult, ImageCounts, count_image, evaluate, summarise
from cellbrook.metrics.human import HumanComparison, compare_with_human
from cellbrook.metrics.intervals import Interval
from cellbrook.metrics.matching import (
    MatchResult,
    Overlaps,
    average_precision,
    mask_ious,
    matching,
    overlaps,
)
from cellbrook.metrics.tracks import Tracks, TrackScores, score_tracks

__all__ = [
    "BoundaryScores",
    "ClassCounts",
    "EvaluationResult",
    "HumanComparison",
    "ImageCounts",
    "ImageErrors",
    "Interval",
    "MatchResult",
    "ObjectError",
    "Overlaps",
    "PanopticQuality",
    "TrackScores",
    "Tracks",
    "adjusted_rand_index",
    "aggregated_jaccard_index",
    "average_precision",
    "boundary_f",
    "boundary_scores",
    "class_scores",
    "compare_with_human",
    "count_classes",
    "count_image",
    "evaluate",
    "find_errors",
    "mask_ious",
    "matching",
    "overlaps",
    "panoptic_quality",
    "score_tracks",
    "seg_score",
    "summarise",
]
