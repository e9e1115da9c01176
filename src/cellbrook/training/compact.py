"""The recipe of the shipped model: ``python -m cellbrook.training.compact --data DIR --out DIR``.

``DIR`` holds the training sets as folders of ``<id>_img.*`` and ``<id>_masks.*``. What is held out and why stands
beside each set below. The run goes on from ``OUT/last.pt`` if it is there.
"""

from __future__ import annotations

import argparse
import csv
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.threads import calm_openmp

calm_openmp()  # before torch is imported: its threads would spin where other work runs too

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch.utils.data import DataLoader, IterableDataset, get_worker_info  # noqa: E402

from cellbrook.networks.compact.model import CompactNet  # noqa: E402
from cellbrook.training.augment import AugmentParams, random_crop  # noqa: E402
from cellbrook.training.data import USIIGACI_HELD_OUT, LabelledImage, LookSampler, pairs_in  # noqa: E402
from cellbrook.training.loop import Batch, LoopParams, Trainer  # noqa: E402
from cellbrook.training.loss import LossParams, targets_of  # noqa: E402
from cellbrook.training.rounding import Rounding  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellbrook.training.data import Target
    from cellbrook.training.synthetic import Sample

log = logging.getLogger(__name__)

POOL_DIAMETERS_PX = {
    "phase_bacteria": (7, 45),
    "fluo_nuclei": (8, 100),
    "phase_cells": (20, 120),
    "dic": (20, 110),
    "blood_smear": (25, 120),
    "cyto_fluo": (15, 110),
    "membrane": (12, 90),
    "he_tissue": (10, 75),
    "ihc_tissue": (10, 75),
    "yeast_brightfield": (10, 75),
    "brightfield_cells": (20, 120),
    "organoids": (20, 120),
    "nuclei_sections": (7, 36),
}
"""Range of diameters at which a family is drawn, where it is not 10 to 60 px: details are those of that scale."""

POOL_SHARES = {
    "empty": 3.0,
    "phase_bacteria": 3.0,
    "blood_smear": 2.0,
    "cyto_fluo": 2.0,
    "phase_cells": 2.0,
    "cytology": 1.5,
    "he_tissue": 1.5,
}
"""How many images of a family are drawn for each of the others, where it is not one."""

SECTIONS = (0, 1, 2)
"""Axes of a generated stack (Z, Y, X) along which sections of it are taken into the pool."""

SHARES = {
    "dsb2018": 0.3,
    "usiigaci": 0.12,
    "other": 0.04,
    "synthetic": 0.38,
    "bacteria": 0.09,
    "empty": 0.07,
}
"""Share of the crops that each source gives. Bacteria are generated too: clusters of small rods look like one large cell
to a network that has seen few. So are images without cells, half of which are such that a model found some (`find_hard`)."""

_SOURCES = {"phase_bacteria": "bacteria", "empty": "empty", "empty_hard": "empty"}

CROPS = AugmentParams(paint_share=0.25, native_share=0.2)
"""What the crops are like."""


