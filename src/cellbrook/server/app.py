"""The application: everything joined, every dependency passed in."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response

from cellbrook.errors import CellbrookError
from cellbrook.server.change_routes import change_routes
from cellbrook.server.jobs import Job, Jobs, snapshot
from cellbrook.server.messages import JobInfo, JobMessage
from cellbrook.server.proposals import Proposals
from cellbrook.server.routes import read_routes
from cellbrook.server.runners import Runners
from cellbrook.server.security import Access, Gate
from cellbrook.server.static import page_routes
from cellbrook.server.workspace import Workspace
from cellbrook.server.ws import socket_route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from cellbrook.project.project import Project

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes.

    Parameters
    ----------
    upload_bytes : int
        Largest upload.
    threads : int or None
        Processor threads for the worker. None: the cores this process may use.
    """

    upload_bytes: int = 4 * 2**30
    threads: int | None = None


def create_app(
    project: Project, access: Access, limits: Limits | None = None, *, sample: bool = False, warm: bool = True
) -> ASGIApp:
    """Return the server's application.

    Parameters
    ----------
    project : Project
        Open; closed when the server ends.
    access : Access
        Who may come in.
    limits : Limits or None
        None: the defaults.
    sample : bool
        It is the sample project.
    warm : bool
        Load the active model at the start.
    """
    limits = limits or Limits()
    workspace = Workspace(project, sample=sample)
    runners = Runners(workspace, threads=limits.threads)
    jobs = _jobs(workspace, runners)
    proposals = Proposals(workspace, jobs, runners)

    @contextlib.asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        await workspace.read(workspace.tidy)
        jobs.start()
        if warm and not project.read_only:
            runners.begin(runners.warm(jobs.workers["pictures"]))
        try:
            yield
        finally:
            workspace.hub.close()
            await runners.close()
            await jobs.close()
            await workspace.close()

    routes = [
        *page_routes(),
        *read_routes(workspace),
        *change_routes(workspace, jobs, limits.upload_bytes),
        socket_route(workspace, jobs, proposals),
    ]
    app = Starlette(routes=routes, lifespan=life, exception_handlers={Exception: _unexpected})
    app.state.workspace, app.state.jobs = workspace, jobs
    return Gate(app, access)


def _jobs(workspace: Workspace, runners: Runners) -> Jobs:
    def tell(info: JobInfo) -> None:
        workspace.hub.broadcast(JobMessage(job=info))

    async def add(kind: str, image: str | None, params: dict[str, object]) -> str:
        return await workspace.write(workspace.project.add_job, kind, image, params)

    async def save(job: Job) -> None:
        known = ("state", "done", "total", "message", "error", "hint", "result")
        fields = {k: v for k, v in snapshot(job.info).items() if k in known}
        try:
            await workspace.write(workspace.project.update_job, job.info.id, **fields)
        except CellbrookError as error:  # the disk is full: the job itself goes on
            log.warning("a job's state could not be written down: %s", error)

    return Jobs(runners.kinds, add, save, tell)


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("%s failed unexpectedly", request.url.path, exc_info=error)
    return PlainTextResponse(
        "something unexpected went wrong; nothing was changed (the server's terminal shows where)\n", 500
    )
