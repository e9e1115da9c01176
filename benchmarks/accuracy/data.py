"""The image sets: pairs `<id>_img.png|tif` and `<id>_masks.png|tif` in one folder a set.

`DIR/eval/<set>/` is measured whole. Of `DIR/train/` only what training does not see is: the validation and test
splits of dsb2018 (column `split` of its `index.csv`) and the frames of usiigaci_phc that are held out by look.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellbrook.training.data import USIIGACI_HELD_OUT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SUFFIXES = (".png", ".tif", ".tiff")


@dataclass(frozen=True)
class Pair:
    """One image with its truth, both as paths."""

    id: str
    image: Path
    masks: Path

    def read_image(self) -> tuple[np.ndarray, str]:
        """Return the pixels and their axes: "YX", "YXS" (RGB) or "CYX"."""
        image = read(self.image)
        if image.ndim == 2:
            return image, "YX"
        if image.ndim == 3 and image.shape[-1] in (3, 4):
            return np.ascontiguousarray(image[..., :3]), "YXS"
        if image.ndim == 3:
            return image, "CYX"
        raise ValueError(f"{self.image}: expected 2 or 3 dimensions, got shape {image.shape}")

    def read_masks(self) -> np.ndarray:
        return read(self.masks)


def read(path: Path) -> np.ndarray:
    from skimage.io import imread

    return np.asarray(imread(path))


def find_sets(data: Path) -> dict[str, list[Pair]]:
    """Return the pairs of every set, by name, those of `eval/` first."""
    sets = {folder.name: find_pairs(folder) for folder in _folders(data / "eval")}
    dsb, usiigaci = data / "train" / "dsb2018", data / "train" / "usiigaci_phc"
    if (dsb / "index.csv").exists():
        with (dsb / "index.csv").open(newline="") as file:
            split = {row["id"]: row["split"] for row in csv.DictReader(file)}
        for part in ("val", "test"):
            sets[f"dsb2018_{part}"] = find_pairs(dsb, lambda name, part=part: split.get(name) == part)
    if usiigaci.exists():
        sets["usiigaci_held_out"] = find_pairs(usiigaci, USIIGACI_HELD_OUT.__contains__)
    sets = {name: pairs for name, pairs in sets.items() if pairs}
    if not sets:
        raise SystemExit(f"no image sets below {data}: expected eval/<set>/<id>_img.png with <id>_masks.png")
    return sets


def spread(pairs: list[Pair], limit: int | None) -> list[Pair]:
    """Return so many of the pairs, from all over them; all where there is no limit or there are no more."""
    if not limit or limit >= len(pairs):
        return pairs
    return [pairs[i] for i in np.linspace(0, len(pairs) - 1, limit).round().astype(int)]


def eval_names(data: Path) -> list[str]:
    return [folder.name for folder in _folders(data / "eval")]


def find_pairs(folder: Path, wanted: Callable[[str], bool] = lambda _: True) -> list[Pair]:
    """Return the pairs of one folder, ordered by id."""
    pairs = []
    for image in sorted(folder.iterdir()):
        name = image.stem.removesuffix("_img")
        if image.suffix not in SUFFIXES or name == image.stem or not wanted(name):
            continue
        masks = [folder / f"{name}_masks{suffix}" for suffix in SUFFIXES]
        pairs += [Pair(name, image, path) for path in masks if path.exists()][:1]
    return pairs


def _folders(parent: Path) -> list[Path]:
    return sorted(p for p in parent.iterdir() if p.is_dir()) if parent.is_dir() else []