def read_pair(image_path: Path, labels_path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the raw image as (C, Y, X) or (C, Z, Y, X), and its labels."""
    import imagecodecs
    import tifffile

    def read(path: Path) -> np.ndarray[Any, Any]:
        return tifffile.imread(path) if path.suffix == ".tif" else imagecodecs.imread(path)

    image, labels = read(image_path), read(labels_path)
    if image.ndim == 3 and image.shape[-1] == 3 and labels.ndim == 2:
        return np.moveaxis(image, -1, 0), labels
    return (image[None] if image.ndim == labels.ndim else image), labels


def stretched(image: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Normalise as the pipeline does."""
    from cellbrook.normalize import normalize

    return normalize(image)


def real_images(data: Path) -> list[LabelledImage]:
    """Return the training part of every set."""
    found: list[LabelledImage] = []
    with (data / "dsb2018" / "index.csv").open() as file:
        # "val" and "test" are held out; copies of an image share its split
        index = {row["id"]: row for row in csv.DictReader(file)}
    for name, image_path, labels_path in pairs_in(data / "dsb2018"):
        row = index[name]
        if row["split"] != "train":
            continue
        image, labels = read_pair(image_path, labels_path)
        # fields of one experiment share kind, size and brightness
        look = f"dsb2018/{row['modality_guess']}-{row['h']}x{row['w']}-{int(np.log2(1 + image.mean()))}"
        found.append(LabelledImage(name, stretched(image), labels.astype(np.uint32), look, "nuclei"))
    for name, image_path, labels_path in pairs_in(data / "usiigaci_phc"):
        if name in USIIGACI_HELD_OUT:
            continue
        image, labels = read_pair(image_path, labels_path)
        found.append(LabelledImage(name, stretched(image), labels.astype(np.uint32), "usiigaci/phc"))
    for folder in ("ep_yeast_tiny", "stardist_demo"):
        for name, image_path, labels_path in pairs_in(data / folder):
            image, labels = read_pair(image_path, labels_path)
            if labels.ndim == 2:
                target: Target = "cells" if folder == "ep_yeast_tiny" else "nuclei"
                found.append(
                    LabelledImage(name, stretched(image), labels.astype(np.uint32), f"other/{folder}", target)
                )
    for folder in ("qcanet_mouse_embryo_3d", "plantseg_mini_3d", "stardist_demo"):
        for name, image_path, labels_path in pairs_in(data / folder):
            image, labels = read_pair(image_path, labels_path)
            if labels.ndim != 3 or name.startswith("ovule"):  # its labels cover the background too
                continue
            for z in range(2, labels.shape[0], 6):
                if len(np.unique(labels[z])) > 2:
                    plane = stretched(image[:, z])
                    look, slice_ = f"other/{folder}", labels[z].astype(np.uint32)
                    found.append(LabelledImage(f"{name}_z{z}", plane, slice_, look, "nuclei"))
    return found


def held_out_pairs(data: Path) -> list[tuple[Path, Path]]:
    """Return image and labels of what no training sees, the parts of the sets that choose settings: not "test"."""
    with (data / "dsb2018" / "index.csv").open() as file:
        validation = {row["id"] for row in csv.DictReader(file) if row["split"] == "val"}
    kept = {"dsb2018": validation, "usiigaci_phc": USIIGACI_HELD_OUT}
    return [
        (image, labels)
        for folder, names in kept.items()
        for name, image, labels in pairs_in(data / folder)
        if name in names
    ]


def training_images(data: Path, pool: Path | None) -> list[LabelledImage]:
    """Return everything that is learnt from."""
    return real_images(data) + (synthetic_images(pool) if pool else [])


def synthetic_images(folder: Path) -> list[LabelledImage]:
    """Return the generated images that lie in `folder` (see `generate_pool`)."""
    found = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as stored:
            image, labels, target = stored["image"], stored["labels"].astype(np.uint32), str(stored["target"])
            nuclei = stored["nuclei"].astype(np.uint32) if "nuclei" in stored else None
        family = path.stem.rsplit("-", 1)[0]
        kind: Target = "nuclei" if target == "nuclei" else "cells"
        look = f"{_SOURCES.get(family, 'synthetic')}/{family}"
        found.append(LabelledImage(path.stem, stretched(image), labels, look, kind, nuclei))
    return found


def pool_diameter(family: str, rng: np.random.Generator) -> float:
    """Draw a diameter at which a family is generated, in px."""
    return float(np.exp(rng.uniform(*np.log(POOL_DIAMETERS_PX.get(family, (10, 60))))))


def generate_pool(folder: Path, per_family: int, first_seed: int = 0, size: int = 384) -> None:
    """Generate `per_family` images of each family into `folder`; those that are there are kept."""
    from cellbrook.training import synthetic

    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first_seed, first_seed + round(per_family * max(POOL_SHARES.values()))):
        for family in synthetic.FAMILIES:
            if seed - first_seed >= per_family * POOL_SHARES.get(family, 1.0):
                continue
            path = folder / f"{family}-{seed:05d}.npz"
            if path.exists():
                continue
            diameter = pool_diameter(family, np.random.default_rng([seed, len(family)]))
            _keep_sample(path, synthetic.generate(family, seed, size, diameter))
    for first in range(first_seed, first_seed + per_family, len(SECTIONS)):
        paths = [folder / f"nuclei_sections-{first + n:05d}.npz" for n in range(len(SECTIONS))]
        if not all(path.exists() for path in paths):
            for path, arrays in zip(paths, sections_of_stack(first), strict=True):
                _keep(path, arrays)


def find_hard(folder: Path, count: int, first_seed: int = 0, model: str = "compact", size: int = 384) -> None:
    """Put `count` generated images without cells into `folder` in which `model` finds some; those that are there are kept.

    Most such images teach nothing any more: in nine of ten nothing is found.
    """
    import cellbrook
    from cellbrook.training import synthetic

    folder.mkdir(parents=True, exist_ok=True)
    segmenter = cellbrook.Segmenter(model, threads=1)
    there = {int(path.stem.rsplit("-", 1)[1]) for path in folder.glob("empty_hard-*.npz")}
    seed = max((seed + 1 for seed in there if seed >= first_seed), default=first_seed)
    found = sum(first_seed <= n for n in there)
    while found < count:
        diameter = pool_diameter("empty", np.random.default_rng([seed, len("empty")]))
        sample = synthetic.generate("empty", seed, size, diameter)
        if segmenter.segment(sample.image, axes="CYX").labels.any():
            _keep_sample(folder / f"empty_hard-{seed:05d}.npz", sample)
            found += 1
        seed += 1


