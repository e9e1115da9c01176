"""Types of the compiled kernels, one block a kernel file."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# match.cpp
def overlaps(
    a: NDArray[Any], b: NDArray[Any], threads: int
) -> tuple[
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int64],
]: ...
def assign(
    cols: int, start: NDArray[np.int64], col: NDArray[np.int64], weight: NDArray[np.float64]
) -> NDArray[np.int64]: ...

def object_boxes(labels: NDArray[np.uint32], boxes: NDArray[np.int64], threads: int) -> None: ...
def object_shapes(
    labels: NDArray[np.uint32], boxes: NDArray[np.int64], shapes: NDArray[np.float64], flat: bool, threads: int
) -> None: ...
def object_intensities(
    labels: NDArray[np.uint32],
    boxes: NDArray[np.int64],
    image: NDArray[Any],
    out: NDArray[np.float64],
    threads: int,
) -> None: ...
