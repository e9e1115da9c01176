"""What each edit does to a draft."""

from __future__ import annotations

import dataclasses
import itertools
from functools import singledispatch
from typing import TYPE_CHECKING

import numpy as np

from cellbrook.core.labels import components
from cellbrook.errors import EditError, UsageError
from cellbrook.project._between import in_between
from cellbrook.project._patch import CHUNK
from cellbrook.project._replace import replace
from cellbrook.project.ops import (
    Batch,
    Delete,
    Interpolate,
    Lock,
    Merge,
    Op,
    Paint,
    Relabel,
    Replace,
    SetClass,
    SetPixels,
    SetRegion,
    Split,
)
from cellbrook.project.regions import MOST_REGIONS, checked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import ArrayLike, NDArray

    from cellbrook.project._draft import Draft
    from cellbrook.project.labelstore import LabelStore
    from cellbrook.project.objects import Box, ObjectRow

_MOST_RUNS = 2_000_000
_SPECK = 4  # px: smaller pieces of a cut are frays of its edge


@singledispatch
def carry_out(op: Op, draft: Draft) -> None:
    """Do an edit on a draft.

    Raises
    ------
    EditError
        If it cannot be done as things are.
    """
    raise UsageError(f"not an edit: {type(op).__name__}")


@singledispatch
def boxes_of(op: Op, store: LabelStore) -> list[Box]:
    """Return where an edit may change pixels: what is compared with newer edits."""
    return []


@carry_out.register(Paint)
def _paint(op: Paint, draft: Draft) -> None:
    draft.store.check_plane(op.plane)
    runs = _checked_runs(op.runs, draft.store)
    if op.label:
        draft.store.check_ids([op.label])
        if any(r.locked for r in draft.rows([op.label])):
            raise EditError(f"object {op.label} is locked: unlock it first")
    if op.mode not in ("overwrite", "keep", "inside"):
        raise EditError(f'a paint mode is "overwrite", "keep" or "inside", got {op.mode!r}')
    only = None
    if op.mode == "keep":
        only = frozenset((0, op.label))
    elif op.mode == "inside":
        only = frozenset(op.inside)
    for cy, cx, mask in _masks(runs):
        draft.fill((op.plane, cy, cx), mask, op.label, only)


@boxes_of.register(Paint)
def _where_paint(op: Paint, store: LabelStore) -> list[Box]:
    runs = _checked_runs(op.runs, store)
    if not len(runs):
        return []
    y, x0, x1 = runs.T
    return [(op.plane, int(y.min()), int(x0.min()), int(y.max()) + 1, int(x1.max()))]


@carry_out.register(Merge)
def _merge(op: Merge, draft: Draft) -> None:
    ids = tuple(dict.fromkeys(op.ids))
    if len(ids) < 2:
        raise EditError(f"merging takes two objects or more, got {len(ids)}")
    rows = draft.existing(ids)
    kept = next(r for r in rows if r.id == ids[0])
    for row in rows:
        if row.id != kept.id:
            _recolour(draft, row, kept.id)
    draft.settle()


@carry_out.register(Delete)
def _delete(op: Delete, draft: Draft) -> None:
    for row in draft.existing(op.ids):
        _recolour(draft, row, 0)
    draft.settle()


@carry_out.register(Relabel)
def _relabel(op: Relabel, draft: Draft) -> None:
    draft.store.check_ids([op.new])
    rows = draft.existing([op.old])
    if draft.rows([op.new]):
        raise EditError(f"object {op.new} is there already: merge the two instead")
    for row in rows:
        draft.fresh[op.new, row.plane] = dataclasses.replace(row, id=op.new)
        _recolour(draft, row, op.new)
    draft.settle()


@carry_out.register(SetClass)
def _set_class(op: SetClass, draft: Draft) -> None:
    if not 0 <= op.class_id < 256:
        raise EditError(f"a class is a number from 0 to 255, got {op.class_id}")
    for row in draft.existing(op.ids):
        draft.set_attributes(row, class_id=op.class_id)


