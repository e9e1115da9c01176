"""The dynamics in plain NumPy: slow, readable, and the specification that the kernels are tested against.

Nothing here is used at run time. Float32 arithmetic is written in the kernels' order, so that results are equal, not
merely close; sums over many pixels are the exception.
"""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

STRIDE, REST, BLOCK, MAX_BLOCKS = np.float32(3), np.float32(0.06), 6, 32
REACH = 2
MOST_PARTING, EVEN_PARTING, PRIOR_PAIRS, PRIOR_PARTING = 0.8, 0.5, 1.0, 1.5
ROUNDING = 1e-6
SHAPELESS_PIXELS, ERROR_FOR_PARTING = 40, 0.3
LARGEST_RATIO, LARGEST_SHAPE, MOST_WORK = 64, 2**16, 2000.0


def candidates(
    flows: NDArray[np.float32], cellprob: NDArray[np.float32], threshold: float = 0.0
) -> NDArray[np.int64]:
    """Return the candidates of `labels_from_flows` before any is discarded: pieces numbered in raster order."""
    inside = np.isfinite(cellprob) & (cellprob > np.float32(threshold)) & np.isfinite(flows).all(axis=0)
    basins = group_sinks(find_sinks(flows, inside), inside.shape)
    return split_into_pieces(join_basins(flows, basins))


