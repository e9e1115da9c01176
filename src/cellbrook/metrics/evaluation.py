"""Evaluation of many images: every metric by image, over all images, and how sure it is."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import UsageError
from cellbrook.metrics.agreement import jaccard_parts, seg_scores
from cellbrook.metrics.boundary import boundary_scores
from cellbrook.metrics.intervals import Interval, bootstrap_draws, interval_note, intervals
from cellbrook.metrics.matching import as_thresholds, match_rows, overlaps, ratio, share

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""IoU thresholds 0.5, 0.55 ... 0.95."""


@dataclass(frozen=True, slots=True)
class ImageCounts:
    """What is counted in one image; every metric is a ratio of such counts, of one image or summed over many.

    Parameters
    ----------
    name : str
        Which image.
    n_true, n_pred : int
        Objects.
    thresholds : tuple of float
        IoU thresholds.
    tp : tuple of int
        Matches at each threshold.
    matched_iou : float
        Sum of the IoU of the matches at 0.5.
    jaccard_intersection, jaccard_union : int
        Parts of the aggregated Jaccard index (Kumar), in pixels.
    outline_true, outline_pred, outline_true_hits, outline_pred_hits : int
        Outline pixels, and those of them near the other image's outline.
    seg : float
        Sum of the SEG measure over the true objects.
    """

    name: str
    n_true: int
    n_pred: int
    thresholds: tuple[float, ...]
    tp: tuple[int, ...]
    matched_iou: float
    jaccard_intersection: int
    jaccard_union: int
    outline_true: int
    outline_pred: int
    outline_true_hits: int
    outline_pred_hits: int
    seg: float


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """How well predictions agree with the truth.

    Parameters
    ----------
    thresholds : tuple of float
        IoU thresholds of ``ap``, ``f1``, ``precision`` and ``recall``.
    images : tuple of ImageCounts
        The counts of each image.
    per_image : dict of str to ndarray
        Metrics by image: shape (n_images, n_thresholds) for those four, (n_images,) for ``panoptic_quality``,
        ``aggregated_jaccard`` (Kumar), ``boundary_f``, ``seg``, ``count_error`` (difference of the numbers of
        objects / true objects) and ``count_bias`` (the same with its sign, + for too many).
    pooled : dict of str to tuple of Interval
        The same metrics from counts summed over all images (each object weighs the same): one `Interval` a
        threshold, or one.
    mean : dict of str to tuple of Interval
        The mean over images (each image weighs the same).
    remarks : tuple of str
        What else the reader should know.

    Notes
    -----
    Intervals are 95 % percentile intervals of a bootstrap that draws whole images.
    """

    thresholds: tuple[float, ...]
    images: tuple[ImageCounts, ...]
    per_image: dict[str, NDArray[np.float64]]
    pooled: dict[str, tuple[Interval, ...]]
    mean: dict[str, tuple[Interval, ...]]
    remarks: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the figures should know."""
        note = interval_note(len(self.images)) if self.images else None
        return (*((note,) if note else ()), *self.remarks)

    def worst(self, count: int = 5) -> list[ImageCounts]:
        """Return the images of lowest AP at the first threshold, the worst first.

        Of images with equal AP, those with more wrong objects come first.
        """
        if not self.images:
            return []
        ap = self.per_image["ap"][:, 0]
        wrong = [image.n_true + image.n_pred - 2 * image.tp[0] for image in self.images]
        order = sorted(range(len(self.images)), key=lambda i: (ap[i], -wrong[i]))
        return [self.images[i] for i in order[:count]]

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat dictionary an image: for a table, a CSV file or pandas."""
        rows = []
        for place, image in enumerate(self.images):
            row: dict[str, Any] = {"name": image.name, "n_true": image.n_true, "n_pred": image.n_pred}
            for level, tp in zip(image.thresholds, image.tp, strict=True):
                row[f"tp_{level:g}"] = tp
            for metric, values in self.per_image.items():
                if values.ndim == 1:
                    row[metric] = float(values[place])
                else:
                    for level, value in zip(self.thresholds, values[place], strict=True):
                        row[f"{metric}_{level:g}"] = float(value)
            rows.append(row)
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain dictionaries, lists and numbers, ready for JSON."""

        def plain(summary: dict[str, tuple[Interval, ...]]) -> dict[str, Any]:
            return {
                name: parts[0]._asdict() if self.per_image[name].ndim == 1 else [p._asdict() for p in parts]
                for name, parts in summary.items()
            }

        return {
            "n_images": len(self.images),
            "n_true": sum(image.n_true for image in self.images),
            "n_pred": sum(image.n_pred for image in self.images),
            "thresholds": list(self.thresholds),
            "pooled": plain(self.pooled),
            "mean": plain(self.mean),
            "images": self.rows(),
            "notes": list(self.notes),
        }


def evaluate(
    true_images: Iterable[ArrayLike],
    pred_images: Iterable[ArrayLike],
    *,
    names: Sequence[str] | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    tolerance_px: float = 2.0,
    resamples: int = 2000,
    seed: int = 0,
    threads: int | None = None,
) -> EvaluationResult:
    """Compare predicted with true label images.

    Parameters
    ----------
    true_images, pred_images : iterable of ndarray of shape (Y, X) or (Z, Y, X), any integer dtype
        Label images in the same order, 0 = background; read one pair at a time, so generators save memory.
    names : sequence of str or None
        A name an image. None: "0", "1", ...
    thresholds : sequence of float
        IoU thresholds of AP, F1, precision and recall.
    tolerance_px : float
        Largest distance between outlines that agree, for the boundary F score.
    resamples : int
        Bootstrap samples behind each interval.
    seed : int
        Seed of the bootstrap; the same seed gives the same intervals.
    threads : int or None
        Processor threads. None: the cores this process may use.

    Returns
    -------
    EvaluationResult
        Metrics by image, pooled and averaged, with 95 % intervals.

    Raises
    ------
    UsageError
        If the shapes of a pair or the numbers of images differ, there is no image, or a threshold is out of
        range.

    Examples
    --------
    >>> import numpy as np
    >>> true = np.kron(np.arange(1, 10).reshape(3, 3), np.ones((8, 8), int))
    >>> result = evaluate([true, true], [true, true * (true != 4)])
    >>> [round(interval.value, 3) for interval in (result.pooled["ap"][0], result.mean["count_error"][0])]
    [0.944, 0.056]
    """
    images: list[ImageCounts] = []
    end: Any = object()  # zip's own check would raise what a generator that reads files may raise, too
    for place, (true, pred) in enumerate(itertools.zip_longest(true_images, pred_images, fillvalue=end)):
        if true is end or pred is end:
            side = "true_images" if true is end else "pred_images"
            raise UsageError(
                f"true_images and pred_images must be of equal length: {side} ends after {place} images"
            )
        name = str(place) if names is None else names[place]
        images.append(
            count_image(
                true, pred, name=name, thresholds=thresholds, tolerance_px=tolerance_px, threads=threads
            )
        )
    return summarise(images, resamples=resamples, seed=seed)


def count_image(
    true: ArrayLike,
    pred: ArrayLike,
    *,
    name: str = "",
    thresholds: Sequence[float] = THRESHOLDS,
    tolerance_px: float = 2.0,
    threads: int | None = None,
) -> ImageCounts:
    """Count in one image everything that the metrics need; parameters and errors as in `evaluate`."""
    levels = as_thresholds(thresholds)
    table = overlaps(true, pred, threads=threads)
    iou = table.iou
    matched = match_rows(table, 0.5, iou)
    intersection, union = jaccard_parts(table, "kumar")
    edges = boundary_scores(true, pred, tolerance_px)
    return ImageCounts(
        name=name,
        n_true=table.n_true,
        n_pred=table.n_pred,
        thresholds=tuple(levels.tolist()),
        tp=tuple(len(match_rows(table, float(level), iou)) for level in levels),
        matched_iou=float(iou[matched].sum()),
        jaccard_intersection=intersection,
        jaccard_union=union,
        outline_true=edges.n_true,
        outline_pred=edges.n_pred,
        outline_true_hits=edges.true_hits,
        outline_pred_hits=edges.pred_hits,
        seg=float(seg_scores(table).sum()),
    )


def summarise(images: Sequence[ImageCounts], *, resamples: int = 2000, seed: int = 0) -> EvaluationResult:
    """Turn the counts of images into metrics with intervals; see `evaluate`.

    Raises
    ------
    UsageError
        If there is no image, or the images were counted at different thresholds.
    """
    if not images:
        raise UsageError("evaluation needs at least one pair of images, got none")
    thresholds = images[0].thresholds
    if any(image.thresholds != thresholds for image in images):
        raise UsageError("images to summarise must have been counted at the same thresholds")
    counts = np.array([_as_row(image) for image in images])
    per_image = _metrics(counts, len(thresholds))
    drawn = bootstrap_draws(len(images), resamples, seed)
    pooled, pooled_samples = pooled_metrics(images), pooled_metrics(images, drawn)
    with_interval = len(images) > 1 and resamples > 1
    return EvaluationResult(
        thresholds=thresholds,
        images=tuple(images),
        per_image=per_image,
        pooled={
            name: intervals(values[0], pooled_samples[name] if with_interval else None)
            for name, values in pooled.items()
        },
        mean={
            name: intervals(values.mean(0), drawn @ values / len(images) if with_interval else None)
            for name, values in per_image.items()
        },
    )


def pooled_metrics(
    images: Sequence[ImageCounts], drawn: NDArray[np.int64] | None = None
) -> dict[str, NDArray[np.float64]]:
    """Return the metrics of counts summed over images.

    Parameters
    ----------
    images : sequence of ImageCounts
        At least one, all counted at the same thresholds.
    drawn : ndarray of shape (samples, n_images) or None
        How often each image counts in each sample. None: one sample, each image once.

    Returns
    -------
    dict of str to ndarray of shape (samples,) or (samples, n_thresholds)
        Named as in `EvaluationResult`.
    """
    counts = np.array([_as_row(image) for image in images])
    weights = np.ones((1, len(images)), np.int64) if drawn is None else drawn
    return _metrics(weights @ counts, len(images[0].thresholds))


def _as_row(image: ImageCounts) -> list[float]:
    return [
        image.n_true,
        image.n_pred,
        abs(image.n_pred - image.n_true),
        image.matched_iou,
        image.jaccard_intersection,
        image.jaccard_union,
        image.outline_true,
        image.outline_pred,
        image.outline_true_hits,
        image.outline_pred_hits,
        image.seg,
        *image.tp,
    ]


def _metrics(counts: NDArray[np.float64], n_thresholds: int) -> dict[str, NDArray[np.float64]]:
    """Turn rows of counts (see `_as_row`), of single images or sums of several, into metrics."""
    columns = counts.T
    n_true, n_pred, difference, matched_iou, intersection, union = columns[:6]
    outline_true, outline_pred, true_hits, pred_hits, seg = columns[6:11]
    tp = counts[:, -n_thresholds:]
    all_true, all_pred = n_true[:, None], n_pred[:, None]
    edge_precision = share(pred_hits, outline_pred, outline_true)
    edge_recall = share(true_hits, outline_true, outline_pred)
    edge_sum = edge_precision + edge_recall
    return {
        "ap": ratio(tp, all_true + all_pred - tp),
        "f1": ratio(2 * tp, all_true + all_pred),
        "precision": share(tp, all_pred, all_true),
        "recall": share(tp, all_true, all_pred),
        "panoptic_quality": ratio(matched_iou, (n_true + n_pred) / 2),
        "aggregated_jaccard": ratio(intersection, union),
        "boundary_f": 2 * edge_precision * edge_recall / np.where(edge_sum > 0, edge_sum, 1),
        "seg": share(seg, n_true, n_pred),
        "count_error": difference / np.maximum(n_true, 1),
        "count_bias": (n_pred - n_true) / np.maximum(n_true, 1),
    }
