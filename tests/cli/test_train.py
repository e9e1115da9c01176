"""`cellbrook train`: checks, refusals, what it prints; the training itself is tested in tests/training."""

import json
import os
import signal

import numpy as np
import pytest

from cellbrook.cli.app import main
from cellbrook.training.synthetic import generate


@pytest.fixture
def folder(tmp_path):
    for seed in (1, 2):
        sample = generate("fluo_nuclei", seed, 96, 16)
        np.save(tmp_path / f"{seed}_img.npy", sample.image[0].astype(np.uint16))
        np.save(tmp_path / f"{seed}_masks.npy", sample.labels)
    return tmp_path


def run(capsys, *arguments):
    code = main(["train", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_check_reports_and_trains_nothing(folder, capsys):
    code, out, _ = run(capsys, folder, "--check")
    assert code == 0
    assert out.startswith("2 labelled images, ")
    assert sorted(p.suffix for p in folder.iterdir()) == [".npy"] * 4


def test_check_fails_on_what_would_teach_nonsense(folder, capsys):
    np.save(folder / "1_masks.npy", np.zeros((96, 90), np.uint16))
    code, out, err = run(capsys, folder, "--check")
    assert code == 1
    assert "error: 1: the image has 96 x 96 pixels and its labels 96 x 90" in out
    assert "mend or remove it" in err
    code, out, _ = run(capsys, folder, "--check", "--json")
    (issue,) = (i for i in json.loads(out)["issues"] if i["fatal"])
    assert (code, issue["kind"]) == (1, "size")


def test_help_tells_what_is_taught_unasked(capsys):
    _, out, _ = run(capsys, "--help")
    assert '"auto": the cells where there are two or more stains' in " ".join(out.replace("│", " ").split())


def test_out_is_needed(folder, capsys):
    code, _, err = run(capsys, folder)
    assert code == 2
    assert "give --out" in err


def test_the_model_does_not_go_among_the_images(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    code, _, err = run(capsys, folder, "--out", ".")
    assert code == 2
    assert "holds the labelled images" in err
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--steps", "0"], "steps must be at least 1"),
        (["--train", "some"], "train"),
        (["--from", "nomodel"], "there is no model 'nomodel'"),
        (["--train", "lora"], "compact has none: use --train last"),
        (["--crop", "100"], "multiple of 32"),
        (["--device", "gpu"], "device must be auto, cpu, cuda"),
        (["--compare", "base,scratch", "--overwrite"], "leave --overwrite out"),
        (["--compare", "compact,scratch", "--from", "cyto3"], "give --compare base,compact,scratch"),
        (["--compare", "base"], "two or more different starts"),
    ],
)
def test_what_makes_no_sense_is_one_line(folder, capsys, flags, words):
    pytest.importorskip("torch")
    code, out, err = run(capsys, folder, "--out", folder / "out", "--quiet", "--threads", "1", *flags)
    assert code in (1, 2)
    assert words in err
    assert out == ""
    assert "Traceback" not in err


def test_a_folder_without_labels_is_a_usage_error(tmp_path, capsys):
    code, _, err = run(capsys, tmp_path, "--check")
    assert code == 2
    assert "no label images" in err


def test_one_interrupt_ends_softly_and_the_next_interrupts():
    from cellbrook.cli._stopping import StoppableProgress, ending_softly
    from cellbrook.errors import Cancelled

    progress = StoppableProgress(quiet=True)
    before = signal.getsignal(signal.SIGINT)
    with ending_softly(progress):
        progress.check_cancelled()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Cancelled):
            progress.check_cancelled()
        assert signal.getsignal(signal.SIGINT) is before, "the next one interrupts"
    assert signal.getsignal(signal.SIGINT) is before
