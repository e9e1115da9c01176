"""How much memory this process may still take."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cellbrook.core import cgroup


def free_memory(system: Path = Path("/")) -> int | None:
    """Return the bytes that can be allocated without swapping, None where the system does not say.

    In a container or a job of a cluster this is what is left of its share, whichever group above it is the tightest.

    Parameters
    ----------
    system : Path
        Root of the file system whose ``proc`` and ``sys`` are asked.
    """
    amounts = []
    available = _fields(system / "proc/meminfo").get("MemAvailable:")
    if available is not None:
        amounts.append(available * 1024)
    root = system / "sys/fs/cgroup"
    new, old = cgroup.levels("memory", root, system / "proc/self/cgroup")
    for folder in {root, *new}:
        amounts += _left(folder, "memory.max", "memory.current")
    for folder in {root / "memory", *old}:
        amounts += _left(folder, "memory.limit_in_bytes", "memory.usage_in_bytes")
    if amounts:
        return max(0, min(amounts))
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def peak_memory() -> int | None:
    """Return the most bytes that this process had in memory, None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _left(folder: Path, limit: str, usage: str) -> list[int]:
    granted, used = _number(folder / limit), _number(folder / usage)
    if granted is None or used is None:
        return []
    # cached files are counted as used, but given back when memory is asked for
    return [granted - used + _fields(folder / "memory.stat").get("inactive_file", 0)]


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # "max" is no limit
        return None


def _fields(path: Path) -> dict[str, int]:
    """Return the numbers of a file of lines such as "name 123 ..."."""
    try:
        words = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
        return {w[0]: int(w[1]) for w in words if len(w) > 1}
    except (OSError, ValueError):
        return {}
