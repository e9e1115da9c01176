"""Builds a torch network from a model's weights."""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from cellbrook.errors import EngineError, ModelError
from cellbrook.networks import families
from cellbrook.networks.checkpoint import read_header
from cellbrook.networks.layout import read_layout
from cellbrook.networks.store import resolve_model

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from cellbrook.networks.store import ResolvedModel

logger = logging.getLogger(__name__)

_CLASSES = {
    "compact": ("cellbrook.networks.compact.model", "CompactNet"),
    "cp3": ("cellbrook.networks.cp3.model", "Cp3Net"),
    "cpsam": ("cellbrook.networks.cpsam.model", "CpsamNet"),
    "cpdino": ("cellbrook.networks.cpdino.model", "CpdinoNet"),
}


def load(name_or_path: str | os.PathLike[str] | ResolvedModel, *, device: str = "cpu") -> torch.nn.Module:
    """Load a model as a torch network, ready to predict.

    Parameters
    ----------
    name_or_path : str, path or ResolvedModel
        As for `resolve_model`: a name, a folder, or a checkpoint; official Cellpose checkpoints included.
    device : str
        Where to put it, such as "cpu" or "cuda:0".

    Returns
    -------
    torch.nn.Module
        In evaluation mode and float32. ``forward(x_BCYX)`` returns a dict with ``flow`` (B, 2, Y, X) in
        pixels a step, ``cellprob`` (B, 1, Y, X) and what else the family has; ``.spec`` is its `NetworkSpec`.

    Raises
    ------
    ModelError
        If there is no such model, or its weights do not fit its network exactly.
    EngineError
        If torch is not installed.
    """
    torch = require_torch()
    from cellbrook.networks.store import ResolvedModel

    model = name_or_path if isinstance(name_or_path, ResolvedModel) else resolve_model(name_or_path)
    kind = next((k for k in ("safetensors", "checkpoint") if k in model.paths), None)
    if kind is None:
        raise ModelError(
            f"model {model.name!r} has graphs only ({', '.join(model.paths)}), no weights that torch can load"
        )
    path = model.paths[kind]
    where = f"model file {path}"
    header = read_header(path)
    family, spec, config = families.recognise(header, where)
    if family != model.card.family:
        raise ModelError(f"{where} is a {family} network, its card says {model.card.family}")
    for fact in ("channels", "stride", "tile_size") if family == "cpsam" else ("channels", "stride"):
        if getattr(spec, fact) != getattr(model.card.spec, fact):
            raise ModelError(
                f"{where}: its card says {fact} = {getattr(model.card.spec, fact)},"
                f" its weights {getattr(spec, fact)}"
            )
    module, name = _CLASSES[family]
    # Built without memory, then given the loaded tensors: a network of 1.2 GB never exists twice.
    with torch.device("meta"):
        try:
            network = getattr(importlib.import_module(module), name)(**{**model.card.config, **config})
        except TypeError as error:
            raise ModelError(
                f"{where}: the config of its card does not fit a {family} network ({error})"
            ) from error
    state = read_state(path, header.format)
    if family in families.OFFICIAL:
        state = _fit_official(
            state, read_layout(f"cellbrook.networks.{family}"), model.card.spec.object_diameter_px, torch
        )
    else:  # our own files leave out the counters of batches seen in training, which predicting never reads
        counters = [name for name in network.state_dict() if name.endswith(".num_batches_tracked")]
        state = {**{name: torch.zeros((), dtype=torch.int64) for name in counters}, **state}
    load_strictly(network, state, where)
    network.spec = model.card.spec
    network.requires_grad_(True).eval()
    return network.to(device)  # type: ignore[no-any-return]


def read_state(path: Path, file_format: str) -> dict[str, torch.Tensor]:
    """Read the tensors of a weights file, floats as float32. Never runs code that a file may hold.

    Raises
    ------
    ModelError
        If the file is damaged.
    """
    torch = require_torch()
    try:
        if file_format == "safetensors":
            from safetensors.torch import load_file

            state: dict[str, Any] = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises nearly anything on a broken file
        raise ModelError(
            f"model file {path} is damaged ({type(error).__name__}): copy or install it again"
        ) from error
    return {
        name.removeprefix("module."): (tensor.float() if tensor.is_floating_point() else tensor).detach()
        for name, tensor in state.items()
    }


def load_strictly(network: torch.nn.Module, state: Mapping[str, torch.Tensor], where: str) -> None:
    """Give a network its weights; every tensor must be there, none may be left over, all shapes must fit.

    Raises
    ------
    ModelError
        Naming what does not fit.
    """
    own = network.state_dict()
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    wrong = [name for name in own if name in state and own[name].shape != state[name].shape]
    parts = [
        f"{len(names)} {what}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of a wrong shape", wrong))
        if names
    ]
    if parts:
        raise ModelError(f"{where} does not fit {type(network).__name__}; {'; '.join(parts)}")
    network.load_state_dict(dict(state), strict=True, assign=True)


def require_torch() -> Any:
    """Return torch, or say how to get it.

    Raises
    ------
    EngineError
        If it is not installed.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise EngineError(f'this needs PyTorch ({error}): pip install "cellbrook[torch]"') from error


def _fit_official(
    state: dict[str, torch.Tensor], layout: Mapping[str, Any], diameter_px: float | None, torch: Any
) -> dict[str, torch.Tensor]:
    """Drop what the layout ignores, and fill in what old checkpoints do not have yet."""
    for name, why in layout.get("ignored", {}).items():
        if state.pop(name, None) is not None:
            logger.info("%s is not used: %s", name, why)
    for name in layout.get("optional", {}):
        if name not in state:
            state[name] = torch.full((1,), diameter_px or 30.0)
    return state
