"""Every edit of an image, in order, with what it takes to undo it."""

from __future__ import annotations

import json
import uuid
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cellbrook.errors import EditConflict, EditError, ProjectError
from cellbrook.project._draft import Draft
from cellbrook.project._edits import boxes_of, carry_out
from cellbrook.project._patch import CHUNK, Chunk, Patch
from cellbrook.project._runs import keep_run, revert_run
from cellbrook.project.objects import COLUMNS, Box, ObjectRow, meet
from cellbrook.project.ops import MODEL_RUNS, REGION, Batch, Delete, Op, Paint, Replace, kind_of
from cellbrook.project.regions import keep_regions, region_changes

if TYPE_CHECKING:
    from sqlite3 import Connection

    from numpy.typing import NDArray

    from cellbrook.project._database import Database
    from cellbrook.project.images import State
    from cellbrook.project.labelstore import LabelStore
    from cellbrook.project.regions import Change, Region

ME = "me"
"""The user of the command line and of Python, where nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What an edit did.

    Parameters
    ----------
    rev : int
        The image's revision after it. An edit that changed nothing makes no new one.
    op_id : str
        Its id; given again, this answer comes back and nothing is done.
    kind : str
        "paint", "merge", "undo" and so on.
    boxes : tuple of (plane, y0, x0, y1, x1)
        Where pixels changed.
    chunks : tuple of (plane, row, column)
        Chunks of level 0 that changed.
    objects : tuple of ObjectRow
        Rows that are new or changed.
    removed : tuple of (id, plane)
        Rows that are gone.
    regions : tuple of str
        Ids of regions that are new, changed or gone.
    """

    rev: int
    op_id: str
    kind: str
    boxes: tuple[Box, ...] = ()
    chunks: tuple[Chunk, ...] = ()
    objects: tuple[ObjectRow, ...] = ()
    removed: tuple[tuple[int, int], ...] = ()
    regions: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """False if the edit changed nothing."""
        return bool(self.boxes or self.objects or self.removed or self.regions)


@dataclass(frozen=True, slots=True)
class OpInfo:
    """A line of an image's history.

    Parameters
    ----------
    rev : int
        Its revision.
    op_id, kind, user, created : str
        Which, what, whose, and when (ISO 8601, UTC).
    boxes : tuple of (plane, y0, x0, y1, x1)
        Where pixels changed.
    reverts : int or None
        The revision that an undo or redo took back.
    undone : bool
        True if it is taken back at the moment.
    """

    rev: int
    op_id: str
    kind: str
    user: str
    created: str
    boxes: tuple[Box, ...]
    reverts: int | None
    undone: bool


