"""The architecture of Cellpose's cpdino models: a DINOv3 vision transformer, read out to pixels.

Patches of 16 pixels are taken every 8; positions enter by rotating queries and keys, so every tile size
works. Modules carry the names that official checkpoints use, so that the adapter only has to check them.

Shape letters: B batch, C channels, Y X pixels, H W tokens, N all tokens (class, storage, then H*W), D width,
A heads.

References
----------
.. [1] Siméoni et al., DINOv3, arXiv 2508.10104.
.. [2] Heo et al., Rotary Position Embedding for Vision Transformer, ECCV 2024.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cellbrook.errors import ModelError
from cellbrook.networks.cpdino.adapter import spec_for

FLOW_SCALE = 5.0
"""These networks give flows five times as long as the unit vectors they stand for."""

EPS = 1e-5
ROPE_BASE = 100.0


class _PatchEmbed(nn.Module):
    def __init__(self, channels: int, dim: int, kernel: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, kernel, stride=patch, padding=(kernel - patch) // 2)

    def forward(self, x_BCYX: Tensor) -> Tensor:
        # Fewer channels than the kernel has are the same as zeros in the missing ones, at less cost.
        weight = self.proj.weight[:, : x_BCYX.shape[1]]
        return F.conv2d(x_BCYX, weight, self.proj.bias, self.proj.stride, self.proj.padding)


class _Rotation(nn.Module):
    """Angles by which queries and keys are turned: what a token's row and column are, at several scales."""

    periods: Tensor

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        count = head_dim // 4
        self.register_buffer("periods", ROPE_BASE ** (torch.arange(count) / count))

    def forward(self, h: int, w: int) -> tuple[Tensor, Tensor]:
        """Return sine and cosine, (H*W, head_dim) each."""
        device = self.periods.device
        rows = 2 * torch.arange(0.5, h, device=device) / h - 1
        columns = 2 * torch.arange(0.5, w, device=device) / w - 1
        places_N2 = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).flatten(0, 1)
        angles = (2 * math.pi * places_N2[:, :, None] / self.periods.float()).flatten(1).repeat(1, 2)
        return angles.sin(), angles.cos()


def _rotate(x_BAND: Tensor, sin_ND: Tensor, cos_ND: Tensor) -> Tensor:
    """Turn the last tokens, as many as there are angles; class and storage tokens have no place and stay."""
    extra = x_BAND.shape[-2] - sin_ND.shape[-2]
    fixed, moved = x_BAND[..., :extra, :], x_BAND[..., extra:, :]
    first, second = moved.chunk(2, dim=-1)
    turned = moved * cos_ND + torch.cat([-second, first], dim=-1) * sin_ND
    return torch.cat([fixed, turned.to(x_BAND.dtype)], dim=-2)


class _MaskedLinear(nn.Linear):
    """A linear map with part of its bias switched off: official networks have no bias on keys."""

    bias_mask: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        mask = torch.ones(outputs)
        mask[outputs // 3 : 2 * outputs // 3] = 0
        self.register_buffer("bias_mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias * self.bias_mask.to(self.bias.dtype))


class _Attention(nn.Module):
    def __init__(self, dim: int, head_dim: int) -> None:
        super().__init__()
        self.heads = dim // head_dim
        self.qkv = _MaskedLinear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x_BND: Tensor, sin_ND: Tensor, cos_ND: Tensor) -> Tensor:
        b, n, dim = x_BND.shape
        qkv = self.qkv(x_BND).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q_BAND, k_BAND, v_BAND = qkv.unbind(0)
        q_BAND, k_BAND = _rotate(q_BAND, sin_ND, cos_ND), _rotate(k_BAND, sin_ND, cos_ND)
        mixed = F.scaled_dot_product_attention(q_BAND, k_BAND, v_BAND)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(b, n, dim))
        return out


