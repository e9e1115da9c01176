"""The gate: who comes in, and from where."""

from __future__ import annotations

import asyncio
import os
import stat

import pytest

from cellbrook.errors import UsageError
from cellbrook.server.launch import is_loopback, make_access
from cellbrook.server.security import Access, Gate, base_path, new_token, token_from_file

TOKEN = new_token()


class Visit:
    """One request at a gate; what lies behind answers with its path and user."""

    def __init__(self, access, path="/api/project", method="GET", kind="http", query="", **headers):
        self.sent = []
        self.reached = None
        headers = {"host": "localhost:8765", **{k.replace("_", "-"): v for k, v in headers.items()}}
        scope = {
            "type": kind,
            "path": path,
            "method": method,
            "query_string": query.encode(),
            "scheme": "http",
            "server": ("127.0.0.1", 8765),
            "client": ("127.0.0.1", 50000),
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in headers.items() if v is not None],
        }
        asyncio.run(Gate(self.inside, access)(scope, self.receive, self.send))

    async def inside(self, scope, receive, send):
        self.reached = scope
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"in"})

    async def receive(self):
        return {"type": "websocket.connect"}

    async def send(self, message):
        self.sent.append(message)

    @property
    def status(self):
        return self.sent[0].get("status")

    @property
    def headers(self):
        return [(k.decode(), v.decode("latin-1")) for k, v in self.sent[0]["headers"]]

    def header(self, name):
        return [v for k, v in self.headers if k == name]

    @property
    def body(self):
        return b"".join(m.get("body", b"") for m in self.sent)


def access(**changes):
    return Access(TOKEN, **changes)


def cookie(of=None):
    return f"{(of or access()).cookie}={TOKEN}"


def test_a_token_has_256_bits_and_is_new_each_time():
    assert len(TOKEN) == 43  # of 64 characters each
    assert new_token() != TOKEN


def test_nobody_comes_in_without_a_token():
    for headers in (
        {},
        {"cookie": f"{access().cookie}=wrong"},
        {"authorization": "Bearer wrong"},
        {"cookie": "x=\xff"},
    ):
        visit = Visit(access(), **headers)
        assert visit.status == 403
        assert visit.reached is None
        assert TOKEN.encode() not in visit.body
    assert Visit(access(), query="token=" + TOKEN).status == 403  # only the page's own address takes it


def test_cookie_and_bearer_open_the_door():
    assert Visit(access(), cookie=cookie()).status == 200
    assert Visit(access(), authorization=f"Bearer {TOKEN}").status == 200


def test_the_address_with_the_token_gives_a_cookie_that_scripts_and_other_sites_cannot_use():
    visit = Visit(access(), path="/", query=f"token={TOKEN}&image=a%22b")
    assert visit.status == 200
    assert visit.reached is None
    ours = visit.header("set-cookie")[0]
    assert ours.startswith(cookie())
    assert "HttpOnly" in ours
    assert "SameSite=Strict" in ours
    assert "Path" not in ours  # the browser takes the folder that it sees, behind any prefix
    assert b"url=./?image=a%22b" in visit.body
    assert TOKEN.encode() not in visit.body
    assert "no-store" in visit.header("cache-control")[0]
    assert Visit(access(), path="/", query="token=wrong").status == 403


def test_behind_https_the_cookie_is_secure():
    visit = Visit(access(), path="/", query=f"token={TOKEN}", x_forwarded_proto="https")
    assert "Secure" in visit.header("set-cookie")[0]


def test_a_ticket_opens_once():
    door = access()
    door.tickets.add("ticket")
    first = Visit(door, path="/", query="token=ticket")
    assert first.header("set-cookie")[0].startswith(cookie(door))
    assert Visit(door, path="/", query="token=ticket").status == 403


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        None,
        "",
        "a b",
        "192.168.0.7",
        "[::2]",
    ],
)
def test_a_foreign_name_for_this_server_is_refused(host):
    visit = Visit(access(), host=host, cookie=cookie())
    assert visit.status == 421
    assert visit.reached is None


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1:8765", "[::1]:8765"])
def test_the_names_of_this_machine_are_known(host):
    assert Visit(access(), host=host, cookie=cookie()).status == 200


