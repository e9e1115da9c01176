"""``cellbrook project``: images, their labels, corrections and the models taught from them, in one folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Group, Parameter

from cellbrook.cli import _console
from cellbrook.cli._common import (
    Json,
    MaskFlags,
    NormalizeFlags,
    Quiet,
    TileFlags,
    print_json,
)
from cellbrook.cli.train import TrainFlags
from cellbrook.core.params import MaskParams, ModelParams, NormalizeParams, SegmentParams, TileParams
from cellbrook.errors import UsageError
from cellbrook.training.params import TrainParams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellbrook.project.images import AddReport
    from cellbrook.project.predict import Prediction
    from cellbrook.project.project import Project

ACTIVE = "active"


@dataclasses.dataclass(frozen=True, slots=True)
class ProjectModelParams(ModelParams):
    """`ModelParams`, but the project says which model; its help is made from theirs."""

    model: str = ACTIVE


ProjectModelParams.__doc__ = (ModelParams.__doc__ or "").replace(
    "Name of a model (see", 'Name of a model of the project, or of any other; "active" is the one in use (see'
)
ProjectModelFlags = Annotated[ProjectModelParams, Parameter(name="*", group=Group("Network", sort_key=1))]

app = App(
    name="project",
    help="Correct and teach in rounds: images, labels, every edit and the models learnt from them, in one folder.",
)

Copy = Annotated[
    bool, Parameter(negative="", help="Copy the images into the project. Else they stay where they are.")
]
State = Literal["new", "predicted", "corrected", "done"]


@app.command
def create(
    folder: Path,
    /,
    *images: str,
    name: str | None = None,
    copy: Copy = False,
    channels: str | None = None,
    axes: str | None = None,
    pixel_size: float | None = None,
    z: str | None = None,
    classes: str | None = None,
    json: Json = False,
) -> int:
    """Make a project, with images if some are given.

    Parameters
    ----------
    folder
        The new project's folder.
    images
        Images, folders, or patterns. They are only read.
    name
        What people call it. [default: the folder's name]
    channels
        Channels to segment, of all images, as in `cellbrook segment`.
    axes
        What the images' dimensions are, such as "CYX". [default: from their metadata]
    pixel_size
        Side of a pixel in micrometres. [default: from the metadata]
    z
        "max" or "mean" projects z-stacks, a number takes that plane. [default: each plane by itself]
    classes
        Names of classes of cells, separated by commas.
    """
    from cellbrook.project import Project

    wishes: dict[str, Any] = {
        "channels": channels,
        "axes": axes,
        "pixel_size": pixel_size,
        "z": z,
        "classes": _classes(classes),
    }
    with Project.create(folder, name=name, **wishes) as project:
        report = project.add(images, copy=copy) if images else None
        return _added(project, report, json=json)


@app.command
def add(
    folder: Path, /, *images: str, copy: Copy = False, scene: str | None = None, json: Json = False
) -> int:
    """Add images to a project. One that is there already is told, not doubled; one that had moved is found again.

    Parameters
    ----------
    folder
        The project.
    images
        Images, folders, or patterns. They are only read.
    scene
        Which scene, of files with several: its number from 0, or its name.
    """
    if not images:
        raise UsageError("no image is given: name images, folders or patterns to add")
    from cellbrook.project import Project

    with Project.open(folder) as project:
        return _added(project, project.add(images, copy=copy, scene=scene), json=json)


@app.command
def status(folder: Path, /, *, json: Json = False) -> int:
    """Show how far each image is, how right the model was on those that are corrected, and the training rounds.

    Works while the project is open elsewhere.

    Parameters
    ----------
    folder
        The project.
    """
    from cellbrook.project import Project
    from cellbrook.project.status import status as status_of

    with Project.open(folder, read_only=True) as project:
        found = status_of(project)
    if json:
        print_json(dataclasses.asdict(found))
        return 0
    counts = ", ".join(f"{n} {state}" for state, n in found.states.items() if n) or "none yet"
    print(f"{found.name}: {len(found.images)} images ({counts}); model {found.model}")
    rows = [("IMAGE", "STATE", "CELLS", "BY HAND", "SCORE", "AP")]
    rows += [
        (i.name, i.state, str(i.objects), str(i.by_hand), _figure(i.score), _figure(i.ap))
        for i in found.images
    ]
    _table(rows) if found.images else print("add images: cellbrook project add", folder, "IMAGES")
    for item in found.rounds:
        before, after = _figure(item.get("ap_before")), _figure(item.get("ap_after"))
        print(
            f"round {item['number']}: {item['model']} from {item['start']}, {item['objects']} cells, AP {before} > {after}"
        )
    for conflict in found.conflicts:
        box = f"{conflict['y0']}:{conflict['y1']}, {conflict['x0']}:{conflict['x1']}"
        print(f"to decide: image {conflict['image']}, plane {conflict['plane']}, {box}: {conflict['reason']}")
    problems = [i.problem for i in found.images if i.problem]
    for problem in problems:
        _console.warn(problem)
    return 1 if problems else 0


@app.command
def predict(
    folder: Path,
    /,
    *images: str,
    again: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    quiet: Quiet = False,
    model_params: ProjectModelFlags = ProjectModelParams(),
    mask_params: MaskFlags = MaskParams(),
    normalize_params: NormalizeFlags = NormalizeParams(),
    tile_params: TileFlags = TileParams(),
) -> int:
    """Find the cells in a project's images. What a person drew, changed or locked stays as it is.

    Parameters
    ----------
    folder
        The project.
    images
        Images by name, id or path. [default: all that nobody has begun to correct]
    again
        Also images that were predicted with the same model and options.
    """
    from cellbrook.project import Project
    from cellbrook.project.predict import predict as run

    params = SegmentParams(
        model_params=model_params,
        mask_params=mask_params,
        normalize_params=normalize_params,
        tile_params=tile_params,
    )
    keywords = params.to_keywords()
    for inherited in ("axes", "channels", "pixel_size", "scene", "z"):  # the project says these
        del keywords[inherited]
    if keywords["model"] == ACTIVE:
        del keywords["model"]
    progress = _console.ConsoleProgress(quiet=quiet or json)

    def each(outcome: Prediction) -> None:
        progress.clear()
        if not json:
            _say_prediction(outcome)

    with Project.open(folder) as project:
        try:
            done = run(project, images, again=again, progress=progress, each=each, **keywords)
        finally:
            progress.clear()
    if json:
        print_json([dataclasses.asdict(d) for d in done])
    elif not done:
        _console.note(
            "no open image: name images to predict them although somebody has begun to correct them"
        )
    return 1 if any(d.status == "failed" for d in done) else 0


@app.command
def suggest(folder: Path, /, *, count: int = 5, json: Json = False, quiet: Quiet = False) -> int:
    """Say which images to correct next, and where to begin: those that teach the model most.

    Parameters
    ----------
    folder
        The project; best after `predict`.
    count
        How many at most.
    """
    from cellbrook.project import Project
    from cellbrook.project.suggest import as_dict
    from cellbrook.project.suggest import suggest as suggestions

    progress = _console.ConsoleProgress(quiet=quiet or json)
    with Project.open(folder, read_only=True) as project:
        try:
            found = suggestions(project, count, progress=progress)
        finally:
            progress.clear()
    if json:
        print_json([as_dict(s) for s in found])
        return 0
    for number, item in enumerate(found, 1):
        _, y0, x0, y1, x1 = item.region
        plane = f", plane {item.region[0]}" if item.region[0] else ""
        print(f"{number}. {item.name}  (begin at rows {y0}-{y1}, columns {x0}-{x1}{plane})")
        print(f"   {item.reason}")
    return 0


@app.command
def train(
    folder: Path,
    /,
    *,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    name: str | None = None,
    only_done: Annotated[bool, Parameter(negative="")] = False,
    keep_active: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    quiet: Quiet = False,
    params: TrainFlags = TrainParams(),
) -> int:
    """Teach a model what was corrected in a project, and use it from then on if it is better than before.

    Parameters
    ----------
    folder
        The project.
    from_
        Model to start from. [default: the general model that the active one descends from]
    name
        Of the new model. [default: the project's name and the number of the round]
    only_done
        Learn from images that are done, not from those that are only begun.
    keep_active
        Leave the active model as it is.
    """
    from cellbrook.project import Project
    from cellbrook.project.exchange import TAUGHT
    from cellbrook.project.teach import train_round

    progress = _console.ConsoleProgress(quiet=quiet or json)

    def say(line: str) -> None:
        progress.clear()
        _console.note(line, quiet=quiet or json)

    with Project.open(folder) as project:
        try:
            done = train_round(
                project,
                start=from_,
                name=name,
                states=("done",) if only_done else TAUGHT,
                params=params,
                activate=not keep_active,
                progress=progress,
                say=say,
            )
        except ImportError as error:
            raise UsageError(
                f'training needs PyTorch and onnx ({error}): pip install "cellbrook[train]"'
            ) from error
        finally:
            progress.clear()
        active = project.settings.model
    if json:
        print_json(
            {"round": done.number, "model": done.model, "activated": done.activated, **done.report.to_dict()}
        )
        return 0
    print("\n".join(done.report.lines()))
    if done.activated:
        print(f"round {done.number}: {done.model} predicts from now on; `cellbrook project predict {folder}`")
    else:
        print(f"round {done.number}: {done.model} is kept but not used; {active} still predicts")
    return 0


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
    if json:
        print_json({"model": model, "before": before})
    else:
        print(f"{model} predicts from now on; before it was {before}")
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
    if json:
        print_json([{"name": r.name, "state": state} for r in records])
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
        What to write, separated by commas: training, labels, overlay, objects, run, color, rois, geojson, coco, seg, zarr.
        "training" is NAME_img and NAME_masks of the corrected images. [default: labels,overlay,objects]
    overwrite
        Replace files also where they were changed by hand.
    """
    from cellbrook.project import Project
    from cellbrook.project.exchange import export_project

    kinds = [k.strip() for item in save for k in item.split(",") if k.strip()]
    with Project.open(folder, read_only=True) as project:
        written = export_project(project, out, kinds=kinds, names=images, overwrite=overwrite)
    if json:
        print_json({name: {kind: str(p) for kind, p in files.items()} for name, files in written.items()})
    else:
        for name, files in written.items():
            print(f"{name}: {', '.join(p.name for p in files.values())}")
    return 0


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
        Label images, ImageJ ROIs (.zip), GeoJSON, _seg.npy, or folders of them; x_labels.tif belongs to image x.
    image
        The image that a single file belongs to. [default: by the file's name]
    done
        The images are finished then.
    """
    if not labels:
        raise UsageError("no labels are given: name files or a folder")
    from cellbrook.project import Project
    from cellbrook.project.exchange import import_labels

    with Project.open(folder) as project:
        results = import_labels(project, labels, image=image, done=done)
        counts = {r.image: len({o.id for o in project.labels(r.image).objects()}) for r in results if r.image}
    if json:
        print_json(
            [
                {"path": r.path, "image": r.name, "objects": counts.get(r.image or ""), "error": r.error}
                for r in results
            ]
        )
    for r in results:
        if r.error is not None:
            _console.error(r.error)
        elif not json:
            print(f"{r.name}: {counts[r.image or '']} cells from {r.path.name}")
    return 1 if any(r.error is not None for r in results) else 0


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
    if json:
        print_json(dataclasses.asdict(report))
        return 0
    print(
        f"{report.taken} changes taken over, {report.same} were here already, {report.kept} left to what a person did here;"
        f" {len(report.images_added)} new images"
    )
    for note in report.notes:
        _console.note(note)
    for c in report.conflicts:
        print(f"to decide: {c.name}, rows {c.box[1]}-{c.box[3]}, columns {c.box[2]}-{c.box[4]}: {c.reason}")
    return 0


def _classes(names: str | None) -> tuple[Any, ...]:
    from cellbrook.core.colors import label_colors
    from cellbrook.project import ClassInfo

    given = [n.strip() for n in (names or "").split(",") if n.strip()]
    colors = label_colors(len(given)).tolist()[1:]
    return tuple(
        ClassInfo(i, n, "#" + bytes(int(v) for v in c).hex())
        for i, (n, c) in enumerate(zip(given, colors, strict=True), 1)
    )


def _added(project: Project, report: AddReport | None, *, json: bool) -> int:
    added = [] if report is None else report.added
    already = [] if report is None else report.already
    again = [] if report is None else report.found_again
    failed = [] if report is None else report.failed
    if json:
        print_json(
            {
                "project": project.folder,
                "added": [{"id": r.id, "name": r.name, "axes": r.axes, "shape": r.shape} for r in added],
                "already": [{"path": p, "name": r.name} for p, r in already],
                "found_again": [{"path": p, "name": r.name} for p, r in again],
                "failed": [{"path": p, "error": why} for p, why in failed],
            }
        )
    else:
        for path, record in already:
            what = "found again" if (path, record) in again else "is there already"
            _console.note(f"{path}: {what}, as {record.name}")
        print(f"{project.name}: {len(added)} images added, {len(project.images())} in all")
        if added:
            print(f"next: cellbrook project predict {project.folder}")
    for _, why in failed:
        _console.error(why)
    return 1 if failed else 0


def _say_prediction(outcome: Prediction) -> None:
    if outcome.status == "failed":
        _console.error(f"{outcome.name}: {outcome.error}")
    elif outcome.status == "skipped":
        print(f"{outcome.name}: {outcome.objects} cells, predicted before with this model")
    else:
        kept = f", {outcome.kept} of them by hand" if outcome.kept else ""
        print(f"{outcome.name}: {outcome.objects} cells{kept} ({outcome.seconds:.1f} s)")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print(
            "  ".join(
                c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
            )
        )
