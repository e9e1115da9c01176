"""What every object measures: size, shape and intensity, in pixels and micrometres."""

from cellbrook.measure.table import measure

__all__ = ["measure"]
