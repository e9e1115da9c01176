"""Tracks of films: read from files of Cellbrook and of the Cell Tracking Challenge, and compared."""

from __future__ import annotations

import json
import shutil
import zipfile

import numpy as np
import pytest
import tifffile

from cellbrook.cli.app import main
from cellbrook.core.objects import ObjectTable
from cellbrook.errors import ImageError, UsageError
from cellbrook.evaluation.tracks import evaluate_tracks, read_tracks
from cellbrook.export.ctc import write_ctc
from cellbrook.export.table import objects_csv
from cellbrook.io import write_labels
from cellbrook.metrics import Tracks, score_tracks


@pytest.fixture
def film():
    """A cell that divides, and one that is missed in a frame."""
    labels = np.zeros((4, 30, 40), np.uint32)
    for t in range(4):
        if t < 2:
            labels[t, 5:11, 5 + t : 11 + t] = 3
        else:
            labels[t, 2:6, 6:10], labels[t, 10:14, 6:10] = 7, 8
        if t != 2:
            labels[t, 20:26, 20 + t : 26 + t] = 5
    table = ObjectTable({"label": np.array([3, 5, 7, 8]), "parent": np.array([0, 0, 3, 3])})
    return labels, table


@pytest.fixture
def files(film, tmp_path):
    """The film as a label file with its table, as a zip, as a folder, and as the challenge's truth."""
    labels, table = film
    ours = tmp_path / "film_labels.tif"
    write_labels(ours, labels, axes="TYX")
    objects_csv(tmp_path / "film_objects.csv", table)
    packed = write_ctc(tmp_path / "film_ctc.zip", labels, table)
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path)
    truth = tmp_path / "01_GT" / "TRA"
    truth.mkdir(parents=True)
    for path in (tmp_path / "01_RES").iterdir():
        name = "man_track.txt" if path.suffix == ".txt" else path.name.replace("mask", "man_track")
        shutil.copy(path, truth / name)
    return {"ours": ours, "zip": packed, "folder": tmp_path / "01_RES", "truth": tmp_path / "01_GT"}


@pytest.mark.parametrize("kind", ["ours", "zip", "folder", "truth"])
def test_the_same_film_is_the_same_in_every_form(files, kind):
    found = read_tracks(files[kind])
    assert list(found.lines) == [(1, 0, 1, 0), (2, 0, 1, 0), (3, 2, 3, 1), (4, 2, 3, 1), (5, 3, 3, 2)]
    scores = evaluate_tracks(files["truth"], files[kind])
    assert (scores.det, scores.seg, scores.tra, scores.lnk) == (1, 1, 1, 1)
    assert (scores.n_true, scores.true_links) == (9, 7)


def test_each_kind_of_error_costs_what_it_takes_to_mend_it(film):
    labels, lines = np.zeros((3, 8, 30), np.uint32), [(1, 0, 2, 0), (2, 0, 2, 0)]
    labels[:, 1:7, 1:9], labels[:, 1:7, 11:19] = 1, 2
    true = Tracks(labels, lines)
    whole = 10 * 6 + 1.5 * 4

    def scored(change, lines=lines):
        pred = labels.copy()
        change(pred)
        return score_tracks(true, Tracks(pred, lines))

    missed = scored(lambda p: p[2].__setitem__(p[2] == 2, 0), [(1, 0, 2, 0), (2, 0, 1, 0)])
    assert (missed.missed, missed.missing_links, missed.tra) == (1, 1, 1 - (10 + 1.5) / whole)
    assert missed.det == 1 - 10 / 60
    invented = scored(lambda p: p[0, 1:7].__setitem__(np.s_[:, 21:25], 3), [*lines, (3, 0, 0, 0)])
    assert (invented.invented, invented.tra, invented.lnk) == (1, 1 - 1 / whole, 1)
    joined = scored(lambda p: p[2].__setitem__(p[2] == 2, 1), [(1, 0, 2, 0), (2, 0, 1, 0)])
    assert (joined.joined, joined.missing_links, joined.tra) == (1, 2, 1 - (5 + 3) / whole)
    kind = scored(lambda p: p[2].__setitem__(p[2] == 2, 3), [(1, 0, 2, 0), (2, 0, 1, 0), (3, 2, 2, 2)])
    assert (kind.changed_links, kind.tra, kind.lnk) == (1, 1 - 1 / whole, 1 - 1 / 6)
    swapped = scored(lambda p: np.copyto(p[2], 3 - p[2], where=p[2] > 0))
    assert (swapped.missing_links, swapped.wrong_links, swapped.tra) == (2, 2, 1 - 5 / whole)


