"""`cellbrook evaluate`: pairing of files, the report, and what goes wrong."""

import json

import numpy as np
import pytest

from cellbrook.cli.app import main
from cellbrook.errors import UsageError
from cellbrook.io import write_labels
from cellbrook.io.pairs import find_labelled, find_pairs, image_id, result_stem

GRID = np.kron(np.arange(1, 17).reshape(4, 4), np.pad(np.ones((8, 8), int), 1))


def save(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, labels.astype(np.uint16))


@pytest.fixture
def folders(tmp_path):
    """Truth and predictions of four images: right, half missing, empty in both, in a subfolder."""
    truth, pred = tmp_path / "truth", tmp_path / "pred"
    for name, true, found in (
        ("a", GRID, GRID),
        ("b", GRID, np.where(GRID > 8, 0, GRID)),
        ("c", GRID * 0, GRID * 0),
        ("day 2/ä10", GRID, GRID),
    ):
        save(truth / f"{name}_masks.npy", true)
        save(truth / f"{name}_img.npy", true * 0 + 7)  # not labels, so no partner is missed
        save(pred / f"{name}_img_labels.npy", found)
    return truth, pred


def run(capsys, *arguments):
    code = main(["evaluate", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x_img.png", "x"),
        ("x_masks.png", "x"),
        ("x_img_labels.tif", "x"),
        ("x_seg.npy", "x"),
        ("x_1.tif", "x_1"),
        ("x_img_labels.ome.zarr", "x"),
        ("x.OME.TIF", "x"),
        ("_img.png", "_img"),
        ("masks.png", "masks"),
    ],
)
def test_id_of_a_name(name, expected):
    assert image_id(name) == expected


def test_folders_pair_by_id(folders):
    found = find_pairs(*folders)
    assert [pair[0] for pair in found.pairs] == ["a", "b", "c", "day 2/ä10"]
    assert all(
        true.stem.endswith("_masks") and pred.stem.endswith("_labels") for _, true, pred in found.pairs
    )
    assert found.only_truth == found.only_prediction == ()


def test_results_beside_the_truth_pair_within_one_folder(tmp_path):
    for name in ("x_masks.npy", "x_img_labels.npy", "x_img.npy"):
        save(tmp_path / name, GRID)
    pairs = find_pairs(tmp_path, tmp_path).pairs
    assert [(p.name, q.name) for _, p, q in pairs] == [("x_masks.npy", "x_img_labels.npy")]


def test_masks_of_cellpose_pair_with_their_image(tmp_path):
    for mark in ("_masks", "_cp_masks"):
        save(tmp_path / f"x{mark}.npy", GRID)
    ((name, truth, prediction),) = find_pairs(tmp_path, tmp_path).pairs
    assert (name, truth.name, prediction.name) == ("x", "x_masks.npy", "x_cp_masks.npy")
    truth.unlink()
    save(tmp_path / "x_img.npy", GRID)
    ((name, image, labels),) = find_labelled(tmp_path).pairs
    assert (name, image.name, labels.name) == ("x", "x_img.npy", "x_cp_masks.npy")
    assert result_stem(labels) == "x"


def test_folders_without_marked_names_take_every_image(tmp_path):
    save(tmp_path / "truth" / "7.npy", GRID)
    save(tmp_path / "pred" / "7_labels.npy", GRID)
    assert [pair[0] for pair in find_pairs(tmp_path / "truth", tmp_path / "pred").pairs] == ["7"]


def test_ids_are_in_natural_order(tmp_path):
    for name in ("t10", "t9", "t1"):
        save(tmp_path / "truth" / f"{name}_masks.npy", GRID)
        save(tmp_path / "pred" / f"{name}_labels.npy", GRID)
    assert [pair[0] for pair in find_pairs(tmp_path / "truth", tmp_path / "pred").pairs] == [
        "t1",
        "t9",
        "t10",
    ]


def test_report_is_readable(folders, capsys):
    code, out, err = run(capsys, *folders)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "4 images, 48 true objects, 40 predicted"
    assert next(line for line in lines if line.startswith("0.5 ")).split()[1] == "0.833"
    worst = lines[next(i for i, line in enumerate(lines) if line.startswith("worst images")) + 1]
    assert worst.split() == ["b", "0.500", "16", "8", "8", "0"]


