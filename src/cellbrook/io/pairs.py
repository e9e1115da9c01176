"""Which files belong to one image: by the id that their names share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cellbrook.errors import UsageError
from cellbrook.io.files import find_images, natural_key, stem_of

MARKS = ("_cp_masks", "_masks", "_labels", "_seg", "_img")
"""Endings of a stem that are not part of the id; one that ends with another comes before it."""

LABEL_MARKS = {
    "truth": ("_masks", "_seg", "_labels", "_cp_masks"),
    "prediction": ("_labels", "_cp_masks", "_masks", "_seg"),
}
"""Endings of label files, the likelier first: people call what they drew masks, Cellbrook writes labels and Cellpose
cp_masks."""

SUFFIXES = (".tif", ".tiff", ".png", ".bmp", ".npy")
NOT_LABELS = ("_img", "_overlay", "_color", "_flows", "_cellprob")


@dataclass(frozen=True, slots=True)
class LabelledFiles:
    """Images of a folder with their labels, and what found no partner.

    Parameters
    ----------
    pairs : tuple of (str, Path, Path)
        Id, image, labels; ordered by id.
    only_images, only_labels : tuple of Path
        Files without a partner.
    """

    pairs: tuple[tuple[str, Path, Path], ...]
    only_images: tuple[Path, ...]
    only_labels: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Label files that belong together, and those that found no partner.

    Parameters
    ----------
    pairs : tuple of (str, Path, Path)
        Id, truth, prediction; ordered by id.
    only_truth, only_prediction : tuple of Path
        Files without a partner.
    """

    pairs: tuple[tuple[str, Path, Path], ...]
    only_truth: tuple[Path, ...]
    only_prediction: tuple[Path, ...]


def result_stem(labels: Path) -> str:
    """Return how the names of results begin whose label file this is: without ``_labels``, ``_masks`` and the like."""
    stem = stem_of(labels)
    mark = mark_of(stem)
    return stem.removesuffix(mark) if mark in LABEL_MARKS["prediction"] and stem != mark else stem


def image_id(name: str) -> str:
    """Return the id in a file name: the stem without trailing `_img`, `_masks`, `_cp_masks`, `_labels`, `_seg`.

    Examples
    --------
    >>> image_id("x_img.png"), image_id("x_img_labels.tif"), image_id("well.A1.ome.tif")
    ('x', 'x', 'well.A1')
    """
    stem = stem_of(Path(name))
    while True:
        bare = stem.removesuffix(mark_of(stem))
        if bare in ("", stem):
            return stem
        stem = bare


def mark_of(stem: str) -> str:
    """Return the ending of a stem that is not part of the id, "" where there is none."""
    return next((mark for mark in MARKS if stem.endswith(mark)), "")


def find_pairs(truth: Path, prediction: Path) -> Pairs:
    """Pair files or folders; folders are searched with their subfolders, whose names belong to the id.

    Raises
    ------
    UsageError
        If a path does not exist, a folder holds no label file, two files of a folder have one id, or, where one file is
        given, of its subfolders too; or a file would be compared with itself.
    """
    for path in (truth, prediction):
        if not path.exists():
            raise UsageError(f"no such file or folder: {path}")
    true_files = label_files(truth, "truth")
    pred_files = label_files(prediction, "prediction")
    if is_image(truth) and is_image(prediction):  # whatever they are called
        pred_files = dict.fromkeys(true_files, prediction)
    elif is_image(truth) or is_image(prediction):
        # a single file has no folder in its id, and the folder's other files are not missing a partner
        wanted = image_id((truth if is_image(truth) else prediction).name)
        true_files, pred_files = (_of_one(files, wanted) for files in (true_files, pred_files))
    both = sorted(true_files.keys() & pred_files.keys(), key=natural_key)
    same = [true_files[key] for key in both if true_files[key].samefile(pred_files[key])]
    if same:
        raise UsageError(
            f"{same[0]} would be compared with itself: give truth and prediction that are different files"
        )
    return Pairs(
        tuple((key, true_files[key], pred_files[key]) for key in both),
        tuple(true_files[key] for key in sorted(true_files.keys() - pred_files.keys(), key=natural_key)),
        tuple(pred_files[key] for key in sorted(pred_files.keys() - true_files.keys(), key=natural_key)),
    )