def sample(field: NDArray[np.float32], positions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `field` (C, ...) between pixel centres at positions (n, D), linearly along the last axis first."""
    padded = np.pad(field, [(0, 0)] + [(0, 1)] * (field.ndim - 1))
    whole = positions.astype(np.int64)
    weight = positions - whole.astype(np.float32)

    def along(axis: int, corner: tuple[NDArray[np.int64], ...]) -> NDArray[np.float32]:
        if axis == positions.shape[1]:
            everywhere: tuple[Any, ...] = (slice(None), *corner)
            return np.asarray(padded[everywhere])
        low, high = (along(axis + 1, (*corner, whole[:, axis] + k)) for k in (0, 1))
        return np.asarray(low + weight[:, axis] * (high - low))

    return along(0, ())


def find_sinks(flows: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the sink of every pixel as an index of the flattened image, -1 for background."""
    shape = np.array(inside.shape)
    field = np.where(inside, flows, np.float32(0))
    last = (shape - 1).astype(np.float32)
    stride = np.full(inside.size, -1)
    rest = np.zeros(inside.size, bool)
    pixels = np.flatnonzero(inside)
    start = np.stack(np.unravel_index(pixels, inside.shape), axis=1).astype(np.float32)
    now = start.copy()
    for block in range(1, MAX_BLOCKS + 1):
        before = now.copy()
        for _ in range(BLOCK):
            now = np.clip(now + sample(field, now).T, np.float32(0), last)
        away = np.abs(now - start).max(axis=1, initial=0) >= STRIDE
        done = away | (np.abs(now - before).max(axis=1, initial=0) < REST) | (block == MAX_BLOCKS)
        ends = (now + np.float32(0.5)).astype(np.int64)
        stride[pixels[done]] = np.ravel_multi_index(tuple(ends[done].T), inside.shape)
        rest[pixels[done]] = ~away[done]
        pixels, start, now = pixels[~done], start[~done], now[~done]
    return np.array([_end_of_path(i, stride, rest) for i in range(inside.size)], np.int64).reshape(
        inside.shape
    )


def _end_of_path(pixel: int, stride: NDArray[np.int64], rest: NDArray[np.bool_]) -> int:
    """Follow strides until rest, the background, or round a cycle, which counts as its smallest pixel."""
    if stride[pixel] < 0:
        return -1
    path: list[int] = []
    while pixel not in path:
        if stride[pixel] < 0:
            return pixel
        if rest[pixel]:
            return int(stride[pixel])
        path.append(pixel)
        pixel = int(stride[pixel])
    return min(path[path.index(pixel) :])


def group_sinks(sinks: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return basins 1 ... n: sinks at most REACH apart (Chebyshev) are one."""
    places = np.unique(sinks[sinks >= 0])
    at = np.stack(np.unravel_index(places, shape), axis=1)
    near = np.abs(at[:, None] - at[None]).max(axis=2) <= REACH
    number = np.zeros(len(places), np.int64)
    count = 0
    for first in range(len(places)):
        if number[first]:
            continue
        count += 1
        todo = [first]
        while todo:
            k = todo.pop()
            if not number[k]:
                number[k] = count
                todo += np.flatnonzero(near[k] & (number == 0)).tolist()
    lookup = np.zeros(int(np.prod(shape)) + 1, np.int64)
    lookup[places] = number
    return np.asarray(lookup[sinks])  # -1 reads the last entry: 0


def _contacts(flows: NDArray[np.float32], basins: NDArray[np.int64]) -> dict[tuple[int, int], list[float]]:
    """Return for each pair of touching basins the number of facing pixel pairs and the sum of their parting."""
    found: dict[tuple[int, int], list[float]] = {}
    for place in np.ndindex(basins.shape):
        for axis in range(basins.ndim):
            step = np.eye(basins.ndim, dtype=int)[axis]
            i, j = np.array(place), np.array(place) + step
            if j[axis] >= basins.shape[axis]:
                continue
            a, b = int(basins[tuple(i)]), int(basins[tuple(j)])
            if a == b or not a or not b:
                continue
            back, ahead = i - step, j + step
            if back[axis] < 0 or basins[tuple(back)] != a:
                back = i
            if ahead[axis] >= basins.shape[axis] or basins[tuple(ahead)] != b:
                ahead = j
            parting = np.float32(flows[(axis, *ahead)]) - np.float32(flows[(axis, *back)])
            entry = found.setdefault((min(a, b), max(a, b)), [0, 0])
            entry[0] += 1
            entry[1] += float(np.rint(np.clip(float(parting), -4, 4) * 2**20))
    return found


def join_basins(flows: NDArray[np.float32], basins: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return basins after joining neighbours that are likelier one object than two, least parted first.

    The contacts of two joined basins add up. The error of a basin that a few pixels are joined to stays as it was.
    """
    basins = basins.copy()
    contacts = _contacts(flows, basins)
    refused: set[tuple[int, int, float, float]] = set()
    errors: dict[int, float] = {}
    work = [0.0]
    while True:
        pairs = []
        for (a, b), (n, total) in contacts.items():
            parting = (total / 2**20 + PRIOR_PAIRS * PRIOR_PARTING) / (n + PRIOR_PAIRS)
            if parting < MOST_PARTING and (a, b, n, total) not in refused:
                pairs.append((parting, a, b, n, total))
        if not pairs:
            return np.asarray(
                np.unique(basins, return_inverse=True)[1].reshape(basins.shape) + (basins.min() > 0)
            )
        parting, a, b, n, total = min(pairs)
        if not _is_one(flows, basins, a, b, parting, errors, work):
            refused.add((a, b, n, total))
            continue
        basins[basins == b] = a
        del contacts[(a, b)]
        for c in {k for pair in contacts for k in pair if b in pair} - {b}:
            more = contacts.pop((min(b, c), max(b, c)))
            entry = contacts.setdefault((min(a, c), max(a, c)), [0, 0])
            entry[0] += more[0]
            entry[1] += more[1]


def _is_one(
    flows: NDArray[np.float32],
    basins: NDArray[np.int64],
    a: int,
    b: int,
    parting: float,
    errors: dict[int, float],
    work: list[float],
) -> bool:
    """Return whether to join; `errors` of the basins are taken from, and of their union put into, the dict.

    `work` holds pixels times extents of the boxes that were solved so far.
    """
    in_a, in_b = basins == a, basins == b

    def error(inside: NDArray[np.bool_]) -> float:
        extents = [int(np.ptp(places)) + 1 for places in np.nonzero(inside)]
        work[0] += float(np.prod(extents)) * sum(extents)
        implied = flows_from_labels(inside.astype(np.int64))
        return float(((flows - implied) ** 2)[:, inside].sum(dtype=np.float64))

    smaller, larger_area = sorted((int(in_a.sum()), int(in_b.sum())))
    worth = (
        larger_area <= LARGEST_RATIO * smaller
        and smaller + larger_area <= LARGEST_SHAPE
        and work[0] < MOST_WORK * basins.size
    )
    if smaller < SHAPELESS_PIXELS or not worth:
        if parting >= EVEN_PARTING:
            return False
        larger = errors.get(a if in_a.sum() >= in_b.sum() else b)
        errors.pop(a, None)
        if larger is not None:
            errors[a] = larger
        return True
    for k, inside in ((a, in_a), (b, in_b)):
        if k not in errors:
            errors[k] = error(inside)
    together = error(in_a | in_b)
    rise = (together - errors[a] - errors[b]) / float(in_a.sum() + in_b.sum())
    if rise > ERROR_FOR_PARTING * (EVEN_PARTING - parting):
        return False
    errors[a] = together
    return True


def split_into_pieces(values: NDArray[np.int64], corners: bool = False) -> NDArray[np.int64]:
    """Return the connected pieces of equal values, numbered in raster order; 0 stays 0."""
    pieces = np.zeros(values.shape, np.int64)
    count = 0
    for seed in np.ndindex(values.shape):
        if not values[seed] or pieces[seed]:
            continue
        count += 1
        pieces[seed] = count
        todo = deque([seed])
        while todo:
            for place in _neighbours(todo.popleft(), values.shape, corners):
                if values[place] == values[seed] and not pieces[place]:
                    pieces[place] = count
                    todo.append(place)
    return pieces


def _neighbours(place: tuple[int, ...], shape: tuple[int, ...], corners: bool) -> Iterator[tuple[int, ...]]:
    for offset in itertools.product((-1, 0, 1), repeat=len(shape)):
        faces = sum(map(abs, offset))
        if faces == 0 or (faces > 1 and not corners):
            continue
        other = tuple(p + o for p, o in zip(place, offset, strict=True))
        if all(0 <= p < n for p, n in zip(other, shape, strict=True)):
            yield other


def flows_from_labels(labels: NDArray[Any]) -> NDArray[np.float64]:
    """Return unit flows (D, ...): each piece of each label heats up alone in its padded bounding box."""
    flows = np.zeros((labels.ndim, *labels.shape))
    for label in np.unique(labels[labels > 0]):
        pieces = split_into_pieces((labels == label).astype(np.int64), corners=labels.ndim == 2)
        for piece in range(1, pieces.max() + 1):
            inside = np.argwhere(pieces == piece)
            low, high = inside.min(axis=0), inside.max(axis=0) + 1
            box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            mask = pieces[box] == piece
            for axis, flow in enumerate(_flow_of_piece(mask)):
                flows[axis][box][mask] = flow[mask]
    return flows


def _flow_of_piece(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the direction of the steepest rise of heat after it has spread from the piece's centre."""
    ndim = mask.ndim
    inside = np.argwhere(mask)
    centre = inside[((inside - inside.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    steps = (2 if ndim == 2 else 6) * (sum(mask.shape) + ndim)
    offsets = [o for o in itertools.product((-1, 0, 1), repeat=ndim) if ndim == 2 or sum(map(abs, o)) <= 1]
    padded = np.pad(mask, 1)
    heat = np.zeros(padded.shape)
    for _ in range(steps):
        heat[tuple(centre + 1)] += 1
        spread = sum(np.roll(heat, o, axis=tuple(range(ndim))) for o in offsets)
        heat = np.where(padded, spread / len(offsets), 0)
    core = (slice(1, -1),) * ndim
    slopes = np.stack([(np.roll(heat, -1, a) - np.roll(heat, 1, a))[core] for a in range(ndim)])
    steep = np.abs(slopes).max(axis=0) > ROUNDING * heat[core]
    norm = np.sqrt((slopes**2).sum(axis=0))
    return np.asarray(np.divide(slopes, norm, out=np.zeros_like(slopes), where=steep))
