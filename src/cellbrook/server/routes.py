"""What a page fetches: the project, tiles, tables. Thin: everything is in `Workspace` and read in threads."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING, Any

import imagecodecs
import msgspec
import numpy as np
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from cellbrook.errors import CellbrookError, ImageError, UsageError
from cellbrook.io.png import encode_png
from cellbrook.project.predict import read_cache
from cellbrook.server.edits import row_of
from cellbrook.server.info import pixels_tag
from cellbrook.server.messages import OBJECT_COLUMNS, TILE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from numpy.typing import NDArray
    from starlette.requests import Request

    from cellbrook.server.workspace import Workspace

log = logging.getLogger(__name__)

Endpoint = "Callable[[Request], Awaitable[Response]]"

_json = msgspec.json.Encoder()


def answered(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Turn our errors into answers of one line."""

    @functools.wraps(endpoint)
    async def answering(request: Request) -> Response:
        try:
            return await endpoint(request)
        except UsageError as error:
            missing = "no image" in str(error) or "no chunk" in str(error)
            return plain_error(404 if missing else 400, error)
        except ImageError as error:
            return plain_error(409, error)
        except (CellbrookError, OSError) as error:
            return plain_error(getattr(error, "status", 500), error)
        except OverflowError:
            return plain_error(400, "numbers in this address are larger than anything here")
        except ClientDisconnect:  # nobody hears this; the log is to have a line, not a traceback
            return plain_error(400, "the browser went away before all of it had come")
        except MemoryError:
            return plain_error(507, "not enough memory: close other programs, or open a smaller image")

    return answering


def plain_error(status: int, error: object) -> Response:
    """Return an error as a line of text."""
    text = " ".join(str(error).split())
    log.info("answered %d: %s", status, text)
    return PlainTextResponse(text + "\n", status)


def json_answer(value: Any, headers: dict[str, str] | None = None) -> Response:
    """Return a value as JSON; NaN becomes null."""
    return Response(_json.encode(_finite(value)), media_type="application/json", headers=headers)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, msgspec.Struct):
        return _finite(msgspec.to_builtins(value))
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    return value


def packed(pixels: NDArray[Any]) -> bytes:
    """Return an array's bytes as gzip, quickly and without the interpreter's lock."""
    data = imagecodecs.gzip_encode(np.ascontiguousarray(pixels).tobytes(), level=1)
    return bytes(data)


def binary(data: bytes, tag: str, *, named: bool = False) -> Response:
    """Return gzipped bytes that a browser unpacks by itself; what their address names for good it need not ask for again."""
    headers = {"Content-Encoding": "gzip", "ETag": f'"{tag}"'}
    if named:
        headers["Cache-Control"] = "private, max-age=31536000, immutable"
    return Response(data, media_type="application/octet-stream", headers=headers)


def same(request: Request, tag: str) -> bool:
    """Return whether the browser has this version."""
    return f'"{tag}"' in request.headers.get("if-none-match", "")


def nothing(tag: str = "0") -> Response:
    """Return that there is nothing there."""
    return Response(status_code=204, headers={"ETag": f'"{tag}"'})


def unchanged(tag: str) -> Response:
    """Return that the browser's copy is still good."""
    return Response(status_code=304, headers={"ETag": f'"{tag}"'})


