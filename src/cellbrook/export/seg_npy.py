"""``_seg.npy`` files, which the graphical interface of Cellpose 4 opens, edits and re-thresholds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook._kernels import _native
from cellbrook.core.threads import resolve_threads
from cellbrook.errors import UsageError
from cellbrook.export._layout import flows_by_plane
from cellbrook.export.pictures import PALETTE, neighbour_palette
from cellbrook.io.writers import atomic

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.core.result import NetworkOutput

# Cellpose keeps flows as its networks give them: five times the step.
_FLOW_SCALE = 5.0


def write_seg_npy(
    path: str | Path,
    labels: NDArray[Any],
    output: NetworkOutput | None = None,
    *,
    image: NDArray[Any] | None = None,
    image_path: str | None = None,
    diameter_px: float | None = None,
    flow_threshold: float = 0.4,
    cellprob_threshold: float = 0.0,
    threads: int | None = None,
) -> Path:
    """Write labels and network output as a ``_seg.npy``.

    Flows are in the order that the graphical interface needs to compute masks anew, which differs from the
    order that Cellpose's own command line writes. The file is a pickle, as Cellpose wants it: open such files
    only from people you trust. (`cellbrook.io.read_labels` reads their masks without running what is in
    them.)

    Parameters
    ----------
    path : str or Path
        Replaced whole if it exists.
    labels : ndarray of shape (Y, X), (Z, Y, X) or (T, Y, X), integer
        0 is background.
    output : NetworkOutput or None
        The network's output. None: the interface shows and edits the masks but cannot compute them anew.
    image : ndarray of shape (C, Y, X), or None
        Raw pixels, stored only if `image_path` is None: else the interface finds the image by its path, or by
        its name beside this file.
    image_path : str or None
        Where the image is.
    diameter_px : float or None
        Typical diameter of the objects.
    flow_threshold, cellprob_threshold : float
        What the labels were made with.
    threads : int or None
        Processor threads. None: all that this process may use.

    Raises
    ------
    UsageError
        If `labels` has both T and Z, which the interface has no place for.
    """
    labels = np.asarray(labels)
    if labels.ndim not in (2, 3):
        raise UsageError(f"_seg.npy holds one plane or one stack, got labels of shape {labels.shape}")
    count = int(labels.max(initial=0))
    dtype = np.uint16 if count < 2**16 - 1 else np.uint32
    planes = np.ascontiguousarray(labels, np.uint32).reshape(-1, *labels.shape[-2:])
    outlines = np.empty_like(planes)
    _native.edge_labels(planes, outlines, resolve_threads(threads))
    content: dict[str, Any] = {
        "outlines": outlines.reshape(labels.shape).astype(dtype),
        "masks": labels.astype(dtype),
        "colors": _colors(planes, count),
        "chan_choose": [0, 0],
        "ismanual": np.zeros(count, bool),
        "manual_changes": [],
        "filename": image_path or Path(path).name.removesuffix("_seg.npy"),
        "flows": [[], [], [], [], [[]]] if output is None else _flows(output, labels.shape),
        "model_path": 0,
        "flow_threshold": float(flow_threshold),
        "cellprob_threshold": float(cellprob_threshold),
        "restore": None,
        "ratio": 1.0,
        "diameter": float("nan") if diameter_px is None else float(diameter_px),
    }
    if labels.ndim == 3:
        content |= {"zdraw": [None] * count, "current_channel": 0}
    if image_path is None and image is not None:
        content["img"] = _as_yxc(np.asarray(image))
    with atomic(path) as target, target.open("wb") as file:
        np.save(file, np.array(content, dtype=object), allow_pickle=True)
    return Path(path)


def _colors(planes: NDArray[np.uint32], count: int) -> NDArray[np.uint8]:
    """Return a colour an object: the overlay's, which neighbours do not share."""
    if len(planes) == 1:
        index, palette = neighbour_palette(planes[0])
        return palette[index[1:]]
    return PALETTE[np.arange(count) % len(PALETTE)]


def _flows(output: NetworkOutput, shape: tuple[int, ...]) -> list[Any]:
    """Return flows as the interface orders them: picture, cellprob as picture, flows, cellprob."""
    flows, cellprob = np.asarray(output.flows, np.float32), np.asarray(output.cellprob, np.float32)
    if len(shape) == 3 and flows_by_plane(flows.shape, shape):
        flows = np.moveaxis(flows, 1, 0)
    picture = flow_rgb(flows)
    shown = np.clip(np.rint(255 / (1 + np.exp(-np.clip(cellprob, -30, 30)))), 0, 255).astype(np.uint8)
    scaled = np.ascontiguousarray(flows * np.float32(_FLOW_SCALE))
    if len(shape) == 2:
        return [picture[None], shown[None], scaled[None], cellprob[None]]
    along_z = flows[0] if len(flows) == 3 else np.zeros(shape, np.float32)
    return [picture, shown, scaled, cellprob, np.clip(along_z * 63.5 + 127, 0, 255).astype(np.uint8)]


def flow_rgb(flows: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a picture of flows: hue is direction in the plane, brightness is length.

    Parameters
    ----------
    flows : ndarray of shape (2, ...) or (3, ...), float32
        The last two of the first axis are dy and dx, in pixels a step; a length of 1 is full brightness.

    Returns
    -------
    ndarray of shape (..., 3), uint8
    """
    dy, dx = flows[-2], flows[-1]
    angle = np.arctan2(dy, dx)
    length = np.minimum(np.hypot(dy, dx), 1.0)
    thirds = np.array([0, 2 * np.pi / 3, 4 * np.pi / 3], np.float32)
    rgb = (np.cos(angle[..., None] + thirds) + 1) * (127.5 * length[..., None])
    picture: NDArray[np.uint8] = rgb.astype(np.uint8)
    return picture


def _as_yxc(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image as the interface wants it: three channels, last; grey is repeated."""
    image = np.moveaxis(image, -3, -1)[..., :3]
    if image.shape[-1] == 1:
        return np.repeat(image, 3, axis=-1)
    missing = np.zeros((*image.shape[:-1], 3 - image.shape[-1]), image.dtype)
    return np.concatenate([image, missing], axis=-1)
