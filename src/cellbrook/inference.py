"""The network on one plane: at which scale, in which tiles, and back to the plane's own resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.memory import free_memory
from cellbrook.core.params import MaskParams
from cellbrook.core.progress import CancelOnly
from cellbrook.core.result import NetworkOutput
from cellbrook.dynamics import labels_from_flows
from cellbrook.errors import EngineMemoryError, ImageError, ModelError
from cellbrook.networks.base import TARGET_VALUES
from cellbrook.normalize import normalize
from cellbrook.resize import resize, scaled_shape
from cellbrook.tiles import plan_tiles, run_tiled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from cellbrook.core.objects import ObjectTable
    from cellbrook.core.plan import SegmentPlan
    from cellbrook.core.progress import Progress
    from cellbrook.core.report import Report
    from cellbrook.engines.base import Engine
    from cellbrook.networks.base import NetworkSpec
    from cellbrook.networks.cp3.size import SizeModel

LARGEST_WHOLE_PX = 2**26
"""Pixels, as the network sees them, up to which a plane is worked on at once; whatever the machine has, so that results do
not depend on it."""

WORKING_BYTES = 56
"""Bytes a pixel that network outputs, blending and dynamics take at their peak, measured at 4096 x 4096."""

MAX_ENLARGEMENT = 3.0
"""Small objects are enlarged up to this: beyond it the time grows with the square and nothing new is seen."""

LOWEST_SCALE = 1 / 16

MAX_PASSES = 3
"""How often a network that estimates the size of objects may look at an image, each time at a better scale."""

CLEAR_LOGIT, CLEAR_SHARE = 2.0, 0.05
"""A size is believed if this share of the foreground has a cellprob above this logit. In cells it is a seventh at least;
noise and shading have none, and would be enlarged until they look like cells."""

SCALES_PER_OCTAVE = 4
"""How finely a network's own estimate of the size chooses the scale. The estimate differs in its last digits between tilings
and frames of a film; the scale must not, for objects at a threshold flip with it."""

SURE_SCORE, SURE_PART, SURE_PX = 0.9, 4, (32, 128)
"""Mean score of objects above which the scale is hardly doubted. A look as below would cost most images as much as all else,
so it goes to a window of this part of the image's side then, within this range of pixels. It is for networks that were
taught a few images, which are surer of everything."""

DOUBT_PX = 256
"""Side of the window, as the network sees it, that is looked at closer where the scale is doubted."""

CLOSER, GAIN, DOUBT_LEFT, TELLING = 2.0, 1.3, 0.8, 8
"""How much closer; how many times as many right objects, and at most which part of the wrong ones' share, are to be expected
there before the whole image is seen so; and how many objects that must be, for fewer tell too little."""

MORE, STILL = 1.2, 1.1
"""If this many times as many objects come to light, right or not, it is looked at as close as it may be, too; and how many
times as many right ones there must be there."""

MOSTLY, KEPT = 0.5, 0.97
"""A closer look that is less sure of the whole is taken all the same if more than this part of all area was sure before, and
this part of it is found again."""

COARSER, RIGHT_MORE = 2**-0.75, 1.1
"""Where the mean score of the area is below `SURE_SCORE`, the image is also seen at the scale that suits most of the area
rather than most objects, if that is so much smaller: grains beside large cells are many. It is kept if there, by area, the
wrong part falls by a fifth and a tenth more is right."""


class BeyondWholeError(Exception):
    """Raised where a plane has to be seen so much enlarged that it is too large to be worked on at once."""


def working_bytes(channels: int, pixels: float) -> int:
    """Return the memory that so many pixels take while they are worked on, as the network sees them."""
    return int(pixels) * (WORKING_BYTES + channels * 4)


def infer(
    image: NDArray[Any],
    plan: SegmentPlan,
    spec: NetworkSpec,
    engine: Engine,
    *,
    ranges: NDArray[np.float64] | None = None,
    size_model: SizeModel | None = None,
    order: Sequence[int] | None = None,
    threads: int,
    report: Report,
    progress: Progress,
) -> tuple[NetworkOutput, dict[str, Any]]:
    """Run the network on one plane at the scale that suits it.

    A network that estimates the size of objects, itself or by a size model, runs once at the image's own
    scale, and again only if the estimate is outside the diameters that it segments well: of very small objects
    the first estimate is too large, and the second better. An estimate may also be wrong in its kind: small cells lie in
    groups that look like large cells. So a part is looked at closer, a larger one where the scores of the objects are low.
    Or it is that of debris, whose grains outnumber the cells: where most of the area is of far larger objects, these are
    looked for too.

    Parameters
    ----------
    image : ndarray of shape (C, Y, X)
        Raw pixels.
    ranges : ndarray of shape (C, 2) or None
        What becomes 0 and 1 in each channel. None: the image's own percentiles.
    order : sequence of int or None
        Of the channels, for a network to which it means nothing. None: the image's own.

    Returns
    -------
    NetworkOutput
        At the image's own resolution.
    dict
        Scale, diameter and tiles, for the report.

    Raises
    ------
    BeyondWholeError
        If the scale makes it larger than `LARGEST_WHOLE_PX`.
    ImageError
        If what the scale makes of it does not fit the memory.
    """
    with report.timed("normalize"):
        x = normalize(image, plan.params.normalize_params, ranges=ranges, sparse=spec.sparse, threads=threads)
        if spec.order_free:
            x = _ordered(x, channel_order(x) if order is None else order)
    rows, cols = x.shape[-2:]
    scale = 1.0
    assumed = plan.diameter_px if plan.diameter_px is not None else spec.default_diameter_px
    if assumed is not None and spec.object_diameter_px is not None:
        scale = _limited(spec.object_diameter_px / assumed)
    maps: dict[str, NDArray[np.float32]] = {}
    passes: list[float] = []
    tiles, diameter = 0, None

    def look(at: float) -> None:
        """See the plane at a scale, and say what diameter that shows."""
        nonlocal maps, tiles, diameter
        _check_size(x, at)
        maps, more = _at_scale(x, at, plan, spec, engine, threads, report, progress)
        seen = _estimated_diameter(maps, None if passes else size_model)
        diameter = seen / at if seen is not None else diameter
        tiles += more
        passes.append(at)

    look(scale)
    doubted = plan.diameter_px is None and bool(spec.score) and "log_diameter" in maps
    large = typical_diameter(maps, by_area=True) if doubted else None
    low, high = spec.diameter_range_px
    while (
        plan.diameter_px is None
        and diameter is not None
        and not low <= diameter * passes[-1] <= high
        and len(passes) < MAX_PASSES
    ):
        better = _scale_for(diameter, spec, in_steps=size_model is None)
        if better in passes:
            break
        look(better)
    if doubted:
        aside = CancelOnly(progress)
        closer = _closer_scale(x, maps, passes[-1], plan, spec, engine, threads, report, aside)
        if closer is not None:
            before = maps, diameter
            look(closer)
            if not _better(before[0], maps, spec, threads, report):
                maps, diameter = before
                passes.pop()
    if large is not None:
        large /= passes[0]
        coarser = passes[0] if low <= large * passes[0] <= high else _scale_for(large, spec)
        if coarser <= COARSER * passes[-1]:
            right, wrong = _right_and_wrong(maps, passes[-1], spec, threads, report)
            if wrong > 1 - SURE_SCORE:
                before = maps, diameter
                look(coarser)
                diameter = large
                right_now, wrong_now = _right_and_wrong(maps, coarser, spec, threads, report)
                if right_now < RIGHT_MORE * right or wrong_now > DOUBT_LEFT * wrong:
                    maps, diameter = before
                    passes.pop()
    with report.timed("resize"):
        flows = resize(np.ascontiguousarray(maps["flow"]), (rows, cols), threads=threads)
        cellprob = resize(np.ascontiguousarray(maps["cellprob"]), (rows, cols), threads=threads)[0]
        classes = (
            resize(np.ascontiguousarray(maps["class"]), (rows, cols), threads=threads)
            if "class" in maps
            else None
        )
    known = plan.diameter_px if plan.diameter_px is not None else diameter
    output = NetworkOutput(flows=flows, cellprob=cellprob, classes=classes, diameter_px=known)
    return output, {"scales": passes, "diameter_px": known, "tiles": tiles}


def channel_order(x: NDArray[np.float32]) -> list[int]:
    """Return the order of normalised channels by what they show, not by where the file has them: the fullest field first."""
    means = [float(channel.mean(dtype=np.float64)) for channel in x]
    return sorted(range(len(x)), key=lambda c: -means[c])


def _ordered(x: NDArray[np.float32], order: Sequence[int]) -> NDArray[np.float32]:
    return x if list(order) == list(range(len(x))) else x[list(order)]


def _estimated_diameter(maps: dict[str, NDArray[np.float32]], size_model: SizeModel | None) -> float | None:
    """Return the diameter that a network or its size model sees, in pixels of the network's input."""
    if "log_diameter" in maps:
        return typical_diameter(maps)
    if size_model is not None and "style" in maps:
        return size_model.diameter_px(maps["style"])
    return None


