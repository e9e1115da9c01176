"""The metadata around a label store's chunks, so that any OME-Zarr reader opens them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cellbrook.io.atomic import atomic
from cellbrook.io.writers import RESULT_MARK
from cellbrook.project._patch import CHUNK
from cellbrook.project.labelstore import levels_of

if TYPE_CHECKING:
    from pathlib import Path


def create_label_zarr(
    folder: Path, axes: str, leading: tuple[int, ...], shape: tuple[int, int], pixel_size_um: dict[str, float]
) -> None:
    """Make an empty OME-Zarr of labels: uint32, gzip, chunks of 512 x 512 also where the image is smaller.

    Parameters
    ----------
    folder : Path
        Must not exist.
    axes, leading, shape : str, tuple of int, (int, int)
        Axes of the labels, lengths of those before Y and X, rows and columns.
    pixel_size_um : dict of str to float
        By axis, where known.
    """
    import zarr
    from zarr.codecs import GzipCodec

    kinds = {"T": "time"}
    declared: list[dict[str, Any]] = [
        {"name": a.lower(), "type": kinds.get(a, "space")}
        | ({"unit": "micrometer"} if a in pixel_size_um else {})
        for a in axes
    ]
    datasets = []
    with atomic(folder) as temporary:
        root = zarr.open_group(temporary, mode="w", zarr_format=3)
        for level in range(levels_of(shape)):
            factor = 2**level
            root.create_array(
                str(level),
                shape=(*leading, *(math.ceil(n / factor) for n in shape)),
                dtype="<u4",
                chunks=(*(1 for _ in leading), CHUNK, CHUNK),
                compressors=GzipCodec(level=1),
                dimension_names=[a.lower() for a in axes],
            )
            scale = [pixel_size_um.get(a, 1.0) * (factor if a in "YX" else 1) for a in axes]
            datasets.append(
                {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
            )
        root.attrs[RESULT_MARK] = "labels"
        multiscale: Any = {"axes": declared, "datasets": datasets}
        root.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale], "image-label": {}}
