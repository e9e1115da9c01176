"""``cellbrook serve``."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from cellbrook.cli import _console
from cellbrook.cli._common import Quiet
from cellbrook.errors import UsageError

_NETWORK = Group("Network", sort_key=1)
_Flag = Parameter(negative="")


def serve(
    *inputs: str,
    project: Annotated[Path | None, Parameter(name=["--project", "-p"])] = None,
    sample: Annotated[bool, _Flag] = False,
    read_only: Annotated[bool, _Flag] = False,
    no_browser: Annotated[bool, _Flag] = False,
    threads: int | None = None,
    port: Annotated[int | None, Parameter(group=_NETWORK)] = None,
    host: Annotated[str, Parameter(group=_NETWORK)] = "127.0.0.1",
    expose: Annotated[bool, Parameter(group=_NETWORK, negative="")] = False,
    base_url: Annotated[str | None, Parameter(group=_NETWORK)] = None,
    allowed_host: Annotated[tuple[str, ...], Parameter(group=_NETWORK)] = (),
    token_file: Annotated[Path | None, Parameter(group=_NETWORK)] = None,
    certificate: Annotated[Path | None, Parameter(group=_NETWORK)] = None,
    key: Annotated[Path | None, Parameter(group=_NETWORK)] = None,
    max_upload: Annotated[float, Parameter(group=_NETWORK)] = 4.0,
    quiet: Quiet = False,
) -> int:
    """See, correct and teach in the browser: opens a page on a project, on this machine or through one forwarded port.

    A folder of images becomes a project beside them on first use; the images stay as they are, and every change is kept
    as it is made. Ctrl-C ends the server; nothing has to be saved.

    Parameters
    ----------
    inputs
        A project, a folder of images, or images. Without any: the folder you are in, else a sample project.
    project
        Where the project is, or is to be made. [default: beside the images]
    sample
        Open the sample project.
    read_only
        Look only: nothing can be changed, and another program may have the project open.
    no_browser
        Print the address instead of opening it.
    threads
        Processor threads for segmenting. [default: the cores this process may use]
    port
        Port to listen at. [default: 8765, or the next that is free]
    host
        Address to listen at. The default can be reached from this machine only.
    expose
        Needed with a --host that others can reach: whoever has the token can see and change the project.
    base_url
        Path under which a proxy shows the page, if the proxy does not take it away, such as /user/anna/cellbrook/.
    allowed_host
        Name (or name:port) under which the page is reached from outside, such as that of a proxy. Can be given again.
    token_file
        File with the secret token, so that the address stays the same. Made, for you alone to read, if it is missing.
    certificate
        TLS certificate (PEM), for https.
    key
        Its private key (PEM).
    max_upload
        Largest upload in GiB.

    Returns
    -------
    int
        Exit code.
    """
    from cellbrook.server import launch
    from cellbrook.server.app import Limits

    if sample and inputs:
        raise UsageError("--sample opens the sample project: give it without images")
    remote = not launch.is_loopback(host)
    if remote and not expose:
        raise UsageError(
            f"--host {host} lets others reach this server: add --expose if that is meant, or leave --host away and forward "
            "a port (ssh -L 8765:localhost:8765 THIS-MACHINE)"
        )
    if (certificate is None) != (key is None):
        raise UsageError("--certificate and --key belong together: give both, or none")
    access = launch.make_access(host, allowed=allowed_host, base_url=base_url, token_file=token_file)
    place = launch.Place(launch.bind(host, port), certificate, key)
    progress = _console.ConsoleProgress(quiet=quiet)
    try:
        opened = (
            launch.open_sample()
            if sample
            else launch.open_workspace(inputs, project=project, read_only=read_only, progress=progress)
        )
    except BaseException:
        place.listening.close()
        raise
    finally:
        progress.clear()
    for note in opened.notes:
        _console.note(note, quiet=quiet)
    if remote:
        _warn_of_exposure(opened.project.folder, host, place.port, encrypted=certificate is not None)
    address = place.address(host, access, access.token)
    browser = not no_browser and not remote and _has_screen()

    def ready() -> None:
        print(f"Cellbrook is open at\n  {address}", flush=True)
        if browser:
            once = place.address(host, access, launch.ticket(access))
            threading.Thread(target=_open_browser, args=(once,), daemon=True).start()
        elif not quiet:
            _console.note(_how_to_open(place.port, remote=remote))
        saved = (
            "it is open for looking only" if opened.project.read_only else "everything is saved as you work"
        )
        _console.note(f"Ctrl-C ends it; {saved}.", quiet=quiet)

    limits = Limits(upload_bytes=int(max_upload * 2**30), threads=threads)
    launch.run_server(opened, access, place, limits, ready)
    return 0


def _warn_of_exposure(folder: Path, host: str, port: int, *, encrypted: bool) -> None:
    where = "all of this machine's addresses" if host in ("0.0.0.0", "::") else host
    _console.warn(
        f"everybody who can reach {where}, port {port}, and has the token below can see and change the project {folder}, "
        "its images included, and start jobs on this machine"
    )
    if not encrypted:
        _console.warn(
            "the connection is not encrypted: the token can be read on the way. Give --certificate and --key, or use a "
            "proxy or an ssh tunnel"
        )


def _has_screen() -> bool:
    """Return whether a browser opened here could be seen."""
    if sys.platform in ("win32", "darwin"):
        return not os.environ.get("SSH_CONNECTION")
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open_browser(address: str) -> None:
    import webbrowser

    webbrowser.open(address)


def _how_to_open(port: int, *, remote: bool) -> str:
    if remote or not os.environ.get("SSH_CONNECTION"):
        return "Open this address in a browser."
    return (
        f"You are logged in from elsewhere: run `ssh -L {port}:localhost:{port} THIS-MACHINE` there, then open this address "
        "in your browser."
    )
