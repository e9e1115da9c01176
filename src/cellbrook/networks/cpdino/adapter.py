"""Checks a cpdino checkpoint against the committed list of keys, and reads its sizes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from cellbrook.errors import ModelError
from cellbrook.networks.cards import FAMILY_SPECS
from cellbrook.networks.layout import check, read_layout

if TYPE_CHECKING:
    from cellbrook.networks.base import NetworkSpec
    from cellbrook.networks.checkpoint import CheckpointHeader


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
        If tensors are missing, unexpected or of a wrong shape.
    """
    values = check(read_layout(__package__), header.shapes, where)
    head_dim = 4 * values["quarter_head"]
    if (
        values["dim"] % head_dim
        or values["nout"] < 3
        or not values["depth"]
        or values["kernel"] < values["patch"]
    ):
        raise ModelError(
            f"{where}: expected whole attention heads, at least one block and three outputs, got width"
            f" {values['dim']} with heads of {head_dim}, {values['depth']} blocks, {values['nout']} outputs"
        )
    names = ("channels", "kernel", "patch", "depth", "dim", "mlp", "storage", "nout")
    config = {name: values[name] for name in names} | {"head_dim": head_dim}
    return spec_for(values["channels"], values["patch"], values["nout"]), config


def spec_for(channels: int, patch: int, nout: int) -> NetworkSpec:
    """Return the spec of a network with these sizes (see `cellbrook.networks.cpdino.model.CpdinoNet`)."""
    base = FAMILY_SPECS["cpdino"]
    outputs = base.outputs if nout == 3 else (*base.outputs, "class")
    return dataclasses.replace(base, channels=channels, stride=patch, outputs=outputs)
