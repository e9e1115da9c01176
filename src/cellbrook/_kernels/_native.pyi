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
    labels: NDArray[np.uint32],
    boxes: NDArray[np.int64],
    shapes: NDArray[np.float64],
    flat: bool,
    threads: int,
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

# paint.cpp
def compose(
    image: NDArray[Any],
    limits: NDArray[np.float64],
    colors: NDArray[np.float64],
    rgb: NDArray[np.uint8],
    threads: int,
) -> None: ...
def draw_contours(
    labels: NDArray[np.uint32],
    rgb: NDArray[np.uint8],
    index: NDArray[np.uint8],
    colors: NDArray[np.uint8],
    width: int,
    halo: int,
    shade: float,
    threads: int,
) -> None: ...
def paint_labels(
    labels: NDArray[np.uint32],
    rgb: NDArray[np.uint8],
    index: NDArray[np.uint8],
    colors: NDArray[np.uint8],
    threads: int,
) -> None: ...
def edge_labels(labels: NDArray[np.uint32], out: NDArray[np.uint32], threads: int) -> None: ...
def neighbour_colors(
    labels: NDArray[np.uint32], index: NDArray[np.uint8], colors: int, reach: int
) -> int: ...

# diffuse.cpp
def flows_from_labels_2d(labels: NDArray[np.uint32], flows: NDArray[np.float32], threads: int) -> None: ...
def flows_from_labels_3d(labels: NDArray[np.uint32], flows: NDArray[np.float32], threads: int) -> None: ...
def flow_errors_2d(
    labels: NDArray[np.uint32],
    flows: NDArray[np.float32],
    wanted: NDArray[np.uint8],
    errors: NDArray[np.float64],
    threads: int,
) -> None: ...
def flow_errors_3d(
    labels: NDArray[np.uint32],
    flows: NDArray[np.float32],
    wanted: NDArray[np.uint8],
    errors: NDArray[np.float64],
    threads: int,
) -> None: ...

# candidates.cpp
def find_candidates_2d(
    flows: NDArray[np.float32], cellprob: NDArray[np.float32], threshold: float, niter: int, threads: int
) -> tuple[NDArray[np.uint32], NDArray[np.int32]]: ...
def find_candidates_3d(
    flows: NDArray[np.float32], cellprob: NDArray[np.float32], threshold: float, niter: int, threads: int
) -> tuple[NDArray[np.uint32], NDArray[np.int32]]: ...
def region_figures_2d(
    labels: NDArray[np.uint32], count: int, cellprob: NDArray[np.float32] | None, threads: int
) -> NDArray[np.float64]: ...
def region_figures_3d(
    labels: NDArray[np.uint32], count: int, cellprob: NDArray[np.float32] | None, threads: int
) -> NDArray[np.float64]: ...
def fill_label_holes_2d(labels: NDArray[np.uint32], count: int, everything: bool, threads: int) -> int: ...
def fill_label_holes_3d(labels: NDArray[np.uint32], count: int, everything: bool, threads: int) -> int: ...
def map_labels(labels: NDArray[np.uint32], new_labels: NDArray[np.uint32], threads: int) -> None: ...

# trace.cpp
def trace_labels(
    labels: NDArray[np.uint32], boxes: NDArray[np.int64], threads: int
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]: ...
def fill_polygons(
    points: NDArray[np.float64],
    starts: NDArray[np.int64],
    labels_of_rings: NDArray[np.int64],
    planes_of_rings: NDArray[np.int64],
    labels: NDArray[np.uint32],
) -> None: ...

# dispatch.cpp
def vector_level() -> int: ...
def has_int8_dot() -> bool: ...
def limit_vector_level(level: int) -> None: ...

# peer_flows.cpp
def peer_candidates_2d(
    flows: NDArray[np.float32], cellprob: NDArray[np.float32], threshold: float, niter: int, threads: int
) -> tuple[NDArray[np.uint32], NDArray[np.int32]]: ...
def peer_flows_from_labels_2d(
    labels: NDArray[np.uint32], flows: NDArray[np.float32], threads: int
) -> None: ...
def peer_flow_errors_2d(
    labels: NDArray[np.uint32], flows: NDArray[np.float32], errors: NDArray[np.float64], threads: int
) -> None: ...
def peer_candidates_3d(
    flows: NDArray[np.float32], cellprob: NDArray[np.float32], threshold: float, niter: int, threads: int
) -> tuple[NDArray[np.uint32], NDArray[np.int32]]: ...
def peer_flows_from_labels_3d(
    labels: NDArray[np.uint32], flows: NDArray[np.float32], threads: int
) -> None: ...
def peer_flow_errors_3d(
    labels: NDArray[np.uint32], flows: NDArray[np.float32], errors: NDArray[np.float64], threads: int
) -> None: ...
