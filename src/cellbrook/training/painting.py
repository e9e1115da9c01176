"""A second stain, painted from labels: real images of one channel teach what two channels look like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellbrook.training.synthetic._fields import blur

if TYPE_CHECKING:
    from numpy.typing import NDArray


def painted_nuclei(
    labels: NDArray[np.uint32], rng: np.random.Generator
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Put a nucleus into every cell.

    Parameters
    ----------
    labels : ndarray of shape (Y, X)
        Whole cells.
    rng : Generator

    Returns
    -------
    nuclei : ndarray of shape (Y, X), uint32
        Each with the label of its cell.
    channel : ndarray of shape (Y, X), float32
        What a nuclear stain would show, about 0 to 1.
    """
    y, x = np.nonzero(labels)
    which = labels[y, x]
    count = np.bincount(which, minlength=1)
    area = np.maximum(count, 1)
    centre_y, centre_x = np.bincount(which, y, 1) / area, np.bincount(which, x, 1) / area
    n = len(count)
    radius = np.sqrt(area / np.pi) * rng.uniform(0.35, 0.65, n)
    stretch, angle = np.exp(rng.uniform(0, 0.3, n)), rng.uniform(0, np.pi, n)
    dy, dx = y - centre_y[which], x - centre_x[which]
    cos, sin = np.cos(angle)[which], np.sin(angle)[which]
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    inside = (along / stretch[which]) ** 2 + (across * stretch[which]) ** 2 < radius[which] ** 2
    nuclei = np.zeros_like(labels)
    nuclei[y[inside], x[inside]] = which[inside]
    glow = rng.uniform(0.5, 1.0, n) * np.where(rng.random(n) < 0.1, 1.8, 1.0)
    glow[0] = 0.0
    shape = labels.shape
    channel = blur(glow[nuclei].astype(np.float32), rng.uniform(0.6, 2.0))
    channel *= 1 + rng.uniform(0, 0.25) * blur(rng.standard_normal(shape, np.float32), 1.5) * 4
    channel += rng.uniform(0, 0.3) * blur(glow[labels].astype(np.float32), rng.uniform(3, 12))
    channel += rng.uniform(0.005, 0.06) * rng.standard_normal(shape, np.float32)
    return nuclei, channel.astype(np.float32)


def painted_cytoplasm(labels: NDArray[np.uint32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return what a stain of the cells around these nuclei could show, about 0 to 1.

    Parameters
    ----------
    labels : ndarray of shape (Y, X)
        Nuclei.
    rng : Generator
    """
    count = max(len(np.unique(labels)) - 1, 1)
    reach = 2 * np.sqrt(np.count_nonzero(labels) / count / np.pi)
    around = blur((labels > 0).astype(np.float32), max(1.0, reach * rng.uniform(0.4, 1.0)))
    channel = np.clip(around / max(float(around.max()), 1e-6) * rng.uniform(1.5, 4), 0, 1)
    channel *= 1 + 0.8 * blur(rng.standard_normal(labels.shape, np.float32), rng.uniform(1, 4))
    channel *= np.where(labels > 0, rng.uniform(0.3, 1.1), 1.0)
    channel = blur(channel.astype(np.float32), rng.uniform(0.6, 1.5))
    channel += rng.uniform(0.005, 0.06) * rng.standard_normal(labels.shape, np.float32)
    return channel.astype(np.float32)
