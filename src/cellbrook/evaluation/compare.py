"""Evaluation of files or arrays: figures, kinds of errors, classes, and the worst errors to look at."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.progress import NoProgress, Progress
from cellbrook.errors import Cancelled, CellbrookError, UsageError
from cellbrook.evaluation.classes import ClassScores, score_classes
from cellbrook.evaluation.files import Pair, Side, pairs_of_arrays, pairs_of_files, read_together
from cellbrook.export.classes import classes_by_frame, of_frame
from cellbrook.metrics.errors import KINDS, ImageErrors, find_errors
from cellbrook.metrics.evaluation import (
    THRESHOLDS,
    EvaluationResult,
    ImageCounts,
    count_image,
    summarise,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellbrook.evaluation.gallery import Crop
    from cellbrook.metrics import ClassCounts
    from cellbrook.metrics.errors import ErrorKind


@dataclass(frozen=True, slots=True)
class Evaluation(EvaluationResult):
    """How well predictions agree with the truth; adds to `EvaluationResult` what went wrong where.

    Parameters
    ----------
    errors : tuple of ImageErrors
        The errors of each image, at the first threshold. Objects of a time series have the numbers that they were compared
        under; `gallery` has those of the files.
    classes : ClassScores or None
        Agreement of classes, where both sides have them.
    pairs : tuple of Pair
        What was compared, in the order of `images`.
    failed : dict of str to str
        What could not be compared, by name, each with the reason.
    only_truth, only_prediction : tuple of Path
        Files without a partner.
    sources : tuple of str
        What was compared: paths of truth and prediction; empty for arrays.
    """

    errors: tuple[ImageErrors, ...] = ()
    classes: ClassScores | None = None
    pairs: tuple[Pair, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    only_truth: tuple[Path, ...] = ()
    only_prediction: tuple[Path, ...] = ()
    sources: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Say what it is in a line, as `cellbrook.Segmentation` does."""
        found = f", F1 {self.pooled['f1'][0].value:.3f} at IoU {self.thresholds[0]:g}" if self.images else ""
        return f"<Evaluation of {len(self.images)} images{found}>"

    @property
    def complete(self) -> bool:
        """True if every file had a partner and could be compared."""
        return bool(self.images) and not (self.failed or self.only_truth or self.only_prediction)

    def kinds(self) -> dict[ErrorKind, dict[str, int]]:
        """Return for each kind of error how many there are, and how many unmatched objects they explain."""
        return {
            kind: {
                "errors": sum(image.count(kind) for image in self.errors),
                "true_objects": sum(image.true_objects[kind] for image in self.errors),
                "pred_objects": sum(image.pred_objects[kind] for image in self.errors),
            }
            for kind in KINDS
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat dictionary an image: for a table, a CSV file or pandas."""
        rows = EvaluationResult.rows(self)
        for row, found, pair in zip(rows, self.errors, self.pairs, strict=True):
            row |= {kind: found.count(kind) for kind in KINDS}
            row["truth"], row["prediction"], row["image"] = pair.shown()
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain dictionaries, lists and numbers, ready for JSON."""
        return EvaluationResult.to_dict(self) | {
            "errors": self.kinds(),
            "classes": self.classes.to_dict() if self.classes else None,
            "worst_first": [image.name for image in self.worst(len(self.images))],
            "failed": [{"name": name, "error": text} for name, text in self.failed.items()],
            "truth_without_prediction": [str(path) for path in self.only_truth],
            "prediction_without_truth": [str(path) for path in self.only_prediction],
        }

    def gallery(self, per_kind: int = 8) -> list[Crop]:
        """Return the worst errors of each kind as crops to look at; see `cellbrook.evaluation.gallery`."""
        from cellbrook.evaluation.gallery import worst_crops

        return worst_crops(self, per_kind)

    def save_page(self, path: str | os.PathLike[str], *, per_kind: int = 8, overwrite: bool = False) -> Path:
        """Write one self-contained HTML page; see `cellbrook.evaluation.write_page`."""
        from cellbrook.evaluation.page import write_page

        return write_page(self, path, crops=self.gallery(per_kind), overwrite=overwrite)


def evaluate(
    truth: Any,
    pred: Any,
    *,
    images: Any = None,
    names: Sequence[str] | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    tolerance_px: float = 2.0,
    resamples: int = 2000,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Compare predicted labels with the truth.

    Files of two folders belong together if their names agree but for a trailing ``_img``, ``_masks``,
    ``_cp_masks``, ``_labels`` or ``_seg``. A pair that cannot be compared, and files without a partner, are listed in the
    result; the rest is compared. Frames of a time series are compared one by one, and planes of a stack where objects of
    one side go through several planes and none of the other does; then a remark says so.

    Parameters
    ----------
    truth, pred : path, ndarray, or sequence of ndarray
        A label file or a folder of them; or a label image of shape (Y, X); or several, of shape (Y, X) or (Z, Y, X), in
        the same order.
    images : path, or sequence of ndarray, optional
        The images, for pictures of errors. None: those beside the label files, and those that the predictions'
        ``run.json`` names.
    names : sequence of str or None
        A name for each array. None: "0", "1", ...
    thresholds : sequence of float
        IoU thresholds of AP, F1, precision and recall. Errors and classes are counted at the first.
    tolerance_px : float
        Largest distance between outlines that agree, for the boundary F score.
    resamples : int
        Bootstrap samples behind each interval.
    seed : int
        Seed of the bootstrap; the same seed gives the same intervals.
    threads : int or None
        Processor threads. None: the cores this process may use.
    progress : Progress, optional
        Told of every image; may cancel.

    Returns
    -------
    Evaluation

    Raises
    ------
    UsageError
        If an option is wrong, a path does not exist, or arrays do not fit each other.
    Cancelled
        If `progress` says so.

    Examples
    --------
    >>> import numpy as np, cellbrook
    >>> true = np.kron(np.arange(1, 10).reshape(3, 3), np.ones((8, 8), int))
    >>> result = cellbrook.evaluate([true], [true * (true != 4)])
    >>> result.kinds()["missed"]["true_objects"], round(result.pooled["ap"][0].value, 3)
    (1, 0.889)
    """
    count_image(
        [[1]], [[1]], thresholds=thresholds, tolerance_px=tolerance_px
    )  # a wrong option fails here, once
    thresholds = list(dict.fromkeys(thresholds))
    progress = progress or NoProgress()
    of_files = isinstance(truth, (str, os.PathLike))
    if of_files != isinstance(pred, (str, os.PathLike)):
        raise UsageError("truth and pred must both be paths, or both sequences of arrays")
    found = (
        pairs_of_files(Path(truth), Path(pred), images)
        if of_files
        else pairs_of_arrays(truth, pred, images, names)
    )
    done: list[_Counted] = []
    failed: dict[str, str] = {}
    progress.start("compare", len(found.pairs))
    for pair in found.pairs:
        progress.check_cancelled()
        try:
            done.append(_count(pair, tuple(thresholds), tolerance_px, threads))
        except Cancelled:
            raise
        except (CellbrookError, OSError) as error:
            if not of_files:
                raise
            failed[pair.name] = " ".join(str(error).split())
        progress.advance()
    if not done and not of_files:
        raise UsageError("evaluation needs at least one pair of images, got none")
    counts = [each.counts for each in done]
    result = summarise(counts, resamples=resamples, seed=seed) if done else None
    with_classes = [each.classes for each in done if each.classes is not None]
    remarks = []
    if len(with_classes) < len(done) and any(each.told for each in done):
        every = f"{len(with_classes)} of {len(done)} images"
        remarks.append(
            f"classes: {every} have one for every object on both sides; the others are not counted there"
        )
    if planar := sum(each.planar for each in done):
        remarks.append(
            f"{planar} of {len(done)} images were compared plane by plane: of truth and prediction, one has objects that go "
            "through several planes and the other has none"
        )
    return Evaluation(
        thresholds=tuple(float(level) for level in thresholds),
        images=tuple(counts),
        per_image=result.per_image if result else {},
        pooled=result.pooled if result else {},
        mean=result.mean if result else {},
        errors=tuple(each.errors for each in done),
        classes=score_classes(with_classes, resamples=resamples, seed=seed) if with_classes else None,
        pairs=tuple(each.pair for each in done),
        failed=failed,
        only_truth=found.only_truth,
        only_prediction=found.only_prediction,
        sources=(str(truth), str(pred)) if of_files else (),
        remarks=tuple(remarks),
    )


@dataclass(frozen=True, slots=True)
class _Counted:
    pair: Pair
    counts: ImageCounts
    errors: ImageErrors
    classes: ClassCounts | None
    told: bool  # some object of a side has a class
    planar: bool  # compared plane by plane, unlike what one side says


def _count(pair: Pair, thresholds: tuple[float, ...], tolerance_px: float, threads: int | None) -> _Counted:
    from cellbrook.metrics import count_classes

    *sides, planar = read_together(pair)
    true, pred = (side.labels for side in sides)
    counts = count_image(
        true, pred, name=pair.name, thresholds=thresholds, tolerance_px=tolerance_px, threads=threads
    )
    errors = find_errors(true, pred, thresholds[0], threads=threads)
    told = [_classes(path, side) for path, side in zip((pair.truth, pair.pred), sides, strict=True)]
    classes = None
    if told[0] is not None and told[1] is not None:
        with contextlib.suppress(UsageError):  # an object has no class: all else can be counted
            classes = count_classes(true, pred, told[0], told[1], threshold=thresholds[0], threads=threads)
    return _Counted(pair, counts, errors, classes, any(told), planar)


def _classes(labels: Any, side: Side) -> dict[int, str] | None:
    """Return the class of each label, by the numbers that it is compared under; None without a table of classes."""
    frames = classes_by_frame(labels)
    if frames is None:
        return None
    classes: dict[int, str] = {}
    for t, frame in enumerate(side.labels) if side.is_film else [(None, side.labels)]:
        own = of_frame(frames, t)
        numbers = np.unique(frame[frame > 0])
        named = numbers if side.original is None else side.original[numbers]
        told = zip(numbers.tolist(), named.tolist(), strict=True)
        classes |= {at: own[label] for at, label in told if label in own}
    return classes
