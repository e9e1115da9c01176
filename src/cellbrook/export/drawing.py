"""A canvas for small charts: rectangles, lines and text in numpy, for PNG files without a plotting library."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Color = tuple[int, int, int]

PAPER: Color = (255, 255, 255)
INK: Color = (32, 36, 41)
SOFT: Color = (104, 114, 124)
GRID: Color = (224, 228, 232)
CURVES: tuple[Color, ...] = ((0, 95, 135), (190, 90, 30), (70, 130, 60), (110, 85, 160))
"""Colours of lines: told apart by lightness too, for those who cannot tell red from green."""

# From low to high: lightness rises evenly, so that the order is seen without colour.
_HEAT = np.array(
    [(38, 32, 74), (46, 79, 122), (46, 125, 138), (98, 168, 128), (178, 204, 120), (250, 236, 170)], float
)

# Drawn for this file: 5 px wide, 7 px above the line and 2 below it.
_SHEET = """
0     1     2     3     4     5     6     7     8     9     .     ,     -
.###. ..#.. .###. .###. ...#. ##### ..##. ##### .###. .###. ..... ..... .....
#...# .##.. #...# #...# ..##. #.... .#... ....# #...# #...# ..... ..... .....
#..## ..#.. ....# ....# .#.#. ####. #.... ...#. #...# #...# ..... ..... .....
#.#.# ..#.. ...#. ..##. #..#. ....# ####. ..#.. .###. .#### ..... ..... #####
##..# ..#.. ..#.. ....# ##### ....# #...# ..#.. #...# ....# ..... ..... .....
#...# ..#.. .#... #...# ...#. #...# #...# .#... #...# ...#. .##.. .##.. .....
.###. .###. ##### .###. ...#. .###. .###. .#... .###. .##.. .##.. .##.. .....
..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..#.. .....
..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .#... .....

a     b     c     d     e     f     g     h     i     j     k     l     m
..... #.... ..... ....# ..... ..##. ..... #.... ..#.. ...#. #.... .##.. .....
..... #.... ..... ....# ..... .#..# ..... #.... ..... ..... #.... ..#.. .....
.###. #.##. .###. .##.# .###. .#... .#### #.##. .##.. ..##. #..#. ..#.. ##.#.
....# ##..# #.... #..## #...# ####. #...# ##..# ..#.. ...#. #.#.. ..#.. #.#.#
.#### #...# #.... #...# ##### .#... #...# #...# ..#.. ...#. ##... ..#.. #.#.#
#...# #...# #...# #...# #.... .#... #...# #...# ..#.. ...#. #.#.. ..#.. #.#.#
.#### ####. .###. .#### .###. .#... .#### #...# .###. ...#. #..#. .###. #...#
..... ..... ..... ..... ..... ..... ....# ..... ..... #..#. ..... ..... .....
..... ..... ..... ..... ..... ..... .###. ..... ..... .##.. ..... ..... .....

n     o     p     q     r     s     t     u     v     w     x     y     z
..... ..... ..... ..... ..... ..... .#... ..... ..... ..... ..... ..... .....
..... ..... ..... ..... ..... ..... .#... ..... ..... ..... ..... ..... .....
#.##. .###. ####. .#### #.##. .#### ####. #...# #...# #...# #...# #...# #####
##..# #...# #...# #...# ##..# #.... .#... #...# #...# #...# .#.#. #...# ...#.
#...# #...# #...# #...# #.... .###. .#... #...# #...# #.#.# ..#.. #...# ..#..
#...# #...# #...# #...# #.... ....# .#..# #..## .#.#. #.#.# .#.#. #...# .#...
#...# .###. ####. .#### #.... ####. ..##. .##.# ..#.. .#.#. #...# .#### #####
..... ..... #.... ....# ..... ..... ..... ..... ..... ..... ..... ....# .....
..... ..... #.... ....# ..... ..... ..... ..... ..... ..... ..... .###. .....

