"""TIFF, OME-TIFF, ImageJ TIFF and the TIFF-based slide formats, read page by page or tile by tile."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from cellbrook.errors import ImageError, UsageError
from cellbrook.io._stored import StoredImage
from cellbrook.io._tiff_check import check_directories, may_name_others, truncated
from cellbrook.io.pixel_size import credible_resolution, to_micrometres

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Pictures of the slide that slide scanners put beside the image; a whole name, as cells may be called "MAP2 neurons"
_EXTRA = re.compile(r"(thumbnail|label|macro|overview|map)( image)?", re.IGNORECASE)


def open_tiff(path: Path, scene: str | None = None) -> StoredImage:
    """Return what a TIFF file holds; see `cellbrook.io.open_image`."""
    import tifffile

    check_directories(path)
    with tifffile.TiffFile(path) as tif:
        if not len(tif.pages):
            raise ImageError(f"{path}: a TIFF file without any image in it")
        names, series_list, left_out = _scenes(tif)
        number = pick_scene(scene, names, str(path))
        series = series_list[number]
        for level in series.levels:
            _check_complete(level, path)
        page = series.keyframe
        axes = series.axes
        lock = threading.Lock()  # one position in the file, whatever the level
        stored = tuple(_TiffLevel(path, tif, level, lock) for level in series.levels)
        size, channels, notes = _metadata(tif, tif.series.index(series))
        photometric = getattr(page.photometric, "name", "")
        samples = series.shape[axes.index("S")] if "S" in axes else 1
        colour = photometric in ("RGB", "YCBCR", "CIELAB", "ICCLAB") and samples >= 3
        alpha = sum(1 for kind in page.extrasamples if int(kind) in (1, 2)) if samples > 1 else 0
        alpha = min(alpha, samples - 1)
        if left_out:
            notes.append(f"pictures of the slide were left out: {', '.join(left_out)}")
        if photometric == "PALETTE":
            notes.append("pixels are indices into the file's colour palette; used as intensities")
        if photometric == "MINISWHITE":
            notes.append("0 is white in this file; values are used as stored")
        return StoredImage(
            levels=stored,
            axes=axes,
            pixel_size_um=size,
            channel_names=tuple(channels),
            is_rgb=colour and samples - alpha == 3,
            alpha=alpha,
            notes=tuple(notes),
            declared=(series.get_axes(False), series.get_shape(False)) if tif.is_ome else None,
        )


def tiff_scenes(path: Path) -> tuple[str, ...]:
    """Return the names of the images in a TIFF file."""
    import tifffile

    check_directories(path)

    with tifffile.TiffFile(path) as tif:
        return tuple(_scenes(tif)[0])


def other_files(path: Path) -> tuple[Path, ...]:
    """Return what else is opened with a TIFF file: the other files of an OME-TIFF or Micro-Manager set; mostly nothing."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return ()
    try:
        if not may_name_others(path):
            return ()
        import tifffile

        with tifffile.TiffFile(path) as tif:
            named = re.findall(r'FileName="([^"]*)"', tif.ome_metadata or "")
            if not (set(named) - {tif.filename} or tif.is_mmstack or tif.is_ndtiff):
                return ()  # one file may have thousands of pages, which are not looked through
            pages = [page for series in tif.series for page in series.pages if page is not None]
            own = _file_of(tif)
            files = {_file_of(page.parent) for page in pages} - {own}
            return tuple(sorted(path.parent / os.path.relpath(file, own.parent) for file in files))
    except Exception:  # damaged, in any of the ways that `reading` tells when it is opened
        return ()


def pick_scene(scene: str | None, names: list[str], name: str) -> int:
    """Return the index of a scene given by number or name; None is the only one. Digits are a number before a name."""
    if scene is None:
        if len(names) == 1:
            return 0
        shown = ", ".join(f"{i} ({n})" if n != str(i) else n for i, n in enumerate(names[:12]))
        more = f" ... {len(names)} in all" if len(names) > 12 else ""
        raise UsageError(
            f"{name} holds {len(names)} scenes: {shown}{more}; give --scene N or NAME (all, to segment each),"
            " or save one as its own file"
        )
    if scene.isdecimal() and int(scene) < len(names):
        return int(scene)
    if scene in names:
        return names.index(scene)
    raise UsageError(f"{name} has no scene {scene!r}; it has {', '.join(names[:12])}")


def _scenes(tif: Any) -> tuple[list[str], list[Any], list[str]]:
    """Return names and series of the images, and the names of pictures of the slide that are none."""
    extras = [s for s in tif.series if _EXTRA.fullmatch(s.name.strip())]
    if len(extras) == len(tif.series):
        extras = []
    pictures = [s for s in tif.series if s not in extras]
    # a smaller copy of another picture, such as the thumbnails of an LSM file, is none of its own
    series = [s for s in pictures if not s.keyframe.is_reduced] or pictures
    names: list[str] = []
    for index, one in enumerate(series):
        name = one.name.strip() if tif.is_ome and one.name else ""
        names.append(name if name and name not in names else str(index))
    return names, series, [s.name.strip() for s in extras]


