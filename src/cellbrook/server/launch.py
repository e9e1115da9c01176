"""From what a user names to an open project, and from a project to a running server."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import logging
import os
import secrets
import socket
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from cellbrook.errors import ImageError, OutputError, ProjectError, UsageError
from cellbrook.io.files import find_images
from cellbrook.project.project import SUFFIX, Project
from cellbrook.project.settings import FILE, advice
from cellbrook.server.app import create_app
from cellbrook.server.messages import LARGEST_MESSAGE
from cellbrook.server.sample import sample_project
from cellbrook.server.security import LOOPBACK, Access, base_path, new_token, token_from_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cellbrook.core.progress import Progress
    from cellbrook.server.app import Limits

log = logging.getLogger(__name__)

PORT = 8765
_TRIED = 20  # ports after it that are tried when it is taken


@dataclass(slots=True)
class Opened:
    """A project that is served, and what the user should know of how it came about.

    Parameters
    ----------
    project : Project
        Open.
    notes : list of str
        A line each.
    sample : bool
        It is the sample project.
    """

    project: Project
    notes: list[str] = field(default_factory=list)
    sample: bool = False


def open_workspace(
    inputs: Sequence[str],
    *,
    project: Path | None = None,
    read_only: bool = False,
    progress: Progress | None = None,
) -> Opened:
    """Return the project for what a user named; a folder of images becomes one on first use.

    Parameters
    ----------
    inputs : sequence of str
        A project, a folder of images, or images. None at all: the folder one is in, if there are images in it, else the
        sample project.
    project : Path or None
        Where the project is to be, or is. None: beside the images.
    read_only : bool
        Look only.
    progress : Progress or None
        Told of each image that is new.

    Raises
    ------
    ProjectError
        If it cannot be opened or made.
    ImageError
        If there is no image.
    """
    if project is not None and (project / FILE).exists():
        return _opened(project, inputs, progress, read_only=read_only)
    if not inputs:
        here = Path.cwd()
        if not (here / FILE).exists() and not _project_in(here) and not _has_images(here):
            return open_sample()
        inputs = ["."]
    first = Path(inputs[0])
    if len(inputs) == 1 and ((first / FILE).exists() or first.name == FILE):
        return _opened(first, (), progress, read_only=read_only)
    if len(inputs) == 1 and first.is_dir() and first.name.endswith(SUFFIX):
        raise ProjectError(f"{first} is not a project: there is no {FILE} in it")
    found = _images_of(inputs)
    folder = (first if first.is_dir() and not first.name.endswith(".zarr") else found[0].parent).absolute()
    if project is None and (there := _project_in(folder)) is not None:
        return _opened(there, inputs, progress, read_only=read_only)
    return _created(project, folder, inputs, progress)


def open_sample() -> Opened:
    """Return the sample project, made in the user's folder when it is first wanted."""
    folder = sample_project()
    return Opened(Project.open(folder), [f"the sample project, in {folder}"], sample=True)


def _opened(folder: Path, inputs: Sequence[str], progress: Progress | None, *, read_only: bool) -> Opened:
    """Open a project and add the images that are new."""
    notes: list[str] = []
    try:
        project = Project.open(folder, read_only=read_only)
    except ProjectError as error:
        if read_only or "cannot be written to" not in str(error):
            raise
        project = Project.open(folder, read_only=True)
        notes.append(f"{folder} cannot be written to: it is open for looking only")
    if inputs and not project.read_only:
        named = {Path(i).absolute() for i in inputs}
        known = {project.path(r.id) for r in project.images()} | (project.taken_out() - named)
        with contextlib.suppress(ImageError):
            new = [p for p in _images_of(inputs) if p.absolute() not in known]
            if new:
                report = project.add(new, progress=progress)
                notes += [f"added {len(report.added)} new images"] if report.added else []
                notes += [f"left out {path.name}: {why}" for path, why in report.failed]
    return Opened(project, notes)


def _created(wanted: Path | None, folder: Path, inputs: Sequence[str], progress: Progress | None) -> Opened:
    """Make a project beside the images; where that folder cannot be written to, in the user's."""
    notes: list[str] = []
    place = wanted or folder / f"{folder.name or 'images'}{SUFFIX}"
    try:
        project = Project.create(place, name=folder.name or "images")
    except (ProjectError, OutputError) as error:
        if wanted is not None or os.access(folder, os.W_OK):
            raise
        from cellbrook.networks.store import home

        mark = hashlib.sha256(str(folder).encode("utf-8", "surrogateescape")).hexdigest()[:8]
        place = home() / "projects" / f"{folder.name}-{mark}{SUFFIX}"
        if (place / FILE).exists():
            return _opened(place, inputs, progress, read_only=False)
        log.debug("%s", error)
        project = Project.create(place, name=folder.name or "images")
        notes.append(f"{folder} cannot be written to, so the project lies in {place}")
    report = project.add(_images_of(inputs), progress=progress)
    notes.insert(0, f"made a project of {len(report.added)} images in {place}; the images stay as they are")
    notes += [f"left out {path.name}: {why}" for path, why in report.failed]
    notes += advice(place, (why for _, why in report.failed))
    return Opened(project, notes)


