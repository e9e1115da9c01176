"""What starting costs: Python, NumPy, the package and the command's help, each in fresh processes that take turns.

    python benchmarks/startup.py [--repeats 15] [--top cellbrook]

`--top` also prints the slowest imports of the package, or of a command such as ``--top "cellbrook segment --help"``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from processes import Cost, cellbrook, machine, measured, spread  # beside this file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HELP_BAR_S, IMPORT_BAR_S = 0.30, 0.25
HEAVY = ("torch", "onnxruntime", "openvino", "zarr", "imagecodecs", "tifffile", "roifile")


def commands() -> dict[str, Sequence[str | Path]]:
    """Return what is measured, by name."""
    python = sys.executable
    return {
        "python -c pass": (python, "-c", "pass"),
        "import numpy": (python, "-c", "import numpy"),
        "import cellbrook": (python, "-c", "import cellbrook"),
        "import cellbrook; cellbrook.segment": (python, "-c", "import cellbrook; cellbrook.segment"),
        "cellbrook --help": (cellbrook(), "--help"),
        "cellbrook --version": (cellbrook(), "--version"),
        "cellbrook segment --help": (cellbrook(), "segment", "--help"),
    }


def loaded(statement: str) -> list[str]:
    """Return which heavy libraries a statement loads."""
    code = f"{statement}; import sys; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    return subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.split()


def slowest_imports(what: str, count: int = 25) -> list[tuple[int, int, str]]:
    """Return (own microseconds, microseconds with what it imports, module) of the slowest imports, by own time."""
    arguments = what.split()
    if len(arguments) == 1:
        run = [sys.executable, "-X", "importtime", "-c", f"import {what}"]
    else:
        run = [sys.executable, "-X", "importtime", str(cellbrook()), *arguments[1:]]
    said = subprocess.run(
        run, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True
    ).stderr
    rows = re.findall(r"^import time:\s+(\d+) \|\s+(\d+) \|\s+(\S+)$", said, re.MULTILINE)
    return sorted(((int(own), int(total), name) for own, total, name in rows), reverse=True)[:count]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--repeats", type=int, default=15, help="fresh processes of each kind, after one warm-up"
    )
    parser.add_argument("--top", metavar="WHAT", help="a module or command whose slowest imports are listed")
    args = parser.parse_args()
    print(machine())
    costs: dict[str, list[Cost]] = {name: [] for name in commands()}
    for turn in range(args.repeats + 1):
        for name, command in commands().items():
            cost = measured(command)
            if turn:
                costs[name].append(cost)
    bars = {"cellbrook --help": HELP_BAR_S, "import cellbrook": IMPORT_BAR_S}
    reached = True
    print(f"{'':38}{'wall s':>22}{'CPU s':>22}{'MB':>6}{'bar':>7}")
    for name, runs in costs.items():
        wall, cpu = [c.wall_s for c in runs], [c.cpu_s for c in runs]
        peak = max(c.peak_bytes for c in runs) / 1e6
        line = f"{name:<38}{spread(wall, 3):>22}{spread(cpu, 3):>22}{peak:6.0f}"
        if name in bars:
            reached &= sorted(wall)[len(wall) // 2] < bars[name]
            line += f"{bars[name]:7.2f}"
        print(line)
    for statement in ("import cellbrook", "import cellbrook; cellbrook.segment"):
        print(f"{statement}: loads {', '.join(loaded(statement)) or 'none'} of {', '.join(HEAVY)}")
    reached &= not loaded("import cellbrook")
    if args.top:
        print(f"\nslowest imports of {args.top}, ms alone and with what they import:")
        for own, total, name in slowest_imports(args.top):
            print(f"{own / 1000:8.1f} {total / 1000:8.1f}  {name}")
    print("both bars are reached" if reached else "a bar is missed")


if __name__ == "__main__":
    main()
