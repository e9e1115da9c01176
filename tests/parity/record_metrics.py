"""Record what Cellpose's and StarDist's metrics say of a few pairs of label images.

Run once with an interpreter that has cellpose 4.2.1.1 and once with one that has stardist 0.9.2::

    python tests/parity/record_metrics.py --out tests/parity

The inputs lie in the files beside the values, so that no random generator has to repeat itself.
"""

from __future__ import annotations

import argparse
import importlib.util
from importlib.metadata import version
from pathlib import Path

import numpy as np

THRESHOLDS = [0.1, 0.25, 0.4, *(round(0.5 + 0.05 * step, 2) for step in range(10))]
FIELDS = [
    "tp",
    "fp",
    "fn",
    "precision",
    "recall",
    "f1",
    "accuracy",
    "n_true",
    "n_pred",
    "mean_true_score",
    "mean_matched_score",
    "panoptic_quality",
]


def disks(rng, shape, count, radius, first=1, step=1):
    """Return a label image of `count` overlapping disks (balls), later ones on top."""
    labels = np.zeros(shape, np.uint16)
    grid = np.indices(shape)
    for place in range(count):
        centre = rng.uniform(0, shape).reshape(-1, *[1] * len(shape))
        inside = ((grid - centre) ** 2).sum(0) < rng.uniform(*radius) ** 2
        labels[inside] = first + step * place
    return labels


def scenes():
    rng = np.random.default_rng(20260101)
    size = (96, 96)
    true = disks(rng, size, 40, (4, 9))
    yield "same", true, true
    yield "shifted", true, np.roll(true, (1, 2), (0, 1))
    keep = np.append(False, rng.random(true.max()) < 0.7)
    extra = disks(rng, size, 5, (3, 6), first=int(true.max()) + 1)
    yield "missed_and_extra", true, np.where(extra > 0, extra, np.where(keep[true], true, 0))
    yield "merged", true, (true + 1) // 2
    yield "split", true, true * 2 - (true > 0) * (np.indices(size)[1] % 14 < 7)
    yield "unrelated", true, disks(rng, size, 60, (3, 8))
    yield "unrelated_small", true, disks(rng, size, 150, (2, 5))
    yield "gaps", true * 3, disks(rng, size, 40, (4, 9), first=7, step=11)
    yield "no_prediction", true, np.zeros(size, np.uint16)
    yield "no_truth", np.zeros(size, np.uint16), true
    halves = np.kron(np.arange(1, 10, dtype=np.uint16).reshape(3, 3), np.ones((10, 10), np.uint16))
    split = 2 * halves - (np.indices(halves.shape)[1] % 10 < 5)  # IoU exactly 0.5, twice
    # Cellpose takes the lowest value for background even where there is none, so let there be some.
    yield "halves", np.pad(halves, 2), np.pad(split, 2).astype(np.uint16)
    ball = disks(rng, (16, 40, 40), 25, (3, 7))
    yield "volume", ball, np.roll(disks(rng, (16, 40, 40), 3, (3, 5), first=26) + ball * (ball % 5 > 0), 1, 2)


def record_cellpose():
    from cellpose import metrics

    out = {"version": version("cellpose")}
    for name, true, pred in scenes():
        out[f"{name}/true"], out[f"{name}/pred"] = true, pred
        values = metrics.average_precision(true.astype(int), pred.astype(int), threshold=THRESHOLDS)
        out[f"{name}/ap"] = np.array(values, np.float64)
        if true.any() and pred.any():
            iou, preds = metrics.mask_ious(true.astype(int), pred.astype(int))
            out[f"{name}/mask_iou"], out[f"{name}/mask_pred"] = iou, preds
            out[f"{name}/aji"] = metrics.aggregated_jaccard_index([true.astype(int)], [pred.astype(int)])[0]
    return "metrics_cellpose.npz", out


def record_stardist():
    from stardist.matching import matching

    out = {"version": version("stardist")}
    for name, true, pred in scenes():
        out[f"{name}/true"], out[f"{name}/pred"] = true, pred
        found = [matching(true, pred, thresh=threshold) for threshold in THRESHOLDS]
        out[f"{name}/matching"] = np.array(
            [[getattr(one, field) for field in FIELDS] for one in found], float
        )
    return "metrics_stardist.npz", out


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the fixtures")
    args = parser.parse_args()
    record = record_cellpose if importlib.util.find_spec("cellpose") else record_stardist
    name, out = record()
    names = [scene[0] for scene in scenes()]
    np.savez_compressed(args.out / name, thresholds=THRESHOLDS, fields=FIELDS, names=names, **out)


if __name__ == "__main__":
    main()
