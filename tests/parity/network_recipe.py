"""Weights and inputs that two programs can make alike, so that fixtures hold outputs only. NumPy alone.

Every parameter and buffer is drawn anew from a generator seeded with its name, those that usually start at
zero or one too: a wrong or forgotten tensor cannot hide. `RandomState` is used because its stream is frozen
for good.
"""

from __future__ import annotations

import hashlib

import numpy as np


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the values of one parameter or buffer, scaled to keep deep networks in range."""
    digest = hashlib.sha256(name.encode()).digest()
    rng = np.random.RandomState(int.from_bytes(digest[:4], "little"))
    if name.endswith("num_batches_tracked"):
        return np.asarray(rng.randint(1, 1000), np.int64)
    if name.startswith("diam_"):
        return rng.uniform(12.0, 40.0, shape).astype(np.float32)
    if name.endswith("periods"):
        return rng.uniform(1.0, 100.0, shape).astype(np.float32)
    if name.endswith("bias_mask"):
        return rng.uniform(0.0, 1.0, shape).astype(np.float32)
    if name.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    values = rng.standard_normal(shape).astype(np.float32)
    if "rel_pos" in name or "pos_embed" in name or "_token" in name:
        return values * np.float32(0.4)
    if len(shape) >= 2:
        fan_in = shape[0] if name == "W2" else int(np.prod(shape[1:]))
        return values * np.float32(fan_in**-0.5)
    if name.endswith("weight"):
        return (1 + values * np.float32(0.3)).astype(np.float32)
    return values * np.float32(0.3)


def image(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return an input of a network (B, C, Y, X), float32, with the range of a normalised image."""
    return np.random.RandomState(seed).uniform(-0.3, 1.4, shape).astype(np.float32)
