"""The one place where the steps are joined: image, network, flows, labels, measurements.

::

    Source --resolve--> SegmentPlan --run--> SegmentationData
                          for each plane, or each volume: read > normalize > resize > tiles > engine > resize back
                          > dynamics > measure
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.blocks import WINDOW_PX, segment_in_blocks
from cellbrook.core.memory import free_memory
from cellbrook.core.objects import ObjectTable, concatenate
from cellbrook.core.plan import Diameter, SegmentPlan
from cellbrook.core.progress import NoProgress, Progress
from cellbrook.core.report import Report
from cellbrook.core.result import NetworkOutput, SegmentationData
from cellbrook.core.threads import resolve_threads
from cellbrook.dynamics import labels_from_flows, settled
from cellbrook.errors import ImageError, UsageError
from cellbrook.inference import LARGEST_WHOLE_PX, BeyondWholeError, infer, told_otherwise, working_bytes
from cellbrook.io.channels import order_by_role, resolve_channels
from cellbrook.io.pixel_size import side_of_pixel
from cellbrook.measure import measure
from cellbrook.measure.classify import ObjectClassifier, channels_of
from cellbrook.measure.intensity import column_names
from cellbrook.normalize import noise_channels, stack_ranges
from cellbrook.tracking import link, relabelled
from cellbrook.volumes import VOXEL_BYTES, infer_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from cellbrook.core.params import InputParams, SegmentParams
    from cellbrook.engines.base import Engine
    from cellbrook.io.source import Source
    from cellbrook.networks.base import NetworkSpec
    from cellbrook.networks.cp3.size import SizeModel
    from cellbrook.networks.store import ResolvedModel

log = logging.getLogger(__name__)

ROLES = ("cell", "nucleus")
"""What a channel can be for, to a network that takes channels in any order and so needs not to be told."""


def resolve(source: Source, model: ResolvedModel, params: SegmentParams) -> SegmentPlan:
    """Settle what will be done to an image.

    Raises
    ------
    UsageError
        If the wishes do not fit the image or the model; the message lists what there is.
    ImageError
        If the image has no pixels.
    """
    if 0 in source.shape:
        raise ImageError(f"{source.name} has no pixels: its shape is {source.shape} ({source.axes})")
    channels, names = _choose_channels(source, model, params.input_params.channels)
    projection = _projection(source, params.input_params.z)
    stack = "".join(a for a in "TZ" if a in source.axes and not (a == "Z" and projection is not None))
    _check_trackable(source, stack, params.input_params)
    diameter = Diameter.parse(params.model_params.diameter, side_of_pixel(source.pixel_size_um))
    return SegmentPlan(
        axes=source.axes,
        shape=tuple(source.shape),
        dtype=str(source.dtype),
        channels=channels,
        channel_names=names,
        stack_axes=stack,
        projection=projection,
        pixel_size_um=dict(source.pixel_size_um),
        diameter_px=diameter.px,
        target=_target(params.model_params.target, model, len(channels), source),
        model=model.name,
        model_sha256=model.sha256,
        params=settled_params(params, model),
        anisotropy=_anisotropy(source, params.input_params),
    )


def settled_params(params: SegmentParams, model: ResolvedModel) -> SegmentParams:
    """Return the parameters with what they leave to the model filled in."""
    return replace(params, mask_params=settled(params.mask_params, model.card.spec.score))


def _choose_channels(
    source: Source, model: ResolvedModel, wish: str | None
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    spec = model.card.spec
    chosen = resolve_channels(wish, source)
    indices, roles = chosen.indices, chosen.roles
    listed = ", ".join(f"{i} {n}" if str(i) != n else n for i, n in enumerate(source.channel_names))
    if any(roles):
        by_role = order_by_role(roles, spec.channel_roles or ROLES, model.name)
        if spec.channel_roles:  # a network that wants its channels in an order gets them so
            indices = tuple(indices[i] for i in by_role)
    if len(indices) > spec.channels and not (wish is None and source.is_rgb):
        raise UsageError(
            f"{source.name} has {len(indices)} channels ({listed}) and {model.name} takes up to {spec.channels}: "
            f"choose with --channels, such as --channels {','.join(str(i) for i in indices[: spec.channels])} (in the "
            "workspace: Channels that show the cells)"
        )
    return indices, tuple(source.channel_names[i] for i in indices)


def _roles_taken(plan: SegmentPlan, spec: NetworkSpec) -> str | None:
    """Return which channel was taken for what, where the network wants to know and nobody said."""
    wish = plan.params.input_params.channels
    if len(spec.channel_roles) < 2 or len(plan.channels) < 2 or "=" in (wish or ""):
        return None
    taken = ", ".join(
        f"{n} for the {r}" for r, n in zip(spec.channel_roles, plan.channel_names, strict=False)
    )
    other = ",".join(
        f"{r}={n}" for r, n in zip(spec.channel_roles, reversed(plan.channel_names), strict=False)
    )
    return f"{plan.model} took channel {taken}; if that is wrong, say --channels {other}"


def _target(wish: str, model: ResolvedModel, channels: int, source: Source) -> str:
    """Settle what to look for: the user's wish, else whole cells where there are several stains."""
    targets = model.card.spec.targets
    if wish != "auto":
        if wish not in targets:
            able = "compact" if not targets else " or ".join(targets)
            raise UsageError(
                f"{model.name} cannot be told to look for {wish}: leave out --target, or use {able}"
            )
        return wish
    return unasked_target(model.card.spec, channels, is_rgb=source.is_rgb)


