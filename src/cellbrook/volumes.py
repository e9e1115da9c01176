"""Objects through the planes of a stack: the network looks at the volume along each of its three axes.

A network that knows planes says of each voxel, in each of three planes that cross there, whether it belongs to an object and
where in that plane the object's centre lies. Each component of the flow in 3-D is seen in two of the three, and their mean
taken, as Cellpose does [1]_. The planes of the stack are seen first and tell the diameter, at which the other two views are
then seen; planes that lie further apart than pixels are drawn out to the pixel's size for them.

.. [1] Stringer et al., Nat Methods 18, 100-106 (2021), Methods, "3D segmentation".
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.progress import CancelOnly
from cellbrook.core.result import NetworkOutput
from cellbrook.errors import ImageError
from cellbrook.inference import LARGEST_WHOLE_PX, BeyondWholeError, channel_order, infer
from cellbrook.normalize import normalize
from cellbrook.resize import resize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.core.plan import SegmentPlan
    from cellbrook.core.progress import Progress
    from cellbrook.core.report import Report
    from cellbrook.engines.base import Engine
    from cellbrook.networks.base import NetworkSpec
    from cellbrook.networks.cp3.size import SizeModel

VOXEL_BYTES = 40
"""Memory of a voxel while flows become objects, flows and cellprob included."""

_ORDER_PLANES = 8
"""Planes, from all over the stack, that tell the order of its channels."""


def infer_volume(
    image: NDArray[Any],
    plan: SegmentPlan,
    spec: NetworkSpec,
    engine: Engine,
    *,
    ranges: NDArray[np.float64] | None,
    size_model: SizeModel | None,
    threads: int,
    report: Report,
    progress: Progress,
) -> tuple[NetworkOutput, dict[str, Any]]:
    """Run the network on a volume along each axis.

    Parameters
    ----------
    image : ndarray of shape (Z, C, Y, X)
        Raw pixels.
    ranges : ndarray of shape (C, 2) or None
        What becomes 0 and 1 in each channel, the same in all planes of all views. None: each plane's own percentiles.

    Returns
    -------
    NetworkOutput
        Flows (3, Z, Y, X) as (dz, dy, dx) in voxels a step; cellprob (Z, Y, X).
    dict
        Scales, diameter, tiles and anisotropy, for the report.

    Raises
    ------
    ImageError
        If a plane of a view is too large, or does not fit the memory.
    Cancelled
        If `progress` says so.
    """
    depth, _, rows, cols = image.shape
    flows = np.zeros((3, depth, rows, cols), np.float32)
    cellprob = np.zeros((depth, rows, cols), np.float32)
    around: dict[str, Any] = {"ranges": ranges, "threads": threads, "report": report}
    around |= {"progress": CancelOnly(progress), "order": _order(image, plan, spec, ranges, threads)}
    scales: set[float] = set()
    diameters: list[float] = []
    tiles = 0

    def look(plane: NDArray[Any], plan: SegmentPlan) -> NetworkOutput:
        nonlocal tiles
        progress.check_cancelled()
        try:
            if plane[0].size > LARGEST_WHOLE_PX:
                raise BeyondWholeError
            output, facts = infer(plane, plan, spec, engine, size_model=size_model, **around)
        except BeyondWholeError:
            raise ImageError(
                f"a plane of {plane.shape[-2]} x {plane.shape[-1]} px is too large to be seen in a volume: crop or "
                "shrink the stack, or leave out --volume"
            ) from None
        scales.update(facts["scales"])
        tiles += facts["tiles"]
        if facts["diameter_px"] is not None:
            diameters.append(facts["diameter_px"])
        progress.advance()
        return output

    progress.start("plane", depth + rows + cols)
    for z in range(depth):
        seen = look(image[z], plan)
        flows[1:, z] += seen.flows / 2
        cellprob[z] += seen.cellprob / 3
    diameter = float(np.median(diameters)) if diameters else None
    told = dataclasses.replace(plan, diameter_px=diameter)
    drawn_out = max(1, round(depth * plan.anisotropy))
    for axis in (1, 2):  # across Y, then across X: what is written to are views
        sections = np.moveaxis(image, axis + 1, 0)
        down, along = np.moveaxis(flows[0], axis, 0), np.moveaxis(flows[3 - axis], axis, 0)
        logits = np.moveaxis(cellprob, axis, 0)
        for at, section in enumerate(sections):
            flow, logit = _across(look(_drawn_out(section, drawn_out, threads), told), depth, threads)
            down[at] += flow[0] / 2
            along[at] += flow[1] / 2
            logits[at] += logit / 3
    output = NetworkOutput(flows, cellprob, diameter_px=diameter)
    facts = {"scales": sorted(scales), "diameter_px": diameter, "tiles": tiles, "anisotropy": plan.anisotropy}
    return output, facts


def _order(
    image: NDArray[Any],
    plan: SegmentPlan,
    spec: NetworkSpec,
    ranges: NDArray[np.float64] | None,
    threads: int,
) -> list[int] | None:
    """Return one order of the channels for all planes; see `cellbrook.inference.infer`."""
    if not spec.order_free or image.shape[1] == 1:
        return None
    some = image[:: -(-len(image) // _ORDER_PLANES)]
    side_by_side = np.concatenate(list(some), axis=-1)
    return channel_order(
        normalize(side_by_side, plan.params.normalize_params, ranges=ranges, threads=threads)
    )


def _drawn_out(section: NDArray[Any], depth: int, threads: int) -> NDArray[Any]:
    """Return a section (Z, C, n) as a plane (C, depth, n)."""
    plane = np.ascontiguousarray(section.swapaxes(0, 1))
    if plane.shape[1] == depth:
        return plane
    return resize(plane.astype(np.float32), (depth, plane.shape[2]), threads=threads)


def _across(seen: NetworkOutput, depth: int, threads: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return flows (2, Z, n) and cellprob (Z, n) of a section as they are between the planes of the stack."""
    length = seen.cellprob.shape[0]
    if length == depth:
        return seen.flows, seen.cellprob
    maps = np.concatenate([seen.flows, seen.cellprob[None]])
    maps = resize(maps, (depth, maps.shape[2]), threads=threads)
    maps[0] *= depth / length  # a step along z crosses fewer planes than pixels
    return maps[:2], maps[2]
