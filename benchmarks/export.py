"""Outlines, ImageJ ROIs and overlays against Cellpose's functions; measuring against scikit-image's.

    python benchmarks/export.py --peer PYTHON_WITH_CELLPOSE4 [--size 2048]

Both sides get the same labels and image and are called in turn; medians are of the calls alone, without start-up and
reading. What is compared:

    outlines   polygons of all objects           trace                cellpose.utils.outlines_list
    rois       the ROI archive, written to disk   write_roi_zip        cellpose.io.save_rois
    overlay    the picture of labels on an image  overlay_rgb          cellpose.plot.mask_overlay
    edges      the picture of outline pixels      edge_labels          cellpose.utils.masks_to_outlines
    measure    size, shape, intensity             measure              skimage.measure.regionprops_table

Ours do more: polygons have holes and all pieces and rasterise back to the same labels (checked here), where the peer's
are the largest contour through pixel centres. `edges` is the one function of the peer's that works in bounding boxes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from cellbrook._kernels import _native
from cellbrook.core.threads import resolve_threads
from cellbrook.export.pictures import color_rgb, overlay_rgb
from cellbrook.export.polygons import polygons_to_labels, trace
from cellbrook.export.roi_zip import write_roi_zip
from cellbrook.measure import measure
from scenes import packed_ellipses  # beside this file

PEER = """
import json, sys, time
import numpy as np
from cellpose import io, plot, utils
data = np.load(sys.argv[1])
labels, image = data["labels"].astype("int32"), data["image"]
tasks = {
    "outlines": lambda: utils.outlines_list(labels, multiprocessing=False),
    "rois": lambda: io.save_rois(labels, sys.argv[1] + ".tif", multiprocessing=False),
    "overlay": lambda: plot.mask_overlay(image, labels),
    "edges": lambda: utils.masks_to_outlines(labels),
}
for line in sys.stdin:
    start = time.perf_counter()
    tasks[line.strip()]()
    print(json.dumps(time.perf_counter() - start), flush=True)
"""

SHAPE = ["label", "area", "bbox", "centroid", "equivalent_diameter_area", "perimeter_crofton", "orientation"]
SHAPE += ["axis_major_length", "axis_minor_length", "eccentricity", "solidity"]
INTENSITY = ["intensity_mean", "intensity_std", "intensity_min", "intensity_max", "intensity_median"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", type=Path, help="interpreter with cellpose 4 (default: time ours alone)")
    parser.add_argument("--size", type=int, default=2048, help="side of the square image in pixels")
    parser.add_argument(
        "--repeats", type=int, default=3, help="calls of the peer; five times as many of ours"
    )
    parser.add_argument("--threads", type=int, help="our threads (default: all)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    args = parser.parse_args()
    labels = packed_ellipses(args.size)
    image = picture(labels)
    threads = resolve_threads(args.threads)
    if not np.array_equal(polygons_to_labels(trace(labels), labels.shape), labels):
        sys.exit("polygons do not rasterise back to the same labels")
    with tempfile.TemporaryDirectory() as folder:
        ours = {
            "outlines": lambda: trace(labels, threads=threads),
            "rois": lambda: write_roi_zip(Path(folder) / "ours_rois.zip", labels, threads=threads),
            "overlay": lambda: overlay_rgb(image, labels, threads=threads),
            "color": lambda: color_rgb(labels, threads=threads),
            "edges": lambda: _native.edge_labels(labels[None], np.empty_like(labels)[None], threads),
            "measure": lambda: measure(labels, image, pixel_size_um=0.5, threads=threads),
        }
        others = peer_tasks(args.peer, Path(folder) / "scene.npz", labels, image) if args.peer else {}
        others["measure"] = lambda: regionprops(labels, image)
        rows = [compare(name, task, others.get(name), args.repeats) for name, task in ours.items()]
    if args.json:
        facts = {"size": args.size, "objects": len(np.unique(labels)) - 1, "threads": threads}
        print(json.dumps({**facts, "tasks": rows}, indent=2))
        return
    print(f"{args.size} x {args.size}, {len(np.unique(labels)) - 1} objects, {threads} threads")
    print(f"{'':<10}{'ours (ms)':>12}{'other (ms)':>13}{'ratio':>8}")
    for row in rows:
        other = f"{row['other_ms']:>13.1f}{row['ratio']:>8.0f}" if "ratio" in row else ""
        print(f"{row['task']:<10}{row['ours_ms']:>12.1f}{other}")


def picture(labels: np.ndarray) -> np.ndarray:
    """Return a grey image of cells of different brightness, with noise."""
    rng = np.random.default_rng(0)
    brightness = rng.uniform(40, 200, int(labels.max()) + 1)
    brightness[0] = 10
    return np.clip(brightness[labels] + rng.normal(0, 8, labels.shape), 0, 255).astype(np.uint8)


def compare(name, task, other, repeats) -> dict:
    """Return medians of both sides, called in turn."""
    ours, theirs = [], []
    task()
    for _ in range(repeats):
        for _ in range(5):
            start = time.perf_counter()
            task()
            ours.append(time.perf_counter() - start)
        if other is not None:
            theirs.append(other())
    row = {"task": name, "ours_ms": 1e3 * statistics.median(ours)}
    if theirs:
        row |= {"other_ms": 1e3 * statistics.median(theirs)}
        row["ratio"] = row["other_ms"] / row["ours_ms"]
    return row


def peer_tasks(python: Path, scene: Path, labels: np.ndarray, image: np.ndarray) -> dict:
    """Start the peer and return a function for each task, which gives the seconds it took."""
    np.savez(scene, labels=labels, image=image)
    peer = subprocess.Popen(
        [python, "-W", "ignore", "-c", PEER, scene], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def run(name: str) -> float:
        peer.stdin.write(f"{name}\n")
        peer.stdin.flush()
        return json.loads(peer.stdout.readline())

    return {name: lambda name=name: run(name) for name in ("outlines", "rois", "overlay", "edges")}


def regionprops(labels: np.ndarray, image: np.ndarray) -> float:
    from skimage.measure import regionprops_table

    start = time.perf_counter()
    regionprops_table(labels, image, properties=[*SHAPE, *INTENSITY])
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
