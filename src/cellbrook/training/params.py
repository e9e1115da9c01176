"""How a training by a user goes: every option, once."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Any, Literal

from cellbrook.core.params import checked
from cellbrook.errors import UsageError

Layers = Literal["all", "last", "lora"]
Target = Literal["auto", "cells", "nuclei"]


@dataclass(frozen=True, slots=True)
class TrainParams:
    """Options of a training. None: resolved from the data, the model and the machine, and printed.

    Parameters
    ----------
    steps : int or None
        Steps of training at most; it stops earlier when nothing improves any more.
    learning_rate : float or None
        Largest learning rate; it rises at the start and falls to zero by the last step.
    batch_size : int or None
        Crops a step.
    crop : int or None
        Side of a crop in pixels, after rescaling to the size of objects that the model wants.
    train : {"all", "last", "lora"}
        Which weights learn. "last": the last layers, which takes less memory and forgets less. "lora": small matrices
        beside the frozen ones of a transformer (cpsam, cpdino).
    rank : int
        Rank of the matrices of "lora".
    target : {"auto", "cells", "nuclei"}
        What the labels outline, for models that can be told. "auto": the cells where there are two or more stains,
        else nothing is said.
    held_out : float
        Share of the images that is kept for validation, at least one; of a single image this share of its area.
    patience : int
        Validations without improvement after which training stops.
    replay : float or None
        Share of the crops that comes from a small general set of images, so that other images are not forgotten.
        None: 0.5, and 0 from scratch.
    max_forgetting : float
        Largest part of the AP on general images that may be lost. More than this is mended after training, by moving
        the weights back towards those of the start. 1 allows anything.
    seed : int
        Of every draw. The same seed, data and machine give the same weights.
    channels : str or None
        Channels of the images to use, as in ``cellbrook segment``.
    device : str
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    threads : int or None
        Processor threads. None: the cores this process may use.
    """

    steps: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    crop: int | None = None
    train: Layers = "all"
    rank: int = 8
    target: Target = "auto"
    held_out: float = 0.2
    patience: int = 6
    replay: float | None = None
    max_forgetting: float = 0.05
    seed: int = 0
    channels: str | None = None
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, low in (
            ("steps", 1),
            ("batch_size", 1),
            ("crop", 32),
            ("rank", 1),
            ("patience", 1),
            ("seed", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < low:
                raise UsageError(f"{name} must be at least {low}, got {value}")
        if self.learning_rate is not None and not 0 < self.learning_rate < 1:
            raise UsageError(f"learning_rate must lie between 0 and 1, got {self.learning_rate:g}")
        if not 0 < self.held_out < 1:
            raise UsageError(
                f"held_out must lie between 0 and 1, got {self.held_out:g}: something must be validated on"
            )
        if self.replay is not None and not 0 <= self.replay < 1:
            raise UsageError(f"replay must be at least 0 and below 1, got {self.replay:g}")
        if not 0 <= self.max_forgetting <= 1:
            raise UsageError(f"max_forgetting must lie between 0 and 1, got {self.max_forgetting:g}")
        for name, known in (("train", ("all", "last", "lora")), ("target", ("auto", "cells", "nuclei"))):
            if getattr(self, name) not in known:
                raise UsageError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")

    @classmethod
    def from_keywords(cls, **keywords: Any) -> TrainParams:
        """Build from keywords, which are checked as those of `cellbrook.core.params.SegmentParams.from_keywords`.

        Raises
        ------
        UsageError
            If a keyword is not a parameter, or a value is of the wrong type or makes no sense.
        """
        return cls(**checked(keywords, typing.get_type_hints(cls)))
