"""Files in and out: images added, labels imported, results downloaded."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
import zipfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import msgspec
from starlette.background import BackgroundTask
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from cellbrook.errors import CellbrookError, ImageError, UsageError
from cellbrook.export import KINDS, save
from cellbrook.export.regions import in_each, regions_csv
from cellbrook.export.save import OF_REGIONS, possible_kinds
from cellbrook.io._omezarr import is_zarr
from cellbrook.io.files import reason_to_skip
from cellbrook.project.corrections import correcting, read_corrections
from cellbrook.project.images import AddReport
from cellbrook.project.regions import adding, drawn_regions, read_region_file
from cellbrook.server.messages import FOLDER
from cellbrook.server.routes import answered, json_answer, plain_error
from cellbrook.server.tables import result_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import Message

    from cellbrook.project.project import Project
    from cellbrook.server.jobs import Jobs
    from cellbrook.server.workspace import Workspace

log = logging.getLogger(__name__)

R = TypeVar("R")

_MOST_FILES = 1000
_MOST_PATHS = 16 * 2**20  # bytes
# of a path: neither a way out nor what Windows dislikes
_PART = re.compile(r'(?!\.{1,2}$)[^\x00-\x1f/\\<>:"|?*]+')
_EXPORTS = {"csv": "objects", **{k: k for k in (*KINDS, *OF_REGIONS)}}
_ALL_IN_ONE = ("labels", "overlay", "objects", "run", "rois", "geojson", "coco", *OF_REGIONS)
"""What "zip" holds; of regions, where there are some."""


class TooLarge(CellbrookError):
    """An upload beyond the limit."""

    status = 413


def change_routes(workspace: Workspace, jobs: Jobs, upload_bytes: int) -> list[BaseRoute]:
    """Return the routes that take and give files.

    Parameters
    ----------
    workspace : Workspace
        Of the project.
    jobs : Jobs
        Their reports.
    upload_bytes : int
        Largest request that is read.
    """
    project = workspace.project

    async def add(request: Request) -> Response:
        workspace.check_writable()
        of_folder = request.query_params.get("folder") == "1"
        async with uploaded(request, workspace, upload_bytes) as files:
            images = [f for f in files if not (of_folder and reason_to_skip(f))]
            report = await workspace.add(project.add, images, copy=True) if images else AddReport()
        await workspace.tell_project()
        return json_answer(
            {
                "skipped": len(files) - len(images),
                "added": [r.id for r in report.added],
                "already": [r.id for _, r in report.already],
                "failed": [{"name": p.name, "error": _no_folder(text, p)} for p, text in report.failed],
            }
        )

    async def remove(request: Request) -> Response:
        image = request.path_params["id"]
        workspace.check_writable()
        for job in jobs.find(image=image):
            await jobs.cancel(job.info.id)
        await workspace.write(project.remove, image)
        workspace.forget(image)
        await workspace.tell_project()
        return Response(status_code=204)

    async def bring_in(request: Request) -> Response:
        image = request.path_params["id"]
        workspace.check_writable()
        record = await workspace.read(project.image, image)
        corrections = await one_file(
            request, workspace, upload_bytes, lambda path: read_corrections(path, record)
        )
        op = await workspace.write(correcting, project, corrections)
        applied = await workspace.apply(image, op, user=request.scope["state"]["user"])
        if corrections.classes:
            await workspace.tell_project()
        return json_answer({"rev": applied.rev, "objects": len({r.id for r in applied.objects})})

    async def bring_regions(request: Request) -> Response:
        image = request.path_params["id"]
        workspace.check_writable()
        record = await workspace.read(project.image, image)
        shape = (record.height, record.width)
        regions, left = await one_file(
            request, workspace, upload_bytes, lambda path: read_region_file(path, shape)
        )
        applied = await workspace.apply(image, adding(regions), user=request.scope["state"]["user"])
        return json_answer(
            {
                "rev": applied.rev,
                "names": list(dict.fromkeys(r.name for r in regions)),
                "left": list(dict.fromkeys(left)),
            }
        )

    async def give_one(request: Request) -> Response:
        image, kind = request.path_params["id"], request.path_params["kind"]
        record = await workspace.read(project.image, image)
        kinds = _kinds(kind)
        if kind == "run" and record.run is None:
            raise UsageError(f"{record.name} was not segmented here, so there is no run.json of it")

        def make() -> tuple[Path, Path]:
            folder = Path(tempfile.mkdtemp(prefix="cellbrook-"))
            try:
                data = result_of(project, record, output=bool({"seg", "flows", "cellprob"} & set(kinds)))
                regions = drawn_regions(project, image)
                wanted = possible_kinds(kinds, regions) if kind == "zip" else kinds
                files = list(save(data, folder, wanted, classes=_names(project), regions=regions).values())
                if len(files) == 1 and files[0].is_file():
                    return folder, files[0]
                return folder, _zipped(folder / f"{record.name}_cellbrook.zip", files)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise

        return _file(*await workspace.export(make))

    async def give_all(request: Request) -> Response:
        kind = request.path_params["kind"]
        kinds = _kinds(kind)

        def make() -> tuple[Path, Path]:
            folder = Path(tempfile.mkdtemp(prefix="cellbrook-"))
            try:
                return folder, _everything(workspace, kinds, folder, kind)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise

        return _file(*await workspace.export(make))

    async def report(request: Request) -> Response:
        number = request.path_params["id"]
        if number in jobs.jobs:
            return json_answer(jobs.jobs[number].info.result or {})
        found = [j for j in await workspace.read(project.jobs) if j["id"] == number]
        return json_answer(found[0]["result"] or {}) if found else plain_error(404, "there is no such job")

    return [
        Route("/api/images", answered(add), methods=["POST"]),
        Route("/api/images/{id}", answered(remove), methods=["DELETE"]),
        Route("/api/images/{id}/import", answered(bring_in), methods=["POST"]),
        Route("/api/images/{id}/regions", answered(bring_regions), methods=["POST"]),
        Route("/api/images/{id}/export/{kind}", answered(give_one), methods=["GET"]),
        Route("/api/export/{kind}", answered(give_all), methods=["GET"]),
        Route("/api/jobs/{id}/report", answered(report), methods=["GET"]),
    ]


async def one_file(request: Request, workspace: Workspace, limit: int, read: Callable[[Path], R]) -> R:
    """Return what is read from the one file of a request, which goes onto an image.

    Raises
    ------
    UsageError
        If there are several, or it cannot be read; says so without the folder in which it lay.
    """
    async with uploaded(request, workspace, limit) as files:
        if len(files) != 1:
            raise UsageError(f"one file at a time goes onto an image, got {len(files)}")
        try:
            return await workspace.read(read, files[0])
        except CellbrookError as error:
            log.warning("refused a file: %s", error)
            raise UsageError(_no_folder(str(error), files[0])) from error


@asynccontextmanager
async def uploaded(request: Request, workspace: Workspace, limit: int) -> AsyncIterator[list[Path]]:
    """Write the files of a request into a folder of their own, and remove it in the end.

    Only the last part of a file's name is used, without what file systems dislike.

    Raises
    ------
    TooLarge
        If the request is beyond the limit; nothing of it is kept.
    UsageError
        If it holds no file.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise TooLarge(_too_large(limit))
    taken = 0
    receive = request.receive

    async def counting() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise TooLarge(_too_large(limit))
        return message

    # not in the project's own folder: what lies there already is none of the images that a user adds
    with tempfile.TemporaryDirectory(prefix="cellbrook-upload-") as name:
        folder = Path(name)
        async with Request(request.scope, counting).form(max_files=_MOST_FILES, max_fields=100) as form:
            paths: list[Path] = []
            for number, (_, part) in enumerate(form.multi_items()):
                if isinstance(part, UploadFile):
                    place = folder / str(number) / safe_name(part.filename or "file")
                    place.parent.mkdir()
                    await workspace.read(_keep, part, place)
                    paths.append(place)
        if not paths:
            raise UsageError("no file came: choose one, or drop it on the page")
        yield paths


