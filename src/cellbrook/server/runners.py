"""What jobs do: ask a worker, then put what it found into the document, through the log, on the image it was started for."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from cellbrook.core.params import MaskParams, types_of_keywords
from cellbrook.errors import CellbrookError, UsageError
from cellbrook.inference import LARGEST_WHOLE_PX
from cellbrook.io.atomic import atomic
from cellbrook.project.models import model_of_run, model_reference
from cellbrook.project.ops import Replace
from cellbrook.project.predict import cache_folder, land, params_of, project_params
from cellbrook.server.ghosts import Ghosts
from cellbrook.server.info import choosable
from cellbrook.server.jobs import Again, Job, Runner
from cellbrook.server.process import JobError, Worker
from cellbrook.server.tasks import read_table
from cellbrook.server.teaching import Teaching
from cellbrook.server.workspace import aside

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from cellbrook.core.objects import ObjectTable
    from cellbrook.project.oplog import Applied
    from cellbrook.server.workspace import Workspace

log = logging.getLogger(__name__)

_OURS = ("window", "only", "images")
"""Parameters of a job that are none of the segmentation."""

_MASK_NAMES = tuple(f.name for f in dataclasses.fields(MaskParams))
_WORDS = {"tile": "looking for cells", "plane": "looking for cells in 3-D", "limits": "trying limits"}


class Runners:
    """The kinds of jobs on one workspace.

    Parameters
    ----------
    workspace : Workspace
        Whose document they change.
    threads : int or None
        For the workers. None: the cores this process may use.
    """

    def __init__(self, workspace: Workspace, *, threads: int | None = None) -> None:
        self._workspace = workspace
        self._threads = threads
        self._beside: set[asyncio.Task[None]] = set()

    @property
    def kinds(self) -> dict[str, Runner]:
        """The runners by kind of job."""
        teaching = Teaching(self._workspace, self, self._threads)
        return {
            "segment": self.segment,
            "rethreshold": self.rethreshold,
            "limits": self.limits,
            "batch": self.batch,
            "suggest": teaching.suggest,
            "evaluate": teaching.evaluate,
            "train": teaching.train,
            "again": teaching.again,
            "agreement": teaching.agreement,
        }

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the queue."""
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def close(self) -> None:
        """Stop what runs beside the queue."""
        for task in self._beside:
            task.cancel()
        if self._beside:
            await asyncio.wait(self._beside)

    async def warm(self, worker: Worker) -> None:
        """Load the active model into a worker, so that the first picture need not wait."""
        with contextlib.suppress(CellbrookError):
            await worker.call("warm", {"keywords": await self._workspace.read(self.keywords, {})})

    def keywords(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return what a job's parameters mean for `cellbrook segment`, the project's settings filled in.

        Raises
        ------
        UsageError
            If one is unknown.
        """
        project = self._workspace.project
        wishes = {k: v for k, v in params.items() if k not in _OURS}
        for name in ("device", "engine", "precision", "threads", "scene"):
            wishes.pop(name, None)  # how the server computes is its own to say
        wishes["diameter"] = str(wishes.get("diameter") or "auto")
        wishes = _typed(wishes)
        model = wishes.pop("model", None) or project.settings.model
        names = choosable(project)
        if model not in names:  # a page may not name files
            raise UsageError(f"there is no model {model!r}: there are {', '.join(names)}")
        wishes["model"] = model_reference(project, model)
        return project_params(project, **wishes, threads=self._threads).to_keywords()

    async def segment(self, job: Job) -> dict[str, Any]:
        """Segment one image, the window first."""
        keywords = await self._workspace.read(self.keywords, job.params)
        return await self._segment(
            job, _image(job), keywords, job.params.get("window"), bool(job.params.get("only"))
        )

    async def rethreshold(self, job: Job) -> dict[str, Any]:
        """Run the dynamics anew on the cached flows, the window first."""
        workspace, image = self._workspace, _image(job)
        keywords = await workspace.read(self.keywords, job.params)
        store = await workspace.read(workspace.project.labels, image)
        with workspace.scratch() as out:
            cache, run = await workspace.read(self._output, image)
            record = await workspace.read(workspace.project.image, image)
            args = {
                "cache": str(cache),
                "run": run,
                "model": await workspace.read(self._model_of, run),
                "path": str(await workspace.read(workspace.project.path, image)),
                "scene": record.scene,
                "out": str(out),
                "keywords": keywords,
                "window": None if record.in_volume else _window(job.params.get("window"), store.shape),
            }
            return await self._run(job, "rethreshold", args, image, keywords)

    async def limits(self, job: Job) -> dict[str, Any]:
        """Search the limits that suit what was corrected in an image; nothing is changed."""
        workspace, image = self._workspace, _image(job)
        keywords = await workspace.read(self.keywords, job.params)
        await workspace.read(self._output, image)
        args = {"project": str(workspace.project.folder), "image": image, "keywords": keywords}
        return await job.worker.call("limits", args, progress=_teller(job, ""))

    async def batch(self, job: Job) -> dict[str, Any]:
        """Segment many images, one a turn, so that what somebody looks at comes between."""
        workspace, state = self._workspace, job.state
        keywords = await workspace.read(self.keywords, job.params)
        if not state:
            wanted = job.params.get("images")
            if wanted in (None, "all"):
                ids = [r.id for r in await workspace.read(workspace.project.own_images)]
            else:
                ids = [r.id for r in await workspace.read(workspace.project.images) if r.id in wanted]
            if not ids:
                raise UsageError("there is no image to segment: choose some, or add them")
            state.update(left=ids, total=len(ids), done=0, failed=[])
        if state["left"]:
            image = state["left"][0]
            name = image
            try:
                name = (await workspace.read(workspace.project.image, image)).name
                await self._segment(job, image, keywords, None, only=False)
            except (JobError, CellbrookError, OSError) as error:
                # the project's own folder says nothing to whoever uploaded the image
                reason = (
                    str(error).replace(f"{workspace.project.folder}{os.sep}", "").removeprefix(f"{name}: ")
                )
                state["failed"].append({"image": image, "name": name, "error": reason})
            state["left"].pop(0)
            state["done"] += 1
            job.progress(f"{name} is done", 100 * state["done"], 100 * state["total"])
            if state["left"]:
                raise Again
        return {"images": state["total"], "failed": state["failed"]}

    async def _segment(
        self, job: Job, image: str, keywords: dict[str, Any], window: Any, only: bool
    ) -> dict[str, Any]:
        workspace = self._workspace
        record = await workspace.read(workspace.project.image, image)
        if (problem := await workspace.read(workspace.project.problem, image)) is not None:
            raise UsageError(problem)
        path = await workspace.read(workspace.project.path, image)
        own = await workspace.read(params_of, workspace.project.folder, record, keywords)
        if {**keywords, **own}["volume"]:  # a part of a plane shows nothing of an object in 3-D
            if only:
                raise UsageError(
                    "objects in 3-D are found in the whole stack: find them there, or cells of planes"
                )
            window = None
        with workspace.scratch() as out:
            args = {
                "path": str(path),
                "scene": record.scene,
                "image": image,
                "name": record.name,
                "keywords": {**keywords, **own},
                "out": str(out),
                "window": _window(window, (record.height, record.width), only=only),
                "only": only,
                # three numbers a pixel are too much to keep of the largest
                "keep_output": record.height * record.width <= LARGEST_WHOLE_PX,
            }
            return await self._run(job, "segment", args, image, keywords)

    # Into the document

    async def _run(
        self, job: Job, task: str, args: dict[str, Any], image: str, keywords: dict[str, Any]
    ) -> dict[str, Any]:
        """Run a task whose first, partial result may be the window; the document gets both, as one undo."""
        first: list[asyncio.Task[Applied]] = []
        name = (await self._workspace.read(self._workspace.project.image, image)).name

        def partial(facts: dict[str, Any]) -> None:
            first.append(asyncio.ensure_future(self._place(job, image, facts, task, first=True)))

        try:
            facts = await job.worker.call(task, args, progress=_teller(job, name), partial=partial)
        except BaseException:
            await asyncio.shield(self._take_back(image, first, job))
            raise
        # from here on nothing stops half-way: what is found belongs into the document
        landing = asyncio.ensure_future(self._land(job, task, image, facts, first, keywords))
        try:
            return await asyncio.shield(landing)
        except asyncio.CancelledError:
            await asyncio.wait([landing])
            return landing.result()

    async def _land(
        self,
        job: Job,
        task: str,
        image: str,
        facts: dict[str, Any],
        first: list[asyncio.Task[Applied]],
        keywords: dict[str, Any],
    ) -> dict[str, Any]:
        for part in first:  # it goes when the whole comes, so that nothing flickers
            with contextlib.suppress(CellbrookError):
                await part
        applied = await self._place(job, image, facts, task)
        if "window" not in facts:
            await self._workspace.tell_image(image)  # the sliders stand at what this run was made with
            self.begin(self._find_ghosts(job.worker, image, keywords))
        return {
            "objects": facts["objects"],
            "changed": len(applied.objects),
            "diameter_px": facts.get("diameter_px"),
            "notes": facts.get("notes", []),
            "discarded": facts.get("discarded", {}),
            "rev": applied.rev,
        }

    async def _take_back(self, image: str, first: list[asyncio.Task[Applied]], job: Job) -> None:
        """Undo the partial result, if there is one."""
        for task in first:
            with contextlib.suppress(CellbrookError):
                if (await task).changed:
                    await self._workspace.take_back(image, job.info.id)
        first.clear()

    async def _place(
        self, job: Job, image: str, facts: dict[str, Any], kind: str, *, first: bool = False
    ) -> Applied:
        """Put labels that a worker wrote into the document; the first part under a name of its own."""
        out, window, workspace = Path(facts["out"]), facts.get("window"), self._workspace
        project = workspace.project

        def read() -> tuple[Any, ObjectTable]:
            return np.load(out / "labels.npy", allow_pickle=False), read_table(out / "objects.npz")

        labels, objects = await workspace.read(read)
        objects = await workspace.classed(objects)
        if window is not None:
            plane, y0, x0 = window
            part = Replace(labels, objects, (plane,), y0, x0, kind=kind)
            return await workspace.apply(image, part, user=aside(job.info.id) if first else job.user)
        run = await workspace.read(self._keep_output, out)
        record = await workspace.read(project.image, image)
        return await workspace.land(
            image,
            lambda log: land(project, record, labels, objects, run=run, user=job.user, kind=kind),
            by=job.user,
            job=job.info.id,
        )

    def _keep_output(self, out: Path) -> dict[str, Any]:
        """Move the network's output to where the project keeps it; return what the result was made with."""
        recipe: dict[str, Any] = json.loads((out / "recipe.json").read_text(encoding="utf-8"))
        if (out / "cache").is_dir():
            with atomic(cache_folder(self._workspace.project, recipe)) as folder:
                (out / "cache").rename(folder)
        return recipe

    def _output(self, image: str) -> tuple[Path, dict[str, Any]]:
        """Return where the network's output of an image's last run is kept, and what the run was made with."""
        record = self._workspace.project.image(image)
        if record.run is None:
            raise UsageError(f"{record.name} was not segmented yet: segment it first")
        if record.height * record.width > LARGEST_WHOLE_PX:
            raise UsageError(
                f"what the network saw of {record.name} is not kept, as it is large: set the limits and find cells anew"
            )
        return cache_folder(self._workspace.project, record.run), record.run

    def _model_of(self, run: dict[str, Any]) -> str | None:
        """Return the model that a run was made with; None if it is there no more."""
        name = model_of_run(self._workspace.project, run)
        return None if name is None else model_reference(self._workspace.project, name)

    async def _find_ghosts(self, worker: Worker, image: str, keywords: dict[str, Any]) -> None:
        """Find the discarded candidates, which nobody waits for."""
        workspace = self._workspace
        try:
            cache, _ = await workspace.read(self._output, image)
            with workspace.scratch() as out:
                args = {"cache": str(cache), "out": str(out), "keywords": keywords}
                facts = await worker.call("candidates", args)
                rows = facts["rows"]
                labels = await workspace.read(workspace.project.labels, image)
                first = (await workspace.write(labels.lease, len(rows))).start if rows else 1
                ghosts = await workspace.read(Ghosts.store, workspace.cache(image), out, rows, first)
            workspace.set_ghosts(image, ghosts)
            await workspace.tell_image(image)
        except CellbrookError as error:
            log.info("discarded candidates were not found: %s", error)


def _teller(job: Job, name: str) -> Callable[[str, int, int], None]:
    def tell(task: str, done: int, total: int) -> None:
        state = job.state
        if not state.get("total"):
            job.progress(_WORDS.get(task, task), done, total)
            return
        share = 100 * state["done"] + (100 * done // total if total else 0)
        job.progress(f"{name} ({state['done'] + 1} of {state['total']})", share, 100 * state["total"])

    return tell


def _image(job: Job) -> str:
    if job.info.image is None:
        raise UsageError(f"a job of kind {job.info.kind} needs an image: open one first")
    return job.info.image


def _window(window: Any, shape: tuple[int, int], *, only: bool = False) -> list[int] | None:
    """Return (plane, y0, x0, y1, x1) cut to the image; None if it is not worth doing first, as it is nearly all of it."""
    if window is None:
        return None
    try:
        plane, y0, x0, y1, x1 = (int(v) for v in window)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"a window is plane, y0, x0, y1, x1, got {window!r}") from None
    y0, x0, y1, x1 = max(y0, 0), max(x0, 0), min(y1, shape[0]), min(x1, shape[1])
    if y1 <= y0 or x1 <= x0 or (not only and 2 * (y1 - y0) * (x1 - x0) > shape[0] * shape[1]):
        return None
    return [plane, y0, x0, y1, x1]


def _typed(wishes: dict[str, Any]) -> dict[str, Any]:
    """Return parameters of a page in their own types: JavaScript has one type of number.

    Raises
    ------
    UsageError
        If one is unknown, or cannot be what it has to be.
    """
    types = types_of_keywords()
    typed = {}
    for name, value in wishes.items():
        try:
            typed[name] = msgspec.convert(value, types.get(name, Any))
        except msgspec.ValidationError as error:
            raise UsageError(f"{name} cannot be {value!r}: {error}") from None
    return typed
