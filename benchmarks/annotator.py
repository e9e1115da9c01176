"""How much less must be corrected if the program says what next: a simulated annotator.

    python -m benchmarks.annotator --data DIR --out OUT [--seeds 0 1 2 3 4] [--rounds 6] [--quick]

It starts from `compact`, corrects images (takes their true labels), trains, predicts again, and so on, once in the order
that `cellbrook project suggest` says and once in the order of the files: on he_gbm40, and on all sets of DIR/eval pooled
but wbc_dataset1. A third of the images is kept out and judged on after each round. Images are cut into squares, so that
correcting one is a piece of work of like size everywhere.

OUT/annotator.csv gets a row a round; what is in it is not done again, so seeds may be given to several processes with one
OUT. Once every image is corrected, both orders have taught the same: the second takes over what the first gave. At the
end: for each seed the objects that the suggested order took to the AP at which the order of files had made nine tenths
of its gain, as a share of the objects that this took in the order of files; and the same of the curves' mean over the
seeds.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import tempfile
from pathlib import Path

import numpy as np
from benchmarks.teaching import Crop, ap_of, crops_of, eval_sets, generated_sets

from cellbrook.errors import UsageError
from cellbrook.project import Project
from cellbrook.project.corrections import import_labels
from cellbrook.project.models import model_reference
from cellbrook.project.predict import predict
from cellbrook.project.suggest import suggest
from cellbrook.project.teach import train_round
from cellbrook.training.params import TrainParams

ORDERS = ("suggested", "files")
LEFT_OUT = ("wbc_dataset1",)
ALONE = "he_gbm40"
GAIN = 0.9
COLUMNS = ("set", "seed", "order", "round", "images", "objects", "ap")


def parted(crops: list[Crop], seed: int, pool: int, judged: int) -> tuple[list[Crop], list[Crop]]:
    """Return crops to correct, in the order of their names, and crops of other images to judge on."""
    rng = np.random.default_rng(seed)
    origins = rng.permutation(sorted({c.origin for c in crops}))
    held_out = set(origins[: max(1, len(origins) // 3)].tolist())

    def some(wanted: list[Crop], count: int) -> list[Crop]:
        chosen = rng.permutation(len(wanted))[:count]
        return sorted((wanted[i] for i in chosen), key=lambda c: c.name)

    return (
        some([c for c in crops if c.origin not in held_out], pool),
        some([c for c in crops if c.origin in held_out], judged),
    )


def annotate(
    order: str,
    pool: list[Crop],
    judged: list[Crop],
    folder: Path,
    args: argparse.Namespace,
    seed: int,
    of_all: float | None,
):
    """Yield a row a round, the first before anything is corrected; `of_all` is the AP that all images are known to give."""
    params = TrainParams(
        steps=args.steps, crop=args.crop, batch_size=args.batch, seed=seed, threads=args.threads
    )
    left = {crop.name: crop for crop in pool}
    corrected: list[Crop] = []
    with Project.create(folder) as project:
        project.add([crop.image for crop in pool])
        names = {project.find(str(crop.image)).name: crop.name for crop in pool}
        for number in range(args.rounds + 1):
            if number:
                for name in chosen(project, order, left, names, args.at_once):
                    crop = left.pop(name)
                    (done,) = import_labels(project, [crop.masks], image=str(crop.image), done=True)
                    assert done.error is None, done.error
                    corrected.append(crop)
            if not left and of_all is not None:
                ap = of_all
            else:
                if number:
                    train_round(project, params=params)
                ap = ap_of(model_reference(project), judged, args.threads)
            yield number, len(corrected), sum(crop.objects for crop in corrected), ap
            if not left:
                return
            if order == "suggested":
                predict(project, threads=args.threads)


def chosen(
    project: Project, order: str, left: dict[str, Crop], names: dict[str, str], count: int
) -> list[str]:
    if order == "files":
        return sorted(left)[:count]
    try:
        return [names[s.name] for s in suggest(project, count)]
    except UsageError:
        return []


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with eval/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--at-once", type=int, default=2, help="images corrected a round")
    parser.add_argument("--pool", type=int, default=24, help="images that can be corrected")
    parser.add_argument("--judged", type=int, default=24, help="images that are judged on")
    parser.add_argument("--side", type=int, default=320, help="of the squares, in pixels")
    parser.add_argument("--steps", type=int, help="of each training at most")
    parser.add_argument("--batch-size", dest="batch", type=int, help="crops a step")
    parser.add_argument("--only", nargs="+", help=f"{ALONE}, pooled")
    parser.add_argument("--threads", type=int)
    parser.add_argument(
        "--quick", action="store_true", help="tiny generated images: only to see that it runs"
    )
    args = parser.parse_args()
    args.crop = None
    if args.quick:
        args.seeds, args.rounds, args.pool, args.judged, args.steps = [0], 2, 4, 2, 2
        args.crop, args.batch = 64, 1
    elif args.data is None:
        parser.error("--data or --quick is needed")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        sets = generated_sets(work) if args.quick else eval_sets(args.data, LEFT_OUT)
        crops = {n: crops_of(pairs, n, work / "crops" / n, args.side) for n, pairs in sets.items()}
        tasks = {ALONE: crops.get(ALONE, []), "pooled": [c for part in crops.values() for c in part]}
        for task, every in tasks.items():
            if every and (not args.only or task in args.only):
                for seed in args.seeds:
                    for order in ORDERS:
                        run(task, seed, order, every, work, args)
    report(args.out / "annotator.csv")


def run(task: str, seed: int, order: str, crops: list[Crop], work: Path, args: argparse.Namespace) -> None:
    table = args.out / "annotator.csv"
    if any((r["set"], r["seed"], r["order"]) == (task, str(seed), order) for r in rows_of(table)):
        return
    pool, judged = parted(crops, seed, args.pool, args.judged)
    folder = work / f"{task}-{seed}-{order}.project"
    whole = [
        float(r["ap"])
        for r in rows_of(table)
        if (r["set"], r["seed"], r["images"]) == (task, str(seed), str(len(pool)))
    ]
    found = []
    of_all = whole[0] if whole else None
    for number, images, objects, ap in annotate(order, pool, judged, folder, args, seed, of_all):
        print(f"{task}, seed {seed}, {order}: {objects} objects of {images} images, AP {ap:.3f}", flush=True)
        found.append((task, seed, order, number, images, objects, f"{ap:.4f}"))
    shutil.rmtree(folder)
    new = not table.exists()
    with table.open("a", newline="") as file:  # all rounds at once: what is there is whole
        csv.writer(file).writerows(([COLUMNS] if new else []) + found)


def rows_of(table: Path) -> list[dict[str, str]]:
    if not table.exists():
        return []
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def objects_to(target: float, objects: np.ndarray, ap: np.ndarray) -> float:
    """Return how many corrected objects it took to an AP, between two rounds in proportion; infinity if never."""
    best = np.maximum.accumulate(ap)
    if best[-1] < target:
        return np.inf
    at = int(np.argmax(best >= target))
    if at == 0:
        return float(objects[0])
    share = (target - best[at - 1]) / (best[at] - best[at - 1])
    return float(objects[at - 1] + share * (objects[at] - objects[at - 1]))


def print_mean(task: str, every: list[dict[str, np.ndarray]]) -> None:
    """Print the same of the curves' mean over the seeds, of which a single training's luck is a smaller part."""
    rounds = min(len(curve) for curves in every for curve in curves.values())
    curves = {order: np.mean([c[order][:rounds] for c in every], axis=0) for order in ORDERS}
    for order, curve in curves.items():
        print(f"{task}, mean, {order}: " + ", ".join(f"{ap:.3f} ({n:.0f} objects)" for n, ap in curve))
    if told := compared(curves):
        _, target, took = told
        print(
            f"{task}, mean: AP {target:.3f} took {took['suggested'] / took['files']:.0%} of the objects as suggested"
        )


def compared(curves: dict[str, np.ndarray]) -> tuple[float, float, dict[str, float]] | None:
    """Return where the order of files started, what AP is asked for, and the objects each order took; None without gain."""
    start, best = curves["files"][0, 1], curves["files"][:, 1].max()
    if best <= start:
        return None
    target = start + GAIN * (best - start)
    return start, target, {order: objects_to(target, *curve.T) for order, curve in curves.items()}


def report(table: Path) -> None:
    rows = rows_of(table)
    for task in dict.fromkeys(r["set"] for r in rows):
        ratios, every = [], []
        for seed in dict.fromkeys(r["seed"] for r in rows if r["set"] == task):
            curves = {}
            for order in ORDERS:
                own = [r for r in rows if (r["set"], r["seed"], r["order"]) == (task, seed, order)]
                curves[order] = np.array([[float(r["objects"]), float(r["ap"])] for r in own])
            if any(len(curve) < 2 for curve in curves.values()):
                continue
            every.append(curves)
            told = compared(curves)
            if told is None:
                print(f"{task}, seed {seed}: the order of files gained nothing")
                continue
            start, target, took = told
            ratios.append(took["suggested"] / took["files"])
            print(
                f"{task}, seed {seed}: AP {start:.3f} to {target:.3f} took {took['suggested']:.0f} objects as suggested, "
                f"{took['files']:.0f} in the order of files ({ratios[-1]:.0%})"
            )
        if every:
            print_mean(task, every)
        if ratios:
            print(f"{task}: median over {len(ratios)} seeds {np.median(ratios):.0%} (at most 70 % is wanted)")


if __name__ == "__main__":
    main()
