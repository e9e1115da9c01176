"""What can be wrong with labelled images, found before training rather than after.

Fatal is what would teach nonsense for certain; the rest is said and left to people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellbrook.core.params import MaskParams
from cellbrook.resize import smooth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TINY_SHARE = 0.02
"""Objects below this part of the median area are taken for fragments."""

FOREGROUND_PIECES, ALIKE = 4, 0.25
"""So many pieces of the only label, each at least this part of the largest one's area, are cells that have no numbers of
their own; fewer, or specks beside one large piece, are one branched cell or slips of the pen."""

GOOD_FIT = 0.2
"""Outlines that lie on edges of the image correlate with them at least like this."""

FIT_SIDE = 384
"""Larger images are looked at with about this many pixels along the shorter side."""


@dataclass(frozen=True, slots=True)
class Issue:
    """Something wrong, or odd, with an image or its labels.

    Parameters
    ----------
    name : str
        Which image.
    kind : str
        "size", "unreadable", "no image", "no labels", "empty", "misaligned", "duplicate", "gaps", "pieces", "fragments",
        "one object", "prediction".
    fatal : bool
        Training is refused.
    text : str
        What it is and what to do, one line.
    """

    name: str
    kind: str
    fatal: bool
    text: str


def check_pair(
    name: str, image: NDArray[np.float32], labels: NDArray[np.uint32], *, numbered: bool = False
) -> list[Issue]:
    """Check one image against its labels.

    Parameters
    ----------
    name : str
        For the issues.
    image : ndarray of shape (C, Y, X), float32
        Normalised.
    labels : ndarray of shape (Y, X), uint32
    numbered : bool
        Objects of other planes of its stack have other numbers: so one label here is one object.
    """
    if not image.size:
        return [Issue(name, "no pixels", True, f"the image has no pixels: its shape is {image.shape}")]
    areas = np.bincount(labels.ravel())
    present = np.flatnonzero(areas[1:]) + 1
    if not len(present):
        return [
            Issue(name, "empty", False, "nothing is labelled: it teaches that there is nothing to find here")
        ]
    issues = []
    owner, sizes = pieces_of(labels)
    split = present[np.bincount(owner)[present] > 1]
    alike = np.count_nonzero(sizes >= ALIKE * sizes.max())
    if len(present) == 1 and alike >= FOREGROUND_PIECES and not numbered:
        issues.append(
            Issue(
                name,
                "one object",
                True,
                f"all {len(sizes)} regions have the one label {present[0]}: this is a picture of the foreground, "
                "each object needs a number of its own",
            )
        )
    elif len(split):
        issues.append(
            Issue(
                name,
                "pieces",
                False,
                f"{_some(split)} in several pieces; each piece is learnt as an object of its own",
            )
        )
    if present[-1] != len(present):
        missing = int(present[-1]) - len(present)
        issues.append(
            Issue(
                name, "gaps", False, f"{missing} numbers up to {present[-1]} are not used; that does no harm"
            )
        )
    least = MaskParams().min_size
    smallest = max(least, TINY_SHARE * float(np.median(areas[present])))
    tiny = present[areas[present] < smallest]
    if len(tiny):
        lost = f" Segmenting discards those below {least} px" if areas[tiny].min() < least else ""
        issues.append(
            Issue(
                name,
                "fragments",
                False,
                f"{_some(tiny)} smaller than {smallest:.0f} px: left over from drawing?{lost}",
            )
        )
    better = misfit(image, labels)
    if better is not None:
        text = f"outlines fit the image better {better}: are these the labels of this image?"
        issues.append(Issue(name, "misaligned", False, text))
    return issues


def check_set(examples: Sequence[tuple[str, str, str]]) -> tuple[list[Issue], list[int]]:
    """Find copies.

    Parameters
    ----------
    examples : sequence of (name, hash of pixels, hash of labels)

    Returns
    -------
    list of Issue
    list of int
        Which to keep: all but exact copies.
    """
    first: dict[str, tuple[str, str]] = {}
    issues, keep = [], []
    for i, (name, pixels, labels) in enumerate(examples):
        if pixels not in first:
            first[pixels] = (name, labels)
            keep.append(i)
        elif labels == first[pixels][1]:
            issues.append(Issue(name, "duplicate", False, f"is a copy of {first[pixels][0]}; left out"))
        else:
            keep.append(i)
            issues.append(
                Issue(
                    name,
                    "duplicate",
                    False,
                    f"has the pixels of {first[pixels][0]} but other labels: which are right?",
                )
            )
    return issues, keep


def misfit(image: NDArray[np.float32], labels: NDArray[np.uint32]) -> str | None:
    """Return how the outlines would fit the image better; None if they lie well, or nothing can be said.

    The outlines of the labels are correlated with the strength of each channel's gradient: at all shifts at once, and
    mirrored or turned. The channel that fits best counts, and only what fits well elsewhere and badly here; outlines
    drawn a little wide are no error.

    Parameters
    ----------
    image : ndarray of shape (C, Y, X), float32
        Normalised.
    labels : ndarray of shape (Y, X), uint32
    """
    if min(labels.shape) < 32:
        return None
    step = max(1, min(labels.shape) // FIT_SIDE)  # what is clearly wrong is seen at half the resolution too
    lines = np.zeros(labels.shape, np.float32)
    lines[1:] += labels[1:] != labels[:-1]
    lines[:, 1:] += labels[:, 1:] != labels[:, :-1]
    soft = smooth(np.clip(image, -1, 2), 1.5 * step, threads=1)[:, ::step, ::step]
    lines = smooth(lines, 1.5 * step, threads=1)[::step, ::step]
    dy, dx = np.gradient(soft, axis=(1, 2))
    lines = lines - lines.mean()
    ways = _turned(lines)
    fit, turned = np.full(lines.shape, -1.0), dict.fromkeys(ways, -1.0)
    for edges in np.minimum(np.hypot(dy, dx), 1):  # of a channel: of nuclei, outlines of cells need not fit
        edges = edges - edges.mean()
        size = float(np.linalg.norm(edges) * np.linalg.norm(lines))
        if not size:
            continue
        shifted = np.fft.irfft2(np.fft.rfft2(edges) * np.conj(np.fft.rfft2(lines)), lines.shape) / size
        fit = np.maximum(fit, shifted)
        turned = {how: max(turned[how], float((edges * o).sum()) / size) for how, o in ways.items()}
    here = max(float(fit[0, 0]), 0.0)
    for how, there in turned.items():
        if there > max(GOOD_FIT, 2 * here):
            return f"when {how}"
    rows, cols = fit.shape
    peak_y, peak_x = np.unravel_index(int(np.argmax(fit)), fit.shape)
    down = step * int(peak_y - rows if peak_y > rows // 2 else peak_y)
    right = step * int(peak_x - cols if peak_x > cols // 2 else peak_x)
    areas = np.bincount(labels.ravel())[1:]
    diameter = 2 * float(np.sqrt(np.median(areas[areas > 0]) / np.pi))
    distant = float(np.hypot(down, right)) > max(4.0, 0.25 * diameter)
    # elsewhere by chance: edges of a regular tissue fit again one cell further, nearly as well
    if distant and float(fit[peak_y, peak_x]) > max(GOOD_FIT, 1.5 * here):
        return f"when moved by {down:+d} rows and {right:+d} columns"
    return None


def _turned(lines: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return the other ways in which programs lay out the same picture."""
    ways = {
        "mirrored upside down": lines[::-1],
        "mirrored left to right": lines[:, ::-1],
        "turned by half": lines[::-1, ::-1],
    }
    if lines.shape[0] == lines.shape[1]:
        ways |= {
            "rows and columns are exchanged": lines.T,
            "turned by a quarter to the left": np.rot90(lines),
            "turned by a quarter to the right": np.rot90(lines, -1),
        }
    return ways


