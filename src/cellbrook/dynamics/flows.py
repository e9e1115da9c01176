"""Labels to flows: the targets a network learns, and the yardstick of predicted flows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellbrook._kernels import _native
from cellbrook.core.threads import resolve_threads
from cellbrook.dynamics._inputs import as_labels
from cellbrook.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from cellbrook.core.params import Compat


def flows_from_labels(
    labels: ArrayLike, compat: Compat | None = None, *, threads: int | None = None
) -> NDArray[np.float32]:
    """Return the flow of each pixel towards the centre of its object.

    Heat spreads from the object's pixel nearest to its centroid; the flow is the direction in which it rises
    fastest. Objects do not see each other, so the flow never leads across a border between two of them, and moving
    or removing one leaves the flows of the others as they are. Each piece of a label in several pieces gets flows
    towards its own centre, as if it were an object of its own (pieces that touch at a corner are one in 2-D).

    Parameters
    ----------
    labels : ndarray of shape (Y, X) or (Z, Y, X), any integer dtype
        Label image, 0 = background.
    compat : {"cellpose"} or None
        "cellpose" repeats the flows of Cellpose 4.2, where touching objects disturb each other's flows at their
        common border and only the piece with the centre has any.
    threads : int or None
        Threads to use; None: every core this process may use.

    Returns
    -------
    ndarray of shape (2, Y, X) or (3, Z, Y, X), float32
        Flow as (dy, dx) or (dz, dy, dx), in pixels a step, of length 1 inside objects and 0 in the background. It is
        also 0 where it has no direction: at the very centre of a symmetric object.

    Raises
    ------
    UsageError
        If `labels` is not a label image.

    References
    ----------
    .. [1] Stringer et al., Nat Methods 18, 100-106 (2021), Methods, "Flow fields".

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.zeros((3, 7), np.uint8)
    >>> labels[1, 1:6] = 1
    >>> flows_from_labels(labels)[1, 1].tolist()
    [0.0, 1.0, 1.0, 0.0, -1.0, -1.0, 0.0]
    """
    if compat not in (None, "cellpose"):
        raise UsageError(f"compat must be None or 'cellpose', got {compat!r}")
    array, _ = as_labels(labels)
    flows = np.zeros((array.ndim, *array.shape), np.float32)
    if array.size == 0:
        return flows
    workers = resolve_threads(threads)
    name = "flows_from_labels" if compat is None else "peer_flows_from_labels"
    getattr(_native, f"{name}_{array.ndim}d")(array, flows, workers)
    return flows
