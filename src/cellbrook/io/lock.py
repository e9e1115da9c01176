"""A lock that the operating system takes back when its holder dies."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import sys
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


class FileLock:
    """Holds a file until `release`.

    Parameters
    ----------
    path : Path
        Is made if it is missing, and says who holds it.

    Raises
    ------
    BlockingIOError
        If another program holds it; the message names it, as in " (cellbrook, process 7 on here)", or is empty.
    OSError
        If the file cannot be written to, or the file system knows no locks.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = path.open("a+", encoding="utf-8")
        try:
            _lock(self._file)
        except OSError:
            self.release()
            raise
        self._file.seek(0)
        self._file.truncate()
        program = Path(sys.argv[0]).name or "python"
        json.dump({"program": program, "pid": os.getpid(), "host": socket.gethostname()}, self._file)
        self._file.flush()

    def is_current(self) -> bool:
        """Return False if the file was removed by who held it before: others may hold a new one of its name by now."""
        try:
            return self._file is not None and os.path.samestat(
                os.fstat(self._file.fileno()), self._path.stat()
            )
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let others write. The file stays: removing it could take a lock from whoever waits for it."""
        if self._file is not None:
            self._file.close()  # closing unlocks
            self._file = None


def lock_where_known(path: Path) -> FileLock | None:
    """Return a lock on a file, as `FileLock`; None on file systems that know no locks, as some shared folders."""
    try:
        return FileLock(path)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        log.info("no lock on %s (%s), going on without", path, error.strerror)
        return None


def _holder(file: IO[str]) -> str:
    try:
        file.seek(0)
        who = json.load(file)
        return f" ({who['program']}, process {who['pid']} on {who['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str]) -> None:
        file.seek(2**30)  # locked bytes cannot be read by others, and they should read who holds it
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError(_holder(file)) from error
else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(_holder(file)) from error
