"""An edit in the making: changed copies of chunks and rows, which become an op or are thrown away."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from cellbrook._kernels import _native
from cellbrook.core.threads import resolve_threads
from cellbrook.errors import EditError
from cellbrook.project._chunks import chunks_of
from cellbrook.project._patch import CHUNK, Chunk, Patch
from cellbrook.project.objects import ObjectRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from cellbrook.project.labelstore import LabelStore
    from cellbrook.project.regions import Change, Region

Key = tuple[int, int]
"""Id and plane of an object's row."""

_ONE_BY_ONE = 32  # objects whose boxes are looked for each by itself; more are found in one pass over all


class Draft:
    """Changes to one image that nobody else sees yet.

    Parameters
    ----------
    store : LabelStore
        The labels as they are.
    by_hand : bool
        A person does it: objects of a model whose pixels change become "edited".
    classified : frozenset of int
        Objects whose class a person gave or took away: a model's says nothing to them.
    deleted : callable or None
        Gives the objects that a person deleted, as labels of a box (``y0, x0, y1, x1``) of a plane: no model brings them
        back. None: none.
    """

    def __init__(
        self,
        store: LabelStore,
        *,
        by_hand: bool,
        classified: frozenset[int] = frozenset(),
        deleted: Callable[[int, tuple[int, int, int, int]], NDArray[np.uint32]] | None = None,
    ) -> None:
        self.store = store
        self.by_hand = by_hand
        self.classified = classified
        self.deleted = deleted
        self.chunks: dict[Chunk, NDArray[np.uint32]] = {}
        self._settled: dict[Chunk, NDArray[np.uint32]] = {}
        self._rows: dict[Key, ObjectRow | None] = {}
        self.fresh: dict[Key, ObjectRow] = {}
        """Attributes for objects that get their first pixels; boxes and areas in them do not count."""
        self._locked = store.locked_ids()
        self._regions: dict[str, Region | None] = {}
        self._stored_regions: dict[str, Region] | None = None

    # Pixels

    def window(self, plane: int, box: tuple[int, int, int, int]) -> NDArray[np.uint32]:
        """Return a copy of the labels in a half-open box, which must lie in the image."""
        return self.store.window(plane, box, self._now)

    def write_window(
        self, plane: int, y0: int, x0: int, new: NDArray[np.uint32], mask: NDArray[np.bool_]
    ) -> None:
        """Write the masked pixels of a window; those of locked objects stay."""
        h, w = new.shape
        for cy, cx in chunks_of((y0, x0, y0 + h, x0 + w)):
            top, left = cy * CHUNK, cx * CHUNK
            ya, yb, xa, xb = max(y0, top), min(y0 + h, top + CHUNK), max(x0, left), min(x0 + w, left + CHUNK)
            part = np.s_[ya - y0 : yb - y0, xa - x0 : xb - x0]
            if not mask[part].any():
                continue
            target = self._writable((plane, cy, cx))[ya - top : yb - top, xa - left : xb - left]
            self._write(target, mask[part], new[part])

    def write_pixels(self, key: Chunk, pixels: NDArray[np.int64], new: NDArray[np.uint32]) -> None:
        """Write single pixels of a chunk; those of locked objects stay."""
        flat = self._writable(key).ravel()
        free = self._free(flat[pixels], new)
        flat[pixels[free]] = new[free]

    def fill(
        self, key: Chunk, mask: NDArray[np.bool_], label: int, only: frozenset[int] | None = None
    ) -> None:
        """Give the masked pixels of a chunk (512, 512) a label, those alone that belong to `only` where it is given."""
        if only is not None:
            mask = mask & np.isin(self._now(key), list(only))
        if mask.any():
            self._write(self._writable(key), mask, np.full(mask.shape, label, np.uint32))

    def _write(self, target: NDArray[np.uint32], mask: NDArray[np.bool_], new: NDArray[np.uint32]) -> None:
        if self._locked:
            mask = mask & self._free(target, new)
        np.copyto(target, new, where=mask)

    def _free(self, old: NDArray[np.uint32], new: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Return where neither the old nor the new label is locked."""
        if not self._locked:
            return np.ones(old.shape, bool)
        locked = list(self._locked)
        return ~(np.isin(old, locked) | np.isin(new, locked))

    def _now(self, key: Chunk) -> NDArray[np.uint32]:
        changed = self.chunks.get(key)
        return self.store.chunk(key) if changed is None else changed

    def _writable(self, key: Chunk) -> NDArray[np.uint32]:
        self.store.check_plane(key[0])
        if key not in self.chunks:
            self.chunks[key] = self.store.chunk(key).copy()
        return self.chunks[key]

    # Rows

    def rows(self, ids: Iterable[int]) -> list[ObjectRow]:
        """Return the rows of objects as they are in this draft."""
        wanted = set(ids)
        stored = {(r.id, r.plane): r for r in self.store.objects(ids=wanted)}
        changed = {k: r for k, r in self._rows.items() if k[0] in wanted}
        merged: dict[Key, ObjectRow | None] = {**stored, **changed}
        return [r for _, r in sorted(merged.items()) if r is not None]

    def existing(self, ids: Iterable[int], *, unlocked: bool = True) -> list[ObjectRow]:
        """Return the rows of objects that must be there, and must not be locked.

        Raises
        ------
        EditError
            If one is not.
        """
        ids = list(ids)
        rows = self.rows(ids)
        missing = [i for i in ids if i not in {r.id for r in rows}]
        if missing:
            raise EditError(f"there is no object {missing[0]} any more")
        locked = [r.id for r in rows if r.locked]
        if unlocked and locked:
            raise EditError(f"object {locked[0]} is locked: unlock it first")
        return rows

    def set_attributes(self, row: ObjectRow, **changes: object) -> None:
        """Change what a row says besides its box and area."""
        new = dataclasses.replace(row, **changes)  # type: ignore[arg-type]
        self._rows[row.id, row.plane] = new
        if "locked" in changes:
            (self._locked.add if new.locked else self._locked.discard)(row.id)

    # Regions

    def set_region(self, region: str, new: Region | None) -> None:
        """Put a region in the place of the one of its id; None takes it away."""
        self._regions[region] = new

    def regions(self) -> dict[str, Region]:
        """Return the regions as they are in this draft, by id."""
        found = {**self._as_stored(), **self._regions}
        return {i: r for i, r in found.items() if r is not None}

    def _as_stored(self) -> dict[str, Region]:
        if self._stored_regions is None:
            self._stored_regions = self.store.regions()
        return self._stored_regions

    def changed_regions(self) -> list[Change]:
        """Return regions that differ from the stored ones, as before and after."""
        stored = self._as_stored() if self._regions else {}
        pairs = [(stored.get(i), r) for i, r in self._regions.items()]
        return [(before, after) for before, after in pairs if before != after]

    # Becoming an op

    def settle(self) -> None:
        """Bring the rows up to date with the pixels that changed since the last time."""
        patches = self._differences(self._settled)
        if not patches:
            return
        for patch in patches:
            self._settled[patch.chunk] = self.chunks[patch.chunk].copy()
        for plane in sorted({p.chunk[0] for p in patches}):
            self._settle_plane(plane, [p for p in patches if p.chunk[0] == plane])

    def patches(self) -> list[Patch]:
        """Return what the edit changed in each chunk."""
        return self._differences({})

    def changed_rows(self) -> list[tuple[ObjectRow | None, ObjectRow | None]]:
        """Return rows that differ from the stored ones, as before and after."""
        stored = {(r.id, r.plane): r for r in self.store.objects(ids={i for i, _ in self._rows})}
        pairs = [(stored.get(k), r) for k, r in sorted(self._rows.items())]
        return [(before, after) for before, after in pairs if before != after]

    def _differences(self, since: dict[Chunk, NDArray[np.uint32]]) -> list[Patch]:
        found = [
            Patch.between(key, since[key] if key in since else self.store.chunk(key), now)
            for key, now in sorted(self.chunks.items())
        ]
        return [p for p in found if p is not None]

    def _settle_plane(self, plane: int, patches: list[Patch]) -> None:
        top = np.concatenate([np.full(p.runs.shape[1], p.origin[0]) for p in patches])
        left = np.concatenate([np.full(p.runs.shape[1], p.origin[1]) for p in patches])
        runs = np.concatenate([p.runs for p in patches], axis=1).astype(np.int64)
        y, x = top + runs[0] // CHUNK, left + runs[0] % CHUNK
        end = x + runs[1]
        ids, place = np.unique(runs[2:], return_inverse=True)
        lost, gained = place.reshape(2, -1)
        n = len(ids)
        delta = np.bincount(gained, runs[1], n) - np.bincount(lost, runs[1], n)
        # the extent of what each object gained
        low_y, low_x = np.full(n, np.iinfo(np.int64).max), np.full(n, np.iinfo(np.int64).max)
        high_y, high_x = np.zeros(n, np.int64), np.zeros(n, np.int64)
        np.minimum.at(low_y, gained, y)
        np.minimum.at(low_x, gained, x)
        np.maximum.at(high_y, gained, y + 1)
        np.maximum.at(high_x, gained, end)
        has_lost = np.bincount(lost, minlength=n) > 0
        before = {r.id: r for r in self.rows(ids.tolist()) if r.plane == plane}
        siblings = {r.id: r for r in self.rows(ids.tolist())}
        shrunk: dict[int, ObjectRow] = {}
        for k, label in enumerate(ids.tolist()):
            if label == 0:
                continue
            old = before.get(label)
            area = int(delta[k]) + (old.area if old else 0)
            if area <= 0:
                self._rows[label, plane] = None
                continue
            box = (int(low_y[k]), int(low_x[k]), int(high_y[k]), int(high_x[k]))
            if old is not None:
                box = (
                    min(box[0], old.y0),
                    min(box[1], old.x0),
                    max(box[2], old.y1),
                    max(box[3], old.x1),
                )
            row = self._judged(label, plane, old, siblings.get(label))
            row = dataclasses.replace(row, y0=box[0], x0=box[1], y1=box[2], x1=box[3], area=area)
            self._rows[label, plane] = row
            if has_lost[k] and old is not None:
                shrunk[label] = row
        self._shrink(plane, shrunk)

    def _judged(self, label: int, plane: int, old: ObjectRow | None, sibling: ObjectRow | None) -> ObjectRow:
        """Return what an object is now, apart from its box and area."""
        if (label, plane) in self.fresh:
            return self.fresh[label, plane]
        if old is None:
            if sibling is not None:  # the object reaches into a further plane
                return sibling.reshaped(plane=plane)
            return ObjectRow(label, plane, 0, 0, 0, 0, 0)
        return old.reshaped() if self.by_hand else old

    def _shrink(self, plane: int, rows: dict[int, ObjectRow]) -> None:
        """Find the boxes of objects that lost pixels by looking at what is left of them."""
        if not rows:
            return
        apart = len(rows) <= _ONE_BY_ONE
        groups = [{label: row} for label, row in rows.items()] if apart else [rows]
        for group in groups:
            y0, x0 = min(r.y0 for r in group.values()), min(r.x0 for r in group.values())
            y1, x1 = max(r.y1 for r in group.values()), max(r.x1 for r in group.values())
            for label, (by0, bx0, by1, bx1) in boxes_in(self.window(plane, (y0, x0, y1, x1)), group).items():
                self._rows[label, plane] = dataclasses.replace(
                    group[label], y0=y0 + by0, x0=x0 + bx0, y1=y0 + by1, x1=x0 + bx1
                )


def boxes_in(labels: NDArray[np.uint32], ids: Iterable[int]) -> dict[int, tuple[int, int, int, int]]:
    """Return the half-open boxes ``y0, x0, y1, x1`` of those of the objects that lie in a window."""
    wanted = np.array(sorted(ids), np.uint32)
    dense = number_of(labels, wanted)
    boxes = np.zeros((len(wanted) + 1, 7), np.int64)
    _native.object_boxes(dense[None], boxes, resolve_threads(None))
    return {
        int(label): (int(b[2]), int(b[3]), int(b[5]), int(b[6]))
        for label, b in zip(wanted, boxes[1:], strict=True)
        if b[0] > 0
    }


def number_of(labels: NDArray[np.uint32], ids: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return labels numbered by their place in `ids` (ascending) from 1, all others 0."""
    if len(ids) == 1:
        return np.asarray(labels == ids[0], np.uint32)
    table = np.zeros(int(max(labels.max(initial=0), ids.max(initial=0))) + 1, np.uint32)
    table[ids] = np.arange(1, len(ids) + 1)
    return np.asarray(table[labels], np.uint32)
