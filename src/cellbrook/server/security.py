"""Who may speak to the server: those who hold its token, from a page that it served itself.

Anybody on the machine can reach a port of it, and any web page that the user opens can make their browser send
requests there. So a request needs the token (as a cookie of this origin, or a bearer header), must name a host that the
server goes by (else a foreign name could be made to point here), and, where a browser says from which page it comes,
that must be ours.
"""

from __future__ import annotations

import hashlib
import html
import ipaddress
import logging
import os
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse

from cellbrook.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_USER_COOKIE = "cellbrook-user"
_USER = re.compile(r"[0-9a-f]{12}")

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; worker-src 'self' blob:; style-src 'self'; img-src 'self' blob: data:; "
        "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
"""On every answer."""


@dataclass(frozen=True, slots=True)
class Access:
    """What the gate goes by.

    Parameters
    ----------
    token : str
        The secret, 256 bits as made by `new_token`.
    hosts : frozenset of str
        Names of this server in the Host header, without port; those of the loopback come by themselves.
    origins : frozenset of str
        Hosts, with or without port, from which a page may speak although the Host header differs: the outside of a
        proxy.
    base : str
        Path under which a proxy shows the server and which it does not take away, such as "/user/anna/"; "/" for none.
    tickets : set of str
        Tokens that open the door once: what stands in the command line of a browser can be read by others.
    """

    token: str
    hosts: frozenset[str] = LOOPBACK
    origins: frozenset[str] = frozenset()
    base: str = "/"
    tickets: set[str] = field(default_factory=set)
    _digest: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_digest", hashlib.sha256(self.token.encode()).digest())

    @property
    def cookie(self) -> str:
        """Name of the cookie: two servers on one host must not take each other's."""
        return f"cellbrook-{hashlib.sha256(b'name' + self._digest).hexdigest()[:8]}"

    def is_token(self, given: str | None) -> bool:
        """Return whether this is the token; takes equally long whatever it is."""
        return given is not None and secrets.compare_digest(
            hashlib.sha256(given.encode("utf-8", "replace")).digest(), self._digest
        )

    def takes_ticket(self, given: str) -> bool:
        """Return whether this is a token that opens once, and forget it."""
        if given in self.tickets:
            self.tickets.discard(given)
            return True
        return False

    def knows_host(self, host: str | None, own: str | None = None) -> bool:
        """Return whether a Host header names this server; `own` is the address at which the request came in."""
        name = _host_name(host)
        if name is None:
            return False
        return name in self.hosts or host in self.origins or name in self.origins or _same_address(name, own)

    def trusts_origin(self, origin: str | None, host: str | None) -> bool:
        """Return whether a page of this origin may speak; a request without one is no page's."""
        if origin is None:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or not parts.netloc:
            return False
        here = parts.netloc.lower()
        return here == (host or "").lower() or here in self.origins or _host_name(here) in self.origins


def new_token() -> str:
    """Return a fresh token of 256 bits."""
    return secrets.token_urlsafe(32)


def token_from_file(path: Path) -> str:
    """Return the token in a file; if there is no such file, write one that only its owner can read.

    Raises
    ------
    UsageError
        If it cannot be read or written, or holds less than 32 characters.
    """
    try:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            token = path.read_text(encoding="ascii").strip()
        else:
            token = new_token()
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(token + "\n")
    except (OSError, ValueError) as error:
        raise UsageError(f"the token file {path} cannot be used: {error}") from error
    if len(token) < 32:
        raise UsageError(
            f"the token in {path} has {len(token)} characters: expected at least 32, such as `openssl rand -hex 32` gives"
        )
    return token


def base_path(text: str | None) -> str:
    """Return a base address as a path with a slash at both ends.

    Raises
    ------
    UsageError
        If it holds characters that a path cannot have.

    Examples
    --------
    >>> base_path(None), base_path("user/anna"), base_path("https://hub.example.org/user/anna/")
    ('/', '/user/anna/', '/user/anna/')
    """
    path = urlsplit(text or "").path if "//" in (text or "") else (text or "")
    if not re.fullmatch(r"[A-Za-z0-9_.~/@:%+-]*", path) or ".." in path:
        raise UsageError(f'a base address is a path such as "/user/anna/cellbrook/", got {text!r}')
    inner = path.strip("/")
    return f"/{inner}/" if inner else "/"


