"""What a chunk of labels is as a file: a gzip of 512 x 512 little-endian uint32, as Zarr stores it, with its revision."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np

from cellbrook.project._patch import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_RAW = CHUNK * CHUNK * 4


def chunks_of(box: tuple[int, int, int, int]) -> Iterator[tuple[int, int]]:
    """Yield row and column of the chunks that a half-open box meets."""
    y0, x0, y1, x1 = box
    if y1 > y0 and x1 > x0:
        for cy in range(y0 // CHUNK, cdiv(y1, CHUNK)):
            for cx in range(x0 // CHUNK, cdiv(x1, CHUNK)):
                yield cy, cx


def encode_chunk(pixels: NDArray[np.uint32], rev: int) -> bytes:
    """Return a chunk as Zarr's gzip codec stores it, the revision in the field for the time."""
    return gzip.compress(np.ascontiguousarray(pixels, "<u4").tobytes(), 1, mtime=max(rev, 1))


def decode_chunk(data: bytes) -> NDArray[np.uint32]:
    """Return the pixels of a stored chunk; raises OSError, EOFError, ValueError or zlib.error if it is damaged."""
    raw = gzip.decompress(data)
    if len(raw) != _RAW:
        raise ValueError(f"a chunk has {_RAW} bytes, got {len(raw)}")
    return np.frombuffer(raw, "<u4").astype(np.uint32).reshape(CHUNK, CHUNK)


def chunk_rev(data: bytes) -> int:
    """Return the revision in a chunk's header."""
    return int.from_bytes(data[4:8], "little")


def cdiv(a: int, b: int) -> int:
    """Return a quotient, rounded up."""
    return -(-a // b)
