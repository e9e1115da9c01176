"""A Source over any stored array: axes put in order, alpha left out, errors in our own words."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cellbrook.core.axes import CANONICAL, DROPPED
from cellbrook.core.memory import free_memory
from cellbrook.errors import CellbrookError, ImageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from cellbrook.io.source import Selection


class Stored(Protocol):
    """An array in a file (or in memory) as it lies there, read by basic indexing."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __getitem__(self, key: tuple[int | slice, ...], /) -> Any: ...


@dataclass(frozen=True, slots=True)
class StoredImage:
    """What an opener found: arrays, and what their file says of them. Nothing is guessed here.

    Parameters
    ----------
    levels : tuple of Stored
        The pyramid, finest first, all with the same axes.
    axes : str or None
        A letter each dimension, "?" (or any letter but T, C, Z, Y, X, S) where the file does not say.
    pixel_size_um : dict of str to float
        For those of Z, Y, X that are known.
    channel_names : tuple of str
        Empty where the file names none.
    is_rgb : bool
        True if the samples, or the three channels, are known to be red, green and blue.
    alpha : int
        How many of the last samples are transparency.
    notes : tuple of str
        What the user should know.
    declared : tuple of (str, tuple of int) or None
        Axes and shape as the file declares them, those of length 1 included, for showing.
    """

    levels: tuple[Stored, ...]
    axes: str | None
    pixel_size_um: dict[str, float] = field(default_factory=dict)
    channel_names: tuple[str, ...] = ()
    is_rgb: bool = False
    alpha: int = 0
    notes: tuple[str, ...] = ()
    declared: tuple[str, tuple[int, ...]] | None = None


@dataclass(frozen=True)
class StoredSource:
    """Implements `Source` over stored arrays whose axes are settled.

    Parameters
    ----------
    name, pixel_size_um, channel_names, is_rgb, notes
        As in `Source`.
    stored : tuple of Stored
        The pyramid, finest first.
    stored_axes : str
        As `ResolvedAxes.axes`. S and C cannot both be longer than 1.
    channels : int or None
        How many of the stored samples are kept. None: all.
    declared : tuple of (str, tuple of int) or None
        As in `StoredImage`, in the order T, C, Z, Y, X.
    """

    name: str
    stored: tuple[Stored, ...]
    stored_axes: str
    pixel_size_um: dict[str, float] = field(default_factory=dict)
    channel_names: tuple[str, ...] = ()
    is_rgb: bool = False
    notes: tuple[str, ...] = ()
    channels: int | None = None
    declared: tuple[str, tuple[int, ...]] | None = None

    @property
    def axes(self) -> str:
        """Axes of the image, in the order T, C, Z, Y, X."""
        present = self.stored_axes.replace("S", "C")
        return "".join(a for a in CANONICAL if a in present)

    @property
    def shape(self) -> tuple[int, ...]:
        """Length along each axis."""
        return self.levels[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels, in native byte order."""
        return self.stored[0].dtype.newbyteorder("=")

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """Shape of each level of the pyramid."""
        return tuple(self._level_shape(s) for s in self.stored)

    def _level_shape(self, stored: Stored) -> tuple[int, ...]:
        lengths = dict(zip(self.stored_axes.replace("S", "C"), stored.shape, strict=True))
        if self.channels is not None:
            lengths["C"] = self.channels
        return tuple(int(lengths[a]) for a in self.axes)

    def read(self, selection: Selection | None = None, level: int = 0) -> NDArray[Any]:
        """Return the pixels of a selection; see `Source.read`."""
        if not -len(self.stored) <= level < len(self.stored):
            raise UsageError(f"{self.name} has {len(self.stored)} levels, there is no level {level}")
        stored = self.stored[level]
        lengths = dict(zip(self.axes, self._level_shape(stored), strict=True))
        wanted: dict[str, int | slice] = {a: slice(0, n) for a, n in lengths.items()}
        for axis, part in (selection or {}).items():
            if axis not in lengths:
                raise UsageError(f"{self.name} has axes {self.axes}, there is no {axis!r}")
            wanted[axis] = _normalise(part, lengths[axis], axis, self.name)
        stored_axes = self.stored_axes.replace("S", "C")
        key = tuple(0 if a == DROPPED else wanted[a] for a in stored_axes)
        remaining = [a for a, k in zip(stored_axes, key, strict=True) if isinstance(k, slice)]
        count = 1
        for k in key:
            if isinstance(k, slice):
                count *= len(range(k.start, k.stop, k.step or 1))
        if not isinstance(stored, np.ndarray) or isinstance(stored, np.memmap):
            check_memory(count * stored.dtype.itemsize, self.name)
        with reading(self.name):
            array = np.asarray(stored[key])
            order = [remaining.index(a) for a in self.axes if a in remaining]
            array = array.transpose(order) if order else array
            return array.astype(array.dtype.newbyteorder("="), copy=False)


def _normalise(part: int | slice, length: int, axis: str, name: str) -> int | slice:
    if isinstance(part, slice):
        start, stop, step = part.indices(length)
        if step < 1:
            raise UsageError(f"slices of an image must have a positive step, got {step} for {axis}")
        return slice(start, max(start, stop), step)
    index = int(part)
    if not -length <= index < length:
        raise UsageError(f"{name} has {length} along {axis}, there is no index {index}")
    return index % length


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into one line of ours.

    Decoders of damaged files raise nearly anything (struct.error, zlib.error, KeyError, IndexError, codec
    classes of their own), so every `Exception` is meant here. KeyboardInterrupt passes.
    """
    try:
        yield
    except CellbrookError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file") from error
    except PermissionError as error:
        raise ImageError(f"{name}: no permission to read it") from error
    except MemoryError as error:
        raise ImageError(f"{name}: not enough memory to read it") from error
    except Exception as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(
            f"{name}: cannot be read, it is damaged or not what it seems ({detail[:200]})"
        ) from error


def check_memory(nbytes: int, name: str) -> None:
    """Refuse to read what does not fit, before anything is allocated.

    Raises
    ------
    ImageError
        If more bytes are needed than are free.
    """
    if nbytes < 2**26:  # not worth asking
        return
    free = free_memory()
    if free is not None and nbytes > free:
        raise ImageError(
            f"{name}: needs {nbytes / 2**30:.3g} GiB of memory at once and {free / 2**30:.3g} GiB are free: "
            "read it in parts, or crop or shrink it"
        )
