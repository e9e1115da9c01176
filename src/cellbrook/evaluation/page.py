"""The evaluation as one HTML page that needs nothing but itself: no network, no other files."""

from __future__ import annotations

import base64
import html
from datetime import date
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING

from cellbrook.errors import OutputError
from cellbrook.evaluation import charts
from cellbrook.io import atomic, encode_png
from cellbrook.metrics.errors import KINDS

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from cellbrook.evaluation.compare import Evaluation
    from cellbrook.evaluation.gallery import Crop, Outline
    from cellbrook.metrics import Interval

GENERATOR = "Cellbrook evaluation"
"""Marks a page as ours, which may be replaced."""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

MEANINGS = {
    "missed": "nothing was found where there is an object",
    "spurious": "an object was found where there is none",
    "merged": "one outline around several objects",
    "split": "several outlines in one object",
    "boundary": "found, but the outlines differ (IoU below 0.75; those below the threshold count as not found)",
}
_FIGURES = (
    ("f1", "F1", "found and right, in balance"),
    ("ap", "AP", "right / (right + missed + extra)"),
    ("panoptic_quality", "panoptic quality", "found, times how well outlined"),
    ("seg", "SEG", "mean overlap of the true objects"),
    ("boundary_f", "boundary F", "outlines that agree"),
    ("count_error", "count error", "mean, per true object"),
)
_COLUMNS = (
    ("ap", "AP"),
    ("f1", "F1"),
    ("panoptic_quality", "PQ"),
    ("seg", "SEG"),
    ("boundary_f", "boundary F"),
    ("count_error", "count error"),
)


