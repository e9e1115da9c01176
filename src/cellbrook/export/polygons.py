"""Labels as polygons along pixel edges, and polygons as labels: lossless both ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook._kernels import _native
from cellbrook.core.threads import resolve_threads
from cellbrook.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Polygon:
    """One connected piece of an object: an outline and the holes in it.

    Parameters
    ----------
    outline : ndarray of shape (n, 2)
        Corners as (y, x), clockwise as one looks at the picture, the first not repeated. (0, 0) is the top
        left corner of the first pixel, whose centre is (0.5, 0.5).
    holes : tuple of ndarray of shape (n, 2)
        Corners of each hole, counter-clockwise.
    """

    outline: NDArray[Any]
    holes: tuple[NDArray[Any], ...] = ()

    @property
    def rings(self) -> tuple[NDArray[Any], ...]:
        """The outline, then the holes."""
        return (self.outline, *self.holes)


@dataclass(frozen=True, slots=True)
class Shape:
    """An object in one plane, as polygons.

    Parameters
    ----------
    label : int
        Its number in the label image.
    polygons : tuple of Polygon
        Its pieces; those that meet at a corner only are separate.
    plane : tuple of int
        Index along each leading axis of the label image; () in 2-D.
    """

    label: int
    polygons: tuple[Polygon, ...]
    plane: tuple[int, ...] = ()

    @property
    def rings(self) -> tuple[NDArray[Any], ...]:
        """All rings; even-odd filling gives the object."""
        return tuple(ring for polygon in self.polygons for ring in polygon.rings)


@dataclass(frozen=True, slots=True)
class Rings:
    """The rings of all objects in flat arrays, for writers that take them in bulk.

    Parameters
    ----------
    corners : ndarray of shape (N, 2), int32
        Corners of all rings as (y, x).
    starts : ndarray of shape (R + 1,), int64
        Ring r has the corners ``starts[r]`` to ``starts[r + 1]``.
    label, plane, parent : ndarray of shape (R,), int64
        Each ring's object, its plane (leading axes joined) and the outline it is a hole of (itself if it is
        one). By label, then plane; an outline is followed by its holes.
    leading : tuple of int
        Length of the label image's leading axes.
    """

    corners: NDArray[np.int32]
    starts: NDArray[np.int64]
    label: NDArray[np.int64]
    plane: NDArray[np.int64]
    parent: NDArray[np.int64]
    leading: tuple[int, ...]

    def place(self, plane: int) -> tuple[int, ...]:
        """Return the index along each leading axis of a plane."""
        return tuple(int(i) for i in np.unravel_index(plane, self.leading)) if self.leading else ()

    def shapes(self) -> list[Shape]:
        """Return the same as objects."""
        start, label, plane, parent = (v.tolist() for v in (self.starts, self.label, self.plane, self.parent))
        shapes: list[Shape] = []
        ring, count = 0, len(label)
        while ring < count:
            own, place, polygons = label[ring], plane[ring], []
            while ring < count and label[ring] == own and plane[ring] == place:
                first = ring
                ring += 1
                while ring < count and parent[ring] == first:
                    ring += 1
                rings = [self.corners[start[k] : start[k + 1]] for k in range(first, ring)]
                polygons.append(Polygon(rings[0], tuple(rings[1:])))
            shapes.append(Shape(own, tuple(polygons), self.place(place)))
        return shapes


def trace_rings(labels: NDArray[Any], *, threads: int | None = None) -> Rings:
    """Trace the borders of all objects along pixel edges, into flat arrays.

    Parameters
    ----------
    labels, threads
        As for `trace`.
    """
    labels = np.asarray(labels)
    if labels.ndim < 2 or labels.size == 0:
        raise ImageError(f"labels must have axes ..., Y, X, got an array of shape {labels.shape}")
    leading, names = labels.shape[:-2], None
    if int(labels.max()) > labels.size + (1 << 20):  # a table by label would not fit the memory
        names, inverse = np.unique(np.append(labels, 0), return_inverse=True)
        labels = inverse[:-1].reshape(labels.shape)
    planes = np.ascontiguousarray(labels, np.uint32).reshape(-1, *labels.shape[-2:])
    threads = resolve_threads(threads)
    boxes = np.zeros((int(planes.max()) + 1, 7), np.int64)
    _native.object_boxes(planes, boxes, threads)
    corners, starts, label, plane, parent = _native.trace_labels(planes, boxes, threads)
    if names is not None:
        label = names[label].astype(np.int64)
    return Rings(corners, starts, label, plane, parent, leading)


def trace(labels: NDArray[Any], *, threads: int | None = None) -> list[Shape]:
    """Trace the borders of all objects along pixel edges.

    Parameters
    ----------
    labels : ndarray of shape (Y, X), (Z, Y, X), (T, Y, X) or (T, Z, Y, X), integer
        0 is background.
    threads : int or None
        Processor threads. None: all that this process may use.

    Returns
    -------
    list of Shape
        By label, then plane; an object that lies in several planes gives a shape for each. Corners are int32.
        Rings are simple: none crosses or touches itself.

    Raises
    ------
    ImageError
        If `labels` has no pixels.

    Examples
    --------
    >>> trace(np.array([[0, 1, 1]]))[0].polygons[0].outline.tolist()
    [[0, 3], [1, 3], [1, 1], [0, 1]]
    """
    return trace_rings(labels, threads=threads).shapes()


def polygons_to_labels(shapes: Iterable[Shape], shape: tuple[int, ...]) -> NDArray[np.uint32]:
    """Fill polygons by the even-odd rule at pixel centres.

    Parameters
    ----------
    shapes : iterable of Shape
        Later ones cover earlier ones where they overlap. What lies outside the image is cut off.
    shape : tuple of int
        Shape of the label image.

    Returns
    -------
    ndarray of that shape, uint32
        0 is background. The exact inverse of `trace`.
    """
    labels = np.zeros(shape, np.uint32)
    points: list[NDArray[Any]] = []
    label_of: list[int] = []
    plane_of: list[int] = []
    for number, place, ring in _rings(shapes, shape):
        points.append(ring)
        label_of.append(number)
        plane_of.append(place)
    if not points:
        return labels
    starts = np.zeros(len(points) + 1, np.int64)
    np.cumsum([len(p) for p in points], out=starts[1:])
    corners = np.ascontiguousarray(np.concatenate(points), np.float64)
    if not np.isfinite(corners).all():
        raise ImageError("polygons must have finite corners, got NaN or infinity")
    planes = labels.reshape(-1, *shape[-2:])
    _native.fill_polygons(corners, starts, np.array(label_of, np.int64), np.array(plane_of, np.int64), planes)
    return labels


def _rings(shapes: Iterable[Shape], shape: tuple[int, ...]) -> Iterator[tuple[int, int, NDArray[Any]]]:
    for item in shapes:
        fits = len(item.plane) == len(shape) - 2
        if not fits or any(not 0 <= i < n for i, n in zip(item.plane, shape, strict=False)):
            raise ImageError(
                f"object {item.label} lies in plane {item.plane}, outside labels of shape {shape}"
            )
        place = int(np.ravel_multi_index(item.plane, shape[:-2])) if item.plane else 0
        for ring in item.rings:
            yield item.label, place, ring
