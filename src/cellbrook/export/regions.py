"""Regions of an image that a person drew and named, and the objects in each: how many, how dense, how much they cover."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import ImageError, UsageError
from cellbrook.export.geojson import read_geojson_regions, write_geojson_regions
from cellbrook.export.polygons import Shape, polygons_to_labels, trace
from cellbrook.export.roi_zip import read_roi_regions
from cellbrook.export.table import format_column
from cellbrook.io.atomic import atomic
from cellbrook.io.files import stem_of
from cellbrook.io.labels import read_labels
from cellbrook.io.pairs import image_id
from cellbrook.metrics import overlaps

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cellbrook.core.objects import ObjectTable
    from cellbrook.export.polygons import Polygon

SUFFIXES = (".geojson", ".json", ".zip", ".roi", ".tif", ".tiff", ".png", ".bmp", ".npy")
"""Endings of files that `read_regions` reads."""

SUMMARY = ("region", "t", "z", "objects", "area_px", "area_um2", "objects_per_mm2", "covered")
"""Columns of `in_each`."""


@dataclass(frozen=True, eq=False)
class Regions:
    """Parts of an image with names; they hold in all planes of a stack.

    Parameters
    ----------
    parts : tuple of (str, tuple of Polygon)
        What was drawn, each under the name of its region: parts of one name are one region. Where two regions overlap, the
        one drawn later has the pixels.
    shape : tuple of int
        Height and width of the image.
    """

    parts: tuple[tuple[str, tuple[Polygon, ...]], ...]
    shape: tuple[int, int]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the regions, in the order in which they were begun."""
        return tuple(dict.fromkeys(name for name, _ in self.parts))

    @cached_property
    def numbers(self) -> NDArray[np.uint32]:
        """An image (Y, X) with 0 outside of all, and ``k + 1`` in the region ``names[k]``."""
        # parts of one region may overlap, and are not to cut holes into each other
        drawn = [Shape(k, polygons) for k, (_, polygons) in enumerate(self.parts, 1)]
        number = {name: k for k, name in enumerate(self.names, 1)}
        of_part = np.array([0, *(number[name] for name, _ in self.parts)], np.uint32)
        return of_part[polygons_to_labels(drawn, self.shape)]

    def hidden(self) -> tuple[str, ...]:
        """Return the names of regions that have no pixel: outside of the image, or covered by later ones."""
        there = np.unique(self.numbers).tolist()
        return tuple(name for k, name in enumerate(self.names, 1) if k not in there)


def region_files(path: Path, images: Sequence[str]) -> dict[str, Path]:
    """Return the file of regions of each image, by id: the one that was given, or those of a folder that share its name.

    Parameters
    ----------
    path : Path
        A file, for one image; or a folder of files called as the images are, perhaps with ``_regions`` or ``_rois`` added.
    images : sequence of str
        Id of each image (see `cellbrook.io.pairs.image_id`). One that has no file is left out.

    Raises
    ------
    UsageError
        If it does not exist, is one file for several images, or two files of a folder are of one image, or one of two.
    """
    if not path.exists():
        raise UsageError(f"no such file or folder: {path}")
    if not path.is_dir():
        if len(images) > 1:
            raise UsageError(
                f"{path} is one file of regions, for {len(images)} images: give a folder of such files"
            )
        return dict.fromkeys(images, path)
    found: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        if not file.name.lower().endswith(SUFFIXES):
            continue
        key = image_of_regions(file)
        if key not in images:
            continue
        if key in found:
            raise UsageError(f"{found[key].name} and {file.name} are both regions of {key}: keep one of them")
        if images.count(key) > 1:  # as in the folders of a plate's wells
            raise UsageError(
                f"{file.name} fits several images called {key}: measure their folders one by one"
            )
        found[key] = file
    return found


def image_of_regions(file: Path) -> str:
    """Return the id of the image whose regions a file holds by its name.

    Examples
    --------
    >>> from pathlib import Path
    >>> image_of_regions(Path("a/slide 3_regions.geojson")), image_of_regions(Path("slide 3.zip"))
    ('slide 3', 'slide 3')
    """
    stem = stem_of(file)
    for ending in ("_regions", "_rois"):
        stem = stem.removesuffix(ending)
    return image_id(f"{stem}.tif")


def read_regions(path: Path, shape: tuple[int, int]) -> Regions:
    """Read regions.

    Parameters
    ----------
    path : Path
        GeoJSON (QuPath), ImageJ ROIs (``.zip``, ``.roi``), or an image whose pixels hold the region's number.
    shape : tuple of int
        Height and width of the image.

    Raises
    ------
    ImageError
        If it cannot be read, does not fit the image, or holds no region inside it.
    """
    suffix = path.suffix.lower()
    if suffix in (".geojson", ".json", ".zip", ".roi"):
        read = read_roi_regions if suffix in (".zip", ".roi") else read_geojson_regions
        found = [(name, part.polygons) for name, part in read(path, shape)]
    else:
        drawn, axes = read_labels(path)
        if drawn.shape != shape:
            raise ImageError(
                f"{path}: regions of {'x'.join(map(str, drawn.shape))} ({axes}) do not fit an image of {shape[0]}x{shape[1]}"
            )
        found = [(str(part.label), part.polygons) for part in trace(drawn)]
    regions = Regions(tuple(found), shape)
    if not regions.numbers.any():
        raise ImageError(f"{path}: no region lies in the image of {shape[0]}x{shape[1]}")
    return regions


