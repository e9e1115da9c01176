"""The class of each object, from what it measures: a small linear classifier that is stored with a model.

Its features are sizes, shapes and intensities of the object, so it does not depend on the network that found the object,
runs wherever the model runs, and fits a few dozen objects.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import ModelError, UsageError
from cellbrook.io.atomic import atomic
from cellbrook.measure.table import measure
from cellbrook.normalize import percentile_ranges

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SCHEMA = 1
SHAPES = ("log_diameter", "eccentricity", "solidity", "circularity")
INTENSITIES = ("mean", "std", "min", "max", "median")

RIDGE = 1e-2
"""Penalty on squared weights, as a share of the loss of an object: keeps them finite where classes separate wholly."""


@dataclass(frozen=True, slots=True)
class ObjectClassifier:
    """Multinomial logistic regression on standardised measurements of objects.

    Parameters
    ----------
    names : tuple of str
        The classes.
    channels : int
        Channels of the images that it was fitted on.
    features : tuple of str
        What is measured; see `features_of`.
    centre, scale : tuple of float
        Mean and standard deviation of each feature where it was fitted.
    weights : tuple of tuple of float
        For each class the weight of each feature, and last the bias.
    """

    names: tuple[str, ...]
    channels: int
    features: tuple[str, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]

    def probabilities(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability of each class, of shape (n, k), for features of shape (n, f)."""
        return _softmax(_standard(features, self.centre, self.scale) @ np.array(self.weights).T)

    def classify(
        self,
        labels: NDArray[Any],
        image: NDArray[Any],
        *,
        channels: int | None = None,
        threads: int | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.str_], NDArray[np.float64]]:
        """Tell the class of every object of a plane.

        Parameters
        ----------
        labels : ndarray of shape (Y, X), integer
            0 is background.
        image : ndarray of shape (C, Y, X)
            Raw pixels.
        channels : int or None
            How many channels say something in the stack that the plane is of. None: as `channels_of` this plane alone.
        threads : int or None
            Processor threads. None: all that this process may use.

        Returns
        -------
        label : ndarray of shape (n,)
            The objects, ascending.
        name : ndarray of shape (n,), str
            The likeliest class of each.
        probability : ndarray of shape (n,), float64
            Its probability.

        Raises
        ------
        UsageError
            If the image has another number of channels than those it was fitted on.
        """
        channels = channels_of(image) if channels is None else channels
        label, names, features = features_of(labels, image, channels=channels, threads=threads)
        if names != self.features:
            raise UsageError(
                f"the model tells classes on images of {self.channels} channel{'s' * (self.channels != 1)}, "
                f"this one has {channels}"
            )
        found = self.probabilities(features)
        best = found.argmax(1) if len(found) else np.zeros(0, np.intp)
        return label, np.array(self.names)[best], found[np.arange(len(found)), best]

    def save(self, path: Path) -> None:
        """Write it as JSON, atomically."""
        with atomic(path) as part:
            part.write_text(
                json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, ensure_ascii=False), "utf-8"
            )

    @classmethod
    def load(cls, path: Path) -> ObjectClassifier:
        """Read what `save` wrote.

        Raises
        ------
        ModelError
            If it is damaged, or of a later version.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["schema"] != SCHEMA:
                raise ModelError(f"{path} has schema {document['schema']}, this version knows {SCHEMA}")
            found = cls(
                names=tuple(map(str, document["names"])),
                channels=int(document["channels"]),
                features=tuple(map(str, document["features"])),
                centre=tuple(map(float, document["centre"])),
                scale=tuple(map(float, document["scale"])),
                weights=tuple(tuple(map(float, row)) for row in document["weights"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path} is no classifier of objects ({error}): copy the model again") from error
        wanted = (len(found.names), len(found.features) + 1)
        if np.shape(found.weights) != wanted or not len(found.centre) == len(found.scale) == wanted[1] - 1:
            raise ModelError(f"{path} is damaged: its weights do not fit its features; copy the model again")
        return found


def channels_of(image: NDArray[Any]) -> int:
    """Return how many channels of an image (..., C, Y, X) say something: a gray picture saved as RGB has one."""
    first, *others = np.moveaxis(image, -3, 0)
    gray = len(others) == 2 and all(np.array_equal(first, other) for other in others)
    return 1 if gray else 1 + len(others)


def features_of(
    labels: NDArray[Any], image: NDArray[Any], *, channels: int | None = None, threads: int | None = None
) -> tuple[NDArray[Any], tuple[str, ...], NDArray[np.float64]]:
    """Measure what classes are told by.

    Intensities are relative to the 1st and 99th percentile of each channel of the plane, as the network sees them, so that
    exposure does not matter.

    Parameters
    ----------
    labels : ndarray of shape (Y, X), integer
    image : ndarray of shape (C, Y, X)
        Raw pixels.
    channels : int or None
        The first that many are measured. None: `channels_of` the image.
    threads : int or None

    Returns
    -------
    label : ndarray of shape (n,)
        Ascending.
    names : tuple of str
        Of the features.
    features : ndarray of shape (n, f), float64
        NaN where something cannot be measured.
    """
    image = image[: channels_of(image) if channels is None else channels]
    table = measure(labels, image, axes="YX", threads=threads)
    columns = {"log_diameter": np.log(table["diameter_px"]), **{name: table[name] for name in SHAPES[1:]}}
    for channel, (low, high) in enumerate(percentile_ranges(image, threads=threads)):
        width = high - low if high > low else 1.0
        for name in INTENSITIES:
            value = table[f"{name}_{channel}"]
            columns[f"{name}_{channel}"] = (value - (0.0 if name == "std" else low)) / width
    order = np.argsort(table["label"])
    return (
        table["label"][order],
        tuple(columns),
        np.stack([*columns.values()], axis=1, dtype=np.float64)[order],
    )


def fit_classifier(
    features: NDArray[np.float64], classes: Sequence[str], names: Sequence[str], channels: int
) -> ObjectClassifier:
    """Fit a classifier; every class weighs the same, however many objects it has.

    Parameters
    ----------
    features : ndarray of shape (n, f)
        From `features_of`, of objects of all images.
    classes : sequence of str
        The class of each.
    names : sequence of str
        Of the features.
    channels : int
        Of the images.

    Returns
    -------
    ObjectClassifier

    Raises
    ------
    UsageError
        If there are not at least two classes.

    Examples
    --------
    >>> found = fit_classifier(np.array([[0.0], [0.1], [1.0], [1.1]]), ["a", "a", "b", "b"], ["log_diameter"], 1)
    >>> found.names, found.probabilities(np.array([[0.2], [0.9]])).argmax(1).tolist()
    (('a', 'b'), [0, 1])
    """
    known, codes = np.unique(np.asarray(classes, dtype=str), return_inverse=True)
    if len(known) < 2:
        raise UsageError(f"telling classes apart needs two or more of them, got {len(known)}")
    with np.errstate(invalid="ignore"):
        finite = np.where(np.isfinite(features), features, np.nan)
    centre = np.nan_to_num(np.nanmean(finite, axis=0))
    spread = np.nan_to_num(np.nanstd(finite, axis=0))
    scale = np.where(spread > 1e-9, spread, 1.0)
    weights = _newton(_standard(features, centre, scale), codes, len(known))
    return ObjectClassifier(
        names=tuple(known.tolist()),
        channels=channels,
        features=tuple(names),
        centre=tuple(centre.tolist()),
        scale=tuple(scale.tolist()),
        weights=tuple(map(tuple, weights.tolist())),
    )


def _standard(features: NDArray[np.float64], centre: Any, scale: Any) -> NDArray[np.float64]:
    """Return standardised features and a column of ones; what was not measured counts as the mean."""
    plain = np.nan_to_num((features - np.array(centre)) / np.array(scale), nan=0.0, posinf=0.0, neginf=0.0)
    return np.concatenate([np.clip(plain, -10, 10), np.ones((len(plain), 1))], axis=1)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    probabilities: NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


def _newton(x: NDArray[np.float64], codes: NDArray[np.intp], k: int) -> NDArray[np.float64]:
    """Minimise the mean cross-entropy, classes weighing alike, plus the ridge; returns weights of shape (k, f)."""
    n, f = x.shape
    share = 1 / (k * np.bincount(codes, minlength=k))[codes]
    right = np.eye(k)[codes]
    ridge = np.full((k, f), RIDGE)
    ridge[:, -1] = RIDGE / 100  # of the biases: only so that they are determined
    weights = np.zeros((k, f))

    def loss(w: NDArray[np.float64]) -> float:
        p = _softmax(x @ w.T)[np.arange(n), codes]
        return float(-(share * np.log(np.maximum(p, 1e-300))).sum() + 0.5 * (ridge * w * w).sum())

    now = loss(weights)
    for _ in range(100):
        p = _softmax(x @ weights.T)
        gradient = ((p - right) * share[:, None]).T @ x + ridge * weights
        hessian = np.zeros((k, f, k, f))
        for a in range(k):
            for b in range(a, k):
                part = share * p[:, a] * ((a == b) - p[:, b])
                hessian[a, :, b] = hessian[b, :, a] = (x * part[:, None]).T @ x
        full = hessian.reshape(k * f, k * f) + np.diag(ridge.ravel())
        step = np.linalg.solve(full, gradient.ravel()).reshape(k, f)
        length = 1.0
        while (after := loss(weights - length * step)) > now and length > 1e-6:
            length /= 2
        weights, before, now = weights - length * step, now, min(after, now)
        if before - now < 1e-10:
            break
    return weights
