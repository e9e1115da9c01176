"""``cellbrook tune`` with the shipped model on generated images."""

import json
import shutil

import numpy as np
import pytest
import tifffile

import cellbrook
from cellbrook.cli.app import main
from cellbrook.errors import UsageError
from cellbrook.evaluation import tuning
from cellbrook.io import open_image, write_labels
from cellbrook.networks import store
from cellbrook.networks.cards import write_card
from cellbrook.training.synthetic import generate


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    """Five small generated images with their labels, an image alone, labels alone, and a pair of two sizes."""
    folder = tmp_path_factory.mktemp("bilder ü")
    for seed in range(5):
        sample = generate("fluo_nuclei", seed, 96, 18.0)
        tifffile.imwrite(folder / f"zelle {seed}_img.tif", sample.image[0].astype(np.uint16))
        write_labels(folder / f"zelle {seed}_masks.tif", sample.labels.astype(np.uint32))
    tifffile.imwrite(folder / "alone_img.tif", sample.image[0].astype(np.uint16))
    write_labels(folder / "lost_masks.tif", sample.labels.astype(np.uint32))
    tifffile.imwrite(folder / "odd_img.tif", sample.image[0].astype(np.uint16))
    write_labels(folder / "odd_masks.tif", sample.labels[:-9].astype(np.uint32))
    return folder


def test_a_models_path_is_found_in_any_working_directory(annotated, tmp_path, monkeypatch):
    seen = []

    def searched(*_, params, **__):
        seen.append(params.model_params.model)
        raise UsageError("enough")

    shutil.copytree(store.weights_dir(), tmp_path / "mine")
    write_card(tmp_path / "mine" / "card.toml", store.resolve_model("compact").card)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tuning, "tune", searched)
    for model in ("mine/", "compact"):
        with pytest.raises(UsageError, match="enough"):
            cellbrook.tune(annotated, model=model, threads=1)
    assert seen == [str(tmp_path / "mine"), "compact"]


BAD = ("--cellprob-threshold", "3.5", "--min-size", "900", "--no-search-diameter", "--threads", "1")


@pytest.fixture(scope="module")
def searched(annotated, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "tuned"
    start = annotated.parent / "start.toml"
    start.write_text("flow_threshold = 0.01\nexclude_border = true\n")
    assert main(["tune", str(annotated), "--out", str(out), "--settings", str(start), "--json", *BAD]) == 1
    return out


def test_files_and_document(annotated, tmp_path, capsys):
    code = main(["tune", str(annotated), "--out", str(tmp_path / "t"), "--json", *BAD])
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert code == 1, "some files were of no use"
    assert (document["n_images"], document["cross_validated"]) == (5, True)
    assert document["start"]["min_size"] == 900
    assert document["f1_tuned"]["value"] > document["f1_start"]["value"] + 0.3
    assert document["chosen"] == document["best"]
    assert [entry["name"] for entry in document["failed"]] == ["odd"]
    for name in ("alone_img.tif", "lost_masks.tif", "odd: "):
        assert name in err
    assert sorted(p.name for p in (tmp_path / "t").iterdir()) == ["settings.toml", "surface.png"]
    assert open_image(tmp_path / "t" / "surface.png").is_rgb


def test_segment_takes_the_settings(annotated, searched, tmp_path):
    found = cellbrook.read_settings(searched / "settings.toml")
    assert found["exclude_border"] is True, "what a settings file started with is kept"
    assert found["min_size"] < 900
    image = annotated / "zelle 0_img.tif"
    arguments = [
        "segment",
        str(image),
        "--out",
        str(tmp_path),
        "--quiet",
        "--settings",
        str(searched / "settings.toml"),
    ]
    assert main(arguments) == 0
    run = json.loads((tmp_path / "zelle 0_img_run.json").read_text(encoding="utf-8"))
    assert {name: run["parameters"][name] for name in found} == found
    seg = cellbrook.segment(image, threads=1, **found)
    assert len(seg.objects) == run["result"]["objects"]


def test_report_is_readable(annotated, searched, tmp_path, capsys):
    arguments = ["tune", str(annotated), "--out", str(tmp_path / "t"), "--quiet"]
    assert main([*arguments, *BAD]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("5 images, ")
    assert lines[2].split() == ["start", "best", "recommended"]
    assert any(line.startswith("cellprob threshold") and " 3.5 " in line for line in lines)
    assert any(line.startswith("F1 tuned") for line in lines)


def test_what_cannot_be_written_is_told(annotated, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["tune", str(annotated), "--out", str(tmp_path / "file" / "t"), "--quiet", *BAD]) == 1
    out, err = capsys.readouterr()
    assert "cannot be written" in err
    assert out.startswith("5 images, ")
    settings = tmp_path / "settings.toml"
    settings.write_text(out[out.index("#") :])
    assert cellbrook.read_settings(settings)["min_size"] < 900


def test_nothing_is_lost_and_no_picture_lies_among_images(annotated, searched, capsys):
    before = (searched / "settings.toml").read_bytes()
    assert main(["tune", str(annotated), "--out", str(searched)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert (searched / "settings.toml").read_bytes() == before
    assert main(["tune", str(annotated), "--out", str(annotated / "tuned")]) == 2
    assert "where a picture is an image" in capsys.readouterr().err
    assert not (annotated / "tuned").exists()


def test_usage_errors_are_one_line(tmp_path, annotated, capsys):
    (tmp_path / "empty").mkdir()
    for folder, words in ((tmp_path / "nowhere", "no such folder"), (tmp_path / "empty", "no label images")):
        assert main(["tune", str(folder), "--out", str(tmp_path / "o")]) == 2
        err = capsys.readouterr().err
        assert words in err
        assert len(err.splitlines()) == 1
    assert main(["tune", str(annotated), "--out", str(tmp_path / "o"), "--iou", "0.2"]) == 2


def test_stacks_are_taken(tmp_path, capsys):
    planes = [generate("fluo_nuclei", seed, 64, 16.0) for seed in (1, 2)]
    (tmp_path / "in").mkdir()
    image = np.stack([p.image[0].astype(np.uint16) for p in planes])
    tifffile.imwrite(tmp_path / "in" / "s_img.tif", image, metadata={"axes": "ZYX"}, ome=True)
    write_labels(tmp_path / "in" / "s_masks.tif", np.stack([p.labels for p in planes]), axes="ZYX")
    arguments = ["--no-search-diameter", "--threads", "1", "--json"]
    assert main(["tune", str(tmp_path / "in"), "--out", str(tmp_path / "t"), *arguments]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["n_true"] == sum(len(np.unique(p.labels)) - 1 for p in planes)
    assert not document["cross_validated"]
