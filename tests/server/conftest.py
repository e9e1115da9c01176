"""A real server in a thread, and a page's side of the wire."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import itertools
import json
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import uvicorn
from websockets.sync.client import connect

from cellbrook.project.project import Project
from cellbrook.server.app import Limits, create_app
from cellbrook.server.launch import bind, make_access
from cellbrook.server.runs import decode_runs, encode_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")


def blobs(shape=(300, 420), seed=0, count=24, dtype=np.uint8):
    """Bright discs on a dark ground, apart from each other."""
    rng = np.random.default_rng(seed)
    image = rng.normal(20, 3, shape)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    grid = [(y, x) for y in range(30, shape[0] - 25, 50) for x in range(30, shape[1] - 25, 50)]
    for y, x in [grid[i] for i in rng.permutation(len(grid))[:count]]:
        r = rng.uniform(9, 15)
        image += 150 * np.clip(r - np.hypot(yy - y, xx - x), 0, 1)
    return np.clip(image, 0, 255).astype(dtype)


class Page:
    """What a browser does, without one."""

    def __init__(self, port: int, token: str, host: str = "127.0.0.1") -> None:
        self.port, self.token, self.host = port, token, host
        self.headers = {"Authorization": f"Bearer {token}"}
        self.socket: Any = None
        self.name = uuid.uuid4().hex
        self.numbers = itertools.count()
        self.waiting: list[dict[str, Any]] = []

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body=body, headers={**self.headers, **headers})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if answer.headers.get("content-encoding") == "gzip":
            data = gzip.decompress(data)
        return answer, data

    def get(self, path: str) -> bytes:
        answer, data = self.request("GET", path)
        assert answer.status in (200, 204), (answer.status, data)
        return data

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def upload(self, path: str, *files: tuple[str, bytes], kind: str = "application/octet-stream") -> Any:
        mark = uuid.uuid4().hex
        body = b"".join(
            f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'.encode()
            + f"Content-Type: {kind}\r\n\r\n".encode()
            + data
            + b"\r\n"
            for name, data in files
        )
        whole = {"Content-Type": f"multipart/form-data; boundary={mark}"}
        return self.request("POST", path, body + f"--{mark}--\r\n".encode(), **whole)

    def connect(
        self, path: str = "/ws", port: int | None = None, host: str | None = None, **headers: str
    ) -> Page:
        port = port or self.port
        self.stack = contextlib.ExitStack()
        plain = socket.create_connection(("127.0.0.1", port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as browsers do
        opening = connect(
            f"ws://{host or f'127.0.0.1:{port}'}{path}",
            sock=plain,
            additional_headers={**self.headers, **headers},
            max_size=2**27,
            compression=None,
        )
        self.socket = self.stack.enter_context(opening)
        self.send(type="hello", protocol=1, client=self.name)
        self.welcome = self.until("welcome")
        return self

    def send(self, **message: Any) -> None:
        self.socket.send(msgspec.msgpack.encode(message))

    def receive(self, timeout: float = 30) -> dict[str, Any]:
        return msgspec.msgpack.decode(self.socket.recv(timeout=timeout))

    def until(self, kind: str, timeout: float = 60, **fields: Any) -> dict[str, Any]:
        """The next message of a kind with these values; others are kept aside."""
        end = time.monotonic() + timeout
        while True:
            message = self.receive(max(0.01, end - time.monotonic()))
            if message["type"] == kind and all(message.get(k) == v for k, v in fields.items()):
                return message
            self.waiting.append(message)

    def open(self, image: str, plane: int = 0) -> dict[str, Any]:
        self.send(type="open", image=image, plane=plane)
        opened = self.until("opened")
        self.image, self.plane, self.rev, self.next_id = image, plane, opened["rev"], opened["first_id"]
        return opened

    def edit(self, kind: str, wait: bool = True, **fields: Any) -> dict[str, Any]:
        fields.setdefault("op_id", f"{self.name}-{next(self.numbers)}")
        fields.setdefault("base_rev", self.rev)
        fields.setdefault("plane", self.plane)
        self.send(type="edit", image=self.image, kind=kind, **fields)
        if not wait:
            return fields
        while True:
            message = self.receive()
            if message.get("op_id") == fields["op_id"]:
                self.rev = max(self.rev, message["rev"])
                return message
            self.waiting.append(message)

    def paint(self, label: int, rows: Any, **fields: Any) -> dict[str, Any]:
        fields.setdefault("mode", "overwrite")
        return self.edit("paint", label=label, runs=encode_runs(np.array(rows)), **fields)

    def disc(self, label: int, y: int, x: int, r: int, **fields: Any) -> dict[str, Any]:
        rows = []
        for dy in range(-r, r + 1):
            half = int((r * r - dy * dy) ** 0.5)
            rows.append([y + dy, x - half, x + half + 1])
        return self.paint(label, rows, **fields)

    def labels(self, image: str | None = None, plane: int = 0) -> np.ndarray:
        info = self.json(f"/api/images/{image or self.image}")
        height, width = info["shape"]
        out = np.zeros((-(-height // 512) * 512, -(-width // 512) * 512), np.uint32)
        for ty in range(out.shape[0] // 512):
            for tx in range(out.shape[1] // 512):
                data = self.get(f"/api/images/{image or self.image}/labels/0/{plane}/{ty}/{tx}")
                if data:
                    tile = np.frombuffer(data, "<u4").reshape(512, 512)
                    out[ty * 512 : ty * 512 + 512, tx * 512 : tx * 512 + 512] = tile
        return out[:height, :width]

    def job(self, kind: str, image: str | None, timeout: float = 120, **params: Any) -> dict[str, Any]:
        """Submit a job and return it when it has ended."""
        self.send(type="submit", kind=kind, image=image, params=params)
        while True:
            job = self.until("job", timeout)["job"]
            if job["kind"] == kind and job["state"] in ("done", "failed", "cancelled", "interrupted"):
                return job

    def close(self) -> None:
        if self.socket is not None:
            self.stack.close()
            self.socket = None


def apply_patch(labels: np.ndarray, patch: dict[str, Any]) -> None:
    """Do what a page does with a patch of runs."""
    for y, x0, x1, label in decode_runs(patch["runs"], labels.shape, labelled=True):
        labels[y, x0:x1] = label


class Server:
    """A server in a thread of this process."""

    def __init__(self, project: Project, limits: Limits | None = None, **access: Any) -> None:
        self.project = project
        self.access = make_access("127.0.0.1", **access)
        self.listening = bind("127.0.0.1", 0)
        self.port = self.listening.getsockname()[1]
        self.app = create_app(project, self.access, limits or Limits(threads=1), warm=False)
        config = uvicorn.Config(
            self.app,
            log_config=None,
            access_log=False,
            lifespan="on",
            ws="websockets-sansio",
            ws_max_size=2**20,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=2,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.pages: list[Page] = []
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive()
            time.sleep(0.01)

    def _run(self) -> None:
        asyncio.run(self.server.serve(sockets=[self.listening]))

    def page(self) -> Page:
        page = Page(self.port, self.access.token)
        self.pages.append(page)
        return page

    def close(self) -> None:
        for page in self.pages:
            page.close()
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with two images."""
    from cellbrook.io import write_png

    folder = tmp_path / "Zellen µ"
    folder.mkdir()
    write_png(folder / "first.png", blobs())
    write_png(folder / "second.png", blobs(seed=1))
    return folder


@pytest.fixture
def project(images: Path, tmp_path: Path) -> Iterator[Project]:
    """A project with them."""
    with Project.create(tmp_path / "own.project", images=[images]) as made:
        yield made


@pytest.fixture
def serve(project: Project):
    """Start a server; ended after the test, with all it started."""
    servers: list[Server] = []

    def start(opened: Project | None = None, limits: Limits | None = None, **access: Any) -> Server:
        servers.append(Server(opened or project, limits, **access))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
    names = [t.name for t in threading.enumerate()]
    assert not [n for n in names if n.startswith(("read", "write", "add"))], names


@pytest.fixture
def page(serve, project: Project) -> Page:
    """A page that has the first image open."""
    page = serve().page().connect()
    page.open(project.find("first").id)
    return page
