"""The shape of an object in a plane that lies between two that show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def in_between(a: NDArray[np.bool_], b: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """Return the shape that lies at a share of the way from one to another.

    Both are moved so that their middles lie where the new one's is; then it is where the mean of their signed distances
    [1]_ is above 0. So a shape that wanders from plane to plane keeps its size.

    Parameters
    ----------
    a, b : ndarray of shape (Y, X), bool
        Each has a pixel.
    share : float
        0 gives `a`, 1 gives `b`.

    Returns
    -------
    ndarray of shape (Y, X), bool

    References
    ----------
    .. [1] Raya & Udupa, Shape-based interpolation of multidimensional objects, IEEE Trans Med Imaging 9, 32-42 (1990).

    Examples
    --------
    >>> a, b = np.zeros((2, 5, 9), bool)
    >>> a[1:4, 0:3] = b[1:4, 6:9] = True
    >>> in_between(a, b, 0.5).astype(int)[2].tolist()
    [0, 0, 0, 1, 1, 1, 0, 0, 0]
    """
    middles = [np.array([v.mean() for v in np.nonzero(shape)]) for shape in (a, b)]
    here = (1 - share) * middles[0] + share * middles[1]
    steps = [np.rint(here - middle).astype(int) for middle in middles]
    room = 1 + max(int(np.abs(step).max()) for step in steps)  # all of a moved shape, and what is beside it
    height, width = a.shape
    total = np.zeros((height + 2 * room, width + 2 * room))
    for shape, (dy, dx), weight in zip((a, b), steps, (1 - share, share), strict=True):
        moved = np.zeros(total.shape, bool)
        moved[room + dy : room + dy + height, room + dx : room + dx + width] = shape
        total += weight * (_distance(moved) - _distance(~moved))
    return np.asarray(total[room:-room, room:-room] > 0)


def _distance(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the distance of each pixel of the mask from the nearest outside it, in pixels; 0 outside."""
    rows, columns = np.arange(mask.shape[0])[:, None], mask.shape[1]
    far = float(sum(mask.shape))
    above = np.maximum.accumulate(np.where(mask, -far, rows), axis=0)
    below = np.minimum.accumulate(np.where(mask, 2 * far, rows)[::-1], axis=0)[::-1]
    along: NDArray[Any] = np.minimum(np.minimum(rows - above, below - rows), far).astype(np.float64) ** 2
    nearest = along.copy()
    for step in range(1, columns):
        if step**2 >= nearest.max(initial=0):  # nothing that is farther can be nearer
            break
        np.minimum(nearest[:, step:], along[:, :-step] + step**2, out=nearest[:, step:])
        np.minimum(nearest[:, :-step], along[:, step:] + step**2, out=nearest[:, :-step])
    return np.asarray(np.sqrt(nearest))
