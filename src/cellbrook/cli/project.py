"""``cellbrook project``: images, their labels, corrections and the models taught from them, in one folder."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from cellbrook.cli import _console
from cellbrook.cli._common import Json, answer
from cellbrook.cli._project_again import again
from cellbrook.cli._project_models import predict, suggest, train
from cellbrook.errors import CellbrookError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cellbrook.project.images import AddReport
    from cellbrook.project.merge import MergeReport
    from cellbrook.project.project import Project
    from cellbrook.project.status import ProjectStatus

app = App(
    name="project",
    help="Correct and teach in rounds: images, labels, every edit and the models learnt from them, in one folder.",
)

for _command in (predict, suggest, train, again):
    app.command(_command)

Copy = Annotated[
    bool, Parameter(negative="", help="Copy the images into the project. Else they stay where they are.")
]
Scene = Annotated[
    str | None,
    Parameter(
        help='Which scene, of files with several: its number from 0, or its name. Default: "all", each as an image.'
    ),
]
State = Literal["new", "predicted", "corrected", "done"]


@dataclass(frozen=True, slots=True)
class ForAll:
    """What holds for all images of a project.

    Parameters
    ----------
    name
        What people call it; at first the folder's name.
    channels
        Channels to segment, as in `cellbrook segment`; "auto": all.
    axes
        What the images' dimensions are, such as "CYX"; "auto": from their metadata. It stays once there are images.
    pixel_size
        Side of a pixel in micrometres; "auto": from the metadata.
    z
        "max" or "mean" projects z-stacks, a number takes that plane; "auto": each plane by itself. It stays once there are
        images.
    """

    name: str | None = None
    channels: str | None = None
    axes: str | None = None
    pixel_size: float | Literal["auto"] | None = None
    z: str | None = None

    def given(self) -> dict[str, Any]:
        """Return what was given, None for "auto"."""
        given = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        return {
            name: None if value == "auto" and name != "name" else value
            for name, value in given
            if value is not None
        }


ForAllFlags = Annotated[ForAll, Parameter(name="*")]


@app.command
def create(
    folder: Path,
    /,
    *images: str,
    copy: Copy = False,
    classes: str | None = None,
    scene: Scene = None,
    json: Json = False,
    for_all: ForAllFlags = ForAll(),
) -> int:
    """Make a project, with images if some are given; where none of them can be added, none is made.

    Parameters
    ----------
    folder
        The new project's folder.
    images
        Images, folders, or patterns. They are only read.
    classes
        Names of classes of cells, separated by commas.
    """
    from cellbrook.project import Project
    from cellbrook.project.project import unmake

    wishes = {**for_all.given(), "classes": _classes(classes)}
    there, kept = folder.exists(), True
    try:
        with Project.create(folder, **wishes) as project:
            try:
                report = _add(project, images, copy, scene, quiet=json) if images else None
                return _added(project, report, json=json)
            finally:
                kept = not images or bool(project.images())
    finally:
        if not kept:
            unmake(folder, whole=not there)


@app.command(name="set")
def settings(
    folder: Path,
    /,
    *,
    json: Json = False,
    for_all: ForAllFlags = ForAll(),
) -> int:
    """Change what holds for all images of a project, and show it.

    Parameters
    ----------
    folder
        The project.
    """
    from cellbrook.project import Project

    changes = for_all.given()
    with Project.open(folder, read_only=not changes) as project:
        if changes:
            project.save_settings(**changes)
        shown = {f.name: getattr(project.settings, f.name) for f in dataclasses.fields(ForAll)}
    answer((f"{key}: {'auto' if value is None else value}" for key, value in shown.items()), shown, json=json)
    return 0


@app.command
def add(folder: Path, /, *images: str, copy: Copy = False, scene: Scene = None, json: Json = False) -> int:
    """Add images to a project. One that is there already is told, not doubled; one that had moved is found again.

    Parameters
    ----------
    folder
        The project.
    images
        Images, folders, or patterns. They are only read.
    """
    if not images:
        raise UsageError("no image is given: name images, folders or patterns to add")
    from cellbrook.project import Project

    with Project.open(folder) as project:
        return _added(project, _add(project, images, copy, scene, quiet=json), json=json)


def _add(project: Project, images: Sequence[str], copy: bool, scene: str | None, *, quiet: bool) -> AddReport:
    progress = _console.ConsoleProgress(quiet=quiet)
    try:
        return project.add(images, copy=copy, scene=scene, progress=progress)
    finally:
        progress.clear()


@app.command
def status(folder: Path, /, *, json: Json = False) -> int:
    """Show how far each image is, how right the model was on those that are corrected, and the training rounds.

    Works while the project is open elsewhere. Ends with 1 if the file of an image is gone or was changed.

    Parameters
    ----------
    folder
        The project.
    """
    from cellbrook.project import Project
    from cellbrook.project.status import status as status_of

    with Project.open(folder, read_only=True) as project:
        found = status_of(project)
    answer(_standing(found, folder), dataclasses.asdict(found), json=json)
    problems = [i.problem for i in found.images if i.problem]
    if not json:
        for problem in problems:
            _console.warn(problem)
    return 1 if problems else 0


def _standing(found: ProjectStatus, folder: Path) -> Iterator[str]:
    counts = ", ".join(f"{n} {state}" for state, n in found.states.items() if n) or "none yet"
    yield (f"{found.name}: {len(found.images)} images ({counts}); model {found.model}")
    rows = [("IMAGE", "STATE", "CELLS", "BY HAND", "SCORE", "AP")]
    rows += [
        (i.name, i.state, str(i.objects), str(i.by_hand), _figure(i.score), _figure(i.ap))
        for i in found.images
    ]
    yield from (
        _table(rows)
        if found.images
        else [f"add images: cellbrook project add {shlex.quote(str(folder))} IMAGES"]
    )
    for item in found.rounds:
        before, after = _figure(item.get("ap_before")), _figure(item.get("ap_after"))
        yield (
            f"round {item['number']}: {item['model']} from {item['start']}, {item['objects']} cells, AP {before} > {after}"
        )
    for conflict in found.conflicts:
        box = f"{conflict['y0']}:{conflict['y1']}, {conflict['x0']}:{conflict['x1']}"
        yield (
            f"to decide: image {conflict['image']}, plane {conflict['plane']}, {box}: {conflict['reason']}"
        )


@app.command
def activate(folder: Path, model: str, /, *, json: Json = False) -> int:
    """Choose the model that predicts: one that was taught in the project, or any other.

    Parameters
    ----------
    folder
        The project.
    model
        Its name; see `cellbrook project status` and `cellbrook models list`.
    """
    from cellbrook.project import Project
    from cellbrook.project.models import activate_model

    with Project.open(folder) as project:
        before = activate_model(project, model)
    answer(
        [f"{model} predicts from now on; before it was {before}"],
        {"model": model, "before": before},
        json=json,
    )
    return 0


@app.command
def mark(folder: Path, /, *images: str, state: State = "done", json: Json = False) -> int:
    """Say how far images are, such as that they are done.

    Parameters
    ----------
    folder
        The project.
    images
        Images by name, id or path.
    state
        new, predicted, corrected or done.
    """
    if not images:
        raise UsageError("no image is given: name those that are done")
    from cellbrook.project import Project

    with Project.open(folder) as project:
        records = [project.find(i) for i in images]
        for record in records:
            project.set_state(record.id, state)
    answer([], [{"name": r.name, "state": state} for r in records], json=json)
    return 0


@app.command
def export(
    folder: Path,
    /,
    *images: str,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    save: Annotated[tuple[str, ...], Parameter(show_default=False)] = ("labels", "overlay", "objects"),
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Write a project's labels for other programs, or its corrected images for training elsewhere.

    Parameters
    ----------
    folder
        The project.
    images
        Images by name, id or path. [default: all that have labels]
    out
        Folder for the files, made if needed.
    save
        What to write, separated by commas: training, labels, overlay, objects, run, color, rois, geojson, coco, seg, zarr,
        ctc; of images with regions, "regions" (what is in each) and "region_outlines" (GeoJSON).
        "training" is NAME_img and NAME_masks of the corrected images. [default: labels,overlay,objects]
    overwrite
        Replace files also where they were changed by hand; of training, never an image of the project.
    """
    from cellbrook.project import Project
    from cellbrook.project.exchange import TRAINING, export_project, taught_channels

    kinds = [k.strip() for item in save for k in item.split(",") if k.strip()]
    left: list[str] = []
    with Project.open(folder, read_only=True) as project:
        progress = _console.ConsoleProgress(quiet=json)
        try:
            written = export_project(
                project,
                out,
                kinds=kinds,
                names=images,
                overwrite=overwrite,
                say=left.append,
                progress=progress,
            )
        finally:
            progress.clear()
        channels = taught_channels(project, written) if TRAINING in kinds else None
    lines = (f"{name}: {', '.join(p.name for p in files.values())}" for name, files in written.items())
    answer(lines, written, json=json)
    if channels is not None:
        note = f"their channels have roles: cellbrook train {shlex.quote(str(out))} --channels {channels}"
        _console.note(note, quiet=json)
    for line in dict.fromkeys(left):
        _console.error(line)
    return 1 if left else 0


