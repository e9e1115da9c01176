"""The Engine protocol: something that runs a network on a batch of tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from cellbrook.errors import EngineError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.networks.base import NetworkSpec


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
    """A loaded network that runs batches. Several threads may use one: each gets the outputs of its own batch."""

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
            ``flow`` (B, 2, Y, X) in pixels a step, ``cellprob`` (B, 1, Y, X) logits, and what else the
            network has: ``log_diameter`` (B, 1, Y/8, X/8), ``class`` (B, K, Y, X). The arrays belong to the
            caller.

        Raises
        ------
        EngineError
            If the batch does not fit the network (see `check_input`).
        EngineMemoryError
            If the batch does not fit the memory of the device; a smaller one may.
        """

    def release(self) -> None:
        """Give back to the system what is kept for the next batch; called after the tiles of an image.

        An output of `run` that is alive keeps the memory that it lies in.
        """


def check_input(x_BCYX: NDArray[np.float32], spec: NetworkSpec) -> NDArray[np.float32]:
    """Return the batch as a contiguous float32 array, or say in what it does not fit the network.

    Parameters
    ----------
    x_BCYX : ndarray of shape (B, C, Y, X), float32
        A batch of tiles; views with any strides are taken.
    spec : NetworkSpec
        What the network asks for.

    Returns
    -------
    ndarray of shape (B, C, Y, X), float32, C-contiguous
        The input itself where it already is.

    Raises
    ------
    EngineError
        If the number of dimensions, the dtype, the channels or the sides do not fit.
    """
    shape = x_BCYX.shape
    if x_BCYX.ndim != 4 or 0 in shape:
        raise EngineError(f"an engine takes a non-empty batch of shape (B, C, Y, X), got shape {shape}")
    if x_BCYX.dtype != np.float32:
        raise EngineError(f"an engine takes float32, got {x_BCYX.dtype}: convert with .astype('float32')")
    network, sides = f"this {spec.family} network", f"{shape[2]} x {shape[3]}"
    if shape[1] != spec.planes:
        raise EngineError(f"{network} takes {spec.planes} plane(s), got {shape[1]}")
    if spec.fixed_tile and shape[2:] != (spec.tile_size, spec.tile_size):
        raise EngineError(f"{network} takes tiles of {spec.tile_size} x {spec.tile_size}, got {sides}")
    if shape[2] % spec.stride or shape[3] % spec.stride:
        raise EngineError(f"{network} takes sides that are multiples of {spec.stride}, got {sides}: pad them")
    return np.ascontiguousarray(x_BCYX)


def first_line(error: BaseException) -> str:
    """Return the line that says what an engine's library complains of, without its trail of source files."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith("Exception from ")]
    return told[0] if told else type(error).__name__
