"""Objects through time."""

import io
import json
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from cellbrook import export, pipeline
from cellbrook.cli.app import main
from cellbrook.core.params import SegmentParams
from cellbrook.core.report import Report
from cellbrook.errors import UsageError
from cellbrook.export.ctc import write_ctc
from cellbrook.io import open_image, read_labels
from cellbrook.measure import measure
from cellbrook.testing.fakes import BLOB_SPEC, BlobEngine
from cellbrook.tracking import link, relabelled

RADIUS = 6


def film(places, shape=(90, 110), radius=RADIUS):
    """Labels of discs, numbered anew in each frame; `places` has a list of (cell, y, x) or (cell, y, x, radius) a frame."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    labels, cell = np.zeros((len(places), *shape), np.uint32), {}
    for t, frame in enumerate(places):
        for name, cy, cx, *r in frame:
            number = len(cell) + 1
            labels[t][(y - cy) ** 2 + (x - cx) ** 2 < (r[0] if r else radius) ** 2] = number
            cell[number] = name
    return labels, cell


def followed(places, **keywords):
    """Return, for each name of a cell, the tracks that it has in its frames; and the parent of each track."""
    labels, cell = film(places, **keywords)
    table = measure(labels, axes="TYX")
    links = link(table, labels, threads=1)
    tracks = {}
    for label, track in zip(table["label"].tolist(), links.track.tolist(), strict=True):
        tracks.setdefault(cell[label], []).append(track)
    assert np.array_equal(relabelled(labels, table, links) > 0, labels > 0)
    return tracks, dict(zip(links.track.tolist(), links.parent.tolist(), strict=True))


def test_cells_that_move_keep_their_number():
    tracks, parents = followed([[("a", 20 + 5 * t, 20), ("b", 60, 80 - 6 * t)] for t in range(6)])
    assert tracks == {"a": [1] * 6, "b": [2] * 6}
    assert set(parents.values()) == {0}


def test_neighbours_that_move_past_each_other_are_not_exchanged():
    tracks, _ = followed([[("a", 30, 20 + 6 * t), ("b", 44, 80 - 6 * t)] for t in range(10)])
    assert all(len(set(t)) == 1 for t in tracks.values())
    assert tracks["a"] != tracks["b"]


def test_a_drift_of_the_whole_field_is_seen_through():
    rng = np.random.default_rng(0)
    places = [(k, *rng.uniform((0, 0), (200, 200))) for k in range(60)]
    apart = [
        p for i, p in enumerate(places)
        if all(np.hypot(p[1] - q[1], p[2] - q[2]) > 14 for q in places[:i])
    ]  # fmt: skip
    frames = [[(k, y + 18 * t, x - 13 * t + 60) for k, y, x in apart] for t in range(4)]
    tracks, _ = followed(frames, shape=(270, 270))
    assert len(apart) > 25
    assert all(len(set(t)) == 1 for t in tracks.values())
    assert len({t[0] for t in tracks.values()}) == len(apart)


def test_a_cell_that_is_missed_twice_is_the_same_and_after_that_another():
    there = [("a", 30, 30)]
    tracks, _ = followed([there, [], [], there, there])
    assert tracks["a"] == [1, 1, 1]
    tracks, parents = followed([there, [], [], [], there])
    assert tracks["a"] == [1, 2]
    assert parents == {1: 0, 2: 0}


def test_a_division_ends_the_mother_and_begins_two_daughters():
    before = [("mother", 40, 50), ("other", 70, 20)]
    after = [[("one", 40, 50 - d, 5), ("two", 40, 50 + d, 5), ("other", 70, 20)] for d in (5, 7, 9)]
    tracks, parents = followed([before, before, *after])
    mother, other = tracks["mother"][0], tracks["other"][0]
    assert tracks["mother"] == [mother] * 2
    assert tracks["other"] == [other] * 5
    (one,), (two,) = set(tracks["one"]), set(tracks["two"])
    assert len({one, two, mother, other}) == 4
    assert (parents[one], parents[two], parents[mother], parents[other]) == (mother, mother, 0, 0)


def test_a_cell_that_comes_in_beside_another_is_no_daughter():
    """Two cells as large as the one before, which stayed where it was: one came."""
    still = [("a", 40, 50)]
    tracks, parents = followed([still, still, [("a", 40, 50), ("b", 40, 64)]])
    assert tracks == {"a": [1, 1, 1], "b": [2]}
    assert parents == {1: 0, 2: 0}


def test_films_without_cells_and_frames_without_cells():
    assert followed([[], [], []]) == ({}, {})
    tracks, _ = followed([[], [("a", 30, 30)], [("a", 31, 30)]])
    assert tracks == {"a": [1, 1]}


@pytest.mark.parametrize("seed", range(6))
def test_numbers_run_from_one_and_occur_once_a_frame(seed):
    rng = np.random.default_rng(seed)
    places = [[(None, *rng.uniform(8, 82, 2)) for _ in range(rng.integers(0, 9))] for _ in range(7)]
    labels, _ = film(places)
    table = measure(labels, axes="TYX")
    links = link(table, labels, threads=1)
    assert sorted(set(links.track.tolist())) == list(range(1, len(set(links.track.tolist())) + 1))
    pairs = list(zip(table["t"].tolist(), links.track.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    for track in set(links.track.tolist()):
        parent = links.parent[links.track == track]
        assert len(set(parent.tolist())) == 1
        if parent[0]:
            assert table["t"][links.track == parent[0]].max() < table["t"][links.track == track].min()


def run(image, axes, **keywords):
    params = SegmentParams.from_keywords(
        **{"threads": 1, "track": True, "flow_threshold": 0, "min_size": 0, **keywords}
    )
    model = SimpleNamespace(name="blobs", sha256="0" * 64, card=SimpleNamespace(spec=BLOB_SPEC), paths={})
    source = open_image(image, axes=axes)
    plan = pipeline.resolve(source, model, params)
    report = Report()
    return pipeline.run(source, plan, model, BlobEngine(), name="x", report=report), report


def test_labels_table_and_files_carry_the_tracks(tmp_path):
    places = [[("a", 20 + 5 * t, 20), ("b", 60, 80 - 6 * t)][: 1 + (t != 1)] for t in range(4)]
    image = (film(places)[0] > 0) * np.uint16(1000)
    data, report = run(image, "TYX")
    assert report.tracks == 2
    assert data.objects["label"].tolist() == [1, 2, 1, 1, 2, 1, 2]
    assert data.objects["t"].tolist() == [0, 0, 1, 2, 2, 3, 3]
    assert set(data.objects["parent"].tolist()) == {0}
    files = export.save(data, tmp_path, [k for k in export.KINDS if k != "run"])
    for kind in ("labels", "zarr"):
        labels, axes = read_labels(files[kind])
        assert axes == "TYX"
        assert np.array_equal(labels, data.labels)
        assert set(np.unique(labels[1])) == {0, 1}
    header, *rows = files["objects"].read_text("utf-8").splitlines()
    assert header.startswith("label,t,parent,")
    assert len(rows) == 7


def test_volumes_are_followed_too():
    z, y, x = np.ogrid[:20, :60, :60]
    image = np.zeros((3, 20, 60, 60), np.uint16)
    for t in range(3):
        for cy, cx in ((15 + 4 * t, 15), (40, 45 - 4 * t)):
            image[t][(z - 10) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < 49] = 1000
    data, report = run(image, "TZYX", volume=True)
    assert report.tracks == 2
    assert data.objects["label"].tolist() == [1, 2] * 3
    assert "volume_px" in data.objects


@pytest.mark.parametrize(
    ("axes", "words"),
    [("ZYX", "--track needs a time series"), ("YX", "--track needs"), ("TZYX", "add --volume, or --z max")],
)
def test_what_cannot_be_followed_is_said(axes, words):
    with pytest.raises(UsageError, match=words):
        run(np.zeros((3, 4, 20, 24)[4 - len(axes) :], np.uint8), axes)


def test_the_command_follows_cells_through_a_file(tmp_path, capsys):
    rng = np.random.default_rng(0)
    places = [
        [(k, 30 + 40 * (k // 4) + 3 * t, 30 + 40 * (k % 4) - 2 * t) for k in range(12)] for t in range(3)
    ]
    labels, _ = film(places, shape=(160, 200), radius=10)
    image = rng.poisson(20 + 180 * (labels > 0)).astype(np.uint16)
    path = tmp_path / "film ä.tif"
    tifffile.imwrite(path, image, imagej=True, metadata={"axes": "TYX"})
    assert main(["segment", str(path), "--track", "--out", str(tmp_path / "out"), "--threads", "1"]) == 0
    said = capsys.readouterr().out
    assert "followed through T" in said
    assert "36 objects in 12 tracks" in said
    found, axes = read_labels(tmp_path / "out" / "film ä_labels.tif")
    assert axes == "TYX"
    assert [len(np.unique(frame)) - 1 for frame in found] == [12] * 3
    assert found.max() == 12
    told = json.loads((tmp_path / "out" / "film ä_run.json").read_text("utf-8"))
    assert told["result"]["tracks"] == 12
    file = str(tmp_path / "out" / "film ä_labels.tif")
    assert main(["measure", file, str(path), "--out", str(tmp_path / "m")]) == 0
    header = (tmp_path / "m" / "film ä_objects.csv").read_text("utf-8").splitlines()[0]
    assert header.startswith("label,t,"), "what pixels do not tell is kept"
    assert ",parent," in header or header.endswith(",parent")
    again = main(
        ["segment", "--from-run", str(tmp_path / "out" / "film ä_run.json"), "--out", str(tmp_path / "b")]
    )
    assert again == 0


def test_a_zip_for_the_cell_tracking_challenge_keeps_its_rules(tmp_path):
    """Each track is there in every frame from its first to its last, and begins after its parent ended."""
    one = [("a", 40, 50)]
    after = [[("one", 40, 50 - d, 5), ("two", 40, 50 + d, 5)] for d in (5, 7, 9, 11)]
    after[2] = after[2][:1]  # the second daughter is missed once
    image = (film([one, one, *after])[0] > 0) * np.uint16(1000)
    data, _ = run(image, "TYX")
    path = export.save(data, tmp_path, "ctc")["ctc"]
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        masks = [tifffile.imread(io.BytesIO(archive.read(n))) for n in names[:-1]]
        text = archive.read("01_RES/res_track.txt").decode()
    assert names == [*(f"01_RES/mask{t:03}.tif" for t in range(6)), "01_RES/res_track.txt"]
    lines = [tuple(map(int, line.split())) for line in text.splitlines()]
    assert lines[0] == (1, 0, 1, 0)
    assert sorted(line[1:] for line in lines[1:3]) == [(2, 3, 1), (2, 5, 1)]
    missed = next(line[0] for line in lines if line[2] == 3)
    assert lines[3] == (4, 5, 5, missed)
    for number, begin, end, parent in lines:
        assert [t for t, mask in enumerate(masks) if (mask == number).any()] == list(range(begin, end + 1))
        if parent:
            assert lines[parent - 1][2] < begin
    assert all(mask.dtype == np.uint16 for mask in masks)
    assert np.array_equal(np.stack(masks) > 0, data.labels > 0)
    again = export.save(data, tmp_path, "ctc", stem="again")["ctc"]
    assert again.read_bytes() == path.read_bytes()


def test_only_films_have_tracks_to_save(tmp_path, capsys):
    with pytest.raises(UsageError, match="axes YX"):
        write_ctc(tmp_path / "a.zip", np.ones((4, 4), int), axes="YX")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((30, 32), np.uint8))
    assert main(["segment", str(tmp_path / "a.tif"), "--save", "ctc", "--threads", "1"]) == 1
    assert "leave ctc out" in capsys.readouterr().err
    assert not (tmp_path / "a_labels.tif").exists()
