"""An image of the project with its labels as a result: what tables and exported files are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.result import NetworkOutput, SegmentationData
from cellbrook.errors import UsageError
from cellbrook.measure import measure
from cellbrook.project.objects import as_table
from cellbrook.project.predict import read_cache

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.core.objects import ObjectTable
    from cellbrook.server.workspace import Workspace


def measurements(workspace: Workspace, image: str, plane: int | None) -> dict[str, list[Any]]:
    """Return the measurements of the objects of a plane (None: of all), as columns."""
    store = workspace.project.labels(image)
    planes = range(store.planes) if plane is None else [plane]
    tables = [_measured(workspace, image, p) for p in planes]
    names = [n for n in tables[0] if all(n in t for t in tables)]
    return {n: np.concatenate([t[n] for t in tables]).tolist() for n in names}


def result_of(workspace: Workspace, image: str, *, output: bool = False) -> SegmentationData:
    """Return an image with its labels and measurements as `cellbrook segment` would.

    Parameters
    ----------
    workspace : Workspace
        Of the project.
    image : str
        Its id.
    output : bool
        With the cached network output, where it is there.
    """
    from cellbrook.core.objects import concatenate

    project = workspace.project
    record, store = project.image(image), project.labels(image)
    tables = [_measured(workspace, image, p) for p in range(store.planes)]
    pictures = np.stack([_picture(workspace, image, p) for p in range(store.planes)])
    return SegmentationData(
        labels=store.read_all(),
        objects=concatenate(tables),
        output=_output(workspace, image) if output else None,
        image=pictures.reshape(*store.leading, *pictures.shape[1:]),
        axes=store.axes,
        channel_names=record.channels or ("0",),
        pixel_size_um=_sizes(workspace, image),
        name=record.name,
        provenance=_provenance(workspace, image),
    )


def _measured(workspace: Workspace, image: str, plane: int) -> ObjectTable:
    store = workspace.project.labels(image)
    rows = store.objects(plane)
    size = _sizes(workspace, image)
    table = measure(
        store.read(plane),
        _picture(workspace, image, plane),
        channel_names=workspace.project.image(image).channels or ("0",),
        pixel_size_um=None if size is None else (size[-2], size[-1]),
    )
    known = as_table(rows, store.leading, store.axes)
    order = np.searchsorted(known["label"], table["label"])
    extra = {
        n: known[n][order]
        for n in known
        if n in ("class", "origin", "locked", "score", "flow_error", "cellprob", "z", "t")
    }
    return table.with_columns(**extra)


def _picture(workspace: Workspace, image: str, plane: int) -> NDArray[Any]:
    return workspace.pixels(image).raw(plane)


def _sizes(workspace: Workspace, image: str) -> tuple[float, ...] | None:
    project = workspace.project
    sizes = dict(project.image(image).pixel_size_um)
    if (own := project.settings.pixel_size) is not None:
        sizes |= {"Y": own, "X": own}
    if not {"Y", "X"} <= set(sizes):
        return None
    axes = "ZYX" if "Z" in project.labels(image).axes and "Z" in sizes else "YX"
    return tuple(sizes[a] for a in axes)


def _provenance(workspace: Workspace, image: str) -> dict[str, Any]:
    project = workspace.project
    record, store = project.image(image), project.labels(image)
    run = dict(record.run or {})
    run.setdefault(
        "image", {"path": str(project.path(image)), "scene": record.scene, "sha256": record.sha256}
    )
    history = project.log(image).history()
    counts: dict[str, int] = {}
    for op in history:
        counts[op.kind] = counts.get(op.kind, 0) + 1
    run["project"] = {"name": project.name, "revision": store.rev, "state": record.state, "edits": counts}
    return run


def _output(workspace: Workspace, image: str) -> NetworkOutput | None:
    try:
        flows, cellprob = read_cache(workspace.project, workspace.project.image(image))
    except UsageError:
        return None
    leading = workspace.project.labels(image).leading
    return NetworkOutput(
        flows.astype(np.float32).reshape(*leading, *flows.shape[1:]),
        cellprob.astype(np.float32).reshape(*leading, *cellprob.shape[1:]),
    )
