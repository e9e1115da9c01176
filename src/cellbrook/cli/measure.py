"""`cellbrook measure`: existing labels on their image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from cellbrook.cli import _console
from cellbrook.cli._common import Json, Quiet, print_json
from cellbrook.cli._existing import check_free, find_existing, is_folder, load_existing, one_line_error
from cellbrook.core.params import InputParams
from cellbrook.errors import UsageError


def measure(
    labels: Path,
    image: Path | None = None,
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    axes: str | None = None,
    labels_axes: str | None = None,
    pixel_size: float | None = None,
    scene: str | None = None,
    z: str | None = None,
    volume: bool | None = None,
    regions: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    threads: int | None = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Measure the objects of existing labels: size, place, shape, and intensity in every channel.

    Writes NAME_objects.csv, and for folders summary.csv and all_objects.csv, in which rows of other images stay.

    Parameters
    ----------
    labels
        Label image (0 is background), or a folder of files such as x_labels.tif, x_masks.png.
    image
        Its image, or the folder of images. Without it, intensities are left out.
    out
        Folder for the tables, made if needed. Without it they go beside the labels.
    axes
        What the image's dimensions are, such as "CYX". [default: as it was segmented, or else from its metadata]
    labels_axes
        What the labels' dimensions are, such as "ZYX". [default: from their metadata]
    pixel_size
        Side of a pixel in micrometres. [default: as it was segmented, or else from the image's metadata, or the labels']
    scene
        Scene of an image of several: its number from 0, or its name. [default: the one that the labels were made from]
    z
        What of a z-stack the labels are of: "max", "mean", or a plane's number from 0. [default: as it was segmented]
    volume
        Measure through the planes of a stack, in voxels, or plane by plane. [default: through them if objects
        lie in several]
    regions
        Regions with names, in which objects are counted: GeoJSON (QuPath), ImageJ ROIs or an image of their numbers; of
        several images a folder of such files, each called as its image or with _regions behind it. Adds a column region
        to the tables, and NAME_regions.csv.
    overwrite
        Replace tables that are there.
    threads
        Processor threads. [default: the cores this process may use]

    Returns
    -------
    int
        Exit code: 0, or 1 if a file could not be measured.
    """
    from cellbrook.export.regions import in_each, read_regions, region_files, regions_csv, with_regions
    from cellbrook.export.table import TableRow, check_tables, objects_csv, of_scene, summarise, write_tables
    from cellbrook.io.files import OUTPUT_ENDINGS
    from cellbrook.io.pairs import image_id

    InputParams(axes=axes, pixel_size=pixel_size, z=z)  # refuses what makes no sense before anything is read
    jobs, alone = find_existing(labels, image, out, scene)
    folder = (out or labels) if is_folder(labels) else None
    if folder is not None:
        check_tables(folder, overwrite=overwrite)
    ids = [image_id(f"{job.stem}.tif") for job in jobs]
    drawn = {} if regions is None else region_files(regions, ids)
    rows: list[TableRow] = []
    document: list[dict[str, Any]] = []
    failures = [{"labels": str(path), "error": "its image was not found"} for path in alone]
    for job, key in zip(jobs, ids, strict=True):
        path = job.folder / f"{job.stem}{OUTPUT_ENDINGS['objects']}"
        try:
            of_regions = job.folder / f"{job.stem}{OUTPUT_ENDINGS['regions']}"
            names = [path.name, *([] if regions is None else [of_regions.name])]
            check_free(job.folder, names, overwrite=overwrite)
            data = load_existing(
                job,
                axes=axes,
                labels_axes=labels_axes,
                pixel_size=pixel_size,
                z=z,
                volume=volume,
                threads=threads,
            )
            objects = data.objects
            if regions is not None:
                if (file := drawn.get(key)) is None:
                    raise UsageError(f"no regions of it in {regions}")
                parts = read_regions(file, data.labels.shape[-2:])
                if hidden := parts.hidden():
                    _console.warn(
                        f"{file}: {', '.join(hidden)}: outside of the image, or covered by others that were drawn later"
                    )
                objects = with_regions(objects, data.labels, parts)
                counted = in_each(
                    objects, data.labels, parts, axes=data.axes, pixel_size_um=data.pixel_size_um
                )
                regions_csv(of_regions, counted)
            objects_csv(path, objects)
        except (OSError, ValueError, MemoryError) as problem:
            failures.append({"labels": str(job.labels), "error": one_line_error(problem)})
            continue
        facts = {"labels": str(job.labels.absolute()), **summarise(objects)}
        rows.append(of_scene(TableRow(job.name, facts, objects), job.scene_name))
        entry = {"labels": str(job.labels), "objects": len(objects), "table": str(path)}
        document.append(entry if regions is None else {**entry, "regions": counted})
        if not (json or quiet):
            print(f"{job.labels}: {len(objects)} objects, {path}")
            for region in counted if regions is not None else ():
                place = "".join(f" {axis} {region[axis]}" for axis in "tz" if axis in region)
                print(f"  {region['region']}{place}: {region['objects']} objects")
    if folder is not None and rows:
        try:
            summary = write_tables(folder, rows, overwrite=overwrite)
        except (OSError, MemoryError) as problem:
            failures.append({"labels": str(labels), "error": one_line_error(problem)})
        else:
            if not (json or quiet):
                print(f"{summary}: {len(rows)} images")
    if json:
        print_json({"images": document, "failed": failures})
    for failure in failures:
        _console.error(f"{failure['labels']}: {failure['error']}")
    return 1 if failures else 0
