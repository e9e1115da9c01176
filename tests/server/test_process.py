"""The worker process: progress, cancelling, crashes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from cellbrook.server.process import PATIENCE_S, JobError, Worker

FAKE = Path(__file__).with_name("fake_worker.py")


def run(test):
    """Run a test of one worker, which is ended in the end."""

    async def whole():
        worker = Worker("the worker", command=(sys.executable, str(FAKE)))
        try:
            await test(worker)
        finally:
            await worker.end()

    asyncio.run(whole())


def test_a_task_reports_its_progress_and_gives_its_result():
    seen = []

    async def test(worker):
        result = await worker.call("wait", {"steps": 30}, progress=lambda *p: seen.append(p))
        assert result["steps"] == 30

    run(test)
    assert seen[0] == ("waiting", 0, 30)
    assert seen[-1] == ("waiting", 30, 30)
    assert [s[1] for s in seen] == sorted(s[1] for s in seen)


def test_one_process_answers_all_calls():
    async def test(worker):
        assert worker.pid is None
        first = await worker.call("wait", {"steps": 1})
        again = await worker.call("wait", {"steps": 1})
        assert first["pid"] == again["pid"] == worker.pid

    run(test)


def test_parts_come_before_the_result():
    parts = []

    async def test(worker):
        await worker.call("part", {"steps": 1}, partial=parts.append)
        assert parts == [{"part": 1}]

    run(test)


def test_what_a_library_prints_does_not_get_between_the_messages():
    async def test(worker):
        assert await worker.call("noisy", {}) == {"said": True}
        assert (await worker.call("wait", {"steps": 1}))["steps"] == 1

    run(test)


def test_a_cancelled_task_stops_and_its_process_stays():
    async def test(worker):
        before = await worker.call("wait", {"steps": 1})
        call = asyncio.create_task(worker.call("wait", {"steps": 10_000}))
        await asyncio.sleep(0.2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await worker.call("wait", {"steps": 1}))["pid"] == before["pid"]

    run(test)


def test_a_task_that_does_not_hear_is_ended_within_two_seconds():
    async def test(worker):
        before = await worker.call("wait", {"steps": 1})
        call = asyncio.create_task(worker.call("stubborn", {}))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert time.monotonic() - began >= PATIENCE_S
        assert not alive(before["pid"])
        assert (await worker.call("wait", {"steps": 1}))["pid"] != before["pid"]  # another one took its place

    run(test)
    assert PATIENCE_S < 2


def test_cancelling_what_waits_for_its_turn_leaves_what_runs_alone():
    async def test(worker):
        running = asyncio.create_task(worker.call("wait", {"steps": 30}))
        await asyncio.sleep(0.1)
        waiting = asyncio.create_task(worker.call("stubborn", {}))
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert not running.done(), "nobody waited for its turn"
        assert (await running)["pid"] == (await worker.call("wait", {"steps": 1}))["pid"]

    run(test)


def test_what_waits_behind_a_task_that_is_ended_is_done_by_the_next_process():
    async def test(worker):
        before = (await worker.call("wait", {"steps": 1}))["pid"]
        stubborn = asyncio.create_task(worker.call("stubborn", {}))
        await asyncio.sleep(0.1)
        waiting = asyncio.create_task(worker.call("wait", {"steps": 2}))
        await asyncio.sleep(0.1)
        stubborn.cancel()
        result = await waiting
        assert (result["steps"], result["pid"] != before) == (2, True)

    run(test)


@pytest.mark.parametrize(("code", "word"), [(3, "unexpectedly"), (137, "memory")])
def test_a_crash_is_told_and_the_next_call_has_a_new_process(code, word):
    async def test(worker):
        with pytest.raises(JobError, match=word) as caught:
            await worker.call("crash", {"code": code})
        assert "document is as it was" in caught.value.hint
        assert (await worker.call("wait", {"steps": 1}))["steps"] == 1

    run(test)


def test_a_process_that_is_killed_from_outside_is_told():
    async def test(worker):
        pid = (await worker.call("wait", {"steps": 1}))["pid"]
        call = asyncio.create_task(worker.call("stubborn", {}))
        await asyncio.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(JobError, match="memory ran out"):
            await call

    run(test)


def test_errors_come_with_their_words():
    async def test(worker):
        with pytest.raises(JobError, match="expected a cell, got a star"):
            await worker.call("refuse", {})
        with pytest.raises(JobError, match="unexpected ZeroDivisionError"):
            await worker.call("break_down", {})

    run(test)


def test_a_worker_ends_when_its_server_is_gone():
    async def test(worker):
        pid = (await worker.call("wait", {"steps": 1}))["pid"]
        process = worker._process
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 10)
        assert not alive(pid)

    run(test)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
