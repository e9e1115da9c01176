"""Ctrl-C during a training: the first keeps the best so far, the second interrupts."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cellbrook.cli import _console
from cellbrook.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Iterator


class StoppableProgress(_console.ConsoleProgress):
    """Progress that Ctrl-C cancels between two steps."""

    cancelled = False

    def check_cancelled(self) -> None:
        """Raise `Cancelled` after Ctrl-C."""
        if self.cancelled:
            raise Cancelled("stopped")


@contextmanager
def ending_softly(progress: StoppableProgress) -> Iterator[None]:
    """Let the first Ctrl-C end the training with the best weights so far; the second one interrupts at once."""

    def stop(number: int, frame: Any) -> None:
        del number, frame
        progress.cancelled = True
        signal.signal(signal.SIGINT, before)
        progress.clear()
        _console.note(
            "stopping after this step; once more interrupts at once (the training can be gone on with)"
        )

    try:
        before = signal.signal(signal.SIGINT, stop)
    except ValueError:  # not in the main thread, where signals are another's business
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
