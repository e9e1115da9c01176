"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import functools
import os
import secrets
import shutil
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cellbrook.errors import CellbrookError, OutputError
from cellbrook.io.lock import lock_where_known

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellbrook.io.lock import FileLock

_MARK = ".partial-"
_STALE_S = 3600
_PATIENCE_S = 300


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to, which takes the place of `path` when the block ends well.

    The temporary file lies in the same folder, is hidden, has the same suffix and is removed if the block
    raises or is interrupted. Missing folders are made. A folder (OME-Zarr) is replaced as a whole in the same
    way.

    Parameters
    ----------
    path : str or Path
        The file that is to be.

    Yields
    ------
    Path
        What to write to.

    Raises
    ------
    OutputError
        If the folder cannot be written to, or the disk is full.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic(Path(folder, "run.json")) as temporary:
    ...         _ = temporary.write_text("{}")
    ...     [p.name for p in Path(folder).iterdir()]
    ['run.json']
    """
    path = Path(path)
    # cut short, so that a name of the length that a file system allows still has room for the mark
    temporary = path.with_name(f".{path.stem[:60]}{_MARK}{secrets.token_hex(4)}{path.suffix}")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            put(temporary, path)
        except CellbrookError:
            raise
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {_reason(error)}") from error
    except BaseException:  # an interrupt too must leave nothing behind
        remove(temporary)
        raise


@contextmanager
def staged(folder: Path, stem: str) -> Iterator[Path]:
    """Give a hidden folder inside `folder` for files that belong together; see `put`.

    What is left in it when the block ends is removed, and what killed runs left in `folder`.

    Parameters
    ----------
    folder : Path
        Where the files are to be. Made if it does not exist.
    stem : str
        Beginning of their names.

    Yields
    ------
    Path
        The hidden folder.

    Raises
    ------
    OutputError
        If the folder cannot be written to, or the disk is full.
    """
    stage = folder / f".{stem[:60]}{_MARK}{secrets.token_hex(4)}"
    _sweep_hourly(folder.absolute(), int(time.time() // _STALE_S))
    try:
        try:
            stage.mkdir(parents=True)
            yield stage
        except CellbrookError:
            raise
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written: {_reason(error)}") from error
    finally:
        remove(stage)


@contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """Let other programs wait while files are read and written again, so that none loses what another adds to them.

    Parameters
    ----------
    folder : Path
        Where the files are. Made if it does not exist.
    name : str
        Of the hidden file that tells others to wait, and is there no longer than that.

    Raises
    ------
    OutputError
        If the folder cannot be written to, or another program (named) makes this one wait for more than five minutes.
    """
    path = folder / f".{name}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _lock_when_free(path)
    except BlockingIOError as error:
        raise OutputError(
            f"{folder}: another program writes there{error}: wait until it has ended, or give another folder (--out)"
        ) from error
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {_reason(error)}") from error
    try:
        yield
    finally:
        if lock is not None:
            with suppress(OSError):  # Windows keeps a file that is open
                path.unlink()  # while it is held, so that whoever gets it next can see that it is gone
            lock.release()


def _lock_when_free(path: Path) -> FileLock | None:
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            lock = lock_where_known(path)
            if lock is None or lock.is_current():
                return lock
            lock.release()
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def is_temporary(path: Path) -> bool:
    """Return True for the name of an unfinished file, such as one that a killed run left behind."""
    return path.name.startswith(".") and _MARK in path.name


def sweep(folder: Path) -> None:
    """Remove unfinished files in a folder that nobody has written to for an hour: those of runs that were killed.

    What was moved aside while a folder was replaced stays, and so does what was to take its place.
    """
    with suppress(OSError):
        found = [p for p in folder.iterdir() if is_temporary(p)]
        aside = {p.name.removesuffix(".old") for p in found if p.name.endswith(".old")}
        for path in found:
            if path.name.removesuffix(".old") not in aside and time.time() - _last_written(path) > _STALE_S:
                remove(path)


@functools.lru_cache(maxsize=1024)
def _sweep_hourly(folder: Path, hour: int) -> None:
    del hour  # a folder of many results is not listed for each of them
    sweep(folder)


def _last_written(path: Path) -> float:
    """Return when a file, or anything in a folder, was written to: a folder does not tell of a file that still grows."""
    return max(p.stat().st_mtime for p in (path, *path.rglob("*")))


def put(temporary: Path, path: Path) -> None:
    """Let a file or folder take the place of `path`, whole; both lie on one file system."""
    if temporary.is_dir() and path.is_dir():
        # a folder cannot take the place of one with content: move the old aside first
        old = temporary.with_name(f"{temporary.name}.old")
        path.rename(old)
        try:
            temporary.rename(path)
        except BaseException:
            old.rename(path)
            raise
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(temporary, path)


def remove(path: Path) -> None:
    """Remove a file, or a folder with what is in it; what cannot be removed stays."""
    with suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _reason(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "no permission to write in this folder; give another (--out)"
    if error.errno == errno.ENOSPC:
        return "the disk is full"
    if error.errno == errno.ENAMETOOLONG:
        return "its name is too long"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return "a file lies where a folder is needed"
    if error.errno in (errno.EISDIR, errno.ENOTEMPTY):
        return "a folder of that name is in the way"
    return error.strerror or str(error)
