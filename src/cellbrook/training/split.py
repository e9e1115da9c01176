"""Which images are learnt from and which are held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.resize import resize, smooth
from cellbrook.training.dataset import typical_diameter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellbrook.training.dataset import Example

ALIKE = 0.8
"""Images whose thumbnails correlate more than this show the same place, or nearly."""

SMALLEST_PART = 64
"""An image is not cut into parts with sides below this, in pixels."""

FEW = 8
"""Below this many different images, each is cut: one held out alone may be of a kind that no other teaches."""

OBJECTS_ACROSS = 2.5
"""So many typical objects must fit across what is cut off, or it holds pieces of objects only."""


@dataclass(frozen=True, slots=True)
class Split:
    """Examples to learn from and to validate on; they share no pixel.

    Parameters
    ----------
    train, validation : tuple of Example
        Whole images, or parts of them.
    how : str
        One line that says how it was done.
    """

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    how: str


def split(examples: Sequence[Example], held_out: float = 0.2, seed: int = 0) -> Split:
    """Hold out images; those that look alike (frames of a film, overlapping fields) stay together.

    Of one image, of images that all look alike, and of few but large images a block of each is held out instead: the
    same place in each, so that no frame of a film tells of another's.

    Parameters
    ----------
    examples : sequence of Example
        At least one with objects.
    held_out : float
        Share of the images, or of the area.
    seed : int
        Of the choice. It depends on nothing else but the pixels: not on names or the order of files.
    """
    groups = [g for g in alike(examples) if g]
    labelled = [g for g in groups if any(examples[i].n_objects for i in g)]
    if len(labelled) < 2:
        which = "the image is" if len(examples) == 1 else "the images look alike, so each is"
        return _by_blocks(examples, held_out, which)
    if len(labelled) < FEW and all(_has_room(e) for e in examples):
        return _by_blocks(examples, held_out, "the images are few, so each is")
    order = sorted(labelled, key=lambda g: min(examples[i].sha256 for i in g))
    order = [order[i] for i in np.random.default_rng(seed).permutation(len(order))]
    wanted = max(1, round(held_out * len(examples)))
    held: list[int] = []
    for group in order[:-1]:  # the last one is always learnt from
        # a group that would hold out far too much is passed over
        if len(held) < wanted and (not held or len(held) + len(group) <= 1.5 * wanted):
            held += group
    train = tuple(e for i, e in enumerate(examples) if i not in held)
    validation = tuple(examples[i] for i in sorted(held))
    names = ", ".join(e.name for e in validation[:4]) + (" ..." if len(validation) > 4 else "")
    taught = "1 image is" if len(train) == 1 else f"{len(train)} images are"
    how = f"{taught} learnt from, {len(validation)} held out: {names}"
    if len(groups) < len(examples):
        how += "; images that look alike stay together"
    return Split(train, validation, how)


def alike(examples: Sequence[Example]) -> list[list[int]]:
    """Return groups of images that look alike, as indices, each image in one group."""
    thumbnails = [_thumbnail(e.pixels) for e in examples]
    groups: list[list[int]] = []
    for i, thumbnail in enumerate(thumbnails):
        near = [
            g
            for g in groups
            if any(
                examples[j].pixels.shape == examples[i].pixels.shape
                and (
                    examples[j].sha256 == examples[i].sha256
                    or float((thumbnails[j] * thumbnail).mean()) > ALIKE
                )
                for j in g
            )
        ]
        merged = [j for g in near for j in g] + [i]
        groups = [g for g in groups if g not in near] + [merged]
    return groups


def _thumbnail(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Return the image at 32 x 32, without slow shading, as standard scores: its correlation with another is a mean."""
    plain = pixels.astype(np.float32).mean(axis=0)
    small = resize(plain, (32, 32), threads=1)
    small = small - smooth(small, 6.0, threads=1)
    scores: NDArray[np.float32] = (small - small.mean()) / max(float(small.std()), 1e-6)
    return scores


def _has_room(example: Example) -> bool:
    """Tell whether a quarter of an image shows whole objects."""
    across = max(SMALLEST_PART, OBJECTS_ACROSS * typical_diameter(example.labels))
    return bool(max(example.labels.shape) / 4 >= across)


def _by_blocks(examples: Sequence[Example], held_out: float, which: str) -> Split:
    train, validation = [], []
    fractions = _cut(examples, held_out)
    for example in examples:
        rows, cols = example.labels.shape
        everything = slice(None)
        along = rows if rows > cols else cols
        at = round(along * fractions)
        if min(at, along - at) < SMALLEST_PART:
            at = round(along / 2)
        first, second = slice(0, at), slice(at, along)
        if rows > cols:
            train.append(example.part(first, everything, " (upper part)"))
            validation.append(example.part(second, everything, " (lower part)"))
        else:
            train.append(example.part(everything, first, " (left part)"))
            validation.append(example.part(everything, second, " (right part)"))
    how = f"{which} cut: {fractions:.0%} of it is learnt from, the rest held out"
    return Split(tuple(train), tuple(e for e in validation if e.n_objects), how)


def _cut(examples: Sequence[Example], held_out: float) -> float:
    """Return where to cut, as a part of the longer side, so that about this share of the objects is held out."""
    places: list[NDArray[np.float64]] = []
    for example in examples:
        longer = 0 if example.labels.shape[0] > example.labels.shape[1] else 1
        at = np.nonzero(example.labels)[longer]
        which = example.labels[example.labels > 0]
        area = np.bincount(which)
        centres = (np.bincount(which, at)[1:] / np.maximum(area[1:], 1))[area[1:] > 0]
        places.append(centres / example.labels.shape[longer])
    share = max(held_out, 0.25)  # a part of one image needs to be larger to say something
    return float(np.clip(np.quantile(np.concatenate(places), 1 - share), 0.5, 0.85))