def test_the_very_address_of_the_machine_is_known():
    door = make_access("192.168.0.7")
    assert door.knows_host("192.168.0.7:8765", "192.168.0.7")
    assert not door.knows_host("192.168.0.8:8765", "192.168.0.7")


FOREIGN = [
    "https://evil.example",
    "http://localhost:9999",
    "null",
    "http://localhost:8765.evil.example",
    "file://",
    "http://[",
]


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
def test_other_pages_change_nothing(origin, method):
    visit = Visit(access(), method=method, origin=origin, cookie=cookie())
    assert visit.status == 403
    assert visit.reached is None


@pytest.mark.parametrize("origin", FOREIGN)
def test_other_pages_get_no_websocket(origin):
    visit = Visit(access(), kind="websocket", path="/ws", origin=origin, cookie=cookie())
    assert visit.sent[0]["type"] == "websocket.close"
    assert visit.reached is None


def test_our_own_page_gets_a_websocket_and_may_change_things():
    assert Visit(
        access(), kind="websocket", path="/ws", origin="http://localhost:8765", cookie=cookie()
    ).reached
    assert Visit(access(), method="POST", origin="http://localhost:8765", cookie=cookie()).reached
    assert (
        Visit(access(), kind="websocket", path="/ws", origin="http://localhost:8765").reached is None
    )  # no token


def test_a_proxy_that_is_allowed_may_speak_and_be_the_host():
    door = access(origins=frozenset({"hub.example.org", "other.example:8443"}))
    assert Visit(door, method="POST", origin="https://hub.example.org", cookie=cookie()).reached
    assert Visit(door, method="POST", origin="https://other.example:8443", cookie=cookie()).reached
    assert Visit(door, method="POST", origin="https://other.example", cookie=cookie()).reached is None
    assert Visit(door, host="hub.example.org", cookie=cookie()).reached


def test_the_base_path_is_taken_away_if_the_proxy_left_it():
    door = access(base="/user/anna/")
    for path, inside in {
        "/user/anna/api/x": "/api/x",
        "/user/anna/": "/",
        "/user/anna": "/",
        "/api/x": "/api/x",
        "/user/annabel/x": "/user/annabel/x",
    }.items():
        assert Visit(door, path=path, cookie=cookie()).reached["path"] == inside


def test_every_answer_has_the_headers_of_a_careful_server():
    for visit in (
        Visit(access(), cookie=cookie()),
        Visit(access()),
        Visit(access(), path="/", query=f"token={TOKEN}"),
    ):
        names = {k.lower() for k, _ in visit.headers}
        assert {
            "content-security-policy",
            "x-content-type-options",
            "referrer-policy",
            "x-frame-options",
        } <= names
        policy = visit.header("Content-Security-Policy") or visit.header("content-security-policy")
        assert "default-src 'none'" in policy[0]
        assert "unsafe" not in policy[0]


def test_browsers_are_told_apart_by_a_second_cookie_that_grants_nothing():
    user = "0123456789ab"
    assert Visit(access(), cookie=f"{cookie()}; cellbrook-user={user}").reached["state"]["user"] == user
    assert Visit(access(), cookie=f"{cookie()}; cellbrook-user=../../x").reached["state"]["user"] == "me"
    assert Visit(access(), cookie=f"cellbrook-user={user}").status == 403


def test_a_token_file_is_made_for_its_owner_alone_and_used_again(tmp_path):
    path = tmp_path / "token"
    token = token_from_file(path)
    assert token_from_file(path) == token
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("short")
    with pytest.raises(UsageError, match="at least 32"):
        token_from_file(path)
    with pytest.raises(UsageError, match="cannot be used"):
        token_from_file(tmp_path)


@pytest.mark.parametrize("wrong", ["/a/../b", "/a b", '/a"b', "a?b", "http://x/a/<b>"])
def test_a_base_that_is_no_path_is_refused(wrong):
    with pytest.raises(UsageError, match="base address"):
        base_path(wrong)


def test_loopback_is_known():
    assert [h for h in ("127.0.0.1", "::1", "localhost", "127.9.9.9") if not is_loopback(h)] == []
    assert [h for h in ("0.0.0.0", "::", "192.168.0.1", "example.org") if is_loopback(h)] == []
