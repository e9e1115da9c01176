"""The document behind the page: the only writer of the project, and what pages are told of it.

Everything slow runs in threads. Reading has a few; writing has one, so that revisions have an order, and what is
broadcast leaves in that order too. Adding images has one of its own, as large files take seconds.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from cellbrook.errors import CellbrookError, EditConflict, EditError, ProjectError, UsageError
from cellbrook.project.classes import with_class_ids
from cellbrook.project.labelstore import LEASE
from cellbrook.project.models import activate_model
from cellbrook.project.settings import FILE
from cellbrook.server import edits, messages
from cellbrook.server.ghosts import Ghosts
from cellbrook.server.hub import Client, Hub
from cellbrook.server.info import choosable, image_info, project_info
from cellbrook.server.jobs import FINAL
from cellbrook.server.pixels import ImagePixels, Kept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cellbrook.core.objects import ObjectTable
    from cellbrook.project.oplog import Applied, OpLog
    from cellbrook.project.ops import Op
    from cellbrook.project.project import Project

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

SCRATCH = "on its way"
_GHOSTS = 16  # images whose discarded candidates are held, a row each
_JOBS = 50
_SETTLE_S = 1.0  # how long after an edit pages hear of an image's new counts


def aside(job: str) -> str:
    """Return the user under whose name a job's first part is in the log until the whole is there."""
    return f"job-{job}"


