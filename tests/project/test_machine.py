"""Random edits, undo, redo, reopening and crashes, against a plain array."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cellbrook.core.objects import ObjectTable
from cellbrook.errors import EditConflict, EditError
from cellbrook.io import write_png
from cellbrook.project import Delete, Lock, Merge, Paint, Project, Relabel, Replace, SetClass, Split
from cellbrook.project.ops import MODEL_RUNS

from .conftest import MEMORY, SHAPE, abandon

# places around the corner where four chunks meet
Y, X = st.integers(495, SHAPE[0] + 3), st.integers(490, SHAPE[1] + 3)
USERS = st.sampled_from(["ada", "bo"])


class Edits(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY, prefix="cellbrook-"))
        write_png(self.folder / "a.png", np.zeros(SHAPE, np.uint8))
        self.project = Project.create(self.folder / "p", images=[self.folder / "a.png"])
        self.image = self.project.images()[0].id
        self.pixels = np.zeros(SHAPE, np.uint32)
        self.classes: dict[int, int] = {}
        self.locked: set[int] = set()
        # each user's edits as [old pixels, new pixels, old classes, new classes, old locks, new locks]
        self.done: dict[str, list] = {"ada": [], "bo": []}
        self.undone: dict[str, list] = {"ada": [], "bo": []}
        self.free = list(self.log.store.lease(400))

    @property
    def log(self):
        return self.project.log(self.image)

    def present(self) -> list[int]:
        return [int(i) for i in np.unique(self.pixels) if i]

    def edit(self, op, user: str, expected: np.ndarray | None) -> None:
        """Apply an edit; `expected` are the pixels after it, None if they are taken as they come."""
        before = (self.pixels.copy(), dict(self.classes), set(self.locked))
        rev = self.log.rev
        applied = self.log.apply(op, user=user)
        if expected is None:
            expected = self.log.store.read()
        assert applied.rev == rev + applied.changed
        self.pixels = expected
        alive = set(self.present())
        self.classes = {i: c for i, c in self.classes.items() if i in alive}
        self.locked &= alive
        if applied.changed:
            self.done[user].append((before, (self.pixels.copy(), dict(self.classes), set(self.locked))))
            self.undone[user].clear()

    def unlocked(self, new: np.ndarray, mask: np.ndarray) -> np.ndarray:
        fixed = np.isin(self.pixels, list(self.locked)) | np.isin(new, list(self.locked))
        return np.where(mask & ~fixed, new, self.pixels)

    @rule(
        y=Y, x=X, h=st.integers(1, 30), w=st.integers(1, 40), which=st.integers(0, 5), user=USERS,
        mode=st.sampled_from(["overwrite", "keep", "inside"]),
    )  # fmt: skip
    def paint(self, y, x, h, w, which, user, mode) -> None:
        present = self.present()
        label = (
            0 if which == 0 else present[which % len(present)] if which < 3 and present else self.free.pop()
        )
        inside = (*present[:2], 0)
        op = Paint(label, [(r, x - 3, x + w) for r in range(y, y + h)], mode=mode, inside=inside)
        mask = np.zeros(SHAPE, bool)
        mask[y : y + h, x - 3 : x + w] = True
        if mode == "keep":
            mask &= np.isin(self.pixels, [0, label])
        elif mode == "inside":
            mask &= np.isin(self.pixels, inside)
        if label in self.locked:
            with pytest.raises(EditError, match="locked"):
                self.log.apply(op, user=user)
            return
        self.edit(op, user, self.unlocked(np.full(SHAPE, label, np.uint32), mask))

    @precondition(lambda self: len(self.present()) > 1)
    @rule(data=st.data(), user=USERS)
    def merge(self, data, user) -> None:
        ids = data.draw(st.lists(st.sampled_from(self.present()), min_size=2, max_size=3, unique=True))
        if self.locked & set(ids):
            with pytest.raises(EditError, match="locked"):
                self.log.apply(Merge(tuple(ids)), user=user)
            return
        self.edit(
            Merge(tuple(ids)), user, np.where(np.isin(self.pixels, ids), np.uint32(ids[0]), self.pixels)
        )

    @precondition(lambda self: self.present())
    @rule(data=st.data(), user=USERS)
    def delete(self, data, user) -> None:
        label = data.draw(st.sampled_from(self.present()))
        if label in self.locked:
            with pytest.raises(EditError, match="locked"):
                self.log.apply(Delete((label,)), user=user)
            return
        self.edit(Delete((label,)), user, np.where(self.pixels == label, np.uint32(0), self.pixels))

    @precondition(lambda self: self.present())
    @rule(data=st.data(), user=USERS)
    def relabel(self, data, user) -> None:
        label, new = data.draw(st.sampled_from(self.present())), self.free.pop()
        if label in self.locked:
            return
        if label in self.classes:
            self.classes[new] = self.classes[label]
        self.edit(Relabel(label, new), user, np.where(self.pixels == label, np.uint32(new), self.pixels))
        if self.done[user]:  # the class was moved before the snapshot
            self.done[user][-1][0][1].pop(new, None)

    @precondition(lambda self: self.present())
    @rule(data=st.data(), user=USERS, value=st.integers(0, 3))
    def classify(self, data, user, value) -> None:
        label = data.draw(st.sampled_from(self.present()))
        if label in self.locked:
            return
        before = dict(self.classes)
        applied = self.log.apply(SetClass((label,), value), user=user)
        self.classes = {i: c for i, c in {**before, label: value}.items() if c}
        if applied.changed:
            self.done[user].append(
                ((self.pixels, before, set(self.locked)), (self.pixels, dict(self.classes), set(self.locked)))
            )
            self.undone[user].clear()

    @precondition(lambda self: self.present())
    @rule(data=st.data(), locked=st.booleans())
    def lock(self, data, locked) -> None:
        label = data.draw(st.sampled_from(self.present()))
        before = set(self.locked)
        applied = self.log.apply(Lock((label,), locked), user="ada")
        (self.locked.add if locked else self.locked.discard)(label)
        if applied.changed:
            self.done["ada"].append(
                (
                    (self.pixels, dict(self.classes), before),
                    (self.pixels, dict(self.classes), set(self.locked)),
                )
            )
            self.undone["ada"].clear()

    @precondition(lambda self: self.present())
    @rule(data=st.data(), user=USERS)
    def split(self, data, user) -> None:
        label = data.draw(st.sampled_from(self.present()))
        row = self.log.store.objects(ids=[label])[0]
        middle = (row.x0 + row.x1) // 2
        op = Split(label, ((row.y0 - 2, middle), (row.y1 + 2, middle)))
        before = self.pixels
        try:
            self.edit(op, user, None)
        except EditError as error:
            assert "locked" in str(error) or "does not cut" in str(error)  # noqa: PT017
            return
        assert np.array_equal(self.pixels != 0, before != 0)
        assert np.array_equal(self.pixels[before != label], before[before != label])
        assert len(np.unique(self.pixels[before == label])) > 1
        for new in np.unique(self.pixels[before == label]):
            if self.classes.get(label):
                self.classes[int(new)] = self.classes[label]
        self.done[user][-1][1][1].update(self.classes)

    @rule(seed=st.integers(0, 99), user=USERS, window=st.booleans())
    def predict(self, seed, user, window) -> None:
        rng = np.random.default_rng(seed)
        y0, x0 = (500, 500) if window else (0, 0)
        h, w = SHAPE[0] - y0, SHAPE[1] - x0
        result = np.zeros((h, w), np.uint32)
        for k in range(1, 6):
            y, x = (
                rng.integers(490 - y0, h - 8) if not window else rng.integers(0, h - 8),
                rng.integers(0, w - 8),
            )
            result[max(y, 0) : y + 12, x : x + 12] = k
        ids = np.unique(result)[1:]
        table = ObjectTable({"label": ids, "score": np.full(len(ids), 0.5)})
        protected = [r.id for r in self.log.store.objects() if r.protected]
        before = self.pixels
        classes = dict(self.classes)
        self.edit(Replace(result, table, y0=y0, x0=x0), user, None)
        kept = np.isin(before, protected)
        assert np.array_equal(self.pixels[kept], before[kept])
        assert not np.isin(self.pixels[~kept], protected).any()
        outside = np.ones(SHAPE, bool)
        outside[y0:, x0:] = False
        assert np.array_equal(self.pixels[outside], before[outside])
        if not window:  # everything that a model had found is gone or found again, but what was given a class
            others = ~kept & ~np.isin(self.pixels, list(classes))
            assert (self.pixels[others] > 0).sum() <= (result > 0).sum()
        self.classes = {i: c for i, c in classes.items() if i in set(self.present())}

    @rule(user=USERS, way=st.sampled_from(["undo", "redo"]))
    def revert(self, user, way) -> None:
        source, target = (self.done, self.undone) if way == "undo" else (self.undone, self.done)
        assert getattr(self.log, f"can_{way}")(user) == bool(source[user])
        applied = getattr(self.log, way)(user)
        if not source[user]:
            assert applied is None
            return
        old, new = source[user].pop()
        before = (self.pixels.copy(), dict(self.classes), set(self.locked))
        same = (self.pixels == new[0]) & (old[0] != new[0])
        self.pixels = self.unlocked(old[0], same)
        alive = set(self.present())
        self.locked = {
            i for i in alive if (i in old[2] if (i in old[2]) != (i in new[2]) else i in before[2])
        }
        self.classes = {r.id: r.class_id for r in self.log.store.objects() if r.class_id}
        for label in alive & set(np.unique(new[0]).tolist()) & set(np.unique(old[0]).tolist()):
            was, became = old[1].get(label, 0), new[1].get(label, 0)
            if was != became and before[1].get(label, 0) == became:
                assert self.classes.get(label, 0) == was
        # what was done is taken back, as far as nobody else came between
        target[user].append((before, (self.pixels.copy(), dict(self.classes), set(self.locked))))

    @rule(y=Y, x=X)
    def stale(self, y, x) -> None:
        """An edit that is behind others' edits passes, or is refused if it meets them; on models' results it passes."""
        op = Paint(0, [(y, x, x + 5)], mode="inside", inside=())  # writes nothing either way
        base = max(self.log.rev - 3, 0)
        models = {h.rev for h in self.log.history() if h.kind in MODEL_RUNS}
        newer = [
            b
            for h in self.log.history(base)
            if h.user != "cy" and (h.reverts or h.rev) not in models
            for b in h.boxes
        ]
        meets = any(b[1] <= y < b[3] and b[2] < min(x + 5, SHAPE[1]) and x < b[4] for b in newer)
        if meets and y < SHAPE[0] and x < SHAPE[1]:
            with pytest.raises(EditConflict) as caught:
                self.log.apply(op, base, user="cy")
            assert caught.value.rev == self.log.rev
            assert caught.value.boxes
        else:
            self.log.apply(op, base, user="cy")

    @rule()
    def flush(self) -> None:
        self.project.flush()

    @rule()
    def reopen(self) -> None:
        self.project.close()
        self.project = Project.open(self.folder / "p")

    @rule()
    def crash(self) -> None:
        abandon(self.project)
        self.project = Project.open(self.folder / "p")

    @rule(how=st.sampled_from(["cut", "lost", "foreign"]))
    def damage(self, how) -> None:
        self.project.flush()
        abandon(self.project)
        chunks = sorted(self.folder.glob("p/labels/*/*/c/*/[0-9]"))
        for path in chunks[:2]:
            if how == "cut":
                path.write_bytes(path.read_bytes()[:-9])
            elif how == "lost":
                path.unlink()
            else:
                path.write_bytes(b"\x1f\x8b nothing of ours")
        self.project = Project.open(self.folder / "p")

    @initialize()
    def begin(self) -> None:
        assert self.log.rev == 0

    @invariant()
    def pixels_agree(self) -> None:
        np.testing.assert_array_equal(self.log.store.read(), self.pixels)

    @invariant()
    def rows_agree(self) -> None:
        rows = {r.id: r for r in self.log.store.objects()}
        assert set(rows) == set(self.present())
        for label, row in rows.items():
            y, x = np.nonzero(self.pixels == label)
            assert (row.area, row.y0, row.x0, row.y1, row.x1) == (
                len(y), y.min(), x.min(), y.max() + 1, x.max() + 1,
            )  # fmt: skip
        assert {i for i, r in rows.items() if r.locked} == self.locked
        assert {i: r.class_id for i, r in rows.items() if r.class_id} == {
            i: c for i, c in self.classes.items() if c
        }

    @invariant()
    def past_is_kept(self) -> None:
        assert not self.log.store.read_at(0).any()

    def teardown(self) -> None:
        for level in range(self.log.store.levels):
            step = 2**level
            expected = self.pixels[::step, ::step]
            for cy, cx in np.ndindex(*self.log.store.grid(level)):
                data = self.log.store.chunk_bytes(0, cy, cx, level)
                part = expected[cy * 512 : cy * 512 + 512, cx * 512 : cx * 512 + 512]
                from cellbrook.project._chunks import decode_chunk

                got = decode_chunk(data) if data else np.zeros((512, 512), np.uint32)
                np.testing.assert_array_equal(got[: part.shape[0], : part.shape[1]], part)
        abandon(self.project)
        shutil.rmtree(self.folder)


TestEdits = Edits.TestCase
TestEdits.settings = settings(
    max_examples=8, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
