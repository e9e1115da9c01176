"""Two copies of a project made one again, object by object.

Copies share the beginning of each image's log. What the other copy changed since then is taken over where this copy has
not changed the same objects. Where both did, a person's work goes before a model's; where both are a person's, this copy's
stays and the place is flagged. All that is taken over of an image is one edit, which can be undone.
"""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from cellbrook.errors import UsageError
from cellbrook.io.atomic import atomic
from cellbrook.metrics.matching import overlaps
from cellbrook.project.models import own_models
from cellbrook.project.ops import MODEL_RUNS, Batch, Lock, Op, SetClass, SetPixels
from cellbrook.project.project import Project
from cellbrook.project.second_looks import add_second_looks, read_second_looks
from cellbrook.project.settings import with_classes

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from cellbrook.project.images import ImageRecord
    from cellbrook.project.objects import Box, ObjectRow
    from cellbrook.project.oplog import OpLog

_SAME = 0.8  # IoU from which two people's outlines of a cell count as the same
_ORDER = ("new", "predicted", "corrected", "done")


@dataclass(frozen=True, slots=True)
class Conflict:
    """A place that both copies changed.

    Parameters
    ----------
    image, name : str
        Which image.
    box : (plane, y0, x0, y1, x1)
        Where.
    reason : str
        What differs, in words.
    """

    image: str
    name: str
    box: Box
    reason: str


