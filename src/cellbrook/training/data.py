"""Labelled images for training: what there is, and how often each is drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


Target = Literal["cells", "nuclei", "either"]

USIIGACI_HELD_OUT = frozenset(f"train_set{n}" for n in range(22, 31))
"""Frames of usiigaci_phc that no training sees: a run of low contrast, unlike the others, held out by look."""


@dataclass(slots=True)
class LabelledImage:
    """An image with its labels.

    Parameters
    ----------
    name : str
        Where it comes from.
    image : ndarray of shape (C, Y, X), float32
        Normalised as the pipeline normalises it.
    labels : ndarray of shape (Y, X), uint32
        0 is background.
    look : str
        Images of one look (stain, microscope, cells) share this; draws are balanced over looks, not files.
    target : {"cells", "nuclei", "either"}
        What the labels outline. "either": what is found without being asked.
    nuclei : ndarray of shape (Y, X), uint32, or None
        For labels of whole cells: their nuclei, where these are seen too.
    diameter_px : float
        Median equivalent diameter of the objects; 0 without any.
    boxes : ndarray of shape (n, 2)
        Centres of the objects' bounding boxes (row, column), where crops are centred.
    """

    name: str
    image: NDArray[np.float32]
    labels: NDArray[np.uint32]
    look: str
    target: Target = "cells"
    nuclei: NDArray[np.uint32] | None = None
    diameter_px: float = field(init=False)
    boxes: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        areas, self.boxes = _areas_and_centres(self.labels)
        self.diameter_px = float(np.median(2 * np.sqrt(areas / np.pi))) if len(areas) else 0.0


def _areas_and_centres(labels: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y, x = np.nonzero(labels)
    which = labels[y, x].astype(np.int64)
    count = np.bincount(which)
    present = np.flatnonzero(count)
    area = count[present].astype(np.float64)
    centres = (
        np.stack([np.bincount(which, y)[present] / area, np.bincount(which, x)[present] / area], axis=1)
        if len(present)
        else np.zeros((0, 2))
    )
    return area, centres


class LookSampler:
    """Draws images so that each look counts by the square root of its number of images.

    Plain draws by file would let the hundreds of near-identical fields of one experiment decide what is learnt.

    Parameters
    ----------
    images : sequence of LabelledImage
        What is drawn from.
    shares : dict of str to float, optional
        Share of the draws that goes to looks with this prefix (up to the first "/"). None: by square root of counts.
    """

    def __init__(self, images: Sequence[LabelledImage], shares: dict[str, float] | None = None) -> None:
        if not images:
            raise ValueError("no labelled images to draw from")
        self.images = images
        looks, inverse, counts = np.unique([i.look for i in images], return_inverse=True, return_counts=True)
        weight_of_look = np.sqrt(counts)
        if shares is not None:
            groups = np.array([look.split("/")[0] for look in looks])
            for group in np.unique(groups):
                inside = groups == group
                weight_of_look[inside] *= shares.get(str(group), 0.0) / weight_of_look[inside].sum()
        weights = weight_of_look[inverse] / counts[inverse]
        self.cumulative = np.cumsum(weights / weights.sum())

    def draw(self, rng: np.random.Generator) -> LabelledImage:
        """Return one image."""
        index = min(int(np.searchsorted(self.cumulative, rng.random())), len(self.images) - 1)
        return self.images[index]


def pairs_in(folder: Path) -> Iterable[tuple[str, Path, Path]]:
    """Yield (id, image path, labels path) of every ``<id>_img.*`` with its ``<id>_masks.*``, sorted by id."""
    masks = {p.name.rsplit("_masks.", 1)[0]: p for p in folder.glob("*_masks.*")}
    for path in sorted(folder.glob("*_img.*")):
        name = path.name.rsplit("_img.", 1)[0]
        if name in masks:
            yield name, path, masks[name]
