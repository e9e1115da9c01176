"""Where objects lie and which pixels they own.

Objects are star-convex: a table of radii over the angle. The `relative radius` of a pixel is its distance
from the object's centre over the object's radius in that direction: 0 at the centre, 1 on the outline.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cellbrook.core.labels import components

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.floating[Any]]

N_ANGLES = 192
MIN_AREA_PX = 10


@dataclass(frozen=True, slots=True)
class Stamped:
    """Objects painted on a canvas.

    Attributes
    ----------
    labels : ndarray of shape (Y, X), int32
        0 = background, otherwise 1 + the object's index.
    rho : ndarray of shape (Y, X), float32
        Relative radius in the owning object; 1 or more outside.
    """

    labels: NDArray[np.int32]
    rho: Field


def angles() -> Field:
    """Return the angles of a radius table, in radians from -pi, counted from +X towards +Y."""
    return ((np.arange(N_ANGLES) + 0.5) * (2 * np.pi / N_ANGLES) - np.pi).astype(np.float32)


def ellipses(radius: Field, elongation: Field, angle: Field) -> Field:
    """Return radius tables (N, angles) of ellipses with the area of circles of `radius` px."""
    theta = angles()[None, :] - angle[:, None]
    root = np.sqrt(elongation)[:, None]
    return np.asarray(
        radius[:, None] / np.sqrt((np.cos(theta) / root) ** 2 + (np.sin(theta) * root) ** 2), dtype=np.float32
    )


def roughen(rng: np.random.Generator, table: Field, amount: float, first: int = 2, last: int = 6) -> Field:
    """Return radius tables whose outlines wobble with `first` to `last` waves a turn; areas are kept."""
    n = len(table)
    theta = angles()[None, :]
    log_change = np.zeros_like(table)
    for k in range(first, last + 1):
        size = amount * (first / k) * np.abs(rng.standard_normal((n, 1), dtype=np.float32))
        log_change += size * np.cos(k * theta + rng.uniform(0, 2 * np.pi, (n, 1)).astype(np.float32))
    return keep_area(table * np.exp(log_change), table)


def bump(
    table: Field,
    angle: Field,
    width: Field | float,
    height: Field | float,
    sharp: bool = False,
) -> Field:
    """Return radius tables multiplied by 1 + height at `angle`: a lobe, a dent or (`sharp`) a thin process.

    A sharp bump falls off exponentially on both sides, so that the process tapers towards its tip.
    """
    at = np.reshape((np.asarray(angle, np.float32) + np.pi) % (2 * np.pi) - np.pi, (-1, 1)).astype(np.float32)
    away = np.abs(angles()[None, :] - at)
    away = np.minimum(away, np.float32(2 * np.pi) - away)
    scaled = away / np.reshape(np.asarray(width, np.float32), (-1, 1))
    shape = np.exp(-scaled) if sharp else np.exp(-0.5 * scaled**2)
    grown = table * (1 + np.reshape(np.asarray(height, np.float32), (-1, 1)) * shape)
    return np.asarray(grown, dtype=np.float32)


def keep_area(table: Field, like: Field) -> Field:
    """Return `table` scaled so that each object has the area it has in `like`."""
    factor = np.sqrt((like**2).mean(axis=1) / (table**2).mean(axis=1))
    return np.asarray(table * factor[:, None], dtype=np.float32)


@lru_cache(maxsize=256)
def _polar(half: int) -> tuple[Field, NDArray[np.intp]]:
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    index = ((np.arctan2(y, x) + np.pi) * (N_ANGLES / (2 * np.pi))).astype(np.intp) % N_ANGLES
    return np.hypot(y, x), index


def stamp(
    shape: tuple[int, int],
    centres: Field,
    table: Field,
    rule: Literal["front", "nearest"] = "front",
    owner: NDArray[np.int32] | None = None,
) -> Stamped:
    """Paint star-convex objects.

    Parameters
    ----------
    shape : tuple of int
        (Y, X) of the canvas.
    centres : ndarray of shape (N, 2), float32
        (y, x) in px; objects may lie partly outside.
    table : ndarray of shape (N, angles), float32
        Radii in px.
    rule : {"front", "nearest"}
        Where objects overlap, the later one wins, or the one with the smaller relative radius, which
        gives touching cells a common border between their centres.
    owner : ndarray of shape (Y, X), int32, optional
        An object is painted only where this equals 1 + its index (a nucleus stays inside its cell).
    """
    reach = np.ceil(table.max(axis=1)).astype(int) + 1 if len(table) else np.zeros(0, int)
    pad = 2 * int(reach.max(initial=0)) + 1
    labels = np.zeros((shape[0] + 2 * pad, shape[1] + 2 * pad), np.int32)
    rho = np.full(labels.shape, 9, np.float32)
    room = None if owner is None else np.pad(owner, pad)
    inverse = 1 / np.maximum(table, np.float32(0.3))
    where = np.rint(centres).astype(int)
    for i, ((cy, cx), half) in enumerate(zip(where.tolist(), reach.tolist(), strict=True)):
        if not (-half < cy < shape[0] + half and -half < cx < shape[1] + half):
            continue
        distance, index = _polar(half)
        box = (slice(cy + pad - half, cy + pad + half + 1), slice(cx + pad - half, cx + pad + half + 1))
        mine = distance * inverse[i].take(index)
        window = rho[box]
        take = mine < (1 if rule == "front" else np.minimum(window, 1))
        if room is not None:
            take &= room[box] == i + 1
        np.copyto(window, mine, where=take)
        np.copyto(labels[box], i + 1, where=take)
    inner = (slice(pad, pad + shape[0]), slice(pad, pad + shape[1]))
    return Stamped(np.ascontiguousarray(labels[inner]), np.ascontiguousarray(rho[inner]))


def scatter(
    rng: np.random.Generator, shape: tuple[int, int], n: int, spacing: float, clustering: float
) -> Field:
    """Return `n` centres (N, 2) in px, at random or in clumps, pushed apart to about `spacing`.

    `clustering` from 0 (anywhere) to 1 (all in a few clumps).
    """
    extent = np.array(shape, np.float32)
    points = rng.uniform(0, 1, (n, 2)).astype(np.float32) * extent
    in_clump = rng.uniform(size=n) < clustering
    n_clumps = max(1, int(n / rng.uniform(3, 25)))
    clump = rng.uniform(0, 1, (n_clumps, 2)).astype(np.float32) * extent
    pick = rng.integers(0, n_clumps, n)
    spread = spacing * np.sqrt(n / n_clumps) * 0.45
    near = clump[pick] + rng.standard_normal((n, 2), dtype=np.float32) * np.float32(spread)
    points = np.where(in_clump[:, None], near, points)
    return push_apart(rng, points, spacing, rounds=6)


def _near_pairs(points: Field, reach: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return index pairs, each once, that hold all pairs of points nearer than `reach` px and some others."""
    cell = np.floor(points / reach).astype(np.int64)
    cell -= cell.min(axis=0) - 1
    width = int(cell[:, 1].max()) + 2
    key = cell[:, 0] * width + cell[:, 1]
    order = np.argsort(key, kind="stable")
    key = key[order]
    n = len(points)
    first, second = [], []
    # this cell and the one to its right, then the three below: keys of neighbouring columns are consecutive
    for low, high in ((key, key + 1), (key + width - 1, key + width + 1)):
        start = np.searchsorted(key, low, "left")
        count = np.searchsorted(key, high, "right") - start
        one = np.repeat(np.arange(n), count)
        step = np.arange(len(one)) - np.repeat(np.cumsum(count) - count, count)
        other = np.repeat(start, count) + step
        once = (key[one] != key[other]) | (one < other)
        first.append(order[one[once]])
        second.append(order[other[once]])
    return np.concatenate(first), np.concatenate(second)


