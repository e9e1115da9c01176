"""`cellbrook measure` and `cellbrook export`: existing labels, alone, with an image, and in folders."""

import json
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from numpy.testing import assert_array_equal

from cellbrook.cli.app import main
from cellbrook.export import KINDS
from cellbrook.export.roi_zip import read_roi_zip
from cellbrook.export.table import TableRow, read_csv, write_tables
from cellbrook.io import open_image, read_labels, write_labels, write_png
from cellbrook.testing.samples import sample_image


@pytest.fixture
def folder(tmp_path):
    """Return a folder with two images, one of them a stack, and their labels."""
    labels = np.zeros((30, 40), np.uint16)
    labels[3:12, 4:15], labels[12:20, 4:15] = 1, 2
    image = (labels * 50 + 10).astype(np.uint8)
    write_png(tmp_path / "a_img.png", image)
    write_png(tmp_path / "a_masks.png", labels)
    (tmp_path / "deep").mkdir()
    stack = np.stack([image, image * 2]).astype(np.uint16)
    tifffile.imwrite(tmp_path / "deep" / "b.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    two = np.stack([labels, np.where(labels > 0, labels + 2, 0)])
    write_labels(tmp_path / "deep" / "b_labels.tif", two, axes="ZYX")
    return tmp_path


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_measure_one(folder, capsys):
    code, out, err = run(capsys, "measure", folder / "a_masks.png", folder / "a_img.png", "--pixel-size", 0.5)
    assert (code, err) == (0, "")
    assert "2 objects" in out
    table = read_csv(folder / "a_objects.csv")
    assert table["area_px"].tolist() == [99, 88]
    assert table["area_um2"].tolist() == [24.75, 22]
    assert table["mean_0"].tolist() == [60, 110]


def test_measure_folder(folder, capsys):
    code, out, err = run(capsys, "measure", folder, folder, "--out", folder / "out", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert [entry["objects"] for entry in document["images"]] == [2, 4]
    assert read_csv(folder / "out" / "deep" / "b_objects.csv")["z"].tolist() == [0, 0, 1, 1]
    assert read_csv(folder / "out" / "summary.csv")["objects"].tolist() == [2, 4]
    assert len(read_csv(folder / "out" / "all_objects.csv")["label"]) == 6


@pytest.mark.parametrize("first", [(), ("img",)])
def test_measured_with_and_without_images_an_image_has_one_row(folder, capsys, monkeypatch, first):
    monkeypatch.chdir(folder)
    for name, part in (("a_masks.png", "lab"), ("a_img.png", "img")):
        (folder / part).mkdir()
        (folder / name).rename(folder / part / name)
    images = {(): "lab/a_masks.png", ("img",): "img/a_img.png"}
    then = ("img",) if not first else ()
    for given in (first, then):
        assert run(capsys, "measure", "lab", *given, "--overwrite")[0] == 0
        table = read_csv(folder / "lab" / "summary.csv")
        expected = [str(folder / images[given])], [str(folder / "lab" / "a_masks.png")]
        assert (table["image"].tolist(), table["labels"].tolist()) == expected
        assert read_csv(folder / "lab" / "all_objects.csv")["label"].tolist() == [1, 2]


def test_measuring_and_segmenting_take_the_place_of_each_others_rows(folder, capsys):
    image = folder / "deep" / "b.tif"
    write_tables(
        folder / "deep", [TableRow(str(image), {"objects": 4}), TableRow(f"{image} scene 1", {"objects": 1})]
    )
    (folder / "deep" / "b_run.json").write_text(json.dumps({"image": {"path": str(image), "scene": None}}))
    assert run(capsys, "measure", folder / "deep")[0] == 0
    names = read_csv(folder / "deep" / "summary.csv")["image"].tolist()
    assert names == [f"{image} scene 1", str(folder / "deep" / "b_labels.tif")]
    write_tables(folder / "deep", [TableRow(str(image), {"objects": 4})])
    names = read_csv(folder / "deep" / "summary.csv")["image"].tolist()
    assert names == [str(image), f"{image} scene 1"]


def test_measure_refuses_to_replace_another_programs_table(folder, capsys):
    (folder / "summary.csv").write_text("Slice,Count\n")
    code, _, err = run(capsys, "measure", folder)
    assert code == 1
    assert "summary.csv is there already" in err
    assert not (folder / "a_objects.csv").exists()


def test_an_image_pairs_with_its_results_whatever_the_case_of_its_suffix(folder, capsys):
    image = np.zeros((30, 40), np.uint8)
    tifffile.imwrite(folder / "deep" / "c.OME.TIF", image, ome=True, metadata={"axes": "YX"})
    (folder / "a_masks.png").rename(folder / "deep" / "c_labels.png")
    tables = folder / "deep" / "c_objects.csv"
    tables.write_text("label,class\n1,live\n2,dead\n")
    code, _, err = run(capsys, "measure", folder / "deep", folder / "deep", "--overwrite")
    assert (code, err) == (0, "")
    assert read_csv(tables)["mean_0"].tolist() == [0, 0]
    (folder / "deep" / "c_labels.png").rename(folder / "deep" / "c_labels.OME.PNG")
    assert run(capsys, "export", folder / "deep" / "c_labels.OME.PNG", "--save", "geojson")[0] == 0
    assert "live" in (folder / "deep" / "c.geojson").read_text()


def test_scenes_are_measured_and_exported_with_their_image(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    labels = np.pad(np.ones((8, 9), np.uint16), 4)
    with tifffile.TiffWriter(tmp_path / "m.ome.tif", ome=True) as tif:
        for n, name in enumerate("ab"):
            tif.write(np.full_like(labels, 10 + n), metadata={"axes": "YX", "Name": name})
            write_labels(tmp_path / "out" / f"m_s{n}_labels.tif", labels)
            run_of = {"image": {"path": str(tmp_path / "m.ome.tif"), "scene": str(n)}}
            (tmp_path / "out" / f"m_s{n}_run.json").write_text(json.dumps(run_of))
    code, _, err = run(capsys, "measure", tmp_path / "out", tmp_path)
    assert (code, err) == (0, "")
    table = read_csv(tmp_path / "out" / "all_objects.csv")
    assert table["mean_0"].tolist() == [10, 11]
    assert table["image"].tolist() == [f"{tmp_path / 'm.ome.tif'} scene {n}" for n in range(2)]
    one = (tmp_path / "out" / "m_s0_labels.tif", tmp_path / "m.ome.tif", "--out", tmp_path / "one")
    assert run(capsys, "measure", *one, "--scene", "b")[0] == 0
    assert read_csv(tmp_path / "one" / "m_s0_objects.csv")["mean_0"].tolist() == [11]
    assert run(capsys, "export", *one, "--save", "overlay")[0] == 0
    tifffile.imwrite(tmp_path / "m_s1.tif", labels * 3)  # of one scene alone
    assert (
        run(capsys, "measure", tmp_path / "out" / "m_s1_labels.tif", tmp_path / "m_s1.tif", "--overwrite")[0]
        == 0
    )
    assert read_csv(tmp_path / "out" / "m_s1_objects.csv")["mean_0"].tolist() == [3]


@pytest.mark.parametrize("image", [(), ("a_img.png",)])
def test_micrometres_of_the_label_file_count_where_nothing_else_says_them(folder, capsys, image):
    labels = read_labels(folder / "a_masks.png")[0]
    write_labels(folder / "a_labels.tif", labels, pixel_size_um={"Y": 0.5, "X": 0.5})
    given = (folder / "a_labels.tif", *(folder / name for name in image))
    assert run(capsys, "measure", *given)[0] == 0
    assert read_csv(folder / "a_objects.csv")["area_um2"].tolist() == [24.75, 22]
    assert run(capsys, "export", *given, "--save", "labels", "--out", folder / "out")[0] == 0
    assert open_image(folder / "out" / "a_labels.tif").pixel_size_um == {"Y": 0.5, "X": 0.5}
    assert run(capsys, "measure", *given, "--pixel-size", 2, "--overwrite")[0] == 0
    assert read_csv(folder / "a_objects.csv")["area_um2"].tolist() == [396, 352]
    stated = labels.astype(np.uint8)
    tifffile.imwrite(
        folder / "a_img.tif", stated, imagej=True, resolution=(1, 1), metadata={"axes": "YX", "unit": "um"}
    )
    code, _, err = run(capsys, "measure", folder / "a_labels.tif", folder / "a_img.tif", "--overwrite")
    assert code == 0
    assert "a_labels.tif states 0.5 um a pixel" in err
    assert "a_img.tif 1, which is taken" in err
    assert read_csv(folder / "a_objects.csv")["area_um2"].tolist() == [99, 88]


def test_an_image_is_read_as_it_was_segmented(folder, capsys):
    image, labels = folder / "deep" / "c.tif", folder / "deep" / "c_labels.tif"
    tifffile.imwrite(
        image, np.ones((2, 30, 40), np.uint8), resolution=(1e4, 1e4), resolutionunit="CENTIMETER"
    )
    write_labels(labels, read_labels(folder / "a_masks.png")[0], pixel_size_um=(0.5, 0.5))
    run_of = {"image": {"path": str(image), "scene": None}, "parameters": {"axes": "CYX", "pixel_size": 0.5}}
    (folder / "deep" / "c_run.json").write_text(json.dumps(run_of))
    assert run(capsys, "measure", labels, image)[::2] == (0, "")
    table = read_csv(folder / "deep" / "c_objects.csv")
    assert (table["area_um2"].tolist(), table["mean_1"].tolist()) == ([24.75, 22], [1, 1])
    assert run(capsys, "export", labels, image, "--save", "labels", "--out", folder / "out")[::2] == (0, "")
    assert open_image(folder / "out" / "c_labels.tif").pixel_size_um == {"Y": 0.5, "X": 0.5}
    assert run(capsys, "measure", labels, image, "--pixel-size", 2, "--overwrite")[::2] == (0, "")
    assert read_csv(folder / "deep" / "c_objects.csv")["area_um2"].tolist() == [396, 352]


@pytest.mark.parametrize(("z", "mean"), [("max", 120), ("mean", 90), ("0", 60)])
def test_labels_of_a_projection_are_measured_and_exported_with_their_stack(folder, capsys, z, mean):
    image, labels = folder / "deep" / "b.tif", folder / "deep" / "b_labels.tif"
    write_labels(labels, read_labels(folder / "a_masks.png")[0])
    code, _, err = run(capsys, "measure", labels, image)
    assert code == 1
    assert (
        "they must be of the same size; if they are of a projection or one plane of it, give --z max" in err
    )
    assert run(capsys, "measure", labels, image, "--z", z)[::2] == (0, "")
    assert read_csv(folder / "deep" / "b_objects.csv")["mean_0"][0] == mean
    run_of = {"image": {"path": str(image), "scene": None}, "parameters": {"z": z}}
    (folder / "deep" / "b_run.json").write_text(json.dumps(run_of))
    assert run(capsys, "measure", labels, image, "--overwrite")[::2] == (0, "")
    assert read_csv(folder / "deep" / "b_objects.csv")["mean_0"][0] == mean
    assert run(capsys, "export", labels, image, "--save", "overlay")[::2] == (0, "")
    tifffile.imwrite(image, np.full((30, 40), 7, np.uint16))  # which somebody projected
    assert run(capsys, "measure", labels, image, "--overwrite")[::2] == (0, "")


def test_a_plane_that_is_not_there_is_refused(folder, capsys):
    labels, image = folder / "a_masks.png", folder / "a_img.png"
    for wish, code, words in (("max", 1, "needs a z-stack"), ("some", 2, 'z must be "max", "mean" or')):
        given, _, err = run(capsys, "measure", labels, image, "--z", wish)
        assert (given, words in err) == (code, True)
    stack = folder / "deep" / "b.tif"
    assert "there is no index 7" in run(capsys, "export", labels, stack, "--save", "overlay", "--z", 7)[2]


def test_objects_are_counted_in_regions(folder, capsys):
    ring = [[0, 0], [40, 0], [40, 12], [0, 12], [0, 0]]
    drawn = {"type": "Polygon", "coordinates": [ring]}
    upper = {"type": "Feature", "geometry": drawn, "properties": {"name": "01"}}
    (folder / "drawn").mkdir()
    (folder / "drawn" / "a_regions.geojson").write_text(json.dumps(upper))
    code, out, _ = run(
        capsys, "measure", folder / "a_masks.png", "--regions", folder / "drawn" / "a_regions.geojson"
    )
    assert code == 0
    assert "01: 1 objects" in out
    assert read_csv(folder / "a_objects.csv")["region"].tolist() == ["01", ""]
    told = read_csv(folder / "a_regions.csv")
    assert (told["region"].tolist(), told["objects"].tolist(), told["area_px"].tolist()) == (
        ["01"],
        [1],
        [480],
    )
    code, _, err = run(
        capsys, "measure", folder / "a_masks.png", "--regions", folder / "drawn", "--out", folder
    )
    assert code == 1
    assert "is there already" in err
    # of a folder each image has a file of its own; one without is told, and does not stop the others
    out = folder / "out"
    code, said, err = run(
        capsys, "measure", folder, folder, "--regions", folder / "drawn", "--out", out, "--json"
    )
    assert code == 1
    assert "b_labels.tif: no regions of it in" in err
    assert json.loads(said)["images"][0]["regions"][0]["objects"] == 1
    assert read_csv(out / "all_objects.csv")["region"].tolist() == ["01", ""]


def test_measure_without_image_has_no_intensities(folder, capsys):
    code, _, _ = run(capsys, "measure", folder / "a_masks.png", "--quiet")
    assert code == 0
    assert "mean_0" not in read_csv(folder / "a_objects.csv")


def test_nothing_is_overwritten_unasked(folder, capsys):
    (folder / "a_objects.csv").write_text("mine")
    code, _, err = run(capsys, "measure", folder / "a_masks.png")
    assert code == 1
    assert "--overwrite" in err
    assert (folder / "a_objects.csv").read_text() == "mine"
    assert run(capsys, "measure", folder / "a_masks.png", "--overwrite")[0] == 0


def test_one_bad_file_does_not_stop_the_others(folder, capsys):
    (folder / "c_masks.png").write_bytes(b"not a picture")
    (folder / "deep" / "b.tif").unlink()
    code, _, err = run(capsys, "measure", folder, folder, "--out", folder / "out")
    assert code == 1
    assert (folder / "out" / "a_objects.csv").exists()
    assert "image was not found" in err
    assert "Traceback" not in err


def test_two_images_of_one_id_are_named(folder, capsys):
    write_png(folder / "a.png", np.zeros((30, 40), np.uint8))
    code, _, err = run(capsys, "measure", folder, folder)
    assert code == 2
    assert "a.png" in err
    assert "a_img.png: keep one" in err


def test_what_a_killed_run_left_is_no_label(folder, capsys):
    (folder / ".c.partial-1").mkdir()
    write_png(folder / ".c.partial-1" / "c_masks.png", np.zeros((30, 40), np.uint8))
    code, out, _ = run(capsys, "measure", folder, "--json")
    assert code == 0
    assert len(json.loads(out)["images"]) == 2


def test_sizes_must_agree(folder, capsys):
    write_png(folder / "small.png", np.zeros((5, 5), np.uint8))
    code, _, err = run(capsys, "measure", folder / "a_masks.png", folder / "small.png")
    assert code == 1
    assert "same size" in err
    assert err.count("\n") == 1


def test_export(folder, capsys):
    arguments = ("--save", "rois,geojson", "--save", "overlay", "--out", folder / "out")
    code, out, err = run(capsys, "export", folder / "a_masks.png", folder / "a_img.png", *arguments)
    assert (code, err) == (0, "")
    assert sorted(p.name for p in (folder / "out").iterdir()) == ["a.geojson", "a_overlay.png", "a_rois.zip"]
    assert "a_rois.zip" in out


def test_classes_and_scores_beside_the_labels_are_exported_and_outlive_measuring(folder, capsys):
    table = folder / "a_objects.csv"
    table.write_text("label,score,class,class_prob,origin,mean_old\n2,,01,0.7,model,3\n1,0.5,,,hand,4\n")
    assert run(capsys, "export", folder / "a_masks.png", "--save", "coco,geojson")[0] == 0
    first, second = json.loads((folder / "a_coco.json").read_text())["annotations"]
    assert (first["score"], "score" in second) == (0.5, False)
    kinds = [
        f["properties"].get("classification")
        for f in json.loads((folder / "a.geojson").read_text())["features"]
    ]
    assert kinds == [None, {"name": "01"}]
    images = (folder / "a_masks.png", folder / "a_img.png")
    assert run(capsys, "measure", *images, "--out", folder / "out")[0] == 0
    for _ in range(2):
        assert run(capsys, "measure", *images, "--overwrite") == (0, f"{images[0]}: 2 objects, {table}\n", "")
        assert table.read_text() == (folder / "out" / "a_objects.csv").read_text()
        found = read_csv(table)
        assert found["area_px"].tolist() == [99, 88]
        assert (found["class"].tolist(), found["origin"].tolist()) == (["", "01"], ["hand", "model"])
        assert_array_equal([found["score"], found["class_prob"]], [[0.5, np.nan], [np.nan, 0.7]])
        assert [name for name in found if "mean" in name] == ["mean_0"]


@pytest.mark.parametrize(
    "content", ["label,class,score\n1,live,1\n2,live,1\n3,dead,1\n", "label,class\n1,live\n2"]
)
def test_classes_of_other_labels_are_left_out_and_this_is_said(folder, capsys, content):
    (folder / "a_objects.csv").write_text(content)
    code, _, err = run(capsys, "measure", folder / "a_masks.png", "--out", folder / "out")
    assert code == 0
    assert f"classes and scores are left out: {folder / 'a_objects.csv'}" in err
    assert "class" not in read_csv(folder / "out" / "a_objects.csv")


def test_a_table_of_some_objects_gives_their_classes(folder, capsys):
    (folder / "a_masks_objects.csv").write_text("label;class\n2;live\n")
    (folder / "a_objects.csv").write_text("label,class,score\n1,dead,0.5\n2,dead,0.9\n")
    assert run(capsys, "measure", folder / "a_masks.png", "--out", folder / "out")[0] == 0
    found = read_csv(folder / "out" / "a_objects.csv")
    assert (found["class"].tolist(), found["score"].tolist()) == (["", "live"], [0.5, 0.9])


def test_classes_are_numbered_alike_in_all_files_of_a_folder(folder, capsys):
    (folder / "a_objects.csv").write_text("label,class\n1,live\n2,\n")
    (folder / "deep" / "b_objects.csv").write_text("label,class\n1,dead\n2,live\n3,dead\n4,dead\n")
    assert run(capsys, "export", folder, "--save", "coco")[0] == 0
    for name in ("a_coco.json", "deep/b_coco.json"):
        document = json.loads((folder / name).read_text())
        assert document["categories"][:2] == [
            {"id": 1, "name": "dead", "supercategory": ""},
            {"id": 2, "name": "live", "supercategory": ""},
        ]
    assert sorted(a["category_id"] for a in document["annotations"]) == [1, 1, 1, 2]


def test_exported_files_do_not_outlive_the_labels_that_they_show(tmp_path, capsys):
    image, labels, rois = tmp_path / "a.tif", tmp_path / "a_labels.tif", tmp_path / "a_rois.zip"
    tifffile.imwrite(image, sample_image(size=128).astype(np.uint16))
    assert run(capsys, "segment", image)[0] == 0
    assert run(capsys, "export", labels, image, "--save", "rois")[0] == 0
    assert run(capsys, "segment", image, "--save", "rois")[0] == 0
    assert run(capsys, "export", labels, image, "--save", "rois,color", "--overwrite")[0] == 0
    code, _, err = run(capsys, "segment", image, "--min-size", 100000)
    assert code == 0
    assert f"{rois} showed the labels before and was removed" in err
    assert not rois.exists()
    write_labels(labels, np.pad(np.ones((9, 9), np.uint16), ((0, 119), (0, 119))))
    assert run(capsys, "export", labels, image, "--save", "labels,rois", "--overwrite")[0] == 0
    code, _, err = run(capsys, "segment", image)
    assert code == 1
    assert f"{labels} was changed since Cellbrook wrote it" in err
    assert run(capsys, "segment", image, "--min-size", 100000, "--overwrite")[0] == 0
    assert not rois.exists()


def test_export_without_image(folder, capsys):
    code, out, _ = run(capsys, "export", folder, "--save", "color,coco", "--out", folder / "out", "--json")
    assert code == 0
    assert len(json.loads(out)["images"]) == 2
    assert (folder / "out" / "deep" / "b_color.png").exists()


def test_tracked_series_are_measured_and_exported(tmp_path, capsys):
    labels = np.zeros((2, 9, 9), np.uint16)
    labels[0, 1:3, 1:3], labels[1, 1:4, 1:5] = 1, 1
    write_labels(tmp_path / "x_labels.tif", labels, axes="TYX")
    (tmp_path / "x_objects.csv").write_text("t,label,class\n1,1,late\n0,1,early\n")
    assert run(capsys, "measure", tmp_path / "x_labels.tif", "--overwrite")[0] == 0
    table = read_csv(tmp_path / "x_objects.csv")
    assert [table[n].tolist() for n in ("label", "t", "area_px", "class")] == [
        [1, 1],
        [0, 1],
        [4, 12],
        ["early", "late"],
    ]
    kinds = [k for k in KINDS if k not in ("run", "flows", "cellprob", "objects", "labels", "ctc")]
    assert run(capsys, "export", tmp_path / "x_labels.tif", "--save", ",".join(kinds))[0] == 0
    features = json.loads((tmp_path / "x.geojson").read_text())["features"]
    assert [f["properties"]["classification"]["name"] for f in features] == ["early", "late"]
    assert [f["properties"]["measurements"]["area_px"] for f in features] == [4, 12]
    assert [a["category_id"] for a in json.loads((tmp_path / "x_coco.json").read_text())["annotations"]] == [
        1,
        2,
    ]
    assert_array_equal(read_roi_zip(tmp_path / "x_rois.zip", labels.shape), labels)


@pytest.mark.parametrize("name", ["a_masks.png", "deep/b_labels.tif"])
def test_no_picture_is_made_up_for_labels_alone(folder, capsys, name):
    kinds = [k for k in KINDS if k not in ("run", "flows", "cellprob", "ctc")]
    out = folder / "out"
    assert run(capsys, "export", folder / name, "--save", ",".join(kinds), "--out", out)[0] == 0
    stem = Path(name).name[0]
    labels = read_labels(folder / name)[0]
    picture = out / f"{stem}.ome.zarr"
    assert "labels" not in zarr.open_group(picture)
    assert_array_equal(read_labels(picture)[0], labels)
    assert imagecodecs.imread(out / f"{stem}_overlay.png").any()  # contours, on black
    # Cellpose's interface opens no file that has neither the image's place nor a picture
    assert not np.load(out / f"{stem}_seg.npy", allow_pickle=True).item()["img"].any()


@pytest.mark.parametrize("kinds", ["flows", "rios"])
def test_kinds_that_cannot_be_are_usage_errors(folder, capsys, kinds):
    code, _, err = run(capsys, "export", folder / "a_masks.png", "--save", kinds)
    assert code == 2
    assert "choose from" in err


@pytest.mark.parametrize("save", [(), ("--save", ","), ("--save",)])
def test_without_kinds_those_there_are_are_listed(folder, capsys, save):
    code, _, err = run(capsys, "export", folder / "a_masks.png", "--out", folder / "out", *save)
    assert code == 2
    assert "give --save, one or several of labels, overlay, objects, color" in err


@pytest.mark.parametrize(
    ("labels", "image"), [("none.tif", None), ("a_masks.png", "deep"), ("deep", "a_img.png")]
)
def test_paths_that_do_not_fit_are_usage_errors(folder, capsys, labels, image):
    paths = [folder / labels] + ([folder / image] if image else [])
    code, _, err = run(capsys, "measure", *paths)
    assert code == 2
    assert err.count("\n") == 1