def _keep_sample(path: Path, sample: Sample) -> None:
    arrays: dict[str, Any] = {
        "image": sample.image.astype(np.float16 if sample.image.max() < 6e4 else np.float32),
        "labels": sample.labels.astype(np.uint16),
        "target": sample.target,
    }
    if sample.nuclei is not None:
        arrays["nuclei"] = sample.nuclei.astype(np.uint16)
    _keep(path, arrays)


def _keep(path: Path, arrays: dict[str, Any]) -> None:
    part = path.with_suffix(".part.npz")
    np.savez(part, **arrays)
    part.replace(path)


def sections_of_stack(seed: int, side: int = 256) -> list[dict[str, Any]]:
    """Generate a stack of nuclei and return a section along each axis, as `segment --volume` shows them to the network.

    Planes that lie apart are drawn out to the spacing of pixels, the image linearly, labels by the nearest plane.
    """
    from cellbrook.training import synthetic

    rng = np.random.default_rng([seed, 3])
    diameter = pool_diameter("nuclei_sections", rng)
    anisotropy = float(np.exp(rng.uniform(0, np.log(min(6.0, diameter / 3)))))
    depth = int(max(4, 0.75 * side / anisotropy))
    stack = synthetic.generate_volume("spheres_3d", seed, (depth, side, side), diameter, anisotropy)
    position = np.clip((np.arange(round(depth * anisotropy)) + 0.5) / anisotropy - 0.5, 0, depth - 1)
    low = np.minimum(position.astype(np.intp), depth - 2)
    weight = (position - low)[:, None].astype(np.float32)
    found = []
    for axis in SECTIONS:
        shown = np.unique(np.nonzero(stack.labels)[axis])
        at = int(rng.choice(shown)) if len(shown) else 0
        image, labels = np.take(stack.image[0], at, axis), np.take(stack.labels, at, axis)
        if axis:
            image = image[low] * (1 - weight) + image[low + 1] * weight
            labels = labels[np.rint(position).astype(np.intp)]
        found.append({"image": image[None].astype(np.float32), "labels": labels, "target": "nuclei"})
    return found


class _Crops(IterableDataset[Any]):
    def __init__(self, images: list[LabelledImage], params: AugmentParams, seed: int) -> None:
        groups = {image.look.split("/")[0] for image in images}
        self.sampler = LookSampler(images, {g: s for g, s in SHARES.items() if g in groups})
        self.params = params
        self.seed = seed

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        torch.set_num_threads(1)
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        while True:
            image, labels, inside = random_crop(self.sampler.draw(rng), rng, self.params)
            yield image, targets_of(labels, inside)


def batches(
    images: list[LabelledImage], params: AugmentParams, batch_size: int, seed: int, workers: int = 1
) -> Iterator[Batch]:
    """Yield batches without end."""
    loader = DataLoader(
        _Crops(images, params, seed),
        batch_size=batch_size,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    yield from loader


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the training sets")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for checkpoints; resumes what is there"
    )
    parser.add_argument("--synthetic", type=Path, help="folder with generated images")
    parser.add_argument(
        "--generate", type=int, help="only generate this many images a family into --synthetic, and stop"
    )
    parser.add_argument(
        "--find-hard",
        type=int,
        help="only generate this many images without cells in which the shipped model finds some, and stop",
    )
    parser.add_argument("--first-seed", type=int, default=0, help="of the images that are generated")
    parser.add_argument(
        "--start", type=Path, help="safetensors file of weights to start from, not from nothing"
    )
    parser.add_argument("--steps", type=int, default=LoopParams().steps)
    parser.add_argument("--minutes", type=float, help="time for all steps, if it is up before them")
    parser.add_argument("--batch-size", type=int, default=LoopParams().batch_size)
    parser.add_argument("--learning-rate", type=float, default=LoopParams().learning_rate)
    parser.add_argument("--average", type=float, default=LoopParams().average)
    parser.add_argument("--rounded", action="store_true", help="learn with the rounding of an int8 graph")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if args.generate is not None:
        generate_pool(args.synthetic, args.generate, args.first_seed)
    if args.find_hard is not None:
        find_hard(args.synthetic, args.find_hard, args.first_seed)
    if args.generate is not None or args.find_hard is not None:
        return
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    images = training_images(args.data, args.synthetic)
    log.info("%d images of %d looks", len(images), len({i.look for i in images}))
    params = LoopParams(
        steps=args.steps,
        minutes=args.minutes,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        average=args.average,
    )
    network = CompactNet()
    if args.start:
        network.load_state_dict(load_file(args.start), strict=False)  # the counts of batches are not kept
    trainer = Trainer(network, params, LossParams(), Rounding(network) if args.rounded else None)
    last = args.out / "last.pt"
    if last.exists():
        trainer.load_state_dict(torch.load(last, weights_only=True))
        log.info("going on from step %d", trainer.step)
    # a resumed run sees new crops
    trainer.run(
        batches(images, CROPS, params.batch_size, seed=args.seed + trainer.step),
        args.out,
    )


if __name__ == "__main__":
    main()
