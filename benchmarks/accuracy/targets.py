"""Ask for whole cells and for their nuclei in images that show both.

    python -m benchmarks.accuracy.targets --data DIR [--set deepcell2016_wholecell]

The set's labels are whole cells; nuclei are judged by where they lie: how many of the true cells hold exactly one, how many
nuclei lie in one cell (nine tenths of them), and how large they are beside their cells.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from benchmarks.accuracy.data import find_sets

import cellbrook
from cellbrook.metrics import average_precision


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with eval/ and train/")
    parser.add_argument(
        "--set", default="deepcell2016_wholecell", help="images of whole cells with two channels"
    )
    parser.add_argument("--model", default="compact")
    args = parser.parse_args()
    segmenter = cellbrook.Segmenter(model=args.model)
    rows, chosen = [], set()
    for pair in find_sets(args.data)[args.set]:
        image, axes = pair.read_image()
        truth = pair.read_masks()
        cells, nuclei, auto = (
            segmenter.segment(image, axes=axes, target=target) for target in ("cells", "nuclei", "auto")
        )
        chosen.add("cells" if np.array_equal(auto.labels, cells.labels) else "other")
        rows.append(
            (average_precision(truth, cells.labels, [0.5])[0].item(), *nuclei_in(truth, nuclei.labels))
        )
    ap, one, none, inside, share = np.mean(rows, axis=0)
    print(f"{args.set}, {len(rows)} images; auto asks for {' and '.join(sorted(chosen))}")
    print(f"cells: AP at IoU 0.5 {ap:.3f}")
    print(
        f"nuclei: {one:.1%} of the true cells hold exactly one, {none:.1%} none; {inside:.1%} lie in one cell"
    )
    print(f"a nucleus has {share:.2f} times the area of its cell (median)")


def nuclei_in(cells: np.ndarray, nuclei: np.ndarray) -> tuple[float, float, float, float]:
    """Return the shares of cells with exactly one nucleus and with none, of nuclei in a cell, and of a cell's area."""
    count, most = int(nuclei.max()), int(cells.max())
    if count == 0:
        return 0.0, 1.0, 0.0, 0.0
    table = np.bincount(
        nuclei.astype(np.int64).ravel() * (most + 1) + cells.astype(np.int64).ravel(),
        minlength=(count + 1) * (most + 1),
    ).reshape(count + 1, most + 1)[1:]
    area = table.sum(axis=1)
    home = table[:, 1:].argmax(axis=1) + 1
    inside = table[np.arange(count), home] >= 0.9 * area
    true = np.unique(cells[cells > 0])
    held = np.bincount(home[inside], minlength=most + 1)[true]
    of_cell = np.bincount(cells.ravel(), minlength=most + 1)
    share = float(np.median(area[inside] / of_cell[home[inside]])) if inside.any() else 0.0
    return float((held == 1).mean()), float((held == 0).mean()), float(inside.mean()), share


if __name__ == "__main__":
    main()
