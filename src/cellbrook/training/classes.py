"""Classes that people gave to objects: learnt beside the network, and judged on held-out objects that it found itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.measure.classify import ObjectClassifier, channels_of, features_of, fit_classifier
from cellbrook.metrics import matching

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from cellbrook.training.dataset import Example

LEAST_OBJECTS = 5
"""A class with fewer objects to learn from is not learnt."""


@dataclass(frozen=True, slots=True)
class ClassReport:
    """What came of learning classes.

    Parameters
    ----------
    learnt : dict of str to int
        Objects that each class was learnt from.
    right, of : dict of str to int
        Held-out objects of each class that were found and given their class; and those that were found.
    active : bool
        The model tells classes by it. False: no better than by chance, or there was too little to learn from.
    words : str
        The result in a sentence.
    """

    learnt: dict[str, int]
    right: dict[str, int]
    of: dict[str, int]
    active: bool
    words: str


def learn_classes(
    train: Sequence[Example],
    held_out: Sequence[Example],
    segment: Callable[[Example], NDArray[Any]],
    *,
    threads: int,
) -> tuple[ObjectClassifier | None, ClassReport | None]:
    """Fit a classifier on labelled objects and try it on those that the new model finds in held-out images.

    It is fitted on each object twice, with the outline that a person drew and with that which the model finds: its outlines
    are what it will be used on, and they err in other ways.

    Parameters
    ----------
    train, held_out : sequence of Example
        Objects without a class are passed over.
    segment : callable
        Gives the labels that the new model finds in an example.
    threads : int
        Processor threads.

    Returns
    -------
    ObjectClassifier or None
        None: there are no classes, or they cannot be told.
    ClassReport or None
        None: there are no classes.
    """
    if not any(e.classes for e in (*train, *held_out)):
        return None, None
    train, held_out = ([_with_own_classes(e) for e in part] for part in (train, held_out))
    channels = Counter(channels_of(e.pixels) for e in train if e.classes)
    counts = Counter(name for e in train for name in e.classes.values())
    learnt = {name: n for name, n in sorted(counts.items()) if n >= LEAST_OBJECTS}
    few = ", ".join(f"{name} ({n})" for name, n in sorted(counts.items()) if n < LEAST_OBJECTS)
    if len(learnt) < 2 or len(channels) > 1:
        why = (
            f"the images have different numbers of channels ({', '.join(map(str, sorted(channels)))})"
            if len(channels) > 1
            else f"two classes of at least {LEAST_OBJECTS} objects outside the held-out images are needed"
        )
        return None, ClassReport(learnt, {}, {}, False, f"Classes were not learnt: {why}.")
    features, names = [], []
    of_features: tuple[str, ...] = ()
    for example in train:
        if not example.classes:
            continue
        found = segment(example)
        for labels, told in ((example.labels, example.classes), (found, _matched(example, found, threads))):
            label, of_features, measured = features_of(labels, example.pixels, threads=threads)
            wanted = [told.get(int(i), "") in learnt for i in label]
            features.append(measured[wanted])
            names += [told[int(i)] for i in label[wanted]]
    classifier = fit_classifier(np.concatenate(features), names, of_features, next(iter(channels)))
    right, of = _try(classifier, held_out, segment, threads)
    report = _judged(learnt, right, of, few)
    return (classifier if report.active else None), report


def _try(
    classifier: ObjectClassifier,
    held_out: Sequence[Example],
    segment: Callable[[Example], NDArray[Any]],
    threads: int,
) -> tuple[Counter[str], Counter[str]]:
    """Count, by true class, found objects that were given the right class, and all found ones."""
    right: Counter[str] = Counter()
    of: Counter[str] = Counter()
    for example in held_out:
        if not example.classes or channels_of(example.pixels) != classifier.channels:
            continue
        found = segment(example)
        label, name, _ = classifier.classify(found, example.pixels, threads=threads)
        told = dict(zip(label.tolist(), name.tolist(), strict=True))
        for pred, wanted in _matched(example, found, threads).items():
            of[wanted] += 1
            right[wanted] += told[pred] == wanted
    return right, of


def _with_own_classes(example: Example) -> Example:
    """Return it with the classes of the objects that lie mostly there: none is both learnt from and judged on."""
    own = set(example.own().tolist())
    return replace(example, classes={i: name for i, name in example.classes.items() if i in own})


def _matched(example: Example, found: NDArray[Any], threads: int) -> dict[int, str]:
    """Return the class of each found object: that of the labelled one it matches, if it has one."""
    pairs = matching(example.labels, found, 0.5, threads=threads).pairs.tolist()
    return {pred: example.classes[true] for true, pred in pairs if true in example.classes}


def _judged(learnt: dict[str, int], right: Counter[str], of: Counter[str], few: str) -> ClassReport:
    shown = ", ".join(f"{name} {right[name]} of {n}" for name, n in sorted(of.items()))
    left = f" Too few objects to learn from: {few}." if few else ""
    if len(of) < 2:
        words = "Classes are told, but how well cannot be said: the held-out images show fewer than two."
        active = True
    else:
        mean = float(np.mean([right[name] / n for name, n in of.items()]))
        active = mean > 1 / len(learnt)
        words = f"Of held-out objects that were found, the class is right for {shown}."
        if not active:
            words += " That is no better than by chance, so no class is told by it."
    return ClassReport(learnt, {n: right[n] for n in of}, dict(of), active, words + left)