def write_page(
    evaluation: Evaluation,
    path: str | os.PathLike[str],
    *,
    crops: Iterable[Crop] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write one self-contained HTML page: figures, kinds of errors, pictures of the worst, every image.

    Parameters
    ----------
    evaluation : Evaluation
        From `cellbrook.evaluate`.
    path : path
        The page. One that Cellbrook wrote is replaced.
    crops : iterable of Crop or None
        Pictures of errors. None: those of ``evaluation.gallery()``.
    overwrite : bool
        Replace any other file too.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    OutputError
        If it cannot be written, or a file is there that is no such page.
    """
    path = Path(path)
    check_page(path, overwrite=overwrite)
    text = page(evaluation, evaluation.gallery() if crops is None else crops)
    return write_document(text, path, overwrite=overwrite)


def check_page(path: Path, *, overwrite: bool = False) -> None:
    """Raise an OutputError if a file is there that is not a page of ours."""
    if overwrite or not path.exists():
        return
    if path.is_file():
        with path.open("rb") as file:
            if GENERATOR.encode() in file.read(2000):
                return
    raise OutputError(f"{path} is there already and is no evaluation that Cellbrook wrote: give another name")


def page(evaluation: Evaluation, crops: Iterable[Crop]) -> str:
    """Return the page as text; see `write_page`."""
    body = [_head(evaluation)]
    if evaluation.images:
        body += [_figures(evaluation), _thresholds(evaluation), _kinds(evaluation), _gallery(list(crops))]
        if evaluation.classes is not None:
            body.append(_classes(evaluation))
        body.append(_images(evaluation))
    body += [_left_out(evaluation), _method(evaluation)]
    skip = ("#worst", "Skip to the pictures of errors")
    return document(f"Evaluation of {len(evaluation.images)} images", body, skip=skip)


def document(title: str, body: Iterable[str], *, skip: tuple[str, str] | None = None) -> str:
    """Return a whole page that is forbidden to load anything.

    Parameters
    ----------
    title : str
        Plain text.
    body : iterable of str
        HTML.
    skip : tuple of (str, str) or None
        Where a link for users of a keyboard leads, and its words.
    """
    home = resources.files("cellbrook.evaluation")
    style, script = (home.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    link = f'<a class="skip" href="{skip[0]}">{_text(skip[1])}</a>' if skip else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="{GENERATOR}">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(title)}</title>
<style>
{style}</style>
</head>
<body>
{link}
<main>
{"".join(body)}
</main>
<script>
{script}</script>
</body>
</html>
"""


def write_document(text: str, path: Path, *, overwrite: bool = False) -> Path:
    """Write a page whole or not at all; see `check_page`."""
    check_page(path, overwrite=overwrite)
    with atomic(path) as temporary:
        # a file's name may hold bytes that are no text
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
    return path


def _head(evaluation: Evaluation) -> str:
    n_true, n_pred = _objects(evaluation)
    made = f"{date.today().isoformat()}, Cellbrook {metadata.version('cellbrook')}"
    lines = [
        "<h1>Predicted labels against the truth</h1>",
        f'<p class="soft">{_count(len(evaluation.images), "image")}, {_count(n_true, "true object")}, '
        f"{n_pred:,} predicted. {made}.</p>",
    ]
    if evaluation.sources:
        truth, pred = map(_text, evaluation.sources)
        lines.append(f'<p class="soft">Prediction <code>{pred}</code>, truth <code>{truth}</code>.</p>')
    if evaluation.images:
        found = sum(image.tp[0] for image in evaluation.images)
        level = evaluation.thresholds[0]
        recall, precision = evaluation.pooled["recall"][0], evaluation.pooled["precision"][0]
        lines.append(
            f'<p class="lead">Of {_count(n_true, "true object")}, {found:,} were found ({_percent(recall)}). '
            f"Of {_count(n_pred, 'predicted object')}, {n_pred - found:,} match none "
            f"({_percent(precision, inverse=True)}).</p>"
            f'<p class="soft">An object counts as found if the overlap of the two outlines, as intersection over '
            f"union (IoU), is at least {level:g}.</p>"
        )
    lines += [f'<p class="note">{_text(note[:1].upper() + note[1:])}.</p>' for note in evaluation.notes]
    return "\n".join(lines)


def _figures(evaluation: Evaluation) -> str:
    level = evaluation.thresholds[0]
    tiles = []
    for key, name, meaning in _FIGURES:
        shown = f"{name} at IoU {level:g}" if key in ("f1", "ap") else name
        tiles.append(
            f"<div><dt>{shown}</dt><dd>{evaluation.pooled[key][0].value:.3f}"
            f"<small>{_range(evaluation.pooled[key][0])}</small><small>{meaning}</small></dd></div>"
        )
    return f'<dl class="figures">{"".join(tiles)}</dl>'


def _thresholds(evaluation: Evaluation) -> str:
    metrics = ("ap", "f1", "precision", "recall")
    rows = []
    for place, level in enumerate(evaluation.thresholds):
        cells = "".join(_cell(evaluation.pooled[metric][place]) for metric in metrics)
        rows.append(f"<tr><th scope='row'>{level:g}</th>{cells}</tr>")
    table = (
        '<div class="scroll" tabindex="0"><table><caption>All objects of all images together</caption><thead><tr>'
        '<th scope="col">IoU</th><th scope="col">AP</th><th scope="col">F1</th><th scope="col">precision</th>'
        f'<th scope="col">recall</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )
    chart = charts.by_threshold(evaluation) if len(evaluation.thresholds) > 1 else ""
    return f'<h2>How strict the figures are</h2><div class="two">{chart}{table}</div>'


def _kinds(evaluation: Evaluation) -> str:
    kinds = evaluation.kinds()
    n_true, n_pred = _objects(evaluation)
    found = sum(image.tp[0] for image in evaluation.images)
    rows = []
    for kind in KINDS:
        counts = kinds[kind]
        rows.append(
            f'<tr><th scope="row">{_key(kind)}{kind}</th><td>{counts["errors"]:,}</td>'
            f"<td>{counts['true_objects']:,}</td><td>{counts['pred_objects']:,}</td>"
            f'<td class="words">{MEANINGS[kind]}</td></tr>'
        )
    bars = [
        _bar(f"{n_true:,} true objects", found, {k: kinds[k]["true_objects"] for k in KINDS}),
        _bar(f"{n_pred:,} predicted objects", found, {k: kinds[k]["pred_objects"] for k in KINDS}),
    ]
    return (
        f'<h2>What went wrong</h2>{"".join(bars)}<p class="soft">{_key("good")}found. '
        "Every object without a match has exactly one kind of error.</p>"
        '<div class="scroll" tabindex="0"><table><caption>Kinds of errors</caption><thead><tr><th scope="col">kind</th>'
        '<th scope="col">errors</th><th scope="col">true objects lost</th>'
        '<th scope="col">predicted objects wrong</th><th scope="col" class="words">meaning</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _bar(title: str, found: int, parts: dict[str, int]) -> str:
    shown = {"good": found, **parts}
    spans = "".join(
        f'<span style="flex:{count};background:var(--{name})" title="{"found" if name == "good" else name}: {count:,}">'
        "</span>"
        for name, count in shown.items()
        if count
    )
    words = ", ".join(f"{'found' if n == 'good' else n} {c:,}" for n, c in shown.items() if c)
    return f'<div><span class="soft">{title}</span><div class="bar" role="img" aria-label="{words}">{spans}</div></div>'


def _gallery(crops: list[Crop]) -> str:
    if not crops:
        return '<h2 id="worst">The worst errors</h2><p>There are none.</p>'
    without = sum(crop.picture is None for crop in crops)
    parts = [
        '<h2 id="worst">The worst errors</h2>',
        '<div class="controls">'
        + _toggle("show-true", "truth", '<path class="t guilty" d="M0 5H40"/>')
        + _toggle("show-pred", "prediction", '<path class="p guilty" d="M0 5H40"/>')
        + _toggle("show-others", "other objects")
        + _toggle("show-image", "image")
        + '<label hidden>size <input type="range" id="crop-size" min="9" max="40" value="13"></label></div>',
    ]
    if without:
        parts.append(
            f'<p class="soft">{_count(without, "picture")} without the image: none was found beside the labels; '
            "say where the images are with --images.</p>"
        )
    for kind in KINDS:
        own = [crop for crop in crops if crop.kind == kind]
        if own:
            parts.append(f"<h3>{_key(kind)}{kind.capitalize()}: {MEANINGS[kind].partition(' (')[0]}</h3>")
            parts.append(f'<ul class="crops">{"".join(map(_figure, own))}</ul>')
    return "".join(parts)


def _toggle(identity: str, words: str, sample: str = "") -> str:
    shown = f'<svg viewBox="0 0 40 10" aria-hidden="true">{sample}</svg>' if sample else ""
    return f'<label><input type="checkbox" id="{identity}" checked>{shown}{words}</label>'


def _figure(crop: Crop) -> str:
    y0, x0, y1, x1 = crop.box
    picture = ""
    if crop.picture is not None:
        data = base64.b64encode(encode_png(crop.picture)).decode("ascii")
        picture = f'<image width="{x1 - x0}" height="{y1 - y0}" href="data:image/png;base64,{data}"/>'
    others = "".join(_path(o, "t") for o in crop.true if not o.guilty)
    others += "".join(_path(o, "p") for o in crop.pred if not o.guilty)
    guilty = "".join(_path(o, "t guilty") for o in crop.true if o.guilty)
    guilty += "".join(_path(o, "p guilty") for o in crop.pred if o.guilty)
    what = _what(crop)
    plane = f", plane {' '.join(map(str, crop.plane))}" if crop.plane else ""
    where = f"x {x0}–{x1}, y {y0}–{y1}{plane}"
    return (
        f'<li><figure><svg viewBox="0 0 {x1 - x0} {y1 - y0}" role="img" aria-label="{_text(f"{crop.name}: {what}")}">'
        f'{picture}<g class="shade">{others}{guilty}</g></svg>'
        f"<figcaption><strong>{_text(crop.name)}</strong><br>{what}, {where}</figcaption></figure></li>"
    )


def _what(crop: Crop) -> str:
    error = crop.error
    if crop.kind == "merged":
        return f"{len(error.true_labels)} objects in one"
    if crop.kind == "split":
        return f"{len(error.pred_labels)} pieces"
    if crop.kind == "boundary":
        return f"IoU {error.iou:.2f}"
    return f"{error.severity:,.0f} px"


def _path(outline: Outline, name: str) -> str:
    rings = []
    for ring in outline.rings:
        points = [f"{x:g} {y:g}" for y, x in ring.tolist()]
        rings.append("M" + "L".join(points) + "Z")
    return f'<path class="{name}" d="{"".join(rings)}"/>'


def _classes(evaluation: Evaluation) -> str:
    classes = evaluation.classes
    assert classes is not None
    rows = []
    for at, name in enumerate(classes.names):
        cells = "".join(_cell(classes.scores[metric][at]) for metric in ("ap", "f1", "precision", "recall"))
        rows.append(f'<tr><th scope="row">{_text(name)}</th>{cells}</tr>')
    table = (
        '<div class="scroll" tabindex="0"><table><caption>An object counts for a class if it was found and has this '
        'class on both sides</caption><thead><tr><th scope="col">class</th><th scope="col">AP</th><th scope="col">F1</th>'
        f'<th scope="col">precision</th><th scope="col">recall</th></tr></thead><tbody>{"".join(rows)}</tbody>'
        "</table></div>"
    )
    return f"<h2>Classes</h2>{charts.confusion(classes)}<br>{table}"


def _images(evaluation: Evaluation) -> str:
    rows = []
    place = {id(image): at for at, image in enumerate(evaluation.images)}  # two may have one name
    for image in evaluation.worst(len(evaluation.images)):
        at = place[id(image)]
        cells = [f"<td>{image.n_true}</td><td>{image.n_pred}</td>"]
        for key, _ in _COLUMNS:
            values = evaluation.per_image[key][at]
            cells.append(f"<td>{float(values.flat[0]):.3f}</td>")
        cells += [f"<td>{evaluation.errors[at].count(kind)}</td>" for kind in KINDS]
        rows.append(
            f'<tr><td class="path" title="{_text(image.name)}">{_text(image.name)}</td>{"".join(cells)}</tr>'
        )
    heads = ["image", "true", "predicted", *(name for _, name in _COLUMNS), *KINDS]
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return (
        f'<h2>Every image</h2><div class="scroll" tabindex="0">'
        f'<table class="sortable"><caption>The worst first; AP and F1 at IoU {evaluation.thresholds[0]:g}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _left_out(evaluation: Evaluation) -> str:
    parts = []
    if evaluation.failed:
        items = "".join(f"<li>{_text(n)}: {_text(why)}</li>" for n, why in evaluation.failed.items())
        parts.append(f"<h3>Could not be compared</h3><ul>{items}</ul>")
    for files, words in (
        (evaluation.only_truth, "Truth without a prediction"),
        (evaluation.only_prediction, "Predictions without a truth"),
    ):
        if files:
            items = "".join(f"<li>{_text(str(path))}</li>" for path in files)
            parts.append(f"<h3>{words}</h3><ul>{items}</ul>")
    return f"<h2>Left out</h2>{''.join(parts)}" if parts else ""


def _method(evaluation: Evaluation) -> str:
    few = "" if len(evaluation.images) > 1 else " With one image there is none."
    return f"""<h2>How it was counted</h2>
<details open><summary>Terms</summary>
<p>Predicted and true objects are matched one to one so that as many pairs as possible reach the IoU.
<strong>Precision</strong> is the share of predicted objects that have a match, <strong>recall</strong> that of true
objects; <strong>F1</strong> = 2 matches / (true + predicted); <strong>AP</strong> = matches / (matches + missed +
extra). <strong>Panoptic quality</strong> is F1 at IoU 0.5 times the mean IoU of the matches. <strong>SEG</strong> is
that of the Cell Tracking Challenge: the mean IoU of true objects with the prediction that covers more than half of
them. <strong>Boundary F</strong> is the share of outlines within a small distance of each other. <strong>Count
error</strong> is the difference of the numbers of objects, image by image, per true object.</p>
<p>Figures are of all objects of all images together, so each object weighs the same. Intervals are 95 % bootstrap
intervals that draw whole images.{few} An image without objects in which none are found counts as right.</p>
</details>"""


def _objects(evaluation: Evaluation) -> tuple[int, int]:
    return sum(i.n_true for i in evaluation.images), sum(i.n_pred for i in evaluation.images)


def _cell(interval: Interval) -> str:
    return f'<td>{interval.value:.3f} <span class="range">{_range(interval)}</span></td>'


def _range(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return ""
    return f"{interval.low:.3f} to {interval.high:.3f}"


def _percent(interval: Interval, *, inverse: bool = False) -> str:
    value, low, high = interval
    if inverse:
        value, low, high = 1 - value, None if high is None else 1 - high, None if low is None else 1 - low
    if low is None or high is None:
        return f"{value:.0%}"
    return f"{value:.1%}, 95 % interval {100 * low:.1f} to {100 * high:.1f}".replace("%,", " %,", 1)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _key(name: str) -> str:
    return f'<span class="key" style="background:var(--{name})"></span>'


def _text(words: str) -> str:
    return html.escape(words, quote=True)
