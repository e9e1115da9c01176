"""The server is killed in the middle of editing: at most the unfinished stroke is lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from cellbrook.project.project import Project

from .conftest import Page

ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}


def start(folder, *more):
    """Start the command; return the process and a page's means to reach it."""
    command = [sys.executable, "-m", "cellbrook.cli.app", "serve", str(folder), "--no-browser", *more]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    for line in process.stdout:
        found = re.search(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", line)
        if found:
            return process, Page(int(found[1]), found[2])
    raise AssertionError(process.stderr.read())


def finish(process):
    process.wait(20)
    process.stdout.close()
    process.stderr.close()


def script(rng, page):
    """One random edit: what is sent, and what it does to a label image."""
    y, x, r = rng.integers(20, 280), rng.integers(20, 400), rng.integers(3, 18)
    label = int(page.next_id + rng.integers(0, 30)) if rng.random() < 0.8 else 0
    rows = [
        [int(y + d), max(0, int(x - (r * r - d * d) ** 0.5)), min(420, int(x + (r * r - d * d) ** 0.5) + 1)]
        for d in range(-r, r + 1)
    ]
    return label, rows


def paint(labels, label, rows):
    for y, x0, x1 in rows:
        labels[y, x0:x1] = label


KILLS = int(os.environ.get("CELLBROOK_KILLS", "4"))
"""The bar is 200, which takes a quarter of an hour."""


def test_killed_at_random_moments_it_loses_at_most_the_unfinished_stroke(images, tmp_path):
    folder = tmp_path / "own.project"
    with Project.create(folder, images=[images / "first.png"]) as project:
        image = project.images()[0].id
    rng = np.random.default_rng(7)
    expected = np.zeros((300, 420), np.uint32)
    kept = 0
    for _ in range(KILLS):
        process, page = start(folder, "--threads", "1", "--port", "0")
        deadline = time.monotonic() + rng.uniform(0.05, 0.6)
        pending = None
        try:
            page.connect()
            page.open(image)
            np.testing.assert_array_equal(page.labels(), expected)
            deadline = time.monotonic() + rng.uniform(0.02, 0.5)
            while True:
                pending = script(rng, page)
                page.send(
                    type="edit", image=image, plane=0, base_rev=page.rev, kind="paint", op_id=os.urandom(8).hex(),
                    label=pending[0], runs=runs(pending[1]), mode="overwrite",
                )  # fmt: skip
                if time.monotonic() > deadline:
                    process.send_signal(signal.SIGKILL)
                ack = page.until("ack", timeout=10)
                page.rev = ack["rev"]
                paint(expected, *pending)
                pending = None
                kept += 1
        except (ConnectionClosed, TimeoutError, OSError):
            pass
        finally:
            process.kill()
            finish(process)
            page.close()
        # what was answered is there; what was under way is there whole, or not at all
        with Project.open(folder) as project:
            found = project.labels(image).read()
            with_pending = expected.copy()
            if pending is not None:
                paint(with_pending, *pending)
            if not np.array_equal(found, with_pending):
                np.testing.assert_array_equal(found, expected)
            expected = found
            replayed = np.zeros_like(expected)
            for patch in project.log(image).patches(0):
                top, left = patch.origin
                y, x = np.divmod(patch.pixels, 512)
                replayed[y + top, x + left] = patch.new
            np.testing.assert_array_equal(found, replayed)
    assert kept > KILLS


def runs(rows):
    from cellbrook.server.runs import encode_runs

    return encode_runs(np.array(rows))


def test_ctrl_c_ends_it_cleanly_and_ends_its_worker(images, tmp_path):
    folder = tmp_path / "own.project"
    Project.create(folder, images=[images / "first.png"]).close()
    process, page = start(folder, "--threads", "1", "--port", "0")
    page.connect()
    image = page.welcome["project"]["images"][0]["id"]
    page.open(image)
    page.send(type="submit", kind="segment", image=image, params={})
    page.until("job")
    page.disc(page.next_id, 100, 100, 20)
    workers = children(process.pid)
    assert workers
    process.send_signal(signal.SIGINT)
    finish(process)
    page.close()
    assert process.returncode == 0
    assert not [w for w in workers if alive(w)]
    with Project.open(folder) as project:  # the lock is free, the stroke is there, nothing is half done
        assert project.labels(image).read()[100, 100] == page.next_id
        assert {j["state"] for j in project.jobs()} <= {"cancelled", "interrupted", "done"}
    assert not list((folder / "cache").rglob("*on its way*/*"))


def test_a_killed_server_takes_its_worker_with_it(images, tmp_path):
    folder = tmp_path / "own.project"
    Project.create(folder, images=[images / "first.png"]).close()
    process, page = start(folder, "--threads", "1", "--port", "0")
    page.connect()
    image = page.welcome["project"]["images"][0]["id"]
    page.send(type="submit", kind="segment", image=image, params={})
    while page.until("job")["job"]["state"] == "queued":
        pass
    workers = children(process.pid)
    assert workers
    process.kill()
    finish(process)
    page.close()
    end = time.monotonic() + 20
    while any(alive(w) for w in workers):
        assert time.monotonic() < end
        time.sleep(0.05)
    process, page = start(folder, "--threads", "1", "--port", "0")
    page.connect()
    assert page.until("job")["job"]["state"] == "interrupted"
    process.send_signal(signal.SIGTERM)
    finish(process)
    page.close()


def children(pid):
    found = []
    for status in os.listdir("/proc"):
        if status.isdigit():
            try:
                with open(f"/proc/{status}/stat") as file:
                    words = file.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(words[1]) == pid:
                found.append(int(status))
    return found


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


if sys.platform != "linux":
    pytest.skip("reads /proc to see processes", allow_module_level=True)
