"""The architecture of `compact`: a residual U-Net that spends its operations at low resolution.

The stem halves the image twice with cheap convolutions; most of the work is done at 1/8 to 1/32 of the resolution, where
a 3 x 3 convolution sees a whole cell. There is no global pooling and no attention, so what the network says of a pixel
does not depend on where a tile was cut, as long as the tiles overlap by the reach of the network.

Shape letters: B batch, C channels, Y rows, X columns.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from cellbrook.networks.cards import FAMILY_SPECS

SPEC = FAMILY_SPECS["compact"]

WIDTHS = (24, 48, 96, 192, 256)
"""Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the resolution."""


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    """Two 3 x 3 convolutions around which the input passes unchanged."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = _conv(width, width)
        norm = self.second[1]
        assert isinstance(norm, nn.BatchNorm2d)
        nn.init.zeros_(norm.weight)  # starts as the identity, which trains faster

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        return F.relu(x + self.second(F.relu(self.first(x))))


class CompactNet(nn.Module):
    """Image to flows, cell probability and object size.

    Parameters
    ----------
    widths : tuple of int
        Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the resolution.
    """

    def __init__(self, widths: tuple[int, int, int, int, int] = WIDTHS) -> None:
        super().__init__()
        self.spec = SPEC
        w2, w4, w8, w16, w32 = widths
        self.stem = _conv(SPEC.planes, w2, stride=2)
        self.down4 = _conv(w2, w4, stride=2)
        self.enc4 = Residual(w4)
        self.down8 = _conv(w4, w8, stride=2)
        self.enc8 = Residual(w8)
        self.down16 = _conv(w8, w16, stride=2)
        self.enc16 = nn.Sequential(Residual(w16), Residual(w16))
        self.down32 = _conv(w16, w32, stride=2)
        self.enc32 = Residual(w32)
        self.up16 = _conv(w32, w16, kernel=1)
        self.dec16 = Residual(w16)
        self.up8 = _conv(w16, w8, kernel=1)
        self.dec8 = Residual(w8)
        self.up4 = _conv(w8, w4, kernel=1)
        self.dec4 = Residual(w4)
        self.up2 = _conv(w4, w2, kernel=1)
        self.dec2 = _conv(w2, w2)
        self.pixels = nn.Conv2d(w2, 4 * 3, 3, padding=1)  # 2 x 2 pixels of dy, dx and cellprob
        self.size = nn.Conv2d(w8, 1, 1)

    def forward(self, x_BCYX: Tensor) -> dict[str, Tensor]:
        """Run the network.

        Parameters
        ----------
        x_BCYX : Tensor of shape (B, 4, Y, X)
            Three channels of the normalised image, and the target's plane; Y and X are multiples of 32.

        Returns
        -------
        dict
            ``flow`` (B, 2, Y, X) in pixels a step; ``cellprob`` (B, 1, Y, X) logit; ``log_diameter``
            (B, 1, Y/8, X/8), natural logarithm of the diameter in pixels of the object there.
        """
        s2 = F.relu(self.stem(_held_back(x_BCYX)))
        s4 = self.enc4(F.relu(self.down4(s2)))
        s8 = self.enc8(F.relu(self.down8(s4)))
        s16 = self.enc16(F.relu(self.down16(s8)))
        s32 = self.enc32(F.relu(self.down32(s16)))
        d16 = self.dec16(F.relu(s16 + _double(self.up16(s32))))
        d8 = self.dec8(F.relu(s8 + _double(self.up8(d16))))
        d4 = self.dec4(F.relu(s4 + _double(self.up4(d8))))
        d2 = F.relu(s2 + _double(self.up2(d4)))
        d2 = F.relu(d2 + self.dec2(d2))
        pixels = F.pixel_shuffle(self.pixels(d2), 2)
        return {"flow": pixels[:, :2], "cellprob": pixels[:, 2:], "log_diameter": self.size(d8) + 3.0}


def _held_back(x: Tensor) -> Tensor:
    """Let the logarithm of what is above 1 pass.

    In a sparse field the percentiles are those of the background, and a cell may be at a hundred times their distance:
    a few such crops would decide the statistics of a batch, and the range of an integer network.
    """
    return x.clamp(-3.0, 1.0) + x.clamp(min=1.0).log()


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
