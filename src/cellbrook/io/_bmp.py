"""BMP, decoded here: what reads it elsewhere trusts its header, and a damaged one can end the process."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_PLAIN, _BITFIELDS, _ALPHA_BITFIELDS = 0, 3, 6
_USUAL_MASKS = {16: (0x7C00, 0x03E0, 0x001F, 0), 32: (0xFF0000, 0x00FF00, 0x0000FF, 0)}


@dataclass(frozen=True, slots=True)
class BmpHeader:
    """What the header of a BMP file says.

    Parameters
    ----------
    height, width : int
        In pixels.
    top_down : bool
        True if the first stored row is the top one.
    bits : int
        A pixel: 1, 4, 8 (indices into `palette`), 16, 24 or 32.
    offset : int
        Where the pixels begin.
    palette : ndarray of shape (n, 3), uint8
        RGB.
    masks : tuple of int
        Bits of red, green, blue and alpha in 16 and 32-bit pixels; 0 is none.
    """

    height: int
    width: int
    top_down: bool
    bits: int
    offset: int
    palette: NDArray[np.uint8]
    masks: tuple[int, ...]

    @property
    def is_grey(self) -> bool:
        """True if every colour of the palette is a grey."""
        return self.bits <= 8 and bool((self.palette == self.palette[:, :1]).all())

    @property
    def shape(self) -> tuple[int, ...]:
        """(Y, X) or (Y, X, S) of the decoded picture."""
        if self.is_grey:
            return self.height, self.width
        return self.height, self.width, 4 if self.masks[3] else 3


def read_header(path: Path) -> BmpHeader:
    """Read and check the header of a BMP file.

    Raises
    ------
    ImageError
        If it is damaged, of a kind not supported, or the file is too short for its pixels.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(2048)
    if len(head) < 54:
        raise ImageError(f"{path}: truncated, its BMP header is not complete")
    offset, header_size, width, height = struct.unpack("<IIii", head[10:26])
    bits, compression = struct.unpack("<HI", head[28:34])
    colours = struct.unpack("<I", head[46:50])[0]
    if header_size < 40 or header_size > 256 or width <= 0 or height == 0:
        raise ImageError(
            f"{path}: its BMP header is damaged or older than Windows 3 (size {width} x {height})"
        )
    if bits not in (1, 4, 8, 16, 24, 32) or compression not in (_PLAIN, _BITFIELDS, _ALPHA_BITFIELDS):
        raise ImageError(
            f"{path}: a BMP of {bits} bits a pixel, packed as {compression}: save it as PNG or TIFF"
        )
    masks = _USUAL_MASKS.get(bits, (0, 0, 0, 0))
    if compression != _PLAIN and bits in (16, 32):
        count = 4 if header_size >= 56 or compression == _ALPHA_BITFIELDS else 3
        masks = (*struct.unpack(f"<{count}I", head[54 : 54 + 4 * count]), 0)[:4]
    start = 14 + header_size
    palette = np.zeros((0, 3), np.uint8)
    if bits <= 8:
        count = min(colours or 1 << bits, 1 << bits)
        stored = np.frombuffer(head[start : start + 4 * count], np.uint8)
        if stored.size < 4 * count:
            raise ImageError(f"{path}: truncated, its palette is not complete")
        palette = np.ascontiguousarray(stored.reshape(-1, 4)[:, 2::-1])
    header = BmpHeader(abs(height), width, height < 0, bits, offset, palette, masks)
    needed = offset + _row_bytes(header) * header.height
    if needed > size:
        raise ImageError(f"{path}: truncated, its pixels end at byte {needed} and the file at {size}")
    return header


def decode(header: BmpHeader, data: bytes) -> NDArray[np.uint8]:
    """Return the pixels of a BMP file, of `header.shape`."""
    rows = np.frombuffer(data, np.uint8, _row_bytes(header) * header.height, header.offset)
    rows = rows.reshape(header.height, -1)
    rows = rows if header.top_down else rows[::-1]
    if header.bits <= 8:
        return _from_palette(header, rows)
    if header.bits == 24:
        return np.ascontiguousarray(
            rows[:, : header.width * 3].reshape(header.height, header.width, 3)[..., ::-1]
        )
    whole: NDArray[Any] = np.ascontiguousarray(rows).view(f"<u{header.bits // 8}")
    words = whole[:, : header.width]
    used = [m for m in header.masks if m] if header.masks[3] else header.masks[:3]
    return np.stack([_field(words, mask) for mask in used], axis=-1)


def _row_bytes(header: BmpHeader) -> int:
    return (header.width * header.bits + 31) // 32 * 4


def _from_palette(header: BmpHeader, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if header.bits < 8:
        bits = np.unpackbits(rows, axis=1).reshape(header.height, -1, header.bits)
        weights = 1 << np.arange(header.bits - 1, -1, -1, dtype=np.uint8)
        indices = (bits * weights).sum(axis=2, dtype=np.uint8)
    else:
        indices = rows
    indices = indices[:, : header.width]
    table = np.zeros((256, 3), np.uint8)  # an index beyond the palette is black
    table[: len(header.palette)] = header.palette
    found: NDArray[np.uint8] = table[:, 0][indices] if header.is_grey else table[indices]
    return found


def _field(words: NDArray[Any], mask: int) -> NDArray[np.uint8]:
    """Return the bits that a mask names, stretched to 0-255."""
    if not mask:
        return np.zeros(words.shape, np.uint8)
    low = (mask & -mask).bit_length() - 1
    largest = mask >> low
    values = (words.astype(np.uint64) & np.uint64(mask)) >> np.uint64(low)
    stretched: NDArray[np.uint8] = (
        (values * np.uint64(255) + np.uint64(largest // 2)) // np.uint64(largest)
    ).astype(np.uint8)
    return stretched
