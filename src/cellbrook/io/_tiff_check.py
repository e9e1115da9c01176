"""What the directories of a TIFF file say before a reader opens it: whether it is whole, and alone.

A reader of a file cut short finds fewer planes, or others, and does not say so.
"""

from __future__ import annotations

import os
import re
import struct
from typing import TYPE_CHECKING, BinaryIO

from cellbrook.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator
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

_DESCRIPTION, _MICROMANAGER = 270, 51123


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
        for entries in _directories(file, path, size):
            for _, length, offset in entries:
                if offset is not None and offset + length > size:
                    raise truncated(path, offset + length, size)


def may_name_others(path: Path) -> bool:
    """Return False if the first directory of a TIFF file tells that no other file is opened with it.

    Micro-Manager has a tag of its own, and OME metadata name their files. A reader takes several times as long to find out.

    Raises
    ------
    ImageError
        If the directory lies beyond the end of the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        for tag, length, offset in next(_directories(file, path, size), ()):
            if tag == _MICROMANAGER:
                return True
            if tag == _DESCRIPTION and offset is not None:
                file.seek(offset)
                named = set(re.findall(rb'FileName="([^"]*)"', file.read(length)))
                if named and named != {os.fsencode(os.path.basename(os.path.realpath(path)))}:
                    return True
    return False


def _directories(file: BinaryIO, path: Path, size: int) -> Iterator[list[tuple[int, int, int | None]]]:
    """Yield of each directory its entries: tag, bytes of the value, and where it lies if not in the entry itself."""
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    if len(head) < 8:
        raise truncated(path, 8, size)
    big = struct.unpack(order + "H", head[2:4])[0] == 43
    if big and len(head) < 16:
        raise truncated(path, 16, size)
    count_form, entry_size, word = (order + "Q", 20, order + "Q") if big else (order + "H", 12, order + "I")
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
        found: list[tuple[int, int, int | None]] = []
        for start in range(0, count * entry_size, entry_size):
            tag, kind = struct.unpack_from(order + "HH", entries, start)
            number, value = struct.unpack_from(word + word[1], entries, start + 4)
            length = _TYPE_SIZES.get(kind, 1) * number
            found.append((tag, length, value if length > word_size else None))
        yield found
        (offset,) = struct.unpack_from(word, entries, count * entry_size)


def truncated(path: Path, needed: int, size: int) -> ImageError:
    """Return the error for a file that refers to bytes beyond its end."""
    return ImageError(f"{path}: truncated, it refers to byte {needed} and ends at {size}")
