"""Downloads: over verified TLS, resumable, never without being asked.

Only ``cellbrook models install`` calls this. An interrupted download leaves a partial file in the user's
folder; the same command goes on where it stopped, if the server still has the same file.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import logging
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import IO, TYPE_CHECKING, Any

from cellbrook.core.progress import NoProgress
from cellbrook.errors import ModelError
from cellbrook.io.lock import lock_where_known

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cellbrook.core.progress import Progress

logger = logging.getLogger(__name__)

CHUNK = 1 << 20
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class _Retry(Exception):
    """The connection failed in a way that another attempt may mend."""


def is_offline(offline: bool = False) -> bool:
    """Return whether the network must not be used: by argument, or by ``CELLBROOK_OFFLINE``."""
    return offline or os.environ.get("CELLBROOK_OFFLINE", "").strip().lower() not in (
        "",
        "0",
        "no",
        "false",
        "off",
    )


def check_url(url: str) -> str:
    """Return the URL if it may be fetched: https, or http on this machine (a mirror, a tunnel).

    Raises
    ------
    ModelError
        If it is of another kind.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return url
    if parts.scheme == "http" and parts.hostname in _LOOPBACK:
        return url
    raise ModelError(f"expected an https:// URL (http:// for localhost only), got {url!r}: it is not fetched")


def download(
    url: str,
    folder: Path,
    *,
    offline: bool = False,
    max_bytes: int | None = None,
    attempts: int = 5,
    wait_s: float = 1.0,
    timeout_s: float = 30.0,
    progress: Progress | None = None,
) -> Path:
    """Fetch a file into a folder, going on with what an earlier call left there.

    Parameters
    ----------
    url : str
        https, or http on localhost.
    folder : Path
        Where the partial and the whole file go; made if missing.
    offline : bool
        Refuse (so does the environment's ``CELLBROOK_OFFLINE=1``).
    max_bytes : int or None
        Give up if there is more.
    attempts : int
        How often in a row to try without a byte of progress.
    wait_s : float
        Seconds before the second attempt; doubled each time.
    timeout_s : float
        Longest silence of the server.
    progress : Progress or None
        Told of every chunk, in bytes.

    Returns
    -------
    Path
        The whole file, to be moved away by the caller.

    Raises
    ------
    ModelError
        If it cannot be fetched; the message says how far it came and what to do.
    """
    check_url(url)
    if is_offline(offline):
        raise ModelError(
            f"offline mode is on, so {url} is not fetched: copy the file here by other means and run"
            " `cellbrook models install FILE`"
        )
    folder.mkdir(parents=True, exist_ok=True)
    stem = hashlib.sha256(url.encode()).hexdigest()[:24]
    partial, notes = folder / f"{stem}.part", folder / f"{stem}.json"
    whole = folder / f"{stem}.done"
    report = progress or NoProgress()
    with _locked(folder / f"{stem}.lock", url), partial.open("ab") as file:
        failures, last = 0, file.tell()
        while True:
            report.check_cancelled()
            try:
                _fetch(url, file, notes, max_bytes, timeout_s, report)
                break
            except _Retry as error:
                failures = 1 if file.tell() > last else failures + 1
                last = file.tell()
                if failures >= attempts:
                    raise ModelError(
                        f"download of {url} stopped after {last} bytes ({error}): run the same command again"
                        " to go on, or copy the file here and run `cellbrook models install FILE`"
                    ) from error
                logger.info("download interrupted after %d bytes (%s), going on", last, error)
                time.sleep(wait_s * 2 ** (failures - 1))
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, whole)
    notes.unlink(missing_ok=True)
    return whole


def _fetch(
    url: str, file: IO[bytes], notes: Path, max_bytes: int | None, timeout_s: float, report: Progress
) -> None:
    """Fetch what is still missing, appending to `file`; return when it is whole."""
    have = file.tell()
    known = _read_notes(notes) if have else {}
    request = urllib.request.Request(url, headers={"User-Agent": "cellbrook", "Accept-Encoding": "identity"})
    if have and known.get("validator"):
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", str(known["validator"]))
    try:
        with _opener(url).open(request, timeout=timeout_s) as response:
            if response.status != http.HTTPStatus.PARTIAL_CONTENT or not _continues(response, have):
                file.truncate(0)  # the file has changed, or the server cannot resume
                file.seek(0)
                have = 0
            length = response.headers.get("Content-Length")
            total = have + int(length) if length is not None else None
            if max_bytes is not None and (total or 0) > max_bytes:
                raise ModelError(
                    f"{url} has {total} bytes, expected {max_bytes}: it is not the file that was asked for"
                )
            etag = response.headers.get("ETag", "")
            validator = etag if etag.startswith('"') else response.headers.get("Last-Modified")
            notes.write_text(
                json.dumps({"url": url, "validator": validator, "total": total}), encoding="utf-8"
            )
            report.start(f"Downloading {urllib.parse.urlsplit(url).path.rsplit('/', 1)[-1]}", total or 0)
            report.advance(have)
            while chunk := response.read(CHUNK):
                file.write(chunk)
                have += len(chunk)
                if max_bytes is not None and have > max_bytes:
                    raise ModelError(
                        f"{url} has more than the expected {max_bytes} bytes: it is not fetched further"
                    )
                report.advance(len(chunk))
                report.check_cancelled()
            if total is not None and have < total:
                raise _Retry(f"the connection closed, {total} bytes were expected")
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            if have == known.get("total"):
                return
            file.truncate(0)
            raise _Retry("the file on the server has changed") from error
        if error.code in (408, 429) or error.code >= 500:
            raise _Retry(f"the server says {error.code} {error.reason}") from error
        raise ModelError(f"{url} cannot be fetched: the server says {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise ModelError(
                f"{url} is not fetched: the server's certificate is not trusted"
                f" ({error.reason.verify_message}); mend the system's certificates, or copy"
                " the file here and run `cellbrook models install FILE`"
            ) from error
        raise _Retry(str(error.reason)) from error
    except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        raise _Retry(f"{type(error).__name__} {error}".strip()) from error


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only, so that no server can lead a download out of TLS."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        return super().redirect_request(req, fp, code, msg, headers, check_url(newurl))


def _opener(url: str) -> urllib.request.OpenerDirector:
    handlers: list[Any] = [
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        _CheckedRedirects(),
    ]
    if urllib.parse.urlsplit(url).hostname in _LOOPBACK:
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def _continues(response: Any, have: int) -> bool:
    return str(response.headers.get("Content-Range", "")).startswith(f"bytes {have}-")


def _read_notes(path: Path) -> dict[str, Any]:
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


@contextlib.contextmanager
def _locked(path: Path, url: str) -> Iterator[None]:
    """Keep a second process from writing to the same partial file."""
    try:
        lock = lock_where_known(path)
    except BlockingIOError as error:
        raise ModelError(f"another process is downloading {url}: wait until it has finished") from error
    try:
        yield
    finally:
        if lock is not None:
            lock.release()
    path.unlink(missing_ok=True)
