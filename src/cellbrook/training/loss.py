"""Targets from labels, and how far the network is from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cellbrook.dynamics import flows_from_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class LossParams:
    """Weights of the terms.

    Parameters
    ----------
    flow : float
        Weight of the squared error of the flows.
    size : float
        Weight of the absolute error of the log diameter.
    """

    flow: float = 10.0
    size: float = 0.3


def targets_of(
    labels: NDArray[np.uint32], inside: NDArray[np.bool_] | None = None
) -> dict[str, NDArray[np.float32]]:
    """Return what the network should say of these labels.

    Parameters
    ----------
    labels : ndarray of shape (Y, X)
    inside : ndarray of shape (Y, X), optional
        Where the labels are known. None: everywhere.

    Returns
    -------
    dict
        ``flow`` (2, Y, X), ``cellprob`` (1, Y, X) of 0 and 1, ``log_diameter`` (1, Y/8, X/8) with NaN where no object is,
        ``inside`` (1, Y, X) of 0 and 1.
    """
    flow = flows_from_labels(labels, threads=1)
    area = np.bincount(labels.ravel())
    log_diameter = np.log(2 * np.sqrt(np.maximum(area, 1) / np.pi)).astype(np.float32)
    log_diameter[0] = np.nan
    # an object cut by the border of the crop says little about its size
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        log_diameter[np.unique(edge)] = np.nan
    return {
        "flow": flow,
        "cellprob": (labels > 0).astype(np.float32)[None],
        "log_diameter": log_diameter[labels[4::8, 4::8]][None],
        "inside": np.ones((1, *labels.shape), np.float32)
        if inside is None
        else inside[None].astype(np.float32),
    }


def loss_of(
    output: dict[str, Tensor], target: dict[str, Tensor], params: LossParams
) -> tuple[Tensor, dict[str, Any]]:
    """Return the loss and its terms."""
    inside = target["inside"]
    pixels = inside.sum().clamp(min=1)
    flow = ((output["flow"].float() - target["flow"]).square() * inside).sum() / (2 * pixels)
    cellprob = (
        F.binary_cross_entropy_with_logits(
            output["cellprob"].float(), target["cellprob"], weight=inside, reduction="sum"
        )
        / pixels
    )
    if "log_diameter" not in output:
        return params.flow * flow + cellprob, {"flow": flow.detach(), "cellprob": cellprob.detach()}
    known = torch.isfinite(target["log_diameter"])
    wanted = torch.where(known, target["log_diameter"], 0.0)
    error = (output["log_diameter"].float() - wanted).abs() * known
    size = error.sum() / known.sum().clamp(min=1)
    total = params.flow * flow + cellprob + params.size * size
    return total, {"flow": flow.detach(), "cellprob": cellprob.detach(), "size": size.detach()}
