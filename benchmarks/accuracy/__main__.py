"""Measure segmenters on labelled sets.

    python -m benchmarks.accuracy --data DIR [--model compact otsu] [--sets ...] [--limit N]

Prints one row a set: AP at IoU 0.5, 0.75 and 0.9, F1, panoptic quality and count error as means over images
with 95 % bootstrap intervals; for a set of single-cell crops (wbc_dataset1) also in which share of the images
the cell is found. The baseline takes options, as in otsu,polarity=dark,channel=1,root=0 (see otsu.py).
With --out, labels and results.json are kept there; --resume then takes up labels that are there already.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from benchmarks.accuracy.data import Pair, eval_names, find_sets, spread

from cellbrook.metrics import ImageCounts, count_image, mask_ious, summarise

Segment = Callable[[np.ndarray, str], np.ndarray]
CROPS = (
    "wbc_dataset1",
)  # one cell an image is labelled, its neighbours are not: judged by whether it is found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with eval/ and train/")
    parser.add_argument("--sets", nargs="+", help="names of sets (default: all)")
    parser.add_argument(
        "--model",
        nargs="+",
        default=["compact"],
        help="models of Cellbrook, or otsu; with options: MODEL,KEYWORD=VALUE,...",
    )
    parser.add_argument("--limit", type=int, help="images a set, spread over it")
    parser.add_argument("--threads", type=int, help="processor threads (default: all)")
    parser.add_argument("--out", type=Path, help="keep labels and results.json here")
    parser.add_argument("--resume", action="store_true", help="take up labels that are in --out already")
    args = parser.parse_args()
    if args.resume and not args.out:
        parser.error("--resume needs --out")
    sets = find_sets(args.data)
    if args.sets:
        unknown = sorted(set(args.sets) - set(sets))
        if unknown:
            parser.error(f"no set named {', '.join(unknown)}; there are: {', '.join(sets)}")
        sets = {name: sets[name] for name in args.sets}
    document = {}
    for model in args.model:
        segment = make_segmenter(model, args.threads)
        folder = args.out / Path(model).stem if args.out else None
        document[model] = {}
        print_header(model)
        for name, pairs in sets.items():
            row = measure(name, spread(pairs, args.limit), segment, folder, args.resume, args.threads)
            document[model][name] = row
            print_row(name, row)
            if args.out:
                args.out.mkdir(parents=True, exist_ok=True)
                (args.out / "results.json").write_text(json.dumps(document, indent=1))
        print_mean(document[model], eval_names(args.data))


def make_segmenter(model: str, threads: int | None) -> Segment:
    name, *options = model.split(",")
    if name == "otsu":
        from benchmarks.accuracy import otsu

        values = dict(option.split("=", 1) for option in options)
        parameters = {key: value if key == "polarity" else json.loads(value) for key, value in values.items()}
        return lambda image, axes: otsu.segment(image, axes, **parameters)
    import cellbrook

    keywords = {key: json.loads(value) for key, value in (option.split("=", 1) for option in options)}
    segmenter = cellbrook.Segmenter(model=name, threads=threads, **keywords)
    return lambda image, axes: segmenter.segment(image, axes=axes).labels


def measure(
    name: str, pairs: list[Pair], segment: Segment, folder: Path | None, resume: bool, threads: int | None
) -> dict:
    """Segment and compare the images of one set."""
    counts: list[ImageCounts] = []
    seconds, found = [], []
    for pair in pairs:
        labels, took = segment_or_load(pair, segment, folder / name if folder else None, resume)
        if took is not None:
            seconds.append(took)
        truth = pair.read_masks()
        counts.append(count_image(truth, labels, name=pair.id, threads=threads))
        found.append(best_iou(truth, labels) >= 0.5)
    result = summarise(counts)
    row = result.to_dict()
    row["seconds_per_image"] = float(np.median(seconds)) if seconds else None
    if name in CROPS:
        row["found"] = share_with_interval(np.array(found, float))
    row["worst"] = [image.name for image in result.worst(5)]
    return row


def segment_or_load(
    pair: Pair, segment: Segment, folder: Path | None, resume: bool
) -> tuple[np.ndarray, float | None]:
    import tifffile

    path = folder / f"{pair.id}_labels.tif" if folder else None
    if path and resume and path.exists():
        return tifffile.imread(path), None
    image, axes = pair.read_image()
    start = time.perf_counter()
    labels = segment(image, axes)
    took = time.perf_counter() - start
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        tifffile.imwrite(partial, labels, compression="zlib")
        partial.replace(path)  # so that an interrupted run leaves whole files only
    return labels, took


def best_iou(truth: np.ndarray, labels: np.ndarray) -> float:
    """Return the highest IoU of any predicted with any true object."""
    return float(max(mask_ious(truth, labels)[0], default=0.0))


def share_with_interval(found: np.ndarray, resamples: int = 2000) -> dict[str, float]:
    drawn = np.random.default_rng(0).binomial(len(found), found.mean(), resamples) / len(found)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return {"value": float(found.mean()), "low": float(low), "high": float(high)}


def print_header(model: str) -> None:
    print(f"\n{model}: means over images [95 % interval]; count error is |found - true| / true")
    print(
        f"{'set':<24}{'images':>7}{'objects':>9}  {'AP 0.5':<22}{'AP 0.75':<22}{'AP 0.9':<22}{'F1 0.5':<22}"
        f"{'PQ':<22}{'count error':<24}{'s/image':>8}  found"
    )


def print_row(name: str, row: dict) -> None:
    def cell(interval: dict) -> str:
        if interval["low"] is None:
            return f"{interval['value']:.3f}"
        return f"{interval['value']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"

    mean, levels = row["mean"], row["thresholds"]
    ap = [cell(mean["ap"][levels.index(level)]) for level in (0.5, 0.75, 0.9)]
    cells = [*ap, cell(mean["f1"][0]), cell(mean["panoptic_quality"])]
    took = "" if row["seconds_per_image"] is None else f"{row['seconds_per_image']:.2f}"
    found = cell(row["found"]) if "found" in row else ""
    print(
        f"{name:<24}{row['n_images']:>7}{row['n_true']:>9}  "
        + "".join(f"{text:<22}" for text in cells)
        + f"{cell(mean['count_error']):<24}{took:>8}  {found}",
        flush=True,
    )


def print_mean(rows: dict[str, dict], eval_sets: list[str]) -> None:
    """Print the one figure to compare models by: each set of eval/ weighs the same."""
    chosen = {name: rows[name] for name in eval_sets if name in rows}
    if not chosen:
        return
    values = [
        row["found"]["value"] if "found" in row else row["mean"]["ap"][0]["value"] for row in chosen.values()
    ]
    print(f"mean over the {len(values)} eval sets (AP 0.5; crops by found): {np.mean(values):.3f}")


if __name__ == "__main__":
    main()
