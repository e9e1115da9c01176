"""Forgetting: what a training cost on other images, and how it is mended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cellbrook.training.adapt import interpolated

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from cellbrook.training.scores import Score

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""Shares of the new weights that are tried, the largest first."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """A network that has been checked for forgetting.

    Parameters
    ----------
    network : nn.Module
        The one to keep.
    share : float
        Share of the new weights in it.
    validation, frozen : Score
        Its scores.
    within : bool
        It forgot no more than allowed.
    """

    network: nn.Module
    share: float
    validation: Score
    frozen: Score
    within: bool


def guard(
    start: nn.Module,
    new: Guarded,
    *,
    least: float,
    validation_start: Score,
    judge: Callable[[nn.Module], Score],
    judge_frozen: Callable[[nn.Module], Score],
) -> Guarded:
    """Move a network back towards its start until it has forgotten no more than allowed.

    The weights of a network and of its fine-tuned self can be averaged: on the way back general images recover sooner
    than the gain on the user's own is lost.

    Parameters
    ----------
    start : nn.Module
        What was trained.
    new : Guarded
        What came of it.
    least : float
        Mean AP on the frozen images that must be kept.
    validation_start : Score
        Of `start` on held-out images: what is kept must be better.
    judge, judge_frozen : callable
        Score a network on held-out and on frozen images.

    References
    ----------
    .. [1] Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022.
    """
    if new.frozen.mean_ap >= least:
        return new
    found: Guarded | None = None
    # the first share is mostly enough; further back, halves are faster than steps
    low, high, at = 0, len(SHARES), 0
    while low < high:
        mixed = interpolated(start, new.network, SHARES[at])
        frozen = judge_frozen(mixed)
        if frozen.mean_ap < least:
            low = at + 1
        else:
            found, high = Guarded(mixed, SHARES[at], new.validation, frozen, True), at
        at = (low + high) // 2
    if found is not None:  # further back it is only more like the start
        found = replace(found, validation=judge(found.network))
        if found.validation.better_than(validation_start):
            return found
    return replace(new, within=False)


def words_of_forgetting(general: Score, kept: Guarded, before: Score) -> list[str]:
    """Say in words what was forgotten.

    Parameters
    ----------
    general : Score
        Of the general model on the frozen images.
    kept : Guarded
        What was kept.
    before : Score
        Of the new weights on the frozen images, before they were moved back.
    """
    fall = 100 * (general.mean_ap - kept.frozen.mean_ap)
    if kept.share < 1:
        lost = 100 * (general.mean_ap - before.mean_ap)
        return [
            f"Training cost {lost:.1f} points of AP on general images, more than allowed. The weights were moved back "
            f"towards the start ({kept.share:.0%} new): now it is {max(fall, 0):.1f} points, and the held-out images are "
            "still better than before."
        ]
    if not kept.within:
        return [
            f"The new model lost {fall:.1f} points of AP on general images: use it for images like the training images "
            "only. Nothing between the old and the new weights was good on both; --train last or --replay 0.75 forget less."
        ]
    if fall > 1:
        return [f"On general images it lost {fall:.1f} points of AP, which is within what is allowed."]
    return ["On general images it is as good as before."]
