"""save(): the files of a result, by kind."""

import dataclasses
import json
import os
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import roifile
import tifffile
from numpy.testing import assert_allclose, assert_array_equal

from cellbrook import export
from cellbrook.core.result import NetworkOutput, SegmentationData
from cellbrook.errors import UsageError
from cellbrook.export.geojson import read_geojson
from cellbrook.export.roi_zip import read_roi_zip
from cellbrook.export.table import read_csv
from cellbrook.io import read_labels
from cellbrook.measure import measure

OF_ANY = [k for k in export.KINDS if k != "ctc"]
"""What can be written of any image: tracks are of films."""


def result(leading=(), axes="YX", channels=2, output=True, sizes=(0.5, 0.5)):
    rng = np.random.default_rng(0)
    plane = np.zeros((30, 40), np.uint32)
    plane[3:12, 4:15], plane[12:20, 4:15], plane[20:30, 30:40] = 1, 2, 3
    labels = np.zeros((*leading, 30, 40), np.uint32)
    for k, index in enumerate(np.ndindex(*leading)):
        labels[index] = np.where(plane > 0, plane + 3 * k, 0)
    image = rng.integers(0, 60000, (*leading, channels, 30, 40), dtype=np.uint16)
    flows = rng.normal(size=(*leading, 2, 30, 40)).astype(np.float32)
    return SegmentationData(
        labels=labels,
        objects=measure(labels, image, axes=axes, volume=False, pixel_size_um=sizes),
        output=NetworkOutput(flows, flows[..., 0, :, :]) if output else None,
        image=image,
        axes=axes,
        channel_names=tuple(f"c{k}" for k in range(channels)),
        pixel_size_um=sizes,
        name="x",
        provenance={"image": {"path": "/data/x.tif"}, "size": np.int64(3)},
    )


NAMES = {
    "labels": "x_labels.tif", "overlay": "x_overlay.png", "objects": "x_objects.csv", "run": "x_run.json",
    "color": "x_color.png", "rois": "x_rois.zip", "geojson": "x.geojson", "coco": "x_coco.json", "seg": "x_seg.npy",
    "flows": "x_flows.tif", "cellprob": "x_cellprob.tif", "zarr": "x.ome.zarr",
}  # fmt: skip


def test_every_kind_has_its_name_and_agrees_with_the_labels(tmp_path):
    data = result()
    files = export.save(data, tmp_path / "out", OF_ANY)
    assert {kind: path.name for kind, path in files.items()} == NAMES
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(NAMES.values())
    for kind in ("labels", "seg", "zarr"):
        assert_array_equal(read_labels(files[kind])[0], data.labels, err_msg=kind)
    assert_array_equal(read_roi_zip(files["rois"], data.labels.shape), data.labels)
    assert_array_equal(read_geojson(files["geojson"], data.labels.shape), data.labels)
    for kind in ("overlay", "color"):
        assert imagecodecs.imread(files[kind]).shape == (30, 40, 3)
    assert read_csv(files["objects"])["area_px"].tolist() == [99, 88, 100]
    assert json.loads(files["run"].read_text()) == {"image": {"path": "/data/x.tif"}, "size": 3}
    assert_allclose(tifffile.imread(files["flows"]), data.output.flows)
    assert_allclose(tifffile.imread(files["cellprob"]), data.output.cellprob)
    coco = json.loads(files["coco"].read_text())
    assert [a["area"] for a in coco["annotations"]] == [99, 88, 100]
    assert coco["images"][0]["file_name"] == "x.tif"


@pytest.mark.parametrize(
    ("leading", "axes", "sizes"),
    [((3,), "ZYX", (0.5, 0.5)), ((2,), "TYX", None), ((2, 3), "TZYX", (2, 0.5, 0.5))],
)
def test_stacks_are_written_too(tmp_path, leading, axes, sizes):
    data = result(leading, axes, sizes=sizes)
    kinds = [k for k in export.KINDS if (k != "seg" or len(leading) == 1) and (k != "ctc" or "T" in axes)]
    files = export.save(data, tmp_path, kinds)
    for kind in ("labels", "zarr"):
        assert_array_equal(read_labels(files[kind])[0], data.labels, err_msg=kind)
    assert_array_equal(read_roi_zip(files["rois"], data.labels.shape), data.labels)
    assert_array_equal(read_geojson(files["geojson"], data.labels.shape, axes=axes), data.labels)
    assert len(json.loads(files["coco"].read_text())["images"]) == np.prod(leading)
    assert_allclose(tifffile.imread(files["flows"]), data.output.flows)