def push_apart(rng: np.random.Generator, points: Field, spacing: float, rounds: int) -> Field:
    """Return points moved so that few pairs are nearer than `spacing` px."""
    n = len(points)
    points = points + rng.uniform(-0.01, 0.01, points.shape)
    for _ in range(rounds if n > 1 else 0):
        first, second = _near_pairs(points, spacing)
        delta = points[first] - points[second]
        distance = np.hypot(delta[:, 0], delta[:, 1]) + 1e-3
        close = distance < spacing
        if not close.any():
            break
        first, second, distance = first[close], second[close], distance[close]
        push = delta[close] * (0.45 * (spacing - distance) / distance)[:, None]
        for axis in (0, 1):
            points[:, axis] += np.bincount(first, push[:, axis], n) - np.bincount(second, push[:, axis], n)
    return points.astype(np.float32)


def lattice(rng: np.random.Generator, shape: tuple[int, int], spacing: float, jitter: float) -> Field:
    """Return a hexagonal lattice (N, 2) that covers the canvas, each point moved by `jitter` spacings."""
    step_y = spacing * np.sqrt(3) / 2
    rows, columns = int(shape[0] / step_y) + 3, int(shape[1] / spacing) + 3
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    x = x + 0.5 * (y % 2)
    points = np.stack([(y.ravel() - 1) * step_y, (x.ravel() - 1) * spacing], axis=1)
    points += rng.uniform(0, 1, 2) * spacing
    points += rng.standard_normal(points.shape) * (jitter * spacing)
    return points.astype(np.float32)


