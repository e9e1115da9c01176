"""One run of the training loop: from a start to the best weights on held-out images, wherever it was interrupted."""

from __future__ import annotations

import copy
import dataclasses
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cellbrook.core.threads import bind_pools, calm_openmp
from cellbrook.errors import Cancelled, TrainingError

calm_openmp()  # before torch is imported: its threads would spin where other work runs too

import torch  # noqa: E402

from cellbrook.inference import channel_order  # noqa: E402
from cellbrook.measure.classify import ObjectClassifier  # noqa: E402
from cellbrook.networks.store import resolve_model  # noqa: E402
from cellbrook.pipeline import unasked_target  # noqa: E402
from cellbrook.training import generalist  # noqa: E402
from cellbrook.training.adapt import choose_layers, merge_lora  # noqa: E402
from cellbrook.training.augment import AugmentParams  # noqa: E402
from cellbrook.training.crops import Crops, Prefetch  # noqa: E402
from cellbrook.training.loop import LoopParams, Trainer  # noqa: E402
from cellbrook.training.loss import LossParams, loss_of  # noqa: E402
from cellbrook.training.report import CurvePoint  # noqa: E402
from cellbrook.training.scores import Judge  # noqa: E402
from cellbrook.training.settings import Settings, median_diameter, settle  # noqa: E402
from cellbrook.training.state import State, read_state, restore, save_state  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from cellbrook.core.progress import Progress
    from cellbrook.networks.base import NetworkSpec
    from cellbrook.networks.cards import ModelCard
    from cellbrook.training.data import LabelledImage
    from cellbrook.training.dataset import Example
    from cellbrook.training.loop import Batch
    from cellbrook.training.params import TrainParams
    from cellbrook.training.split import Split

SCRATCH = "scratch"

STRAYING = AugmentParams(diameter_spread=0.35, wide_share=0.3, calm_share=0.85)
"""How far a user's crops stray: the next image may be of another magnification, and small rods that were only seen large
look like one large object."""

STRAYING_FROM_SCRATCH = AugmentParams(diameter_spread=0.2, wide_share=0.05, calm_share=0.85)
"""The same for a network that knows nothing yet: it has no time to learn what its images do not show."""

LIVE_PIXELS = 16_000_000
"""Held-out pixels that are segmented at every validation; all are at the end."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a training starts from, or is compared with.

    Parameters
    ----------
    name : str
        Of the model, or "scratch".
    card : ModelCard
        What it is.
    network : nn.Module
        In evaluation mode; never changed.
    sha256 : str
        Hash of its weights.
    classifier : ObjectClassifier or None
        What tells classes, if it does.
    paths : mapping of str to Path
        Its files by kind.
    """

    name: str
    card: ModelCard
    network: nn.Module
    sha256: str
    classifier: ObjectClassifier | None = None
    paths: Mapping[str, Path] = field(default_factory=dict)

    @property
    def scratch(self) -> bool:
        """Whether the weights are random."""
        return self.name == SCRATCH


@dataclass(frozen=True, slots=True)
class Learned:
    """What a run gave.

    Parameters
    ----------
    network : nn.Module
        With the best weights; a plain network of its family.
    state : State
        How it went.
    settings : Settings
        What was done.
    """

    network: nn.Module
    state: State
    settings: Settings


def start_from(start: str, seed: int) -> Start:
    """Load a model to start from.

    Raises
    ------
    ModelError
        If there is no such model, or it is damaged.
    """
    from cellbrook.networks import load

    if start == SCRATCH:
        from cellbrook.networks.compact.model import CompactNet

        torch.manual_seed(seed)
        return Start(SCRATCH, resolve_model("compact").card, CompactNet().eval(), SCRATCH)
    model = resolve_model(start)
    classifier = ObjectClassifier.load(model.paths["classes"]) if "classes" in model.paths else None
    return Start(model.name, model.card, load(model), model.sha256, classifier, model.paths)


def told_sizes(origin: Start, train: Sequence[Example]) -> Start:
    """Return the start with what it must know of the new images: cp3 cannot tell the size of objects by itself."""
    median = median_diameter(train)
    if origin.card.family != "cp3" or not median:
        return origin
    spec = dataclasses.replace(origin.card.spec, default_diameter_px=median)
    network: Any = copy.deepcopy(origin.network)
    network.spec = spec
    network.diam_labels.fill_(median)
    return dataclasses.replace(origin, card=dataclasses.replace(origin.card, spec=spec), network=network)