@app.command(name="import")
def import_(
    folder: Path,
    /,
    *labels: Path,
    image: str | None = None,
    done: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Take over labels that were corrected with any tool. They count as made by hand; no model run changes them.

    Parameters
    ----------
    folder
        The project.
    labels
        Label images, ImageJ ROIs (.zip), GeoJSON, COCO, _seg.npy, OME-Zarr, or folders of them; x_labels.tif belongs to
        image x, of several of that name to the one beside which it lies.
    image
        The image that a single file belongs to. [default: by the file's name]
    done
        The images are finished then.
    """
    if not labels:
        raise UsageError("no labels are given: name files or a folder")
    from cellbrook.project import Project
    from cellbrook.project.corrections import import_labels

    with Project.open(folder) as project:
        say = partial(_console.note, quiet=json)
        results = import_labels(project, labels, image=image, done=done, say=say)
        counts = {r.image: len({o.id for o in project.labels(r.image).objects()}) for r in results if r.image}
    for r in results:
        if r.error is not None:
            _console.error(r.error)
    cells = [(r, counts.get(r.image or "")) for r in results]
    answer(
        (f"{r.name}: {n} cells from {r.path.name}" for r, n in cells if r.error is None),
        [{"path": r.path, "image": r.name, "objects": n, "error": r.error} for r, n in cells],
        json=json,
    )
    return 1 if any(r.error is not None for r in results) else 0


@app.command
def regions(
    folder: Path,
    /,
    *files: Path,
    image: str | None = None,
    json: Json = False,
) -> int:
    """Bring regions in that were drawn with any tool, or show how many cells lie in each.

    Parameters
    ----------
    folder
        The project.
    files
        GeoJSON (QuPath), ImageJ ROIs, or an image of the regions' numbers; x_regions.geojson belongs to image x. Or a
        folder of such files. Without any, the regions that are drawn are shown, with what is in them.
    image
        The image that a single file belongs to. [default: by the file's name]
    """
    from cellbrook.project import Project
    from cellbrook.project.regions import count_in_regions, import_regions

    if not files and image is not None:
        raise UsageError("--image says which image a file belongs to: name a file of regions")
    with Project.open(folder, read_only=not files) as project:
        brought, failed = [], []
        for file in files:
            try:
                brought += import_regions(project, file, image)
            except CellbrookError as error:  # the others are not to wait for it
                failed.append(str(error))
        images = dict.fromkeys(r.id for r, *_ in brought) if files else [r.id for r in project.own_images()]
        rows = [
            {"image": record.name, **row}
            for record in map(project.image, images)
            for row in count_in_regions(project, record)
        ]
    for record, found, left in brought:
        _console.note(f"{record.name}: {len({r.name for r in found})} regions came in", quiet=json)
        if left:
            some = ", ".join(dict.fromkeys(left))
            _console.warn(f"{record.name}: left out, as outside of the image or of too many corners: {some}")
    columns = ("image", "region", "t", "z", "objects", "area_px", "objects_per_mm2", "covered")
    names = [n for n in columns if any(n in r for r in rows)]
    lines = [tuple(n.upper() for n in names)]
    lines += [tuple(_cell(row.get(n, "-")) for n in names) for row in rows]
    answer(_table(lines) if rows else ["no regions are drawn"], rows, json=json)
    for text in failed:
        _console.error(text)
    return 1 if failed else 0


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@app.command
def merge(folder: Path, other: Path, /, *, json: Json = False) -> int:
    """Take over what another copy of the project has that this one has not, object by object.

    Where both copies changed a cell by hand, this one's version stays and the place is listed by `status`.

    Parameters
    ----------
    folder
        The project that is added to.
    other
        The other copy, which is only read.
    """
    from cellbrook.project import Project
    from cellbrook.project.merge import merge_projects

    with Project.open(folder) as project:
        report = merge_projects(project, other)
    answer(_merged(report), dataclasses.asdict(report), json=json)
    for note in () if json else report.notes:
        _console.note(note)
    return 0


def _merged(report: MergeReport) -> Iterator[str]:
    yield (
        f"{report.taken} changes taken over, {report.same} were here already, {report.kept} left to what a person did here;"
        f" {len(report.images_added)} new images"
    )
    for c in report.conflicts:
        yield f"to decide: {c.name}, rows {c.box[1]}-{c.box[3]}, columns {c.box[2]}-{c.box[4]}: {c.reason}"


def _classes(names: str | None) -> tuple[Any, ...]:
    from cellbrook.project.settings import with_classes

    return with_classes((), [n.strip() for n in (names or "").split(",") if n.strip()])


def _added(project: Project, report: AddReport | None, *, json: bool) -> int:
    added = [] if report is None else report.added
    already = [] if report is None else report.already
    again = [] if report is None else report.found_again
    failed = [] if report is None else report.failed
    if not json:
        for path, record in already:
            what = "found again" if (path, record) in again else "is there already"
            _console.note(f"{path}: {what}, as {record.name}")
    lines = [f"{project.name}: {len(added)} images added, {len(project.images())} in all"]
    if added:
        lines.append(f"next: cellbrook project predict {shlex.quote(str(project.folder))}")
    document = {
        "project": project.folder,
        "added": [{"id": r.id, "name": r.name, "axes": r.axes, "shape": r.shape} for r in added],
        "already": [{"path": p, "name": r.name} for p, r in already],
        "found_again": [{"path": p, "name": r.name} for p, r in again],
        "failed": [{"path": p, "error": why} for p, why in failed],
    }
    answer(lines, document, json=json)
    for _, why in failed:
        _console.error(why)
    from cellbrook.project.settings import advice

    for line in advice(project.folder, (why for _, why in failed)):
        _console.note(line)
    return 1 if failed else 0


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield "  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(cells))
