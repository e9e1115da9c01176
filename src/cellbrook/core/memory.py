"""How much memory this process may still take."""

from __future__ import annotations

import os
from pathlib import Path


def free_memory(system: Path = Path("/")) -> int | None:
    """Return the bytes that can be allocated without swapping, None where the system does not say.

    In a container or a job of a cluster this is what is left of its share.

    Parameters
    ----------
    system : Path
        Root of the file system whose ``proc`` and ``sys`` are asked.
    """
    amounts = []
    available = _fields(system / "proc/meminfo").get("MemAvailable:")
    if available is not None:
        amounts.append(available * 1024)
    for folder, limit, usage in (
        ("sys/fs/cgroup", "memory.max", "memory.current"),
        ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        granted, used = _number(system / folder / limit), _number(system / folder / usage)
        if granted is not None and used is not None:
            # cached files are counted as used, but given back when memory is asked for
            amounts.append(granted - used + _fields(system / folder / "memory.stat").get("inactive_file", 0))
    if amounts:
        return max(0, min(amounts))
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


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
