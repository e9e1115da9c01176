"""The batches of a training: crop `i` of step `s` depends on the seed, `s` and `i` alone, so a resumed run sees the same."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch

from cellbrook.training.augment import AugmentParams, random_crop
from cellbrook.training.data import LookSampler
from cellbrook.training.loss import targets_of
from cellbrook.training.settings import network_diameter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellbrook.networks.base import NetworkSpec
    from cellbrook.training.data import LabelledImage
    from cellbrook.training.loop import Batch

    Sample = tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]

GENERAL = {
    name: getattr(AugmentParams(), name)
    for name in ("diameter_spread", "wide_share", "calm_share", "told_share")
}
"""How far general crops stray, whatever the user's may."""


class Crops:
    """Draws batches.

    Parameters
    ----------
    images : sequence of LabelledImage
        The user's, each drawn as often as any other.
    replay : sequence of LabelledImage
        General ones.
    share : float
        Share of the crops that comes from `replay`.
    spec : NetworkSpec
        For which network.
    params : AugmentParams
        How the user's are changed; the general ones as always, at this size and for this network.
    batch_size : int
        Crops a batch.
    seed : int
        Of every draw.
    """

    def __init__(
        self,
        images: Sequence[LabelledImage],
        replay: Sequence[LabelledImage],
        share: float,
        spec: NetworkSpec,
        params: AugmentParams,
        batch_size: int,
        seed: int,
    ) -> None:
        self._own = LookSampler([dataclasses.replace(i, look=str(n)) for n, i in enumerate(images)])
        self._general = LookSampler(replay) if replay and share else None
        self._share = share
        self._batch_size = batch_size
        self._seed = seed
        self._spec = spec
        self._median = float(np.median([i.diameter_px for i in images if i.diameter_px] or [30.0]))
        self._params = params

    def batch(self, step: int) -> Batch:
        """Return the batch of a step."""
        return self._joined([self._crop(step, i) for i in range(self._batch_size)])

    def fixed(self, count: int) -> list[Batch]:
        """Return batches that no step sees, to compare the loss over time."""
        return [self._joined([self._crop(-1 - n, i) for i in range(self._batch_size)]) for n in range(count)]

    def _crop(self, step: int, i: int) -> Sample:
        rng = np.random.default_rng([self._seed, abs(step), int(step < 0), i])
        if self._general is not None and rng.random() < self._share:
            item = self._general.draw(rng)
            params = dataclasses.replace(self._params, **GENERAL)
        else:
            item = self._own.draw(rng)
            shown = network_diameter(self._spec, item.diameter_px, self._median)
            params = dataclasses.replace(self._params, diameter_px=shown)
        image, labels, inside = random_crop(item, rng, params)
        return image, targets_of(labels, inside)

    def _joined(self, crops: list[Sample]) -> Batch:
        images = torch.from_numpy(np.stack([image for image, _ in crops]))
        targets = {k: torch.from_numpy(np.stack([t[k] for _, t in crops])) for k in crops[0][1]}
        return images, targets


class Prefetch:
    """Prepares the next batch in a thread while the present one is learnt from.

    Parameters
    ----------
    crops : Crops
    first, last : int
        Steps, `last` exclusive.
    """

    def __init__(self, crops: Crops, first: int, last: int) -> None:
        self._crops = crops
        self._last = last
        self._step = first
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="crops")
        self._next: Future[Batch] | None = self._submit()

    def _submit(self) -> Future[Batch] | None:
        return self._pool.submit(self._crops.batch, self._step) if self._step < self._last else None

    def take(self) -> Batch:
        """Return the batch of the next step."""
        assert self._next is not None
        batch = self._next.result()
        self._step += 1
        self._next = self._submit()
        return batch

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(cancel_futures=True)
