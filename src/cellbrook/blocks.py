"""Planes too large to be worked on at once, block by block: memory for one block, and the objects of the whole.

Blocks overlap by what the network sees around a pixel and the size of large objects, so that each object lies in some block
with all that decides it. The block in whose core its centroid lies is the one that gives it.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook._kernels import _native
from cellbrook.core.labels import components
from cellbrook.core.memory import free_memory
from cellbrook.core.objects import ObjectTable, concatenate
from cellbrook.core.progress import CancelOnly
from cellbrook.core.result import NetworkOutput
from cellbrook.dynamics import in_raster_order, labels_from_flows
from cellbrook.errors import ImageError
from cellbrook.inference import BeyondWholeError, channel_order, infer, working_bytes
from cellbrook.normalize import normalize, percentile_ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.core.plan import SegmentPlan
    from cellbrook.core.progress import Progress
    from cellbrook.core.report import Report
    from cellbrook.engines.base import Engine
    from cellbrook.networks.base import NetworkSpec
    from cellbrook.networks.cp3.size import SizeModel

WINDOW_PX = 5568
"""Side of a block with its surroundings, as the network sees it: two tiles of compact by two."""

LARGEST_WINDOW_PX = 8192
"""The same in pixels of the plane, where the network sees it shrunk."""

LEAST_CORE = 0.25
"""Part of a window that its core is at least: the window grows where large objects need wide surroundings."""

CONTEXT_PX, OBJECTS = 256, 2.5
"""Surroundings, as the network sees them: its reach, and so many typical diameters for large objects."""

SAMPLES, SAMPLE_PX = 4, 768
"""Windows along each axis, and their side, from which scale and order of channels are taken; half as many where these, too,
would be enlarged too much."""


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """A part of a plane.

    Parameters
    ----------
    core, window : tuple of int
        Half-open y0, x0, y1, x1: where its own objects have their centroids, and what is looked at.
    """

    core: tuple[int, int, int, int]
    window: tuple[int, int, int, int]


def plan_blocks(shape: tuple[int, int], scale: float, object_px: float, stride: int) -> list[Block]:
    """Return blocks whose cores cover a plane once.

    Parameters
    ----------
    shape : tuple of int
        Of the plane.
    scale : float
        At which the network sees it.
    object_px : float
        Typical diameter of objects, as the network sees them.
    stride : int
        Where the network sees the plane as it is, windows begin at multiples of this, as tiles do.
    """
    core, around = _sides(scale, object_px, stride)
    axes = []
    for length in shape:
        starts = range(0, length, core)
        ends = [min(start + core, length) for start in starts]
        axes.append(
            [(a, b, max(0, a - around), min(length, b + around)) for a, b in zip(starts, ends, strict=True)]
        )
    return [Block((y[0], x[0], y[1], x[1]), (y[2], x[2], y[3], x[3])) for y in axes[0] for x in axes[1]]


def _sides(scale: float, object_px: float, stride: int) -> tuple[int, int]:
    """Return the side of a core and the width of its surroundings, in pixels of the plane; see `plan_blocks`."""
    around = math.ceil((CONTEXT_PX + OBJECTS * object_px) / scale / stride) * stride
    window = min(WINDOW_PX / scale, LARGEST_WINDOW_PX)
    return max(1, int(max(window - 2 * around, LEAST_CORE * window)) // stride) * stride, around


def segment_in_blocks(
    image: NDArray[Any],
    plan: SegmentPlan,
    spec: NetworkSpec,
    engine: Engine,
    *,
    ranges: NDArray[np.float64] | None,
    size_model: SizeModel | None,
    keep_output: bool,
    threads: int,
    report: Report,
    progress: Progress,
) -> tuple[NDArray[np.uint32], ObjectTable, NetworkOutput | None, dict[str, Any]]:
    """Segment one plane block by block.

    Parameters
    ----------
    image : ndarray of shape (C, Y, X)
        Raw pixels.
    ranges : ndarray of shape (C, 2) or None
        What becomes 0 and 1. None: the percentiles of the plane.

    Returns
    -------
    labels : ndarray of shape (Y, X), uint32
    objects : ObjectTable
        As from `cellbrook.dynamics.labels_from_flows`, unmeasured.
    output : NetworkOutput or None
        None without `keep_output`.
    facts : dict
        Scale, diameter, tiles and blocks, for the report.

    Raises
    ------
    ImageError
        If objects are so large that a block with its surroundings does not fit the memory.
    Cancelled
        If `progress` says so.
    """
    shape = (image.shape[-2], image.shape[-1])
    params = plan.params.normalize_params
    if ranges is None and params.normalize and params.tile_norm_size <= 0:
        with report.timed("normalize"):
            ranges = percentile_ranges(image, params, sparse=spec.sparse, threads=threads)
    around: dict[str, Any] = {"ranges": ranges, "threads": threads, "report": report}
    # windows from all over the plane, side by side, stand for it
    sample = _mosaic(image, SAMPLES)
    order = (
        channel_order(normalize(sample, params, ranges=ranges, threads=threads)) if spec.order_free else None
    )
    sampling: dict[str, Any] = {
        "size_model": size_model,
        "order": order,
        "progress": CancelOnly(progress),
        **around,
    }
    try:
        told, facts = infer(sample, plan, spec, engine, **sampling)
    except BeyondWholeError:
        told, facts = infer(_mosaic(image, SAMPLES // 2), plan, spec, engine, **sampling)
    scale = float(facts["scales"][-1])
    usual = spec.object_diameter_px or 30.0
    # with a known diameter there is one look, at that scale
    fixed = dataclasses.replace(plan, diameter_px=usual / scale)
    seen = facts["diameter_px"] * scale if facts["diameter_px"] else usual
    blocks = plan_blocks(shape, scale, min(seen, 2 * usual), spec.stride)
    _check_memory(blocks, scale, len(image), seen / scale)

    labels = np.zeros(shape, np.uint32)
    output = None
    if keep_output:
        flows, logits = np.zeros((2, *shape), np.float32), np.zeros(shape, np.float32)
        class_maps = None if told.classes is None else np.zeros((len(told.classes), *shape), np.float32)
        output = NetworkOutput(flows, logits, class_maps, facts["diameter_px"])
    tables: list[ObjectTable] = []
    count = tiles = 0
    progress.start("tile", len(blocks))
    for block in blocks:
        progress.check_cancelled()
        y0, x0, y1, x1 = block.window
        part = np.ascontiguousarray(image[:, y0:y1, x0:x1])
        found, about = infer(part, fixed, spec, engine, order=order, progress=CancelOnly(progress), **around)
        tiles += about["tiles"]
        with report.timed("flows to labels"):
            mine, table = _objects_of(block, found, plan, spec, labels.size, threads)
            table = _put(labels[y0:y1, x0:x1], mine, table, count)
        count += len(table)
        tables.append(table)
        if output is not None:
            a, b, c, d = block.core
            inner = (slice(a - y0, c - y0), slice(b - x0, d - x0))
            output.flows[:, a:c, b:d] = found.flows[(slice(None), *inner)]
            output.cellprob[a:c, b:d] = found.cellprob[inner]
            if output.classes is not None and found.classes is not None:
                output.classes[:, a:c, b:d] = found.classes[(slice(None), *inner)]
        progress.advance()
    with report.timed("flows to labels"):
        objects = _numbered(labels, concatenate(tables), plan.params.mask_params.exclude_border, threads)
    facts |= {"tiles": tiles, "blocks": len(blocks)}
    return labels, objects, output, facts


def _mosaic(image: NDArray[Any], samples: int) -> NDArray[Any]:
    """Return windows on a grid over the plane, side by side, (C, y, x)."""
    rows, columns = (_starts(n, samples) for n in image.shape[-2:])
    return np.concatenate(
        [
            np.concatenate([image[:, y : y + SAMPLE_PX, x : x + SAMPLE_PX] for x in columns], axis=2)
            for y in rows
        ],
        axis=1,
    )


def _starts(length: int, samples: int) -> list[int]:
    if length <= samples * SAMPLE_PX:
        return list(range(0, length, SAMPLE_PX))
    return [int(at) for at in np.linspace(0, length - SAMPLE_PX, samples)]


def _objects_of(
    block: Block, found: NetworkOutput, plan: SegmentPlan, spec: NetworkSpec, plane_px: int, threads: int
) -> tuple[NDArray[np.uint32], ObjectTable]:
    """Return the labels of a window and the rows, in the plane's coordinates, of what has its centroid in the core."""
    params = plan.params.mask_params
    if params.max_size_fraction is not None:  # of the plane, not of the window
        fraction = min(1.0, params.max_size_fraction * plane_px / found.cellprob.size)
        params = dataclasses.replace(params, max_size_fraction=fraction)
    params = dataclasses.replace(params, exclude_border=False)  # a window's edge is none of the image's
    labels, table = labels_from_flows(
        found.flows, found.cellprob, params, score_weights=spec.score, threads=threads
    )
    assert table.discarded is not None
    own = _own(block, table)
    return labels, ObjectTable(own.columns, _own(block, table.discarded))


