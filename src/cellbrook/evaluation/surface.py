"""A picture of what tuning saw: F1 over pairs of settings, with the best and the start marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellbrook.export.drawing import INK, PAPER, SOFT, Canvas, heat_color

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellbrook.evaluation.tuning import Tuning

_CELL_Y, _CELL_X, _LEFT, _TOP, _GAP, _BOTTOM = 26, 44, 96, 96, 84, 92
_START = (225, 60, 60)


def draw_surface(tuning: Tuning) -> NDArray[np.uint8]:
    """Draw F1 in per cent, shape (Y, X, 3), uint8.

    Two maps through the best setting: cellprob threshold against flow error or score, and against smallest size; where
    several diameters were tried, a row of the best F1 at each.
    """
    grid, surface = tuning.grid, tuning.surface
    d, c, f, s = grid.index(tuning.best)
    start = grid.index(tuning.start)
    columns = [f"{v:g}" for v in grid.cellprob_thresholds]
    flow_rows = [str(limit) for limit in grid.limits]
    size_rows = [f"{v:g}" for v in grid.min_sizes]
    tall = max(len(flow_rows), len(size_rows)) * _CELL_Y
    wide = len(columns) * _CELL_X
    diameters = len(grid.diameters) > 1
    height = _TOP + tall + _BOTTOM + (96 if diameters else 0)
    canvas = Canvas(height, 2 * (_LEFT + wide) + _GAP)
    low, high = _limits(surface[d])
    found = f"best: cellprob {columns[c]}, {flow_rows[f]}, size {size_rows[s]}, diameter {grid.diameters[d]}"
    canvas.text(20, 24, f"F1 at IoU {tuning.iou:g} in %, {len(tuning.names)} images", scale=2)
    canvas.text(48, 24, found, SOFT, scale=2)
    maps = (
        (surface[d, :, :, s], flow_rows, "flow error, score", (c, f), (start[1], start[2])),
        (surface[d, :, f, :], size_rows, "smallest size (px)", (c, s), (start[1], start[3])),
    )
    for number, (values, rows, title, best, begin) in enumerate(maps):
        x = _LEFT + number * (wide + _GAP + _LEFT - 40)
        _map(canvas, _TOP, x, values.T, low, high)
        # the start is on a map only if it shares the settings that the map does not show
        others = (start[0], start[3] if number == 0 else start[2]) == (d, s if number == 0 else f)
        if others:
            _mark(canvas, x, begin, _START)
        _mark(canvas, x, best, INK)
        _axes(canvas, x, columns, rows, title)
    if diameters:
        _diameters(canvas, height - 118, tuning, low, high)
    legend = "framed: the best"
    if start[0] == d and (start[3] == s or start[2] == f):
        legend += "; red: the start"
    canvas.text(height - 26, 24, legend, SOFT, scale=2)
    return canvas.pixels


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    high = float(values.max())
    low = float(np.percentile(values, 10))  # the worst settings must not take all the colours
    return (low, high) if high - low > 0.01 else (high - 0.01, high)


def _map(canvas: Canvas, top: int, left: int, values: NDArray[np.float64], low: float, high: float) -> None:
    share = (values - low) / (high - low)
    colors = heat_color(share)
    for (row, column), value in np.ndenumerate(values):
        y, x = top + row * _CELL_Y, left + column * _CELL_X
        canvas.rectangle(y, x, _CELL_Y - 1, _CELL_X - 1, colors[row, column].tolist())
        ink = INK if share[row, column] > 0.55 else PAPER
        # one digit after the point, but 100 has no room for it
        words = f"{100 * value:.1f}" if value < 0.9995 else "100"
        canvas.text(y + 9, x + _CELL_X // 2, words, ink, align="middle")


def _mark(canvas: Canvas, left: int, place: tuple[int, int], color: tuple[int, int, int]) -> None:
    column, row = place
    y, x = _TOP + row * _CELL_Y, left + column * _CELL_X
    canvas.rectangle(y - 2, x - 2, _CELL_Y + 3, _CELL_X + 3, color, line=3)


def _axes(canvas: Canvas, left: int, columns: Sequence[str], rows: Sequence[str], title: str) -> None:
    for at, words in enumerate(rows):
        canvas.text(_TOP + at * _CELL_Y + 9, left - 8, words, align="right")
    bottom = _TOP + len(rows) * _CELL_Y
    for at, words in enumerate(columns):
        canvas.text(bottom + 8, left + at * _CELL_X + _CELL_X // 2, words, align="middle")
    middle = left + len(columns) * _CELL_X // 2
    canvas.text(bottom + 28, middle, "cellprob threshold", SOFT, scale=2, align="middle")
    canvas.text(
        _TOP + len(rows) * _CELL_Y // 2, left - 64, title, SOFT, scale=2, align="middle", upright=True
    )


def _diameters(canvas: Canvas, top: int, tuning: Tuning, low: float, high: float) -> None:
    best = tuning.surface.reshape(len(tuning.grid.diameters), -1).max(1)
    canvas.text(top, _LEFT, "best F1 at each diameter", SOFT, scale=2)
    for at, (name, value) in enumerate(zip(tuning.grid.diameters, best.tolist(), strict=True)):
        x = _LEFT + at * 120
        share = (value - low) / (high - low)
        canvas.rectangle(top + 24, x, _CELL_Y, 110, heat_color(np.array([share]))[0].tolist())
        canvas.text(top + 34, x + 55, f"{100 * value:.1f}", INK if share > 0.55 else PAPER, align="middle")
        canvas.text(top + 24 + _CELL_Y + 5, x + 55, name, align="middle")
