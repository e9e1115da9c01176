"""Matching of label images against Cellpose's `average_precision`: the same images, both sides in one run.

    python benchmarks/matching.py --peer PYTHON_WITH_CELLPOSE4 [--size 4096]

Both sides get the same arrays and thresholds and are called in turn; medians are of the calls alone, without
start-up and reading. The peer holds several dense matrices of all pairs of objects: about 6 GB at 4096.
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

from cellbrook.metrics import average_precision
from scenes import packed_ellipses  # beside this file

THRESHOLDS = [0.5, 0.75, 0.9]

PEER = """
import json, sys, time
import numpy as np
from cellpose.metrics import average_precision
data = np.load(sys.argv[1])
true, pred = (data[name].astype("int64") for name in ("true", "pred"))
thresholds = data["thresholds"].tolist()
for line in sys.stdin:
    start = time.perf_counter()
    values = average_precision(true, pred, threshold=thresholds)
    print(json.dumps([time.perf_counter() - start, [v.tolist() for v in values]]), flush=True)
"""


def perturbed(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return labels as a fallible model might give them: shifted, a tenth missing, a tenth merged."""
    rng = np.random.default_rng(seed)
    names = np.arange(labels.max() + 1, dtype=np.uint32)
    merged = rng.random(len(names)) < 0.1
    merged[:2] = False
    names[merged] = names[np.flatnonzero(merged) - 1]
    names[rng.random(len(names)) < 0.1] = 0
    return np.roll(names[labels], (1, 2), (0, 1))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", type=Path, help="interpreter with cellpose 4 (default: time ours alone)")
    parser.add_argument("--size", type=int, default=4096, help="side of the square images in pixels")
    parser.add_argument(
        "--repeats", type=int, default=3, help="calls of the peer; five times as many of ours"
    )
    parser.add_argument("--threads", type=int, help="our threads (default: all)")
    args = parser.parse_args()
    true = packed_ellipses(args.size)
    pred = perturbed(true)
    n_true, n_pred = (len(np.unique(labels)) - 1 for labels in (true, pred))
    print(f"{args.size} x {args.size}, {n_true} true and {n_pred} predicted objects")
    ours, theirs = [], []
    values = peer_values = None
    with tempfile.TemporaryDirectory() as folder:
        peer = start_peer(args.peer, Path(folder) / "scene.npz", true, pred) if args.peer else None
        for _ in range(args.repeats):
            for _ in range(5):
                start = time.perf_counter()
                values = average_precision(true, pred, THRESHOLDS, threads=args.threads)
                ours.append(time.perf_counter() - start)
            if peer:
                peer.stdin.write("go\n")
                peer.stdin.flush()
                took, peer_values = json.loads(peer.stdout.readline())
                theirs.append(took)
        if peer:
            peer.stdin.close()
            peer.wait()
    print(f"AP at {THRESHOLDS}: {np.round(values[0], 6).tolist()}")
    print(f"cellbrook   {statistics.median(ours):10.4f} s  (median of {len(ours)})")
    if theirs:
        ratio = statistics.median(theirs) / statistics.median(ours)
        print(f"cellpose    {statistics.median(theirs):10.4f} s  (median of {len(theirs)})")
        print(f"ratio       {ratio:10.0f}")
        same = all(np.allclose(a, b, rtol=0, atol=1e-6) for a, b in zip(values, peer_values, strict=True))
        print(f"same values {same!s:>10}")
        if not same:
            sys.exit(1)


def start_peer(python: Path, scene: Path, true: np.ndarray, pred: np.ndarray) -> subprocess.Popen:
    np.savez(scene, true=true, pred=pred, thresholds=THRESHOLDS)
    return subprocess.Popen(
        [python, "-W", "ignore", "-c", PEER, scene],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


if __name__ == "__main__":
    main()
