"""Learning with the rounding of an int8 graph: what a processor with such instructions will compute is what is learnt.

Weights and layers are rounded on the way forward as `cellbrook.networks.quantize` will round them, and the gradient passes
as if they were not.

References
----------
.. [1] Jacob et al., Quantization and training of neural networks for efficient integer-arithmetic-only inference, CVPR
   2018.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellbrook.networks.compact.model import CompactNet

KEPT = ("stem.0", "pixels", "size")
"""Convolutions that stay as they are: the first and the last ones."""

FOLLOW = 0.02
"""Share of a batch's range in the running one."""


class Rounding(TorchFunctionMode):
    """While it is entered, the network runs as in 8 bits.

    Parameters
    ----------
    network : CompactNet
        Its convolutions but the first and the last, their inputs, and what is added to what passes unchanged.

    Attributes
    ----------
    ranges : Tensor of shape (places, 2)
        Running minimum and maximum of each rounded layer; what a later run needs to go on.
    """

    def __init__(self, network: CompactNet) -> None:
        super().__init__()
        self._convolutions: dict[int, int] = {}
        self._summands: dict[int, int] = {}
        for name, module in network.named_modules():
            place = len(self._convolutions) + len(self._summands)
            if isinstance(module, nn.Conv2d) and name not in KEPT:
                self._convolutions[id(module.weight)] = place
            elif isinstance(module, nn.BatchNorm2d) and _is_added(name):
                self._summands[id(module.weight)] = place
        self.ranges = torch.full((len(self._convolutions) + len(self._summands), 2), torch.nan)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Round what goes into a convolution, and what comes out of a norm that is added."""
        kwargs = kwargs or {}
        if func is torch.conv2d and id(args[1]) in self._convolutions:
            image, weight, *rest = args
            place = self._convolutions[id(weight)]
            return func(self._rounded(image, place), rounded_weights(weight), *rest, **kwargs)
        out = func(*args, **kwargs)
        if func is nn.functional.batch_norm:
            summand = self._summands.get(id(kwargs["weight"]))
            return out if summand is None else self._rounded(out, summand)
        return out

    def _rounded(self, x: Tensor, place: int) -> Tensor:
        with torch.no_grad():
            now = torch.stack([x.amin(dim=(1, 2, 3)).mean(), x.amax(dim=(1, 2, 3)).mean()]).float()
            kept = self.ranges[place]
            kept.copy_(torch.where(torch.isnan(kept), now, torch.lerp(kept, now, FOLLOW)))
            low, high = min(float(kept[0]), 0.0), max(float(kept[1]), 1e-6)
        return _Rounded.apply(x, low, high)  # type: ignore[no-any-return,no-untyped-call]


def _is_added(name: str) -> bool:
    layer, _, last = name.rpartition(".")
    return last == "1" and (layer.endswith("second") or layer.startswith("up") or layer == "dec2")


class _Rounded(torch.autograd.Function):
    """255 steps between two values, of which 0 is one; the gradient passes unchanged."""

    @staticmethod
    def forward(_: Any, x: Tensor, low: float, high: float) -> Tensor:
        step = (high - low) / 255
        zero = round(-low / step)
        return x.mul(1 / step).round_().clamp_(-zero, 255 - zero).mul_(step)

    @staticmethod
    def backward(_: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0], None, None


def rounded_weights(weight: Tensor) -> Tensor:
    """Return convolution weights in 255 steps for each output channel; the gradient passes unchanged."""
    with torch.no_grad():
        step = weight.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12) / 127
        change = (weight / step).round_().mul_(step) - weight
    return weight + change
