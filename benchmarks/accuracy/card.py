"""Write the model card that ships with the weights: what the model is, learnt from, and fails at.

    python -m benchmarks.accuracy --data DIR --model compact otsu --out OUT
    python -m benchmarks.accuracy.card --data DIR --out OUT --command "..." --cost "..."

The first keeps labels and results.json in OUT, from which the second makes ``MODEL_CARD.md`` and the pictures in
``card/`` beside the weights; `cellbrook models info` shows its table. Pictures are of dsb2018 (CC0) and of images
generated here; of the sets in eval/ there are figures only. An image whose truth is plainly wrong makes no picture of
a failure: leave it out with --skip.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from benchmarks.accuracy.__main__ import CROPS
from benchmarks.accuracy.data import Pair, find_sets
from benchmarks.accuracy.failures import Failure, draw, generated_failures, worst_failures

import cellbrook
from cellbrook.metrics import find_errors
from cellbrook.metrics.errors import KINDS
from cellbrook.networks.cards import ModelCard, weights_dir
from cellbrook.networks.document import ACCURACY, DOCUMENT_NAME
from cellbrook.networks.store import find_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ABOUT = {
    "coelho_nih3t3": "mouse fibroblasts, Hoechst nuclei 87 px across, bright debris",
    "ctc_fluo_n2dl_hela": "HeLa, H2B-GFP nuclei, low contrast",
    "deepcell2016_ecoli": "E. coli, phase contrast, dense",
    "deepcell2016_nuclei": "fluorescence nuclei of five cell lines",
    "deepcell2016_wholecell": "whole cells of five lines, phase contrast and nuclear stain",
    "he_gbm40": "nuclei in H&E sections of glioblastoma",
    "wbc_dataset1": "stained blood, one white cell labelled an image",
    "dsb2018_val": "nuclei, many kinds; chose settings, near copies are in the training",
    "dsb2018_test": "nuclei, many kinds; near copies are in the training",
    "usiigaci_held_out": "migrating cells in phase contrast, frames of another look; chose settings",
}
LEVELS = (0.5, 0.75, 0.9)
OPEN_SETS = ("dsb2018_test", "dsb2018_val")  # whose licence permits pictures of them
LIMIT_BYTES = 300_000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with eval/ and train/")
    parser.add_argument(
        "--out", type=Path, required=True, help="what the benchmark kept: results.json, labels"
    )
    parser.add_argument("--model", default="compact")
    parser.add_argument("--command", required=True, help="how it was trained, as one types it; lines by \\n")
    parser.add_argument("--cost", required=True, help="what that took, in words")
    parser.add_argument("--folder", type=Path, default=weights_dir(), help="where the card goes")
    parser.add_argument("--skip", nargs="*", default=[], help="images of dsb2018 that give no picture")
    parser.add_argument("--pictures", type=int, default=5, help="of dsb2018; one less of generated images")
    parser.add_argument("--partial", action="store_true", help="accept results of a part of the images")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    results = json.loads((args.out / "results.json").read_text())
    if args.model not in results:
        parser.error(f"results.json has {', '.join(results)}, not {args.model}")
    rows, sets = results[args.model], find_sets(args.data)
    missing = [n for n, pairs in sets.items() if n not in rows or rows[n]["n_images"] < len(pairs)]
    if missing and not args.partial:
        parser.error(
            f"not measured on every image: {', '.join(missing)}; run the benchmark, or give --partial"
        )
    labels = args.out / args.model
    mistakes = {name: count_mistakes(sets[name], labels / name) for name in rows if name not in CROPS}
    segmenter = cellbrook.Segmenter(model=args.model, threads=args.threads)
    open_pairs = [
        (pair, path)
        for name in OPEN_SETS
        for pair in sets.get(name, [])
        if pair.id not in args.skip and (path := label_path(labels / name, pair)).exists()
    ]
    families, generated = generated_failures(segmenter, max(args.pictures - 1, 0))
    failures = [*worst_failures(open_pairs, args.pictures), *generated]
    pictures = write_pictures(failures, args.folder / "card")
    about = segmenter.engine_info
    baseline = next((name for name in results if name.startswith("otsu")), None)
    text = document(
        find_model(args.model).card,
        f"{about.engine}, {about.precision}",
        rows,
        results[baseline] if baseline else {},
        mistakes,
        families,
        list(zip(pictures, failures, strict=True)),
        args.command.replace("\\n", "\n"),
        args.cost,
        missing,
    )
    (args.folder / DOCUMENT_NAME).write_text(text, encoding="utf-8")
    size = sum(path.stat().st_size for path in pictures)
    print(f"{args.folder / 'MODEL_CARD.md'}: {len(pictures)} pictures, {size / 1e3:.0f} kB")


def label_path(folder: Path, pair: Pair) -> Path:
    return folder / f"{pair.id}_labels.tif"


def count_mistakes(pairs: Iterable[Pair], folder: Path) -> dict[str, float]:
    """Return which share of the true objects is missed, merged, split or badly outlined, and made up, for each."""
    totals, objects = dict.fromkeys(KINDS, 0), 0
    for pair in pairs:
        if label_path(folder, pair).exists():
            truth = pair.read_masks()
            found = find_errors(truth, tifffile.imread(label_path(folder, pair)))
            objects += len(np.unique(truth)) - 1
            for kind in KINDS:
                side = found.pred_objects if kind == "spurious" else found.true_objects
                totals[kind] += side[kind]
    return {kind: count / max(objects, 1) for kind, count in totals.items()}


def write_pictures(failures: Sequence[Failure], folder: Path) -> list[Path]:
    """Write them as JPEG, in the best quality that stays within the limit; pictures of an earlier card go."""
    from imagecodecs import jpeg_encode

    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.jpg"):
        old.unlink()
    drawn = [draw(failure) for failure in failures]
    coded: list[bytes] = []
    for quality in (90, 85, 80, 70, 60, 50):
        coded = [jpeg_encode(picture, level=quality, subsampling="444") for picture in drawn]
        if sum(map(len, coded)) <= LIMIT_BYTES:
            break
    else:
        raise SystemExit(f"{len(coded)} pictures have more than {LIMIT_BYTES} bytes: ask for fewer")
    paths = [folder / f"{number}-{f.kind}.jpg" for number, f in enumerate(failures, 1)]
    for path, data in zip(paths, coded, strict=True):
        path.write_bytes(data)
    return paths


def document(
    card: ModelCard,
    engine: str,
    rows: dict[str, dict],
    baseline: dict[str, dict],
    mistakes: dict[str, dict[str, float]],
    families: dict[str, float],
    pictures: list[tuple[Path, Failure]],
    command: str,
    cost: str,
    missing: list[str],
) -> str:
    """Return the card as Markdown. Its section "Accuracy" is what `cellbrook models info` shows."""
    spec = card.spec
    weights = card.files["safetensors"]
    low, high = spec.diameter_range_px
    parts = [f"# {card.name}", card.description]
    if missing:
        parts.append(f"**Not for release: {', '.join(missing)} not measured, or only in part.**")
    parts += [
        f"- Licence of the weights: {card.licence}\n"
        f"- Input: {spec.min_channels} to {spec.channels} channels in any order; grey, fluorescence, phase contrast, "
        "brightfield, stained sections\n"
        "- Looks for: "
        + (" or ".join(spec.targets) if spec.targets else "what it learnt")
        + "; where an image shows both, `--target` decides\n"
        f"- Size: no diameter is asked for; a second pass is run where the first finds objects outside {low:g} to "
        f"{high:g} px\n"
        f"- Outputs: {', '.join(spec.outputs)}\n"
        f"- Files: {', '.join(f'`{ref.filename}`' for ref in card.files.values())}\n"
        f"- Weights: SHA-256 `{weights.sha256}`",
        ACCURACY,
        "Means over images, no diameter given, one setting for all sets, "
        f"{engine}. Sets named dsb2018 and usiigaci are parts kept out of the training; of the others it saw none.",
        main_table(rows, baseline),
        *([found_line(rows)] if any("found" in row for row in rows.values()) else []),
        "AP: matches / (matches + missed + made up) at that IoU. F1 at IoU 0.5. PQ: panoptic quality. "
        "Count error: |found - true| / true.",
        "## How sure this is",
        "95 % intervals of the same means, by drawing whole images again.",
        interval_table(rows),
        "## What was measured on",
        table(("set", "what"), [(name, ABOUT.get(name, "")) for name in rows], left=2),
        "## Where it fails",
        "\n".join(f"- {issue}" for issue in card.known_issues),
        "Of 100 true objects: not matched at IoU 0.5, by why; and objects made up for each 100.",
        mistakes_table(mistakes),
        worst_lines(rows),
    ]
    if families:
        parts += [
            "Generated images of kinds it was trained on, drawn with other seeds (AP 0.5, mean):",
            ", ".join(f"{name} {value:.2f}" for name, value in sorted(families.items(), key=lambda f: f[1])),
        ]
    if pictures:
        parts.append("Left the truth, right what the model finds; white: the objects in question.")
    for path, failure in pictures:
        parts.append(f"![{failure.words}](card/{path.name})\n\n{failure.words}")
    parts += [
        "## Training",
        f"```\n{command}\n```\n\n{cost}",
        table(("data", "licence"), [(data.name, data.licence) for data in card.training_data], left=2),
        "Pictures on this page: dsb2018 (CC0-1.0), and images generated by `cellbrook.training.synthetic`.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def main_table(rows: dict[str, dict], baseline: dict[str, dict]) -> str:
    head = ["set", "images", "objects", *(f"AP {level:g}" for level in LEVELS), "F1", "PQ", "count error"]
    body = [
        [name, str(row["n_images"]), str(row["n_true"]), *figures(name, row)] for name, row in rows.items()
    ]
    if baseline:
        head.append("Otsu AP 0.5")
        for line in body:
            line.append(figures(line[0], baseline[line[0]])[0] if line[0] in baseline else "")
    return table(head, body)


def figures(name: str, row: dict) -> list[str]:
    if name in CROPS:
        return ["-"] * (len(LEVELS) + 3)
    return [f"{interval['value']:.3f}" for interval in intervals_of(row)]


def intervals_of(row: dict) -> list[dict]:
    mean = row["mean"]
    ap = [mean["ap"][row["thresholds"].index(level)] for level in LEVELS]
    return [*ap, mean["f1"][0], mean["panoptic_quality"], mean["count_error"]]


def interval_table(rows: dict[str, dict]) -> str:
    head = ("set", *(f"AP {level:g}" for level in LEVELS), "F1", "PQ", "count error")
    return table(
        head, [(n, *(span(i) for i in intervals_of(row))) for n, row in rows.items() if n not in CROPS]
    )


def span(interval: dict) -> str:
    if interval["low"] is None:
        return "one image"
    return f"{interval['low']:.3f} to {interval['high']:.3f}"


def found_line(rows: dict[str, dict]) -> str:
    return "\n".join(
        f"{name}: the labelled cell is found at IoU 0.5 in {row['found']['value']:.3f} of the images "
        f"({row['found']['low']:.3f} to {row['found']['high']:.3f}); its neighbours have no labels."
        for name, row in rows.items()
        if "found" in row
    )


def mistakes_table(mistakes: dict[str, dict[str, float]]) -> str:
    names = {"missed": "missed", "merged": "merged", "split": "split", "boundary": "outline off"}
    body = [
        (name, *(f"{100 * shares[kind]:.1f}" for kind in names), f"{100 * shares['spurious']:.1f}")
        for name, shares in mistakes.items()
    ]
    return table(("set", *names.values(), "made up"), body)


def worst_lines(rows: dict[str, dict]) -> str:
    lines = ["The images of lowest AP 0.5, and how many objects were found for how many true ones:\n"]
    for name, row in rows.items():
        if name in CROPS:
            continue
        by_name = {image["name"]: image for image in row["images"]}
        worst = [by_name[image] for image in row["worst"][:3]]
        told = ", ".join(f"{i['name']} ({i['ap_0.5']:.2f}, {i['n_pred']} for {i['n_true']})" for i in worst)
        lines.append(f"- {name}: {told}")
    return "\n".join(lines)


def table(head: Sequence[str], body: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table whose columns are aligned as plain text too; the first `left` columns to the left."""
    lines = [list(head), *(list(line) for line in body)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    rule = ["-" * w if i < left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    lines.insert(1, rule)
    return "\n".join(
        "| "
        + " | ".join(
            c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in lines
    )


if __name__ == "__main__":
    main()
