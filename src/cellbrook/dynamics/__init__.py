"""Flows to labels and back.

Pixels run downhill along the predicted flow and gather in their cell.
"""

from cellbrook.dynamics._regions import in_raster_order
from cellbrook.dynamics.flows import flows_from_labels
from cellbrook.dynamics.masks import labels_from_flows, settled

__all__ = ["flows_from_labels", "in_raster_order", "labels_from_flows", "settled"]
