"""What is compared: pairs of files or arrays, and the image that belongs to each."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import CellbrookError, UsageError
from cellbrook.io import OUTPUT_ENDINGS, open_image, read_labels
from cellbrook.io.files import image_of_run
from cellbrook.io.pairs import find_pairs, image_id, images_by_id, is_image, result_stem
from cellbrook.measure.frames import numbered_by_frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Pixels = Path | NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Labels to compare.

    Parameters
    ----------
    name : str
        Which image.
    truth, pred : Path or ndarray
        The labels.
    image : Path, ndarray or None
        The image, where it was found.
    """

    name: str
    truth: Pixels
    pred: Pixels
    image: Pixels | None = None

    def shown(self) -> tuple[str | None, str | None, str | None]:
        """Return the paths of truth, prediction and image; None for arrays."""
        return tuple(str(p) if isinstance(p, Path) else None for p in (self.truth, self.pred, self.image))  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class FoundPairs:
    """Pairs, and files that found no partner.

    Parameters
    ----------
    pairs : tuple of Pair
        By id.
    only_truth, only_prediction : tuple of Path
        Files without a partner.
    """

    pairs: tuple[Pair, ...]
    only_truth: tuple[Path, ...] = ()
    only_prediction: tuple[Path, ...] = ()


def pairs_of_files(truth: Path, pred: Path, images: Any = None) -> FoundPairs:
    """Pair label files, and find the image of each.

    Parameters
    ----------
    truth, pred : Path
        Label files or folders of them.
    images : path or None
        An image or a folder of images. None: see `image_of`.

    Raises
    ------
    UsageError
        As `find_pairs` and `cellbrook.io.pairs.images_by_id`.
    """
    found = find_pairs(truth, pred)
    given: dict[str, Path] | None = None
    if images is not None:
        given = images_by_id(Path(images))
    pairs = []
    for name, true_path, pred_path in found.pairs:
        image = image_of(true_path, pred_path) if given is None else given.get(name)
        if image is None and given is not None and is_image(Path(images)) and len(found.pairs) == 1:
            image = Path(images)
        pairs.append(Pair(name, true_path, pred_path, image))
    return FoundPairs(tuple(pairs), found.only_truth, found.only_prediction)


def pairs_of_arrays(
    truth: Iterable[Any], pred: Iterable[Any], images: Iterable[Any] | None, names: Sequence[str] | None
) -> FoundPairs:
    """Pair arrays that come in the same order; an array of two axes is one image, not a row of rows.

    Raises
    ------
    UsageError
        If their numbers differ, or one is no image.
    """
    sides = [_images(truth, "truth"), _images(pred, "pred")]
    pictures = None if images is None else _images(images, "images")
    counts = {len(side) for side in (*sides, *([pictures] if pictures is not None else []))}
    if len(counts) > 1 or (names is not None and len(names) != len(sides[0])):
        raise UsageError(
            f"truth, pred, images and names must be of equal length, got {len(sides[0])}, {len(sides[1])}, "
            f"{'none' if pictures is None else len(pictures)} and {'none' if names is None else len(names)}"
        )
    return FoundPairs(
        tuple(
            Pair(str(at) if names is None else names[at], t, p, None if pictures is None else pictures[at])
            for at, (t, p) in enumerate(zip(*sides, strict=True))
        )
    )


def _images(given: Iterable[Any], what: str) -> list[NDArray[Any]]:
    single = isinstance(given, np.ndarray) and given.ndim == 2
    found = [np.asarray(given)] if single else [np.asarray(a) for a in given]
    for array in found:
        if array.ndim < 2:
            raise UsageError(
                f"{what} must be images, such as [labels] for one of shape (Y, X); got one of shape {array.shape}"
            )
    return found


def image_of(*labels: Path) -> Path | None:
    """Return the image that label files belong to: beside one of them, or named in a ``run.json`` beside one.

    Beside the labels, ``x_img.*`` and ``x.*`` are images of ``x_masks.*``.
    """
    for path in labels:
        own = image_id(path.name)
        for stem in (f"{own}_img", own):
            for candidate in _files_named(path.parent, stem):
                if candidate.name not in {p.name for p in labels if p.parent == path.parent}:
                    return candidate
    for path in labels:
        if (named := _image_of_run(path)) is not None:
            return named
    return None


def _files_named(folder: Path, stem: str) -> list[Path]:
    from cellbrook.io import known_suffixes

    candidates = [folder / f"{stem}{suffix}" for suffix in known_suffixes()]
    return [path for path in candidates if path.exists()]


