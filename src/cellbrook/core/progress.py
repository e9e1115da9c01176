"""Progress and cancelling: one small protocol for the command line, notebooks and the workspace."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What a long computation reports to.

    `advance` is called after each finished unit (a tile, a training step); `check_cancelled` before each one.
    """

    def start(self, task: str, total: int) -> None:
        """Begin a task of `total` units. A new task replaces the one before."""

    def advance(self, count: int = 1) -> None:
        """Report `count` more finished units."""

    def check_cancelled(self) -> None:
        """Raise `cellbrook.errors.Cancelled` if the user asked to stop."""


class NoProgress:
    """Reports to nobody and is never cancelled."""

    def start(self, task: str, total: int) -> None:
        """Do nothing."""

    def advance(self, count: int = 1) -> None:
        """Do nothing."""

    def check_cancelled(self) -> None:
        """Do nothing."""


class CancelOnly(NoProgress):
    """Passes on that the user wants to stop, and nothing else: what is counted is another task.

    Parameters
    ----------
    progress : Progress
        Of that other task.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def check_cancelled(self) -> None:
        """Raise `Cancelled` if the user asked to stop."""
        self._progress.check_cancelled()
