"""The Source protocol: an image that knows its axes and is read lazily."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Selection = Mapping[str, int | slice]


@runtime_checkable
class Source(Protocol):
    """An image of known axes, read plane by plane or block by block.

    Attributes
    ----------
    name : str
        Where it comes from, for messages; a path or "array".
    axes : str
        A letter each dimension out of T, C, Z, Y, X, always in that order. RGB samples are channels (C).
        Dimensions of length 1 that a file declares are left out; those that the user named are kept.
    shape : tuple of int
        Length along each axis.
    dtype : numpy.dtype
        Type of the pixels, in native byte order.
    pixel_size_um : dict of str to float
        Micrometres a pixel for those of Z, Y, X that are known.
    channel_names : tuple of str
        One name a channel; "0", "1", ... where the file has none, "red", "green", "blue" for RGB.
    is_rgb : bool
        True if the channels are red, green and blue of one picture.
    notes : tuple of str
        What was decided on reading and the user should know, such as "dropped the alpha channel".
    levels : tuple of tuple of int
        Shape of each level of an image pyramid, the first equal to `shape`. One where there is no pyramid.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def axes(self) -> str: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102
    @property
    def pixel_size_um(self) -> dict[str, float]: ...  # noqa: D102
    @property
    def channel_names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def is_rgb(self) -> bool: ...  # noqa: D102
    @property
    def notes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def levels(self) -> tuple[tuple[int, ...], ...]: ...  # noqa: D102

    def read(self, selection: Selection | None = None, level: int = 0) -> NDArray[Any]:
        """Return the pixels of a selection, an index or slice for each axis named; indexed axes are dropped.

        Axes of the result are in the order of `axes`, its byte order is native. The result may be a view of
        the caller's own array and must not be written to. Safe to call from several threads.

        Parameters
        ----------
        selection : mapping of str to int or slice
            Counts pixels of `level`; axes not named are read whole. Steps of slices must be positive.
        level : int
            Index into `levels`.

        Raises
        ------
        ImageError
            If the file is damaged, gone, or the selection larger than the memory that is free.
        UsageError
            If the selection names an axis that the image has not, or reaches beyond it.
        """


def describe(source: Source) -> str:
    """Return one line that says what an image is.

    Examples
    --------
    >>> import numpy as np
    >>> from cellbrook.io import open_image
    >>> describe(open_image(np.zeros((2, 64, 48), np.uint16), axes="CYX", pixel_size=0.325))
    'array: CYX 2x64x48 uint16, 0.325 um/px'
    """
    from pathlib import Path

    axes, shape = getattr(source, "declared", None) or (source.axes, source.shape)
    words = [f"{Path(source.name).name}: {axes} {'x'.join(map(str, shape))} {source.dtype}"]
    names = source.channel_names
    if source.is_rgb:
        words.append("RGB")
    elif names != tuple(str(i) for i in range(len(names))):
        shown = names if len(names) <= 8 else (*names[:7], f"... {len(names)} in all")
        words.append(f"channel{'s' if len(names) > 1 else ''} {', '.join(shown)}")
    size = source.pixel_size_um
    if "X" in size and "Y" in size:
        if abs(size["X"] - size["Y"]) <= 1e-3 * size["X"]:
            words.append(f"{size['X']:.4g} um/px")
        else:
            words.append(f"{size['Y']:.4g} x {size['X']:.4g} um/px")
        if "Z" in size and "Z" in source.axes:
            words.append(f"{size['Z']:.4g} um/plane")
    return ", ".join(words)
