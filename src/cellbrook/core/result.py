"""What a segmentation gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cellbrook.core.objects import ObjectTable


@dataclass(frozen=True, slots=True, eq=False)
class NetworkOutput:
    """What the network said of every pixel, at the image's own resolution.

    Parameters
    ----------
    flows : ndarray of shape (2, Y, X) or (3, Z, Y, X), float32
        Flow towards the object's centre as (dy, dx) or (dz, dy, dx), in pixels a step (length about 1 inside objects).
    cellprob : ndarray of shape (Y, X) or (Z, Y, X), float32
        Logit of the probability that the pixel belongs to an object.
    classes : ndarray of shape (K, Y, X), float32, or None
        Class logits, of models that have them.
    diameter_px : float or None
        Typical diameter of the objects as the model estimates it, in pixels.
    """

    flows: NDArray[np.float32]
    cellprob: NDArray[np.float32]
    classes: NDArray[np.float32] | None = None
    diameter_px: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationData:
    """Labels with what belongs to them; `cellbrook.api.Segmentation` adds saving.

    Parameters
    ----------
    labels : ndarray of shape (Y, X), (Z, Y, X), (T, Y, X) or (T, Z, Y, X), uint32
        0 is background. Planes segmented by themselves share one numbering: a label occurs in one plane only. An object of a
        volume goes through planes; one that was followed has its label in all frames.
    objects : ObjectTable
        One row an object, with ``discarded`` candidates; of objects that were followed, one a frame.
    output : NetworkOutput or None
        The network's output; stacks carry it with leading axes as in `labels`.
    image : ndarray of shape (C, Y, X) or with leading axes as in `labels` before C
        The raw pixels of the channels, as read, for measuring and pictures.
    axes : str
        Axes of `labels`, such as "YX" or "ZYX".
    channel_names : tuple of str
        A name for each channel of `image`.
    pixel_size_um : tuple of float or None
        Size of a pixel in micrometres along each spatial axis of `labels`.
    name : str
        Stem for the names of output files.
    provenance : dict
        Parameters, versions, hashes, timings: the content of ``run.json``.
    """

    labels: NDArray[np.uint32]
    objects: ObjectTable
    output: NetworkOutput | None
    image: NDArray[Any]
    axes: str
    channel_names: tuple[str, ...]
    pixel_size_um: tuple[float, ...] | None
    name: str
    provenance: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Say what it is in a line: a notebook shows this, not millions of pixels."""
        size = " x ".join(map(str, self.labels.shape))
        channels = ", ".join(self.channel_names)
        return f"<{type(self).__name__} {self.name}: {len(self.objects)} objects, {size} {self.axes}, channels {channels}>"
