"""The queue: urgency, cancelling, what is kept."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import pytest

from cellbrook.errors import UsageError
from cellbrook.server import jobs as j
from cellbrook.server.process import Worker

FAKE = Path(__file__).with_name("fake_worker.py")


class Board:
    """A queue with a fake worker, and all that was said of its jobs."""

    def __init__(self):
        self.told, self.saved, self.order = [], {}, []
        self.count = 0
        runners = dict.fromkeys(("segment", "batch", "train", "evaluate"), self.run)
        self.jobs = j.Jobs(
            runners, self.add, self.save, lambda info: self.told.append((info.id, info.state, info.done))
        )
        for lane in self.jobs.workers:
            self.jobs.workers[lane] = Worker(lane, command=(sys.executable, str(FAKE)))

    async def add(self, kind, image, params):
        self.count += 1
        return f"job{self.count}"

    async def save(self, job):
        self.saved[job.info.id] = job.info.state

    async def run(self, job):
        if job.params.get("turns"):
            job.state["left"] = job.state.get("left", job.params["turns"]) - 1
            self.order.append(job.info.id)
            await job.worker.call("wait", {"steps": 5})
            if job.state["left"]:
                raise j.Again
            return {}
        self.order.append(job.info.id)
        return await job.worker.call(
            job.params.get("task", "wait"), {"steps": 3, **job.params}, progress=job.progress
        )

    async def submit(self, kind="segment", urgency=j.IMAGE, image="a", **params):
        return await self.jobs.submit(kind, image, params, "me", urgency=urgency)

    async def ended(self, *jobs):
        while any(job.info.state not in j.FINAL for job in jobs):
            await asyncio.sleep(0.01)


def run(test):
    async def whole():
        board = Board()
        board.jobs.start()
        try:
            await asyncio.wait_for(test(board), 60)
        finally:
            await board.jobs.close()

    asyncio.run(whole())


def test_a_job_is_written_down_and_told_from_beginning_to_end():
    async def test(board):
        job = await board.submit()
        await board.ended(job)
        assert job.info.state == "done"
        assert job.info.result["steps"] == 3
        assert board.saved == {"job1": "done"}
        states = [s for _, s, _ in board.told]
        assert states[0] == "queued"
        assert "running" in states
        assert states[-1] == "done"

    run(test)


def test_what_somebody_looks_at_comes_before_images_before_batches():
    async def test(board):
        first = await board.submit(steps=30)
        await asyncio.sleep(0.1)
        batch = await board.submit("batch", j.BATCH)
        image = await board.submit(urgency=j.IMAGE)
        window = await board.submit(urgency=j.WINDOW)
        await board.ended(first, batch, image, window)
        assert board.order == [x.info.id for x in (first, window, image, batch)]

    run(test)


def test_a_batch_lets_others_pass_between_its_images():
    async def test(board):
        batch = await board.submit("batch", j.BATCH, turns=4)
        while not board.order:
            await asyncio.sleep(0.01)
        window = await board.submit(urgency=j.WINDOW)
        await board.ended(batch, window)
        place = board.order.index(window.info.id)
        assert 0 < place < 4
        assert board.order.count(batch.info.id) == 4

    run(test)


def test_training_does_not_hold_up_pictures():
    async def test(board):
        training = await board.submit("train", j.TRAIN, steps=100_000)
        await asyncio.sleep(0.2)
        picture = await board.submit()
        await board.ended(picture)
        assert training.info.state == "running"
        await board.jobs.cancel(training.info.id)
        await board.ended(training)
        assert training.info.state == "cancelled"

    run(test)


def test_a_queued_job_and_a_running_one_can_be_cancelled():
    async def test(board):
        running = await board.submit(steps=100_000)
        queued = await board.submit()
        await asyncio.sleep(0.3)
        await board.jobs.cancel(queued.info.id)
        assert queued.info.state == "cancelled"
        await board.jobs.cancel(running.info.id)
        await board.ended(running)
        assert running.info.state == "cancelled"
        after = await board.submit()
        await board.ended(after)
        assert after.info.state == "done"
        assert queued.info.id not in board.order
        await board.jobs.cancel(after.info.id)  # too late: nothing happens
        assert after.info.state == "done"
        with pytest.raises(UsageError, match="ended already"):
            await board.jobs.cancel("nonsense")

    run(test)


def test_a_job_that_is_cancelled_as_it_begins_does_not_run():
    async def test(board):
        begun = asyncio.Event()
        save = board.jobs._save

        async def slowly(job):
            begun.set()
            await asyncio.sleep(0.05)
            await save(job)

        board.jobs._save = slowly
        job = await board.submit()
        await begun.wait()
        await board.jobs.cancel(job.info.id)
        after = await board.submit()
        await board.ended(job, after)
        assert job.info.state == "cancelled"
        assert board.order == [after.info.id]

    run(test)


def test_cancelling_twice_does_not_cut_off_what_tidies_up():
    async def test(board):
        steps = []

        async def careful(job):
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.1)
                steps.append("tidied up")

        board.jobs._runners["segment"] = careful
        job = await board.submit()
        await asyncio.sleep(0.1)
        for _ in range(3):
            await board.jobs.cancel(job.info.id)
            await asyncio.sleep(0.01)
        await board.ended(job)
        assert steps == ["tidied up"]

    run(test)


def test_a_job_that_ends_by_itself_is_asked_once_and_not_ended_by_a_double_click(monkeypatch):
    async def test(board):
        asked = asyncio.Event()

        async def learning(job):
            job.on_stop(asked.set)
            await asyncio.sleep(60)

        board.jobs._runners["train"] = learning
        job = await board.submit("train")
        await asyncio.sleep(0.1)
        await board.jobs.cancel(job.info.id)
        assert asked.is_set()
        await board.jobs.cancel(job.info.id)
        await asyncio.sleep(0.05)
        assert (job.info.state, job.info.stopping) == ("running", True)
        monkeypatch.setattr(j, "_DOUBLE_CLICK_S", 0.0)
        await board.jobs.cancel(job.info.id)
        await board.ended(job)
        assert (job.info.state, job.info.stopping) == ("cancelled", False)

    run(test)


def test_a_batch_that_is_cancelled_at_its_last_moment_does_not_go_on():
    async def test(board):
        turns = []

        async def stubborn(job):
            turns.append(1)
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            raise j.Again

        board.jobs._runners["batch"] = stubborn
        job = await board.submit("batch")
        await asyncio.sleep(0.1)
        await board.jobs.cancel(job.info.id)
        await board.ended(job)
        assert job.info.state == "cancelled"
        assert turns == [1]

    run(test)


def test_a_failure_says_why_and_the_queue_goes_on():
    async def test(board):
        failed = [await board.submit(task=t) for t in ("refuse", "crash", "break_down")]
        after = await board.submit()
        await board.ended(*failed, after)
        assert [f.info.state for f in failed] == ["failed"] * 3
        assert "got a star" in failed[0].info.error
        assert "a new worker is ready" in failed[1].info.hint
        assert "ZeroDivisionError" in failed[2].info.error
        assert after.info.state == "done"

    run(test)


def test_time_left_is_told_once_it_is_known():
    async def test(board):
        job = await board.submit(steps=60, step_s=0.03)
        seen = []
        while job.info.state not in j.FINAL:
            seen.append(job.info.eta_s)
            await asyncio.sleep(0.02)
        guesses = [s for s in seen if s is not None]
        assert guesses
        assert seen[0] is None  # nobody knows after a moment
        assert min(guesses) < max(guesses)

    run(test)


def test_what_is_unfinished_when_the_server_ends_is_interrupted():
    async def whole():
        board = Board()
        board.jobs.start()
        running, queued = await board.submit(steps=100_000), await board.submit()
        await asyncio.sleep(0.3)
        await board.jobs.close()
        assert board.saved[queued.info.id] == "interrupted"
        assert board.saved[running.info.id] in ("interrupted", "cancelled")
        assert all(w.pid is None for w in board.jobs.workers.values())

    asyncio.run(whole())


def test_an_unknown_kind_is_refused():
    async def test(board):
        with pytest.raises(UsageError, match="there is no job 'dance'"):
            await board.submit("dance")

    run(test)
