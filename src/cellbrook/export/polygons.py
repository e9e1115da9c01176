"""Labels as polygons along pixel edges, and polygons as labels: lossless both ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook._kernels import _native
from cellbrook.core.threads import resolve_threads
from cellbrook.errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Polygon:
    """One connected piece of an object: an outline and the holes in it.

    Parameters
    ----------
    outline : ndarray of shape (n, 2)
        Corners as (y, x), clockwise as one looks at the picture, the first not repeated. (0, 0) is the top left corner
        of the first pixel, whose centre is (0.5, 0.5).
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
        By label, then plane; an object that lies in several planes gives a shape for each. Corners are int32. Rings
        are simple: none crosses or touches itself.

    Examples
    --------
    >>> trace(np.array([[0, 1, 1]]))[0].polygons[0].outline.tolist()
    [[0, 3], [1, 3], [1, 1], [0, 1]]
    """
    labels = np.asarray(labels)
    if labels.ndim < 2 or labels.size == 0:
        raise ImageError(f"labels must have axes ..., Y, X, got an array of shape {labels.shape}")
    names = None
    if int(labels.max()) > labels.size + (1 << 20):  # a table by label would not fit the memory
        names, inverse = np.unique(np.append(labels, 0), return_inverse=True)
        labels = inverse[:-1].reshape(labels.shape)
    planes = np.ascontiguousarray(labels, np.uint32).reshape(-1, *labels.shape[-2:])
    threads = resolve_threads(threads)
    boxes = np.zeros((int(planes.max()) + 1, 7), np.int64)
    _native.object_boxes(planes, boxes, threads)
    corners, starts, ring_labels, ring_planes, parents = _native.trace_labels(planes, boxes, threads)

    shapes: list[Shape] = []
    start, label_of, plane_of, parent = (v.tolist() for v in (starts, ring_labels, ring_planes, parents))
    ring, count = 0, len(label_of)
    while ring < count:
        label, plane, polygons = label_of[ring], plane_of[ring], []
        while ring < count and label_of[ring] == label and plane_of[ring] == plane:
            first = ring
            ring += 1
            while ring < count and parent[ring] == first:
                ring += 1
            rings = [corners[start[k] : start[k + 1]] for k in range(first, ring)]
            polygons.append(Polygon(rings[0], tuple(rings[1:])))
        name = label if names is None else int(names[label])
        place = tuple(int(i) for i in np.unravel_index(plane, labels.shape[:-2])) if labels.ndim > 2 else ()
        shapes.append(Shape(name, tuple(polygons), place))
    return shapes


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


def _rings(
    shapes: Iterable[Shape], shape: tuple[int, ...]
) -> Iterator[tuple[int, int, NDArray[Any]]]:
    for item in shapes:
        if len(item.plane) != len(shape) - 2:
            raise ImageError(
                f"object {item.label} has plane {item.plane}, which does not fit labels of shape {shape}"
            )
        place = int(np.ravel_multi_index(item.plane, shape[:-2])) if item.plane else 0
        for ring in item.rings:
            yield item.label, place, ring
