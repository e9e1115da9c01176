"""What a training will do, settled once from the wishes, the data, the model and the machine."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.flop_counter import FlopCounterMode

from cellbrook.core.memory import free_memory, peak_memory
from cellbrook.core.threads import resolve_threads
from cellbrook.engines._pick import check_device
from cellbrook.engines._torch import checked_device
from cellbrook.errors import UsageError
from cellbrook.training.dataset import typical_diameter
from cellbrook.training.loop import fast_bf16

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from cellbrook.networks.base import NetworkSpec
    from cellbrook.training.dataset import Example
    from cellbrook.training.params import TrainParams

CROP_PX = 256
BATCH = 8
REPLAY = 0.5
MEMORY_SHARE = 0.7
"""Part of the free memory that a training may plan to take."""

BESIDES, BESIDES_A_PIXEL = 500_000_000, 400
"""Bytes that a training on a processor takes besides weights and steps: what libraries hold back, general images, and
judging, by the pixels of the largest image; the images themselves come to that. Measured on trainings of compact."""

USUAL_STEPS, PATIENCE_S, FEWEST = 600, 420.0, 0.4
"""Steps that teach a few hundred cells, seconds that they may take on a processor, and the least part of them that is left
where it is slower: so that people who correct and train in turns wait less than ten minutes, scoring included."""

FEW_OBJECTS, FEW_RATE, FULL_RATE = 50, 2e-4, 5e-4
"""Learning rate of compact for so few objects or fewer; it grows with the square root of their number up to the other one,
which a few objects would be learnt by heart with."""

SCRATCH_RATE = 4e-3
"""The same for a network that begins with random weights."""

FLOPS_FP32, FLOPS_BF16 = 4e10, 1.2e11
"""Of one thread, learning: measured on two server processors. A figure that is the same at every start keeps a training
repeatable."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A training, settled.

    Parameters
    ----------
    steps, batch_size, crop : int
        Steps at most; crops a step; their side in pixels.
    learning_rate : float
        Largest.
    average : float
        Decay of the running mean of the weights.
    validate_every : int
        Steps between validations.
    replay : float
        Share of crops from the general set.
    bf16 : bool
        The network runs in bfloat16.
    device : str
        Where.
    threads : int
        Processor threads.
    memory_bytes : int
        What the process will take at most, estimated; on a graphics card, weights, optimiser and one step.
    trained, weights : int
        Numbers of weights that learn, and of all.
    """

    steps: int
    batch_size: int
    crop: int
    learning_rate: float
    average: float
    validate_every: int
    replay: float
    bf16: bool
    device: str
    threads: int
    memory_bytes: int
    trained: int
    weights: int

    def lines(self) -> list[str]:
        """Return what is printed before the training."""
        share = f", {self.replay:.0%} of them general images" if self.replay else ""
        return [
            f"up to {self.steps} steps of {self.batch_size} crops of {self.crop} px{share}; validated every "
            f"{self.validate_every} steps",
            f"learning rate {self.learning_rate:g}; {self.trained:,} of {self.weights:,} weights learn",
            f"on {_place(self.device)}; about {max(self.memory_bytes / 1e9, 0.1):.1f} GB of memory",
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        return dataclasses.asdict(self)


def _place(device: str) -> str:
    return "this computer's processor" if device == "cpu" else f"the graphics card ({device})"


def settle(
    params: TrainParams,
    network: nn.Module,
    train: Sequence[Example],
    held_out: Sequence[Example] = (),
    *,
    scratch: bool,
) -> Settings:
    """Resolve what was left open.

    Raises
    ------
    UsageError
        If the machine has not the memory, or a wish does not fit the network.
    """
    spec: NetworkSpec = network.spec  # type: ignore[assignment]  # nn.Module's attributes are untyped
    device = pick_device(params.device)
    threads = resolve_threads(params.threads)
    bf16 = device.startswith("cuda") or (device == "cpu" and fast_bf16())
    crop = _crop(params, spec)
    weights = sum(p.numel() for p in network.parameters())
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    batch = params.batch_size or (BATCH if spec.family in ("compact", "cp3") else 2)
    images = _as_seen([*train, *held_out], spec)
    beside = free_memory()
    if beside is not None and images > beside:
        raise UsageError(
            f"the images alone need about {images / 2**30:.1f} GiB and {beside / 2**30:.1f} GiB are free: train on fewer of "
            "them, or on parts"
        )
    on_card = device.startswith("cuda")
    free = int(torch.cuda.mem_get_info(device)[0]) if on_card else beside and beside - images
    while True:
        needed = _memory(network, spec, batch, crop, bf16, weights, trained)
        if params.batch_size or batch == 1 or free is None or needed <= MEMORY_SHARE * free:
            break
        batch //= 2
    if free is not None and needed > free:
        but = "" if on_card else f" beside the images, which take {images / 2**30:.1f} GiB"
        raise UsageError(
            f"this training needs about {needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free{but}: try --train last"
            + (" or lora" if spec.family in ("cpsam", "cpdino") else "")
            + ", a smaller --batch-size or a smaller --crop"
        )
    objects = sum(e.n_objects for e in train)
    steps = params.steps
    if steps is None:
        pace = (FLOPS_BF16 if bf16 else FLOPS_FP32) * threads if device == "cpu" else None
        steps = _steps(network, spec, objects, batch, crop, pace)
        steps *= 4 if scratch else 1
    rate = params.learning_rate
    if rate is None:
        rate = {"compact": SCRATCH_RATE if scratch else _rate(objects), "cp3": 3e-4}.get(spec.family, 5e-5)
        if params.train == "lora":
            rate = 1e-3
    replay = params.replay if params.replay is not None else (0.0 if scratch else REPLAY)
    return Settings(
        steps=steps,
        batch_size=batch,
        crop=crop,
        learning_rate=rate,
        average=0.998 if steps > 2000 else 0.98,
        validate_every=max(10, min(100, -(-steps // 12))),
        replay=replay,
        bf16=bf16,
        device=device,
        threads=threads,
        memory_bytes=needed + (images + _besides(train) if device == "cpu" else 0),
        trained=trained,
        weights=weights,
    )


def network_diameter(spec: NetworkSpec, diameter_px: float, median_px: float) -> float:
    """Return the diameter at which the pipeline shows objects of this diameter to the network.

    Parameters
    ----------
    spec : NetworkSpec
    diameter_px : float
        Typical diameter in the image.
    median_px : float
        Of all images of the set: what a network that cannot estimate diameters will assume.
    """
    wanted = spec.object_diameter_px
    if wanted is None or not diameter_px:
        return diameter_px or 30.0
    if "log_diameter" in spec.outputs:
        low, high = spec.diameter_range_px
        return diameter_px if low <= diameter_px <= high else wanted
    if spec.family == "cp3":
        return diameter_px * wanted / max(median_px, 1.0)
    return diameter_px


def median_diameter(examples: Sequence[Example]) -> float:
    """Return the median over images of the typical diameter of their objects, in pixels."""
    found = [d for e in examples if (d := typical_diameter(e.labels))]
    return float(np.median(found)) if found else 0.0


def pick_device(wish: str) -> str:
    """Return the device to train on.

    Raises
    ------
    UsageError
        If there is no device of that name.
    EngineError
        If this machine has none.
    """
    check_device(wish)
    if wish != "auto":
        return str(checked_device(torch, wish))
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _crop(params: TrainParams, spec: NetworkSpec) -> int:
    if spec.fixed_tile:
        if params.crop not in (None, spec.tile_size):
            raise UsageError(f"{spec.family} takes crops of {spec.tile_size} px only, got crop {params.crop}")
        return spec.tile_size
    crop = params.crop or CROP_PX
    if crop % spec.stride:
        raise UsageError(f"crop must be a multiple of {spec.stride} for {spec.family}, got {crop}")
    return crop


def _steps(
    network: nn.Module, spec: NetworkSpec, objects: int, batch: int, crop: int, pace: float | None
) -> int:
    """Return the steps for so many objects: ten times as many need twice as many; `pace` is a processor's, in FLOP/s."""
    wanted = float(np.clip(USUAL_STEPS * (max(objects, 1) / 200) ** 0.3, USUAL_STEPS / 2, 5 * USUAL_STEPS))
    if pace is not None:
        usual_s = USUAL_STEPS * batch * step_flops(network, spec, crop) / pace
        wanted *= float(np.clip(PATIENCE_S / usual_s, FEWEST, 1))
    return round(wanted / 25) * 25


