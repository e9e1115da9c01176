"""Which weights of a network learn: all, the last layers, or small matrices beside the frozen ones (LoRA)."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cellbrook.errors import UsageError

if TYPE_CHECKING:
    from cellbrook.training.params import Layers

LAST_LAYERS = {
    "compact": ("up4.", "dec4.", "up2.", "dec2.", "pixels.", "size."),
    "cp3": ("upsample.up.res_up_0.", "output."),
    "cpsam": ("encoder.neck.", "out."),
    "cpdino": ("out.",),
}
"""Beginnings of the names of the parameters that "last" trains, by family."""

TRANSFORMERS = ("cpsam", "cpdino")


class LoraLinear(nn.Module):
    """A frozen linear layer plus a trained product of two small matrices, which starts as zero.

    Parameters
    ----------
    base : nn.Linear
        Is frozen.
    rank : int
        Rank of the product.

    References
    ----------
    .. [1] Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022.
    """

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        out: Tensor = self.base(x)
        return out + F.linear(F.linear(x, self.down), self.up)

    def merged(self) -> nn.Linear:
        """Return one plain layer that does the same."""
        plain = copy.deepcopy(self.base)
        with torch.no_grad():
            plain.weight += self.up @ self.down
        return plain


def choose_layers(network: nn.Module, layers: Layers, rank: int = 8) -> None:
    """Freeze what is not to learn, in place; with "lora", put the small matrices in.

    Raises
    ------
    UsageError
        If the network has no layers of that kind.
    """
    spec: Any = network.spec
    if layers == "all":
        network.requires_grad_(True)
        return
    if layers == "lora" and spec.family not in TRANSFORMERS:
        raise UsageError(
            f"--train lora is for transformers ({', '.join(TRANSFORMERS)}), {spec.family} has none: use --train last"
        )
    network.requires_grad_(False)
    last = LAST_LAYERS[spec.family]
    if layers == "lora":
        last = LAST_LAYERS[spec.family][-1:]  # the readout learns as it is
        for block in _blocks(network):
            _wrap_linears(block, rank)
    for name, parameter in network.named_parameters():
        if name.startswith(last):
            parameter.requires_grad_(True)


def merge_lora(network: nn.Module) -> nn.Module:
    """Fold the small matrices into the layers beside them, in place: the network is what it was, with new weights."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoraLinear):
                setattr(parent, name, child.merged())
    return network


def freeze_statistics(network: nn.Module) -> None:
    """Keep the means and variances of batch norms: those of a few images say little, and others are not forgotten."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def _blocks(network: nn.Module) -> list[nn.Module]:
    """Return the blocks of a transformer: the longest list of modules it has."""
    lists = [list(m) for m in network.modules() if isinstance(m, nn.ModuleList)]
    return max(lists, key=len, default=[])


def _wrap_linears(module: nn.Module, rank: int) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, LoraLinear(child, min(rank, child.in_features, child.out_features)))
        else:
            _wrap_linears(child, rank)


def interpolated(start: nn.Module, new: nn.Module, share: float) -> nn.Module:
    """Return a network whose weights lie between two: 0 gives the start, 1 the new one."""
    mixed = copy.deepcopy(new)
    first = start.state_dict()
    with torch.no_grad():
        for name, value in mixed.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.lerp(first[name].to(value), value, share))
    return mixed
