"""The pixels of a project's images, as they are segmented."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.params import SegmentParams
from cellbrook.core.plan import SegmentPlan
from cellbrook.io.channels import resolve_channels
from cellbrook.pipeline import read_planes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from cellbrook.io.source import Source
    from cellbrook.project.settings import ProjectSettings


def plan_of(source: Source, settings: ProjectSettings) -> SegmentPlan:
    """Return how an image is read: which channels, which planes. Nothing of a model is in it."""
    chosen = resolve_channels(settings.channels, source)
    z: str | int | None = settings.z if settings.z in ("max", "mean", None) else int(settings.z or 0)
    projection = z if "Z" in source.axes else None
    return SegmentPlan(
        axes=source.axes,
        shape=tuple(source.shape),
        dtype=str(source.dtype),
        channels=chosen.indices,
        channel_names=chosen.names,
        stack_axes="".join(a for a in "TZ" if a in source.axes and not (a == "Z" and projection is not None)),
        projection=projection,
        pixel_size_um=dict(source.pixel_size_um),
        diameter_px=None,
        target="either",
        model="",
        model_sha256="",
        params=SegmentParams(),
    )


def planes_of(source: Source, settings: ProjectSettings) -> Iterator[NDArray[Any]]:
    """Yield the planes (C, Y, X) of an image in the order of its label planes."""
    for _, pixels in read_planes(source, plan_of(source, settings)):
        yield pixels


def stack_of(source: Source, settings: ProjectSettings) -> tuple[NDArray[Any], SegmentPlan]:
    """Return all planes, with leading axes as the labels have before C, Y, X; and how they were read."""
    plan = plan_of(source, settings)
    planes = [pixels for _, pixels in read_planes(source, plan)]
    lengths = dict(zip(source.axes, source.shape, strict=True))
    stack = tuple(lengths[a] for a in plan.stack_axes)
    return (np.stack(planes).reshape(*stack, *planes[0].shape) if stack else planes[0]), plan