def test_empty_films_agree_and_one_sided_ones_do_not(film):
    nothing, one = Tracks(np.zeros((2, 5, 5), np.uint32), []), np.zeros((2, 5, 5), np.uint32)
    one[0, 1:3, 1:3] = 1
    one = Tracks(one, [(1, 0, 0, 0)])
    both, invented, missed = (
        score_tracks(*pair) for pair in ((nothing, nothing), (nothing, one), (one, nothing))
    )
    assert (both.det, both.seg, both.tra, both.lnk) == (1, 1, 1, 1)
    assert (invented.det, invented.seg, invented.tra) == (0, 0, 0)
    assert (missed.det, missed.seg, missed.tra, missed.missed) == (0, 0, 0, 1)


def test_what_is_no_film_is_said(files, tmp_path, film):
    plane = tmp_path / "plane_labels.tif"
    write_labels(plane, film[0][0], axes="YX")
    with pytest.raises(UsageError, match="holds no film"):
        read_tracks(plane)
    with pytest.raises(UsageError, match="no such file"):
        read_tracks(tmp_path / "none.tif")
    with pytest.raises(UsageError, match="of one size"):
        score_tracks(read_tracks(files["ours"]), Tracks(film[0][:2], []))
    (tmp_path / "empty.zip").write_bytes(b"PK")
    with pytest.raises(ImageError, match="cannot read"):
        read_tracks(tmp_path / "empty.zip")
    lines = files["folder"] / "res_track.txt"
    lines.write_text("1 0 3 0\n")
    with pytest.raises(UsageError, match="track 1 is said to be in frame 2"):
        evaluate_tracks(files["truth"], files["folder"])
    lines.write_text("1 0 1 0\n3 1 3 1\n")
    with pytest.raises(UsageError, match="before its parent"):
        evaluate_tracks(files["truth"], files["folder"])
    lines.write_text("1 0 1\n")
    with pytest.raises(ImageError, match="four numbers"):
        read_tracks(files["folder"])
    lines.write_text("1 0 1 0\n")
    (files["folder"] / "mask001.tif").rename(files["folder"] / "other.tif")
    with pytest.raises(ImageError, match=r"a frame is missing before mask002\.tif"):
        read_tracks(files["folder"])
    tifffile.imwrite(files["folder"] / "mask001.tif", np.zeros((30, 40), np.float32))
    with pytest.raises(ImageError, match="no label image"):
        read_tracks(files["folder"])
    for path in files["folder"].glob("mask*"):
        path.unlink()
    with pytest.raises(UsageError, match="holds no tracks"):
        read_tracks(files["folder"])


def test_the_command_says_how_well_tracks_agree(files, capsys):
    assert main(["evaluate", str(files["truth"]), str(files["zip"]), "--tracks"]) == 0
    told = capsys.readouterr().out
    assert "TRA                   1.000" in told
    assert "0 of 7 missing" in told
    assert main(["evaluate", str(files["truth"]), str(files["ours"]), "--tracks", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tra"] == 1
    assert main(["evaluate", str(files["truth"]), str(files["ours"]), "--tracks", "--html", "a.html"]) == 2
    assert "--tracks takes no" in capsys.readouterr().err


def test_a_frame_that_is_cut_off_is_named(files):
    frame = files["folder"] / "mask001.tif"
    frame.write_bytes(frame.read_bytes()[:60])
    with pytest.raises(ImageError, match=r"mask001\.tif: cannot be read"):
        read_tracks(files["folder"])
