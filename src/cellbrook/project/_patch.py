"""What an edit changes in one chunk: runs of pixels with their old and their new value."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK = 512
"""Side of a chunk, in pixels."""

Chunk = tuple[int, int, int]
"""Place of a chunk: plane, row of chunks, column of chunks."""


@dataclass(frozen=True, slots=True)
class Patch:
    """The pixels of one chunk that an edit changed.

    Parameters
    ----------
    chunk : (int, int, int)
        Plane, row and column of the chunk.
    runs : ndarray of shape (4, n), uint32
        First pixel (``y * 512 + x`` within the chunk), length, old label, new label. A run lies in one row; runs
        ascend and do not overlap.
    """

    chunk: Chunk
    runs: NDArray[np.uint32]

    @classmethod
    def between(cls, chunk: Chunk, old: NDArray[np.uint32], new: NDArray[np.uint32]) -> Patch | None:
        """Return what differs between two states of a chunk (512, 512); None if nothing does."""
        before, after = old.ravel(), new.ravel()
        changed = np.flatnonzero(before != after)
        if len(changed) == 0:
            return None
        was, now = before[changed], after[changed]
        first = np.ones(len(changed), bool)
        first[1:] = (
            (np.diff(changed) != 1)
            | (was[1:] != was[:-1])
            | (now[1:] != now[:-1])
            | (changed[1:] % CHUNK == 0)  # a run lies in one row
        )
        at = np.flatnonzero(first)
        length = np.diff(np.append(at, len(changed)))
        return cls(chunk, np.stack([changed[at], length, was[at], now[at]]).astype(np.uint32))

    @classmethod
    def decode(cls, chunk: Chunk, data: bytes) -> Patch:
        """Return the patch that `encode` made these bytes of."""
        runs = np.frombuffer(zlib.decompress(data), "<u4").reshape(4, -1).astype(np.uint32)
        runs[0] = np.cumsum(runs[0], dtype=np.uint32)
        return cls(chunk, runs)

    def encode(self) -> bytes:
        """Return the patch as bytes; a cell of 40 px across takes about 150."""
        delta = self.runs.copy()
        delta[0] = np.diff(self.runs[0], prepend=np.uint32(0))
        return zlib.compress(delta.astype("<u4").tobytes(), 6)

    @property
    def pixels(self) -> NDArray[np.int64]:
        """Indices of the changed pixels within the chunk, ascending."""
        start, length = self.runs[0].astype(np.int64), self.runs[1].astype(np.int64)
        ends = np.cumsum(length)
        return np.repeat(start - ends + length, length) + np.arange(ends[-1] if len(ends) else 0)

    @property
    def old(self) -> NDArray[np.uint32]:
        """Old label of each of `pixels`."""
        return np.repeat(self.runs[2], self.runs[1])

    @property
    def new(self) -> NDArray[np.uint32]:
        """New label of each of `pixels`."""
        return np.repeat(self.runs[3], self.runs[1])

    @property
    def origin(self) -> tuple[int, int]:
        """Row and column of the chunk's first pixel in the image."""
        return self.chunk[1] * CHUNK, self.chunk[2] * CHUNK

    @property
    def box(self) -> tuple[int, int, int, int, int]:
        """Plane and half-open box ``y0, x0, y1, x1`` of the changed pixels, in the image."""
        y, x = np.divmod(self.runs[0].astype(np.int64), CHUNK)
        top, left = self.origin
        ends = x + self.runs[1]
        return (
            self.chunk[0],
            top + int(y.min()),
            left + int(x.min()),
            top + int(y.max()) + 1,
            left + int(ends.max()),
        )
