"""The architecture of Cellpose 1 to 3: a residual U-Net whose decoder is steered by a style vector.

Modules carry the names that official checkpoints use, so that the adapter only has to check them.

Shape letters: B batch, C channels, Y rows, X columns, S style (256).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cellbrook.networks.cp3.adapter import OUTPUTS, spec_for

WIDTHS = (32, 64, 128, 256)
"""Channels at 1, 1/2, 1/4 and 1/8 of the resolution."""

FLOW_SCALE = 5.0
"""These networks give flows five times as long as the unit vectors they stand for."""


def _unit(inputs: int, outputs: int, kernel: int = 3, *, relu: bool = True) -> nn.Sequential:
    """Normalise, rectify, convolve, in this order."""
    norm = nn.BatchNorm2d(inputs, eps=1e-5, momentum=0.05)
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    return nn.Sequential(norm, nn.ReLU(), conv) if relu else nn.Sequential(norm, conv)


class _StyledUnit(nn.Module):
    """A unit whose input is shifted, channel by channel, by a linear function of the style."""

    def __init__(self, width: int, style: int) -> None:
        super().__init__()
        self.conv = _unit(width, width)
        self.full = nn.Linear(style, width)

    def forward(self, x_BCYX: Tensor, style_BS: Tensor) -> Tensor:
        shifted: Tensor = self.conv(x_BCYX + self.full(style_BS)[:, :, None, None])
        return shifted


class _Down(nn.Module):
    """Two residual pairs of convolutions; the first changes the width."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.ModuleDict(
            {f"conv_{i}": _unit(inputs if i == 0 else outputs, outputs) for i in range(4)}
        )
        self.proj = _unit(inputs, outputs, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x) + self.conv["conv_1"](self.conv["conv_0"](x))
        out: Tensor = x + self.conv["conv_3"](self.conv["conv_2"](x))
        return out


class _Up(nn.Module):
    """As `_Down`, with the encoder's map of the same resolution added and the style mixed in."""

    def __init__(self, inputs: int, outputs: int, style: int) -> None:
        super().__init__()
        self.conv = nn.ModuleDict({"conv_0": _unit(inputs, outputs)})
        for i in (1, 2, 3):
            self.conv[f"conv_{i}"] = _StyledUnit(outputs, style)
        self.proj = _unit(inputs, outputs, 1, relu=False)

    def forward(self, x: Tensor, skip: Tensor, style_BS: Tensor) -> Tensor:
        x = self.proj(x) + self.conv["conv_1"](self.conv["conv_0"](x) + skip, style_BS)
        out: Tensor = x + self.conv["conv_3"](self.conv["conv_2"](x, style_BS), style_BS)
        return out


class _Encoder(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        inputs = (channels, *WIDTHS[:-1])
        self.down = nn.ModuleDict(
            {f"res_down_{i}": _Down(a, b) for i, (a, b) in enumerate(zip(inputs, WIDTHS, strict=True))}
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for block in self.down.values():
            maps.append(block(F.max_pool2d(maps[-1], 2) if maps else x))
        return maps


class _Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        inputs = (*WIDTHS[1:], WIDTHS[-1])
        self.up = nn.ModuleDict(
            {
                f"res_up_{i}": _Up(a, b, WIDTHS[-1])
                for i, (a, b) in enumerate(zip(inputs, WIDTHS, strict=True))
            }
        )

    def forward(self, maps: list[Tensor], style_BS: Tensor) -> Tensor:
        x = maps[-1]
        for level in reversed(range(len(maps))):
            x = self.up[f"res_up_{level}"](x, maps[level], style_BS)
            if level:
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return x


class Cp3Net(nn.Module):
    """Image to flows, cell probability and style.

    Parameters
    ----------
    channels : int
        Channels it takes: 2 in official models, the cells and their nuclei (zeros where there is none).

    Attributes
    ----------
    spec : NetworkSpec
        What the pipeline must know of it; the object diameter is `diam_mean`.
    diam_mean : Tensor of shape (1,), float32
        Diameter in pixels to which the training images were rescaled.
    diam_labels : Tensor of shape (1,), float32
        Mean diameter in pixels of the training objects before that.
    """

    diam_mean: Tensor
    diam_labels: Tensor

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.spec = spec_for(channels, 30.0)
        self.downsample = _Encoder(channels)
        self.upsample = _Decoder()
        self.output = _unit(WIDTHS[0], OUTPUTS, 1)
        self.register_buffer("diam_mean", torch.full((1,), 30.0))
        self.register_buffer("diam_labels", torch.full((1,), 30.0))

    def forward(self, x_BCYX: Tensor) -> dict[str, Tensor]:
        """Run the network.

        Parameters
        ----------
        x_BCYX : Tensor of shape (B, C, Y, X)
            Y and X are multiples of 8.

        Returns
        -------
        dict of str to Tensor
            ``flow`` (B, 2, Y, X) in pixels a step, ``cellprob`` (B, 1, Y, X) logits, ``style`` (B, 256) of
            length 1.
        """
        maps = self.downsample(x_BCYX)
        mean_BS = maps[-1].mean(dim=(2, 3))
        style_BS = mean_BS / mean_BS.square().sum(dim=1, keepdim=True).sqrt().clamp_min(1e-12)
        y_BCYX = self.output(self.upsample(maps, style_BS))
        return {"flow": y_BCYX[:, :2] / FLOW_SCALE, "cellprob": y_BCYX[:, 2:], "style": style_BS}
