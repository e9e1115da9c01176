"""Pixel sizes: units as files spell them, brought to micrometres."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_MICROMETRES = {
    "m": 1e6, "meter": 1e6, "metre": 1e6,
    "cm": 1e4, "centimeter": 1e4, "centimetre": 1e4,
    "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3,
    "um": 1.0, "µm": 1.0, "μm": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3,
    "pm": 1e-6, "picometer": 1e-6, "picometre": 1e-6,
    "å": 1e-4, "angstrom": 1e-4, "ångström": 1e-4,
    "in": 25400.0, "inch": 25400.0, "inches": 25400.0,
}  # fmt: skip

# Resolutions that scanners, cameras and drawing programs write whatever the microscope was
_USUAL_DPI = (72, 75, 96, 100, 144, 150, 200, 240, 300, 400, 600, 1200, 2400)
_LARGEST_CREDIBLE_UM = 100.0


def to_micrometres(value: float, unit: str | None) -> float | None:
    """Return a length in micrometres, or None if the unit is unknown ("pixel") or the value impossible.

    Examples
    --------
    >>> to_micrometres(325, "nm"), to_micrometres(0.5, "micron"), to_micrometres(1, "pixel")
    (0.325, 0.5, None)
    """
    if unit is None:
        return None
    # ImageJ writes the micro sign as an escape sequence
    spelled = unit.strip().replace("\\u00B5", "µ").replace("\\u00b5", "µ").lower()
    factor = _MICROMETRES.get(spelled)
    if factor is None or not math.isfinite(value) or value <= 0:
        return None
    # rounded: 325 nm is 0.325 um, not 0.32500000000000001
    return float(f"{value * factor:.12g}")


def side_of_pixel(size: Mapping[str, float]) -> float | None:
    """Return the side, in micrometres, of a square as large as a pixel of this size, which may be oblong; None: unknown.

    Examples
    --------
    >>> side_of_pixel({"Y": 0.5, "X": 2.0})
    1.0
    """
    return math.sqrt(size["Y"] * size["X"]) if {"Y", "X"} <= size.keys() else None


def credible_resolution(pixels_per_unit: float, unit: str) -> float | None:
    """Return the pixel size that a TIFF resolution tag gives, or None if it is no measurement.

    Examples
    --------
    >>> credible_resolution(72, "inch") is None, credible_resolution(40000, "cm")
    (True, 0.25)
    """
    if not math.isfinite(pixels_per_unit) or pixels_per_unit <= 0:
        return None
    size = to_micrometres(1 / pixels_per_unit, unit)
    if size is None or size > _LARGEST_CREDIBLE_UM:
        return None
    dpi = 25400 / size
    return None if any(abs(dpi - usual) < 0.01 * usual for usual in _USUAL_DPI) else size
