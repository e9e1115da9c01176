"""Judging segmentations: against the truth, against people, and for the best settings."""

from cellbrook.evaluation.compare import Evaluation, evaluate
from cellbrook.evaluation.page import write_page

__all__ = ["Evaluation", "evaluate", "write_page"]
