"""How many threads this process may use, and how pools that Cellbrook does not own are held to it."""

from __future__ import annotations

import ctypes
import logging
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cellbrook.core import cgroup
from cellbrook.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CoreLimits:
    """What bounds the threads of this process.

    Parameters
    ----------
    host : int
        Cores of the machine.
    affinity : int or None
        Cores in the process's affinity mask, where the system has one.
    quota : float or None
        The cgroup's share of processor time, in cores (containers, Slurm, systemd).
    environment : mapping of str to int
        What SLURM_CPUS_PER_TASK and OMP_NUM_THREADS say, where they are set.
    """

    host: int
    affinity: int | None
    quota: float | None
    environment: Mapping[str, int]

    @property
    def allowed(self) -> int:
        """The tightest of them, at least 1; a part of a core counts as one."""
        bounds = [self.host, *self.environment.values()]
        bounds += [self.affinity] if self.affinity else []
        bounds += [math.ceil(self.quota)] if self.quota else []
        return max(1, min(bounds))

    @property
    def reason(self) -> str:
        """Which of them it is, for people."""
        if self.allowed == self.host:
            return "all cores of the machine"
        if self.quota and math.ceil(self.quota) <= self.allowed:
            return f"cgroup quota of {self.quota:g} cores"
        for name, value in self.environment.items():
            if value == self.allowed:
                return f"{name}={value}"
        return f"affinity mask of {self.affinity} cores"


def core_limits() -> CoreLimits:
    """Return everything that bounds the threads of this process."""
    environment = {}
    for name in ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS"):
        first = os.environ.get(name, "").split(",")[0].strip()  # OpenMP's may be a list, by nesting level
        if first.isdigit() and int(first) > 0:
            environment[name] = int(first)
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return CoreLimits(_host_cores(), affinity, _cgroup_quota(), environment)


def available_cores() -> int:
    """Return the cores this process may use: affinity mask, cgroup quota and environment honoured.

    On a shared server or in a container this is what was granted, not what the host has.
    """
    return core_limits().allowed


def resolve_threads(threads: int | None) -> int:
    """Return `threads`, or every core this process may use if it is None.

    A number may exceed what affinity mask, quota and environment say. It is held to the cores of the machine: more threads
    gain nothing, and thousands would bring a shared machine to its knees.

    Raises
    ------
    UsageError
        If `threads` is less than 1.
    """
    if threads is None:
        return available_cores()
    if threads < 1:
        raise UsageError(f"threads must be at least 1, got {threads}")
    return min(int(threads), _host_cores())


def _host_cores() -> int:
    return os.cpu_count() or 1


def bind_pools(threads: int) -> None:
    """Hold the pools of libraries that compute behind our back to `threads` threads.

    NumPy's BLAS reads its environment variable when it is loaded, which is too late for an option; its own
    function is called instead. Engines and kernels get their number directly. Apple's Accelerate takes no
    number.

    Parameters
    ----------
    threads : int
        From `resolve_threads`.
    """
    _bind_blas(threads)
    # tifffile asks this when it first decodes, and else takes half of the host's cores.
    os.environ["TIFFFILE_NUM_THREADS"] = str(threads)
    if (zarr := sys.modules.get("zarr")) is not None:
        zarr.config.set({"threading.max_workers": threads})
    else:
        os.environ["ZARR_THREADING__MAX_WORKERS"] = str(threads)


def calm_openmp() -> None:
    """Ask OpenMP to let waiting threads sleep; only has an effect before torch is first imported.

    GNU OpenMP spins at barriers. On cores that are shared with anything else, that made a network ten times
    slower (1.30 against 0.15 s a tile on two busy cores). A user's own OMP_WAIT_POLICY is respected.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


_BLAS_SETTERS = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
    "MKL_Set_Num_Threads",
)


def _bind_blas(threads: int) -> bool:
    """Set the threads of the BLAS that NumPy has loaded; return whether one was found."""
    for library in _blas_libraries():
        try:
            handle = ctypes.CDLL(str(library))  # loaded already: this only finds it again
        except OSError:
            continue
        for name in _BLAS_SETTERS:
            setter = getattr(handle, name, None)
            if setter is not None:
                setter(ctypes.c_int(threads))
                return True
    _log.debug("found no BLAS whose threads can be set")
    return False


def _blas_libraries() -> list[Path]:
    """Return the BLAS libraries that belong to NumPy: inside its wheel, else among those mapped (Linux)."""
    import numpy as np

    package = Path(np.__file__).parent
    found = [
        p
        for folder in (package.parent / "numpy.libs", package / ".dylibs")
        for p in folder.glob("*openblas*")
    ]
    if not found and sys.platform == "linux":
        try:
            maps = Path("/proc/self/maps").read_text()
        except OSError:
            maps = ""
        mapped = {line.split(maxsplit=5)[-1] for line in maps.splitlines() if "/" in line}
        found = [Path(p) for p in sorted(mapped) if "openblas" in Path(p).name or "libmkl_rt" in Path(p).name]
    return found


def _cgroup_quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Return the CPU quota in cores, the tightest on the way up (cgroup v2 and v1); None if there is none."""
    new, old = cgroup.levels("cpu", root, own)
    quotas = [q for level in new for q in _read_quota(level / "cpu.max")]
    quotas += [
        q for level in old for q in _read_quota(level / "cpu.cfs_quota_us", level / "cpu.cfs_period_us")
    ]
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
