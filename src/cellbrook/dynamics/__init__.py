"""Flows to labels and back.

Pixels run downhill along the predicted flow and gather in their cell.
"""

from cellbrook.dynamics._table import calibrated
from cellbrook.dynamics.flows import flows_from_labels
from cellbrook.dynamics.masks import labels_from_flows

__all__ = ["calibrated", "flows_from_labels", "labels_from_flows"]
