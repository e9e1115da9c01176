"""Regions of an image that people draw and name, such as a tumour and what is around it: cells are counted in each.

They are in the log of edits as labels are, so that they can be undone; each holds in all planes of a stack.
"""

from __future__ import annotations

import dataclasses
import json
import math
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import EditError, UsageError
from cellbrook.project.ops import REGION, Batch, SetRegion

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from pathlib import Path
    from sqlite3 import Connection

    from cellbrook.export.regions import Regions
    from cellbrook.project._database import Database
    from cellbrook.project.images import ImageRecord
    from cellbrook.project.project import Project

Ring = tuple[tuple[float, float], ...]
"""Corners as (y, x) in pixels, the first not repeated; (0, 0) is the top left corner of the first pixel."""

MOST_REGIONS = 2000
"""Of an image. Who brings in more has taken cells for regions."""

_MOST_CORNERS = 100_000
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Region:
    """What was drawn at once; regions of one name are counted as one.

    Parameters
    ----------
    id : str
        Unique in the image.
    name : str
        What a person calls it.
    polygons : tuple of tuple of Ring
        Its pieces, each an outline and the holes in it.
    """

    id: str
    name: str
    polygons: tuple[tuple[Ring, ...], ...]

    def packed(self) -> str:
        """Return it as it is stored."""
        return json.dumps([self.name, self.polygons], ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def unpacked(cls, region: str, text: str) -> Region:
        """Return a region from its id and what `packed` gave."""
        name, polygons = json.loads(text)
        rings = (tuple(tuple((y, x) for y, x in ring) for ring in polygon) for polygon in polygons)
        return cls(region, name, tuple(rings))


Change = tuple[Region | None, Region | None]
"""A region before and after an edit; None where it is not."""


def fresh_id() -> str:
    """Return an id for a new region."""
    return uuid.uuid4().hex[:12]


def checked(region: Region, shape: tuple[int, int]) -> Region:
    """Return a region as it is kept.

    Raises
    ------
    EditError
        If it has no name, encloses nothing of the image, or no numbers.
    """
    name = " ".join(region.name.split())
    if not name or len(name) > _LONGEST_NAME:
        raise EditError(f"a region has a name of 1 to {_LONGEST_NAME} characters, got {region.name[:50]!r}")
    if not 0 < len(region.id) <= 64:
        raise EditError(f"the id of a region has 1 to 64 characters, got {region.id[:70]!r}")
    rings = [ring for polygon in region.polygons for ring in polygon]
    if not rings or any(len(ring) < 3 for ring in rings):
        raise EditError(f"the region {name} encloses nothing: its outline has three corners or more")
    if (corners := sum(map(len, rings))) > _MOST_CORNERS:
        raise EditError(
            f"the region {name} has {corners} corners, {_MOST_CORNERS} at most are kept: simplify it"
        )
    points = np.array([point for ring in rings for point in ring], np.float64)
    if not np.isfinite(points).all():
        raise EditError(f"the region {name} has corners that are no numbers")
    low, high = points.min(axis=0), points.max(axis=0)
    if (high <= 0).any() or (low >= shape).any() or (low == high).any():
        raise EditError(f"the region {name} lies outside of the image of {shape[0]}x{shape[1]}")
    return Region(region.id, name, region.polygons)


# In the log


def regions_at(database: Database, image: str, rev: int | None = None) -> dict[str, Region]:
    """Return the regions of an image by id, in the order in which they were drawn first.

    Parameters
    ----------
    rev : int or None
        As they were after this revision. None: now.
    """
    if not _kept(database):
        return {}
    rows = database.query(
        "SELECT id, after FROM regions WHERE image = ? AND rev <= ? ORDER BY rev, rowid",
        (image, rev if rev is not None else 2**62),
    )
    newest: dict[str, str | None] = {}
    for region, after in rows:  # a dict keeps the place of the first
        newest[region] = after
    return {i: Region.unpacked(i, text) for i, text in newest.items() if text is not None}


def region_changes(database: Database, image: str, rev: int) -> list[Change]:
    """Return what a revision changed of regions."""
    if not _kept(database):
        return []
    rows = database.query(
        "SELECT id, before, after FROM regions WHERE image = ? AND rev = ? ORDER BY rowid", (image, rev)
    )
    return [(_read(i, before), _read(i, after)) for i, before, after in rows]


def keep_regions(connection: Connection, image: str, rev: int, changes: Iterable[Change]) -> None:
    """Write down what a revision changes of regions."""
    rows = []
    for before, after in changes:
        region = after or before
        assert region is not None
        rows.append((image, rev, region.id, before and before.packed(), after and after.packed()))
    connection.executemany("INSERT INTO regions VALUES (?, ?, ?, ?, ?)", rows)


def _read(region: str, text: str | None) -> Region | None:
    return None if text is None else Region.unpacked(region, text)


def _kept(database: Database) -> bool:
    """Return False of a project of an earlier version that is only looked at."""
    found = not database.read_only or database.one("SELECT 1 FROM sqlite_master WHERE name = 'regions'")
    return bool(found)


# In and out


def import_regions(
    project: Project, path: str | os.PathLike[str], image: str | None = None, *, user: str = "me"
) -> list[tuple[ImageRecord, list[Region], list[str]]]:
    """Add the regions of files to those of images, each as one edit; an undo takes them out again.

    Parameters
    ----------
    project : Project
        Open for writing.
    path : path
        GeoJSON (QuPath), ImageJ ROIs, or an image of the regions' numbers (`cellbrook.export.regions.read_regions`); or
        a folder of such files, each called as its image or with ``_regions`` behind it.
    image : str or None
        The image of a single file, by id, name or path. None: by the file's name, or the only one.
    user : str
        Whose undo takes them back.

    Returns
    -------
    list of (ImageRecord, list of Region, list of str)
        What came in, by image, and names of what was left out (see `read_region_file`).

    Raises
    ------
    ImageError
        If a file cannot be read, or holds no region inside its image. Nothing of any is taken over then.
    UsageError, EditError
        If a file belongs to no image, or holds too many regions.
    """
    from pathlib import Path

    from cellbrook.export.regions import image_of_regions, region_files
    from cellbrook.io.pairs import image_id

    path, records = Path(path), project.own_images()
    keys = [image_id(f"{r.name}.tif") for r in records]
    if path.is_dir():
        found = region_files(path, keys)
        files = [(r, found[k]) for r, k in zip(records, keys, strict=True) if k in found]
        if not files:
            raise UsageError(f"{path}: no file there is called as an image of the project")
    elif image is not None:
        files = [(project.find(image), path)]
    else:
        named = [r for r, k in zip(records, keys, strict=True) if k == image_of_regions(path)]
        named = named or (records if len(records) == 1 else [])
        if len(named) != 1:
            raise UsageError(
                f"{path}: {'several images are' if named else 'no image is'} called so: name the image (--image)"
            )
        files = [(named[0], path)]
    read = [(r, *read_region_file(file, (r.height, r.width))) for r, file in files]
    for record, regions, _ in read:
        project.log(record.id).apply(adding(regions), user=user)
    return read


def adding(regions: Iterable[Region]) -> Batch:
    """Return the edit that draws regions."""
    return Batch(tuple(SetRegion(r) for r in regions), kind=REGION)


# What is in them


def drawn_regions(project: Project, image: str) -> Regions | None:
    """Return the regions of an image, for counting in them; None without any."""
    from cellbrook.export.polygons import Polygon
    from cellbrook.export.regions import Regions

    record, found = project.image(image), project.log(image).regions()
    if not found:
        return None
    parts = (
        (r.name, tuple(Polygon(_corners(p[0]), tuple(map(_corners, p[1:]))) for p in r.polygons))
        for r in found
    )
    return Regions(tuple(parts), (record.height, record.width))


def count_in_regions(project: Project, record: ImageRecord, plane: int | None = None) -> list[dict[str, Any]]:
    """Count the objects in each region.

    Parameters
    ----------
    project : Project
        Any.
    record : ImageRecord
        The image.
    plane : int or None
        In this plane, from 0; objects that reach through planes: at its time point. None: everywhere.

    Returns
    -------
    list of dict
        As `cellbrook.export.regions.in_each`; of one plane without ``t`` and ``z``. Empty without regions.
    """
    from cellbrook.export.regions import in_each, with_regions
    from cellbrook.project.objects import as_table

    regions = drawn_regions(project, record.id)
    if regions is None:
        return []
    store = project.labels(record.id)
    through = store.joined()
    axes, leading = store.axes, store.leading
    planes = list(range(store.planes))
    if plane is not None:
        store.check_plane(plane)
        axes, leading, planes = "YX", (), [plane]
        if through:
            first = plane // store.depth * store.depth
            axes, leading, planes = "ZYX", (store.depth,), list(range(first, first + store.depth))
    with project.database.lock:  # rows and pixels of one revision
        labels = np.stack([store.read(p) for p in planes]).reshape(*leading, *store.shape)
        rows = [r for p in planes for r in store.objects(p)]
    # of what reaches through planes, the row of one of them
    once = {(r.id, record.time_of(r.plane)): r for r in rows}
    objects = as_table(
        [dataclasses.replace(r, plane=r.plane - planes[0]) for r in once.values()], leading, axes
    )
    if through:
        # so they are not told by plane
        objects = objects.with_columns(volume_px=np.zeros(len(objects), np.int64))
    objects = with_regions(objects, labels, regions)
    said, size = project.settings.pixel_size, record.pixel_size_um
    known = (size["Y"], size["X"]) if {"Y", "X"} <= size.keys() else None
    known = (said, said) if said is not None else known
    return in_each(objects, labels, regions, axes=axes, pixel_size_um=known)


def read_region_file(path: Path, shape: tuple[int, int]) -> tuple[list[Region], list[str]]:
    """Read regions from a file; see `cellbrook.export.regions.read_regions`.

    Returns
    -------
    regions : list of Region
        With fresh ids.
    left : list of str
        Names of outlines that were left out, as they lie outside of the image or are larger than what is kept.

    Raises
    ------
    ImageError
        If it cannot be read, or holds no region inside the image.
    UsageError
        If it holds too many.
    """
    from cellbrook.export.regions import read_regions

    parts = read_regions(path, shape).parts
    if len(parts) > MOST_REGIONS:
        raise UsageError(
            f"{path} holds {len(parts)} outlines, an image has {MOST_REGIONS} regions at most: cells are imported as cells"
        )
    found, left = [], []
    for name, polygons in parts:
        filled = (p for p in polygons if len(p.outline) > 2)
        rings = (tuple(_ring(ring) for ring in p.rings if len(ring) > 2) for p in filled)
        region = Region(fresh_id(), name[:_LONGEST_NAME], tuple(rings))
        try:
            found.append(checked(region, shape))
        except EditError:  # of several; that some are inside was looked at
            left.append(region.name)
    return found, left


def _corners(ring: Ring) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(ring, np.float64).reshape(-1, 2)


def _ring(points: np.ndarray[Any, Any]) -> Ring:
    """Return corners as plain numbers, those of pixels' edges whole."""
    return tuple((_plain(y), _plain(x)) for y, x in points.tolist())


def _plain(value: float) -> float:
    if not math.isfinite(value):
        raise UsageError("a region has corners that are no numbers")
    return int(value) if value == int(value) else round(value, 3)
