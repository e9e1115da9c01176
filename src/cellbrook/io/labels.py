"""Reading label images: our own, other programs', and Cellpose's ``_seg.npy`` (no code in it is run)."""

from __future__ import annotations

import contextlib
import io
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.axes import DROPPED, resolve_axes
from cellbrook.errors import AmbiguousAxesError, ImageError, UsageError
from cellbrook.io._raster import png_indices
from cellbrook.io._stored import reading
from cellbrook.io.open import open_image
from cellbrook.io.writers import as_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.io.source import Source


def read_labels(path: str | Path, *, axes: str | None = None) -> tuple[NDArray[np.uint32], str]:
    """Read a label image.

    Parameters
    ----------
    path : str or Path
        TIFF, PNG (of a palette that begins with black, the indices are the labels), .npy, an OME-Zarr folder that holds
        labels (itself, or under ``labels/``), or a ``_seg.npy`` of Cellpose.
    axes : str or None
        What the dimensions are. None: from the metadata; three dimensions of which nothing is known are ZYX,
        four TZYX, since labels have no channels.

    Returns
    -------
    labels : ndarray, uint32
        0 is background.
    axes : str
        Out of T, Z, Y, X, in this order.

    Raises
    ------
    ImageError
        If the file cannot be read, or holds fractions, negative numbers or colours.

    Examples
    --------
    >>> import tempfile
    >>> from cellbrook.io import write_labels
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_labels(f"{folder}/a_labels.tif", np.eye(3, dtype=int) * 7)
    ...     read_labels(f"{folder}/a_labels.tif")[1]
    'YX'
    """
    path = Path(path)
    if path.is_dir():
        return _from_source(_label_folder(path), axes, path)
    if path.suffix.lower() == ".npy":
        masks = _masks_of_seg(path)
        if masks is not None:
            labels = _checked(masks, path)
            found = resolve_axes(labels.shape, None, axes or _default_axes(labels.ndim), name=str(path))
            keep = tuple(0 if a == DROPPED else slice(None) for a in found.axes)
            return labels[keep], found.axes.replace(DROPPED, "")
    return _from_source(path, axes, path)


def pixel_size_of_labels(path: Path, *, axes: str | None = None) -> dict[str, float]:
    """Return micrometres a pixel for those of Z, Y, X of which a label image states them; `axes` as for `read_labels`."""
    if path.suffix.lower() == ".npy":
        return {}
    return _open(_label_folder(path) if path.is_dir() else path, axes).pixel_size_um


def _from_source(path: Path, axes: str | None, shown: Path) -> tuple[NDArray[np.uint32], str]:
    source = _open(path, axes)
    if "C" in source.axes:
        pixels = source.read()
        at = source.axes.index("C")
        indices = png_indices(path) if path.suffix.lower() == ".png" else None
        first = pixels.take(0, axis=at) if indices is None else indices
        # some programs save grey as three equal colours
        if indices is None and not (pixels == np.expand_dims(first, at)).all():
            raise ImageError(
                f"{shown}: has {source.shape[at]} channels, labels have one: is it a picture of the labels?"
            )
        return _checked(first, shown), source.axes.replace("C", "")
    return _checked(source.read(), shown), source.axes


def _open(path: Path, axes: str | None) -> Source:
    with contextlib.suppress(AmbiguousAxesError):
        return open_image(path, axes=axes)
    for candidate in ("ZYX", "TZYX"):
        try:
            return open_image(path, axes=candidate)
        except UsageError:
            continue
    raise ImageError(f"{path}: its dimensions are not those of labels: expected YX, ZYX or TZYX")


def _default_axes(ndim: int) -> str | None:
    return {3: "ZYX", 4: "TZYX"}.get(ndim)


def _checked(labels: NDArray[Any], path: Path) -> NDArray[np.uint32]:
    try:
        return as_labels(labels, str(path))
    except UsageError as error:
        raise ImageError(str(error)) from error


def _label_folder(path: Path) -> Path:
    """Return the folder that holds the labels: the one given, or the one image below its ``labels``."""
    below = path / "labels"
    if not below.is_dir():
        return path
    names = sorted(p.name for p in below.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(names) != 1:
        listed = ", ".join(names) or "none"
        raise ImageError(f"{path}: expected one label image under labels/, found {listed}; give its own path")
    return below / names[0]


def _masks_of_seg(path: Path) -> NDArray[Any] | None:
    """Return the masks of a ``_seg.npy``, None for a .npy file that is a plain array."""
    with reading(str(path)), path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            return None
        file.seek(0)
        version = np.lib.format.read_magic(file)
        read_header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        _, _, dtype = read_header(file)
        if not dtype.hasobject:
            return None
        content = _SafeUnpickler(io.BytesIO(file.read())).load()
        if isinstance(content, np.ndarray) and content.dtype == object and content.size == 1:
            content = content.item()
        if not isinstance(content, dict) or "masks" not in content:
            raise ImageError(f"{path}: holds Python objects, but no 'masks' as a _seg.npy does")
        return np.squeeze(np.asarray(content["masks"]))


class _Opaque:
    """Stands for objects of a ``_seg.npy`` that are not needed, such as paths; keeps and does nothing."""

    def __init__(self, *args: object) -> None:
        del args

    def __setstate__(self, state: object) -> None:
        del state


# Unpickling calls what it names, so it may name these only: they build arrays and have no other effect.
_ARRAY_BUILDERS = {
    ("multiarray", "_reconstruct"),
    ("multiarray", "scalar"),
    ("numeric", "_frombuffer"),
    ("", "ndarray"),
    ("", "dtype"),
}


class _SafeUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        root, _, rest = module.partition(".")
        if root == "numpy" and (rest.rpartition(".")[2], name) in _ARRAY_BUILDERS:
            if name == "_frombuffer":
                return _frombuffer
            if name in ("ndarray", "dtype"):
                return getattr(np, name)
            from numpy._core import multiarray

            return getattr(multiarray, name)
        if module == "_codecs" and name == "encode":  # how bytes are written by the oldest protocols
            return _encode_latin1
        if root == "pathlib":
            return _Opaque
        raise ImageError(f"the file names {module}.{name}, which a _seg.npy does not need: it is not opened")


def _frombuffer(buffer: Any, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _encode_latin1(text: str, encoding: str) -> bytes:
    del encoding
    return text.encode("latin1")
