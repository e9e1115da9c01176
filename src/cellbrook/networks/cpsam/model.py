"""The architecture of Cellpose-SAM: a vision transformer with relative positions, read out to pixels.

The encoder is the image encoder of Segment Anything (ViT-L) with patches of 8 instead of 16 pixels and
attention over the whole tile in every block. Modules carry the names that official checkpoints use, so that
the adapter only has to check them.

Shape letters: B batch, C channels, Y X pixels, H W tokens, N tokens in a row (H*W), D width, A attention
heads.

References
----------
.. [1] Kirillov et al., Segment Anything, ICCV 2023.
.. [2] Li et al., MViTv2, CVPR 2022 (decomposed relative positions).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cellbrook.errors import ModelError
from cellbrook.networks.cpsam.adapter import spec_for

if TYPE_CHECKING:
    from collections.abc import Sequence

FLOW_SCALE = 5.0
"""These networks give flows five times as long as the unit vectors they stand for."""

EPS = 1e-6


class _PatchEmbed(nn.Module):
    def __init__(self, channels: int, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, patch, stride=patch)

    def forward(self, x_BCYX: Tensor) -> Tensor:
        # Fewer channels than the kernel has are the same as zeros in the missing ones, at less cost.
        weight = self.proj.weight[:, : x_BCYX.shape[1]]
        y_BDHW = F.conv2d(x_BCYX, weight, self.proj.bias, stride=self.proj.stride)
        return y_BDHW.permute(0, 2, 3, 1)


class _Attention(nn.Module):
    """Attention among all tokens, with a bias from their distance in rows and in columns."""

    def __init__(self, dim: int, head_dim: int, rel_pos: int) -> None:
        super().__init__()
        self.heads = dim // head_dim
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(rel_pos, head_dim))
        self.rel_pos_w = nn.Parameter(torch.zeros(rel_pos, head_dim))

    def forward(self, x_BHWD: Tensor) -> Tensor:
        b, h, w, dim = x_BHWD.shape
        qkv = self.qkv(x_BHWD).reshape(b, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q_BAND, k_BAND, v_BAND = qkv.unbind(0)
        q_BAHWD = q_BAND.reshape(b, self.heads, h, w, -1)
        rows = torch.einsum("bahwd,hkd->bahwk", q_BAHWD, _relative(self.rel_pos_h, h))
        columns = torch.einsum("bahwd,wkd->bahwk", q_BAHWD, _relative(self.rel_pos_w, w))
        bias = (rows[..., :, None] + columns[..., None, :]).reshape(b, self.heads, h * w, h * w)
        mixed = F.scaled_dot_product_attention(q_BAND, k_BAND, v_BAND, attn_mask=bias)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(b, h, w, dim))
        return out


def _relative(table: Tensor, size: int) -> Tensor:
    """Return a table's row for each pair of positions, (size, size, D); resampled if its length differs."""
    wanted = 2 * size - 1
    if table.shape[0] != wanted:
        table = F.interpolate(table.T[None], size=wanted, mode="linear")[0].T
    places = torch.arange(size, device=table.device)
    return table[places[:, None] - places[None, :] + size - 1]


class _Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.lin2(F.gelu(self.lin1(x)))
        return out


