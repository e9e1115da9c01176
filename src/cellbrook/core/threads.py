"""How many threads this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

from cellbrook.errors import UsageError


def available_cores() -> int:
    """Return the cores this process may use: its affinity mask, narrowed by the cgroup's CPU quota.

    On a shared server or in a container this is what was granted, not what the host has.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cores, math.ceil(quota)) if quota else cores)


def resolve_threads(threads: int | None) -> int:
    """Return `threads`, or every core this process may use if it is None.

    Raises
    ------
    UsageError
        If `threads` is less than 1.
    """
    if threads is None:
        return available_cores()
    if threads < 1:
        raise UsageError(f"threads must be at least 1, got {threads}")
    return int(threads)


def _cgroup_quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Return the CPU quota in cores (cgroup v2, then v1), the tightest on the way up; None if there is none."""
    quotas: list[float] = []
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folder = root / path.lstrip("/")
            for level in (folder, *folder.parents):
                quotas += _read_quota(level / "cpu.max")
                if level == root:
                    break
        elif "cpu" in controllers.split(","):
            for base in (root / "cpu", root / "cpu,cpuacct"):
                folder = base / path.lstrip("/")
                quotas += _read_quota(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")
    return min(quotas) if quotas else None


def _read_quota(quota_file: Path, period_file: Path | None = None) -> list[float]:
    try:
        words = quota_file.read_text().split()
        if period_file is not None:
            words.append(period_file.read_text().strip())
        quota, period = words[0], words[1]
        if quota == "max" or float(quota) <= 0:
            return []
        return [float(quota) / float(period)]
    except (OSError, ValueError, IndexError):
        return []
