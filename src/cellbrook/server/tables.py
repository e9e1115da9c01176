"""Tables and results of the project's images: what pages sort, and what exported files are made of."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.result import NetworkOutput, SegmentationData
from cellbrook.errors import UsageError
from cellbrook.export.regions import with_regions
from cellbrook.measure import measure
from cellbrook.project.exchange import as_result
from cellbrook.project.objects import as_table
from cellbrook.project.predict import cache_folder, read_cache, read_flow_z, volume_flows
from cellbrook.project.regions import count_in_regions, drawn_regions

if TYPE_CHECKING:
    from cellbrook.core.objects import ObjectTable
    from cellbrook.project.images import ImageRecord
    from cellbrook.project.project import Project
    from cellbrook.server.workspace import Workspace

_KNOWN = ("class", "origin", "locked", "score", "flow_error", "cellprob", "z", "t")
"""What the project knows of objects and measuring does not tell."""


def measurements(workspace: Workspace, image: str, plane: int | None) -> dict[str, list[Any]]:
    """Return the measurements of the objects of a plane (None: of all), as columns; in 3-D, of all of each that is in it."""
    project = workspace.project
    record, store = project.image(image), project.labels(image)
    if record.in_volume or store.joined():
        # asked for again at every plane that is turned to
        key = (image, "table", record.rev, repr(project.settings_of(image)))
        whole = workspace.kept.get(key, lambda: as_result(project, record).objects)
        chosen = np.ones(len(whole), bool)
        if plane is not None:
            chosen = np.isin(whole["label"], store.read(plane))
            chosen &= whole["t"] == record.time_of(plane) if "t" in whole else True
        return {n: whole[n][chosen].tolist() for n in whole}
    planes = range(store.planes) if plane is None else [plane]
    tables = [_measured(workspace, image, p) for p in planes]
    names = [n for n in tables[0] if all(n in t for t in tables)]
    return {n: np.concatenate([t[n] for t in tables]).tolist() for n in names}


def _measured(workspace: Workspace, image: str, plane: int) -> ObjectTable:
    store = workspace.project.labels(image)
    with workspace.project.database.lock:  # rows and pixels of one revision
        labels, rows = store.read(plane), store.objects(plane)
    pixels = workspace.pixels(image)
    table = measure(
        labels,
        pixels.raw(plane),
        channel_names=[c.name for c in pixels.channels()],
        pixel_size_um=pixels.pixel_size_um,
    )
    known = as_table(rows, store.leading, store.axes)
    order = np.searchsorted(known["label"], table["label"])
    table = table.with_columns(**{n: known[n][order] for n in known if n in _KNOWN})
    regions = drawn_regions(workspace.project, image)
    return table if regions is None else with_regions(table, labels, regions)


def regions_of(project: Project, image: str, plane: int) -> list[dict[str, Any]]:
    """Return the regions of an image, with what is in each in a plane (see `count_in_regions`).

    Returns
    -------
    list of dict
        By name: ``name``; ``parts``, each with ``id`` and ``polygons``, as an edit draws them; ``objects``, ``area_px``,
        ``area_um2``, ``objects_per_mm2`` and ``covered``, those that are known.
    """
    record = project.image(image)
    counted = {row.pop("region"): row for row in count_in_regions(project, record, plane)}
    covered = {"objects": 0, "area_px": 0}  # by regions that were drawn later
    found: dict[str, dict[str, Any]] = {}
    for region in project.log(image).regions():
        told = found.setdefault(
            region.name, {"name": region.name, "parts": [], **counted.get(region.name, covered)}
        )
        told["parts"].append({"id": region.id, "polygons": region.polygons})
    return list(found.values())


def result_of(project: Project, record: ImageRecord, *, output: bool = False) -> SegmentationData:
    """Return an image with its labels as `cellbrook segment` would, so that the same files can be written.

    Parameters
    ----------
    project : Project
        Any.
    record : ImageRecord
        The image.
    output : bool
        With the cached output of the network, where it is there.
    """
    data = as_result(project, record)
    provenance = {**data.provenance, **_run(project, record), "image": data.provenance["image"]}
    return dataclasses.replace(
        data, provenance=provenance, output=_output(project, record, data) if output else None
    )


def _run(project: Project, record: ImageRecord) -> dict[str, Any]:
    """Return what the last run of a model wrote down, whole, as in the command's ``run.json``, where that is still here."""
    if record.run is None:
        return {}
    try:
        text = (cache_folder(project, record.run) / "run.json").read_text(encoding="utf-8")
        found: dict[str, Any] = json.loads(text)
    except (OSError, ValueError):
        return {}
    # thresholds may have been changed since
    return {**found, "parameters": {**found["parameters"], **_thresholds(record.run)}}


def _thresholds(run: dict[str, Any]) -> dict[str, Any]:
    from cellbrook.core.params import MaskParams

    names = {f.name for f in dataclasses.fields(MaskParams)}
    return {k: v for k, v in run.get("parameters", {}).items() if k in names}


def _output(project: Project, record: ImageRecord, data: SegmentationData) -> NetworkOutput | None:
    try:
        flows, cellprob = read_cache(project, record)
    except UsageError:
        return None
    looks = data.labels.shape[:-2]
    flow_z = read_flow_z(cache_folder(project, record.run or {}))
    if flow_z is not None:  # the network looked at volumes
        looks = looks[:-1]
        flows = np.stack([volume_flows(flows, flow_z, at) for at in range(len(flow_z))])
    return NetworkOutput(
        flows.astype(np.float32).reshape(*looks, *flows.shape[1:]),
        cellprob.astype(np.float32).reshape(data.labels.shape),
    )
