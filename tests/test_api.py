"""The public surface, with the shipped model."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cellbrook
from cellbrook.core.params import SegmentParams
from cellbrook.errors import OutputError, UnknownModelError, UsageError
from cellbrook.io import open_image, read_labels, write_png
from cellbrook.testing.samples import sample_image


@pytest.fixture(scope="module")
def segmenter():
    return cellbrook.Segmenter(threads=2)


@pytest.fixture(scope="module")
def result(segmenter):
    return segmenter.segment(sample_image(), name="nuclei")


def test_every_public_name_exists():
    for name in cellbrook.__all__:
        assert getattr(cellbrook, name) is not None
    assert set(cellbrook.__all__) <= set(dir(cellbrook))


def test_the_contract_of_a_result(result):
    assert result.labels.dtype == np.uint32
    assert result.labels.shape == (256, 256)
    assert len(result.objects) == result.labels.max() > 3
    assert result.output.flows.shape == (2, 256, 256)
    assert result.output.cellprob.shape == (256, 256)
    assert result.output.flows.dtype == result.output.cellprob.dtype == np.float32
    assert len(result.objects.to_pandas()) == len(result.objects)


def test_objects_are_counted_in_regions(result, tmp_path):
    halves = np.ones((256, 256), np.uint8)
    halves[:, 128:] = 2
    write_png(tmp_path / "halves.png", halves)
    objects, regions = result.in_regions(tmp_path / "halves.png")
    assert [r["region"] for r in regions] == ["1", "2"]
    assert sum(r["objects"] for r in regions) == len(objects) == len(result.objects)
    right = objects["region"] == "2"
    assert (right[objects["centroid_x"] > 140]).all()
    assert not right[objects["centroid_x"] < 116].any()


def test_results_repeat_bit_for_bit(segmenter, result):
    again = segmenter.segment(sample_image())
    assert np.array_equal(again.labels, result.labels)
    assert np.array_equal(again.output.flows, result.output.flows)


def test_the_shipped_model_finds_nuclei_that_people_annotated(examples):
    found = cellbrook.segment(examples / "fluorescence.png")
    truth, _ = read_labels(examples / "fluorescence_masks.png")
    ap, *_ = cellbrook.metrics.average_precision(truth, found.labels, thresholds=(0.5,))
    assert ap[0] > 0.7


def test_command_and_api_give_the_same_bits(tmp_path, examples):
    image = examples / "stained_tissue.png"
    run = [
        sys.executable,
        "-m",
        "cellbrook.cli.app",
        "segment",
        image,
        "--out",
        tmp_path,
        "--quiet",
        "--min-size",
        "30",
    ]
    subprocess.run(run, check=True)
    labels, _ = read_labels(tmp_path / "stained_tissue_labels.tif")
    assert np.array_equal(labels, cellbrook.segment(image, min_size=30).labels)


@pytest.mark.parametrize("diameter", [None, 0, "auto", 27, "27", 27.5])
def test_every_way_to_give_a_diameter(segmenter, diameter):
    found = segmenter.segment(sample_image(), diameter=diameter)
    assert len(found.objects) > 3
    assert found.output.diameter_px > 5


def test_blank_images_have_no_objects(segmenter):
    for image in (np.zeros((40, 50), np.uint8), np.full((33, 20), 7, np.uint16), np.full((64, 64), np.nan)):
        found = segmenter.segment(image)
        assert len(found.objects) == 0
        assert not found.labels.any()


@pytest.mark.parametrize(
    "dtype", [bool, np.uint8, np.int16, np.uint16, np.int64, np.float16, np.float32, np.float64, ">u2"]
)
def test_any_type_of_pixel(segmenter, dtype):
    image = sample_image()
    image = image > image.max() / 2 if dtype is bool else (image / image.max() * 120).astype(dtype)
    assert len(segmenter.segment(image).objects) > 3


@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (70, 1), (5, 7), (31, 33)])
def test_tiny_images(segmenter, shape):
    image = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    assert segmenter.segment(image).labels.shape == shape


def test_the_callers_pixels_are_left_alone(segmenter):
    image = sample_image()
    before = image.copy()
    segmenter.segment(image)
    assert np.array_equal(image, before)


def test_one_call_leaves_no_trace_in_the_next(segmenter, result):
    segmenter.segment(sample_image(), invert=True, min_size=500, cellprob_threshold=2.0, tile_norm_size=64)
    assert np.array_equal(segmenter.segment(sample_image()).labels, result.labels)


@pytest.mark.parametrize(
    ("told", "own", "after"),
    [
        (cellbrook.segment, ["image", "name", "keep_output", "progress"], "Returns"),
        (cellbrook.Segmenter, ["model", "device", "threads", "engine"], "Examples"),
    ],
    ids=["segment", "Segmenter"],
)
def test_help_tells_every_parameter(told, own, after):
    shown = inspect.signature(told).parameters
    known = SegmentParams().to_keywords()
    assert list(shown) == [*own, *(n for n in known if n not in own)]
    assert {n: shown[n].default for n in known} == known
    doc = inspect.getdoc(told)
    for name in shown:
        assert doc.count(f"\n{name} : ") == 1
    assert doc.index(f"\n{after}\n--") > doc.index("\ncompat : ")


def test_an_unknown_model_is_an_error_with_the_nearest_names():
    with pytest.raises(UnknownModelError, match="compact"):
        cellbrook.Segmenter(model="compcat")


def test_defaults_of_a_segmenter_are_taken_as_those_of_an_image(tmp_path):
    image = np.stack([sample_image(), sample_image()[::-1]])
    given = {"channels": [0], "diameter": 30, "axes": "CYX"}
    by_default = cellbrook.Segmenter(threads=1, **given).segment(image)
    run = json.loads(by_default.save(tmp_path)["run"].read_text())
    assert run["parameters"]["channels"] == "0"
    assert run["parameters"]["diameter"] == "30"
    again = cellbrook.segment(image, **run["parameters"])
    assert np.array_equal(again.labels, by_default.labels)
    assert np.array_equal(
        cellbrook.segment(image, **{**given, "channels": np.array([0])}, threads=1).labels, again.labels
    )


def test_whatever_is_an_image_is_taken(segmenter, result, tmp_path):
    class Tensor:
        def __array__(self, dtype=None, copy=None):
            return sample_image()

    class Picture:  # as of Pillow
        pixels = sample_image()
        __array_interface__ = pixels.__array_interface__

    for image in (open_image(sample_image()), Tensor(), Picture()):
        found = segmenter.segment(image)
        assert np.array_equal(found.labels, result.labels)
        assert found.provenance["image"]["sha256"] == result.provenance["image"]["sha256"]
    for image in ([[1, 2], [3, 4]], 3, None, b"a.png"):
        with pytest.raises(UsageError, match="expected a path, an array"):
            segmenter.segment(image)


def test_what_numpy_cannot_read_is_told(segmenter):
    class OnACard:
        def __array__(self, dtype=None, copy=None):
            raise TypeError("use Tensor.cpu() first")

    with pytest.raises(UsageError, match=r"OnACard: use Tensor\.cpu\(\) first"):
        segmenter.segment(OnACard())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scene": "Well B7"}, "scene 'Well B7' is one of a file's"),
        ({"threads": 1}, "threads belong to the Segmenter"),
        ({"cellprob_threshold": float("nan")}, "cellprob_threshold must be a number"),
        ({"flow_threshold": np.float32("nan")}, "flow_threshold must be a number"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"tile_size": 0}, "tile_size must be at least 1"),
        ({"niter": "5"}, "niter must be a whole number, got '5'"),
        ({"cellprob_threshold": None}, "cellprob_threshold must be a number, got None"),
        ({"axes": 1}, "axes must be letters"),
        ({"fill_holes": "no"}, "fill_holes must be true or false, got 'no'"),
        ({"channels": {"nucleus": 0}}, "channels must be text, got {'nucleus': 0}"),
        ({"channels": np.array([7])}, "7"),
    ],
)
def test_what_would_be_ignored_is_refused(segmenter, given, message):
    with pytest.raises(UsageError, match=message):
        segmenter.segment(sample_image(), **given)


def test_a_small_tile_gets_an_overlap_that_fits_it(segmenter):
    large = np.tile(sample_image(), (3, 3))
    assert segmenter.segment(large, tile_size=512, diameter=30).labels.shape == large.shape


def test_all_scenes_may_be_a_default_of_the_segmenter(segmenter, result, tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "a.tif", sample_image())
    every = cellbrook.Segmenter(threads=2, scene="all")
    first, second = every.segment_many([tmp_path / "a.tif", sample_image()])
    assert first.name == "a_s0"
    assert np.array_equal(first.labels, result.labels)
    assert np.array_equal(second.labels, result.labels)


def test_an_unknown_parameter_is_an_error_with_the_nearest_names(segmenter):
    with pytest.raises(UsageError, match="cellprob_threshold"):
        segmenter.segment(sample_image(), cellprob_treshold=1)


def test_saving_writes_the_files_of_the_contract(result, tmp_path):
    kinds = (
        "labels",
        "overlay",
        "objects",
        "run",
        "color",
        "rois",
        "geojson",
        "coco",
        "seg",
        "flows",
        "cellprob",
        "zarr",
    )
    files = result.save(tmp_path / "new", kinds=kinds)
    endings = [
        "_labels.tif",
        "_overlay.png",
        "_objects.csv",
        "_color.png",
        "_rois.zip",
        ".geojson",
        "_coco.json",
        "_seg.npy",
        "_flows.tif",
        "_cellprob.tif",
        ".ome.zarr",
        "_run.json",
    ]
    assert [p.name for p in files.values()] == [f"nuclei{e}" for e in endings]
    assert all(p.exists() for p in files.values())
    labels, axes = read_labels(files["labels"])
    assert axes == "YX"
    assert np.array_equal(labels, result.labels)


def test_every_column_is_explained(segmenter):
    told = (Path(__file__).parents[1] / "docs" / "columns.md").read_text(encoding="utf-8")
    volume = np.zeros((3, 9, 9), np.uint8)
    volume[:, 2:5, 2:5] = 1
    planes = segmenter.segment(np.stack([sample_image()] * 2), axes="ZYX", pixel_size=0.5).objects
    for name in {*planes, *cellbrook.measure.measure(volume, pixel_size_um=1.0), "class", "class_prob"}:
        named = re.sub(r"^(centroid_.)_um$", r"\1", re.sub("_0$", "_NAME", name))
        assert f"`{named}`" in told, name


def test_kinds_may_be_a_text(result, tmp_path):
    assert list(result.save(tmp_path, kinds="rois, objects")) == ["rois", "objects"]
    with pytest.raises(UsageError, match="cannot save 'roi': choose"):
        result.save(tmp_path, kinds="roi")


def test_run_json_says_how_it_came_about(result, tmp_path):
    run = json.loads(result.save(tmp_path)["run"].read_text())
    assert run["model"]["name"] == "compact"
    assert len(run["model"]["sha256"]) == len(run["image"]["sha256"]) == 64
    assert run["engine"]["precision"] in ("fp32", "int8")
    settled = {"flow_threshold": 0.0, "min_score": 0.4}  # left to the model, whose scores are probabilities
    assert run["parameters"] == SegmentParams.from_keywords(threads=2, **settled).to_keywords()
    assert run["result"]["objects"] == len(result.objects)
    assert {"network", "flows to labels"} <= set(run["timings_s"])
    assert set(run["files"]) == {"labels", "overlay", "objects"}


def test_what_people_changed_is_not_overwritten(result, tmp_path):
    files = result.save(tmp_path)
    result.save(tmp_path)  # ours, unchanged: replaced
    files["labels"].write_bytes(files["labels"].read_bytes() + b" ")
    with pytest.raises(OutputError, match=r"changed since.*--overwrite \(in Python overwrite=True\)"):
        result.save(tmp_path)
    result.save(tmp_path, overwrite=True)
    (tmp_path / "nuclei_run.json").unlink()
    with pytest.raises(OutputError, match=r"no run\.json says"):
        result.save(tmp_path)


def test_a_source_is_opened_once_and_keeps_its_facts(segmenter, tmp_path):
    import tifffile

    path = tmp_path / "zellen größe.tif"
    stack = np.stack([sample_image(), sample_image()[::-1]]).astype(np.uint16)
    tifffile.imwrite(
        path, stack, imagej=True, resolution=(4, 4), metadata={"axes": "ZYX", "unit": "um", "spacing": 1.0}
    )
    found = segmenter.segment(path)
    assert found.name == "zellen größe"
    assert found.axes == "ZYX"
    assert open_image(path).pixel_size_um["X"] == pytest.approx(0.25)
    assert found.objects["area_um2"] == pytest.approx(found.objects["area_px"] / 16)
    assert np.array_equal(np.unique(found.objects["z"]), [0, 1])


def test_many_scenes_and_arrays(segmenter, tmp_path, examples):
    names = [s.name for s in segmenter.segment_many([examples / "stained_tissue.png", sample_image()])]
    assert names == ["stained_tissue", "image"]


def test_a_folder_of_images_is_what_the_command_takes_for_one(segmenter, tmp_path):
    import tifffile

    for name in ("a10", "a9", "a9_labels"):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.zeros((20, 20), np.uint8))
    for folder in (tmp_path, str(tmp_path)):
        assert [s.name for s in segmenter.segment_many(folder)] == ["a9", "a10"]


def test_a_result_shows_itself_in_a_line(segmenter):
    shown = repr(segmenter.segment(sample_image()))
    assert "\n" not in shown
    assert shown.startswith("<Segmentation image: ")
    assert " objects, " in shown
