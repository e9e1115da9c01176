"""SHA-256 of files and of OME-Zarr folders, for provenance."""

from __future__ import annotations

import functools
import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cellbrook.io._omezarr import scene_folder
from cellbrook.io._stored import reading
from cellbrook.io._tiff import other_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_BLOCK = 1 << 20
# Within this time a file may change again and keep its time stamp
_SETTLED_NS = 2 * 10**9


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file, or of a folder: of the sorted names of its files and their contents.

    Parameters
    ----------
    path : str or Path
        A file or an OME-Zarr folder. Hidden temporary files do not count; Zarr's own metadata does.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    path = Path(path)
    with reading(str(path)):
        return _of_folder(path, _digest) if path.is_dir() else _digest(path).hex()


def sha256_of_image(path: str | Path, scene: str | None = None) -> str:
    """Return the SHA-256 of all that is read when an image is opened.

    A file of several scenes is read once, while the process runs and the file has its size and time.

    Parameters
    ----------
    path : str or Path
        As for `sha256_of`. Of a file of an OME-TIFF or Micro-Manager set, the whole set is meant.
    scene : str or None
        Number or name of a scene. Of an OME-Zarr folder only its own group is read.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    path = Path(path)
    with reading(str(path)):
        files = files_of_image(path, scene)
        if files == [path]:
            return _digest_once(path).hex()
        return _of_files(scene_folder(path, scene) if path.is_dir() else path.parent, files, _digest_once)


def files_of_image(path: Path, scene: str | None = None) -> list[Path]:
    """Return all files that are read when an image is opened: mostly its own alone.

    Parameters
    ----------
    path, scene
        As for `sha256_of_image`.

    Raises
    ------
    ImageError, OSError, ValueError
        If a scene is meant that an OME-Zarr folder has not, or its metadata cannot be read.
    """
    if path.is_dir():
        return [p for p in scene_folder(path, scene).rglob("*") if p.is_file()]
    return [path, *other_files(path)]


def _of_folder(folder: Path, digest: Callable[[Path], bytes]) -> str:
    return _of_files(folder, (p for p in folder.rglob("*") if p.is_file()), digest)


def _of_files(folder: Path, files: Iterable[Path], digest: Callable[[Path], bytes]) -> str:
    total = hashlib.sha256()
    for name, file in sorted((Path(os.path.relpath(file, folder)).as_posix(), file) for file in files):
        # lengths are fixed, so that no other set of names and contents gives the same bytes
        total.update(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
        total.update(digest(file))
    return total.hexdigest()


def _digest_once(path: Path) -> bytes:
    stat = path.stat()
    if time.time_ns() - stat.st_mtime_ns < _SETTLED_NS:
        return _digest(path)
    return _remembered(path.absolute(), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=1 << 16)
def _remembered(path: Path, size: int, mtime_ns: int) -> bytes:
    del size, mtime_ns  # by which the file is known again
    return _digest(path)


def _digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.digest()
