"""Checks and conversions of what comes in: any float dtype, byte order and memory layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellbrook.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Kernels index pixels with 32 bits.
_MAX_PIXELS = 2**31 - 2


def as_flows_and_cellprob(
    flows: ArrayLike, cellprob: ArrayLike
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return both as C-contiguous float32, or raise `UsageError` if the shapes do not fit."""
    flow_array, logits = np.asarray(flows), np.asarray(cellprob)
    for name, array in (("flows", flow_array), ("cellprob", logits)):
        if array.dtype.kind not in "fiu" and array.dtype != bool:
            raise UsageError(f"{name} must be an array of real numbers, got dtype {array.dtype}")
    if logits.ndim not in (2, 3):
        raise UsageError(f"cellprob must have shape (Y, X) or (Z, Y, X), got {logits.shape}")
    if flow_array.shape != (logits.ndim, *logits.shape):
        raise UsageError(
            f"flows must have shape {(logits.ndim, *logits.shape)} to fit cellprob of shape {logits.shape}, "
            f"got {flow_array.shape}"
        )
    _check_size(logits.shape)
    return _as_float32(flow_array), _as_float32(logits)


def as_labels(labels: ArrayLike) -> tuple[NDArray[np.uint32], NDArray[np.int64] | None]:
    """Return labels as C-contiguous uint32 and, where they had to be renumbered, the value of each new label.

    Labels are renumbered when one is larger than the number of pixels, so that tables by label stay small.
    """
    array = np.asarray(labels)
    if array.ndim not in (2, 3):
        raise UsageError(f"labels must have shape (Y, X) or (Z, Y, X), got {array.shape}")
    if array.dtype.kind not in "iub":
        raise UsageError(f"labels must be whole numbers (0 is background), got dtype {array.dtype}")
    _check_size(array.shape)
    if array.size == 0:
        return np.zeros(array.shape, np.uint32), None
    if array.dtype.kind == "i" and array.min() < 0:
        raise UsageError(f"labels must not be negative (0 is background), got {array.min()}")
    if int(array.max()) <= array.size:
        return np.ascontiguousarray(array, dtype=np.uint32), None
    values, inverse = np.unique(array, return_inverse=True)
    if values[0] != 0:
        values, inverse = np.concatenate([[0], values]), inverse + 1
    return inverse.reshape(array.shape).astype(np.uint32), values.astype(np.int64)


def _as_float32(array: NDArray[np.generic]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, which counts as background
        return np.ascontiguousarray(array, dtype=np.float32)


def _check_size(shape: tuple[int, ...]) -> None:
    if int(np.prod(shape, dtype=np.int64)) > _MAX_PIXELS:
        raise UsageError(f"an image of shape {shape} has more than 2**31 pixels: work on it in blocks")
