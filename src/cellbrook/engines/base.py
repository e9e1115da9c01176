"""The Engine protocol: something that runs a network on a batch of tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What runs, where, and in which arithmetic.

    Parameters
    ----------
    engine : str
        "onnxruntime", "openvino" or "torch".
    version : str
        Version of that library.
    device : str
        "cpu", "cuda:0", "mps".
    precision : str
        "fp32", "bf16" or "int8".
    threads : int
        Processor threads it was bound to.
    why : str
        One line: why this engine and device were chosen.
    """

    engine: str
    version: str
    device: str
    precision: str
    threads: int
    why: str


class Engine(Protocol):
    """A loaded network that runs batches. Not thread-safe: one caller at a time."""

    @property
    def info(self) -> EngineInfo:
        """What runs, where."""

    def run(self, x_BCYX: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Run one batch.

        Parameters
        ----------
        x_BCYX : ndarray of shape (B, C, Y, X), float32
            Normalised tiles; Y and X are multiples of the network's stride.

        Returns
        -------
        dict of str to ndarray, float32
            ``flow`` (B, 2, Y, X) in pixels a step, ``cellprob`` (B, 1, Y, X) logits, and what else the network has:
            ``log_diameter`` (B, 1, Y/8, X/8), ``class`` (B, K, Y, X).
        """
