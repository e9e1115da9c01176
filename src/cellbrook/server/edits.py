"""From a page's edit to an operation of the project, and from what that changed to what pages are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import EditError, UsageError
from cellbrook.project.ops import (
    Batch,
    Delete,
    Interpolate,
    Lock,
    Merge,
    Op,
    Paint,
    Relabel,
    SetClass,
    Split,
)
from cellbrook.project.regions import Region, adding
from cellbrook.server.messages import TILE, Edit, EditPart, ObjectRow, Patch
from cellbrook.server.runs import decode_runs, encode_runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from cellbrook.project import objects
    from cellbrook.project._patch import Patch as ChunkPatch
    from cellbrook.project.oplog import Applied
    from cellbrook.server.ghosts import Ghosts

MOST_RUNS = 20_000
"""A patch with more runs is sent as a list of tiles to fetch again."""

_ATOMS = ("paint", "merge", "delete", "relabel", "set_class", "lock", "split", "interpolate")


def op_of(edit: Edit | EditPart, shape: tuple[int, int], ghosts: Ghosts) -> Op:
    """Return the operation that an edit asks for ("prompt" is not one: its pixels have to be found first).

    Parameters
    ----------
    edit : Edit or EditPart
        As a page sent it.
    shape : tuple of int
        Rows and columns of the image.
    ghosts : Ghosts
        Discarded candidates, for "accept".

    Raises
    ------
    UsageError
        If fields are missing or do not fit the image.
    """
    kind = edit.kind
    if kind == "batch" and isinstance(edit, Edit):
        if not edit.parts:
            raise UsageError("an edit of several parts needs parts")
        return Batch(tuple(op_of(part, shape, ghosts) for part in edit.parts), kind="batch")
    if kind == "accept":
        return Batch(
            tuple(Paint(i, runs, plane, "keep") for i, plane, runs in ghosts.pixels(_ids(edit))),
            kind="accept",
        )
    if kind == "region" and isinstance(edit, Edit):
        if not edit.regions:
            raise UsageError("an edit of regions needs regions")
        return adding(
            Region(r.id, r.name, tuple(tuple(map(tuple, polygon)) for polygon in r.polygons))
            for r in edit.regions
        )
    if kind not in _ATOMS:
        raise UsageError(f"an edit of kind {kind!r} cannot be a part of another")
    if kind == "paint":
        if edit.runs is None or edit.label is None or edit.label < 0:
            raise UsageError("a stroke needs runs and a label of 0 or more")
        return Paint(edit.label, decode_runs(edit.runs, shape), edit.plane, edit.mode, tuple(edit.ids or ()))
    ids = _ids(edit)
    match kind:
        case "merge":
            return Merge(ids)
        case "delete":
            return Delete(ids)
        case "relabel":
            if edit.label is None and edit.value is None:
                raise UsageError("giving an object another number needs that number, as label")
            return Relabel(ids[0], int(edit.label if edit.label is not None else edit.value or 0))
        case "set_class":
            return SetClass(ids, int(edit.value or 0))
        case "lock":
            return Lock(ids, bool(edit.value))
        case "interpolate":
            return Interpolate(ids)
    if edit.line is None or len(edit.line) == 1:
        raise UsageError(
            "a cut needs a line of two points or more; or an empty one, for a cut between planes"
        )
    return Split(ids[0], tuple((float(y), float(x)) for y, x in edit.line), edit.plane)


def parts_of(edit: Edit) -> list[Edit | EditPart]:
    """Return an edit and its parts."""
    return [edit, *(edit.parts or [])]


def _ids(edit: Edit | EditPart) -> tuple[int, ...]:
    if not edit.ids:
        raise EditError(f"an edit of kind {edit.kind!r} needs the ids of objects: choose some first")
    return tuple(edit.ids)


def row_of(row: objects.ObjectRow) -> ObjectRow:
    """Return a row of the project's table as it is sent."""
    return {
        "id": row.id,
        "plane": row.plane,
        "y0": row.y0,
        "x0": row.x0,
        "y1": row.y1,
        "x1": row.x1,
        "area": row.area,
        "class": row.class_id,
        "origin": row.origin,
        "locked": row.locked,
        "score": row.score,
        "flow_error": row.flow_error,
        "discarded": False,
        "reason": "",
    }


def rows_of(applied: Applied) -> list[ObjectRow]:
    """Return the rows that an operation changed, and those that are gone."""
    rows = [row_of(r) for r in applied.objects]
    return rows + [{"id": i, "plane": plane, "gone": True} for i, plane in applied.removed]


def patches_of(applied: Applied, changes: Sequence[ChunkPatch], image: str, by: str) -> list[Patch]:
    """Return what other pages are told of an operation: a patch a plane that it touched.

    Parameters
    ----------
    applied : Applied
        What it did.
    changes : sequence
        The chunks that it changed.
    image, by : str
        Which image, and who did it.
    """
    rows = rows_of(applied)
    planes = sorted({c.chunk[0] for c in changes} | {r["plane"] for r in rows})
    patches = []
    for plane in planes or [0]:
        mine = [c for c in changes if c.chunk[0] == plane]
        patch = Patch(image=image, plane=plane, rev=applied.rev, by=by)
        patch.objects = [r for r in rows if r["plane"] == plane]
        if sum(c.runs.shape[1] for c in mine) <= MOST_RUNS:
            patch.runs = encode_runs(labelled_runs(mine))
        else:
            patch.tiles = [(c.chunk[1], c.chunk[2]) for c in mine]
        patches.append(patch)
    patches[0].regions = bool(applied.regions)
    return patches


def labelled_runs(changes: Iterable[ChunkPatch]) -> NDArray[np.int64]:
    """Return what chunks became as runs of the image, (n, 4): ``y, x0, x1, label``, sorted."""
    parts = [np.zeros((0, 4), np.int64)]
    for change in changes:
        top, left = change.origin
        y, x = np.divmod(change.runs[0].astype(np.int64), TILE)
        length, new = change.runs[1].astype(np.int64), change.runs[3].astype(np.int64)
        parts.append(np.stack([y + top, x + left, x + left + length, new], axis=1))
    runs = np.concatenate(parts)
    return runs[np.lexsort((runs[:, 1], runs[:, 0]))]


def tiles_of(boxes: Iterable[Sequence[int]]) -> list[tuple[int, int]]:
    """Return row and column of the tiles that boxes (plane, y0, x0, y1, x1) meet."""
    tiles: set[tuple[int, int]] = set()
    for _, y0, x0, y1, x1 in boxes:
        tiles |= {
            (ty, tx)
            for ty in range(y0 // TILE, max(y1 - 1, y0) // TILE + 1)
            for tx in range(x0 // TILE, max(x1 - 1, x0) // TILE + 1)
        }
    return sorted(tiles)


def tiles_of_edit(
    edit: Edit, shape: tuple[int, int], rows: Iterable[objects.ObjectRow]
) -> list[tuple[int, int]]:
    """Return the tiles that an edit would have changed, for a page that has drawn it already."""
    boxes: list[tuple[int, ...]] = [(r.plane, r.y0, r.x0, r.y1, r.x1) for r in rows]
    for part in parts_of(edit):
        if part.runs:
            try:
                runs: Any = decode_runs(part.runs, shape)
            except UsageError:
                continue
            if len(runs):
                y0, y1 = int(runs[0, 0]), int(runs[-1, 0]) + 1
                boxes.append((part.plane, y0, int(runs[:, 1].min()), y1, int(runs[:, 2].max())))
    return tiles_of(boxes)
