"""Evaluation of files and arrays: errors, classes, images, gallery, page."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import tifffile

import cellbrook
from cellbrook.errors import Cancelled, OutputError, UsageError
from cellbrook.evaluation import evaluate, write_page
from cellbrook.evaluation.files import image_of
from cellbrook.io import write_labels, write_png

GRID = np.kron(np.arange(1, 17).reshape(4, 4), np.pad(np.ones((14, 14), int), 1))
IMAGE = ((GRID > 0) * 180 + 20).astype(np.uint8)


@pytest.fixture
def folders(tmp_path):
    """Truth with images and predictions of three images: b has every kind of error, ü none, c is empty."""
    truth, pred = tmp_path / "truth", tmp_path / "pred"
    wrong = np.where(GRID == 1, 0, GRID)  # missed
    wrong[wrong == 3] = 2  # merged with 2, across the gap
    wrong[0:14, 33] = 2
    wrong[1:15, 56:63] = 40  # 4 is split
    wrong[17:31, 1:8] = 0  # 5 lacks half
    wrong[15, 0] = 41  # spurious
    for name, true, found in (("b", GRID, wrong), ("ü <i>", GRID, GRID), ("c", GRID * 0, GRID * 0)):
        truth.mkdir(exist_ok=True)
        pred.mkdir(exist_ok=True)
        write_labels(truth / f"{name}_masks.tif", true.astype(np.uint32))
        write_png(truth / f"{name}_img.png", IMAGE)
        write_labels(pred / f"{name}_img_labels.tif", found.astype(np.uint32))
    return truth, pred


def with_classes(folder, name, classes):
    rows = "\n".join(f"{label},{kind}" for label, kind in classes.items())
    (folder / f"{name}_objects.csv").write_text(f"label,class\n{rows}\n")


def test_every_kind_of_error_is_counted(folders):
    result = evaluate(*folders)
    kinds = result.kinds()
    assert {kind: counts["errors"] for kind, counts in kinds.items()} == {
        "missed": 1,
        "spurious": 1,
        "merged": 1,
        "split": 1,
        "boundary": 1,
    }
    lost = sum(image.n_true - image.tp[0] for image in result.images)
    assert sum(counts["true_objects"] for counts in kinds.values()) == lost
    assert [row["missed"] for row in result.rows()] == [1, 0, 0]
    assert result.complete


def test_one_array_is_one_image():
    labels = np.kron(np.arange(1, 10).reshape(3, 3), np.ones((8, 8), int))
    one = evaluate(labels, labels * (labels != 4))
    assert len(one.images) == 1
    assert one.pooled["ap"][0].value == pytest.approx(8 / 9)
    with pytest.raises(UsageError, match=r"truth must be images.*shape \(24,\)"):
        evaluate([labels[0]], [labels[0]])
    with pytest.raises(UsageError, match=r"takes label files or folders.*ndarray"):
        cellbrook.agreement(labels, labels)


def test_arrays_give_the_same_as_files(folders):
    of_files = evaluate(*folders)
    pairs = [
        tuple(cellbrook.io.read_labels(p)[0] for p in (pair.truth, pair.pred)) for pair in of_files.pairs
    ]
    of_arrays = cellbrook.evaluate(*zip(*pairs, strict=True), names=[pair.name for pair in of_files.pairs])
    assert of_arrays.pooled == of_files.pooled
    assert of_arrays.kinds() == of_files.kinds()
    json.dumps(of_arrays.to_dict(), allow_nan=False)


def test_gallery_shows_each_error_with_the_image(folders):
    crops = evaluate(*folders).gallery()
    assert [crop.kind for crop in crops] == ["missed", "spurious", "merged", "split", "boundary"]
    for crop in crops:
        y0, x0, y1, x1 = crop.box
        assert crop.name == "b"
        assert crop.picture.shape == (y1 - y0, x1 - x0, 3)
        guilty = {o.label for o in crop.true if o.guilty}, {o.label for o in crop.pred if o.guilty}
        assert guilty == (set(crop.error.true_labels), set(crop.error.pred_labels))
    assert crops[0].picture.max() > crops[0].picture.min()


def test_one_bad_image_does_not_fill_the_gallery(tmp_path):
    bad, good = GRID * 0, np.where(GRID == 16, 0, GRID)
    result = evaluate([GRID, GRID], [bad, good], names=["bad", "good"])
    assert [crop.name for crop in result.gallery(3)] == ["bad", "bad", "good"]


def test_gallery_of_a_volume_shows_the_fullest_plane():
    volume = np.zeros((5, 64, 64), int)
    volume[1:4, 20:30, 20:30] = 1
    volume[2, 15:35, 15:35] = 1
    image = np.random.default_rng(0).integers(0, 255, (5, 64, 64), np.uint8)
    (crop,) = evaluate([volume], [volume * 0], images=[image]).gallery()
    assert crop.plane == (2,)
    assert crop.picture is not None


def test_images_are_found_beside_labels_in_run_json_or_where_told(folders, tmp_path):
    truth, pred = folders
    assert image_of(truth / "b_masks.tif") == truth / "b_img.png"
    elsewhere = tmp_path / "images"
    elsewhere.mkdir()
    for path in truth.glob("*_img.png"):
        path.rename(elsewhere / path.name)
    assert image_of(truth / "b_masks.tif", pred / "b_img_labels.tif") is None
    assert evaluate(*folders).gallery()[0].picture is None
    assert evaluate(*folders, images=elsewhere).gallery()[0].picture is not None
    (pred / "b_img_run.json").write_text(json.dumps({"image": {"path": str(elsewhere / "b_img.png")}}))
    for labels in ("b_img_labels.tif", "b_img_labels.OME.TIF"):
        assert image_of(truth / "b_masks.tif", pred / labels) == elsewhere / "b_img.png"


def test_an_image_of_another_size_is_left_out_of_the_picture(folders):
    write_png(folders[0] / "b_img.png", IMAGE[:-5])
    assert evaluate(*folders).gallery()[0].picture is None


def test_classes_are_compared_where_both_sides_have_them(folders):
    truth, pred = folders
    with_classes(truth, "b", {i: "live" if i % 2 else "dead" for i in range(1, 17)})
    with_classes(pred, "b_img", dict.fromkeys((*range(2, 17), 40, 41), "live"))
    result = evaluate(truth, pred)
    assert result.classes.names == ("dead", "live")
    assert result.classes.n_images == 1
    assert result.classes.confusion.sum() == 16 + result.images[0].n_pred - result.images[0].tp[0]
    assert result.classes.scores["recall"][0].value == 0
    assert "classes: 1 of 3 images" in result.notes[1]
    assert result.to_dict()["classes"]["confusion"][0][0] == 0


def test_an_object_without_a_class_takes_the_classes_alone_away(folders):
    truth, pred = folders
    with_classes(truth, "b", dict.fromkeys(range(1, 16), "live"))  # 16 has none
    with_classes(pred, "b_img", dict.fromkeys((*range(2, 17), 40, 41), "live"))
    result = evaluate(truth, pred)
    assert not result.failed
    assert result.classes is None
    assert "classes: 0 of 3 images have one for every object" in result.notes[1]


def test_frames_of_a_film_are_compared_one_by_one(tmp_path):
    frame = np.kron(np.arange(1, 10).reshape(3, 3), np.pad(np.ones((8, 8), int), 2)).astype(np.uint16)
    film = np.stack([frame, np.roll(frame, 1, 1), np.roll(frame, 2, 1)])
    apart = film + np.where(film > 0, 9 * np.arange(3)[:, None, None], 0)
    for name, labels in (("t", film), ("p", apart)):
        (tmp_path / name).mkdir()
        write_labels(tmp_path / name / "a_labels.tif", labels.astype(np.uint32), axes="TYX")
    with_classes(tmp_path / "t", "a", dict.fromkeys(range(1, 10), "live"))
    with_classes(tmp_path / "p", "a", dict.fromkeys(range(1, 28), "live"))
    for first, second in (("t", "p"), ("p", "t")):
        result = evaluate(tmp_path / first, tmp_path / second)
        (image,) = result.images
        assert (image.n_true, image.n_pred, image.tp[0]) == (27, 27, 27)
        assert result.pooled["boundary_f"][0].value == 1
        assert result.classes.confusion[0, 0] == 27


@pytest.mark.parametrize("unsaid", ["a_masks.npy", "a_masks.tif"])
def test_a_film_is_compared_with_one_that_does_not_say_so(unsaid, tmp_path):
    frame = np.kron(np.arange(1, 10).reshape(3, 3), np.pad(np.ones((8, 8), int), 2)).astype(np.uint32)
    film = np.stack([frame, np.roll(frame, 1, 1), np.roll(frame, 2, 1)])
    truth, found = tmp_path / unsaid, tmp_path / "p_labels.tif"
    if truth.suffix == ".npy":
        np.save(truth, film)
    else:
        tifffile.imwrite(truth, film, photometric="minisblack")
    write_labels(found, film + np.where(film > 0, 9 * np.arange(3)[:, None, None], 0), axes="TYX")
    for sides in ((truth, found), (found, truth)):
        result = evaluate(*sides)
        assert (result.images[0].n_true, result.images[0].tp[0]) == (27, 27)
        assert result.pooled["ap"][0].value == 1
        assert not any("plane by plane" in note for note in result.notes)


def test_it_shows_itself_in_a_line(tmp_path):
    assert repr(evaluate([GRID] * 5, [GRID] * 5)) == "<Evaluation of 5 images, F1 1.000 at IoU 0.5>"
    for folder in "ab":
        (tmp_path / folder).mkdir()
    write_labels(tmp_path / "a" / "x_masks.tif", GRID)
    write_labels(tmp_path / "b" / "y_masks.tif", GRID)
    assert repr(evaluate(tmp_path / "a", tmp_path / "b")) == "<Evaluation of 0 images>"


def test_a_stack_outlined_plane_by_plane_is_compared_so_with_volumes(tmp_path):
    volume = np.stack([GRID] * 3)
    planes = np.where(volume > 0, volume + 16 * np.arange(3)[:, None, None], 0)
    for sides in ((volume, planes), (planes, volume)):
        result = evaluate([sides[0], GRID], [sides[1], GRID])
        assert result.images[0].tp[0] == result.images[0].n_true == 48
        assert "1 of 2 images were compared plane by plane" in result.notes[-1]
    for same in (volume, planes):
        assert evaluate([same], [same]).remarks == ()
    assert evaluate([volume], [volume * 0]).images[0].n_true == 16
    for name, stack in (("t", volume), ("p", planes)):
        write_labels(tmp_path / f"{name}_labels.tif", np.stack([stack] * 2), axes="TZYX")
    result = evaluate(tmp_path / "t_labels.tif", tmp_path / "p_labels.tif")
    assert result.images[0].tp[0] == result.images[0].n_true == 96


@pytest.mark.parametrize("step", [0, 9])
def test_classes_of_a_film_are_told_frame_by_frame(step, tmp_path):
    frame = np.kron(np.arange(1, 10).reshape(3, 3), np.pad(np.ones((8, 8), int), 2))
    film = np.stack([frame, np.where(frame > 0, frame + step, 0)])
    rows = "".join(f"{k + t * step},{t},{'dead' if t else 'live'}\n" for t in (0, 1) for k in range(1, 10))
    for name in "tp":
        write_labels(tmp_path / f"{name}_labels.tif", film, axes="TYX")
        (tmp_path / f"{name}_objects.csv").write_text(f"label,t,class\n{rows}")
    classes = evaluate(tmp_path / "t_labels.tif", tmp_path / "p_labels.tif").classes
    assert classes.names == ("dead", "live")
    np.testing.assert_array_equal(classes.confusion, np.diag([9, 9, 0]))


def test_the_gallery_names_objects_of_a_film_as_its_files_do(tmp_path):
    frame = np.zeros((60, 80), np.uint32)
    frame[10:20, 10:20], frame[40:50, 50:60] = 5, 7
    for name, second in (("t", frame), ("p", np.where(frame == 5, 0, frame))):
        write_labels(tmp_path / f"{name}_labels.tif", np.stack([frame, second]), axes="TYX")
    (crop,) = evaluate(tmp_path / "t_labels.tif", tmp_path / "p_labels.tif").gallery()
    told = crop.to_dict()
    assert (told["kind"], told["plane"], told["true_labels"], told["pred_labels"]) == ("missed", [1], [5], [])
    assert [(o.label, o.guilty) for o in crop.true] == [(5, True)]


def test_a_threshold_that_is_given_twice_counts_once(folders, tmp_path):
    result = evaluate(*folders, thresholds=[0.5, 0.5])
    assert result.thresholds == (0.5,)
    assert result.save_page(tmp_path / "page.html").exists()


def test_images_of_one_name_have_rows_of_their_own(tmp_path):
    empty = np.zeros_like(GRID)
    page = (
        evaluate([GRID, GRID], [GRID, empty], names=["a", "a"]).save_page(tmp_path / "page.html").read_text()
    )
    rows = [row for row in page.split("<tr>") if 'class="path" title="a"' in row]
    assert ["<td>16</td><td>0</td><td>0.000</td>" in row for row in rows] == [True, False]
    assert ["<td>16</td><td>16</td><td>1.000</td>" in row for row in rows] == [False, True]


def test_a_table_without_classes_is_no_class(folders):
    for folder in folders:
        (folder / "b_objects.csv").write_text("label,area_px\n1,7\n")
    assert evaluate(*folders).classes is None


def test_what_cannot_be_compared_is_told_and_the_rest_goes_on(folders):
    truth, pred = folders
    write_labels(pred / "b_img_labels.tif", GRID[:-1].astype(np.uint32))
    (pred / "c_img_labels.tif").write_bytes(b"no image")
    (truth / "ü <i>_masks.tif").rename(truth / "x_masks.tif")
    result = evaluate(truth, pred)
    assert set(result.failed) == {"b", "c"}
    assert (len(result.only_truth), len(result.only_prediction)) == (1, 1)
    assert result.images == ()
    assert not result.complete
    assert result.to_dict()["n_images"] == 0


def test_cancelling_stops_at_the_next_image(folders):
    class Impatient(cellbrook.core.progress.NoProgress):
        def check_cancelled(self):
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        evaluate(*folders, progress=Impatient())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: evaluate([GRID], [GRID, GRID]), "equal length"),
        (lambda: evaluate([], []), "at least one"),
        (lambda: evaluate("nowhere", "nowhere"), "no such file"),
        (lambda: evaluate("nowhere", [GRID]), "both be paths"),
        (lambda: evaluate([GRID], [GRID], thresholds=[2]), "thresholds"),
        (lambda: evaluate([GRID], [GRID[1:]]), "of one size"),
    ],
)
def test_what_cannot_be_meant(call, words):
    with pytest.raises(UsageError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


class _Page(HTMLParser):
    """Collects what a page refers to, and checks that tags are closed in order."""

    VOID = ("meta", "image", "path", "line", "input", "br")

    def __init__(self):
        super().__init__()
        self.open, self.links, self.text, self.ids, self.controls = [], [], [], set(), 0

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.links += [attrs[key] for key in ("href", "src") if key in attrs]
        self.ids.add(attrs.get("id"))
        self.controls += tag == "input"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_page_is_whole_and_needs_nothing_else(folders, tmp_path):
    truth, pred = folders
    for folder, name in ((truth, "b"), (pred, "b_img")):
        with_classes(folder, name, dict.fromkeys((*range(1, 17), 40, 41), "live & well"))
    path = write_page(evaluate(truth, pred), tmp_path / "seite ü.html")
    text = path.read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in page.links)
    assert sum(link.startswith("data:") for link in page.links) == 5
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert "ü <i>" in page.text, "names are escaped"
    words = " ".join("".join(page.text).split())
    for expected in (
        "Of 32 true objects",
        "Merged: one outline",
        "live & well",
        "Only 3 images",
        "prefers-color-scheme",
    ):
        assert expected in words, expected
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids


def test_page_replaces_only_a_page(folders, tmp_path):
    result, path = evaluate(*folders), tmp_path / "page.html"
    write_page(result, path)
    write_page(result, path)
    path.write_text("my notes")
    with pytest.raises(OutputError, match="is there already"):
        write_page(result, path)
    assert path.read_text() == "my notes"
    write_page(result, path, overwrite=True)


def test_page_without_errors_or_images(tmp_path):
    text = write_page(evaluate([GRID], [GRID]), tmp_path / "a.html").read_text(encoding="utf-8")
    assert "There are none." in text
    assert "one image" in text