class Workspace:
    """An open project with its pages.

    Parameters
    ----------
    project : Project
        Open, for writing or for reading only.
    sample : bool
        It is the sample project, which a page may say.

    Attributes
    ----------
    hub : Hub
        The pages.
    kept : Kept
        What was costly to make of images, under keys that begin with their ids.
    """

    def __init__(self, project: Project, *, sample: bool = False) -> None:
        self.project = project
        self.sample = sample
        self.hub = Hub()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="read")
        self._exporter = ThreadPoolExecutor(1, thread_name_prefix="export")
        self._adder = ThreadPoolExecutor(1, thread_name_prefix="add")
        self.kept = Kept()
        self._open: dict[str, ImagePixels] = {}
        self._ghosts: dict[str, Ghosts] = {}
        self._leases: dict[tuple[str, str], tuple[int, int]] = {}
        self._settling: dict[str, asyncio.TimerHandle] = {}
        self._order = asyncio.Lock()
        self._logging: set[asyncio.Task[Applied | None]] = set()

    # Threads

    async def read(self, function: Callable[P, R], *args: P.args, **keywords: P.kwargs) -> R:
        """Run a function that only reads in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, lambda: function(*args, **keywords))

    async def export(self, function: Callable[[], R]) -> R:
        """Run a function that only reads, and for long: one at a time, so that tiles do not wait for it."""
        return await asyncio.get_running_loop().run_in_executor(self._exporter, function)

    async def write(self, function: Callable[P, R], *args: P.args, **keywords: P.kwargs) -> R:
        """Run a function that changes the project in its one thread; not interrupted by cancelling.

        Raises
        ------
        ProjectError
            If the project's folder is gone.
        """
        return await asyncio.shield(self._begin(self._writer, function, *args, **keywords))

    async def add(self, function: Callable[P, R], *args: P.args, **keywords: P.kwargs) -> R:
        """Run a function that adds images, one at a time, so that one image that comes twice at once is added once.

        Edits do not wait while files are hashed and copied: the database's lock is held for their rows alone. When it is
        cancelled it is waited for, as its files are removed next.

        Raises
        ------
        ProjectError
            If the project's folder is gone.
        """
        adding = self._begin(self._adder, function, *args, **keywords)
        try:
            return await asyncio.shield(adding)
        except asyncio.CancelledError:
            await asyncio.wait([adding])
            raise

    def _begin(
        self, pool: ThreadPoolExecutor, function: Callable[P, R], *args: P.args, **keywords: P.kwargs
    ) -> asyncio.Future[R]:
        def run() -> R:
            self._check_there()
            return function(*args, **keywords)

        return asyncio.get_running_loop().run_in_executor(pool, run)

    async def close(self) -> None:
        """Finish what is being written and added, and close the project."""
        for timer in self._settling.values():
            timer.cancel()
        if self._logging:
            await asyncio.wait(self._logging)
        await asyncio.to_thread(self._adder.shutdown)
        await asyncio.to_thread(self._writer.shutdown)
        await asyncio.to_thread(self._readers.shutdown)
        await asyncio.to_thread(self._exporter.shutdown)
        if not self._there():  # what is behind the log would make a stump of the folder anew
            self.project.database.read_only = True
        await asyncio.to_thread(self.project.close)

    # What there is

    def pixels(self, image: str) -> ImagePixels:
        """Return the pixels of an image (in a thread)."""
        found = self._open.get(image)
        if found is None:
            found = self._open[image] = ImagePixels(
                image, self.project.open_image(image), self.kept, self.project.settings.z
            )
        return found

    def ghosts(self, image: str) -> Ghosts:
        """Return the discarded candidates of an image (in a thread)."""
        found = self._ghosts.get(image)
        if found is None:
            found = Ghosts.load(self.cache(image))
            self.set_ghosts(image, found)
        return found

    def set_ghosts(self, image: str, ghosts: Ghosts) -> None:
        """Show other candidates from now on."""
        self._ghosts[image] = ghosts
        for oldest in list(self._ghosts)[:-_GHOSTS]:
            self._ghosts.pop(oldest, None)

    def cache(self, image: str) -> Path:
        """Return the folder of what can be computed again for an image."""
        return self.project.folder / "cache" / self.project.image(image).id

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a folder for what is on its way from a worker, on the project's own disk; removed in the end."""
        self._check_there()
        root = self.project.folder / "cache" / SCRATCH
        root.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what an earlier server left when it was killed: scratch files, and the first part of a job's result."""
        if self.project.read_only:
            return
        shutil.rmtree(self.project.folder / "cache" / SCRATCH, ignore_errors=True)
        for job in self.project.jobs(unfinished=True):
            if job["image"] is not None:
                try:
                    self.project.log(job["image"]).undo(aside(job["id"]), spare=True)
                except CellbrookError as error:
                    log.warning("the first part of job %s could not be taken back: %s", job["id"], error)

    def info(self, image: str, *, full: bool = False) -> messages.ImageInfo:
        """Return what pages know of an image (in a thread); `full` looks at its pixels."""
        record = self.project.image(image)
        if full:
            self.pixels(image)
        return image_info(self.project, record, self._open.get(image))

    def summary(self) -> messages.ProjectInfo:
        """Return what pages know of the project (in a thread)."""
        return project_info(self.project, self._open, sample=self.sample)

    def recent_jobs(self) -> list[messages.JobInfo]:
        """Return the latest jobs, those of earlier servers too (in a thread).

        Whatever still runs and the last of each kind are among them: what a panel shows is not to go with a reload.
        """
        jobs = self.project.jobs()
        live = [j["id"] for j in jobs if j["state"] not in FINAL]
        last_of = {j["kind"]: j["id"] for j in jobs}
        # every rest of a slider is a job, too
        latest = [j["id"] for j in jobs if j["kind"] != "rethreshold"][-_JOBS:]
        kept = {*live, *last_of.values(), *latest}
        names = ("id", "kind", "image", "state", "done", "total", "message", "error", "hint", "result")
        return [messages.JobInfo(**{n: j[n] for n in names}) for j in jobs if j["id"] in kept]

    def forget(self, image: str) -> None:
        """Close an image that is no longer part of the project."""
        self._open.pop(image, None)
        self._ghosts.pop(image, None)
        self.kept.drop(lambda key: isinstance(key, tuple) and key[0] == image)

    # Changing it

    async def edit(self, edit: messages.Edit, client: Client) -> None:
        """Carry out a page's edit; it gets an ack or a reject, the others a patch."""
        try:
            op = await self.write(self._op_of, edit)  # an edit does not queue behind tiles
            await self.apply(
                edit.image, op, user=client.user, client=client, base_rev=edit.base_rev, op_id=edit.op_id,
                mirror=edit.kind in ("split", "interpolate", "accept"),
                then=lambda applied: self.acknowledge(edit, client, applied),
            )  # fmt: skip
        except (CellbrookError, ValueError) as error:
            await self.reject(edit, client, error)

    def acknowledge(self, edit: messages.Edit, client: Client, applied: Applied) -> None:
        """Tell a page that its edit is in the log."""
        self._use(client, edit)
        client.send(
            messages.Ack(op_id=edit.op_id, image=edit.image, rev=applied.rev, objects=edits.rows_of(applied))
        )

    async def apply(
        self,
        image: str,
        op: Op,
        *,
        user: str,
        client: Client | None = None,
        base_rev: int | None = None,
        op_id: str | None = None,
        run: dict[str, Any] | None = None,
        mirror: bool = True,
        then: Callable[[Applied], None] | None = None,
    ) -> Applied:
        """Do an operation and tell pages of it.

        Parameters
        ----------
        image, op
            What is done to which image.
        user : str
            Whose undo takes it back.
        client : Client or None
            The page that asked, None for a job.
        base_rev, op_id, run
            As `OpLog.apply`.
        mirror : bool
            The page that asked cannot know the pixels, and gets the patch too.
        then : callable or None
            Called with what was done, before anybody hears of a later revision.
        """
        name = client.name if client is not None else None
        applied = await self._logged(
            image,
            lambda log: log.apply(op, base_rev, user=user, client=name, op_id=op_id, run=run),
            but=None if mirror else client,
            by=user,
            then=then,
        )
        assert applied is not None
        return applied

    async def land(self, image: str, change: Callable[[OpLog], Applied], *, by: str, job: str) -> Applied:
        """Put a job's result into an image's log, in the place of its first part, and tell pages of both at once."""
        applied = await self._logged(image, change, by=by, first=lambda log: log.undo(aside(job), spare=True))
        assert applied is not None
        return applied

    async def classed(self, objects: ObjectTable) -> ObjectTable:
        """Return a run's table with the project's numbers of classes; pages hear of new ones before their cells."""
        known = self.project.settings.classes
        objects = await self.write(with_class_ids, self.project, objects)
        if self.project.settings.classes != known:
            await self.tell_project()
        return objects

    async def revert(self, image: str, way: str, client: Client) -> None:
        """Undo or redo the last edit of a page's user."""
        self.check_writable()

        def revert(log: OpLog) -> Applied | None:
            return (log.undo if way == "undo" else log.redo)(client.user, client=client.name)

        try:
            applied = await self._logged(image, revert, by=client.user)
        except (CellbrookError, ValueError) as error:
            client.send(messages.Notice(level="error", message=str(error)))
            return
        if applied is None:
            words = "nothing to undo" if way == "undo" else "nothing to do again"
            client.send(messages.Notice(level="info", message=words))

    async def take_back(self, image: str, job: str) -> None:
        """Take back what a job put into the document for the time being."""
        await self._logged(image, lambda log: log.undo(aside(job), spare=True), by=aside(job))

    async def _logged(
        self,
        image: str,
        change: Callable[[OpLog], Applied | None],
        *,
        by: str,
        but: Client | None = None,
        first: Callable[[OpLog], Applied | None] | None = None,
        then: Callable[[Applied], None] | None = None,
    ) -> Applied | None:
        """Run a change of the log (after another one, if given) and tell pages of it, in the order of revisions.

        `then` is called before anybody hears of a later revision.
        """
        self.check_writable()

        def run() -> tuple[Applied | None, list[messages.Patch], Exception | None]:
            log = self.project.log(image)
            applied: Applied | None = None
            patches: list[messages.Patch] = []
            for step in (first, change):
                if step is None:
                    continue
                rev = log.rev
                try:
                    applied = step(log)
                except Exception as error:
                    return None, patches, error
                if applied is not None and applied.rev > rev:  # else nothing to do, or done before
                    patches += edits.patches_of(applied, log.patches(rev, applied.rev), image, by)
            return applied, patches, None

        async def whole() -> Applied | None:
            async with self._order:
                applied, patches, error = await self.write(run)
                for patch in patches:
                    self.hub.broadcast(patch, but=but, to=lambda c: c.image == image)
                if then is not None and applied is not None:
                    then(applied)
            if patches:
                self._settle(image)
            if error is not None:
                raise error
            return applied

        # what is in the log is told, also when the page that asked is gone meanwhile
        task = asyncio.ensure_future(whole())
        self._logging.add(task)
        task.add_done_callback(self._logging.discard)
        return await asyncio.shield(task)

    async def lease(self, image: str, count: int) -> tuple[int, int]:
        """Return the first and last of fresh ids."""
        self.check_writable()
        ids = await self.write(self.project.labels(image).lease, max(1, min(count, 2**16)))
        return ids.start, ids.stop - 1

    async def open(self, image: str, plane: int, client: Client) -> None:
        """Let a page hear of an image's changes, from a revision that it is told."""
        first, last = await self._leased(image, client)
        async with self._order:  # nothing is told between that revision and the patches after it
            rev = await self.read(lambda: self.project.labels(image).rev)
            client.image, client.plane = image, plane
            client.send(messages.Opened(image=image, plane=plane, rev=rev, first_id=first, last_id=last))

    async def _leased(self, image: str, client: Client) -> tuple[int, int]:
        """Return the ids that a page may draw with in an image: what it had before, while enough is left."""
        key = (client.name, image)
        first, last = self._leases.get(key, (1, 0))
        if last - first + 1 < LEASE // 4:
            if self.project.read_only:
                return 0, -1
            first, last = await self.lease(image, LEASE)
            self._leases[key] = (first, last)
        return first, last

    async def set(self, what: str, value: Any) -> None:
        """Change a setting of the project, or the state of an image."""
        self.check_writable()
        if what == "state":
            image = str(value["image"])
            if value["state"] is None:
                await self.write(self.project.unmark, image)
            else:
                await self.write(self.project.set_state, image, value["state"])
            await self.tell_image(image)
            return
        await self.write(self._save, what, value)
        await self.tell_project()

    def _save(self, what: str, value: Any) -> None:
        from cellbrook.project.settings import ClassInfo

        if what == "classes":
            classes = tuple(ClassInfo(int(c["id"]), str(c["name"]), str(c["color"])) for c in value)
            ids = [c.id for c in classes]
            if len(set(ids)) < len(ids) or not all(0 < i < 256 for i in ids):
                raise UsageError("classes have different numbers from 1 to 255")
            for gone in (c for c in self.project.settings.classes if c.id not in ids):
                if images := self.project.images_with_class(gone.id):
                    some = ", ".join(images[:3]) + (" and others" if len(images) > 3 else "")
                    raise UsageError(
                        f"{gone.name} stays, as cells have this class: give them another one in {some}"
                    )
            self.project.save_settings(classes=classes)
        elif what == "model":
            names = choosable(self.project)
            if value not in names:  # a page may not name files
                raise UsageError(f"there is no model {value!r}: there are {', '.join(names)}")
            activate_model(self.project, str(value))
        elif what == "name":
            if not str(value).strip():
                raise UsageError("a project needs a name")
            self.project.save_settings(name=str(value).strip()[:200])
        elif what == "pixel_size_um":
            size = value.get("value") if isinstance(value, dict) else value
            if size is not None and not 0 < float(size) < 1e6:
                raise UsageError(f"the size of a pixel is a positive number of micrometres, got {size}")
            self.project.save_settings(pixel_size=None if size is None else float(size))
            self._open.clear()

    # Telling

    async def tell_image(self, image: str) -> None:
        """Tell pages what is known of an image."""
        self.hub.broadcast(messages.ImageMessage(image=await self.read(self.info, image)))

    async def tell_project(self) -> None:
        """Tell pages what is known of the project."""
        self.hub.broadcast(messages.ProjectMessage(project=await self.read(self.summary)))

    def _settle(self, image: str) -> None:
        """Tell pages of an image's counts a while after the last edit."""
        loop = asyncio.get_running_loop()
        if (timer := self._settling.pop(image, None)) is not None:
            timer.cancel()
        self._settling[image] = loop.call_later(_SETTLE_S, self._settled, image)

    def _settled(self, image: str) -> None:
        self._settling.pop(image, None)
        task = asyncio.ensure_future(self.tell_image(image))
        task.add_done_callback(lambda t: t.cancelled() or t.exception())

    def _op_of(self, edit: messages.Edit) -> Op:
        return edits.op_of(edit, self.project.labels(edit.image).shape, self.ghosts(edit.image))

    def _use(self, client: Client, edit: messages.Edit) -> None:
        """Note the ids that a page has drawn with, so that it gets the rest when it opens the image again."""
        key = (client.name, edit.image)
        first, last = self._leases.get(key, (1, 0))
        for part in edits.parts_of(edit):
            if part.label is not None and first <= part.label <= last:
                first = part.label + 1
        self._leases[key] = (first, last)

    async def reject(self, edit: messages.Edit, client: Client, error: Exception) -> None:
        """Tell a page that its edit was refused, and which tiles it has to fetch again."""
        reason = " ".join(str(error).split())
        log.info("refused an edit (%s): %s", edit.kind, reason)

        def look() -> tuple[int, list[tuple[int, int]]]:
            try:
                store = self.project.labels(edit.image)
            except UsageError:
                return 0, []
            ids = [i for part in edits.parts_of(edit) for i in (part.ids or ())]
            tiles = set(edits.tiles_of_edit(edit, store.shape, store.objects(ids=ids) if ids else ()))
            if isinstance(error, EditConflict):
                tiles |= set(edits.tiles_of(error.boxes))
            return store.rev, sorted(tiles)

        rev, tiles = await self.read(look)
        client.send(messages.Reject(op_id=edit.op_id, image=edit.image, rev=rev, tiles=tiles, reason=reason))

    def check_writable(self) -> None:
        """Raise unless the project may be changed."""
        if self.project.read_only:
            raise ProjectError("this project is open for looking only: nothing was changed")

    def _there(self) -> bool:
        return self.project.read_only or (self.project.folder / FILE).exists()

    def _check_there(self) -> None:
        """Raise if the folder was moved or deleted: what is written into an open file would be lost unseen."""
        if not self._there():
            raise ProjectError(
                f"the project is not at {self.project.folder} any more: put its folder back, or start the server anew "
                "where it is now"
            )


__all__ = ["EditError", "Workspace"]
