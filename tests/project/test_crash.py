"""A killed process loses at most the edit it was at; CELLBROOK_KILLS says how often to try."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cellbrook.errors import ProjectError
from cellbrook.project import Paint, Project
from cellbrook.project._chunks import decode_chunk

from .crash_child import drawn, edit

if TYPE_CHECKING:
    from collections.abc import Callable

KILLS = int(os.environ.get("CELLBROOK_KILLS", "4"))
SHAPE = (700, 1100)


def run_and_kill(folder: Path, edits: int, seconds: float) -> int:
    """Let a process make some edits and kill it a moment later; return the last revision that it knew to be safe."""
    child = Path(__file__).with_name("crash_child.py")
    process = subprocess.Popen(
        [sys.executable, str(child), str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    told: list[str] = []
    try:
        first = process.stdout.readline()
        assert first == "open\n", process.stderr.read()
        told = [process.stdout.readline() for _ in range(edits)]
        time.sleep(seconds)
    finally:
        process.kill()
        told = [*told, *process.stdout.read().split()]
        process.wait()
        process.stdout.close()
        process.stderr.close()
    return int(told[-1])


def expected(rev: int) -> np.ndarray:
    pixels = np.zeros(SHAPE, np.uint32)
    for k in range(1, rev + 1):
        label, y0, x0, y1, x1 = edit(k, SHAPE)
        pixels[y0:y1, x0:x1] = label
    return pixels


def test_killed_at_random_moments(place: Path, picture: Callable[..., Path]) -> None:
    folder = place / "p"
    Project.create(folder, images=[picture(shape=SHAPE)]).close()
    rng = random.Random(0)
    known = 0
    for _ in range(KILLS):
        known = max(known, run_and_kill(folder, rng.randint(1, 7), rng.uniform(0.0, 0.08)))
        with Project.open(folder, read_only=True) as project:  # replays in memory, leaves the chunks behind
            image = project.images()[0].id
            rev = project.log(image).rev
            assert known <= rev <= known + 1
            np.testing.assert_array_equal(project.labels(image).read(), expected(rev))
            assert project.log(image).regions() == [drawn(rev)]
        known = rev
    assert known >= KILLS
    with Project.open(folder) as project:
        store = project.labels(image)
        assert store.rev == known
        pixels = expected(known)
        for cy, cx in np.ndindex(*store.grid(1)):
            data = store.chunk_bytes(0, cy, cx, 1)
            part = pixels[::2, ::2][cy * 512 : cy * 512 + 512, cx * 512 : cx * 512 + 512]
            got = decode_chunk(data) if data else np.zeros((512, 512))
            np.testing.assert_array_equal(got[: part.shape[0], : part.shape[1]], part)
        rows = store.objects()
        ids, areas = np.unique(pixels[pixels > 0], return_counts=True)
        assert [(r.id, r.area) for r in rows] == list(zip(ids.tolist(), areas.tolist(), strict=True))


def test_an_edit_that_cannot_be_stored_changes_nothing(project: Project, image: str) -> None:
    log = project.log(image)
    label = log.store.lease(1)[0]
    log.apply(Paint(label, [(5, 5, 9)]))
    project.database._connection.execute("PRAGMA query_only = ON")
    try:
        with pytest.raises(ProjectError, match="nothing was changed"):
            log.apply(Paint(label, [(7, 5, 9)]))
    finally:
        project.database._connection.execute("PRAGMA query_only = OFF")
    assert log.rev == 1
    assert log.store.read(0, 7, 5, 8, 9).sum() == 0


def test_a_full_disk_is_told_as_such(project: Project, image: str) -> None:
    log = project.log(image)
    label = log.store.lease(1)[0]
    connection = project.database._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    checkered = [(y, x, x + 1) for y in range(512) for x in range(y % 2, 512, 2)]
    rng = random.Random(0)
    with pytest.raises(ProjectError, match="the disk is full"):
        log.apply(Paint(label, [run for run in checkered if rng.random() < 0.5]))
    connection.execute(f"PRAGMA max_page_count = {2**30}")
    assert log.rev == 0
    assert log.apply(Paint(label, [(7, 5, 9)])).rev == 1


def test_an_edit_whose_chunks_cannot_be_written_is_done(
    project: Project, image: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def replace(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("cellbrook.project.labelstore._DIRTY", 0)
    log = project.log(image)
    label = log.store.lease(1)[0]
    with monkeypatch.context() as patched:
        patched.setattr("os.replace", replace)
        assert log.apply(Paint(label, [(6, 4, 9)])).rev == 1
        data = log.store.chunk_bytes(0, 0, 0, 1)
        assert data is not None
        assert decode_chunk(data)[3, 2] == label
        assert "cannot be written" in caplog.text
    log.store._cache.clear()
    assert log.store.at(0, 6, 4) == label


def test_killed_during_operations(place: Path, picture: Callable[..., Path]) -> None:
    """Adding, importing, predicting, merging: what was told as done is there, and the next one goes on."""
    (place / "files").mkdir()
    folder = place / "a.project"
    with Project.create(folder, images=[picture(shape=(96, 128))]) as project:
        first = project.images()[0].id
    shutil.copytree(folder, place / "other.project")
    rng = random.Random(1)
    known: dict[str, int] = {first: 0}
    done = 0
    for attempt in range(KILLS):
        told = operate_and_kill(place, attempt, rng.randint(0, 4), rng.uniform(0.0, 0.4))
        done += len(told) - 1
        for facts in told:
            known.update(facts["revs"])
        with Project.open(folder) as project:
            revs = {r.id: project.log(r.id).rev for r in project.images()}
            assert {i: rev for i, rev in known.items() if revs.get(i, -1) < rev} == {}
            for record in project.images():
                assert project.problem(record.id) is None
                store = project.labels(record.id)
                pixels = store.read_all()
                np.testing.assert_array_equal(pixels, replayed(project, record.id))
                ids, areas = np.unique(pixels[pixels > 0], return_counts=True)
                assert [(r.id, r.area) for r in store.objects()] == list(
                    zip(ids.tolist(), areas.tolist(), strict=True)
                )
            known = revs
    assert done >= KILLS


def operate_and_kill(place: Path, seed: int, operations: int, seconds: float) -> list[dict[str, Any]]:
    """Let a process do some operations and kill it a moment later; return what it told as done."""
    child = Path(__file__).with_name("crash_operations.py")
    process = subprocess.Popen(
        [sys.executable, str(child), str(place), str(seed)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        lines = [process.stdout.readline() for _ in range(operations + 1)]
        time.sleep(seconds)
        assert process.poll() is None, process.stderr.read()
    finally:
        process.kill()
        rest = process.stdout.read()
        process.wait()
        process.stdout.close()
        process.stderr.close()
    whole = "".join(lines) + rest
    return [json.loads(line) for line in whole.splitlines(keepends=True) if line.endswith("\n")]


def replayed(project: Project, image: str) -> np.ndarray:
    pixels = np.zeros_like(project.labels(image).read())
    for patch in project.log(image).patches(0):
        y, x = np.divmod(patch.pixels, 512)
        pixels[y, x] = patch.new  # of images of one chunk
    return pixels
