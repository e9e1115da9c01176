"""Teach a model the user's own cells, safely.

::

    dataset --check--> split --> learn (validate, keep the best, stop early, resume)
            --> judge against the start --> mend what was forgotten --> model folder, report, curves

The model is compared with the one it started from on images that neither has learnt from, and with the general model on
a frozen set. What is worse than its start never takes its place silently.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellbrook.core.memory import peak_memory
from cellbrook.core.progress import NoProgress, Progress
from cellbrook.errors import OVERWRITE, Cancelled, UsageError
from cellbrook.networks.export import require_onnx
from cellbrook.networks.store import resolve_model
from cellbrook.training import generalist
from cellbrook.training.classes import learn_classes
from cellbrook.training.dataset import Dataset, load_folder
from cellbrook.training.guard import Guarded, guard, words_of_forgetting
from cellbrook.training.learn import Learned, Start, learn, start_from, told_sizes
from cellbrook.training.output import INACTIVE, finished, write_model
from cellbrook.training.params import Target, TrainParams
from cellbrook.training.report import (
    CurvePoint,
    TrainReport,
    words_of_learning,
    words_of_result,
)
from cellbrook.training.scores import Judge, Score
from cellbrook.training.split import Split, split
from cellbrook.training.state import held

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import nn

    from cellbrook.measure.classify import ObjectClassifier
    from cellbrook.networks.cards import ModelCard
    from cellbrook.training.classes import ClassReport
    from cellbrook.training.dataset import Example

log = logging.getLogger(__name__)

STATE = "training"
"""Folder inside the output folder for what an unfinished training needs to go on."""

GENTLE_REPLAY = 0.75
"""Share of general images of a second attempt, after the first one forgot too much."""


REFIT_LOSS = 0.005
"""AP on general images that fitting the score again may cost: what is easy in the held-out images is not so elsewhere."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What was learnt, judged and mended."""

    learned: Learned
    network: nn.Module
    share: float
    validation: Score
    frozen: Score | None
    within: bool
    words: tuple[str, ...]
    unmended: Score | None = (
        None  # on general images, of what was learnt; None where there is nothing to say of it
    )


def finetune(
    dataset: Dataset | str | Path,
    out: str | Path,
    *,
    start: str | Path = "compact",
    params: TrainParams | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] = log.info,
    watch: Callable[[CurvePoint], None] | None = None,
    overwrite: bool = False,
    parts: Split | None = None,
    cut_short: bool = True,
) -> TrainReport:
    """Train a model on labelled images.

    Parameters
    ----------
    dataset : Dataset or path
        Labelled images, or a folder of them (see `cellbrook.training.dataset.load_folder`).
    out : path
        Folder for the model: ``card.toml``, weights, graph, ``report.json``, ``curves.png``. An unfinished training of the
        same data and options that lies there is gone on with.
    start : str or path
        Model to start from: a name, a folder or file of `cellbrook`, an official Cellpose checkpoint; or "scratch".
    params : TrainParams or None
        None: the defaults.
    progress : Progress or None
        Told of every step; it may cancel.
    say : callable
        Is given what people should read while it runs, a line at a time.
    watch : callable or None
        Is given each validation's numbers.
    overwrite : bool
        Replace what else lies in `out`: a finished model, or an unfinished training of other data or options. A finished
        model stays until the new one is written, and where that is not better.
    parts : Split or None
        What is learnt from and what is held out. None: `cellbrook.training.split.split` decides.
    cut_short : bool
        When `progress` cancels, end the training with the best weights so far. False: leave it unfinished, and the same
        call goes on with it.

    Returns
    -------
    TrainReport

    Raises
    ------
    UsageError
        If the data or options make no sense, or `out` holds something else.
    ModelError
        If the start cannot be loaded.
    EngineError
        If the device to train on is not there, or onnx, which writes the graph of a compact network.
    TrainingError
        If the loss is not finite any more; names the step.
    Cancelled
        If it was cancelled before there was anything to keep, or must not be cut short.
    OutputError
        If `out` cannot be written to, or another training writes there.
    """
    params = params or TrainParams()
    progress = progress or NoProgress()
    folder = Path(out)
    if not isinstance(dataset, Dataset):
        dataset = load_folder(dataset, channels=params.channels)
    dataset.require_usable()
    with held(folder):
        if finished(folder) and not overwrite:
            raise UsageError(
                f"{folder} holds a finished model: give another folder (--out), or {OVERWRITE} to replace it"
            )
        parts = parts or split(dataset.examples, params.held_out, params.seed)
        say(parts.how)
        origin = start_from(str(start), params.seed)
        if origin.card.family == "compact":
            require_onnx()  # what writes the graph must not first be missed when all is learnt
        if any(folder.absolute() in path.absolute().parents for path in origin.paths.values()):
            raise UsageError(
                f"{start} lies in {folder}, where the new model would replace it: give another folder (--out)"
            )
        parts = parts.by_role(origin.card.spec.channel_roles)
        base = told_sizes(origin, parts.train)

        def attempt(wishes: TrainParams, name: str) -> Learned:
            return learn(
                base,
                parts,
                wishes,
                folder / STATE / name,
                data_sha256=dataset.sha256,
                progress=progress,
                say=say,
                watch=watch,
                overwrite=overwrite,
                cut_short=cut_short,
            )

        learned = attempt(params, "first")
        say("scoring on all held-out and on general images")
        tests = _Tests(origin, base, parts, params, learned)
        outcome = tests.judge(learned)
        if not outcome.within and params.train == "all" and outcome.validation.n_pred:
            share = max(params.replay or 0.0, GENTLE_REPLAY)
            say(
                f"it forgot too much: once more, gently (last layers only, {share:.0%} of the crops general images)"
            )
            gentle = dataclasses.replace(params, train="last", replay=share)
            try:
                outcome = tests.milder(outcome, attempt(gentle, "gentle"))
            except Cancelled:
                if not cut_short:
                    raise
        verdict = _verdict(outcome, tests, parts, origin, base)
        report = _report(parts, origin, tests, verdict, folder)
        same = None if verdict.learnt or base is not origin else origin.paths.get("onnx_int8")
        network = verdict.outcome.network
        write_model(network, verdict.card, report, dataset, folder, verdict.classifier, same)
        shutil.rmtree(folder / STATE, ignore_errors=True)
        return report


