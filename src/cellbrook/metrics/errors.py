"""What went wrong with which object: missed, spurious, merged, split, or outlined badly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from cellbrook.metrics.matching import as_thresholds, match_rows, overlaps

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

    from cellbrook.metrics.matching import Overlaps

ErrorKind = Literal["missed", "spurious", "merged", "split", "boundary"]
KINDS: tuple[ErrorKind, ...] = get_args(ErrorKind)

WELL_OUTLINED = 0.75
"""IoU below which the outline of an object that was found is an error worth a look."""

_SAME_PLACE = 0.1
"""IoU from which two objects that prefer each other are meant to be one, only badly outlined."""


@dataclass(frozen=True, slots=True)
class ObjectError:
    """One error.

    Parameters
    ----------
    kind : {"missed", "spurious", "merged", "split", "boundary"}
        What went wrong; see `find_errors`.
    true_labels, pred_labels : tuple of int
        The objects involved, of each side.
    severity : float
        Orders the errors of one kind, the worst highest: pixels missed or made up, objects merged, pieces, or
        1 - IoU.
    iou : float
        Of the pair, for "boundary"; else 0.
    """

    kind: ErrorKind
    true_labels: tuple[int, ...]
    pred_labels: tuple[int, ...]
    severity: float
    iou: float = 0.0


@dataclass(frozen=True, slots=True)
class ImageErrors:
    """The errors of one image.

    Parameters
    ----------
    errors : tuple of ObjectError
        By kind, the worst of a kind first.
    true_objects, pred_objects : dict of str to int
        How many unmatched objects of each side each kind explains; they sum to the false negatives and false
        positives at the threshold.
    """

    errors: tuple[ObjectError, ...]
    true_objects: dict[ErrorKind, int]
    pred_objects: dict[ErrorKind, int]

    def count(self, kind: ErrorKind) -> int:
        """Return how many errors are of this kind."""
        return sum(error.kind == kind for error in self.errors)


def find_errors(
    true: ArrayLike, pred: ArrayLike, threshold: float = 0.5, *, threads: int | None = None
) -> ImageErrors:
    """Say of every object without a match what happened to it.

    - *merged*: one predicted object covers more than half of each of several true ones.
    - *split*: several predicted objects lie each by more than half in one true one.
    - *boundary*: a true and a predicted object that overlap each other most, but with an IoU below the
      threshold (0.1 at least); matches with an IoU below 0.75 are listed too, though they count as found.
    - *missed*, *spurious*: true and predicted objects that none of these explains.

    The first that fits is taken, in this order, so each unmatched object has exactly one kind.

    Parameters
    ----------
    true, pred : ndarray of shape (Y, X) or (Z, Y, X), any integer dtype
        Label images of equal shape, 0 = background.
    threshold : float
        Smallest IoU of a match, above 0 and at most 1.
    threads : int or None
        Processor threads. None: the cores this process may use.

    Returns
    -------
    ImageErrors

    Raises
    ------
    UsageError
        If the shapes differ, an image holds anything but labels, or the threshold is out of range.

    Examples
    --------
    >>> found = find_errors([[1, 1, 1, 2, 2, 2, 0, 3, 3]], [[4, 4, 4, 4, 4, 4, 4, 0, 0]])
    >>> [(e.kind, e.true_labels, e.pred_labels) for e in found.errors]
    [('missed', (3,), ()), ('merged', (1, 2), (4,))]
    """
    return errors_of_table(overlaps(true, pred, threads=threads), float(as_thresholds(threshold)[0]))


def errors_of_table(table: Overlaps, threshold: float) -> ImageErrors:
    """Find the errors on a table that `overlaps` gave; see `find_errors`."""
    iou = table.iou
    matched = match_rows(table, threshold, iou)
    open_true, open_pred = np.ones(table.n_true, bool), np.ones(table.n_pred, bool)
    open_true[table.true_index[matched]] = False
    open_pred[table.pred_index[matched]] = False
    named = np.zeros(table.n_true, bool)
    errors: list[ObjectError] = []
    true_objects: dict[ErrorKind, int] = dict.fromkeys(KINDS, 0)
    pred_objects: dict[ErrorKind, int] = dict.fromkeys(KINDS, 0)

    def add(
        kind: ErrorKind, trues: Iterable[int], preds: Iterable[int], severity: float, iou: float = 0
    ) -> None:
        t, p = np.array([*trues], np.int64), np.array([*preds], np.int64)
        true_objects[kind] += int(open_true[t].sum())
        pred_objects[kind] += int(open_pred[p].sum())
        open_true[t] = open_pred[p] = False
        named[t] = True
        labels = tuple(table.true_ids[t].tolist()), tuple(table.pred_ids[p].tolist())
        errors.append(ObjectError(kind, *labels, float(severity), iou))

    half_true = 2 * table.count > table.true_areas[table.true_index]
    for pred, trues in _groups(table.pred_index, table.true_index, half_true):
        add("merged", trues, [pred], len(trues))
    half_pred = 2 * table.count > table.pred_areas[table.pred_index]
    for true, preds in _groups(table.true_index, table.pred_index, half_pred):
        if open_true[true] or open_pred[preds].any():  # else a merger explained all of it
            add("split", [true], preds, len(preds))
    for row in _mutual_best(table, iou):
        t, p = int(table.true_index[row]), int(table.pred_index[row])
        if open_true[t] and open_pred[p] and iou[row] >= _SAME_PLACE:
            add("boundary", [t], [p], 1 - iou[row], float(iou[row]))
    for row in matched[iou[matched] < WELL_OUTLINED]:
        t, p = int(table.true_index[row]), int(table.pred_index[row])
        if not named[t]:  # else the outline is poor because of a merger or a split
            add("boundary", [t], [p], 1 - iou[row], float(iou[row]))
    for true in np.flatnonzero(open_true).tolist():
        add("missed", [true], [], table.true_areas[true])
    for pred in np.flatnonzero(open_pred).tolist():
        add("spurious", [], [pred], table.pred_areas[pred])
    errors.sort(key=lambda e: (KINDS.index(e.kind), -e.severity))
    return ImageErrors(tuple(errors), true_objects, pred_objects)


def _groups(
    owner: NDArray[np.int64], member: NDArray[np.int64], chosen: NDArray[np.bool_]
) -> list[tuple[int, NDArray[Any]]]:
    """Return the owners of several members each, with those, of the chosen rows."""
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(owner[rows], kind="stable")]
    owners, start = np.unique(owner[rows], return_index=True)
    parts = np.split(member[rows], start[1:])
    return [(int(o), part) for o, part in zip(owners, parts, strict=False) if len(part) > 1]


def _mutual_best(table: Overlaps, iou: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the rows whose two objects have their highest IoU with each other."""
    best_true, best_pred = np.zeros(table.n_true), np.zeros(table.n_pred)
    np.maximum.at(best_true, table.true_index, iou)
    np.maximum.at(best_pred, table.pred_index, iou)
    return np.flatnonzero((iou == best_true[table.true_index]) & (iou == best_pred[table.pred_index]))
