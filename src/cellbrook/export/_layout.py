"""How the arrays of a result lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cellbrook.core.objects import ObjectTable


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


def row_finder(objects: ObjectTable | None, leading: str) -> Callable[[int, Sequence[int]], int | None]:
    """Return a function that gives an object's row by its label and plane; a tracked object has one at each time point.

    Parameters
    ----------
    objects : ObjectTable or None
        The table.
    leading : str
        The axes that count planes, such as "" or "TZ".
    """
    if objects is None:
        return lambda label, place: None
    frame = leading.find("T") if "t" in objects else -1
    times = objects["t"].tolist() if frame >= 0 else [0] * len(objects)
    rows = {key: k for k, key in enumerate(zip(objects["label"].tolist(), times, strict=True))}
    return lambda label, place: rows.get((label, place[frame] if frame >= 0 else 0))


def class_ids(objects: ObjectTable | None, classes: Sequence[str]) -> dict[str, int]:
    """Return a number for each class, from 1.

    Parameters
    ----------
    objects : ObjectTable or None
        The table, with or without ``class``.
    classes : sequence of str
        The classes of all images that belong together, so that a class has the same number in their files. Those that only
        `objects` has follow in order of the alphabet.
    """
    own = classes_of(objects)
    return {name: k for k, name in enumerate([*classes, *sorted({*own} - {*classes, ""})], 1)}


def classes_of(objects: ObjectTable | None) -> list[str]:
    """Return the class of each row, "" where it has none; nothing if the table does not tell of classes."""
    return [] if objects is None or "class" not in objects else [str(c) for c in objects["class"].tolist()]