class _Block(nn.Module):
    def __init__(self, dim: int, head_dim: int, mlp: int, rel_pos: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = _Attention(dim, head_dim, rel_pos)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = _Mlp(dim, mlp)

    def forward(self, x_BHWD: Tensor) -> Tensor:
        x_BHWD = x_BHWD + self.attn(self.norm1(x_BHWD))
        out: Tensor = x_BHWD + self.mlp(self.norm2(x_BHWD))
        return out


class _ChannelNorm(nn.Module):
    """Normalises the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BHWC = x_BCHW.permute(0, 2, 3, 1)
        return F.layer_norm(x_BHWC, self.weight.shape, self.weight, self.bias, EPS).permute(0, 3, 1, 2)


class _Encoder(nn.Module):
    def __init__(
        self,
        channels: int,
        patch: int,
        grid: int,
        dim: int,
        head_dim: int,
        mlp: int,
        neck: int,
        rel_pos: Sequence[int],
    ) -> None:
        super().__init__()
        self.patch_embed = _PatchEmbed(channels, dim, patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, dim))
        self.blocks = nn.ModuleList(_Block(dim, head_dim, mlp, length) for length in rel_pos)
        self.neck = nn.Sequential(
            nn.Conv2d(dim, neck, 1, bias=False),
            _ChannelNorm(neck),
            nn.Conv2d(neck, neck, 3, padding=1, bias=False),
            _ChannelNorm(neck),
        )

    def forward(self, x_BCYX: Tensor) -> Tensor:
        x_BHWD = self.patch_embed(x_BCYX) + self.pos_embed
        for block in self.blocks:
            x_BHWD = block(x_BHWD)
        out: Tensor = self.neck(x_BHWD.permute(0, 3, 1, 2))
        return out


class CpsamNet(nn.Module):
    """Image to flows and cell probability, and classes if it was trained for them.

    Parameters
    ----------
    channels : int
        Most channels it takes; any order, fewer are allowed.
    patch : int
        Side of a token in pixels.
    grid : int
        Tokens along a side of the tile: the only tile size is ``grid * patch``.
    depth : int
        Blocks.
    dim, head_dim, mlp, neck : int
        Width of the tokens, of an attention head, of the hidden layer of a block, and of the readout's input.
    nout : int
        Output channels: three, preceded by the classes.
    rel_pos : sequence of int, or None
        Length of each block's tables of distances; None: as long as the grid asks for.

    Attributes
    ----------
    spec : NetworkSpec
        What the pipeline must know of it.
    diam_mean, diam_labels : Tensor of shape (1,), float32
        Mean diameters in pixels that the checkpoint tells of its training; nothing here uses them.
    """

    diam_mean: Tensor
    diam_labels: Tensor
    W2: Tensor

    def __init__(
        self,
        channels: int = 3,
        patch: int = 8,
        grid: int = 32,
        depth: int = 24,
        dim: int = 1024,
        head_dim: int = 64,
        mlp: int = 4096,
        neck: int = 256,
        nout: int = 3,
        rel_pos: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec_for(channels, grid, patch, nout)
        lengths = [2 * grid - 1] * depth if rel_pos is None else rel_pos
        if len(lengths) != depth:
            raise ModelError(f"expected a length of rel_pos for each of {depth} blocks, got {len(lengths)}")
        self.encoder = _Encoder(channels, patch, grid, dim, head_dim, mlp, neck, lengths)
        self.out = nn.Conv2d(neck, nout * patch**2, 1)
        # Never trained: it lays the values of a token out as its pixels. Checkpoints hold it.
        self.register_buffer("W2", torch.eye(nout * patch**2).reshape(nout * patch**2, nout, patch, patch))
        self.register_buffer("diam_mean", torch.full((1,), 30.0))
        self.register_buffer("diam_labels", torch.full((1,), 30.0))

    def forward(self, x_BCYX: Tensor) -> dict[str, Tensor]:
        """Run the network.

        Parameters
        ----------
        x_BCYX : Tensor of shape (B, C, Y, X)
            Y and X are ``spec.tile_size``; 1 to ``spec.channels`` channels.

        Returns
        -------
        dict of str to Tensor
            ``flow`` (B, 2, Y, X) in pixels a step, ``cellprob`` (B, 1, Y, X) logits, ``class`` (B, K, Y, X)
            logits if it has them.

        Raises
        ------
        ModelError
            If the shape does not fit.
        """
        side = self.spec.tile_size
        if x_BCYX.shape[2:] != (side, side) or not 1 <= x_BCYX.shape[1] <= self.spec.channels:
            raise ModelError(
                f"cpsam takes 1 to {self.spec.channels} channels in tiles of {side} x {side},"
                f" got {tuple(x_BCYX.shape)}"
            )
        y_BCYX = F.conv_transpose2d(self.out(self.encoder(x_BCYX)), self.W2, stride=self.spec.stride)
        out = {"flow": y_BCYX[:, -3:-1] / FLOW_SCALE, "cellprob": y_BCYX[:, -1:]}
        if y_BCYX.shape[1] > 3:
            out["class"] = y_BCYX[:, :-3]
        return out
