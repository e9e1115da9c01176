"""`cellbrook evaluate`: predicted labels against the truth."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cellbrook.cli._common import Json, Quiet, answer, attempted, print_json
from cellbrook.cli._console import ConsoleProgress, error, note, warn
from cellbrook.errors import UsageError

if TYPE_CHECKING:
    from cellbrook.evaluation import Evaluation
    from cellbrook.evaluation.classes import ClassScores
    from cellbrook.metrics.tracks import TrackScores


def evaluate(
    truth: Path,
    pred: Path,
    /,
    *,
    images: Path | None = None,
    thresholds: Annotated[tuple[float, ...] | None, Parameter(consume_multiple=True, negative="")] = None,
    tolerance_px: float = 2.0,
    tracks: Annotated[bool, Parameter(negative="")] = False,
    html: Path | None = None,
    gallery: int = 8,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    worst: int = 5,
    threads: int | None = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Compare predicted labels with the truth.

    Files of two folders belong together if their names agree but for a trailing _img, _masks, _cp_masks,
    _labels or _seg: x_masks.png and x_img_labels.tif are both of image x. Two single files are compared whatever
    they are called. Frames of a time series are compared one by one; so are planes of a stack where objects of one
    side go through several planes and those of the other do not.

    Intervals are 95 % bootstrap intervals over images. An image without objects in which none are found
    scores 1. Classes are compared where an object table (x_objects.csv with a column "class") lies beside
    the labels of both sides.

    Parameters
    ----------
    truth
        Label image, or folder of label images (x_masks.png ...), that is right.
    pred
        Label image, or folder of label images (x_labels.tif ...), to be judged.
    images
        Image, or folder of images, for the pictures of errors. [default: those beside the labels]
    thresholds
        IoU from which an object counts as found, one or several. [default: 0.5 0.55 ... 0.95]
    tolerance_px
        Distance in pixels within which outlines agree, for the boundary F score.
    tracks
        Compare how objects are followed through the frames of a film: DET, SEG, TRA and LNK of the Cell Tracking Challenge.
        Both are then a label file (of segment --track, with its table beside it), or a folder or zip of the challenge.
    html
        Write a page with all figures and pictures of the worst errors: one file that needs no network.
    gallery
        Pictures of each kind of error on that page.
    overwrite
        Replace the file of --html even if it is no such page.
    worst
        How many of the worst images to list.
    threads
        Processor threads. [default: the cores this process may use]

    Returns
    -------
    int
        Exit code: 0, or 1 if a file found no partner, a pair could not be compared or the page not be written.
    """
    if tracks:
        if html is not None or images is not None or thresholds is not None:
            raise UsageError(
                "--tracks takes no --html, --images or --thresholds: it compares links, not outlines"
            )
        return _evaluate_tracks(truth, pred, threads, json=json)
    import cellbrook.evaluation as room
    from cellbrook.metrics.evaluation import THRESHOLDS

    if html is not None:
        from cellbrook.evaluation.page import check_page

        check_page(html, overwrite=overwrite)
    progress = ConsoleProgress(quiet=quiet)
    try:
        result = room.evaluate(
            truth,
            pred,
            images=images,
            thresholds=THRESHOLDS if thresholds is None else thresholds,
            tolerance_px=tolerance_px,
            threads=threads,
            progress=progress,
        )
        crops = result.gallery(gallery) if html is not None or json else []
    finally:
        progress.clear()
    page = html
    if html is not None and not attempted(
        partial(room.write_page, result, html, crops=crops, overwrite=overwrite)
    ):
        page = None
    if json:
        print_json(result.to_dict() | {"gallery": [crop.to_dict() for crop in crops], "html": page})
    elif result.images:
        print("\n".join(_report(result, worst)))
        if page is not None:
            print(f"\n{page}: the worst errors as pictures")
    _say_what_is_left_out(result)
    if not (result.images or result.failed):
        error(
            f"nothing to compare in {truth} and {pred}: expected pairs such as x_masks.png and x_labels.tif"
        )
    return 0 if result.complete and page == html else 1


