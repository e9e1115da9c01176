"""Curves as PNG."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellbrook.io.png import write_png

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellbrook.training.report import CurvePoint


def draw_curves(path: Path, curve: Sequence[CurvePoint], best_step: int) -> None:
    """Draw."""
    write_png(path, np.zeros((10, 10, 3), np.uint8))
