"""The queue of jobs: by urgency, one lane for pictures and one for training, all of it kept in the project."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from cellbrook.errors import Cancelled, CellbrookError, UsageError
from cellbrook.server.messages import JobInfo
from cellbrook.server.process import JobError, Worker

if TYPE_CHECKING:
    from cellbrook.server.messages import JobKind

log = logging.getLogger(__name__)

Lane = Literal["pictures", "training"]
WINDOW, IMAGE, ASIDE, BATCH, TRAIN = range(5)
"""Urgency: what somebody looks at, the rest of their image, what may follow, many images, training."""

_TELL_S = 0.4  # between words of progress: each takes a browser without a graphics card 70 ms
_ETA_AFTER_S = 1.0  # a guess after less is noise
_DOUBLE_CLICK_S = 1.0  # a second cancelling within it is no wish to end what was asked to stop
FINAL = ("done", "failed", "cancelled", "interrupted")


@dataclass(slots=True)
class Job:
    """A job, as the server holds it.

    Parameters
    ----------
    info : JobInfo
        What pages are shown.
    params : dict
        As submitted.
    user : str
        Whose undo its result belongs to.
    urgency : int
        One of the constants of this module.
    worker : Worker
        Runs its tasks.
    """

    info: JobInfo
    params: dict[str, Any]
    user: str
    urgency: int
    worker: Worker
    began: float = 0.0
    state: dict[str, Any] = field(default_factory=dict)
    running: asyncio.Task[Any] | None = None
    told: float = 0.0
    tell: Callable[[Job], None] = lambda job: None
    ask_to_stop: Callable[[], None] | None = None
    asked: float = 0.0
    stopping: bool = False

    @property
    def over(self) -> bool:
        """True if nothing more happens to it."""
        return self.info.state in FINAL

    def on_stop(self, ask: Callable[[], None]) -> None:
        """Let the first cancelling only ask: a training keeps its best so far. The second ends it."""
        self.ask_to_stop = ask

    def stop(self) -> None:
        """Cancel what runs, once: a second time would cut off the taking back of what it did."""
        if self.running is not None and not self.stopping:
            self.stopping = True
            self.running.cancel()

    def progress(self, message: str, done: int, total: int) -> None:
        """Show how far it is."""
        self.info.message, self.info.done, self.info.total = message, done, total
        passed = time.monotonic() - self.began
        known = 0 < done <= total and passed > _ETA_AFTER_S
        self.info.eta_s = round(passed * (total - done) / done, 1) if known else None
        if time.monotonic() - self.told > _TELL_S:
            self.told = time.monotonic()
            self.tell(self)


class Again(Exception):
    """Raised by a runner to be called again when its turn comes."""


Runner = Callable[[Job], Awaitable[dict[str, Any]]]


class Jobs:
    """The queue.

    Parameters
    ----------
    runners : mapping of str to callable
        What runs a kind of job.
    add, save : callable
        Write a job down in the project, and how far it is.
    tell : callable
        Tells pages of it.
    """

    def __init__(
        self,
        runners: dict[str, Runner],
        add: Callable[[str, str | None, dict[str, Any]], Awaitable[str]],
        save: Callable[[Job], Awaitable[None]],
        tell: Callable[[JobInfo], None],
    ) -> None:
        self._runners, self._add, self._save, self._tell = runners, add, save, tell
        self.workers: dict[Lane, Worker] = {
            "pictures": Worker("the worker"),
            "training": Worker("the training worker", nice=10),
        }
        self._queues: dict[Lane, asyncio.PriorityQueue[tuple[int, int, Job]]] = {
            lane: asyncio.PriorityQueue() for lane in self.workers
        }
        self._order = itertools.count()
        self.jobs: dict[str, Job] = {}
        self._lanes: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to run what is queued."""
        self._lanes = [asyncio.create_task(self._run_lane(lane)) for lane in self.workers]

    async def submit(
        self, kind: JobKind, image: str | None, params: dict[str, Any], user: str, *, urgency: int
    ) -> Job:
        """Queue a job.

        Raises
        ------
        UsageError
            If there is no such kind.
        """
        if kind not in self._runners:
            raise UsageError(f"there is no job {kind!r}: expected one of {', '.join(self._runners)}")
        lane = self._lane(kind)
        number = await self._add(kind, image, params)
        info = JobInfo(id=number, kind=kind, image=image, state="queued", message="waiting")
        job = Job(info, params, user, urgency, self.workers[lane], tell=lambda job: self._tell(job.info))
        self.jobs[info.id] = job
        self._tell(info)
        self._queues[lane].put_nowait((urgency, next(self._order), job))
        return job

    def find(self, **fields: Any) -> list[Job]:
        """Return unfinished jobs whose info has these values."""
        return [
            j
            for j in self.jobs.values()
            if not j.over and all(getattr(j.info, n) == v for n, v in fields.items())
        ]

    async def cancel(self, number: str) -> None:
        """Stop a job; what it did is taken back by its runner.

        Raises
        ------
        UsageError
            If there is no such job.
        """
        job = self.jobs.get(number)
        if job is None:
            raise UsageError("this job has ended already, or was started before the server was")
        if job.over:
            return
        if job.running is not None and job.ask_to_stop is not None:
            job.info.stopping, job.asked = True, time.monotonic()
            job.ask_to_stop()
            job.ask_to_stop = None
            self._tell(job.info)
        elif job.info.stopping and time.monotonic() - job.asked < _DOUBLE_CLICK_S:
            return
        elif job.running is not None:
            if job.info.stopping:  # ending its process takes a while
                job.info.ended = True
                self._tell(job.info)
            job.stop()
        else:
            await self._finish(job, "cancelled")

    async def close(self) -> None:
        """Stop everything; unfinished jobs become "interrupted"."""
        for task in self._lanes:
            task.cancel()
        for task in self._lanes:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for job in self.find():
            await self._finish(job, "interrupted")
        for worker in self.workers.values():
            await worker.end()

    def _lane(self, kind: str) -> Lane:
        return "training" if kind == "train" else "pictures"

    async def _run_lane(self, lane: Lane) -> None:
        queue = self._queues[lane]
        while True:
            urgency, order, job = await queue.get()
            if job.over:
                continue
            if job.info.state == "queued":
                job.began = time.monotonic()
                job.info.state, job.info.message = "running", "starting"
                await self._save(job)
                if job.over:  # cancelled meanwhile
                    continue
                self._tell(job.info)
            job.running = asyncio.create_task(self._runners[job.info.kind](job))  # type: ignore[arg-type]
            try:
                await self._await(job)
            except Again:
                if job.stopping:  # what it was at could not be stopped any more
                    await self._finish(job, "cancelled")
                else:
                    queue.put_nowait((urgency, order, job))
            finally:
                job.running = None

    async def _await(self, job: Job) -> None:
        assert job.running is not None
        try:
            await asyncio.wait([job.running])  # unlike awaiting the job itself, tells whose cancelling it is
        except asyncio.CancelledError:  # the server ends: the runner has to end first
            job.stop()
            await asyncio.wait([job.running])
            raise
        try:
            result = job.running.result()
        except asyncio.CancelledError:
            await self._finish(job, "cancelled")
        except Cancelled:
            await self._finish(job, "cancelled")
        except Again:
            raise
        except JobError as error:
            await self._finish(job, "failed", error=str(error), hint=error.hint)
        except (CellbrookError, OSError) as error:
            await self._finish(job, "failed", error=" ".join(str(error).split()))
        except Exception as error:
            log.exception("a job failed unexpectedly")
            await self._finish(
                job,
                "failed",
                error=f"unexpected {type(error).__name__}: {error}",
                hint="this is a defect of Cellbrook; the terminal of the server shows where",
            )
        else:
            await self._finish(job, "done", result=result)

    async def _finish(
        self,
        job: Job,
        state: Literal["done", "failed", "cancelled", "interrupted"],
        *,
        result: dict[str, Any] | None = None,
        error: str | None = None,
        hint: str | None = None,
    ) -> None:
        info = job.info
        info.state, info.result, info.error, info.hint, info.eta_s = state, result, error, hint, None
        info.stopping = False
        info.message = {"done": "done", "failed": "failed", "cancelled": "cancelled"}.get(
            state, "interrupted"
        )
        if state == "done":
            info.done = info.total = max(info.total, 1)
        await self._save(job)
        self._tell(info)
        if len(self.jobs) > 200:  # the project keeps them all
            old = next((n for n, j in self.jobs.items() if j.over), None)
            if old is not None:
                del self.jobs[old]


def snapshot(info: JobInfo) -> dict[str, Any]:
    """Return a job's info as plain values."""
    plain: dict[str, Any] = msgspec.to_builtins(info)
    return plain