def unasked_target(spec: NetworkSpec, channels: int, *, is_rgb: bool) -> str:
    """Return what is looked for where nobody says: whole cells where there are several stains."""
    return "cells" if spec.targets and channels > 1 and not is_rgb else "either"


def _projection(source: Source, wish: str | None) -> str | int | None:
    if wish is None:
        return None
    if "Z" not in source.axes:
        raise UsageError(f"--z {wish} needs a z-stack, but {source.name} has the axes {source.axes}")
    if wish in ("max", "mean"):
        return wish
    depth = source.shape[source.axes.index("Z")]
    plane = int(wish)
    if plane >= depth:
        raise UsageError(f"{source.name} has the z-planes 0 to {depth - 1}, got --z {plane}")
    return plane


def _anisotropy(source: Source, wishes: InputParams) -> float | None:
    """Return how many pixels planes of a volume lie apart; None where planes are segmented by themselves."""
    if not wishes.volume:
        return None
    if "Z" not in source.axes:
        raise UsageError(
            f"--volume needs a z-stack, but {source.name} has the axes {source.axes}: leave it out, or say with --axes "
            "what the dimensions are"
        )
    if wishes.anisotropy is not None:
        return wishes.anisotropy
    side, depth = side_of_pixel(source.pixel_size_um), source.pixel_size_um.get("Z")
    return depth / side if side and depth else 1.0


def _check_trackable(source: Source, stack: str, wishes: InputParams) -> None:
    if not wishes.track:
        return
    if "T" not in stack:
        raise UsageError(
            f"--track needs a time series, but {source.name} has the axes {source.axes}: leave it out, or say with --axes "
            "what the dimensions are"
        )
    if "Z" in stack and not wishes.volume:
        raise UsageError(
            f"{source.name} has several planes at each time: --track follows objects of one plane or of a volume, so add "
            "--volume, or --z max or the like"
        )


def read_planes(source: Source, plan: SegmentPlan) -> Iterator[tuple[dict[str, int], NDArray[Any]]]:
    """Yield each plane's place in the stack and its raw pixels (C, Y, X) of the chosen channels."""
    for place in np.ndindex(*_stack(source, plan)):
        index = dict(zip(plan.stack_axes, place, strict=True))
        yield index, _read_plane(source, plan, index)


def _read_plane(source: Source, plan: SegmentPlan, index: dict[str, int]) -> NDArray[Any]:
    selection: dict[str, int | slice] = dict(index)
    if isinstance(plan.projection, int):
        selection["Z"] = plan.projection
    channels = list(plan.channels)
    if "C" in source.axes and len(channels) == 1:
        selection["C"] = channels[0]
    elif "C" in source.axes:
        selection["C"] = slice(min(channels), max(channels) + 1)
        channels = [c - min(channels) for c in channels]
    pixels = source.read(selection)
    left = [a for a in source.axes if a not in selection or isinstance(selection[a], slice)]
    if plan.projection == "max":
        pixels = pixels.max(axis=left.index("Z"))
        left.remove("Z")
    elif plan.projection == "mean":
        pixels = pixels.mean(axis=left.index("Z"), dtype=np.float64).astype(np.float32)
        left.remove("Z")
    if "C" not in left:
        return pixels[None]
    return pixels if channels == list(range(len(pixels))) else pixels[channels]


