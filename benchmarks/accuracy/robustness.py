"""Measure what changes of an image cost a model, how it fares without cells, and what its scores are worth.

    python -m benchmarks.accuracy.robustness --data DIR [--sets ...] [--limit N] [--model compact]

The change of a set is that of its mean AP at IoU 0.5 (crops: the share in which the cell is found). Image sets are
rescaled by 0.5 to 2 as far as the median diameter stays within 10 to 110 px; channels are swapped where there are two;
Gaussian noise has the standard deviation that the image's own noise is estimated at. Empty images are generated.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from benchmarks.accuracy.__main__ import CROPS, best_iou
from benchmarks.accuracy.data import Pair, eval_names, find_sets, spread
from scipy.stats import spearmanr

import cellbrook
from cellbrook.metrics import average_precision, matching
from cellbrook.resize import resize, scaled_shape
from cellbrook.training import synthetic

FACTORS = (0.5, 0.71, 1.41, 2.0)
DIAMETERS = (10, 110)
EMPTY_SEED = 800_000
"""Generated images from this seed on are in no training pool."""

Judged = tuple[np.ndarray, np.ndarray, float]
"""Of an image: scores of what was found, whether each is right, and F1 at IoU 0.5."""

Change = Callable[[np.ndarray, str, np.ndarray], tuple[np.ndarray, np.ndarray]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with eval/ and train/")
    parser.add_argument("--sets", nargs="+", help="names of sets (default: those of eval/)")
    parser.add_argument("--limit", type=int, default=6, help="images a set, spread over it")
    parser.add_argument("--model", default="compact")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    segmenter = cellbrook.Segmenter(model=args.model, threads=args.threads)
    print(f"{segmenter.engine_info.engine} {segmenter.engine_info.precision}")
    sets = find_sets(args.data)
    judged: list[Judged] = []
    for name in args.sets or eval_names(args.data):
        pairs = spread(sets[name], args.limit * (10 if name in CROPS else 1))
        plain = mean_of(segmenter, name, pairs, unchanged, judged if name not in CROPS else None)
        print(f"{name:<24} plain {plain:.3f}", end="", flush=True)
        diameter = typical_diameter(pairs)
        for factor in FACTORS:
            if DIAMETERS[0] <= diameter * factor <= DIAMETERS[1]:
                report(f"x{factor:g}", mean_of(segmenter, name, pairs, rescaled(factor)) - plain)
        if pairs[0].read_image()[1] == "CYX":
            report("swapped", mean_of(segmenter, name, pairs, swapped) - plain)
        report("noise", mean_of(segmenter, name, pairs, noisy) - plain)
        print()
    print_scores(judged)
    print_empty(segmenter)


def report(what: str, change: float) -> None:
    print(f"  {what} {100 * change:+.1f}", end="", flush=True)


def mean_of(
    segmenter: cellbrook.Segmenter,
    name: str,
    pairs: list[Pair],
    change: Change,
    judged: list[Judged] | None = None,
) -> float:
    values = []
    for pair in pairs:
        image, axes = pair.read_image()
        image, truth = change(image, axes, pair.read_masks())
        result = segmenter.segment(image, axes=axes)
        if judged is not None:
            found = matching(truth, result.labels, 0.5)
            right = np.isin(result.objects["label"], found.pairs[:, 1])
            judged.append((result.objects["score"], right, found.f1))
        if name in CROPS:
            values.append(best_iou(truth, result.labels) >= 0.5)
        else:
            values.append(average_precision(truth, result.labels, thresholds=(0.5,))[0][0])
    return float(np.mean(values))


def typical_diameter(pairs: list[Pair]) -> float:
    areas = np.concatenate([np.bincount(p.read_masks().ravel())[1:] for p in pairs])
    return float(np.median(2 * np.sqrt(areas[areas > 0] / np.pi)))


def unchanged(image: np.ndarray, axes: str, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image, truth


def rescaled(factor: float) -> Change:
    def change(image: np.ndarray, axes: str, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        channels_first = np.moveaxis(image, -1, 0) if axes == "YXS" else image
        stack = np.ascontiguousarray(channels_first.reshape(-1, *truth.shape), np.float32)
        shape = scaled_shape(truth.shape, factor)
        small = resize(stack, shape)
        rows, columns = (
            np.minimum(((np.arange(n) + 0.5) * old / n).astype(int), old - 1)
            for n, old in zip(shape, truth.shape, strict=True)
        )
        if axes == "YXS":
            return np.ascontiguousarray(np.moveaxis(small, 0, -1).round().astype(image.dtype)), truth[rows][
                :, columns
            ]
        return (small[0] if axes == "YX" else small), truth[rows][:, columns]

    return change


def swapped(image: np.ndarray, axes: str, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.ascontiguousarray(image[::-1]), truth


def noisy(image: np.ndarray, axes: str, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    channels = np.moveaxis(image, -1, 0) if axes == "YXS" else image.reshape(-1, *truth.shape)
    out = np.stack([c + rng.normal(0, noise_of(c), c.shape) for c in channels.astype(np.float32)])
    if axes == "YXS":
        return np.moveaxis(out, 0, -1).clip(0, 255).round().astype(image.dtype), truth
    return out.astype(np.float32).reshape(image.shape), truth


def noise_of(channel: np.ndarray) -> float:
    """Return the standard deviation of the noise, from what no smooth image has (Immerkaer 1996)."""
    c = channel.astype(np.float64)
    cross = c[:-2, :-2] + c[:-2, 2:] + c[2:, :-2] + c[2:, 2:] - 2 * (c[:-2, 1:-1] + c[2:, 1:-1])
    residual = cross - 2 * (c[1:-1, :-2] + c[1:-1, 2:]) + 4 * c[1:-1, 1:-1]
    return float(np.sqrt(np.pi / 2) * np.abs(residual).mean() / 6)


def print_scores(judged: list[Judged], bins: int = 10) -> None:
    """Print what ranking by score gains, the calibration error over bins of equal count, what means over images tell."""
    scores, rights, f1 = zip(*judged, strict=True)
    score, right = np.concatenate(scores), np.concatenate(rights)
    order = np.argsort(-score, kind="stable")
    kept = order[: round(0.8 * len(order))]
    parts = [p for p in np.array_split(order, bins) if len(p)]
    error = sum(len(p) * abs(score[p].mean() - right[p].mean()) for p in parts) / len(score)
    print(
        f"\nscores of {len(score)} objects: precision {right.mean():.3f}, of the best 80 % {right[kept].mean():.3f};"
        f" calibration error {error:.3f}"
    )
    means = [float(s.mean()) if len(s) else 0.0 for s in scores]
    print(
        f"rank correlation of the mean score of {len(f1)} images with their F1: {spearmanr(means, f1)[0]:.2f}"
    )


def print_empty(segmenter: cellbrook.Segmenter, images: int = 200, side: int = 512) -> None:
    """Print what is found where no cell is. A few images have hundreds: forty, as it were once, say little.

    Strands of gel and blocks of a compression are told apart: people take some of them for cells, too.
    """
    found: dict[str, list[int]] = {
        "all": [],
        "noise, light, blur, dust ...": [],
        "gel or fibres": [],
        "in blocks": [],
    }
    for seed in range(EMPTY_SEED, EMPTY_SEED + images):
        sample = synthetic.generate("empty", seed, side)
        kind = "gel or fibres" if "texture" in sample.contents else "noise, light, blur, dust ..."
        kind = "in blocks" if "blocks" in sample.contents else kind
        count = len(segmenter.segment(sample.image, axes="CYX").objects)
        found["all"].append(count)
        found[kind].append(count)
    print("\nimages without cells, and what is found in them:")
    for kind, counts in found.items():
        rate = sum(counts) / (len(counts) * side * side / 1e6)
        print(
            f"{kind:<30} {len(counts):>4} images: {sum(counts)} objects, {rate:.2f} a megapixel,"
            f" in {sum(n > 0 for n in counts)} images"
        )


if __name__ == "__main__":
    main()
