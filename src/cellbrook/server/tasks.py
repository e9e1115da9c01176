"""What the worker can do. Each task takes paths and plain values, writes files, and returns plain values.

``cache`` is the folder where the project keeps the network's output of an image's last run (see
`cellbrook.project.predict`). ``out`` is a folder for this call's result: ``labels.npy``, ``objects.npz``, ``recipe.json``
and ``cache/``, which the server moves to where the project keeps it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.objects import ObjectTable
from cellbrook.core.params import MaskParams, SegmentParams
from cellbrook.errors import ImageError, ModelError, UsageError
from cellbrook.io import open_image
from cellbrook.networks.store import resolve_model
from cellbrook.project.predict import (
    calibration,
    labels_anew,
    params_of,
    read_flow_z,
    teller,
    write_output,
)
from cellbrook.provenance import recipe_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cellbrook.api import Segmentation, Segmenter
    from cellbrook.core.progress import Progress
    from cellbrook.metrics.errors import ObjectError
    from cellbrook.project.images import ImageRecord
    from cellbrook.project.project import Project
    from cellbrook.server.worker import Call
    from cellbrook.training.report import CurvePoint

_MODEL_FIELDS = ("model", "device", "engine", "precision", "threads")
HALO = 96
"""Pixels around a window that the network and the dynamics see and whose objects are not taken."""

SPECK = 5
"""Candidates below this many pixels are never shown."""


def find(name: str) -> Callable[[Call, dict[str, Any]], dict[str, Any]]:
    """Return the task of a name."""
    if name not in _TASKS:
        raise UsageError(f"there is no task {name!r}")
    return _TASKS[name]


def warm(call: Call, args: dict[str, Any]) -> dict[str, Any]:
    """Load a model, so that the first picture need not wait for it."""
    segmenter = _segmenter(_model_wishes(args["keywords"]))
    return {"why": segmenter.engine_info.why}


def segment(call: Call, args: dict[str, Any]) -> dict[str, Any]:
    """Segment an image: the window that is looked at first, as a partial result, then all of it.

    Parameters
    ----------
    call : Call
        Told of every tile.
    args : dict
        ``path, scene, image, name, keywords, out``; ``window`` (plane, y0, x0, y1, x1) or None; ``only`` for
        the window alone; ``keep_output`` for thresholds to be changed afterwards.
    """
    keywords = dict(args["keywords"])
    out = Path(args["out"])
    window = args.get("window")
    if window is not None:
        found = _segment_window(call, args, keywords, tuple(window), out / "window")
        if args.get("only"):
            return found
        call.partial(found)
    segmenter = _segmenter(_model_wishes(keywords))
    rest = {k: v for k, v in keywords.items() if k not in _MODEL_FIELDS}
    result = segmenter.segment(
        args["path"],
        name=args["name"],
        keep_output=args.get("keep_output", True),
        progress=call,
        **{**rest, "scene": args["scene"]},
    )
    call.check_cancelled()
    recipe = _recipe(result.provenance)
    if result.output is not None:
        score = _score_of(keywords["model"])
        _write_output(out / "cache", args["image"], recipe, result, score)
    return _answer(out, result.labels, result.objects, recipe) | {
        "diameter_px": result.provenance["result"]["diameter_px"],
        "notes": result.provenance["result"]["notes"],
        "discarded": result.objects.discard_counts(),
    }


def rethreshold(call: Call, args: dict[str, Any]) -> dict[str, Any]:
    """Make labels anew from the cached network output, the window first.

    Parameters
    ----------
    call : Call
        May cancel between window and whole.
    args : dict
        ``cache, out, keywords``; ``run``, what the cached output was made with; ``model``, with which, or None if it is
        gone; ``path, scene``; ``window`` or None.
    """
    out, params = Path(args["out"]), _mask_params(args)
    find, threads = _finder(args, params), args["keywords"].get("threads")
    flows, cellprob = read_output(Path(args["cache"]))
    if args.get("window") is not None:
        plane, *box = args["window"]
        y0, x0, y1, x1 = _grown(box, cellprob.shape[-2:])
        labels, objects = find(flows[plane, :, y0:y1, x0:x1], cellprob[plane, y0:y1, x0:x1])
        call.partial(_answer(out / "window", labels, objects, None) | {"window": [plane, y0, x0]})
    run = args["run"]
    weights, tell = calibration(Path(args["cache"])), None
    if args["model"] is not None:
        given = run["parameters"]
        with contextlib.suppress(ModelError, ImageError):  # without model or image nobody tells classes
            source = open_image(
                Path(args["path"]),
                axes=given.get("axes"),
                pixel_size=given.get("pixel_size"),
                scene=args["scene"],
            )
            tell = teller(resolve_model(args["model"]), source, given, threads)
    flow_z = read_flow_z(Path(args["cache"]))
    labels, objects = labels_anew(
        flows, cellprob, params, weights, flow_z=flow_z, tell=tell, threads=threads, progress=call
    )
    recipe = {**run, "parameters": {**run["parameters"], **dataclasses.asdict(params)}}
    return _answer(out, labels, objects, recipe)


def candidates(call: Call, args: dict[str, Any]) -> dict[str, Any]:
    """Find the pixels of what was discarded, for a plane's ghosts.

    A candidate counts as discarded if less than half of it is under an object of the result. Of objects in 3-D there are
    none: what a plane shows of one is no candidate of its own.

    Parameters
    ----------
    call : Call
        May cancel.
    args : dict
        ``cache, out, keywords``.
    """
    out, params = Path(args["out"]), _mask_params(args)
    flows, cellprob = read_output(Path(args["cache"]))
    every = dataclasses.replace(
        params,
        flow_threshold=0.0,
        min_score=0.0,
        min_size=SPECK,
        max_size_fraction=None,
        exclude_border=False,
    )
    find, find_every = _finder(args, params), _finder(args, every)
    rows: list[dict[str, Any]] = []
    ghosts = np.lib.format.open_memmap(out / "ghosts.npy", "w+", np.uint32, cellprob.shape)
    if read_flow_z(Path(args["cache"])) is not None:
        return {"rows": rows}
    for plane, (flow, logits) in enumerate(zip(flows, cellprob, strict=True)):
        call.check_cancelled()
        kept, result = find(flow, logits)
        labels, table = find_every(flow, logits)
        reasons = _reasons(result)
        covered = np.bincount(labels[kept > 0], minlength=len(table) + 1)[1:]
        number = np.zeros(len(table) + 1, np.uint32)
        for i in np.flatnonzero(covered * 2 < table["area_px"]):
            row = {n: table[c][i].item() for n, c in _ROW.items()}
            reason = reasons.get(tuple(row[n] for n in _BOX), "score")
            rows.append(row | {"id": len(rows) + 1, "plane": plane, "reason": reason})
            number[i + 1] = len(rows)
        ghosts[plane] = np.where(kept > 0, 0, number[labels])
    ghosts.flush()
    return {"rows": rows}


_ROW = {
    "y0": "bbox_y0", "x0": "bbox_x0", "y1": "bbox_y1", "x1": "bbox_x1", "area": "area_px", "score": "score",
    "flow_error": "flow_error",
}  # fmt: skip


_BOX = ("y0", "x0", "y1", "x1")


def _reasons(table: ObjectTable) -> dict[tuple[int, ...], str]:
    """Return why candidates were discarded, by their boxes: what was judged has no holes filled, and so another area."""
    discarded = table.discarded
    if discarded is None or not len(discarded):
        return {}
    boxes = zip(*(discarded[_ROW[n]].tolist() for n in _BOX), strict=True)
    # a small piece of what an object was is as small as a small object to who looks at it
    told = ("too_small" if reason == "fragment" else reason for reason in discarded["reason"].tolist())
    return dict(zip(boxes, told, strict=True))


def propose(call: Call, args: dict[str, Any]) -> dict[str, Any]:
    """Run the network on a window and keep its output for a proposal; see `cellbrook.server.propose`."""
    window = tuple(args["window"])
    out = Path(args["out"])
    seg, (plane, y0, x0) = _run_window(call, args, dict(args["keywords"]), window)
    assert seg.output is not None
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "flows.npy", seg.output.flows)
    np.save(out / "cellprob.npy", seg.output.cellprob)
    return {"window": [plane, y0, x0]}


def suggest(call: Call, args: dict[str, Any]) -> dict[str, Any]:
    """Rank the images that teach most when they are corrected next; see `cellbrook.project.suggest`."""
    from cellbrook.project.project import Project
    from cellbrook.project.suggest import as_dict
    from cellbrook.project.suggest import suggest as ranked

    with Project.open(args["project"], read_only=True) as project:
        return {"suggestions": [as_dict(s) for s in ranked(project, count=args["count"], progress=call)]}


def limits(call: Call, args: dict[str, Any]) -> dict[str, Any]:
    """Search the limits that suit what was corrected in an image; see `cellbrook.project.marks`.

    Parameters
    ----------
    call : Call
        Told of what was tried; may cancel.
    args : dict
        ``project, image, keywords``.
    """
    from cellbrook.project.marks import suggest_limits
    from cellbrook.project.project import Project

    keywords = args["keywords"]
    params = SegmentParams.from_keywords(**keywords).mask_params
    with Project.open(args["project"], read_only=True) as project:
        advice = suggest_limits(
            project, args["image"], params, threads=keywords.get("threads"), progress=call
        )
    return dataclasses.asdict(advice)


def evaluate(call: Call, args: dict[str, Any]) -> dict[str, Any]:
    """Segment images that a person has corrected anew, and compare; nothing is changed.

    Parameters
    ----------
    call : Call
        Told of images.
    args : dict
        ``project, images, keywords``.
    """
    from cellbrook.metrics import average_precision
    from cellbrook.metrics.errors import find_errors
    from cellbrook.project.project import Project

    rows: list[dict[str, Any]] = []
    gallery: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    with Project.open(args["project"], read_only=True) as project:
        find = _finding(call, project, args["keywords"])
        call.start("comparing", len(args["images"]))
        for image in args["images"]:
            call.check_cancelled()
            record = project.image(image)
            try:
                found = find(record)
            except (ImageError, OSError) as why:
                failed.append({"image": image, "name": record.name, "error": str(why)})
                call.advance()
                continue
            truth = project.labels(image).read_all()
            ap, tp, fp, fn = average_precision(truth, found.labels, thresholds=(0.5, 0.75, 0.9))
            errors = find_errors(truth, found.labels)
            rows.append({
                "image": image, "name": record.name, "ap": ap.tolist(), "true": int(tp[0] + fn[0]),
                "found": int(tp[0] + fp[0]), "errors": {k: errors.count(k) for k in errors.true_objects},
            })  # fmt: skip
            for error in errors.errors[: args["most"]]:
                gallery.append(
                    {
                        "image": image,
                        "kind": error.kind,
                        "iou": error.iou,
                        **_place(error, truth, found.labels),
                    }
                )
            call.advance()
    if not rows:
        raise ImageError("; ".join(f["error"] for f in failed))
    ap, ap75, ap90 = np.mean([r["ap"] for r in rows], axis=0).tolist()
    return {"ap": ap, "ap75": ap75, "ap90": ap90, "images": rows, "gallery": gallery, "failed": failed}


class _Only:
    """A progress that may be cancelled, but whose units are of no interest."""

    def __init__(self, call: Call, silent: Progress) -> None:
        self.start, self.advance, self.check_cancelled = silent.start, silent.advance, call.check_cancelled


def _place(error: ObjectError, truth: NDArray[Any], found: NDArray[Any]) -> dict[str, Any]:
    """Return where an error is, for a page that jumps there."""
    labels, label = (truth, error.true_labels[0]) if error.true_labels else (found, error.pred_labels[0])
    planes = (plane == label for plane in labels.reshape(-1, *labels.shape[-2:]))
    plane, here = next((number, here) for number, here in enumerate(planes) if here.any())
    y, x = (np.flatnonzero(here.any(axis=axis)) for axis in (1, 0))
    box = [int(y[0]), int(x[0]), int(y[-1]) + 1, int(x[-1]) + 1]
    return {"plane": plane, "box": box, "ids": list(error.true_labels)}


def agreement(call: Call, args: dict[str, Any]) -> dict[str, Any]:
    """Compare first and second labels of the places that were labelled again, and the model with both.

    Parameters
    ----------
    call : Call
        Told of images.
    args : dict
        ``project, keywords``.
    """
    from cellbrook.project.project import Project
    from cellbrook.project.second_looks import compare_second_looks

    with Project.open(args["project"], read_only=True) as project:
        find = _finding(call, project, args["keywords"])
        return compare_second_looks(project, lambda record: find(record).labels, progress=call)


def _finding(call: Call, project: Project, keywords: dict[str, Any]) -> Callable[[ImageRecord], Segmentation]:
    """Return what finds the cells of an image and tells of nothing but the wish to stop."""
    from cellbrook.core.progress import NoProgress

    segmenter = _segmenter(_model_wishes(keywords))
    rest = {k: v for k, v in keywords.items() if k not in _MODEL_FIELDS}

    def find(record: ImageRecord) -> Segmentation:
        return segmenter.segment(
            project.path(record.id),
            name=record.name,
            progress=_Only(call, NoProgress()),
            **{**rest, "scene": record.scene, **params_of(project.folder, record, keywords)},
        )

    return find


def train(call: Call, args: dict[str, Any]) -> dict[str, Any]:
    """Teach a model what was corrected; cancelling keeps the best so far.

    Parameters
    ----------
    call : Call
        Told of steps; gets the curves as parts.
    args : dict
        ``project, start, origin, model, out, params``, of which ``out`` is where the model goes.
    """
    import tempfile

    from cellbrook.networks.loading import require_torch

    require_torch()
    from cellbrook.project.exchange import TAUGHT, export_training, taught_channels
    from cellbrook.project.project import Project
    from cellbrook.project.teach import against_active, summary_of
    from cellbrook.training.finetune import finetune
    from cellbrook.training.params import TrainParams

    curve: dict[str, list[float]] = {"step": [], "loss": [], "validation_loss": [], "validation_ap": []}

    def watch(point: CurvePoint) -> None:
        for name, value in zip(curve, (point.step, point.loss, point.held_out_loss, point.ap), strict=True):
            curve[name].append(float(value))
        call.partial(curve)

    def say(line: str) -> None:
        call.partial({"say": line})

    with tempfile.TemporaryDirectory(prefix="cellbrook-round-", dir=args["scratch"]) as folder:
        with Project.open(args["project"], read_only=True) as project:
            files = export_training(project, Path(folder), names=args["names"], states=TAUGHT, say=say)
            params = TrainParams(**args["params"], channels=taught_channels(project, files))
        if not files:
            raise UsageError("nothing is corrected yet: correct an image, or mark one as done, then train")
        report = finetune(
            folder,
            args["out"],
            start=args["start"],
            params=params,
            progress=call,
            watch=watch,
            say=say,
            overwrite=True,  # what lies there is of a training that never became a round
        )
        with Project.open(args["project"], read_only=True) as project:
            report = against_active(project, args["origin"], folder, report, params)
    return {
        "summary": summary_of(args["model"], args["origin"], report, sorted(files)),
        **curve,
        "lines": report.lines(),
    }


def read_output(cache: Path) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """Return flows (P, 2, Y, X) and cellprob (P, Y, X) of an image as memory maps.

    Raises
    ------
    UsageError
        If there are none.
    """
    try:
        flows = np.load(cache / "flows.npy", mmap_mode="r", allow_pickle=False)
        cellprob = np.load(cache / "cellprob.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(
            "this image was not segmented yet, or its cache was removed: segment it first"
        ) from error
    return flows, cellprob


def write_table(path: Path, table: ObjectTable) -> None:
    """Write an object table and its discarded candidates as one file, without pickles."""
    columns = {f"a_{n}": table[n] for n in table}
    if table.discarded is not None:
        columns |= {f"d_{n}": table.discarded[n] for n in table.discarded}
    plain = {n: np.asarray(v, "U") if v.dtype == object else v for n, v in columns.items()}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **plain)


def read_table(path: Path) -> ObjectTable:
    """Read what `write_table` wrote."""
    with np.load(path, allow_pickle=False) as file:
        columns = {n: file[n] for n in file.files}
    dropped = {n[2:]: v for n, v in columns.items() if n.startswith("d_")}
    return ObjectTable(
        {n[2:]: v for n, v in columns.items() if n.startswith("a_")},
        ObjectTable(dropped) if dropped else None,
    )


def _answer(
    out: Path, labels: NDArray[np.uint32], objects: ObjectTable, recipe: dict[str, Any] | None
) -> dict[str, Any]:
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "labels.npy", labels)
    write_table(out / "objects.npz", objects)
    if recipe is not None:
        (out / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
    return {"out": str(out), "objects": len(objects)}


def _segment_window(
    call: Call, args: dict[str, Any], keywords: dict[str, Any], window: tuple[int, ...], out: Path
) -> dict[str, Any]:
    seg, place = _run_window(call, args, keywords, window)
    return _answer(out, seg.labels, seg.objects, None) | {"window": list(place)}


def _run_window(
    call: Call, args: dict[str, Any], keywords: dict[str, Any], window: tuple[int, ...]
) -> tuple[Any, tuple[int, int, int]]:
    """Segment a window of a plane with the intensities of the whole plane; return also where it lies."""
    from cellbrook.server.window import Window

    wishes = SegmentParams.from_keywords(**keywords)
    given = wishes.input_params
    source = open_image(Path(args["path"]), axes=given.axes, pixel_size=given.pixel_size, scene=args["scene"])
    plane, *box = window
    y0, x0, y1, x1 = _grown(box, source.shape[-2:])
    part = Window(source, plane, (y0, x0, y1, x1), wishes)
    segmenter = _segmenter(_model_wishes(keywords))
    seg = part.segment(segmenter, call)
    return seg, (plane, y0, x0)


def _grown(box: Any, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    y0, x0, y1, x1 = (int(v) for v in box)
    y0, x0 = max(y0 - HALO, 0), max(x0 - HALO, 0)
    y1, x1 = min(y1 + HALO, shape[-2]), min(x1 + HALO, shape[-1])
    if y1 <= y0 or x1 <= x0:
        raise UsageError(f"the window {list(box)} lies outside the image of {shape[-2]} x {shape[-1]} pixels")
    return y0, x0, y1, x1


def _finder(
    args: dict[str, Any], params: MaskParams
) -> Callable[[NDArray[Any], NDArray[Any]], tuple[NDArray[np.uint32], ObjectTable]]:
    """Return what makes a plane's labels of flows and cellprob, with the run's calibration of scores."""
    from cellbrook.dynamics import labels_from_flows

    weights = calibration(Path(args["cache"]))

    def find(flows: NDArray[Any], cellprob: NDArray[Any]) -> tuple[NDArray[np.uint32], ObjectTable]:
        return labels_from_flows(
            np.ascontiguousarray(flows, np.float32),
            np.ascontiguousarray(cellprob, np.float32),
            params,
            score_weights=weights,
            threads=args["keywords"].get("threads"),
        )

    return find


def _mask_params(args: dict[str, Any]) -> MaskParams:
    """Return the thresholds of a job, what they leave to the model filled in."""
    from cellbrook.dynamics import settled

    params = SegmentParams.from_keywords(**args["keywords"]).mask_params
    return settled(params, calibration(Path(args["cache"])))


def _model_wishes(keywords: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted((k, v) for k, v in keywords.items() if k in _MODEL_FIELDS))


@lru_cache(maxsize=2)
def _segmenter(wishes: tuple[tuple[str, Any], ...]) -> Segmenter:
    from cellbrook.api import Segmenter

    return Segmenter(**dict(wishes))


@lru_cache(maxsize=2)
def _score_of(model: str) -> tuple[float, ...]:
    """Return a model's calibration of scores, as `cellbrook.project.predict` keeps it."""
    return tuple(resolve_model(model).card.spec.score or ())


def _recipe(run: dict[str, Any]) -> dict[str, Any]:
    """Return what decides a result, as `cellbrook.project.predict` writes it down."""
    recipe = recipe_of({**run, "parameters": {**run["parameters"], "model": run["model"]["name"]}})
    plain: dict[str, Any] = json.loads(json.dumps(recipe))
    return plain


def _write_output(
    folder: Path, image: str, recipe: dict[str, Any], result: Segmentation, score: tuple[float, ...]
) -> None:
    """Write the network's output as `cellbrook.project.predict` reads it, and with it all of the run."""
    assert result.output is not None
    write_output(folder, image, recipe, result.output, score=score)
    text = json.dumps(result.provenance, default=lambda v: v.tolist() if hasattr(v, "tolist") else str(v))
    (folder / "run.json").write_text(text, encoding="utf-8")


_TASKS: dict[str, Callable[[Call, dict[str, Any]], dict[str, Any]]] = {
    "warm": warm,
    "segment": segment,
    "rethreshold": rethreshold,
    "candidates": candidates,
    "propose": propose,
    "suggest": suggest,
    "limits": limits,
    "evaluate": evaluate,
    "agreement": agreement,
    "train": train,
}
