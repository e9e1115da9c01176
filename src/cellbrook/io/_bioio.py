"""Microscope makers' own formats, through the readers of the ``bioio`` and ``bioio-gpl`` extras."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import ImageError
from cellbrook.io._stored import StoredImage
from cellbrook.io._tiff import pick_scene

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_EXTRA = 'pip install "cellbrook[bioio]"'
_GPL_EXTRA = 'pip install "cellbrook[bioio-gpl]"'
# format, and what has to be installed for it; the last ones need Java
VENDOR_FORMATS: dict[str, tuple[str, str]] = {
    ".czi": ("Zeiss CZI", _GPL_EXTRA),
    ".nd2": ("Nikon ND2", _EXTRA),
    ".lif": ("Leica LIF", _GPL_EXTRA),
    ".dv": ("DeltaVision", _EXTRA),
    ".r3d": ("DeltaVision", _EXTRA),
    ".sldy": ("SlideBook", "pip install bioio bioio-sldy"),
    ".oib": ("Olympus OIB", "pip install bioio bioio-bioformats"),
    ".oif": ("Olympus OIF", "pip install bioio bioio-bioformats"),
    ".oir": ("Olympus OIR", "pip install bioio bioio-bioformats"),
    ".vsi": ("Olympus VSI", "pip install bioio bioio-bioformats"),
    ".ims": ("Imaris", "pip install bioio bioio-bioformats"),
    ".zvi": ("Zeiss ZVI", "pip install bioio bioio-bioformats"),
    ".lei": ("Leica LEI", "pip install bioio bioio-bioformats"),
    ".mrxs": ("3DHistech MRXS", "pip install bioio bioio-bioformats"),
}

_MADE_UP = re.compile(r"Channel:\d+:\d+")  # names that readers give to channels without one


def open_vendor(path: Path, scene: str | None = None) -> StoredImage:
    """Return what a vendor's file holds; see `cellbrook.io.open_image`."""
    return adapt(_bio_image(path), scene, str(path))


def vendor_scenes(path: Path) -> tuple[str, ...]:
    """Return the names of the scenes of a vendor's file."""
    return tuple(str(s) for s in _bio_image(path).scenes)


def _bio_image(path: Path) -> Any:
    kind, command = VENDOR_FORMATS[path.suffix.lower()]
    try:
        from bioio import BioImage
    except ImportError as error:
        raise ImageError(f"{path}: {kind} files need a further reader; install it with: {command}") from error
    try:
        return BioImage(path)
    except Exception as error:
        # bioio has exceptions of its own for a reader that is not installed and for one that fails
        if "Unsupported" in type(error).__name__ or isinstance(error, ImportError):
            raise ImageError(
                f"{path}: no installed reader takes this {kind} file; install one with: {command}"
            ) from error
        raise


def adapt(image: Any, scene: str | None, name: str) -> StoredImage:
    """Return a `bioio.BioImage`, or what looks like one, as a stored image.

    Parameters
    ----------
    image : BioImage
        Has ``scenes``, ``set_scene``, ``dims.order``, ``dask_data``, ``physical_pixel_sizes``,
        ``channel_names``.
    scene : str or None
        Number or name.
    name : str
        How messages call the file.
    """
    scenes = [str(s) for s in image.scenes]
    image.set_scene(pick_scene(scene, scenes, name))
    sizes = image.physical_pixel_sizes
    size = {axis: float(getattr(sizes, axis)) for axis in "ZYX" if getattr(sizes, axis, None)}
    if size.get("Y") == size.get("X") == 1.0:
        size = {}  # what readers say when the file says nothing; a pixel of exactly 1 um is rarer
    names = tuple("" if _MADE_UP.fullmatch(str(c)) else str(c) for c in (image.channel_names or ()))
    order = str(image.dims.order)
    level = _DaskLevel(image.dask_data)
    return StoredImage(
        levels=(level,),
        axes=order,
        pixel_size_um=size,
        channel_names=names,
        is_rgb="S" in order,
        alpha=1 if "S" in order and level.shape[order.index("S")] == 4 else 0,
        declared=(order, level.shape),
    )


class _DaskLevel:
    """A dask array as a stored array."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype: np.dtype[Any] = np.dtype(array.dtype)

    def __getitem__(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        return np.asarray(self._array[key])  # computes what is selected
