"""Checks a checkpoint of Cellpose 1 to 3 against the committed list of keys, and reads its numbers."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from cellbrook.errors import ModelError
from cellbrook.networks.cards import FAMILY_SPECS
from cellbrook.networks.layout import check, read_layout

if TYPE_CHECKING:
    from cellbrook.networks.base import NetworkSpec
    from cellbrook.networks.checkpoint import CheckpointHeader

OUTPUTS = 3  # flow y, flow x, cellprob


def read(header: CheckpointHeader, where: str) -> tuple[NetworkSpec, dict[str, Any]]:
    """Check a checkpoint and return the network's spec and arguments.

    Parameters
    ----------
    header : CheckpointHeader
        Names and shapes of its tensors.
    where : str
        What to call it in a message.

    Raises
    ------
    ModelError
        If tensors are missing, unexpected or of a wrong shape, it does not segment, or its diameter cannot be read.
    """
    values = check(read_layout(__package__), header.shapes, where)
    if values["nout"] != OUTPUTS:
        raise ModelError(
            f"{where} has {values['nout']} output channel(s), expected {OUTPUTS}: it does not segment"
            " (image restoration?)"
        )
    scalars = header.scalars
    if "diam_mean" in header.shapes and "diam_mean" not in scalars:
        raise ModelError(
            f"{where}: its diam_mean cannot be read: expected a float of 16 to 64 bits; save it as float32"
        )
    spec = spec_for(values["nchan"], scalars.get("diam_mean", 30.0), scalars.get("diam_labels"))
    return spec, {"channels": values["nchan"]}


def spec_for(channels: int, diam_mean: float, diam_labels: float | None = None) -> NetworkSpec:
    """Return a network's spec.

    Parameters
    ----------
    channels : int
        Channels it takes.
    diam_mean : float
        Diameter in pixels to which its training images were rescaled.
    diam_labels : float or None
        Mean diameter in pixels of the training objects before that: what to assume of an image.
    """
    base = FAMILY_SPECS["cp3"]
    if not (math.isfinite(diam_mean) and diam_mean > 0):
        diam_mean = 30.0
    if diam_labels is not None and not (math.isfinite(diam_labels) and diam_labels > 0):
        diam_labels = None
    return dataclasses.replace(
        base,
        channels=channels,
        object_diameter_px=diam_mean,
        diameter_range_px=(diam_mean * 0.75, diam_mean * 1.25),
        default_diameter_px=diam_labels,
        channel_roles=base.channel_roles if channels == 2 else (),
    )