def _image_of_run(labels: Path) -> Path | None:
    image = image_of_run(labels.with_name(f"{result_stem(labels)}{OUTPUT_ENDINGS['run']}"))
    if not image.get("path"):
        return None
    named = Path(image["path"])
    beside = labels.parent / named.name
    return named if named.exists() else beside if beside.exists() else None


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """Labels as they are compared.

    Parameters
    ----------
    labels : ndarray
        Without stack axes of length 1: one plane of a stack is a plane.
    original : ndarray of int64 or None
        By number, the one in the file; None where they are the same.
    is_film : bool
        The first axis is time.
    """

    labels: NDArray[Any]
    original: NDArray[np.int64] | None = None
    is_film: bool = False

    def numbered(self, planes: NDArray[Any]) -> Side:
        """Return it with a number of its own for each object of a plane; `planes` are its labels, of any shape."""
        labels, original = numbered_by_frame(planes)
        if original is None:
            return self
        if self.original is not None:
            original = self.original[original]
        return replace(self, labels=labels.reshape(self.labels.shape), original=original)


def read_side(labels: Pixels) -> Side:
    """Read labels to compare.

    Raises
    ------
    ImageError
        If the file cannot be read.
    """
    if not isinstance(labels, (str, os.PathLike)):
        return Side(labels)
    pixels, axes = read_labels(labels)
    single = tuple(at for at, axis in enumerate(axes) if axis in "TZ" and pixels.shape[at] == 1)
    return Side(pixels.squeeze(single), is_film="T" in axes and axes.index("T") not in single)


def by_frame(sides: Sequence[Side]) -> list[Side]:
    """Return sides in which each object of a frame has a number of its own, if one of them is a film.

    Frames are compared one by one. Where a number stands in several of them, as in tracks or where each frame begins
    at 1, objects would else be volumes over time. Files that do not say what their planes are may hold the same film.
    """
    if not any(side.is_film for side in sides):
        return list(sides)
    return [replace(side, is_film=True).numbered(side.labels) for side in sides]


def by_plane(sides: Sequence[Side]) -> list[Side] | None:
    """Return sides in which each object of a plane has a number of its own; None if they can be compared as they are.

    Those cannot of which one has objects that go through planes of a stack and another has none that does: they were
    outlined plane by plane, where no object is like a volume.
    """
    if any(side.labels.ndim < 3 or not side.labels.any() for side in sides):
        return None
    planar = [side.numbered(side.labels.reshape(-1, *side.labels.shape[-2:])) for side in sides]
    through = [new is not side for new, side in zip(planar, sides, strict=True)]
    return planar if any(through) and not all(through) else None


def read_together(pair: Pair) -> tuple[Side, Side, bool]:
    """Read truth and prediction so that their objects can be compared, and whether that is plane by plane.

    Raises
    ------
    ImageError
        If a file cannot be read.
    UsageError
        If their sizes differ.
    """
    sides = [read_side(pair.truth), read_side(pair.pred)]
    shapes = [side.labels.shape for side in sides]
    if shapes[0] != shapes[1]:
        raise UsageError(f"truth is {shapes[0]}, prediction is {shapes[1]}: they must be of one size")
    sides = by_frame(sides)
    planar = by_plane(sides)
    true, pred = planar or sides
    return true, pred, planar is not None


def read_channels(image: Pixels, shape: tuple[int, ...]) -> tuple[NDArray[Any], tuple[str, ...]] | None:
    """Return an image as (..., C, Y, X) with leading axes as labels of this shape have them, and its channels' names.

    Returns None where it cannot be read or does not fit: a picture of an error is no reason to fail.
    """
    try:
        if isinstance(image, Path):
            source = open_image(image)
            pixels, axes, names = source.read(), source.axes, tuple(source.channel_names)
        else:
            pixels, names = image, ()
            axes = "TZYX"[-len(shape) :] if image.ndim == len(shape) else "TZ"[4 - len(shape) :] + "CYX"
        order = [axes.index(a) for a in "TZCYX" if a in axes]
    except (CellbrookError, OSError, ValueError):
        return None
    pixels = pixels.transpose(order)
    if "C" not in axes:
        pixels = pixels[..., None, :, :]
    lead = [at for at, n in enumerate(pixels.shape[:-3]) if n == 1]
    pixels = pixels.squeeze(tuple(lead))
    return (pixels, names) if pixels.shape[:-3] + pixels.shape[-2:] == shape else None
