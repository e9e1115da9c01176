"""The WebSocket: a page's edits and wishes in, everybody's changes out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocketDisconnect, WebSocketState

from cellbrook.errors import CellbrookError, UsageError
from cellbrook.server import jobs as urgency
from cellbrook.server import messages as m
from cellbrook.server.hub import Client

if TYPE_CHECKING:
    from starlette.routing import BaseRoute
    from starlette.websockets import WebSocket

    from cellbrook.server.jobs import Jobs
    from cellbrook.server.proposals import Proposals
    from cellbrook.server.workspace import Workspace

log = logging.getLogger(__name__)

_PATIENCE = 3
"""Messages that make no sense until a connection is closed."""

_WAITING = 10_000
"""Messages of a page that may wait; a stroke is four a second."""


class Connection:
    """One page's connection.

    Reading never waits for work: pings are answered at once, everything else goes, in order, to a task of its own. So do
    clicks that propose a cell, which may have to wait for the worker, and what cancels jobs, which must not wait.
    """

    def __init__(self, socket: WebSocket, workspace: Workspace, jobs: Jobs, proposals: Proposals) -> None:
        self._socket, self._workspace, self._jobs, self._proposals = socket, workspace, jobs, proposals
        self.client = Client(socket.scope.get("state", {}).get("user", "me"))
        self._work, self._clicks, self._cancels = (asyncio.Queue[m.AnyToServer](_WAITING) for _ in range(3))

    async def run(self) -> None:
        """Serve the page until it goes, or is too slow."""
        await self._socket.accept()
        self._workspace.hub.join(self.client)
        work = [self._do(queue) for queue in (self._work, self._clicks, self._cancels)]
        tasks = [
            asyncio.create_task(t) for t in (self._read(), self._write(), *work, self.client.lost.wait())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if (error := task.exception()) is not None and not isinstance(error, WebSocketDisconnect):
                    log.error("a connection ended unexpectedly", exc_info=error)
        finally:
            self._workspace.hub.leave(self.client)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            if self._socket.application_state is not WebSocketState.DISCONNECTED:
                with contextlib.suppress(Exception):  # it may be gone already
                    await self._socket.close(1001)

    async def _read(self) -> None:
        wrong = 0
        while True:
            data = await self._socket.receive()
            if data["type"] == "websocket.disconnect":
                return
            try:
                raw = data.get("bytes")
                if raw is None:
                    raise msgspec.ValidationError("messages are binary MessagePack")
                message = m.decode(raw)
                if not self.client.welcome and not isinstance(message, m.Hello):
                    raise msgspec.ValidationError("the first message is hello")
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                wrong += 1
                log.warning("refused a message of %s: %s", self.client.user, error)
                self.client.send(m.Notice(level="error", message=f"a message was not understood: {error}"))
                if wrong >= _PATIENCE:
                    await self._socket.close(1008, "messages were not understood")
                    return
                continue
            if isinstance(message, m.Ping):
                self.client.send(m.Pong(t=message.t))
            elif isinstance(message, m.Hello):
                await self._hello(message)
            else:
                await self._queue_of(message).put(message)

    def _queue_of(self, message: m.AnyToServer) -> asyncio.Queue[m.AnyToServer]:
        match message:
            case m.Edit(kind="prompt"):
                return self._clicks
            case m.Cancel():
                return self._cancels
        return self._work

    async def _write(self) -> None:
        while True:
            await self._socket.send_bytes(await self.client.next())

    async def _do(self, queue: asyncio.Queue[m.AnyToServer]) -> None:
        while True:
            message = await queue.get()
            try:
                await self._handle(message)
            except (CellbrookError, ValueError, KeyError, TypeError, OSError) as error:
                text = " ".join(str(error).split()) or type(error).__name__
                if not isinstance(error, (CellbrookError, OSError)):
                    log.warning("refused %s: %r", type(message).__name__.lower(), error)
                    text = f"the {type(message).__name__.lower()} message does not fit: {text}"
                self.client.send(m.Notice(level="error", message=text))
            except Exception:
                log.exception("a message could not be handled")
                self.client.send(
                    m.Notice(
                        level="error",
                        message="something unexpected went wrong; nothing was changed",
                        hint="this is a defect of Cellbrook; the terminal of the server shows where",
                    )
                )

    async def _hello(self, message: m.Hello) -> None:
        client = self.client
        if message.client:
            client.name = message.client[:64]
        project = await self._workspace.read(self._workspace.summary)
        client.send(m.Welcome(protocol=m.PROTOCOL, user=client.user, project=project))
        client.welcome = True
        for job in await self._workspace.read(self._workspace.recent_jobs):
            live = self._jobs.jobs.get(job.id)
            client.send(m.JobMessage(job=live.info if live is not None else job))

    async def _handle(self, message: m.AnyToServer) -> None:
        workspace, client = self._workspace, self.client
        match message:
            case m.Edit(kind="prompt"):
                await self._proposals.propose(message, client)
            case m.Edit():
                await workspace.edit(message, client)
            case m.Undo():
                await workspace.revert(message.image, "undo", client)
            case m.Redo():
                await workspace.revert(message.image, "redo", client)
            case m.Open():
                await self._open(message)
            case m.Lease():
                first, last = await workspace.lease(message.image, message.count)
                client.send(m.Leased(image=message.image, first_id=first, last_id=last))
            case m.Submit():
                await self._submit(message)
            case m.Cancel():
                await self._jobs.cancel(message.job)
            case m.Set():
                await workspace.set(message.what, message.value)

    async def _open(self, message: m.Open) -> None:
        workspace, client = self._workspace, self.client
        info = await workspace.read(workspace.info, message.image)
        if not 0 <= message.plane < info.z * info.t:
            raise UsageError(f"{info.name} has the planes 0 to {info.z * info.t - 1}, got {message.plane}")
        await workspace.open(message.image, message.plane, client)
        if info.problem is None:
            full = await workspace.read(workspace.info, message.image, full=True)
            client.send(m.ImageMessage(image=full))

    async def _submit(self, message: m.Submit) -> None:
        if message.image is not None:
            await self._workspace.read(self._workspace.project.image, message.image)
        self._workspace.check_writable()
        if message.kind in ("segment", "rethreshold", "limits"):
            # a newer wish for the same picture takes the place of an older one
            for job in self._jobs.find(kind=message.kind, image=message.image):
                await self._jobs.cancel(job.info.id)
        await self._jobs.submit(
            message.kind, message.image, message.params, self.client.user, urgency=_urgency(message)
        )


def _urgency(message: m.Submit) -> int:
    window: Any = message.params.get("window")
    if message.kind == "rethreshold" or (message.kind == "segment" and window is not None):
        return urgency.WINDOW
    return {
        "segment": urgency.IMAGE,
        "limits": urgency.IMAGE,
        "suggest": urgency.ASIDE,
        "evaluate": urgency.ASIDE,
        "again": urgency.ASIDE,
        "agreement": urgency.ASIDE,
        "batch": urgency.BATCH,
    }.get(message.kind, urgency.TRAIN)


def socket_route(workspace: Workspace, jobs: Jobs, proposals: Proposals) -> BaseRoute:
    """Return the WebSocket's route."""

    async def endpoint(socket: WebSocket) -> None:
        await Connection(socket, workspace, jobs, proposals).run()

    return WebSocketRoute("/ws", endpoint)