class OpLog:
    """The only way to change labels. Each change is in the log, and on disk, before a chunk changes.

    Parameters
    ----------
    database : Database
        The project's index.
    store : LabelStore
        The labels.
    """

    def __init__(self, database: Database, store: LabelStore) -> None:
        self._db = database
        self.store = store
        self._image = store.image

    @property
    def rev(self) -> int:
        """The newest revision."""
        return self.store.rev

    def apply(
        self,
        op: Op,
        base_rev: int | None = None,
        *,
        user: str = ME,
        client: str | None = None,
        op_id: str | None = None,
        run: dict[str, Any] | None = None,
    ) -> Applied:
        """Carry out an edit.

        Parameters
        ----------
        op : Op
            One of `cellbrook.project.ops`.
        base_rev : int or None
            The newest revision that its author knew. None: the newest there is.
        user : str
            Whose undo takes it back.
        client : str or None
            Whose later edits do not make it stale: a window of a browser knows its own. None: the user.
        op_id : str or None
            Unique. None: a new one.
        run : dict or None
            Of a model's result: what is stored as the image's last run, in the same transaction.

        Raises
        ------
        EditConflict
            If newer edits of other clients meet it, or a model's newer result has not the object that it draws on. On
            what else models did meanwhile it is carried out.
        EditError
            If it cannot be made.
        ProjectError
            If it cannot be stored.
        """
        with self._db.lock:
            if op_id is not None and (known := self._known(op_id)) is not None:
                return known
            client = client or user
            if base_rev is not None:
                self._check_stale(op, base_rev, client)
            is_model = isinstance(op, Replace) and op.origin == "auto"
            draft = Draft(
                self.store,
                by_hand=not isinstance(op, Replace),
                classified=self.classified() if is_model else frozenset(),
                deleted=self.deleted if is_model else None,
            )
            carry_out(op, draft)
            draft.settle()
            kind = "clear" if self._clears(op, draft) else kind_of(op)
            made = "predicted" if is_model else "corrected"
            return self._commit(
                draft, kind, user, client, op_id, state=None if kind == REGION else made, run=run
            )

    def undo(
        self, user: str = ME, *, client: str | None = None, op_id: str | None = None, spare: bool = False
    ) -> Applied | None:
        """Take back the newest edit of a user that is not taken back yet; None if there is none.

        A model's result takes what it was made with along. Pixels that others have changed since stay as they are; with
        `spare`, of a model's result, all of the objects that a person has touched since: half a cell would be left of them.
        """
        return self._revert(user, client, op_id, "undo", spare=spare)

    def redo(self, user: str = ME, *, client: str | None = None, op_id: str | None = None) -> Applied | None:
        """Do again what a user took back last; None if there is nothing, or they have made another edit since."""
        return self._revert(user, client, op_id, "redo")

    def can_undo(self, user: str = ME) -> bool:
        """Return True if `undo` would do something."""
        return self._target("undo", user) is not None

    def can_redo(self, user: str = ME) -> bool:
        """Return True if `redo` would do something."""
        return self._target("redo", user) is not None

    def next_step(self, way: Literal["undo", "redo"], user: str = ME) -> str | None:
        """Return the kind of edit that `undo` would take back, or `redo` do again; None if there is none."""
        target = self._target(way, user)
        if target is None:
            return None
        return str(self._db.one("SELECT kind FROM ops WHERE image = ? AND rev = ?", (self._image, target))[0])

    def history(self, since: int = 0) -> list[OpInfo]:
        """Return the edits after a revision, oldest first."""
        rows = self._db.query(
            "SELECT rev, uid, kind, user, created, boxes, reverts, status FROM ops WHERE image = ? AND rev > ? ORDER BY rev",
            (self._image, since),
        )
        return [
            OpInfo(
                rev,
                uid,
                kind,
                user,
                created,
                tuple(tuple(b) for b in json.loads(boxes)),
                reverts,
                status in ("undone", "dropped"),
            )
            for rev, uid, kind, user, created, boxes, reverts, status in rows
        ]

    def patches(self, since: int, until: int | None = None) -> list[Patch]:
        """Return what edits after a revision (and up to another) changed, oldest first."""
        rows = self._db.query(
            "SELECT plane, cy, cx, data FROM patches WHERE image = ? AND rev > ? AND rev <= ? ORDER BY rev, plane, cy, cx",
            (self._image, since, self.rev if until is None else until),
        )
        return [Patch.decode((p, y, x), data) for p, y, x, data in rows]

    def row_changes(self, rev: int) -> list[tuple[ObjectRow | None, ObjectRow | None]]:
        """Return the rows that a revision changed, before and after."""
        row = self._db.one("SELECT objects FROM ops WHERE image = ? AND rev = ?", (self._image, rev))
        return _unpacked(row[0]) if row else []

    def classified(self) -> frozenset[int]:
        """Return the objects whose class a person gave or took away."""
        others = ("paint", "erase", "delete", "clear", "lock", "split", "interpolate", REGION, *MODEL_RUNS)
        rows = self._db.query(
            f"SELECT objects FROM ops WHERE image = ? AND status = 'done' AND kind NOT IN ({', '.join('?' * len(others))})",
            (self._image, *others),
        )
        changes = [change for (data,) in rows for change in _unpacked(data)]
        return frozenset(
            after.id
            for before, after in changes
            if after is not None and after.class_id != (before.class_id if before is not None else 0)
        )

    def deleted(self, plane: int, box: tuple[int, int, int, int]) -> NDArray[np.uint32]:
        """Return the objects that a person deleted, as labels of a half-open box of a plane; a clearing is none."""
        rows = self._db.query(
            "SELECT patches.cy, patches.cx, patches.data FROM patches JOIN ops USING (image, rev)"
            " WHERE image = ? AND plane = ? AND kind = 'delete' AND status = 'done' ORDER BY rev",
            (self._image, plane),
        )
        chunks: dict[Chunk, NDArray[np.uint32]] = {}
        for cy, cx, data in rows:
            key = (plane, cy, cx)
            patch = Patch.decode(key, data)
            chunks.setdefault(key, np.zeros((CHUNK, CHUNK), np.uint32)).ravel()[patch.pixels] = patch.old
        nothing = np.zeros((CHUNK, CHUNK), np.uint32)
        return self.store.window(plane, box, lambda key: chunks.get(key, nothing))

    def regions(self) -> list[Region]:
        """Return the regions that people drew, in the order in which they were drawn first."""
        return list(self.store.regions().values())

    def region_changes(self, rev: int) -> list[Change]:
        """Return the regions that a revision changed, before and after."""
        return region_changes(self._db, self._image, rev)

    # Inside

    def _clears(self, op: Op, draft: Draft) -> bool:
        """Tell whether an edit takes several objects away and leaves none of a model's in their planes: to start anew."""
        if not isinstance(op, Delete) or len(set(op.ids)) < 2:
            return False
        gone = {(b.id, b.plane) for b, after in draft.changed_rows() if b is not None and after is None}
        planes = {plane for _, plane in gone}
        return all(
            row.protected or (row.id, row.plane) in gone
            for plane in planes
            for row in self.store.objects(plane)
        )

    def _check_stale(self, op: Op, base_rev: int, client: str) -> None:
        newest = self.rev
        if base_rev > newest:
            raise EditError(f"an edit of revision {base_rev} is from the future: the newest is {newest}")
        rows = self._db.query(
            "SELECT ops.rev, ops.boxes, coalesce(source.kind, ops.kind) FROM ops"
            " LEFT JOIN ops AS source ON source.image = ops.image AND source.rev = ops.reverts"
            " WHERE ops.image = ? AND ops.rev > ? AND ops.client != ?",
            (self._image, base_rev, client),
        )
        # a model's result, or that it was taken back, is nobody's work: an edit goes on top of it
        by_model = [rev for rev, _, kind in rows if kind in MODEL_RUNS]
        theirs = [tuple(box) for rev, boxes, _ in rows if rev not in by_model for box in json.loads(boxes)]
        ours = boxes_of(op, self.store) if theirs else []
        met = tuple(b for b in theirs if any(meet(b, a) for a in ours))
        if met:
            raise EditConflict(
                f"somebody else changed this place meanwhile (revisions {base_rev + 1} to {newest}): look, and draw again",
                newest,
                met,
            )
        if (lost := self._lost(_drawn(op), by_model)) is not None:
            raise EditConflict(
                f"a model's newer result has no object {lost} any more: look, and draw again",
                newest,
                tuple(boxes_of(op, self.store)),
            )

    def _lost(self, ids: set[int], revs: list[int]) -> int | None:
        """Return one of the objects that was there before these revisions and is no more, None without."""
        gone = ids - {r.id for r in self.store.objects(ids=ids)} if revs else set()
        if not gone:
            return None
        changes = (change for rev in revs for change in self.row_changes(rev))
        return next((before.id for before, _ in changes if before is not None and before.id in gone), None)

    def _target(self, way: str, user: str) -> int | None:
        if way == "undo":
            sql = "SELECT max(rev) FROM ops WHERE image = ? AND user = ? AND status = 'done'"
        else:  # what was taken back last is the oldest of those that are taken back
            sql = "SELECT min(rev) FROM ops WHERE image = ? AND user = ? AND status = 'undone'"
        found = self._db.one(sql, (self._image, user))[0]
        return None if found is None else int(found)

    def _revert(
        self, user: str, client: str | None, op_id: str | None, way: str, *, spare: bool = False
    ) -> Applied | None:
        with self._db.lock:
            if op_id is not None and (known := self._known(op_id)) is not None:
                return known
            target = self._target(way, user)
            if target is None:
                return None
            # redo takes back the undo, so that it gives back exactly what that took
            source = target
            if way == "redo":
                source = self._db.one(
                    "SELECT max(rev) FROM ops WHERE image = ? AND reverts = ? AND kind = 'undo'",
                    (self._image, target),
                )[0]
            draft = Draft(self.store, by_hand=False)
            changes = self.row_changes(source)
            kept: set[int] = set()
            if spare:
                made = {after.id for _, after in changes if after is not None and not after.protected}
                kept = {r.id for r in draft.rows(made) if r.protected} | (made & self.classified())
                changes = [c for c in changes if not kept & {r.id for r in c if r is not None}]
            there = {(r.id, r.plane) for r in draft.rows({b.id for b, _ in changes if b is not None})}
            for before, _ in changes:
                if before is not None and (before.id, before.plane) not in there:
                    draft.fresh[before.id, before.plane] = before
            for patch in self.patches(source - 1, source):
                now = self.store.chunk(patch.chunk).ravel()[patch.pixels]
                same = (now == patch.new) & ~np.isin(patch.new, list(kept))
                if same.any():
                    draft.write_pixels(patch.chunk, patch.pixels[same], patch.old[same])
            draft.settle()
            _revert_attributes(draft, changes)
            drawn = self.region_changes(source)
            current = draft.regions() if drawn else {}
            for (old, new), region in zip(drawn, _ids_of(drawn), strict=True):
                if current.get(region) == new:  # nobody has changed it since
                    draft.set_region(region, old)
            return self._commit(
                draft, way, user, client or user, op_id, reverts=target, state=None, always=True
            )

    def _commit(
        self,
        draft: Draft,
        kind: str,
        user: str,
        client: str,
        op_id: str | None,
        *,
        state: str | None,
        reverts: int | None = None,
        run: dict[str, Any] | None = None,
        always: bool = False,
    ) -> Applied:
        patches, changes, regions = draft.patches(), draft.changed_rows(), draft.changed_regions()
        op_id = op_id or uuid.uuid4().hex
        if not patches and not changes and not regions and not always and run is None:
            return Applied(self.rev, op_id, kind)
        rev = self.rev + 1
        boxes = _boxes(patches)
        applied = Applied(
            rev,
            op_id,
            kind,
            boxes,
            tuple(p.chunk for p in patches),
            tuple(after for _, after in changes if after is not None),
            tuple((b.id, b.plane) for b, after in changes if after is None and b is not None),
            _ids_of(regions),
        )
        with self._db.transaction() as connection:
            self._insert(connection, applied, user, client, reverts, patches, changes)
            keep_regions(connection, self._image, rev, regions)
            self._follow(connection, applied, user, reverts, state)
            if run is not None:
                keep_run(connection, self._image, rev, run)
            elif reverts is not None:
                revert_run(connection, self._image, reverts, kind)
        self.store.put(draft.chunks)
        return applied

    def _insert(
        self,
        connection: Connection,
        applied: Applied,
        user: str,
        client: str,
        reverts: int | None,
        patches: list[Patch],
        changes: list[tuple[ObjectRow | None, ObjectRow | None]],
    ) -> None:
        status = "done" if reverts is None else "revert"
        created = datetime.now(UTC).isoformat(timespec="milliseconds")
        connection.execute(
            "INSERT INTO ops VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._image, applied.rev, applied.op_id, applied.kind, user, client, created,
                json.dumps(applied.boxes), reverts, status, _packed(changes),
            ),
        )  # fmt: skip
        connection.executemany(
            "INSERT INTO patches VALUES (?, ?, ?, ?, ?, ?)",
            [(self._image, *p.chunk, applied.rev, p.encode()) for p in patches],
        )
        connection.executemany(
            "DELETE FROM objects WHERE image = ? AND id = ? AND plane = ?",
            [(self._image, i, plane) for i, plane in applied.removed],
        )
        connection.executemany(
            f"INSERT OR REPLACE INTO objects (image, {COLUMNS}) VALUES (?{', ?' * 13})",
            [(self._image, *row.values()) for row in applied.objects],
        )

    def _follow(
        self,
        connection: Connection,
        applied: Applied,
        user: str,
        reverts: int | None,
        state: str | None,
    ) -> None:
        """Change what follows from an edit: the revision, the image's state, and what can be undone."""
        connection.execute("UPDATE images SET rev = ? WHERE id = ?", (applied.rev, self._image))
        if reverts is None:
            connection.execute(
                "UPDATE ops SET status = 'dropped' WHERE image = ? AND user = ? AND status = 'undone'",
                (self._image, user),
            )
        else:
            status = "undone" if applied.kind == "undo" else "done"
            connection.execute(
                "UPDATE ops SET status = ? WHERE image = ? AND rev = ?", (status, self._image, reverts)
            )
            (kind,) = connection.execute(
                "SELECT kind FROM ops WHERE image = ? AND rev = ?", (self._image, reverts)
            ).fetchone()
            state = None if kind == REGION else self.state_left(connection)
        if state is None:
            return
        # a model's result is no less corrected than what is; a person's "done" stays until a person says otherwise
        kept = ("corrected", "done") if reverts is None and state == "predicted" else ("done", "done")
        connection.execute(
            "UPDATE images SET state = ? WHERE id = ? AND state NOT IN (?, ?)", (state, self._image, *kept)
        )

    def state_left(self, connection: Connection | None = None) -> State:
        """Return what the edits that are not taken back make of the image; within a transaction, if one is given."""
        ask = self._db.query if connection is None else connection.execute
        rows = list(
            ask(
                "SELECT DISTINCT kind FROM ops WHERE image = ? AND status = 'done' AND kind != ?",
                (self._image, REGION),
            )
        )
        if not rows:
            return "new"
        return "predicted" if all(kind in MODEL_RUNS for (kind,) in rows) else "corrected"

    def _known(self, op_id: str) -> Applied | None:
        row = self._db.one(
            "SELECT rev, kind, boxes, objects FROM ops WHERE image = ? AND uid = ?", (self._image, op_id)
        )
        if row is None:
            return None
        chunks = self._db.query(
            "SELECT plane, cy, cx FROM patches WHERE image = ? AND rev = ? ORDER BY plane, cy, cx",
            (self._image, row[0]),
        )
        changes = _unpacked(row[3])
        return Applied(
            row[0],
            op_id,
            row[1],
            tuple(tuple(b) for b in json.loads(row[2])),
            tuple(tuple(c) for c in chunks),
            tuple(after for _, after in changes if after is not None),
            tuple((b.id, b.plane) for b, after in changes if after is None and b is not None),
            _ids_of(self.region_changes(row[0])),
        )


