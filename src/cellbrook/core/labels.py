"""What label images are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def components(labels: NDArray[Any]) -> NDArray[np.int32]:
    """Return the connected pieces of a label image.

    Parameters
    ----------
    labels : ndarray of shape (Y, X), any integer dtype
        0 = background.

    Returns
    -------
    ndarray of shape (Y, X), int32
        4-connected pieces of equal non-zero label, numbered from 1 in raster order; 0 stays 0.
    """
    height, width = labels.shape
    # One run = neighbouring equal pixels of a row; components are then found among few runs, not many pixels.
    starts = np.ones((height, width), bool)
    starts[:, 1:] = labels[:, 1:] != labels[:, :-1]
    run = np.cumsum(starts.ravel()) - 1
    run_2d = run.reshape(height, width)
    same = (labels[1:] == labels[:-1]) & (labels[1:] > 0)
    pairs = np.unique(run_2d[1:][same].astype(np.int64) * (run[-1] + 1) + run_2d[:-1][same])
    low, high = pairs // (run[-1] + 1), pairs % (run[-1] + 1)
    parent = np.arange(run[-1] + 1)
    while True:
        a, b = parent[low], parent[high]
        if np.array_equal(a, b):
            break
        np.minimum.at(parent, np.maximum(a, b), np.minimum(a, b))
        while True:
            jumped = parent[parent]
            if np.array_equal(jumped, parent):
                break
            parent = jumped
    number = np.zeros(run[-1] + 1, np.int32)
    roots = np.unique(parent[labels.ravel()[starts.ravel()] > 0])
    number[roots] = np.arange(1, len(roots) + 1)
    return np.asarray(np.where(labels > 0, number[parent][run_2d], 0), dtype=np.int32)
