"""Fresh processes, measured: wall time, processor time, peak memory. Linux and macOS."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# A child's peak memory starts at that of the process it was forked from: a launcher of a few MB stands between,
# whatever the benchmark itself holds.
_LAUNCHER = """
import json, os, sys, time
said = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
start = time.perf_counter()
child = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ, file_actions=[
    (os.POSIX_SPAWN_DUP2, said, 1), (os.POSIX_SPAWN_DUP2, said, 2)])
_, status, usage = os.wait4(child, 0)
wall = time.perf_counter() - start
peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([wall, usage.ru_utime + usage.ru_stime, peak, os.waitstatus_to_exitcode(status)]))
"""

_POOLS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took.

    Parameters
    ----------
    wall_s, cpu_s : float
        Wall time, and processor time of all threads, in seconds.
    peak_bytes : int
        Largest resident memory; 0 if it was not measured.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int = 0


def measured(command: Sequence[str | Path], threads: int | None = None) -> Cost:
    """Run a command in a fresh process; raise with what it said if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(said), *map(str, command)]
        kept = {} if threads is None else bound(threads)
        answer = subprocess.run(launcher, stdout=subprocess.PIPE, text=True, check=True, **kept)
        wall, cpu, peak, code = json.loads(answer.stdout)
        if code:
            raise SystemExit(
                f"{' '.join(map(str, command))} ended with {code}:\n{said.read_text(errors='replace')}"
            )
    return Cost(wall, cpu, peak)


def bound(threads: int) -> dict[str, object]:
    """Return `subprocess` keywords that hold a process to so many threads, and to as many cores where there are more."""
    env = {**os.environ, **dict.fromkeys(_POOLS, str(threads))}
    # an installed package has its bytecode: nobody waits for it to be made
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    keywords: dict[str, object] = {"env": env}
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))[:threads]
        keywords["preexec_fn"] = lambda: os.sched_setaffinity(0, cores)
    return keywords


def cellbrook() -> Path:
    """Return the installed command that belongs to this interpreter."""
    command = Path(sys.executable).with_name("cellbrook")
    if not command.exists():
        raise SystemExit(
            f"{command} is missing: run this with the interpreter of an environment with cellbrook"
        )
    return command


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return median and range as text."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def machine() -> str:
    """Return processor, cores and load in one line, for the record."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        fields = dict(
            line.split(":", 1) for line in info.read_text().split("\n\n")[0].splitlines() if ":" in line
        )
        fields = {k.strip(): v.strip() for k, v in fields.items()}
        name = fields.get("model name", name)
        wide = [
            f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in fields.get("flags", "").split()
        ]
        name += f" (model {fields.get('model', '?')}{', ' if wide else ''}{' '.join(wide)})"
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}; {usable} cores; load {os.getloadavg()[0]:.1f}; {platform.system()}, Python {platform.python_version()}"