def _own(block: Block, table: ObjectTable) -> ObjectTable:
    top, left = block.window[:2]
    moved = table.with_columns(
        **{n: table[n] + top for n in ("bbox_y0", "bbox_y1", "centroid_y")},
        **{n: table[n] + left for n in ("bbox_x0", "bbox_x1", "centroid_x")},
    )
    # two blocks may sum up the same pixels in another order
    y, x = np.round(moved["centroid_y"], 6), np.round(moved["centroid_x"], 6)
    y0, x0, y1, x1 = block.core
    return moved.select((y >= y0) & (y < y1) & (x >= x0) & (x < x1))


def _put(
    window: NDArray[np.uint32], labels: NDArray[np.uint32], table: ObjectTable, count: int
) -> ObjectTable:
    """Write a block's own objects, numbered from `count` + 1, where nothing is yet; return those that found room."""
    number = np.zeros(int(labels.max(initial=0)) + 1, np.uint32)
    number[table["label"]] = np.arange(count + 1, count + len(table) + 1)
    new = number[labels]
    taken = (new > 0) & (window > 0)
    if (
        taken.any()
    ):  # neighbouring blocks saw it differently: the first one stays, of the other the largest piece
        cut = np.unique(new[taken])
        new[taken] = 0
        for label in cut.tolist():
            _keep_largest_piece(new, label)
    np.copyto(window, new, where=new > 0)
    pixels = np.bincount(new.ravel(), minlength=count + len(table) + 1)
    rows = np.flatnonzero(pixels[number[table["label"]]])
    kept = table.select(rows)
    dense = np.zeros(count + len(table) + 1, np.uint32)
    dense[number[kept["label"]]] = np.arange(count + 1, count + len(kept) + 1)
    if len(kept) < len(table):
        mine = window > count
        window[mine] = dense[window[mine]]
    return kept.with_columns(label=dense[number[kept["label"]]].astype(np.int64))


