"""The thresholds that suit a user's own images: the network runs once, everything else is searched on what it gave.

Flow threshold and smallest size only choose among candidates, so for each cellprob threshold the candidates are
found once and all other settings are counted from their table. The gain is cross-validated: settings are chosen on
some images and judged on the others, because the best of thousands of settings looks better than it is.
"""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cellbrook.core.params import MaskParams, SegmentParams
from cellbrook.core.progress import NoProgress, Progress
from cellbrook.core.settings import differing, settings_text
from cellbrook.dynamics import labels_from_flows
from cellbrook.errors import Cancelled, CellbrookError, ImageError, UsageError
from cellbrook.evaluation.files import read_side
from cellbrook.evaluation.grid import FLOW_LIMITS, OFF, SCORE_LIMITS, Grid, Setting
from cellbrook.metrics.intervals import Interval, bootstrap_draws, intervals
from cellbrook.metrics.matching import match_rows, overlaps, ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from cellbrook.core.result import NetworkOutput

_TIE = 0.01
"""Settings whose F1 is this close are taken for equal, and the one nearest the defaults is chosen: on other images it does
better than the very best of thousands."""
_FOLDS = 10
LEAST_IMAGES = 4
"""With fewer images nothing is cross-validated."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What the search found.

    Parameters
    ----------
    start, best, chosen : Setting
        What was tuned; the best on all images, or as good within 0.01 and nearer to the defaults; and what is
        recommended: the best, unless it was no better on images that it was not chosen on.
    grid : Grid
        What was tried.
    surface : ndarray of shape ``grid.shape``, float64
        F1 of all images together at each setting.
    iou : float
        IoU from which an object counts as found.
    f1_start, f1_tuned, gain : Interval
        F1 with the start's settings; with settings that were each time chosen without the image that they are judged
        on; and the difference. With too few images the last two are of the very images that were searched.
    validated : bool
        True if the gain was cross-validated.
    names : tuple of str
        Images that were used.
    n_true : int
        Their true objects.
    median_diameter_px : float or None
        Of the true objects.
    params : SegmentParams
        What was tuned, with all that is not searched.
    failed : dict of str to str
        What could not be used, by name, each with the reason.
    only_images, only_labels : tuple of Path
        Files without a partner.
    """

    start: Setting
    best: Setting
    chosen: Setting
    grid: Grid
    surface: NDArray[np.float64]
    iou: float
    f1_start: Interval
    f1_tuned: Interval
    gain: Interval
    validated: bool
    names: tuple[str, ...]
    n_true: int
    median_diameter_px: float | None
    params: SegmentParams
    failed: dict[str, str] = field(default_factory=dict)
    only_images: tuple[Path, ...] = ()
    only_labels: tuple[Path, ...] = ()

    def __repr__(self) -> str:
        """Say what it is in a line, as `cellbrook.Segmentation` does."""
        return f"<Tuning on {len(self.names)} images: {self.sentence}>"

    @property
    def f1_best(self) -> float:
        """F1 of all images at the best setting: too good, since it was chosen on them."""
        return float(self.surface[self.grid.index(self.best)])

    @property
    def complete(self) -> bool:
        """True if every file had a partner and could be used."""
        return not (self.failed or self.only_images or self.only_labels)

    @property
    def sentence(self) -> str:
        """What is recommended and why, in one plain sentence."""
        low, high = self.gain.low, self.gain.high
        n = len(self.names)
        if not self.validated:
            return (
                f"Only {n} image{'s' * (n != 1)}: the settings suit these, and whether they suit others cannot be said; "
                f"label at least {LEAST_IMAGES}."
            )
        found = f"F1 {self.f1_start.value:.3f} became {self.f1_tuned.value:.3f} on images that had no part in the choice"
        if low is not None and high is not None:
            found += f", a gain of {self.gain.value:+.3f} ({low:+.3f} to {high:+.3f})"
        if self.chosen == self.start:
            if self.best == self.start:
                return "The settings are the best that were tried: keep them."
            return f"No gain was shown: keep the settings as they are ({found})."
        if low is None or low <= 0:
            return f"The gain is not certain: {found}."
        return f"The new settings are better: {found}."

    def settings(self) -> dict[str, Any]:
        """Return what a settings file should hold: what is recommended, and all else that is not at its default."""
        return differing(self.params) | self.chosen.keywords()

    def settings_text(self) -> str:
        """Return the settings file; see `cellbrook.core.settings.read_settings`."""
        return settings_text(
            self.settings(),
            [
                f"For `cellbrook segment --settings`, found on {len(self.names)} images with {self.n_true} objects.",
                self.sentence,
            ],
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the surface as plain dictionaries, lists and numbers, ready for JSON."""
        return {
            "n_images": len(self.names),
            "n_true": self.n_true,
            "images": list(self.names),
            "iou": self.iou,
            "sentence": self.sentence,
            "start": self.start.keywords(),
            "best": self.best.keywords(),
            "chosen": self.chosen.keywords(),
            "settings": self.settings(),
            "f1_start": self.f1_start._asdict(),
            "f1_tuned": self.f1_tuned._asdict(),
            "gain": self.gain._asdict(),
            "cross_validated": self.validated,
            "f1_best_on_the_same_images": self.f1_best,
            "median_true_diameter_px": self.median_diameter_px,
            "settings_tried": int(np.prod(self.grid.shape)),
            "failed": [{"name": name, "error": text} for name, text in self.failed.items()],
            "image_without_labels": [str(path) for path in self.only_images],
            "labels_without_image": [str(path) for path in self.only_labels],
        }


def tune(
    pairs: Sequence[tuple[str, Any, Any]],
    infer: Callable[[Any, str], NetworkOutput],
    *,
    params: SegmentParams | None = None,
    grid: Grid | None = None,
    search_diameter: bool = True,
    iou: float = 0.5,
    resamples: int = 2000,
    seed: int = 0,
    score_weights: tuple[float, ...] = (),
    threads: int | None = None,
    progress: Progress | None = None,
) -> Tuning:
    """Search the settings that suit labelled images.

    Parameters
    ----------
    pairs : sequence of (str, path or ndarray, path or ndarray)
        Name, image, and true labels of shape (Y, X); or of a stack, (..., Y, X), whose planes are segmented each by
        itself and counted together as one image. Planes without any label are left out: nothing says that they are empty.
    infer : callable
        Runs the network on an image at a diameter; called once an image and diameter. What it returns is kept on disk
        until the search is over.
    params : SegmentParams or None
        Where the search starts, and all that is not searched. None: the defaults.
    grid : Grid or None
        What to try. None: the usual grid.
    search_diameter : bool
        Also try "auto" and the median diameter of the true objects.
    iou : float
        IoU from which an object counts as found, at least 0.5 and below 1.
    resamples : int
        Bootstrap samples behind each interval.
    seed : int
        Seed of the folds and the bootstrap.
    score_weights : tuple of float
        The model's calibration of scores. With one, the smallest score is searched, else the largest flow error.
    threads : int or None
        Processor threads. None: the cores this process may use.
    progress : Progress, optional
        Told of every image; may cancel.

    Returns
    -------
    Tuning

    Raises
    ------
    UsageError
        If no pair can be used, or `iou` is out of range.
    Cancelled
        If `progress` says so.
    """
    if not 0.5 <= iou < 1:
        raise UsageError(f"iou must be at least 0.5 and below 1, got {iou}")
    params = params or SegmentParams()
    progress = progress or NoProgress()
    start = Setting.of(params, score_weights)
    failed: dict[str, str] = {}
    truths = _read_truths(pairs, failed)
    diameter = _median_diameter(truths)
    grid = grid or Grid((), limits=SCORE_LIMITS if score_weights else FLOW_LIMITS)
    if search_diameter:
        known = () if diameter is None else (f"{diameter:.3g}",)
        grid = dataclasses.replace(grid, diameters=tuple(dict.fromkeys((*grid.diameters, "auto", *known))))
    grid = grid.including(start)
    counts: list[_Counts] = []
    with tempfile.TemporaryDirectory(prefix="cellbrook-tune-") as folder:
        progress.start("network", len(truths) * len(grid.diameters))
        kept: list[tuple[str, Any]] = []
        for name, image, truth in truths:
            try:
                for at, wish in enumerate(grid.diameters):
                    progress.check_cancelled()
                    _keep(Path(folder, f"{len(kept)}_{at}.npz"), infer(image, wish), truth)
                    progress.advance()
                kept.append((name, truth))
            except Cancelled:
                raise
            except (CellbrookError, OSError, MemoryError) as error:
                failed[name] = " ".join(str(error).split()) or "not enough memory"
        progress.start("settings", len(kept) * len(grid.diameters) * len(grid.cellprob_thresholds))
        for number, (_, truth) in enumerate(kept):
            outputs = [Path(folder, f"{number}_{at}.npz") for at in range(len(grid.diameters))]
            counts.append(
                _count(outputs, truth, grid, params.mask_params, score_weights, iou, threads, progress)
            )
    if not counts:
        why = next((f"{name}: {text}" for name, text in failed.items()), "there is none")
        raise UsageError(f"tuning needs images with true labels, and no pair can be used ({why})")
    return _result(
        counts,
        [name for name, _ in kept],
        grid,
        start,
        Setting.of(SegmentParams(), score_weights),
        params,
        iou,
        resamples,
        seed,
        diameter,
        failed,
    )


class _Counts(NamedTuple):
    """Of one image: true objects, and matches and predicted objects at each setting."""

    n_true: int
    tp: NDArray[np.int32]
    n_pred: NDArray[np.int32]


def _read_truths(
    pairs: Sequence[tuple[str, Any, Any]], failed: dict[str, str]
) -> list[tuple[str, Any, NDArray[Any]]]:
    truths = []
    for name, image, labels in pairs:
        try:
            truths.append((name, image, read_side(labels).labels))
        except (CellbrookError, OSError) as error:
            failed[name] = " ".join(str(error).split())
    return truths


def _median_diameter(truths: list[tuple[str, Any, NDArray[Any]]]) -> float | None:
    planes = [plane for _, _, truth in truths for plane in _planes(truth)]
    areas = [np.unique(plane[plane > 0], return_counts=True)[1] for plane in planes]
    together = np.concatenate(areas) if areas else np.zeros(0)
    return float(2 * np.sqrt(np.median(together) / np.pi)) if together.size else None


def _planes(pixels: NDArray[Any], trailing: int = 2) -> NDArray[Any]:
    """Return an array with all its leading axes in one: an image of a stack is its planes."""
    return pixels.reshape(-1, *pixels.shape[pixels.ndim - trailing :])


def _labelled(truth: NDArray[Any]) -> list[int]:
    """Return which planes say something: all of a single one, those with labels of a stack."""
    planes = _planes(truth)
    return [at for at, plane in enumerate(planes) if len(planes) == 1 or plane.any()]


def _keep(path: Path, output: NetworkOutput, truth: NDArray[Any]) -> None:
    found, true = ([n for n in s[:-2] if n > 1] + [*s[-2:]] for s in (output.cellprob.shape, truth.shape))
    if found != true:
        raise ImageError(
            f"the image is {output.cellprob.shape}, its labels are {truth.shape}: they must be of one size"
        )
    planes = _labelled(truth)
    np.savez(path, flows=_planes(output.flows, 3)[planes], cellprob=_planes(output.cellprob)[planes])


def _count(
    outputs: Sequence[Path],
    truth: NDArray[Any],
    grid: Grid,
    masks: MaskParams,
    score_weights: tuple[float, ...],
    iou: float,
    threads: int | None,
    progress: Progress,
) -> _Counts:
    tp, n_pred = np.zeros((2, *grid.shape), np.int32)
    (largest_error, least_score), sizes = np.array(grid.limits).T, np.array(grid.min_sizes)
    planes = _planes(truth)[_labelled(truth)]
    for d, path in enumerate(outputs):
        with np.load(path) as stored:
            flows, cellprob = stored["flows"], stored["cellprob"]
        for c, level in enumerate(grid.cellprob_thresholds):
            every = dataclasses.replace(
                masks, cellprob_threshold=level, flow_threshold=OFF, min_score=0.0, min_size=0
            )
            for at, plane in enumerate(planes):
                progress.check_cancelled()
                labels, objects = labels_from_flows(
                    flows[at], cellprob[at], every, score_weights=score_weights, threads=threads
                )
                table = overlaps(plane, labels, threads=threads)
                matched = np.zeros(len(objects))
                matched[table.pred_index[match_rows(table, iou, table.iou)]] = 1
                kept = ~(objects["flow_error"] > largest_error[:, None])  # NaN passes, as it does in a run
                kept &= objects["score"] >= least_score[:, None]
                # a run judges sizes before it fills holes, and what it fills is no foreground
                area = np.bincount(labels[cellprob[at] > level], minlength=len(objects) + 1)[1:]
                large = (area >= sizes[:, None]).astype(np.float32)
                n_pred[d, c] += (kept.astype(np.float32) @ large.T).astype(np.int32)
                tp[d, c] += ((kept * matched).astype(np.float32) @ large.T).astype(np.int32)
            progress.advance()
    n_true = sum(len(np.unique(plane[plane > 0])) for plane in planes)
    return _Counts(n_true, tp, n_pred)


def _result(
    counts: list[_Counts],
    names: list[str],
    grid: Grid,
    start: Setting,
    defaults: Setting,
    params: SegmentParams,
    iou: float,
    resamples: int,
    seed: int,
    diameter: float | None,
    failed: dict[str, str],
) -> Tuning:
    n = len(counts)
    n_true = np.array([each.n_true for each in counts])
    tp, n_pred = np.stack([each.tp for each in counts]), np.stack([each.n_pred for each in counts])
    surface = _f1(n_true.sum(), tp.sum(0), n_pred.sum(0))
    near = grid.distance(defaults)
    best = _best(surface, near)
    validated = n >= LEAST_IMAGES
    tuned_tp, tuned_pred = np.zeros((2, n), np.int64)
    for held_out in _folds(n, seed) if validated else [np.arange(n)]:
        rest = np.setdiff1d(np.arange(n), held_out) if validated else held_out
        place = _best(_f1(n_true[rest].sum(), tp[rest].sum(0), n_pred[rest].sum(0)), near)
        tuned_tp[held_out] = tp[(held_out, *place)]
        tuned_pred[held_out] = n_pred[(held_out, *place)]
    at = grid.index(start)
    figures: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {
        "start": (tp[(slice(None), *at)], n_pred[(slice(None), *at)]),
        "tuned": (tuned_tp, tuned_pred),
    }
    value = {name: _f1(n_true.sum(), t.sum(), p.sum()) for name, (t, p) in figures.items()}
    samples: dict[str, NDArray[np.float64]] = {}
    if n > 1:
        drawn = bootstrap_draws(n, resamples, seed)
        samples = {name: _f1(drawn @ n_true, drawn @ t, drawn @ p) for name, (t, p) in figures.items()}
    spread = samples["tuned"] - samples["start"] if samples else None
    gain = intervals(value["tuned"] - value["start"], spread)[0]
    chosen = start if gain.value <= 0 else grid.at(best)
    return Tuning(
        start=start,
        best=grid.at(best),
        chosen=chosen,
        grid=grid,
        surface=surface,
        iou=iou,
        f1_start=intervals(value["start"], samples.get("start"))[0],
        f1_tuned=intervals(value["tuned"], samples.get("tuned"))[0],
        gain=gain,
        validated=validated,
        names=tuple(names),
        n_true=int(n_true.sum()),
        median_diameter_px=diameter,
        params=params,
        failed=failed,
    )


def _f1(n_true: Any, tp: Any, n_pred: Any) -> NDArray[np.float64]:
    return ratio(2 * np.asarray(tp), n_true + np.asarray(n_pred))


def _best(surface: NDArray[np.float64], distance: NDArray[np.float64]) -> tuple[int, int, int, int]:
    good = surface >= float(surface.max()) - _TIE
    place = np.unravel_index(int(np.where(good, distance, np.inf).argmin()), surface.shape)
    d, c, f, s = (int(i) for i in place)
    return d, c, f, s


def _folds(n: int, seed: int) -> list[NDArray[np.intp]]:
    order = np.random.default_rng(seed).permutation(n)
    return [np.sort(part) for part in np.array_split(order, min(n, _FOLDS))]
