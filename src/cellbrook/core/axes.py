"""What the dimensions of an image are: the one place where that is decided.

Axes are letters: T time, C channel, Z plane, Y row, X column, S colour samples (red, green, blue, perhaps
alpha).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellbrook.errors import AmbiguousAxesError, ImageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

CANONICAL = "TCZYX"
"""The order in which every image is handed on."""

DROPPED = "_"
"""Marks a stored dimension of length 1 that is left out."""

_SMALLEST_COLOUR_SIDE = 8  # pixels; below, (Y, X, 3) could as well be three columns of something else


@dataclass(frozen=True, slots=True)
class ResolvedAxes:
    """The axes of a stored array.

    Parameters
    ----------
    axes : str
        A letter each dimension, in stored order: T, C, Z, Y, X, S, or "_" for one of length 1 to leave out.
    notes : tuple of str
        What was concluded rather than read.
    """

    axes: str
    notes: tuple[str, ...] = ()


def resolve_axes(
    shape: Sequence[int],
    metadata_axes: str | None = None,
    user_axes: str | None = None,
    *,
    kind: str = "",
    opaque: bool = False,
    name: str = "the image",
) -> ResolvedAxes:
    """Decide what the dimensions of an array are.

    The user's word counts most, then the metadata's. Without either, only what cannot be otherwise is
    concluded: two dimensions are rows and columns, and (Y, X, 3) of 8-bit integers is a colour picture, as is (Y, X, 4)
    whose fourth sample says nothing. Everything else is an error that lists what it could be.

    Parameters
    ----------
    shape : sequence of int
        Length of each dimension as stored.
    metadata_axes : str or None
        A letter each dimension, as the file says. Letters other than T, C, Z, Y, X, S are unknown.
    user_axes : str or None
        A letter each dimension, or each dimension longer than 1.
    kind : str
        NumPy type of the pixels, such as "uint8".
    opaque : bool
        The last of four samples is 255 everywhere: the alpha of a picture, if it is one, and nothing that would be missed.
    name : str
        How messages call the image.

    Returns
    -------
    ResolvedAxes

    Raises
    ------
    UsageError
        If `user_axes` does not fit the shape.
    AmbiguousAxesError
        If nothing settles the axes.
    ImageError
        If the array has less than two dimensions or more than six.

    Examples
    --------
    >>> resolve_axes((512, 640)).axes
    'YX'
    >>> resolve_axes((3, 512, 640), user_axes="cyx").axes
    'CYX'
    >>> resolve_axes((3, 512, 640), name="cells.npy")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    cellbrook.errors.AmbiguousAxesError: cells.npy has shape (3, 512, 640) and does not say ...
    """
    shape = tuple(int(n) for n in shape)
    if user_axes is not None:
        return ResolvedAxes(_fit_user_axes(user_axes, shape, name))
    if len(shape) < 2:
        raise ImageError(f"{name} has shape {shape}: expected an image of at least two dimensions")
    if metadata_axes is not None:
        letters = metadata_axes.upper()
        if len(letters) != len(shape):
            raise ImageError(f"{name} says its axes are {letters}, but has shape {shape}: give --axes")
    else:
        letters = "?" * len(shape)
    return _settle(letters, shape, kind, opaque, name)


def check_axes(user_axes: str) -> str:
    """Return what a user says of axes as letters, of whatever image.

    Parameters
    ----------
    user_axes : str
        A letter each dimension.

    Raises
    ------
    UsageError
        If a letter is unknown or stands twice, or Y or X is missing.
    """
    axes = user_axes.strip().upper()
    known = CANONICAL + "S"
    if not axes or any(a not in known for a in axes):
        raise UsageError(f"axes must be letters out of T, C, Z, Y, X and S, got {user_axes!r}")
    if len(set(axes)) != len(axes):
        raise UsageError(f"axes must name each dimension once, got {user_axes!r}")
    if "Y" not in axes or "X" not in axes:
        raise UsageError(f"axes must contain Y and X, got {user_axes!r}")
    return axes


def _fit_user_axes(user_axes: str, shape: tuple[int, ...], name: str) -> str:
    axes = check_axes(user_axes)
    if len(axes) == len(shape):
        return axes
    longer = [n for n in shape if n != 1]
    if len(axes) == len(longer):
        letters = iter(axes)
        return "".join(DROPPED if n == 1 else next(letters) for n in shape)
    raise UsageError(f"axes {axes} name {len(axes)} dimensions, but {name} has shape {shape}")


def _settle(letters: str, shape: tuple[int, ...], kind: str, opaque: bool, name: str) -> ResolvedAxes:
    """Return the axes where each unknown letter has one possible meaning."""
    known = CANONICAL + "S"
    axes = [a if a in known else "?" for a in letters]
    for position, (axis, length) in enumerate(zip(axes, shape, strict=True)):
        # Y and X of length 1 stay unless there are others for the two
        if axis == "?" and length == 1 and axes.count("?") > 2 - ("Y" in axes) - ("X" in axes):
            axes[position] = DROPPED
    rest = [n for a, n in zip(axes, shape, strict=True) if a == "?"]
    notes: tuple[str, ...] = ()
    if not rest:
        pass
    elif "Y" not in axes and "X" not in axes and len(rest) == 2:
        axes = _fill(axes, "YX")
    elif "Y" not in axes and _looks_like_colour(rest, kind, opaque):
        axes = _fill(axes, "YXS")
        notes = (f"read shape {shape} as a colour picture",)
    else:
        _raise_ambiguous(axes, shape, name)
    found = "".join(axes)
    missing = [a for a in "YX" if a not in found]
    doubled = sorted({a for a in found if a != DROPPED and found.count(a) > 1})
    if missing or doubled:
        what = f"no {' and '.join(missing)}" if missing else f"{doubled[0]} twice"
        raise AmbiguousAxesError(f"{name} has shape {shape} and axes {letters} ({what}): give --axes")
    return ResolvedAxes(found, notes)


def _looks_like_colour(lengths: list[int], kind: str, opaque: bool) -> bool:
    # of 16 bits, three and four are as often stains
    return (
        len(lengths) == 3
        and (lengths[2] == 3 or (lengths[2] == 4 and opaque))
        and min(lengths[:2]) >= _SMALLEST_COLOUR_SIDE
        and kind == "uint8"
    )


def _fill(axes: list[str], letters: str) -> list[str]:
    found = iter(letters)
    return [next(found) if a == "?" else a for a in axes]


def _raise_ambiguous(axes: list[str], shape: tuple[int, ...], name: str) -> None:
    lengths = [n for a, n in zip(axes, shape, strict=True) if a == "?"]
    taken = {a for a in axes if a in CANONICAL + "S"}
    fillings: list[str] = []
    if "Y" in taken or "X" in taken:
        fillings = _leading(len(lengths), taken)
    elif len(lengths) in (3, 4, 5):
        last, first = lengths[-1], lengths[0]
        if last <= 10 and last < min(lengths[-3:-1]):  # colours or channels last
            # of four, colours are three: what is named first must not lose one
            tail = {3: ["YXS", "YXC"], 4: ["YXC", "YXS"]}.get(last, ["YXC"])
            fillings = [lead + t for t in tail for lead in _leading(len(lengths) - 3, taken | set(t))]
        else:
            fillings = [lead + "YX" for lead in _leading(len(lengths) - 2, taken)]
        if len(lengths) == 3 and first > 10 and fillings[0] == "CYX":
            fillings = ["ZYX", "TYX", "CYX"]  # hundreds of channels are rarer than planes
    if not fillings:
        raise ImageError(f"{name} has shape {shape}: expected at most the dimensions T, C, Z, Y, X")
    candidates = ["".join(_fill(axes, f)) for f in fillings]
    first_one = candidates[0].replace(DROPPED, "")
    listed = [c.replace(DROPPED, "") for c in candidates]
    meaning = "; S are the colours of a picture, C channels" if "S" in "".join(listed) else ""
    choice = f"{', '.join(listed[:-1])} or {listed[-1]}" if len(listed) > 1 else listed[0]
    raise AmbiguousAxesError(
        f"{name} has shape {shape} and does not say what its axes are: {choice}? "
        f'give --axes {first_one} (axes="{first_one}" in Python){meaning}'
    )


def _leading(count: int, taken: set[str]) -> list[str]:
    """Return the usual orders of `count` leading axes, without those taken."""
    orders = {
        0: [""],
        1: ["C", "Z", "T"],
        2: ["TC", "TZ", "CZ", "ZC"],
        3: ["TCZ", "TZC"],
    }.get(count, [])
    free = [o for o in orders if not set(o) & taken]
    if "S" in taken:  # samples are channels already
        free = [o for o in free if "C" not in o] or free
    return free
