"""Two copies of a project made one again, object by object.

Copies share the beginning of each image's log. What the other copy changed since then, or since it was merged last, is
taken over where this copy has not changed the same objects; what it has from this one is no change of its own. Where both
did, a person's work goes before a model's; where both are a person's, this copy's stays and the place is flagged. All that
is taken over of an image is one edit, which can be undone.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, count
from typing import TYPE_CHECKING

import numpy as np

from cellbrook.errors import UsageError
from cellbrook.io.atomic import atomic
from cellbrook.io.hashing import sha256_of
from cellbrook.metrics.matching import overlaps
from cellbrook.project._patch import CHUNK
from cellbrook.project.models import own_models
from cellbrook.project.ops import MODEL_RUNS, REGION, Batch, Lock, Op, SetClass, SetPixels, SetRegion
from cellbrook.project.project import Project
from cellbrook.project.regions import Region
from cellbrook.project.second_looks import add_second_looks, read_second_looks
from cellbrook.project.settings import with_classes

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from sqlite3 import Connection

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
    removed = {i for (i,) in project.database.query("SELECT id FROM images WHERE removed")}
    for record in other.images():
        if record.id in removed:
            report.notes.append(f"left out {record.name}, which was taken out here: add it to have it again")
            continue
        if record.id not in here and not _add(project, other, record, report):
            continue
        _merge_image(project, other, record, classes, user, report)
    _merge_models(project, other, report)
    return report


def _merge_models(project: Project, other: Project, report: MergeReport) -> None:
    """Take over models that are not here, and the rounds in which they were taught: these say what they descend from."""
    models = project.folder / "models"
    here = {sha256_of(models / name): name for name in own_models(project)}
    rounds = {r["model"]: r for r in other.rounds()}
    known = {r["model"] for r in project.rounds()}
    names: dict[str, str] = {}  # there -> here
    for name in own_models(other):
        folder = other.folder / "models" / name
        if (same := here.get(sha256_of(folder))) is not None:
            names[name] = same
            continue
        taken = {*known, *(p.name for p in models.glob("*"))}
        names[name] = next(n for n in chain([name], (f"{name}-{k}" for k in count(2))) if n not in taken)
        with atomic(models / names[name]) as target:
            shutil.copytree(folder, target)
        called = f", which is {names[name]} here: there is another one of its name" * (names[name] != name)
        report.notes.append(f"took over the model {name}{called}")
    for name, taught in rounds.items():
        if name not in names or names[name] in known:
            continue
        start = taught["start"]
        while start not in names and start in rounds:  # one that is no better than its own start stays there
            start = rounds[start]["start"]
        facts = {k: v for k, v in taught.items() if k not in ("number", "created")}
        project.add_round(facts | {"model": names[name], "start": names.get(start, start)})


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
    common = _common(project, other, ours, theirs)
    if theirs.rev == common.rev and common.state in (None, record.state):
        return
    ops: list[Op] = []
    before, state, rev = len(report.conflicts), project.image(record.id).state, ours.rev
    for plane in range(ours.store.planes):
        ops += _Plane(project.image(record.id), ours, theirs, common, plane, classes, report).ops()
    kind = "merge_copies" if ops else REGION
    ops += _regions(record, ours, theirs, common, report)
    if ops:
        ours.apply(Batch(tuple(ops), kind=kind), user=user)
    if len(report.conflicts) == before:  # else somebody has to look first
        project.set_state(record.id, max(state, record.state, key=_ORDER.index))
    ids = json.dumps([pair for pair in common.ids.items() if pair[0] not in common.shared])
    with project.database.transaction() as connection:
        # without an edit that could be undone, the revision at which there was nothing to take is told below zero
        connection.execute(
            "INSERT INTO merges (image, rev, uid, ids, state) VALUES (?, ?, ?, ?, ?)",
            (record.id, ours.rev if ours.rev > rev else -rev, theirs.history()[-1].op_id, ids, record.state),
        )
        _store_conflicts(connection, report.conflicts[before:], str(other.folder))


@dataclass(frozen=True, slots=True)
class _Common:
    """What two copies of an image have in common.

    Parameters
    ----------
    fork, rev : int
        Up to where their logs are one; up to where this copy has what the other one did, by the other's log.
    rows : list of ObjectRow
        The other copy's objects at `rev`, with `taken` and `both`.
    shared : frozenset of int
        Objects that were there before they parted.
    ids : dict of int to int
        What objects of the other copy are called here. Those that are taken over are added.
    state : str or None
        Of the other copy when it was merged last.
    taken : tuple of int
        Revisions of the other copy after `rev` in which it took over what was done here.
    both : tuple of (int, frozenset of int)
        Objects that the other copy made after `rev` and this one has, too, by the revision at which that was found.
    """

    fork: int
    rev: int
    rows: list[ObjectRow]
    shared: frozenset[int]
    ids: dict[int, int]
    state: str | None
    taken: tuple[int, ...] = ()
    both: tuple[tuple[int, frozenset[int]], ...] = ()

    def labels(self, theirs: OpLog, plane: int) -> NDArray[np.uint32]:
        """Return a plane of the other copy at `rev`, with `taken` and `both`."""
        labels = theirs.store.read_at(self.rev, plane)
        for rev in self.taken:
            for patch in theirs.patches(rev - 1, rev):
                if patch.chunk[0] == plane:
                    y, x = np.divmod(patch.pixels, CHUNK)
                    labels[patch.chunk[1] * CHUNK + y, patch.chunk[2] * CHUNK + x] = patch.new
        for rev, ids in self.both:
            found = theirs.store.read_at(rev, plane)
            np.copyto(labels, found, where=np.isin(found, list(ids)))
        # of an object that was changed there before it gave way, more was here than a merge took
        if self.taken:
            labels[~np.isin(labels, [r.id for r in self.rows if r.plane == plane])] = 0
        return labels


def _common(project: Project, other: Project, ours: OpLog, theirs: OpLog) -> _Common:
    mine, others = ours.history(), theirs.history()
    fork = 0
    for here, there in zip(mine, others, strict=False):
        if here.op_id != there.op_id:
            break
        fork = here.rev
    rows = rows_at(theirs, fork)
    shared = frozenset(r.id for r in rows)
    common = _Common(fork, fork, rows, shared, {i: i for i in shared}, None)
    if merged := _merges(project, ours, theirs):
        _, uid, called, state = merged[-1]
        rev = next(h.rev for h in others if h.op_id == uid)
        ids = common.ids | called
        common = dataclasses.replace(common, rev=rev, rows=rows_at(theirs, rev), ids=ids, state=state)
    return _with_ours(common, _merges(other, theirs, ours), theirs)


def _merges(project: Project, log: OpLog, other: OpLog) -> list[tuple[int, str, dict[int, int], str]]:
    """Return when a copy took another one over: its revision, the other's last edit, what objects are called, the state."""
    undone, known = {h.rev for h in log.history() if h.undone}, {h.op_id for h in other.history()}
    found = []
    for rev, uid, pairs, state in project.database.query(
        "SELECT rev, uid, ids, state FROM merges WHERE image = ? ORDER BY number", (log.store.image,)
    ):
        if rev in undone:  # what it took is not there, nor is it known of what came after
            break
        if uid in known:
            found.append((rev, uid, dict(json.loads(pairs)), state))
    return found


