"""Blind crops, and the agreement of two people file by file."""

import html
import json
import os
import re
import sys

import imagecodecs
import numpy as np
import pytest

import cellbrook
from cellbrook.cli.app import main
from cellbrook.errors import OutputError, UsageError
from cellbrook.evaluation import agreement, blind, plan_crops
from cellbrook.io import open_image, read_labels, write_image, write_labels, write_png

GRID = np.kron(np.arange(1, 26).reshape(5, 5), np.pad(np.ones((8, 8), np.uint32), 1))


def person(seed, share=0.1, labels=GRID):
    rng = np.random.default_rng(seed)
    return np.where(np.isin(labels, 1 + np.flatnonzero(rng.random(labels.max()) < share)), 0, labels)


@pytest.fixture
def people(tmp_path):
    """Labels of eight images by two people and a model that finds half of the objects."""
    folders = [tmp_path / name for name in ("anna", "jürgen", "model")]
    for i in range(8):
        for folder, seed, share in zip(folders, (i, 50 + i, 90 + i), (0.1, 0.1, 0.5), strict=True):
            mark = "labels" if folder.name == "model" else "masks"
            write_labels(folder / f"bild {i}_{mark}.tif", person(seed, share))
    return folders


@pytest.fixture
def images(tmp_path):
    """A folder of images whose pixels tell their place: one small, one in colour, one stack."""
    folder = tmp_path / "images"
    (folder / "tag 1").mkdir(parents=True)
    y, x = np.mgrid[:120, :200]
    write_image(
        folder / "a.tif", (y * 256 + x).astype(np.uint16), axes="YX", pixel_size_um={"Y": 0.5, "X": 0.5}
    )
    write_png(folder / "tag 1" / "rgb.png", np.stack([y, x, y], axis=-1).astype(np.uint8))
    write_image(folder / "small.tif", np.full((20, 30), 7, np.uint8), axes="YX")
    stack = np.arange(3, dtype=np.uint16)[:, None, None] * 1000 + np.zeros((90, 90), np.uint16)
    write_image(folder / "stack.tif", stack, axes="ZYX")
    return folder


def run(capsys, *arguments):
    code = main(["agreement", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_figures_are_told_where_the_page_cannot_be_written(people, tmp_path, capsys):
    (tmp_path / "file").touch()
    code, out, err = run(capsys, *people[:2], "--html", tmp_path / "file" / "x.html")
    assert code == 1
    assert out.startswith("8 images")
    assert "cannot be written" in err


def test_two_people_and_a_model(people, capsys):
    anna, juergen, model = people
    result = cellbrook.agreement(anna, juergen, model=model)
    assert result.comparison.n_images == 8
    assert result.comparison.scores[0].verdict == "below"
    assert result.complete
    assert repr(result) == f"<Agreement on 8 images: {result.sentence}>"
    code, out, err = run(capsys, anna, juergen, "--model", model)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "8 images"
    assert result.sentence in out
    assert "F1 at IoU 0.5" in out


def test_json_is_one_document(people, capsys):
    anna, juergen, model = people
    code, out, _ = run(capsys, anna, juergen, "--model", model, "--json")
    document = json.loads(out)
    assert (code, document["verdict"], document["n_images"]) == (0, "below", 8)
    assert document["sentence"].startswith("The model is below human agreement")
    assert len(document["scores"][0]["model"]) == 2


def test_people_alone(people, capsys):
    code, out, err = run(capsys, *people[:2])
    assert (code, err) == (0, "")
    assert "between the two labellings." in out


def test_what_is_left_out_is_listed(people, capsys):
    anna, juergen, model = people
    (juergen / "bild 0_masks.tif").unlink()
    (model / "bild 1_labels.tif").unlink()
    write_labels(model / "bild 2_labels.tif", GRID[:-1])
    code, out, err = run(capsys, anna, juergen, "--model", model, "--json")
    document = json.loads(out)
    assert code == 1
    assert (document["only_a"], document["without_model"]) == (["bild 0"], ["bild 1"])
    assert document["failed"][0]["name"] == "bild 2"
    assert document["n_images"] == 5
    assert "bild 0" in err
    assert "bild 2: " in err


def test_nothing_in_common(people, tmp_path, capsys):
    write_labels(tmp_path / "other" / "x_masks.tif", GRID)
    code, out, err = run(capsys, people[0], tmp_path / "other")
    assert (code, out) == (1, "")
    assert "no image in common" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "labels of two people"),
        (("--plan", "."), "give --out"),
        (("nowhere", "nowhere"), "no such file"),
    ],
)
def test_usage_errors_are_one_line(arguments, words, capsys):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1


