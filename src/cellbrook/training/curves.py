"""Curves as PNG: drawn here, since a plotting library would be a hundred megabytes for two panels of lines."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellbrook.io.png import write_png

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cellbrook.training.report import CurvePoint

Color = tuple[int, int, int]

INK, FAINT, PAPER = (40, 40, 40), (214, 214, 214), (255, 255, 255)
BLUE, ORANGE, GREY = (0, 98, 178), (213, 94, 0), (110, 110, 110)  # told apart by all kinds of colour vision

SUPERSAMPLING = 3
"""Everything is drawn this much larger and averaged, which smooths lines."""

_GLYPHS = {
    "0": "0e1113151911 0e", "1": "040c0404040 40e", "2": "0e11010204081f", "3": "1f02040201110e",
    "4": "02060a121f0202", "5": "1f101e0101110e", "6": "0608101e11110e", "7": "1f010204080808",
    "8": "0e11110e11110e", "9": "0e11110f01020c", ".": "00000000000c0c", "-": "0000001f000000",
    ",": "00000000060408", ":": "000c0c000c0c00", "(": "02040808080402", ")": "08040202020408",
    "%": "18190204081303", "/": "00010204081000", "A": "0e1111111f1111", "P": "1e11111e101010",
    "a": "00000e010f110f", "b": "10101619111 11e", "c": "00000e1010110e", "d": "01010d1311110f",
    "e": "00000e111f100e", "f": "0609081c080808", "g": "000f11110f010e", "h": "10101619111111",
    "i": "04000c0404040e", "j": "0200060202120c", "k": "1010121418 1412", "l": "0c04040404040e",
    "m": "00001a15151111", "n": "00001619111111", "o": "00000e1111110e", "p": "00001e111e1010",
    "q": "00000d130f0101", "r": "00001619101010", "s": "00000e100e011e", "t": "08081c0808 0906",
    "u": "0000111111130d", "v": "00001111110a04", "w": "0000111115150a", "x": "0000110a040a11",
    "y": "000011110f010e", "z": "00001f0204081f", "I": "0e04040404040e", "U": "1111111111110e",
}  # fmt: skip
"""Letters of 5 x 7 dots: two hexadecimal digits a row, the leftmost dot the highest bit."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a panel.

    Parameters
    ----------
    name : str
        For the legend.
    points : sequence of (float, float)
        (x, y) in data units.
    color : tuple of int
    dots : bool
        Mark the points.
    """

    name: str
    points: Sequence[tuple[float, float]]
    color: Color
    dots: bool = True


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes.

    Parameters
    ----------
    title, below : str
        Above the panel, and under its x axis.
    lines : sequence of Line
    top : float or None
        Highest y; None: that of the data. The lowest is 0.
    level : (str, float) or None
        A horizontal line with its name.
    marks : mapping of str to float
        Vertical lines with their names.
    """

    title: str
    below: str
    lines: Sequence[Line]
    top: float | None = None
    level: tuple[str, float] | None = None
    marks: Mapping[str, float] | None = None


def draw_curves(path: Path, curve: Sequence[CurvePoint], best_step: int) -> None:
    """Write the curves of a training: AP on held-out images, and both losses, over steps.

    Parameters
    ----------
    path : Path
        A PNG file.
    curve : sequence of CurvePoint
        One a validation; the first is the start.
    best_step : int
        Whose weights were kept.
    """
    trained = [p for p in curve if p.step > 0]
    marks = {f"kept: step {best_step}": float(best_step)}
    start = ("start", curve[0].ap) if curve and curve[0].ap > 0 else None
    write_panels(
        path,
        [
            Panel(
                "AP at IoU 0.5 on held-out images",
                "step",
                [Line("", [(p.step, p.ap) for p in curve], BLUE)],
                top=1.0,
                level=start,
                marks=marks,
            ),
            Panel(
                "loss",
                "step",
                [
                    Line("training images", [(p.step, p.loss) for p in trained], ORANGE),
                    Line("held-out images", [(p.step, p.held_out_loss) for p in curve], BLUE),
                ],
                marks=marks,
            ),
        ],
    )


def write_panels(path: Path, panels: Sequence[Panel], width: int = 720, height: int = 300) -> None:
    """Write panels below each other, each of `width` x `height` pixels, as a PNG."""
    write_png(path, np.concatenate([_Canvas(width, height).panel(p) for p in panels]))


