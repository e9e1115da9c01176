"""Measure what a wide field around a few cells costs a model.

    python -m benchmarks.accuracy.fields --data DIR [--model compact] [--precision int8 fp32] [--limit 30] [--side 1280]

Images of dsb2018's validation part on dark ground are segmented as they are and in the middle of a field of so many pixels
with the level and the noise of their own background: once as usual, and once by percentiles alone, which is what images had
before a few cells decided their range (percentiles that differ from the usual ones are taken at their word).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from benchmarks.accuracy.data import Pair, find_sets

import cellbrook
from cellbrook.metrics import average_precision

DARK, LARGEST_PX = 60, 400
"""Median of an image on dark ground, of 8 bits, and the longest side, so that it is a small part of the field."""

PERCENTILES = {"percentile_high": 99.001}
WAYS = ("as it is", "in a field", "in a field, percentiles alone")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with train/dsb2018")
    parser.add_argument("--model", default="compact")
    parser.add_argument("--precision", nargs="+", default=["int8", "fp32"])
    parser.add_argument("--limit", type=int, default=30, help="images")
    parser.add_argument("--side", type=int, default=1280, help="of the field, in pixels")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    images = [i for p in find_sets(args.data)["dsb2018_val"] if (i := on_dark_ground(p)) is not None]
    rng = np.random.default_rng(3)
    fields = [in_a_field(image, truth, args.side, rng) for image, truth in images[: args.limit]]
    print(f"{len(fields)} images in fields of {args.side} px: mean AP at 0.5 and 0.75")
    for precision in args.precision:
        segmenter = cellbrook.Segmenter(model=args.model, precision=precision, threads=args.threads)
        for way, told in zip(WAYS, ({}, {}, PERCENTILES), strict=True):
            found = [
                average_precision(truth, segmenter.segment(image, **told).labels, thresholds=(0.5, 0.75))[0]
                for image, truth in (images[: args.limit] if way == WAYS[0] else fields)
            ]
            print(f"{precision}, {way}: " + ", ".join(f"{v:.3f}" for v in np.mean(found, axis=0)), flush=True)


def on_dark_ground(pair: Pair) -> tuple[np.ndarray, np.ndarray] | None:
    """Return a grey image and its labels; None if it is not what this is about."""
    image, axes = pair.read_image()
    truth = pair.read_masks()
    grey = image.mean(axis=-1).round().astype(np.uint8) if axes == "YXS" else image
    if grey.ndim != 2 or np.median(grey) > DARK or max(grey.shape) > LARGEST_PX or truth.max() < 3:
        return None
    return grey, truth


def in_a_field(
    image: np.ndarray, truth: np.ndarray, side: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    ground = image[truth == 0].astype(np.float64)
    first, third = np.percentile(ground, (25, 75))
    field = rng.normal(np.median(ground), max((third - first) / 1.349, 0.7), (side, side))
    labels = np.zeros((side, side), truth.dtype)
    place = tuple(slice((side - n) // 2, (side - n) // 2 + n) for n in image.shape)
    field[place], labels[place] = image, truth
    return field.clip(0, 255).round().astype(np.uint8), labels


if __name__ == "__main__":
    main()
