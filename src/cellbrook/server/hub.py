"""The browsers that look at the project, and what is sent to them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING

from cellbrook.server.messages import FromServer, encode

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

_WAITING = 64 * 2**20
"""Bytes that may wait for a browser that does not read; beyond, its connection is closed and it starts anew."""


class Client:
    """One connection of a browser.

    Attributes
    ----------
    user : str
        Whose undo its edits belong to.
    name : str
        Tells a browser's tab from others, across reconnections once it has said hello.
    image, plane : str or None, int
        What it shows.
    welcome : bool
        True once it has said hello.
    """

    def __init__(self, user: str) -> None:
        self.user = user
        self.name = secrets.token_hex(6)
        self.image: str | None = None
        self.plane = 0
        self.welcome = False
        self.lost = asyncio.Event()
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._waiting = 0

    def send(self, message: FromServer) -> None:
        """Queue a message; never waits."""
        self.send_encoded(encode(message))

    def send_encoded(self, data: bytes) -> None:
        """Queue an encoded message."""
        if self.lost.is_set():
            return
        self._waiting += len(data)
        if self._waiting > _WAITING:
            log.warning("a browser of %s does not read what it is sent: disconnected", self.user)
            self.lost.set()
            return
        self._outgoing.put_nowait(data)

    async def next(self) -> bytes:
        """Return the next message to send."""
        data = await self._outgoing.get()
        self._waiting -= len(data)
        return data


class Hub:
    """All connections."""

    def __init__(self) -> None:
        self._clients: set[Client] = set()

    def join(self, client: Client) -> None:
        """Let a client hear what is broadcast."""
        self._clients.add(client)

    def leave(self, client: Client) -> None:
        """Forget a client."""
        self._clients.discard(client)

    def __len__(self) -> int:
        return len(self._clients)

    def broadcast(
        self, message: FromServer, *, but: Client | None = None, to: Callable[[Client], bool] | None = None
    ) -> None:
        """Send a message to all who have said hello, but one."""
        data: bytes | None = None
        for client in tuple(self._clients):
            if client is but or not client.welcome or (to is not None and not to(client)):
                continue
            data = data or encode(message)
            client.send_encoded(data)

    def close(self) -> None:
        """Disconnect everybody."""
        for client in self._clients:
            client.lost.set()
