"""Corrections that were made elsewhere: label images, ROIs, GeoJSON, COCO, taken over as edits."""

from __future__ import annotations

import json
import logging
import math
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.objects import ObjectTable
from cellbrook.errors import CellbrookError, ImageError, UsageError
from cellbrook.export.classes import classes_by_frame, of_frame
from cellbrook.io._omezarr import is_zarr
from cellbrook.io.files import OUTPUT_ENDINGS, image_of_run, stem_of
from cellbrook.io.labels import read_labels
from cellbrook.io.pairs import LABEL_MARKS, image_id, result_stem
from cellbrook.project.classes import class_ids
from cellbrook.project.ops import Replace

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from cellbrook.project.images import ImageRecord
    from cellbrook.project.oplog import Applied
    from cellbrook.project.project import Project

log = logging.getLogger(__name__)

_LABEL_SUFFIXES = (".tif", ".tiff", ".png", ".bmp", ".npy", ".zip", ".roi", ".geojson", ".json")
_MARKS_OF_SHAPES = ("_rois", "_coco")  # what is no label image
_MARKS = (*LABEL_MARKS["truth"], *_MARKS_OF_SHAPES)


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one file of corrections.

    Parameters
    ----------
    path : Path
        The file.
    image, name : str or None
        The image that it belongs to.
    applied : Applied or None
        What it changed.
    error : str or None
        Why it was left out, in one line.
    """

    path: Path
    image: str | None
    name: str | None
    applied: Applied | None
    error: str | None


def import_labels(
    project: Project,
    paths: Sequence[str | os.PathLike[str]],
    *,
    image: str | None = None,
    user: str = "me",
    done: bool = False,
    say: Callable[[str], None] = log.warning,
) -> list[Imported]:
    """Take over labels that were corrected elsewhere.

    Each file replaces all labels of its image, as one edit that can be undone: what is in it counts as made by hand, and no
    model run changes it; what is not in it was deleted, except locked objects, which stay.

    Parameters
    ----------
    project : Project
        Open for writing.
    paths : sequence of path
        Label images, ImageJ ROIs (``.zip``, ``.roi``), GeoJSON, COCO, Cellpose ``_seg.npy``, OME-Zarr labels; or folders of
        them, of which what is called labels is taken, as ``x_masks.png`` or ``x_coco.json``. Nothing in a file is run.
        Classes in GeoJSON and COCO, or in an ``_objects.csv`` beside labels, become those of the project.
        A file without objects is refused.
    image : str or None
        The image that one file belongs to. None: by the file's name, as ``x_labels.tif`` belongs to ``x``; of several of
        one name, the one beside which it lies, or of which the ``x_run.json`` beside it is.
    user : str
        Whose undo takes it back.
    done : bool
        The images are finished then.
    say : callable
        Told what was passed over in folders.

    Returns
    -------
    list of Imported
        A file that cannot be read, or fits no image, changes nothing and does not stop the others.

    Raises
    ------
    UsageError
        If nothing is found, or `image` is given with several files.
    """
    files = list(_files(paths, say))
    if not files:
        raise UsageError(
            f"no labels in {', '.join(map(str, paths))}: expected label images, ROI zip, GeoJSON, COCO, _seg.npy or OME-Zarr"
        )
    if image is not None and len(files) > 1:
        raise UsageError(f"one image takes one file of labels, got {len(files)}")
    results = []
    owners: dict[str, list[Path]] = {}
    for path in files:
        with suppress(UsageError):
            owners.setdefault(_owner(project, path).id, []).append(path)
    for path in files:
        record: ImageRecord | None = None
        try:
            record = project.find(image) if image is not None else _owner(project, path)
            if len(rivals := owners.get(record.id, [])) > 1:
                named = " and ".join(p.name for p in rivals)
                raise UsageError(f"{record.name}: {named} are both labels of it: give the one that counts")
            op = correcting(project, read_corrections(path, record))
            applied = project.log(record.id).apply(op, user=user)
            if done:
                project.set_state(record.id, "done")
            results.append(Imported(path, record.id, record.name, applied, None))
        except (CellbrookError, OSError) as error:
            name = record.name if record else None
            results.append(Imported(path, record.id if record else None, name, None, str(error)))
    return results


@dataclass(frozen=True, slots=True)
class Corrections:
    """What a file says of an image.

    Parameters
    ----------
    labels : ndarray of uint32
        With the axes of the image's labels; at least one object.
    classes : dict of (int or None) to dict of int to str
        Names of classes by label, in a plane; under None those that hold in all planes.
    """

    labels: NDArray[np.uint32]
    classes: dict[int | None, dict[int, str]]


def correcting(project: Project, corrections: Corrections) -> Replace:
    """Return the edit that takes corrections over, after giving the project the classes that it lacks."""
    objects = None
    if corrections.classes:
        told = [
            (label, -1 if plane is None else plane, name)
            for plane, own in corrections.classes.items()
            for label, name in own.items()
        ]
        labels, planes, names = zip(*told, strict=True)
        objects = ObjectTable({
            "label": np.array(labels, np.uint32), "plane": np.array(planes), "class": class_ids(project, names),
        })  # fmt: skip
    stack = corrections.labels.reshape(-1, *corrections.labels.shape[-2:])
    return Replace(stack, objects, tuple(range(len(stack))), protect=False, origin="manual", kind="import")


def read_corrections(path: Path, record: ImageRecord) -> Corrections:
    """Read a file of labels of any kind that `import_labels` takes.

    Raises
    ------
    ImageError
        If it cannot be read, does not fit the image, or holds no object: that would delete all there are.
    """
    corrections = _read(path, record)
    if not corrections.labels.any():
        raise ImageError(
            f"{path}: holds no objects, and would delete all of {record.name}: delete them in the workspace if that is meant"
        )
    return corrections


def _read(path: Path, record: ImageRecord) -> Corrections:
    shape = (*record.leading, record.height, record.width)
    suffix = path.suffix.lower()
    if suffix in (".zip", ".roi"):
        from cellbrook.export.roi_zip import read_roi_zip

        try:
            return Corrections(read_roi_zip(path, shape), {})
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            if isinstance(error, CellbrookError):
                raise
            raise ImageError(f"{path}: not a set of ImageJ ROIs: {error}") from error
    if suffix == ".json" and (document := _coco(path)) is not None:
        from cellbrook.export.coco import read_coco

        try:
            labels, classes = read_coco(document, shape, record.name)
            return Corrections(labels, {None: classes} if classes else {})
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from error
    if suffix in (".geojson", ".json"):
        from cellbrook.export.geojson import read_geojson, read_geojson_classes

        axes = record.label_axes
        classes = read_geojson_classes(path, shape, axes=axes)
        return Corrections(read_geojson(path, shape, axes=axes), {None: classes} if classes else {})
    labels, axes = read_labels(path)
    if labels.size == math.prod(shape) and labels.shape[-2:] == shape[-2:]:
        if _is_picture(labels):
            raise ImageError(
                f"{path}: looks like a picture, not like labels: most neighbouring pixels differ"
            )
        return Corrections(labels.reshape(shape), _classes_beside(path, record))
    shown = "x".join(map(str, labels.shape))
    raise ImageError(
        f"{path}: labels of {shown} ({axes}) do not fit {record.name}, whose labels are {'x'.join(map(str, shape))}"
    )


def _classes_beside(path: Path, record: ImageRecord) -> dict[int | None, dict[int, str]]:
    """Return the classes in the table beside labels; those of a time point hold in its planes alone."""
    frames = classes_by_frame(path, given=True) or {}
    times = {plane: record.time_of(plane) for plane in range(math.prod(record.leading))}
    if None in times.values():
        found: dict[int | None, dict[int, str]] = {None: of_frame(frames, None)}
    else:
        found = {None: frames.get(None, {}), **{plane: frames.get(t, {}) for plane, t in times.items()}}
    return {plane: own for plane, own in found.items() if own}


def _coco(path: Path) -> dict[str, Any] | None:
    """Return the document if it is one of COCO annotations; what is wrong with another is told by its reader."""
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) and "annotations" in document else None


def _is_picture(labels: NDArray[np.uint32]) -> bool:
    """Return True if neighbouring pixels of objects mostly belong to different ones, as in a gray picture."""
    left, right = labels[..., :-1], labels[..., 1:]
    inside = (left > 0) & (right > 0)
    return bool(2 * np.count_nonzero(inside & (left != right)) > np.count_nonzero(inside) > 100)


def _files(paths: Sequence[str | os.PathLike[str]], say: Callable[[str], None]) -> Iterator[Path]:
    for given in paths:
        path = Path(given)
        if path.is_dir() and not is_zarr(path):
            there = [p for p in sorted(path.iterdir()) if not p.name.startswith(".")]
            yield from filter(_is_called_labels, there)
            if passed := [p.name for p in there if not _is_called_labels(p) and _may_be_labels(p)]:
                some = f"{', '.join(passed[:3])}{' ...' * (len(passed) > 3)}"
                say(f"{path}: passed over what is not called labels ({some}): name it to take it over")
        elif path.exists():
            yield path
        else:
            raise UsageError(f"no such file or folder: {path}")


def _is_called_labels(path: Path) -> bool:
    """Tell whether a file of a folder is one of labels, by its name; an OME-Zarr folder may hold them beside an image."""
    marked = stem_of(path).lower().endswith(_MARKS)
    if path.is_dir():
        return is_zarr(path) and (marked or (path / "labels").is_dir())
    suffix = path.suffix.lower()
    if path.name.lower().endswith(OUTPUT_ENDINGS["region_outlines"]):
        return False  # no cells
    return suffix in _LABEL_SUFFIXES and (marked or suffix in (".geojson", ".zip"))


def _may_be_labels(path: Path) -> bool:
    """Tell whether labels could be read from a file; what Cellbrook writes beside them is known."""
    ours = path.name.endswith(tuple(OUTPUT_ENDINGS.values()))
    return is_zarr(path) if path.is_dir() else path.suffix.lower() in _LABEL_SUFFIXES and not ours


def _owner(project: Project, path: Path) -> ImageRecord:
    """Return the image whose labels a file holds: by what its run.json says, else by its name and folder."""
    stem = stem_of(path)
    for ending in _MARKS_OF_SHAPES:
        stem = stem.removesuffix(ending)
    bare = path.with_name(f"{stem}{path.suffix}")
    records = project.images()
    told = image_of_run(bare.with_name(f"{result_stem(bare)}{OUTPUT_ENDINGS['run']}"))
    if of_run := [r for r in records if (r.sha256, r.scene) == (told.get("sha256"), told.get("scene"))]:
        return of_run[0]

    key = image_id(bare.name)
    found = [r for r in records if key in (image_id(f"{n}.tif") for n in _names(r))]
    # the folders of a plate's wells may hold files of one name
    folder = path.resolve().parent
    found = [r for r in found if (project.folder / r.path).resolve().parent == folder] or found
    found = [r for r in found if stem in _names(r)] or found
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{path}: fits {' and '.join(r.name for r in found)}: name the image (--image)")
    raise UsageError(f"{path}: the project has no image {key!r}: name the image it belongs to (--image)")


def _names(record: ImageRecord) -> tuple[str, str]:
    """Return what an image is called in the project, and what `cellbrook segment` called it before it came there."""
    stem = stem_of(Path(record.path)).removeprefix(f"{record.id[:8]}-")
    return record.name, stem if record.scene is None else f"{stem}_s{record.scene}"
