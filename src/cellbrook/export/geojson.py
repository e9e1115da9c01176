"""GeoJSON as QuPath reads and writes it, and back to labels."""

from __future__ import annotations

import json
import math
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cellbrook.errors import ImageError
from cellbrook.export._layout import row_finder
from cellbrook.export.polygons import Polygon, Shape, polygons_to_labels, trace
from cellbrook.io.writers import atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from cellbrook.core.objects import ObjectTable

# Columns that are no measurement but say what or where the object is.
_NO_MEASUREMENT = frozenset({"label", "t", "z", "class", "origin"})
# Object ids follow from name, label and plane: the same result is the same file.
_NAMESPACE = uuid.UUID("8f6a2c1e-54b3-5d0a-9a5e-2f7c1d0b6e43")


def write_geojson(
    path: str | Path,
    labels: NDArray[Any],
    objects: ObjectTable | None = None,
    *,
    axes: str | None = None,
    name: str = "",
    object_type: Literal["detection", "cell", "annotation"] = "detection",
    threads: int | None = None,
) -> Path:
    """Write every object as a feature that QuPath (0.4 and later) imports with its measurements.

    Parameters
    ----------
    path : str or Path
        Replaced whole if it exists.
    labels : ndarray of shape (Y, X), (Z, Y, X), (T, Y, X) or (T, Z, Y, X), integer
        0 is background. Coordinates are pixels, (0, 0) the top left corner of the first, as QuPath counts
        them.
    objects : ObjectTable or None
        Its columns become measurements; a ``class`` column becomes the classification.
    axes : str or None
        Axes of `labels`. None: by their number.
    name : str
        What objects' ids are derived from, such as the image's name; else objects of two images share ids.
    object_type : {"detection", "cell", "annotation"}
        What QuPath makes of it.
    threads : int or None
        Processor threads. None: all that this process may use.

    Returns
    -------
    Path
        The file. An object that lies in several planes gives a feature in each.
    """
    labels = np.asarray(labels)
    leading = (axes or {2: "YX", 3: "ZYX", 4: "TZYX"}[labels.ndim])[:-2]
    row_of = row_finder(objects, leading)
    columns = _measurements(objects)
    classes = None if objects is None or "class" not in objects else objects["class"].tolist()
    name = name.encode("utf-8", "backslashreplace").decode()  # a file's name may hold bytes that are no text
    lines = []
    for shape in trace(labels, threads=threads):
        place = dict(zip(leading, shape.plane, strict=True))
        properties: dict[str, Any] = {
            "objectType": object_type,
            "name": str(shape.label),
            "label": shape.label,
        }
        row = row_of(shape.label, shape.plane)
        if row is not None:
            if classes is not None and (said := str(classes[row])):
                properties["classification"] = {"name": said}
            properties["measurements"] = {
                title: value for title, values in columns.items() if (value := values[row]) is not None
            }
        feature = {
            "type": "Feature",
            "id": str(uuid.uuid5(_NAMESPACE, f"{name}/{shape.plane}/{shape.label}")),
            "geometry": _geometry(shape, place),
            "properties": properties,
        }
        lines.append(json.dumps(feature, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
    return _write(path, lines)


def read_geojson(path: str | Path, shape: tuple[int, ...], *, axes: str | None = None) -> NDArray[np.uint32]:
    """Read polygons of a GeoJSON file, such as QuPath and StarDist write, as labels.

    Parameters
    ----------
    path : str or Path
        A FeatureCollection, a list of features, or one feature or geometry.
    shape : tuple of int
        Shape of the label image.
    axes : str or None
        Its axes. None: by their number.

    Returns
    -------
    ndarray of that shape, uint32
        Features that Cellbrook wrote have their labels again; others are numbered from 1 in their order. A
        pixel belongs to a polygon that contains its centre, to the last of several. Points and lines are left
        out.

    Raises
    ------
    ImageError
        If the file is no GeoJSON, or lies in planes outside the stack.
    """
    return polygons_to_labels([found for found, _ in _read(path, shape, axes)], shape)


def read_geojson_classes(
    path: str | Path, shape: tuple[int, ...], *, axes: str | None = None
) -> dict[int, str]:
    """Read the classifications of a GeoJSON file, by the labels that `read_geojson` gives.

    Parameters
    ----------
    path, shape, axes
        As there.

    Returns
    -------
    dict of int to str
        Features without a class are left out.

    Raises
    ------
    ImageError
        As there.
    """
    named = ((shape.label, _class(feature)) for shape, feature in _read(path, shape, axes))
    return {label: name for label, name in named if name}


def read_geojson_regions(path: str | Path, shape: tuple[int, int]) -> list[tuple[str, Shape]]:
    """Read the polygons of a GeoJSON file with what each is called, in any plane.

    Parameters
    ----------
    path : str or Path
        As for `read_geojson`.
    shape : tuple of int
        Shape of the image.

    Returns
    -------
    list of (str, Shape)
        By its name, else its class, else its number.

    Raises
    ------
    ImageError
        If the file is no GeoJSON.
    """
    return [
        (_name(feature) or _class(feature) or str(k), shape)
        for k, (shape, feature) in enumerate(_read(path, shape, "YX"), 1)
    ]


def write_geojson_regions(
    path: str | Path,
    parts: Iterable[tuple[str, tuple[Polygon, ...]]],
    measurements: Mapping[str, Mapping[str, float]],
) -> Path:
    """Write polygons with names as annotations, as QuPath imports them; `read_geojson_regions` reads them again.

    Parameters
    ----------
    path : str or Path
        Replaced whole if it exists.
    parts : iterable of (str, tuple of Polygon)
        The name of a region, and what was drawn of it.
    measurements : mapping of str to mapping of str to float
        By name.

    Returns
    -------
    Path
        The file.
    """
    lines = []
    for k, (name, polygons) in enumerate(parts, 1):
        feature = {
            "type": "Feature",
            "id": str(uuid.uuid5(_NAMESPACE, f"region/{k}/{name}")),
            "geometry": _geometry(Shape(k, polygons), {}),
            "properties": {
                "objectType": "annotation",
                "name": name,
                "measurements": dict(measurements.get(name, {})),
            },
        }
        lines.append(json.dumps(feature, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
    return _write(path, lines)


def _write(path: str | Path, lines: list[str]) -> Path:
    with atomic(path) as target:
        text = '{"type":"FeatureCollection","features":[\n' + ",\n".join(lines) + "\n]}\n"
        target.write_text(text, encoding="utf-8")
    return Path(path)


def _read(path: str | Path, shape: tuple[int, ...], axes: str | None) -> list[tuple[Shape, dict[str, Any]]]:
    """Return the shapes of a file, numbered, each with its feature."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        features = list(_features(document))
        leading = (axes or {2: "YX", 3: "ZYX", 4: "TZYX"}[len(shape)])[:-2]
        found = [(_label(f), _place(g, leading), _polygons(g), f) for f, g in features]
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ImageError(f"cannot read polygons from {path}: {type(error).__name__}: {error}") from error
    found = [entry for entry in found if entry[2]]
    for _, place, _, _ in found:
        if any(not 0 <= i < n for i, n in zip(place, shape[:-2], strict=True)):
            raise ImageError(f"{path}: a feature lies in plane {place}, outside a stack of {shape[:-2]}")
    keys = [(label, place) for label, place, _, _ in found]
    named = all(label > 0 for label, _ in keys) and len(set(keys)) == len(keys)
    return [
        (Shape(label if named else k + 1, polygons, place), feature)
        for k, (label, place, polygons, feature) in enumerate(found)
    ]


def _measurements(objects: ObjectTable | None) -> dict[str, list[float | int | None]]:
    """Return the numeric columns; what is not a finite number is None, which JSON lacks."""
    columns: dict[str, list[float | int | None]] = {}
    for name in objects or ():
        values = objects[name]  # type: ignore[index]
        if name in _NO_MEASUREMENT or values.dtype.kind not in "biuf":
            continue
        if values.dtype.kind == "f":
            columns[name] = [float(f"{v:.7g}") if math.isfinite(v) else None for v in values.tolist()]
        else:
            columns[name] = [int(v) for v in values.tolist()]
    return columns


def _geometry(shape: Shape, place: dict[str, int]) -> dict[str, Any]:
    polygons = [[_closed(ring) for ring in polygon.rings] for polygon in shape.polygons]
    geometry: dict[str, Any] = (
        {"type": "Polygon", "coordinates": polygons[0]}
        if len(polygons) == 1
        else {"type": "MultiPolygon", "coordinates": polygons}
    )
    if place:
        geometry["plane"] = {"c": -1, "z": place.get("Z", 0), "t": place.get("T", 0)}
    return geometry


def _closed(ring: NDArray[Any]) -> list[list[float]]:
    points: list[list[float]] = ring[:, ::-1].tolist()
    points.append(points[0])
    return points


def _features(document: Any) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each feature with its geometry."""
    if isinstance(document, list):
        for entry in document:
            yield from _features(entry)
    elif document["type"] == "FeatureCollection":
        yield from _features(document["features"])
    elif document["type"] == "Feature":
        if document["geometry"] is not None:
            yield document, document["geometry"]
    else:
        yield {}, document


def _label(feature: dict[str, Any]) -> int:
    value = (feature.get("properties") or {}).get("label", 0)
    return value if isinstance(value, int) and 0 < value < 2**32 else 0


def _name(feature: dict[str, Any]) -> str:
    return str((feature.get("properties") or {}).get("name") or "").strip()


def _class(feature: dict[str, Any]) -> str:
    """Return the classification as QuPath writes it: a name, since 0.5 also a list of its parts."""
    said = (feature.get("properties") or {}).get("classification") or {}
    return str(said.get("name") or ": ".join(map(str, said.get("names") or ()))).strip()


def _place(geometry: dict[str, Any], leading: str) -> tuple[int, ...]:
    plane = geometry.get("plane") or {}
    return tuple(int(plane.get(a.lower(), 0)) for a in leading)


def _polygons(geometry: dict[str, Any]) -> tuple[Polygon, ...]:
    kind = geometry["type"]
    if kind == "GeometryCollection":
        return tuple(p for part in geometry["geometries"] for p in _polygons(part))
    if kind not in ("Polygon", "MultiPolygon"):
        return ()
    parts = [geometry["coordinates"]] if kind == "Polygon" else geometry["coordinates"]
    return tuple(Polygon(_ring(rings[0]), tuple(_ring(r) for r in rings[1:])) for rings in parts if rings)


def _ring(points: list[list[float]]) -> NDArray[np.float64]:
    ring = np.array([p[:2] for p in points], np.float64).reshape(-1, 2)[:, ::-1]
    closed = len(ring) > 1 and (ring[0] == ring[-1]).all()
    return ring[:-1] if closed else ring
