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

# blend.cpp
def blend_tile(
    out: NDArray[np.float32],
    tile: NDArray[np.float32],
    weight_y: NDArray[np.float32],
    weight_x: NDArray[np.float32],
    y0: int,
    x0: int,
) -> None: ...

# intensity.cpp
def percentiles(
    data: NDArray[Any], kind: int, fractions: NDArray[np.float64], out: NDArray[np.float64], threads: int
) -> int: ...
def stretch(
    data: NDArray[Any],
    out: NDArray[np.float32],
    low: float,
    scale: float,
    invert: bool,
    limit: float,
    threads: int,
) -> None: ...

# resample.cpp
def resample(
    image: NDArray[np.float32],
    start_y: NDArray[np.int32],
    weights_y: NDArray[np.float32],
    start_x: NDArray[np.int32],
    weights_x: NDArray[np.float32],
    out: NDArray[np.float32],
    threads: int,
) -> None: ...
