"""Objects through time: which object of a frame is which of the next, and which divided.

From frame to frame, objects are assigned one to one so that the sum of what speaks for each pair is greatest [1]_: how near
it is to where it was, after the drift that all share, how much of it overlaps, and how alike in size they are. An object
that is missed is waited for during some frames. Where one appears beside an object of its size, and their middle is where a
single one was, both are its daughters.

.. [1] Jaqaman et al., Nat Methods 5, 695-702 (2008), of whose two steps this is the first, frame by frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellbrook._kernels import _native
from cellbrook.metrics.matching import overlaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.core.objects import ObjectTable

REACH = 1.5
"""How far an object may be from where it is expected, in typical diameters."""

MISSED = 2
"""Frames during which an object that is not seen is waited for."""

_WAITING = 0.6
"""What speaks for a pair counts so much less with each frame in between."""

_LEAST = 0.02
"""Less than this speaks for no pair."""

_DRIFT_OBJECTS, _DRIFT_REACH = 8, 4.0
"""Objects that a drift is told from, at least, and how far it may go between two frames, in diameters."""

_SISTERS, _MIDDLE, _ASIDE = 2.0, 0.6, 0.2
"""Daughters differ in size (area) by this factor at most, their middle lies so near to the mother, in diameters, and the one
that was taken for her at least so far off: what stays where it was has a new neighbour."""

_ROWS = 512


@dataclass(frozen=True, slots=True)
class Links:
    """What became of the objects of a time series.

    Parameters
    ----------
    track : ndarray of shape (n,), int64
        By row of the table: its track, counted from 1 in the order in which tracks begin.
    parent : ndarray of shape (n,), int64
        The track that this one came from by division; 0 for none.
    """

    track: NDArray[np.int64]
    parent: NDArray[np.int64]


def link(
    objects: ObjectTable,
    labels: NDArray[np.uint32],
    *,
    anisotropy: float | None = None,
    threads: int | None = None,
) -> Links:
    """Link the objects of a time series.

    Parameters
    ----------
    objects : ObjectTable
        One row an object of a frame, in order of ``t``, with ``label``, ``diameter_px`` and centroids.
    labels : ndarray of shape (T, Y, X) or (T, Z, Y, X), uint32
        A label occurs in one frame only.
    anisotropy : float or None
        Of volumes: distance of planes, in pixels.
    threads : int or None
        Processor threads. None: the cores this process may use.
    """
    n = len(objects)
    axes = "zyx"[3 - (labels.ndim - 1) :]
    place = np.stack([objects[f"centroid_{a}"] for a in axes], axis=1).astype(np.float64)
    if len(axes) == 3:
        place[:, 0] *= anisotropy or 1.0
    size = np.asarray(objects["diameter_px"], np.float64)
    typical = float(np.median(size)) if n else 1.0
    place /= typical
    time = np.asarray(objects["t"])
    row_of = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
    row_of[objects["label"]] = np.arange(n)
    track, parents = np.zeros(n, np.int64), [0]

    def begin(parent: int = 0) -> int:
        parents.append(parent)
        return len(parents) - 1

    waiting = np.zeros(0, np.int64)  # the rows where tracks that may go on were seen last
    since = np.zeros(0, np.int64)  # frames ago
    moved = np.zeros((0, len(axes)))  # the drift meanwhile
    for t in range(len(labels)):
        rows = np.flatnonzero(time == t)
        seen = waiting[since == 1]
        drift = _drift(place[seen], place[rows])
        moved = moved + drift
        expected = place[waiting] + moved
        iou = _iou(labels, t, row_of, threads) if len(seen) and len(rows) else {}
        partner = _assigned(expected, place[rows], waiting, rows, since, size, iou)
        linked = partner >= 0
        track[rows[partner[linked]]] = track[waiting[linked]]
        fresh = np.setdiff1d(np.arange(len(rows)), partner[linked])
        mothers = np.flatnonzero(linked & (since == 1))
        for new, mother in _divided(
            fresh, mothers, partner, expected, place[rows], size[waiting], size[rows]
        ):
            parent = int(track[waiting[mother]])
            for daughter in (partner[mother], new):
                track[rows[daughter]] = begin(parent)
        for new in fresh:
            if track[rows[new]] == 0:
                track[rows[new]] = begin()
        still = ~linked & (since <= MISSED)
        waiting = np.concatenate([waiting[still], rows])
        moved = np.concatenate([moved[still], np.zeros((len(rows), len(axes)))])
        since = np.concatenate([since[still] + 1, np.ones(len(rows), np.int64)])
    return Links(track, np.array(parents, np.int64)[track])


def relabelled(labels: NDArray[np.uint32], objects: ObjectTable, links: Links) -> NDArray[np.uint32]:
    """Return labels that carry the numbers of tracks."""
    number = np.zeros(int(labels.max(initial=0)) + 1, np.uint32)
    number[objects["label"]] = links.track
    return number[labels]


def _drift(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shift that most objects share: the densest place among the shifts of all pairs; none where few tell it."""
    nothing = np.zeros(before.shape[1])
    if min(len(before), len(after)) < _DRIFT_OBJECTS:
        return nothing
    shifts = np.concatenate(
        [
            step[np.abs(step).max(axis=1) <= _DRIFT_REACH]
            for start in range(0, len(before), _ROWS)
            for step in [(after[None] - before[start : start + _ROWS, None]).reshape(-1, before.shape[1])]
        ]
    )
    bins = [np.arange(-_DRIFT_REACH, _DRIFT_REACH + 0.51, 0.5)] * before.shape[1]
    counts, _ = np.histogramdd(shifts, bins)
    # a wide sum, so that the mode does not fall between two bins
    for axis in range(counts.ndim):
        wide = np.pad(counts, [(1, 1) if a == axis else (0, 0) for a in range(counts.ndim)])
        parts = [np.take(wide, np.arange(k, k + counts.shape[axis]), axis) for k in range(3)]
        counts = parts[0] + parts[1] + parts[2]
    best = np.unravel_index(int(counts.argmax()), counts.shape)
    centre = np.array([b[i] + 0.25 for b, i in zip(bins, best, strict=True)])
    near = shifts[np.abs(shifts - centre).max(axis=1) <= 0.75]
    # by chance as many lie anywhere: a drift is what half of the objects follow
    return np.median(near, axis=0) if len(near) >= 0.5 * min(len(before), len(after)) else nothing


