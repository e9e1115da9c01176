"""Classes of objects, scored over images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellbrook.metrics.classes import add_up, class_scores
from cellbrook.metrics.intervals import Interval, bootstrap_draws, intervals

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from cellbrook.metrics import ClassCounts


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Agreement of classes over all images.

    Parameters
    ----------
    names : tuple of str
        The classes.
    confusion : ndarray of shape (k + 1, k + 1), int64
        See `cellbrook.metrics.ClassCounts`.
    scores : dict of str to tuple of Interval
        "ap", "f1", "precision" and "recall" of each class: an object counts if it was found with its class.
    n_images : int
        Images that have classes on both sides.
    """

    names: tuple[str, ...]
    confusion: NDArray[np.int64]
    scores: dict[str, tuple[Interval, ...]]
    n_images: int

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain dictionaries, lists and numbers."""
        return {
            "names": list(self.names),
            "n_images": self.n_images,
            "confusion": self.confusion.tolist(),
            "confusion_rows": [*self.names, "(spurious)"],
            "confusion_columns": [*self.names, "(missed)"],
            "scores": {
                name: {metric: values[at]._asdict() for metric, values in self.scores.items()}
                for at, name in enumerate(self.names)
            },
        }


def score_classes(images: Sequence[ClassCounts], *, resamples: int, seed: int) -> ClassScores:
    """Score the classes of several images, with bootstrap intervals over images."""
    names, stacked = add_up(images)
    whole = class_scores(stacked.sum(0))
    samples = None
    if len(images) > 1:
        drawn = bootstrap_draws(len(images), resamples, seed)
        flat = (drawn @ stacked.reshape(len(images), -1)).reshape(-1, *stacked.shape[1:])
        samples = class_scores(flat)
    scores = {
        metric: intervals(v, None if samples is None else samples[metric]) for metric, v in whole.items()
    }
    return ClassScores(names, stacked.sum(0), scores, len(images))