def test_a_folder_is_not_compared_with_itself(people):
    with pytest.raises(UsageError, match="with itself"):
        agreement(people[0], people[0])


def test_plan_cuts_the_same_crops_twice_in_two_orders(images, tmp_path):
    plan = plan_crops(images, tmp_path / "out", crops=8, size_px=32, seed=3)
    assert len(plan.crops) == 8
    assert plan.key == tmp_path / "out_key.json"
    assert not list((tmp_path / "out").rglob("*.json")), "what is handed out holds no key"
    names = {side: [crop.names[side] for crop in plan.crops] for side in "AB"}
    for side in "AB":
        assert sorted(names[side]) == sorted(p.stem for p in (tmp_path / "out" / side).iterdir())
    assert [n[1:] for n in names["A"]] != [n[1:] for n in names["B"]]
    for crop in plan.crops:
        one, two = (open_image(tmp_path / "out" / side / f"{crop.names[side]}.tif") for side in "AB")
        np.testing.assert_array_equal(one.read(), two.read())
        y0, x0, y1, x1 = crop.box
        whole = open_image(images / crop.image).read({**crop.plane, "Y": slice(y0, y1), "X": slice(x0, x1)})
        np.testing.assert_array_equal(one.read(), whole)
        assert crop.image not in (tmp_path / "out" / "A" / f"{crop.names['A']}.tif").read_bytes().decode(
            "latin1"
        )


