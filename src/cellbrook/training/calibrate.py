"""From figures of an object to the probability that it is right: fitted once a model, on images it never saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellbrook import pipeline
from cellbrook.core.params import SegmentParams
from cellbrook.io import open_image
from cellbrook.metrics import matching

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from numpy.typing import NDArray

    from cellbrook.engines.base import Engine
    from cellbrook.networks.store import ResolvedModel


def judged_objects(
    model: ResolvedModel, engine: Engine, pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]], threads: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Segment labelled images, doubtful objects kept, and tell of each object whether it matches a true one at IoU 0.5.

    Parameters
    ----------
    model, engine
        What segments.
    pairs : iterable of (image of shape (C, Y, X), labels of shape (Y, X))
    threads : int

    Returns
    -------
    cellprob, flow_error : ndarray of shape (n,)
        Columns of the object tables.
    right : ndarray of shape (n,), bool
    """
    columns: list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]] = []
    for image, labels in pairs:
        source = open_image(np.ascontiguousarray(image), axes="CYX")
        plan = pipeline.resolve(
            source, model, SegmentParams.from_keywords(threads=threads, flow_threshold=0, min_score=0)
        )
        data = pipeline.run(source, plan, model, engine, name="image", keep_output=False)
        found = matching(labels, data.labels, 0.5, threads=threads)
        right = np.isin(data.objects["label"], [pred for _, pred in found.pairs])
        columns.append((data.objects["cellprob"], data.objects["flow_error"], right))
    cellprob, flow_error, right = (np.concatenate(c) for c in zip(*columns, strict=True))
    return cellprob, flow_error, right


def fit_score(
    cellprob: NDArray[np.float64], flow_error: NDArray[np.float64], right: NDArray[np.bool_]
) -> tuple[float, float, float]:
    """Fit a logistic regression by Newton's method.

    Parameters
    ----------
    cellprob, flow_error : ndarray of shape (n,)
        Figures of objects.
    right : ndarray of shape (n,), bool
        Whether each was right.

    Returns
    -------
    tuple of float
        Bias and the weights of cellprob and flow error, as in `NetworkSpec.score`.
    """
    x = np.stack([np.ones_like(cellprob), cellprob, np.nan_to_num(flow_error)], axis=1)
    weights = np.zeros(3)
    ridge = np.diag([0.0, 1e-3, 1e-3]) * len(x)  # keeps the weights finite where all are right
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (p - right) + ridge @ weights
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + ridge + 1e-9 * np.eye(3), gradient)
        weights -= step
        if np.abs(step).max() < 1e-8:
            break
    bias, of_cellprob, of_flow_error = (float(w) for w in weights)
    return bias, of_cellprob, of_flow_error
