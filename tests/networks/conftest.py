from __future__ import annotations

import http.server
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

torch = pytest.importorskip("torch")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the user's folder of this test, which does not exist yet; its path is not ASCII."""
    folder = tmp_path / "Zellen ñ 細胞"
    monkeypatch.setenv("CELLBROOK_HOME", str(folder))
    monkeypatch.delenv("CELLBROOK_OFFLINE", raising=False)
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make any use of a socket fail the test."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def tiny_state() -> Callable[[], dict[str, torch.Tensor]]:
    """Return a maker of state dicts of a very small cpsam network; each call draws the same numbers."""
    from cellbrook.networks.cpsam.model import CpsamNet

    def make(seed: int = 0) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        net = CpsamNet(patch=2, grid=4, depth=2, dim=8, head_dim=4, mlp=16, neck=4, rel_pos=(7, 5))
        return {n: torch.randn(t.shape, generator=generator) for n, t in net.state_dict().items()}

    return make


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_state: Callable[..., dict[str, torch.Tensor]]) -> Callable[..., Path]:
    """Return a writer of small checkpoints."""

    def write(name: str = "mein modèle.pth", seed: int = 0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(tiny_state(seed), path)
        return path

    return write


@dataclass
class FileServer:
    """A web server on this machine that can be told to misbehave."""

    url: str = ""
    body: bytes = b""
    etag: str | None = '"one"'
    drop_after: list[int] = field(
        default_factory=list
    )  # bytes sent before the connection breaks, a request each
    fail_with: list[int] = field(default_factory=list)  # status instead of an answer, a request each
    redirect_to: str | None = None
    ranges: bool = True
    requests: list[str | None] = field(default_factory=list)  # Range header of each request


@pytest.fixture
def server() -> Iterator[FileServer]:
    state = FileServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.requests.append(wanted)
            if state.redirect_to:
                self.send_response(302)
                self.send_header("Location", state.redirect_to)
                self.end_headers()
                return
            if state.fail_with:
                self.send_error(state.fail_with.pop(0))
                return
            start = 0
            fresh = self.headers.get("If-Range") in (None, state.etag)
            if state.ranges and wanted and fresh:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(state.body):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(state.body) - 1}/{len(state.body)}")
            else:
                self.send_response(200)
            if state.etag:
                self.send_header("ETag", state.etag)
            self.send_header("Content-Length", str(len(state.body) - start))
            self.end_headers()
            rest = state.body[start:]
            self.wfile.write(rest[: state.drop_after.pop(0)] if state.drop_after else rest)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{web.server_address[1]}"
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield state
    web.shutdown()
    thread.join()
    web.server_close()