def _with_ours(common: _Common, merges: list[tuple[int, str, dict[int, int], str]], theirs: OpLog) -> _Common:
    """Add what the other copy's own merges brought it from here: else that would come back where it was deleted since."""
    ids: dict[int, int] = {}
    rows = {(r.id, r.plane): r for r in common.rows}
    taken, both = [], []
    for rev, _, called, _ in merges:
        if rev > common.rev:
            taken.append(rev)
            for before, after in theirs.row_changes(rev):
                _change(rows, before, after)
        found = {there: here for here, there in called.items()}
        if abs(rev) > common.rev and (new := found.keys() - ids.keys() - {i for i, _ in rows}):
            drawn = {(r.id, r.plane): r for r in rows_at(theirs, abs(rev)) if r.id in new}
            rows |= drawn
            both.append((abs(rev), frozenset(i for i, _ in drawn)))
        ids |= found
    return dataclasses.replace(
        common, rows=list(rows.values()), ids=ids | common.ids, taken=tuple(taken), both=tuple(both)
    )


def _change(
    rows: dict[tuple[int, int], ObjectRow], before: ObjectRow | None, after: ObjectRow | None
) -> None:
    """Do to a row what was done to a later state of it."""
    if after is None:
        assert before is not None
        rows.pop((before.id, before.plane), None)
        return
    key = after.id, after.plane
    if before is None:
        rows[key] = after
    elif (old := rows.get(key)) is not None:
        names = [f.name for f in dataclasses.fields(after)]
        changes = {n: getattr(after, n) for n in names if getattr(after, n) != getattr(before, n)}
        box = {n: min(getattr(old, n), getattr(after, n)) for n in ("y0", "x0")}
        box |= {n: max(getattr(old, n), getattr(after, n)) for n in ("y1", "x1")}
        rows[key] = dataclasses.replace(old, **{**changes, **box})


def _regions(
    record: ImageRecord, ours: OpLog, theirs: OpLog, common: _Common, report: MergeReport
) -> Iterator[Op]:
    """Yield what takes over regions that were changed there and not here."""
    base = theirs.store.regions(common.rev)
    for rev in common.taken:
        for before, after in theirs.region_changes(rev):
            if after is not None:
                base[after.id] = after
            elif before is not None:
                base.pop(before.id, None)
    here, there = ours.store.regions(), theirs.store.regions()
    for i in (*there, *(base.keys() - there.keys())):
        old, mine, new = base.get(i), here.get(i), there.get(i)
        if new == old:
            continue
        if mine == new:
            report.same += 1
        elif mine == old:
            report.taken += 1
            yield SetRegion(new or Region(i, "", ()))
        else:
            name = next(r.name for r in (mine, new, old) if r is not None)
            report.notes.append(
                f"{record.name}: the region {name} was changed in both copies; this one's stays"
            )


