"""Which files a result is written as, and their names."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.threads import resolve_threads
from cellbrook.errors import UsageError
from cellbrook.export._layout import flows_by_plane
from cellbrook.io.files import OUTPUT_ENDINGS
from cellbrook.io.writers import atomic, write_float_stack, write_labels, write_labels_zarr, write_png

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cellbrook.core.result import SegmentationData
    from cellbrook.export.regions import Regions

    _Writer = Callable[[SegmentationData, Path, int | None], None]

OF_REGIONS = ("regions", "region_outlines")
"""What can be written of images in which regions were drawn."""

KINDS = tuple(k for k in OUTPUT_ENDINGS if k not in OF_REGIONS)
"""Everything that can be written of a result, from "labels" to "ctc"."""

DEFAULT_KINDS = ("labels", "overlay", "objects", "run")
"""What is written if nothing else is asked for."""


def check_kinds(kinds: str | Iterable[str], *, regions: bool = False) -> tuple[str, ...]:
    """Return kinds, each once, in their order.

    Parameters
    ----------
    kinds : str or iterable of str
        Of `KINDS`, and `OF_REGIONS`; a str is split at commas.
    regions : bool
        There are regions that could be written.

    Raises
    ------
    UsageError
        If one is unknown, or needs regions; lists those there are.
    """
    names = (k.strip() for k in kinds.split(",")) if isinstance(kinds, str) else kinds
    kinds = tuple(dict.fromkeys(names))
    unknown = [k for k in kinds if k not in OUTPUT_ENDINGS]
    if unknown:
        raise UsageError(f"cannot save {', '.join(map(repr, unknown))}: choose from {', '.join(KINDS)}")
    if not regions and (without := [k for k in kinds if k in OF_REGIONS]):
        raise UsageError(
            f"cannot save {' and '.join(without)}: no regions are drawn here. Draw some in a project, or give a file of "
            "them to `cellbrook measure --regions`"
        )
    return kinds


def possible_kinds(kinds: Iterable[str], regions: Regions | None) -> tuple[str, ...]:
    """Return those of several kinds that can be written of an image with these regions, or without any."""
    return tuple(k for k in kinds if regions is not None or k not in OF_REGIONS)


def save(
    data: SegmentationData,
    out_dir: str | Path,
    kinds: str | Iterable[str] = DEFAULT_KINDS,
    *,
    stem: str | None = None,
    classes: Sequence[str] = (),
    regions: Regions | None = None,
    threads: int | None = None,
) -> dict[str, Path]:
    """Write a result as files, each whole or not at all; existing ones are replaced.

    Parameters
    ----------
    data : SegmentationData
        The result. Labels alone have an image without a channel, of shape (0, Y, X).
    out_dir : str or Path
        Made if it does not exist.
    kinds : str or iterable of str
        Of `KINDS`; a str is split at commas.
    stem : str or None
        Beginning of the files' names. None: ``data.name``.
    classes : sequence of str
        The classes of all images that are written, so that they are numbered alike; see `write_coco`.
    regions : Regions or None
        Of the kinds in `OF_REGIONS`; ``data.objects`` tells in which each object is (`with_regions`).
    threads : int or None
        Processor threads. None: all that this process may use.

    Returns
    -------
    dict of str to Path
        The files by kind, in the order of `kinds`.

    Raises
    ------
    UsageError
        If a kind is unknown, or needs regions, or a network output that `data` does not have.
    OutputError
        If a file cannot be written.
    """
    kinds = check_kinds(kinds, regions=regions is not None)
    if data.output is None and (missing := [k for k in kinds if k in ("flows", "cellprob")]):
        raise UsageError(
            f"cannot save {' and '.join(missing)}: labels alone do not have them, only a segmentation that "
            "kept its network output"
        )
    stem = data.name if stem is None else stem
    paths = {kind: Path(out_dir) / f"{stem}{OUTPUT_ENDINGS[kind]}" for kind in kinds}
    numbered: dict[str, _Writer] = {
        "coco": partial(_coco, classes=classes),
        "rois": partial(_rois, classes=classes),
    }
    writers: dict[str, _Writer] = {**_WRITERS, **numbered}
    if regions is not None:
        writers |= {k: partial(w, regions=regions) for k, w in _OF_REGIONS.items()}
    workers = min(resolve_threads(threads), len(paths))
    if workers <= 1:
        for kind, path in paths.items():
            writers[kind](data, path, threads)
        return paths
    # encoders leave the interpreter's lock, so one file's bytes are packed while another's text is made
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(writers[kind], data, path, threads) for kind, path in paths.items()]:
            done.result()
    return paths


def _labels(data: SegmentationData, path: Path, threads: int | None) -> None:
    write_labels(path, data.labels, axes=data.axes, pixel_size_um=_pixel_sizes(data))


def _overlay(data: SegmentationData, path: Path, threads: int | None) -> None:
    from cellbrook.export.pictures import overlay_rgb, overlay_step

    # contours on black, if there is no image
    image = data.image if _has_image(data) else np.zeros(data.labels.shape, np.uint8)
    rgb = overlay_rgb(image, data.labels, channel_names=data.channel_names, threads=threads)
    size = _pixel_x(data)
    write_png(path, rgb, pixel_size_um=None if size is None else size * overlay_step(data.labels.shape))


def _color(data: SegmentationData, path: Path, threads: int | None) -> None:
    from cellbrook.export.pictures import color_rgb

    write_png(path, color_rgb(data.labels, threads=threads), pixel_size_um=_pixel_x(data))


def _objects(data: SegmentationData, path: Path, threads: int | None) -> None:
    from cellbrook.export.table import objects_csv

    objects_csv(path, data.objects)


def _run(data: SegmentationData, path: Path, threads: int | None) -> None:
    with atomic(path) as target:
        text = json.dumps(data.provenance, indent=1, ensure_ascii=False, default=_plain)
        target.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def _rois(data: SegmentationData, path: Path, threads: int | None, classes: Sequence[str] = ()) -> None:
    from cellbrook.export.roi_zip import write_roi_zip

    spread = _is_hyperstack(data)
    write_roi_zip(
        path, data.labels, data.objects, axes=data.axes, hyperstack=spread, classes=classes, threads=threads
    )


def _geojson(data: SegmentationData, path: Path, threads: int | None) -> None:
    from cellbrook.export.geojson import write_geojson

    write_geojson(path, data.labels, data.objects, axes=data.axes, name=data.name, threads=threads)


def _coco(data: SegmentationData, path: Path, threads: int | None, classes: Sequence[str] = ()) -> None:
    from cellbrook.export.coco import write_coco

    source = _image_path(data)
    file_name = Path(source).name if source else data.name
    write_coco(
        path, data.labels, data.objects, axes=data.axes, file_name=file_name, classes=classes, threads=threads
    )


def _seg(data: SegmentationData, path: Path, threads: int | None) -> None:
    from cellbrook.export.seg_npy import write_seg_npy

    parameters = data.provenance.get("parameters", {})
    output = data.output
    write_seg_npy(
        path,
        data.labels,
        output,
        # the interface opens no masks without a picture: without an image, a black one
        image=data.image,
        image_path=_image_path(data),
        diameter_px=output.diameter_px if output is not None else None,
        flow_threshold=parameters.get("flow_threshold") or 0.0,
        cellprob_threshold=parameters.get("cellprob_threshold", 0.0),
        threads=threads,
    )


def _flows(data: SegmentationData, path: Path, threads: int | None) -> None:
    assert data.output is not None
    flows = data.output.flows
    by_plane = flows_by_plane(flows.shape, data.labels.shape)
    axes = f"{data.axes[:-2]}C{data.axes[-2:]}" if by_plane else f"C{data.axes}"
    names = ("dz", "dy", "dx")[-flows.shape[axes.index("C")] :]
    write_float_stack(path, flows, axes=axes, pixel_size_um=_pixel_sizes(data), names=names)


def _cellprob(data: SegmentationData, path: Path, threads: int | None) -> None:
    assert data.output is not None
    write_float_stack(path, data.output.cellprob, axes=data.axes, pixel_size_um=_pixel_sizes(data))


def _zarr(data: SegmentationData, path: Path, threads: int | None) -> None:
    if not _has_image(data):
        write_labels_zarr(path, data.labels, data.axes, _pixel_sizes(data))
        return
    axes = data.axes if data.image.ndim == data.labels.ndim else f"{data.axes[:-2]}C{data.axes[-2:]}"
    write_labels_zarr(path, data.labels, data.axes, _pixel_sizes(data), image=data.image, image_axes=axes)


def _ctc(data: SegmentationData, path: Path, threads: int | None) -> None:
    from cellbrook.export.ctc import write_ctc

    write_ctc(path, data.labels, data.objects, axes=data.axes)


def _regions(data: SegmentationData, path: Path, threads: int | None, regions: Regions) -> None:
    from cellbrook.export.regions import regions_csv

    regions_csv(path, _counted(data, regions))


def _region_outlines(data: SegmentationData, path: Path, threads: int | None, regions: Regions) -> None:
    from cellbrook.export.regions import regions_geojson

    regions_geojson(path, regions, _counted(data, regions))


def _counted(data: SegmentationData, regions: Regions) -> list[dict[str, Any]]:
    from cellbrook.export.regions import in_each

    return in_each(data.objects, data.labels, regions, axes=data.axes, pixel_size_um=data.pixel_size_um)


_OF_REGIONS = dict(zip(OF_REGIONS, (_regions, _region_outlines), strict=True))

_WRITERS: dict[str, _Writer] = {
    "labels": _labels,
    "overlay": _overlay,
    "objects": _objects,
    "run": _run,
    "color": _color,
    "rois": _rois,
    "geojson": _geojson,
    "coco": _coco,
    "seg": _seg,
    "flows": _flows,
    "cellprob": _cellprob,
    "zarr": _zarr,
    "ctc": _ctc,
}


def _pixel_sizes(data: SegmentationData) -> dict[str, float]:
    """Return micrometres by axis, of those axes that are known."""
    sizes = data.pixel_size_um or ()
    return dict(zip("ZYX"[3 - len(sizes) :], sizes, strict=True))


def _pixel_x(data: SegmentationData) -> float | None:
    return data.pixel_size_um[-1] if data.pixel_size_um else None


def _is_hyperstack(data: SegmentationData) -> bool:
    """Tell whether ImageJ opens the image as a hyperstack: the whole file counts, not what was chosen of it."""
    if plan := data.provenance.get("plan"):
        lengths = dict(zip(plan["axes"], plan["shape"], strict=True))
    else:
        lengths = dict(zip(data.axes, data.labels.shape, strict=True))
        lengths["C"] = data.image.shape[-3] if data.image.ndim > data.labels.ndim else 1
    if lengths.get("C") == 3 and {n.lower() for n in data.channel_names} <= {"red", "green", "blue"}:
        lengths["C"] = 1
    return any(lengths.get(axis, 1) > 1 for axis in "CZT" if axis not in data.axes)


def _has_image(data: SegmentationData) -> bool:
    """Return False for labels alone, whose image has no channel."""
    return data.image.size > 0


def _image_path(data: SegmentationData) -> str | None:
    path = data.provenance.get("image", {}).get("path")
    return str(path) if path else None


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