def test_the_overlay_of_a_large_image_has_the_size_of_its_own_pixels(tmp_path):
    labels = np.zeros((4, 8194), np.uint32)
    image = np.zeros((1, *labels.shape), np.uint8)
    data = SegmentationData(labels, measure(labels), None, image, "YX", ("0",), (0.5, 0.5), "x")
    files = export.save(data, tmp_path, ["overlay", "color"])
    for kind, um in (("overlay", 1.0), ("color", 0.5)):
        raw = files[kind].read_bytes()
        place = raw.index(b"pHYs") + 4
        assert struct.unpack(">II", raw[place : place + 8]) == (round(1e6 / um),) * 2


def test_default_kinds_and_another_stem(tmp_path):
    files = export.save(result(output=False), tmp_path, stem="Zellen 1.2 ü")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        f"Zellen 1.2 ü_{end}" for end in ("labels.tif", "overlay.png", "objects.csv", "run.json")
    )
    assert list(files) == list(export.DEFAULT_KINDS)


def test_a_file_name_that_is_no_text_is_written_escaped(tmp_path):
    name = os.fsdecode(b"/data/\xff.tif")
    data = dataclasses.replace(result(), name=Path(name).stem, provenance={"image": {"path": name}})
    kinds = [k for k in OF_ANY if k != "zarr"]
    files = export.save(data, tmp_path, kinds, stem="x")
    assert json.loads(files["run"].read_text(encoding="utf-8"))["image"]["path"] == name
    assert json.loads(files["coco"].read_text(encoding="utf-8"))["images"][0]["file_name"] == Path(name).name


@pytest.mark.parametrize(
    ("axes", "shape", "names", "hyperstack"),
    [
        ("ZYX", (3, 30, 40), ("0",), False),
        ("ZCYX", (3, 2, 30, 40), ("DAPI",), True),  # one of the channels was chosen
        ("TZYX", (3, 5, 30, 40), ("0",), True),  # z was projected
        ("ZCYX", (3, 3, 30, 40), ("green",), False),  # of a colour picture
    ],
)
def test_positions_of_rois_are_those_of_the_file(tmp_path, axes, shape, names, hyperstack):
    stack = axes[0]
    data = result((3,), f"{stack}YX", channels=1, sizes=None)
    plan = {"axes": axes, "shape": list(shape)}
    data = dataclasses.replace(data, channel_names=names, provenance={"plan": plan})
    rois = roifile.roiread(export.save(data, tmp_path, ["rois"])["rois"])
    assert {r.position for r in rois} == ({0} if hyperstack else {1, 2, 3})
    assert {r.z_position for r in rois} == ({1, 2, 3} if hyperstack and stack == "Z" else {0})
    assert {r.t_position for r in rois} == ({1, 2, 3} if hyperstack and stack == "T" else {0})


def test_equal_results_give_equal_files(tmp_path):
    kinds = [k for k in OF_ANY if k not in ("zarr", "labels", "flows", "cellprob")]
    one, two = (export.save(result(), tmp_path / name, kinds) for name in ("one", "two"))
    for kind in kinds:
        assert one[kind].read_bytes() == two[kind].read_bytes(), kind


def test_unknown_and_impossible_kinds_are_an_error_before_anything_is_written(tmp_path):
    with pytest.raises(UsageError, match="cannot save 'rios': choose from labels, overlay,"):
        export.save(result(), tmp_path, ["labels", "rios"])
    with pytest.raises(UsageError, match="cannot save flows and cellprob"):
        export.save(result(output=False), tmp_path, ["labels", "flows", "cellprob"])
    assert list(tmp_path.iterdir()) == []


def test_images_without_objects_can_be_saved(tmp_path):
    labels = np.zeros((9, 9), np.uint32)
    image = np.zeros((1, 9, 9), np.uint8)
    data = SegmentationData(labels, measure(labels, image), None, image, "YX", ("0",), None, "x")
    files = export.save(data, tmp_path, [k for k in OF_ANY if k not in ("flows", "cellprob")])
    assert all(path.exists() for path in files.values())
    assert_array_equal(read_labels(files["seg"])[0], labels)