class _Canvas:
    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        n = SUPERSAMPLING
        self.pixels = np.full((height * n, width * n, 3), PAPER, np.uint8)

    def panel(self, panel: Panel) -> NDArray[np.uint8]:
        """Draw a panel and return it."""
        left, right, top, bottom = 64, self.width - 20, 44, self.height - 48
        points = [p for line in panel.lines for p in line.points]
        far = max((x for x, _ in points), default=1.0) or 1.0
        high = panel.top or nice_above(max((y for _, y in points if np.isfinite(y)), default=1.0))

        def at(x: float, y: float) -> tuple[float, float]:
            share = min(max(y / high, 0.0), 1.0)
            return left + (right - left) * x / far, bottom - (bottom - top) * share

        self.text(left, 14, panel.title, INK, 2)
        for i in range(6):
            value = high * i / 5
            _, y = at(0, value)
            self.stroke((left, y), (right, y), FAINT, 1)
            self.text(left - 8, y - 3, f"{value:.3g}", GREY, 1, align=1.0)
        for i in range(5):
            value = far * i / 4
            x, _ = at(value, 0)
            self.stroke((x, bottom), (x, bottom + 4), GREY, 1)
            self.text(x, bottom + 9, f"{value:.0f}", GREY, 1, align=0.5)
        self.text((left + right) / 2, bottom + 26, panel.below, GREY, 1, align=0.5)
        self.stroke((left, bottom), (right, bottom), GREY, 1)
        for name, value in (panel.marks or {}).items():
            x, _ = at(value, 0)
            self.stroke((x, top), (x, bottom), GREY, 1)
            side = 1.0 if x > (left + right) / 2 else 0.0
            self.text(x + (5 if side == 0 else -5), bottom - 14, name, GREY, 1, align=side)
        if panel.level is not None:
            name, value = panel.level
            _, y = at(0, value)
            for x in range(left, right, 10):
                self.stroke((x, y), (min(x + 5, right), y), INK, 1)
            self.text(right - 4, y - 12, f"{name} {value:.3f}", INK, 1, align=1.0)
        shown = 0
        for line in panel.lines:
            places = [at(x, y) for x, y in line.points if np.isfinite(y)]
            for a, b in itertools.pairwise(places):
                self.stroke(a, b, line.color, 2)
            if line.dots:
                for place in places:
                    self.dot(place, line.color, 3)
            if line.name:
                x = right - 150
                self.stroke((x, 18 + 14 * shown), (x + 18, 18 + 14 * shown), line.color, 2)
                self.text(x + 26, 15 + 14 * shown, line.name, INK, 1)
                shown += 1
        return self.finished()

    def stroke(self, a: tuple[float, float], b: tuple[float, float], color: Color, thick: float) -> None:
        """Draw a straight line between two points (x, y)."""
        n = SUPERSAMPLING
        length = max(1, int(np.hypot(b[0] - a[0], b[1] - a[1]) * n))
        along = np.linspace(0, 1, length + 1)
        xs, ys = ((a[i] + (b[i] - a[i]) * along) * n for i in (0, 1))
        reach = thick * n / 2
        offsets = np.arange(-int(np.ceil(reach)), int(np.ceil(reach)) + 1)
        for dy in offsets:
            for dx in offsets:
                if np.hypot(dx, dy) <= reach:
                    self._paint(np.round(ys + dy), np.round(xs + dx), color)

    def dot(self, at: tuple[float, float], color: Color, radius: float) -> None:
        """Draw a disc at a point (x, y)."""
        n = SUPERSAMPLING
        steps = np.arange(-int(radius * n), int(radius * n) + 1)
        dy, dx = np.meshgrid(steps, steps, indexing="ij")
        inside = np.hypot(dy, dx) <= radius * n
        self._paint(np.round(at[1] * n) + dy[inside], np.round(at[0] * n) + dx[inside], color)

    def text(self, x: float, y: float, words: str, color: Color, size: int, align: float = 0.0) -> None:
        """Write with the upper left corner at (x, y), or with `align` of the width to the left of x."""
        x -= align * 6 * size * len(words)
        n = SUPERSAMPLING
        for i, letter in enumerate(words):
            rows = bytes.fromhex(_GLYPHS.get(letter, "00" * 7).replace(" ", ""))
            for r, row in enumerate(rows):
                for c in range(5):
                    if row & (16 >> c):
                        top, left = round((y + r * size) * n), round((x + (6 * i + c) * size) * n)
                        self.pixels[max(top, 0) : top + size * n, max(left, 0) : left + size * n] = color

    def _paint(self, ys: NDArray[np.float64], xs: NDArray[np.float64], color: Color) -> None:
        rows, cols = self.pixels.shape[:2]
        inside = (ys >= 0) & (ys < rows) & (xs >= 0) & (xs < cols)
        self.pixels[ys[inside].astype(int), xs[inside].astype(int)] = color

    def finished(self) -> NDArray[np.uint8]:
        """Return the picture at its own size."""
        n = SUPERSAMPLING
        blocks = self.pixels.reshape(self.height, n, self.width, n, 3)
        averaged: NDArray[np.uint8] = np.round(blocks.mean(axis=(1, 3))).astype(np.uint8)
        return averaged


def nice_above(value: float) -> float:
    """Return the least of 1, 2, 5 times a power of ten, or their like, at or above a value.

    Examples
    --------
    >>> nice_above(0.37), nice_above(1.3), nice_above(0)
    (0.4, 1.5, 1.0)
    """
    if not np.isfinite(value) or value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    steps = np.array([1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10]) * power
    return float(steps[np.searchsorted(steps, value * (1 - 1e-9))])
