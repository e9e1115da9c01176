"""Ctrl-C at any moment of judging: exit code 130, one line, and no half-written or left-over file."""

import os
import signal
import tempfile

import numpy as np
import pytest
import tifffile

from cellbrook.cli.app import main
from cellbrook.io import write_labels
from cellbrook.training.synthetic import generate


@pytest.fixture(autouse=True)
def heeded():
    """What a shell starts in the background ignores Ctrl-C, and so would this process."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two images with labels, twice; and a temporary folder of our own."""
    for seed in (0, 1):
        sample = generate("fluo_nuclei", seed, 64, 16.0)
        for name in ("truth", "pred"):
            (tmp_path / name).mkdir(exist_ok=True)
            write_labels(tmp_path / name / f"{seed}_masks.tif", sample.labels.astype(np.uint32))
        tifffile.imwrite(tmp_path / "truth" / f"{seed}_img.tif", sample.image[0].astype(np.uint16))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    return tmp_path


def interrupt(monkeypatch, target, call):
    """Send Ctrl-C to this process when `target` is called the so-manieth time."""
    module, _, name = target.rpartition(".")
    from importlib import import_module

    owner = import_module(module)
    plain, calls = getattr(owner, name), []

    def interrupted(*arguments, **keywords):
        result = plain(*arguments, **keywords)
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGINT)
        return result

    monkeypatch.setattr(owner, name, interrupted)


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("command", "target", "call"),
    [
        ("evaluate", "cellbrook.evaluation.compare.count_image", 2),
        ("evaluate", "cellbrook.evaluation.gallery._outlines", 1),
        ("evaluate", "cellbrook.evaluation.page.page", 1),
        ("agreement", "cellbrook.evaluation.human.count_pairs", 2),
        ("tune", "cellbrook.evaluation.tuning._keep", 2),
        ("tune", "cellbrook.evaluation.tuning.labels_from_flows", 3),
        ("tune", "cellbrook.evaluation.surface.draw_surface", 1),
    ],
)
def test_an_interrupt_leaves_nothing_behind(command, target, call, folder, monkeypatch, capsys):
    before = files(folder)
    truth, pred = folder / "truth", folder / "pred"
    arguments = {
        "evaluate": [truth, pred, "--html", folder / "page.html"],
        "agreement": [truth, pred, "--html", folder / "page.html"],
        "tune": [truth, "--out", folder / "tuned", "--no-search-diameter", "--threads", "1"],
    }[command]
    if command == "evaluate":  # something must be wrong, for a gallery
        write_labels(pred / "0_masks.tif", np.zeros((64, 64), np.uint32))
    interrupt(monkeypatch, target, call)
    assert main([command, *map(str, arguments)]) == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1:] == ["cellbrook: error: interrupted; the files that were written are whole"]
    assert "Traceback" not in err
    assert files(folder) == before
    assert list((folder / "scratch").iterdir()) == []


def test_a_page_that_was_there_stays_whole(folder, monkeypatch):
    arguments = ["evaluate", str(folder / "truth"), str(folder / "pred"), "--html", str(folder / "page.html")]
    assert main([*arguments, "--quiet"]) == 0
    before = (folder / "page.html").read_bytes()
    interrupt(monkeypatch, "cellbrook.evaluation.page.page", 1)
    assert main([*arguments, "--quiet"]) == 130
    assert (folder / "page.html").read_bytes() == before
    assert "page.html" in files(folder)
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]
