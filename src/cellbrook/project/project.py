"""A project: a folder that the command line, Python and the workspace share."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellbrook.core.progress import NoProgress
from cellbrook.errors import CellbrookError, ProjectError, UsageError
from cellbrook.io.atomic import sweep
from cellbrook.io.files import find_images
from cellbrook.io.open import meant_scenes
from cellbrook.project._database import Database
from cellbrook.project._lock import FileLock
from cellbrook.project.images import STATES, AddReport, ImageIndex, ImageRecord, State
from cellbrook.project.labelstore import LabelStore
from cellbrook.project.oplog import OpLog
from cellbrook.project.second_looks import own_params, read_second_looks
from cellbrook.project.settings import (
    FILE,
    SHAPING,
    ProjectSettings,
    read_settings,
    settings_of,
    write_settings,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from cellbrook.core.progress import Progress
    from cellbrook.io.source import Source
    from cellbrook.project.corrections import Imported
    from cellbrook.project.merge import MergeReport
    from cellbrook.project.predict import Prediction
    from cellbrook.project.status import ProjectStatus
    from cellbrook.project.suggest import Suggestion
    from cellbrook.project.teach import Round

SUFFIX = ".project"
_INDEX = "index.sqlite"
_JOB = (
    "id", "kind", "image", "state", "params", "done", "total", "message", "error", "hint", "result", "created", "updated",
)  # fmt: skip
_UNFINISHED = ("queued", "running")


class Project:
    """An open project. Make one with `create` or `open`; safe to use from several threads.

    Attributes
    ----------
    folder : Path
        Absolute.
    settings : ProjectSettings
        What ``project.toml`` says.
    read_only : bool
        True: another program may be writing to it.
    """

    def __init__(self, folder: Path, database: Database, lock: FileLock | None) -> None:
        self.folder = folder
        self.settings = read_settings(folder)
        self.database = database
        self._file_lock = lock
        self._images = ImageIndex(database, folder)
        self._stores: dict[str, LabelStore] = {}
        self._logs: dict[str, OpLog] = {}
        self._guard = threading.RLock()

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike[str],
        *,
        name: str | None = None,
        images: Iterable[str | os.PathLike[str]] = (),
        copy: bool = False,
        **settings: Any,
    ) -> Project:
        """Make a new project.

        Parameters
        ----------
        folder : path
            Must not exist, or be empty.
        name : str or None
            None: the folder's name.
        images : iterable of path
            Added at once; see `add`.
        copy : bool
            Copy the images into the project.
        **settings
            Fields of `ProjectSettings`.

        Raises
        ------
        ProjectError
            If the folder holds something, or cannot be written to.
        UsageError
            If a setting is unknown, or cannot be what is given.
        ImageError
            If no image is found. As after any error, the folder is then as it was.
        """
        path = Path(folder).absolute()
        kept = settings_of({"name": name or path.name.removesuffix(SUFFIX), **settings})
        there = path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                hint = "open it instead" if (path / FILE).exists() else "give a new one"
                raise ProjectError(f"{path} holds files already: {hint}")
        except (FileExistsError, NotADirectoryError):
            raise ProjectError(f"{path}: a file of that name is in the way") from None
        except OSError as error:
            if isinstance(error, ProjectError):
                raise
            raise ProjectError(f"{path}: cannot be made: {error.strerror or error}") from error
        with contextlib.ExitStack() as undo:
            lock = FileLock(path)
            undo.callback(unmake, path, whole=not there)
            undo.callback(lock.release)
            database = Database(path / _INDEX, create=True)
            undo.callback(database.close)
            # the manifest comes last: a folder without one is not a project yet
            write_settings(path, kept)
            project = cls(path, database, lock)
            if images := list(images):
                project.add(images, copy=copy)
            undo.pop_all()
        return project

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, read_only: bool = False) -> Project:
        """Open a project.

        Parameters
        ----------
        folder : path
            Of the project, or its ``project.toml``.
        read_only : bool
            Look only; works while another program has it open, and where nothing can be written.

        Raises
        ------
        ProjectError
            If it is none, damaged, of a later version, or open elsewhere. Nothing is changed then.
        """
        path = Path(folder).absolute()
        if path.name == FILE:
            path = path.parent
        read_settings(path)
        if not (path / _INDEX).exists():
            raise ProjectError(
                f"{path} has no {_INDEX}: put back a copy of it; the labels are in {path / 'labels'}, which any OME-Zarr "
                "reader opens"
            )
        lock = None if read_only else FileLock(path)
        try:
            project = cls(path, Database(path / _INDEX, read_only=read_only), lock)
            if not read_only:
                project._interrupt_jobs()
                for place in (path, *(path / p for p in ("images", "labels", "cache", "models"))):
                    sweep(place)
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        return project

    @property
    def name(self) -> str:
        """What people call it."""
        return self.settings.name

    @property
    def read_only(self) -> bool:
        """True if nothing can be changed."""
        return self.database.read_only

    def save_settings(self, **changes: Any) -> ProjectSettings:
        """Change fields of `ProjectSettings` and write them down.

        Raises
        ------
        UsageError
            If there is none of that name, it cannot be what is given, or it decides of what shape labels are and there are
            images.
        """
        self.check_writable()
        now = {f.name: getattr(self.settings, f.name) for f in dataclasses.fields(ProjectSettings)}
        changed = settings_of(now | changes)
        fixed = [n for n in SHAPING if getattr(changed, n) != now[n]]
        if fixed and self._images.all(removed=True) + self.images():
            raise UsageError(
                f"the shape of labels depends on {' and '.join(fixed)}, and {self.name} has images: make another project"
            )
        write_settings(self.folder, changed)
        self.settings = changed
        return changed

    # Images

    def add(
        self,
        paths: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
        *,
        copy: bool = False,
        scene: str | None = None,
        progress: Progress | None = None,
    ) -> AddReport:
        """Add images: files, folders or patterns.

        An image is known by its content: one that is there already is told, not doubled, and one whose file had moved is
        found again.

        Parameters
        ----------
        paths : iterable of path
            As for `cellbrook segment`.
        copy : bool
            Copy the files into the project. False: refer to them where they are.
        scene : str or None
            Of files with several scenes: one's number or name. None or "all": every scene, each as an image.
        progress : Progress or None
            Told of each image; every byte of it is read once. What was added before a cancel stays.

        Raises
        ------
        ImageError
            If nothing is found at all. A file that cannot be read is in the report.
        Cancelled
            If `progress` says so.
        """
        self.check_writable()
        given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        report = AddReport()
        named = {Path(p).absolute() for p in given}
        # a folder around the project does not give its own copies and labels again
        files = [
            found.path
            for found in find_images([os.fspath(p) for p in given]).images
            if found.path.absolute() in named or self.folder not in found.path.absolute().parents
        ]
        progress = progress or NoProgress()
        progress.start("looking", len(files))
        scenes = []
        for path in files:
            progress.check_cancelled()
            scenes += [(path, number, name) for number, name in self._scenes(path, scene, report)]
            progress.advance()
        progress.start("adding", len(scenes))
        for path, number, name in scenes:
            progress.check_cancelled()
            self._images.add(path, self.settings_of, report, copy=copy, scene=number, scene_name=name)
            progress.advance()
        return report

    def _scenes(
        self, path: Path, wish: str | None, report: AddReport
    ) -> Sequence[tuple[str | None, str | None]]:
        """Return number and name of each scene that is meant; two None for a file that has but one."""
        try:
            return meant_scenes(path, "all" if wish is None else wish)
        except (CellbrookError, OSError) as error:
            report.failed.append((path, str(error)))
            return ()

    def images(self) -> list[ImageRecord]:
        """Return all images, in the order they were added."""
        return self._images.all()

    def taken_out(self) -> set[Path]:
        """Return where the files of the images are that were taken out with `remove`."""
        return {self._images.path(r) for r in self._images.all(removed=True)}

    def own_images(self) -> list[ImageRecord]:
        """Return all images but second looks: what is learnt from, predicted and exported if nothing else is said."""
        again = read_second_looks(self.folder)
        return [r for r in self.images() if r.id not in again]

    def image(self, image: str) -> ImageRecord:
        """Return the image of an id.

        Raises
        ------
        UsageError
            If there is none.
        """
        record = self._images.get(image)
        if record is None:
            raise UsageError(f"the project has no image {image!r}: see `cellbrook project status`")
        return record

    def find(self, name: str) -> ImageRecord:
        """Return the image of an id, a name, or a path.

        Raises
        ------
        UsageError
            If there is none, or several; lists the nearest.
        """
        import difflib

        records = self.images()
        found = [r for r in records if name in (r.id, r.name)]
        found = found or [r for r in records if self.path(r.id) == Path(name).absolute()]
        if len(found) == 1:
            return found[0]
        near = difflib.get_close_matches(name, [r.name for r in records], n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else "see `cellbrook project status`"
        raise UsageError(f"the project has no image {name!r}: {hint}")

    def path(self, image: str) -> Path:
        """Return where an image's file should be."""
        return self._images.path(self.image(image))

    def problem(self, image: str) -> str | None:
        """Return what is wrong with an image's file and what to do, None if nothing is."""
        return self._images.problem(self.image(image))

    def open_image(self, image: str) -> Source:
        """Open an image.

        Raises
        ------
        ImageError
            If its file is gone, was changed since it was added, or cannot be read.
        """
        return self._images.open(self.image(image), self.settings_of(image))

    def settings_of(self, image: str) -> ProjectSettings:
        """Return the settings that an image is read with: the project's, but for second looks."""
        return dataclasses.replace(self.settings, **own_params(self.folder, image))

    def set_state(self, image: str, state: State) -> None:
        """Say how far an image is: "done" when a person has looked at all of it."""
        self.image(image)
        if state not in STATES:
            raise UsageError(f"the state of an image is one of {', '.join(STATES)}, got {state!r}")
        with self.database.transaction() as connection:
            connection.execute("UPDATE images SET state = ? WHERE id = ?", (state, image))

    def unmark(self, image: str) -> None:
        """Take the mark "done" away: the image is what its edits make of it."""
        self.set_state(image, self.log(image).state_left())

    def remove(self, image: str) -> None:
        """Take an image out of the project. Its file, labels and history stay; adding it again brings them back."""
        self.image(image)
        with self.database.transaction() as connection:
            connection.execute("UPDATE images SET removed = 1 WHERE id = ?", (image,))

    # Labels

    def labels(self, image: str) -> LabelStore:
        """Return the labels of an image."""
        with self._guard:
            if image not in self._stores:
                record = self.image(image)
                folder = self.folder / "labels" / f"{image}.ome.zarr"
                self._stores[image] = LabelStore(self.database, image, folder, self._maker(folder, record))
            return self._stores[image]

    def log(self, image: str) -> OpLog:
        """Return the log of an image's edits, the only way to change its labels."""
        with self._guard:
            if image not in self._logs:
                self._logs[image] = OpLog(self.database, self.labels(image))
            return self._logs[image]

    def _maker(self, folder: Path, record: ImageRecord) -> Callable[[], None]:
        def make() -> None:
            if not (folder / "zarr.json").exists():
                from cellbrook.project._zarr import create_label_zarr

                create_label_zarr(
                    folder,
                    record.label_axes,
                    record.leading,
                    (record.height, record.width),
                    record.pixel_size_um,
                )

        return make

    # What is done with all of it; each is a function of the module of its name, which has the parameters

    def predict(self, names: Sequence[str] = (), **keywords: Any) -> list[Prediction]:
        """Segment images with the active model; see `cellbrook.project.predict.predict`."""
        from cellbrook.project.predict import predict

        return predict(self, names, **keywords)

    def suggest(self, count: int = 5, **keywords: Any) -> list[Suggestion]:
        """Say what to correct next; see `cellbrook.project.suggest.suggest`."""
        from cellbrook.project.suggest import suggest

        return suggest(self, count, **keywords)

    def status(self) -> ProjectStatus:
        """Say how far everything is; see `cellbrook.project.status.status`."""
        from cellbrook.project.status import status

        return status(self)

    def import_labels(self, paths: Sequence[str | os.PathLike[str]], **keywords: Any) -> list[Imported]:
        """Take over corrections; see `cellbrook.project.corrections.import_labels`."""
        from cellbrook.project.corrections import import_labels

        return import_labels(self, paths, **keywords)

    def export(self, out: str | os.PathLike[str], **keywords: Any) -> dict[str, dict[str, Path]]:
        """Write labels as files; see `cellbrook.project.exchange.export_project`."""
        from cellbrook.project.exchange import export_project

        return export_project(self, out, **keywords)

    def train(self, **keywords: Any) -> Round:
        """Teach the model what was corrected; see `cellbrook.project.teach.train_round`."""
        from cellbrook.project.teach import train_round

        return train_round(self, **keywords)

    def activate(self, model: str) -> str:
        """Choose the model that predicts; see `cellbrook.project.models.activate_model`."""
        from cellbrook.project.models import activate_model

        return activate_model(self, model)

    def merge(self, other: str | os.PathLike[str] | Project) -> MergeReport:
        """Take over what another copy has; see `cellbrook.project.merge.merge_projects`."""
        from cellbrook.project.merge import merge_projects

        return merge_projects(self, other)

    # Jobs and rounds

    def add_job(self, kind: str, image: str | None = None, params: dict[str, Any] | None = None) -> str:
        """Write down that something is to be done; returns its id."""
        job, now = uuid.uuid4().hex[:12], _now()
        with self.database.transaction() as connection:
            connection.execute(
                "INSERT INTO jobs (id, kind, image, state, params, created, updated) VALUES (?, ?, ?, 'queued', ?, ?, ?)",
                (job, kind, image, json.dumps(params or {}), now, now),
            )
        return job

    def update_job(self, job: str, **changes: Any) -> None:
        """Change ``state, done, total, message, error, hint, result`` of a job."""
        known = ("state", "done", "total", "message", "error", "hint", "result")
        if not changes or set(changes) - set(known):
            raise UsageError(f"a job has {', '.join(known)}, got {', '.join(changes)}")
        if "result" in changes:
            changes["result"] = json.dumps(changes["result"])
        names = ", ".join(f"{n} = ?" for n in changes)
        with self.database.transaction() as connection:
            connection.execute(
                f"UPDATE jobs SET {names}, updated = ? WHERE id = ?", (*changes.values(), _now(), job)
            )

    def jobs(self, *, unfinished: bool = False) -> list[dict[str, Any]]:
        """Return jobs as plain values, oldest first."""
        where = "WHERE state IN ('queued', 'running', 'interrupted')" if unfinished else ""
        rows = self.database.query(f"SELECT {', '.join(_JOB)} FROM jobs {where} ORDER BY created, rowid")
        jobs = [dict(zip(_JOB, row, strict=True)) for row in rows]
        for job in jobs:
            job["params"] = json.loads(job["params"])
            job["result"] = json.loads(job["result"]) if job["result"] else None
        return jobs

    def images_with_class(self, class_id: int) -> list[str]:
        """Return the names of the images in which an object has a class."""
        rows = self.database.query(
            "SELECT name FROM images WHERE NOT removed AND id IN (SELECT image FROM objects WHERE class = ?) ORDER BY place",
            (class_id,),
        )
        return [name for (name,) in rows]

    def _interrupt_jobs(self) -> None:
        marks = ", ".join("?" for _ in _UNFINISHED)
        if self.database.one(f"SELECT 1 FROM jobs WHERE state IN ({marks})", _UNFINISHED):
            with self.database.transaction() as connection:
                connection.execute(
                    f"UPDATE jobs SET state = 'interrupted' WHERE state IN ({marks})", _UNFINISHED
                )

    def rounds(self) -> list[dict[str, Any]]:
        """Return the training rounds, oldest first."""
        rows = self.database.query("SELECT number, created, report FROM rounds ORDER BY number")
        return [{"number": n, "created": created, **json.loads(report)} for n, created, report in rows]

    def add_round(self, report: dict[str, Any]) -> int:
        """Write down a training round; returns its number, from 1."""
        with self.database.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO rounds (created, report) VALUES (?, ?)", (_now(), json.dumps(report))
            )
            return int(cursor.lastrowid or 0)

    # Closing

    def flush(self) -> None:
        """Write the chunks that are behind the log."""
        for store in list(self._stores.values()):
            store.flush()

    def close(self) -> None:
        """Flush, and let others open it."""
        with self._guard:
            try:
                for store in self._stores.values():
                    store.close()
            finally:
                self._stores.clear()
                self._logs.clear()
                self.database.close()
                if self._file_lock is not None:
                    self._file_lock.release()

    def __enter__(self) -> Project:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def check_writable(self) -> None:
        """Raise `ProjectError` if the project is open for reading only."""
        if self.read_only:
            raise ProjectError(f"{self.folder} is open for reading only: nothing was changed")


def choose(project: Project, names: Sequence[str], states: Sequence[str] = STATES) -> list[ImageRecord]:
    """Return the images of these names; without names, those in one of the states that are no second looks."""
    if names:
        return [project.find(n) for n in names]
    return [r for r in project.own_images() if r.state in states]


def unmake(folder: Path, *, whole: bool) -> None:
    """Remove a project that was just made in vain: else it could not be made again, mended; `whole`: with its folder."""
    for path in [folder] if whole else folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
