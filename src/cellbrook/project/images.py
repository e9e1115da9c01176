"""The images of a project: by content, referenced where they lie or copied."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cellbrook.errors import CellbrookError, ImageError, ProjectError
from cellbrook.io.atomic import atomic
from cellbrook.io.files import stem_of
from cellbrook.io.hashing import files_of_image, sha256_of_image
from cellbrook.io.open import open_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellbrook.io.source import Source
    from cellbrook.project._database import Database
    from cellbrook.project.settings import ProjectSettings

State = Literal["new", "predicted", "corrected", "done"]
STATES: tuple[State, ...] = ("new", "predicted", "corrected", "done")

_NOT_IN_NAMES = re.compile(r"[^\w.+-]+")
_LONGEST = 60  # characters of a scene's name in that of an image

_FIELDS = (
    "id, name, path, copied, sha256, scene, size, mtime_ns, axes, shape, dtype, channels, pixel_size, label_axes, leading,"
    " height, width, state, rev, added, run"
)


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """What the index says of an image.

    Parameters
    ----------
    id : str
        From its content: the same in every copy of the project.
    name : str
        Unique in the project; the file's stem, with a number where two files share it.
    path : str
        Where the file is, relative to the project's folder where that is possible.
    copied : bool
        True: it lies in ``images/``.
    sha256, scene : str, str or None
        Of all that is read of it, as `cellbrook.segment` tells it; the number of the scene, where its file has several.
    size, mtime_ns : int
        Of all that is read of it, when it was last found unchanged.
    axes, shape, dtype : str, tuple of int, str
        As opened.
    channels : tuple of str
        Names.
    pixel_size_um : dict of str to float
        By axis, where known.
    label_axes, leading : str, tuple of int
        Axes of the labels, lengths of those before Y and X.
    height, width : int
        In pixels.
    state : {"new", "predicted", "corrected", "done"}
        How far it is.
    rev : int
        Revision of its labels.
    added : str
        When (ISO 8601, UTC).
    run : dict or None
        What the last model run was made with.
    """

    id: str
    name: str
    path: str
    copied: bool
    sha256: str
    scene: str | None
    size: int
    mtime_ns: int
    axes: str
    shape: tuple[int, ...]
    dtype: str
    channels: tuple[str, ...]
    pixel_size_um: dict[str, float]
    label_axes: str
    leading: tuple[int, ...]
    height: int
    width: int
    state: State
    rev: int
    added: str
    run: dict[str, Any] | None

    def time_of(self, plane: int) -> int | None:
        """Return the time point of a plane of the labels; None if the image is no time series."""
        return plane // math.prod(self.leading[1:]) if self.label_axes.startswith("T") else None

    @property
    def in_volume(self) -> bool:
        """True if the last run found objects in 3-D, each with one id through its planes."""
        return self.run is not None and bool(self.run["parameters"].get("volume"))


@dataclass(slots=True)
class AddReport:
    """What became of files that were added.

    Parameters
    ----------
    added : list of ImageRecord
        New ones.
    already : list of (Path, ImageRecord)
        Files whose content is in the project; those that had moved are found again.
    found_again : list of (Path, ImageRecord)
        Of `already`, those that had been taken out, or whose file was missing or another where it had been.
    failed : list of (Path, str)
        Files that are no images, with the reason.
    """

    added: list[ImageRecord] = field(default_factory=list)
    already: list[tuple[Path, ImageRecord]] = field(default_factory=list)
    found_again: list[tuple[Path, ImageRecord]] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)


class ImageIndex:
    """The table of images, and the files behind it.

    Parameters
    ----------
    database : Database
        The project's index.
    folder : Path
        The project's folder, absolute.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self._db, self._folder = database, folder

    def all(self, *, removed: bool = False) -> list[ImageRecord]:
        """Return all images, in the order they were added; with `removed` those that were taken out instead."""
        rows = self._db.query(
            f"SELECT {_FIELDS} FROM images WHERE removed = ? ORDER BY place", (int(removed),)
        )
        return [_record(r) for r in rows]

    def get(self, image: str) -> ImageRecord | None:
        """Return the image of an id."""
        row = self._db.one(f"SELECT {_FIELDS} FROM images WHERE id = ? AND NOT removed", (image,))
        return _record(row) if row else None

    def path(self, record: ImageRecord) -> Path:
        """Return where an image's file should be."""
        return Path(os.path.normpath(self._folder / record.path))

    def problem(self, record: ImageRecord) -> str | None:
        """Return what is wrong with an image's file, in one line that says what to do; None if nothing is."""
        path = self.path(record)
        try:
            size, mtime = _stat(path, record.scene)
        except ValueError:  # another OME-Zarr folder is in its place
            size, mtime = -1, 0
        except OSError:
            return (
                f"{record.name}: its file is not at {path} any more: put it back, or add it from where it is now "
                "(`cellbrook project add`): labels stay as they are"
            )
        if size == record.size and mtime == record.mtime_ns:
            return None
        if size == record.size and sha256_of_image(path, record.scene) == record.sha256:
            if not self._db.read_only:
                with self._db.transaction() as connection:
                    connection.execute("UPDATE images SET mtime_ns = ? WHERE id = ?", (mtime, record.id))
            return None
        return (
            f"{record.name}: {path} was changed since it was added, so its labels may not fit it: put the old file back, "
            "or add the new one under another name as an image of its own"
        )

    def open(self, record: ImageRecord, settings: ProjectSettings) -> Source:
        """Open an image that is unchanged.

        Raises
        ------
        ImageError
            If its file is gone, changed, or cannot be read.
        """
        problem = self.problem(record)
        if problem is not None:
            raise ImageError(problem)
        return open_image(
            self.path(record), axes=settings.axes, pixel_size=settings.pixel_size, scene=record.scene
        )

    def add(
        self,
        path: Path,
        settings_of: Callable[[str], ProjectSettings],
        report: AddReport,
        *,
        copy: bool,
        scene: str | None,
        scene_name: str | None,
    ) -> None:
        """Add one file, or a scene of it, and say in `report` what became of it.

        `settings_of` tells the settings of an id.
        """
        if not _is_unicode(path.name if copy else self._relative(path)):  # the index could not take it
            shown = Path(os.fsencode(path).decode("utf-8", "replace"))
            why = "its name has characters that are not Unicode: rename the file, or its folder, and add it again"
            report.failed.append((shown, f"{shown}: {why}"))
            return
        try:
            digest = sha256_of_image(path, scene)
            image = id_of(digest, scene)
            there = self._db.one(f"SELECT {_FIELDS}, removed FROM images WHERE id = ?", (image,))
            if there is not None:
                self._again(path, _record(there[:-1]), bool(there[-1]), report, copy=copy)
                return
            settings = settings_of(image)
            source = open_image(path, axes=settings.axes, pixel_size=settings.pixel_size, scene=scene)
            name = self._free_name(f"{stem_of(path)}{_mark_of(scene, scene_name)}")
            row = self._row(image, name, path, digest, source, settings, copy=copy, scene=scene)
        except (CellbrookError, OSError) as error:
            report.failed.append((path, str(error)))
            return
        with self._db.transaction() as connection:
            connection.execute(
                f"INSERT INTO images ({', '.join(row)}, place) VALUES ({', '.join('?' * len(row))},"
                " (SELECT coalesce(max(place), 0) + 1 FROM images))",
                tuple(row.values()),
            )
        record = self.get(image)
        assert record is not None
        report.added.append(record)

    def _again(
        self, path: Path, record: ImageRecord, removed: bool, report: AddReport, *, copy: bool
    ) -> None:
        place: dict[str, Any] = {}
        if self.problem(record) is not None:
            place = self._place(path, record.sha256, copy=copy, scene=record.scene)
        if place or removed:
            changes = {**place, "removed": 0}
            with self._db.transaction() as connection:
                connection.execute(
                    f"UPDATE images SET {', '.join(f'{n} = ?' for n in changes)} WHERE id = ?",
                    (*changes.values(), record.id),
                )
            found = self.get(record.id)
            assert found is not None
            record = found
            report.found_again.append((path, record))
        report.already.append((path, record))

    def _place(self, path: Path, digest: str, *, copy: bool, scene: str | None) -> dict[str, Any]:
        """Return where the file of an image lies from now on, by columns of the table; copy it there if that is wanted."""
        stored = self._copied(path, digest, scene) if copy else path
        size, mtime = _stat(stored, scene)
        return {"path": self._relative(stored), "copied": int(copy), "size": size, "mtime_ns": mtime}

    def _copied(self, path: Path, digest: str, scene: str | None) -> Path:
        """Return what is opened in the project for a file outside, after copying all that is read with it."""
        # the scenes of an OME-Zarr folder have a hash each, and share one copy
        whole = sha256_of_image(path) if path.is_dir() and scene is not None else digest
        copied = stored = self._folder / "images" / f"{whole[:8]}-{path.name}"
        several = [] if path.is_dir() else [Path(os.path.abspath(p)) for p in files_of_image(path)][1:]
        top = os.path.commonpath([path.absolute().parent, *(p.parent for p in several)])
        if several:  # they are found by their names, and where they lie beside each other
            stored = copied / os.path.relpath(path, top)
        if stored.exists() and sha256_of_image(stored, scene) == digest:
            return stored
        with atomic(copied) as target:
            if path.is_dir():
                shutil.copytree(path, target)
            elif not several:
                shutil.copyfile(path, target)
            else:
                for file in (path, *several):
                    own = target / os.path.relpath(file, top)
                    own.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, own)
        if sha256_of_image(stored, scene) != digest:
            raise ProjectError(f"{path}: changed while it was copied: add it again")
        return stored

    def _row(
        self,
        image: str,
        name: str,
        path: Path,
        digest: str,
        source: Source,
        settings: ProjectSettings,
        *,
        copy: bool,
        scene: str | None,
    ) -> dict[str, Any]:
        lengths = dict(zip(source.axes, source.shape, strict=True))
        if not {"Y", "X"} <= set(lengths):
            raise ImageError(f"{path}: an image needs the axes Y and X, got {source.axes}")
        leading = "".join(a for a in "TZ" if a in lengths and not (a == "Z" and settings.z is not None))
        return {
            "id": image,
            "name": name,
            **self._place(path, digest, copy=copy, scene=scene),
            "sha256": digest,
            "scene": scene,
            "axes": source.axes,
            "shape": json.dumps(list(source.shape)),
            "dtype": str(source.dtype),
            "channels": json.dumps(list(source.channel_names)),
            "pixel_size": json.dumps(dict(source.pixel_size_um)),
            "label_axes": leading + "YX",
            "leading": json.dumps([lengths[a] for a in leading]),
            "height": lengths["Y"],
            "width": lengths["X"],
            "state": "new",
            "added": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _free_name(self, stem: str) -> str:
        taken = {r[0] for r in self._db.query("SELECT name FROM images")}
        name, number = stem, 2
        while name in taken:
            name, number = f"{stem}_{number}", number + 1
        return name

    def _relative(self, path: Path) -> str:
        path = path.absolute()
        try:
            return Path(os.path.relpath(path, self._folder)).as_posix()
        except ValueError:  # another drive
            return str(path)


def id_of(sha256: str, scene: str | None = None) -> str:
    """Return the id of an image of this hash, and of this number of a scene: the same in every copy of a project."""
    return sha256[:16] + (f"-s{scene}" if scene is not None else "")


def _mark_of(scene: str | None, name: str | None) -> str:
    """Return what tells a scene from the others of its file in the name of an image.

    It is the scene's own name, such as that of a well, as far as files can be called so; without one its number.
    """
    if scene is None:
        return ""
    called = _NOT_IN_NAMES.sub("_", name or "").strip("_.")[:_LONGEST]
    return f"_s{scene}" if not called or called.isdecimal() else f"_{called}"


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


def _stat(path: Path, scene: str | None) -> tuple[int, int]:
    """Return bytes and time of change of all that is read of an image."""
    files = [p.stat() for p in files_of_image(path, scene)]
    return sum(f.st_size for f in files), max((f.st_mtime_ns for f in files), default=0)


def _record(row: Any) -> ImageRecord:
    v = list(row)
    v[3] = bool(v[3])
    for k in (9, 11, 14):
        v[k] = tuple(json.loads(v[k]))
    v[12] = json.loads(v[12])
    v[20] = json.loads(v[20]) if v[20] else None
    return ImageRecord(*v)