def borders(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return where a pixel's right or lower neighbour carries another label (Y, X)."""
    out = np.zeros(labels.shape, bool)
    out[:-1] |= labels[:-1] != labels[1:]
    out[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return out


def _largest_parts(labels: NDArray[np.int32], min_area_px: int) -> NDArray[np.int32]:
    """Return each label's largest 4-connected part that has `min_area_px` pixels, numbered from 1 (Y, X)."""
    part = components(labels)
    area = np.bincount(part.ravel())
    area[0] = 0
    owner = np.zeros(len(area), np.int64)
    owner[part.ravel()] = labels.ravel()
    # the last write of each label is its largest part
    order = np.argsort(area, kind="stable")
    best = np.full(int(labels.max(initial=0)) + 1, -1, np.int64)
    best[owner[order]] = order
    keep = np.zeros(len(area), bool)
    keep[best[best >= 0]] = True
    keep &= area >= min_area_px
    return np.where(keep, np.cumsum(keep), 0).astype(np.int32)[part]


def clean_labels(labels: NDArray[np.int32], min_area_px: int = MIN_AREA_PX) -> NDArray[np.uint16 | np.uint32]:
    """Return labels 1..n where each object is its largest 4-connected part, if that has `min_area_px` pixels.

    Returns
    -------
    ndarray of shape (Y, X), uint16, or uint32 from 65,536 objects
    """
    new = _largest_parts(labels, min_area_px)
    return new.astype(np.uint16 if new.max(initial=0) < 65536 else np.uint32)


def clean_nuclei(
    nuclei: NDArray[np.int32], cells: NDArray[np.int32], cleaned: NDArray[np.uint16 | np.uint32]
) -> NDArray[np.uint16 | np.uint32]:
    """Return nuclei, each in one piece, with the ids of their cells.

    Parameters
    ----------
    nuclei, cells : ndarray of shape (Y, X), int32
        As painted: a nucleus carries its cell's label.
    cleaned : ndarray of shape (Y, X)
        `clean_labels(cells)`.

    Returns
    -------
    ndarray of shape (Y, X), dtype of `cleaned`
        A nucleus of fewer than `MIN_AREA_PX` pixels is left out, as is one outside its cell.
    """
    own = np.where((nuclei > 0) & (nuclei == cells), cleaned, 0).astype(np.int32)
    return np.where(_largest_parts(own, MIN_AREA_PX) > 0, own, 0).astype(cleaned.dtype)