def find_labelled(folder: Path) -> LabelledFiles:
    """Pair the images of a folder with the label files beside them; subfolders belong to the id.

    Raises
    ------
    UsageError
        If it is no folder, holds no marked label file, or two files of one kind have one id.
    """
    if not folder.is_dir():
        raise UsageError(f"no such folder: {folder}")
    labels = label_files(folder, "truth", marked_only=True)
    images = images_by_id(folder)
    both = sorted(images.keys() & labels.keys(), key=natural_key)
    return LabelledFiles(
        tuple((key, images[key], labels[key]) for key in both),
        tuple(images[key] for key in sorted(images.keys() - labels.keys(), key=natural_key)),
        tuple(labels[key] for key in sorted(labels.keys() - images.keys(), key=natural_key)),
    )


def images_by_id(path: Path) -> dict[str, Path]:
    """Return the images of a folder by id, with their subfolder in front; or the one image.

    Raises
    ------
    UsageError
        If it does not exist, or two images of a folder have one id.
    """
    if not path.exists():
        raise UsageError(f"no such file or folder: {path}")
    if is_image(path):
        return {image_id(path.name): path}
    images: dict[str, Path] = {}
    for found in find_images(path).images:
        key = (found.relative_folder / image_id(found.path.name)).as_posix()
        if key in images:
            raise UsageError(f"two images of one id, {images[key]} and {found.path}: keep one of them")
        images[key] = found.path
    return images


def label_files(path: Path, role: str, *, marked_only: bool = False) -> dict[str, Path]:
    """Return the label files of a folder and its subfolders by id, or the one file that was given.

    Parameters
    ----------
    path : Path
        A folder or a file.
    role : {"truth", "prediction"}
        Which of several label files of one image is meant.
    marked_only : bool
        Take only names that say so. Else a folder without any such name is taken to hold nothing but labels.

    Raises
    ------
    UsageError
        If there is none, or two have one id.
    """
    if is_image(path):
        return {image_id(path.name): path}
    files = [
        Path(folder, name)
        for folder, names in _walk(path)
        for name in names
        if name.lower().endswith(SUFFIXES)
    ]
    marked = {mark: [f for f in files if mark_of(stem_of(f)) == mark] for mark in LABEL_MARKS[role]}
    if not marked_only and not any(marked.values()):
        # nothing says what is a label image, so everything that is not something else
        marked = {"": [f for f in files if not stem_of(f).endswith(NOT_LABELS)]}
    found: dict[str, Path] = {}
    for group in marked.values():
        chosen: dict[str, Path] = {}
        for file in sorted(group):
            key = (file.parent.relative_to(path) / image_id(file.name)).as_posix()
            if key in chosen:
                raise UsageError(f"two label files for one image, {chosen[key]} and {file}: keep one of them")
            chosen[key] = file
        found = chosen | found  # an earlier mark wins
    if not found:
        raise UsageError(f"no label images in {path}: expected files such as x_masks.png or x_labels.tif")
    return found


def is_image(path: Path) -> bool:
    """Return whether this path is one image: a file, or an OME-Zarr folder."""
    return path.is_file() or path.suffix == ".zarr"


def _walk(path: Path) -> list[tuple[str, list[str]]]:
    visited = []
    for folder, folders, names in os.walk(path):
        # an OME-Zarr is one image in a folder; hidden folders are nobody's data
        folders[:] = sorted(f for f in folders if not f.endswith(".zarr") and not f.startswith("."))
        visited.append((folder, [name for name in names if not name.startswith(".")]))
    return visited


def _of_one(files: dict[str, Path], name: str) -> dict[str, Path]:
    """Return the file of this id out of those of a folder, whichever subfolder it lies in."""
    found = [path for key, path in files.items() if key.rsplit("/", 1)[-1] == name]
    if len(found) > 1:
        raise UsageError(f"two label files of {name}, {found[0]} and {found[1]}: give the one that is meant")
    return {name: found[0]} if found else {}