def _check_complete(series: Any, path: Path) -> None:
    """Refuse a file that ends before its pixels do: decoders would fill the gap with zeros."""
    if series.dataoffset is not None:
        file_size = _file_of(series.pages[0].parent).stat().st_size
        if series.dataoffset + series.nbytes > file_size:
            raise truncated(path, series.dataoffset + series.nbytes, file_size)
        return
    for page in (series.keyframe, series.pages[len(series.pages) - 1]):
        _check_page(page, path)


def _file_of(tif: Any) -> Path:
    """Return the file of pages, by their parent: of an OME-TIFF set not always the one that was opened."""
    return Path(tif.filehandle.path)


def _check_page(page: Any, path: Path) -> None:
    if page is None:
        raise _missing(path)
    file_size = _file_of(page.parent).stat().st_size
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        if offset + count > file_size:
            raise truncated(path, offset + count, file_size)


def _missing(path: Path) -> ImageError:
    return ImageError(f"{path}: a plane is missing: is a file of the set that it belongs to not there?")


class _TiffLevel:
    """One level of one series as a stored array. The file is open only while it is read."""

    def __init__(self, path: Path, tif: Any, series: Any, lock: threading.Lock) -> None:
        self._path = path
        self._series = series
        self.shape: tuple[int, ...] = tuple(series.shape)
        self.dtype: np.dtype[Any] = np.dtype(series.dtype).newbyteorder(tif.byteorder)
        self._offset: int | None = series.dataoffset
        self._file = path if self._offset is None else _file_of(series.pages[0].parent)
        page_shape = tuple(series.keyframe.shape)
        inner = len(page_shape)
        pages = len(series.pages)
        self._lead: tuple[int, ...] | None = None
        if self.shape[len(self.shape) - inner :] == page_shape:
            lead = self.shape[: len(self.shape) - inner]
            if int(np.prod(lead, dtype=np.int64)) == pages:
                self._lead = lead
        self._lock = lock

    def __getitem__(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        if self._offset is not None:
            mapped = np.memmap(self._file, self.dtype, "r", self._offset, self.shape)
            return np.array(mapped[key])  # a copy, so that the file is not held open
        with self._lock:
            if self._lead is None:
                file = self._series.parent.filehandle
                file.open()  # and closed here: left to itself, it stays open when the pages are damaged
                try:
                    whole: NDArray[Any] = self._series.asarray()
                finally:
                    file.close()
                return whole.reshape(self.shape)[key]
            return self._read_pages(key)

    def _read_pages(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        assert self._lead is not None
        outer, inner = key[: len(self._lead)], key[len(self._lead) :]
        numbers = np.arange(len(self._series.pages)).reshape(self._lead)[outer]
        result: NDArray[Any] | None = None
        for position, number in enumerate(np.ravel(numbers)):
            plane = self._read_page(int(number), inner)
            if result is None:
                result = np.empty((np.size(numbers), *plane.shape), plane.dtype)
            result[position] = plane
        if result is None:
            return np.empty(self.shape, self.dtype)[key]
        return result.reshape(np.shape(numbers) + result.shape[1:])

    def _read_page(self, number: int, key: tuple[int | slice, ...]) -> NDArray[Any]:
        page = self._series.pages[number]
        if page is None:
            raise _missing(self._path)
        file = page.parent.filehandle
        was_closed = file.closed
        if was_closed:
            file.open()
        try:
            page = page.aspage() if hasattr(page, "aspage") else page
            _check_page(page, self._path)
            region = _region(page, key)
            if region is not None:
                return region
            whole: NDArray[Any] = page.asarray()
            return whole[key]
        finally:
            if was_closed:
                file.close()


def _region(page: Any, key: tuple[int | slice, ...]) -> NDArray[Any] | None:
    """Decode only the tiles or strips that a region touches; None where the whole page is as cheap."""
    if page.imagedepth != 1 or page.ndim not in (2, 3):
        return None
    if page.samplesperpixel > 1 and page.planarconfig != 1:
        return None
    rows, columns = key[0], key[1]
    height, width = page.imagelength, page.imagewidth
    rows = rows if isinstance(rows, slice) else slice(rows, rows + 1)
    columns = columns if isinstance(columns, slice) else slice(columns, columns + 1)
    if (rows.stop - rows.start) * (columns.stop - columns.start) * 2 > height * width:
        return None
    tile_h = page.tilelength if page.is_tiled else min(page.rowsperstrip, height)
    tile_w = page.tilewidth if page.is_tiled else width
    across = -(-width // tile_w)
    y_tiles = range(rows.start // tile_h, -(-rows.stop // tile_h))
    x_tiles = range(columns.start // tile_w, -(-columns.stop // tile_w))
    wanted = [y * across + x for y in y_tiles for x in x_tiles]
    if not wanted:
        return None
    top, left = y_tiles.start * tile_h, x_tiles.start * tile_w
    buffer = np.zeros((len(y_tiles) * tile_h, len(x_tiles) * tile_w, page.samplesperpixel), page.dtype)
    keyframe = page.keyframe
    file = page.parent.filehandle
    for index in wanted:
        if not page.databytecounts[index]:
            continue  # an empty tile: zeros, by the specification
        file.seek(page.dataoffsets[index])
        data = file.read(page.databytecounts[index])
        segment, (_, _, y, x, _), shape = keyframe.decode(
            data, index, jpegtables=page.jpegtables, jpegheader=keyframe.jpegheader
        )
        if segment is None:
            continue
        part = segment[0, : shape[1], : shape[2]]
        y0, x0 = y - top, x - left
        buffer[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]] = part
    moved = (_shift(key[0], top), _shift(key[1], left), *(key[2:] if page.ndim == 3 else (0,)))
    return buffer[moved]


def _shift(part: int | slice, by: int) -> int | slice:
    return slice(part.start - by, part.stop - by, part.step) if isinstance(part, slice) else part - by


def _metadata(tif: Any, number: int) -> tuple[dict[str, float], list[str], list[str]]:
    """Return pixel size, channel names and notes."""
    notes: list[str] = []
    if tif.is_ome:
        size, names = _ome(tif.ome_metadata, number)
        if size or names:
            return size, names, notes
    page = tif.series[number].keyframe
    if tif.is_imagej:
        return _imagej(tif, page), _imagej_channels(tif), notes
    size = {}
    for axis, tag in (("X", "XResolution"), ("Y", "YResolution")):
        per_unit = _resolution(page, tag)
        unit = {2: "inch", 3: "cm"}.get(int(page.tags.valueof("ResolutionUnit", default=2)), "")
        value = credible_resolution(per_unit, unit) if per_unit else None
        if value is not None:
            size[axis] = value
    told = re.search(r"\|\s*MPP\s*=\s*(\d+\.?\d*)", page.description) if tif.is_svs else None
    if told and (value := to_micrometres(float(told[1]), "um")) is not None:
        size = {"Y": value, "X": value}
    for axis, key in (("X", "VoxelSizeX"), ("Y", "VoxelSizeY"), ("Z", "VoxelSizeZ")):
        metres = (tif.lsm_metadata or {}).get(key) if tif.is_lsm else None
        if metres:
            size[axis] = metres * 1e6
    return size, [], notes


def _resolution(page: Any, tag: str) -> float | None:
    value = page.tags.valueof(tag)
    if not isinstance(value, tuple) or len(value) != 2 or not value[0] or not value[1]:
        return None
    return float(value[0] / value[1])


def _imagej(tif: Any, page: Any) -> dict[str, float]:
    metadata = tif.imagej_metadata or {}
    unit = str(metadata.get("unit", ""))
    size: dict[str, float] = {}
    for axis, tag in (("X", "XResolution"), ("Y", "YResolution")):
        per_unit = _resolution(page, tag)
        if per_unit is None:
            continue
        inches = unit.strip().lower() in ("inch", "inches", "in")
        value = credible_resolution(per_unit, "inch") if inches else to_micrometres(1 / per_unit, unit)
        if value is not None:
            size[axis] = float(f"{value:.6g}")  # the tag is a ratio of integers: digits beyond are rounding
    spacing = metadata.get("spacing")
    if size and isinstance(spacing, int | float):
        depth = to_micrometres(abs(float(spacing)), unit)
        if depth is not None:
            size["Z"] = depth
    return size


def _imagej_channels(tif: Any) -> list[str]:
    metadata = tif.imagej_metadata or {}
    labels = metadata.get("Labels")
    channels = int(metadata.get("channels", 1))
    if isinstance(labels, list) and len(labels) == channels == int(metadata.get("images", 1)):
        return [str(label) for label in labels]
    return []


def _ome(xml: str | None, number: int) -> tuple[dict[str, float], list[str]]:
    """Return pixel size and channel names of one image of OME metadata; nothing where it is malformed."""
    try:
        root = ElementTree.fromstring(xml or "")
    except ElementTree.ParseError:
        return {}, []
    pixels = [e for e in root.iter() if e.tag.rpartition("}")[2] == "Pixels"]
    if number >= len(pixels):
        return {}, []
    size: dict[str, float] = {}
    for axis in "XYZ":
        text = pixels[number].get(f"PhysicalSize{axis}")
        unit = pixels[number].get(f"PhysicalSize{axis}Unit", "µm")
        try:
            value = to_micrometres(float(text), unit) if text else None
        except ValueError:
            value = None
        if value is not None:
            size[axis] = value
    channels = [e for e in pixels[number] if e.tag.rpartition("}")[2] == "Channel"]
    names = [e.get("Name", "") for e in channels]
    return size, names if any(names) else []