def _keep(part: UploadFile, place: Path) -> None:
    if part.content_type == FOLDER:
        unpack(part.file, place)
        return
    with place.open("wb") as target:
        shutil.copyfileobj(part.file, target, 2**20)


def unpack(file: BinaryIO, folder: Path) -> None:
    """Write the files of an OME-Zarr folder that a page sends as one file.

    Parameters
    ----------
    file : file
        A line of JSON, ``[[path, bytes], ...]``, then the contents, one after the other.
    folder : Path
        Does not exist yet.

    Raises
    ------
    UsageError
        If it is no such folder, or a path leads out of it. What was written until then is left to the caller.
    """
    line = file.readline(_MOST_PATHS)
    if len(line) == _MOST_PATHS:
        raise UsageError(
            f"{folder.name} holds too many files to be sent: end the server, and add it by its path with"
            " `cellbrook project add`"
        )
    try:
        paths = msgspec.json.decode(line, type=list[tuple[str, int]])
    except msgspec.MsgspecError as error:
        raise UsageError(f"{folder.name}: its files are not named: {error}") from error
    for path, size in paths:
        refused = UsageError(
            f"{folder.name}: a file in it has a name that cannot be kept here: {path[:200]!r}"
        )
        if not all(_PART.fullmatch(p) for p in path.split("/")):
            raise refused
        place = folder / path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            target = place.open("xb")
        # on some systems also of names that differ in case alone
        except (FileExistsError, NotADirectoryError):
            raise refused from None
        with target:
            left = size
            while left > 0:
                block = file.read(min(left, 2**20))
                if not block:
                    raise UsageError(f"{folder.name}: did not come in full: add it again")
                target.write(block)
                left -= len(block)
    if not is_zarr(folder):
        raise UsageError(f"{folder.name}: is no OME-Zarr image: it has neither zarr.json nor .zattrs")