def _closer_scale(
    x: NDArray[np.float32],
    maps: dict[str, NDArray[np.float32]],
    scale: float,
    plan: SegmentPlan,
    spec: NetworkSpec,
    engine: Engine,
    threads: int,
    report: Report,
    progress: Progress,
) -> float | None:
    """Return the larger scale at which most of the objects seen are right, and surer than here; None if there is none.

    What is seen is the window that is fullest of objects. Scores are probabilities, so their sum is how many are right.
    """
    window, cut, scores = _fullest_scores(maps, DOUBT_PX, spec, threads, report)
    if not len(scores):
        return None
    wrong = 1 - scores.mean()
    if scores.mean() > SURE_SCORE:
        rows, columns = maps["cellprob"].shape[-2:]
        side = int(np.clip(np.sqrt(rows * columns) / SURE_PART, *SURE_PX))
        window, cut, scores = _fullest_scores(maps, side, spec, threads, report)
        if not len(scores):
            return None
        # a piece of an object does not tell how sure the model is of the whole
        wrong = 1 - scores.mean() if cut else max(wrong, 1 - scores.mean())
    inside = tuple(slice(int(side.start / scale), int(np.ceil(side.stop / scale))) for side in window)
    best, right = None, GAIN * scores.sum()
    for closer in dict.fromkeys((CLOSER * scale, MAX_ENLARGEMENT)):
        if closer > MAX_ENLARGEMENT:
            break
        near, _ = _at_scale(x[:, *inside], closer, plan, spec, engine, threads, report, progress)
        seen = _scores(near, cut, spec, threads, report)
        surer = len(seen) >= TELLING and 1 - seen.mean() < DOUBT_LEFT * wrong
        if surer and seen.sum() > right:
            best, right = closer, STILL * seen.sum()
        if len(seen) < MORE * len(scores):
            break
    return best


