"""Size, place and shape of objects, from counts that the kernel takes in their bounding boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook._kernels import _native
from cellbrook.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Columns of the kernel's table of boxes.
_AREA, _Z0, _Y0, _X0, _Z1, _Y1, _X1 = range(7)
# Columns of the kernel's table of shapes: sums relative to the box's corner, crossings, pixels of the convex
# hull.
_SUM_Z, _SUM_Y, _SUM_X, _SUM_YY, _SUM_XX, _SUM_XY = range(6)
_CROSS_X, _CROSS_Y, _CROSS_DOWN_RIGHT, _CROSS_DOWN_LEFT, _HULL = range(6, 11)
_SHAPE_FIELDS = 12


class Geometry:
    """Counts of every object of a label image.

    Parameters
    ----------
    labels : ndarray of shape (..., Y, X), uint32, C order
        0 is background. No label occurs at several time points.
    axes : str
        Axes of `labels`.
    volume : bool or None
        As for `measure`; None is decided here.
    threads : int
        Processor threads.

    Attributes
    ----------
    label : ndarray of shape (n,), int64
        The labels that occur, ascending.
    planes : ndarray of shape (P, Y, X), uint32
        `labels` with leading axes joined.
    boxes : ndarray of shape (max + 1, 7), int64
        By label: area, z0, y0, x0, z1, y1, x1; z counts planes.
    shapes : ndarray of shape (n, 12), float64
        See the names at the top of the file.
    volume : bool
        Whether objects are measured through several planes.
    """

    def __init__(self, labels: NDArray[np.uint32], axes: str, volume: bool | None, threads: int) -> None:
        self.axes = axes
        self.leading = labels.shape[:-2]
        self.planes = labels.reshape(-1, *labels.shape[-2:])
        self.boxes = np.zeros((int(labels.max()) + 1, 7), np.int64)
        _native.object_boxes(self.planes, self.boxes, threads)
        self.boxes[0] = 0
        self.label = np.flatnonzero(self.boxes[:, _AREA])
        self.rows = self.boxes[self.label]
        self.volume = self._is_volume(volume)
        shapes = np.zeros((len(self.boxes), _SHAPE_FIELDS), np.float64)
        _native.object_shapes(self.planes, self.boxes, shapes, not self.volume, threads)
        self.shapes = shapes[self.label]

    def _is_volume(self, volume: bool | None) -> bool:
        several = self.rows[:, _Z1] - self.rows[:, _Z0] > 1
        if volume is None:
            volume = "Z" in self.axes and bool(several.any())
        if volume and "Z" not in self.axes:
            raise UsageError(f"volume=True needs labels with a Z axis, got axes {self.axes}")
        if not volume and several.any():
            raise UsageError(
                f"object {int(self.label[several][0])} lies in several planes; renumber the planes to share "
                "one numbering, or measure through the planes (volume=True, --volume)"
            )
        return volume

    def plane_indices(self) -> dict[str, NDArray[np.int64]]:
        """Return where objects lie along T, and along Z unless they are measured along it."""
        if not self.leading:
            return {}
        places = dict(zip(self.axes, np.unravel_index(self.rows[:, _Z0], self.leading), strict=False))
        return {
            a.lower(): np.asarray(v, np.int64) for a, v in places.items() if not (self.volume and a == "Z")
        }

    def z_start(self) -> NDArray[np.int64]:
        """Return the plane of the joined planes at which each object's own z-stack begins."""
        depth = self.leading[-1] if self.leading else 1
        start: NDArray[np.int64] = self.rows[:, _Z0] // depth * depth
        return start


