"""The Source protocol: an image that knows its axes and is read lazily."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Selection = Mapping[str, int | slice]


class Source(Protocol):
    """An image of known axes, read plane by plane or block by block.

    Attributes
    ----------
    name : str
        Where it comes from, for messages; a path or "array".
    axes : str
        A letter each dimension out of T, C, Z, Y, X, always in that order. RGB samples are channels (C).
    shape : tuple of int
        Length along each axis.
    dtype : numpy.dtype
        Type of the stored pixels.
    pixel_size_um : dict of str to float
        Micrometres a pixel for those of Z, Y, X that are known.
    channel_names : tuple of str
        One name a channel; "0", "1", ... where the file has none, "red", "green", "blue" for RGB.
    is_rgb : bool
        True if the channels are red, green and blue of one picture.
    notes : tuple of str
        What was decided on reading and the user should know, such as "dropped the alpha channel".
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

    def read(self, selection: Selection | None = None, level: int = 0) -> NDArray[Any]:
        """Return the pixels of a selection, an index or slice for each axis named; indexed axes are dropped.

        Raises
        ------
        ImageError
            If the file is damaged.
        """
