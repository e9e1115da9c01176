"""Segmenting through the server: what the command gives, window first, never over a person's work."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

import cellbrook
from cellbrook.measure.classify import features_of, fit_classifier
from cellbrook.networks.cards import CARD_NAME, ModelFileRef, write_card
from cellbrook.networks.export import file_entry
from cellbrook.networks.store import resolve_model
from cellbrook.project.ops import Paint
from cellbrook.project.project import Project
from cellbrook.server import tables
from cellbrook.training import synthetic

from .conftest import blobs


def same_up_to_names(a, b):
    """Whether two label images hold the same objects."""
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


@pytest.fixture(scope="module")
def expected():
    """What `cellbrook.segment` finds."""
    return {s: cellbrook.segment(blobs(seed=s), threads=1) for s in (0, 1)}


def test_the_labels_are_those_of_the_command_and_one_undo_takes_them_back(page, expected):
    job = page.job("segment", page.image, window=[0, 0, 0, 120, 150])
    assert job["state"] == "done", job
    assert job["result"]["objects"] == len(expected[0].objects)
    assert same_up_to_names(page.labels(), expected[0].labels)
    patches = [m for m in page.waiting if m["type"] == "patch"]
    assert len(patches) == 3  # the window, then, together, its end and the whole
    assert all(o["y0"] < 250 for o in patches[0]["objects"])
    page.waiting.clear()
    page.send(type="undo", image=page.image)
    page.until("patch")
    assert not page.labels().any()
    page.send(type="undo", image=page.image)
    assert page.until("notice")["message"] == "nothing to undo"


def test_window_alone_touches_nothing_else(page):
    job = page.job("segment", page.image, window=[0, 0, 0, 120, 150], only=True)
    assert job["state"] == "done", job
    labels = page.labels()
    assert labels[:110, :140].any()
    assert not labels[240:, 280:].any()


@pytest.mark.parametrize("share", ["all", "nearly all"])
def test_of_a_stack_the_plane_in_sight_alone_is_segmented(serve, tmp_path, share):
    tifffile.imwrite(
        tmp_path / "s.tif", np.stack([blobs(seed=s) for s in (0, 1)]), imagej=True, metadata={"axes": "ZYX"}
    )
    with Project.create(tmp_path / "s.project", images=[tmp_path / "s.tif"]) as stack:
        page = serve(stack).page().connect()
        page.open(stack.images()[0].id)
        window = [1, 0, 0, 300, 420] if share == "all" else [1, 0, 0, 250, 400]
        job = page.job("segment", page.image, window=window, only=True)
        assert job["state"] == "done", job
        first, second = stack.labels(page.image).read_all()
        assert not first.any()
        assert second.any()


def test_a_round_that_was_no_better_segments_once_it_is_chosen(page, project, expected):
    kept = project.folder / "models" / "own.1" / "not-active"
    shipped = resolve_model("compact")
    kept.mkdir(parents=True)
    files = {}
    for kind, path in shipped.paths.items():
        shutil.copy(path, kept / path.name)
        files[kind] = ModelFileRef(**file_entry(kept / path.name))
    write_card(kept / CARD_NAME, dataclasses.replace(shipped.card, name="own.1", files=files))
    project.add_round({"model": "own.1", "start": "compact", "better": False})
    page.send(type="set", what="model", value="own.1")
    told = page.until("project")["project"]
    assert [m["name"] for m in told["models"] if m["active"]] == ["own.1"]
    job = page.job("segment", page.image)
    assert job["state"] == "done", job
    assert same_up_to_names(page.labels(), expected[0].labels)


def test_locked_and_drawn_objects_survive_a_run(page, expected):
    ys, xs = np.nonzero(expected[0].labels == 1)
    y, x = int(ys.mean()), int(xs.mean())
    label = page.next_id
    page.disc(label, y, x, 5)
    drawn = page.labels() == label
    assert page.job("segment", page.image)["state"] == "done"
    labels = page.labels()
    np.testing.assert_array_equal(labels == label, drawn)
    assert len(np.unique(labels)) > 5
    assert page.json("/api/project")["images"][0]["state"] == "corrected"


def test_thresholds_again_use_the_cached_flows(page, expected):
    refused = page.job("rethreshold", page.image, cellprob_threshold=0.0)
    assert refused["state"] == "failed"
    assert "segment it first" in refused["error"]
    page.job("segment", page.image)
    before = page.labels()
    assert page.job("rethreshold", page.image, cellprob_threshold=0.0)["state"] == "done"
    iou = ((before > 0) & (page.labels() > 0)).sum() / ((before > 0) | (page.labels() > 0)).sum()
    assert iou > 0.99  # float16 flows
    job = page.job("rethreshold", page.image, min_size=100_000, window=[0, 0, 0, 120, 150])
    assert job["state"] == "done"
    assert not page.labels().any()
    limits = page.json(f"/api/images/{page.image}")["limits"]
    assert (limits["min_size"], limits["flow_threshold"], limits["exclude_border"]) == (100_000, 0, False)
    page.send(type="undo", image=page.image)
    page.until("patch")
    assert page.labels().any()
    assert (
        page.json(f"/api/images/{page.image}")["limits"]["min_size"] != 100_000
    )  # of the labels that are shown
    field = np.frombuffer(page.get(f"/api/images/{page.image}/field/cellprob/0/0/0"), "<f2").reshape(512, 512)
    assert field[:300, :420][before > 0].mean() > 1
    flows = np.frombuffer(page.get(f"/api/images/{page.image}/field/flows/0/0/0"), "<f2").reshape(2, 512, 512)
    assert np.abs(flows).max() > 0.5


def test_pages_are_told_whose_class_was_given_as_those_stay_whatever_the_thresholds(page):
    page.job("segment", page.image)
    columns = page.json(f"/api/images/{page.image}/objects")
    assert not any(columns["class_given"])
    given = columns["id"][3]
    page.rev = page.json(f"/api/images/{page.image}")["rev"]
    assert page.edit("set_class", ids=[given], value=2)["type"] == "ack"
    columns = page.json(f"/api/images/{page.image}/objects")
    assert [i for i, yes in zip(columns["id"], columns["class_given"], strict=True) if yes] == [given]
    assert page.job("rethreshold", page.image, min_size=100_000)["state"] == "done"
    assert np.unique(page.labels()).tolist() == [0, given]


def test_a_least_score_is_one_of_the_thresholds(page, project, expected):
    page.job("segment", page.image)
    before = {r.id: r.score for r in project.labels(page.image).objects()}
    page.job("rethreshold", page.image)
    again = {r.id: r.score for r in project.labels(page.image).objects()}
    assert again == pytest.approx(before, abs=0.02)  # on the same scale, of flows in half precision
    limit = float(np.median(list(again.values())))
    job = page.job("rethreshold", page.image, min_score=limit)
    left = {r.id: r.score for r in project.labels(page.image).objects()}
    assert job["result"]["objects"] == len(left)
    assert left == {i: s for i, s in again.items() if s >= limit}
    assert 0 < len(left) < len(again)
    assert page.json(f"/api/images/{page.image}")["limits"]["min_score"] == limit
    page.until("image", timeout=20)
    while len(ghosts := [g for g in project_ghosts(page) if g["reason"] == "score"]) < len(again) - len(left):
        page.until("image", timeout=20)
    assert all(g["score"] < limit for g in ghosts)
    assert "min_score is a number" in page.job("rethreshold", page.image, min_score=7)["error"]
    page.job("rethreshold", page.image)
    assert len(project.labels(page.image).objects()) == len(again)
    least = page.json(f"/api/images/{page.image}")["limits"]["min_score"] and 0.4
    assert page.json(f"/api/images/{page.image}")["limits"]["min_score"] == pytest.approx(least)


def test_limits_are_suggested_from_what_was_corrected(page, project):
    refused = page.job("limits", page.image)
    assert refused["state"] == "failed"
    assert "3 of each are needed" in refused["error"] or "segment it first" in refused["error"]
    assert page.job("segment", page.image, min_score=0, min_size=0)["state"] == "done"
    page.rev = page.json(f"/api/images/{page.image}")["rev"]
    few = page.job("limits", page.image)
    assert "has 0 and 0" in few["error"]
    rows = sorted(project.labels(page.image).objects(), key=lambda row: row.area)
    assert len(rows) >= 6
    small, large = [row.id for row in rows[:3]], [row.id for row in rows[-3:]]
    assert page.edit("delete", ids=small)["type"] == "ack"
    assert page.edit("lock", ids=large, value=1)["type"] == "ack"
    before = page.labels()
    job = page.job("limits", page.image, min_score=0, min_size=0)
    assert job["state"] == "done", job
    advice = job["result"]
    assert (advice["wanted"], advice["unwanted"]) == (3, 3)
    assert advice["found"] == [3, 3]
    assert advice["wrong"][1] < advice["wrong"][0] == 3
    assert set(advice["keywords"]) == {"cellprob_threshold", "flow_threshold", "min_score", "min_size"}
    np.testing.assert_array_equal(page.labels(), before)
    assert page.job("rethreshold", page.image, **advice["keywords"])["state"] == "done"


def test_undoing_the_first_run_leaves_an_image_without_limits(page):
    page.job("segment", page.image)
    limits = page.json(f"/api/images/{page.image}")["limits"]
    assert limits["min_score"] > 0  # the model's own, as nothing was said
    page.send(type="undo", image=page.image)
    page.until("patch")
    assert page.json(f"/api/images/{page.image}")["limits"] is None
    page.send(type="redo", image=page.image)
    page.until("patch")
    assert page.json(f"/api/images/{page.image}")["limits"] == limits
    assert page.job("rethreshold", page.image, min_size=100_000)["state"] == "done"


def test_classes_that_a_model_tells_are_those_of_the_project(page, project, telling):
    job = page.job("segment", page.image, model="telling", window=[0, 0, 0, 120, 150])
    assert job["state"] == "done", job
    told = [m for m in page.waiting if m["type"] in ("project", "patch")]
    assert told[0]["type"] == "project"  # the names come before the cells
    classes = {c["id"]: c["name"] for c in page.json("/api/project")["classes"]}
    assert classes == {1: "large", 2: "small"} or classes == {1: "small", 2: "large"}
    rows = {r.id: r for r in project.labels(page.image).objects()}
    assert {classes[r.class_id] for r in rows.values()} == {"large", "small"}
    largest = max(rows.values(), key=lambda r: r.area)
    assert classes[largest.class_id] == "large"
    other = next(i for i, name in classes.items() if name == "small")
    page.rev = project.labels(page.image).rev
    page.edit("set_class", ids=[largest.id], value=other)
    page.job("segment", page.image, model="telling")
    again = {r.id: r for r in project.labels(page.image).objects()}
    assert again.pop(largest.id).class_id == other  # a person has said so
    assert {i: r.class_id for i, r in again.items()} == {
        i: r.class_id for i, r in rows.items() if i != largest.id
    }
    # also what other limits bring back; what a person said goes with none
    assert page.job("rethreshold", page.image, min_size=100_000)["state"] == "done"
    assert [(r.id, r.class_id) for r in project.labels(page.image).objects()] == [(largest.id, other)]
    assert page.job("rethreshold", page.image)["state"] == "done"
    back = {r.id: r.class_id for r in project.labels(page.image).objects()}
    assert back.pop(largest.id) == other
    assert sorted(back.values()) == sorted(r.class_id for i, r in rows.items() if i != largest.id)


@pytest.fixture
def telling(project, expected):
    """A model of the project that tells large cells from small ones."""
    labels = expected[0].labels
    label, names, features = features_of(labels, blobs()[None])
    area = np.bincount(labels.ravel())[label]
    sizes = np.where(area > np.median(area), "large", "small").tolist()
    folder = project.folder / "models" / "telling"
    folder.mkdir(parents=True)
    model = resolve_model("compact")
    paths = {kind: Path(shutil.copy(path, folder)) for kind, path in model.paths.items()}
    paths["classes"] = folder / "classes.json"
    fit_classifier(features, sizes, names, 1).save(paths["classes"])
    files = {kind: ModelFileRef(**file_entry(path)) for kind, path in paths.items()}
    write_card(folder / CARD_NAME, dataclasses.replace(model.card, name="compact.telling", files=files))


def project_ghosts(page):
    columns = page.json(f"/api/images/{page.image}/objects?plane=0")
    rows = [dict(zip(columns, v, strict=True)) for v in zip(*columns.values(), strict=True)]
    return [r for r in rows if r["discarded"]]


def test_discarded_cells_are_ghosts_that_come_back(page):
    page.job("segment", page.image, min_size=450, min_score=0)
    page.until("image", timeout=30)
    for _ in range(20):
        columns = page.json(f"/api/images/{page.image}/objects?plane=0")
        if any(columns["discarded"]):
            break
        page.until("image", timeout=30)
    ghosts = [i for i, d in enumerate(columns["discarded"]) if d]
    assert {columns["reason"][i] for i in ghosts} == {"too_small"}
    ids = [columns["id"][i] for i in ghosts]
    shown = np.frombuffer(page.get(f"/api/images/{page.image}/candidates/0/0/0"), "<u4").reshape(512, 512)
    assert set(np.unique(shown).tolist()) - {0} == set(ids)
    page.rev = page.json(f"/api/images/{page.image}")["rev"]
    ack = page.edit("accept", ids=ids[:1])
    assert ack["type"] == "ack", ack
    assert ack["objects"][0]["id"] == ids[0]
    assert (page.labels() == ids[0]).sum() == (shown == ids[0]).sum()
    columns = page.json(f"/api/images/{page.image}/objects?plane=0")
    assert columns["discarded"][columns["id"].index(ids[0])] is False


@pytest.mark.parametrize("segmented", [True, False])
@pytest.mark.parametrize("way", ["click", "box"])
def test_a_click_or_a_box_proposes_the_missed_cell(page, expected, segmented, way):
    if segmented:
        page.job("segment", page.image)
        page.rev = page.json(f"/api/images/{page.image}")["rev"]
    truth = expected[0].labels == 3
    if segmented:
        page.edit("delete", ids=[int(np.bincount(page.labels()[truth]).argmax())])
    ys, xs = np.nonzero(truth)
    box = [int(ys.min()) - 3, int(xs.min()) - 3, int(ys.max()) + 4, int(xs.max()) + 4]
    where = {"line": [[float(ys.mean()), float(xs.mean())]]} if way == "click" else {"box": box}
    label = page.next_id + 7
    ack = page.edit("prompt", label=label, **where)
    assert ack["type"] == "ack", ack
    found = page.labels() == label
    assert (found & truth).sum() / (found | truth).sum() > 0.8
    nothing = page.edit("prompt", label=label + 1, line=[[2.0, 2.0]])
    assert nothing["type"] == "reject"
    assert "draw its outline" in nothing["reason"]


def test_a_batch_gives_every_image_the_labels_of_the_command(page, project, expected):
    job = page.job("batch", None, images="all", min_size=20)
    assert job["state"] == "done", job
    assert job["result"] == {"images": 2, "failed": []}
    for name, seed in (("first", 0), ("second", 1)):
        assert same_up_to_names(page.labels(project.find(name).id), expected[seed].labels)


def test_a_batch_goes_on_after_an_image_that_fails(page, project, images):
    (images / "first.png").unlink()
    job = page.job("batch", None, images="all")
    assert job["state"] == "done"
    (failed,) = job["result"]["failed"]
    assert failed["name"] == "first"
    assert page.labels(project.find("second").id).any()


def test_a_result_lands_only_on_the_image_it_was_started_for(page, project, images):
    page.send(type="submit", kind="segment", image=page.image, params={})
    page.open(project.find("second").id)  # looks at another one meanwhile
    while page.until("job")["job"]["state"] != "done":
        pass
    assert not page.labels(project.find("second").id).any()
    assert page.labels(project.find("first").id).any()


def test_cancelling_leaves_the_document_as_it_was(page):
    page.disc(page.next_id, 100, 100, 20)
    before = page.labels()
    for _ in range(5):  # a job may be done before the wish to cancel it has come
        page.send(type="submit", kind="segment", image=page.image, params={"window": [0, 0, 0, 120, 150]})
        job = page.until("job")["job"]
        assert page.until("patch")["objects"]  # the window is there, until the whole takes its place
        page.send(type="cancel", job=job["id"])
        while (state := page.until("job", timeout=4)["job"]["state"]) not in ("cancelled", "done"):
            pass
        if state == "cancelled":
            np.testing.assert_array_equal(page.labels(), before)
            return
        page.send(type="undo", image=page.image)
        page.until("patch")
        page.waiting.clear()
    pytest.fail("every job was done before it could be cancelled")


def test_a_first_part_that_a_crash_left_is_taken_back_at_the_next_start(project, serve):
    image = project.find("first").id
    job = project.add_job("segment", image)
    project.log(image).apply(Paint(project.labels(image).lease(1)[0], [[5, 5, 50]]), user=f"job-{job}")
    project.update_job(job, state="interrupted")
    page = serve().page().connect()
    assert not page.labels(image).any()
    assert page.until("job")["job"]["state"] == "interrupted"


def test_the_next_image_is_suggested_and_the_model_scored(page, project):
    page.job("batch", None, images="all")
    suggested = page.job("suggest", None, count=2)
    assert suggested["state"] == "done", suggested
    assert {s["name"] for s in suggested["result"]["suggestions"]} == {"first", "second"}
    refused = page.job("evaluate", None)
    assert "nothing is corrected yet" in refused["error"]
    page.send(type="set", what="state", value={"image": page.image, "state": "done"})
    page.until("image", timeout=20)
    scored = page.job("evaluate", None)
    assert scored["state"] == "done", scored
    assert scored["result"]["ap"] == pytest.approx(1)
    assert page.json(f"/api/jobs/{scored['id']}/report")["images"][0]["name"] == "first"


def test_objects_of_a_stack_in_3d_are_one_through_its_planes(serve, tmp_path, monkeypatch):
    sample = synthetic.generate_volume("spheres_3d", 910_004, (16, 72, 80), diameter=15, anisotropy=2)
    tifffile.imwrite(tmp_path / "s.tif", sample.image[0].astype(np.uint16), metadata={"axes": "ZYX"})
    tifffile.imwrite(tmp_path / "flat.tif", blobs())
    wish = {"volume": True, "anisotropy": 2}
    with Project.create(tmp_path / "s.project", images=[tmp_path / "s.tif", tmp_path / "flat.tif"]) as stack:
        page = serve(stack).page().connect()
        image, flat = (r.id for r in stack.images())
        page.open(image, plane=5)
        assert page.json(f"/api/images/{image}")["volume"] is False
        job = page.job("segment", image, window=[5, 0, 0, 20, 20], only=True, **wish)
        assert job["state"] == "failed"
        assert "whole stack" in job["error"]
        job = page.job("segment", image, window=[5, 0, 0, 20, 20], **wish)
        assert job["state"] == "done", job
        assert page.json(f"/api/images/{image}")["volume"] is True
        labels = np.stack([page.labels(plane=z) for z in range(16)])
        found = cellbrook.segment(tmp_path / "s.tif", threads=1, **wish)
        assert same_up_to_names(labels, found.labels)
        assert page.json(f"/api/images/{image}")["objects"] == job["result"]["objects"] == len(found.objects)
        rows = page.json(f"/api/images/{image}/objects?plane=5")
        assert set(rows["id"]) == set(np.unique(labels[5])[1:].tolist())
        assert not any(rows["discarded"])
        made, results = [], tables.as_result
        monkeypatch.setattr(tables, "as_result", lambda *args: made.append(1) or results(*args))
        table = page.json(f"/api/images/{image}/measurements?plane=5")
        assert set(table["label"]) == set(rows["id"])
        beside = page.json(f"/api/images/{image}/measurements?plane=6")
        assert set(beside["label"]) == set(np.unique(labels[6])[1:].tolist())
        assert len(made) == 1, "the whole stack is measured once for all its planes"
        assert table["volume_px"] == [int(np.sum(labels == i)) for i in table["label"]]
        limit = float(np.sort(found.objects["score"])[2:4].mean())
        job = page.job("rethreshold", image, window=[5, 0, 0, 20, 20], min_score=limit)
        assert job["result"]["objects"] == len(found.objects) - 3
        # one plane's part is deleted with all the others
        page.rev = page.json(f"/api/images/{image}")["rev"]
        left = np.stack([page.labels(plane=z) for z in range(16)])
        one = int(np.unique(left[5])[1])
        page.edit("delete", ids=[one])
        assert not any((page.labels(plane=z) == one).any() for z in range(16))
        assert one not in page.json(f"/api/images/{image}/measurements?plane=5")["label"]
        # what is flat is found as it is
        job = page.job("batch", None, images=[flat], **wish)
        assert job["result"] == {"images": 1, "failed": []}
        assert page.json(f"/api/images/{flat}")["objects"] > 10
