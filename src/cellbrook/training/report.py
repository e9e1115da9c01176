"""What a training gives back, and what it says about itself."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from cellbrook.training.classes import ClassReport
    from cellbrook.training.scores import Score
    from cellbrook.training.settings import Settings

OVERFIT = 1.15
"""Held-out loss above its lowest by this factor, while the training loss falls, is learning by heart."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The state of a training at one validation.

    Parameters
    ----------
    step : int
        Steps done.
    loss : float
        Mean training loss since the last validation.
    held_out_loss : float
        Loss on fixed crops of held-out images.
    ap : float
        AP at IoU 0.5 on held-out images.
    """

    step: int
    loss: float
    held_out_loss: float
    ap: float


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What came of a training.

    Parameters
    ----------
    path : Path
        Folder of the model, for ``cellbrook segment --model``.
    active : bool
        The model may take the place of the one it started from. False: it is no better on held-out images, or found
        nothing; it lies in `path` all the same, to be looked at.
    start : str
        Model it started from, or "scratch".
    validation_start, validation : Score or None
        Scores on held-out images: of the start (None from scratch) and of the new model.
    frozen_start, frozen : Score or None
        Scores on general images, which are never trained on: of the general model and of the new one.
    kept : float
        Share of the new weights in the model: 1 unless they were moved back towards the start.
    steps, best_step : int
        Steps done, and the step whose weights were kept.
    seconds : float
        Wall time, of all runs if it was resumed.
    peak_bytes : int or None
        Most memory that was taken, where the system tells.
    curve : tuple of CurvePoint
        One a validation; step 0 is the start.
    settings : Settings
        What was done.
    images, objects : int
        What was learnt from, without what was held out.
    split : str
        How images were held out.
    words : tuple of str
        What to know, in sentences.
    classes : ClassReport or None
        How well classes are told; None where no object had one.
    """

    path: Path
    active: bool
    start: str
    validation_start: Score | None
    validation: Score
    frozen_start: Score | None
    frozen: Score | None
    kept: float
    steps: int
    best_step: int
    seconds: float
    peak_bytes: int | None
    curve: tuple[CurvePoint, ...]
    settings: Settings
    images: int
    objects: int
    split: str
    words: tuple[str, ...]
    classes: ClassReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        return dataclasses.asdict(self) | {"path": str(self.path)}

    def lines(self) -> list[str]:
        """Return the report for people."""
        rows = [("held-out images", self.validation_start, self.validation)]
        if self.frozen is not None:
            rows.append(("general images", self.frozen_start, self.frozen))
        lines = [f"{'AP at IoU 0.5':<18}{'start':>8}{'new':>8}"]
        for name, before, after in rows:
            general = name.startswith("general")
            old = "-" if before is None else f"{before.mean_ap if general else before.ap:.3f}"
            lines.append(f"{name:<18}{old:>8}{after.mean_ap if general else after.ap:>8.3f}")
        return [*lines, *self.words]


def words_of_learning(curve: tuple[CurvePoint, ...], best_step: int) -> list[str]:
    """Say in words if the images were learnt by heart."""
    trained = [p for p in curve if p.step > 0]
    if len(trained) < 3:
        return []
    lowest = min(trained, key=lambda p: p.held_out_loss)
    last = trained[-1]
    if last.held_out_loss > OVERFIT * lowest.held_out_loss and last.loss < lowest.loss:
        return [
            f"From about step {lowest.step} on it learnt the training images by heart: the error on held-out images rose "
            f"while that on training images still fell. The weights of step {best_step} were kept. More images, of "
            "different days or conditions, would help most."
        ]
    return []


def words_of_result(
    start: Score | None, new: Score, start_name: str, *, gained: bool
) -> tuple[bool, list[str]]:
    """Decide whether a model may take the place of the one it started from, and say why.

    `gained`: at some validation on the way it was better than at the beginning.
    """
    if new.n_pred == 0 and new.n_true:
        return False, [
            f"The new model finds nothing on the held-out images, where {new.n_true} objects are labelled: it was trained "
            "for too few steps, with too large a learning rate, or on labels that do not lie on the objects. Look at the "
            "curves and at the report of the images."
        ]
    if start is None:
        return True, [f"Trained from scratch: AP {new.ap:.3f} on the held-out images."]
    gain = 100 * (new.ap - start.ap)
    outlines = f"mean IoU {new.iou:.3f} against {start.iou:.3f}"
    if new.better_than(start) and not gained:
        at_the_end = (
            f"AP is {new.ap:.3f} against {start.ap:.3f}" if gain else f"outlines are closer ({outlines})"
        )
        return False, [
            f"At no validation on the way was the new model better than at the beginning, so {start_name} stays in use, "
            f"though at the end the {at_the_end}: that may be chance."
        ]
    if new.better_than(start) and not gain:
        return True, [
            f"On the held-out images the new model finds as many cells as {start_name} (AP {new.ap:.3f}), and its outlines "
            f"are closer to yours: {outlines}."
        ]
    if gain > 0:
        better = sum(new.images[n] > start.images[n] for n in new.images)
        return True, [
            f"The new model is better on the held-out images by {gain:.1f} points of AP ({better} of {len(new.images)} "
            f"image{'s' * (len(new.images) != 1)} better)."
        ]
    return False, [
        f"The new model is not better than {start_name} on the held-out images (AP {new.ap:.3f} against {start.ap:.3f}), "
        f"so {start_name} stays in use. More labelled images, or labels checked once more, may change that."
    ]