class _Scale(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class _Block(nn.Module):
    def __init__(self, dim: int, head_dim: int, mlp: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = _Attention(dim, head_dim)
        self.ls1 = _Scale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = _Mlp(dim, mlp)
        self.ls2 = _Scale(dim)

    def forward(self, x_BND: Tensor, sin_ND: Tensor, cos_ND: Tensor) -> Tensor:
        x_BND = x_BND + self.ls1(self.attn(self.norm1(x_BND), sin_ND, cos_ND))
        out: Tensor = x_BND + self.ls2(self.mlp(self.norm2(x_BND)))
        return out


class _Encoder(nn.Module):
    def __init__(
        self,
        channels: int,
        kernel: int,
        patch: int,
        depth: int,
        dim: int,
        head_dim: int,
        mlp: int,
        storage: int,
    ) -> None:
        super().__init__()
        self.patch_embed = _PatchEmbed(channels, dim, kernel, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.storage_tokens = nn.Parameter(torch.zeros(1, storage, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, dim))  # of the backbone's training; never used here
        self.rope_embed = _Rotation(head_dim)
        self.blocks = nn.ModuleList(_Block(dim, head_dim, mlp) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=EPS)

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """Return the tokens of the places, (B, H, W, D)."""
        patches_BDHW = self.patch_embed(x_BCYX)
        b, dim, h, w = patches_BDHW.shape
        extra = (self.cls_token.expand(b, -1, -1), self.storage_tokens.expand(b, -1, -1))
        x_BND = torch.cat([*extra, patches_BDHW.flatten(2).transpose(1, 2)], dim=1)
        sin_ND, cos_ND = self.rope_embed(h, w)
        for block in self.blocks:
            x_BND = block(x_BND, sin_ND, cos_ND)
        places_BND = self.norm(x_BND[:, -h * w :])
        out: Tensor = places_BND.reshape(b, h, w, dim)
        return out


class CpdinoNet(nn.Module):
    """Image to flows and cell probability, and classes if it was trained for them.

    Parameters
    ----------
    channels : int
        Most channels it takes; any order, fewer are allowed.
    kernel, patch : int
        Side of the pixels a token sees, and of those it answers for.
    depth : int
        Blocks.
    dim, head_dim, mlp : int
        Width of the tokens, of an attention head, and of the hidden layer of a block.
    storage : int
        Tokens without a place, besides the class token.
    nout : int
        Output channels: three, preceded by the classes.

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
        kernel: int = 16,
        patch: int = 8,
        depth: int = 24,
        dim: int = 1024,
        head_dim: int = 64,
        mlp: int = 4096,
        storage: int = 4,
        nout: int = 3,
    ) -> None:
        super().__init__()
        self.spec = spec_for(channels, patch, nout)
        self.encoder = _Encoder(channels, kernel, patch, depth, dim, head_dim, mlp, storage)
        self.out = nn.Linear(dim, nout * patch**2)
        # Never trained: it lays the values of a token out as its pixels. Checkpoints hold it.
        self.register_buffer("W2", torch.eye(nout * patch**2).reshape(nout * patch**2, nout, patch, patch))
        self.register_buffer("diam_mean", torch.full((1,), 30.0))
        self.register_buffer("diam_labels", torch.full((1,), 30.0))

    def forward(self, x_BCYX: Tensor) -> dict[str, Tensor]:
        """Run the network.

        Parameters
        ----------
        x_BCYX : Tensor of shape (B, C, Y, X)
            Y and X are multiples of ``spec.stride``; 1 to ``spec.channels`` channels.

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
        stride, (channels, height, width) = self.spec.stride, x_BCYX.shape[1:]
        if height % stride or width % stride or not 1 <= channels <= self.spec.channels:
            raise ModelError(
                f"cpdino takes 1 to {self.spec.channels} channels, sides that are multiples of {stride},"
                f" got {tuple(x_BCYX.shape)}"
            )
        tokens_BKHW = self.out(self.encoder(x_BCYX)).permute(0, 3, 1, 2)
        y_BCYX = F.conv_transpose2d(tokens_BKHW, self.W2, stride=stride)
        out = {"flow": y_BCYX[:, -3:-1] / FLOW_SCALE, "cellprob": y_BCYX[:, -1:]}
        if y_BCYX.shape[1] > 3:
            out["class"] = y_BCYX[:, :-3]
        return out
