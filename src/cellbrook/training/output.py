"""The files of a finished training: a model folder that ``cellbrook segment --model`` takes, with its report."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import re
import shutil
import sys
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

from cellbrook.io.atomic import is_temporary, put, remove, staged
from cellbrook.networks.cards import CARD_NAME, REPORT_NAME, ModelCard, ModelFileRef, TrainingData, write_card
from cellbrook.networks.export import export_network, file_entry
from cellbrook.training.curves import draw_curves

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from cellbrook.measure.classify import ObjectClassifier
    from cellbrook.training.dataset import Dataset
    from cellbrook.training.report import TrainReport

SCHEMA = 1
CURVES_NAME = "curves.png"
STEM = "weights"
CLASSES_NAME = "classes.json"
INACTIVE = "not-active"
"""Folder, inside the output folder, of a model that is no better than the one it started from."""


def finished(folder: Path) -> bool:
    """Return whether a training ended in this folder."""
    return (folder / REPORT_NAME).exists()


def write_model(
    network: nn.Module,
    base: ModelCard,
    report: TrainReport,
    dataset: Dataset,
    folder: Path,
    classifier: ObjectClassifier | None = None,
    int8: Path | None = None,
) -> None:
    """Write weights, graph, what tells classes, card, curves and report; the report comes last: then all is there.

    Until all is written an earlier model in `folder` stays. One that is not active leaves it and its report there: then its
    own curves and report lie beside its card.

    `int8` is the graph in 8 bits of the same network, where there is one.

    Raises
    ------
    OutputError
        If the folder cannot be written to.
    """
    for left in filter(is_temporary, folder.glob(".*")):  # by a run that was killed here
        remove(left)
    with staged(folder, STEM) as stage:
        model = stage if report.active else stage / INACTIVE
        model.mkdir(exist_ok=True)
        paths = _export(network, base.family, model)
        if classifier is not None:
            paths["classes"] = model / CLASSES_NAME
            classifier.save(paths["classes"])
        if int8 is not None:
            paths["onnx_int8"] = model / f"{STEM}.int8.onnx"
            shutil.copyfile(int8, paths["onnx_int8"])
        files = {kind: ModelFileRef(**file_entry(path)) for kind, path in paths.items()}
        write_card(model / CARD_NAME, _card(base, report, dataset, folder, files))
        keeps = not report.active and (folder / CARD_NAME).exists()
        beside = model if keeps else stage
        draw_curves(beside / CURVES_NAME, report.curve, report.best_step)
        text = json.dumps(_document(report, dataset), indent=1, ensure_ascii=False)
        (beside / REPORT_NAME).write_text(text, encoding="utf-8", errors="backslashreplace")
        if not keeps:  # while files are replaced they do not belong together
            for name in (REPORT_NAME, CARD_NAME):
                (folder / name).unlink(missing_ok=True)
        for path in sorted(stage.iterdir(), key=lambda path: path.name == REPORT_NAME):
            put(path, folder / path.name)
    if report.active:
        remove(folder / INACTIVE)


def _document(report: TrainReport, dataset: Dataset) -> Any:
    """Return what the report's file says."""
    return _finite(
        {
            "schema": SCHEMA,
            "cellbrook": metadata.version("cellbrook"),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": sys.argv,
            "python": platform.python_version(),
            "torch": metadata.version("torch"),
            "data": {
                "where": dataset.where,
                "sha256": dataset.sha256,
                "images": [
                    {"name": e.name, "sha256": e.sha256, "objects": e.n_objects} for e in dataset.examples
                ],
                "issues": [dataclasses.asdict(i) for i in dataset.issues],
            },
            **report.to_dict(),
        }
    )


def _export(network: nn.Module, family: str, folder: Path) -> dict[str, Path]:
    if family == "compact":
        return export_network(network, folder, STEM)
    from safetensors.torch import save_file

    path = folder / f"{STEM}.safetensors"
    save_file({n: v.contiguous().cpu() for n, v in network.state_dict().items()}, path)
    path.chmod(0o644)  # it is written for its owner alone
    return {"safetensors": path}


def _card(
    base: ModelCard, report: TrainReport, dataset: Dataset, folder: Path, files: dict[str, ModelFileRef]
) -> ModelCard:
    name = re.sub(r"[^a-z0-9]+", "-", folder.absolute().name.lower()).strip("-") or "own"
    origin = "from scratch" if report.start == "scratch" else f"from {report.start}"
    own = TrainingData(
        f"{report.images} images, {report.objects} objects of the user's own", "the user's own"
    )
    scratch = report.start == "scratch"
    description = f"Trained {origin} on {report.images} images with {report.objects} objects.{_gain(report)}"
    return dataclasses.replace(
        base,
        name=f"{base.family}.{name}",
        aliases=(),
        description=_printable(description),
        licence="the user's own" if scratch else base.licence,
        training_data=(own,) if scratch else (*base.training_data, own),
        known_issues=() if report.active else tuple(map(_printable, report.words[:1])),
        files=files,
    )


def _printable(text: str) -> str:
    """Return text as UTF-8 can hold it: a model's file may have a name of other bytes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _gain(report: TrainReport) -> str:
    """Say what it scored, in the card: that goes wherever the model goes."""
    parts = [
        f" {where} {'' if before is None else f'{getattr(before, ap):.3f} before, '}{getattr(after, ap):.3f} now"
        for where, ap, before, after in (
            ("held-out images", "ap", report.validation_start, report.validation),
            ("general images", "mean_ap", report.frozen_start, report.frozen),
        )
        if after is not None
    ]
    classes = (
        f" Tells {', '.join(report.classes.learnt)} apart."
        if report.classes and report.classes.active
        else ""
    )
    return f" AP at IoU 0.5:{';'.join(parts)}.{classes}"


def _finite(value: Any) -> Any:
    """Return the document with NaN and infinities as null, which every reader of JSON takes."""
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
