"""Whether a TIFF file is whole.

A reader of a file cut short finds fewer planes, or others, and does not say so.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from cellbrook.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

_TYPE_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
# their offsets beyond 4 GiB are stored in ways of their own
_UNUSUAL = (".ndpi", ".lsm", ".stk")


def check_directories(path: Path) -> None:
    """Follow the chain of image directories to its end.

    Raises
    ------
    ImageError
        If a directory, or a value that one points to, lies beyond the end of the file.
    """
    if path.suffix.lower() in _UNUSUAL:
        return
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        if len(head) < 8:
            raise truncated(path, 8, size)
        big = struct.unpack(order + "H", head[2:4])[0] == 43
        if big and len(head) < 16:
            raise truncated(path, 16, size)
        count_form, entry_size, word = (
            (order + "Q", 20, order + "Q") if big else (order + "H", 12, order + "I")
        )
        count_size, word_size = struct.calcsize(count_form), struct.calcsize(word)
        (offset,) = struct.unpack(word, head[8:16] if big else head[4:8])
        seen: set[int] = set()
        while offset and offset not in seen:
            seen.add(offset)
            file.seek(offset)
            data = file.read(count_size)
            if len(data) < count_size:
                raise truncated(path, offset + count_size, size)
            (count,) = struct.unpack(count_form, data)
            end = offset + count_size + count * entry_size + word_size
            if end > size:
                raise truncated(path, end, size)
            entries = file.read(count * entry_size + word_size)
            for start in range(0, count * entry_size, entry_size):
                kind = struct.unpack_from(order + "H", entries, start + 2)[0]
                number, value = struct.unpack_from(word + word[1], entries, start + 4)
                length = _TYPE_SIZES.get(kind, 1) * number
                if length > word_size and value + length > size:
                    raise truncated(path, value + length, size)
            (offset,) = struct.unpack_from(word, entries, count * entry_size)


def truncated(path: Path, needed: int, size: int) -> ImageError:
    """Return the error for a file that refers to bytes beyond its end."""
    return ImageError(f"{path}: truncated, it refers to byte {needed} and ends at {size}")
