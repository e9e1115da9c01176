"""ImageJ ROI sets (``.zip``), written in bulk and read back to labels.

Vertices are corners of pixels, as ImageJ's own wand and particle analyser make them, so that ImageJ's mask of
a ROI is exactly the object. An object of one piece without holes is a traced polygon; another is a composite
ROI.
"""

from __future__ import annotations

import logging
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import ImageError
from cellbrook.export._layout import class_ids, classes_of, row_finder
from cellbrook.export.polygons import Polygon, Shape, polygons_to_labels, trace_rings
from cellbrook.io.writers import atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from cellbrook.core.objects import ObjectTable
    from cellbrook.export.polygons import Rings

logger = logging.getLogger(__name__)

_VERSION = 228
_TYPE_RECT, _TYPE_TRACED = 1, 8
# ImageJ reads 16-bit numbers below -5000 as unsigned: integers reach to 60,535.
_LARGEST_INTEGER = 60_000
_LARGEST_GROUP = 255
_HEADER = struct.Struct(">4shBxhhhhH16xhiIIhhBBhii")
_HEADER_2 = struct.Struct(">4xiiiii4shBBifiii12x")
_HEADER_SIZE = 64
_OUR_NAME = re.compile(r"0*([1-9]\d*)(?:-[tz]\d+)*")


def write_roi_zip(
    path: str | Path,
    labels: NDArray[Any],
    objects: ObjectTable | None = None,
    *,
    axes: str | None = None,
    hyperstack: bool = False,
    classes: Sequence[str] = (),
    threads: int | None = None,
) -> Path:
    """Write every object as an ImageJ ROI.

    Parameters
    ----------
    path : str or Path
        Replaced whole if it exists.
    labels : ndarray of shape (Y, X), (Z, Y, X), (T, Y, X) or (T, Z, Y, X), integer
        0 is background.
    objects : ObjectTable or None
        Its ``class`` column, where it has one, becomes the ROIs' group and their property "class".
    axes : str or None
        Axes of `labels`. None: by their number.
    hyperstack : bool
        The image's file has two of channels, T and Z: positions are then given as slice and frame, else as
        the plane's number. ImageJ tells the two apart.
    classes : sequence of str
        See `cellbrook.export._layout.class_ids`. ImageJ has 255 groups: later classes are properties alone.
    threads : int or None
        Processor threads. None: all that this process may use.

    Returns
    -------
    Path
        The file. A ROI's name is its label, with leading zeros so that they sort ("007"); ROIs of a stack
        carry their plane ("007-z003", counted from 1).
    """
    labels = np.asarray(labels)
    axes = axes or {2: "YX", 3: "ZYX", 4: "TZYX"}[labels.ndim]
    rings = trace_rings(labels, threads=threads)
    own, ids = classes_of(objects), class_ids(objects, classes)
    row_of = row_finder(objects, axes[:-2])

    def class_of(label: int, place: Sequence[int]) -> tuple[str, int]:
        row = row_of(label, place) if own else None
        name = "" if row is None else own[row]
        number = ids.get(name, 0)
        return name, number if number <= _LARGEST_GROUP else 0

    spread = hyperstack or len(rings.leading) > 1
    names, payloads = encode_rois(rings, axes[:-2], hyperstack=spread, class_of=class_of)
    with atomic(path) as target:
        _write_stored_zip(target, [f"{name}.roi".encode() for name in names], payloads)
    return Path(path)


