"""What does not fit is refused, logged, and changes nothing."""

from __future__ import annotations

import http.client
import io
import json
import logging
import pickle
import re
import struct
import tempfile
import zipfile

import msgspec
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cellbrook.project.project import Project
from cellbrook.server.app import Limits
from cellbrook.server.change_routes import safe_name
from cellbrook.server.messages import FOLDER
from cellbrook.server.runs import encode_runs

from .conftest import Page


@pytest.fixture
def unchanged(page, project, caplog):
    """After the test the document is as it was, and the server still answers."""
    page.disc(page.next_id, 100, 100, 20)
    before, rev = page.labels(), page.json(f"/api/images/{page.image}")["rev"]
    files = {p for p in project.folder.parent.rglob("*") if "cache" not in p.parts}
    caplog.set_level(logging.INFO, logger="cellbrook.server")
    yield
    fresh = Page(page.port, page.token)
    np.testing.assert_array_equal(fresh.labels(page.image), before)
    assert fresh.json(f"/api/images/{page.image}")["rev"] == rev
    new = {p for p in project.folder.parent.rglob("*") if "cache" not in p.parts} - files
    assert not [p for p in new if "labels" not in p.parts and ".sqlite" not in p.name], new
    assert caplog.get_records("call"), "a refusal leaves a line in the log"


