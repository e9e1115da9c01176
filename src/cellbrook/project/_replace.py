"""A model's result, or an import, in the place of what was there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.labels import components
from cellbrook.errors import EditError
from cellbrook.io.writers import as_labels
from cellbrook.metrics.matching import overlaps
from cellbrook.project._draft import number_of
from cellbrook.project.objects import ObjectRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.project._draft import Draft
    from cellbrook.project.ops import Replace

_LEFT = 0.5  # an object of which less than this is left beside protected ones is not itself any more


def replace(op: Replace, draft: Draft) -> None:
    """Do a `Replace` on a draft; see there."""
    stack = as_labels(op.labels, "the result")
    if stack.ndim == 2:
        stack = stack[None]
    h, w = stack.shape[-2:]
    rows, cols = draft.store.shape
    if (
        stack.ndim != 3
        or len(stack) != len(op.planes)
        or op.y0 < 0
        or op.x0 < 0
        or op.y0 + h > rows
        or op.x0 + w > cols
    ):
        raise EditError(
            f"labels of shape {stack.shape} at {op.y0}, {op.x0} do not fit planes {op.planes} of {draft.store.shape} pixels"
        )
    attributes = _attributes(op)
    ids: dict[int, int] = {}  # of the result -> of the image
    taken: set[int] = set()
    placed = []
    for plane, labels in zip(op.planes, stack, strict=True):
        current, new, keep, old_rows = _prepared(op, draft, plane, labels)
        for label, old in _matched(np.where(keep, 0, current), new).items():
            if label not in ids and old not in taken:
                ids[label] = old
                taken.add(old)
        placed.append((plane, current, new, keep, old_rows))
    unnamed = sorted({int(i) for p in placed for i in np.unique(p[2])} - {0} - set(ids))
    if unnamed:
        ids |= dict(zip(unnamed, draft.store.lease(len(unnamed)), strict=True))
    for plane, _, new, keep, old_rows in placed:
        _place(op, draft, plane, new, keep, old_rows, ids, attributes)


def _prepared(
    op: Replace, draft: Draft, plane: int, labels: NDArray[np.uint32]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.bool_], dict[int, ObjectRow]]:
    """Return what is there, the new labels cut back, which pixels stay, and the old objects of the plane."""
    h, w = labels.shape
    y1, x1 = op.y0 + h, op.x0 + w
    current = draft.window(plane, (op.y0, op.x0, y1, x1))
    rows = {r.id: r for r in draft.rows(np.unique(current).tolist()) if r.plane == plane}
    staying = {
        r.id
        for r in rows.values()
        if (r.protected if op.protect else r.locked)
        or r.y0 < op.y0 or r.x0 < op.x0 or r.y1 > y1 or r.x1 > x1
    }  # fmt: skip
    new = labels.copy()
    new[np.isin(new, _cut_by_window(op, labels, draft.store.shape))] = 0
    if op.protect:
        if draft.deleted is not None:
            new[np.isin(new, list(_matched(draft.deleted(plane, (op.y0, op.x0, y1, x1)), new)))] = 0
        # a class is work, too: it goes over to what is found there now; where nothing is, the object stays with it
        if said := draft.classified & rows.keys() - staying:
            staying |= said - set(_matched(current, new).values())
    keep = np.isin(current, list(staying)) if staying else np.zeros(current.shape, bool)
    if keep.any():
        _cut_back(new, keep)
    return current, new, keep, rows


def _cut_by_window(op: Replace, labels: NDArray[np.uint32], shape: tuple[int, int]) -> NDArray[np.uint32]:
    """Return the labels that touch a border of the window which is not one of the image."""
    h, w = labels.shape
    if not labels.size:
        return np.zeros(0, np.uint32)
    edges = [
        edge
        for inner, edge in (
            (op.y0 > 0, labels[0]),
            (op.x0 > 0, labels[:, 0]),
            (op.y0 + h < shape[0], labels[-1]),
            (op.x0 + w < shape[1], labels[:, -1]),
        )
        if inner
    ]
    found: NDArray[np.uint32] = np.unique(np.concatenate(edges)) if edges else np.zeros(0, np.uint32)
    return found[found > 0]


def _cut_back(new: NDArray[np.uint32], keep: NDArray[np.bool_]) -> None:
    """Take away what lies on pixels that stay; of what is left of an object, its largest piece, if that is half of it."""
    met = np.unique(new[keep])
    met = met[met > 0]
    if not len(met):
        return
    numbered = number_of(new, met)
    before = np.bincount(numbered.ravel(), minlength=len(met) + 1)
    numbered[keep] = 0
    pieces = components(numbered.astype(np.int32))
    areas = np.bincount(pieces.ravel())
    owner = np.zeros(len(areas), np.int64)
    owner[pieces.ravel()] = numbered.ravel()
    order = np.argsort(areas, kind="stable")
    largest = np.full(len(met) + 1, -1, np.int64)
    largest[owner[order]] = order  # the last one written is the largest
    good = np.zeros(len(areas), bool)
    for number in range(1, len(met) + 1):
        piece = largest[number]
        if piece > 0 and areas[piece] > _LEFT * before[number]:
            good[piece] = True
    new[np.isin(new, met) & ~good[pieces]] = 0


def _matched(old: NDArray[np.uint32], new: NDArray[np.uint32]) -> dict[int, int]:
    """Return new label -> old label of pairs that overlap by more than half; no label is in two."""
    table = overlaps(old, new)
    over = table.iou > 0.5
    return dict(
        zip(
            table.pred_ids[table.pred_index[over]].tolist(),
            table.true_ids[table.true_index[over]].tolist(),
            strict=True,
        )
    )


def _place(
    op: Replace,
    draft: Draft,
    plane: int,
    new: NDArray[np.uint32],
    keep: NDArray[np.bool_],
    old_rows: dict[int, ObjectRow],
    ids: dict[int, int],
    attributes: dict[tuple[int, int], dict[str, Any]],
) -> None:
    present = np.unique(new)
    present = present[present > 0]
    table = np.zeros(len(present) + 1, np.uint32)
    table[1:] = [ids[int(i)] for i in present]
    numbered = number_of(new, present) if len(present) else np.zeros(new.shape, np.uint32)
    draft.write_window(plane, op.y0, op.x0, table[numbered], ~keep)
    for label in present.tolist():
        old = old_rows.get(ids[label])
        facts = {**attributes.get((label, -1), {}), **attributes.get((label, plane), {})}
        if old is not None and (old.id in draft.classified or not facts.get("class_id")):
            facts["class_id"] = old.class_id  # what a person said of the cell stays said
        origin = op.origin
        if old is not None and op.origin == "manual":
            origin = "manual" if old.origin == "manual" else "edited"
        row = ObjectRow(ids[label], plane, 0, 0, 0, 0, 0, origin=origin, **facts)
        draft.fresh[row.id, plane] = row
        if old is not None:  # also where no pixel changes
            box = {"y0": old.y0, "x0": old.x0, "y1": old.y1, "x1": old.x1, "area": old.area}
            draft.set_attributes(old, **{**facts, "origin": origin, **box}, **_scores(facts))


def _scores(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: None for name in ("score", "flow_error", "cellprob") if name not in facts}


def _attributes(op: Replace) -> dict[tuple[int, int], dict[str, Any]]:
    """Return what the result's table says of each object, by label and plane; by plane -1 what holds in all."""
    if op.objects is None:
        return {}
    names = {"score": "score", "flow_error": "flow_error", "cellprob": "cellprob", "class": "class_id"}
    facts: dict[tuple[int, int], dict[str, Any]] = {}
    columns = {field: op.objects[name].tolist() for name, field in names.items() if name in op.objects}
    labels = op.objects["label"].tolist()
    planes = op.objects["plane"].tolist() if "plane" in op.objects else [-1] * len(labels)
    for k, (label, plane) in enumerate(zip(labels, planes, strict=True)):
        row = {f: values[k] for f, values in columns.items()}
        facts[int(label), int(plane)] = {
            f: (int(v) if f == "class_id" else float(v))
            for f, v in row.items()
            if not isinstance(v, str) and v is not None and v == v
        }
    return facts
