"""What training on a few images gives: ``python -m benchmarks.training --data DIR/eval [--only ecoli] [--steps N]``.

``DIR`` holds the sets as folders of ``<id>_img.*`` and ``<id>_masks.*``. Each task trains on some images of a set and
is judged on the others, which training never sees, with the commands that users have: ``cellbrook train`` and
``cellbrook segment``. The models are for this measurement only. The task ``scratch`` starts from nothing, on ten
generated images of nuclei, and is judged on ten others; it needs no data. ``few`` is what a beginner does: parts of the
five images of ``wholecell`` with some 40 objects each, judged on the same others; only its time matters.

``--cellpose3 PYTHON``, an interpreter with Cellpose 3, adds what its ``train_seg`` makes of the same images from random
weights, in as many minutes on as many cores as the whole ``cellbrook train`` took; with ``--from scratch`` both start
from nothing. It learns from all that is taught, ours holds a part out; it is asked with both channels, of each image as
it is, told nothing (it then takes the mean diameter of what it learnt from) and scaled by its true diameter.

Prints a line a task: AP at IoU 0.5 (objects pooled) of the start and of the new model on the images that were kept
out, with the estimated and with the true median diameter; the same on the general images; and the time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
from benchmarks.accuracy.equal import NATIVE, OWN, SIZED, ask_peer, diameter_of
from benchmarks.teaching import write_generated, write_pair

import cellbrook
from cellbrook.cli.app import main as cellbrook_command
from cellbrook.core.threads import resolve_threads
from cellbrook.io import read_labels
from cellbrook.metrics import count_image, summarise
from cellbrook.training.dataset import read_pair, typical_diameter

TASKS = {
    "wholecell": (
        "deepcell2016_wholecell",
        ("hela_1", "3t3_1", "bmdm_1", "mcf10a_1", "raw40x_1"),
    ),
    "ecoli": ("deepcell2016_ecoli", ("ecoli_kc_1",)),
    "ecoli-small": ("deepcell2016_ecoli", ("ecoli_1",)),
}
"""Name: set, and the images that are learnt from; the others of the set are judged on."""

SCRATCH, FEW = "scratch", "few"
FEW_OBJECTS = 40


def few_of(pairs: dict[str, tuple[Path, Path]], names: tuple[str, ...], folder: Path) -> None:
    """Write the middle of each image that is learnt from, as much as shows some forty objects."""
    for name in names:
        (example,) = read_pair(name, *pairs[name], None)
        rows, columns = example.labels.shape
        for side in range(64, max(rows, columns) + 64, 16):
            y, x = max(0, (rows - side) // 2), max(0, (columns - side) // 2)
            part = example.part(slice(y, y + side), slice(x, x + side), "")
            if part.n_objects >= FEW_OBJECTS:
                break
        write_pair(folder, name, part.pixels, part.labels)


def generated_nuclei(folder: Path, count: int = 20) -> tuple[str, ...]:
    """Write generated images of nuclei of many sizes; give the names of the half that is learnt from."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        diameter = float(np.exp(np.random.default_rng(seed).uniform(*np.log((14, 45)))))
        write_generated(folder, f"nuclei_{seed:02}", "fluo_nuclei", seed, 384, diameter)
    return tuple(f"nuclei_{seed:02}" for seed in range(0, count, 2))


def generated(data: Path) -> Path:
    """Write small generated images under the names of the tasks, and one more a set to judge on."""
    for folder, taught in TASKS.values():
        (data / folder).mkdir(parents=True, exist_ok=True)
        for seed, name in enumerate((*taught, "other")):
            write_generated(data / folder, name, "fluo_nuclei", seed, 96, 18)
    return data


def ap_of(model: str, images: dict[str, tuple[Path, Path]], threads: int | None, *, told: bool):
    """Segment images and count; `told` gives the true median diameter, as a user would measure it."""
    segmenter = cellbrook.Segmenter(model=model, threads=threads)
    counts = []
    for name, (image, masks) in images.items():
        truth = read_labels(masks)[0]
        diameter = typical_diameter(truth) if told else "auto"
        found = segmenter.segment(image, keep_output=False, diameter=diameter)
        counts.append(count_image(truth, found.labels, name=name))
    return summarise(counts)


