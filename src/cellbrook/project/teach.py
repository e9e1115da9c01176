"""A training round: from what was corrected in a project to its next model."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellbrook.errors import ModelError, UsageError
from cellbrook.project.exchange import TAUGHT, export_training, taught_channels
from cellbrook.project.models import activate_model, model_reference, own_models

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cellbrook.core.progress import Progress
    from cellbrook.project.project import Project
    from cellbrook.training.params import TrainParams
    from cellbrook.training.report import CurvePoint, TrainReport


@dataclass(frozen=True, slots=True)
class Round:
    """What came of a training round.

    Parameters
    ----------
    number : int
        Counted from 1.
    model : str
        Name of the new model in the project.
    activated : bool
        It predicts from now on. False: it is not better than the one it started from or the one that predicts, or nobody
        wanted it.
    report : TrainReport
        Of the training.
    """

    number: int
    model: str
    activated: bool
    report: TrainReport


def train_round(
    project: Project,
    *,
    start: str | None = None,
    names: Sequence[str] = (),
    states: Sequence[str] = TAUGHT,
    name: str | None = None,
    params: TrainParams | None = None,
    activate: bool = True,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
    watch: Callable[[CurvePoint], None] | None = None,
) -> Round:
    """Teach a model what was corrected in a project.

    Parameters
    ----------
    project : Project
        Open for writing.
    start : str or None
        Model to start from, by its name in the project or anywhere. None: the general model that the active one descends
        from, with all corrected images: going on from round to round forgets more.
    names, states : sequence of str
        Images to learn from: these, or those in one of the states.
    name : str or None
        Of the new model. None: the project's name and the number of the round.
    params : TrainParams or None
        Options of training.
    activate : bool
        Make the new model the active one, if it is better on images that it has not seen than its start and the active
        one.
    progress : Progress or None
        Told of steps; cancelling keeps the best so far.
    say, watch : callable or None
        See `cellbrook.training.finetune.finetune`.

    Raises
    ------
    UsageError
        If no image is corrected yet, or the name is taken.
    TrainingError
        If training cannot go on.
    Cancelled
        If it was cancelled before there was anything to keep.
    """
    project.check_writable()
    tag = name or next_model_name(project)
    if not re.fullmatch(r"[\w.-]+", tag) or tag.startswith("."):
        raise UsageError(f"a model's name has letters, digits, '.', '-' and '_', got {tag!r}")
    if tag in _taken(project):
        raise UsageError(f"the project has a model {tag} already: give another name")
    origin = start or general_start(project)
    with tempfile.TemporaryDirectory(prefix="cellbrook-round-") as folder:
        tell: dict[str, Any] = {} if say is None else {"say": say}
        files = export_training(project, Path(folder), names=names, states=states, **tell)
        if not files:
            raise UsageError(
                "nothing is corrected yet: correct an image (or say that one is done), then train"
            )
        from cellbrook.training.finetune import finetune  # torch: only now that there is something to do
        from cellbrook.training.params import TrainParams

        params = params or TrainParams()
        if params.channels is None:
            params = replace(params, channels=taught_channels(project, files))
        out = project.folder / "models" / tag
        report = finetune(
            folder,
            out,
            start=model_reference(project, origin) if origin != "scratch" else origin,
            params=params,
            progress=progress,
            watch=watch,
            overwrite=True,  # what lies there is of a training that never became a round
            **tell,
        )
        if activate:
            report = against_active(project, origin, folder, report, params)
    return record_round(project, tag, origin, report, sorted(files), activate=activate)


def against_active(
    project: Project, start: str, folder: str | Path, report: TrainReport, params: TrainParams
) -> TrainReport:
    """Return the report of a training, not active any more if the model that predicts now is as good.

    A training compares with its start alone, which need not be the active model; from scratch there is none.

    Parameters
    ----------
    project : Project
        Any.
    start : str
        Name of the model that the new one started from.
    folder : path
        The labelled images.
    report, params
        Of the training.
    """
    active = project.settings.model
    if not report.active or start == active:
        return report
    from cellbrook.training.dataset import load_folder
    from cellbrook.training.learn import start_from
    from cellbrook.training.scores import Judge
    from cellbrook.training.split import split

    settings, new = report.settings, report.validation
    try:
        now = start_from(model_reference(project), params.seed)
        parts = split(load_folder(folder, channels=params.channels).examples, params.held_out, params.seed)
        size = {kind: path for kind, path in now.paths.items() if kind == "size"}
        old = Judge(now.card, settings.device, settings.threads, params.target, size).score(
            now.network.to(settings.device), parts.by_role(now.card.spec.channel_roles).validation
        )
    except (ModelError, UsageError) as error:  # it could not predict these images either
        return replace(report, words=(*report.words, f"It was not compared with {active}: {error}"))
    better = new.better_than(old)
    verdict = "no longer predicts" if better else "stays in use"
    words = f"{active} {verdict}: on the held-out images its AP is {old.ap:.3f}, that of the new model {new.ap:.3f}."
    if any(r["model"] == active for r in project.rounds()):
        words += f" {active} may have learnt from them."
    return replace(report, active=better, words=(*report.words, words))


def record_round(
    project: Project, model: str, start: str, report: TrainReport, images: list[str], *, activate: bool = True
) -> Round:
    """Write a finished training down in a project, and make its model the active one if its report says that it is better.

    Parameters
    ----------
    project : Project
        Open for writing; the model lies in ``models/<model>``.
    model, start : str
        Names of the new model and of the one it started from.
    report : TrainReport
        Of the training.
    images : list of str
        Names of the images that were learnt from.
    activate : bool
        False: leave the active model as it is.
    """
    number, activated = add_summary(project, summary_of(model, start, report, images), activate=activate)
    return Round(number, model, activated, report)


def add_summary(project: Project, summary: dict[str, Any], *, activate: bool = True) -> tuple[int, bool]:
    """Write a training down of which only the summary is known, as when another process did it; see `record_round`.

    Returns
    -------
    int
        Number of the round.
    bool
        Whether the new model is the active one now.
    """
    number = project.add_round(summary)
    activated = bool(activate and summary["better"])
    if activated:
        activate_model(project, summary["model"])
    return number, activated


def general_start(project: Project) -> str:
    """Return the general model that the active one descends from."""
    rounds = {r["model"]: r for r in project.rounds()}
    name, seen = project.settings.model, set()
    while name in rounds and name not in seen:
        seen.add(name)
        name = rounds[name]["start"]
    return str(name) if name != "scratch" else "compact"


def next_model_name(project: Project) -> str:
    """Return the name of the next round's model; the same one until that round is written down, so that it is resumed."""
    stem = re.sub(r"[^\w.-]+", "-", project.name).strip("-.") or "project"
    number = len(project.rounds()) + 1
    while f"{stem}.{number}" in _taken(project):
        number += 1
    return f"{stem}.{number}"


def _taken(project: Project) -> set[str]:
    """Return the names of models that no training may replace, also of those that are no better than their start."""
    return {*own_models(project), *(r["model"] for r in project.rounds())}


def summary_of(model: str, start: str, report: TrainReport, images: list[str]) -> dict[str, Any]:
    """Return what a project keeps of a training, as plain values."""

    def of(score: Any, name: str) -> float | None:
        return None if score is None else float(getattr(score, name))

    return {
        "model": model,
        "start": start,
        "images": images,
        "objects": report.objects,
        "ap_before": of(report.validation_start, "ap"),
        "ap_after": of(report.validation, "ap"),
        "frozen_before": of(report.frozen_start, "mean_ap"),
        "frozen_after": of(report.frozen, "mean_ap"),
        "better": report.active,
        "seconds": round(report.seconds, 1),
        "words": list(report.words),
    }
