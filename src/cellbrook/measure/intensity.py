"""Statistics of raw pixel values within objects."""

from __future__ import annotations

import re
from itertools import chain, count
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook._kernels import _native
from cellbrook.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellbrook.measure.morphology import Geometry

STATISTICS = ("mean", "std", "min", "max", "median", "sum")
_WHOLE = ("min", "max", "sum")
_KERNEL_TYPES = tuple(np.dtype(t) for t in ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"))


def as_planes(image: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an image as (planes, C, Y, X), in a type that the kernel takes.

    Parameters
    ----------
    image : ndarray
        Of the labels' shape (one channel), or with C before Y, X.
    shape : tuple of int
        Shape of the labels.

    Raises
    ------
    ImageError
        If the shapes do not fit.
    """
    if image.shape == shape:
        image = image[..., None, :, :]
    elif image.ndim != len(shape) + 1 or image.shape[:-3] + image.shape[-2:] != shape:
        wanted = ", ".join(map(str, (*shape[:-2], "C", *shape[-2:])))
        raise ImageError(
            f"image must have shape ({wanted}) to fit labels of shape {shape}, got {image.shape}"
        )
    planes = image.reshape(-1, *image.shape[-3:])
    if planes.dtype == np.bool_:
        return planes.view(np.uint8)
    if planes.dtype.kind not in "iuf":
        raise ImageError(f"intensities must be numbers, got {planes.dtype}; give its magnitude or parts")
    if planes.dtype == np.float16:
        return planes.astype(np.float32)
    return planes if planes.dtype in _KERNEL_TYPES else planes.astype(np.float64)


def intensity_columns(
    geometry: Geometry, planes: NDArray[Any], channel_names: Sequence[str], threads: int
) -> dict[str, NDArray[Any]]:
    """Return the six statistics of every channel as columns, named ``<statistic>_<channel>``.

    Parameters
    ----------
    geometry : Geometry
        The objects.
    planes : ndarray of shape (P, C, Y, X)
        Raw pixels, as `as_planes` gives them.
    channel_names : sequence of str
        Names; those missing are the channel's number.
    threads : int
        Processor threads.
    """
    channels = planes.shape[1]
    values = np.full((len(geometry.boxes), channels, len(STATISTICS)), np.nan)
    _native.object_intensities(geometry.planes, geometry.boxes, planes, values, threads)
    values = values[geometry.label]
    columns: dict[str, NDArray[Any]] = {}
    for c, name in enumerate(column_names(channel_names, channels)):
        for s, statistic in enumerate(STATISTICS):
            column = np.ascontiguousarray(values[:, c, s])
            # Whole numbers stay whole where the image holds whole numbers.
            whole = planes.dtype.kind in "iu" and statistic in _WHOLE
            columns[f"{statistic}_{name}"] = column.astype(np.int64) if whole else column
    return columns


def column_names(channel_names: Sequence[str], channels: int) -> list[str]:
    """Return a name for each channel, fit for a column: no blanks or separators, none twice.

    Examples
    --------
    >>> column_names(["DAPI", "GFP (488)", "DAPI"], 4)
    ['DAPI', 'GFP_488', 'DAPI_2', '3']
    >>> column_names(["GFP", "GFP_2", "GFP"], 3)
    ['GFP', 'GFP_2', 'GFP_3']
    """
    names: list[str] = []
    for c in range(channels):
        given = channel_names[c] if c < len(channel_names) else str(c)
        base = re.sub(r"[^\w.+-]+", "_", given).strip("_") or str(c)
        others = (f"{base}_{k}" for k in count(c))
        names.append(next(name for name in chain([base], others) if name not in names))
    return names