PATHS = [
    "/static/../../../pyproject.toml", "/static/..%2f..%2f..%2fpyproject.toml", "/static/%2e%2e/%2e%2e/app.py",
    "/static//etc/passwd", "/static/..\\..\\app.py", "/static/%00", "/../../etc/passwd", "/static/../app.py",
    "/api/images/../../../etc/passwd", "/api/images/..%2f..%2fproject.toml/thumb", "/api/images/%2e%2e/export/labels",
    "/api/images/x'%20OR%201=1/thumb", "/api/jobs/..%2f..%2fx/report", "/api/export/../../etc/passwd",
    "/api/export/objects%00", "/api/images/nope/labels/0/0/0/0",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_address_leads_out_of_the_project(page, path, project):
    answer, data = page.request("GET", path)
    assert answer.status in (400, 404), data
    assert b"root:" not in data
    assert b"[project]" not in data
    assert str(project.folder).encode() not in data


@pytest.mark.parametrize(
    "rest",
    ["labels/99/0/0/0", "labels/0/7/0/0", "labels/0/0/5000/0", "labels/0/0/-1/0", "labels/0/0/99999999999999999999/0",
     "pixels/0/0/9/0/0", "pixels/55/0/0/0/0", "pixels/0/99999999999/0/0/0", "field/secret/0/0/0", "field/flows/9/0/0",
     "candidates/7/0/0", "objects?plane=99999999999999999999", "measurements?plane=5",
     "objects?plane=x", "export/everything", "section/y/0/99999999999999999999", "section/y/7/0", "section/z/0/0",
     "section/x/0/0?channels=99", "section/x/0/0?channels=99999999999999999999"],
)  # fmt: skip
def test_no_tile_is_made_up(page, rest):
    answer, data = page.request("GET", f"/api/images/{page.image}/{rest}")
    assert answer.status in (204, 400, 404) or data == b"{}" or b'"id":[]' in data, (
        answer.status,
        data[:200],
    )


def test_wrong_tokens_hosts_and_origins_over_the_wire(serve, project):
    server = serve()
    good = server.page()
    assert Page(server.port, "wrong" * 10).request("GET", "/api/project")[0].status == 403
    assert good.request("GET", "/api/project", Host="evil.example")[0].status == 421
    assert (
        good.request("DELETE", f"/api/images/{project.images()[0].id}", Origin="http://evil.example")[
            0
        ].status
        == 403
    )
    for headers in (
        {"Origin": "http://evil.example"},
        {"host": "evil.example"},
        {"Authorization": "Bearer no"},
    ):
        with pytest.raises(InvalidStatus):
            server.page().connect(**headers)
    assert len(project.images()) == 2
    raw = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    raw.request("GET", "/api/project")
    assert raw.getresponse().status == 403
    raw.close()


MALFORMED = [
    b"", b"\xc1", b"hello", b"\x81", b"\xdd\xff\xff\xff\xff", b"\x93\x01\x02\x03", b"\x81\xa4type\xa3sad",
    msgspec.msgpack.encode({"type": "edit"}), msgspec.msgpack.encode({"type": "open", "image": 5, "plane": "x"}),
    msgspec.msgpack.encode({"type": "ping", "t": "now"}), msgspec.msgpack.encode({"type": "undo", "image": "a", "more": 1}),
    msgspec.msgpack.encode({"type": "submit", "kind": "rm -rf", "image": None, "params": {}}),
    b"\x91" * 5000 + b"\x00",
]  # fmt: skip


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("data", MALFORMED, ids=range(len(MALFORMED)))
def test_a_message_that_makes_no_sense_is_refused(page, data):
    page.socket.send(data)
    assert page.until("notice")["level"] == "error"
    page.send(type="ping", t=5)
    assert page.until("pong")["t"] == 5  # one mistake is forgiven


@pytest.mark.usefixtures("unchanged")
def test_nonsense_again_and_again_ends_the_connection(page):
    def speak():
        for _ in range(50):
            page.socket.send(b"\xc1")
            page.receive()

    with pytest.raises(ConnectionClosed):
        speak()


@pytest.mark.usefixtures("unchanged")
def test_text_and_a_missing_greeting_are_refused(page):
    page.socket.send("text")
    assert "binary" in page.until("notice")["message"]
    stranger = Page(page.port, page.token)
    stranger.connect()
    stranger.close()


@pytest.mark.usefixtures("unchanged")
def test_a_message_beyond_the_limit_ends_the_connection(page, caplog):
    logging.getLogger("cellbrook.server").info("an oversized message follows")

    def speak():
        page.send(type="set", what="name", value="x" * 2**21)
        for _ in range(10):
            page.receive()

    with pytest.raises(ConnectionClosed) as closed:
        speak()
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1009


HUGE = encode_runs(np.array([[0, 0, 2**31 - 1]]))
EDITS = [
    {"kind": "paint", "label": 5, "runs": b"\xff\xff"},
    {"kind": "paint", "label": 5, "runs": HUGE},
    {"kind": "paint", "label": 5, "runs": encode_runs(np.array([[299, 419, 421]]))},
    {"kind": "paint", "label": 5, "runs": encode_runs(np.array([[300, 0, 5]]))},
    {"kind": "paint", "label": -5, "runs": encode_runs(np.array([[1, 0, 5]]))},
    {"kind": "paint", "label": 2**24 + 5, "runs": encode_runs(np.array([[1, 0, 5]]))},
    {"kind": "paint", "label": 99_999, "runs": encode_runs(np.array([[1, 0, 5]]))},
    {"kind": "paint", "label": 2**63, "runs": encode_runs(np.array([[1, 0, 5]]))},
    {"kind": "paint", "label": 5},
    {"kind": "paint", "label": 1, "runs": encode_runs(np.array([[1, 0, 5]])), "plane": 7},
    {"kind": "paint", "label": 1, "runs": encode_runs(np.array([[1, 0, 5]])), "base_rev": 10**9},
    {"kind": "merge", "ids": []},
    {"kind": "merge", "ids": [1]},
    {"kind": "delete", "ids": [-1]},
    {"kind": "delete", "ids": [2**60]},
    {"kind": "delete"},
    {"kind": "split", "ids": [1]},
    {"kind": "split", "ids": [1], "line": [[float("nan"), 1.0], [1.0, float("inf")]]},
    {"kind": "split", "ids": [1], "line": [[1e300, 1.0], [-1e300, 5.0]]},
    {"kind": "relabel", "ids": [1]},
    {"kind": "relabel", "ids": [1], "label": 0},
    {"kind": "set_class", "ids": [1], "value": 1e300},
    {"kind": "set_class", "ids": [1], "value": -4},
    {"kind": "accept", "ids": [1]},
    {"kind": "prompt"},
    {"kind": "prompt", "line": [[-5.0, 1e12]]},
    {"kind": "prompt", "box": [5, 5, 5, 5]},
    {"kind": "batch"},
    {"kind": "batch", "parts": [{"plane": 0, "kind": "batch"}]},
    {"kind": "batch", "parts": [{"plane": 0, "kind": "delete", "ids": [1]}, {"plane": 0, "kind": "delete", "ids": [77]}]},
]  # fmt: skip


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("fields", EDITS, ids=range(len(EDITS)))
def test_an_edit_that_does_not_fit_is_refused_whole(page, fields):
    page.send(type="edit", image=page.image, **{"plane": 0, "base_rev": 1, "op_id": "x", **fields})
    while (answer := page.receive())["type"] == "image":  # of the edits before, on a slow machine
        pass
    assert answer["type"] in ("reject", "notice"), answer
    assert "Traceback" not in str(answer)
    assert "unexpected" not in str(answer), answer


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "params",
    [{"model": "/etc/passwd"}, {"model": "../../x"}, {"nonsense": 1}, {"diameter": "wide"}, {"window": [1, 2]},
     {"window": "all"}, {"axes": "CYX"}, {"cellprob_threshold": "x"}, {"channels": "7"}],
)  # fmt: skip
def test_a_job_that_does_not_fit_fails_with_a_line(page, params):
    logging.getLogger("cellbrook.server").info("a job that does not fit follows")
    job = page.job("segment", page.image, **params)
    assert job["state"] == "failed"
    assert job["error"]
    assert "defect" not in (job["hint"] or ""), job


class Bomb:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return (print, ("boom",))


