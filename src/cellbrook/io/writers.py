"""Results as TIFF and OME-Zarr. Every file is written whole or not at all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.axes import CANONICAL
from cellbrook.core.colors import label_colors
from cellbrook.errors import UsageError
from cellbrook.io.atomic import atomic
from cellbrook.io.png import encode_png, write_png

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "PixelSize",
    "atomic",
    "encode_png",
    "write_float_stack",
    "write_labels",
    "write_labels_zarr",
    "write_png",
]

PixelSize = Mapping[str, float] | Sequence[float] | None
"""Micrometres a pixel: by axis, or in the order of the spatial axes (Z, Y, X) that there are."""

RESULT_MARK = "cellbrook-result"
"""Attribute of OME-Zarr folders that are results, so that a later run over their folder passes them by."""

_IMAGEJ_ORDER = "TZCYX"
# bytes that a TIFF file with 32-bit offsets holds, with room for its directories
_CLASSIC_LIMIT = 2**32 - 2**25


def write_labels(
    path: str | Path, labels: NDArray[Any], *, axes: str = "YX", pixel_size_um: PixelSize = None
) -> None:
    """Write a label image as TIFF that gives back exactly the same labels.

    Up to 65,535 it is a uint16 ImageJ TIFF, with a colour table and a display range so that ImageJ and Fiji
    show objects in colours at once. (Their tables have 256 entries: above 255 objects, ids that follow each
    other share one, and the first few are dark. The colour PNG shows every object.) Above, it is a uint32
    OME-TIFF.

    Parameters
    ----------
    path : str or Path
        The file.
    labels : ndarray of integers
        0 is background.
    axes : str
        A letter each dimension out of T, Z, Y, X.
    pixel_size_um : mapping, sequence or None
        Micrometres a pixel.

    Raises
    ------
    UsageError
        If the labels are not whole numbers from 0 to 4,294,967,295, or `axes` does not fit.
    OutputError
        If the file cannot be written.
    """
    labels = as_labels(labels, str(path))
    axes = _check_axes(axes, labels)
    size = _by_axis(pixel_size_um, axes)
    largest = int(labels.max(initial=0))
    if largest <= 65535 and labels.size * 2 < _CLASSIC_LIMIT:
        # in 16-bit pictures ImageJ looks a value up at 256 * value / (max + 1): up to 255, each label has its
        # own
        table = label_colors(255).T.astype(np.uint16) * np.uint16(257)
        color_map = (320, 3, 768, tuple(table.ravel().tolist()), True)
        shown = {"min": 0.0, "max": float(max(largest, 255))}
        _write_imagej(path, labels.astype(np.uint16), axes, size, shown, [color_map], compress=True)
        return
    import tifffile

    metadata: dict[str, Any] = {"axes": axes}
    for axis, value in size.items():
        metadata |= {f"PhysicalSize{axis}": value, f"PhysicalSize{axis}Unit": "µm"}
    with atomic(path) as temporary:
        tifffile.imwrite(
            temporary,
            labels,
            ome=True,
            bigtiff=labels.nbytes >= _CLASSIC_LIMIT,
            photometric="minisblack",
            compression="zlib",
            compressionargs={"level": 1},
            metadata=metadata,
        )


def write_float_stack(
    path: str | Path,
    array: NDArray[Any],
    *,
    axes: str,
    pixel_size_um: PixelSize = None,
    names: Sequence[str] = (),
) -> None:
    """Write flows, cell probability or the like as a float32 ImageJ TIFF.

    Parameters
    ----------
    path : str or Path
        The file.
    array : ndarray of floats
        The values.
    axes : str
        A letter each dimension out of T, C, Z, Y, X, in any order.
    pixel_size_um : mapping, sequence or None
        Micrometres a pixel.
    names : sequence of str
        What the channels are, such as ("dy", "dx").
    """
    array = np.asarray(array, np.float32)
    axes = _check_axes(axes, array)
    size = _by_axis(pixel_size_um, axes)
    finite = array[np.isfinite(array)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    metadata: dict[str, Any] = {"min": low, "max": high if high > low else low + 1.0}
    planes = math.prod(n for a, n in zip(axes, array.shape, strict=True) if a not in "YX")
    if names and planes == len(names):
        metadata["Labels"] = list(names)
    _write_imagej(path, array, axes, size, metadata, [], compress=False)


def write_image(
    path: str | Path,
    array: NDArray[Any],
    *,
    axes: str,
    pixel_size_um: PixelSize = None,
    names: Sequence[str] = (),
    rgb: bool = False,
) -> None:
    """Write an image as a TIFF that ImageJ opens, without any metadata but axes, size and channel names.

    Parameters
    ----------
    path : str or Path
        The file.
    array : ndarray of bool, integers or floats
        The pixels. Types that ImageJ does not know become uint16 if they fit, else float32.
    axes : str
        A letter each dimension out of T, C, Z, Y, X, in any order.
    pixel_size_um : mapping, sequence or None
        Micrometres a pixel.
    names : sequence of str
        Names of the channels.
    rgb : bool
        The three channels are red, green and blue of one picture.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    import tifffile

    array = np.asarray(array)
    axes = _check_axes(axes, array)
    size = _by_axis(pixel_size_um, axes)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype not in (np.uint8, np.uint16, np.float32):
        fits = array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() < 2**16
        array = array.astype(np.uint16 if fits else np.float32)
    if rgb and set(axes) == set("CYX") and array.dtype in (np.uint8, np.uint16):
        with atomic(path) as temporary:
            picture = np.ascontiguousarray(array.transpose([axes.index(a) for a in "YXC"]))
            tifffile.imwrite(
                temporary,
                picture,
                photometric="rgb",
                resolution=(1e4 / size["X"], 1e4 / size["Y"]) if {"X", "Y"} <= size.keys() else None,
                resolutionunit="CENTIMETER",
                metadata={"axes": "YXS"},
            )
        return
    labels = {"Labels": list(names)} if names and len(names) == math.prod(array.shape[:-2]) else {}
    _write_imagej(path, array, axes, size, labels, [], compress=False)


