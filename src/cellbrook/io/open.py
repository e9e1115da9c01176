"""Opening images: which format it is, what its axes are, one Source whatever it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.axes import DROPPED, resolve_axes
from cellbrook.errors import ImageError, UsageError
from cellbrook.io._bioio import VENDOR_FORMATS, open_vendor, vendor_scenes
from cellbrook.io._numpy import open_array, open_npy
from cellbrook.io._omezarr import is_zarr, open_zarr, zarr_scenes
from cellbrook.io._raster import open_raster
from cellbrook.io._stored import Stored, StoredImage, StoredSource, reading
from cellbrook.io._tiff import open_tiff, pick_scene, tiff_scenes
from cellbrook.io.source import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

Opener = Callable[[Path, str | None], StoredImage]
Scenes = Callable[[Path], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Format:
    opener: Opener
    scenes: Scenes | None = None


_TIFF = _Format(open_tiff, tiff_scenes)
_RASTER = _Format(open_raster)
_NPY = _Format(open_npy)
_ZARR = _Format(open_zarr, zarr_scenes)

# First bytes, because suffixes lie
_MAGIC: tuple[tuple[bytes, _Format], ...] = (
    (b"II*\0", _TIFF), (b"MM\0*", _TIFF), (b"II+\0", _TIFF), (b"MM\0+", _TIFF),
    (b"\x89PNG\r\n\x1a\n", _RASTER), (b"\xff\xd8\xff", _RASTER), (b"BM", _RASTER),
    (b"\x93NUMPY", _NPY),
)  # fmt: skip

_SUFFIXES: dict[str, _Format] = {
    **dict.fromkeys((".tif", ".tiff", ".lsm", ".stk", ".svs", ".ndpi", ".scn", ".qptiff", ".flex"), _TIFF),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".bmp"), _RASTER),
    ".npy": _NPY,
    **dict.fromkeys(VENDOR_FORMATS, _Format(open_vendor, vendor_scenes)),
}
_OURS = frozenset(_SUFFIXES)


def register(suffixes: str | tuple[str, ...], opener: Opener, scenes: Scenes | None = None) -> None:
    """Teach `open_image` a file format, or replace how it reads one.

    Parameters
    ----------
    suffixes : str or tuple of str
        Endings of file names, such as ".xyz", in any case.
    opener : callable
        ``opener(path, scene)`` returns a `StoredImage`. Whatever it raises reaches users as one `ImageError`.
    scenes : callable or None
        ``scenes(path)`` returns the names of a file's scenes, where it can have several.
    """
    for suffix in (suffixes,) if isinstance(suffixes, str) else suffixes:
        if not suffix.startswith("."):
            raise UsageError(f"a suffix starts with a dot, got {suffix!r}")
        _SUFFIXES[suffix.lower()] = _Format(opener, scenes)


def known_suffixes() -> tuple[str, ...]:
    """Return the endings of files that `open_image` takes, in lower case; OME-Zarr folders come on top."""
    return tuple(_SUFFIXES)


def open_image(
    source: str | Path | NDArray[Any] | Source,
    *,
    axes: str | None = None,
    pixel_size: float | None = None,
    scene: str | int | None = None,
) -> Source:
    """Open an image; its pixels are read when they are asked for.

    Parameters
    ----------
    source : str, Path or ndarray
        A file (TIFF, OME-TIFF, ImageJ TIFF, PNG, JPEG, BMP, .npy; nd2, dv, czi, lif with the ``bioio`` extras), an
        OME-Zarr folder, or an array of any type from bool to float64.
    axes : str or None
        What the dimensions are, a letter each out of T, C, Z, Y, X (and S for RGB samples). None: from the
        metadata.
    pixel_size : float or None
        Side of a pixel in micrometres. None: from the metadata.
    scene : str, int or None
        Number from 0 or name of a scene of a file that holds several.

    Returns
    -------
    Source

    Raises
    ------
    ImageError
        If the file is missing, empty, truncated, of an unknown kind, or holds no real numbers.
    AmbiguousAxesError
        If neither metadata nor `axes` say what the dimensions are.
    UsageError
        If `axes`, `pixel_size` or `scene` do not fit the image.

    Examples
    --------
    >>> import numpy as np
    >>> image = open_image(np.zeros((2, 64, 48), np.uint16), axes="CYX")
    >>> image.axes, image.read({"C": 1, "Y": slice(0, 8)}).shape
    ('CYX', (8, 48))
    """
    if pixel_size is not None and not (math.isfinite(pixel_size) and pixel_size > 0):
        raise UsageError(f"pixel_size must be a positive number of micrometres, got {pixel_size}")
    scene = None if scene is None else str(scene)
    if isinstance(source, str | Path):
        path = Path(source)
        name = str(source)
        found = _format_of(path)
        with reading(name):
            if found.scenes is None:
                pick_scene(scene, ["0"], name)
            stored = found.opener(path, scene)
    elif isinstance(source, Source):
        if axes is None and pixel_size is None and scene is None:
            return source
        raise UsageError("axes, pixel_size and scene belong to the first opening, this image is open already")
    elif hasattr(source, "__array__"):
        name = "array"
        with reading(name):
            stored = open_array(source)
    else:
        raise UsageError(f"expected a path or an array, got {type(source).__name__}")
    return _settle(stored, name, axes, pixel_size)


def scenes(path: str | Path) -> tuple[str, ...]:
    """Return the names of the scenes of a file, their number from 0 where they have none; one for most files.

    Raises
    ------
    ImageError
        If the file cannot be read.
    """
    path = Path(path)
    found = _format_of(path)
    if found.scenes is None:
        return ("0",)
    with reading(str(path)):
        return found.scenes(path)


def settle_scene(path: str | Path, scene: str | None) -> tuple[str | None, str | None]:
    """Return the number, from 0, and the name of a scene that is given by either; two None where a file has but one.

    Raises
    ------
    ImageError
        If the file cannot be read.
    UsageError
        If the file has no such scene.
    """
    if scene is None:  # opening says whether it is the only one
        return None, None
    names = scenes(path)
    number = pick_scene(scene, list(names), str(path))
    return (str(number), names[number]) if len(names) > 1 else (None, None)


def meant_scenes(path: str | Path, wish: str | None) -> list[tuple[str | None, str | None]]:
    """Return what `settle_scene` does of each scene that is meant: of every one if "all" is wished for.

    Raises
    ------
    ImageError
        If the file cannot be read.
    UsageError
        If the file has no such scene.
    """
    if wish != "all":
        return [settle_scene(path, wish)]
    names = scenes(path)
    return [(str(n), name) for n, name in enumerate(names)] if len(names) > 1 else [(None, None)]


def _format_of(path: Path) -> _Format:
    suffix = path.suffix.lower()
    with reading(str(path)):
        if path.is_dir():
            if is_zarr(path):
                return _ZARR
            if suffix == ".zarr":
                raise ImageError(f"{path}: not an OME-Zarr image: neither zarr.json nor .zgroup is in it")
            raise ImageError(f"{path}: a folder, not an image")
        if path.is_symlink() and not path.exists():
            raise ImageError(f"{path}: a link to a file that does not exist")
        with path.open("rb") as file:
            head = file.read(16)
    if not head:
        raise ImageError(f"{path}: empty (0 bytes)")
    given = _SUFFIXES.get(suffix)
    if given is not None and (suffix not in _OURS or given.opener is open_vendor):
        return given
    if given is not None and given not in (_TIFF, _RASTER, _NPY):
        return given  # replaced by `register`
    for magic, found in _MAGIC:
        if head.startswith(magic):
            return found
    if given is not None:
        raise ImageError(f"{path}: not a {suffix[1:].upper()} file, though it is called so: is it damaged?")
    raise ImageError(
        f"{path}: not an image that Cellbrook knows: expected TIFF, PNG, JPEG, BMP, .npy, OME-Zarr "
        f"or a microscope's format ({', '.join(sorted(s[1:] for s in VENDOR_FORMATS))})"
    )


def _settle(stored: StoredImage, name: str, user_axes: str | None, pixel_size: float | None) -> StoredSource:
    first = stored.levels[0]
    shape, kind = tuple(first.shape), first.dtype
    if kind.kind == "c":
        raise ImageError(f"{name}: complex pixels ({kind}): give their absolute value, or one part of them")
    if kind.kind not in "buif" or kind.itemsize > 8:
        raise ImageError(f"{name}: pixels of type {kind}: expected bool, integers or floats of up to 64 bits")
    if 0 in shape:
        raise ImageError(f"{name}: no pixels in it, its shape is {shape}")
    if user_axes is not None:
        user_axes = _without_declared_ones(user_axes, stored, shape)
    told = user_axes is not None or "S" in (stored.axes or "")
    opaque = not told and shape[-1] == 4 and kind == np.uint8 and _is_opaque(first)
    resolved = resolve_axes(shape, stored.axes, user_axes, kind=kind.name, opaque=opaque, name=name)
    axes, notes = resolved.axes, [*stored.notes, *resolved.notes]
    lengths = dict(zip(axes, shape, strict=True))
    if user_axes is None and stored.axes is not None:
        # Dimensions of length 1 that a file declares say nothing
        axes = "".join(DROPPED if a in "TCZS" and n == 1 else a for a, n in zip(axes, shape, strict=True))
    for weak, strong in (("C", "S"), ("S", "C")):
        if weak in axes and strong in axes and lengths[weak] == 1:
            axes = axes.replace(weak, DROPPED)
    if "C" in axes and "S" in axes:
        raise ImageError(
            f"{name}: {lengths['C']} channels of {lengths['S']} colour samples each: split them first"
        )
    letter = "S" if "S" in axes else "C"
    count = lengths[letter] if letter in axes else 1
    alpha = _alpha(stored, axes, count)
    if alpha:
        notes.append("dropped the alpha channel")
        count -= alpha
        if count == 1:
            axes = axes.replace("S", DROPPED)  # grey with alpha: only its first sample is read
    # "S" that the user or the shape says is colour; a file says itself whether its samples are
    says = stored.is_rgb if stored.axes is not None and "S" in stored.axes else "S" in axes
    is_rgb = count == 3 and says
    size = dict(stored.pixel_size_um)
    if pixel_size is not None:
        size |= {"Y": float(pixel_size), "X": float(pixel_size)}
    elif not {"Y", "X"} <= size.keys():
        size = {}
    return StoredSource(
        name=name,
        stored=tuple(stored.levels),
        stored_axes=axes,
        pixel_size_um=size,
        channel_names=_channel_names(stored.channel_names, count, is_rgb),
        is_rgb=is_rgb,
        notes=tuple(notes),
        channels=count if alpha and count > 1 else None,
        declared=_declared(stored) if user_axes is None else None,
    )


def _without_declared_ones(user_axes: str, stored: StoredImage, shape: tuple[int, ...]) -> str:
    """Return the user's axes without those that the file declares of length 1 and the reader left out."""
    if stored.declared is None or len(user_axes) == len(shape):
        return user_axes
    lengths = [n for a, n in zip(*stored.declared, strict=True) if not (a == "S" and n == 1)]
    if len(lengths) != len(user_axes):
        return user_axes
    kept = "".join(a for a, n in zip(user_axes, lengths, strict=True) if n != 1)
    return kept if len(kept) == len(shape) else user_axes


