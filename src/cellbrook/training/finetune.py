"""Teach a model the user's own cells, safely.

::

    dataset --check--> split --> start's scores --> learn (validate, keep the best, stop early, resume)
            --> guard (what was forgotten is mended) --> model folder, report, curves

The model is compared with the one it started from on images that neither has learnt from, and with the general model on
a frozen set. What is worse than its start never takes its place silently.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellbrook.core.threads import bind_pools, calm_openmp
from cellbrook.errors import Cancelled, TrainingError, UsageError

calm_openmp()  # before torch is imported: its threads would spin where other work runs too

import torch  # noqa: E402

from cellbrook.core.progress import NoProgress, Progress  # noqa: E402
from cellbrook.networks.store import resolve_model  # noqa: E402
from cellbrook.training import generalist  # noqa: E402
from cellbrook.training.adapt import choose_layers, merge_lora  # noqa: E402
from cellbrook.training.crops import Crops, Prefetch  # noqa: E402
from cellbrook.training.dataset import Dataset, load_folder  # noqa: E402
from cellbrook.training.guard import guard, words_of_forgetting  # noqa: E402
from cellbrook.training.loop import LoopParams, Trainer  # noqa: E402
from cellbrook.training.loss import LossParams, loss_of  # noqa: E402
from cellbrook.training.output import INACTIVE, finished, write_model  # noqa: E402
from cellbrook.training.params import TrainParams  # noqa: E402
from cellbrook.training.report import (  # noqa: E402
    CurvePoint,
    TrainReport,
    words_of_learning,
    words_of_result,
)
from cellbrook.training.scores import Judge, Score  # noqa: E402
from cellbrook.training.settings import Settings, median_diameter, settle  # noqa: E402
from cellbrook.training.split import Split, split  # noqa: E402
from cellbrook.training.state import State, load_state, save_state, trained_names  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from cellbrook.networks.cards import ModelCard
    from cellbrook.training.dataset import Example
    from cellbrook.training.loop import Batch

log = logging.getLogger(__name__)

SCRATCH = "scratch"
LIVE_PIXELS = 16_000_000
"""Held-out pixels that are segmented at every validation; all are at the end."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Start:
    """What a training starts from, or is compared with."""

    name: str
    card: ModelCard
    network: nn.Module
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True)
class _Learned:
    """What a run of the loop gave: the best weights, and how it went."""

    network: nn.Module
    state: State
    settings: Settings


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
        Told of every step; when it cancels, training ends and the best weights so far are kept.
    say : callable
        Is given what people should read while it runs, a line at a time.
    watch : callable or None
        Is given each validation's numbers.
    overwrite : bool
        Replace a finished model in `out`.

    Returns
    -------
    TrainReport

    Raises
    ------
    UsageError
        If the data or options make no sense, or `out` holds something else.
    ModelError
        If the start cannot be loaded.
    TrainingError
        If the loss is not finite any more.
    Cancelled
        If it was cancelled before there was anything to keep.
    """
    began = time.monotonic()
    params = params or TrainParams()
    progress = progress or NoProgress()
    folder = Path(out)
    if not isinstance(dataset, Dataset):
        dataset = load_folder(dataset, channels=params.channels)
    dataset.require_usable()
    if finished(folder) and not overwrite:
        raise UsageError(f"{folder} holds a finished model: give another --out, or --overwrite to replace it")
    parts = split(dataset.examples, params.held_out, params.seed)
    say(parts.how)
    origin = _start_from(str(start), params)
    base = _adapted(origin, parts.train)
    with suppress(FileNotFoundError):
        if overwrite and finished(folder):
            shutil.rmtree(folder / STATE)
    try:
        first = _learn(dataset, parts, base, origin, params, folder / STATE, progress, say, watch)
        report = _conclude(dataset, parts, origin, base, params, first, folder, progress, say, began)
    finally:
        with suppress(OSError):
            (folder / STATE).rmdir()  # only if nothing is in it
    shutil.rmtree(folder / STATE, ignore_errors=True)
    return report


STATE = "training"
"""Folder inside the output folder for what an unfinished training needs to go on."""


def _start_from(start: str, params: TrainParams) -> _Start:
    """Load the network that learns."""
    from cellbrook.networks import load

    torch.manual_seed(params.seed)  # of the first weights from scratch, and of LoRA's
    if start == SCRATCH:
        from cellbrook.networks.compact.model import CompactNet

        card = resolve_model("compact").card
        return _Start(SCRATCH, card, CompactNet(), SCRATCH)
    model = resolve_model(start)
    return _Start(model.name, model.card, load(model), model.sha256)


def _adapted(origin: _Start, train: Sequence[Example]) -> _Start:
    """Return the start with what it must know of the new images: cp3 cannot tell the size of objects by itself."""
    median = median_diameter(train)
    if origin.card.family != "cp3" or not median:
        return origin
    spec = dataclasses.replace(origin.card.spec, default_diameter_px=median)
    network: Any = copy.deepcopy(origin.network)
    network.spec = spec
    network.diam_labels.fill_(median)
    return dataclasses.replace(origin, card=dataclasses.replace(origin.card, spec=spec), network=network)


def _learn(
    dataset: Dataset,
    parts: Split,
    base: _Start,
    origin: _Start,
    params: TrainParams,
    folder: Path,
    progress: Progress,
    say: Callable[[str], None],
    watch: Callable[[CurvePoint], None] | None,
) -> _Learned:
    """Run the loop from where it stands to its end, and return the best weights."""
    scratch = base.name == SCRATCH
    network = copy.deepcopy(base.network)
    torch.manual_seed(params.seed)
    choose_layers(network, params.train, params.rank)
    settings = settle(params, network, parts.train, scratch=scratch, has_replay=True)
    for line in settings.lines():
        say(line)
    bind_pools(settings.threads)
    torch.set_num_threads(settings.threads)
    network.to(settings.device)
    trainer = Trainer(
        network,
        LoopParams(
            steps=settings.steps,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            warmup=min(100, max(1, settings.steps // 10)),
            average=settings.average,
            bf16=settings.bf16,
            freeze_statistics=not scratch,
        ),
        LossParams(),
    )
    judge = Judge(base.card, settings.device, settings.threads, params.target)
    crops, held_out_batches = _crops(parts, settings, base.card.spec, params)
    live = _live(parts.validation)

    key = _key(dataset, params, origin)
    state = load_state(folder, key, trainer)
    if state is None:
        ap = 0.0
        if not scratch:
            ap = judge.score(trainer.averaged, live, progress=progress).ap
        loss = _held_out_loss(trainer.averaged, held_out_batches, settings)
        state = State(key=key, curve=(CurvePoint(0, loss, loss, ap),), best_step=0, seconds=0.0)
        say(f"start: AP {ap:.3f} on held-out images")
    else:
        say(f"going on from step {trainer.step}")
    before, since = state.seconds, time.monotonic()
    progress.start("step", settings.steps)
    progress.advance(trainer.step)
    source = Prefetch(crops, trainer.step, settings.steps)
    total, count = 0.0, 0
    try:
        while trainer.step < settings.steps and not _stale(state, params.patience):
            progress.check_cancelled()
            try:
                total += trainer.train_step(_on(source.take(), settings.device))["loss"]
            except FloatingPointError as error:
                raise TrainingError(str(error)) from error
            count += 1
            progress.advance()
            if trainer.step % settings.validate_every and trainer.step != settings.steps:
                continue
            score = judge.score(trainer.averaged, live, progress=progress)
            loss = _held_out_loss(trainer.averaged, held_out_batches, settings)
            point = CurvePoint(trainer.step, total / count, loss, score.ap)
            total, count = 0.0, 0
            state = state.after(point, before + time.monotonic() - since)
            save_state(folder, state, trainer)
            best = "  best so far" if state.best_step == point.step else ""
            say(
                f"step {point.step}/{settings.steps}: AP {point.ap:.3f}, loss {point.loss:.3f}, on held-out images "
                f"{point.held_out_loss:.3f}{best}"
            )
            if watch is not None:
                watch(point)
    except Cancelled:
        if state.best_step == 0:
            raise
        say(f"stopped at step {trainer.step}; the weights of step {state.best_step} are kept")
    finally:
        source.close()
    if trainer.step < settings.steps and _stale(state, params.patience):
        say(f"nothing improved since step {state.best_step}: stopped at step {trainer.step}")
    best_network = _best(trainer, folder, state)
    return _Learned(best_network, state, settings)


def _conclude(
    dataset: Dataset,
    parts: Split,
    origin: _Start,
    base: _Start,
    params: TrainParams,
    learned: _Learned,
    folder: Path,
    progress: Progress,
    say: Callable[[str], None],
    began: float,
) -> TrainReport:
    """Judge what was learnt, mend what was forgotten, and write it down."""
    settings, state = learned.settings, learned.state
    judge = Judge(base.card, settings.device, settings.threads, params.target)
    scratch = base.name == SCRATCH
    say("scoring on all held-out and on general images")
    frozen_examples, wishes = generalist.frozen_examples()
    wishes_or_none = wishes if base.card.spec.targets else None

    def judge_frozen(network: nn.Module) -> Score:
        return judge.score(network, frozen_examples, wishes_or_none)

    validation = judge.score(learned.network, parts.validation)
    words = words_of_learning(state.curve, state.best_step)
    start_score = frozen_start = frozen = None
    kept, network = 1.0, learned.network
    if not scratch:
        start_network = base.network.to(settings.device).eval()
        own = Judge(origin.card, settings.device, settings.threads, params.target)
        start_score = own.score(origin.network.to(settings.device).eval(), parts.validation)
        frozen_start = _general_score(origin, own, frozen_examples, wishes_or_none, settings)
        before = judge_frozen(learned.network)
        guarded = guard(
            start_network,
            learned.network,
            general=frozen_start,
            validation_start=start_score,
            validation=validation,
            max_forgetting=params.max_forgetting,
            judge=lambda n: judge.score(n, parts.validation),
            judge_frozen=judge_frozen,
        )
        network, kept, validation, frozen = guarded.network, guarded.share, guarded.validation, guarded.frozen
        words += words_of_forgetting(frozen_start, guarded, before)
    active, result_words = words_of_result(start_score, validation, origin.name)
    report = TrainReport(
        path=folder if active else folder / INACTIVE,
        active=active,
        start=origin.name,
        validation_start=start_score,
        validation=validation,
        frozen_start=frozen_start,
        frozen=frozen,
        kept=kept,
        steps=state.curve[-1].step,
        best_step=state.best_step,
        seconds=round(state.seconds + (0.0 if state.seconds else time.monotonic() - began), 1),
        peak_bytes=_peak(settings.device),
        curve=state.curve,
        settings=settings,
        images=len(dataset.examples),
        objects=dataset.n_objects,
        split=parts.how,
        words=(*result_words, *words),
    )
    write_model(network, base.card, report, dataset, folder)
    return report


def _general_score(
    origin: _Start, judge: Judge, examples: list[Example], wishes: list[str] | None, settings: Settings
) -> Score:
    """Return the frozen score that must not be lost: the start's, or that of the shipped model it descends from.

    A model that was fine-tuned before may have forgotten a little already; round after round that would add up.
    """
    own = judge.score(origin.network.to(settings.device).eval(), examples, wishes)
    shipped = resolve_model("compact")
    if origin.card.family != "compact" or origin.sha256 == shipped.sha256:
        return own
    from cellbrook.networks import load

    general = Judge(shipped.card, settings.device, settings.threads)
    first = general.score(load(shipped).to(settings.device), examples, wishes)
    return max(own, first, key=lambda s: s.mean_ap)


def _crops(parts: Split, settings: Settings, spec: Any, params: TrainParams) -> tuple[Crops, list[Batch]]:
    target = "nuclei" if params.target == "nuclei" else "cells"
    train = [generalist.as_labelled(e, e.name, target) for e in parts.train]
    held_out = [generalist.as_labelled(e, e.name, target) for e in parts.validation]
    replay = generalist.replay_images() if settings.replay else []
    sizes = (spec, settings.batch_size, settings.crop, params.seed)
    return Crops(train, replay, settings.replay, *sizes), Crops(held_out, [], 0.0, *sizes).fixed(2)


def _live(examples: Sequence[Example]) -> list[Example]:
    """Return as many held-out images as a validation on the way has time for."""
    chosen: list[Example] = []
    for example in examples:
        if chosen and sum(e.labels.size for e in chosen) + example.labels.size > LIVE_PIXELS:
            break
        chosen.append(example)
    return chosen


def _on(batch: Batch, device: str) -> Batch:
    image, target = batch
    return image.to(device), {name: value.to(device) for name, value in target.items()}


@torch.no_grad()
def _held_out_loss(network: nn.Module, batches: list[Batch], settings: Settings) -> float:
    total = 0.0
    for batch in batches:
        image, target = _on(batch, settings.device)
        with torch.autocast(image.device.type, torch.bfloat16, enabled=settings.bf16):
            output = network(image)
        total += float(loss_of(output, target, LossParams())[0])
    return total / len(batches)


def _stale(state: State, patience: int) -> bool:
    return sum(p.step > state.best_step for p in state.curve) >= patience


def _best(trainer: Trainer, folder: Path, state: State) -> nn.Module:
    """Return the network with the best weights, as a plain network of its family."""
    if state.best_step:
        weights = torch.load(folder / f"best-{state.best_step}.pt", weights_only=True)
        trainer.averaged.load_state_dict(weights, strict=False)
        return merge_lora(trainer.averaged).eval().requires_grad_(False)
    return merge_lora(trainer.averaged).eval().requires_grad_(False)


def _key(dataset: Dataset, params: TrainParams, origin: _Start) -> str:
    """Return what a training that is gone on with must agree in."""
    wishes = {k: v for k, v in dataclasses.asdict(params).items() if k not in ("threads", "device")}
    return json.dumps({"data": dataset.sha256, "start": origin.sha256, "params": wishes}, sort_keys=True)


def _peak(device: str) -> int | None:
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
        import sys
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


__all__ = ["Dataset", "TrainParams", "TrainReport", "finetune", "trained_names"]
