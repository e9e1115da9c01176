"""``cellbrook segment``: names, exit codes, many images, hostile input."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import tifffile

import cellbrook
from cellbrook import batch, pipeline
from cellbrook.cli.app import main
from cellbrook.errors import OutputError
from cellbrook.io import read_labels
from cellbrook.networks.cards import write_card
from cellbrook.networks.store import resolve_model
from cellbrook.provenance import recipe_of
from cellbrook.testing.samples import sample_image


@pytest.fixture
def folder(tmp_path):
    """Three small images in a folder."""
    images = tmp_path / "plate"
    (images / "row B").mkdir(parents=True)
    for name, flip in (("a10.tif", 1), ("a2.tif", -1), ("row B/c.tif", 1)):
        tifffile.imwrite(images / name, sample_image(size=128)[::flip].astype(np.uint16))
    return images


def segment(*arguments):
    return main(["segment", *(str(a) for a in arguments)])


def test_files_appear_beside_the_image(folder, capsys):
    assert segment(folder / "a2.tif") == 0
    written = {p.name for p in folder.iterdir()} - {"a2.tif", "a10.tif", "row B"}
    assert written == {"a2_labels.tif", "a2_overlay.png", "a2_objects.csv", "a2_run.json"}
    assert "objects" in capsys.readouterr().out


def test_a_folder_is_mirrored_and_summed_up(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert segment(folder, "--out", out) == 0
    assert (out / "a2_labels.tif").exists()
    assert (out / "row B" / "c_labels.tif").exists()
    rows = list(csv.DictReader((out / "summary.csv").open()))
    assert [r["image"].rsplit("plate/")[-1] for r in rows] == ["a2.tif", "a10.tif", "row B/c.tif"], (
        "natural order"
    )
    objects = list(csv.DictReader((out / "all_objects.csv").open()))
    assert len(objects) == sum(int(r["objects"]) for r in rows) > 0


def test_the_tables_of_two_plates_in_one_folder(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert segment(folder / "a2.tif", folder / "a10.tif", "--out", out, "--quiet") == 0
    assert segment(folder / "row B", "--out", out, "--quiet") == 0
    rows = list(csv.DictReader((out / "summary.csv").open()))
    assert [r["image"].rsplit("/")[-1] for r in rows] == ["a2.tif", "a10.tif", "c.tif"]


def test_rows_stay_when_the_next_run_starts_in_another_folder(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert segment("plate/a2.tif", "plate/a10.tif", "--out", "out", "--quiet") == 0
    monkeypatch.chdir(folder)
    assert segment("row B", "a2.tif", "--out", "../out", "--quiet") == 0
    images = [folder / name for name in ("a2.tif", "a10.tif", "row B/c.tif")]
    for table in ("summary.csv", "all_objects.csv"):
        found = dict.fromkeys(r["image"] for r in csv.DictReader((folder.parent / "out" / table).open()))
        assert list(found) == [str(path) for path in images]


def test_one_image_again_takes_its_place_in_the_tables_that_are_there(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert segment(folder / "a2.tif", folder / "a10.tif", "--out", out, "--quiet") == 0
    assert segment(folder / "a2.tif", "--out", out, "--min-size", "100000", "--quiet") == 0
    rows = list(csv.DictReader((out / "summary.csv").open()))
    assert [int(r["objects"]) > 0 for r in rows] == [False, True]
    assert {r["image"] for r in csv.DictReader((out / "all_objects.csv").open())} == {rows[1]["image"]}
    before = (out / "summary.csv").read_bytes()
    (out / "a10_labels.tif").write_bytes(b"corrected")
    assert segment(folder / "a10.tif", "--out", out) == 1
    assert (out / "summary.csv").read_bytes() == before
    (folder / "summary.csv").write_text("Slice,Count\na2.tif,7\n")
    assert segment(folder / "a2.tif", "--quiet") == 0
    assert (folder / "summary.csv").read_text() == "Slice,Count\na2.tif,7\n"


def test_another_programs_table_is_refused_before_the_start(folder, capsys):
    (folder / "summary.csv").write_text("Slice,Count\na2.tif,7\n")
    assert segment(folder) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert not (folder / "a2_labels.tif").exists()


def test_tables_that_cannot_be_written_do_not_hide_the_rest(folder, capsys, monkeypatch):
    def fail(*_, **__):
        raise OutputError("summary.csv: the disk is full")

    monkeypatch.setattr(batch, "write_summaries", fail)
    assert segment(folder / "a2.tif", folder / "a10.tif", "--json") == 1
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)["images"]) == 2
    assert "the disk is full" in captured.err


def test_results_in_several_folders_have_no_summary(folder, tmp_path, capsys):
    assert segment(folder / "a2.tif", folder / "row B" / "c.tif") == 0
    assert "give --out" in capsys.readouterr().err
    assert not list(tmp_path.rglob("summary.csv"))


def test_results_are_never_taken_for_images(folder, capsys):
    assert segment(folder, "--quiet") == 0
    capsys.readouterr()
    assert segment(folder, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["images"]) == 3


def test_resume_skips_what_is_done_with_the_same_parameters(folder, capsys):
    assert segment(folder, "--quiet") == 0
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*_labels.tif")}
    (folder / "a2_overlay.png").unlink()
    capsys.readouterr()
    assert segment(folder, "--resume", "--json") == 0
    status = {i["image"].rsplit("/")[-1]: i["status"] for i in json.loads(capsys.readouterr().out)["images"]}
    assert status == {"a2.tif": "done", "a10.tif": "skipped", "c.tif": "skipped"}
    assert (folder / "a10_labels.tif").stat().st_mtime_ns == before[folder / "a10_labels.tif"]
    assert segment(folder, "--resume", "--json", "--min-size", "40") == 0
    assert {i["status"] for i in json.loads(capsys.readouterr().out)["images"]} == {"done"}


def test_resume_counts_what_the_table_has_and_names_labels_that_were_changed_since(folder, capsys):
    assert segment(folder, "--quiet") == 0
    labels = folder / "a2_labels.tif"
    tifffile.imwrite(labels, np.eye(128, dtype=np.uint16))
    os.utime(labels, (time.time() + 9,) * 2)
    capsys.readouterr()
    assert segment(folder, "--resume") == 0
    assert "a2_labels.tif was changed since its objects were measured" in capsys.readouterr().err
    assert main(["measure", str(labels), str(folder / "a2.tif"), "--overwrite", "--quiet"]) == 0
    os.utime(folder / "a2_objects.csv", (time.time() + 19,) * 2)
    assert segment(folder, "--resume") == 0
    told = capsys.readouterr()
    assert "a2.tif: done before, 1 objects" in told.out
    assert "was changed" not in told.err


def test_rows_of_corrected_labels_stay_when_a_rerun_leaves_them_alone(folder, capsys):
    assert segment(folder, "--quiet") == 0
    tables = [folder / "summary.csv", folder / "all_objects.csv"]
    before = [[r for r in csv.reader(t.open()) if "a2.tif" in r[0]] for t in tables]
    tifffile.imwrite(folder / "a2_labels.tif", np.ones((128, 128), np.uint16))
    (folder / "b.tif").write_bytes(b"no image")
    (folder / "b_labels.tif").write_bytes(b"of somebody")
    assert segment(folder, "--min-size", "40") == 1
    assert "a2_labels.tif was changed since" in capsys.readouterr().err
    assert [[r for r in csv.reader(t.open()) if "a2.tif" in r[0]] for t in tables] == before
    rows = {r["image"].rsplit("/")[-1]: r["status"] for r in csv.DictReader(tables[0].open())}
    assert rows == {"a2.tif": "done", "a10.tif": "done", "b.tif": "failed", "c.tif": "done"}


def test_rows_stay_when_options_do_not_fit_and_the_newest_failure_is_told(folder, capsys):
    (folder / "b.tif").write_bytes(b"no image")
    assert segment(folder, "--quiet") == 1
    tables = [folder / "summary.csv", folder / "all_objects.csv"]
    before = [[r for r in csv.reader(t.open()) if "b.tif" not in r[0]] for t in tables]
    shutil.copy(folder / "a2.tif", folder / "b.tif")
    assert segment(folder, "--channels", "7") == 1
    assert [[r for r in csv.reader(t.open()) if "b.tif" not in r[0]] for t in tables] == before
    (failed,) = (r for r in csv.DictReader(tables[0].open()) if "b.tif" in r["image"])
    assert "there is no channel 7" in failed["error"]


def test_lines_name_scenes_as_the_summary_does(tmp_path, capsys):
    with tifffile.TiffWriter(tmp_path / "m.tif") as tif:
        for side in (90, 128):
            tif.write(sample_image(size=side).astype(np.uint16), metadata=None)
    for resume, words in ((), " ("), (("--resume",), ": done before"):
        assert segment(tmp_path / "m.tif", "--scene", "all", "--out", tmp_path / "out", *resume) == 0
        names = [r["image"] for r in csv.DictReader((tmp_path / "out" / "summary.csv").open())]
        lines = capsys.readouterr().out.splitlines()[:2]
        assert [line.split(words)[0] for line in lines] == names


def test_the_tables_tell_the_names_of_scenes(tmp_path, capsys):
    path, out = tmp_path / "m.ome.tif", tmp_path / "out"
    with tifffile.TiffWriter(path, ome=True) as tif:
        for name in ("A/1", "A/2"):
            metadata = {"axes": "YX", "Name": name}
            tif.write(sample_image(size=128).astype(np.uint16), photometric="minisblack", metadata=metadata)
    assert segment(path, "--scene", "all", "--out", out) == 0
    (out / "all_objects.csv").unlink()  # measuring writes it, too
    for command in (
        ["measure", str(out), str(tmp_path)],
        ["segment", str(path), "--scene", "all", "--out", str(out)],
    ):
        assert main([*command, "--overwrite"]) == 0
        rows = list(csv.DictReader((out / "summary.csv").open()))
        assert [(r["image"], r["scene_name"]) for r in rows] == [
            (f"{path} scene 0", "A/1"),
            (f"{path} scene 1", "A/2"),
        ]
        objects = list(csv.DictReader((out / "all_objects.csv").open()))
        assert Counter(r["scene_name"] for r in objects) == {r["scene_name"]: int(r["objects"]) for r in rows}
    run = json.loads((out / "m_s1_run.json").read_text())
    assert (run["image"]["scene"], run["image"]["scene_name"]) == ("1", "A/2")


def test_a_scene_is_the_same_by_number_and_by_name(tmp_path, capsys):
    path = tmp_path / "m.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        for name in "AB":
            metadata = {"axes": "YX", "Name": name}
            tif.write(sample_image(size=96).astype(np.uint16), photometric="minisblack", metadata=metadata)
    assert segment(path, "--scene", "A") == 0
    assert segment(path, "--scene", "0", "--resume") == 0
    assert "done before" in capsys.readouterr().out
    assert segment(path, "--scene", "1") == 1
    assert "is of scene 0 of this file" in capsys.readouterr().err
    again = cellbrook.segment(path, scene="A", threads=1).provenance
    before = json.loads((tmp_path / "m_run.json").read_text())
    assert recipe_of(again) == recipe_of(before)


def test_one_bad_image_does_not_stop_the_rest(folder, capsys):
    (folder / "broken.tif").write_bytes(b"II*\0 this is no image")
    (folder / "empty.png").write_bytes(b"")
    whole = (folder / "a2.tif").read_bytes()
    (folder / "truncated.tif").write_bytes(whole[: len(whole) // 2])
    assert segment(folder, "--json") == 1
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["failed"] == 3
    assert sum(i["status"] == "done" for i in document["images"]) == 3
    assert "Traceback" not in captured.err
    lines = [line for line in captured.err.splitlines() if "error" in line]
    assert len(lines) == 3, "one line each"
    rows = {r["image"].rsplit("/")[-1]: r for r in csv.DictReader((folder / "summary.csv").open())}
    assert rows["broken.tif"]["status"] == "failed"
    assert rows["broken.tif"]["error"]


def test_a_run_with_a_model_of_a_relative_path_is_known_in_any_folder(folder, capsys, monkeypatch):
    shipped = resolve_model("compact")
    mine = folder.parent / "mine"
    mine.mkdir()
    for path in shipped.paths.values():
        shutil.copy(path, mine)
    write_card(mine / "card.toml", replace(shipped.card, name="mine"))
    monkeypatch.chdir(folder.parent)
    assert segment("plate/a2.tif", "--model", "mine", "--out", "first", "--quiet") == 0
    monkeypatch.chdir(folder)
    path = folder.parent / "first" / "a2_run.json"
    assert segment("--from-run", path, "--out", "second", "--quiet") == 0
    run = json.loads(path.read_text())
    run["parameters"]["model"] = "mine"  # as runs said before
    path.write_text(json.dumps(run))
    capsys.readouterr()
    again = ("a2.tif", "--model", "../mine", "--out", "../first", "--resume", "--json")
    assert segment(*again) == 0
    assert [i["status"] for i in json.loads(capsys.readouterr().out)["images"]] == ["skipped"]


def test_seg_of_a_time_series_of_stacks_is_refused_before_time_is_spent(folder, capsys, monkeypatch):
    stack = np.zeros((2, 3, 64, 64), np.uint16)
    tifffile.imwrite(folder / "s.tif", stack, imagej=True, metadata={"axes": "TZYX"})
    assert segment(folder / "s.tif", "--save", "seg", "--z", "max", "--quiet") == 0
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "run", None)
        assert segment(folder / "s.tif", "--save", "seg", "--overwrite") == 1
    assert "leave seg out of --save, or give --z" in capsys.readouterr().err


def test_from_run_repeats_a_run(folder, tmp_path, capsys):
    assert (
        segment(
            folder / "a2.tif", "--min-size", "60", "--cellprob-threshold", "0.5", "--out", tmp_path / "first"
        )
        == 0
    )
    assert segment("--from-run", tmp_path / "first" / "a2_run.json", "--out", tmp_path / "second") == 0
    labels = [read_labels(tmp_path / where / "a2_labels.tif")[0] for where in ("first", "second")]
    assert np.array_equal(*labels)
    runs = [json.loads((tmp_path / where / "a2_run.json").read_text()) for where in ("first", "second")]
    assert runs[0]["parameters"] == runs[1]["parameters"]
    assert "the labels are those of the run that was repeated, to the bit" in capsys.readouterr().err
    runs[0] |= {"labels_sha256": "0" * 64, "cellbrook": "0.0.1"}
    (tmp_path / "other_run.json").write_text(json.dumps(runs[0]))
    assert segment("--from-run", tmp_path / "other_run.json", "--out", tmp_path / "third") == 0
    told = capsys.readouterr().err
    assert "a2.tif: other labels than in the run that is repeated" in told
    assert "then by cellbrook 0.0.1 in " in told


def test_results_of_different_versions_are_told_apart(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert segment(folder / "a2.tif", folder / "a10.tif", "--out", out) == 0
    assert "in different ways" not in capsys.readouterr().err
    run = json.loads((out / "a2_run.json").read_text())
    run["cellbrook"] = "0.0.1"
    (out / "a2_run.json").write_text(json.dumps(run))
    assert segment(folder / "a2.tif", folder / "a10.tif", "--out", out, "--resume") == 0
    told = capsys.readouterr().err
    assert "the results were computed in different ways" in told
    assert "1 by cellbrook 0.0.1 in " in told
    assert "give --precision fp32" in told


def test_from_run_refuses_another_model(folder, tmp_path, capsys):
    assert segment(folder / "a2.tif", "--quiet") == 0
    path = folder / "a2_run.json"
    run = json.loads(path.read_text())
    run["model"]["sha256"] = "f" * 64
    path.write_text(json.dumps(run))
    assert segment("--from-run", path) == 1
    assert "ffff" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "nothing to segment"),
        (["missing.tif"], 1, "missing.tif"),
        (["{image}", "--model", "cyto9"], 1, "cyto"),
        (["{image}", "--diameter", "big"], 2, "diameter"),
        (["{image}", "--save", "jpg"], 2, "jpg"),
        (["{image}", "--axes", "QQ"], 2, "axes"),
        (["{image}", "--channels", "7"], 1, "channel"),
        (["{image}", "--threads", "0"], 2, "threads"),
        (["{image}", "--no-such-flag"], 2, "no-such-flag"),
        (["{image}", "--engine", "tensorflow"], 2, "engine"),
    ],
)
def test_mistakes_get_one_clear_line(folder, capsys, arguments, code, words):
    image = str(folder / "a2.tif")
    assert segment(*(a.format(image=image) for a in arguments)) == code
    captured = capsys.readouterr()
    assert words in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    "wrong",
    [
        "--min-score=40",
        "--diameter=12mm",
        "--percentile-low=99.5",
        "--pixel-size=0",
        "--smooth-radius=-1",
        "--tile-norm-size=-5",
        "--tile-overlap=-1",
        "--z=first",
        "--axes=CYY",
    ],
)
def test_a_value_that_makes_no_sense_is_refused_before_the_first_image(folder, tmp_path, capsys, wrong):
    assert segment(folder, "--out", tmp_path / "out", wrong) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_two_inputs_that_would_write_one_file_are_refused_before_the_start(folder, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(folder / "a2.tif", other)
    assert segment(folder / "a2.tif", other / "a2.tif", "--out", tmp_path / "out") == 1
    assert "both write" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_corrected_labels_survive_a_second_run(folder, capsys):
    assert segment(folder / "a2.tif", "--quiet") == 0
    labels = folder / "a2_labels.tif"
    tifffile.imwrite(labels, np.ones((128, 128), np.uint16))
    corrected = labels.read_bytes()
    assert segment(folder / "a2.tif") == 1
    assert "--overwrite" in capsys.readouterr().err
    assert labels.read_bytes() == corrected
    assert segment(folder / "a2.tif", "--overwrite", "--quiet") == 0
    assert labels.read_bytes() != corrected


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(folder, capsys):
    folder.chmod(0o500)
    assert segment(folder / "a2.tif") == 1
    assert "cannot be written" in capsys.readouterr().err


def test_ctrl_c_leaves_whole_files_only(tmp_path):
    images = tmp_path / "many"
    images.mkdir()
    for n in range(40):
        tifffile.imwrite(images / f"i{n}.tif", sample_image(size=256).astype(np.uint16))
    command = [sys.executable, "-m", "cellbrook.cli.app", "segment", str(images), "--save", "flows,rois"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background jobs ignore Ctrl-C, and so would their children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not list(images.glob("*_run.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    done = sorted(images.glob("*_run.json"))
    assert 0 < len(done) < 40
    for path in images.glob("*_labels.tif"):
        read_labels(path)
    for path in done:
        for entry in json.loads(path.read_text())["files"].values():
            assert (images / entry["name"]).exists()
    known = {"_labels.tif", "_overlay.png", "_objects.csv", "_run.json", "_flows.tif", "_rois.zip"}
    strays = [
        p.name for p in images.iterdir() if not p.name.endswith(tuple(known)) and not p.name[1:-4].isdigit()
    ]
    assert set(strays) <= {"summary.csv", "all_objects.csv"}


@pytest.mark.parametrize("share", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3"])
def test_a_share_that_is_none_is_a_usage_error(folder, share, capsys):
    assert segment(folder, f"--share={share}") == 2
    assert "I from 1 to N" in capsys.readouterr().err


def test_a_watched_folder_is_gone_on_with_until_ctrl_c(folder, tmp_path, monkeypatch, capsys):
    """Images that come, one that is damaged, and one that changes; the tables know of each before the end."""
    image = (folder / "a2.tif").read_bytes()
    shutil.rmtree(folder / "row B")
    (folder / "a10.tif").unlink()
    later = [
        lambda: None,
        lambda: (folder / "b.tif").write_bytes(image),
        lambda: None,
        lambda: (folder / "broken.tif").write_bytes(image[:300]),
        lambda: None,
        lambda: tifffile.imwrite(folder / "b.tif", np.zeros((128, 128), np.uint16)),
    ]
    told = []

    def wait(seconds):
        summary = out / "summary.csv"
        told.append(len(list(csv.DictReader(summary.open()))) if summary.exists() else 0)
        if not later and told[-3:] == [3, 3, 3]:
            raise KeyboardInterrupt
        if later:
            later.pop(0)()

    out = tmp_path / "out"
    monkeypatch.setattr(batch.arriving, "__kwdefaults__", {"every_s": 2.0, "wait": wait})
    assert segment(folder, "--out", out, "--watch", "--json") == 1, "one is damaged"
    document, said = capsys.readouterr()
    names = [i["image"].rsplit("/")[-1] for i in json.loads(document)["images"]]
    assert names == ["a2.tif", "b.tif", "broken.tif", "b.tif"]
    assert "waiting for images in" in said
    assert told == sorted(told)
    assert {1, 2, 3} <= set(told), "the tables are there while it waits"
    rows = {r["image"].rsplit("/")[-1]: r for r in csv.DictReader((out / "summary.csv").open())}
    assert {k: (r["status"], r["objects"]) for k, r in rows.items() if k != "a2.tif"} == {
        "b.tif": ("done", "0"), "broken.tif": ("failed", ""),
    }  # fmt: skip

    later[:], told[:] = [lambda: None] * 2, []
    assert segment(folder, "--out", out, "--watch", "--quiet", "--json") == 1
    status = [i["status"] for i in json.loads(capsys.readouterr().out)["images"]]
    assert status == ["skipped", "skipped", "failed"], "what is done is not done again"


def test_an_empty_folder_can_be_watched_and_one_image_cannot(tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()

    def wait(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(batch.arriving, "__kwdefaults__", {"every_s": 2.0, "wait": wait})
    assert segment(tmp_path / "empty", "--watch") == 0
    assert "waiting for images" in capsys.readouterr().err
    (tmp_path / "one.tif").write_bytes(b"")
    for wrong in ([tmp_path / "one.tif"], [tmp_path / "empty", "--share", "1/2"]):
        assert segment(*wrong, "--watch") == 2
        assert "--watch looks into folders" in capsys.readouterr().err
    assert segment(tmp_path / "none", "--watch") == 2
