"""Compare models on images that may be chosen on: none of a training pool, none of eval/ or of the test split.

    python -m benchmarks.accuracy.candidates --data DIR [--model compact FOLDER ...] [--seeds 16] [--limit N]

`DIR` holds ``train/``. A candidate is a folder that `cellbrook.training.publish` wrote. Judged by mean AP at IoU 0.5 and
0.75 are the validation split of dsb2018, the held-out frames of usiigaci_phc, both at other sizes, and generated images
of every family at the diameters of the training pool, with sections of generated stacks; then what is found where no
cell is.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from benchmarks.accuracy.__main__ import Segment, make_segmenter
from benchmarks.accuracy.data import Pair, find_sets, spread
from benchmarks.accuracy.robustness import rescaled

from cellbrook.metrics import average_precision
from cellbrook.training import synthetic
from cellbrook.training.compact import pool_diameter, sections_of_stack

SEED = 960_000
"""Generated images from this seed on are in no training pool."""

FACTORS = {"dsb2018_val": (0.5, 0.71, 1.41, 2.0), "usiigaci_held_out": (0.35, 0.5, 0.71, 1.41)}
"""Other sizes of the held-out images; those of usiigaci_phc are of 64 px."""

LARGE_PX = 55
"""From this diameter on generated images are told apart: they are what the first look finds hardest."""

Shown = tuple[np.ndarray, str, np.ndarray]
"""Image, its axes, and the true labels."""

Group = Callable[[], Iterator[Shown]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--model", nargs="+", default=["compact"], help="with options: MODEL,KEYWORD=VALUE,..."
    )
    parser.add_argument("--seeds", type=int, default=16, help="generated images of each family")
    parser.add_argument("--limit", type=int, help="held-out images of a set, spread over it")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    segmenters = [make_segmenter(model, args.threads) for model in args.model]
    print(f"{'AP at 0.5 / 0.75':<44}{'images':>7}  " + "".join(f"{Path(m).name:<16}" for m in args.model))
    kinds: dict[str, list[np.ndarray]] = {}
    for kind, name, shown in groups(args.data, args.seeds, args.limit):
        found = []
        for image, axes, truth in shown():
            labels = [segment(image, axes) for segment in segmenters]
            found.append([average_precision(truth, each, thresholds=(0.5, 0.75))[0] for each in labels])
        if found:
            means = np.mean(found, axis=0)
            kinds.setdefault(kind, []).append(means)
            print_row(name, len(found), means)
    print_empty(segmenters, 6 * args.seeds)
    for kind, means in kinds.items():
        if len(means) > 1:
            print_row(f"mean of {len(means)} groups: {kind}", None, np.mean(means, axis=0))


def print_row(name: str, count: int | None, means: np.ndarray) -> None:
    cells = "".join(f"{f'{at50:.3f} / {at75:.3f}':<16}" for at50, at75 in means)
    print(f"{name:<44}{'' if count is None else count:>7}  {cells}", flush=True)


def print_empty(segmenters: list[Segment], count: int, side: int = 384) -> None:
    """Print how many objects a megapixel are found where there is no cell, and in how many images."""
    found = []
    for seed in range(SEED, SEED + count):
        image = synthetic.generate("empty", seed, side).image
        found.append([int(segment(image, "CYX").max(initial=0)) for segment in segmenters])
    counts = np.array(found)
    area = count * side * side / 1e6
    cells = "".join(
        f"{f'{n / area:.1f} in {m}':<16}" for n, m in zip(counts.sum(0), (counts > 0).sum(0), strict=True)
    )
    print(f"{'without cells: objects a megapixel, images':<44}{count:>7}  {cells}", flush=True)


def groups(data: Path, seeds: int, limit: int | None) -> Iterator[tuple[str, str, Group]]:
    """Yield kind, name and images of every group."""
    sets = find_sets(data)
    for name, factors in FACTORS.items():
        pairs = spread(sets[name], limit)
        yield "as they are", name, lambda pairs=pairs: held_out(pairs, 1.0)
        # every second image of the larger set tells as much
        some = pairs[::2] if len(pairs) > 20 else pairs
        for factor in factors:
            yield (
                "other sizes",
                f"{name} x{factor:g}",
                lambda some=some, factor=factor: held_out(some, factor),
            )
    for family in synthetic.FAMILIES:
        if family == "empty":
            continue
        rngs = (np.random.default_rng([seed, len(family)]) for seed in range(SEED, SEED + seeds))
        drawn = [pool_diameter(family, rng) for rng in rngs]
        for large in (False, True):
            chosen = [(SEED + n, d) for n, d in enumerate(drawn) if (d >= LARGE_PX) == large]
            size = f"from {LARGE_PX} px" if large else f"below {LARGE_PX} px"
            yield (
                "generated",
                f"{family}, {size}",
                lambda family=family, chosen=chosen: generated(family, chosen),
            )
    yield "generated", "nuclei_sections", lambda: sections(seeds)


def held_out(pairs: list[Pair], factor: float) -> Iterator[Shown]:
    for pair in pairs:
        image, axes = pair.read_image()
        truth = pair.read_masks()
        if factor != 1:
            image, truth = rescaled(factor)(image, axes, truth)
        yield image, axes, truth


def generated(family: str, chosen: list[tuple[int, float]]) -> Iterator[Shown]:
    for seed, diameter in chosen:
        sample = synthetic.generate(family, seed, 384, diameter)
        yield sample.image, "CYX", sample.labels.astype(np.uint32)


def sections(count: int) -> Iterator[Shown]:
    for seed in range(SEED, SEED + max(1, count // 3)):
        for section in sections_of_stack(seed):
            yield section["image"], "CYX", section["labels"].astype(np.uint32)


if __name__ == "__main__":
    main()
