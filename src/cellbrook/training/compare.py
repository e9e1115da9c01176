"""Should I fine-tune, or train from scratch? Both, on the same split and on growing parts of the user's own images."""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellbrook.errors import Cancelled, UsageError
from cellbrook.io.atomic import atomic
from cellbrook.networks.cards import REPORT_NAME
from cellbrook.networks.store import resolve_model
from cellbrook.training.curves import BLUE, GREY, INK, ORANGE, Line, Panel, write_panels
from cellbrook.training.finetune import finetune
from cellbrook.training.learn import SCRATCH, wishes_of
from cellbrook.training.output import finished
from cellbrook.training.params import TrainParams
from cellbrook.training.split import SMALLEST_PART, Split, split

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cellbrook.core.progress import Progress
    from cellbrook.training.dataset import Dataset, Example

log = logging.getLogger(__name__)

SHARES = (0.25, 0.5, 1.0)
"""Parts of the training images that each start learns from."""

ASKED_NAME = "asked.json"
"""What a comparison in this folder was asked for: of which images, with which options, from which models."""

EQUAL = 0.01
"""AP differences below this are no reason to prefer one."""


@dataclass(frozen=True, slots=True)
class ComparedPoint:
    """One training.

    Parameters
    ----------
    start : str
        What it started from.
    objects : int
        Objects it learnt from.
    ap : float
        AP at IoU 0.5 on the held-out images, the same for all.
    path : Path
        Its model.
    """

    start: str
    objects: int
    ap: float
    path: Path


@dataclass(frozen=True, slots=True)
class CompareReport:
    """What came of a comparison.

    Parameters
    ----------
    points : tuple of ComparedPoint
        By start, ascending in objects.
    untrained : float or None
        AP of the first start without any training; None from scratch.
    words : tuple of str
        The answer.
    """

    points: tuple[ComparedPoint, ...]
    untrained: float | None
    words: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        points = [{**dataclasses.asdict(p), "path": str(p.path)} for p in self.points]
        return {"points": points, "untrained": self.untrained, "words": list(self.words)}

    def lines(self) -> list[str]:
        """Return the report for people."""
        starts = list(dict.fromkeys(p.start for p in self.points))
        counts = sorted({p.objects for p in self.points})
        lines = [f"{'objects':>8}" + "".join(f"{name:>12}" for name in starts)]
        for count in counts:
            aps = {p.start: p.ap for p in self.points if p.objects == count}
            lines.append(f"{count:>8}" + "".join(f"{aps[name]:>12.3f}" for name in starts))
        return [*lines, *self.words]


def compare(
    dataset: Dataset,
    out: str | Path,
    starts: Sequence[str] = ("compact", SCRATCH),
    *,
    params: TrainParams | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] = log.info,
) -> CompareReport:
    """Train each start on a quarter, a half and all of the training images; draw AP against objects.

    Parameters
    ----------
    dataset : Dataset
    out : path
        Folder for a model each, ``compare.png`` and ``compare.json``. Trainings that are finished there are not repeated.
    starts : sequence of str
        Models to start from, and "scratch".
    params, say
        As for `cellbrook.training.finetune.finetune`.
    progress : Progress or None
        Told of every step; when it cancels, what is finished is reported, and the same call goes on with the rest: a
        training that was cut short would not be comparable.

    Raises
    ------
    UsageError
        If fewer than two starts are given, or one twice, or `out` holds a comparison of other images or options.
    Cancelled
        If it was cancelled before a training was finished.
    """
    if len(set(starts)) < 2 or len(set(starts)) != len(starts):
        raise UsageError(
            f"--compare needs two or more different starts, such as base,scratch; got {','.join(starts)}"
        )
    params = params or TrainParams()
    folder = Path(out)
    dataset.require_usable()
    whole = split(dataset.examples, params.held_out, params.seed)
    names = _names(folder, dataset, starts, params)
    points: list[ComparedPoint] = []
    untrained = None
    trainings = list(itertools.product(starts, portions(whole.train)))
    for start, train in trainings:
        objects = sum(e.n_objects for e in train)
        place = folder / f"{names[start]}-{objects}"
        say(f"{start}, {objects} objects")
        if not finished(place):
            parts = Split(train, whole.validation, f"{objects} objects are learnt from")
            wishes: dict[str, Any] = {"params": params, "progress": progress, "say": say, "parts": parts}
            try:
                finetune(dataset, place, start=start, **wishes, cut_short=False)
            except Cancelled:
                if not points:
                    raise
                break
        ap, before, path = _read(place)
        untrained = before if untrained is None else untrained
        points.append(ComparedPoint(start, objects, ap, path))
    complete = len(points) == len(trainings)
    words = _answer(points, untrained) if complete else _so_far(points, len(trainings))
    result = CompareReport(tuple(points), untrained, tuple(words))
    _draw(folder / "compare.png", result)
    with atomic(folder / "compare.json") as part:
        text = json.dumps(result.to_dict(), indent=1, ensure_ascii=False)
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
    return result


