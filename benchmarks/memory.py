"""Peak memory of the whole ``cellbrook segment`` on a single-channel uint16 image, by size of the image.

    python benchmarks/memory.py [--sizes 1024 2048 4096] [--threads 2] [--steps]

Each size runs in a fresh process, with the files written by default and with everything that can be written; the
figure is the largest resident memory, libraries included. `--steps` also shows how the peak grows from step to step.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import tifffile

from cellbrook.export import KINDS
from images import fluorescence  # beside this file
from processes import cellbrook, machine, measured
from scenes import packed_ellipses

BAR_SIZE, BAR_BYTES = 4096, 1.5e9

# The command in this process, with a mark after each step of the pipeline and each written file.
STEPS = """
import importlib, resource, sys
from contextlib import contextmanager
from cellbrook.core import report
from cellbrook.cli.app import main

save = importlib.import_module("cellbrook.export.save")

def mark(step):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"    {step:<24}{peak / 1e6:8.0f} MB", file=sys.stderr)

class Report(report.Report):
    @contextmanager
    def timed(self, step):
        with super().timed(step):
            yield
        mark(step)

report.Report = Report
for kind, write in list(save._WRITERS.items()):
    def writer(*args, _write=write, _kind=kind):
        _write(*args)
        mark(f"write {_kind}")
    save._WRITERS[kind] = writer
mark("imports")
sys.exit(main(sys.argv[1:]))
"""


def write_image(path: Path, size: int) -> None:
    tifffile.imwrite(path, fluorescence(packed_ellipses(size)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048, 4096], help="sides in pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--diameter", default="auto", help="small objects are enlarged: 12 doubles the sides")
    parser.add_argument("--steps", action="store_true", help="the peak after each step, in one more run")
    args = parser.parse_args()
    print(machine())
    everything = ",".join(kind for kind in KINDS if kind != "run")
    reached = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in args.sizes:
            image = folder / f"{size}.tif"
            write_image(image, size)
            print(f"{size} x {size} uint16, {2 * size**2 / 1e6:.0f} MB of pixels")
            for what, kinds in {"default files": [], "everything": ["--save", everything]}.items():
                out = folder / f"{size} {what}"
                arguments = ["segment", image, "--out", out, "--engine", args.engine]
                arguments += ["--threads", args.threads, "--diameter", args.diameter, *kinds]
                cost = measured([cellbrook(), *arguments], args.threads)
                print(f"  {what:<16}{cost.peak_bytes / 1e6:8.0f} MB{cost.wall_s:8.2f} s", flush=True)
                if size == BAR_SIZE and not kinds and args.diameter == "auto":
                    reached = cost.peak_bytes < BAR_BYTES
            if args.steps:
                again = [*map(str, arguments), "--overwrite", "--quiet"]
                # a small process in between: a peak starts at that of the process it was forked from
                between = (
                    "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', *sys.argv[1:]]))"
                )
                subprocess.run([sys.executable, "-c", between, STEPS, *again], check=True)
    if BAR_SIZE in args.sizes and args.diameter == "auto":
        print(f"{BAR_SIZE} x {BAR_SIZE}: {'below' if reached else 'above'} {BAR_BYTES / 1e9} GB")


if __name__ == "__main__":
    main()
