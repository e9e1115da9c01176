"""How the arrays of a result lie."""

from __future__ import annotations


def flows_by_plane(flows: tuple[int, ...], labels: tuple[int, ...]) -> bool:
    """Return True if each plane has its own (2, Y, X), False if (2 or 3) comes before all axes of the labels.

    Parameters
    ----------
    flows, labels : tuple of int
        Shapes. Where both fit, as for two planes, it is by plane: flows through planes have three components.

    Examples
    --------
    >>> flows_by_plane((2, 2, 9, 9), (2, 9, 9)), flows_by_plane((3, 2, 9, 9), (2, 9, 9))
    (True, False)
    """
    return flows[-3] == 2 and flows[:-3] == labels[:-2]
