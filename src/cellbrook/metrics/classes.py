"""Agreement of classes: which class objects were given, and how well each class is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import UsageError
from cellbrook.metrics.matching import as_thresholds, match_rows, overlaps, ratio, share

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """Classes of the objects of one image, true against predicted.

    Parameters
    ----------
    names : tuple of str
        The classes, in order.
    confusion : ndarray of shape (k + 1, k + 1), int64
        Matched objects by true (row) and predicted (column) class. The last column holds true objects that were
        not found, the last row predicted ones that are none.
    """

    names: tuple[str, ...]
    confusion: NDArray[np.int64]


def count_classes(
    true: ArrayLike,
    pred: ArrayLike,
    true_classes: Mapping[int, str],
    pred_classes: Mapping[int, str],
    *,
    threshold: float = 0.5,
    threads: int | None = None,
) -> ClassCounts:
    """Count in one image which classes were given to the objects of which class.

    Parameters
    ----------
    true, pred : ndarray of shape (Y, X) or (Z, Y, X), any integer dtype
        Label images of equal shape, 0 = background.
    true_classes, pred_classes : mapping of int to str
        The class of each label.
    threshold : float
        Smallest IoU of a match.
    threads : int or None
        Processor threads. None: the cores this process may use.

    Returns
    -------
    ClassCounts

    Raises
    ------
    UsageError
        If an object has no class, or as in `matching`.

    Examples
    --------
    >>> counts = count_classes([[1, 1, 2, 2]], [[5, 5, 0, 0]], {1: "a", 2: "b"}, {5: "b"})
    >>> counts.names, counts.confusion.tolist()
    (('a', 'b'), [[0, 1, 0], [0, 0, 1], [0, 0, 0]])
    """
    table = overlaps(true, pred, threads=threads)
    names = sorted({*true_classes.values(), *pred_classes.values()})
    place = {name: at for at, name in enumerate(names)}

    def codes(ids: NDArray[np.int64], classes: Mapping[int, str], side: str) -> NDArray[np.int64]:
        lost = [i for i in ids.tolist() if i not in classes]
        if lost:
            raise UsageError(f"every {side} object needs a class, but object {lost[0]} has none")
        return np.array([place[classes[i]] for i in ids.tolist()], np.int64)

    true_code, pred_code = (
        codes(table.true_ids, true_classes, "true"),
        codes(table.pred_ids, pred_classes, "predicted"),
    )
    rows = match_rows(table, float(as_thresholds(threshold)[0]), table.iou)
    matched_true, matched_pred = table.true_index[rows], table.pred_index[rows]
    confusion = np.zeros((len(names) + 1,) * 2, np.int64)
    np.add.at(confusion, (true_code[matched_true], pred_code[matched_pred]), 1)
    np.add.at(confusion[:, -1], np.delete(true_code, matched_true), 1)
    np.add.at(confusion[-1], np.delete(pred_code, matched_pred), 1)
    return ClassCounts(tuple(names), confusion)


def add_up(images: Sequence[ClassCounts]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the classes of all images and their confusion matrices over these, shape (n_images, k + 1, k + 1)."""
    names = tuple(sorted({name for image in images for name in image.names}))
    stacked = np.zeros((len(images), len(names) + 1, len(names) + 1), np.int64)
    for at, image in enumerate(images):
        places = [*(names.index(name) for name in image.names), len(names)]
        stacked[at][np.ix_(places, places)] = image.confusion
    return names, stacked


def class_scores(confusion: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Return the scores of each class from confusion matrices of shape (..., k + 1, k + 1).

    An object counts for its class if it was found and was given that class.

    Returns
    -------
    dict of str to ndarray of shape (..., k)
        "ap", "f1", "precision" and "recall".
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1)[..., :-1]
    n_true, n_pred = confusion.sum(-1)[..., :-1], confusion.sum(-2)[..., :-1]
    return {
        "ap": ratio(right, n_true + n_pred - right),
        "f1": ratio(2 * right, n_true + n_pred),
        "precision": share(right, n_pred, n_true),
        "recall": share(right, n_true, n_pred),
    }
