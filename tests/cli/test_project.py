"""`cellbrook project`, as a user types it."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tifffile import TiffWriter

from cellbrook.cli.app import main
from cellbrook.io import read_labels, write_labels, write_png
from cellbrook.project import Paint
from cellbrook.project.project import Project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with two pictures of bright discs."""
    folder = tmp_path / "plate 1"
    folder.mkdir()
    yy, xx = np.mgrid[:96, :128]
    for k, name in enumerate(("a", "b")):
        picture = np.random.default_rng(k).normal(20, 3, yy.shape)
        for y, x in ((25, 25), (25, 75), (65, 50), (65, 100)):
            picture[(yy - y) ** 2 + (xx - x - 5 * k) ** 2 < 11**2] += 180
        write_png(folder / f"{name}.png", np.clip(picture, 0, 255).astype(np.uint8))
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["project", *map(str, words)])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_a_round_without_training(tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = tmp_path / "my.project"
    code, out, _ = run(capsys, "create", project, images, "--classes", "healthy, dead")
    assert code == 0
    assert "2 images added" in out
    code, out, err = run(capsys, "add", project, images / "a.png", "--json")
    assert code == 0
    assert json.loads(out)["already"][0]["name"] == "a"
    assert err == ""

    code, out, _ = run(capsys, "predict", project, "--threads", 1, "--quiet")
    assert code == 0
    assert "a: 4 cells" in out
    code, out, _ = run(capsys, "predict", project, "a", "--threads", 1, "--json")
    assert [(p["name"], p["status"]) for p in json.loads(out)] == [("a", "skipped")]

    code, out, _ = run(capsys, "suggest", project, "--count", 1)
    assert code == 0
    assert out.startswith("1. ")

    code, out, _ = run(capsys, "export", project, "a", "--out", tmp_path / "out", "--save", "labels,rois")
    assert code == 0
    labels, _ = read_labels(tmp_path / "out" / "a_labels.tif")
    labels[labels == 1] = 0
    write_labels(tmp_path / "fixed" / "a_masks.tif", labels)
    code, out, _ = run(capsys, "import", project, tmp_path / "fixed", "--done")
    assert (code, out) == (0, "a: 3 cells from a_masks.tif\n")

    code, out, _ = run(capsys, "status", project)
    assert code == 0
    assert "1 predicted, 1 done" in out
    code, out, _ = run(capsys, "status", project, "--json")
    document = json.loads(out)
    assert [i["objects"] for i in document["images"]] == [3, 4]
    assert 0 < document["images"][0]["ap"] < 1
    assert document["model"] == "compact"

    code, out, _ = run(capsys, "predict", project, "--again", "--threads", 1, "--quiet")
    assert "a:" not in out  # done is done
    code, out, _ = run(capsys, "mark", project, "b", "--state", "corrected")
    assert code == 0
    code, out, _ = run(capsys, "export", project, "--out", tmp_path / "train", "--save", "training", "--json")
    assert sorted(p.name for p in (tmp_path / "train").iterdir()) == [
        "a_img.png", "a_masks.tif", "a_masks_objects.csv", "b_img.png", "b_masks.tif", "b_masks_objects.csv",
        "training.json",
    ]  # fmt: skip
    code, out, _ = run(capsys, "activate", project, "compact")
    assert code == 0


def test_places_are_labelled_again(tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = tmp_path / "my project"
    run(capsys, "create", project, images)
    run(capsys, "predict", project, "--threads", 1, "--quiet")
    code, _, err = run(capsys, "again", project)
    assert (code, "mark one as done" in err) == (2, True)
    run(capsys, "mark", project, "a", "--state", "done")
    code, out, _ = run(capsys, "again", project, "--count", 1)
    lines = [
        "1 place to label again: again-01",
        f"when they are done: cellbrook project again '{project}' --compare",
    ]
    assert (code, out.splitlines()) == (0, lines)
    code, _, err = run(capsys, "again", project, "--compare")
    assert (code, "no place was labelled again yet" in err) == (2, True)
    run(capsys, "predict", project, "again-01", "--threads", 1, "--quiet")
    run(capsys, "mark", project, "again-01", "--state", "done")
    code, out, _ = run(capsys, "again", project, "--compare", "--threads", 1)
    assert code == 0
    assert "1 place labelled again" in out
    assert "decide nothing" in out
    code, out, _ = run(capsys, "again", project, "--compare", "--threads", 1, "--json")
    scores = json.loads(out)["scores"]
    assert scores[0]["people"]["value"] > 0.5
    assert all(side["value"] > 0.5 for side in scores[0]["model"])
    # an export of all images leaves it out
    run(capsys, "export", project, "--out", tmp_path / "out", "--save", "labels")
    assert sorted(p.name for p in (tmp_path / "out").glob("*.tif")) == ["a_labels.tif", "b_labels.tif"]


def test_merge(tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "create", tmp_path / "one", images / "a.png")
    run(capsys, "create", tmp_path / "two", images)
    labels = np.zeros((96, 128), np.uint8)
    labels[5:20, 5:20] = 1
    write_labels(tmp_path / "b_masks.tif", labels)
    run(capsys, "import", tmp_path / "two", tmp_path / "b_masks.tif")
    code, out, _ = run(capsys, "merge", tmp_path / "one", tmp_path / "two", "--json")
    assert code == 0
    report = json.loads(out)
    assert (report["images_added"], report["taken"], report["conflicts"]) == (["b"], 1, [])
    code, out, _ = run(capsys, "merge", tmp_path / "one", tmp_path / "two")
    assert out.startswith("0 changes taken over")


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (("status", "{0}"), 1, "is not a project"),
        (("predict", "{0}/p", "zzz"), 2, "no image 'zzz'"),
        (("predict", "{0}/p", "--model", "zzz"), 1, "no model 'zzz'"),
        (("activate", "{0}/p", "zzz"), 1, "no model 'zzz'"),
        (("create", "{0}/p"), 1, "open it instead"),
        (("add", "{0}/p"), 2, "no image is given"),
        (("add", "{0}/p", "{0}/none.png"), 1, "no such file"),
        (("mark", "{0}/p"), 2, "no image is given"),
        (("import", "{0}/p"), 2, "no labels are given"),
        (("import", "{0}/p", "{0}/plate 1/b.png", "--image", "a"), 1, "looks like a picture"),
        (("export", "{0}/p", "--out", "{0}/o", "--save", "nonsense"), 2, "cannot export 'nonsense'"),
        (("export", "{0}/p", "--out", "{0}/o"), 2, "nothing to export"),
        (("train", "{0}/p"), 2, "nothing is corrected yet"),
        (("merge", "{0}/p", "{0}/p"), 2, "with itself"),
        (("nonsense",), 2, ""),
    ],
)
def test_what_goes_wrong_is_one_line(
    tmp_path: Path,
    images: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    what: str,
) -> None:
    run(capsys, "create", tmp_path / "p", images)
    found, out, err = run(capsys, *(w.format(tmp_path) for w in words))
    assert found == code
    assert what in err
    assert "Traceback" not in err
    assert out == ""


