"""Two pages and a server through random edits, undo, redo, jobs, lost connections and crashes: all see the same pixels.

CELLBROOK_EXAMPLES says how many sequences are tried; a hundred take about a quarter of an hour.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cellbrook.core.objects import ObjectTable
from cellbrook.io.writers import write_image
from cellbrook.project.project import Project
from cellbrook.server.tasks import write_table

from .conftest import Page, Server
from .mirror import Mirror, rectangle

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
SHAPE = (2, 530, 540)  # planes of two tiles by two, the further ones narrow
EXAMPLES = int(os.environ.get("CELLBROOK_EXAMPLES", "6"))
STEPS = 20 if EXAMPLES < 20 else 50

WHO = st.integers(0, 1)
Y, X = st.integers(490, SHAPE[1] - 1), st.integers(490, SHAPE[2] - 1)
PLANE = st.sampled_from([0, 0, 0, 1])
HURRY = st.booleans()
"""Go on without waiting for answers."""


class QuickWorker:
    """Finds the cells that a seed says (the diameter), in a while that the seed says."""

    async def call(self, task, args, *, progress=None, partial=None, stop=None):
        seed = int(float(args["keywords"]["diameter"]))
        out = Path(args["out"])
        rng = np.random.default_rng([seed, task == "segment"])
        if task == "candidates":
            np.save(out / "ghosts.npy", self.cells(rng, 3))
            return {"rows": self.ghost_rows(np.load(out / "ghosts.npy"))}
        cells = self.cells(rng, 6)
        if args.get("window") is not None:
            plane, y0, x0, y1, x1 = args["window"]
            part = self.answer(out / "window", cells[plane, y0:y1, x0:x1])
            partial(part | {"window": [plane, y0, x0]})
        for _ in range(seed % 4):
            await asyncio.sleep(0.01)
        facts = self.answer(out, cells)
        (out / "recipe.json").write_text(json.dumps({"parameters": {"seed": seed}}), encoding="utf-8")
        return facts

    def cells(self, rng, count):
        cells = np.zeros(SHAPE, np.uint32)
        for k in range(1, count + 1):
            plane = int(rng.integers(0, 4) == 0)
            y, x = rng.integers(485, SHAPE[1]), rng.integers(485, SHAPE[2])
            cells[plane, y : y + 14, x : x + 14] = k
        return cells

    def ghost_rows(self, cells):
        rows = []
        for k in np.unique(cells)[1:].tolist():
            planes, ys, xs = np.nonzero(cells == k)
            rows.append({
                "id": k, "plane": int(planes[0]), "y0": int(ys.min()), "x0": int(xs.min()), "y1": int(ys.max()) + 1,
                "x1": int(xs.max()) + 1, "area": len(ys), "score": 0.1, "flow_error": 0.9, "reason": "flow_error",
            })  # fmt: skip
        return rows

    def answer(self, out, labels):
        out.mkdir(parents=True, exist_ok=True)
        np.save(out / "labels.npy", labels)
        ids = np.unique(labels)[1:]
        write_table(out / "objects.npz", ObjectTable({"label": ids, "score": np.full(len(ids), 0.5)}))
        return {"out": str(out), "objects": len(ids)}

    async def end(self):
        pass


class Workplace(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY, prefix="cellbrook-"))
        write_image(self.folder / "a.tif", np.zeros(SHAPE, np.uint8), axes="ZYX")
        Project.create(self.folder / "p", images=[self.folder / "a.tif"]).close()
        self.mirrors: list[Mirror] = []
        self.hurried = self.windowed = False
        self.pages: list[Page] = []

    @initialize(together=st.booleans())
    def begin(self, together) -> None:
        """Start; `together`, both pages undo the same edits, else each its own."""
        self.together = together
        self.start()
        for k in range(2):
            page = self.server.page()
            page.headers["Cookie"] = f"cellbrook-user={0 if together else k:012x}"
            self.mirrors.append(Mirror(page, self.image, SHAPE))
            self.mirrors[-1].connect()
        self.settle()

    def start(self) -> None:
        self.project = Project.open(self.folder / "p")
        self.image = self.project.images()[0].id
        self.server = Server(self.project)
        self.state = self.server.app._app.state
        self.state.jobs.workers["pictures"] = QuickWorker()

    def settle(self) -> None:
        """Until nobody waits for anything."""
        for mirror in self.mirrors:
            mirror.settle()
        end = time.monotonic() + 20
        while self.state.jobs.find():
            assert time.monotonic() < end, self.state.jobs.jobs
            time.sleep(0.002)
        for mirror in self.mirrors:
            mirror.settle()

    def after(self, hurry: bool) -> None:
        self.hurried = hurry
        if not hurry:
            self.settle()

    # Edits

    @rule(
        who=WHO, y=Y, x=X, h=st.integers(1, 30), w=st.integers(1, 40), which=st.integers(0, 7), plane=PLANE,
        mode=st.sampled_from(["overwrite", "keep", "inside"]), hurry=HURRY,
    )  # fmt: skip
    def paint(self, who, y, x, h, w, which, plane, mode, hurry) -> None:
        mirror = self.mirrors[who]
        part = self.stroke(mirror, y, x, h, w, which, plane, mode)
        mirror.edit(**part)
        self.after(hurry)

    def stroke(self, mirror, y, x, h, w, which, plane, mode) -> dict[str, Any]:
        present = mirror.present()
        label = (
            0
            if which == 0
            else present[which % len(present)]
            if which < 3 and present
            else mirror.free.pop(0)
        )
        return {
            "kind": "paint", "label": label, "plane": plane, "mode": mode,
            "runs": rectangle(y, x, h, w, SHAPE[1:]), "ids": [0, *present[:2]],
        }  # fmt: skip

    @rule(who=WHO, y=Y, x=X, which=st.integers(0, 7), value=st.integers(0, 3), other=PLANE, hurry=HURRY)
    def several(self, who, y, x, which, value, other, hurry) -> None:
        """Two strokes, one of them perhaps in another plane, and a class, as one."""
        mirror = self.mirrors[who]
        first = self.stroke(mirror, y, x, 9, 11, which, 0, "overwrite")
        second = {**first, "plane": other, "mode": "keep", "runs": rectangle(y, x, 5, 20, SHAPE[1:])}
        parts = [first, second]
        if first["label"]:
            parts.append({"kind": "set_class", "plane": 0, "ids": [first["label"]], "value": value})
        mirror.edit("batch", parts=parts)
        self.after(hurry)

    @rule(
        who=WHO, kind=st.sampled_from(["merge", "delete", "relabel", "set_class", "lock", "split", "accept"]),
        first=st.integers(0, 99), second=st.integers(0, 99), value=st.integers(0, 2), hurry=HURRY,
    )  # fmt: skip
    def objects(self, who, kind, first, second, value, hurry) -> None:
        mirror = self.mirrors[who]
        present = mirror.present()
        if not present:
            return
        ids = list(dict.fromkeys((present[first % len(present)], present[second % len(present)])))
        match kind:
            case "relabel":
                mirror.edit(kind, ids=ids[:1], label=mirror.free.pop(0))
            case "set_class" | "lock":
                mirror.edit(kind, ids=ids, value=value)
            case "split":
                plane, row = next((p, r) for (i, p), r in mirror.rows.items() if i == ids[0])
                x = (row["x0"] + row["x1"]) / 2
                line = [[row["y0"] - 3.0, x], [row["y1"] + 3.0, x]]
                mirror.edit(kind, ids=ids[:1], plane=plane, line=line)
            case "accept":
                ghosts = [r["id"] for r in self.state.workspace.ghosts(self.image).rows]
                if ghosts:
                    mirror.edit(kind, ids=[ghosts[first % len(ghosts)]])
            case _:
                mirror.edit(kind, ids=ids)
        self.after(hurry)

    @rule(who=WHO, way=st.sampled_from(["undo", "undo", "redo"]), hurry=HURRY)
    def revert(self, who, way, hurry) -> None:
        self.mirrors[who].page.send(type=way, image=self.image)
        self.after(hurry)

    # Jobs

    @rule(
        who=WHO, seed=st.integers(10, 40), kind=st.sampled_from(["segment", "segment", "rethreshold"]),
        window=st.booleans(), cancel=st.booleans(), hurry=HURRY,
    )  # fmt: skip
    def run(self, who, seed, kind, window, cancel, hurry) -> None:
        mirror = self.mirrors[who]
        params: dict[str, Any] = {"diameter": float(seed)}
        if window:
            params["window"] = [0, 480, 480, 515, 530]
            self.windowed = True
        mirror.page.send(type="submit", kind=kind, image=self.image, params=params)
        if cancel:
            while (running := [i for i, s in mirror.jobs.items() if s in ("queued", "running")]) == []:
                if mirror.take() == "notice" or "failed" in mirror.jobs.values():
                    break
            for job in running:
                mirror.page.send(type="cancel", job=job)
        self.after(hurry)

    # Misfortune

    @rule(who=WHO, hurry=HURRY)
    def lose_connection(self, who, hurry) -> None:
        self.mirrors[who].page.close()
        self.mirrors[who].connect()
        self.after(hurry)

    @rule()
    def crash(self) -> None:
        """The server is gone at once, with all that it had not written; what it had answered is there."""
        self.stop()
        self.start()
        for mirror in self.mirrors:
            mirror.page.port, mirror.page.token = self.server.port, self.server.access.token
            mirror.page.headers["Authorization"] = f"Bearer {self.server.access.token}"
            mirror.connect()
        self.after(hurry=False)

    def stop(self) -> None:
        self.project.database.close()  # nothing more is written
        self.project._file_lock.release()
        for mirror in self.mirrors:
            mirror.page.close()
        self.server.close()

    @rule()
    def flush(self) -> None:
        self.project.flush()

    # What must hold

    @invariant()
    def all_see_the_same(self) -> None:
        if not self.mirrors or self.hurried:
            return
        store = self.project.labels(self.image)
        pixels = store.read_all()
        rows = self.mirrors[0].stored_rows()
        for mirror in self.mirrors:
            assert mirror.rev == store.rev
            np.testing.assert_array_equal(mirror.pixels, pixels)
            assert mirror.rows == rows
            for reason in mirror.refused:
                assert any(word in reason for word in EXPECTED), reason
        assert {i for i, _ in rows} == set(np.unique(pixels)[1:].tolist())

    def replayed(self) -> np.ndarray:
        pixels = np.zeros(SHAPE, np.uint32)
        for patch in self.project.log(self.image).patches(0):
            top, left = patch.origin
            y, x = np.divmod(patch.pixels, 512)
            pixels[patch.chunk[0], y + top, x + left] = patch.new
        return pixels

    def teardown(self) -> None:
        try:
            if self.mirrors:
                self.check_at_the_end()
        finally:
            if self.mirrors:
                self.stop()  # else every later test would fail beside this one
            shutil.rmtree(self.folder)

    def check_at_the_end(self) -> None:
        self.hurried = False
        self.settle()
        self.all_see_the_same()
        np.testing.assert_array_equal(self.project.labels(self.image).read_all(), self.replayed())
        for plane in range(SHAPE[0]):
            np.testing.assert_array_equal(
                self.mirrors[1].page.labels(self.image, plane), self.mirrors[0].pixels[plane]
            )
        if self.together and not self.windowed:
            self.undo_everything()

    def undo_everything(self) -> None:
        """Taking back all leaves nothing, and doing all again what was there."""
        mirror = self.mirrors[0]
        pixels, rows = mirror.pixels.copy(), dict(mirror.rows)
        for way, words in (("undo", "nothing to undo"), ("redo", "nothing to do again")):
            mirror.notices.clear()
            while words not in mirror.notices:
                mirror.page.send(type=way, image=self.image)
                mirror.settle()
            if way == "undo":
                assert not mirror.pixels.any()
                assert not mirror.rows
        self.settle()
        np.testing.assert_array_equal(mirror.pixels, pixels)
        assert mirror.rows == rows
        self.all_see_the_same()


EXPECTED = (
    "somebody else changed this place", "is locked", "there is no object", "does not cut", "no discarded cell",
    "a model's newer result",
    "merging takes two objects",
)  # fmt: skip
"""Why an edit may be refused here."""

TestWorkplace = Workplace.TestCase
TestWorkplace.settings = settings(
    max_examples=EXAMPLES,
    derandomize="CELLBROOK_EXAMPLES" not in os.environ,  # the search is for the deep runs
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[
        Phase.explicit,
        Phase.reuse,
        Phase.generate,
    ],  # what hangs on time is not made smaller by trying again
    report_multiple_bugs=False,
)