@dataclass(slots=True)
class MergeReport:
    """What came of merging.

    Parameters
    ----------
    images_added : list of str
        Names of images that only the other copy had.
    taken, same, kept : int
        Changes of the other copy that were taken over; that both had made; where a person's work here stayed against a
        model's there.
    conflicts : list of Conflict
        Where this copy's version stays until somebody looks.
    notes : list of str
        What else to know.
    """

    images_added: list[str] = field(default_factory=list)
    taken: int = 0
    same: int = 0
    kept: int = 0
    conflicts: list[Conflict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def merge_projects(
    project: Project, other: str | os.PathLike[str] | Project, *, user: str = "merge"
) -> MergeReport:
    """Take over what another copy of a project has that this one has not.

    Parameters
    ----------
    project : Project
        Open for writing. The other copy is only read.
    other : path or Project
        The other copy.
    user : str
        Whose undo takes it back.

    Returns
    -------
    MergeReport
        Its conflicts are also kept in the project; see `cellbrook.project.status.conflicts`.

    Raises
    ------
    UsageError
        If both are the same folder.
    ProjectError
        If the other one cannot be read.
    """
    if not isinstance(other, Project):
        with Project.open(other, read_only=True) as opened:
            return merge_projects(project, opened, user=user)
    if other.folder.resolve() == project.folder.resolve():
        raise UsageError(f"{project.folder} would be merged with itself: give the other copy")
    report = MergeReport()
    classes = _merge_classes(project, other, report)
    here = {r.id for r in project.images()}
    for record in other.images():
        if record.id not in here and not _add(project, other, record, report):
            continue
        _merge_image(project, other, record, classes, user, report)
    for name in own_models(other):
        if name not in own_models(project):
            with atomic(project.folder / "models" / name) as target:
                shutil.copytree(other.folder / "models" / name, target)
            report.notes.append(f"took over the model {name}")
    _store_conflicts(project, other, report)
    return report


def _merge_classes(project: Project, other: Project, report: MergeReport) -> dict[int, int]:
    """Give the project the classes that it lacks; return what each number there is here: a class is known by its name."""
    ours, theirs = project.settings.classes, other.settings.classes
    new = [c for c in theirs if c.name not in {o.name for o in ours}]
    fitting = [c for c in new if c.id not in {o.id for o in ours}]
    merged = with_classes((*ours, *fitting), [c.name for c in new])
    if new:
        project.save_settings(classes=tuple(sorted(merged, key=lambda c: c.id)))
    ids = {c.name: c.id for c in merged}
    report.notes += [
        f'class {c.id} there, "{c.name}", is class {ids[c.name]} here' for c in theirs if ids[c.name] != c.id
    ]
    return {c.id: ids[c.name] for c in theirs}


def _add(project: Project, other: Project, record: ImageRecord, report: MergeReport) -> bool:
    problem = other.problem(record.id)
    if problem is not None:
        report.notes.append(f"left out an image of the other copy: {problem}")
        return False
    if (look := read_second_looks(other.folder).get(record.id)) is not None:
        add_second_looks(project.folder, {record.id: look})  # before it is there, as when it was made
    added = project.add([other.path(record.id)], copy=record.copied, scene=record.scene)
    for path, why in added.failed:
        report.notes.append(f"left out an image of the other copy: {path}: {why}")
    report.images_added += [r.name for r in added.added]
    return any(r.id == record.id for r in project.images())


def _merge_image(
    project: Project,
    other: Project,
    record: ImageRecord,
    classes: dict[int, int],
    user: str,
    report: MergeReport,
) -> None:
    ours, theirs = project.log(record.id), other.log(record.id)
    base = _common_revision(ours, theirs)
    if theirs.rev == base:
        return
    ops: list[Op] = []
    ids: dict[int, int] = {}  # of objects that are new in the other copy -> here
    before, state = len(report.conflicts), project.image(record.id).state
    for plane in range(ours.store.planes):
        ops += _Plane(project.image(record.id), ours, theirs, base, plane, ids, classes, report).ops()
    if ops:
        ours.apply(Batch(tuple(ops), kind="merge_copies"), user=user)
    if len(report.conflicts) == before:  # else somebody has to look first
        project.set_state(record.id, max(state, record.state, key=_ORDER.index))


def _common_revision(ours: OpLog, theirs: OpLog) -> int:
    base = 0
    for mine, other in zip(ours.history(), theirs.history(), strict=False):
        if mine.op_id != other.op_id:
            break
        base = mine.rev
    return base


class _Plane:
    """One plane of an image in three states: common, ours, theirs."""

    def __init__(
        self,
        record: ImageRecord,
        ours: OpLog,
        theirs: OpLog,
        base: int,
        plane: int,
        ids: dict[int, int],
        classes: dict[int, int],
        report: MergeReport,
    ) -> None:
        self.record, self.plane, self.ids, self.classes, self.report = record, plane, ids, classes, report
        self.store = ours.store
        self.base = theirs.store.read_at(base, plane)
        self.ours, self.theirs = ours.store.read(plane), theirs.store.read(plane)
        self.base_rows = {r.id: r for r in rows_at(theirs, base) if r.plane == plane}
        self.our_rows = {r.id: r for r in ours.store.objects(plane)}
        self.their_rows = {r.id: r for r in theirs.store.objects(plane)}
        self.our_hand, self.their_hand = (
            [b for h in log.history(base) if h.kind not in MODEL_RUNS for b in h.boxes if b[0] == plane]
            for log in (ours, theirs)
        )

    def ops(self) -> Iterator[Op]:
        """Yield what has to be done here to take over what the other copy changed."""
        for group in self._groups():
            yield from self._take(group)
        yield from self._attributes()

    def _groups(self) -> Iterator[set[int]]:
        """Yield sets of ids that the other copy's changes bind together: what was merged, split, drawn over."""
        changed = self.base != self.theirs
        if not changed.any():
            return
        pairs = np.unique(np.stack([self.base[changed], self.theirs[changed]]), axis=1).T.tolist()
        parent: dict[int, int] = {}

        def root(i: int) -> int:
            parent.setdefault(i, i)
            while parent[i] != i:
                parent[i] = parent[parent[i]]
                i = parent[i]
            return i

        for a, b in pairs:
            if a and b:
                parent[root(a)] = root(b)
            else:
                root(a or b)
        groups: dict[int, set[int]] = {}
        for i in parent:
            groups.setdefault(root(i), set()).add(i)
        yield from groups.values()

    def _take(self, group: set[int]) -> Iterator[Op]:
        rows = [table[i] for i in group for table in (self.base_rows, self.their_rows) if i in table]
        y0, x0 = min(r.y0 for r in rows), min(r.x0 for r in rows)
        y1, x1 = max(r.y1 for r in rows), max(r.x1 for r in rows)
        window = np.s_[y0:y1, x0:x1]
        base, ours, theirs = self.base[window], self.ours[window], self.theirs[window]
        members = sorted(group)
        region = np.isin(base, members) | np.isin(theirs, members)
        changed = region & (base != theirs)
        box: Box = (self.plane, y0, x0, y1, x1)
        untouched = np.array_equal(ours[region], base[region])
        if not untouched and self._same(ours, theirs, region, members):
            self.report.same += 1
            return
        locked = [i for i in np.unique(ours[region]).tolist() if i and self.our_rows[i].locked]
        if locked and not np.array_equal(ours[changed], theirs[changed]):
            self._conflict(box, f"object {locked[0]} is locked here and was changed there")
            return
        if untouched:
            yield self._write(changed, theirs, y0, x0, members)
            return
        ours_by_hand, theirs_by_hand = _meets(box, self.our_hand), _meets(box, self.their_hand)
        if ours_by_hand and theirs_by_hand:
            self._conflict(box, _difference(members, self.base_rows, self.their_rows))
        elif theirs_by_hand:
            mask = region | self._displaced(ours, region)
            new = np.where(np.isin(theirs, members), theirs, 0).astype(np.uint32)
            yield self._write(mask, new, y0, x0, members)
        else:
            self.report.kept += 1

    def _same(
        self,
        ours: NDArray[np.uint32],
        theirs: NDArray[np.uint32],
        region: NDArray[np.bool_],
        members: list[int],
    ) -> bool:
        """Return True if this copy has the same objects in the region, whatever their ids."""
        there = np.where(np.isin(theirs, members), theirs, 0).astype(np.uint32)
        here_ids = [i for i in np.unique(ours[region]).tolist() if i]
        here = np.where(np.isin(ours, here_ids), ours, 0).astype(np.uint32)
        table = overlaps(here, there)
        drawn_twice = not any(i in self.base_rows for i in members)
        good = int((table.iou >= (_SAME if drawn_twice else 1.0)).sum())
        return good == table.n_true == table.n_pred

    def _displaced(self, ours: NDArray[np.uint32], region: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the pixels of a model's objects here that lie mostly where the other copy's person worked."""
        met, counts = np.unique(ours[region], return_counts=True)
        mostly = [
            int(i) for i, n in zip(met, counts, strict=True)
            if i and self.our_rows[int(i)].origin == "auto" and 2 * n > self.our_rows[int(i)].area
        ]  # fmt: skip
        return np.isin(ours, mostly)

    def _write(
        self, mask: NDArray[np.bool_], labels: NDArray[np.uint32], y0: int, x0: int, members: Iterable[int]
    ) -> SetPixels:
        self.report.taken += 1
        fresh = [i for i in members if i not in self.base_rows and i in self.their_rows and i not in self.ids]
        if fresh:
            self.ids |= dict(zip(fresh, self.store.lease(len(fresh)), strict=True))
        new = labels.copy()
        for i in members:
            if i in self.ids:
                new[labels == i] = self.ids[i]
        rows = tuple(
            dataclasses.replace(self.their_rows[i], id=self.ids.get(i, i), class_id=self._class_of(i))
            for i in members
            if i in self.their_rows
        )
        return SetPixels(mask, new, self.plane, y0, x0, rows)

    def _class_of(self, i: int) -> int:
        """Return the class here of an object of the other copy: what was said of it here since goes first."""
        old, mine = self.base_rows.get(i), self.our_rows.get(i)
        if old is not None and mine is not None and mine.class_id != old.class_id:
            return mine.class_id
        there = self.their_rows[i].class_id
        return self.classes.get(there, there)

    def _attributes(self) -> Iterator[Op]:
        """Yield changes of class and lock, of objects that are still there in both copies."""
        for i, old in self.base_rows.items():
            mine, other = self.our_rows.get(i), self.their_rows.get(i)
            if mine is None or other is None:
                continue
            class_id = self.classes.get(other.class_id, other.class_id)
            if other.class_id != old.class_id and class_id != mine.class_id:
                if mine.class_id == old.class_id and not mine.locked:
                    self.report.taken += 1
                    yield SetClass((i,), class_id)
                else:
                    self._conflict(
                        mine.box, f"object {i} has class {mine.class_id} here and {class_id} there"
                    )
            if other.locked and not old.locked and not mine.locked:
                yield Lock((i,), True)

    def _conflict(self, box: Box, reason: str) -> None:
        self.report.conflicts.append(Conflict(self.record.id, self.record.name, box, reason))


def rows_at(log: OpLog, rev: int) -> list[ObjectRow]:
    """Return the objects of an image as they were after a revision."""
    rows = {(r.id, r.plane): r for r in log.store.objects()}
    for line in reversed(log.history(rev)):
        for before, after in log.row_changes(line.rev):
            if after is not None:
                rows.pop((after.id, after.plane), None)
            if before is not None:
                rows[before.id, before.plane] = before
    return [rows[key] for key in sorted(rows)]


def _meets(box: Box, others: list[Box]) -> bool:
    return any(box[1] < b[3] and b[1] < box[3] and box[2] < b[4] and b[2] < box[4] for b in others)


def _difference(members: list[int], base: dict[int, ObjectRow], theirs: dict[int, ObjectRow]) -> str:
    gone = [i for i in members if i in base and i not in theirs]
    new = [i for i in members if i in theirs and i not in base]
    if gone and new:
        return f"objects {', '.join(map(str, gone[:3]))} were replaced there and changed here"
    if gone:
        return f"object {gone[0]} was deleted or merged there and changed here"
    if new:
        return "both copies drew something here, differently"
    return f"object {members[0]} was changed in both copies"


def _store_conflicts(project: Project, other: Project, report: MergeReport) -> None:
    source, now = str(other.folder), datetime.now(UTC).isoformat(timespec="seconds")
    with project.database.transaction() as connection:
        connection.execute("DELETE FROM conflicts WHERE source = ?", (source,))  # of an earlier try
        connection.executemany(
            "INSERT INTO conflicts (image, plane, y0, x0, y1, x1, reason, source, created)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(c.image, *c.box, c.reason, source, now) for c in report.conflicts],
        )