class Gate:
    """ASGI middleware: checks host, origin and token, takes the base path away, adds headers.

    Parameters
    ----------
    app : ASGIApp
        What lies behind.
    access : Access
        Who may come in.

    Notes
    -----
    The user's name for the rest of the server is in ``scope["state"]["user"]``: a second cookie tells browsers apart,
    so that each undoes its own strokes, after a reload too. It grants nothing.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        access = self._access
        web = scope["type"] == "http"
        host = headers.get("host")
        if not access.knows_host(host, (scope.get("server") or (None, None))[0]):
            await _refuse(
                scope, receive, send, 421,
                f"this server does not go by the name {_shown(host)}: start it with --allowed-host NAME to let it",
            )  # fmt: skip
            return
        unsafe = not web or scope["method"] not in ("GET", "HEAD")
        if unsafe and not access.trusts_origin(headers.get("origin"), host):
            await _refuse(
                scope, receive, send, 403,
                f"a page of {_shown(headers.get('origin'))} may not speak to this server: behind a proxy, start it with "
                "--allowed-host NAME of the proxy",
            )  # fmt: skip
            return
        scope = self._inside_base(scope)
        send = _with_headers(send, _wants_user(headers))
        path = scope["path"]
        query = parse_qs(scope["query_string"].decode("latin-1"))
        given = query.pop("token", [None])[-1]
        if web and given is not None and path == "/" and scope["method"] == "GET":
            await self._enter(given, query, scope, receive, send)
            return
        cookies = cookie_parser(headers.get("cookie", ""))
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if not (access.is_token(cookies.get(access.cookie)) or access.is_token(bearer)):
            await _refuse(
                scope, receive, send, 403,
                "open the address that `cellbrook serve` printed, with its token: this browser has none that fits",
            )  # fmt: skip
            return
        user = cookies.get(_USER_COOKIE, "")
        scope.setdefault("state", {})["user"] = user if _USER.fullmatch(user) else "me"
        await self._app(scope, receive, send)

    def _inside_base(self, scope: Scope) -> Scope:
        """Return the scope without the base path, which some proxies leave and others take away."""
        base, path = self._access.base, scope["path"]
        if base == "/" or not (path + "/").startswith(base):
            return scope
        return {**scope, "path": "/" + path[len(base) :], "root_path": ""}

    async def _enter(
        self, given: str, query: dict[str, list[str]], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Exchange the token in the address for a cookie.

        By a page that leads on, not by a redirect: a browser that follows one from a link in another site would not
        send the new cookie, which is SameSite=Strict. The cookie has no path, which makes it valid for the folder
        that the browser sees, whatever prefix a proxy has put before.
        """
        if not (self._access.is_token(given) or self._access.takes_ticket(given)):
            await _refuse(
                scope, receive, send, 403,
                "the token in this address is not this server's: take the address that it printed last",
            )  # fmt: skip
            return
        rest = urlencode(query, doseq=True)
        target = html.escape("./" + (f"?{rest}" if rest else ""), quote=True)
        response = HTMLResponse(
            f'<!doctype html><meta http-equiv="refresh" content="0; url={target}"><title>Cellbrook</title>',
            headers={"Cache-Control": "no-store"},
        )
        flags = "; HttpOnly; SameSite=Strict"
        if Headers(scope=scope).get("x-forwarded-proto", scope.get("scheme")) == "https":
            flags += "; Secure"
        response.headers.append("Set-Cookie", f"{self._access.cookie}={self._access.token}{flags}")
        await response(scope, receive, send)


def _wants_user(headers: Headers) -> bool:
    return not _USER.fullmatch(cookie_parser(headers.get("cookie", "")).get(_USER_COOKIE, ""))


def _with_headers(send: Send, new_user: bool) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "private, no-cache")
            if new_user and any("HttpOnly" in c for c in headers.getlist("set-cookie")):
                headers.append(
                    "Set-Cookie",
                    f"{_USER_COOKIE}={secrets.token_hex(6)}; Max-Age=31536000; HttpOnly; SameSite=Strict",
                )
        await send(message)

    return sending


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, text: str) -> None:
    client = scope.get("client") or ("?", 0)
    log.warning("refused %s %s from %s: %s", scope["type"], scope["path"][:200], client[0], text)
    if scope["type"] == "websocket":
        message = await receive()
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.close", "code": 4403, "reason": text[:120]})
        return
    await PlainTextResponse(text + "\n", status)(scope, receive, _with_headers(send, False))


def _host_name(netloc: str | None) -> str | None:
    """Return the name in "name:port", in lower case; None if it is neither a name nor an address."""
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?", netloc or "")
    return found[1].lower() if found else None


def _same_address(name: str, own: str | None) -> bool:
    """Return whether a host is the very address of this machine; an address cannot be made to point elsewhere."""
    try:
        return own is not None and ipaddress.ip_address(name.strip("[]")) == ipaddress.ip_address(own)
    except ValueError:
        return False


def _shown(text: str | None) -> str:
    return repr((text or "")[:100])
