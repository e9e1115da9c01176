"""`cellbrook evaluate`: predicted labels against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cellbrook.cli._common import Json, print_json
from cellbrook.cli._console import error, note, one_line, warn
from cellbrook.io.pairs import find_pairs
from cellbrook.errors import CellbrookError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellbrook.metrics import EvaluationResult, ImageCounts


def evaluate(
    truth: Path,
    pred: Path,
    /,
    *,
    thresholds: Annotated[tuple[float, ...] | None, Parameter(consume_multiple=True, negative="")] = None,
    tolerance_px: float = 2.0,
    worst: int = 5,
    threads: int | None = None,
    json: Json = False,
) -> int:
    """Compare predicted labels with the truth.

    Files of two folders belong together if their names agree but for a trailing _img, _masks, _labels or
    _seg: x_masks.png and x_img_labels.tif are both of image x. Two single files are compared whatever
    they are called.

    Intervals are 95 % bootstrap intervals over images. An image without objects in which none are found
    scores 1.

    Parameters
    ----------
    truth
        Label image, or folder of label images (x_masks.png ...), that is right.
    pred
        Label image, or folder of label images (x_labels.tif ...), to be judged.
    thresholds
        IoU from which an object counts as found, one or several. [default: 0.5 0.55 ... 0.95]
    tolerance_px
        Distance in pixels within which outlines agree, for the boundary F score.
    worst
        How many of the worst images to list.
    threads
        Processor threads. [default: the cores this process may use]

    Returns
    -------
    int
        Exit code: 0, or 1 if a file found no partner or a pair could not be compared.
    """
    from cellbrook.metrics import count_image, summarise
    from cellbrook.metrics.evaluation import THRESHOLDS

    levels = THRESHOLDS if thresholds is None else thresholds
    count_image([[1]], [[1]], thresholds=levels, tolerance_px=tolerance_px)  # a wrong option fails here, once
    found = find_pairs(truth, pred)
    failures: list[dict[str, str]] = []
    counts: list[ImageCounts] = []
    for name, true_path, pred_path in found.pairs:
        try:
            counts.append(
                count_image(
                    _read(true_path),
                    _read(pred_path),
                    name=name,
                    thresholds=levels,
                    tolerance_px=tolerance_px,
                    threads=threads,
                )
            )
        except (CellbrookError, OSError) as problem:
            failures.append({"name": name, "error": one_line(str(problem))})
    result = summarise(counts) if counts else None
    if json:
        print_json(_document(found.pairs, found.only_truth, found.only_prediction, failures, result))
    elif result is not None:
        print("\n".join(_report(result, worst)))
    for failure in failures:
        error(f"{failure['name']}: {failure['error']}")
    for files, role, other in (
        (found.only_truth, "truth", "prediction"),
        (found.only_prediction, "prediction", "truth"),
    ):
        if files:
            warn(f"{len(files)} {role} file{'s' * (len(files) > 1)} without a {other}:")
            for file in files:
                note(f"  {file}")
    if not found.pairs:
        error(
            f"nothing to compare in {truth} and {pred}: expected pairs such as x_masks.png and x_labels.tif"
        )
    incomplete = failures or found.only_truth or found.only_prediction or not found.pairs
    return 1 if incomplete else 0


def _read(path: Path) -> Any:
    """Return the labels of a file, without stack axes of length 1: one plane of a stack is a plane."""
    from cellbrook.io import read_labels

    labels, axes = read_labels(path)
    single = [at for at, axis in enumerate(axes) if axis in "TZ" and labels.shape[at] == 1]
    return labels.squeeze(tuple(single))


def _document(
    pairs: Sequence[tuple[str, Path, Path]],
    only_truth: Sequence[Path],
    only_prediction: Sequence[Path],
    failures: list[dict[str, str]],
    result: EvaluationResult | None,
) -> dict[str, Any]:
    """Return what --json prints."""
    document: dict[str, Any] = result.to_dict() if result else {"n_images": 0, "images": []}
    paths = {name: (str(true), str(pred)) for name, true, pred in pairs}
    for row in document["images"]:
        row["truth"], row["prediction"] = paths[row["name"]]
    if result:
        document["worst_first"] = [image.name for image in result.worst(len(result.images))]
    return document | {
        "failed": failures,
        "truth_without_prediction": [str(path) for path in only_truth],
        "prediction_without_truth": [str(path) for path in only_prediction],
    }


def _report(result: EvaluationResult, worst: int) -> list[str]:
    """Return the lines of the readable report."""
    n_true, n_pred = (sum(getattr(image, key) for image in result.images) for key in ("n_true", "n_pred"))
    many = len(result.images) > 1
    lines = [f"{len(result.images)} image{'s' * many}, {n_true} true objects, {n_pred} predicted", ""]
    lines.append(f"{'IoU':<22}{'AP':<22}{'F1':<22}{'precision':<22}{'recall':<22}".rstrip())
    for place, level in enumerate(result.thresholds):
        cells = [str(result.pooled[metric][place]) for metric in ("ap", "f1", "precision", "recall")]
        lines.append(f"{level:<22g}{''.join(f'{cell:<22}' for cell in cells)}".rstrip())
    lines.append("")
    for metric, text in _FIGURES.items():
        lines.append(f"{text:<22}{result.pooled[metric][0]}")
    if many:
        mean = result.mean["ap"][0]
        lines += [
            "",
            f"Objects of all images pooled; mean AP of the images at {result.thresholds[0]:g}: {mean}",
        ]
    if many and worst > 0:
        lines += ["", *_worst_lines(result, worst)]
    return lines


_FIGURES = {
    "panoptic_quality": "panoptic quality",
    "aggregated_jaccard": "aggregated Jaccard",
    "boundary_f": "boundary F",
    "seg": "SEG",
    "count_error": "count error",
    "count_bias": "count bias",
}


def _worst_lines(result: EvaluationResult, worst: int) -> list[str]:
    images = result.worst(worst)
    ap = dict(zip((image.name for image in result.images), result.per_image["ap"][:, 0], strict=True))
    width = max(22, *(len(image.name) + 2 for image in images))
    head = f"{'worst images':<{width}}{'AP ' + format(result.thresholds[0], 'g'):>8}{'true':>8}{'found':>8}"
    lines = [head + f"{'missed':>8}{'extra':>8}"]
    for image in images:
        tp = image.tp[0]
        lines.append(
            f"{image.name:<{width}}{ap[image.name]:>8.3f}{image.n_true:>8}{tp:>8}"
            f"{image.n_true - tp:>8}{image.n_pred - tp:>8}"
        )
    return lines
