"""One writer a project: a lock that the operating system takes back when its holder dies."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import IO

from cellbrook.errors import ProjectError


class FileLock:
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
        self._path = folder / ".lock"
        try:
            self._file: IO[str] | None = self._path.open("a+", encoding="utf-8")
        except OSError as error:
            raise ProjectError(
                f"{folder}: the project cannot be written to ({error.strerror or error}): copy it, or open it read-only"
            ) from error
        try:
            _lock(self._file)
        except OSError as error:
            holder = self._holder()
            self._file.close()
            self._file = None
            raise ProjectError(
                f"{folder} is open in another program{holder}: close it there, or open the project read-only"
            ) from error
        self._file.seek(0)
        self._file.truncate()
        program = Path(sys.argv[0]).name or "python"
        json.dump({"program": program, "pid": os.getpid(), "host": socket.gethostname()}, self._file)
        self._file.flush()

    def _holder(self) -> str:
        try:
            who = json.loads(self._path.read_text(encoding="utf-8"))
            return f" ({who['program']}, process {who['pid']} on {who['host']})"
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def release(self) -> None:
        """Let others write. The file stays: removing it could take a lock from whoever waits for it."""
        if self._file is not None:
            self._file.close()  # closing unlocks
            self._file = None


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str]) -> None:
        file.seek(2**30)  # locked bytes cannot be read by others, and they should read who holds it
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
