"""What a recipe of fine-tuning teaches, and what it costs elsewhere, on images that may be chosen on.

    python -m benchmarks.recipe --data DIR [--only few both many mixed gray] [--learning-rate 3e-4 --replay 0.5 ...]
    python -m benchmarks.recipe --data DIR --only frames --from scratch --steps 600 --patience 99

Nothing of DIR/eval is read: taught and judged are frames of usiigaci_phc and images of dsb2018's validation part that no
shipped weights have learnt from, and generated images. Frames of usiigaci are cut into squares of six cells or so, which
the shipped model sees much worse than whole frames. ``few`` teaches four squares of one frame, ``both`` two of these and two
coloured images of dsb2018, ``many`` the squares of every second frame, ``mixed`` ten images of four kinds, ``gray`` eight
of two kinds, none of them stained, ``frames`` five whole frames that the shipped weights know: for networks that begin with
nothing. Other options are handed to `cellbrook train`, so that its defaults can be compared with others.

Prints a line a task: AP at IoU 0.5 of the new model on other images of each kind (objects pooled, no diameter told) and
on the general images of the forgetting guard; the first line is the start's.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from benchmarks.accuracy.data import Pair, find_pairs, find_sets
from benchmarks.teaching import Crop, ap_of, copy_into, crops_of, frozen_ap, write_pair

from cellbrook.cli.app import main as cellbrook_command
from cellbrook.training.synthetic import FAMILIES, generate

if TYPE_CHECKING:
    from collections.abc import Iterable

TASKS = ("few", "both", "many", "mixed", "gray", "frames")
SIDE = 288
STAINED = ("he_tissue", "cytology", "blood_smear")


def whole(pairs: list[Pair], folder: Path) -> list[Crop]:
    return crops_of(pairs, folder.name, folder, 10_000)


def find(data: Path, work: Path) -> tuple[dict[str, list[Crop]], dict[str, list[Crop]]]:
    """Return the images that each task teaches, and those that are judged on by kind."""
    sets = find_sets(data)
    frames, dsb = sets["usiigaci_held_out"], sets["dsb2018_val"]
    with (data / "train" / "dsb2018" / "index.csv").open(newline="") as file:
        look = {row["id"]: row["modality_guess"] for row in csv.DictReader(file)}
    colour, brightfield, fluorescence = (
        [p for p in dsb if look[p.id] == kind] for kind in ("rgb_he_or_bf", "brightfield_gray", "fluo")
    )
    held_out = {pair.id for pair in frames}
    known = find_pairs(data / "train" / "usiigaci_phc", lambda name: name not in held_out)
    cut = crops_of(frames[::2], "taught", work / "taught", SIDE)
    first = sorted((c for c in cut if c.origin == cut[0].origin), key=lambda c: -c.objects)[:4]
    frame = {c.origin: c for c in sorted(cut, key=lambda c: c.objects)}  # the square with most cells of each
    tissue = sorted(
        crops_of(brightfield[:1], "tissue", work / "tissue", 512), key=lambda c: (-c.objects, c.name)
    )
    tasks = {
        "few": first,
        "both": [*first[:2], *whole(colour[:2], work / "colour")],
        "many": cut,
        "mixed": [
            *list(frame.values())[:3],
            *whole(colour[:3], work / "stained"),
            *tissue[:2],
            *whole(fluorescence[1:6:3], work / "bright"),
        ],
        "frames": whole(known[:: len(known) // 5][:5], work / "known"),
        "gray": [*list(frame.values())[:3], *whole(fluorescence[1:15:3], work / "dark")],
    }
    judged = {
        "phase contrast": crops_of(frames[1::2], "phase", work / "phase", SIDE),
        "whole frames": whole(frames, work / "whole"),
        "colour": whole(colour[3:], work / "other"),
        "brightfield": whole(brightfield[1:], work / "brightfield"),
        "fluorescence": whole(fluorescence[::3], work / "fluorescence"),
        "generated": whole(generated(work / "scenes", FAMILIES, 2), work / "generated"),
        "stained": whole(generated(work / "sections", STAINED, 10), work / "stains"),
    }
    return tasks, judged


def generated(folder: Path, families: Iterable[str], count: int) -> list[Pair]:
    """Write so many images of some families, of seeds that no training saw."""
    folder.mkdir()
    for family in families:
        for seed in range(96_000, 96_000 + count):
            diameter = float(np.exp(np.random.default_rng(seed).uniform(*np.log((14, 50)))))
            image = generate(family, seed, 320, diameter)
            write_pair(folder, f"{family}_{seed}", image.image.astype(np.uint16), image.labels)
    return find_pairs(folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with train/")
    parser.add_argument("--only", nargs="+", choices=TASKS)
    parser.add_argument("--threads", type=int)
    args, options = parser.parse_known_args()
    if args.threads:
        options += ["--threads", str(args.threads)]
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        tasks, judged = find(args.data, work)
        print(line("start", "compact", judged, args.threads), flush=True)
        for task, crops in tasks.items():
            if args.only and task not in args.only:
                continue
            folder, out = work / task, work / f"{task}-model"
            copy_into(folder, crops)
            began = time.monotonic()
            if code := cellbrook_command(["train", str(folder), "--out", str(out), "--quiet", *options]):
                raise SystemExit(code)
            name = f"{task}, {sum(c.objects for c in crops)} objects, {time.monotonic() - began:.0f} s"
            model = json.loads((out / "report.json").read_text())["path"]
            print(line(name, model, judged, args.threads), flush=True)


def line(name: str, model: str, judged: dict[str, list[Crop]], threads: int | None) -> str:
    parts = [f"{kind} {ap_of(model, crops, threads):.3f}" for kind, crops in judged.items()]
    return f"{name}: " + "; ".join([*parts, f"guard {frozen_ap(model, threads):.3f}"])


if __name__ == "__main__":
    main()