def _fullest_scores(
    maps: dict[str, NDArray[np.float32]], side: int, spec: NetworkSpec, threads: int, report: Report
) -> tuple[tuple[slice, slice], bool, NDArray[np.float64]]:
    """Return the window that is fullest of objects, whether those at its edge are cut, and the others' scores.

    Where none is whole, what is seen of them counts: groups of small cells may be larger than the window.
    """
    cellprob = maps["cellprob"][0]
    y0, x0 = _fullest(cellprob > 0, side)
    window = (slice(y0, y0 + side), slice(x0, x0 + side))
    part = {name: maps[name][:, *window] for name in ("flow", "cellprob")}
    cut = part["cellprob"][0].shape != cellprob.shape
    scores = _scores(part, cut, spec, threads, report)
    if cut and not len(scores):
        return window, False, _scores(part, False, spec, threads, report)
    return window, cut, scores


def _fullest(inside: NDArray[np.bool_], side: int) -> tuple[int, int]:
    """Return the corner of the window with most of `inside`, of windows that overlap by half."""
    rows, columns = (sorted({*range(0, max(n - side, 0), side // 2), max(n - side, 0)}) for n in inside.shape)
    return max(
        ((y, x) for y in rows for x in columns),
        key=lambda at: np.count_nonzero(inside[at[0] : at[0] + side, at[1] : at[1] + side]),
    )


def _better(
    before: dict[str, NDArray[np.float32]],
    after: dict[str, NDArray[np.float32]],
    spec: NetworkSpec,
    threads: int,
    report: Report,
) -> bool:
    """Tell whether a closer look at the whole shows less that is wrong, or loses nothing of what was sure.

    A window does not stand for the whole: grains beside large cells are many, but little of the area.
    """
    from cellbrook.metrics.matching import matching

    (labels, objects), (closer, seen) = (
        _objects(maps, MaskParams(), spec, threads, report) for maps in (before, after)
    )
    if _expected(seen)[1] < DOUBT_LEFT * _expected(objects)[1]:
        return True
    area = np.asarray(objects["area_px"], np.float64)
    sure = np.where(objects["score"] > SURE_SCORE, area, 0)
    if sure.sum() <= MOSTLY * area.sum():
        return False
    rows, cols = (np.arange(n) * m // n for n, m in zip(labels.shape, closer.shape, strict=True))
    still = matching(labels, closer[np.ix_(rows, cols)], 0.5, threads=threads).pairs[:, 0]
    return bool(sure[np.isin(objects["label"], still)].sum() >= KEPT * sure.sum())


def _right_and_wrong(
    maps: dict[str, NDArray[np.float32]], scale: float, spec: NetworkSpec, threads: int, report: Report
) -> tuple[float, float]:
    """Return the area that is expected to be right, in pixels of the image, and the share of all area that is not."""
    _, objects = _objects(maps, MaskParams(), spec, threads, report)
    right, wrong = _expected(objects)
    return right / scale**2, wrong


def _expected(objects: ObjectTable) -> tuple[float, float]:
    """Return the area that is expected to be right, and the share of all area that is expected to be wrong."""
    area = np.asarray(objects["area_px"], np.float64)
    right = float((area * objects["score"]).sum())
    return right, 1 - right / max(float(area.sum()), 1.0)


def _scores(
    maps: dict[str, NDArray[np.float32]], cut: bool, spec: NetworkSpec, threads: int, report: Report
) -> NDArray[np.float64]:
    """Return the scores of the objects of a part, as the network sees it; if it is cut out, without those at its edge."""
    _, objects = _objects(maps, MaskParams(exclude_border=cut), spec, threads, report)
    return np.asarray(objects["score"], np.float64)


def _objects(
    maps: dict[str, NDArray[np.float32]],
    params: MaskParams,
    spec: NetworkSpec,
    threads: int,
    report: Report,
) -> tuple[NDArray[np.uint32], ObjectTable]:
    with report.timed("flows to labels"):
        return labels_from_flows(
            np.ascontiguousarray(maps["flow"]),
            np.ascontiguousarray(maps["cellprob"][0]),
            params,
            score_weights=spec.score,
            threads=threads,
        )


def told_otherwise(plan: SegmentPlan, spec: NetworkSpec) -> str | None:
    """Return what to say where the network cannot be shown objects of the diameter that was given; None where it can."""
    given, usual = plan.diameter_px, spec.object_diameter_px
    if given is None or usual is None or _limited(usual / given) == usual / given:
        return None
    least, most = usual / MAX_ENLARGEMENT, usual / LOWEST_SCALE
    return (
        f"{plan.model} can be shown objects of {least:.0f} to {most:.0f} px: the diameter {given:g} px was taken as "
        f"{least if given < least else most:.0f} px"
    )


def _check_size(x: NDArray[np.float32], scale: float) -> None:
    pixels = x[0].size * scale**2
    if pixels > LARGEST_WHOLE_PX:
        raise BeyondWholeError
    needed = working_bytes(len(x), pixels)
    free = free_memory() if needed > 2**30 else None
    if free is not None and needed > free:
        raise ImageError(
            f"its objects are so small that the network has to see it {scale:.2g} times as large, which takes about "
            f"{needed / 2**30:.3g} GiB of memory, and {free / 2**30:.3g} GiB are free: crop it, give a larger --diameter if "
            "that is not their size, find only the cells in sight in the workspace, or use a machine with more"
        )


def _scale_for(diameter: float, spec: NetworkSpec, *, in_steps: bool = True) -> float:
    """Return the scale at which objects of a diameter have the one that the network likes."""
    assert spec.object_diameter_px is not None
    scale = spec.object_diameter_px / diameter
    if in_steps:
        scale = 2.0 ** (round(np.log2(scale) * SCALES_PER_OCTAVE) / SCALES_PER_OCTAVE)
    return _limited(scale)


def _limited(scale: float) -> float:
    return float(np.clip(scale, LOWEST_SCALE, MAX_ENLARGEMENT))


def _at_scale(
    x: NDArray[np.float32],
    scale: float,
    plan: SegmentPlan,
    spec: NetworkSpec,
    engine: Engine,
    threads: int,
    report: Report,
    progress: Progress,
) -> tuple[dict[str, NDArray[np.float32]], int]:
    params = plan.params.tile_params
    with report.timed("resize"):
        scaled = resize(x, scaled_shape((x.shape[-2], x.shape[-1]), scale), threads=threads)
    side = params.tile_size or spec.tile_size
    # what suits the model's own tile may be all of a smaller one
    own_overlap = min(spec.tile_overlap, side // 2, side - spec.stride)
    tiles = plan_tiles(
        (scaled.shape[-2], scaled.shape[-1]),
        tile_size=side,
        overlap=params.tile_overlap if params.tile_overlap is not None else own_overlap,
        stride=spec.stride,
        fixed=spec.fixed_tile,
    )
    run = _with_planes(engine.run, spec, plan.target)
    # on a processor a batch gains nothing and takes its memory
    batch = params.batch_size or (1 if engine.info.device == "cpu" else 8)
    progress.start("tile", len(tiles))
    with report.timed("network"):
        while True:
            try:
                maps = run_tiled(
                    scaled, run, tiles, batch_size=batch, augment=params.augment, progress=progress
                )
                engine.release()  # before the dynamics take their share
                _check_finite(maps, scaled, plan.model)
                return maps, len(tiles)
            except EngineMemoryError as error:
                if batch == 1:
                    other = "a smaller --tile-size"
                    if spec.fixed_tile:
                        other = "a machine with more" if engine.info.device == "cpu" else "--device cpu"
                    raise EngineMemoryError(
                        f"no memory on {engine.info.device} for one tile of {side} x {side} px: use {other}"
                    ) from error
                batch //= 2
                report.notes.append(f"the device ran out of memory: went on with {batch} tiles at once")


def _check_finite(maps: dict[str, NDArray[np.float32]], x: NDArray[np.float32], model: str) -> None:
    """Refuse what a diverged training gives: no pixel of it would belong to an object, and nothing would be said."""
    if all(np.isfinite(maps[name]).all() for name in ("flow", "cellprob")) or not np.isfinite(x).all():
        return
    raise ModelError(
        f"model {model!r} gives NaN or infinity for an image that has none: its training diverged or its weights"
        " are damaged; use another model"
    )


def _with_planes(
    run: Callable[[NDArray[np.float32]], dict[str, NDArray[np.float32]]], spec: NetworkSpec, target: str
) -> Callable[[NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """Fill missing channels with zeros and add the target's plane, tile by tile rather than for the whole image."""

    def filled(x_BCYX: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        if x_BCYX.shape[1] == spec.planes:
            return run(x_BCYX)
        full = np.zeros((x_BCYX.shape[0], spec.planes, *x_BCYX.shape[2:]), np.float32)
        full[:, : x_BCYX.shape[1]] = x_BCYX
        if spec.targets:
            full[:, spec.channels] = TARGET_VALUES[target]
        return run(full)

    return filled


def typical_diameter(maps: dict[str, NDArray[np.float32]], *, by_area: bool = False) -> float | None:
    """Return the median diameter over objects, in pixels of the maps; None if nothing is clearly seen.

    Every pixel votes for the size of the object it is in, with a weight of one over that object's area, so
    that large objects do not outvote small ones; with `by_area` they do.
    """
    log_diameter = maps["log_diameter"][0].astype(np.float64)
    rows, cols = maps["cellprob"].shape[-2:]
    # the map has a value for so many pixels; the last ones may reach beyond the image
    ratio = max(1, rows / log_diameter.shape[0], cols / log_diameter.shape[1])
    step = 1 << int(np.ceil(np.log2(ratio)))
    y = np.minimum(np.arange(log_diameter.shape[0]) * step + step // 2, rows - 1)
    x = np.minimum(np.arange(log_diameter.shape[1]) * step + step // 2, cols - 1)
    cellprob = maps["cellprob"][0][np.ix_(y, x)]
    inside = cellprob > 0
    if np.count_nonzero(cellprob > CLEAR_LOGIT) <= CLEAR_SHARE * np.count_nonzero(inside):
        return None
    votes = np.sort(log_diameter[inside])
    weights = np.ones_like(votes) if by_area else np.exp(-2 * votes)
    half = np.searchsorted(np.cumsum(weights), weights.sum() / 2)
    return float(np.exp(votes[min(half, len(votes) - 1)]))