def test_json_is_one_document(folders, capsys):
    code, out, err = run(capsys, *folders, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["n_images"] == 4
    assert document["pooled"]["ap"][0]["value"] == pytest.approx(40 / 48)
    assert document["worst_first"][0] == "b"
    row = document["images"][1]
    assert (row["name"], row["n_true"], row["n_pred"], row["ap_0.5"]) == ("b", 16, 8, 0.5)
    assert row["truth"].endswith("b_masks.npy")
    assert (document["failed"], document["truth_without_prediction"]) == ([], [])


def test_two_files_are_compared_whatever_their_names(tmp_path, capsys):
    save(tmp_path / "truth.npy", GRID)
    write_labels(tmp_path / "found_labels.tif", GRID.astype(np.uint32))
    code, out, _ = run(
        capsys, tmp_path / "truth.npy", tmp_path / "found_labels.tif", "--thresholds", "0.5", "0.9"
    )
    assert code == 0
    assert out.startswith("1 image, 16 true objects, 16 predicted")
    assert "[" not in out  # one image has no interval
    assert "worst" not in out


def test_one_file_finds_its_partner_in_a_folder(folders, capsys):
    truth, pred = folders
    code, out, err = run(capsys, truth / "b_masks.npy", pred, "--json")
    assert (code, err) == (0, "")
    assert [row["name"] for row in json.loads(out)["images"]] == ["b"]


def test_a_plane_saved_as_a_stack_of_one_is_a_plane(tmp_path, capsys):
    save(tmp_path / "x_masks.npy", GRID)
    save(tmp_path / "x_labels.npy", GRID[None])
    code, _, err = run(capsys, tmp_path / "x_masks.npy", tmp_path / "x_labels.npy")
    assert (code, err) == (0, "")


def test_unpaired_files_are_listed_and_the_rest_is_compared(folders, capsys):
    truth, pred = folders
    (pred / "a_img_labels.npy").unlink()
    save(pred / "z_labels.npy", GRID)
    code, out, err = run(capsys, truth, pred)
    assert code == 1
    assert out.startswith("3 images")
    assert str(truth / "a_masks.npy") in err
    assert str(pred / "z_labels.npy") in err


def test_a_pair_of_two_shapes_is_reported_and_the_rest_is_compared(folders, capsys):
    truth, pred = folders
    save(pred / "a_img_labels.npy", GRID[:-1])
    (pred / "b_img_labels.npy").write_bytes(b"not an array")
    code, out, err = run(capsys, truth, pred, "--json")
    assert code == 1
    document = json.loads(out)
    assert document["n_images"] == 2
    assert [failure["name"] for failure in document["failed"]] == ["a", "b"]
    assert "(40, 40)" in err
    assert "(39, 40)" in err
    assert len(err.splitlines()) == 2


def test_nothing_to_compare_is_an_error(tmp_path, capsys):
    save(tmp_path / "truth" / "a_masks.npy", GRID)
    save(tmp_path / "pred" / "b_labels.npy", GRID)
    code, out, err = run(capsys, tmp_path / "truth", tmp_path / "pred")
    assert (code, out) == (1, "")
    assert "nothing to compare" in err


def test_paths_that_cannot_be_meant(tmp_path, folders):
    truth, _ = folders
    with pytest.raises(UsageError, match="no such file"):
        find_pairs(truth, tmp_path / "nowhere")
    with pytest.raises(UsageError, match="with itself"):
        find_pairs(truth, truth)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no label images"):
        find_pairs(truth, tmp_path / "empty")
    with pytest.raises(UsageError, match="with itself"):
        find_pairs(truth / "a_masks.npy", truth / ".." / "truth" / "a_masks.npy")
    save(tmp_path / "pred" / "day 2" / "a_img_labels.npy", GRID)
    with pytest.raises(
        UsageError, match=r"two label files of a, .*a_img_labels.* and .*day 2.*: give the one"
    ):
        find_pairs(truth / "a_masks.npy", tmp_path / "pred")
    save(truth / "a_img_masks.npy", GRID)
    with pytest.raises(UsageError, match="two label files for one image"):
        find_pairs(truth, tmp_path / "pred")


def test_usage_error_is_exit_code_2(folders, capsys):
    code, out, err = run(capsys, *folders, "--thresholds", "1.5")
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1


def test_page_is_written_and_replaced(folders, tmp_path, capsys):
    page = tmp_path / "out" / "seite ä.html"
    code, out, err = run(capsys, *folders, "--html", page)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"{page}: the worst errors as pictures"
    text = page.read_text(encoding="utf-8")
    assert text.count("<figure>") == 8, "the eight missed objects of b, and nothing else is wrong"
    code, out, _ = run(capsys, *folders, "--html", page, "--gallery", "2", "--json")
    document = json.loads(out)
    assert (code, document["html"]) == (0, str(page))
    assert [entry["kind"] for entry in document["gallery"]] == ["missed", "missed"]
    assert page.read_text(encoding="utf-8").count("<figure>") == 2


def test_a_file_that_is_no_page_is_kept(folders, tmp_path, capsys):
    notes = tmp_path / "notes.html"
    notes.write_text("mine")
    code, out, err = run(capsys, *folders, "--html", notes)
    assert (code, out) == (1, "")
    assert "is there already" in err
    assert notes.read_text() == "mine"
    assert run(capsys, *folders, "--html", notes, "--overwrite")[0] == 0


def test_figures_are_told_where_the_page_cannot_be_written(folders, tmp_path, capsys):
    (tmp_path / "file").touch()
    page = tmp_path / "file" / "x.html"
    code, out, err = run(capsys, *folders, "--html", page)
    assert code == 1
    assert out.startswith("4 images, ")
    assert str(page) not in out
    assert "cannot be written" in err
    code, out, _ = run(capsys, *folders, "--html", page, "--json")
    assert (code, json.loads(out)["html"]) == (1, None)


def test_errors_by_kind_and_few_images_are_said(folders, capsys):
    _, out, _ = run(capsys, *folders)
    lines = out.splitlines()
    assert next(line for line in lines if line.startswith("missed ")).split() == ["missed", "8", "8", "0"]
    assert lines[-1].startswith("note: only 4 images")


def test_classes_are_reported(folders, capsys):
    truth, pred = folders
    rows = "".join(f"{i},{'ring' if i < 5 else 'trophozoite'}\n" for i in range(1, 17))
    (truth / "a_objects.csv").write_text(f"label,class\n{rows}")
    (pred / "a_img_objects.csv").write_text(f"label,class\n{rows.replace('5,trophozoite', '5,ring', 1)}")
    code, out, _ = run(capsys, *folders)
    assert code == 0
    lines = out.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("true class / found as"))
    assert lines[head].split()[-4:] == ["ring", "trophozoite", "not", "found"]
    assert [line.split()[-3:] for line in lines[head + 1 : head + 3]] == [["4", "0", "0"], ["1", "11", "0"]]
