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
        If tensors are missing, unexpected or of a wrong shape, or it does not segment.
    """
    values = check(read_layout(__package__), header.shapes, where)
    if values["nout"] != OUTPUTS:
        raise ModelError(
            f"{where} has {values['nout']} output channel(s), expected {OUTPUTS}: it does not segment"
            " (image restoration?)"
        )
    spec = spec_for(values["nchan"], header.scalars.get("diam_mean", 30.0))
    return spec, {"channels": values["nchan"]}


def spec_for(channels: int, diam_mean: float) -> NetworkSpec:
    """Return the spec of a network that takes so many channels and objects of such a diameter in pixels."""
    base = FAMILY_SPECS["cp3"]
    if not (math.isfinite(diam_mean) and diam_mean > 0):
        diam_mean = 30.0
    return dataclasses.replace(
        base,
        channels=channels,
        object_diameter_px=diam_mean,
        diameter_range_px=(diam_mean * 2 / 3, diam_mean * 3 / 2),
        channel_roles=base.channel_roles if channels == 2 else (),
    )