class _Plane:
    """One plane of an image in three states: common, ours, theirs. The first and the last have the other copy's numbers."""

    def __init__(
        self,
        record: ImageRecord,
        ours: OpLog,
        theirs: OpLog,
        common: _Common,
        plane: int,
        classes: dict[int, int],
        report: MergeReport,
    ) -> None:
        self.record, self.plane, self.classes, self.report = record, plane, classes, report
        self.store, self.ids = ours.store, common.ids
        self.base = common.labels(theirs, plane)
        self.ours, self.theirs = ours.store.read(plane), theirs.store.read(plane)
        self.base_rows = {r.id: r for r in common.rows if r.plane == plane}
        self.our_rows = {r.id: r for r in ours.store.objects(plane)}
        self.their_rows = {r.id: r for r in theirs.store.objects(plane)}
        # here since they parted: what a person did then, and what did not fit it, was not taken over
        self.our_hand, self.their_hand = (
            [
                b
                for h in log.history(since)
                if h.kind not in MODEL_RUNS and h.rev not in ours_there
                for b in h.boxes
                if b[0] == plane
            ]
            for log, since, ours_there in ((ours, common.fork, ()), (theirs, common.rev, common.taken))
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
        untouched = np.array_equal(ours[region], self._called_here(base[region]))
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
            self._conflict(box, self._difference(members))
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
        good = table.iou >= (_SAME if drawn_twice else 1.0)
        same = int(good.sum()) == table.n_true == table.n_pred
        if same:
            found, known = table.pred_ids[table.pred_index[good]], table.true_ids[table.true_index[good]]
            self.ids.update(zip(found.tolist(), known.tolist(), strict=True))
        return same

    def _called_here(self, labels: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Return labels (n,) of the other copy with the numbers that its objects have here; -1 where they have none."""
        found, place = np.unique(labels, return_inverse=True)
        numbers: NDArray[np.int64] = np.array(
            [self.ids.get(i, -1) if i else 0 for i in found.tolist()], np.int64
        )
        return numbers[place]

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
        fresh = [i for i in members if i in self.their_rows and i not in self.ids]
        if fresh:
            self.ids.update(zip(fresh, self.store.lease(len(fresh)), strict=True))
        new = labels.copy()
        for i in members:
            if i in self.ids:
                new[labels == i] = self.ids[i]
        rows = tuple(
            dataclasses.replace(self.their_rows[i], id=self.ids[i], class_id=self._class_of(i))
            for i in members
            if i in self.their_rows
        )
        return SetPixels(mask, new, self.plane, y0, x0, rows)

    def _class_of(self, i: int) -> int:
        """Return the class here of an object of the other copy: what was said of it here since goes first."""
        old, mine = self.base_rows.get(i), self.our_rows.get(self.ids[i])
        if old is not None and mine is not None and not self._is_class(mine, old):
            return mine.class_id
        return self._class_here(self.their_rows[i])

    def _class_here(self, row: ObjectRow) -> int:
        return self.classes.get(row.class_id, row.class_id)

    def _is_class(self, mine: ObjectRow, old: ObjectRow) -> bool:
        """Tell whether an object has the class still that it had; it was of another number if it came from there."""
        return mine.class_id in (old.class_id, self._class_here(old))

    def _attributes(self) -> Iterator[Op]:
        """Yield changes of class and lock, of objects that are still there in both copies."""
        for i, old in self.base_rows.items():
            mine, other = self.our_rows.get(self.ids.get(i, 0)), self.their_rows.get(i)
            if mine is None or other is None:
                continue
            class_id = self._class_here(other)
            if other.class_id != old.class_id and class_id != mine.class_id:
                if self._is_class(mine, old) and not mine.locked:
                    self.report.taken += 1
                    yield SetClass((mine.id,), class_id)
                else:
                    self._conflict(
                        mine.box, f"object {mine.id} has class {mine.class_id} here and {class_id} there"
                    )
            if other.locked and not old.locked and not mine.locked:
                yield Lock((mine.id,), True)

    def _difference(self, members: list[int]) -> str:
        gone = [str(self.ids.get(i, i)) for i in members if i in self.base_rows and i not in self.their_rows]
        new = [i for i in members if i in self.their_rows and i not in self.base_rows]
        if gone and new:
            return f"objects {', '.join(gone[:3])} were replaced there and changed here"
        if gone:
            return f"object {gone[0]} was deleted or merged there and changed here"
        if new:
            return "both copies drew something here, differently"
        return f"object {self.ids.get(members[0], members[0])} was changed in both copies"

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


def _store_conflicts(connection: Connection, conflicts: list[Conflict], source: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    connection.executemany(  # of an earlier try
        "DELETE FROM conflicts WHERE source = ? AND image = ? AND plane = ? AND y1 > ? AND x1 > ? AND y0 < ? AND x0 < ?",
        [(source, c.image, *c.box) for c in conflicts],
    )
    connection.executemany(
        "INSERT INTO conflicts (image, plane, y0, x0, y1, x1, reason, source, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(c.image, *c.box, c.reason, source, now) for c in conflicts],
    )
