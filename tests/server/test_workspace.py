"""Pages and the document: edits, undo, two browsers."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import logging
import os
import tempfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tifffile
from tifffile import TiffWriter

from cellbrook.errors import EditError
from cellbrook.io import write_png
from cellbrook.io.writers import write_labels_zarr
from cellbrook.project import Paint
from cellbrook.project import images as images_module
from cellbrook.project.predict import predict
from cellbrook.project.project import Project
from cellbrook.provenance import read_run
from cellbrook.server.ghosts import Ghosts
from cellbrook.server.hub import Client
from cellbrook.server.messages import FOLDER
from cellbrook.server.proposals import Proposals
from cellbrook.server.runners import Runners
from cellbrook.server.runs import encode_runs
from cellbrook.server.teaching import Teaching
from cellbrook.server.workspace import Workspace, aside

from .conftest import apply_patch, blobs


def test_a_page_sees_project_and_images(page, project):
    seen = page.welcome["project"]
    assert seen["name"] == "own"
    assert [i["name"] for i in seen["images"]] == ["first", "second"]
    assert seen["models"][0] == {**seen["models"][0], "name": "compact", "active": True}
    info = page.json(f"/api/images/{page.image}")
    assert info["shape"] == [300, 420]
    assert info["channels"][0]["max"] > 150
    assert page.get(f"/api/images/{page.image}/thumb").startswith(b"\x89PNG")


def test_tiles_are_the_pixels(page):
    data = page.get(f"/api/images/{page.image}/pixels/0/0/0/0/0")
    tile = np.frombuffer(data, np.uint8).reshape(512, 512)
    np.testing.assert_array_equal(tile[:300, :420], blobs())
    assert not tile[300:].any()
    assert page.request("GET", f"/api/images/{page.image}/pixels/0/0/0/1/0")[0].status == 404
    assert page.request("GET", f"/api/images/{page.image}/pixels/0/0/1/0/0")[0].status == 404


def test_a_stroke_is_kept_and_undone_and_done_again(page):
    assert page.get(f"/api/images/{page.image}/labels/0/0/0/0") == b""
    label = page.next_id
    ack = page.disc(label, 100, 100, 20)
    assert ack["type"] == "ack"
    (row,) = ack["objects"]
    assert (row["id"], row["origin"], row["y0"], row["x1"]) == (label, "manual", 80, 121)
    drawn = page.labels()
    assert set(np.unique(drawn)) == {0, label}
    assert (drawn == label).sum() == row["area"]

    page.send(type="undo", image=page.image)
    patch = page.until("patch")
    assert patch["objects"] == [{"id": label, "plane": 0, "gone": True}]
    copy = drawn.copy()
    apply_patch(copy, patch)
    np.testing.assert_array_equal(copy, page.labels())
    assert not copy.any()

    page.send(type="redo", image=page.image)
    apply_patch(copy, page.until("patch"))
    np.testing.assert_array_equal(copy, drawn)
    page.send(type="redo", image=page.image)
    assert page.until("notice")["message"] == "nothing to do again"


def test_a_page_can_ask_what_undo_and_redo_would_turn(page):
    history = f"/api/images/{page.image}/history"
    assert page.json(history) == {"undo": None, "redo": None}
    label = page.next_id
    page.disc(label, 100, 100, 20)
    page.edit("set_class", ids=[label], value=3)
    assert page.json(history) == {"undo": "set_class", "redo": None}
    page.send(type="undo", image=page.image)
    page.until("patch")
    assert page.json(history) == {"undo": "paint", "redo": "set_class"}


def test_edits_of_every_kind(page):
    a, b, c = page.next_id, page.next_id + 1, page.next_id + 2
    page.disc(a, 60, 60, 15)
    page.disc(b, 60, 95, 15)
    page.disc(c, 200, 200, 25)
    assert page.edit("set_class", ids=[a, b], value=3)["objects"][0]["class"] == 3
    assert page.edit("lock", ids=[b], value=1)["objects"][0]["locked"] is True
    refused = page.edit("delete", ids=[b])
    assert refused["type"] == "reject"
    assert refused["tiles"] == [[0, 0]]
    page.edit("lock", ids=[b], value=0)
    merged = page.edit("merge", ids=[a, b])
    assert {"id": b, "plane": 0, "gone": True} in merged["objects"]
    assert set(np.unique(page.labels())) == {0, a, c}
    split = page.edit("split", ids=[c], line=[[170.0, 200.0], [230.0, 200.0]])
    assert split["type"] == "ack"
    pieces = [o["id"] for o in split["objects"]]
    assert len(pieces) == 2
    patch = next(m for m in page.waiting if m["type"] == "patch")  # the page cannot know where the cut runs
    assert patch["rev"] == split["rev"]
    page.edit("relabel", ids=[a], label=page.next_id + 500)
    page.edit("delete", ids=pieces)
    assert set(np.unique(page.labels())) == {0, page.next_id + 500}


def test_several_edits_as_one_are_undone_as_one(page):
    a = page.next_id
    parts = [
        {
            "plane": 0,
            "kind": "paint",
            "label": a,
            "runs": encode_runs(np.array([[10, 10, 40], [11, 10, 40]])),
        },
        {"plane": 0, "kind": "set_class", "ids": [a], "value": 2},
        {"plane": 0, "kind": "paint", "label": 0, "runs": encode_runs(np.array([[10, 10, 20]]))},
    ]
    ack = page.edit("batch", parts=parts)
    assert ack["objects"][0]["class"] == 2
    assert (page.labels() == a).sum() == 50
    page.send(type="undo", image=page.image)
    page.until("patch")
    assert not page.labels().any()


def test_an_edit_sent_again_is_answered_but_not_done_again(page):
    first = page.disc(page.next_id, 100, 100, 10, op_id="the-one")
    again = page.disc(page.next_id, 100, 100, 10, op_id="the-one", base_rev=0)
    assert again == first
    assert page.json(f"/api/images/{page.image}")["rev"] == first["rev"]


def test_a_page_that_comes_back_keeps_its_ids_and_its_undo(page, serve):
    label = page.next_id
    page.disc(label, 100, 100, 10)
    page.close()
    page.connect()
    opened = page.open(page.image)
    assert opened["first_id"] == label + 1  # what it has drawn with is used
    page.send(type="undo", image=page.image)
    page.until("patch")
    assert not page.labels().any()


def test_two_pages_see_each_other(page, serve, project):
    other = page.__class__(page.port, page.token).connect()
    other.open(page.image)
    assert set(range(page.next_id, page.next_id + 1024)).isdisjoint(
        range(other.next_id, other.next_id + 1024)
    )
    mirror = other.labels()
    ack = page.disc(page.next_id, 150, 150, 30)
    patch = other.until("patch")
    assert patch["rev"] == ack["rev"]
    apply_patch(mirror, patch)
    np.testing.assert_array_equal(mirror, page.labels())
    assert patch["objects"][0]["id"] == page.next_id
    other.close()


def test_cells_of_a_stack_are_joined_across_planes_filled_and_cut(serve, tmp_path):
    """What a page can only ask for comes to itself as a patch, too; one undo takes each step back."""
    tifffile.imwrite(tmp_path / "s.tif", np.zeros((5, 64, 80), np.uint8), metadata={"axes": "ZYX"})
    with Project.create(tmp_path / "s.project", images=[tmp_path / "s.tif"]) as stack:
        served = serve(stack)
        page, other = served.page().connect(), served.page().connect()
        image = stack.images()[0].id
        page.open(image)
        one = page.next_id
        page.disc(one, 30, 30, 9)
        assert page.json(f"/api/images/{image}")["joined"] is False
        page.open(image, plane=4)
        page.disc(one + 1, 30, 42, 9)
        page.edit("merge", ids=[one, one + 1])
        assert page.json(f"/api/images/{image}")["joined"] is True
        assert np.unique(page.labels(plane=4)).tolist() == [0, one]
        page.open(image, plane=2)
        other.open(image, plane=3)
        page.edit("interpolate", ids=[one])
        assert any(m["type"] == "patch" and m["plane"] == 2 for m in page.waiting)
        other.until("patch", plane=3)
        for viewer, plane, x in ((page, 2, 36), (other, 3, 39)):
            drawn = viewer.labels(image, plane=plane) == one
            assert 0.9 < drawn.sum() / np.sum(page.labels(plane=0) == one) < 1.1
            assert np.nonzero(drawn)[1].mean() == pytest.approx(x, abs=0.6)
        page.edit("split", ids=[one], line=[])
        kinds = [set(np.unique(page.labels(plane=z)).tolist()) - {0} for z in range(5)]
        assert kinds[0] == kinds[1] == {one}
        assert kinds[2] == kinds[3] == kinds[4] != {one}
        answer = page.edit("split", ids=[one], line=[[3.0, 3.0]])
        assert answer["type"] == "reject"
        page.send(type="undo", image=image)
        page.until("patch", plane=2)
        assert (page.labels(plane=4) == one).any()
        page.send(type="undo", image=image)
        page.until("patch", plane=2)
        assert not page.labels(plane=2).any()


def test_all_pages_hear_that_a_training_is_ended_without_its_model(monkeypatch, serve):
    tidied = threading.Event()

    async def train(self, job):
        job.on_stop(lambda: None)  # it is slow to stop
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.to_thread(tidied.wait, 20)

    monkeypatch.setattr(Teaching, "train", train)
    monkeypatch.setattr("cellbrook.server.jobs._DOUBLE_CLICK_S", 0.0)
    server = serve()
    page, other = server.page().connect(), server.page().connect()
    page.send(type="submit", kind="train", image=None, params={})

    def heard():
        job = other.until("job")["job"]
        return job["state"], job["stopping"], job["ended"]

    while (now := heard())[0] != "running":
        assert now == ("queued", False, False)
    job = page.until("job")["job"]["id"]
    page.send(type="cancel", job=job)
    assert heard() == ("running", True, False)
    page.send(type="cancel", job=job)
    assert heard() == ("running", True, True)  # before it is over
    tidied.set()
    assert heard() == ("cancelled", False, True)


def test_a_stale_edit_elsewhere_is_merged_and_one_in_the_same_place_is_refused(page):
    other = page.__class__(page.port, page.token).connect()
    other.open(page.image)
    rev = page.rev
    assert page.disc(page.next_id, 100, 100, 20)["type"] == "ack"
    elsewhere = other.disc(other.next_id, 250, 300, 20, base_rev=rev)
    assert elsewhere["type"] == "ack"
    refused = other.disc(other.next_id + 1, 105, 105, 20, base_rev=rev)
    assert refused["type"] == "reject"
    assert refused["tiles"] == [[0, 0]]
    assert "somebody else" in refused["reason"]
    assert set(np.unique(page.labels())) == {0, page.next_id, other.next_id}
    newer = other.disc(other.next_id + 1, 105, 105, 20, base_rev=refused["rev"])  # having looked, it may
    assert newer["type"] == "ack"
    other.close()


def test_a_click_that_waits_for_the_worker_holds_up_nothing_else(monkeypatch, serve, project):
    async def propose(self, edit, client):
        await asyncio.Event().wait()

    monkeypatch.setattr(Proposals, "propose", propose)
    page = serve().page().connect()
    page.open(project.find("first").id)
    page.edit("prompt", wait=False, line=[[60.0, 60.0]])
    page.send(type="cancel", job="none")
    assert "ended already" in page.until("notice")["message"]
    assert page.disc(page.next_id, 100, 100, 20)["type"] == "ack"


def test_of_a_result_that_fails_to_land_pages_hear_what_was_taken_back(project):
    image = project.find("first").id

    def refused(log):
        raise EditError("no")

    async def test():
        workspace, client = Workspace(project), Client("me")
        client.image, client.welcome = image, True
        label = project.labels(image).lease(1)[0]
        await workspace.apply(image, Paint(label, [(5, 5, 9)]), user=aside("j"))
        workspace.hub.join(client)
        with pytest.raises(EditError):
            await workspace.land(image, refused, by="me", job="j")
        patch = msgspec.msgpack.decode(await asyncio.wait_for(client.next(), 20))
        assert (patch["type"], patch["rev"]) == ("patch", project.labels(image).rev)
        assert patch["objects"] == [{"id": label, "plane": 0, "gone": True}]
        await workspace.close()

    asyncio.run(test())


def test_as_many_candidates_as_there_are_have_ids_of_their_own(project, monkeypatch):
    class Finding:
        async def call(self, task, args):
            np.save(Path(args["out"]) / "ghosts.npy", np.zeros((1, 300, 420), np.uint32))
            return {"rows": [{"id": k, "plane": 0} for k in range(1, 2**16 + 10)]}

    image = project.find("first").id
    monkeypatch.setattr(Runners, "_output", lambda self, image: (Path("cache"), {}))

    async def test():
        workspace = Workspace(project)
        await Runners(workspace)._find_ghosts(Finding(), image, {})
        last = workspace.ghosts(image).rows[-1]["id"]
        assert project.labels(image).lease(1)[0] > last > 2**16
        await workspace.close()

    asyncio.run(test())


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_candidates_of_many_images_keep_no_file_open(project, tmp_path):
    def files() -> int:
        opened = [os.path.realpath(f) for f in Path("/proc/self/fd").iterdir()]
        return sum("ghosts" in name for name in opened) + Path("/proc/self/maps").read_text().count("ghosts")

    workspace = Workspace(project)
    for k in range(40):
        np.save(tmp_path / "ghosts.npy", np.ones((1, 5, 7), np.uint32))
        row = {"id": 1, "plane": 0, "y0": 0, "x0": 0, "y1": 5, "x1": 7}
        workspace.set_ghosts(str(k), Ghosts.store(tmp_path / str(k), tmp_path, [row], 9))
    ghosts = workspace.ghosts("39")
    assert ghosts.tile(0, 0, 0, set())[:5, :7].tolist() == [[9] * 7] * 5
    assert ghosts.pixels([9])[0][2].tolist() == [[y, 0, 7] for y in range(5)]
    assert files() == 0
    assert len(workspace._ghosts) < 40
    (tmp_path / "39" / "ghosts.npy").unlink()  # somebody empties the cache
    assert ghosts.tile(0, 0, 0, set()) is None
    asyncio.run(workspace.close())


def test_a_reload_shows_what_runs_and_the_last_of_each_kind(project):
    ids = {kind: project.add_job(kind) for kind in ("agreement", "train", "suggest")}
    for kind in ("agreement", "suggest"):
        project.update_job(ids[kind], state="done", result={})
    for _ in range(60):  # a slider
        project.update_job(project.add_job("rethreshold"), state="done", result={})
    workspace = Workspace(project)
    shown = workspace.recent_jobs()
    assert [j.kind for j in shown] == ["agreement", "train", "suggest", "rethreshold"]
    asyncio.run(workspace.close())


def test_edits_of_two_pages_at_once_lose_none(page):
    count = int(os.environ.get("CELLBROOK_EDITS", "80")) // 2
    other = page.__class__(page.port, page.token).connect()
    other.open(page.image)

    def draw(who, left):
        for i in range(count):  # each in a place of its own
            y, x = divmod(i, 50)
            ack = who.paint(who.next_id + i, [[y * 12, left + x * 4, left + x * 4 + 3]])
            assert ack["type"] == "ack", ack

    threads = [threading.Thread(target=draw, args=a) for a in ((page, 0), (other, 205))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    labels = page.labels()
    expected = {0, *range(page.next_id, page.next_id + count), *range(other.next_id, other.next_id + count)}
    assert set(np.unique(labels).tolist()) == expected
    np.testing.assert_array_equal(labels, other.labels())
    assert page.json(f"/api/images/{page.image}")["rev"] == 2 * count
    seen = [m["rev"] for m in other.waiting if m["type"] == "patch"]
    assert seen == sorted(seen)  # in the order of revisions
    other.close()


def test_settings_are_told_to_everybody(page):
    classes = [{"id": 1, "name": "dividing", "color": "#ff0000"}]
    page.send(type="set", what="classes", value=classes)
    assert page.until("project")["project"]["classes"] == classes
    page.send(type="set", what="name", value="  Zellen µ  ")
    assert page.until("project")["project"]["name"] == "Zellen µ"
    page.send(type="set", what="state", value={"image": page.image, "state": "done"})
    assert page.until("image")["image"]["state"] == "done"
    page.send(type="set", what="pixel_size_um", value={"image": page.image, "value": 0.5})
    assert page.until("project")["project"]["images"][0]["pixel_size_um"] == 0.5
    page.send(type="set", what="state", value={"image": page.image, "state": None})
    assert page.until("image")["image"]["state"] == "new", "nothing was corrected"
    for what, value in [
        ("model", "../../etc/passwd"), ("state", {"image": page.image, "state": "sad"}), ("classes", [{"id": 0}]),
        ("name", " "), ("pixel_size_um", -1), ("state", 3),
    ]:  # fmt: skip
        page.send(type="set", what=what, value=value)
        assert page.until("notice")["level"] == "error"


def test_objects_and_measurements_are_columns_of_equal_length(page):
    page.disc(page.next_id, 60, 60, 15)
    page.disc(page.next_id + 1, 200, 200, 25)
    columns = page.json(f"/api/images/{page.image}/objects?plane=0")
    assert {len(v) for v in columns.values()} == {2}
    table = page.json(f"/api/images/{page.image}/measurements?plane=0")
    assert table["label"] == columns["id"]
    assert table["area_px"] == columns["area"]
    assert table["origin"] == ["manual", "manual"]


def test_answers_carry_the_revision_and_are_not_sent_twice(page):
    page.disc(page.next_id, 60, 60, 15)
    address = f"/api/images/{page.image}/labels/0/0/0/0"
    answer, _ = page.request("GET", address)
    tag = answer.headers["etag"]
    assert "max-age" not in answer.headers["cache-control"], "another project may have this address tomorrow"
    assert page.request("GET", address, **{"If-None-Match": tag})[0].status == 304
    page.disc(page.next_id + 1, 160, 60, 15)
    assert page.request("GET", address, **{"If-None-Match": tag})[0].status == 200


def test_a_read_only_project_is_shown_and_not_changed(images, tmp_path, serve):
    folder = tmp_path / "other.project"
    Project.create(folder, images=[images]).close()
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    server = serve(Project.open(folder, read_only=True))
    page = server.page().connect()
    image = page.welcome["project"]["images"][0]["id"]
    page.open(image)
    page.get(f"/api/images/{image}/pixels/0/0/0/0/0")
    page.get(f"/api/images/{image}/thumb")
    assert page.disc(1, 50, 50, 9)["reason"].startswith("this project is open for looking only")
    page.send(type="submit", kind="segment", image=image, params={})
    assert "looking only" in page.until("notice")["message"]
    assert page.upload("/api/images", ("x.png", b"123"))[0].status == 500
    after = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    assert {p: t for p, t in after.items() if "sqlite" not in p.name} == {
        p: t for p, t in before.items() if "sqlite" not in p.name
    }


def test_a_project_whose_folder_is_gone_takes_no_edits_and_leaves_no_stump(serve, project, images):
    server = serve()
    page = server.page().connect()
    page.open(project.find("first").id)
    assert page.disc(page.next_id, 30, 30, 9)["type"] == "ack"
    moved = project.folder.rename(project.folder.with_name("elsewhere"))
    refused = page.disc(page.next_id + 1, 80, 80, 9)
    assert refused["type"] == "reject"
    assert "is not at" in refused["reason"]
    page.send(type="set", what="name", value="new")
    assert "is not at" in page.until("notice")["message"]
    server.close()
    assert not project.folder.exists()
    with Project.open(moved) as opened:
        assert len(opened.labels(page.image).objects()) == 1


def test_images_are_added_and_taken_out(page, tmp_path, project):
    write_png(tmp_path / "new.png", blobs(seed=5))
    data = (tmp_path / "new.png").read_bytes()
    answer, body = page.upload("/api/images", ("../../Neu é.png", data), ("broken.png", b"not a png"))
    assert answer.status == 200, body
    said = json.loads(body)
    assert len(said["added"]) == 1
    assert said["failed"][0]["name"] == "broken.png"
    assert str(tmp_path) not in body.decode()
    told = page.until("project")["project"]
    assert told["images"][-1]["name"] == "Neu é"
    assert project.path(said["added"][0]).parent == project.folder / "images"
    assert not (tmp_path / "Neu é.png").exists()
    np.testing.assert_array_equal(
        np.frombuffer(page.get(f"/api/images/{said['added'][0]}/pixels/0/0/0/0/0"), np.uint8).reshape(
            512, 512
        )[:300, :420],
        blobs(seed=5),
    )
    assert page.request("DELETE", f"/api/images/{said['added'][0]}")[0].status == 204
    assert len(page.until("project")["project"]["images"]) == 2
    assert page.request("GET", f"/api/images/{said['added'][0]}")[0].status == 404


def test_every_scene_of_a_file_is_an_image_called_by_its_name(page, tmp_path, project):
    with TiffWriter(tmp_path / "run.ome.tif", ome=True) as file:
        for n, name in enumerate(("Control, 20x", "Drug/1")):
            file.write(np.full((20, 30), n, np.uint8), metadata={"axes": "YX", "Name": name})
    sent = ("run.ome.tif", (tmp_path / "run.ome.tif").read_bytes())
    said = json.loads(page.upload("/api/images", sent)[1])
    assert said["failed"] == []
    told = page.until("project")["project"]["images"][-2:]
    assert [(i["id"], i["name"]) for i in told] == list(
        zip(said["added"], ("run_Control_20x", "run_Drug_1"), strict=True)
    )
    for n, image in enumerate(said["added"]):
        assert page.get(f"/api/images/{image}/pixels/0/0/0/0/0")[0] == n
    assert json.loads(page.upload("/api/images", sent)[1])["already"] == said["added"]


@pytest.fixture
def held_up(monkeypatch):
    """What lets files be hashed from then on, and what says that one is to be."""
    go, begun = threading.Event(), threading.Event()
    hashed = images_module.sha256_of_image

    def slow(*image):
        begun.set()
        assert go.wait(30)
        return hashed(*image)

    monkeypatch.setattr(images_module, "sha256_of_image", slow)
    yield go, begun
    go.set()


def test_a_stroke_does_not_wait_for_images_that_are_added_and_one_that_comes_twice_is_one(
    page, tmp_path, project, held_up
):
    go, begun = held_up
    write_png(tmp_path / "new.png", blobs(seed=5))
    file = ("new.png", (tmp_path / "new.png").read_bytes())
    with ThreadPoolExecutor(2) as uploads:
        answers = [uploads.submit(page.upload, "/api/images", file) for _ in range(2)]
        assert begun.wait(30)
        assert page.disc(page.next_id, 100, 100, 20)["type"] == "ack"
        assert not any(a.done() for a in answers)
        go.set()
        said = [json.loads(a.result()[1]) for a in answers]
    added, already = ([i for s in said for i in s[what]] for what in ("added", "already"))
    assert len(added) == 1
    assert added == already
    assert len(list((project.folder / "images").iterdir())) == 1


@pytest.mark.parametrize("end", ["cancel", "close"])
def test_files_that_are_being_added_stay_until_they_are_in_whatever_ends_meanwhile(
    tmp_path, project, held_up, end
):
    go, begun = held_up
    write_png(tmp_path / "new.png", blobs(seed=5))

    async def test():
        workspace = Workspace(project)
        adding = asyncio.ensure_future(workspace.add(project.add, [tmp_path / "new.png"], copy=True))
        await asyncio.to_thread(begun.wait, 30)
        ending = asyncio.ensure_future(workspace.close()) if end == "close" else adding
        if end == "cancel":
            adding.cancel()
        await asyncio.sleep(0.1)
        assert not ending.done()
        go.set()
        await asyncio.wait([adding, ending])
        assert adding.cancelled() == (end == "cancel")
        if end == "cancel":
            await workspace.close()

    asyncio.run(test())
    with Project.open(project.folder, read_only=True) as again:
        assert again.problem(again.find("new").id) is None


def test_an_upload_that_breaks_off_leaves_nothing(page, project, monkeypatch, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="cellbrook.server")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kind = {"Content-Type": "multipart/form-data; boundary=m", "Content-Length": "9000000"}
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=20)
    connection.putrequest("POST", "/api/images")
    for name, value in {**page.headers, **kind}.items():
        connection.putheader(name, value)
    connection.endheaders()
    head = b'--m\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    connection.send(head + b"\0" * 3_000_000)
    while not any(tmp_path.glob("cellbrook-upload-*")):
        time.sleep(0.01)
    connection.close()
    while any(tmp_path.glob("cellbrook-upload-*")):
        time.sleep(0.01)
    while "went away" not in caplog.text:
        time.sleep(0.01)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert not (project.folder / "images").exists()
    assert len(project.images()) == 2


def test_oblong_pixels_have_the_side_of_a_square_as_large(page, tmp_path):
    import tifffile

    sizes = {"PhysicalSizeX": 2.0, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(tmp_path / "o.ome.tif", blobs(seed=5), metadata={"axes": "YX", **sizes})
    _, body = page.upload("/api/images", ("o.ome.tif", (tmp_path / "o.ome.tif").read_bytes()))
    assert page.json(f"/api/images/{json.loads(body)['added'][0]}")["pixel_size_um"] == 1.0


def test_of_a_folder_come_its_images_alone(page, tmp_path):
    write_png(tmp_path / "new.png", blobs(seed=5))
    data = (tmp_path / "new.png").read_bytes()
    files = ("a.png", data), ("a_labels.png", data), ("notes.txt", b"read me")
    _, body = page.upload("/api/images?folder=1", *files)
    said = json.loads(body)
    assert (len(said["added"]), said["failed"], said["skipped"]) == (1, [], 2)
    _, body = page.upload("/api/images?folder=1", *files[1:])
    assert json.loads(body)["skipped"] == 2
    _, body = page.upload("/api/images", files[1])  # by itself it is what somebody wants
    assert json.loads(body)["skipped"] == 0


def test_an_ome_zarr_folder_is_one_image_the_same_as_from_its_path(page, tmp_path, project):
    folder = tmp_path / "cells.ome.zarr"
    write_labels_zarr(folder, np.zeros((300, 420), np.uint32), image=blobs(seed=5))
    (folder / ".zattrs").write_text("{}")  # hidden files are of it, too
    files = [p for p in folder.rglob("*") if p.is_file()]
    paths = [[p.relative_to(folder).as_posix(), p.stat().st_size] for p in files]
    data = json.dumps(paths).encode() + b"\n" + b"".join(p.read_bytes() for p in files)
    _, body = page.upload("/api/images?folder=1", (folder.name, data), kind=FOLDER)
    assert json.loads(body)["skipped"] == 1  # a result
    _, body = page.upload("/api/images", (folder.name, data), kind=FOLDER)
    (image,) = json.loads(body)["added"]
    assert image == images_module.id_of(images_module.sha256_of_image(folder))
    assert project.image(image).name == "cells"
    tile = np.frombuffer(page.get(f"/api/images/{image}/pixels/0/0/0/0/0"), np.uint8).reshape(512, 512)
    np.testing.assert_array_equal(tile[:300, :420], blobs(seed=5))


def test_an_image_whose_file_is_gone_says_so(page, project, images):
    other = project.find("second").id
    (images / "second.png").rename(images / "moved")
    info = page.json(f"/api/images/{page.image}")
    assert info["problem"] is None
    answer, body = page.request("GET", f"/api/images/{other}/pixels/0/0/0/0/0")
    assert answer.status == 409
    assert b"put it back" in body
    missing = next(i for i in page.json("/api/project")["images"] if i["id"] == other)
    assert missing["state"] == "missing"


def test_why_an_image_of_a_batch_failed_names_no_folder_of_the_server(page, project, tmp_path):
    write_png(tmp_path / "new.png", blobs(seed=5))
    _, body = page.upload("/api/images", ("new.png", (tmp_path / "new.png").read_bytes()))
    (added,) = json.loads(body)["added"]
    project.path(added).unlink()
    job = page.job("batch", None, images=[added])
    (failed,) = job["result"]["failed"]
    assert failed["error"].startswith("its file is not at images")
    assert str(project.folder) not in failed["error"]


@pytest.mark.parametrize(
    "kind", ["labels", "overlay", "csv", "rois", "geojson", "coco", "seg", "color", "zip"]
)
def test_exports_are_the_files_of_the_command(page, kind):
    page.disc(page.next_id, 60, 60, 15)
    answer, data = page.request("GET", f"/api/images/{page.image}/export/{kind}")
    assert answer.status == 200, data
    assert "attachment" in answer.headers["content-disposition"]
    assert "first" in answer.headers["content-disposition"]
    assert len(data) > 100
    answer, data = page.request("GET", f"/api/export/{kind}")
    assert answer.status == 200, data


@pytest.mark.parametrize(("kind", "inside"), [("csv", "all_objects.csv"), ("zip", "second_labels.tif")])
def test_one_image_that_is_gone_does_not_keep_the_others_from_being_exported(
    page, project, images, kind, inside
):
    page.disc(page.next_id, 60, 60, 15)
    page.open(project.find("second").id)
    page.disc(page.next_id, 60, 60, 15)
    (images / "first.png").unlink()
    answer, data = page.request("GET", f"/api/export/{kind}")
    assert answer.status == 200, data
    with zipfile.ZipFile(io.BytesIO(data)) as pack:
        assert inside in pack.namelist()
        assert pack.read("LEFT_OUT.txt").startswith(b"Images that could not be read:\nfirst: ")
    (images / "second.png").unlink()
    answer, data = page.request("GET", f"/api/export/{kind}")
    assert answer.status == 409
    assert b"first" in data


def test_the_recipe_of_what_the_command_predicted_can_be_used(page, project, tmp_path):
    predict(project, threads=1)
    path = tmp_path / "run.json"
    path.write_bytes(page.get(f"/api/images/{page.image}/export/run"))
    run = read_run(path)
    assert run["model"]["sha256"] == project.image(page.image).run["model"]


def test_classes_have_one_number_in_every_image(page):
    classes = [{"id": n, "name": name, "color": "#00ff00"} for n, name in ((1, "live"), (2, "dead"))]
    page.send(type="set", what="classes", value=classes)
    page.until("project")
    page.disc(page.next_id, 60, 60, 15)
    page.edit("set_class", ids=[int(page.labels()[60, 60])], value=2)
    coco = page.json(f"/api/images/{page.image}/export/coco")
    assert {c["name"]: c["id"] for c in coco["categories"]} == {"live": 1, "dead": 2}
    assert [a["category_id"] for a in coco["annotations"]] == [2]


def test_a_class_goes_only_if_no_cell_has_it(page):
    classes = [{"id": i, "name": name, "color": "#ff0000"} for i, name in ((1, "large"), (2, "small"))]
    page.send(type="set", what="classes", value=classes)
    page.until("project")
    page.paint(page.next_id, [[5, 5, 20]])
    page.edit("set_class", ids=[page.next_id], value=1)
    page.send(type="set", what="classes", value=classes[1:])
    assert "large stays" in page.until("notice")["message"]
    page.send(type="set", what="classes", value=classes[:1])
    assert [c["name"] for c in page.until("project")["project"]["classes"]] == ["large"]


def test_exported_labels_come_back_as_one_edit(page):
    page.disc(page.next_id, 60, 60, 15)
    page.disc(page.next_id + 1, 200, 200, 25)
    drawn = page.labels() > 0
    for kind, name in {
        "labels": "l.tif",
        "rois": "r.zip",
        "geojson": "g.geojson",
        "seg": "x_seg.npy",
    }.items():
        data = page.get(f"/api/images/{page.image}/export/{kind}")
        page.edit("delete", ids=[int(i) for i in np.unique(page.labels())[1:]])
        answer, body = page.upload(f"/api/images/{page.image}/import", (name, data))
        assert answer.status == 200, (kind, body)
        page.rev = json.loads(body)["rev"]
        np.testing.assert_array_equal(page.labels() > 0, drawn, err_msg=kind)
        assert page.json(f"/api/images/{page.image}/objects")["origin"] == ["manual", "manual"]
        for left in (False, True):  # the import is taken back, then the deleting
            page.send(type="undo", image=page.image)
            page.rev += 1
            page.until("patch", rev=page.rev)
            assert page.labels().any() == left


def test_a_damaged_image_is_its_own_problem(serve, project, images):
    whole = (images / "first.png").read_bytes()
    (images / "broken.png").write_bytes(whole[: len(whole) // 2])
    project.add([images / "broken.png"])
    server = serve()
    page = server.page().connect()
    broken = project.find("broken").id
    seen = page.json(f"/api/images/{broken}")
    assert "damaged" in seen["problem"]
    assert seen["state"] == "missing"
    listed = {i["name"]: i["problem"] for i in server.page().connect().welcome["project"]["images"]}
    assert listed["first"] is None
    assert "damaged" in listed["broken"]
    assert page.json(f"/api/images/{project.find('first').id}")["problem"] is None