def encode_rois(
    rings: Rings, leading: str, *, hyperstack: bool, class_of: Callable[[int, Sequence[int]], tuple[str, int]]
) -> tuple[list[str], list[bytes]]:
    """Return the name and the bytes of each ROI.

    Parameters
    ----------
    rings : Rings
        The traced objects.
    leading : str
        Leading axes of the label image, such as "" or "TZ".
    hyperstack : bool
        See `write_roi_zip`.
    class_of : callable
        Gives the class and the group of an object by its label and plane; "" and 0 where it has none.
    """
    if len(rings.label) == 0:
        return [], []
    changes = np.flatnonzero((np.diff(rings.label) != 0) | (np.diff(rings.plane) != 0)) + 1
    first = np.concatenate([[0], changes, [len(rings.label)]])  # rings of ROI k: first[k] to first[k + 1]
    bounds = rings.starts[first]
    low = np.minimum.reduceat(rings.corners, bounds[:-1], axis=0)
    high = np.maximum.reduceat(rings.corners, bounds[:-1], axis=0)
    relative = rings.corners - np.repeat(low, np.diff(bounds), axis=0)
    y_short, x_short = (np.ascontiguousarray(relative[:, k], ">u2").tobytes() for k in (0, 1))
    digits = len(str(int(rings.label.max())))

    names, payloads = [], []
    for k, (begin, end) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        ring, last = int(first[k]), int(first[k + 1])
        place = rings.place(int(rings.plane[ring]))
        suffix = "".join(
            f"-{a.lower()}{i + 1:0{len(str(n))}d}"
            for a, i, n in zip(leading, place, rings.leading, strict=True)
        )
        name = f"{int(rings.label[ring]):0{digits}d}{suffix}"
        (top, left), (bottom, right) = low[k].tolist(), high[k].tolist()
        if last - ring == 1 and max(bottom, right) <= _LARGEST_INTEGER and end - begin < 65536:
            kind, shape_size, count = _TYPE_TRACED, 0, end - begin
            body = x_short[2 * begin : 2 * end] + y_short[2 * begin : 2 * end]
        else:
            path = _float_path(rings, ring, last)
            kind, shape_size, count = _TYPE_RECT, path.size, 0
            body = path.tobytes()
        position, slice_, frame = _position(leading, place, hyperstack)
        box = (_wrapped(v) for v in (top, left, bottom, right))
        header = _HEADER.pack(
            b"Iout", _VERSION, kind, *box, count, 0, shape_size, 0, 0, 0, 0, 0, 0, 0, position,
            _HEADER_SIZE + len(body),
        )  # fmt: skip
        text = name.encode("utf-16-be")
        name_at = _HEADER_SIZE + len(body) + _HEADER_SIZE
        class_name, group = class_of(int(rings.label[ring]), place)
        said = _property("class", class_name) if class_name else b""
        said_at = name_at + len(text) if said else 0
        header_2 = _HEADER_2.pack(
            0, slice_, frame, name_at, len(name), bytes(4), 0, group, 0, 0, 0.0, said_at, len(said) // 2, 0
        )
        names.append(name)
        payloads.append(b"".join((header, body, header_2, text, said)))
    return names, payloads


def _property(key: str, value: str) -> bytes:
    return f"{key}: {' '.join(value.split())}\n".encode("utf-16-be", "replace")


def read_roi_zip(path: str | Path, shape: tuple[int, ...]) -> NDArray[np.uint32]:
    """Read an ImageJ ROI set as labels.

    Parameters
    ----------
    path : str or Path
        A ``.zip`` of ROIs or a single ``.roi``: polygons, freehand and traced outlines, rectangles, ovals,
        composites.
    shape : tuple of int
        Shape of the label image: (Y, X), (Z, Y, X), (T, Y, X) or (T, Z, Y, X).

    Returns
    -------
    ndarray of that shape, uint32
        ROIs that Cellbrook wrote have their labels again; others are numbered from 1 in their order. A pixel
        belongs to a ROI that contains its centre, to the last of several.

    Raises
    ------
    ImageError
        If it is no ROI set, or a ROI's position lies outside the stack.
    """
    return polygons_to_labels([found for _, found in _read(path, shape)], shape)


def read_roi_regions(path: str | Path, shape: tuple[int, int]) -> list[tuple[str, Shape]]:
    """Read an ImageJ ROI set with what each ROI is called, in any plane.

    Parameters
    ----------
    path : str or Path
        As for `read_roi_zip`.
    shape : tuple of int
        Shape of the image.

    Raises
    ------
    ImageError
        If it is no ROI set.
    """
    return [(name.strip() or str(k), found) for k, (name, found) in enumerate(_read(path, shape), 1)]


def _read(path: str | Path, shape: tuple[int, ...]) -> list[tuple[str, Shape]]:
    """Return the names and shapes of a set, numbered."""
    import roifile

    try:
        rois = roifile.roiread(path)
    except (OSError, ValueError, KeyError, struct.error, zipfile.BadZipFile, NotImplementedError) as error:
        raise ImageError(f"cannot read ImageJ ROIs from {path}: {error}") from error
    rois = rois if isinstance(rois, list) else [rois]
    areas = {roifile.ROI_TYPE[kind] for kind in ("POLYGON", "RECT", "OVAL", "FREEHAND", "TRACED")}
    filled = [roi for roi in rois if roi.roitype in areas]
    if len(filled) < len(rois):
        logger.warning(
            "%s: left out %d ROIs that enclose nothing (lines, points)", path, len(rois) - len(filled)
        )
    places = [_place(roi, shape, str(path)) for roi in filled]
    numbers = _numbers([roi.name for roi in filled], places)
    return [
        (roi.name, Shape(number, tuple(Polygon(ring) for ring in _rings(roi)), place))
        for roi, number, place in zip(filled, numbers, places, strict=True)
    ]