class _Tests:
    """Judges networks against the model they started from; its own scores are taken once."""

    def __init__(
        self, origin: Start, base: Start, parts: Split, params: TrainParams, learned: Learned
    ) -> None:
        where = self._where = (learned.settings.device, learned.settings.threads)
        self._judge = Judge(base.card, *where, params.target)
        # general images are not of the size of the user's, which the new card may assume
        self._general_judge = Judge(origin.card, *where)
        self._origin = origin
        self._parts = parts
        self._params = params
        self._base = base.network.to(where[0])
        examples, wishes = generalist.frozen_examples()
        self._frozen: tuple[list[Example], list[str] | None] = (
            examples,
            wishes if base.card.spec.targets else None,
        )
        self.start: Score | None = None
        self.general: Score | None = None
        if not origin.scratch:
            # as people use it: a model of Cellpose 3 estimates the diameter where its size model is here
            size = {kind: path for kind, path in origin.paths.items() if kind == "size"}
            network = origin.network.to(where[0])
            self.start = Judge(origin.card, *where, params.target, size).score(network, parts.validation)
            self.general = _best_general(origin, network, params.target, self._frozen, where)

    def judge(self, learned: Learned) -> _Outcome:
        """Score what was learnt, and mend what was forgotten."""
        validation = self._judge.score(learned.network, self._parts.validation)
        words = words_of_learning(learned.state.curve, learned.state.best_step)
        if self.start is None or self.general is None:
            return _Outcome(learned, learned.network, 1.0, validation, None, True, tuple(words))
        frozen = self._score_frozen(learned.network)
        kept = Guarded(learned.network, 1.0, validation, frozen, True)
        unmended = None
        if learned.state.best_step:
            kept = guard(
                self._base,
                kept,
                least=self._least,
                validation_start=self.start,
                judge=lambda n: self._judge.score(n, self._parts.validation),
                judge_frozen=self._score_frozen,
            )
            unmended = frozen
        return _Outcome(
            learned,
            kept.network,
            kept.share,
            kept.validation,
            kept.frozen,
            kept.within,
            tuple(words),
            unmended,
        )

    def milder(self, first: _Outcome, learned: Learned) -> _Outcome:
        """Return what a second attempt gave if it forgot little and is better than the start, else the first one."""
        second = self.judge(learned)
        if not second.within or self.start is None or not second.validation.better_than(self.start):
            return first
        note = "The first attempt forgot too much, so only the last layers were trained, with more general images."
        return dataclasses.replace(second, words=(note, *second.words))

    @property
    def _least(self) -> float:
        """What a model must score on general images."""
        return (1 - self._params.max_forgetting) * self.general.mean_ap if self.general else 0.0

    def unchanged(self, outcome: _Outcome) -> _Outcome:
        """Return the outcome with the network of the start instead of the new one."""
        assert self.start is not None
        return dataclasses.replace(
            outcome,
            network=self._base,
            share=0.0,
            validation=self.start,
            frozen=self.general,
            words=(),
            unmended=None,
        )

    def calibrated(self, card: ModelCard, outcome: _Outcome) -> tuple[ModelCard, _Outcome]:
        """Fit the score again on the held-out images, where that costs nothing there.

        What a model learnt moves its logits, and the smallest score decides which objects are kept.
        """
        fitted, objects = self._judge.calibrated(outcome.network, self._parts.validation)
        judge = Judge(fitted, *self._where, self._params.target)
        score, frozen = judge.score(outcome.network, self._parts.validation), outcome.frozen
        if frozen is not None:
            spec = dataclasses.replace(self._origin.card.spec, score=fitted.spec.score)
            general = Judge(dataclasses.replace(self._origin.card, spec=spec), *self._where)
            frozen = general.score(outcome.network, *self._frozen)
        if score.ap < outcome.validation.ap:
            return card, outcome
        if (
            frozen
            and outcome.frozen
            and frozen.mean_ap < max(self._least, outcome.frozen.mean_ap - REFIT_LOSS)
        ):
            return card, outcome
        words = f"The score of a cell was fitted again, on {objects} that it found in held-out images."
        return fitted, dataclasses.replace(
            outcome, validation=score, frozen=frozen, within=True, words=(*outcome.words, words)
        )

    def segment(self, network: nn.Module, example: Example) -> NDArray[Any]:
        """Return the labels that a network finds."""
        return self._judge.segment(network, example)

    def _score_frozen(self, network: nn.Module) -> Score:
        return self._general_judge.score(network, *self._frozen)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What is written of an outcome, and what is said of it; `learnt` is False where the start's network stays in use."""

    outcome: _Outcome
    card: ModelCard
    active: bool
    learnt: bool
    words: tuple[str, ...]
    classifier: ObjectClassifier | None
    classes: ClassReport | None