def with_regions(objects: ObjectTable, labels: NDArray[np.uint32], regions: Regions) -> ObjectTable:
    """Return the table with a column ``region``: the name of the one in which at least half of an object lies, else "".

    Parameters
    ----------
    objects : ObjectTable
        Of `labels`; with ``t`` if an object may lie in several time points, which come first in `labels` then.
    labels : ndarray of shape (..., Y, X), uint32
        The label image.
    regions : Regions
        Of the same height and width.
    """
    named = np.array(["", *regions.names])
    chosen = np.zeros(len(objects), np.intp)
    # a tracked object has a row, and a place, in each frame
    frames = np.unique(objects["t"]).tolist() if "t" in objects and labels.ndim > 2 else [None]
    for t in frames:
        part = labels if t is None else labels[t]
        rows = np.arange(len(objects)) if t is None else np.flatnonzero(objects["t"] == t)
        flat = part.reshape(-1, part.shape[-1])  # of a stack all planes
        both = overlaps(np.broadcast_to(regions.numbers, part.shape).reshape(flat.shape), flat)
        most = 2 * both.count >= both.pred_areas[both.pred_index]
        order = rows[np.argsort(objects["label"][rows])]
        chosen[order[both.pred_index[most]]] = both.true_ids[both.true_index[most]]
    return objects.with_columns(region=named[chosen])


def in_each(
    objects: ObjectTable,
    labels: NDArray[np.uint32],
    regions: Regions,
    *,
    axes: str,
    pixel_size_um: Sequence[float] | None = None,
) -> list[dict[str, Any]]:
    """Count what lies in each region, plane by plane.

    Parameters
    ----------
    objects : ObjectTable
        As `with_regions` gives it.
    labels, regions
        As there.
    axes : str
        Axes of `labels`.
    pixel_size_um : sequence of float or None
        Micrometres a pixel; Y and X last.

    Returns
    -------
    list of dict
        ``region``; ``t`` and ``z`` where there are several (volumes are not told by plane); ``objects``; the region's
        ``area_px``, ``area_um2`` and ``objects_per_mm2`` where the size of a pixel is known; ``covered``, the share of the
        region that objects cover, also those that lie in it by less than half (not of volumes).
    """
    volume = "volume_px" in objects
    told = [a for a in axes[:-2] if not (volume and a == "Z")]
    area = np.bincount(regions.numbers.ravel(), minlength=len(regions.names) + 1)[1:]
    pixel_um2 = math.prod(pixel_size_um[-2:]) if pixel_size_um else None
    number = {name: k for k, name in enumerate(regions.names)}
    region_of = np.array([number.get(name, -1) for name in objects["region"].tolist()], np.intp)
    rows = []
    for place in np.ndindex(labels.shape[: len(told)]):
        at = dict(zip((a.lower() for a in told), place, strict=True))
        here = np.ones(len(objects), bool)
        for axis, index in at.items():
            here &= objects[axis] == index
        counts = np.bincount(region_of[here & (region_of >= 0)], minlength=len(regions.names))
        covered = None
        if not volume:
            inside = regions.numbers[labels[place] > 0]
            covered = np.bincount(inside, minlength=len(regions.names) + 1)[1:] / np.maximum(area, 1)
        for k in np.flatnonzero(area).tolist():
            row: dict[str, Any] = {"region": regions.names[k], **at}
            row["objects"] = int(counts[k])
            row["area_px"] = int(area[k])
            if pixel_um2 is not None:
                row["area_um2"] = float(area[k] * pixel_um2)
                row["objects_per_mm2"] = row["objects"] / row["area_um2"] * 1e6
            if covered is not None:
                row["covered"] = float(covered[k])
            rows.append(row)
    return rows


def regions_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write what `in_each` tells, perhaps of several images with a column ``image``; returns `path`."""
    rows = list(rows)
    names = [n for n in ("image", *SUMMARY) if any(n in row for row in rows)]
    cells = [format_column(np.array([row[n] for row in rows if n in row])) for n in names]
    filled = [iter(column) for column in cells]
    with atomic(path) as target, target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(
            [next(c) if n in row else "" for n, c in zip(names, filled, strict=True)] for row in rows
        )
    return path


def regions_geojson(path: Path, regions: Regions, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write what was drawn as annotations that QuPath opens, and `read_regions` reads; returns `path`.

    Parameters
    ----------
    path : Path
        Replaced whole if it exists.
    regions : Regions
        What was drawn.
    rows : iterable of mapping
        What `in_each` tells. What it says of a region in the only plane becomes measurements of all its parts.
    """
    told: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        told.setdefault(row["region"], []).append(row)
    measurements = {
        name: {k: v for k, v in found[0].items() if k not in ("region", "t", "z")}
        for name, found in told.items()
        if len(found) == 1
    }
    return write_geojson_regions(path, regions.parts, measurements)
