"""Tells a network's family from the names of its tensors, and makes its spec; needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellbrook.errors import ModelError
from cellbrook.networks.cards import FAMILY_SPECS
from cellbrook.networks.cp3 import adapter as cp3
from cellbrook.networks.cpdino import adapter as cpdino
from cellbrook.networks.cpsam import adapter as cpsam

if TYPE_CHECKING:
    from cellbrook.networks.base import NetworkSpec
    from cellbrook.networks.checkpoint import CheckpointHeader

SUPPORTED = ("compact", "cp3", "cpsam", "cpdino")
"""Families whose networks can be run."""

OFFICIAL = ("cp3", "cpsam", "cpdino")
"""Those of them that are Cellpose's."""


def recognise(header: CheckpointHeader, where: str) -> tuple[str, NetworkSpec, dict[str, Any]]:
    """Tell family, spec and the network's arguments from a checkpoint's header.

    Parameters
    ----------
    header : CheckpointHeader
        Names and shapes of its tensors.
    where : str
        What to call it in a message.

    Raises
    ------
    ModelError
        If it is of no known family, or tensors are missing, unexpected or of a wrong shape.
    """
    shapes = header.shapes
    if any(name.startswith("downsample.down.res_down_0.") for name in shapes):
        return "cp3", *cp3.read(header, where)
    if "encoder.cls_token" in shapes and "W2" in shapes:
        return "cpdino", *cpdino.read(header, where)
    if any(name.startswith("encoder.blocks.0.attn.") for name in shapes) and "W2" in shapes:
        return "cpsam", *cpsam.read(header, where)
    if "stem.0.weight" in shapes and header.metadata.get("family", "compact") == "compact":
        return "compact", FAMILY_SPECS["compact"], {}
    first = next(iter(shapes), "nothing")
    raise ModelError(f"{where} is of no known family ({', '.join(SUPPORTED)}): its first tensor is {first!r}")
