"""Pixels of any source as tiles of 512 x 512, for a page that zooms and pans.

A page wants 8 or 16 bits, coarse levels by striding and one range of values an image, whatever lies in the file.
Small planes are decoded once and kept (a PNG cannot be read in parts); large ones are read by region, and their coarse
levels are made once, band by band.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from cellbrook.normalize import widened_to_few_objects
from cellbrook.server.messages import TILE, ChannelInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from numpy.typing import NDArray

    from cellbrook.io.source import Source

log = logging.getLogger(__name__)

_WHOLE = 96 * 2**20  # bytes of a plane (all channels) up to which it is decoded once and kept
_KEPT = 512 * 2**20
_SAMPLE = 2**22  # pixels of a channel that are looked at for its range
_OVERVIEW = 3  # level that is made once for a large image without a pyramid
_STAINS = (
    ("#4d80ff", ("dapi", "hoechst", "nuc", "405", "draq", "h2b")),
    ("#1fe07a", ("gfp", "fitc", "488", "green", "calcein")),
    ("#ff4d4d", ("rfp", "tritc", "mcherry", "568", "594", "red", "texas")),
    ("#ff5cf0", ("cy5", "647", "magenta", "far")),
    ("#ffe14d", ("yfp", "514", "yellow")),
    ("#40e0ff", ("cfp", "cyan")),
    ("#ffffff", ("bright", "phase", "dic", "trans", "gr")),
)
_OTHERS = (
    "#1fe07a",
    "#ff5cf0",
    "#4d80ff",
    "#ffe14d",
    "#ff4d4d",
    "#40e0ff",
)  # green and magenta first: both eyes see it
_RANGE = (0.5, 99.8)  # percentiles shown from black to full colour at first


def channel_colors(names: Sequence[str], *, is_rgb: bool = False) -> list[str]:
    """Return a colour for each channel as "#rrggbb": white alone, a stain's own by its name, else green, magenta ...

    Examples
    --------
    >>> channel_colors(["0"]), channel_colors(["DAPI", "GFP"])
    (['#ffffff'], ['#4d80ff', '#1fe07a'])
    """
    if is_rgb:
        return ["#ff0000", "#00ff00", "#0000ff"]
    if len(names) <= 1:
        return ["#ffffff"]
    found: list[str | None] = [
        next((color for color, words in _STAINS if any(w in name.lower() for w in words)), None)
        for name in names
    ]
    free = [c for c in _OTHERS if c not in found] or list(_OTHERS)
    rest = iter(range(len(names)))
    return [color or free[next(rest) % len(free)] for color in found]


class Sized(Protocol):
    """What knows how many bytes it takes."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""


K = TypeVar("K", bound=Sized)


class Kept:
    """What was costly to make, the latest used up to a number of bytes; each is made by one thread at a time."""

    def __init__(self, limit: int = _KEPT) -> None:
        self._limit = limit
        self._items: OrderedDict[Hashable, Any] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], K]) -> K:
        """Return what is kept under a key, made now if it is not."""
        found: K
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
                found = self._items[key]
                return found
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._items:
                    found = self._items[key]
                    return found
            made = make()
            with self._lock:
                self._items[key] = made
                self._making.pop(key, None)
                while len(self._items) > 1 and sum(a.nbytes for a in self._items.values()) > self._limit:
                    self._items.popitem(last=False)
            return made

    def drop(self, belongs: Callable[[Hashable], bool]) -> None:
        """Forget the keys that `belongs` says."""
        with self._lock:
            for key in [k for k in self._items if belongs(k)]:
                del self._items[key]