A     B     C     D     E     F     G     H     I     J     K     L     M
.###. ####. .###. ####. ##### ##### .###. #...# .###. ..### #...# #.... #...#
#...# #...# #...# #...# #.... #.... #...# #...# ..#.. ...#. #..#. #.... ##.##
#...# #...# #.... #...# #.... #.... #.... #...# ..#.. ...#. #.#.. #.... #.#.#
##### ####. #.... #...# ####. ####. #.### ##### ..#.. ...#. ##... #.... #.#.#
#...# #...# #.... #...# #.... #.... #...# #...# ..#.. ...#. #.#.. #.... #...#
#...# #...# #...# #...# #.... #.... #...# #...# ..#.. #..#. #..#. #.... #...#
#...# ####. .###. ####. ##### #.... .#### #...# .###. .##.. #...# ##### #...#
..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....
..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....

N     O     P     Q     R     S     T     U     V     W     X     Y     Z
#...# .###. ####. .###. ####. .#### ##### #...# #...# #...# #...# #...# #####
##..# #...# #...# #...# #...# #.... ..#.. #...# #...# #...# #...# #...# ....#
#.#.# #...# #...# #...# #...# #.... ..#.. #...# #...# #...# .#.#. .#.#. ...#.
#..## #...# ####. #...# ####. .###. ..#.. #...# #...# #.#.# ..#.. ..#.. ..#..
#...# #...# #.... #.#.# #.#.. ....# ..#.. #...# #...# #.#.# .#.#. ..#.. .#...
#...# #...# #.... #..#. #..#. ....# ..#.. #...# .#.#. ##.## #...# ..#.. #....
#...# .###. #.... .##.# #...# ####. ..#.. .###. ..#.. #...# #...# ..#.. #####
..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....
..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....

+     %     (     )     :     =     _     /     <     >     *     ?     '
..... ##..# ...#. .#... ..... ..... ..... ....# ...#. .#... ..... .###. ..#..
..#.. ##..# ..#.. ..#.. .##.. ..... ..... ....# ..#.. ..#.. #.#.# #...# ..#..
..#.. ...#. .#... ...#. .##.. ##### ..... ...#. .#... ...#. .###. ....# .....
##### ..#.. .#... ...#. ..... ..... ..... ..#.. #.... ....# ##### ...#. .....
..#.. .#... .#... ...#. .##.. ##### ..... .#... .#... ...#. .###. ..#.. .....
..#.. #..## ..#.. ..#.. .##.. ..... ..... #.... ..#.. ..#.. #.#.# ..... .....
..... #..## ...#. .#... ..... ..... ##### #.... ...#. .#... ..... ..#.. .....
..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....
..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....
"""
_GLYPH = (9, 5)


@cache
def _glyphs() -> dict[str, NDArray[np.bool_]]:
    glyphs = {" ": np.zeros(_GLYPH, bool)}
    for block in _SHEET.strip("\n").split("\n\n"):
        names, *rows = block.split("\n")
        pixels = np.array([[c == "#" for c in row.ljust(len(names.split()) * 6)] for row in rows])
        for at, name in enumerate(names.split()):
            glyphs[name] = pixels[:, 6 * at : 6 * at + 5]
    return glyphs


def heat_color(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return a colour for each value from 0 to 1, shape (..., 3): dark and blue is low, light and yellow high."""
    at = np.clip(np.nan_to_num(values), 0, 1) * (len(_HEAT) - 1)
    low = np.minimum(at.astype(int), len(_HEAT) - 2)
    part = (at - low)[..., None]
    colors: NDArray[np.uint8] = np.rint(_HEAT[low] * (1 - part) + _HEAT[low + 1] * part).astype(np.uint8)
    return colors


