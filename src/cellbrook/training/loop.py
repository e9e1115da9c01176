"""The training loop: steps, weight averaging, checkpoints that resume."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cellbrook.training.adapt import freeze_statistics
from cellbrook.training.loss import LossParams, loss_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cellbrook.training.rounding import Rounding

log = logging.getLogger(__name__)

Batch = tuple[Tensor, dict[str, Tensor]]


def fast_bf16() -> bool:
    """Return whether this processor multiplies bfloat16 in hardware; elsewhere it is ten times slower than float32."""
    asks = (
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return any(ask() for ask in asks if ask is not None)


@dataclass(frozen=True, slots=True)
class LoopParams:
    """How long and how fast to learn.

    Parameters
    ----------
    steps : int
        Steps in all; the learning rate falls to zero by then.
    minutes : float or None
        Time for all steps, earlier runs included: if it is up before, the learning rate has fallen to zero by then
        instead. The result then depends on the machine's speed.
    batch_size : int
        Crops a step.
    learning_rate : float
        Largest learning rate, reached after the warm-up.
    warmup : int
        Steps over which it rises.
    weight_decay : float
        Of AdamW.
    average : float
        Decay of the running mean of the weights, which is what is kept.
    bf16 : bool
        Run the network in bfloat16. Default: where the processor is fast at it.
    save_every : int
        Steps between checkpoints.
    freeze_statistics : bool
        Keep the means and variances of batch norms as they are.
    """

    steps: int = 12000
    minutes: float | None = None
    batch_size: int = 16
    learning_rate: float = 2e-3
    warmup: int = 300
    weight_decay: float = 0.02
    average: float = 0.998
    bf16: bool = field(default_factory=fast_bf16)
    save_every: int = 100
    freeze_statistics: bool = False


class Trainer:
    """Trains one network; everything that a later run needs to go on is in `state_dict`.

    Parameters
    ----------
    network : nn.Module
        Trained in place.
    params, loss_params
        Settings.
    rounding : Rounding or None
        Learn with the rounding of 8 bits.
    """

    def __init__(
        self,
        network: nn.Module,
        params: LoopParams,
        loss_params: LossParams,
        rounding: Rounding | None = None,
    ) -> None:
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs
        # what does not learn is its own mean: it is not copied
        frozen = {id(p): p for p in network.parameters() if not p.requires_grad}
        self.averaged = copy.deepcopy(network, frozen).eval().requires_grad_(False)
        self.params = params
        self.loss_params = loss_params
        self.rounding = rounding
        decayed = [p for p in network.parameters() if p.ndim > 1]
        plain = [p for p in network.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": params.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=params.learning_rate,
            fused=True,
        )
        self.step = 0
        self.seconds = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs."""
        return {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            **({} if self.rounding is None else {"ranges": self.rounding.ranges}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])
        self.seconds = float(state["seconds"])
        if self.rounding is not None and "ranges" in state:
            self.rounding.ranges.copy_(state["ranges"])

    def train_step(self, batch: Batch) -> dict[str, float]:
        """Take one step and return the terms of the loss.

        Raises
        ------
        FloatingPointError
            If the loss is not finite; it names the step.
        """
        image, target = batch
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self.network.train()
        if self.params.freeze_statistics:
            freeze_statistics(self.network)
        with (
            torch.autocast(image.device.type, torch.bfloat16, enabled=self.params.bf16),
            self.rounding or contextlib.nullcontext(),
        ):
            output = self.network(image.to(memory_format=torch.channels_last))
        loss, terms = loss_of(output, target, self.loss_params)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss became {loss.item()} at step {self.step}; try a smaller learning rate"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        self.step += 1
        self._average()
        return {"loss": float(loss.detach()), **{k: float(v) for k, v in terms.items()}}

    def run(
        self, batches: Iterator[Batch], folder: Path, on_save: Callable[[int], None] | None = None
    ) -> None:
        """Train until `steps`, saving ``folder/last.pt`` on the way."""
        started, since, sums = self.seconds, self.step, dict[str, float]()
        before = time.monotonic() - self.seconds
        while self.done < 1:
            for name, value in self.train_step(next(batches)).items():
                sums[name] = sums.get(name, 0.0) + value
            self.seconds = time.monotonic() - before
            if self.step % self.params.save_every == 0 or self.done >= 1:
                count = self.step - since
                pace = (self.seconds - started) / count
                terms = " ".join(f"{k} {v / count:.4f}" for k, v in sums.items())
                left = self.seconds / 60 * (1 / self.done - 1)
                log.info(
                    "step %d  %s  %.2f s/step, %.0f min left",
                    self.step,
                    terms,
                    pace,
                    left,
                )
                save(self.state_dict(), folder / "last.pt")
                if on_save is not None:
                    on_save(self.step)
                started, since, sums = self.seconds, self.step, {}

    @property
    def done(self) -> float:
        """Share of the steps or of the time that is spent, whichever is more."""
        spent = self.seconds / 60 / self.params.minutes if self.params.minutes else 0.0
        return max(self.step / self.params.steps, spent)

    def _learning_rate(self) -> float:
        p = self.params
        rising = min(1.0, (self.step + 1) / p.warmup) if p.warmup else 1.0
        return p.learning_rate * rising * max(0.005, 0.5 * (1 + math.cos(math.pi * min(1.0, self.done))))

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.params.average, self.step / (self.step + 10))
        for mean, value in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
            if mean is not value:
                mean.lerp_(value, 1 - decay)
        for kept, now in zip(self.averaged.buffers(), self.network.buffers(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(now, 1 - decay)
            else:
                kept.copy_(now)


def save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that a crash leaves the old one or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)