def seg_files():
    good = {"masks": np.ones((300, 420), np.uint16), "outlines": np.zeros((300, 420), np.uint16)}
    yield "pickle", pickle.dumps({**good, "x": Bomb()})
    file = io.BytesIO()
    np.save(file, np.array({**good, "x": Bomb()}, dtype=object), allow_pickle=True)
    yield "npy with a bomb", file.getvalue()
    file = io.BytesIO()
    np.save(file, np.array([Bomb()], dtype=object), allow_pickle=True)
    yield "npy of a bomb", file.getvalue()
    file = io.BytesIO()
    np.save(file, np.ones((30, 42), np.uint16))
    yield "wrong size", file.getvalue()
    yield (
        "huge header",
        b"\x93NUMPY\x01\x00"
        + struct.pack("<H", 118)
        + (b"{'descr': '<u4', 'fortran_order': False, 'shape': (100000, 100000, 1000), }".ljust(117) + b"\n"),
    )
    yield "cut short", file.getvalue()[:60]
    yield "empty", b""
    yield "noise", bytes(range(256)) * 40


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(("what", "data"), list(seg_files()), ids=[w for w, _ in seg_files()])
def test_a_crafted_seg_npy_is_never_run(page, what, data, capfd):
    answer, body = page.upload(f"/api/images/{page.image}/import", ("first_seg.npy", data))
    assert answer.status in (400, 409), body
    assert b"Traceback" not in body
    assert b"cellbrook-upload" not in body
    assert "boom" not in "".join(capfd.readouterr())


@pytest.mark.usefixtures("unchanged")
def test_a_zip_bomb_and_a_zip_that_climbs_are_refused(page):
    for entries in ({"a.roi": b"\0" * 2**24}, {"../../evil.roi": b"Iout" + b"\0" * 60}, {}):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as pack:
            for name, data in entries.items():
                pack.writestr(name, data)
        answer, body = page.upload(f"/api/images/{page.image}/import", ("x.zip", file.getvalue()))
        assert answer.status in (400, 409), body


@pytest.mark.parametrize(
    ("data", "word"),
    [
        *(
            (json.dumps([["zarr.json", 2], [path, 2]]).encode() + b"\n{}{}", "name that cannot be kept")
            for path in ("../a.png", "/a.png", "a//b", "a/..", ".", "", "..\\a.png", "C:a.png", "a\0b")
        ),
        (b'[["zarr.json", 9]]\n{}', "in full"),
        (b'[["zarr.json", 2], ["zarr.json/a", 2]]\n{}{}', "cannot be kept"),
        (b'[["zarr.json", 2], ["zarr.json", 2]]\n{}{}', "cannot be kept"),
        (b'[["0", 2]]\n{}', "no OME-Zarr image"),
        (b'[["zarr.json", -2]]\n{}', "not readable|cannot be read"),
        (b'[["\\ud800", 2]]\n{}', "not named"),
        (b"\x89PNG", "not named"),
        (b"[" + b" " * 2**24, "too many files"),
    ],
)
def test_a_folder_that_climbs_or_is_none_is_refused(page, project, data, word, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    answer, body = page.upload("/api/images", ("a.zarr", data), kind=FOLDER)
    said = body.decode()
    if answer.status == 200:
        said = json.loads(body)["failed"][0]["error"]
    else:
        assert answer.status == 400, said
    assert re.search(word, said), said
    assert str(tmp_path) not in said
    assert len(project.images()) == 2
    assert not [*tmp_path.rglob("a.png"), *tmp_path.rglob("a.zarr")]


def test_an_upload_beyond_the_limit_is_refused(images, tmp_path, serve):
    with Project.create(tmp_path / "small.project", images=[images]) as project:
        server = serve(project, Limits(upload_bytes=50_000, threads=1))
        page = server.page()
        answer, body = page.upload("/api/images", ("big.png", b"\x89PNG" + b"\0" * 100_000))
        assert answer.status == 413
        assert b"--max-upload" in body
        # without a length, the bytes are counted as they come
        raw = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        body = (
            b'--m\r\nContent-Disposition: form-data; name="files"; filename="big.png"\r\n\r\n'
            + b"\0" * 100_000
        )
        try:
            raw.request(
                "POST",
                "/api/images",
                body=iter([body, b"\r\n--m--\r\n"]),
                headers={**page.headers, "Content-Type": "multipart/form-data; boundary=m"},
                encode_chunked=True,
            )
            assert raw.getresponse().status == 413
        except (BrokenPipeError, ConnectionResetError):
            pass  # it hung up while we were still sending
        finally:
            raw.close()
        assert len(project.images()) == 2
        server.close()


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../..",
        "/",
        "\\",
        "a/../..",
        "...",
        ".hidden",
        "con\x00.tif",
        "x" * 5000 + ".tif",
        "a:b?.tif",
        "",
    ],
)
def test_a_files_name_is_only_a_name(name):
    kept = safe_name(name)
    assert kept
    assert not kept.startswith(".")
    assert len(kept.encode()) <= 200
    assert not set("/\\\0:?") & set(kept)
