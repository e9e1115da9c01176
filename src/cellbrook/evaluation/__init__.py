"""Judging segmentations: against the truth, against people, and for the best settings."""

from cellbrook.evaluation.blind import BlindPlan, plan_crops
from cellbrook.evaluation.compare import Evaluation, evaluate
from cellbrook.evaluation.human import Agreement, agreement
from cellbrook.evaluation.page import write_page
from cellbrook.evaluation.tracks import evaluate_tracks

__all__ = [
    "Agreement",
    "BlindPlan",
    "Evaluation",
    "agreement",
    "evaluate",
    "evaluate_tracks",
    "plan_crops",
    "write_page",
]
