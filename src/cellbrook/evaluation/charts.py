"""Drawings of the evaluation page, as inline SVG and tables."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellbrook.evaluation.classes import ClassScores
    from cellbrook.evaluation.compare import Evaluation

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 460, 300, 40, 12, 78, 36
_LINES = (("ap", "AP", "var(--accent)", ""), ("f1", "F1", "var(--missed)", "6 3"))


def by_threshold(evaluation: Evaluation) -> str:
    """Return a chart of AP and F1 against the IoU threshold, with their intervals as bands."""
    levels = evaluation.thresholds
    low, high = min(levels), max(levels)

    def x(level: float) -> float:
        return _LEFT + (level - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _TOP + (1 - value) * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):g}" y2="{y(tick):g}"/>'
        )
        parts.append(f'<text x="{_LEFT - 8}" y="{y(tick) + 4:g}" text-anchor="end">{tick:g}</text>')
    shown = levels if len(levels) <= 6 else levels[:: len(levels) // 5]
    parts += [
        f'<text x="{x(level):g}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{level:g}</text>'
        for level in shown
    ]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text x="{middle:g}" y="{_HEIGHT - 4}" text-anchor="middle">IoU from which an object counts</text>'
    )
    order = sorted(range(len(levels)), key=lambda at: levels[at])
    last_label: float | None = None
    for metric, name, color, dash in _LINES:
        values = [evaluation.pooled[metric][at] for at in order]
        xs = [x(levels[at]) for at in order]
        bounds = [(v.low, v.high) for v in values]
        if all(low is not None and high is not None for low, high in bounds):
            top = [f"{px:.1f} {y(b[1] or 0):.1f}" for px, b in zip(xs, bounds, strict=True)]
            under = [f"{px:.1f} {y(b[0] or 0):.1f}" for px, b in zip(xs, bounds, strict=True)]
            parts.append(f'<path d="M{"L".join([*top, *under[::-1]])}Z" fill="{color}" opacity=".15"/>')
        line = "L".join(f"{px:.1f} {y(v.value):.1f}" for px, v in zip(xs, values, strict=True))
        parts.append(f'<path class="line" d="M{line}" stroke="{color}" stroke-dasharray="{dash}"/>')
        at_end = y(values[-1].value) + 4
        if last_label is not None and abs(at_end - last_label) < 15:
            at_end = last_label - 15
        last_label = at_end
        parts.append(f'<text x="{_WIDTH - _RIGHT + 6}" y="{at_end:.1f}" style="fill:{color}">{name}</text>')
    ends = {
        metric: [evaluation.pooled[metric][at].value for at in (order[0], order[-1])] for metric, *_ in _LINES
    }
    words = ", ".join(
        f"{name} falls from {ends[key][0]:.2f} to {ends[key][1]:.2f}" for key, name, *_ in _LINES
    )
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="From IoU {low:g} to {high:g}, '
        f'{words}">{"".join(parts)}</svg>'
    )


def confusion(classes: ClassScores) -> str:
    """Return the confusion matrix as a table, shaded by the share of the row."""
    columns = [*classes.names, "not found"]
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in columns)
    rows = []
    for at, name in enumerate([*classes.names, "no true object"]):
        total = max(int(classes.confusion[at].sum()), 1)
        cells = []
        for column, count in enumerate(classes.confusion[at].tolist()):
            if at == column == len(classes.names):
                cells.append("<td></td>")
                continue
            share = count / total
            hit = ' class="hit"' if at == column else ""
            shade = f"background:color-mix(in srgb, var(--accent) {55 * share:.0f}%, transparent)"
            cells.append(f'<td{hit} style="{shade}">{count:,}<br><span class="range">{share:.0%}</span></td>')
        rows.append(f'<tr><th scope="row">{html.escape(name)}</th>{"".join(cells)}</tr>')
    return (
        '<div class="scroll" tabindex="0"><table class="confusion">'
        "<caption>True class (row) against predicted class (column), "
        f'with the share of the row; from {classes.n_images} images</caption><thead><tr><th scope="col">true class</th>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