def _evaluate_tracks(truth: Path, pred: Path, threads: int | None, *, json: bool) -> int:
    from cellbrook.evaluation.tracks import evaluate_tracks

    found = evaluate_tracks(truth, pred, threads=threads)
    answer(_track_lines(found), dataclasses.asdict(found), json=json)
    return 0


def _track_lines(found: TrackScores) -> list[str]:
    return [
        f"{found.n_true} true objects in all frames, {found.n_pred} predicted",
        "",
        f"{'DET':<22}{found.det:.3f}",
        f"{'SEG':<22}{found.seg:.3f}",
        f"{'TRA':<22}{found.tra:.3f}",
        f"{'LNK':<22}{found.lnk:.3f}",
        "",
        f"{'objects':<22}{found.missed} missed, {found.invented} invented, {found.joined} to be cut from others",
        f"{'links':<22}{found.missing_links} of {found.true_links} missing, {found.wrong_links} wrong, "
        f"{found.changed_links} between the right objects but of the other kind (a track, or a division)",
    ]


def _say_what_is_left_out(result: Evaluation) -> None:
    for name, text in result.failed.items():
        error(f"{name}: {text}")
    for files, role, other in (
        (result.only_truth, "truth", "prediction"),
        (result.only_prediction, "prediction", "truth"),
    ):
        if files:
            warn(f"{len(files)} {role} file{'s' * (len(files) > 1)} without a {other}:")
            for file in files:
                note(f"  {file}")


def _report(result: Evaluation, worst: int) -> list[str]:
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
    lines += ["", *_kind_lines(result)]
    if result.classes is not None:
        lines += ["", *_class_lines(result.classes)]
    if many:
        mean = result.mean["ap"][0]
        lines += [
            "",
            f"Objects of all images pooled; mean AP of the images at {result.thresholds[0]:g}: {mean}",
        ]
    if many and worst > 0:
        lines += ["", *_worst_lines(result, worst)]
    lines += [f"note: {text}" for text in result.notes]
    return lines


def _kind_lines(result: Evaluation) -> list[str]:
    lines = [f"{'what went wrong':<22}{'errors':<22}{'true objects lost':<22}predicted objects wrong"]
    for kind, counts in result.kinds().items():
        cells = (counts["errors"], counts["true_objects"], counts["pred_objects"])
        lines.append(f"{kind:<22}{''.join(f'{cell:<22}' for cell in cells)}".rstrip())
    return lines


def _class_lines(classes: ClassScores) -> list[str]:
    level = max(22, *(len(name) + 2 for name in classes.names))
    lines = [f"{'class':<{level}}{'AP':<22}{'F1':<22}{'precision':<22}recall"]
    for at, name in enumerate(classes.names):
        cells = [str(classes.scores[metric][at]) for metric in ("ap", "f1", "precision", "recall")]
        lines.append(f"{name:<{level}}{''.join(f'{cell:<22}' for cell in cells)}".rstrip())
    columns = [*classes.names, "not found"]
    width = max(10, *(len(name) + 2 for name in columns))
    lines += ["", f"{'true class / found as':<{level}}{''.join(f'{name:>{width}}' for name in columns)}"]
    for name, row in zip([*classes.names, "no true object"], classes.confusion.tolist(), strict=True):
        lines.append(f"{name:<{level}}{''.join(f'{count:>{width}}' for count in row)}")
    return lines


_FIGURES = {
    "panoptic_quality": "panoptic quality",
    "aggregated_jaccard": "aggregated Jaccard",
    "boundary_f": "boundary F",
    "seg": "SEG",
    "count_error": "count error",
    "count_bias": "count bias",
}


def _worst_lines(result: Evaluation, worst: int) -> list[str]:
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