@carry_out.register(Lock)
def _lock(op: Lock, draft: Draft) -> None:
    for row in draft.existing(op.ids, unlocked=False):
        draft.set_attributes(row, locked=bool(op.locked))


@carry_out.register(SetRegion)
def _set_region(op: SetRegion, draft: Draft) -> None:
    if not op.region.polygons:
        draft.set_region(op.region.id, None)
        return
    draft.set_region(op.region.id, checked(op.region, draft.store.shape))
    if len(draft.regions()) > MOST_REGIONS:
        raise EditError(f"an image has {MOST_REGIONS} regions at most: cells are imported as cells")


@carry_out.register(Split)
def _split(op: Split, draft: Draft) -> None:
    if not op.points:
        _split_between_planes(op, draft)
        return
    row = next((r for r in draft.existing([op.id]) if r.plane == op.plane), None)
    if row is None:
        raise EditError(f"there is no object {op.id} in plane {op.plane}")
    current = draft.window(op.plane, (row.y0, row.x0, row.y1, row.x1))
    inside = current == op.id
    cut = _line(op.points, inside.shape, (row.y0, row.x0)) & inside
    pieces = components((inside & ~cut).astype(np.int32))
    areas = np.bincount(pieces.ravel(), minlength=1)
    areas[0] = 0
    frays = np.flatnonzero(areas < _SPECK)
    pieces[np.isin(pieces, frays)] = 0
    kept = np.flatnonzero(areas >= _SPECK)
    before = len(np.flatnonzero(np.bincount(components(inside.astype(np.int32)).ravel())[1:] >= _SPECK))
    if len(kept) < 2 or len(kept) <= before:
        raise EditError(f"the line does not cut object {op.id} in two: draw it across from edge to edge")
    kept = kept[np.argsort(-areas[kept], kind="stable")]
    _grow(pieces, inside)
    new = draft.store.lease(len(kept) - 1)
    ids = np.zeros(len(areas), np.uint32)
    ids[kept] = [op.id, *new]
    for fresh in new:
        draft.fresh[fresh, op.plane] = row.reshaped(id=fresh)
    draft.write_window(op.plane, row.y0, row.x0, ids[pieces], inside)
    draft.settle()


def _split_between_planes(op: Split, draft: Draft) -> None:
    store = draft.store
    store.check_plane(op.plane)
    start = op.plane // store.depth * store.depth
    rows = [r for r in draft.existing([op.id]) if start <= r.plane < start + store.depth]
    planes = {r.plane for r in rows}
    if not planes or not min(planes) < op.plane <= max(planes):
        raise EditError(f"object {op.id} does not go on from plane to plane here: there is nothing to cut")
    (new,) = store.lease(1)
    for row in rows:
        if row.plane >= op.plane:
            draft.fresh[new, row.plane] = row.reshaped(id=new)
            _recolour(draft, row, new)
        else:
            draft.set_attributes(row.reshaped())
    draft.settle()


@carry_out.register(Interpolate)
def _interpolate(op: Interpolate, draft: Draft) -> None:
    gaps = [gap for id_ in dict.fromkeys(op.ids) for gap in _gaps(draft.existing([id_]), draft.store)]
    if not gaps:
        raise EditError(
            "there is no plane to fill: what is filled are planes that a cell skips between two in which it lies"
        )
    for before, after in gaps:
        box = _around((before, after), draft.store)
        ends = [draft.window(row.plane, box) == row.id for row in (before, after)]
        for plane in range(before.plane + 1, after.plane):
            share = (plane - before.plane) / (after.plane - before.plane)
            free = draft.window(plane, box) == 0
            new = np.full(free.shape, before.id, np.uint32)
            draft.write_window(plane, box[0], box[1], new, in_between(ends[0], ends[1], share) & free)
    draft.settle()


@boxes_of.register(Interpolate)
def _where_interpolate(op: Interpolate, store: LabelStore) -> list[Box]:
    gaps = [gap for id_ in dict.fromkeys(op.ids) for gap in _gaps(store.objects(ids=[id_]), store)]
    return [
        (plane, *_around((before, after), store))
        for before, after in gaps
        for plane in range(before.plane, after.plane + 1)
    ]


