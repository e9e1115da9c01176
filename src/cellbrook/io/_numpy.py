"""Arrays in memory and .npy files (memory-mapped)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import ImageError
from cellbrook.io._stored import StoredImage

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def open_array(array: Any) -> StoredImage:
    """Return an array in memory as an image without metadata."""
    return StoredImage(levels=(np.asarray(array),), axes=None)


def open_npy(path: Path, scene: str | None = None) -> StoredImage:
    """Return what a .npy file holds, memory-mapped."""
    del scene  # such a file holds one array
    try:
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "pickle" in str(error).lower() or "Python objects" in str(error):
            raise ImageError(f"{path}: holds Python objects, not an array of pixels") from error
        if "mmap" in str(error) or "buffer" in str(error):
            raise ImageError(f"{path}: truncated, or empty of pixels") from error
        raise
    return StoredImage(levels=(_MappedFile(path, mapped),), axes=None)


class _MappedFile:
    """A .npy file that is mapped only while it is read, so that no handle is left open."""

    def __init__(self, path: Path, mapped: NDArray[Any]) -> None:
        self._path = path
        self.shape = mapped.shape
        self.dtype: np.dtype[Any] = mapped.dtype

    def __getitem__(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        mapped = np.load(self._path, mmap_mode="r", allow_pickle=False)
        return np.array(mapped[key])