def _stack(source: Source, plan: SegmentPlan) -> tuple[int, ...]:
    """Return the lengths of the axes along which planes are segmented one by one."""
    return tuple(source.shape[source.axes.index(a)] for a in plan.stack_axes)


def _read(source: Source, plan: SegmentPlan) -> NDArray[Any]:
    """Return all planes, (..., C, Y, X)."""
    pixels: NDArray[Any] | None = None
    stack = _stack(source, plan)
    for index, plane in read_planes(source, plan):
        pixels = _put(pixels, stack, tuple(index.values()), plane)
    assert pixels is not None
    return pixels


def _put(
    whole: NDArray[Any] | None, stack: tuple[int, ...], place: tuple[int, ...], plane: NDArray[Any]
) -> NDArray[Any]:
    """Put a plane into the array of all, which the first one brings about: never all planes twice in memory."""
    if not stack:
        return plane
    if whole is None:
        whole = np.empty((*stack, *plane.shape), plane.dtype)
    whole[place] = plane
    return whole


def run(
    source: Source,
    plan: SegmentPlan,
    model: ResolvedModel,
    engine: Engine,
    *,
    name: str,
    keep_output: bool = True,
    progress: Progress | None = None,
    report: Report | None = None,
) -> SegmentationData:
    """Segment an image as planned.

    Parameters
    ----------
    source : Source
        The image.
    plan : SegmentPlan
        From `resolve` for this image.
    model : ResolvedModel
        From which `engine` was made.
    engine : Engine
        Runs the network.
    name : str
        Stem of output files.
    keep_output : bool
        Keep flows and cellprob in the result (12 bytes a pixel).
    progress : Progress or None
        Told of every tile.
    report : Report or None
        Is told what happened.

    Raises
    ------
    Cancelled
        If `progress` says so.
    """
    progress = progress or NoProgress()
    threads = resolve_threads(plan.params.model_params.threads)
    report = report or Report()
    report.notes += source.notes
    report.notes += [
        n for n in (told_otherwise(plan, model.card.spec), _roles_taken(plan, model.card.spec)) if n
    ]
    _check_memory(source, plan, keep_output)
    with report.timed("read"):
        pixels = _read(source, plan)
    seen = _view_of_network(pixels, source, plan, model.card.spec, report)
    if plan.params.normalize_params.normalize and not source.is_rgb:
        silent = noise_channels(pixels)
        report.notes += [
            f"channel {plan.channel_names[c]} holds only noise: the model was not shown it" for c in silent
        ]
    stack = _stack(source, plan)
    ranges = _shared_ranges(seen(pixels), plan, threads, sparse=model.card.spec.sparse) if stack else None
    size_model = _size_model(model)
    classifier = ObjectClassifier.load(model.paths["classes"]) if "classes" in model.paths else None
    report.classes = classifier.names if classifier is not None else ()
    # of all planes together: a black one among colour has its colours too
    coloured = channels_of(pixels) if classifier is not None else None
    labels: NDArray[np.uint32] | None = None
    flows: NDArray[np.float32] | None = None
    cellprob: NDArray[np.float32] | None = None
    class_maps: NDArray[np.float32] | None = None
    output: NetworkOutput | None = None
    tables: list[ObjectTable] = []
    count = 0
    looks = plan.stack_axes if plan.anisotropy is None else plan.stack_axes.replace("Z", "")
    outer = stack[: len(looks)]  # a volume is looked at whole
    for place in np.ndindex(*outer):
        index = dict(zip(looks, place, strict=True))
        plane = pixels[place]
        image = seen(plane)
        around: dict[str, Any] = {"ranges": ranges, "size_model": size_model, "threads": threads}
        around |= {"report": report, "progress": progress}
        try:
            if plan.anisotropy is not None:
                output, facts = infer_volume(image, plan, model.card.spec, engine, **around)
            elif image[0].size > LARGEST_WHOLE_PX:
                raise BeyondWholeError
            else:
                output, facts = infer(image, plan, model.card.spec, engine, **around)
        except BeyondWholeError:
            plane_labels, table, output, facts = segment_in_blocks(
                image, plan, model.card.spec, engine, keep_output=keep_output, **around
            )
        else:
            with report.timed("flows to labels"):
                plane_labels, table = labels_from_flows(
                    output.flows,
                    output.cellprob,
                    plan.params.mask_params,
                    score_weights=model.card.spec.score,
                    threads=threads,
                )
        with report.timed("measure"):
            table = _measured(table, plane_labels, plane, source, plan, index, threads)
        if classifier is not None and plan.anisotropy is not None:
            report.notes.append("no classes: the model tells those of objects in a plane")
        elif classifier is not None:
            with report.timed("classes"):
                table = classified(table, plane_labels, plane, classifier, report, threads, channels=coloured)
        report.planes.append({**index, **facts, "objects": len(table), "discarded": table.discard_counts()})
        if index:
            table = _placed(table, index, count)
            plane_labels[plane_labels > 0] += np.uint32(count)
        count += len(table)
        tables.append(table)
        labels = _put(labels, outer, place, plane_labels)
        if keep_output and output is not None:
            flows = _put(flows, outer, place, output.flows)
            cellprob = _put(cellprob, outer, place, output.cellprob)
            if output.classes is not None:
                class_maps = _put(class_maps, outer, place, output.classes)
    assert labels is not None
    objects = concatenate(tables)
    if plan.params.input_params.track:
        with report.timed("track"):
            links = link(objects, labels, anisotropy=plan.anisotropy, threads=threads)
            labels = relabelled(labels, objects, links)
            of_track = {"label": links.track, "t": objects["t"], "parent": links.parent}
            objects = ObjectTable({**of_track, **objects.columns, **of_track}, objects.discarded)
            report.tracks = len(np.unique(links.track))
    if not keep_output:
        output = None
    elif outer and flows is not None and cellprob is not None:
        known = [p["diameter_px"] for p in report.planes if p["diameter_px"] is not None]
        output = NetworkOutput(flows, cellprob, class_maps, float(np.median(known)) if known else None)
    return SegmentationData(
        labels=labels,
        objects=objects,
        output=output,
        image=pixels,
        axes=plan.stack_axes + "YX",
        channel_names=plan.channel_names,
        pixel_size_um=_sizes(plan),
        name=name,
    )