def _float_path(rings: Rings, ring: int, last: int) -> NDArray[Any]:
    """Return rings as ImageJ's path of floats: 0 x y moves, 1 x y draws a line, 4 closes."""
    parts = []
    for r in range(ring, last):
        corners = rings.corners[rings.starts[r] : rings.starts[r + 1]]
        segment = np.ones((len(corners), 3), np.float32)
        segment[0, 0] = 0
        segment[:, 1:] = corners[:, ::-1]
        parts += [segment.ravel(), np.array([4], np.float32)]
    return np.concatenate(parts).astype(">f4")


def _wrapped(value: int) -> int:
    """Return the signed 16-bit number of the same bits."""
    return (value + 32768) % 65536 - 32768


def _position(leading: str, place: tuple[int, ...], hyperstack: bool) -> tuple[int, int, int]:
    """Return ImageJ's stack position, slice and frame, from 1; 0 where they do not apply, which shows a ROI in all."""
    if not place:
        return 0, 0, 0
    if not hyperstack:
        return place[0] + 1, 0, 0
    by_axis = dict(zip(leading, place, strict=True))
    return 0, by_axis.get("Z", -1) + 1, by_axis.get("T", -1) + 1


def _write_stored_zip(path: Path, names: Sequence[bytes], payloads: Sequence[bytes]) -> None:
    """Write an uncompressed archive; ten times faster than `zipfile` for thousands of small members."""
    total = sum(map(len, payloads)) + sum(len(n) + 128 for n in names)
    if len(names) > 65_000 or total > 2**31:  # these need the 64-bit extensions
        with zipfile.ZipFile(path, "w") as archive:
            for name, payload in zip(names, payloads, strict=True):
                archive.writestr(zipfile.ZipInfo(name.decode()), payload)
        return
    date = 1 << 5 | 1  # 1 January 1980 instead of a clock: equal labels give equal files
    parts, directory, offset = [], [], 0
    for name, payload in zip(names, payloads, strict=True):
        size = len(payload)
        common = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, date, zlib.crc32(payload), size, size, len(name), 0)
        parts += [b"PK\x03\x04", common, name, payload]
        directory += [b"PK\x01\x02\x14\x00", common, struct.pack("<HHHII", 0, 0, 0, 0, offset), name]
        offset += 30 + len(name) + len(payload)
    listing = b"".join(directory)
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, len(names), len(names), len(listing), offset, 0)
    path.write_bytes(b"".join((*parts, listing, end)))


def _place(roi: Any, shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    """Return the plane of a ROI in a label image of this shape."""
    leading = shape[:-2]
    if not leading:
        return ()
    if len(leading) == 2 and (roi.z_position or roi.t_position):
        place: tuple[int, ...] = (max(roi.t_position, 1) - 1, max(roi.z_position, 1) - 1)
    else:
        # One leading axis: whichever position was set; others write 1 for the only slice or frame.
        number = roi.position or max(roi.z_position, roi.t_position)
        if not number:
            raise ImageError(f"{name}: ROI {roi.name!r} has no position in the stack; give it one in ImageJ")
        if number > int(np.prod(leading)):
            place = (number - 1,) * len(leading)
        else:
            place = tuple(int(i) for i in np.unravel_index(number - 1, leading))
    if any(i >= n for i, n in zip(place, leading, strict=True)):
        raise ImageError(f"{name}: ROI {roi.name!r} lies in plane {place}, outside a stack of {leading}")
    return place


def _numbers(names: list[str], places: list[tuple[int, ...]]) -> list[int]:
    """Return the label of each ROI: the number that is its name, or else its rank."""
    matches = [_OUR_NAME.fullmatch(name or "") for name in names]
    labels = [int(m.group(1)) if m else 0 for m in matches]
    named = all(0 < label < 2**32 for label in labels)
    if named and len(set(zip(labels, places, strict=True))) == len(labels):
        return labels
    return list(range(1, len(names) + 1))


def _rings(roi: Any) -> list[NDArray[Any]]:
    return [np.asarray(ring, np.float64)[:, ::-1] for ring in roi.coordinates(multi=True) if len(ring) > 2]
