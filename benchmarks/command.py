"""The whole ``cellbrook segment`` against the network and post-processing of Cellpose 4, Cellpose 3 and StarDist.

    python benchmarks/command.py --cellpose4 PYTHON --cellpose3 PYTHON --stardist PYTHON [--size 2048] [--threads 2]

All sides get the same generated fluorescence image and take turns. Ours is the command as a user types it, in a fresh
process: start-up of Python, reading, loading the model, network, labels, measurements, and every file it writes by
default. The peers are Python functions in a process that is already warm: their imports, the construction of their
models, reading and writing are not counted. What is extrapolated is said in the table's notes.

Wall times are what a user waits for; processor times, summed over threads, change less when the machine is busy.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from images import fluorescence  # beside this file
from processes import bound, cellbrook, machine, measured, spread
from scenes import scene

if TYPE_CHECKING:
    from collections.abc import Sequence

PEERS = Path(__file__).parent / "peers"
BARS = {"cellpose4": 100.0, "cellpose4 fp32": 100.0, "cellpose3": 15.0, "stardist": 3.0}


@dataclass(slots=True)
class Side:
    """One side's runs."""

    name: str
    runs: list[dict[str, Any]] = field(default_factory=list)

    def median(self, key: str) -> float:
        return statistics.median(run[key] for run in self.runs)


class Ours(Side):
    """The command, in a fresh process for every run."""

    def __init__(self, folder: Path, engine: str, threads: int) -> None:
        super().__init__("cellbrook")
        self._out, self._threads = folder / "out", threads
        self._command: list[str | Path] = [cellbrook(), "segment", folder / "image.tif", "--out", self._out]
        self._command += ["--engine", engine, "--threads", str(threads)]

    def run(self) -> None:
        shutil.rmtree(self._out, ignore_errors=True)
        cost = measured(self._command, self._threads)
        record = json.loads((self._out / "image_run.json").read_text(encoding="utf-8"))
        timings, engine = record["timings_s"], record["engine"]
        files = sorted(path.name.removeprefix("image_") for path in self._out.iterdir())
        self.runs.append(
            {
                "wall_s": cost.wall_s,
                "cpu_s": cost.cpu_s,
                "network_s": timings["network"],
                "cells": record["result"]["objects"],
                "about": f"cellbrook {record['cellbrook']} ({engine['engine']} {engine['precision']})",
                "note": f"fresh process, {cost.peak_bytes / 1e6:.0f} MB; wrote {', '.join(files)}",
                "timings_s": timings,
            }
        )

    def close(self) -> None:
        pass


class Peer(Side):
    """A peer's own process, which waits for its turns."""

    def __init__(self, name: str, python: Path, script: str, settings: dict[str, Any]) -> None:
        super().__init__(name)
        self._process = subprocess.Popen(
            [python, "-W", "ignore", PEERS / script, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **bound(settings["threads"]),
        )

    def wait_until_ready(self) -> None:
        """Wait for its imports and networks: until then it takes time from the others."""
        self._answer()

    def run(self) -> None:
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.runs.append(self._answer())

    def _answer(self) -> Any:
        assert self._process.stdout
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name} ended with {self._process.wait()}")
        return json.loads(answer)

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def write_scene(folder: Path, size: int, seed: int) -> int:
    """Write the image for all sides, and what the peers' networks are made to answer; return the number of cells."""
    labels, flows, cellprob = scene(size, seed)
    image = fluorescence(labels, seed)
    tifffile.imwrite(folder / "image.tif", image)
    for name, array in {"image": image, "labels": labels, "flows": flows, "cellprob": cellprob}.items():
        np.save(folder / f"{name}.npy", array)
    return int(np.unique(labels).size - 1)


def start_peers(args: argparse.Namespace, folder: Path) -> list[Peer]:
    common = {"folder": str(folder), "threads": args.threads, "precision": "default"}
    # a batch gains nothing on a processor, and eight tiles of this network would take a minute; Cellpose 3 converts its
    # weights for the processor's library in every call, so its calls are of its default eight
    sam = {**common, "tiles": args.tiles4, "at_once": 1}
    unet = {**common, "tiles": args.tiles3, "at_once": 8}
    wanted = [
        ("cellpose4", args.cellpose4, "run_cellpose.py", sam),
        (
            "cellpose4 fp32",
            args.cellpose4 if args.fp32 else None,
            "run_cellpose.py",
            {**sam, "precision": "fp32"},
        ),
        ("cellpose3", args.cellpose3, "run_cellpose.py", unet),
        ("stardist", args.stardist, "run_stardist.py", common),
    ]
    return [Peer(name, python, script, settings) for name, python, script, settings in wanted if python]


