"""Synthetic scenes of known truth for benchmarks: seeded, and the same on every machine up to float rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from cellbrook.dynamics import flows_from_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPACING_PX = 38  # 2,916 cells at 2048 x 2048


def packed_ellipses(size: int, seed: int = 0) -> NDArray[np.uint32]:
    """Return labels of ellipses on a jittered grid, many of which touch their neighbours."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, size), np.uint32)
    starts = np.arange(SPACING_PX // 2, size, SPACING_PX)
    for k, (cy, cx) in enumerate(((y, x) for y in starts for x in starts), start=1):
        centre_y, centre_x = cy + rng.uniform(-4, 4), cx + rng.uniform(-4, 4)
        long, short, angle = rng.uniform(15, 22), rng.uniform(11, 17), rng.uniform(0, np.pi)
        y0, x0 = max(0, int(centre_y) - 23), max(0, int(centre_x) - 23)
        box = np.s_[y0 : int(centre_y) + 24, x0 : int(centre_x) + 24]
        yy, xx = np.mgrid[box]
        yy, xx = yy[: size - y0, : size - x0] - centre_y, xx[: size - y0, : size - x0] - centre_x
        along = yy * np.cos(angle) + xx * np.sin(angle)
        across = -yy * np.sin(angle) + xx * np.cos(angle)
        inside = (along / long) ** 2 + (across / short) ** 2 < 1
        window = labels[box]
        window[inside & (window == 0)] = k
    return labels


def filaments(size: int, seed: int = 0, width: float = 6) -> NDArray[np.uint32]:
    """Return labels of long, bent, thin objects that do not overlap (they may touch)."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, size), np.uint32)
    yy, xx = np.mgrid[:size, :size]
    for k in range(1, size // 14):
        y, x, heading = rng.uniform(0, size), rng.uniform(0, size), rng.uniform(0, 2 * np.pi)
        bend = rng.uniform(-0.02, 0.02)
        shape = np.zeros(labels.shape, bool)
        for _ in range(int(rng.uniform(5, 35))):
            y0, x0 = max(0, int(y - width)), max(0, int(x - width))
            box = np.s_[y0 : max(0, int(y + width)), x0 : max(0, int(x + width))]
            shape[box] |= (yy[box] - y) ** 2 + (xx[box] - x) ** 2 < width**2 / 4
            heading += bend * 4
            y, x = y + 4 * np.sin(heading), x + 4 * np.cos(heading)
        if shape.any() and not labels[shape].any():
            labels[shape] = k
    return labels


def volume(
    shape: tuple[int, int, int], seed: int = 0
) -> tuple[NDArray[np.uint32], NDArray[np.float32], NDArray[np.float32]]:
    """Return labels (Z, Y, X), flows (3, Z, Y, X) and cellprob of a volume of ellipsoids."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint32)
    grid = np.stack(np.mgrid[tuple(slice(n) for n in shape)]).astype(np.float32)
    spacing = 14
    for k, cell in enumerate(np.ndindex(*(n // spacing for n in shape)), start=1):
        centre = (np.array(cell) + 0.5) * spacing + rng.uniform(-2, 2, 3)
        radii = rng.uniform(4, 8, 3)
        inside = (((grid - centre[:, None, None, None]) / radii[:, None, None, None]) ** 2).sum(0) < 1
        labels[inside & (labels == 0)] = k
    flows, cellprob = predicted(labels, seed, noise=0.2)
    return labels, flows, cellprob


def predicted(
    labels: NDArray[np.uint32], seed: int = 0, noise: float = 0.35, blur: float = 1.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return flows and cellprob as a network might predict them for `labels`.

    Flows are blurred as at an uncertain border, and both carry noise that is correlated over a few pixels.
    """
    rng = np.random.default_rng(seed + 1)

    def noise_field(scale: float) -> NDArray[np.float32]:
        field = ndimage.gaussian_filter(rng.standard_normal(labels.shape).astype(np.float32), scale)
        return np.asarray(field / field.std(), np.float32)

    flows = flows_from_labels(labels)
    flows = np.stack([ndimage.gaussian_filter(f, blur) + noise * noise_field(1.5) for f in flows])
    edge = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        a, b = np.moveaxis(labels, axis, 0)[1:], np.moveaxis(labels, axis, 0)[:-1]
        np.moveaxis(edge, axis, 0)[1:] |= a != b
    inside = (labels > 0) & ~edge
    logits = 8 * ndimage.gaussian_filter(inside.astype(np.float32), blur) - 3 + noise * noise_field(1.5)
    return flows.astype(np.float32), logits.astype(np.float32)


def scene(
    size: int, seed: int = 0, noise: float = 0.35
) -> tuple[NDArray[np.uint32], NDArray[np.float32], NDArray[np.float32]]:
    """Return labels (Y, X), flows (2, Y, X) in px/step and cellprob logits (Y, X) of a packed field of cells."""
    labels = packed_ellipses(size, seed)
    flows, cellprob = predicted(labels, seed, noise)
    return labels, flows, cellprob