def pieces_of(labels: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return the label and the area of each 8-connected piece, in raster order of their first pixels."""
    cols = labels.shape[1]
    # one run = neighbouring equal pixels of a row; runs are joined rather than pixels, being few
    starts = np.ones(labels.shape, bool)
    starts[:, 1:] = labels[:, 1:] != labels[:, :-1]
    run = (np.cumsum(starts.ravel()) - 1).reshape(labels.shape)
    above: list[NDArray[np.int64]] = []
    for shift in (-1, 0, 1):
        upper = slice(max(0, -shift), cols - max(0, shift))
        lower = slice(max(0, shift), cols - max(0, -shift))
        same = (labels[:-1, upper] == labels[1:, lower]) & (labels[1:, lower] > 0)
        above.append(np.stack([run[:-1, upper][same], run[1:, lower][same]]))
    low, high = np.unique(np.concatenate(above, axis=1), axis=1)
    parent = np.arange(run[-1, -1] + 1)
    while True:
        a, b = parent[low], parent[high]
        if np.array_equal(a, b):
            break
        np.minimum.at(parent, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(parent, parent[parent]):
            parent = parent[parent]
    label_of_run = labels.ravel()[starts.ravel()]
    area = np.bincount(parent, weights=np.bincount(run.ravel())).astype(np.int64)
    roots = np.flatnonzero((parent == np.arange(len(parent))) & (label_of_run > 0))
    return label_of_run[roots], area[roots]


def _some(labels: NDArray[np.int64]) -> str:
    shown = ", ".join(str(n) for n in labels[:4])
    if len(labels) == 1:
        return f"object {shown} is"
    return f"{len(labels)} objects ({shown}{' ...' if len(labels) > 4 else ''}) are"
