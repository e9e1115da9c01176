"""The recipes run: as a cluster, a notebook and two computers would run them, on tiny images."""

import ast
import csv
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import tifffile

import cellbrook
from cellbrook.io import read_labels, write_labels
from cellbrook.project import Project
from cellbrook.testing.samples import sample_image
from cellbrook.training.synthetic import generate

RECIPES = Path(__file__).parents[2] / "recipes"

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.fixture
def run(tmp_path):
    """Run a recipe in an empty folder, with this environment's `cellbrook` as its command."""
    commands = tmp_path / "bin"
    commands.mkdir()
    command = commands / "cellbrook"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cellbrook.cli.app "$@"\n')
    command.chmod(0o755)

    def run(recipe, *arguments, code=0, **variables):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
        kept["PATH"] = f"{commands}{os.pathsep}{kept['PATH']}"
        done = subprocess.run(
            ["bash", RECIPES / recipe, *map(str, arguments)],
            env={**kept, **variables},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stderr
        return done

    return run


def labelled(folder, count=2, size=96):
    folder.mkdir()
    for seed in range(count):
        sample = generate("fluo_nuclei", seed, size, 18)
        tifffile.imwrite(folder / f"{seed}_img.tif", sample.image[0].astype(np.uint16))
        tifffile.imwrite(folder / f"{seed}_masks.tif", sample.labels.astype(np.uint16))
    return folder


@needs_bash
def test_the_jobs_of_an_array_do_a_folder_together(run, tmp_path):
    plate = tmp_path / "plate 1"
    (plate / "row B").mkdir(parents=True)
    for name in ("a1.tif", "a2.tif", "a10.tif", "row B/a1.tif"):
        tifffile.imwrite(plate / name, sample_image(size=64).astype(np.uint16))
    out = tmp_path / "results"
    arguments = ("slurm_segment.sh", plate, out, "--quiet", "--min-size", "20")

    def labels():
        return sorted(p.relative_to(out).as_posix() for p in out.rglob("*_labels.tif"))

    run(*arguments, SLURM_ARRAY_TASK_ID="1", SLURM_ARRAY_TASK_MAX="3", SLURM_CPUS_PER_TASK="1")
    assert labels() == ["a1_labels.tif", "row B/a1_labels.tif"]
    run(*arguments, SLURM_ARRAY_TASK_ID="2", SLURM_ARRAY_TASK_MAX="3")
    assert labels() == ["a1_labels.tif", "a2_labels.tif", "row B/a1_labels.tif"]
    assert not (out / "summary.csv").exists(), "a share must not pass for the whole"
    written = {p: p.stat().st_mtime_ns for p in out.rglob("*_labels.tif")}

    # the third job never ran: the last one does its share, and only reads the others'
    run(*arguments, SLURM_ARRAY_TASK_ID="1", SLURM_ARRAY_TASK_MAX="1")
    assert all(p.stat().st_mtime_ns == time for p, time in written.items())
    rows = list(csv.DictReader((out / "summary.csv").read_text(encoding="utf-8").splitlines()))
    assert [r["status"] for r in rows] == ["skipped", "skipped", "done", "skipped"]
    assert [r["image"].rsplit("plate 1/")[-1] for r in rows] == [
        "a1.tif",
        "a2.tif",
        "a10.tif",
        "row B/a1.tif",
    ]
    assert int(rows[0]["objects"]) == read_labels(out / "a1_labels.tif")[0].max()
    runs = [json.loads(p.read_text(encoding="utf-8")) for p in out.rglob("*_run.json")]
    assert {r["engine"]["precision"] for r in runs} == {"fp32"}, "nodes differ in what auto is"


@needs_bash
def test_an_array_job_says_how_it_is_used(run):
    assert "usage: sbatch" in run("slurm_segment.sh", "plate", code=1).stderr


def code_of(notebook):
    """Return the code cells of a notebook and their tags."""
    cells = json.loads((RECIPES / notebook).read_text(encoding="utf-8"))["cells"]
    return [("".join(c["source"]), c["metadata"].get("tags", [])) for c in cells if c["cell_type"] == "code"]


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from cellbrook.training import generalist

    every = generalist.crops()
    monkeypatch.setattr(generalist, "crops", lambda: (every[0], every[-1]))  # the rest takes a minute
    shown = []
    display = types.ModuleType("IPython.display")
    display.Image = lambda filename: filename
    display.display = shown.append
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr("logging.basicConfig", lambda **keywords: None)  # pytest's handlers stay
    monkeypatch.chdir(tmp_path)
    names = {}
    for code, tags in code_of("segment_and_train.ipynb"):
        lines = [line for line in code.splitlines() if not line.startswith("%pip ")]
        exec(compile("\n".join(lines), "notebook", "exec"), names)
        if "parameters" in tags:
            names |= {"STEPS": 2, "SIZE": 96}
    assert [Path(p).name for p in shown] == ["0_img_overlay.png", "1_img_overlay.png", "curves.png"]
    assert all(Path(p).stat().st_size > 500 for p in shown)
    assert {p.name for p in Path("results/after").glob("*_labels.tif")} == {
        "20_img_labels.tif",
        "21_img_labels.tif",
    }
    assert Path("results/after.html").stat().st_size > 10_000
    out = capsys.readouterr().out
    assert "before: AP at IoU 0.5 " in out
    assert "after: AP at IoU 0.5 " in out

    shutil.unpack_archive(names["archive"], "elsewhere")
    (found,) = names["segment_folder"]("images", "again", "elsewhere")[:1]
    assert found["labels"].exists()


def test_the_notebook_mirrors_folders_and_leaves_corrected_labels_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", types.ModuleType("IPython.display"))
    sys.modules["IPython.display"].Image = sys.modules["IPython.display"].display = lambda *_, **__: None
    monkeypatch.chdir(tmp_path)
    for name in ("a.tif", "b/a.tif"):
        (tmp_path / "images" / name).parent.mkdir(exist_ok=True, parents=True)
        tifffile.imwrite(tmp_path / "images" / name, sample_image(size=64).astype(np.uint16))
    (code,) = (code for code, _ in code_of("segment_and_train.ipynb") if "def segment_folder" in code)
    names = {"Path": Path, "cellbrook": cellbrook, "IMAGES": "images", "RESULTS": "results"}
    exec(code, names)
    labels = sorted((tmp_path / "results").rglob("*_labels.tif"))
    assert [p.relative_to(tmp_path / "results").as_posix() for p in labels] == [
        "a_labels.tif",
        "b/a_labels.tif",
    ]
    write_labels(labels[0], np.ones((64, 64), np.uint16))
    exec(code, names)
    assert read_labels(labels[0])[0].min() == 1
    assert "its results stay as they are" in capsys.readouterr().out


def test_the_notebook_installs_a_clone_or_wheel():
    (first, _), *_ = code_of("segment_and_train.ipynb")
    place, install = first.splitlines()
    assert place.startswith('CELLBROOK = "./')  # with a slash, or pip asks the index for it
    assert install == '%pip install --quiet "{CELLBROOK}[train]"'


def test_the_notebook_is_stored_without_outputs():
    cells = json.loads((RECIPES / "segment_and_train.ipynb").read_text(encoding="utf-8"))["cells"]
    assert all(c["outputs"] == [] for c in cells if c["cell_type"] == "code")
    assert len({c["id"] for c in cells}) == len(cells)
    for code, _ in code_of("segment_and_train.ipynb"):
        ast.parse("\n".join(line for line in code.splitlines() if not line.startswith("%pip ")))


@needs_bash
@pytest.mark.slow
def test_what_was_corrected_here_is_taught_there(run, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    recipe = "annotate_here_train_there.sh"
    given = labelled(tmp_path / "given")
    folder = tmp_path / "my.project"
    corrected = tmp_path / "corrected"
    corrected.mkdir()
    for masks in given.glob("*_masks.tif"):
        masks.rename(corrected / masks.name)
    with Project.create(folder) as project:
        project.add([given])

    run(recipe, "take", folder, corrected)
    packed = run(recipe, "pack", folder, tmp_path / "to_train")
    assert "2 labelled images, " in packed.stdout
    flags = ("--steps", "2", "--crop", "64", "--batch-size", "1", "--threads", "1", "--quiet")
    run(recipe, "train", tmp_path / "to_train", tmp_path / "new_model", *flags)
    model = tmp_path / "new_model"
    if not (model / "card.toml").exists():  # two steps need not make it better
        assert "was it better" in run(recipe, "use", folder, model, code=1).stderr
        model = (model / "not-active").rename(tmp_path / "second")
    run(recipe, "use", folder, model)
    with Project.open(folder, read_only=True) as project:
        assert project.settings.model == model.name
    assert "has a model" in run(recipe, "use", folder, model, code=1).stderr
    shutil.rmtree(model)  # the project has its own copy
    predicted = subprocess.run(
        [sys.executable, "-m", "cellbrook.cli.app", "project", "predict", folder, "0_img", "--quiet"],
        capture_output=True,
        text=True,
    )
    assert predicted.returncode == 0, predicted.stderr


@needs_bash
def test_a_wrong_step_shows_the_steps(run):
    done = run("annotate_here_train_there.sh", "teach", "a", "b", code=2)
    assert "annotate_here_train_there.sh pack my.project to_train/" in done.stderr
    assert "#" not in done.stderr