def read_routes(workspace: Workspace) -> list[BaseRoute]:
    """Return the routes that change nothing."""
    project = workspace.project
    tiles = asyncio.Semaphore(3)  # a page asks for sixty at once; one reader stays free for everything else

    async def get_project(request: Request) -> Response:
        return json_answer(await workspace.read(workspace.summary))

    async def get_image(request: Request) -> Response:
        return json_answer(await workspace.read(workspace.info, request.path_params["id"], full=True))

    async def get_thumb(request: Request) -> Response:
        image = request.path_params["id"]
        tag = pixels_tag(project, image)
        if same(request, tag):
            return unchanged(tag)
        data = await workspace.read(_thumb, workspace, image)
        return Response(data, media_type="image/png", headers={"ETag": f'"{tag}"'})

    async def get_pixels(request: Request) -> Response:
        p = request.path_params
        tag = pixels_tag(project, p["id"])
        if same(request, tag):
            return unchanged(tag)

        def make() -> bytes | None:
            tile = workspace.pixels(p["id"]).tile(p["level"], p["plane"], p["channel"], p["ty"], p["tx"])
            return None if tile is None else packed(tile)

        async with tiles:
            data = await workspace.read(make)
        if data is None:
            return plain_error(404, f"the image has no tile {p['ty']}, {p['tx']} at level {p['level']}")
        return binary(data, tag, named=request.query_params.get("v") == tag)

    async def get_labels(request: Request) -> Response:
        p = request.path_params

        def make() -> tuple[str, bytes | None]:
            store = project.labels(p["id"])
            if p["level"] >= store.levels:
                raise UsageError(f"there is no chunk at level {p['level']}: there are {store.levels} levels")
            tag = store.etag(p["plane"], p["ty"], p["tx"], p["level"])
            if same(request, tag):
                return tag, b""
            return tag, store.chunk_bytes(p["plane"], p["ty"], p["tx"], p["level"])

        async with tiles:
            tag, data = await workspace.read(make)
        if data is None:
            return nothing(tag)
        return binary(data, tag) if data else unchanged(tag)

    async def get_objects(request: Request) -> Response:
        image, plane = request.path_params["id"], _plane(request)

        def make() -> tuple[int, bytes]:
            store = project.labels(image)
            rev, given = store.rev, project.log(image).classified()
            rows = [{**row_of(r), "class_given": r.id in given} for r in store.objects(plane)]
            ghosts = workspace.ghosts(image).on(plane, _taken(workspace, image))
            rows += [{**g, "gone": False} for g in ghosts]
            return rev, _json.encode(_finite(columns(rows)))

        rev, data = await workspace.read(make)
        return Response(data, media_type="application/json", headers={"ETag": f'"{rev}"'})

    async def get_candidates(request: Request) -> Response:
        p = request.path_params

        def make() -> bytes | None:
            tile = workspace.ghosts(p["id"]).tile(p["plane"], p["ty"], p["tx"], _taken(workspace, p["id"]))
            return None if tile is None else packed(tile.astype("<u4"))

        async with tiles:
            data = await workspace.read(make)
        return nothing() if data is None else binary(data, f"{project.image(p['id']).rev}")

    async def get_field(request: Request) -> Response:
        p = request.path_params

        def make() -> bytes | None:
            try:
                flows, cellprob = read_cache(project, project.image(p["id"]))
            except UsageError:
                return None
            shape = cellprob.shape[-2:]
            field = cellprob[:, None] if p["kind"] == "cellprob" else flows
            y, x = p["ty"] * TILE, p["tx"] * TILE
            if not (p["plane"] < len(field) and y < shape[0] and x < shape[1]):
                return None
            part = field[p["plane"], :, y : y + TILE, x : x + TILE]
            full = np.zeros((len(part), TILE, TILE), "<f2")
            full[:, : part.shape[1], : part.shape[2]] = part
            return packed(full)

        if p["kind"] not in ("cellprob", "flows"):
            return plain_error(404, "there are the fields cellprob and flows")
        async with tiles:
            data = await workspace.read(make)
        return nothing() if data is None else binary(data, f"{project.image(p['id']).rev}")

    async def get_section(request: Request) -> Response:
        p = request.path_params
        image, axis, t, at = p["id"], p["axis"].upper(), p["t"], p["at"]

        def make() -> tuple[str, bytes] | None:
            pixels, store = workspace.pixels(image), project.labels(image)
            asked = request.query_params.get("channels", "")
            channels = [int(c) for c in asked.split(",") if c.isdecimal()]
            rows, cols = pixels.shape
            inside = axis in ("Y", "X") and t < pixels.t and at < (rows if axis == "Y" else cols)
            if not inside or any(c >= pixels.channel_count for c in channels):
                return None
            box = (at, 0, at + 1, cols) if axis == "Y" else (0, at, rows, at + 1)
            with project.database.lock:  # of one revision
                rev = store.rev
                labels = [store.read(t * pixels.z + z, *box).ravel() for z in range(pixels.z)]
            shown = pixels.section(t, box, channels).tobytes() if channels else b""
            data = shown + np.array(labels).astype("<u4").tobytes()
            return str(rev), packed(np.frombuffer(data, np.uint8))

        async with tiles:
            made = await workspace.read(make)
        if made is None:
            return plain_error(404, f"the image has no cut across {axis} at {at}")
        return binary(made[1], f"{made[0]}-{pixels_tag(project, image)}")

    async def get_history(request: Request) -> Response:
        image, user = request.path_params["id"], request.scope["state"]["user"]

        def look() -> dict[str, str | None]:
            log = project.log(image)
            return {"undo": log.next_step("undo", user), "redo": log.next_step("redo", user)}

        return json_answer(await workspace.read(look))

    async def get_measurements(request: Request) -> Response:
        from cellbrook.server.tables import measurements

        table = await workspace.read(measurements, workspace, request.path_params["id"], _plane(request))
        return json_answer(table)

    async def get_regions(request: Request) -> Response:
        from cellbrook.server.tables import regions_of

        image, plane = request.path_params["id"], _plane(request) or 0
        return json_answer({"regions": await workspace.read(regions_of, project, image, plane)})

    base = "/api/images/{id}"
    found = [
        ("/api/project", get_project),
        (base, get_image),
        (base + "/thumb", get_thumb),
        (base + "/pixels/{level:int}/{plane:int}/{channel:int}/{ty:int}/{tx:int}", get_pixels),
        (base + "/labels/{level:int}/{plane:int}/{ty:int}/{tx:int}", get_labels),
        (base + "/objects", get_objects),
        (base + "/candidates/{plane:int}/{ty:int}/{tx:int}", get_candidates),
        (base + "/field/{kind}/{plane:int}/{ty:int}/{tx:int}", get_field),
        (base + "/section/{axis}/{t:int}/{at:int}", get_section),
        (base + "/history", get_history),
        (base + "/measurements", get_measurements),
        (base + "/regions", get_regions),
    ]
    return [Route(path, answered(endpoint), methods=["GET"]) for path, endpoint in found]


def columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return rows as columns of equal length."""
    return {name: [r.get(name) for r in rows] for name in (*OBJECT_COLUMNS, "gone")}


def _taken(workspace: Workspace, image: str) -> set[int]:
    """Return the ids of candidates that became objects."""
    ids = [r["id"] for r in workspace.ghosts(image).rows]
    return {r.id for r in workspace.project.labels(image).objects(ids=ids)} if ids else set()


def _plane(request: Request) -> int | None:
    text = request.query_params.get("plane")
    if text is None:
        return None
    if not text.isdigit() or len(text) > 9:
        raise UsageError(f"a plane is a number from 0, got {text[:20]!r}")
    return int(text)


def _thumb(workspace: Workspace, image: str) -> bytes:
    kept = workspace.cache(image) / f"thumb-{pixels_tag(workspace.project, image)}.png"
    try:
        return kept.read_bytes()
    except OSError:
        pass
    data = encode_png(workspace.pixels(image).small())
    if not workspace.project.read_only:
        from cellbrook.io.atomic import atomic

        with atomic(kept) as target:
            target.write_bytes(data)
    return data
