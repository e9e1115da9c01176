"""The server's side of a worker process: calls, progress, cancelling, and starting anew after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from cellbrook.errors import Cancelled, CellbrookError
from cellbrook.server.worker import LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

PATIENCE_S = 1.5
"""How long a task may go on after it was cancelled before its process is ended."""

COMMAND = (sys.executable, "-m", "cellbrook.server.worker")
_LARGEST = 256 * 2**20


class JobError(CellbrookError):
    """A job failed; carries what the page shows.

    Parameters
    ----------
    message : str
        What went wrong, in one line.
    hint : str
        What to do.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class _Again(Exception):
    """A call did not begin before its process was ended for another one's sake."""


@dataclass(slots=True)
class _Waiting:
    answer: asyncio.Future[dict[str, Any]]
    progress: Callable[[str, int, int], None]
    partial: Callable[[dict[str, Any]], None]


class Worker:
    """One worker process, started when it is first needed.

    Parameters
    ----------
    name : str
        For logs.
    nice : int
        How far its priority is below the server's.
    command : sequence of str
        What is started.
    """

    def __init__(self, name: str, nice: int = 5, command: Sequence[str] = COMMAND) -> None:
        self._name, self._nice, self._command = name, nice, command
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, _Waiting] = {}
        self._numbers = itertools.count(1)
        self._starting = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Number of the process, None while there is none."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def call(
        self,
        task: str,
        args: dict[str, Any],
        *,
        progress: Callable[[str, int, int], None] = lambda task, done, total: None,
        partial: Callable[[dict[str, Any]], None] = lambda facts: None,
        stop: Callable[[Callable[[], None]], None] = lambda ask: None,
    ) -> dict[str, Any]:
        """Run a task in the process and return its result.

        To cancel, cancel the asyncio task that awaits this: the process is asked to stop, and ended if it has not
        after `PATIENCE_S`. Calls that wait for their turn are then done by the next process.

        Parameters
        ----------
        task, args
            What is done.
        progress, partial : callable
            Told how far it is, and given parts of the result.
        stop : callable
            Is given a function that asks the task to stop in its own way and time, and still answer.

        Raises
        ------
        JobError
            If the task failed, or its process died.
        """
        while True:
            await self._start()
            number = next(self._numbers)
            answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            self._waiting[number] = _Waiting(answer, progress, partial)
            try:
                await self._send({"id": number, "task": task, "args": args})
                stop(functools.partial(self._ask, number))
                return _result(await asyncio.shield(answer))
            except _Again:
                continue
            except asyncio.CancelledError:
                await asyncio.shield(self._stop(number, answer))
                raise
            finally:
                self._waiting.pop(number, None)

    def _ask(self, number: int) -> None:
        process = self._process
        if process is not None and process.stdin is not None:
            data = msgspec.msgpack.encode({"cancel": number})
            process.stdin.write(LENGTH.pack(len(data)) + data)

    async def _stop(self, number: int, answer: asyncio.Future[dict[str, Any]]) -> None:
        with contextlib.suppress(JobError):
            await self._send({"cancel": number})
            if number != min(self._waiting):  # not its turn yet: the process passes over it
                return
            done, _ = await asyncio.wait([answer], timeout=PATIENCE_S)
            if not done:
                log.warning("%s did not stop within %g s and is ended", self._name, PATIENCE_S)
                for behind, waiting in self._waiting.items():
                    if behind != number and not waiting.answer.done():
                        waiting.answer.set_exception(_Again())
                await self.end()
        if answer.done() and not answer.cancelled():
            answer.exception()  # looked at

    async def end(self) -> None:
        """End the process; the next call starts another."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._reading is not None:
            await asyncio.wait([self._reading])

    async def _start(self) -> None:
        async with self._starting:
            if self._process is not None and self._process.returncode is None:
                return
            if self._reading is not None:
                await asyncio.wait([self._reading])
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "CELLBROOK_WORKER_NICE": str(self._nice)},
                limit=2**22,
            )
            self._reading = asyncio.create_task(self._read(self._process))

    async def _send(self, message: dict[str, Any]) -> None:
        process = self._process
        if process is None or process.stdin is None:
            raise JobError("the worker has ended", "start the job again")
        data = msgspec.msgpack.encode(message)
        try:
            process.stdin.write(LENGTH.pack(len(data)) + data)
            await process.stdin.drain()
        except (BrokenPipeError, ConnectionError) as error:
            raise JobError("the worker has ended", "start the job again") from error

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        stream = process.stdout
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (length,) = LENGTH.unpack(await stream.readexactly(LENGTH.size))
                if length > _LARGEST:
                    log.error("%s sent a message of %d bytes", self._name, length)
                    process.kill()
                    break
                message = msgspec.msgpack.decode(await stream.readexactly(length), type=dict[str, Any])
                self._take(message)
        code = await process.wait()
        error = JobError(*_why(code))
        for waiting in list(self._waiting.values()):
            if not waiting.answer.done():
                waiting.answer.set_exception(error)
                waiting.answer.exception()  # whoever still waits gets it; nobody need be told that nobody does

    def _take(self, message: dict[str, Any]) -> None:
        waiting = self._waiting.get(message["id"])
        if waiting is None or waiting.answer.done():
            return
        if "progress" in message:
            waiting.progress(*message["progress"])
        elif "partial" in message:
            waiting.partial(message["partial"])
        else:
            waiting.answer.set_result(message)


def _result(message: dict[str, Any]) -> dict[str, Any]:
    if "result" in message:
        found: dict[str, Any] = message["result"]
        return found
    if message.get("kind") == "cancelled":
        raise Cancelled("cancelled")
    raise JobError(message["error"], message.get("hint", ""))


def _why(code: int) -> tuple[str, str]:
    if code in (-9, 137):
        return (
            "the worker was ended by the system, probably because memory ran out",
            "close other programs, or choose a smaller part of the image; the document is as it was",
        )
    return (
        f"the worker ended unexpectedly (code {code})",
        "start the job again: a new worker is ready; the document is as it was",
    )