def in_several_frames(labels: NDArray[np.uint32], axes: str, threads: int) -> bool:
    """Return whether a label occurs at several time points.

    Parameters
    ----------
    labels : ndarray of shape (..., Y, X), uint32, C order
        0 is background.
    axes : str
        Axes of `labels`.
    threads : int
        Processor threads.
    """
    if "T" not in axes or len(labels) == 1:
        return False
    planes = labels.reshape(-1, *labels.shape[-2:])
    boxes = np.zeros((int(labels.max()) + 1, 7), np.int64)
    _native.object_boxes(planes, boxes, threads)
    found = boxes[1:][boxes[1:, _AREA] > 0]
    depth = len(planes) // len(labels)
    return bool((found[:, _Z0] // depth != (found[:, _Z1] - 1) // depth).any())


def morphology_columns(geometry: Geometry, size_um: tuple[float, ...] | None) -> dict[str, NDArray[Any]]:
    """Return the columns that need the labels only, in the order of the table.

    Parameters
    ----------
    geometry : Geometry
        Counts of the objects.
    size_um : tuple of float or None
        Micrometres along Y, X (Z, Y, X for volumes).

    Returns
    -------
    dict of str to ndarray of shape (n,)
        See `measure`.
    """
    columns: dict[str, NDArray[Any]] = dict(geometry.plane_indices())
    columns.update(_volume_size(geometry, size_um) if geometry.volume else _plane_size(geometry, size_um))
    columns.update(_place(geometry, size_um))
    if not geometry.volume:
        columns.update(_shape(geometry, size_um))
    columns["touches_border"] = _touches_border(geometry)
    return columns


def _plane_size(geometry: Geometry, size_um: tuple[float, ...] | None) -> dict[str, NDArray[Any]]:
    area = geometry.rows[:, _AREA]
    columns: dict[str, NDArray[Any]] = {"area_px": area, "diameter_px": np.sqrt(4 / np.pi * area)}
    if size_um is not None:
        area_um2 = area * (size_um[0] * size_um[1])
        columns |= {"area_um2": area_um2, "diameter_um": np.sqrt(4 / np.pi * area_um2)}
    return columns


def _volume_size(geometry: Geometry, size_um: tuple[float, ...] | None) -> dict[str, NDArray[Any]]:
    volume = geometry.rows[:, _AREA]
    columns: dict[str, NDArray[Any]] = {"volume_px": volume, "diameter_px": np.cbrt(6 / np.pi * volume)}
    if size_um is not None:
        volume_um3 = volume * (size_um[0] * size_um[1] * size_um[2])
        columns |= {"volume_um3": volume_um3, "diameter_um": np.cbrt(6 / np.pi * volume_um3)}
    return columns


def _place(geometry: Geometry, size_um: tuple[float, ...] | None) -> dict[str, NDArray[Any]]:
    area, start = geometry.rows[:, _AREA], geometry.z_start()
    columns: dict[str, NDArray[Any]] = {}
    names = "zyx" if geometry.volume else "yx"
    sums = {"z": _SUM_Z, "y": _SUM_Y, "x": _SUM_X}
    first = {"z": _Z0, "y": _Y0, "x": _X0}
    for a in names:
        low = geometry.rows[:, first[a]] - (start if a == "z" else 0)
        columns[f"centroid_{a}"] = low + geometry.shapes[:, sums[a]] / area
    if size_um is not None:
        for a, um in zip(names, size_um, strict=True):
            columns[f"centroid_{a}_um"] = columns[f"centroid_{a}"] * um
    ends = {"z0": _Z0, "y0": _Y0, "x0": _X0, "z1": _Z1, "y1": _Y1, "x1": _X1}
    for name, index in ends.items():
        if name[0] in names:
            columns[f"bbox_{name}"] = geometry.rows[:, index] - (start if name[0] == "z" else 0)
    return columns


def _shape(geometry: Geometry, size_um: tuple[float, ...] | None) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {}
    area = geometry.rows[:, _AREA].astype(np.float64)
    perimeter = _crofton(geometry.shapes, 1.0, 1.0)
    major, minor, angle = _ellipse(geometry.shapes, area, 1.0, 1.0)
    columns |= {"perimeter_px": perimeter, "major_axis_px": major, "minor_axis_px": minor}
    if size_um is not None:
        perimeter = _crofton(geometry.shapes, *size_um)
        major, minor, angle = _ellipse(geometry.shapes, area, *size_um)
        area = area * (size_um[0] * size_um[1])
        columns |= {"perimeter_um": perimeter, "major_axis_um": major, "minor_axis_um": minor}
    ratio = np.divide(minor, major, out=np.ones_like(major), where=major > 0)  # one pixel: round
    columns |= {
        "orientation_deg": angle,
        "eccentricity": np.sqrt(np.maximum(0.0, 1 - ratio**2)),
        "solidity": geometry.rows[:, _AREA] / geometry.shapes[:, _HULL],
        "circularity": 4 * np.pi * area / perimeter**2,
    }
    return columns


def _crofton(shapes: NDArray[np.float64], size_y: float, size_x: float) -> NDArray[np.float64]:
    """Return the perimeter: how often lines of four directions enter it, times their spacing and angle.

    References
    ----------
    .. [1] Legland, Kieu, Devaux, Image Anal Stereol 26, 83-92 (2007). For square pixels this is their
    estimate; for
       oblong ones the directions are those of the oblong grid, each standing for the angles nearest to it.
    """
    diagonal = np.hypot(size_y, size_x)
    angle = np.arctan2(size_y, size_x)
    spacing_diagonal = size_y * size_x / diagonal
    entered = (
        shapes[:, _CROSS_X] * (size_y * angle)
        + shapes[:, _CROSS_Y] * (size_x * (np.pi / 2 - angle))
        + (shapes[:, _CROSS_DOWN_RIGHT] + shapes[:, _CROSS_DOWN_LEFT]) * (spacing_diagonal * np.pi / 4)
    )
    result: NDArray[np.float64] = entered
    return result


def _ellipse(
    shapes: NDArray[np.float64], area: NDArray[np.float64], size_y: float, size_x: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return both axes of the ellipse of equal second moments and its angle in degrees."""
    mean_y, mean_x = shapes[:, _SUM_Y] / area, shapes[:, _SUM_X] / area
    yy = (shapes[:, _SUM_YY] / area - mean_y**2) * size_y**2
    xx = (shapes[:, _SUM_XX] / area - mean_x**2) * size_x**2
    xy = (shapes[:, _SUM_XY] / area - mean_y * mean_x) * (size_y * size_x)
    spread = np.sqrt(((yy - xx) / 2) ** 2 + xy**2)
    middle = (yy + xx) / 2
    major = 4 * np.sqrt(np.maximum(0.0, middle + spread))
    minor = 4 * np.sqrt(np.maximum(0.0, middle - spread))
    # y runs down in a picture, so an angle that grows counter-clockwise to the eye takes -xy.
    angle = np.rad2deg(0.5 * np.arctan2(-2 * xy, xx - yy)) % 180.0
    return major, minor, angle


def _touches_border(geometry: Geometry) -> NDArray[np.bool_]:
    rows = geometry.rows
    height, width = geometry.planes.shape[1:]
    touches = (rows[:, _Y0] == 0) | (rows[:, _X0] == 0) | (rows[:, _Y1] == height) | (rows[:, _X1] == width)
    if geometry.volume:
        start = geometry.z_start()
        touches |= (rows[:, _Z0] == start) | (rows[:, _Z1] == start + geometry.leading[-1])
    result: NDArray[np.bool_] = touches
    return result
