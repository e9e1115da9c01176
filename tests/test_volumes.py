"""Objects through the planes of a stack."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

import cellbrook
from cellbrook import export, pipeline
from cellbrook.cli.app import main
from cellbrook.core.params import SegmentParams
from cellbrook.core.report import Report
from cellbrook.errors import Cancelled, UsageError
from cellbrook.io import open_image, read_labels
from cellbrook.metrics import matching
from cellbrook.testing.fakes import BLOB_SPEC, BlobEngine
from cellbrook.training import synthetic

CENTRES = ((10, 12, 14), (11, 31, 16), (23, 14, 32), (24, 34, 36), (8, 14, 41))


def balls(shape=(34, 46, 50), radius=7.0, anisotropy=1.0, centres=CENTRES):
    """Labels of balls that do not touch; planes lie `anisotropy` pixels apart."""
    z, y, x = np.ogrid[: round(shape[0] / anisotropy), : shape[1], : shape[2]]
    labels = np.zeros((z.shape[0], *shape[1:]), np.uint32)
    for n, (cz, cy, cx) in enumerate(centres, 1):
        distance = ((z + 0.5) * anisotropy - 0.5 - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2
        labels[distance < radius**2] = n
    return labels


def run(image, axes="ZYX", progress=None, sizes=None, **keywords):
    params = SegmentParams.from_keywords(**{"threads": 1, "volume": True, **keywords})
    source = open_image(image, axes=axes)
    if sizes:
        source.pixel_size_um.update(sizes)
    model = SimpleNamespace(name="blobs", sha256="0" * 64, card=SimpleNamespace(spec=BLOB_SPEC), paths={})
    plan = pipeline.resolve(source, model, params)
    report = Report()
    engine = BlobEngine()
    return pipeline.run(source, plan, model, engine, name="x", progress=progress, report=report), report


def worst_iou(truth, found):
    """The least IoU of an object with its partner; 0 if some are missed or too many."""
    match = matching(truth, found, 0.1, threads=1)
    if len(match.pairs) != truth.max() or truth.max() != found.max():
        return 0.0
    return min(
        np.sum((truth == a) & (found == b)) / np.sum((truth == a) | (found == b)) for a, b in match.pairs
    )


def test_a_ball_is_one_object_through_all_its_planes():
    truth = balls()
    data, report = run((truth > 0) * np.uint16(1000))
    assert worst_iou(truth, data.labels) > 0.95
    assert data.axes == "ZYX"
    assert data.output.flows.shape == (3, *truth.shape)
    assert data.output.cellprob.shape == truth.shape
    for n in range(1, 6):
        row = np.flatnonzero(data.objects["label"] == data.labels[CENTRES[n - 1]])[0]
        assert [data.objects[f"centroid_{a}"][row] for a in "zyx"] == pytest.approx(CENTRES[n - 1], abs=0.2)
        assert data.objects["volume_px"][row] == np.sum(data.labels == data.objects["label"][row])
    assert {"mean_0", "score", "diameter_px"} <= set(data.objects)
    assert "area_px" not in data.objects, "it is a volume"
    assert report.planes[0]["anisotropy"] == 1
    assert report.planes[0]["objects"] == 5


def test_the_axes_of_a_volume_are_alike():
    """Turned so that Y becomes Z, a volume of cubic voxels shows the same objects."""
    image = (balls() > 0) * np.uint16(1000)
    data, _ = run(image, diameter=14)
    turned, _ = run(np.ascontiguousarray(image.transpose(1, 2, 0)), diameter=14)
    assert worst_iou(data.labels, turned.labels.transpose(2, 0, 1)) > 0.98


@pytest.mark.parametrize("apart", [2.0, 3.5])
def test_planes_that_lie_apart_are_drawn_out(apart):
    truth = balls(anisotropy=apart)
    image = (truth > 0) * np.uint16(1000)
    from_sizes, report = run(image, sizes={"Z": 0.3 * apart, "Y": 0.3, "X": 0.3})
    assert worst_iou(truth, from_sizes.labels) > 0.85
    assert report.planes[0]["anisotropy"] == pytest.approx(apart)
    volume = from_sizes.objects["volume_um3"] / (4 / 3 * np.pi * (7 * 0.3) ** 3)
    assert volume == pytest.approx(np.ones(5), abs=0.15)
    told, _ = run(image, anisotropy=apart)
    assert np.array_equal(told.labels, from_sizes.labels)


def test_each_time_point_is_a_volume_of_its_own():
    image = np.stack([balls(), np.zeros_like(balls()), balls(centres=CENTRES[:2])])
    data, _ = run((image > 0) * np.uint16(1000), axes="TZYX")
    assert data.labels.shape == image.shape
    assert data.axes == "TZYX"
    assert data.objects["t"].tolist() == [0] * 5 + [2] * 2
    assert data.objects["label"].tolist() == list(range(1, 8))
    assert data.output.flows.shape == (3, 3, *balls().shape)
    assert worst_iou(balls(), data.labels[0]) > 0.95
    assert set(np.unique(data.labels[2])) == {0, 6, 7}


def test_all_channels_are_measured_and_the_chosen_ones_seen():
    truth = balls()
    image = np.stack([np.full(truth.shape, 7), (truth > 0) * 1000], axis=1).astype(np.uint16)
    data, _ = run(image, axes="ZCYX", channels="1")
    assert worst_iou(truth, data.labels) > 0.95
    assert np.all(data.objects["mean_0"] == 7)
    assert np.all(data.objects["mean_1"] > 900)


def test_a_volume_without_objects_and_one_of_a_single_plane():
    empty, _ = run(np.zeros((4, 20, 24), np.uint8))
    assert not empty.labels.any()
    assert len(empty.objects) == 0
    flat, _ = run((balls()[10:11] > 0) * np.uint16(1000), flow_threshold=0)
    assert flat.labels.shape == (1, *balls().shape[1:])
    assert len(flat.objects) == 3


def test_a_volume_can_be_cancelled_at_any_plane():
    class Stop:
        total = done = 0

        def start(self, task, total):
            self.total = total

        def advance(self, count=1):
            self.done += count

        def check_cancelled(self):
            if self.done >= 40:
                raise Cancelled

    stop = Stop()
    with pytest.raises(Cancelled):
        run((balls() > 0) * np.uint16(1000), progress=stop)
    assert stop.total == sum(balls().shape)
    assert stop.done == 40


@pytest.mark.parametrize(
    ("keywords", "axes", "words"),
    [
        ({}, "TYX", "--volume needs a z-stack"),
        ({"z": "max"}, "ZYX", "exclude each other"),
        ({"volume": False, "anisotropy": 2}, "ZYX", "does nothing without volume"),
        ({"anisotropy": 0}, "ZYX", "between 0.1 and 50"),
        ({"anisotropy": float("nan")}, "ZYX", "between 0.1 and 50"),
    ],
)
def test_what_makes_no_sense_is_said(keywords, axes, words):
    with pytest.raises(UsageError, match=words):
        run(np.zeros((4, 20, 24), np.uint8), axes=axes, **keywords)


def test_projects_and_tuning_refuse_volumes(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 20, 24), np.uint8), metadata={"axes": "ZYX"})
    (tmp_path / "b_img.tif").write_bytes((tmp_path / "a.tif").read_bytes())
    (tmp_path / "b_masks.tif").write_bytes((tmp_path / "a.tif").read_bytes())
    with pytest.raises(UsageError, match="leave out volume"):
        cellbrook.tune(tmp_path, volume=True)


def test_a_volume_is_written_as_files_that_give_it_back(tmp_path):
    data, _ = run((balls() > 0) * np.uint16(1000), sizes={"Z": 0.6, "Y": 0.3, "X": 0.3}, anisotropy=1)
    kinds = [k for k in export.KINDS if k not in ("run", "ctc")]
    files = export.save(data, tmp_path, kinds)
    for kind in ("labels", "seg", "zarr"):
        assert np.array_equal(read_labels(files[kind])[0], data.labels), kind
    with tifffile.TiffFile(files["flows"]) as tif:
        assert tif.series[0].axes == "ZCYX"
        assert np.array_equal(tif.series[0].asarray(), data.output.flows.swapaxes(0, 1))
    assert len(files["objects"].read_text("utf-8").splitlines()) == 1 + 5


def test_the_command_finds_generated_nuclei_in_3d(tmp_path, capsys):
    sample = synthetic.generate_volume("spheres_3d", 910_002, (30, 80, 80), diameter=16)
    path = tmp_path / "kerne ä.tif"
    tifffile.imwrite(path, sample.image[0].astype(np.uint16), metadata={"axes": "ZYX"})
    assert main(["segment", str(path), "--volume", "--out", str(tmp_path / "out"), "--threads", "1"]) == 0
    assert "objects through Z" in capsys.readouterr().out
    labels, axes = read_labels(tmp_path / "out" / "kerne ä_labels.tif")
    assert axes == "ZYX"
    ap = cellbrook.metrics.average_precision(sample.labels, labels)[0]
    assert ap[0] > 0.8
    told = json.loads((tmp_path / "out" / "kerne ä_run.json").read_text("utf-8"))
    assert told["plan"]["anisotropy"] == 1
    assert told["result"]["objects"] == labels.max()