@dataclass(frozen=True, slots=True)
class Coding:
    """How raw values travel: ``raw = sent * scale + offset``.

    Parameters
    ----------
    bits : int
        8 or 16.
    scale, offset : float
        Of the whole image.
    """

    bits: int
    scale: float
    offset: float

    @classmethod
    def of(cls, dtype: np.dtype[Any], low: float, high: float) -> Coding:
        """Return the coding for pixels of a type whose values are between two numbers; all of a small type's own."""
        if dtype.kind == "b":
            return cls(8, 1.0, 0.0)
        if _is_small(dtype):
            return cls(8 * dtype.itemsize, 1.0, float(np.iinfo(dtype).min))
        if dtype.kind in "iu" and high - low <= 65535:
            return cls(8 if high - low <= 255 else 16, 1.0, low)
        return cls(16, (high - low) / 65535 if high > low else 1.0, low)

    def encode(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return pixels as they are sent; values beyond the range are cut to it, what is not finite to its low end."""
        sent = np.uint8 if self.bits == 8 else np.dtype("<u2")
        if (
            self.scale == 1
            and self.offset == 0
            and pixels.dtype.kind in "bu"
            and pixels.dtype.itemsize <= self.bits // 8
        ):
            return pixels.astype(sent, copy=False)
        values = (pixels.astype(np.float64) - self.offset) / self.scale
        top = 2**self.bits - 1
        return np.clip(np.rint(np.nan_to_num(values, nan=0.0, posinf=top, neginf=0.0)), 0, top).astype(sent)


def _finite(sample: NDArray[Any]) -> NDArray[Any]:
    """Return the finite values of a sample."""
    values = sample.ravel()
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values.astype(np.int64)


def _is_small(dtype: np.dtype[Any]) -> bool:
    """Return whether every value of a type can be sent."""
    return dtype.kind in "biu" and dtype.itemsize <= 2


def read_plane(
    source: Source, plane: int, projection: str | None, region: Mapping[str, slice] | None = None
) -> NDArray[Any]:
    """Return the raw pixels of a plane as the project sees it.

    Parameters
    ----------
    source : Source
        The image.
    plane : int
        T and Z flattened; of a stack that is projected, T alone.
    projection : str or None
        "max", "mean" or a plane's number: of each stack this one picture. Says nothing where there is no Z.
    region : mapping of str to slice or None
        Of "Y" and "X". None: all.

    Returns
    -------
    ndarray of shape (C, Y, X)
    """
    pixels: NDArray[Any] = source.read({**_place(source, plane, projection), **(region or {})})
    if "C" not in source.axes:
        pixels = pixels[None]
    if "Z" not in source.axes or projection not in ("max", "mean"):
        return pixels
    pixels = pixels.max(axis=1) if projection == "max" else pixels.mean(axis=1, dtype=np.float32)
    return pixels


def _place(source: Source, plane: int, projection: str | None) -> dict[str, int | slice]:
    """Return where in T and Z a plane lies; without Z if all of it is projected."""
    sizes = dict(zip(source.axes, source.shape, strict=True))
    t, z = (plane, projection) if projection else divmod(plane, sizes.get("Z", 1))
    place = {"T": t} if z in ("max", "mean") else {"T": t, "Z": int(z)}
    return {a: i for a, i in place.items() if a in source.axes}


class ImagePixels:
    """The pixels of one open image.

    Parameters
    ----------
    key : str
        What tells the image from others in `kept`.
    source : Source
        The image.
    kept : Kept
        Shared by all images.
    projection : str or None
        "max", "mean" or a plane's number: the stack is shown as this one picture, as the project segments it.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns.
    z, t, channel_count, levels : int
        Sizes; `levels` halve until an image fits one tile.
    """

    def __init__(self, key: str, source: Source, kept: Kept, projection: str | None = None) -> None:
        self._key, self._source, self._kept = key, source, kept
        self._projection = projection if "Z" in source.axes else None
        sizes = dict(zip(source.axes, source.shape, strict=True))
        self.shape = (sizes["Y"], sizes["X"])
        self.z, self.t = 1 if self._projection else sizes.get("Z", 1), sizes.get("T", 1)
        self.channel_count = sizes.get("C", 1)
        self.levels = 1 + max(0, math.ceil(math.log2(max(self.shape) / TILE)))
        self._lock = threading.Lock()
        self._channels: list[ChannelInfo] | None = None
        self._coding: Coding | None = None
        plane_bytes = math.prod(self.shape) * self.channel_count * source.dtype.itemsize
        self._whole = plane_bytes <= _WHOLE or self._projection is not None

    @property
    def pixel_size_um(self) -> tuple[float, float] | None:
        """Size of a pixel as (y, x), where it is known."""
        size = self._source.pixel_size_um
        return (size["Y"], size["X"]) if {"Y", "X"} <= size.keys() else None

    @property
    def planes(self) -> int:
        """Planes of T and Z, flattened."""
        return self.z * self.t

    @property
    def coding(self) -> Coding:
        """How its values are sent."""
        self.channels()
        assert self._coding is not None
        return self._coding

    def channels(self) -> list[ChannelInfo]:
        """Return names, colours and ranges of the channels; looks at the pixels once."""
        with self._lock:
            if self._channels is None:
                self._channels, self._coding = self._look()
            return self._channels

    def tile(self, level: int, plane: int, channel: int, ty: int, tx: int) -> NDArray[Any] | None:
        """Return a tile as it is sent, zero beyond the image's edge.

        Returns
        -------
        ndarray of shape (512, 512), uint8 or little-endian uint16, or None
            None if the image has no such tile.
        """
        step = 2**level
        rows, cols = (-(-n // step) for n in self.shape)
        y, x = ty * TILE, tx * TILE
        inside = 0 <= level < self.levels and 0 <= plane < self.planes and 0 <= channel < self.channel_count
        if not inside or not (0 <= y < rows and 0 <= x < cols):
            return None
        pixels = self._strided(plane, channel, level, y, x, min(y + TILE, rows), min(x + TILE, cols))
        sent = self.coding.encode(pixels)
        if sent.shape == (TILE, TILE):
            return np.ascontiguousarray(sent)
        full = np.zeros((TILE, TILE), sent.dtype)
        full[: sent.shape[0], : sent.shape[1]] = sent
        return full

    def section(self, t: int, box: tuple[int, int, int, int], channels: Sequence[int]) -> NDArray[Any]:
        """Return what a cut through the planes of a time point shows, as it is sent.

        Parameters
        ----------
        t : int
            Time point.
        box : (y0, x0, y1, x1)
            Half-open: one row, or one column.
        channels : sequence of int
            Whose pixels.

        Returns
        -------
        ndarray of shape (C, Z, X) or (C, Z, Y), uint8 or little-endian uint16
        """
        planes = range(t * self.z, (t + 1) * self.z)
        lines = [[self._strided(p, c, 0, *box).ravel() for p in planes] for c in channels]
        return self.coding.encode(np.array(lines).reshape(len(channels), self.z, -1))

    def window(self, plane: int, box: tuple[int, int, int, int]) -> NDArray[np.float32]:
        """Return a window of a plane, its channels stretched to their ranges and averaged, (Y, X)."""
        y0, x0, y1, x1 = box
        total = np.zeros((y1 - y0, x1 - x0), np.float32)
        for channel in self.channels():
            pixels = self._strided(plane, channel.index, 0, y0, x0, y1, x1).astype(np.float32)
            total += (np.nan_to_num(pixels) - channel.low) / (channel.high - channel.low or 1.0)
        total /= self.channel_count
        return total

    def small(self, side: int = 128) -> NDArray[np.uint8]:
        """Return the first plane as a picture of at most `side` pixels across, (Y, X, 3), in its channels' colours."""
        level = 0
        while max(self.shape) / 2 ** (level + 1) >= side and level + 1 < self.levels:
            level += 1
        step = max(1, math.ceil(max(self.shape) / 2**level / side))
        out: NDArray[np.float32] | None = None
        for channel in self.channels():
            rows, cols = (-(-n // 2**level) for n in self.shape)
            pixels = self._strided(self.planes // 2, channel.index, level, 0, 0, rows, cols)[::step, ::step]
            span = channel.high - channel.low or 1.0
            light = np.clip(np.nan_to_num((pixels.astype(np.float32) - channel.low) / span), 0, 1)
            color = np.array([int(channel.color[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
            added = light[..., None] * color
            out = added if out is None else out + added
        assert out is not None
        return np.clip(out, 0, 255).astype(np.uint8)

    def _strided(
        self, plane: int, channel: int, level: int, y0: int, x0: int, y1: int, x1: int
    ) -> NDArray[Any]:
        """Return raw pixels of a region, in pixels of a level."""
        if self._whole:
            whole = self._kept.get((self._key, "plane", plane), lambda: self._read_plane(plane))
            step = 2**level
            return whole[channel, y0 * step : y1 * step : step, x0 * step : x1 * step : step]
        stored = self._stored_level(level)
        if stored is None and level > _OVERVIEW:
            coarse = self._kept.get(
                (self._key, "overview", plane, channel), lambda: self._overview(plane, channel)
            )
            step = 2 ** (level - _OVERVIEW)
            return coarse[y0 * step : y1 * step : step, x0 * step : x1 * step : step]
        number, step = stored or (0, 2**level)
        sizes = dict(zip(self._source.axes, self._source.levels[number], strict=True))
        region = {
            "Y": slice(y0 * step, min(y1 * step, sizes["Y"]), step),
            "X": slice(x0 * step, min(x1 * step, sizes["X"]), step),
        }
        return self._source.read({**self._index(plane, channel), **region}, level=number)

    def _stored_level(self, level: int) -> tuple[int, int] | None:
        """Return the coarsest stored level that is fine enough, and the step that is left; None if only the first is."""
        found = None
        for number, shape in enumerate(self._source.levels[1:], 1):
            factor = self.shape[0] / dict(zip(self._source.axes, shape, strict=True))["Y"]
            power = round(math.log2(factor)) if factor >= 1 else -1
            if 0 < power <= level and abs(factor - 2**power) < 0.1 * factor:
                found = (number, 2 ** (level - power))
        return found

    def raw(self, plane: int) -> NDArray[Any]:
        """Return the raw pixels of a plane, (C, Y, X); not to be written to."""
        if self._whole:
            return self._kept.get((self._key, "plane", plane), lambda: self._read_plane(plane))
        return self._read_plane(plane)

    def _read_plane(self, plane: int) -> NDArray[Any]:
        return read_plane(self._source, plane, self._projection)

    def _overview(self, plane: int, channel: int) -> NDArray[Any]:
        step, band = 2**_OVERVIEW, 2**_OVERVIEW * 128
        rows = [
            self._source.read({**self._index(plane, channel), "Y": slice(y, min(y + band, self.shape[0]))})[
                ::step, ::step
            ]
            for y in range(0, self.shape[0], band)
        ]
        return np.concatenate(rows)

    def _index(self, plane: int, channel: int) -> dict[str, int | slice]:
        place = _place(self._source, plane, self._projection)
        return {**place, "C": channel} if "C" in self._source.axes else place

    def _look(self) -> tuple[list[ChannelInfo], Coding]:
        """Return channels and coding from a sample of the pixels."""
        source = self._source
        colors = channel_colors(
            source.channel_names or [str(i) for i in range(self.channel_count)], is_rgb=source.is_rgb
        )
        samples = [self._sample(c, self.planes // 2) for c in range(self.channel_count)]
        finite = [_finite(sample) for sample in samples]
        ends = [self._ends(c, values) for c, values in enumerate(finite)]
        coding = Coding.of(source.dtype, min(e[0] for e in ends), max(e[1] for e in ends))
        channels = []
        for c, (sample, values, (least, most)) in enumerate(zip(samples, finite, ends, strict=True)):
            if source.is_rgb and source.dtype == np.uint8:
                low, high = 0.0, 255.0
            elif values.size:
                low, high = (float(v) for v in np.percentile(values, _RANGE))
            else:
                low, high = 0.0, 1.0
            if high <= low:
                low, high = least, max(most, least + coding.scale)
            elif not source.is_rgb:
                low, high = widened_to_few_objects(sample, low, high)
            name = source.channel_names[c] if c < len(source.channel_names) else str(c)
            channels.append(
                ChannelInfo(
                    index=c, name=name, color=colors[c], low=low, high=high, min=least, max=max(most, high)
                )
            )
        return channels, coding

    def _ends(self, channel: int, middle: NDArray[Any]) -> tuple[float, float]:
        """Return the ends of a channel: of its middle plane's values, and of others where they decide the coding."""
        samples = [middle]
        if not _is_small(self._source.dtype):
            others = {round(share * (self.planes - 1)) for share in (0, 0.25, 0.75, 1)} - {self.planes // 2}
            samples += [_finite(self._sample(channel, plane)) for plane in sorted(others)]
        ends = [float(end) for s in samples if s.size for end in (s.min(), s.max())] or [0.0]
        return min(ends), max(ends)

    def _sample(self, channel: int, plane: int) -> NDArray[Any]:
        """Return a channel of a plane, (Y, X): all of it, or blocks from all over it below each other."""
        if self._whole:
            values = self._strided(plane, channel, 0, 0, 0, *self.shape)
            step = max(1, math.isqrt(values.size // _SAMPLE))
            return values[::step, ::step]
        side, grid = 256, 6
        ys = np.linspace(0, max(0, self.shape[0] - side), grid).astype(int)
        xs = np.linspace(0, max(0, self.shape[1] - side), grid).astype(int)
        region = [
            self._source.read(
                {**self._index(plane, channel), "Y": slice(y, y + side), "X": slice(x, x + side)}
            )
            for y in ys.tolist()
            for x in xs.tolist()
        ]
        return np.concatenate(region)
