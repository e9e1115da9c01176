"""What pages know of a project and its images."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

from cellbrook.errors import ImageError, ModelError
from cellbrook.io.pixel_size import side_of_pixel
from cellbrook.project.labelstore import levels_of
from cellbrook.project.models import own_models
from cellbrook.project.second_looks import read_second_looks
from cellbrook.server.messages import ClassInfo, ImageInfo, ModelInfo, ProjectInfo, Round

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from cellbrook.project.images import ImageRecord
    from cellbrook.project.project import Project
    from cellbrook.server.pixels import ImagePixels


LIMITS = (
    "flow_threshold",
    "cellprob_threshold",
    "niter",
    "min_size",
    "max_size_fraction",
    "exclude_border",
    "min_score",
)
"""Parameters of an image's last run that a page's sliders show."""


def image_info(
    project: Project, record: ImageRecord, pixels: ImagePixels | None, again: Container[str] | None = None
) -> ImageInfo:
    """Return what is known of an image, of its channels only if it is open; `again` are the second looks, if known."""
    again = read_second_looks(project.folder) if again is None else again
    sizes = dict(zip(record.axes, record.shape, strict=True))
    count, score = project.database.one(
        "SELECT count(DISTINCT id), avg(score) FROM objects WHERE image = ?", (record.id,)
    )
    problem = project.problem(record.id)
    size = project.settings.pixel_size or side_of_pixel(record.pixel_size_um)
    info = ImageInfo(
        id=record.id,
        name=record.name,
        state="missing" if problem else record.state,
        axes=record.axes,
        shape=(record.height, record.width),
        z=1 if project.settings.z is not None else sizes.get("Z", 1),
        t=sizes.get("T", 1),
        pixel_size_um=size,
        levels=levels_of((record.height, record.width)),
        rev=record.rev,
        objects=int(count),
        score=None if score is None else float(score),
        limits=None if record.run is None else {k: record.run["parameters"].get(k) for k in LIMITS},
        model=None if record.run is None else record.run["parameters"].get("model"),
        volume=record.in_volume,
        joined=record.in_volume or ("Z" in record.label_axes and project.labels(record.id).joined()),
        z_step=_z_step(record, size),
        problem=problem,
        again=record.id in again,
        pixels=pixels_tag(project, record.id),
    )
    if pixels is not None and problem is None:
        try:
            info.channels = pixels.channels()
        except ImageError as error:  # this image is damaged, which is nobody else's problem
            info.state, info.problem = "missing", f"{error}; copy it again from where it came from"
            return info
        coding = pixels.coding
        info.pixel_bits = 8 if coding.bits == 8 else 16
        info.value_scale, info.value_offset = coding.scale, coding.offset
    return info


def _z_step(record: ImageRecord, size: float | None) -> float:
    """Return how many pixels planes lie apart: as the last run was told, else as the file says, else 1."""
    told = record.run["parameters"].get("anisotropy") if record.run is not None else None
    depth = record.pixel_size_um.get("Z")
    return float(told or (depth / size if depth and size else 1.0))


def pixels_tag(project: Project, image: str) -> str:
    """Return what tells an image's pixels, as a project shows them, from those of any other image or view of it."""
    shown = (image, project.settings.axes, project.settings.z)
    return hashlib.sha256(repr(shown).encode()).hexdigest()[:16]


def project_info(project: Project, opened: Mapping[str, ImagePixels], *, sample: bool) -> ProjectInfo:
    """Return what is known of a project."""
    settings = project.settings
    again = read_second_looks(project.folder)
    return ProjectInfo(
        name=settings.name,
        path=str(project.folder),
        classes=[ClassInfo(id=c.id, name=c.name, color=c.color) for c in settings.classes],
        models=models_of(project),
        model=settings.model,
        images=[image_info(project, r, opened.get(r.id), again) for r in project.images()],
        rounds=rounds_of(project),
        sample=sample,
        read_only=project.read_only,
    )


def models_of(project: Project) -> list[ModelInfo]:
    """Return the models that are offered: the project's own, those shipped or installed, and whichever is active."""
    from cellbrook.networks.cards import CARD_NAME, read_card
    from cellbrook.networks.store import list_models

    active = project.settings.model
    found = []
    for name in own_models(project):
        try:
            note = read_card(project.folder / "models" / name / CARD_NAME).description
        except ModelError as error:
            note = str(error)
        found.append(ModelInfo(name=name, title=name, active=name == active, note=note))
    for model in list_models():
        card = model.card
        if model.state != "available":
            found.append(
                ModelInfo(name=card.name, title=card.name, active=active in card.names, note=card.description)
            )
    if not any(m.active for m in found) and any(r["model"] == active for r in project.rounds()):
        note = "A round that was no better than what it started from."
        found.insert(0, ModelInfo(name=active, title=active, active=True, note=note))
    return found


def choosable(project: Project) -> list[str]:
    """Return the names of models that a page may ask for: a person may choose a round that was no better, too."""
    return list(dict.fromkeys((*(m.name for m in models_of(project)), *(r.name for r in rounds_of(project)))))


def rounds_of(project: Project) -> list[Round]:
    """Return the rounds of training."""
    active = project.settings.model
    return [_round(r, active) for r in project.rounds()]


def _round(report: Mapping[str, Any], active: str) -> Round:
    def number(*names: str) -> float | None:
        for name in names:
            value = report.get(name)
            if isinstance(value, (int, float)) and math.isfinite(value):
                return float(value)
        return None

    name = str(report.get("model") or report.get("name") or f"round {report.get('number')}")
    words = report.get("words") or []
    return Round(
        name=name,
        ap_before=number("ap_before"),
        ap_after=number("ap_after"),
        frozen_before=number("frozen_before"),
        frozen_after=number("frozen_after"),
        objects=int(number("objects") or 0),
        active=name == active,
        words=[words] if isinstance(words, str) else [str(w) for w in words],
    )