def test_where_no_image_can_be_added_no_project_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, image = tmp_path / "p 1", tmp_path / "four.npy"
    np.save(image, np.zeros((3, 4, 40, 50), np.uint8))
    for given, said in ((image, "--axes"), (tmp_path / "none", "none")):
        code, _, err = run(capsys, "create", place, given)
        assert code
        assert said in err
        assert not place.exists()
    place.mkdir()  # an empty folder of the user's stays
    assert run(capsys, "create", place, image)[0] == 1
    assert list(place.iterdir()) == []
    code, out, _ = run(capsys, "create", place, image, "--axes", "ZCYX")
    assert code == 0
    assert f"cellbrook project predict '{place}'" in out


def test_settings_of_all_images_are_changed_and_shown(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "p"
    run(capsys, "create", place)
    assert run(capsys, "set", place, "--axes", "CYX", "--pixel-size", 0.5)[0] == 0
    assert run(capsys, "set", place, "--axes", "auto", "--channels", "0")[0] == 0
    _, out, _ = run(capsys, "set", place)
    assert out.splitlines() == ["name: p", "channels: 0", "axes: auto", "pixel_size: 0.5", "z: auto"]
    assert run(capsys, "set", place, "--pixel-size", "auto")[0] == 0
    assert "pixel_size: auto" in run(capsys, "set", place)[1].splitlines()
    code, _, err = run(capsys, "set", place, "--pixel-size", "some")
    assert (code, "some" in err) == (2, True)
    run(capsys, "add", place, images)
    code, _, err = run(capsys, "set", place, "--z", "max")
    assert code == 2
    assert "has images" in err
    assert run(capsys, "set", place, "--name", "other", "--json")[0] == 0


def test_the_status_of_images_with_problems_has_one_exit_code(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "p"
    run(capsys, "create", place, images)
    (images / "a.png").unlink()
    code, out, err = run(capsys, "status", place)
    assert (code, "a.png any more" in err) == (1, True)
    code, out, err = run(capsys, "status", place, "--json")
    assert (code, err) == (1, "")
    assert "a.png any more" in json.loads(out)["images"][0]["problem"]


def test_an_image_that_is_gone_does_not_keep_the_others_from_being_exported(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, out = tmp_path / "p", tmp_path / "out"
    run(capsys, "create", place, images)
    with Project.open(place) as project:
        for record in project.images():
            cell = [(row, 10, 20) for row in range(10, 20)]
            project.log(record.id).apply(Paint(project.labels(record.id).lease(1)[0], cell))
    (images / "a.png").unlink()
    code, told, err = run(capsys, "export", place, "--out", out, "--save", "labels,training")
    assert (code, err.count("a.png any more"), "a: " in told, "b: " in told) == (1, 1, False, True)
    assert (out / "b_labels.tif").exists()
    assert (out / "b_masks.tif").exists()
    code, _, err = run(capsys, "export", place, "a", "--out", tmp_path / "one")
    assert (code, "a.png any more" in err) == (1, True)
    assert not (tmp_path / "one").exists()


def test_every_scene_is_an_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with TiffWriter(tmp_path / "scenes.ome.tif", ome=True) as file:
        for name in ("one", "two"):
            file.write(np.zeros((20, 30), np.uint8), metadata={"axes": "YX", "Name": name})
    write_png(tmp_path / "plain.png", np.zeros((20, 30), np.uint8))
    for n, given in enumerate(([], ["--scene", "all"])):
        code, out, _ = run(
            capsys,
            "create",
            tmp_path / f"p{n}",
            tmp_path / "plain.png",
            tmp_path / "scenes.ome.tif",
            *given,
            "--json",
        )
        assert code == 0
        assert sorted(i["name"] for i in json.loads(out)["added"]) == ["plain", "scenes_one", "scenes_two"]
    code, out, _ = run(
        capsys, "create", tmp_path / "p2", tmp_path / "scenes.ome.tif", "--scene", "two", "--json"
    )
    assert [i["name"] for i in json.loads(out)["added"]] == ["scenes_two"]


def test_an_exported_run_can_be_repeated(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "create", tmp_path / "p", images / "a.png")
    run(capsys, "predict", tmp_path / "p", "--threads", 1, "--min-size", 30, "--quiet")
    run(capsys, "export", tmp_path / "p", "--out", tmp_path / "out", "--save", "run,labels")
    told = tmp_path / "out" / "a_run.json"
    again = ["segment", "--from-run", str(told), "--out", str(tmp_path / "again"), "--quiet"]
    assert main(again) == 0
    assert json.loads((tmp_path / "again" / "a_run.json").read_text())["parameters"]["min_size"] == 30


def test_a_run_whose_cells_were_corrected_since_can_be_repeated(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "create", tmp_path / "p", images / "a.png")
    run(capsys, "predict", tmp_path / "p", "--threads", 1, "--quiet")
    labels = np.zeros((96, 128), np.uint16)
    labels[4:20, 4:20] = 1
    write_labels(tmp_path / "a_labels.tif", labels)
    run(capsys, "import", tmp_path / "p", tmp_path / "a_labels.tif")
    run(capsys, "export", tmp_path / "p", "--out", tmp_path / "out", "--save", "run,labels")
    told = tmp_path / "out" / "a_run.json"
    assert main(["segment", "--from-run", str(told), "--out", str(tmp_path / "again"), "--quiet"]) == 0
    assert "other labels than in the run that is repeated" in capsys.readouterr().err


def test_help_says_what_each_command_does(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for name in ("create", "add", "status", "predict", "suggest", "train", "export", "import", "merge"):
        assert f" {name} " in out


def test_ctrl_c_keeps_what_a_round_has_learnt(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cellbrook.errors import Cancelled
    from cellbrook.project import teach

    class Report:
        def lines(self) -> list[str]:
            return ["stopped, the best so far is kept"]

        def to_dict(self) -> dict[str, object]:
            return {"steps": 3}

    def train_round(project, *, progress, **keywords):
        progress.check_cancelled()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Cancelled):
            progress.check_cancelled()
        return teach.Round(1, "taught", False, Report())

    monkeypatch.setattr(teach, "train_round", train_round)
    run(capsys, "create", tmp_path / "p", images)
    before = signal.getsignal(signal.SIGINT)
    code, out, err = run(capsys, "train", tmp_path / "p")
    assert code == 0
    assert "once more interrupts" in err
    assert out.splitlines() == [
        "stopped, the best so far is kept", "round 1: taught is kept but not used; compact still predicts",
    ]  # fmt: skip
    assert signal.getsignal(signal.SIGINT) is before
    _, out, _ = run(capsys, "train", tmp_path / "p", "--json")
    assert json.loads(out) == {"round": 1, "model": "taught", "activated": False, "steps": 3}
