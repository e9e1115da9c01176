"""Two people's agreement, and a model's with both, as one HTML page that needs nothing but itself."""

from __future__ import annotations

import html
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from cellbrook.evaluation.page import document, write_document

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from cellbrook.evaluation.human import Agreement
    from cellbrook.metrics import HumanComparison, Interval

_WIDTH, _LEFT, _RIGHT, _ROW = 760, 190, 30, 22
_COLORS = ("var(--accent)", "var(--missed)", "var(--spurious)")
_SIDES = ("A with B", "model with A", "model with B")


def write_human_page(agreement: Agreement, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write the answer, the figures with their intervals, and every image.

    Parameters
    ----------
    agreement : Agreement
        From `cellbrook.evaluation.agreement`.
    path : path
        The page. One that Cellbrook wrote is replaced.
    overwrite : bool
        Replace any other file too.

    Raises
    ------
    OutputError
        If it cannot be written, or a file is there that is no such page.
    """
    return write_document(human_page(agreement), Path(path), overwrite=overwrite)


def human_page(agreement: Agreement) -> str:
    """Return the page as text; see `write_human_page`."""
    found = agreement.comparison
    body = [_head(agreement)]
    if found is not None:
        body += [_figures(found), _images(agreement)]
    body += [_left_out(agreement), _METHOD]
    return document("Agreement of labels", body)


def _head(agreement: Agreement) -> str:
    n = len(agreement.names)
    made = f"{date.today().isoformat()}, Cellbrook {metadata.version('cellbrook')}"
    sides = ", ".join(
        f"{name} <code>{_text(path)}</code>"
        for name, path in zip(("A", "B", "model"), agreement.sources, strict=False)
    )
    lines = [
        f"<h1>{'Two people and a model' if len(agreement.sources) > 2 else 'Two people'} on the same images</h1>",
        f'<p class="soft">{n} image{"s" * (n != 1)}. {sides}. {made}.</p>',
        f'<p class="lead">{_text(agreement.sentence)}</p>',
    ]
    notes = agreement.comparison.notes if agreement.comparison else ()
    lines += [f'<p class="note">{_text(note[:1].upper() + note[1:])}.</p>' for note in notes]
    return "\n".join(lines)


def _figures(found: HumanComparison) -> str:
    with_model = bool(found.scores[0].model)
    heads = [*_SIDES[: 3 if with_model else 1], *(("difference", "verdict") if with_model else ())]
    rows = []
    for score in found.scores:
        cells = [_cell(part) for part in (score.people, *score.model)]
        if score.difference is not None:
            cells += [_cell(score.difference, sign="+"), f"<td>{_verdict(score.verdict)}</td>"]
        rows.append(f'<tr><th scope="row">{_text(score.name)}</th>{"".join(cells)}</tr>')
    head = "".join(f'<th scope="col">{name}</th>' for name in ("", *heads))
    table = (
        '<div class="scroll" tabindex="0"><table><caption>All objects of all images together, with 95 % intervals'
        f"</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
    return f"<h2>How well they agree</h2>{_chart(found)}{table}"


def _chart(found: HumanComparison) -> str:
    """Return each figure as points with their intervals on a scale from 0 to 1."""

    def x(value: float) -> float:
        return _LEFT + value * (_WIDTH - _LEFT - _RIGHT)

    sides = 1 + len(found.scores[0].model)
    block = sides * _ROW * 0.6 + _ROW
    height = block * len(found.scores) + 30
    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<line class="grid" x1="{x(tick):g}" x2="{x(tick):g}" y1="4" y2="{height - 24:g}"/>')
        parts.append(f'<text x="{x(tick):g}" y="{height - 8:g}" text-anchor="middle">{tick:g}</text>')
    words = []
    for at, score in enumerate(found.scores):
        top = 4 + at * block
        parts.append(
            f'<text x="{_LEFT - 14}" y="{top + block / 2:.1f}" text-anchor="end">{_text(score.name)}</text>'
        )
        shown = list(zip((score.people, *score.model), _SIDES, _COLORS, strict=False))
        for row, (part, side, color) in enumerate(shown):
            y = top + _ROW / 2 + (row + 0.5) * _ROW * 0.6
            if part.low is not None and part.high is not None:
                parts.append(
                    f'<line class="line" x1="{x(part.low):.1f}" x2="{x(part.high):.1f}" y1="{y:.1f}" y2="{y:.1f}" '
                    f'stroke="{color}"/>'
                )
            parts.append(
                f'<circle cx="{x(part.value):.1f}" cy="{y:.1f}" r="4.5" fill="{color}">'
                f"<title>{side}: {part.value:.3f}</title></circle>"
            )
        words.append(f"{score.name}: " + ", ".join(f"{side} {part.value:.3f}" for part, side, _ in shown))
    keys = "".join(
        f'<span class="key" style="background:{color}"></span>{side} &ensp; '
        for side, color in zip(_SIDES[:sides], _COLORS, strict=False)
    )
    return (
        f'<p class="soft">{keys}</p><svg class="chart" viewBox="0 0 {_WIDTH} {height:g}" role="img" '
        f'aria-label="{_text("; ".join(words))}">{"".join(parts)}</svg>'
    )


def _images(agreement: Agreement) -> str:
    rows = sorted(agreement.rows(), key=lambda row: row["f1_people"])
    if not rows:
        return ""
    with_model = "n_model" in rows[0]
    columns = ["n_a", "n_b", *(["n_model"] if with_model else [])]
    figures = ["f1_people", *(["f1_model_a", "f1_model_b"] if with_model else [])]
    heads = ["image", "A", "B", *(["model"] if with_model else []), *_SIDES[: len(figures)]]
    body = "".join(
        f'<tr><td class="path" title="{_text(row["name"])}">{_text(row["name"])}</td>'
        + "".join(f"<td>{row[name]}</td>" for name in columns)
        + "".join(f"<td>{row[name]:.3f}</td>" for name in figures)
        + "</tr>"
        for row in rows
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    caption = "Numbers of objects, and F1 at the first IoU; where the two people agree least comes first"
    return (
        '<h2>Every image</h2><div class="scroll" tabindex="0"><table class="sortable">'
        f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _left_out(agreement: Agreement) -> str:
    parts = []
    if agreement.failed:
        parts.append(_list("Could not be compared", [f"{n}: {why}" for n, why in agreement.failed.items()]))
    for names, words in (
        (agreement.only_a, "Labelled in A alone"),
        (agreement.only_b, "Labelled in B alone"),
        (agreement.without_model, "Not labelled by the model"),
    ):
        if names:
            parts.append(_list(words, names))
    return f"<h2>Left out</h2>{''.join(parts)}" if parts else ""


def _list(title: str, lines: Sequence[str]) -> str:
    return f"<h3>{title}</h3><ul>{''.join(f'<li>{_text(line)}</li>' for line in lines)}</ul>"


def _cell(interval: Interval, sign: str = "") -> str:
    low, high = interval.low, interval.high
    bounds = "" if low is None or high is None else f"{low:{sign}.3f} to {high:{sign}.3f}"
    return f'<td>{interval.value:{sign}.3f} <span class="range">{bounds}</span></td>'


def _verdict(verdict: str | None) -> str:
    return verdict or "undecided"


def _text(words: str) -> str:
    return html.escape(words, quote=True)


_METHOD = """<h2>How it was counted</h2>
<details open><summary>Terms</summary>
<p>Two people who outline the same cells differ, so no model can agree with each of them better than a perfect one
would. The model is therefore compared with what people reach between themselves: the difference is its mean agreement
with A and with B, minus theirs with each other, over the same images. It is <strong>at</strong> human agreement if the
whole interval lies within a small margin of zero, <strong>below</strong> or <strong>above</strong> if the interval
leaves out zero, else undecided; so it is with fewer than five images.</p>
<p>Objects of two labellings are matched one to one so that as many pairs as possible reach the overlap (IoU).
<strong>F1</strong> = 2 matches / (objects of both). Intervals are 95 % bootstrap intervals that draw whole images.</p>
</details>"""