def _keep_largest_piece(labels: NDArray[np.uint32], label: int) -> None:
    ys, xs = np.nonzero(labels == label)
    if not len(ys):
        return
    box = (slice(ys.min(), ys.max() + 1), slice(xs.min(), xs.max() + 1))
    inside = labels[box] == label
    pieces = components(inside.astype(np.int32))
    largest = int(np.bincount(pieces[inside]).argmax())
    labels[box][inside & (pieces != largest)] = 0


def _numbered(
    labels: NDArray[np.uint32], table: ObjectTable, exclude_border: bool, threads: int
) -> ObjectTable:
    """Give objects numbers in the order of their first pixels; leave out those at the plane's edge if that is asked for."""
    count = len(table)
    dropped = table.discarded
    kept = np.ones(count, bool)
    if exclude_border:
        edge = np.concatenate([labels[0], labels[-1], labels[1:-1, 0], labels[1:-1, -1]])
        pixels = np.bincount(edge, minlength=count + 1)[1:]
        kept = pixels == 0
        out = table.select(~kept)
        columns = {**out.columns, "reason": np.full(len(out), "touches_border", "U14")}
        columns["figure"] = pixels[~kept].astype(np.float64)
        assert dropped is not None
        dropped = concatenate([dropped, ObjectTable(columns)])
    order = in_raster_order(labels, count, threads)
    order = order[kept[order]]
    number = np.zeros(count + 1, np.uint32)
    number[order + 1] = np.arange(1, len(order) + 1)
    _native.map_labels(labels, number, threads)
    rows = ObjectTable(table.columns).select(order).with_columns(label=np.arange(1, len(order) + 1))
    if dropped is not None:
        dropped = dropped.with_columns(label=np.arange(1, len(dropped) + 1))
    return ObjectTable(rows.columns, dropped)


def _check_memory(blocks: list[Block], scale: float, channels: int, diameter_px: float) -> None:
    largest = max((y1 - y0) * (x1 - x0) for y0, x0, y1, x1 in (block.window for block in blocks))
    needed = working_bytes(channels, largest * max(1.0, scale) ** 2)
    free = free_memory()
    if free is not None and needed > free:
        raise ImageError(
            f"objects of about {diameter_px:.0f} px need blocks that take {needed / 2**30:.3g} GiB of memory, and "
            f"{free / 2**30:.3g} GiB are free: shrink the image, give a smaller --diameter if that is not their size, "
            "or use a machine with more"
        )
