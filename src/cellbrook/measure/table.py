"""The object table of a label image: `measure` joins geometry, shape and intensity."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.objects import ObjectTable
from cellbrook.core.threads import resolve_threads
from cellbrook.errors import ImageError, UsageError
from cellbrook.measure.frames import numbered_by_frame
from cellbrook.measure.intensity import STATISTICS, as_planes, intensity_columns
from cellbrook.measure.morphology import Geometry, in_several_frames, morphology_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Labels are numbered densely in practice. Beyond this many unused rows a table by label would waste memory.
_SPARSE_ROWS = 1 << 20


def measure(
    labels: NDArray[Any],
    image: NDArray[Any] | None = None,
    *,
    channel_names: Sequence[str] = (),
    pixel_size_um: float | Sequence[float] | None = None,
    objects: ObjectTable | None = None,
    axes: str | None = None,
    volume: bool | None = None,
    threads: int | None = None,
) -> ObjectTable:
    """Measure every object of a label image; public, as ``cellbrook.measure.measure``.

    Parameters
    ----------
    labels : ndarray of shape (Y, X), (Z, Y, X), (T, Y, X) or (T, Z, Y, X), integer
        0 is background. Any numbers may be missing.
    image : ndarray of shape (C, Y, X) or (Y, X), leading axes as in `labels` before C, or None
        Raw pixels. NaN and infinite ones are left out of the statistics.
    channel_names : sequence of str
        A name for each channel of `image`; "0", "1", ... where none is given.
    pixel_size_um : float, sequence of float or None
        Micrometres a pixel: one for all, or one for each spatial axis of `labels` (pixels may be oblong).
        Of a stack, Y and X alone do where Z is not known; volumes then have no columns in micrometres, as
        with None.
    objects : ObjectTable or None
        A table of the same objects (any order), whose columns and ``discarded`` are kept. None: a new table,
        rows by label.
    axes : str or None
        Axes of `labels`, such as "TYX". None: "YX", "ZYX" or "TZYX" by their number.
    volume : bool or None
        True: Z, Y, X are measured together, in voxels. False: every plane by itself. None: a volume if `axes`
        has a Z and some object lies in more than one plane of a time point.
    threads : int or None
        Processor threads. None: all that this process may use. The result does not depend on it.

    Returns
    -------
    ObjectTable
        ``label``; ``t``, ``z`` (the plane, where there are several). An object that lies in several time points, such as
        a tracked cell, has a row in each: rows are then in order of ``t``. Then

        * in planes: ``area_px``, ``area_um2``, ``diameter_px`` and ``diameter_um`` (of the disc of equal
          area), ``perimeter_px``, ``perimeter_um`` (Crofton's formula, four directions), ``major_axis_*`` and
          ``minor_axis_*`` (of the ellipse of equal second moments), ``orientation_deg`` (major axis to the x
          axis, counter-clockwise as one looks at the picture, 0 to 180), ``eccentricity``,
          ``solidity`` (area / pixels whose centre lies in the convex hull of its pixel centres),
          ``circularity`` (4 pi area / perimeter squared; small objects exceed 1);
        * in volumes: ``volume_px``, ``volume_um3``, ``diameter_px``, ``diameter_um`` (of the sphere of equal
          volume);
        * ``centroid_y``, ``centroid_x`` (``centroid_z``; pixels, the first pixel's centre is 0) and ``*_um``;
        * ``bbox_y0, bbox_x0, bbox_y1, bbox_x1`` (``bbox_z0, bbox_z1``), half-open;
        * ``touches_border``;
        * for each channel ``mean_NAME``, ``std_NAME``, ``min_NAME``, ``max_NAME``, ``median_NAME``,
          ``sum_NAME`` (std with the divisor n; NaN where no pixel is finite).

        Where pixels are oblong, shape is that of the real object, not of its picture.

    Raises
    ------
    ImageError
        If `labels` are no label image or `image` does not fit them.
    UsageError
        If `objects` are not those of `labels`, or given though an object lies in several time points; or an object lies
        in several planes of one time point and ``volume=False``.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.zeros((6, 8), np.uint16)
    >>> labels[1:5, 2:6] = 1
    >>> table = measure(labels, np.full((6, 8), 7.0), pixel_size_um=0.5)
    >>> int(table["area_px"][0]), float(table["area_um2"][0]), float(table["mean_0"][0])
    (16, 4.0, 7.0)
    """
    labels, original = _as_labels(labels)
    axes = _label_axes(axes, labels.ndim)
    threads = resolve_threads(threads)
    tracked = in_several_frames(labels, axes, threads)
    if tracked and objects is not None:
        raise UsageError(
            "an object table was given, but objects lie in several time points; leave the table out"
        )
    numbers, of_frames = numbered_by_frame(labels) if tracked else (labels, None)
    geometry = Geometry(numbers, axes, volume, threads)
    size_um = _pixel_size(pixel_size_um, axes, geometry.volume)

    label = geometry.label if of_frames is None else of_frames[geometry.label]
    columns: dict[str, NDArray[Any]] = {"label": label if original is None else original[label - 1]}
    columns.update(morphology_columns(geometry, size_um))
    if image is not None:
        planes = as_planes(np.asarray(image), labels.shape)
        columns.update(intensity_columns(geometry, planes, channel_names, threads))
    return _joined(columns, objects)


def _as_labels(labels: NDArray[Any]) -> tuple[NDArray[np.uint32], NDArray[Any] | None]:
    """Return labels as uint32 in C order and, if they had to be renumbered from 1, the original numbers."""
    labels = np.asarray(labels)
    if labels.ndim not in (2, 3, 4):
        raise ImageError(f"labels must have axes YX, ZYX, TYX or TZYX, got an array of shape {labels.shape}")
    if labels.dtype == np.bool_:
        raise ImageError("labels must number the objects, got a boolean mask; label its components first")
    if labels.dtype.kind == "f":
        whole = labels.astype(np.int64)
        if not np.array_equal(whole, labels):
            raise ImageError(f"labels must be whole numbers, got {labels.dtype} with fractions")
        labels = whole
    if labels.dtype.kind not in "iu":
        raise ImageError(f"labels must be integers, got {labels.dtype}")
    if labels.size == 0:
        raise ImageError(f"labels must have pixels, got shape {labels.shape}")
    low, high = int(labels.min()) if labels.dtype.kind == "i" else 0, int(labels.max())
    if low < 0:
        raise ImageError(f"labels must be 0 (background) or more, got {low}")
    if high <= labels.size + _SPARSE_ROWS and high < 2**32 - 1:
        return np.ascontiguousarray(labels, dtype=np.uint32), None
    present, inverse = np.unique(labels, return_inverse=True)
    first = 0 if present[0] == 0 else 1
    return np.ascontiguousarray(inverse.reshape(labels.shape) + first, dtype=np.uint32), present[1 - first :]


def _label_axes(axes: str | None, ndim: int) -> str:
    if axes is None:
        return {2: "YX", 3: "ZYX", 4: "TZYX"}[ndim]
    axes = axes.upper()
    if len(axes) != ndim or axes not in ("YX", "ZYX", "TYX", "TZYX"):
        raise UsageError(f"axes of {ndim}-dimensional labels must be YX, ZYX, TYX or TZYX, got {axes!r}")
    return axes


def _pixel_size(
    pixel_size_um: float | Sequence[float] | None, axes: str, volume: bool
) -> tuple[float, ...] | None:
    """Return micrometres along (Z,) Y, X as they are measured, or None if one is missing."""
    if pixel_size_um is None:
        return None
    spatial = [a for a in axes if a in "ZYX"]
    if isinstance(pixel_size_um, Iterable):
        sizes = [float(s) for s in pixel_size_um]
    else:
        sizes = [float(pixel_size_um)] * len(spatial)
    if len(sizes) == 2 and len(spatial) == 3:  # enough for planes
        return None if volume else (sizes[0], sizes[1])
    if len(sizes) != len(spatial):
        wanted = "".join(spatial)
        raise UsageError(f"pixel_size_um must have {len(wanted)} values, for {wanted}, got {sizes}")
    if not all(np.isfinite(s) and s > 0 for s in sizes):
        raise UsageError(f"pixel_size_um must be positive, got {sizes}")
    return tuple(sizes if volume else sizes[-2:])


def _joined(columns: dict[str, NDArray[Any]], objects: ObjectTable | None) -> ObjectTable:
    if objects is None:
        return ObjectTable(columns)
    label, given = columns["label"], np.asarray(objects["label"])
    if len(label) != len(given) or not np.array_equal(np.sort(given), label):
        raise UsageError(
            f"the object table lists {len(given)} labels, the label image has {len(label)} others or more; "
            "leave the table out to build a new one"
        )
    rows = np.searchsorted(label, given)
    merged = {name: values[rows] for name, values in columns.items()}
    # What the segmentation knows and pixels do not tell (score, flow error ...) follows the geometry.
    known = {name: objects[name] for name in objects if name not in merged}
    intensity = [name for name in merged if name.split("_")[0] in STATISTICS]
    ordered = {name: merged[name] for name in merged if name not in intensity}
    return ObjectTable({**ordered, **known, **{n: merged[n] for n in intensity}}, objects.discarded)