def _iou(
    labels: NDArray[np.uint32], t: int, row_of: NDArray[np.int64], threads: int | None
) -> dict[tuple[int, int], float]:
    both = overlaps(labels[t - 1], labels[t], threads=threads)
    first, second = row_of[both.true_ids[both.true_index]], row_of[both.pred_ids[both.pred_index]]
    return dict(zip(zip(first.tolist(), second.tolist(), strict=True), both.iou.tolist(), strict=True))


def _assigned(
    expected: NDArray[np.float64],
    found: NDArray[np.float64],
    waiting: NDArray[np.int64],
    rows: NDArray[np.int64],
    since: NDArray[np.int64],
    size: NDArray[np.float64],
    iou: dict[tuple[int, int], float],
) -> NDArray[np.int64]:
    """Return, for each that waits, which of the objects found is it; -1 for none."""
    nobody = np.full(len(waiting), -1, np.int64)
    if not len(waiting) or not len(rows):
        return nobody
    pairs, distances = [], []
    for start in range(0, len(waiting), _ROWS):
        far = np.linalg.norm(expected[start : start + _ROWS, None] - found[None], axis=2)
        a, b = np.nonzero(far <= REACH)
        pairs.append(np.stack([a + start, b], axis=1))
        distances.append(far[a, b])
    both, far = np.concatenate(pairs), np.concatenate(distances)
    first, second = waiting[both[:, 0]], rows[both[:, 1]]
    shared = np.array([iou.get(pair, 0.0) for pair in zip(first.tolist(), second.tolist(), strict=True)])
    alike = np.minimum(size[first], size[second]) / np.maximum(size[first], size[second])
    weight = (np.exp(-(far**2)) + shared) / 2 * alike * _WAITING ** (since[both[:, 0]] - 1)
    good = weight >= _LEAST
    both, weight = both[good], weight[good]
    start_of = np.searchsorted(both[:, 0], np.arange(len(waiting) + 1))
    chosen: NDArray[np.int64] = _native.assign(
        len(rows), start_of.astype(np.int64), np.ascontiguousarray(both[:, 1]), np.ascontiguousarray(weight)
    )
    return chosen


def _divided(
    fresh: NDArray[np.int64],
    mothers: NDArray[np.int64],
    partner: NDArray[np.int64],
    expected: NDArray[np.float64],
    found: NDArray[np.float64],
    size_before: NDArray[np.float64],
    size_now: NDArray[np.float64],
) -> list[tuple[int, int]]:
    """Return pairs of a new object and the one that waited (by index) whose other daughter it is, the surest first."""
    sure: list[tuple[float, int, int]] = []
    if not len(mothers):
        return []
    sisters = partner[mothers]
    aside = np.linalg.norm(found[sisters] - expected[mothers], axis=1)
    for new in fresh.tolist():
        ratio = size_now[new] / size_now[sisters]
        middle = (found[new] + found[sisters]) / 2
        off = np.linalg.norm(middle - expected[mothers], axis=1)
        apart = np.linalg.norm(found[new] - found[sisters], axis=1)
        able = (np.maximum(ratio, 1 / ratio) ** 2 <= _SISTERS) & (off <= _MIDDLE) & (apart <= 2 * REACH)
        able &= aside >= _ASIDE
        able &= np.maximum(size_now[new], size_now[sisters]) <= 1.15 * size_before[mothers]
        sure += [(float(off[k]), new, int(mothers[k])) for k in np.flatnonzero(able)]
    taken_new: set[int] = set()
    taken_mothers: set[int] = set()
    pairs = []
    for _, new, mother in sorted(sure):
        if new not in taken_new and mother not in taken_mothers:
            pairs.append((new, mother))
            taken_new.add(new)
            taken_mothers.add(mother)
    return pairs
