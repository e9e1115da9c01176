"""Which truth belongs to which prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellbrook.errors import UsageError
from cellbrook.io.files import natural_key
from cellbrook.io.pairs import image_id, is_image, label_files

if TYPE_CHECKING:
    from pathlib import Path


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


def find_pairs(truth: Path, prediction: Path) -> Pairs:
    """Pair files or folders; folders are searched with their subfolders, whose names belong to the id.

    Raises
    ------
    UsageError
        If a path does not exist, a folder holds no label file, two files of a folder have one id, or a file
        would be compared with itself.
    """
    for path in (truth, prediction):
        if not path.exists():
            raise UsageError(f"no such file or folder: {path}")
    if is_image(truth) and is_image(prediction):
        return Pairs(((image_id(truth.name), truth, prediction),), (), ())
    true_files = label_files(truth, "truth")
    pred_files = label_files(prediction, "prediction")
    if is_image(truth) or is_image(prediction):
        # a single file has no folder in its id, and the folder's other files are not missing a partner
        wanted = {image_id((truth if is_image(truth) else prediction).name)}
        true_files = {_name(key): path for key, path in true_files.items() if _name(key) in wanted}
        pred_files = {_name(key): path for key, path in pred_files.items() if _name(key) in wanted}
    both = sorted(true_files.keys() & pred_files.keys(), key=natural_key)
    same = [true_files[key] for key in both if true_files[key].samefile(pred_files[key])]
    if same:
        raise UsageError(
            f"{same[0]} would be compared with itself: give truth and prediction in different folders"
        )
    return Pairs(
        tuple((key, true_files[key], pred_files[key]) for key in both),
        tuple(true_files[key] for key in sorted(true_files.keys() - pred_files.keys(), key=natural_key)),
        tuple(pred_files[key] for key in sorted(pred_files.keys() - true_files.keys(), key=natural_key)),
    )


def _name(key: str) -> str:
    return key.rsplit("/", 1)[-1]
