"""Many images: what is refused before the start, and what one bad image costs."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellbrook import batch
from cellbrook.batch import Job, Outcome, arriving, check_collisions, jobs_for, run_batch
from cellbrook.errors import OutputError
from cellbrook.export.table import read_csv
from cellbrook.io import OUTPUT_ENDINGS, find_images, sha256_of
from cellbrook.io.files import FoundImage


def test_collisions_are_found_before_the_start(tmp_path, touch):
    touch(tmp_path, "a/x.tif", "a/x.png", "b/x.tif", "c.ome.zarr/zarr.json")

    def check(given, out=None, kinds=("labels",)):
        check_collisions(jobs_for(find_images(given).images, out, None), kinds)

    with pytest.raises(OutputError, match=r"x\.png and .*x\.tif would both write .*x_labels\.tif"):
        check(tmp_path / "a")
    given = [tmp_path / "a" / "x.tif", tmp_path / "b" / "x.tif"]
    check(given)
    check([tmp_path / "b", tmp_path / "c.ome.zarr"], tmp_path / "out", OUTPUT_ENDINGS)
    with pytest.raises(OutputError, match="would both write"):
        check(given, tmp_path / "out")
    with pytest.raises(OutputError, match="a result would overwrite this input"):
        check(tmp_path / "c.ome.zarr", None, ["zarr"])


def test_scenes_may_collide_with_files(tmp_path, touch):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for side in (20, 30):
            tif.write(np.zeros((side, side), np.uint8), metadata=None)
    touch(tmp_path, "a_s0.tif")
    with pytest.raises(OutputError, match=r"a\.tif and .*a_s0\.tif would both write .*a_s0_labels"):
        check_collisions(jobs_for(find_images(tmp_path).images, None, "all"))


def test_a_defect_costs_one_image(tmp_path, caplog):
    class Segmenter:
        def segment(self, path, **_):
            raise KeyError(path.name)

    jobs = [Job(tmp_path / name, tmp_path, name) for name in "ab"]
    outcomes = list(run_batch(jobs, Segmenter(), {}, ["labels"]))
    assert [(o.status, o.error) for o in outcomes] == [("failed", "KeyError 'a'"), ("failed", "KeyError 'b'")]
    assert caplog.records[0].exc_info


@pytest.mark.parametrize("what", ["corrected", "another image"])
def test_what_may_not_be_replaced_is_refused_before_time_is_spent(what, tmp_path, touch):
    class Segmenter:
        def segment(self, path, **_):
            raise AssertionError("it was segmented")

    for day in ("day1", "day2"):
        touch(tmp_path, f"{day}/x.tif")
        (tmp_path / day / "x.tif").write_text(day)
    old = tmp_path / ("day1" if what == "corrected" else "day2") / "x.tif"
    touch(tmp_path, "out/x_labels.tif")
    labels = sha256_of(tmp_path / "out" / "x_labels.tif")
    run = {
        "image": {"path": str(old), "sha256": sha256_of(old), "scene": None},
        "files": {"labels": {"name": "x_labels.tif", "sha256": "0" if what == "corrected" else labels}},
    }
    (tmp_path / "out" / "x_run.json").write_text(json.dumps(run))
    jobs = [Job(tmp_path / "day1" / "x.tif", tmp_path / "out", "x")]
    (failed,) = run_batch(jobs, Segmenter(), {}, ["labels"])
    assert {"corrected": "was changed since", "another image": "is of another image"}[what] in failed.error
    (failed,) = run_batch(jobs, Segmenter(), {}, ["labels"], overwrite=True)
    assert "it was segmented" in failed.error


def outcome(path, objects):
    found = {"diameter_px": 9.0, "discarded": {}}
    return Outcome(Job(path, path.parent, path.stem), "done", {"result": found}, {"objects": objects})


def test_an_object_table_that_cannot_be_read_costs_its_own_counts(tmp_path, caplog, touch):
    touch(tmp_path, "a.tif", "b.tif")
    (tmp_path / "a_objects.csv").write_text("label,area_px\n1,20.5\n2")  # cut off
    (tmp_path / "b_objects.csv").write_text("label,area_px\n1,20.5\n")
    outcomes = [outcome(tmp_path / f"{n}.tif", tmp_path / f"{n}_objects.csv") for n in "ab"]
    summary = read_csv(batch.write_summaries(tmp_path, outcomes))
    np.testing.assert_array_equal(summary["objects"], [np.nan, 1])
    assert "a.tif is left out of the counts" in caplog.text


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_file_names_that_are_no_text(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.tif")
    (tmp_path / "x_objects.csv").write_text("label\n1\n")
    summary = batch.write_summaries(tmp_path, [outcome(path, tmp_path / "x_objects.csv")])
    assert r"\udcff.tif" in summary.read_text(encoding="utf-8")


class Folder:
    """Images that come and grow, a step at each look."""

    def __init__(self, tmp_path, steps):
        self.folder, self.steps, self.waited = tmp_path, list(steps), 0

    def find(self):
        for name, size in (self.steps.pop(0) if self.steps else {}).items():
            (self.folder / name).write_bytes(b"x" * size)
        return [FoundImage(p, Path(), p.stem) for p in sorted(self.folder.glob("*.tif"))]

    def wait(self, seconds):
        assert seconds == 2.0
        self.waited += 1


def test_images_are_taken_when_they_are_at_rest_and_again_when_they_change(tmp_path):
    (tmp_path / "old.tif").write_bytes(b"x")
    steps = [{"a.tif": 5}, {"a.tif": 9}, {}, {"b.tif": 2}, {}, {"a.tif": 3}, {}, {}]
    folder = Folder(tmp_path, steps)
    coming = arriving(folder.find, wait=folder.wait)
    taken = ["".join(i.stem for i in next(coming)) for _ in steps]
    assert taken == ["", "old", "a", "", "b", "", "a", ""]
    assert folder.waited == len(steps) - 1, "also after images that took no time: others may be growing"


def test_a_folder_of_an_image_is_at_rest_when_no_file_in_it_changes(tmp_path):
    image = tmp_path / "x.ome.zarr"
    image.mkdir()

    def find():
        return [FoundImage(image, Path(), "x")]

    coming = arriving(find, wait=lambda seconds: None)
    assert next(coming) == []
    (image / "0").write_bytes(b"x")
    assert next(coming) == []
    assert [i.stem for i in next(coming)] == ["x"]
    assert next(coming) == []


def test_an_image_that_goes_while_it_is_looked_at_is_no_error(tmp_path):
    path = tmp_path / "gone.tif"
    coming = arriving(lambda: [FoundImage(path, Path(), "gone")], wait=lambda seconds: None)
    assert [next(coming) for _ in range(3)] == [[], [], []]
