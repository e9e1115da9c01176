"""How well a network in memory segments labelled images: through the pipeline, as ``cellbrook segment`` does."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook import pipeline
from cellbrook.core.params import SegmentParams
from cellbrook.core.progress import NoProgress, Progress
from cellbrook.engines._torch import TorchEngine
from cellbrook.metrics import matching
from cellbrook.metrics.matching import ratio
from cellbrook.networks.store import ResolvedModel
from cellbrook.training.calibrate import fit_score, judged_objects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from cellbrook.networks.cards import ModelCard
    from cellbrook.training.dataset import Example


CLOSER = 0.01
"""Of as many cells found rightly, this much more of mean IoU counts as better: in a held-out part of few cells their number
hardly changes, but each outline tells."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a model scores on a set of images, at IoU 0.5.

    Parameters
    ----------
    ap : float
        AP = TP / (TP + FP + FN), objects of all images pooled.
    mean_ap : float
        Mean AP of the images. In one without labelled objects, of which a single false one would make 0, those found are
        weighed as in an image with the mean number of objects.
    n_true, n_pred, tp : int
        Objects labelled, found, and found rightly.
    iou : float
        Mean IoU of the objects found rightly, 0 without any.
    images : dict of str to float
        AP of each image.
    """

    ap: float
    mean_ap: float
    n_true: int
    n_pred: int
    tp: int
    iou: float
    images: dict[str, float]

    def better_than(self, other: Score) -> bool:
        """Tell whether more is right; or as much, and the outlines are closer."""
        return self.ap > other.ap or (self.ap == other.ap and self.iou >= other.iou + CLOSER)

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        return asdict(self)


class Judge:
    """Segments images with a network that is being trained.

    Parameters
    ----------
    card : ModelCard
        What the network is.
    device : str
        Where it runs.
    threads : int
        Processor threads.
    target : {"auto", "cells", "nuclei"}
        What to look for, as in ``cellbrook segment``.
    paths : mapping of str to Path
        Files beside the network that segmenting uses, such as "size".
    """

    def __init__(
        self,
        card: ModelCard,
        device: str,
        threads: int,
        target: str = "auto",
        paths: Mapping[str, Path] | None = None,
    ) -> None:
        self._model = ResolvedModel(card.name, card, paths or {}, "", {})
        self._device = device
        self._threads = threads
        self._target = target

    def segment(
        self,
        network: nn.Module,
        example: Example,
        target: str | None = None,
        progress: Progress | None = None,
    ) -> NDArray[np.uint32]:
        """Return the labels that the network finds."""
        return example.its_part(self._segment(self._engine(network), example, target, progress))

    def _segment(
        self, engine: TorchEngine, example: Example, target: str | None, progress: Progress | None = None
    ) -> NDArray[np.uint32]:
        source, given = example.whole.for_pipeline(self._model.card.spec.channels)
        params = SegmentParams.from_keywords(threads=self._threads, **self._wishes(target), **given)
        plan = pipeline.resolve(source, self._model, params)
        data = pipeline.run(
            source, plan, self._model, engine, name=example.name, keep_output=False, progress=progress
        )
        return data.labels

    def calibrated(self, network: nn.Module, examples: Sequence[Example]) -> tuple[ModelCard, int]:
        """Return the model's card with the score fitted again on what the network finds in labelled images it never saw.

        Returns
        -------
        ModelCard
        int
            Objects that it was fitted on.
        """
        judged = judged_objects(
            self._model, self._engine(network), examples, self._threads, **self._wishes(None)
        )
        card = self._model.card
        score = fit_score(*judged, prior=card.spec.score)
        return replace(card, spec=replace(card.spec, score=score)), len(judged[0])

    def _wishes(self, target: str | None) -> dict[str, Any]:
        return {"target": target or self._target} if self._model.card.spec.targets else {}

    def _engine(self, network: nn.Module) -> TorchEngine:
        return TorchEngine(
            lambda: network,
            self._model.card.spec,
            device=self._device,
            precision="fp32",
            threads=self._threads,
            why="it is being trained",
        )

    def score(
        self,
        network: nn.Module,
        examples: Sequence[Example],
        targets: Sequence[str] | None = None,
        progress: Progress | None = None,
    ) -> Score:
        """Segment examples and compare with their labels.

        Parameters
        ----------
        network : nn.Module
            In evaluation mode, without gradients.
        examples : sequence of Example
        targets : sequence of str or None
            What to look for in each. None: what the judge was made for.
        progress : Progress or None
            Asked before each image whether to go on.
        """
        progress = progress or NoProgress()
        engine = self._engine(network)
        tp = n_true = n_pred = 0
        ious = 0.0
        counts: dict[str, tuple[int, int, int]] = {}
        for i, example in enumerate(examples):
            progress.check_cancelled()
            found = self._segment(engine, example, targets[i] if targets else None)
            right, true, pred, iou = _counts(example, found, self._threads)
            counts[example.name] = right, true, pred
            tp, n_true, n_pred, ious = tp + right, n_true + true, n_pred + pred, ious + iou
        pooled = _accuracy(tp, n_true, n_pred)
        usual = n_true / max(sum(true > 0 for _, true, _ in counts.values()), 1) or 1.0
        weighed = [_accuracy(*c) if c[1] else usual / (usual + c[2]) for c in counts.values()]
        mean = float(np.mean(weighed)) if weighed else 0.0
        images = {name: _accuracy(*c) for name, c in counts.items()}
        return Score(pooled, mean, n_true, n_pred, tp, ious / max(tp, 1), images)


def _counts(example: Example, found: NDArray[np.uint32], threads: int) -> tuple[int, int, int, float]:
    """Return right, true and found objects, and the sum of the right ones' IoU.

    Of an image of which a part is held out, those count that lie mostly there.
    Pieces at the cut would be judged by a few rows of pixels.
    """
    matched = matching(example.whole.labels, found, 0.5, threads=threads)
    true = example.own()
    mine = np.isin(matched.pairs[:, 0], true)
    # what is matched goes with its true object, wherever most of it lies
    spurious = np.setdiff1d(example.own(found), matched.pairs[:, 1])
    right = int(mine.sum())
    return right, len(true), right + len(spurious), float(matched.scores[mine].sum())


def _accuracy(tp: int, n_true: int, n_pred: int) -> float:
    return float(ratio(tp, n_true + n_pred - tp))
