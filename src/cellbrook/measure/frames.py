"""Objects of time series: a frame is a picture of its own, whatever numbers its objects share with other frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def numbered_by_frame(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
    """Return labels in which each object of a frame has a number of its own.

    Parameters
    ----------
    labels : ndarray of shape (T, ..., Y, X)
        0 is background.

    Returns
    -------
    labels : ndarray of the same shape
        Numbered from 1, frame after frame; the given ones if no number stands in several frames.
    original : ndarray of int64 or None
        By number, the one that was given; None where they are the same.
    """
    of_frames = [np.unique(frame[frame > 0]) for frame in labels]
    original = np.concatenate([[0], *of_frames]).astype(np.int64)
    if len(np.unique(original)) == len(original):
        return labels, None
    numbered = np.zeros(labels.shape, np.uint32)
    before = 1
    for frame, ids, to in zip(labels, of_frames, numbered, strict=True):
        np.copyto(to, np.searchsorted(ids, frame) + before, where=frame > 0, casting="unsafe")
        before += len(ids)
    return numbered, original