def _images_of(inputs: Sequence[str]) -> list[Path]:
    """Return the images that inputs stand for, without what lies inside of projects: copies, thumbnails, caches."""
    inside: dict[Path, bool] = {}

    def belongs(folder: Path) -> bool:
        if folder not in inside:
            inside[folder] = (folder / FILE).exists() or (folder != folder.parent and belongs(folder.parent))
        return inside[folder]

    found = [f.path for f in find_images(list(inputs)).images if not belongs(f.path.absolute().parent)]
    if not found:
        raise ImageError(f"no image in {', '.join(inputs)} but those of a project: open the project itself")
    return found


def _project_in(folder: Path) -> Path | None:
    """Return the one project that lies in a folder."""
    found = sorted(p.parent for p in folder.glob(f"*{SUFFIX}/{FILE}"))
    if len(found) > 1:
        names = ", ".join(p.name for p in found)
        raise UsageError(f"{folder} holds several projects ({names}): name the one to open")
    return found[0] if found else None


def _has_images(folder: Path) -> bool:
    try:
        return bool(find_images([folder], recursive=False).images)
    except ImageError:
        return False


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int | None) -> socket.socket:
    """Return a listening socket; without a port, the usual one or the next that is free.

    Raises
    ------
    UsageError
        If the port is taken, or there is no such address here.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number in [port] if port is not None else [*range(PORT, PORT + _TRIED), 0]:
        listening = socket.socket(family)
        if os.name == "posix":  # elsewhere this lets two servers share a port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host.strip("[]"), number))
            listening.listen(128)
        except (OSError, OverflowError) as error:
            listening.close()
            why = error.strerror if isinstance(error, OSError) else "ports are 0 to 65535"
            if port is None and getattr(error, "errno", None) == errno.EADDRINUSE:
                continue
            raise UsageError(
                f"cannot listen at {host}, port {number}: {why}: give another --port or --host"
            ) from error
        return listening
    raise UsageError(f"no port is free at {host}: give one with --port")


def make_access(
    host: str, *, allowed: Sequence[str] = (), base_url: str | None = None, token_file: Path | None = None
) -> Access:
    """Return who may come in.

    Parameters
    ----------
    host : str
        Where the server listens.
    allowed : sequence of str
        Further names, with or without port, under which pages reach it.
    base_url : str or None
        Path under which a proxy shows it.
    token_file : Path or None
        Where the token is kept between runs.
    """
    hosts = set(LOOPBACK)
    if not is_loopback(host):
        hosts |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    names = frozenset(
        a.strip().lower().removeprefix("https://").removeprefix("http://").rstrip("/") for a in allowed
    )
    token = token_from_file(token_file) if token_file is not None else new_token()
    return Access(token, frozenset(hosts), names, base_path(base_url))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server listens.

    Parameters
    ----------
    listening : socket.socket
        From `bind`.
    certificate, key : Path or None
        For TLS.
    """

    listening: socket.socket
    certificate: Path | None = None
    key: Path | None = None

    @property
    def port(self) -> int:
        """The port."""
        return int(self.listening.getsockname()[1])

    def address(self, host: str, access: Access, token: str) -> str:
        """Return the address to open, with a token."""
        scheme = "https" if self.certificate else "http"
        shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
        shown = f"[{shown}]" if ":" in shown and not shown.startswith("[") else shown
        return f"{scheme}://{shown}:{self.port}{access.base}?token={token}"


def ticket(access: Access) -> str:
    """Return a token that opens the door once."""
    made = secrets.token_urlsafe(32)
    access.tickets.add(made)
    return made


def run_server(
    opened: Opened, access: Access, place: Place, limits: Limits, ready: Callable[[], None] = lambda: None
) -> None:
    """Serve until interrupted; the project is closed in the end.

    Parameters
    ----------
    opened : Opened
        What is served.
    access, place, limits
        To whom, where, and how much.
    ready : callable
        Called once it answers.
    """
    app = create_app(opened.project, access, limits, sample=opened.sample)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        ws="websockets-sansio",
        ws_max_size=LARGEST_MESSAGE,
        ws_per_message_deflate=False,  # what is large is packed already
        proxy_headers=False,  # nothing depends on where a request says it came from
        server_header=False,
        timeout_graceful_shutdown=3,
        ssl_certfile=place.certificate,
        ssl_keyfile=place.key,
    )
    server = _Server(config, ready)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(server.serve(sockets=[place.listening]))


class _Server(uvicorn.Server):
    """Calls `ready` when it has started."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()
