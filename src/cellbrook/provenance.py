"""What ``run.json`` says: enough to know how a result came about, and to make it again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.params import SegmentParams
from cellbrook.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from cellbrook.core.plan import SegmentPlan
    from cellbrook.core.report import Report
    from cellbrook.core.result import SegmentationData
    from cellbrook.engines.base import EngineInfo
    from cellbrook.networks.store import ResolvedModel

SCHEMA = 1
"""Raised when a key of ``run.json`` changes its meaning."""


def hash_of_array(array: NDArray[Any]) -> str:
    """Return the SHA-256 of an array's type, shape and pixels."""
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def describe_run(
    *,
    path: Path | None,
    scene_name: str | None,
    image_sha256: str,
    plan: SegmentPlan,
    model: ResolvedModel,
    engine: EngineInfo,
    data: SegmentationData,
    report: Report,
) -> dict[str, Any]:
    """Return the content of ``run.json``."""
    scene = plan.params.input_params.scene
    image = {"path": str(path.absolute()) if path else None, "scene": scene, "sha256": image_sha256}
    return {
        "schema": SCHEMA,
        "cellbrook": metadata.version("cellbrook"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv if path is not None else None,
        "image": image if scene_name is None else {**image, "scene_name": scene_name},
        "plan": plan.to_dict(),
        "parameters": plan.params.to_keywords(),
        "model": {
            "name": model.name,
            "family": model.card.family,
            "licence": model.card.licence,
            "sha256": model.sha256,
            **({"classes": list(report.classes)} if report.classes else {}),
        },
        "engine": dataclasses.asdict(engine),
        "result": {
            "objects": len(data.objects),
            **({"tracks": report.tracks} if report.tracks is not None else {}),
            "discarded": data.objects.discard_counts(),
            "diameter_px": _median([p["diameter_px"] for p in report.planes if p["diameter_px"] is not None]),
            "planes": report.planes,
            "notes": report.notes,
        },
        "timings_s": {step: round(seconds, 4) for step, seconds in report.timings_s.items()},
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            engine.engine: engine.version,
        },
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None


def arithmetic_of(run: dict[str, Any]) -> str:
    """Return, in words, what else decides about the last digit: which version computed it, with what, how precisely.

    Not every ``run.json`` says it: that of a project whose cells may have been corrected does not.
    """
    engine = run.get("engine")
    if engine is None:
        return "in a project, perhaps corrected since"
    return f"by cellbrook {run['cellbrook']} in {engine['precision']} with {engine['engine']} on {engine['device']}"


def recipe_of(run: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a run that decides its labels: with the same arithmetic, equal recipes give equal results."""
    parameters = {k: v for k, v in run["parameters"].items() if k != "threads"}
    return {
        "image": run["image"]["sha256"],
        "scene": run["image"]["scene"],
        "model": run["model"]["sha256"],
        "parameters": parameters,
    }


def read_run(path: Path) -> dict[str, Any]:
    """Read a ``run.json``.

    Raises
    ------
    UsageError
        If it is none, or from a later version of this program.
    """
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise UsageError(f"{path} is not a run.json: {error}") from error
    if not isinstance(run, dict) or not {"schema", "parameters", "image", "model"} <= set(run):
        raise UsageError(f"{path} is not a run.json that `cellbrook segment` wrote: keys are missing")
    if run["schema"] > SCHEMA:
        raise UsageError(
            f"{path} has schema {run['schema']}, this version knows {SCHEMA}: it was written by cellbrook {run['cellbrook']}"
        )
    SegmentParams.from_keywords(**run["parameters"])  # names what is unknown
    return run