def _rate(objects: int) -> float:
    """Return the learning rate for compact, taught so many objects."""
    return float(f"{np.clip(FEW_RATE * (objects / FEW_OBJECTS) ** 0.5, FEW_RATE, FULL_RATE):.2g}")


def _besides(train: Sequence[Example]) -> int:
    largest = max((e.whole.labels.size for e in train), default=0)
    return (peak_memory() or 0) + BESIDES + BESIDES_A_PIXEL * largest


def _as_seen(examples: Sequence[Example], spec: NetworkSpec) -> int:
    """Return the bytes of the images as the network sees them, all of which are held to cut crops from."""
    channels = (1 if e.is_rgb and spec.channels < 3 else len(e.pixels) for e in examples)
    return sum(4 * n * e.labels.size for n, e in zip(channels, examples, strict=True))


def _memory(
    network: nn.Module, spec: NetworkSpec, batch: int, crop: int, bf16: bool, weights: int, trained: int
) -> int:
    """Return the bytes of weights, their mean, gradients, optimiser, and of what one step keeps for its way back."""
    return round(
        4 * (weights + 4 * trained) + batch * kept_bytes(network, spec, crop) * (0.6 if bf16 else 1.0)
    )


def kept_bytes(network: nn.Module, spec: NetworkSpec, crop: int) -> int:
    """Return the bytes that a forward pass of one crop in float32 keeps for the way back, without computing it.

    What lies before the first learning layer keeps nothing, so this depends on what is frozen.
    """
    shadow = copy.deepcopy(network).to("meta")
    weights = {_storage(t) for t in shadow.state_dict().values()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if _storage(tensor) not in weights:  # several layers keep the same values
            kept[_storage(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = shadow.train()(torch.zeros(1, spec.planes, crop, crop, device="meta"))
    del output  # until here, what was kept had to live
    return sum(kept.values())


def step_flops(network: nn.Module, spec: NetworkSpec, crop: int) -> int:
    """Return the operations of learning from one crop, there and back, without computing it; frozen layers cost less."""
    shadow = copy.deepcopy(network).to("meta").train()
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        output = shadow(torch.zeros(1, spec.planes, crop, crop, device="meta"))
        torch.stack([plane.sum() for plane in output.values()]).sum().backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops())


def _storage(tensor: torch.Tensor) -> int:
    """Return what tells a tensor's memory from another's."""
    return int(StorageWeakRef(tensor.untyped_storage()).cdata)  # type: ignore[no-untyped-call]  # torch's own
