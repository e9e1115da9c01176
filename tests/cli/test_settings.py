"""``segment --settings``."""

import json

import numpy as np
import pytest
import tifffile

from cellbrook.cli.app import main
from cellbrook.testing.samples import sample_image


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "zelle ü.tif"
    tifffile.imwrite(path, sample_image(size=128).astype(np.uint16))
    return path


def parameters(image, out, *flags):
    assert main(["segment", str(image), "--out", str(out), "--quiet", *map(str, flags)]) == 0
    return json.loads((out / f"{image.stem}_run.json").read_text(encoding="utf-8"))["parameters"]


def test_settings_take_the_place_of_defaults_and_flags_win(image, tmp_path):
    file = tmp_path / "best.toml"
    file.write_text("min_size = 40\ncellprob_threshold = -1\nfill_holes = false\ndiameter = 25.5\n")
    found = parameters(image, tmp_path / "a", "--settings", file)
    assert (found["min_size"], found["cellprob_threshold"]) == (40, -1.0)
    assert (found["fill_holes"], found["diameter"]) == (False, "25.5")
    # a flag wins even where it says what is the default
    found = parameters(
        image, tmp_path / "b", "--settings", file, "--min-size", 15, "--fill-holes", "--diameter", "auto"
    )
    assert (found["min_size"], found["cellprob_threshold"]) == (15, -1.0)
    assert (found["fill_holes"], found["diameter"]) == (True, "auto")


def test_flags_win_over_the_run_that_is_repeated(image, tmp_path):
    given = ("--diameter", 30, "--min-size", 40, "--no-fill-holes")
    before = parameters(image, tmp_path / "a", *given)
    run = tmp_path / "a" / f"{image.stem}_run.json"
    assert parameters(image, tmp_path / "b", "--from-run", run) == before
    found = parameters(image, tmp_path / "c", "--from-run", run, "--diameter", "auto", "--min-size", 15)
    assert found == {**before, "diameter": "auto", "min_size": 15}


@pytest.mark.parametrize(
    ("text", "words"), [("min_sise = 3", "did you mean min_size"), ('min_size = "small"', "a whole number")]
)
def test_wrong_settings_are_usage_errors(text, words, image, tmp_path, capsys):
    file = tmp_path / "bad.toml"
    file.write_text(text)
    assert main(["segment", str(image), "--settings", str(file)]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert len(err.splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.toml", "zelle ü.tif"]


def test_a_run_and_settings_contradict(image, tmp_path, capsys):
    file = tmp_path / "best.toml"
    file.write_text("min_size = 40\n")
    parameters(image, tmp_path / "a")
    run = tmp_path / "a" / f"{image.stem}_run.json"
    assert main(["segment", "--from-run", str(run), "--settings", str(file)]) == 2
    assert "give one of them" in capsys.readouterr().err