def _write_imagej(
    path: str | Path,
    array: NDArray[Any],
    axes: str,
    size: dict[str, float],
    metadata: dict[str, Any],
    tags: list[Any],
    *,
    compress: bool,
) -> None:
    import tifffile

    order = [a for a in _IMAGEJ_ORDER if a in axes]
    array = array.transpose([axes.index(a) for a in order])
    metadata = {"axes": "".join(order), **metadata}
    imagej = array.nbytes < _CLASSIC_LIMIT
    resolution = None
    if "X" in size and "Y" in size:
        per_unit = 1 if imagej else 1e4  # what is no ImageJ file has no micrometres, and would be in inches
        resolution = (per_unit / size["X"], per_unit / size["Y"])
        metadata["unit"] = "micron"
        if "Z" in size:
            metadata["spacing"] = size["Z"]
    packing: dict[str, Any] = {"compression": "zlib", "compressionargs": {"level": 1}} if compress else {}
    with atomic(path) as temporary:
        tifffile.imwrite(
            temporary,
            array,
            imagej=imagej,
            photometric="minisblack",
            resolution=resolution,
            resolutionunit=None if imagej or resolution is None else "CENTIMETER",
            metadata=metadata,
            extratags=tags,
            **packing,
        )


def write_labels_zarr(
    path: str | Path,
    labels: NDArray[Any],
    axes: str = "YX",
    pixel_size_um: PixelSize = None,
    image: NDArray[Any] | None = None,
    image_axes: str | None = None,
) -> None:
    """Write labels as an OME-Zarr v0.5 folder: uint32, gzip, chunks of 512 x 512, with a pyramid.

    Coarser levels take every second pixel, so that they contain no id that is not there.

    Parameters
    ----------
    path : str or Path
        The folder; an existing one is replaced.
    labels : ndarray of integers
        0 is background.
    axes : str
        A letter each dimension out of T, Z, Y, X.
    pixel_size_um : mapping, sequence or None
        Micrometres a pixel.
    image : ndarray or None
        The picture that belongs to it. With it the folder is an image with the labels under ``labels/cells``;
        without, the folder itself holds the labels.
    image_axes : str or None
        Axes of `image`. None: those of `labels`, with C in front of the spatial ones if there is one more.
    """
    import zarr

    labels = as_labels(labels, str(path))
    axes = _check_axes(axes, labels)
    size = _by_axis(pixel_size_um, axes)
    with atomic(path) as temporary:
        root = zarr.open_group(temporary, mode="w", zarr_format=3)
        root.attrs[RESULT_MARK] = "labels"
        if image is None:
            _write_levels(root, labels, axes, size, {"image-label": {}})
            return
        if image_axes is None:
            with_channels = axes.replace("T", "TC") if "T" in axes else f"C{axes}"
            image_axes = axes if image.ndim == labels.ndim else with_channels
        _write_levels(root, np.asarray(image), _check_axes(image_axes, image), size, {})
        group = root.create_group("labels")
        group.attrs["ome"] = {"version": "0.5", "labels": ["cells"]}
        source = {"image-label": {"source": {"image": "../../"}}}
        _write_levels(group.create_group("cells"), labels, axes, size, source)


