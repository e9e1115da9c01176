"""Where Linux writes down what a container or a job of a cluster may use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def levels(controller: str, root: Path, own: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders that bound this process, from its own group up: each may be the tightest.

    Parameters
    ----------
    controller : {"cpu", "memory"}
        What is bounded.
    root : Path
        ``/sys/fs/cgroup``.
    own : Path
        ``/proc/self/cgroup``, which names the process's own groups. In a container they can be the host's, of which only
        the upper end is mounted.

    Returns
    -------
    tuple of list of Path
        Of cgroup v2, and of v1. They need not exist.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    new, old = [], []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            new += _upwards(root, path)
        elif controller in controllers.split(","):
            for base in {root / controller, root / controllers}:
                old += _upwards(base, path)
    return new, old


def _upwards(base: Path, path: str) -> list[Path]:
    folder = base / path.lstrip("/")
    return [level for level in (folder, *folder.parents) if level == base or base in level.parents]
