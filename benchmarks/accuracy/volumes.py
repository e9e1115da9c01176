"""Objects in 3-D: the volume seen along its three axes, against planes linked where they overlap.

``python -m benchmarks.accuracy.volumes --data DIR``; `DIR` holds ``train/``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

import cellbrook
from cellbrook.metrics import average_precision
from cellbrook.training import synthetic

REAL = (
    "qcanet_mouse_embryo_3d/16_cell_stage",
    "qcanet_mouse_embryo_3d/8_cell_stage",
    "plantseg_mini_3d/1135",
    "plantseg_mini_3d/1136",
    "stardist_demo/img3d",
)
GENERATED = (
    (910_000, 1.0, 14),
    (910_001, 1.0, 24),
    (910_002, 2.0, 14),
    (910_003, 2.0, 24),
    (910_004, 4.0, 14),
)
"""Seed, distance of planes in pixels, diameter."""


def linked(planes: np.ndarray[Any, Any], least_iou: float = 0.25) -> np.ndarray[Any, Any]:
    """Return labels (Z, Y, X) in which objects of neighbouring planes that overlap are one, the best pairs first."""
    out = np.zeros(planes.shape, np.uint32)
    count = 0
    for z, plane in enumerate(planes):
        before = out[z - 1] if z else np.zeros_like(out[0])
        area, area_before = np.bincount(plane.ravel()), np.bincount(before.ravel())
        both = (plane > 0) & (before > 0)
        pairs, common = np.unique(np.stack([before[both], plane[both]]), axis=1, return_counts=True)
        iou = common / (area_before[pairs[0]] + area[pairs[1]] - common)
        number: dict[int, int] = {}
        for k in np.argsort(-iou):
            old, new = (int(v) for v in pairs[:, k])
            if iou[k] >= least_iou and new not in number and old not in number.values():
                number[new] = old
        for label in np.flatnonzero(area[1:]) + 1:
            if label not in number:
                count += 1
                number[int(label)] = count
            out[z][plane == label] = number[int(label)]
    return out


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="compact", help="or the folder of a candidate")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    segmenter = cellbrook.Segmenter(args.model, threads=args.threads)
    stacks = []
    for name in REAL:
        image, labels = (
            tifffile.imread(args.data / "train" / f"{name}_{kind}.tif") for kind in ("img", "masks")
        )
        stacks.append((name, image, labels, 1.0))
    for seed, apart, diameter in GENERATED:
        sample = synthetic.generate_volume(
            "spheres_3d", seed, (max(6, int(40 / apart)), 96, 96), diameter, apart
        )
        stacks.append(
            (f"spheres {diameter} px, planes {apart:g} px apart", sample.image[0], sample.labels, apart)
        )
    print(f"{'':<44}{'objects':>8}  {'linked planes':<24}three views")
    for name, image, labels, apart in stacks:
        told = []
        for keywords in ({}, {"volume": True, "anisotropy": apart}):
            start = time.perf_counter()
            found = segmenter.segment(np.ascontiguousarray(image), axes="ZYX", **keywords).labels
            if not keywords:
                found = linked(found)
            ap = average_precision(labels.astype(np.uint32), found, thresholds=(0.5, 0.75))[0]
            told.append(f"{ap[0]:.3f} / {ap[1]:.3f} {time.perf_counter() - start:5.1f} s")
        print(f"{name:<44}{len(np.unique(labels[labels > 0])):>8}  {told[0]:<24}{told[1]}", flush=True)


if __name__ == "__main__":
    main()
