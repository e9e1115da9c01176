"""Which images are learnt from and which are held out."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import UsageError
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
"""Below this many different images, those with room for it are cut: one held out alone may be of a kind that no other
teaches, and one with a few large objects tells by chance only which model is better."""

NODATA = (0.02, 0.5)
"""Between these parts of an image may be filled with one value that stands for nothing seen there."""

STRAIGHT = 0.95
"""At least this part of that lies straight behind an edge; a black background lies between cells too."""

LARGEST = 1e15
"""Larger intensities are scaled, or float32 would not hold their squares."""

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

    def by_role(self, wanted: Sequence[str]) -> Split:
        """Return it with the channels of each image in the order in which a network wants their roles."""
        train, validation = (tuple(e.by_role(wanted) for e in part) for part in (self.train, self.validation))
        return Split(train, validation, self.how)


def split(examples: Sequence[Example], held_out: float = 0.2, seed: int = 0) -> Split:
    """Hold out images; those that look alike (frames of a film, overlapping fields) stay together.

    Of one image, of images that all look alike, and of few images those that are large enough, a block of each is held
    out instead: the same place in each, so that no frame of a film tells of another's, and both parts have objects.

    Parameters
    ----------
    examples : sequence of Example
        At least one with objects.
    held_out : float
        Share of the images, or of the area.
    seed : int
        Of the choice. It depends on nothing else but the pixels: not on names or the order of files.

    Raises
    ------
    UsageError
        If no cut leaves objects on both sides of it, as with a single object.
    """
    groups = [g for g in alike(examples) if g]
    labelled = [g for g in groups if any(examples[i].n_objects for i in g)]
    if len(labelled) < 2:
        which = "the image is" if len(examples) == 1 else "the images look alike, so each is"
        return _by_blocks(examples, held_out, which)
    roomy = sorted(i for g in labelled if all(_has_room(examples[i]) for i in g) for i in g)
    if len(labelled) < FEW and roomy:
        with contextlib.suppress(UsageError):  # if their objects cannot be parted, images can
            cut = _by_blocks([examples[i] for i in roomy], held_out, _which_few(len(roomy), len(examples)))
            whole = (e for i, e in enumerate(examples) if i not in roomy)
            return Split((*cut.train, *whole), cut.validation, cut.how)
    order = sorted(labelled, key=lambda g: min(examples[i].sha256 for i in g))
    order = [order[i] for i in np.random.default_rng(seed).permutation(len(order))]
    wanted = max(1, round(held_out * len(examples)))
    held: list[int] = []
    for group in order[:-1]:  # the last one is always learnt from
        # a group that would hold out far too much is passed over
        if len(held) < wanted and len(held) + len(group) <= 1.5 * wanted:
            held += group
    held = held or min(order, key=len)
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
    """Return the image at 32 x 32, without slow shading, as standard scores: its correlation with another is a mean.

    Where nothing is known it is 0: a border that many images share must not make them alike.
    """
    known = _known(pixels)
    plain = np.where(known, pixels, 0)
    largest = max(float(plain.max(initial=0)), -float(plain.min(initial=0)))
    plain = (plain / largest if largest > LARGEST else plain).astype(np.float32).mean(axis=0)
    shown = resize(known.astype(np.float32), (32, 32), threads=1) > 0.5
    if not shown.any():
        return np.zeros(shown.shape, np.float32)
    plain[~known] = plain[known].mean()  # no edge where the known ends
    small = resize(plain, (32, 32), threads=1)
    small = small - smooth(small, 6.0, threads=1)
    spread = float(small[shown].std() * np.sqrt(shown.mean()))
    return np.where(shown, (small - small[shown].mean()) / max(spread, 1e-6), np.float32(0))


def _known(pixels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where an image shows something: not where it is not finite, or filled with one value from a corner on."""
    known: NDArray[np.bool_] = np.isfinite(pixels).all(axis=0)
    for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        same = (pixels == pixels[:, y, x, None, None]).all(axis=0)
        if NODATA[0] < same.mean() < NODATA[1] and _from_edges(same).sum() > STRAIGHT * same.sum():
            known &= ~same
    return known


def _from_edges(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return what of a region can be reached from an edge of the image along a row or a column without leaving it."""
    reach = np.logical_and.accumulate
    rows = reach(region, axis=1) | reach(region[:, ::-1], axis=1)[:, ::-1]
    columns = reach(region, axis=0) | reach(region[::-1], axis=0)[::-1]
    return np.asarray(rows | columns)


def _has_room(example: Example) -> bool:
    """Tell whether a quarter of an image shows whole objects."""
    across = max(SMALLEST_PART, OBJECTS_ACROSS * typical_diameter(example.labels))
    return bool(max(example.labels.shape) / 4 >= across)


def _which_few(large: int, count: int) -> str:
    if large == count:
        return "the images are few, so each is"
    return f"the images are few, so {large} of {count}, large enough for it, {'is' if large == 1 else 'are'}"


def _by_blocks(examples: Sequence[Example], held_out: float, which: str) -> Split:
    for shorter in (False, True):
        at = _cut(examples, held_out, shorter)
        parts = [_halves(e, at, shorter) for e in examples]
        train, validation = (tuple(part) for part in zip(*parts, strict=True))
        kept = tuple(e for e in validation if len(e.own()))  # no mere pieces: they are not judged
        if kept and any(len(e.own()) for e in train):
            return Split(train, kept, f"{which} cut: {at:.0%} of it is learnt from, the rest held out")
    raise UsageError(
        "the labelled objects lie in one place, so that none can be held out to judge by: label some more, in other "
        "parts of the image or in another one"
    )


def _halves(example: Example, at: float, shorter: bool) -> tuple[Example, Example]:
    """Return what is learnt from and what is held out of an image that is cut across one of its sides."""
    axis = _axis(example, shorter)
    along = example.labels.shape[axis]
    row = round(along * at)
    if min(row, along - row) < SMALLEST_PART:
        row = round(along / 2)
    everything = slice(None)
    names = (" (upper part)", " (lower part)") if axis == 0 else (" (left part)", " (right part)")
    sides = [(slice(0, row), names[0]), (slice(row, along), names[1])]
    first, second = (
        example.part(side, everything, name) if axis == 0 else example.part(everything, side, name)
        for side, name in sides
    )
    return first, second


def _axis(example: Example, shorter: bool) -> int:
    rows, cols = example.labels.shape
    return 0 if (rows > cols) != shorter else 1


def _cut(examples: Sequence[Example], held_out: float, shorter: bool) -> float:
    """Return where to cut, as a part of a side, so that about this share of the objects is held out."""
    places: list[NDArray[np.float64]] = []
    for example in examples:
        axis = _axis(example, shorter)
        along = np.nonzero(example.labels)[axis]
        which = example.labels[example.labels > 0]
        area = np.bincount(which)
        centres = (np.bincount(which, along)[1:] / np.maximum(area[1:], 1))[area[1:] > 0]
        places.append(centres / example.labels.shape[axis])
    centre = np.sort(np.concatenate(places))
    share = 1 - max(held_out, 0.25)  # a part of one image needs to be larger to say something
    at = float(np.clip(np.quantile(centre, share), 0.5, 0.85))
    if len(centre) > 1 and not centre[0] < at < centre[-1]:  # all on one side: cut between them
        last = int(np.clip(round(share * len(centre)), 1, len(centre) - 1))
        at = float(centre[last - 1 : last + 1].mean())
    return at
