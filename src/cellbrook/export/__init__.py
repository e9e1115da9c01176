"""Results as files: pictures, tables, ROIs, GeoJSON, COCO, `_seg.npy`, OME-Zarr."""

from cellbrook.export.save import DEFAULT_KINDS, KINDS, check_kinds, save

__all__ = ["DEFAULT_KINDS", "KINDS", "check_kinds", "save"]
