"""Compare images as a whole with the same images in tiles: the instances should be the same.

    python -m benchmarks.accuracy.seams --data DIR [--sets ...] [--tile 704]

For each set: images larger than a tile, the smallest and the median adjusted Rand index, and how many are equal to the
pixel. Once with the size found by the model, which may bring an image to a scale at which one tile holds it, and once as
the image is, where every one is cut. Tiles share what the model's card says.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from benchmarks.accuracy.data import find_sets

import cellbrook
from cellbrook.metrics import adjusted_rand_index


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with eval/ and train/")
    parser.add_argument("--sets", nargs="+", help="names of sets (default: all)")
    parser.add_argument("--tile", type=int, default=704, help="side of a tile in pixels")
    parser.add_argument("--model", default="compact")
    parser.add_argument("--precision", default="auto")
    args = parser.parse_args()
    segmenter = cellbrook.Segmenter(model=args.model, precision=args.precision)
    print(f"{segmenter.engine_info.engine} {segmenter.engine_info.precision}, tiles of {args.tile} px")
    sets = find_sets(args.data)
    for name in args.sets or sets:
        for diameter in ("auto", "none"):
            values = []
            for pair in sets[name]:
                image, axes = pair.read_image()
                if min(image.shape[-2:] if axes == "CYX" else image.shape[:2]) <= args.tile:
                    continue
                whole, tiled = (
                    segmenter.segment(image, axes=axes, diameter=diameter, tile_size=tile).labels
                    for tile in (32 * 128, args.tile)
                )
                values.append(adjusted_rand_index(whole, tiled))
            if values:
                equal = sum(v == 1 for v in values)
                print(
                    f"{name:<24} diameter {diameter:<5} {len(values):4d} images  least {min(values):.5f}  "
                    f"median {np.median(values):.5f}  equal {equal}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