def _revert_attributes(draft: Draft, changes: list[tuple[ObjectRow | None, ObjectRow | None]]) -> None:
    """Give objects back what an edit changed in their rows, unless somebody has changed it since."""
    for before, after in changes:
        if before is None or after is None:
            continue
        now = next((r for r in draft.rows([before.id]) if r.plane == before.plane), None)
        if now is None:
            continue
        back = {
            name: getattr(before, name)
            for name in ("class_id", "origin", "locked", "score", "flow_error", "cellprob")
            if getattr(before, name) != getattr(after, name)
            and getattr(now, name) in (getattr(after, name), getattr(before, name))
        }
        if back:
            draft.set_attributes(now, **back)


def _ids_of(changes: list[Change]) -> tuple[str, ...]:
    return tuple(region.id for pair in changes if (region := pair[0] or pair[1]) is not None)


def _drawn(op: Op) -> set[int]:
    """Return the objects that an edit gives pixels to by drawing."""
    if isinstance(op, Batch):
        return {label for part in op.ops for label in _drawn(part)}
    return {op.label} - {0} if isinstance(op, Paint) else set()


def _boxes(patches: list[Patch]) -> tuple[Box, ...]:
    """Return the boxes of patches; those of neighbouring chunks of one edit stay apart, as they are smaller."""
    return tuple(p.box for p in patches)


def _packed(changes: list[tuple[ObjectRow | None, ObjectRow | None]]) -> bytes:
    plain = [[None if r is None else r.values() for r in pair] for pair in changes]
    return zlib.compress(json.dumps(plain, separators=(",", ":")).encode(), 6)


def _unpacked(data: bytes) -> list[tuple[ObjectRow | None, ObjectRow | None]]:
    try:
        plain = json.loads(zlib.decompress(data))
    except (zlib.error, ValueError) as error:
        raise ProjectError(
            "a row of the project's log is damaged: put back a copy of index.sqlite"
        ) from error
    rows = [[None if v is None else ObjectRow.from_values(v) for v in pair] for pair in plain]
    return [(before, after) for before, after in rows]


__all__ = ["ME", "Applied", "OpInfo", "OpLog"]