def report(ours: Ours, peers: Sequence[Peer]) -> bool:
    """Print the table; return whether every ratio reaches its bar."""
    print(
        f"\n{'':34}{'wall s':>22}{'CPU s':>8}{'network s':>11}{'cells':>7}{'x wall':>8}{'x CPU':>7}{'bar':>6}"
    )
    reached = True
    for side in (ours, *peers):
        last = side.runs[-1]
        wall = spread([run["wall_s"] for run in side.runs])
        line = f"{last['about']:<34}{wall:>22}{side.median('cpu_s'):8.2f}{side.median('network_s'):11.2f}{last['cells']:7d}"
        if side is not ours:
            ratio = side.median("wall_s") / ours.median("wall_s")
            reached &= ratio >= BARS[side.name]
            line += f"{ratio:8.1f}{side.median('cpu_s') / ours.median('cpu_s'):7.1f}{BARS[side.name]:6.0f}"
        print(line)
    print()
    for side in (ours, *peers):
        print(f"{side.runs[-1]['about']}: {len(side.runs)} runs; {side.runs[-1]['note']}")
    names = ours.runs[-1]["timings_s"]
    steps = {name: statistics.median(run["timings_s"][name] for run in ours.runs) for name in names}
    rest = ours.median("wall_s") - sum(steps.values())
    told = ", ".join(f"{step} {seconds:.3f}" for step, seconds in steps.items())
    print(f"our wall time in s: {told}, start-up and writing {rest:.3f}")
    return reached


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cellpose4", type=Path, metavar="PYTHON", help="interpreter with cellpose 4")
    parser.add_argument("--cellpose3", type=Path, metavar="PYTHON", help="interpreter with cellpose 3")
    parser.add_argument(
        "--stardist", type=Path, metavar="PYTHON", help="interpreter with stardist and tensorflow"
    )
    parser.add_argument("--size", type=int, default=2048, help="side of the square image in pixels")
    parser.add_argument("--threads", type=int, default=2, help="for every side")
    parser.add_argument("--engine", default="onnxruntime", help="of ours")
    parser.add_argument("--rounds", type=int, default=3, help="turns; the peers run once in each")
    parser.add_argument("--repeats", type=int, default=3, help="runs of ours in each turn")
    parser.add_argument(
        "--tiles4", type=int, default=3, help="tiles of Cellpose 4 that are computed in each turn"
    )
    parser.add_argument(
        "--tiles3", type=int, default=16, help="tiles of Cellpose 3 that are computed in each turn"
    )
    parser.add_argument(
        "--fp32", action="store_true", help="Cellpose 4 in float32 too; its default is bfloat16"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run's figures there")
    args = parser.parse_args()

    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cells = write_scene(folder, args.size, args.seed)
        print(f"{args.size} x {args.size} uint16, {cells} cells, {args.threads} threads")
        ours, peers = Ours(folder, args.engine, args.threads), start_peers(args, folder)
        for peer in peers:
            peer.wait_until_ready()
        ours.run()
        ours.runs.clear()  # a warm-up: file cache and byte code
        for turn in range(args.rounds):
            for _ in range(args.repeats):
                ours.run()
            for peer in peers:
                peer.run()
            told = [f"{side.name} {side.runs[-1]['wall_s']:.2f} s" for side in (ours, *peers)]
            print(f"turn {turn + 1}: {', '.join(told)}", flush=True)
        for peer in peers:
            peer.close()
    reached = report(ours, peers)
    print(machine())
    if args.json:
        args.json.write_text(json.dumps({side.name: side.runs for side in (ours, *peers)}, indent=1))
    print("every ratio reaches its bar" if reached else "a ratio is below its bar")


if __name__ == "__main__":
    main()
