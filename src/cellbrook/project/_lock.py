"""One writer a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellbrook.errors import ProjectError
from cellbrook.io import lock

if TYPE_CHECKING:
    from pathlib import Path


class FileLock(lock.FileLock):
    """Holds ``.lock`` of a project folder until `release`.

    Parameters
    ----------
    folder : Path
        The project.

    Raises
    ------
    ProjectError
        If another program holds it (names it), or the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        try:
            super().__init__(folder / ".lock")
        except BlockingIOError as error:
            raise ProjectError(
                f"{folder} is open in another program{error}: close it there, or open the project read-only"
            ) from error
        except OSError as error:
            raise ProjectError(
                f"{folder}: the project cannot be written to ({error.strerror or error}): copy it, or open it read-only"
            ) from error