def _gaps(rows: Iterable[ObjectRow], store: LabelStore) -> list[tuple[ObjectRow, ObjectRow]]:
    """Return the rows of an object on both sides of each gap between its planes, at one time."""
    return [
        (a, b)
        for a, b in itertools.pairwise(sorted(rows, key=lambda r: r.plane))
        if b.plane > a.plane + 1 and a.plane // store.depth == b.plane // store.depth
    ]


def _around(rows: Iterable[ObjectRow], store: LabelStore) -> tuple[int, int, int, int]:
    """Return the box of several rows, and a pixel around it for what is rounded."""
    boxes = np.array([r.box[1:] for r in rows])
    y0, x0 = np.maximum(boxes[:, :2].min(axis=0) - 1, 0).tolist()
    y1, x1 = np.minimum(boxes[:, 2:].max(axis=0) + 1, store.shape).tolist()
    return y0, x0, y1, x1


@carry_out.register(SetPixels)
def _set_pixels(op: SetPixels, draft: Draft) -> None:
    mask, labels = np.asarray(op.mask, bool), np.asarray(op.labels, np.uint32)
    h, w = labels.shape
    if mask.shape != labels.shape or not _inside((op.y0, op.x0, op.y0 + h, op.x0 + w), draft.store):
        raise EditError(f"a window of {labels.shape} at {op.y0}, {op.x0} does not fit {draft.store.shape}")
    draft.store.check_ids([int(i) for i in np.unique(labels[mask]) if i])
    draft.fresh.update({(r.id, r.plane): r for r in op.rows})
    draft.write_window(op.plane, op.y0, op.x0, labels, mask)
    draft.settle()


@boxes_of.register(SetPixels)
def _where_set_pixels(op: SetPixels, store: LabelStore) -> list[Box]:
    h, w = np.asarray(op.labels).shape
    return [(op.plane, op.y0, op.x0, op.y0 + h, op.x0 + w)]


@carry_out.register(Replace)
def _put_result(op: Replace, draft: Draft) -> None:
    replace(op, draft)
    draft.settle()


@boxes_of.register(Replace)
def _where_replace(op: Replace, store: LabelStore) -> list[Box]:
    h, w = np.asarray(op.labels).shape[-2:]
    return [(p, op.y0, op.x0, op.y0 + h, op.x0 + w) for p in op.planes]


@carry_out.register(Batch)
def _batch(op: Batch, draft: Draft) -> None:
    drawn = {part.label for part in op.ops if isinstance(part, Paint)}
    for part in op.ops:
        # what was drawn where other cells lie has no pixel, and so no class
        if isinstance(part, SetClass) and drawn.issuperset(part.ids) and not draft.rows(part.ids):
            continue
        carry_out(part, draft)
        draft.settle()


@boxes_of.register(Batch)
def _where_batch(op: Batch, store: LabelStore) -> list[Box]:
    return [box for part in op.ops for box in boxes_of(part, store)]


def _boxes_of_ids(ids: Iterable[int], store: LabelStore) -> list[Box]:
    return [r.box for r in store.objects(ids=ids)]


@boxes_of.register(Merge)
def _where_merge(op: Merge, store: LabelStore) -> list[Box]:
    return _boxes_of_ids(op.ids, store)


@boxes_of.register(Delete)
def _where_delete(op: Delete, store: LabelStore) -> list[Box]:
    return _boxes_of_ids(op.ids, store)


@boxes_of.register(Relabel)
def _where_relabel(op: Relabel, store: LabelStore) -> list[Box]:
    return _boxes_of_ids([op.old], store)


@boxes_of.register(Split)
def _where_split(op: Split, store: LabelStore) -> list[Box]:
    return _boxes_of_ids([op.id], store)


def _inside(box: tuple[int, int, int, int], store: LabelStore) -> bool:
    y0, x0, y1, x1 = box
    return 0 <= y0 <= y1 <= store.shape[0] and 0 <= x0 <= x1 <= store.shape[1]


