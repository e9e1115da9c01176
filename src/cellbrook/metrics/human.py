"""Is it as good as a person? A model and two people, compared on one scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cellbrook.errors import UsageError
from cellbrook.metrics.evaluation import THRESHOLDS, count_image, pooled_metrics
from cellbrook.metrics.intervals import Interval, bootstrap_draws, interval_note, intervals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from cellbrook.metrics.evaluation import ImageCounts

Verdict = Literal["below", "at", "above", "undecided"]

LEAST_IMAGES = 5
"""Fewer images than this decide nothing."""

MARGIN = 0.02
"""Differences within this are of no consequence: the same person differs from themselves by as much."""


@dataclass(frozen=True, slots=True)
class HumanScore:
    """One figure of the agreement between two people, and of each with the model.

    Parameters
    ----------
    name : str
        Which figure, such as "F1 at IoU 0.5".
    people : Interval
        Of the two people's labels.
    model : tuple of Interval
        Of the model's labels with each person's; empty without a model.
    difference : Interval or None
        Mean of the model's two figures minus that of the people; the same images are drawn for all three.
    verdict : {"below", "at", "above", "undecided"} or None
        "at": the whole interval lies within the margin around 0. Else "below" or "above" if it leaves out 0.
    """

    name: str
    people: Interval
    model: tuple[Interval, ...] = ()
    difference: Interval | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class HumanComparison:
    """Agreement of two people, and of a model with both.

    Parameters
    ----------
    scores : tuple of HumanScore
        The first decides the sentence.
    n_images : int
        Images that all of them labelled.
    margin : float
        Difference that is of no consequence.
    remarks : tuple of str
        What else the reader should know.
    """

    scores: tuple[HumanScore, ...]
    n_images: int
    margin: float
    remarks: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the intervals should know."""
        note = interval_note(self.n_images)
        return (*((note,) if note else ()), *self.remarks)

    @property
    def sentence(self) -> str:
        """The answer, in one plain sentence."""
        score = self.scores[0]
        found = f"{score.name} is {_in_words(score.people)} between the two labellings"
        if score.difference is None:
            return f"{found}."
        found += f", the model differs from that by {_in_words(score.difference, sign='+')}"
        if score.verdict != "undecided":
            return f"The model is {score.verdict} human agreement: {found}."
        if self.n_images < LEAST_IMAGES:
            why = f"{self.n_images} image{'s' * (self.n_images != 1)} decide nothing, label at least {LEAST_IMAGES}"
        else:
            why = "the interval of the difference leaves it open, label more images"
        return f"Undecided whether the model is below, at or above human agreement: {found}; {why}."

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain dictionaries, lists and numbers, ready for JSON."""
        return {
            "n_images": self.n_images,
            "sentence": self.sentence,
            "verdict": self.scores[0].verdict,
            "margin": self.margin,
            "scores": [
                {
                    "name": score.name,
                    "people": score.people._asdict(),
                    "model": [part._asdict() for part in score.model],
                    "difference": score.difference._asdict() if score.difference else None,
                    "verdict": score.verdict,
                }
                for score in self.scores
            ],
            "notes": list(self.notes),
        }


def count_pairs(
    labels: Sequence[ArrayLike],
    *,
    name: str,
    thresholds: Sequence[float] = THRESHOLDS,
    tolerance_px: float = 2.0,
    threads: int | None = None,
) -> list[ImageCounts]:
    """Compare the labels of one image by two people, and by a model, each with each.

    Parameters
    ----------
    labels : sequence of two or three ndarrays
        The first person's, the second's and, where there is a model, its own.
    name, thresholds, tolerance_px, threads
        As for `count_image`.

    Returns
    -------
    list of ImageCounts
        Of the people; with a model also of the first and of the second person with it.
    """
    pairs = ((0, 1), (0, 2), (1, 2))[: 1 if len(labels) == 2 else 3]
    return [
        count_image(
            labels[i], labels[j], name=name, thresholds=thresholds, tolerance_px=tolerance_px, threads=threads
        )
        for i, j in pairs
    ]


def compare_with_human(
    people: Sequence[ImageCounts],
    model: tuple[Sequence[ImageCounts], Sequence[ImageCounts]] | None = None,
    *,
    margin: float = MARGIN,
    resamples: int = 2000,
    seed: int = 0,
) -> HumanComparison:
    """Put two people's agreement and the model's agreement with each of them on one scale.

    Parameters
    ----------
    people : sequence of ImageCounts
        From `count_image` of the two people's labels, one an image.
    model : tuple of two sequences of ImageCounts, or None
        The same of the model's labels against the first and the second person's, in the same order.
    margin : float
        Difference that is of no consequence.
    resamples : int
        Bootstrap samples behind each interval.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    HumanComparison

    Raises
    ------
    UsageError
        If there is no image, the lists differ in length, or the margin is not positive.
    """
    if not people:
        raise UsageError("agreement needs at least one image that both have labelled, got none")
    if not margin > 0:
        raise UsageError(f"margin must be above 0, got {margin}")
    if model is not None and any(len(side) != len(people) for side in model):
        raise UsageError("the model must have labelled the same images as the two people")
    drawn = bootstrap_draws(len(people), resamples, seed) if len(people) > 1 else None
    of_people = _figures(people, drawn)
    of_model = [_figures(side, drawn) for side in model or ()]
    scores = []
    for name, (value, samples) in of_people.items():
        own = intervals(value, samples)[0]
        sides = [figures[name] for figures in of_model]
        if not sides:
            scores.append(HumanScore(name, own))
            continue
        mean = np.mean([side[0] for side in sides], axis=0) - value
        drawn_sides = [side[1] for side in sides if side[1] is not None]
        spread = None if samples is None else np.mean(drawn_sides, axis=0) - samples
        difference = intervals(mean, spread)[0]
        scores.append(
            HumanScore(
                name,
                own,
                tuple(intervals(*side)[0] for side in sides),
                difference,
                _verdict(difference, margin, len(people)),
            )
        )
    return HumanComparison(tuple(scores), len(people), margin)


def _figures(
    images: Sequence[ImageCounts], drawn: NDArray[np.int64] | None
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64] | None]]:
    """Return each figure of all images together, and of each bootstrap sample of them."""
    thresholds = images[0].thresholds
    whole = _named(pooled_metrics(images), thresholds)
    if drawn is None:
        return {name: (value[0], None) for name, value in whole.items()}
    sampled = _named(pooled_metrics(images, drawn), thresholds)
    return {name: (value[0], sampled[name]) for name, value in whole.items()}


def _named(
    metrics: dict[str, NDArray[np.float64]], thresholds: tuple[float, ...]
) -> dict[str, NDArray[np.float64]]:
    """Return the figures worth a line; all of them are the same whichever side is called the truth, but the last."""
    figures = {f"F1 at IoU {thresholds[0]:g}": metrics["f1"][:, 0]}
    for level in (0.75, 0.9):
        if level in thresholds[1:]:
            figures[f"F1 at IoU {level:g}"] = metrics["f1"][:, thresholds.index(level)]
    if len(thresholds) > 1:
        figures[f"mean AP, IoU {thresholds[0]:g} to {thresholds[-1]:g}"] = metrics["ap"].mean(1)
    return figures | {"panoptic quality": metrics["panoptic_quality"], "boundary F": metrics["boundary_f"]}


def _verdict(difference: Interval, margin: float, n_images: int) -> Verdict:
    low, high = difference.low, difference.high
    if low is None or high is None or n_images < LEAST_IMAGES:
        return "undecided"
    if -margin <= low and high <= margin:
        return "at"
    return "below" if high < 0 else "above" if low > 0 else "undecided"


def _in_words(interval: Interval, sign: str = "") -> str:
    if interval.low is None or interval.high is None:
        return f"{interval.value:{sign}.3f}"
    return f"{interval.value:{sign}.3f} ({interval.low:{sign}.3f} to {interval.high:{sign}.3f})"
