"""What the benchmarks of teaching share: crops of labelled images as files, and what a model scores on them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from benchmarks.accuracy.data import Pair, find_pairs

import cellbrook
from cellbrook.metrics import count_image, summarise
from cellbrook.networks import load
from cellbrook.networks.store import resolve_model
from cellbrook.training import generalist
from cellbrook.training.dataset import read_pair
from cellbrook.training.scores import Judge
from cellbrook.training.synthetic import generate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LEAST_OBJECTS = 3
QUICK_FAMILIES = ("fluo_nuclei", "phase_bacteria")


@dataclass(frozen=True)
class Crop:
    """A part of a labelled image, as files: ``<name>_img.tif`` and ``<name>_masks.tif``."""

    name: str
    origin: str
    image: Path
    masks: Path
    objects: int


def crops_of(pairs: Sequence[Pair], label: str, folder: Path, side: int) -> list[Crop]:
    """Cut images into squares and write those that show something; smaller images stay whole."""
    folder.mkdir(parents=True, exist_ok=True)
    crops = []
    for pair in pairs:
        (example,) = read_pair(pair.id, pair.image, pair.masks, None)
        rows, columns = example.labels.shape
        for y in range(0, max(1, rows - side // 2), side):
            for x in range(0, max(1, columns - side // 2), side):
                part = example.part(slice(y, y + side), slice(x, x + side), f"_{y:05}_{x:05}")
                if part.n_objects < LEAST_OBJECTS:
                    continue
                name = f"{label}-{part.name}"
                files = write_pair(folder, name, part.pixels, part.labels, is_rgb=part.is_rgb)
                crops.append(Crop(name, f"{label}-{pair.id}", *files, part.n_objects))
    return crops


def write_pair(
    folder: Path, name: str, pixels: np.ndarray, labels: np.ndarray, *, is_rgb: bool = False
) -> tuple[Path, Path]:
    """Write an image of shape (C, Y, X) and its labels as a pair to train on or to judge with."""
    image, masks = folder / f"{name}_img.tif", folder / f"{name}_masks.tif"
    if is_rgb:
        tifffile.imwrite(image, np.moveaxis(pixels, 0, -1), photometric="rgb")
    else:
        tifffile.imwrite(image, pixels, metadata={"axes": "CYX"}, ome=True)
    tifffile.imwrite(masks, labels.astype(np.uint16))
    return image, masks


def write_generated(
    folder: Path, name: str, family: str, seed: int, side: int, diameter: float
) -> tuple[Path, Path]:
    """Write a generated image, of its first channel alone, and its labels."""
    sample = generate(family, seed, side, diameter)
    return write_pair(folder, name, sample.image[:1].astype(np.uint16), sample.labels)


def copy_into(folder: Path, crops: Sequence[Crop]) -> None:
    """Make a folder of the files of some crops, to train on."""
    folder.mkdir()
    for crop in crops:
        for path in (crop.image, crop.masks):
            shutil.copy(path, folder / path.name)


def generated_sets(data: Path, images: int = 6, side: int = 128) -> dict[str, list[Pair]]:
    """Write small generated sets as they would lie in ``DIR/eval``, to try a command out."""
    sets = {}
    for family in QUICK_FAMILIES:
        folder = data / "eval" / family
        folder.mkdir(parents=True)
        for seed in range(images):
            write_generated(folder, str(seed), family, seed, side, 20)
        sets[family] = find_pairs(folder)
    return sets


def eval_sets(data: Path, leave_out: Sequence[str] = ()) -> dict[str, list[Pair]]:
    """Return the sets of ``DIR/eval``."""
    folders = sorted(p for p in (data / "eval").iterdir() if p.is_dir() and p.name not in leave_out)
    return {folder.name: find_pairs(folder) for folder in folders}


def ap_of(model: str, crops: Sequence[Crop], threads: int | None) -> float:
    """Return the AP at IoU 0.5 of a model on crops, objects pooled; no diameter is told."""
    segmenter = cellbrook.Segmenter(model=model, threads=threads)
    counts = []
    for crop in crops:
        found = segmenter.segment(crop.image, keep_output=False)
        counts.append(count_image(tifffile.imread(crop.masks), found.labels, name=crop.name))
    return summarise(counts).pooled["ap"][0].value


def frozen_ap(model: str, threads: int | None) -> float:
    """Return the mean AP at IoU 0.5 of a model on the general images that the forgetting guard watches."""
    found = resolve_model(model)
    judge = Judge(found.card, "cpu", threads or 2)
    return judge.score(load(model), *generalist.frozen_examples()).mean_ap
