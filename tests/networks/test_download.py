from __future__ import annotations

import errno
import http.server
import json
import shutil
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from cellbrook.errors import ModelError
from cellbrook.networks.download import check_url, download, is_offline

if TYPE_CHECKING:
    from pathlib import Path

BODY = bytes(range(256)) * 8192  # 2 MiB


def test_a_dropped_download_goes_on_where_it_stopped(server, tmp_path: Path) -> None:
    server.body = BODY
    server.drop_after = [500_000, 700_000]
    path = download(f"{server.url}/a", tmp_path, wait_s=0)
    assert path.read_bytes() == BODY
    assert server.requests == [None, "bytes=500000-", "bytes=1200000-"]
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".done"]


def test_a_second_run_goes_on_after_giving_up(server, tmp_path: Path) -> None:
    server.body = BODY
    server.drop_after = [300_000, 0, 0]
    with pytest.raises(ModelError, match=r"stopped after 300000 bytes.*run the same command again"):
        download(f"{server.url}/a", tmp_path, wait_s=0, attempts=3)
    assert download(f"{server.url}/a", tmp_path, wait_s=0).read_bytes() == BODY
    assert server.requests[-1] == "bytes=300000-"


def test_a_file_that_changed_meanwhile_is_fetched_anew(server, tmp_path: Path) -> None:
    server.body = BODY
    server.drop_after = [300_000]
    with pytest.raises(ModelError):
        download(f"{server.url}/a", tmp_path, wait_s=0, attempts=1)
    server.body, server.etag = BODY[::-1], '"two"'
    assert download(f"{server.url}/a", tmp_path, wait_s=0).read_bytes() == BODY[::-1]


@pytest.mark.parametrize("change", ["no ranges", "no validator"])
def test_a_server_that_cannot_resume_is_asked_from_the_start(server, tmp_path: Path, change: str) -> None:
    server.body = BODY
    server.drop_after = [300_000]
    if change == "no ranges":
        server.ranges = False
    else:
        server.etag = None
    assert download(f"{server.url}/a", tmp_path, wait_s=0).read_bytes() == BODY
    assert len(server.requests) == 2


def test_a_whole_partial_file_is_taken_as_it_is(server, tmp_path: Path) -> None:
    server.body = BODY
    done = download(f"{server.url}/a", tmp_path, wait_s=0)
    done.rename(done.with_suffix(".part"))  # as if it had been stopped just before the end
    done.with_suffix(".json").write_text(json.dumps({"validator": '"one"', "total": len(BODY)}))
    assert download(f"{server.url}/a", tmp_path, wait_s=0).read_bytes() == BODY
    assert server.requests == [None, f"bytes={len(BODY)}-"]


def test_what_another_attempt_cannot_mend_is_said_at_once(server, tmp_path: Path) -> None:
    server.fail_with = [404, 404]
    with pytest.raises(ModelError, match="the server says 404"):
        download(f"{server.url}/a", tmp_path, wait_s=0)
    assert len(server.requests) == 1


def test_a_busy_server_is_asked_again(server, tmp_path: Path) -> None:
    server.body, server.fail_with = b"abc", [503, 429]
    assert download(f"{server.url}/a", tmp_path, wait_s=0).read_bytes() == b"abc"


def test_more_than_expected_is_refused(server, tmp_path: Path) -> None:
    server.body = BODY
    with pytest.raises(ModelError, match="expected 1000"):
        download(f"{server.url}/a", tmp_path, wait_s=0, max_bytes=1000)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a",
        "ftp://example.org/a",
        "file:///etc/passwd",
        "https:///a",
        "http://127.0.0.1.example.org/",
    ],
)
def test_only_https_is_fetched(url: str, tmp_path: Path, no_network: None) -> None:
    with pytest.raises(ModelError, match="expected an https"):
        download(url, tmp_path)
    assert check_url("https://example.org/a") == "https://example.org/a"


@pytest.mark.parametrize("target", ["http://example.org/a", "file:///etc/passwd", "ftp://example.org/a"])
def test_a_redirect_out_of_tls_is_refused(server, tmp_path: Path, target: str) -> None:
    server.redirect_to = target
    with pytest.raises(ModelError):
        download(f"{server.url}/a", tmp_path, wait_s=0, attempts=1)
    assert not list(tmp_path.glob("*.done"))


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_offline_by_the_environment(
    value: str, offline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    monkeypatch.setenv("CELLBROOK_OFFLINE", value)
    assert is_offline() is offline
    if offline:
        with pytest.raises(ModelError, match="offline mode is on"):
            download("https://example.org/a", tmp_path)


def test_two_downloads_of_one_file_do_not_mix(server, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    server.body = BODY
    first = download(f"{server.url}/a", tmp_path, wait_s=0)
    with first.with_suffix(".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ModelError, match="another process is downloading"):
            download(f"{server.url}/a", tmp_path, wait_s=0)


def test_a_file_system_without_locks_stops_no_download(
    server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    server.body = BODY
    assert download(f"{server.url}/a", tmp_path, wait_s=0).read_bytes() == BODY


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_an_untrusted_certificate_is_refused(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-keyout",
            str(key),
            "-out",
            str(certificate),
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    served = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.append(self.path)

    class Quiet(http.server.HTTPServer):
        def handle_error(self, *_: object) -> None:
            pass

    web = Quiet(("127.0.0.1", 0), Handler)
    web.socket = context.wrap_socket(web.socket, server_side=True)
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        with pytest.raises(ModelError, match="certificate is not trusted"):
            download(f"https://127.0.0.1:{web.server_address[1]}/a", tmp_path, wait_s=0)
    finally:
        web.shutdown()
        thread.join()
        web.server_close()
    assert served == []
