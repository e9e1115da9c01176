"""SHA-256 of files and of OME-Zarr folders, for provenance."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cellbrook.io._stored import reading
from cellbrook.io._tiff import other_files

_BLOCK = 1 << 20


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
        if not path.is_dir():
            return _digest(path).hexdigest()
        return _of_files(path, [p for p in path.rglob("*") if p.is_file()])


def sha256_of_image(path: str | Path) -> str:
    """Return the SHA-256 of all that is read when an image is opened.

    Parameters
    ----------
    path : str or Path
        An image. As `sha256_of`, but of a file of an OME-TIFF or Micro-Manager set it is that of the whole set.

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
    others = other_files(path)
    if not others:
        return sha256_of(path)
    with reading(str(path)):
        return _of_files(path.parent, [path, *others])


def _of_files(folder: Path, files: list[Path]) -> str:
    total = hashlib.sha256()
    for name, file in sorted((Path(os.path.relpath(file, folder)).as_posix(), file) for file in files):
        # lengths are fixed, so that no other set of names and contents gives the same bytes
        total.update(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
        total.update(_digest(file).digest())
    return total.hexdigest()


def _digest(path: Path) -> hashlib._Hash:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest
