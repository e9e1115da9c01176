"""What an unfinished training leaves on disk, so that it goes on after a crash to the very same weights.

``best-STEP.pt`` is written first, then ``last.pt``, which names it: whenever the process dies, ``last.pt`` and the file
it names are whole and belong together.
"""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from cellbrook.errors import OVERWRITE, ModelError, OutputError, UsageError
from cellbrook.io.atomic import atomic, is_temporary
from cellbrook.io.lock import lock_where_known
from cellbrook.training.report import CurvePoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import nn

    from cellbrook.training.loop import Trainer
    from cellbrook.training.settings import Settings


LAST = "last.pt"


@dataclass(frozen=True, slots=True)
class State:
    """How far a training is.

    Parameters
    ----------
    key : str
        What data and options it is of.
    curve : tuple of CurvePoint
        One a validation.
    best_step : int
        Step of the best weights so far; 0 is the start.
    seconds : float
        Time spent.
    """

    key: str
    curve: tuple[CurvePoint, ...]
    best_step: int
    seconds: float

    @property
    def best(self) -> CurvePoint:
        """The validation of the best weights."""
        return next(p for p in self.curve if p.step == self.best_step)

    @property
    def best_name(self) -> str:
        """Name of the file of the best weights."""
        return f"best-{self.best_step}.pt"

    def after(self, point: CurvePoint, seconds: float) -> State:
        """Return the state after one more validation: the best has the highest AP, and of equals the lowest loss."""
        better = (point.ap, -point.held_out_loss) > (self.best.ap, -self.best.held_out_loss)
        return State(self.key, (*self.curve, point), point.step if better else self.best_step, seconds)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other trainings out of a folder, which is made if it is missing: each would remove the files of the other.

    Raises
    ------
    OutputError
        If another training holds it (names it), or it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_where_known(folder / ".lock")
    except BlockingIOError as error:
        raise OutputError(
            f"{folder}: another training writes there{error}: wait until it has ended, or give another folder (--out)"
        ) from error
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written to ({error.strerror or error}): give another folder (--out)"
        ) from error
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def trained_names(network: nn.Module) -> set[str]:
    """Return the names of what training changes: weights that learn, and buffers. The rest need not be stored."""
    return {n for n, p in network.named_parameters() if p.requires_grad} | {
        n for n, _ in network.named_buffers()
    }


def save_state(folder: Path, state: State, trainer: Trainer, settings: Settings) -> None:
    """Write the state; the files of an older best are removed last."""
    names = trained_names(trainer.network)
    whole = trainer.state_dict()
    for part in ("network", "averaged"):
        whole[part] = {n: v for n, v in whole[part].items() if n in names}
    best = folder / state.best_name
    if state.best_step == trainer.step:
        _save(whole["averaged"], best)
    curve = [dataclasses.astuple(p) for p in state.curve]
    facts: dict[str, Any] = {
        "key": state.key,
        "curve": curve,
        "best_step": state.best_step,
        "seconds": state.seconds,
    }
    # settled once: with other memory free, another batch size would be chosen on the way
    _save({**whole, **facts, "settings": settings.to_dict()}, folder / LAST)
    for path in folder.glob("*.pt"):
        if path not in (best, folder / LAST) or is_temporary(path):
            path.unlink(missing_ok=True)


def read_state(folder: Path, key: str, *, overwrite: bool = False) -> dict[str, Any] | None:
    """Return what an unfinished training left; None if there is none.

    With `overwrite`, one of other data or options is removed instead of refused.

    Raises
    ------
    UsageError
        If what lies there is a training of other data or options.
    ModelError
        If it is damaged.
    """
    path = folder / LAST
    if not path.exists():
        return None
    try:
        stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        same = stored["key"] == key
    except Exception as error:  # torch raises nearly anything on a broken file
        raise ModelError(
            f"{path} is damaged ({type(error).__name__}): remove {folder} to start anew"
        ) from error
    if not same and overwrite:
        path.unlink()
        return None
    if not same:
        raise UsageError(
            f"{folder} holds an unfinished training of other images or options: give another folder (--out), "
            f"or {OVERWRITE} to replace it"
        )
    return stored


def restore(stored: dict[str, Any], trainer: Trainer) -> State:
    """Bring a trainer to where `read_state` says that the training stopped."""
    trainer.network.load_state_dict(stored["network"], strict=False)
    trainer.averaged.load_state_dict(stored["averaged"], strict=False)
    trainer.optimizer.load_state_dict(stored["optimizer"])
    trainer.step = int(stored["step"])
    curve = tuple(CurvePoint(*p) for p in stored["curve"])
    return State(stored["key"], curve, stored["best_step"], stored["seconds"])


def _save(content: dict[str, Any], path: Path) -> None:
    with atomic(path) as temporary:
        torch.save(content, temporary)