def _recolour(draft: Draft, row: ObjectRow, label: int) -> None:
    """Give an object's pixels in one plane another label."""
    current = draft.window(row.plane, (row.y0, row.x0, row.y1, row.x1))
    mask = current == row.id
    draft.write_window(row.plane, row.y0, row.x0, np.full(mask.shape, label, np.uint32), mask)


def _checked_runs(runs: ArrayLike, store: LabelStore) -> NDArray[np.int64]:
    """Return runs as (n, 3) int64, cut to the image; empty ones are dropped."""
    try:
        array = np.asarray(runs)
        rows = array.astype(np.int64).reshape(-1, 3)
    except (ValueError, TypeError, OverflowError) as error:
        raise EditError(f"runs are rows of y, x0, x1, got {type(runs).__name__}: {error}") from error
    if array.size and array.dtype.kind not in "iu":
        raise EditError(f"runs are whole numbers, got {array.dtype}")
    if len(rows) > _MOST_RUNS:
        raise EditError(f"an edit has at most {_MOST_RUNS} runs, got {len(rows)}")
    rows = np.stack([rows[:, 0], *(np.clip(rows[:, k], 0, store.shape[1]) for k in (1, 2))], axis=1)
    return rows[(rows[:, 0] >= 0) & (rows[:, 0] < store.shape[0]) & (rows[:, 1] < rows[:, 2])]


def _masks(runs: NDArray[np.int64]) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
    """Yield row, column and mask (512, 512) of each chunk that runs meet."""
    if not len(runs):
        return
    for cy in np.unique(runs[:, 0] // CHUNK).tolist():
        y, x0, x1 = runs[runs[:, 0] // CHUNK == cy].T
        y = y - cy * CHUNK
        for cx in range(int(x0.min()) // CHUNK, int(x1.max() - 1) // CHUNK + 1):
            a, b = np.clip(x0 - cx * CHUNK, 0, CHUNK), np.clip(x1 - cx * CHUNK, 0, CHUNK)
            some = b > a
            if some.any():
                edges = np.zeros((CHUNK, CHUNK + 1), np.int32)
                np.add.at(edges, (y[some], a[some]), 1)
                np.add.at(edges, (y[some], b[some]), -1)
                yield cy, cx, np.cumsum(edges, axis=1)[:, :CHUNK] > 0


def _line(
    points: Iterable[tuple[float, float]], shape: tuple[int, int], origin: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return the pixels of a line in a window, such that no two 4-neighbours lie on its two sides unparted."""
    corners = np.array(list(points), np.float64).reshape(-1, 2) - origin
    if len(corners) < 2 or not np.isfinite(corners).all():
        raise EditError("a cut is a line of two points or more")
    corners = np.clip(corners, -2 * max(shape), 3 * max(shape))
    drawn = np.zeros(shape, bool)
    for (ya, xa), (yb, xb) in itertools.pairwise(corners):
        steps = int(4 * max(abs(yb - ya), abs(xb - xa))) + 2
        y = np.floor(np.linspace(ya, yb, steps) + 0.5).astype(np.int64)
        x = np.floor(np.linspace(xa, xb, steps) + 0.5).astype(np.int64)
        inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
        drawn[y[inside], x[inside]] = True
    return drawn


def _grow(pieces: NDArray[np.int32], inside: NDArray[np.bool_]) -> None:
    """Let pieces grow into the pixels of the cut, a neighbour at a time."""
    while True:
        empty = inside & (pieces == 0)
        if not empty.any():
            return
        grown = np.zeros_like(pieces)
        for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
            source = np.roll(pieces, step, axis)
            edge: list[slice | int] = [slice(None), slice(None)]
            edge[axis] = 0 if step == 1 else -1
            source[tuple(edge)] = 0
            np.maximum(grown, source, out=grown)
        filled = empty & (grown > 0)
        if not filled.any():
            pieces[empty] = pieces.max()  # a fray apart from every piece
            return
        pieces[filled] = grown[filled]
