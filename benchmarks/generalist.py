"""Builds ``src/cellbrook/training/generalist.zip``: ``python benchmarks/generalist.py --dsb2018 DIR``.

``DIR`` is dsb2018 (Data Science Bowl 2018, BBBC038, CC0) as ``<id>_img.*``, ``<id>_masks.*`` and ``index.csv`` with
the columns ``id, split, modality_guess, h, w, duplicate_of``. Crops to rehearse come from its "train" part, crops to
judge on from "val", one image a crop, the looks (kind, size, brightness) taken in turn. Generated images of every
family come on top, other seeds for either set. Pixels are 8 bits a channel: as camera images are shown, and a tenth
of the bytes.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np

from cellbrook.io import encode_png, open_image, read_labels
from cellbrook.training import synthetic
from cellbrook.training.generalist import ARCHIVE

SIDE = 192
DSB_CROPS = {"replay": ("train", 20), "frozen": ("val", 20)}
SEEDS = {"replay": (900_000,), "frozen": (910_000, 910_001)}
LIMIT_BYTES = 3_000_000


def eight_bit(image: np.ndarray) -> np.ndarray:
    """Return (C, Y, X) as uint8; 8-bit images as they are."""
    if image.dtype == np.uint8:
        return image
    low, high = np.percentile(image, (0.1, 99.9), axis=(1, 2), keepdims=True)
    return np.clip((image - low) / np.maximum(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)


def busiest(labels: np.ndarray, side: int) -> tuple[slice, slice]:
    """Return the window with most whole objects, on a grid of a quarter of its side."""
    best, place = -1, (0, 0)
    rows, cols = (max(0, n - side) for n in labels.shape)
    for y in range(0, rows + 1, side // 4):
        for x in range(0, cols + 1, side // 4):
            window = labels[y : y + side, x : x + side]
            inner = np.setdiff1d(window, np.concatenate([window[0], window[-1], window[:, 0], window[:, -1]]))
            if len(inner) > best:
                best, place = len(inner), (y, x)
    return slice(place[0], place[0] + side), slice(place[1], place[1] + side)


def dsb_crops(folder: Path, part: str, count: int):
    with (folder / "index.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["split"] == part and not r["duplicate_of"]]
    by_look: dict[str, list[dict[str, str]]] = {}
    for row in sorted(rows, key=lambda r: r["id"]):
        by_look.setdefault(f"{row['modality_guess']}-{row['h']}x{row['w']}", []).append(row)
    looks = sorted(by_look)
    chosen = []
    while len(chosen) < count and any(by_look.values()):
        for look in looks:
            if by_look[look] and len(chosen) < count:
                queue = by_look[look]
                chosen.append(queue.pop(len(queue) // 2))
    for row in chosen:
        image_path = next(folder.glob(f"{row['id']}_img.*"))
        source = open_image(image_path)
        pixels = source.read()
        pixels = pixels if "C" in source.axes else pixels[None]
        if len(pixels) == 3 and (pixels[0] == pixels[1]).all() and (pixels[0] == pixels[2]).all():
            pixels = pixels[:1]
        labels, _ = read_labels(next(folder.glob(f"{row['id']}_masks.*")))
        rows_, cols_ = busiest(labels, SIDE)
        yield (
            row["id"],
            pixels[:, rows_, cols_],
            labels[rows_, cols_],
            f"dsb2018/{row['modality_guess']}",
            "nuclei",
        )


def generated(seeds: tuple[int, ...]):
    for family in synthetic.FAMILIES:
        for i, seed in enumerate(seeds):
            diameter = 24.0 if family in ("fluo_nuclei", "phase_bacteria", "he_tissue") else 34.0
            sample = synthetic.generate(family, seed, SIDE, diameter * (1.0, 0.7)[i % 2])
            yield f"{family}-{seed}", sample.image, sample.labels, f"synthetic/{family}", sample.target


def numbered(labels: np.ndarray) -> np.ndarray:
    names, codes = np.unique(np.append(labels.ravel(), 0), return_inverse=True)
    assert len(names) < 2**16
    return codes[:-1].reshape(labels.shape).astype(np.uint16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dsb2018", type=Path, required=True)
    args = parser.parse_args()
    index = []
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:

        def put(name: str, data: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data)

        for role in ("replay", "frozen"):
            part, count = DSB_CROPS[role]
            for name, image, labels, look, target in (
                *dsb_crops(args.dsb2018, part, count),
                *generated(SEEDS[role]),
            ):
                put(f"{name}_img.png", encode_png(np.ascontiguousarray(np.moveaxis(eight_bit(image), 0, -1))))
                put(f"{name}_masks.png", encode_png(numbered(labels)))
                licence = "CC0-1.0" if look.startswith("dsb2018") else "BSD-3-Clause"
                index.append({"name": name, "role": role, "look": look, "target": target, "licence": licence})
        put("index.json", json.dumps(index, indent=1).encode())
    data = packed.getvalue()
    assert len(data) <= LIMIT_BYTES, f"{len(data)} bytes, at most {LIMIT_BYTES} may ship"
    ARCHIVE.write_bytes(data)
    counts = {role: sum(e["role"] == role for e in index) for role in ("replay", "frozen")}
    print(f"{ARCHIVE}: {len(data)} bytes, {counts}")


if __name__ == "__main__":
    main()
