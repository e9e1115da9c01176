"""Equal images, equal minutes: the compact design, Cellpose 3 and StarDist, each trained from nothing by its own recipe.

    python -m benchmarks.accuracy.equal --data DIR --out OUT --cellpose3 PYTHON --stardist PYTHON
        [--minutes 60] [--threads 2] [--only cellbrook cellpose stardist] [--limit N] [--limit-train N]

All sides learn from the same files, the training part of dsb2018 and usiigaci_phc, one after the other on the same
cores, and stop by the clock. Each has its learning rate fitted to the minutes: ours falls as a cosine to zero at their
end, `peers/` tells how it is done there. No generated images, no other sets. What comes before a first step (reading
images, flows of labels, compiling) is not counted, nor what comes after the last one (our score and StarDist's
thresholds are fitted); crops, augmentation and StarDist's own validation are. The processor time of the whole is told
too: it shows whether other work took some of the minutes.

Then every set of eval/ and the held-out parts of the training sets are segmented, each image as it is and with the true
median diameter of its objects told. Of a peer the better of the two on a set's mean counts, of ours what it finds told
nothing; the other is there to compare designs that know the same. Peers get one channel: the mean of colours, the first
of several channels, which is all they learnt from.

OUT keeps everything: a side that is trained is not trained again, an image with labels is not segmented again, and the
table is printed from what there is. `cellpose-sgd` is a side too: train_seg as Cellpose's command line calls it.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from benchmarks.accuracy.__main__ import measure, print_mean
from benchmarks.accuracy.data import Pair, eval_names, find_sets, spread
from benchmarks.processes import bound, machine

from cellbrook.training.data import USIIGACI_HELD_OUT, pairs_in

if TYPE_CHECKING:
    from cellbrook.networks.compact.model import CompactNet

PEERS = Path(__file__).parents[1] / "peers"
SIDES = {
    "cellbrook": None,
    "cellpose": ("equal_cellpose.py", {"optimizer": "adamw"}),
    "cellpose-sgd": ("equal_cellpose.py", {"optimizer": "sgd"}),
    "stardist": ("equal_stardist.py", {}),
}
NATIVE, OWN, SIZED = "native", "mean diameter of training", "true diameter"  # as in peers/

SCORED = 6
"""One image of so many that ours learnt from tells how sure it may be of an object."""

BATCH = 8
"""Crops a step of ours, as Cellpose has; StarDist has 4. The recipe's 16 are for trainings of hours: in one hour of a core
phase contrast was not learnt at all in a thousand steps of them."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with eval/ and train/")
    parser.add_argument("--out", type=Path, required=True, help="keeps everything; resumes what is there")
    parser.add_argument("--cellpose3", metavar="PYTHON", help="interpreter with cellpose 3")
    parser.add_argument("--stardist", metavar="PYTHON", help="interpreter with stardist and tensorflow")
    parser.add_argument("--minutes", type=float, default=60.0, help="of training, for every side")
    parser.add_argument("--threads", type=int, default=2, help="and cores, for every side")
    parser.add_argument("--only", nargs="+", choices=SIDES, default=["cellbrook", "cellpose", "stardist"])
    parser.add_argument(
        "--stage", choices=("train", "segment", "table"), help="no further than this (default: all)"
    )
    parser.add_argument("--sets", nargs="+", help="measure these only")
    parser.add_argument("--limit", type=int, help="images to measure of each set, spread over it")
    parser.add_argument("--limit-train", type=int, help="images to train on, to try this out")
    args = parser.parse_args()
    sets = {
        name: spread(pairs, args.limit)
        for name, pairs in find_sets(args.data).items()
        if not args.sets or name in args.sets
    }
    pythons = {side: args.stardist if side == "stardist" else args.cellpose3 for side in SIDES}
    for side in args.only:
        if SIDES[side] and not pythons[side] and args.stage != "table":
            parser.error(
                f"{side} needs its interpreter: --{'stardist' if side == 'stardist' else 'cellpose3'}"
            )
    print(machine(), flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.stage != "table":
        told = {"minutes": args.minutes, "threads": args.threads, **stage_images(args)}
        for side in args.only:
            train(side, args.out, told, pythons[side])
        if args.stage != "train":
            for side in args.only:
                segment(side, args.out, sets, args.threads, pythons[side])
    table(args, sets)
    print(machine())


def stage_images(args: argparse.Namespace) -> dict[str, object]:
    """Lay out what all sides learn from, and return what there is of it.

    ``OUT/images/train`` is what the recipe of `compact` expects, with links to those files alone;
    ``OUT/images/gray/train`` holds the same images with one channel, for the peers.
    """
    folder, gray = args.out / "images" / "train", args.out / "images" / "gray" / "train"
    done = folder / "images.json"
    if done.exists():
        told = json.loads(done.read_text())
        if told["limit"] != args.limit_train:
            raise SystemExit(f"{folder} was laid out for --limit-train {told['limit']}: give another --out")
        return told
    source = args.data / "train"
    with (source / "dsb2018" / "index.csv").open(newline="") as file:
        learnt = {row["id"] for row in csv.DictReader(file) if row["split"] == "train"}
    found = {
        "dsb2018": [p for p in pairs_in(source / "dsb2018") if p[0] in learnt],
        "usiigaci_phc": [p for p in pairs_in(source / "usiigaci_phc") if p[0] not in USIIGACI_HELD_OUT],
    }
    if args.limit_train:
        found = {name: pairs[: max(2, args.limit_train // 2)] for name, pairs in found.items()}
    gray.mkdir(parents=True, exist_ok=True)
    areas = []
    for name, pairs in found.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for image_id, *paths in pairs:
            for path in paths:
                link = folder / name / path.name
                if not link.exists():
                    link.symlink_to(path.resolve())
            pair = Pair(image_id, *paths)
            labels = pair.read_masks()
            areas.append(np.bincount(labels.ravel())[1:])
            np.savez(gray / f"{name}-{image_id}.npz", image=one_channel(pair), labels=labels)
    shutil.copy(source / "dsb2018" / "index.csv", folder / "dsb2018")
    check_same(folder, gray)
    told = {
        "limit": args.limit_train,
        "of": {name: len(pairs) for name, pairs in found.items()},
        "objects": int(sum((a > 0).sum() for a in areas)),
        "diameter_px": diameter_of(np.concatenate(areas)),
    }
    done.write_text(json.dumps(told))
    return told


def check_same(folder: Path, gray: Path) -> None:
    """Make sure that the recipe of `compact` takes these images and no others."""
    from cellbrook.training.compact import real_images

    ours = sorted(image.name for image in real_images(folder))
    theirs = sorted(path.stem.split("-", 1)[1] for path in gray.glob("*.npz"))
    if ours != theirs:
        raise SystemExit(f"our recipe would learn from {len(ours)} images, the peers from {len(theirs)}")


def one_channel(pair: Pair) -> np.ndarray:
    image, axes = pair.read_image()
    if axes == "YXS":
        return image.mean(axis=-1).round().astype(image.dtype)
    return image[0] if axes == "CYX" else image


def diameter_of(areas: np.ndarray) -> float:
    """Return the median equivalent diameter; 0 without objects."""
    areas = areas[areas > 0]
    return float(np.median(2 * np.sqrt(areas / np.pi))) if len(areas) else 0.0


def train(side: str, out: Path, told: dict[str, object], python: str | None) -> None:
    """Train a side, unless it is trained."""
    done = out / side / "training.json"
    if done.exists():
        before = json.loads(done.read_text())
        if changed := {key for key, value in told.items() if before.get(key) != value}:
            raise SystemExit(
                f"{out / side} was trained with other {', '.join(sorted(changed))}: give another --out, or delete it"
            )
        print(f"{side}: trained before, {before['steps']} steps in {before['seconds'] / 60:.1f} min")
        return
    print(f"{side}: training for {told['minutes']:g} minutes", flush=True)
    before_s = processor_s()
    if python is None or SIDES[side] is None:
        train_ours(out, told)
    else:
        script, choice = SIDES[side]
        ask_peer(
            python,
            script,
            {
                "do": "train",
                "folder": str(out / side),
                "images": str(out / "images" / "gray" / "train"),
                "minutes": told["minutes"],
                "threads": told["threads"],
                "told": told,
                **choice,
            },
        )
    document = {**json.loads(done.read_text()), "processor_s": processor_s() - before_s}
    done.write_text(json.dumps(document, indent=1))


def processor_s() -> float:
    """Return the processor time of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def train_ours(out: Path, told: dict[str, object]) -> None:
    """Run the recipe in a process of its own, on as many cores as the peers get."""
    folder = out / "cellbrook"
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "cellbrook.training.compact", "--data", out / "images" / "train"]
    command += ["--out", folder, "--minutes", told["minutes"], "--threads", told["threads"]]
    command += ["--batch-size", BATCH, "--steps", 1_000_000]  # the minutes end it
    subprocess.run([str(part) for part in command], check=True, **bound(told["threads"]))

    import torch

    from cellbrook.networks.compact.model import CompactNet

    state = torch.load(folder / "last.pt", weights_only=True)
    network = CompactNet()
    network.load_state_dict(state["averaged"])
    write_ours(network, out / "images" / "train", folder / "model", int(str(told["threads"])))
    document = {
        **told,
        "images": sum(told["of"].values()),
        "parameters": sum(p.numel() for p in network.parameters()),
        "steps": state["step"],
        "seconds": state["seconds"],
        "recipe": "cellbrook.training.compact, cosine to zero at the end of the minutes",
    }
    (folder / "training.json").write_text(json.dumps(document, indent=1))


def write_ours(network: CompactNet, images: Path, model: Path, threads: int) -> None:
    """End as the recipe does: statistics of batch norms settled, the score fitted, on what was learnt from."""
    from cellbrook import engines
    from cellbrook.networks.cards import CARD_NAME, FAMILY_SPECS, ModelCard, ModelFileRef, write_card
    from cellbrook.networks.export import export_network, file_entry
    from cellbrook.networks.store import ResolvedModel
    from cellbrook.training.calibrate import fit_score, judged_objects
    from cellbrook.training.dataset import read_pair
    from cellbrook.training.publish import settle_statistics, training_crops

    settle_statistics(network, training_crops(images, None))
    model.mkdir(exist_ok=True)
    paths = export_network(network, model, "weights")
    files = {kind: ModelFileRef(**file_entry(path)) for kind, path in paths.items()}
    card = ModelCard(
        "compact.equal", "compact", FAMILY_SPECS["compact"], "", "For a comparison.", files=files
    )
    shown = ResolvedModel(card.name, card, {"onnx": paths["onnx"]}, "", {})
    engine = engines.create(shown, engine="onnxruntime", precision="fp32", threads=threads)
    some = [pair for folder in ("dsb2018", "usiigaci_phc") for pair in pairs_in(images / folder)][::SCORED]
    examples = (read_pair(*pair, None)[0] for pair in some)
    score = fit_score(*judged_objects(shown, engine, examples, threads))
    write_card(model / CARD_NAME, replace(card, spec=replace(card.spec, score=score)))


def ask_peer(python: str, script: str, settings: dict[str, object]) -> None:
    """Run a peer's script to its end; what it says is shown."""
    folder = Path(str(settings["folder"]))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{settings['do']}.json"
    file.write_text(json.dumps(settings))
    command = [python, "-W", "ignore", str(PEERS / script), str(file)]
    subprocess.run(command, check=True, **bound(int(str(settings["threads"]))))


def segment(side: str, out: Path, sets: dict[str, list[Pair]], threads: int, python: str | None) -> None:
    """Segment what has no labels yet."""
    print(f"{side}: segmenting", flush=True)
    if python is None or SIDES[side] is None:
        segment_ours(out, sets, threads)
        return
    ask = []
    for name, pairs in sets.items():
        folder = out / "images" / "gray" / name
        folder.mkdir(parents=True, exist_ok=True)
        for pair in pairs:
            path = folder / f"{pair.id}.npz"
            if not path.exists():
                areas = np.bincount(pair.read_masks().ravel())[1:]
                np.savez(path, image=one_channel(pair), diameter_px=diameter_of(areas))
            ask.append(str(path))
    told = json.loads((out / side / "training.json").read_text())
    script, _ = SIDES[side]
    settings = {"do": "segment", "folder": str(out / side), "threads": threads, "ask": ask, "told": told}
    ask_peer(python, script, {**settings, "scales": [NATIVE, SIZED]})


def segment_ours(out: Path, sets: dict[str, list[Pair]], threads: int) -> None:
    import tifffile

    import cellbrook

    segmenter = cellbrook.Segmenter(str(out / "cellbrook" / "model"), threads=threads, precision="fp32")
    for scale, (name, pairs) in itertools.product((NATIVE, SIZED), sets.items()):
        start = time.monotonic()
        for pair in pairs:
            path = out / "cellbrook" / scale / name / f"{pair.id}_labels.tif"
            if path.exists():
                continue
            image, axes = pair.read_image()
            true = diameter_of(np.bincount(pair.read_masks().ravel())[1:]) if scale == SIZED else 0.0
            labels = segmenter.segment(image, axes=axes, diameter=true or None, keep_output=False).labels
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path.with_suffix(".part"), labels, compression="zlib")
            path.with_suffix(".part").replace(path)
        print(f"{name}, {scale}: {len(pairs)} images in {time.monotonic() - start:.0f} s", flush=True)


def table(args: argparse.Namespace, sets: dict[str, list[Pair]]) -> None:
    """Measure whatever labels are complete, keep the figures in results.json, print them."""
    columns: dict[tuple[str, str], dict[str, dict]] = {}
    for side in SIDES:
        for scale in (NATIVE, SIZED):
            rows = {}
            for name, pairs in sets.items():
                folder = args.out / side / scale / name
                if all((folder / f"{pair.id}_labels.tif").exists() for pair in pairs):
                    rows[name] = measure(name, pairs, no_more, folder.parent, True, args.threads)
            if rows:
                columns[side, scale] = rows
    if not columns:
        return
    document = [
        {"side": side, "scale": scale, "training": training_of(args.out, side), "sets": rows}
        for (side, scale), rows in columns.items()
    ]
    (args.out / "results.json").write_text(json.dumps(document, indent=1))
    for side in dict.fromkeys(side for side, _ in columns):
        told = training_of(args.out, side)
        print(
            f"{side}: {told['steps']} steps on {told['images']} images in {told['seconds'] / 60:.1f} min "
            f"({told['processor_s'] / 60:.1f} of processors, from start to end), "
            f"{told['parameters'] / 1e6:.2f} M parameters; {told['recipe']}"
        )
    print_table(columns, sets)
    for (side, scale), rows in columns.items():
        print(f"{side}, {scale}: ", end="")
        print_mean(rows, eval_names(args.data))


def print_table(columns: dict[tuple[str, str], dict[str, dict]], sets: dict[str, list[Pair]]) -> None:
    """Print the mean AP at 0.5 of each set (crops: found) and whether ours is best on it."""
    heads = [f"{side} {scale}" for side, scale in columns]
    print(f"\n{'AP 0.5 (crops: found)':<24}{'images':>7}  " + "".join(f"{h:<28}" for h in heads) + "margin")
    for name, pairs in sets.items():
        values = {key: figure(rows[name]) for key, rows in columns.items() if name in rows}
        cells = [f"{values[key]:.3f}" if key in values else "" for key in columns]
        ours = values.get(("cellbrook", NATIVE))
        peers = [value for (side, _), value in values.items() if side != "cellbrook"]
        margin = f"{100 * (ours - max(peers)):+.1f} points" if peers and ours is not None else ""
        print(f"{name:<24}{len(pairs):>7}  " + "".join(f"{cell:<28}" for cell in cells) + margin)


def figure(row: dict) -> float:
    return row["found"]["value"] if "found" in row else row["mean"]["ap"][0]["value"]


def training_of(out: Path, side: str) -> dict:
    return json.loads((out / side / "training.json").read_text())


def no_more(image: np.ndarray, axes: str) -> np.ndarray:
    raise AssertionError("every label image is there")


if __name__ == "__main__":
    main()
