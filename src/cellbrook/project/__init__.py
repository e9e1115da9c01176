"""Projects: images, their labels, every edit, and the models taught from them, in one folder.

::

    project = Project.create(folder, name=..., images=[...])   Project.open(folder, read_only=False)
        .settings  .save_settings(...)          project.toml: name, classes, channels, active model
        .add(paths, copy=False) -> AddReport    by content: the same image twice is told, not doubled
        .images() -> list[ImageRecord]          .image(id) -> ImageRecord        .find(id | name | path)
        .open_image(id) -> Source               plain error if the file is gone or changed
        .set_state(id, "done")                  new | predicted | corrected | done
        .labels(id) -> LabelStore               pixels and objects of one image
        .log(id) -> OpLog                       the only way to change them
        .add_job .update_job .jobs              rows of the server's queue; "running" becomes "interrupted" at open
        .rounds .add_round                      training rounds and their scores
        .flush()  .close()  (context manager)   everything is in the log already; this tidies the chunks up

    store = project.labels(id)                  planes: T and Z flattened in order, 0 in two dimensions
        .shape (Y, X)  .planes  .axes  .leading  .levels  .rev
        .read(plane, y0, x0, y1, x1) -> uint32 array           .read_all() -> labels in the image's own axes
        .read_at(rev, ...)                      as it was after that revision
        .chunk_bytes(plane, cy, cx, level=0) -> bytes          gzip of 512 x 512 little-endian uint32, as stored on disk
        .objects(plane=None, ids=None) -> list[ObjectRow]      id, plane, box, area, class, origin, locked, scores
        .table(plane=None) -> ObjectTable
        .at(plane, y, x) -> id                  .lease(count=1024) -> range of fresh ids

    log = project.log(id)
        .apply(op, base_rev=None, user="me", client=None, op_id=None) -> Applied
        .undo(user="me", ...) -> Applied | None                .redo(user="me", ...) -> Applied | None
        .history(since=0) -> list[OpInfo]       .can_undo(user)  .can_redo(user)
        .regions() -> list[Region]              parts of the image that people drew and named
        .patches(since_rev, until=None) -> list[Patch]         what other clients need; Patch.runs: start, length, old, new

    op = Paint(label, runs, plane=0, mode="overwrite" | "keep" | "inside", inside=0)   runs: (n, 3) rows y, x0, x1
       | Merge(ids)  Delete(ids)  Relabel(old, new)  SetClass(ids, class_id)  Lock(ids, locked)
       | Split(id, points, plane=0)   Interpolate(ids)
       | Replace(labels, objects, planes, y0, x0, whole, protect=True, origin="auto")
       | SetRegion(Region(id, name, polygons)) a part of the image that is counted in; no polygons: take it away
       | Batch(ops)                            several as one: one revision, one undo

`Applied` carries ``rev, op_id, boxes, chunks, objects (changed rows), removed (ids), regions (ids)``. A stale op
(``base_rev`` older than the newest revision) is accepted if no box of it meets a newer op of another client, models'
results apart, else `EditConflict` is raised, which carries ``rev`` and ``boxes``. An op that is refused (`EditError`)
changes nothing. An ``op_id`` that was applied before is not applied again: its first answer comes back.

Above those: `predict`, `rethreshold`, `suggest_limits`, `suggest`, `import_labels`, `export_project`, `merge_projects`,
`status`, `train_round`, `activate_model`, `plan_second_looks`, `compare_second_looks`, `import_regions`,
`count_in_regions`: functions that take a project, each in the module of its name (`import_labels` in `corrections`,
`export_project` in `exchange`, `suggest_limits` in `marks`, those of regions in `regions`).

Safety: an op is committed to SQLite, with what it changed (old and new value of every pixel), before any chunk changes. A
chunk file carries the revision that it holds (in its gzip header), so what a crash kept from it is replayed from the log
when it is next read; a chunk that is damaged or gone is made anew from the log.
"""

from __future__ import annotations

from cellbrook.project.images import AddReport, ImageRecord
from cellbrook.project.labelstore import LabelStore
from cellbrook.project.objects import ObjectRow
from cellbrook.project.oplog import Applied, OpInfo, OpLog
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
from cellbrook.project.project import Project
from cellbrook.project.regions import Region
from cellbrook.project.settings import ClassInfo, ProjectSettings

__all__ = [
    "AddReport",
    "Applied",
    "Batch",
    "ClassInfo",
    "Delete",
    "ImageRecord",
    "Interpolate",
    "LabelStore",
    "Lock",
    "Merge",
    "ObjectRow",
    "Op",
    "OpInfo",
    "OpLog",
    "Paint",
    "Project",
    "ProjectSettings",
    "Region",
    "Relabel",
    "Replace",
    "SetClass",
    "SetPixels",
    "SetRegion",
    "Split",
]
