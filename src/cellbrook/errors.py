"""Every error that Cellbrook raises on purpose.

::

    CellbrookError
    ├── UsageError (ValueError)          options that contradict each other or do not fit the image
    │   └── AmbiguousAxesError           axes that metadata does not settle; lists the candidates
    ├── ImageError (ValueError)          an image that is unreadable, truncated, empty or of an unknown kind
    ├── OutputError (OSError)            a result that cannot be written, or would overwrite something
    ├── ModelError (ValueError)          a model that is unknown, damaged or does not fit its network
    │   ├── UnknownModelError (KeyError) no model of that name; lists the nearest names
    │   └── ChecksumError                a file whose SHA-256 is not the expected one
    ├── EngineError (RuntimeError)       no engine can run this model here
    │   └── EngineMemoryError (MemoryError)  a batch does not fit the device's memory; a smaller one may
    ├── ProjectError (OSError)           a project folder that is damaged, in use, or of a later version
    ├── EditError (ValueError)           an edit that cannot be made; nothing was changed
    │   └── EditConflict                 newer edits meet it; carries the newest revision and their boxes
    ├── TrainingError (RuntimeError)     a training that cannot go on; names the step
    └── Cancelled                        the caller asked to stop; nothing half-done is left

Messages are one line: what was expected, what came, what to do.
"""

from __future__ import annotations

OVERWRITE = "--overwrite (in Python overwrite=True)"
"""What errors call the way to replace files, as they are read on the command line and elsewhere."""


class CellbrookError(Exception):
    """Root of the tree; the command line prints these as one line and exits with 1 (2 for `UsageError`)."""


class UsageError(CellbrookError, ValueError):
    """Options that contradict each other or do not fit the image."""


class AmbiguousAxesError(UsageError):
    """The axes of an image are not settled by its metadata."""


class ImageError(CellbrookError, ValueError):
    """An image cannot be read."""


class OutputError(CellbrookError, OSError):
    """A result cannot be written."""


class ModelError(CellbrookError, ValueError):
    """A model file is damaged or does not fit the network it is meant for."""


class UnknownModelError(ModelError, KeyError):
    """There is no model of that name."""

    def __str__(self) -> str:  # KeyError would quote the message
        return str(self.args[0]) if self.args else ""


class ChecksumError(ModelError):
    """A file's SHA-256 differs from the expected one."""


class EngineError(CellbrookError, RuntimeError):
    """No engine can run this model on this machine."""


class EngineMemoryError(EngineError, MemoryError):
    """A batch does not fit the memory of the device; the engine is still usable, with a smaller batch."""


class ProjectError(CellbrookError, OSError):
    """A project folder is damaged, in use by another program, or of a later version."""


class EditError(CellbrookError, ValueError):
    """An edit cannot be made; nothing was changed."""


class EditConflict(EditError):
    """Newer edits of somebody else meet this one.

    Parameters
    ----------
    message : str
        One line.
    rev : int
        The newest revision.
    boxes : tuple of (plane, y0, x0, y1, x1)
        Where the newer edits lie: what to load again.
    """

    def __init__(self, message: str, rev: int, boxes: tuple[tuple[int, int, int, int, int], ...]) -> None:
        super().__init__(message)
        self.rev = rev
        self.boxes = boxes


class TrainingError(CellbrookError, RuntimeError):
    """A training cannot go on."""


class Cancelled(CellbrookError):
    """The caller asked to stop."""