def test_plan_is_seeded_and_crops_do_not_overlap(images, tmp_path):
    first = plan_crops(images, tmp_path / "1", crops=12, size_px=40, seed=1)
    again = plan_crops(images, tmp_path / "2", crops=12, size_px=40, seed=1)
    other = plan_crops(images, tmp_path / "3", crops=12, size_px=40, seed=2)
    assert first.crops == again.crops != other.crops
    covered = {}
    for crop in first.crops:
        key = (crop.image, *crop.plane.items())
        seen = covered.setdefault(key, np.zeros((120, 200), int))
        y0, x0, y1, x1 = crop.box
        seen[y0:y1, x0:x1] += 1
        assert seen.max() == 1


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text there")
def test_a_plan_of_images_whose_names_are_no_text(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    write_png(tmp_path / "images" / name, GRID.astype(np.uint8))
    plan = plan_crops(tmp_path / "images", tmp_path / "out", crops=1, size_px=32)
    assert [crop.image for crop in blind.read_key(plan.key)] == [name]


def test_plan_loses_nothing(images, tmp_path):
    plan_crops(images, tmp_path / "out", crops=2, size_px=32)
    with pytest.raises(OutputError, match="is there already"):
        plan_crops(images, tmp_path / "out", crops=2, size_px=32)


def test_plan_takes_what_room_there_is(images, tmp_path, capsys):
    (images / "broken.tif").write_bytes(b"II*\0")
    out_dir = tmp_path / "two people"
    code, out, err = run(capsys, "--plan", images, "--out", out_dir, "--crops", "60", "--size", "90")
    assert code == 1
    assert f"cellbrook agreement '{out_dir / 'A'}' '{out_dir / 'B'}' --model" in out
    assert "broken.tif" in err
    assert "room for" in err
    assert "the key, to be kept from those who label" in out


def test_plan_goes_round_images_of_damaged_pixels_and_leaves_nothing_half_made(images, tmp_path, monkeypatch):
    expected = plan_crops(images, tmp_path / "whole", crops=6, size_px=32).crops
    whole = imagecodecs.jpeg8_encode(np.random.default_rng(0).integers(0, 255, (900, 900), np.uint8))
    (images / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    plan = plan_crops(images, tmp_path / "out", crops=6, size_px=32)
    assert (list(plan.skipped), plan.crops) == (["cut.jpg"], expected)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(blind, "write_image", full)
        with pytest.raises(OutputError, match="disk is full"):
            plan_crops(images, tmp_path / "again", crops=6, size_px=32)
    assert not (tmp_path / "again_key.json").exists()
    plan_crops(images, tmp_path / "again", crops=6, size_px=32)


def test_planned_crops_are_judged_with_the_model_of_the_whole_images(images, tmp_path, capsys):
    code, out, _ = run(
        capsys, "--plan", images, "--out", tmp_path / "out", "--crops", "9", "--size", "32", "--json"
    )
    assert code == 0
    assert json.loads(out)["crops"] == 9
    key = json.loads((tmp_path / "out_key.json").read_text(encoding="utf-8"))
    shapes = {
        "a.tif": (120, 200),
        "tag 1/rgb.png": (120, 200),
        "small.tif": (20, 30),
        "stack.tif": (3, 90, 90),
    }
    for name, shape in shapes.items():
        cells = np.arange(1, np.prod(shape) // 64 + 9, dtype=np.uint32)
        labels = np.resize(np.repeat(cells, 64), shape)
        write_labels(
            tmp_path / "pred" / f"{name.rsplit('.')[0]}_labels.tif", labels, axes="ZYX"[-len(shape) :]
        )
    for crop in key["crops"]:
        stem = crop["image"].rsplit(".")[0]
        whole, _ = read_labels(tmp_path / "pred" / f"{stem}_labels.tif")
        y0, x0, y1, x1 = crop["box"]
        cut = whole[tuple(crop["plane"].values())][..., y0:y1, x0:x1]
        for side in "AB":
            write_labels(tmp_path / "out" / side / f"{crop['names'][side]}_masks.tif", cut)
    code, out, err = run(
        capsys, tmp_path / "out" / "A", tmp_path / "out" / "B", "--model", tmp_path / "pred", "--json"
    )
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["n_images"] == 9
    assert document["key"] == str(tmp_path / "out_key.json")
    assert document["scores"][0]["people"]["value"] == document["scores"][0]["model"][0]["value"] == 1
    assert document["verdict"] == "at"


def test_a_plan_that_nobody_labelled_is_not_taken_for_labels(images, tmp_path):
    plan_crops(images, tmp_path / "out", crops=3, size_px=32)
    with pytest.raises(UsageError, match="no label images"):
        agreement(tmp_path / "out" / "A", tmp_path / "out" / "B")


def test_a_key_that_is_none(people, tmp_path):
    (tmp_path / "key.json").write_text('{"crops": [1]}')
    with pytest.raises(UsageError, match="is no key"):
        agreement(*people[:2], key=tmp_path / "key.json")


def test_the_page_has_the_answer_the_figures_and_every_image(people, tmp_path, capsys):
    anna, juergen, model = people
    write_labels(anna / "only <anna>_masks.tif", GRID)
    page = tmp_path / "seite ü.html"
    code, out, _ = run(capsys, anna, juergen, "--model", model, "--html", page)
    assert (code, str(page) in out) == (1, True), "an image was labelled by one alone"
    text = page.read_text(encoding="utf-8")
    result = cellbrook.agreement(anna, juergen, model=model)
    assert result.sentence in html.unescape(text)
    assert "only &lt;anna&gt;" in text
    assert not re.search(r"(src|href)\s*=|https?:", text.replace("http-equiv", "")), "it needs nothing else"
    for row in result.rows():
        assert f"<td>{row['n_model']}</td><td>{row['f1_people']:.3f}</td>" in text
    assert text.count("<circle") == 3 * len(result.comparison.scores)
    for tag in ("table", "svg", "tr", "td", "th", "p", "div", "main"):
        assert len(re.findall(f"<{tag}[ >]", text)) == text.count(f"</{tag}>"), tag

    assert run(capsys, anna, juergen, "--html", page, "--quiet")[0] == 1, "one of ours is replaced"
    page.write_text("mine")
    assert run(capsys, anna, juergen, "--html", page)[0] == 1
    assert page.read_text() == "mine"


def test_a_plan_has_no_page(images, tmp_path, capsys):
    code, _, err = run(capsys, "--plan", images, "--out", tmp_path / "o", "--html", tmp_path / "p.html")
    assert code == 2
    assert "--html away" in err


def test_a_stack_outlined_plane_by_plane_agrees_with_volumes(tmp_path, capsys):
    volume = np.stack([GRID] * 3)
    planes = np.where(volume > 0, volume + 25 * np.arange(3, dtype=np.uint32)[:, None, None], 0)
    sides = [tmp_path / f"{name}_masks.tif" for name in "abm"]
    for path, labels in zip(sides, (volume, planes, planes), strict=True):
        write_labels(path, labels, axes="ZYX")
    result = agreement(*sides[:2], model=sides[2])
    assert [count.tp[0] for count in result.counts[0]] == [75, 75, 75]
    assert "1 of 1 images were compared plane by plane" in run(capsys, *sides[:2], "--model", sides[2])[1]
    assert not any("plane by plane" in text for text in agreement(*sides[1:]).comparison.notes)
