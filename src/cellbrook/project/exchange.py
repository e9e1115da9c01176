"""Labels out of a project: files for any tool, and for training elsewhere."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.objects import ObjectTable
from cellbrook.core.progress import NoProgress
from cellbrook.core.result import SegmentationData
from cellbrook.errors import OVERWRITE, ImageError, OutputError, UsageError
from cellbrook.export.regions import with_regions
from cellbrook.export.save import OF_REGIONS, possible_kinds
from cellbrook.export.table import objects_csv
from cellbrook.io.atomic import atomic, put, staged
from cellbrook.io.channels import resolve_channels
from cellbrook.io.files import OUTPUT_ENDINGS, identity
from cellbrook.io.hashing import files_of_image, sha256_of
from cellbrook.io.pairs import image_id
from cellbrook.io.writers import write_labels
from cellbrook.measure import measure
from cellbrook.project._pixels import stack_of
from cellbrook.project.project import choose
from cellbrook.project.regions import drawn_regions
from cellbrook.results import write_results

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence

    from cellbrook.core.progress import Progress
    from cellbrook.project.images import ImageRecord
    from cellbrook.project.objects import ObjectRow
    from cellbrook.project.project import Project

log = logging.getLogger(__name__)

TRAINING = "training"
"""Of kinds of export: images and masks as ``cellbrook train`` takes them."""

MANIFEST = "training.json"
"""Beside files for training: the hashes of those that Cellbrook wrote, as ``run.json`` has them of results."""

KINDS = (TRAINING, *(k for k in OUTPUT_ENDINGS if k not in ("flows", "cellprob")))

TAUGHT = ("corrected", "done")
"""Images that a person has worked on."""


def as_result(project: Project, record: ImageRecord, *, threads: int | None = None) -> SegmentationData:
    """Return an image's labels as a segmentation, measured, with ``class``, ``origin`` and ``region`` in the table.

    Raises
    ------
    ImageError
        If the image's file is gone or was changed.
    """
    source, wanted = project.open_image(record.id), project.settings_of(record.id)
    image, plan = stack_of(source, wanted)
    store = project.labels(record.id)
    with project.database.lock:  # rows and pixels of one revision
        labels, rows, rev = store.read_all(), store.objects(), store.rev
    # what a run of the command takes to be repeated
    repeated = record.run and {
        "parameters": record.run["parameters"],
        "model": {"sha256": record.run["model"]},
    }
    sizes = {a: plan.pixel_size_um[a] for a in "ZYX" if a in plan.pixel_size_um and a in record.label_axes}
    known = "Y" in sizes and "X" in sizes
    # all channels are measured, whichever a model is shown
    settings = replace(wanted, channels=None)
    every, all_of = (image, plan) if settings == wanted else stack_of(source, settings)
    objects = measure(
        labels,
        every,
        channel_names=all_of.channel_names,
        pixel_size_um=tuple(sizes.values()) if known else None,
        axes=record.label_axes,
        threads=threads,
    )
    objects = objects.with_columns(**_said(project, record, rows, objects))
    if (regions := drawn_regions(project, record.id)) is not None:
        objects = with_regions(objects, labels, regions)
    return SegmentationData(
        labels=labels,
        objects=objects,
        output=None,
        image=image,
        axes=record.label_axes,
        channel_names=plan.channel_names,
        pixel_size_um=tuple(sizes[a] for a in record.label_axes if a in sizes) if known else None,
        name=record.name,
        provenance={
            "schema": 1,
            **(repeated or {}),
            "project": project.name,
            "image": {"path": str(project.path(record.id)), "scene": record.scene, "sha256": record.sha256},
            "state": record.state,
            "revision": rev,
            "last_run": record.run,
            "edits": [
                {"rev": h.rev, "kind": h.kind, "user": h.user, "created": h.created}
                for h in project.log(record.id).history()
                if h.rev <= rev
            ],
        },
    )


def _said(
    project: Project, record: ImageRecord, found: list[ObjectRow], objects: ObjectTable
) -> dict[str, Any]:
    """Return what the project knows of measured objects and measuring does not tell."""
    names = {c.id: c.name for c in project.settings.classes}
    # of an object in several planes, the one that a person changed
    found = sorted(found, key=lambda r: r.origin != "auto")
    by_time = {(r.id, record.time_of(r.plane)): r for r in found}
    labels = objects["label"].tolist()
    times = objects["t"].tolist() if "t" in objects else [None] * len(labels)
    rows = [by_time[key] for key in zip(labels, times, strict=True)]
    columns: dict[str, Any] = {"origin": [r.origin for r in rows]}
    if any(r.class_id for r in rows):
        columns["class"] = [names.get(r.class_id, str(r.class_id) if r.class_id else "") for r in rows]
    for name in ("score", "flow_error", "cellprob"):
        values = [getattr(r, name) for r in rows]
        if any(v is not None for v in values):
            columns[name] = np.array([np.nan if v is None else v for v in values], np.float64)
    return columns


def export_project(
    project: Project,
    out: str | os.PathLike[str],
    *,
    kinds: Sequence[str] = ("labels", "overlay", "objects"),
    names: Sequence[str] = (),
    states: Sequence[str] = ("predicted", "corrected", "done"),
    overwrite: bool = False,
    say: Callable[[str], None] = log.warning,
    progress: Progress | None = None,
) -> dict[str, dict[str, Path]]:
    """Write the labels of a project as files.

    Parameters
    ----------
    project : Project
        Any.
    out : path
        Folder; made if it does not exist.
    kinds : sequence of str
        Of `KINDS`; those of regions are written of images that have some. "training" writes ``<id>_img`` and
        ``<id>_masks`` pairs of images that a person has worked on, and `MANIFEST`.
    names : sequence of str
        Images by id, name or path. Empty: those in `states`.
    states : sequence of str
        Of "new", "predicted", "corrected", "done".
    overwrite : bool
        Replace what others changed since; of training, never an image of the project.
    say : callable
        Is told of each image that is left out, as it cannot be read and was not named.
    progress : Progress or None
        Told of each image. What was written before a cancel stays.

    Returns
    -------
    dict of str to dict of str to Path
        Files by image's name and kind.

    Raises
    ------
    UsageError
        If a kind is unknown, or there is nothing to write.
    ImageError
        If an image that was named, or every one, cannot be read.
    OutputError
        If a file cannot be written, or something would be lost.
    Cancelled
        If `progress` says so.
    """
    if unknown := [k for k in kinds if k not in KINDS]:
        raise UsageError(f"cannot export {', '.join(map(repr, unknown))}: choose from {', '.join(KINDS)}")
    folder = Path(out)
    written: dict[str, dict[str, Path]] = {}
    plain = [k for k in kinds if k != TRAINING]
    if plain:
        classes = [c.name for c in project.settings.classes]
        unread: ImageError | None = None
        records = choose(project, names, states)
        progress = progress or NoProgress()
        progress.start("writing", len(records))
        for record in records:
            progress.check_cancelled()
            try:
                result = as_result(project, record)
            except ImageError as error:  # the others are not to wait for it
                if names:
                    raise
                unread = unread or error
                say(f"left out: {error}")
            else:
                regions = drawn_regions(project, record.id)
                possible = possible_kinds(plain, regions)
                if possible:
                    written[record.name] = write_results(
                        result,
                        folder,
                        [*possible, *_run(possible)],
                        overwrite=overwrite,
                        classes=classes,
                        regions=regions,
                    )
            progress.advance()
        if unread is not None and not written:
            raise unread
    if TRAINING in kinds:
        with staged(folder, TRAINING) as stage:
            taught = export_training(project, stage, names=names, say=say)
            _put_training(project, stage, folder, overwrite=overwrite)
        for name, files in taught.items():
            written.setdefault(name, {}).update({kind: folder / p.name for kind, p in files.items()})
    if not written:
        if plain and not [k for k in kinds if k not in OF_REGIONS]:
            raise UsageError("no regions are drawn in these images: draw some, or bring them in from a file")
        raise UsageError("there is nothing to export: predict or correct images first, or name some")
    return written


def _run(kinds: Sequence[str]) -> tuple[str, ...]:
    """Return what says that the files are ours, so that the next export may replace them."""
    return () if "run" in kinds else ("run",)


def export_training(
    project: Project,
    folder: Path,
    *,
    names: Sequence[str] = (),
    states: Sequence[str] = TAUGHT,
    say: Callable[[str], None] = log.warning,
) -> dict[str, dict[str, Path]]:
    """Write images and labels as ``cellbrook train`` takes them, ``<id>_img`` and ``<id>_masks.tif``.

    If the project has classes, ``<id>_masks_objects.csv`` says which object is of which. In images that are done a person
    has seen them all; in others those count that a person gave, and not what a model said.

    Returns
    -------
    dict of str to dict of str to Path
        The files by image's name. Images without any object are left out: nothing says that they are empty. So are those
        that cannot be read, unless they are named, or all are: `say` is told of each.

    Raises
    ------
    ImageError
        If the images to be written cannot be read.
    """
    names_of = {c.id: c.name for c in project.settings.classes}
    written: dict[str, dict[str, Path]] = {}
    taken: set[str] = set()
    unread: ImageError | None = None
    for record in choose(project, names, states):
        store = project.labels(record.id)
        if not store.objects():
            continue
        stem = image_id(record.name)
        stem = stem if stem not in taken else f"{stem}-{record.id[:8]}"
        try:
            image = _write_image(project, record, folder, stem)
        except ImageError as error:
            if names:
                raise
            unread = unread or error
            say(f"left out: {error}")
            continue
        taken.add(stem)
        masks = folder / f"{stem}_masks.tif"
        write_labels(masks, store.read_all(), axes=record.label_axes, pixel_size_um=_spatial(record))
        files = {"image": image, "masks": masks}
        if names_of:
            files["classes"] = _write_classes(project, record, masks, names_of)
        written[record.name] = files
    if unread is not None and not written:
        raise unread
    return written


def taught_channels(project: Project, written: Iterable[str]) -> str | None:
    """Return what ``cellbrook train --channels`` takes to know the roles of the project's channels; None without roles.

    Parameters
    ----------
    project : Project
        Any.
    written : iterable of str
        Names of images that `export_training` wrote: with the chosen channels alone, in the order in which they were named.
    """
    if (name := next(iter(written), None)) is None:
        return None
    roles = resolve_channels(project.settings.channels, project.open_image(project.find(name).id)).roles
    return ",".join(f"{role}={i}" if role else str(i) for i, role in enumerate(roles)) if any(roles) else None


def _put_training(project: Project, stage: Path, folder: Path, *, overwrite: bool) -> None:
    """Let files for training take their places, unless something would be lost."""
    manifest, ours = folder / MANIFEST, _written(folder)
    images = {identity(p) for p in (*(project.path(r.id) for r in project.images()), *project.taken_out())}
    files: dict[str, list[str]] = {}
    for path in sorted(stage.iterdir()):
        target, digest = folder / path.name, sha256_of(path)
        if identity(target) in images:
            raise OutputError(f"{target} is an image of the project: give another folder (--out)")
        old = sha256_of(target) if target.exists() else digest
        if not overwrite and old not in (digest, *ours.get(path.name, ())):
            why = (
                "was changed since Cellbrook wrote it"
                if path.name in ours
                else "is there and not Cellbrook's"
            )
            raise OutputError(f"{target} {why}: give {OVERWRITE} to replace it, or another folder (--out)")
        files[path.name] = [digest, old]
    if not files:
        return
    if manifest.exists() and not ours and not overwrite:
        raise OutputError(
            f"{manifest} is not Cellbrook's: give {OVERWRITE} to replace it, or another folder (--out)"
        )
    # it goes first, and knows what is replaced too: of what a killed export leaves, the next one can tell whose it is
    with atomic(manifest) as temporary:
        temporary.write_text(json.dumps({"schema": 1, "files": ours | files}, indent=1), encoding="utf-8")
    for name in files:
        put(stage / name, folder / name)


def _written(folder: Path) -> dict[str, list[str]]:
    """Return the hashes of what exports wrote for training into a folder, by file name."""
    try:
        files: dict[str, list[str]] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return {str(name): list(hashes) for name, hashes in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write_classes(project: Project, record: ImageRecord, masks: Path, names: dict[int, str]) -> Path:
    """Write the classes of labels beside them, under a name of which no table of measurements is."""
    log = project.log(record.id)
    rows = [r for r in log.store.objects() if r.class_id in names]
    if record.state != "done":
        given = log.classified()
        rows = [r for r in rows if r.id in given]
    # an object has a class at each time point, and but one in the planes of one
    classes = {(r.id, record.time_of(r.plane)): names[r.class_id] for r in rows}
    columns: dict[str, Any] = {"label": np.array([i for i, _ in classes], np.int64)}
    if record.time_of(0) is not None:
        columns["t"] = np.array([t for _, t in classes], np.int64)
    columns["class"] = np.array(list(classes.values()), np.str_)
    return objects_csv(masks.with_name(f"{masks.stem}_objects.csv"), ObjectTable(columns))


def _spatial(record: ImageRecord) -> dict[str, float]:
    return {a: v for a, v in record.pixel_size_um.items() if a in record.label_axes}


def _write_image(project: Project, record: ImageRecord, folder: Path, stem: str) -> Path:
    """Copy an image's file where it says all that is needed itself, else write the pixels that are segmented."""
    source = project.open_image(record.id)
    original = project.path(record.id)
    settings = project.settings_of(record.id)
    as_it_is = (settings.channels, settings.axes, settings.z, settings.pixel_size, record.scene) == (
        None,
    ) * 5
    if as_it_is and files_of_image(original) == [original]:
        path = folder / f"{stem}_img{original.suffix}"
        with atomic(path) as target:
            shutil.copyfile(original, target)
        return path
    import tifffile

    image, plan = stack_of(source, settings)
    path = folder / f"{stem}_img.tif"
    axes = f"{record.label_axes[:-2]}C{record.label_axes[-2:]}"
    rgb = source.is_rgb and image.shape[-3] == 3 and len(plan.channels) == 3
    if rgb:
        image, axes = np.moveaxis(image, -3, -1), f"{record.label_axes}S"
    with atomic(path) as target:
        tifffile.imwrite(
            target, image, photometric="rgb" if rgb else "minisblack", metadata={"axes": axes}, ome=True
        )
    return path