def _write_levels(
    group: Any, array: NDArray[Any], axes: str, size: dict[str, float], extra: dict[str, Any]
) -> None:
    from zarr.codecs import GzipCodec

    order = [a for a in CANONICAL if a in axes]
    array = array.transpose([axes.index(a) for a in order])
    kinds = {"T": "time", "C": "channel"}
    declared = []
    for axis in order:
        entry = {"name": axis.lower(), "type": kinds.get(axis, "space")}
        if axis in size:
            entry["unit"] = "micrometer"
        declared.append(entry)
    datasets: list[dict[str, Any]] = []
    factor = 1
    while True:
        steps = tuple(slice(None, None, factor) if a in "YX" else slice(None) for a in order)
        level = np.ascontiguousarray(array[steps])
        name = str(len(datasets))
        stored = group.create_array(
            name,
            shape=level.shape,
            dtype=level.dtype,
            chunks=tuple(min(512, n) if a in "YX" else 1 for a, n in zip(order, level.shape, strict=True)),
            compressors=GzipCodec(level=1),
            dimension_names=[a.lower() for a in order],
        )
        stored[...] = level
        scale = [size.get(a, 1.0) * (factor if a in "YX" else 1) for a in order]
        datasets.append({"path": name, "coordinateTransformations": [{"type": "scale", "scale": scale}]})
        if max(level.shape[-2:]) <= 512:
            break
        factor *= 2
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"axes": declared, "datasets": datasets}],
        **extra,
    }


def as_labels(labels: NDArray[Any], name: str = "labels") -> NDArray[np.uint32]:
    """Return labels as uint32, without a copy where they are already.

    Raises
    ------
    UsageError
        If they are not whole numbers from 0 to 4,294,967,295.
    """
    labels = np.asarray(labels)
    if labels.dtype == np.uint32:
        return labels
    if labels.dtype.kind == "f":
        if not np.array_equal(labels, np.trunc(labels)):  # false for NaN, which is what is wanted
            raise UsageError(f"{name}: labels must be whole numbers, got fractions: is it a picture?")
    elif labels.dtype.kind not in "bui":
        raise UsageError(f"{name}: labels must be whole numbers, got {labels.dtype}")
    if labels.size and labels.dtype.kind in "if" and labels.min() < 0:
        raise UsageError(f"{name}: labels must be 0 or more, got {labels.min()}")
    if labels.size and labels.dtype.itemsize >= 4 and labels.max() > 2**32 - 1:
        raise UsageError(f"{name}: labels must be at most 4294967295, got {labels.max()}")
    return labels.astype(np.uint32)


def _check_axes(axes: str, array: NDArray[Any]) -> str:
    axes = axes.upper()
    known = {"Y", "X"} <= set(axes) <= set(CANONICAL)
    if not known or len(axes) != array.ndim or len(set(axes)) != len(axes):
        raise UsageError(f"axes {axes!r} do not fit an array of shape {array.shape}")
    return axes


def _by_axis(size: PixelSize, axes: str) -> dict[str, float]:
    spatial = [a for a in "ZYX" if a in axes]
    if size is None:
        return {}
    if isinstance(size, Mapping):
        return {a: float(size[a]) for a in spatial if a in size}
    if len(size) != len(spatial):
        raise UsageError(f"pixel_size_um has {len(size)} values, the spatial axes are {''.join(spatial)}")
    return {a: float(v) for a, v in zip(spatial, size, strict=True)}