def _verdict(outcome: _Outcome, tests: _Tests, parts: Split, origin: Start, base: Start) -> _Verdict:
    """Say whether the new model takes the place of its start; fit its score and its classes."""
    gained = outcome.learned.state.best_step > 0
    better, words = words_of_result(tests.start, outcome.validation, origin.name, gained=gained)
    network = outcome.network if better or tests.start is None else base.network
    learnt = network is outcome.network
    card = base.card
    if learnt and card.spec.score:
        fitted, refitted = tests.calibrated(card, outcome)
        still, told = words_of_result(tests.start, refitted.validation, origin.name, gained=gained)
        # the verdict is on what was learnt, never on a score that was fitted afterwards
        if still == better:
            card, outcome, words = fitted, refitted, told
    classifier, classes = learn_classes(
        parts.train,
        parts.validation,
        lambda example: tests.segment(network, example),
        threads=outcome.learned.settings.threads,
    )
    if classes is not None:
        words = [*words, classes.words]
    if classifier is None:
        classifier = origin.classifier
        if classifier is not None and classes is not None:
            words.append(f"The new model tells the classes of {origin.name}: {', '.join(classifier.names)}.")
    elif not learnt:
        note = (
            f"On held-out images the network became no better than {origin.name}, so it stays as it was: "
            "the new model finds the same cells, and tells classes besides."
        )
        words = [note, *([classes.words] if classes else [])]
        better, outcome = True, tests.unchanged(outcome)
    return _Verdict(outcome, card, better, learnt, tuple(words), classifier, classes)


def _best_general(
    origin: Start,
    network: nn.Module,
    target: Target,
    frozen: tuple[list[Example], list[str] | None],
    where: tuple[str, int],
) -> Score:
    """Return the frozen score that must not be lost: the start's, or that of the shipped model it descends from.

    A model that was fine-tuned before may have forgotten a little already; round after round that would add up.
    """
    scores = [_score_of_start(origin.sha256, origin.card, lambda: network, target, frozen, where)]
    shipped = resolve_model("compact")
    if origin.card.family == shipped.card.family and origin.sha256 != shipped.sha256:
        from cellbrook.networks import load

        first = partial(load, shipped, device=where[0])
        scores.append(_score_of_start(shipped.sha256, shipped.card, first, "auto", frozen, where))
    return max(scores, key=lambda score: score.mean_ap)


_known: dict[tuple[object, ...], Score] = {}


def _score_of_start(
    sha256: str,
    card: ModelCard,
    network: Callable[[], nn.Module],
    target: Target,
    frozen: tuple[list[Example], list[str] | None],
    where: tuple[str, int],
) -> Score:
    """Return the frozen score of a model; a program that trains round after round starts from the same one each time."""
    key = (sha256, card.spec, target, *where)
    if key not in _known:
        _known[key] = Judge(card, *where, target).score(network(), *frozen)
    return _known[key]


def _report(
    parts: Split,
    origin: Start,
    tests: _Tests,
    verdict: _Verdict,
    folder: Path,
) -> TrainReport:
    outcome = verdict.outcome
    state, settings = outcome.learned.state, outcome.learned.settings
    forgetting: list[str] = []
    if tests.general and outcome.frozen and outcome.unmended:
        kept = Guarded(outcome.network, outcome.share, outcome.validation, outcome.frozen, outcome.within)
        forgetting = words_of_forgetting(tests.general, kept, outcome.unmended)
    return TrainReport(
        path=folder if verdict.active else folder / INACTIVE,
        active=verdict.active,
        start=origin.name,
        validation_start=tests.start,
        validation=outcome.validation,
        frozen_start=tests.general,
        frozen=outcome.frozen,
        kept=outcome.share,
        steps=state.curve[-1].step,
        best_step=state.best_step,
        seconds=round(state.seconds, 1),
        peak_bytes=_peak(settings.device),
        curve=state.curve,
        settings=settings,
        images=len(parts.train),
        objects=sum(e.n_objects for e in parts.train),
        split=parts.how,
        words=(*verdict.words, *outcome.words, *forgetting),
        classes=verdict.classes,
    )


def _peak(device: str) -> int | None:
    """Return the most memory that was taken, None where the system does not tell."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    return peak_memory()
