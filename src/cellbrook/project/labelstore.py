"""The labels of one image: chunks on disk that follow the log of edits, whatever happens to them.

The log in SQLite is the truth. A chunk file is a gzip of 512 x 512 little-endian uint32, as Zarr stores it, whose header
says (in the field for a time) which revision it holds. A chunk is current when no patch of it is newer; else the newer
patches are applied when it is read. Patches hold absolute values, so that applying one twice does no harm. A chunk that
is missing or damaged is at revision 0, and the log makes it anew. Coarser levels work alike: each of their chunks says
up to which revision it was made of the level below it all.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import zlib
from collections import OrderedDict
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from cellbrook.errors import CellbrookError, EditError, ProjectError, UsageError
from cellbrook.project._chunks import cdiv, chunk_rev, chunks_of, decode_chunk, encode_chunk
from cellbrook.project._patch import CHUNK, Chunk, Patch
from cellbrook.project.objects import COLUMNS, ObjectRow, as_table
from cellbrook.project.regions import regions_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cellbrook.core.objects import ObjectTable
    from cellbrook.project._database import Database
    from cellbrook.project.regions import Region

logger = logging.getLogger(__name__)

LARGEST_ID = 2**24 - 1
"""Ids stay below this, so that a page can look each up in one texture of 4096 x 4096."""

LEASE = 1024
_CACHED = 96  # chunks, 1 MiB each
_DIRTY = 64  # written out together beyond this
_DEEPEST = 9  # at level 9 a chunk of level 0 is one pixel


class LabelStore:
    """Pixels and objects of one image. Reading is here; changing is `OpLog`'s.

    Parameters
    ----------
    database : Database
        The project's index.
    image : str
        Id of the image.
    folder : Path
        ``labels/<id>.ome.zarr``.
    create : callable
        Makes the folder with its metadata, when the first chunk is written.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns.
    planes : int
        T and Z flattened, 1 in two dimensions.
    axes, leading : str, tuple of int
        Axes of the labels, and the lengths of those before Y and X.
    levels : int
        Levels of the pyramid, full size included.
    """

    def __init__(self, database: Database, image: str, folder: Path, create: Callable[[], None]) -> None:
        import json

        row = database.one("SELECT height, width, label_axes, leading FROM images WHERE id = ?", (image,))
        if row is None:
            raise ProjectError(f"the project has no image {image!r}: see `cellbrook project status`")
        self._db, self.image, self._folder, self._create = database, image, folder, create
        self.shape: tuple[int, int] = (row[0], row[1])
        self.axes: str = row[2]
        self.leading: tuple[int, ...] = tuple(json.loads(row[3]))
        self.planes = math.prod(self.leading)
        self.levels = levels_of(self.shape)
        self._cache: OrderedDict[Chunk, NDArray[np.uint32]] = OrderedDict()
        self._dirty: set[Chunk] = set()
        if not database.read_only:
            self._part_with_later()

    def _part_with_later(self) -> None:
        """Keep files aside that are ahead of the log, as after an older index was put back: it would catch up with them."""
        last, rev = self.levels - 1, self.rev
        tops = (
            self._file_bytes(last, (plane, 0, 0)) for plane in range(self.planes)
        )  # written at each flush
        if all(top is None or chunk_rev(top) <= rev for top in tops):
            return
        aside = next(p for n in count(1) if not (p := self._folder.with_suffix(f".{n}.foreign")).exists())
        logger.warning("%s has labels that the log does not know: kept as %s", self._folder, aside.name)
        with suppress(OSError):
            self._folder.rename(aside)

    @property
    def rev(self) -> int:
        """The newest revision; 0 before the first edit."""
        return int(self._db.one("SELECT rev FROM images WHERE id = ?", (self.image,))[0])

    def grid(self, level: int = 0) -> tuple[int, int]:
        """Return the rows and columns of chunks at a level."""
        rows, cols = (cdiv(n, 2**level) for n in self.shape)
        return cdiv(rows, CHUNK), cdiv(cols, CHUNK)

    # Reading

    def read(
        self, plane: int = 0, y0: int = 0, x0: int = 0, y1: int | None = None, x1: int | None = None
    ) -> NDArray[np.uint32]:
        """Return the labels of a window of a plane.

        Parameters
        ----------
        plane : int
            From 0.
        y0, x0, y1, x1 : int
            Half-open; cut to the image. None: to its end.

        Returns
        -------
        ndarray of shape (y1 - y0, x1 - x0), uint32
            A copy.

        Raises
        ------
        UsageError
            If there is no such plane.
        """
        y0, x0 = max(y0, 0), max(x0, 0)
        y1 = self.shape[0] if y1 is None else min(y1, self.shape[0])
        x1 = self.shape[1] if x1 is None else min(x1, self.shape[1])
        with self._db.lock:
            return self.window(plane, (y0, x0, y1, x1), self.chunk)

    def window(
        self, plane: int, box: tuple[int, int, int, int], chunk: Callable[[Chunk], NDArray[np.uint32]]
    ) -> NDArray[np.uint32]:
        """Return the labels in a box that lies in the image, put together of what `chunk` gives."""
        y0, x0, y1, x1 = box
        self.check_plane(plane)
        out = np.zeros((max(y1 - y0, 0), max(x1 - x0, 0)), np.uint32)
        for cy, cx in chunks_of(box):
            top, left = cy * CHUNK, cx * CHUNK
            ya, yb, xa, xb = max(y0, top), min(y1, top + CHUNK), max(x0, left), min(x1, left + CHUNK)
            source = chunk((plane, cy, cx))
            out[ya - y0 : yb - y0, xa - x0 : xb - x0] = source[ya - top : yb - top, xa - left : xb - left]
        return out

    def read_all(self) -> NDArray[np.uint32]:
        """Return all labels, with the axes of `axes`."""
        planes = np.stack([self.read(p) for p in range(self.planes)])
        return planes.reshape(*self.leading, *self.shape)

    def read_at(self, rev: int, plane: int = 0) -> NDArray[np.uint32]:
        """Return a plane as it was after a revision, by taking back what came later.

        Parameters
        ----------
        rev : int
            0 is before the first edit.
        plane : int
            From 0.
        """
        with self._db.lock:
            rows = self._db.query(
                "SELECT cy, cx, data FROM patches WHERE image = ? AND plane = ? AND rev > ? ORDER BY rev DESC",
                (self.image, plane, rev),
            )
            older: dict[Chunk, NDArray[np.uint32]] = {}
            for cy, cx, data in rows:
                key = (plane, cy, cx)
                if key not in older:
                    older[key] = self.chunk(key).copy()
                patch = Patch.decode(key, data)
                older[key].ravel()[patch.pixels] = patch.old
            return self.window(
                plane, (0, 0, *self.shape), lambda k: older[k] if k in older else self.chunk(k)
            )

    def at(self, plane: int, y: int, x: int) -> int:
        """Return the label of a pixel, 0 outside the image."""
        if not (0 <= y < self.shape[0] and 0 <= x < self.shape[1]):
            return 0
        self.check_plane(plane)
        with self._db.lock:
            return int(self.chunk((plane, y // CHUNK, x // CHUNK))[y % CHUNK, x % CHUNK])

    def chunk_bytes(self, plane: int, cy: int, cx: int, level: int = 0) -> bytes | None:
        """Return a chunk as it is stored: a gzip of 512 x 512 little-endian uint32, zero beyond the image's border.

        Parameters
        ----------
        plane, cy, cx : int
            Plane, row and column of the chunk.
        level : int
            0 is full size; each further level takes every second pixel.

        Returns
        -------
        bytes or None
            None where nothing was ever drawn.

        Raises
        ------
        UsageError
            If there is no such chunk.
        """
        self.check_plane(plane)
        rows, cols = self.grid(level) if 0 <= level < self.levels else (0, 0)
        if not (0 <= cy < rows and 0 <= cx < cols):
            raise UsageError(f"there is no chunk {cy}, {cx} at level {level} of {self.image}")
        with self._db.lock:
            children = self._newest(level, plane, cy, cx)
            if children == 0:
                return None
            key = (plane, cy, cx)
            data = self._file_bytes(level, key)
            if (
                data is not None
                and chunk_rev(data) >= children
                and self._decoded(data, level, key) is not None
            ):
                return data
            pixels = self.chunk(key) if level == 0 else self._coarse(level, key)
            return encode_chunk(pixels, self.rev)

    def etag(self, plane: int, cy: int, cx: int, level: int = 0) -> str:
        """Return what tells a chunk from any other state of it, in other projects too; "0" where nothing was ever drawn."""
        rev = self._newest(level, plane, cy, cx)
        row = self._db.one("SELECT uid FROM ops WHERE image = ? AND rev = ?", (self.image, rev))
        return f"{rev}-{hashlib.sha256(row[0].encode()).hexdigest()[:16]}" if row else "0"

    # Objects

    @property
    def depth(self) -> int:
        """How many planes lie above each other at one time."""
        return self.leading[-1] if "Z" in self.axes else 1

    def joined(self) -> bool:
        """Return whether some object lies in several planes that lie above each other."""
        if self.depth == 1:
            return False
        row = self._db.one(
            "SELECT id FROM objects WHERE image = ? GROUP BY id, plane / ? HAVING count(*) > 1 LIMIT 1",
            (self.image, self.depth),
        )
        return row is not None

    def objects(self, plane: int | None = None, ids: Iterable[int] | None = None) -> list[ObjectRow]:
        """Return the rows of objects, by id and plane.

        Parameters
        ----------
        plane : int or None
            Those in this plane only.
        ids : iterable of int or None
            These only; an object that lies in several planes has a row in each.
        """
        sql = f"SELECT {COLUMNS} FROM objects WHERE image = ?"
        values: list[str | int] = [self.image]
        if plane is not None:
            sql, values = sql + " AND plane = ?", [*values, int(plane)]
        if ids is not None:
            sql += " AND id IN (SELECT value FROM json_each(?))"
            values = [*values, f"[{','.join(str(int(i)) for i in ids)}]"]
        return [ObjectRow.from_values(v) for v in self._db.query(sql + " ORDER BY id, plane", values)]

    def regions(self, rev: int | None = None) -> dict[str, Region]:
        """Return the regions that people drew, by id; see `cellbrook.project.regions.regions_at`."""
        return regions_at(self._db, self.image, rev)

    def locked_ids(self) -> set[int]:
        """Return the ids of locked objects."""
        rows = self._db.query("SELECT DISTINCT id FROM objects WHERE image = ? AND locked", (self.image,))
        return {int(r[0]) for r in rows}

    def table(self, plane: int | None = None) -> ObjectTable:
        """Return the objects as a table; see `cellbrook.project.objects.as_table`."""
        return as_table(self.objects(plane), self.leading, self.axes)

    def lease(self, count: int = LEASE) -> range:
        """Return ids that nobody else will get, for objects that are to be drawn.

        Raises
        ------
        EditError
            If the image has used up its ids.
        """
        with self._db.transaction() as connection:
            first = connection.execute("SELECT next_id FROM images WHERE id = ?", (self.image,)).fetchone()[0]
            if not 0 < count <= LARGEST_ID + 1 - first:
                raise EditError(
                    f"{count} new objects do not fit: ids go up to {LARGEST_ID}, {first - 1} are used"
                )
            connection.execute("UPDATE images SET next_id = ? WHERE id = ?", (first + count, self.image))
        return range(first, first + count)

    @property
    def next_id(self) -> int:
        """The lowest id that was never given out."""
        return int(self._db.one("SELECT next_id FROM images WHERE id = ?", (self.image,))[0])

    # Chunks

    def chunk(self, key: Chunk) -> NDArray[np.uint32]:
        """Return the current pixels (512, 512) of a chunk: not to be written to."""
        cached = self._cache.get(key)
        if cached is not None and not self._db.read_only:
            self._cache.move_to_end(key)
            return cached
        # the file first, then what the log has beyond it: right also while another program is writing
        pixels, rev = self._stored(0, key)
        rows = self._db.query(
            "SELECT data FROM patches WHERE image = ? AND plane = ? AND cy = ? AND cx = ? AND rev > ? ORDER BY rev",
            (self.image, *key, rev),
        )
        for (blob,) in rows:
            patch = Patch.decode(key, blob)
            pixels.ravel()[patch.pixels] = patch.new
        if not self._db.read_only:
            self._remember(key, pixels, dirty=bool(rows))
        return pixels

    def put(self, chunks: dict[Chunk, NDArray[np.uint32]]) -> None:
        """Take over chunks whose change is in the log already. Only `OpLog` calls this."""
        for key, pixels in chunks.items():
            self._remember(key, pixels, dirty=True)
        if len(self._dirty) > _DIRTY:
            try:
                self.flush()
            except (CellbrookError, OSError) as error:
                logger.warning("labels are in the log alone: %s", error)
                self._dirty.clear()

    def _remember(self, key: Chunk, pixels: NDArray[np.uint32], *, dirty: bool) -> None:
        self._cache[key] = pixels
        self._cache.move_to_end(key)
        if dirty:
            self._dirty.add(key)
        while len(self._cache) > _CACHED + len(self._dirty):
            oldest = next(k for k in self._cache if k not in self._dirty)
            del self._cache[oldest]

    def flush(self) -> None:
        """Write changed chunks and what follows from them in coarser levels. Nothing depends on when, or whether."""
        with self._db.lock:
            if not self._dirty or self._db.read_only:
                return
            rev = self.rev
            self._create()
            parents: set[Chunk] = set()
            for key in sorted(self._dirty):
                self._write(0, key, self.chunk(key), rev)
                parents.add((key[0], key[1] // 2, key[2] // 2))
            for level in range(1, self.levels):
                for key in sorted(parents):
                    self._coarse(level, key)
                parents = {(p, y // 2, x // 2) for p, y, x in parents}
            self._dirty.clear()

    def close(self) -> None:
        """Flush, and forget what is cached."""
        self.flush()
        self._cache.clear()

    def _coarse(self, level: int, key: Chunk) -> NDArray[np.uint32]:
        """Return a chunk of a coarser level, made current from those of level 0 that changed since it was made."""
        pixels, rev = self._stored(level, key)
        plane, cy, cx = key
        span, step = 2**level, CHUNK >> level
        rows = self._db.query(
            "SELECT DISTINCT cy, cx FROM patches WHERE image = ? AND plane = ? AND cy >= ? AND cy < ? AND cx >= ?"
            " AND cx < ? AND rev > ?",
            (self.image, plane, cy * span, (cy + 1) * span, cx * span, (cx + 1) * span, rev),
        )
        for y, x in rows:
            top, left = (y - cy * span) * step, (x - cx * span) * step
            pixels[top : top + step, left : left + step] = self.chunk((plane, y, x))[::span, ::span]
        if rows and not self._db.read_only:
            try:
                self._create()
                self._write(level, key, pixels, self.rev)
            except (CellbrookError, OSError) as error:
                logger.warning("labels are in the log alone: %s", error)
        return pixels

    def _newest(self, level: int, plane: int, cy: int, cx: int) -> int:
        span = 2**level
        row = self._db.one(
            "SELECT max(rev) FROM patches WHERE image = ? AND plane = ? AND cy >= ? AND cy < ? AND cx >= ? AND cx < ?",
            (self.image, plane, cy * span, (cy + 1) * span, cx * span, (cx + 1) * span),
        )
        return int(row[0] or 0)

    def _file(self, level: int, key: Chunk) -> Path:
        plane, cy, cx = key
        place = np.unravel_index(plane, self.leading) if self.leading else ()
        return self._folder.joinpath(str(level), "c", *(str(int(i)) for i in place), str(cy), str(cx))

    def _file_bytes(self, level: int, key: Chunk) -> bytes | None:
        try:
            return self._file(level, key).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ProjectError(
                f"{self._file(level, key)}: cannot be read: {error.strerror or error}"
            ) from error

    def _stored(self, level: int, key: Chunk) -> tuple[NDArray[np.uint32], int]:
        """Return what a chunk's file holds and its revision: nothing at revision 0 if it is of no use."""
        data = self._file_bytes(level, key)
        pixels = self._decoded(data, level, key) if data is not None else None
        if data is None or pixels is None:
            return np.zeros((CHUNK, CHUNK), np.uint32), 0
        return pixels, chunk_rev(data)

    def _decoded(self, data: bytes, level: int, key: Chunk) -> NDArray[np.uint32] | None:
        try:
            pixels = decode_chunk(data)
        except (OSError, EOFError, ValueError, zlib.error):
            logger.warning("%s: chunk %s of its labels is damaged: made anew from the log", self.image, key)
            return None
        if 1 <= chunk_rev(data) <= self.rev:
            return pixels
        path = self._file(level, key)
        logger.warning(
            "%s was written by another program: kept as %s.foreign, the log counts", path, path.name
        )
        if not self._db.read_only:
            with suppress(OSError):  # not where it was: one day the log would reach its revision
                path.replace(path.with_name(f"{path.name}.foreign"))
        return None

    def _write(self, level: int, key: Chunk, pixels: NDArray[np.uint32], rev: int) -> None:
        path = self._file(level, key)
        temporary = path.with_name(f".{path.name}.new")  # one writer: no two of that name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # nobody waits for the disk here: a chunk that a power cut spoils is found out and made anew from the log
            temporary.write_bytes(encode_chunk(pixels, rev))
            os.replace(temporary, path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise ProjectError(
                f"{path}: cannot be written: {error.strerror or error}; the edit itself is safe in the project's log"
            ) from error

    def check_plane(self, plane: int) -> None:
        """Raise `UsageError` if there is no such plane."""
        if not 0 <= plane < self.planes:
            raise UsageError(f"{self.image} has the planes 0 to {self.planes - 1}, got {plane}")

    def check_ids(self, ids: Sequence[int]) -> None:
        """Raise `EditError` unless all ids were given out by `lease`."""
        limit = self.next_id
        wrong = [i for i in ids if not 0 < i < limit]
        if wrong:
            raise EditError(f"object {wrong[0]} was never leased: ids so far are 1 to {limit - 1}")


def levels_of(shape: tuple[int, int]) -> int:
    """Return how many levels an image has: the coarsest fits one chunk.

    Examples
    --------
    >>> levels_of((300, 512)), levels_of((513, 20)), levels_of((4096, 4096))
    (1, 2, 4)
    """
    largest = max(shape)
    return min(_DEEPEST, max(0, math.ceil(math.log2(largest / CHUNK)))) + 1 if largest > CHUNK else 1