def _is_opaque(stored: Stored) -> bool:
    """Tell whether the last of four samples is what a picture has as its alpha where nothing shines through."""
    last = stored[(*(slice(0, n) for n in stored.shape[:-1]), 3)]
    return bool((np.asarray(last) == 255).all())


def _alpha(stored: StoredImage, axes: str, count: int) -> int:
    """Return how many of the samples are transparency."""
    if "S" not in axes:
        return 0
    if stored.axes is not None and "S" in stored.axes:
        return stored.alpha
    return int(count in (2, 4))


def _channel_names(names: tuple[str, ...], count: int, is_rgb: bool) -> tuple[str, ...]:
    if is_rgb:
        return ("red", "green", "blue")
    if len(names) != count:
        return tuple(str(i) for i in range(count))
    filled = [n.strip() or str(i) for i, n in enumerate(names)]
    # two channels of one name could not be told apart by name
    return tuple(f"{n} ({i})" if filled.count(n) > 1 else n for i, n in enumerate(filled))


def _declared(stored: StoredImage) -> tuple[str, tuple[int, ...]] | None:
    """Return the axes as the file declares them, where there is more than one plane to tell of."""
    if stored.declared is None or any(a not in "TCZYXS" for a in stored.declared[0]):
        return None
    lengths = dict(zip(*stored.declared, strict=True))
    if all(lengths.get(a, 1) == 1 for a in "TCZ") or lengths.get("S", 1) > 1:
        return None
    order = [a for a in "TCZYX" if a in lengths]
    return "".join(order), tuple(int(lengths[a]) for a in order)