def _measured(
    table: ObjectTable,
    labels: NDArray[np.uint32],
    plane: NDArray[Any],
    source: Source,
    plan: SegmentPlan,
    index: dict[str, int],
    threads: int,
) -> ObjectTable:
    """Return the table with measurements of every channel: what finds cells is seldom all that is asked of them."""
    names = names_of_channels(source)
    said: dict[str, Any] = {"pixel_size_um": _size_yx(plan), "threads": threads}
    if plan.anisotropy is not None:
        said |= {"pixel_size_um": _sizes(plan), "axes": "ZYX", "volume": True}
        table = ObjectTable({n: c for n, c in table.columns.items() if n != "area_px"}, table.discarded)
    if len(plan.channels) == len(names):
        return measure(labels, plane, channel_names=[names[c] for c in plan.channels], objects=table, **said)
    for c, name in enumerate(names):  # those that were not read are read one at a time
        if c in plan.channels:
            pixels = plane[..., plan.channels.index(c), :, :]
        else:
            other = replace(plan, channels=(c,))
            if plan.anisotropy is None:
                pixels = _read_plane(source, other, index)
            else:
                depth = range(len(labels))
                pixels = np.stack([_read_plane(source, other, {**index, "Z": z}) for z in depth])
        table = measure(labels, pixels, channel_names=[name], objects=table, **said)
    return table


def names_of_channels(source: Source) -> list[str]:
    """Return the names of all channels as they stand in columns of measurements."""
    count = source.shape[source.axes.index("C")] if "C" in source.axes else 1
    return column_names(source.channel_names, count)


