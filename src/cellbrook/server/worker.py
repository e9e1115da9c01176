"""The process that computes: ``python -m cellbrook.server.worker``, started and ended by the server.

It owns models and nothing else: it reads images, writes what it found into a folder that the server gave it, and never
touches the project. It speaks through its standard input and output: four bytes of length, then a MessagePack map.

::

    in   {call, id, task, args}   {cancel: id}
    out  {id, progress: [task, done, total]}  {id, partial: {...}}  {id, result: {...}}
         {id, error, hint, kind: "cancelled" | "usage" | "failed"}

When its input ends, because the server did, it ends too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import struct
import sys
import threading
import time
import traceback
from typing import IO, TYPE_CHECKING, Any

import msgspec

from cellbrook.errors import Cancelled, CellbrookError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTH = struct.Struct("<I")
_TELL_S = 0.1  # a page need not be told more often

log = logging.getLogger(__name__)


class Channel:
    """Messages through a pair of pipes; sending is safe from several threads."""

    def __init__(self, incoming: IO[bytes], outgoing: IO[bytes]) -> None:
        self._in, self._out = incoming, outgoing
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Send one message."""
        data = msgspec.msgpack.encode(message)
        with self._lock:
            self._out.write(LENGTH.pack(len(data)) + data)
            self._out.flush()

    def receive(self) -> dict[str, Any] | None:
        """Return the next message, None when the other side has gone."""
        head = self._in.read(LENGTH.size)
        if len(head) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack(head)
        data = self._in.read(length)
        return msgspec.msgpack.decode(data, type=dict[str, Any]) if len(data) == length else None


class Call:
    """One task that the server asked for; a `Progress` that tells the server, and hears whether it still wants it."""

    def __init__(self, number: int, channel: Channel) -> None:
        self.number = number
        self._channel = channel
        self._cancelled = threading.Event()
        self._task, self._done, self._total, self._told = "", 0, 0, 0.0

    def start(self, task: str, total: int) -> None:
        """Begin a task of `total` units."""
        self._task, self._done, self._total = task, 0, total
        self._tell()

    def advance(self, count: int = 1) -> None:
        """Report finished units."""
        self._done += count
        if self._done >= self._total or time.monotonic() - self._told > _TELL_S:
            self._tell()

    def check_cancelled(self) -> None:
        """Raise `Cancelled` if the server no longer wants the result."""
        if self._cancelled.is_set():
            raise Cancelled("cancelled")

    def cancel(self) -> None:
        """Let the next `check_cancelled` raise."""
        self._cancelled.set()

    def partial(self, facts: dict[str, Any]) -> None:
        """Send a part of the result."""
        self._channel.send({"id": self.number, "partial": facts})

    def _tell(self) -> None:
        self._told = time.monotonic()
        self._channel.send({"id": self.number, "progress": [self._task, self._done, self._total]})


Task = "Callable[[Call, dict[str, Any]], dict[str, Any]]"


def serve(channel: Channel, find: Callable[[str], Callable[[Call, dict[str, Any]], dict[str, Any]]]) -> None:
    """Answer calls one after the other until the server goes away.

    Parameters
    ----------
    channel : Channel
        To the server.
    find : callable
        Returns the task of a name.
    """
    waiting: queue.SimpleQueue[tuple[Call, dict[str, Any]] | None] = queue.SimpleQueue()
    open_calls: dict[int, Call] = {}

    def listen() -> None:
        while (message := channel.receive()) is not None:
            if "cancel" in message:
                if (call := open_calls.get(message["cancel"])) is not None:
                    call.cancel()
                continue
            call = Call(message["id"], channel)
            open_calls[call.number] = call
            waiting.put((call, message))
        # the server is gone, so nobody waits for what runs now; its files are of no use to anybody
        os._exit(0)

    threading.Thread(target=listen, daemon=True, name="listen").start()
    while (item := waiting.get()) is not None:
        call, message = item
        try:
            call.check_cancelled()
            answer: dict[str, Any] = {"result": find(message["task"])(call, message["args"])}
        except Exception as error:
            answer = _failure(error)
        open_calls.pop(call.number, None)
        channel.send({"id": call.number, **answer})


def _failure(error: Exception) -> dict[str, Any]:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Cancelled):
        return {"kind": "cancelled", "error": text, "hint": ""}
    if isinstance(error, MemoryError):
        text = f"not enough memory ({text})"
        return {
            "kind": "failed",
            "error": text,
            "hint": "close other programs, or choose a smaller part of the image",
        }
    if isinstance(error, (CellbrookError, OSError)):
        what, _, hint = text.partition(": ")
        kind = "usage" if isinstance(error, UsageError) else "failed"
        return {"kind": kind, "error": text, "hint": hint if len(what) < 12 else ""}
    log.error("a task failed unexpectedly\n%s", traceback.format_exc())
    return {
        "kind": "failed",
        "error": f"unexpected {type(error).__name__}: {text}",
        "hint": "this is a defect of Cellbrook; the terminal of the server shows where",
    }


def main() -> None:
    """Run the worker until its standard input ends."""
    # The protocol gets descriptors of its own: whatever a library prints must not get between the messages.
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is the server's to handle
    with contextlib.suppress(OSError, AttributeError, ValueError):
        os.nice(int(os.environ.get("CELLBROOK_WORKER_NICE", "5")))  # the page's answers come first
    logging.basicConfig(level=logging.WARNING, format="cellbrook worker: %(levelname)s: %(message)s")
    from cellbrook.server.tasks import find

    serve(Channel(sys.stdin.buffer, outgoing), find)


if __name__ == "__main__":
    main()