def learn(
    start: Start,
    parts: Split,
    params: TrainParams,
    folder: Path,
    *,
    data_sha256: str,
    progress: Progress,
    say: Callable[[str], None],
    watch: Callable[[CurvePoint], None] | None = None,
    overwrite: bool = False,
    cut_short: bool = True,
) -> Learned:
    """Run the loop from where it stands to its end.

    Parameters
    ----------
    start : Start
    parts : Split
        What is learnt from, and validated on.
    params : TrainParams
    folder : Path
        Where the state is kept; gone on with if it is of the same data, start and options.
    data_sha256 : str
        Hash of the data.
    progress : Progress
        Told of every step.
    say, watch, overwrite, cut_short
        See `cellbrook.training.finetune.finetune`.

    Raises
    ------
    TrainingError
        If the loss is not finite any more.
    Cancelled
        If there is nothing to keep yet, or it must not be cut short.
    """
    network = copy.deepcopy(start.network)
    torch.manual_seed(params.seed)  # of LoRA's first weights
    choose_layers(network, params.train, params.rank)
    key = _key(data_sha256, start, params)
    stored = read_state(folder, key, overwrite=overwrite)
    settings = settle(params, network, parts.train, parts.validation, scratch=start.scratch)
    if stored is not None:
        here = {"device": settings.device, "threads": settings.threads, "memory_bytes": settings.memory_bytes}
        settings = Settings(**{**stored["settings"], **here})
    for line in settings.lines():
        say(line)
    bind_pools(settings.threads)
    torch.set_num_threads(settings.threads)
    trainer = Trainer(network.to(settings.device), loop_params(settings, start), LossParams())
    judge = Judge(start.card, settings.device, settings.threads, params.target)
    crops, fixed = _crops(parts, settings, start.card.spec, params, scratch=start.scratch)
    live = _live(parts.validation)

    if stored is None:
        ap = 0.0 if start.scratch else judge.score(trainer.averaged, live, progress=progress).ap
        loss = _fixed_loss(trainer.averaged, fixed, settings)
        state = State(key, (CurvePoint(0, loss, loss, ap),), 0, 0.0)
        say(f"start: AP {ap:.3f} on held-out images")
        if watch is not None:
            watch(state.curve[0])
    else:
        state = restore(stored, trainer)
        del stored
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
            loss = _fixed_loss(trainer.averaged, fixed, settings)
            point = CurvePoint(trainer.step, total / count, loss, score.ap)
            total, count = 0.0, 0
            state = state.after(point, before + time.monotonic() - since)
            save_state(folder, state, trainer, settings)
            say(_line(point, settings.steps, best=state.best_step == point.step))
            if watch is not None:
                watch(point)
    except Cancelled:
        if state.best_step == 0 or not cut_short:
            raise
        say(f"stopped at step {trainer.step}; the weights of step {state.best_step} are kept")
    finally:
        source.close()
    if trainer.step < settings.steps and _stale(state, params.patience):
        say(f"nothing improved since step {state.best_step}: stopped at step {trainer.step}")
    return Learned(_best(trainer, folder, state), state, settings)


def loop_params(settings: Settings, start: Start) -> LoopParams:
    """Return what the loop is told."""
    return LoopParams(
        steps=settings.steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup=min(100, max(1, settings.steps // 10)),
        average=settings.average,
        bf16=settings.bf16,
        freeze_statistics=not start.scratch,
    )


def _crops(
    parts: Split, settings: Settings, spec: NetworkSpec, params: TrainParams, *, scratch: bool = False
) -> tuple[Crops, list[Batch]]:
    """Return what is learnt from, and fixed crops of what is held out.

    From scratch, channels come as the pipeline will show them: a few images would have to be learnt in every order.
    """

    def labelled(example: Example) -> LabelledImage:
        target = _target(example, params.target, spec)
        shown = generalist.as_labelled(example, example.name, target, spec.channels, sparse=spec.sparse)
        if not (scratch and spec.order_free):
            return shown
        return dataclasses.replace(shown, image=shown.image[channel_order(shown.image)])

    replay = generalist.replay_images(spec.channels) if settings.replay else []
    own = dataclasses.replace(
        STRAYING_FROM_SCRATCH if scratch else STRAYING,
        crop=settings.crop,
        channels=spec.channels,
        in_order=scratch or bool(spec.channel_roles),
        target_plane=bool(spec.targets),
    )
    if params.target == "auto":  # as the model will be used: never left open where that means the cells
        own = dataclasses.replace(own, told_share=1.0)
    train, held_out = (list(map(labelled, examples)) for examples in (parts.train, parts.validation))
    crops = Crops(train, replay, settings.replay, spec, own, settings.batch_size, params.seed)
    fixed = Crops(held_out, [], 0.0, spec, own, settings.batch_size, params.seed)
    return crops, fixed.fixed(2)


def _target(example: Example, wish: str, spec: NetworkSpec) -> str:
    return unasked_target(spec, len(example.pixels), is_rgb=example.is_rgb) if wish == "auto" else wish


def _live(examples: Sequence[Example]) -> list[Example]:
    """Return as many held-out images as a validation on the way has time for."""
    chosen: list[Example] = []
    for example in examples:
        if chosen and sum(e.whole.labels.size for e in (*chosen, example)) > LIVE_PIXELS:
            break
        chosen.append(example)
    return chosen


def _line(point: CurvePoint, steps: int, *, best: bool) -> str:
    losses = f"loss {point.loss:.3f}, on held-out images {point.held_out_loss:.3f}"
    return f"step {point.step}/{steps}: AP {point.ap:.3f}, {losses}{'  best so far' if best else ''}"


def _on(batch: Batch, device: str) -> Batch:
    image, target = batch
    return image.to(device), {name: value.to(device) for name, value in target.items()}


@torch.no_grad()
def _fixed_loss(network: nn.Module, batches: list[Batch], settings: Settings) -> float:
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
    """Return the network with the best weights; with the last ones, to be looked at, if the start was better."""
    if state.best_step:
        weights = torch.load(folder / state.best_name, map_location="cpu", weights_only=True)
        trainer.averaged.load_state_dict(weights, strict=False)
    return merge_lora(trainer.averaged).eval().requires_grad_(False)


def _key(data_sha256: str, start: Start, params: TrainParams) -> str:
    """Return what a training that is gone on with must agree in."""
    return json.dumps(
        {"data": data_sha256, "start": start.sha256, "params": wishes_of(params)}, sort_keys=True
    )


def wishes_of(params: TrainParams) -> dict[str, Any]:
    """Return the options that decide what comes out: all but where it runs."""
    return {k: v for k, v in dataclasses.asdict(params).items() if k not in ("threads", "device")}
