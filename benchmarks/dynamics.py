"""Flows to labels and back: Cellbrook against Cellpose 4.2.1.1 on the same flows, in one run.

    python benchmarks/dynamics.py --peer /path/to/python_with_cellpose [--size 2048] [--threads 2]

Prints medians, ratios and whether the labels are identical in compat mode. The peer runs once by default (at 2048 x 2048
that is about a minute on two cores); ``--repeats`` counts for Cellbrook.
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

PEER = """
import json, statistics, sys, time, warnings
warnings.filterwarnings("ignore")
import numpy as np, torch
from cellpose import dynamics
folder, threads, repeats = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
scene = np.load(folder + "/scene.npz")
flows, cellprob, labels = 5 * scene["flows"], scene["cellprob"], scene["labels"].astype("int64")
dynamics.compute_masks(flows[:, :128, :128], cellprob[:128, :128], min_size=15)  # warm up
def timed(call):
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result
to_labels, masks = timed(lambda: dynamics.compute_masks(flows, cellprob, min_size=15))
to_flows, _ = timed(lambda: dynamics.masks_to_flows_gpu(labels)[0])
np.save(folder + "/masks.npy", masks)
print(json.dumps({"to_labels": to_labels, "to_flows": to_flows}))
"""


def median_seconds(call, repeats: int) -> tuple[float, object]:
    """Return the median time of `call` and its last result, after one run to warm up."""
    result = call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--peer", help="Python interpreter that has Cellpose 4; without it only Cellbrook is timed"
    )
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--peer-repeats", type=int, default=1)
    options = parser.parse_args()

    from cellbrook import MaskParams
    from cellbrook.dynamics import flows_from_labels, labels_from_flows
    from scenes import scene

    truth, flows, cellprob = scene(options.size, options.seed)
    threads = options.threads
    compat = MaskParams(compat="cellpose")
    rows = {
        "flows to labels, compat": median_seconds(
            lambda: labels_from_flows(flows, cellprob, compat, threads=threads), options.repeats
        ),
        "flows to labels, default": median_seconds(
            lambda: labels_from_flows(flows, cellprob, threads=threads), options.repeats
        ),
        "flows from labels": median_seconds(
            lambda: flows_from_labels(truth, threads=threads), options.repeats
        ),
        "flows from labels, compat": median_seconds(
            lambda: flows_from_labels(truth, "cellpose", threads=threads), options.repeats
        ),
    }
    peer = None
    if options.peer:
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder) / "scene.npz", labels=truth, flows=flows, cellprob=cellprob)
            command = [options.peer, "-c", PEER, folder, str(threads), str(options.peer_repeats)]
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            peer = json.loads(answer.splitlines()[-1])
            peer_masks = np.load(Path(folder) / "masks.npy")
    print(f"{options.size} x {options.size}, {len(np.unique(truth)) - 1} cells, {threads} threads")
    print(f"{'':28}{'Cellbrook s':>12}{'Cellpose s':>12}{'ratio':>9}")
    for name, (seconds, _) in rows.items():
        line = f"{name:28}{seconds:12.3f}"
        if peer:
            other = peer["to_labels" if name.startswith("flows to") else "to_flows"]
            line += f"{other:12.2f}{other / seconds:9.0f}"
        print(line)
    if peer:
        labels = rows["flows to labels, compat"][1][0]
        print(f"compat labels that differ from the peer's: {int((labels != peer_masks).sum())} pixels")


if __name__ == "__main__":
    sys.exit(main())
