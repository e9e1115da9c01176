"""Record what Cellpose's networks compute from `network_recipe`'s weights.

Run once with the interpreter of cellpose 3.1.1.3 and once with that of 4.2.1.1 (for cpdino with Meta's
``dinov3`` package beside it)::

    python tests/parity/record_networks.py --out tests/parity
    python tests/parity/record_networks.py --out DIR --checkpoints   # whole networks, their state dicts, all
    pixels

The first writes the committed fixtures: ``networks_<family>.npz`` (outputs) and
``networks_<family>_keys.json`` (names and shapes of the official state dict). The second writes files for
`compare_networks.py`; cpsam's has 1.2 GB.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import types
from importlib.metadata import version
from pathlib import Path

import network_recipe as recipe
import numpy as np
import torch

STRIDE = (
    5  # pixels kept of cpsam's outputs: coprime with the 8 pixels of a token, so every place in one occurs
)


def randomise(net: torch.nn.Module) -> torch.nn.Module:
    state = {
        n: torch.from_numpy(recipe.tensor(n, tuple(t.shape)).reshape(tuple(t.shape)))
        for n, t in net.state_dict().items()
    }
    net.load_state_dict(state, strict=True)
    return net.eval().float()


def write_keys(net: torch.nn.Module, path: Path) -> None:
    keys = {name: list(tensor.shape) for name, tensor in net.state_dict().items()}
    path.write_text(
        "{\n" + ",\n".join(f" {json.dumps(k)}: {json.dumps(s)}" for k, s in keys.items()) + "\n}\n"
    )


def record_cp3(out: Path, whole: bool) -> None:
    from cellpose.resnet_torch import CPnet

    arrays = {}
    for channels, seed, shape in ((2, 1, (2, 2, 48, 64)), (3, 2, (1, 3, 32, 40))):
        net = randomise(CPnet([channels, 32, 64, 128, 256], 3, 3))
        if channels == 2:
            write_keys(net, out / "networks_cp3_keys.json")
        cases = {f"nchan{channels}": (seed, shape)}
        if whole:
            cases[f"nchan{channels}_tile"] = (seed + 10, (1, channels, 224, 224))
            torch.save(net.state_dict(), out / f"cp3_nchan{channels}.pth")
        for name, (case_seed, case_shape) in cases.items():
            with torch.no_grad():
                y, style = net(torch.from_numpy(recipe.image(case_seed, case_shape)))[:2]
            arrays |= {
                f"{name}_seed": case_seed,
                f"{name}_shape": case_shape,
                f"{name}_y": y.numpy(),
                f"{name}_style": style.numpy(),
            }
    np.savez_compressed(out / "networks_cp3.npz", version=version("cellpose"), **arrays)


def record_cpsam(out: Path, whole: bool) -> None:
    from cellpose import vit
    from segment_anything.modeling import ImageEncoderViT

    with torch.device("meta"):
        write_keys(vit.CPSAM(), out / "networks_cpsam_keys.json")
    if not whole:  # the same code, with a small encoder
        encoder = functools.partial(
            ImageEncoderViT,
            img_size=1024, patch_size=16, embed_dim=96, depth=3, num_heads=3, mlp_ratio=4, out_chans=32,
            qkv_bias=True, use_rel_pos=True, window_size=14, global_attn_indexes=(1,),
            norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-6),
        )  # fmt: skip
        vit.sam_model_registry = {"vit_l": lambda _: types.SimpleNamespace(image_encoder=encoder())}
    arrays = {}
    for nout in (3,) if whole else (3, 5):
        net = randomise(vit.CPSAM(nout=nout, dtype=torch.float32))
        if whole:
            torch.save(net.state_dict(), out / "cpsam_nout3.pth")
        for channels in (3, 2, 1) if nout == 3 else (3,):
            name = f"nout{nout}_channels{channels}"
            shape = (1, channels, 256, 256)
            with torch.no_grad():
                y = net(torch.from_numpy(recipe.image(channels, shape)))[0].numpy()
            kept = y if whole else y[:, :, ::STRIDE, ::STRIDE]
            arrays |= {f"{name}_seed": channels, f"{name}_shape": shape, f"{name}_y": kept}
            print(f"cpsam {name}: mean {y.mean():.3f}, standard deviation {y.std():.3f}")  # noqa: T201
    np.savez_compressed(
        out / "networks_cpsam.npz", version=version("cellpose"), stride=1 if whole else STRIDE, **arrays
    )


def record_cpdino(out: Path, whole: bool) -> None:
    from cellpose import vit
    from dinov3.models.vision_transformer import DinoVisionTransformer

    with torch.device("meta"):
        write_keys(vit.CPDINO(), out / "networks_cpdino_keys.json")
    if not whole:  # the same code, with a small encoder
        vit.dinov3_vitl16 = lambda pretrained: DinoVisionTransformer(
            img_size=224,
            patch_size=16,
            pos_embed_rope_base=100.0,
            pos_embed_rope_normalize_coords="separate",
            pos_embed_rope_dtype="fp32",
            embed_dim=96,
            depth=3,
            num_heads=3,
            ffn_ratio=4,
            layerscale_init=1e-5,
            norm_layer="layernormbf16",
            n_storage_tokens=4,
            mask_k_bias=True,
        )
    arrays = {}
    net = randomise(vit.CPDINO(dtype=torch.float32))
    if whole:
        torch.save(net.state_dict(), out / "cpdino_nout3.pth")
    for channels, sides in ((3, (96, 128)), (2, (64, 64)), (1, (64, 64))):
        name = f"nout3_channels{channels}"
        shape = (1, channels, *sides)
        with torch.no_grad():
            y = net(torch.from_numpy(recipe.image(channels, shape)))[0].numpy()
        arrays |= {f"{name}_seed": channels, f"{name}_shape": shape, f"{name}_y": y}
    np.savez_compressed(out / "networks_cpdino.npz", version=version("cellpose"), **arrays)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--checkpoints", action="store_true", help="whole networks, with their state dicts")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    if version("cellpose").startswith("3."):
        record_cp3(arguments.out, arguments.checkpoints)
        return
    record_cpsam(arguments.out, arguments.checkpoints)
    if importlib.util.find_spec("dinov3") is not None:
        record_cpdino(arguments.out, arguments.checkpoints)


if __name__ == "__main__":
    main()
