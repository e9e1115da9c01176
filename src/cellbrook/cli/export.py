"""`cellbrook export`: existing labels in other programs' formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from cellbrook.cli import _console
from cellbrook.cli._common import Json, Quiet, print_json
from cellbrook.cli._existing import check_free, find_existing, load_existing, one_line_error
from cellbrook.core.params import InputParams
from cellbrook.errors import UsageError


def export(
    labels: Path,
    image: Path | None = None,
    /,
    *,
    save: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="", show_default=False)] = (),
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    axes: str | None = None,
    labels_axes: str | None = None,
    pixel_size: float | None = None,
    scene: str | None = None,
    z: str | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    threads: int | None = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Write existing labels as ROIs, GeoJSON, COCO, pictures and more, under the names that `segment` uses.

    Parameters
    ----------
    labels
        Label image (0 is background), or a folder of files such as x_labels.tif, x_masks.png.
    image
        Its image, or the folder of images. Without it, pictures show contours on black and tables have no
        intensities.
    save
        What to write, separated by commas: labels, overlay, objects, color, rois, geojson, coco, seg, zarr, ctc.
    out
        Folder for the files, made if needed. Without it they go beside the labels.
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
    overwrite
        Replace files that are there.
    threads
        Processor threads. [default: the cores this process may use]

    Returns
    -------
    int
        Exit code: 0, or 1 if a file could not be exported.
    """
    from cellbrook import export as exporting
    from cellbrook.export.classes import class_names
    from cellbrook.io.files import OUTPUT_ENDINGS, identity
    from cellbrook.results import put_down

    kinds = exporting.check_kinds(k.strip() for item in save for k in item.split(",") if k.strip())
    possible = [k for k in exporting.KINDS if k not in ("run", "flows", "cellprob")]
    if not kinds:
        raise UsageError(f"give --save, one or several of {', '.join(possible)}")
    if impossible := [k for k in kinds if k not in possible]:
        raise UsageError(
            f"cannot export {', '.join(impossible)} from labels: choose from {', '.join(possible)}"
        )
    InputParams(axes=axes, pixel_size=pixel_size, z=z)  # refuses what makes no sense before anything is read
    jobs, alone = find_existing(labels, image, out, scene)
    # of all images before the first is written, so that their files number classes alike
    classes = sorted({name for job in jobs for name in class_names(job.labels)})
    document: list[dict[str, Any]] = []
    failures = [{"labels": str(path), "error": "its image was not found"} for path in alone]
    for job in jobs:
        try:
            names = [f"{job.stem}{OUTPUT_ENDINGS[kind]}" for kind in kinds]
            check_free(job.folder, names, overwrite=overwrite)
            data = load_existing(
                job, axes=axes, labels_axes=labels_axes, pixel_size=pixel_size, z=z, threads=threads
            )
            files = exporting.save(data, job.folder, kinds, classes=classes, threads=threads)
            if identity(job.labels) == identity(job.folder / f"{job.stem}{OUTPUT_ENDINGS['labels']}"):
                # labels and tables may hold a person's work, which a run must not take for its own
                put_down(data, job.folder, {k: p for k, p in files.items() if k not in ("labels", "objects")})
        except (OSError, ValueError, MemoryError) as problem:
            failures.append({"labels": str(job.labels), "error": one_line_error(problem)})
            continue
        document.append({"labels": str(job.labels), "objects": len(data.objects), "files": files})
        if not (json or quiet):
            print(f"{job.labels}: {len(data.objects)} objects")
            print("\n".join(f"  {path}" for path in files.values()))
    if json:
        print_json({"images": document, "failed": failures})
    for failure in failures:
        _console.error(f"{failure['labels']}: {failure['error']}")
    return 1 if failures else 0
