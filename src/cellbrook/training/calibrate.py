"""From figures of an object to the probability that it is right: fitted once a model, on images it never saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellbrook import pipeline
from cellbrook.core.params import SegmentParams
from cellbrook.metrics import matching

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from cellbrook.engines.base import Engine
    from cellbrook.networks.store import ResolvedModel
    from cellbrook.training.dataset import Example


PRIOR_OBJECTS = 300
"""What a model's own calibration counts when it is fitted again, in objects."""

ANCHORS = np.array([(p, e) for p in range(6) for e in (0.05, 0.2, 0.4, 0.8)], np.float64)
"""Cellprobs and flow errors that it is held at: wherever objects of any image lie. The held-out ones are of few kinds and
say nothing of what is fainter than they are."""


def judged_objects(
    model: ResolvedModel,
    engine: Engine,
    examples: Iterable[Example],
    threads: int,
    **keywords: Any,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Segment labelled images, doubtful objects kept, and tell of each object whether it matches a true one at IoU 0.5.

    Parameters
    ----------
    model, engine
        What segments.
    examples : iterable of Example
        Of those that were cut from larger images, what lies in the part counts.
    threads : int
    **keywords
        Further parameters of the segmentation.

    Returns
    -------
    cellprob, flow_error : ndarray of shape (n,)
        Columns of the object tables.
    right : ndarray of shape (n,), bool
    """
    columns: list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]] = []
    doubtful = {**keywords, "threads": threads, "flow_threshold": 0, "min_score": 0}
    for example in examples:
        source, given = example.whole.for_pipeline(model.card.spec.channels)
        plan = pipeline.resolve(source, model, SegmentParams.from_keywords(**doubtful, **given))
        data = pipeline.run(source, plan, model, engine, name="image", keep_output=False)
        found = matching(example.whole.labels, data.labels, 0.5, threads=threads)
        here = np.isin(data.objects["label"], example.own(data.labels))
        right = np.isin(data.objects["label"][here], found.pairs[:, 1])
        columns.append((data.objects["cellprob"][here], data.objects["flow_error"][here], right))
    cellprob, flow_error, right = (np.concatenate(c) for c in zip(*columns, strict=True))
    return cellprob, flow_error, right


def fit_score(
    cellprob: NDArray[np.float64],
    flow_error: NDArray[np.float64],
    right: NDArray[np.bool_],
    prior: Sequence[float] = (),
) -> tuple[float, float, float]:
    """Fit a logistic regression by Newton's method.

    Parameters
    ----------
    cellprob, flow_error : ndarray of shape (n,)
        Figures of objects.
    right : ndarray of shape (n,), bool
        Whether each was right.
    prior : sequence of float
        Weights to start from: they count as much as `PRIOR_OBJECTS` objects, evenly at `ANCHORS`, that are right as often
        as they say. Empty: none.

    Returns
    -------
    tuple of float
        Bias and the weights of cellprob and flow error, as in `NetworkSpec.score`.
    """
    x = np.stack([np.ones_like(cellprob), cellprob, np.nan_to_num(flow_error)], axis=1)
    wanted, counts = right.astype(np.float64), np.ones(len(x))
    if len(prior):
        if not len(x):
            return prior[0], prior[1], prior[2]
        anchors = np.column_stack([np.ones(len(ANCHORS)), ANCHORS])
        x = np.concatenate([x, anchors])
        wanted = np.append(wanted, 1 / (1 + np.exp(-anchors @ np.array(prior))))
        counts = np.append(counts, np.full(len(ANCHORS), PRIOR_OBJECTS / len(ANCHORS)))
    weights = np.zeros(3)
    ridge = np.diag([0.0, 1e-3, 1e-3]) * counts.sum()  # keeps the weights finite where all are right
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (counts * (p - wanted)) + ridge @ weights
        step = np.linalg.solve(
            (x * (counts * p * (1 - p))[:, None]).T @ x + ridge + 1e-9 * np.eye(3), gradient
        )
        weights -= step
        if np.abs(step).max() < 1e-8:
            break
    bias, of_cellprob, of_flow_error = (float(w) for w in weights)
    return bias, of_cellprob, of_flow_error
