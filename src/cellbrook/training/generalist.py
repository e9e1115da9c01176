"""Images of many kinds that ship with the package: some to rehearse, some to see what was forgotten.

``generalist.zip`` holds PNG crops and ``index.json``; `benchmarks/generalist.py` builds it. The two sets share no image,
and the frozen one is never trained on: neither here nor by the recipe of `compact`.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from cellbrook.provenance import hash_of_array
from cellbrook.training.dataset import Example

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellbrook.training.data import LabelledImage

ARCHIVE = Path(__file__).with_name("generalist.zip")

Role = Literal["replay", "frozen"]


@dataclass(frozen=True, slots=True)
class Crop:
    """A crop of the general sets.

    Parameters
    ----------
    example : Example
        Pixels and labels.
    role : {"replay", "frozen"}
        May be learnt from, or is only judged on.
    look : str
        Kind of image, such as "dsb2018/fluo" or "synthetic/dic".
    target : {"cells", "nuclei"}
        What the labels outline.
    """

    example: Example
    role: Role
    look: str
    target: Literal["cells", "nuclei"]


@lru_cache(maxsize=1)
def crops(archive: Path = ARCHIVE) -> tuple[Crop, ...]:
    """Return every crop of both sets."""
    import imagecodecs

    found = []
    with zipfile.ZipFile(archive) as file:
        for entry in json.loads(file.read("index.json")):
            pixels = np.asarray(imagecodecs.png_decode(file.read(f"{entry['name']}_img.png")))
            labels = np.asarray(imagecodecs.png_decode(file.read(f"{entry['name']}_masks.png")))
            pixels = np.ascontiguousarray(np.moveaxis(pixels, -1, 0)) if pixels.ndim == 3 else pixels[None]
            example = Example(
                entry["name"],
                pixels,
                labels.astype(np.uint32),
                len(pixels) == 3,
                hash_of_array(pixels),
            )
            found.append(Crop(example, entry["role"], entry["look"], entry["target"]))
    return tuple(found)


def replay_images(channels: int) -> list[LabelledImage]:
    """Return the crops to rehearse, for a network of so many channels."""
    return [as_labelled(c.example, c.look, c.target, channels) for c in crops() if c.role == "replay"]


def frozen_examples() -> tuple[list[Example], list[str]]:
    """Return the crops to judge on, and what to look for in each."""
    frozen = [c for c in crops() if c.role == "frozen"]
    # a wish is needed where both can be seen; elsewhere the model is asked as people ask it
    wishes = [c.target if len(c.example.pixels) == 2 else "auto" for c in frozen]
    return [c.example for c in frozen], wishes


def as_labelled(
    example: Example, look: str, target: str, channels: int, *, sparse: bool = False
) -> LabelledImage:
    """Return an example as what crops are cut from, for a network of so many channels."""
    from cellbrook.training.data import LabelledImage

    keywords: dict[str, Any] = {"target": cast("Any", target)}
    return LabelledImage(
        example.name, example.normalised(channels, sparse=sparse), example.labels, look, **keywords
    )


def summary(names: Sequence[str] = ()) -> dict[str, int]:
    """Return how many crops there are, by role."""
    counts: dict[str, int] = {}
    for crop in crops():
        counts[crop.role] = counts.get(crop.role, 0) + 1
    return counts