class Canvas:
    """A picture to draw on.

    Parameters
    ----------
    height, width : int
        In pixels.

    Attributes
    ----------
    pixels : ndarray of shape (height, width, 3), uint8
        The picture.

    Examples
    --------
    >>> canvas = Canvas(20, 60)
    >>> canvas.text(4, 4, "F1 0.9")
    35
    >>> bool((canvas.pixels == 255).all())
    False
    """

    def __init__(self, height: int, width: int) -> None:
        self.pixels = np.full((height, width, 3), PAPER, np.uint8)

    def rectangle(
        self,
        y: float,
        x: float,
        height: float,
        width: float,
        color: Sequence[int],
        *,
        line: int | None = None,
    ) -> None:
        """Fill a rectangle, or with `line` draw its border, so many pixels wide, inside it."""
        y0, x0, y1, x1 = (max(0, round(v)) for v in (y, x, y + height, x + width))
        if line is None:
            self.pixels[y0:y1, x0:x1] = color
            return
        for ys, xs in (
            (slice(y0, y0 + line), slice(x0, x1)),
            (slice(max(0, y1 - line), y1), slice(x0, x1)),
            (slice(y0, y1), slice(x0, x0 + line)),
            (slice(y0, y1), slice(max(0, x1 - line), x1)),
        ):
            self.pixels[ys, xs] = color

    def line(self, ys: Sequence[float], xs: Sequence[float], color: Sequence[int], *, width: int = 2) -> None:
        """Join points by lines; a point that is not finite leaves a gap."""
        for y0, x0, y1, x1 in zip(ys, xs, ys[1:], xs[1:], strict=False):
            if not np.isfinite([y0, x0, y1, x1]).all():
                continue
            count = int(max(abs(y1 - y0), abs(x1 - x0))) * 2 + 2
            self._stamp(np.linspace(y0, y1, count), np.linspace(x0, x1, count), color, width)

    def dots(self, ys: Sequence[float], xs: Sequence[float], color: Sequence[int], *, size: int = 5) -> None:
        """Draw a square dot at each point."""
        self._stamp(np.asarray(ys, float), np.asarray(xs, float), color, size)

    def text(
        self,
        y: float,
        x: float,
        words: str,
        color: Sequence[int] = INK,
        *,
        scale: int = 1,
        align: str = "left",
        upright: bool = False,
    ) -> int:
        """Write a line of text and return its length in pixels.

        Parameters
        ----------
        y, x : float
            Top (of capitals), and the left end, middle or right end by `align`; with `upright` the other way round.
        words : str
            Characters that the font lacks become "?".
        color : sequence of int
            RGB.
        scale : int
            Pixels a pixel of the font.
        align : {"left", "middle", "right"}
            What `x` means; upwards, what `y` means.
        upright : bool
            From bottom to top.
        """
        glyphs = _glyphs()
        cells = [np.pad(glyphs.get(c, glyphs["?"]), ((0, 0), (0, 1))) for c in words]
        if not cells:
            return 0
        mask = np.kron(np.concatenate(cells, axis=1)[:, :-1], np.ones((scale, scale), bool))
        length = int(mask.shape[1])
        shift = {"left": 0.0, "middle": length / 2, "right": float(length)}[align]
        if upright:
            mask = np.rot90(mask)
            y0, x0 = round(y - length + shift), round(x)
        else:
            y0, x0 = round(y), round(x - shift)
        ys, xs = np.nonzero(mask)
        self._set(ys + y0, xs + x0, color)
        return length

    def _stamp(
        self, ys: NDArray[np.float64], xs: NDArray[np.float64], color: Sequence[int], size: int
    ) -> None:
        dy, dx = np.indices((size, size)).reshape(2, -1, 1) - (size - 1) // 2
        self._set((np.rint(ys).astype(int) + dy).ravel(), (np.rint(xs).astype(int) + dx).ravel(), color)

    def _set(self, ys: NDArray[np.intp], xs: NDArray[np.intp], color: Sequence[int]) -> None:
        height, width = self.pixels.shape[:2]
        inside = (ys >= 0) & (ys < height) & (xs >= 0) & (xs < width)
        self.pixels[ys[inside], xs[inside]] = color