def train_seg(
    python: str, taught: Path, judged: dict[str, tuple[Path, Path]], out: Path, seconds: float, threads: int
) -> dict[str, object]:
    """Train Cellpose 3 from random weights for so long, and judge it."""
    images = {"taught": out / "taught", "judged": out / "judged"}
    for folder in images.values():
        folder.mkdir(parents=True)
    channels = [0, 0]
    for path in sorted(taught.glob("*_img.*")):
        name = path.name.split("_img.")[0]
        (example,) = read_pair(name, path, next(taught.glob(f"{name}_masks.*")), None)
        channels = [1, 2] if len(example.pixels) > 1 else channels
        np.savez(images["taught"] / f"{name}.npz", image=example.pixels, labels=example.labels)
    truth = {}
    for name, (image, masks) in judged.items():
        (example,) = read_pair(name, image, masks, None)
        truth[name] = example.labels
        diameter = diameter_of(np.bincount(example.labels.ravel())[1:])
        np.savez(images["judged"] / f"{name}.npz", image=example.pixels, diameter_px=diameter)
    asked = {
        "folder": str(out),
        "images": str(images["taught"]),
        "ask": [str(images["judged"] / f"{name}.npz") for name in judged],
        "channels": channels,
        "optimizer": "adamw",
        "minutes": seconds / 60,
        "threads": threads,
        "scales": [NATIVE, OWN, SIZED],
        "told": {},
    }
    for do in ("train", "segment"):
        ask_peer(python, "equal_cellpose.py", {"do": do, **asked})
    steps = json.loads((out / "training.json").read_text())["steps"]
    scores = {}
    for scale in asked["scales"]:
        counts = [
            count_image(labels, tifffile.imread(out / scale / "judged" / f"{name}_labels.tif"), name=name)
            for name, labels in truth.items()
        ]
        scores[f"train_seg, {scale}"] = str(summarise(counts).pooled["ap"][0])
    return {"train_seg": f"{steps} steps in {seconds / 60:.1f} min", **scores}


def run(
    task: str, data: Path, out: Path, options: list[str], threads: int | None, cellpose3: str | None
) -> dict[str, object]:
    if task == SCRATCH:
        folder, data = "generated", out
        taught = generated_nuclei(data / folder)
        options = ["--from", "scratch", *options]
    else:
        folder, taught = TASKS["wholecell" if task == FEW else task]
    pairs = {
        p.name.split("_img.")[0]: (p, next(p.parent.glob(p.name.split("_img.")[0] + "_masks.*")))
        for p in sorted((data / folder).glob("*_img.*"))
    }
    training = out / f"{task}-images"
    training.mkdir(parents=True, exist_ok=True)
    if task == FEW:
        few_of(pairs, taught, training)
    else:
        for name in taught:
            for path in pairs[name]:
                shutil.copy(path, training / path.name)
    judged = {name: files for name, files in pairs.items() if name not in taught}
    model = out / task
    began = time.monotonic()
    code = cellbrook_command(
        [
            "train",
            str(training),
            "--out",
            str(model),
            *options,
            *(["--threads", str(threads)] if threads else []),
        ]
    )
    seconds = time.monotonic() - began
    if code:
        raise SystemExit(code)
    report = json.loads((model / "report.json").read_text())
    start = report["start"] if report["start"] != "scratch" else "compact"
    scores = {
        f"{'true' if told else 'estimated'} diameter {when}": ap_of(model, judged, threads, told=told)
        for told in (False, True)
        for when, model in (("before", start), ("after", report["path"]))
    }
    peer = {}
    if cellpose3:
        peer = train_seg(
            cellpose3, training, judged, out / f"{task}-train_seg", seconds, resolve_threads(threads)
        )
    return {
        "task": task,
        "learnt from": f"{report['images']} images, {report['objects']} objects",
        "judged on": f"{len(judged)} images",
        **{f"AP, {name}": str(result.pooled["ap"][0]) for name, result in scores.items()},
        "general before": report["frozen_start"] and round(report["frozen_start"]["mean_ap"], 3),
        "general after": report["frozen"] and round(report["frozen"]["mean_ap"], 3),
        "kept": report["kept"],
        "steps": f"{report['best_step']} of {report['steps']}",
        "seconds": round(seconds),
        **peer,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="Other options are handed to `cellbrook train`."
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument(
        "--quick", action="store_true", help="tiny generated images: only to see that it runs"
    )
    parser.add_argument("--only", choices=[*TASKS, FEW, SCRATCH], help="one task")
    parser.add_argument("--out", type=Path, help="where models go; a temporary folder without it")
    parser.add_argument("--threads", type=int)
    parser.add_argument(
        "--cellpose3", metavar="PYTHON", help="its train_seg on the same images for the same time"
    )
    args, options = parser.parse_known_args()
    if args.data is None and not args.quick and args.only != SCRATCH:
        parser.error("--data or --quick is needed")
    with tempfile.TemporaryDirectory() as temporary:
        if args.quick:
            args.data = generated(Path(temporary, "data"))
            options += ["--steps", "2", "--crop", "64", "--batch-size", "1", "--quiet"]
        for task in [args.only] if args.only else [*TASKS, FEW, SCRATCH]:
            result = run(task, args.data, args.out or Path(temporary), options, args.threads, args.cellpose3)
            print("; ".join(f"{name}: {value}" for name, value in result.items()), flush=True)


if __name__ == "__main__":
    main()