def safe_name(name: str) -> str:
    r"""Return the last part of a file's name, without what file systems dislike.

    Examples
    --------
    >>> safe_name("../../etc/passwd"), safe_name("C:\\\\a\\\\Zellen µ 1.tif"), safe_name(".."), safe_name(".bashrc")
    ('passwd', 'Zellen µ 1.tif', 'file', 'bashrc')
    >>> safe_name(300 * "a" + ".tif")[-6:], len(safe_name("a. " + 70 * "細"))
    ('aa.tif', 65)
    """
    last = re.split(r"[/\\]", name)[-1]
    kept = re.sub(r'[\x00-\x1f<>:"|?*]', "_", last).lstrip(".").strip()
    suffix = Path(kept).suffix
    ending = suffix if len(suffix) < 10 else ""
    stem = kept.removesuffix(ending)
    while (
        len(f"{stem}{ending}".encode("utf-8", "replace")) > 200
    ):  # what file systems take, with room for a number
        stem = stem[:-8]
    return stem + ending or "file"


def _kinds(kind: str) -> tuple[str, ...]:
    if kind == "zip":
        return _ALL_IN_ONE
    if kind not in _EXPORTS:
        raise UsageError(f"there is no export {kind!r}: there are {', '.join((*_EXPORTS, 'zip'))}")
    return (_EXPORTS[kind],)


def _names(project: Project) -> list[str]:
    return [c.name for c in project.settings.classes]


def _everything(workspace: Workspace, kinds: tuple[str, ...], folder: Path, kind: str) -> Path:
    from cellbrook.export.table import TableRow, all_objects_csv, summarise, summary_csv

    records = [r for r in workspace.project.own_images() if r.rev > 0]
    if not records:
        raise UsageError("no image has cells yet: segment one, or draw")
    files: list[Path] = []
    rows: list[TableRow] = []
    counted: list[dict[str, Any]] = []
    unread: list[str] = []
    for record in records:
        regions = drawn_regions(workspace.project, record.id)
        wanted = tuple(k for k in possible_kinds(kinds, regions) if k != "run" or record.run is not None)
        try:
            data = result_of(
                workspace.project, record, output=bool({"seg", "flows", "cellprob"} & set(kinds))
            )
        except ImageError as error:  # the others are not to wait for it
            unread.append(f"{record.name}: {error}")
            continue
        if wanted:
            files += save(
                data, folder / "files", wanted, classes=_names(workspace.project), regions=regions
            ).values()
        if regions is not None:
            told = in_each(
                data.objects, data.labels, regions, axes=data.axes, pixel_size_um=data.pixel_size_um
            )
            counted += [{"image": record.name, **row} for row in told]
        rows.append(TableRow(record.name, summarise(data.objects), data.objects))
    if "objects" in kinds:
        files.append(summary_csv(folder / "files" / "summary.csv", rows))
        all_objects_csv(folder / "files" / "all_objects.csv", rows)
        files.append(folder / "files" / "all_objects.csv")
    if counted and "regions" in kinds:
        files.append(regions_csv(folder / "files" / "all_regions.csv", counted))
    if not rows:
        raise ImageError("; ".join(unread))
    if unread:
        (folder / "files" / "LEFT_OUT.txt").write_text(
            "\n".join(["Images that could not be read:", *unread, ""]), "utf-8"
        )
        files.append(folder / "files" / "LEFT_OUT.txt")
    name = safe_name(workspace.project.name)
    if kind == "csv" and not unread:
        return (folder / "files" / "all_objects.csv").rename(folder / f"{name}_all_objects.csv")
    return _zipped(folder / f"{name}_{kind}.zip", files)


def _zipped(target: Path, files: list[Path]) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as pack:
        for file in files:
            for part in sorted(file.rglob("*")) if file.is_dir() else [file]:
                if part.is_file():
                    pack.write(part, part.relative_to(file.parent))
    return target


def _file(folder: Path, path: Path) -> Response:
    return FileResponse(
        path,
        filename=path.name,
        headers={"Cache-Control": "no-store"},
        background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
    )


def _too_large(limit: int) -> str:
    return (
        f"this upload is larger than {limit / 2**30:.3g} GiB: put the file beside the project and add it from there, or "
        "start the server with a larger --max-upload"
    )


def _no_folder(text: str, path: Path) -> str:
    """Return a message without the folder that an upload lay in for a moment."""
    return text.replace(str(path), path.name)