def portions(train: Sequence[Example]) -> list[tuple[Example, ...]]:
    """Return growing parts of the images: the first of them where there are enough, else a part of each."""
    found: dict[int, tuple[Example, ...]] = {}
    for share in SHARES:
        if len(train) * SHARES[0] >= 1:
            some = tuple(train[: max(1, round(share * len(train)))])
        else:
            some = tuple(_part(e, share) for e in train)
        if objects := sum(e.n_objects for e in some):
            found[objects] = some  # where more images show no more objects, they teach where there are none
    return list(found.values())


def _part(example: Example, share: float) -> Example:
    if share >= 1:
        return example
    rows = max(min(SMALLEST_PART, example.labels.shape[0]), round(share * example.labels.shape[0]))
    return example.part(slice(0, rows), slice(None), f" ({share:.0%})")


def _answer(points: Sequence[ComparedPoint], untrained: float | None) -> list[str]:
    last = {p.start: p for p in points}  # the one with all objects
    ranked = sorted(last.values(), key=lambda p: -p.ap)
    best, second = ranked[0], ranked[1]
    words = []
    if best.ap - second.ap < EQUAL:
        words.append(
            f"With your {best.objects} objects it makes no difference on the held-out images ({best.start} {best.ap:.3f}, "
            f"{second.start} {second.ap:.3f}): prefer a trained start, which knows more than your images."
        )
    else:
        words.append(
            f"With your {best.objects} objects, {_how(best.start)} is best on the held-out images: AP {best.ap:.3f} against "
            f"{second.ap:.3f} {_how(second.start)}."
        )
    if untrained is not None:
        words.append(f"Without any training the AP is {untrained:.3f}.")
    mine = [p for p in points if p.start == best.start]
    if len(mine) > 1 and mine[-1].ap - mine[-2].ap > 2 * EQUAL:
        words.append("The curve still rises: more labelled objects would help.")
    words.append(f"The best model is {best.path}.")
    return words


def _so_far(points: Sequence[ComparedPoint], trainings: int) -> list[str]:
    best = max(points, key=lambda p: p.ap)
    return [
        f"Stopped after {len(points)} of {trainings} trainings; the same command goes on with the rest.",
        f"The best model so far is {best.path}: AP {best.ap:.3f} with {best.objects} objects.",
    ]


def _how(start: str) -> str:
    return "training from scratch" if start == SCRATCH else f"starting from {start}"


def _draw(path: Path, result: CompareReport) -> None:
    starts = list(dict.fromkeys(p.start for p in result.points))
    lines = [
        Line(start, [(p.objects, p.ap) for p in result.points if p.start == start], color)
        for start, color in zip(starts, itertools.cycle((BLUE, ORANGE, GREY, INK)), strict=False)
    ]
    level = ("untrained", result.untrained) if result.untrained is not None else None
    write_panels(
        path, [Panel("AP at IoU 0.5 on held-out images", "objects learnt from", lines, top=1.0, level=level)]
    )


def _read(folder: Path) -> tuple[float, float | None, Path]:
    """Return AP after and before, and the model's folder, of a finished training."""
    report = json.loads((folder / REPORT_NAME).read_text(encoding="utf-8"))
    before = report["validation_start"]
    return float(report["validation"]["ap"]), before and float(before["ap"]), Path(report["path"])


def _names(folder: Path, dataset: Dataset, starts: Sequence[str], params: TrainParams) -> dict[str, str]:
    """Return what the folders of each start begin with; what lies there must have been asked for in the same words."""
    hashes = {start: SCRATCH if start == SCRATCH else resolve_model(start).sha256 for start in starts}
    names: dict[str, str] = {}
    for start in starts:
        name = Path(start).name
        names[start] = f"{name}-{hashes[start][:8]}" if name in names.values() else name
    asked: dict[str, Any] = {"data": dataset.sha256, "params": wishes_of(params)}
    file = folder / ASKED_NAME
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {**asked, "starts": {}}
    starts_before: dict[str, str] = before.pop("starts")
    own = {names[start]: hashes[start] for start in starts}
    if before != asked or any(starts_before.get(name, sha256) != sha256 for name, sha256 in own.items()):
        raise UsageError(
            f"{folder} holds a comparison of other images, options or models: give another folder (--out)"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(file) as part:
        part.write_text(json.dumps({**asked, "starts": {**starts_before, **own}}), encoding="utf-8")
    return names
