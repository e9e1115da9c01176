"""Limits that suit corrections: what a person drew, corrected, brought back or locked is found, what was deleted is not.

A few cells of each kind say enough, since only four numbers are searched: on what the network gave in the last run, which is
kept, so nothing is segmented anew.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.params import MaskParams, SegmentParams
from cellbrook.core.progress import NoProgress
from cellbrook.core.threads import resolve_threads
from cellbrook.dynamics import labels_from_flows
from cellbrook.errors import UsageError
from cellbrook.evaluation.grid import FLOW_LIMITS, OFF, SCORE_LIMITS, Grid, Setting
from cellbrook.metrics.matching import overlaps
from cellbrook.project.predict import cache_folder, calibration, read_cache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellbrook.core.objects import ObjectTable
    from cellbrook.core.progress import Progress
    from cellbrook.project.project import Project

LEAST_MARKS = 3
"""Fewer cells of a kind than this would decide by chance."""

_SAME = 0.5
"""IoU from which a candidate is the cell that was marked."""

_TIE = 0.01
"""F1 so close to the best is taken for equal: of these, the limits nearest to the usual ones are suggested."""


@dataclass(frozen=True, slots=True)
class LimitAdvice:
    """Limits that suit what was corrected.

    Parameters
    ----------
    keywords : dict
        ``cellprob_threshold``, ``flow_threshold``, ``min_score`` and ``min_size``, as `cellbrook.segment` takes them.
    wanted, unwanted : int
        Cells that a person drew, corrected, brought back or locked; that a person deleted.
    found, wrong : tuple of int
        How many of them the limits of before keep, and the suggested ones.
    f1 : tuple of float
        Of the two on these cells.
    """

    keywords: dict[str, Any]
    wanted: int
    unwanted: int
    found: tuple[int, int]
    wrong: tuple[int, int]
    f1: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Marks:
    """What a person said of the cells of one plane.

    Parameters
    ----------
    plane : int
        Its number.
    wanted, unwanted : ndarray of shape (Y, X), uint32
        Labels of cells that are to be found, and of those that are not.
    """

    plane: int
    wanted: NDArray[np.uint32]
    unwanted: NDArray[np.uint32]


def marks_of(project: Project, image: str) -> list[Marks]:
    """Return what was marked in an image, plane by plane; planes without marks are left out.

    A cell that was deleted and drawn anew is wanted.
    """
    store, log = project.labels(image), project.log(image)
    height, width = store.shape
    found = []
    for plane in range(store.planes):
        labels = store.read(plane)
        mine = [row.id for row in store.objects(plane) if row.protected]
        wanted = np.where(np.isin(labels, mine), labels, 0).astype(np.uint32)
        unwanted = np.array(log.deleted(plane, (0, 0, height, width)))
        area = np.bincount(unwanted.ravel())
        covered = np.bincount(unwanted[wanted > 0], minlength=len(area))
        unwanted[np.isin(unwanted, np.flatnonzero(2 * covered > area))] = 0
        if wanted.any() or unwanted.any():
            found.append(Marks(plane, wanted, unwanted))
    return found


def suggest_limits(
    project: Project,
    name: str,
    params: MaskParams | None = None,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> LimitAdvice:
    """Search the limits that keep the cells a person wants and leave out those that were deleted.

    Parameters
    ----------
    project : Project
        May be open for reading alone.
    name : str
        Id, name or path of an image that was segmented.
    params : MaskParams or None
        The limits of now; what is not searched (largest size, border) stays. None: the defaults.
    threads : int or None
        Processor threads. None: the cores this process may use.
    progress : Progress or None
        Told of cell probabilities that were tried; may cancel.

    Raises
    ------
    UsageError
        If fewer than three cells of either kind are marked, or the network's output is not kept.
    Cancelled
        If `progress` says so.
    """
    record = project.find(name)
    if record.in_volume:
        raise UsageError(
            f"limits are suggested for cells of planes: those of {record.name} were found in 3-D, so move the sliders"
        )
    marks = marks_of(project, record.id)
    wanted, unwanted = _counts(marks)
    if min(wanted, unwanted) < LEAST_MARKS:
        raise UsageError(
            "limits are suggested from cells that you drew, corrected, brought back or locked, and from cells that you "
            f"deleted: {LEAST_MARKS} of each are needed, and {record.name} has {wanted} and {unwanted}"
        )
    weights = calibration(cache_folder(project, record.run or {}))
    flows, cellprob = read_cache(project, record)
    return best_limits(marks, flows, cellprob, params, weights, threads=threads, progress=progress)


def best_limits(
    marks: Sequence[Marks],
    flows: NDArray[Any],
    cellprob: NDArray[Any],
    params: MaskParams | None = None,
    weights: tuple[float, ...] = (),
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> LimitAdvice:
    """Search the limits of the highest F1 on marked cells.

    Parameters
    ----------
    marks : sequence of Marks
        Of the planes that have any.
    flows, cellprob : ndarray of shape (P, 2, Y, X) and (P, Y, X)
        The network's output of all planes.
    params, threads, progress
        As for `suggest_limits`.
    weights : tuple of float
        The model's calibration of scores.
    """
    wanted, unwanted = _counts(marks)
    now = SegmentParams(mask_params=params or MaskParams())
    start, usual = Setting.of(now, weights), Setting.of(SegmentParams(), weights)
    grid = Grid((start.diameter,), limits=SCORE_LIMITS if weights else FLOW_LIMITS).including(start)
    found, wrong = np.zeros(grid.shape, np.int64), np.zeros(grid.shape, np.int64)
    every = dataclasses.replace(now.mask_params, flow_threshold=0.0, min_score=0.0, min_size=0)
    workers = resolve_threads(threads)
    progress = progress or NoProgress()
    progress.start("limits", len(marks) * len(grid.cellprob_thresholds))
    for mark in marks:
        output = flows[mark.plane].astype(np.float32), cellprob[mark.plane].astype(np.float32)
        for at, threshold in enumerate(grid.cellprob_thresholds):
            progress.check_cancelled()
            tried = dataclasses.replace(every, cellprob_threshold=threshold)
            labels, table = labels_from_flows(*output, tried, score_weights=weights, threads=workers)
            found[0, at] += _kept(mark.wanted, labels, table, grid, workers)
            wrong[0, at] += _kept(mark.unwanted, labels, table, grid, workers)
            progress.advance()
    f1 = 2 * found / (found + wrong + wanted)
    good = f1 >= f1.max() - _TIE
    place = np.unravel_index(int(np.where(good, grid.distance(usual), np.inf).argmin()), f1.shape)
    best = grid.at(tuple(int(i) for i in place))
    before = grid.index(start)
    keywords = best.keywords()
    del keywords["diameter"]
    return LimitAdvice(
        keywords,
        wanted,
        unwanted,
        (int(found[before]), int(found[place])),
        (int(wrong[before]), int(wrong[place])),
        (float(f1[before]), float(f1[place])),
    )


def _counts(marks: Sequence[Marks]) -> tuple[int, int]:
    """Return how many cells are wanted and unwanted."""
    counts = [[len(np.unique(kind[kind > 0])) for kind in (m.wanted, m.unwanted)] for m in marks]
    return sum(c[0] for c in counts), sum(c[1] for c in counts)


def _kept(
    marked: NDArray[np.uint32], labels: NDArray[np.uint32], table: ObjectTable, grid: Grid, threads: int
) -> NDArray[np.int64]:
    """Return how many marked cells limits and sizes keep, (limits, sizes)."""
    both = overlaps(marked, labels, threads=threads)
    ids = both.pred_ids[both.pred_index[both.iou >= _SAME]]
    rows = np.searchsorted(table["label"], ids)
    score, error, area = (table[n][rows] for n in ("score", "flow_error", "area_px"))
    passes = [
        (score >= limit.min_score) & ((error <= limit.flow_threshold) | (limit.flow_threshold == OFF))
        for limit in grid.limits
    ]
    large = [area >= size for size in grid.min_sizes]
    return np.array([[np.sum(p & big) for big in large] for p in passes], dtype=np.int64)
