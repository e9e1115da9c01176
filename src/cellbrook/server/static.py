"""The page itself: files that the build put beside this module."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

if TYPE_CHECKING:
    from starlette.requests import Request

FOLDER = Path(__file__).with_name("static")
_TYPES = {
    ".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml", ".png": "image/png",
    ".ico": "image/x-icon", ".woff2": "font/woff2", ".json": "application/json", ".map": "application/json",
}  # fmt: skip

_MISSING = """<!doctype html><meta charset="utf-8"><title>Cellbrook</title>
<h1>The page is not part of this installation</h1>
<p>Cellbrook was installed without Node at hand, so its page was not built. The server works.</p>
<p>In a clone of Cellbrook: <code>cd frontend &amp;&amp; npm ci &amp;&amp; npm run build</code>, then reload this
page. Or install a wheel from a release, which contains it.</p>
"""


def page_routes(folder: Path = FOLDER) -> list[BaseRoute]:
    """Return the routes of the page and its files.

    Parameters
    ----------
    folder : Path
        Where ``index.html`` and what it needs are.
    """

    async def page(request: Request) -> Response:
        index = folder / "index.html"
        if not index.is_file():
            return HTMLResponse(_MISSING, 503)
        return FileResponse(index, media_type="text/html", headers={"Cache-Control": "no-cache"})

    async def asset(request: Request) -> Response:
        if "\0" in request.path_params["path"]:
            return PlainTextResponse("there is no such file\n", 404)
        wanted = (folder / request.path_params["path"]).resolve()
        kind = _TYPES.get(wanted.suffix)
        if kind is None or not wanted.is_relative_to(folder.resolve()) or not wanted.is_file():
            return PlainTextResponse("there is no such file\n", 404)
        # names of built files carry a hash of their content
        hashed = re.search(r"-[\w-]{8}\.\w+$", wanted.name)
        lasting = "private, max-age=31536000, immutable" if hashed else "no-cache"
        return FileResponse(wanted, media_type=kind, headers={"Cache-Control": lasting})

    return [
        Route("/", page, methods=["GET"]),
        Route("/static/{path:path}", asset, methods=["GET"]),
    ]