def classified(
    table: ObjectTable,
    labels: NDArray[np.uint32],
    pixels: NDArray[Any],
    classifier: ObjectClassifier,
    report: Report,
    threads: int,
    *,
    channels: int | None = None,
) -> ObjectTable:
    """Return the table with ``class`` and ``class_prob``; as it was, with a note, where the model cannot tell.

    `channels` is as in `ObjectClassifier.classify`.
    """
    try:
        label, name, probability = classifier.classify(labels, pixels, channels=channels, threads=threads)
    except UsageError as error:
        report.notes.append(f"no classes: {error}")
        return table
    rows = np.searchsorted(label, table["label"])
    return table.with_columns(**{"class": name[rows], "class_prob": probability[rows]})


def _check_memory(source: Source, plan: SegmentPlan, keep_output: bool) -> None:
    """Refuse at the start what would run out of memory half-way; small images are not worth asking for."""
    sizes = dict(zip(source.axes, source.shape, strict=True))
    plane = sizes["Y"] * sizes["X"]
    planes = int(np.prod([sizes[a] for a in plan.stack_axes], dtype=np.int64))
    channels = len(plan.channels)
    working = working_bytes(channels, min(plane, WINDOW_PX**2))
    itemsize = 4 if plan.projection == "mean" else source.dtype.itemsize
    volume = sizes["Z"] if plan.anisotropy is not None else 0
    kept = 16 if volume else 12
    stored = plane * planes * (channels * itemsize + 4 + (kept if keep_output else 0))
    stored += plane * volume * VOXEL_BYTES
    if len(names_of_channels(source)) > channels:  # the others are measured one by one
        stored += plane * max(volume, 1) * itemsize
    free = free_memory() if working + stored > 2**30 else None
    if free is not None and working + stored > free:
        raise ImageError(
            f"{source.name}: segmenting {planes} x {sizes['Y']} x {sizes['X']} pixels needs about "
            f"{(working + stored) / 2**30:.3g} GiB of memory and {free / 2**30:.3g} GiB are free: crop or shrink it, "
            "choose fewer planes or channels, find only the cells in sight in the workspace, or use a machine with more"
        )


def _shared_ranges(
    image: NDArray[Any], plan: SegmentPlan, threads: int, *, sparse: bool
) -> NDArray[np.float64] | None:
    params = plan.params.normalize_params
    if not params.normalize or params.tile_norm_size > 0:
        return None
    return stack_ranges(image, params, sparse=sparse, threads=threads)


def _view_of_network(
    image: NDArray[Any], source: Source, plan: SegmentPlan, spec: NetworkSpec, report: Report
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return what gives the channels that the network sees, the same for all planes: gray saved as RGB is one channel."""
    if not (source.is_rgb and image.shape[-3] == 3):
        return lambda pixels: pixels
    if channels_of(image) == 1:
        return lambda pixels: pixels[..., :1, :, :]
    if spec.channels >= 3:
        return lambda pixels: pixels
    report.notes.append(f"colours were averaged to gray, since {plan.model} takes {spec.channels} channels")
    return lambda pixels: pixels.mean(axis=-3, keepdims=True, dtype=np.float32)


def _size_model(model: ResolvedModel) -> SizeModel | None:
    if "size" not in model.paths:
        return None
    from cellbrook.networks.cp3.size import SizeModel

    return SizeModel.load(model.paths["size"])


def _placed(table: ObjectTable, index: dict[str, int], offset: int) -> ObjectTable:
    """Give a plane's objects their place in the stack and their share of the numbering."""
    place = {axis.lower(): np.full(len(table), value) for axis, value in index.items()}
    first = {"label": table["label"] + np.uint32(offset), **place}
    dropped = None if table.discarded is None else _placed(table.discarded, index, 0)
    return ObjectTable({**first, **table.columns, **first}, dropped)  # in the order of `measure`


def _size_yx(plan: SegmentPlan) -> tuple[float, float] | None:
    y, x = plan.pixel_size_um.get("Y"), plan.pixel_size_um.get("X")
    return (y, x) if y is not None and x is not None else None


def _sizes(plan: SegmentPlan) -> tuple[float, ...] | None:
    size = _size_yx(plan)
    if size is None or "Z" not in plan.stack_axes:
        return size
    return (plan.pixel_size_um.get("Z", 1.0), *size) if "Z" in plan.pixel_size_um else size
