"""Segmenting the images of a project: results become edits that can be undone, and never cover a person's work."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.objects import concatenate
from cellbrook.core.params import MaskParams, SegmentParams
from cellbrook.core.progress import NoProgress
from cellbrook.dynamics import labels_from_flows, settled
from cellbrook.errors import Cancelled, CellbrookError, ImageError, ProjectError, UsageError
from cellbrook.io.atomic import atomic, remove
from cellbrook.project.classes import with_class_ids
from cellbrook.project.models import find_model, model_of_run
from cellbrook.project.ops import MODEL_RUNS, Replace
from cellbrook.project.project import choose
from cellbrook.project.second_looks import own_params
from cellbrook.provenance import recipe_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cellbrook.core.objects import ObjectTable
    from cellbrook.core.progress import Progress
    from cellbrook.core.result import NetworkOutput, SegmentationData
    from cellbrook.engines.base import Engine
    from cellbrook.io.source import Source
    from cellbrook.networks.store import ResolvedModel
    from cellbrook.project.images import ImageRecord
    from cellbrook.project.oplog import Applied
    from cellbrook.project.project import Project


OPEN_STATES = ("new", "predicted")
"""What is predicted if no image is named: a person has not begun on it."""

_MASK_NAMES = tuple(f.name for f in dataclasses.fields(MaskParams))


@dataclass(frozen=True, slots=True)
class Prediction:
    """What became of one image.

    Parameters
    ----------
    image, name : str
        Which one.
    status : {"done", "skipped", "failed"}
        "skipped": it was predicted with this model and these settings before.
    objects : int
        In it now, a person's included.
    kept : int
        Of them, those that are protected from models.
    rev : int
        Revision.
    seconds : float
        Wall time.
    error : str or None
        Of a failed one, in one line.
    """

    image: str
    name: str
    status: str
    objects: int
    kept: int
    rev: int
    seconds: float
    error: str | None = None


def predict(
    project: Project,
    names: Sequence[str] = (),
    *,
    again: bool = False,
    cache: bool = True,
    progress: Progress | None = None,
    each: Callable[[Prediction], None] | None = None,
    **keywords: Any,
) -> list[Prediction]:
    """Segment images of a project with its active model.

    Parameters
    ----------
    project : Project
        Open for writing.
    names : sequence of str
        Images by id, name or path. Empty: all that no person has begun to correct.
    again : bool
        Also those that were predicted with the same model and settings.
    cache : bool
        Keep flows and cellprob, for other thresholds and for `suggest` (6 bytes a pixel; of an image's last two runs).
    progress : Progress or None
        Told of tiles; may cancel, and images that are finished stay so.
    each : callable or None
        Is given every image's outcome as it comes.
    **keywords
        Parameters of `cellbrook.core.params`, such as ``diameter=30``; ``model`` by its name in the project;
        ``volume`` holds for the z-stacks among the images.

    Returns
    -------
    list of Prediction
        One image that fails does not stop the others.

    Raises
    ------
    UsageError
        If a parameter or a name is unknown.
    ModelError
        If the model cannot be used.
    Cancelled
        If `progress` says so.
    """
    from cellbrook import engines

    records = choose(project, names, OPEN_STATES)
    model = find_model(project, keywords.pop("model", None))
    params = project_params(project, **keywords)
    wishes = params.model_params
    engine: Engine | None = None
    done: list[Prediction] = []
    for record in records:
        began = time.monotonic()
        own = dataclasses.replace(
            params.input_params, **params_of(project.folder, record, params.to_keywords())
        )
        wanted = dataclasses.replace(params, input_params=own)
        recipe = _recipe(record, model, wanted)
        if record.run == recipe and _stands(project, record) and not again:
            outcome = _outcome(project, record, "skipped", began)
        else:
            if engine is None:
                engine = engines.create(
                    model,
                    engine=wishes.engine,
                    device=wishes.device,
                    precision=wishes.precision,
                    threads=wishes.threads,
                )
            try:
                data = _segment(project, record, model, engine, wanted, progress or NoProgress())
                if cache and data.output is not None:
                    write_cache(project, record, recipe, data, score=model.card.spec.score)
                land(project, record, data.labels, data.objects, run=recipe)
                outcome = _outcome(project, record, "done", began)
            except (Cancelled, MemoryError):
                raise
            except CellbrookError as error:
                outcome = _outcome(project, record, "failed", began, str(error))
        done.append(outcome)
        if each is not None:
            each(outcome)
    return done


def project_params(project: Project, **keywords: Any) -> SegmentParams:
    """Return parameters of a segmentation, the project's settings filled in where nothing else is said."""
    settings = project.settings
    own = {
        "channels": settings.channels,
        "axes": settings.axes,
        "pixel_size": settings.pixel_size,
        "z": settings.z,
    }
    said = {k: v for k, v in keywords.items() if v is not None or k not in own}
    for name in ("axes", "pixel_size", "z"):
        if said.get(name, own[name]) != own[name]:
            raise UsageError(
                f"{name} belongs to the whole project: change it in project.toml, or make another project"
            )
    params = SegmentParams.from_keywords(**{**{k: v for k, v in own.items() if v is not None}, **said})
    if params.input_params.track:
        raise UsageError(
            "a project does not hold who is whose daughter: follow objects through time with cellbrook segment --track"
        )
    return params


def params_of(folder: Path, record: ImageRecord, keywords: dict[str, Any]) -> dict[str, Any]:
    """Return what holds for one image whatever all are asked: second looks say themselves; no volume without a z-stack."""
    own = own_params(folder, record.id)
    if keywords.get("volume") and "Z" not in record.label_axes:
        own |= {"volume": False, "anisotropy": None}
    return own


def land(
    project: Project,
    record: ImageRecord,
    labels: NDArray[Any],
    objects: ObjectTable | None,
    *,
    run: dict[str, Any] | None = None,
    user: str = "me",
    kind: str = "predict",
) -> Applied:
    """Put a model's result into the labels of the image that it was made of.

    Parameters
    ----------
    project : Project
        Where it belongs.
    record : ImageRecord
        The image as it was when the run started.
    labels : ndarray
        With the axes of the image's labels.
    objects : ObjectTable or None
        Of the run. Names of classes that the project lacks are added to it; a class that a person gave stays.
    run : dict or None
        What it was made with.
    user, kind : str
        Whose undo takes it back, and what the log calls it.

    Raises
    ------
    ProjectError
        If the image is not in the project any more, or another picture has taken its place.
    """
    now = next((r for r in project.images() if r.id == record.id), None)
    if now is None or now.sha256 != record.sha256 or (problem := project.problem(record.id)):
        why = "it was taken out of the project" if now is None else problem
        raise ProjectError(f"{record.name}: the result is thrown away, since {why}")
    store = project.labels(record.id)
    stack = np.asarray(labels).reshape(-1, *labels.shape[-2:])
    objects = None if objects is None else with_class_ids(project, objects)
    op = Replace(stack, objects, planes=tuple(range(store.planes)), kind=kind)
    applied = project.log(record.id).apply(op, user=user, run=run)
    if run is not None and kind != "rethreshold":  # which has no output of its own
        _prune_cache(project, record.id)
    return applied


def rethreshold(
    project: Project, name: str, params: MaskParams | None = None, *, threads: int | None = None
) -> Applied:
    """Make labels anew from the cached output of the network, with other thresholds.

    Parameters
    ----------
    project : Project
        Open for writing.
    name : str
        Id, name or path of the image.
    params : MaskParams or None
        None: the defaults.
    threads : int or None
        Processor threads. None: the cores this process may use.

    Raises
    ------
    UsageError
        If nothing is cached for the image: it has to be predicted first.
    """
    record = project.find(name)
    run = dict(record.run or {})
    weights = calibration(cache_folder(project, run))
    params = settled(params or MaskParams(), weights)
    flows, cellprob = read_cache(project, record)
    tell = None
    with contextlib.suppress(ImageError):  # without the image nobody tells classes
        if (known := model_of_run(project, run)) is not None:
            model, source = find_model(project, known), project.open_image(record.id)
            tell = teller(model, source, run["parameters"], threads)
    labels, objects = labels_anew(
        flows,
        cellprob,
        params,
        weights,
        flow_z=read_flow_z(cache_folder(project, run)),
        tell=tell,
        threads=threads,
    )
    run["parameters"] = {**run.get("parameters", {}), **dataclasses.asdict(params)}
    return land(project, record, labels, objects, run=run, kind="rethreshold")


def labels_anew(
    flows: NDArray[Any],
    cellprob: NDArray[Any],
    params: MaskParams,
    weights: tuple[float, ...],
    *,
    flow_z: NDArray[Any] | None = None,
    tell: Callable[[NDArray[np.uint32], ObjectTable], ObjectTable] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[NDArray[np.uint32], ObjectTable]:
    """Make labels from a network's output that was kept.

    Parameters
    ----------
    flows, cellprob : ndarray of shape (P, 2, Y, X) and (P, Y, X)
        Of all planes.
    params : MaskParams
        Settled.
    weights : tuple of float
        The model's calibration of scores.
    flow_z : ndarray of shape (V, Z, Y, X) or None
        Of objects found in 3-D: the third component of the flows of each volume. None: planes by themselves.
    tell : callable or None
        Adds classes to a plane's table, from its labels; see `teller`.
    threads : int or None
        Processor threads. None: the cores this process may use.
    progress : Progress or None
        Told of planes; may cancel.

    Returns
    -------
    labels : ndarray of shape (P, Y, X), uint32
        All planes share one numbering.
    objects : ObjectTable
    """
    progress = progress or NoProgress()
    looks = len(cellprob) if flow_z is None else len(flow_z)
    progress.start("finding cells", looks)
    tables, planes, count = [], [], 0
    for at in range(looks):
        progress.check_cancelled()
        if flow_z is None:
            flow, logits = flows[at], cellprob[at]
        else:
            flow, logits = volume_flows(flows, flow_z, at), cellprob.reshape(flow_z.shape)[at]
        labels, table = labels_from_flows(
            flow.astype(np.float32), logits.astype(np.float32), params, score_weights=weights, threads=threads
        )
        if tell is not None:
            table = tell(labels, table)
        labels[labels > 0] += np.uint32(count)
        tables.append(table.with_columns(label=table["label"] + np.uint32(count)))
        planes.append(labels.reshape(-1, *labels.shape[-2:]))
        count += len(table)
        progress.advance()
    return np.concatenate(planes), concatenate(tables)


def teller(
    model: ResolvedModel, source: Source, parameters: dict[str, Any], threads: int | None = None
) -> Callable[[NDArray[np.uint32], ObjectTable], ObjectTable] | None:
    """Return what adds the classes that a model tells to the tables of an image's planes, one after the other.

    Objects in 3-D have none.

    Parameters
    ----------
    model : ResolvedModel
        None is returned if it tells no classes.
    source : Source
        The image.
    parameters : dict
        Of the run that found the objects.
    threads : int or None
        Processor threads. None: the cores this process may use.
    """
    if "classes" not in model.paths or parameters.get("volume"):
        return None
    from cellbrook import pipeline
    from cellbrook.core.report import Report
    from cellbrook.core.threads import resolve_threads
    from cellbrook.measure.classify import ObjectClassifier, channels_of

    classifier = ObjectClassifier.load(model.paths["classes"])
    plan = pipeline.resolve(source, model, SegmentParams.from_keywords(**parameters))
    # of all planes together: a black one among colour has its colours too
    coloured = max(channels_of(pixels) for _, pixels in pipeline.read_planes(source, plan))
    planes = pipeline.read_planes(source, plan)

    def tell(labels: NDArray[np.uint32], table: ObjectTable) -> ObjectTable:
        _, pixels = next(planes)
        return pipeline.classified(
            table, labels, pixels, classifier, Report(), resolve_threads(threads), channels=coloured
        )

    return tell


def cache_folder(project: Project, run: dict[str, Any]) -> Path:
    """Return where the network's output of a run is kept: one folder for all thresholds."""
    parameters = {k: v for k, v in run.get("parameters", {}).items() if k not in _MASK_NAMES}
    key = hashlib.sha256(json.dumps({**run, "parameters": parameters}, sort_keys=True).encode()).hexdigest()
    return project.folder / "cache" / key[:24]


def _prune_cache(project: Project, image: str) -> None:
    """Remove what the network gave of an image in all runs but the last, and the one before, to which undo leads back."""
    rows = project.database.query(
        "SELECT after, before FROM runs WHERE image = ? ORDER BY rev DESC", (image,)
    )
    runs = [project.image(image).run, *(json.loads(run) for row in rows for run in row if run)]
    for folder in list(dict.fromkeys(cache_folder(project, run) for run in runs if run))[2:]:
        remove(folder)


def write_cache(
    project: Project,
    record: ImageRecord,
    run: dict[str, Any],
    data: SegmentationData,
    *,
    score: tuple[float, ...] | None = None,
) -> None:
    """Keep flows and cellprob as float16, with the model's calibration of scores; may be deleted at any time."""
    assert data.output is not None
    with atomic(cache_folder(project, run)) as folder:
        write_output(folder, record.id, run, data.output, score=score)


def write_output(
    folder: Path,
    image: str,
    run: dict[str, Any],
    output: NetworkOutput,
    *,
    score: tuple[float, ...] | None = None,
) -> None:
    """Write the network's output of a run into a new folder, by planes; of objects in 3-D, flows through them beside it.

    Parameters
    ----------
    folder : Path
        Is made.
    image : str
        Id of the image.
    run : dict
        What it was made with.
    output : NetworkOutput
        Of all planes, or volumes.
    score : tuple of float or None
        The model's calibration of scores.
    """
    folder.mkdir(parents=True)
    flows, shape = output.flows, output.cellprob.shape[-2:]
    if run["parameters"].get("volume"):
        depth = output.cellprob.shape[-3]
        through = flows.reshape(-1, 3, depth, *shape)
        np.save(folder / "flow_z.npy", through[:, 0].astype(np.float16))
        flows = np.moveaxis(through[:, 1:], 1, 2)
    np.save(folder / "flows.npy", flows.reshape(-1, 2, *shape).astype(np.float16))
    logits = np.clip(output.cellprob.reshape(-1, *shape), -6e4, 6e4)
    np.save(folder / "cellprob.npy", logits.astype(np.float16))
    facts = {"image": image, "run": run, "diameter_px": output.diameter_px, "score": list(score or ())}
    (folder / "about.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def calibration(cache: Path) -> tuple[float, ...]:
    """Return what the model whose output lies in a folder says of the score of its objects."""
    try:
        facts = json.loads((cache / "about.json").read_text(encoding="utf-8"))
        return tuple(float(v) for v in facts["score"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def read_cache(project: Project, record: ImageRecord) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """Return flows (P, 2, Y, X) and cellprob (P, Y, X) of an image's last run, float16, read as they are needed.

    Raises
    ------
    UsageError
        If they are not there.
    """
    missing = UsageError(
        f"{record.name}: no flows are cached: run `cellbrook project predict --again` on it first"
    )
    if record.run is None:
        raise missing
    folder = cache_folder(project, record.run)
    try:
        flows = np.load(folder / "flows.npy", mmap_mode="r")
        cellprob = np.load(folder / "cellprob.npy", mmap_mode="r")
    except (OSError, ValueError):
        raise missing from None
    if cellprob.shape[1:] != (record.height, record.width) or flows.shape != (
        len(cellprob),
        2,
        *cellprob.shape[1:],
    ):
        raise missing
    return flows, cellprob


def read_flow_z(cache: Path) -> NDArray[np.float16] | None:
    """Return what `write_output` kept of flows through planes, (V, Z, Y, X), as a memory map; None if it kept none."""
    try:
        return np.load(cache / "flow_z.npy", mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except FileNotFoundError:
        return None


def volume_flows(flows: NDArray[Any], flow_z: NDArray[Any], at: int) -> NDArray[Any]:
    """Return the flows of a volume as the network gave them, (3, Z, Y, X), of what `write_output` kept."""
    along = flows.reshape(*flow_z.shape[:2], 2, *flow_z.shape[2:])[at]
    return np.stack([flow_z[at], along[:, 0], along[:, 1]])


def _segment(
    project: Project,
    record: ImageRecord,
    model: ResolvedModel,
    engine: Engine,
    params: SegmentParams,
    progress: Progress,
) -> SegmentationData:
    from cellbrook import pipeline

    source = project.open_image(record.id)
    plan = pipeline.resolve(source, model, params)
    return pipeline.run(source, plan, model, engine, name=record.name, progress=progress)


def _recipe(record: ImageRecord, model: ResolvedModel, params: SegmentParams) -> dict[str, Any]:
    from cellbrook import pipeline

    recipe = recipe_of(
        {
            "image": {"sha256": record.sha256, "scene": record.scene},
            "model": {"sha256": model.sha256},
            "parameters": {**pipeline.settled_params(params, model).to_keywords(), "model": model.name},
        }
    )
    plain: dict[str, Any] = json.loads(json.dumps(recipe))
    return plain


def _stands(project: Project, record: ImageRecord) -> bool:
    """Return False if every model run of an image was taken back."""
    history = project.log(record.id).history()
    return any(line.kind in MODEL_RUNS and not line.undone for line in history)


def _outcome(
    project: Project, record: ImageRecord, status: str, began: float, error: str | None = None
) -> Prediction:
    rows = project.labels(record.id).objects()
    return Prediction(
        record.id,
        record.name,
        status,
        len({r.id for r in rows}),
        len({r.id for r in rows if r.protected}),
        project.labels(record.id).rev,
        time.monotonic() - began,
        error,
    )
