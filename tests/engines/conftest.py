"""A small network of the compact family with random weights, as torch weights and as an ONNX graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cellbrook.networks.cards import FAMILY_SPECS, ModelCard, ModelFileRef
from cellbrook.networks.store import ResolvedModel, sha256_of

if TYPE_CHECKING:
    from pathlib import Path

WIDTHS = (8, 12, 16, 16, 24)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ResolvedModel:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    pytest.importorskip("safetensors")
    from cellbrook.networks.compact.model import CompactNet
    from cellbrook.networks.export import export_network

    torch.manual_seed(0)
    network = CompactNet(WIDTHS).eval()
    with torch.no_grad():  # nothing may stay at the 0 or 1 it begins with: that would hide a slip
        for name, tensor in network.state_dict().items():
            if name.endswith(("running_var", ".1.weight")):
                tensor.copy_(torch.rand_like(tensor) + 0.5)
            elif name.endswith((".bias", "running_mean")):
                tensor.copy_(torch.randn_like(tensor) * 0.2)
    folder = tmp_path_factory.mktemp("tiny")
    return resolved("tiny", export_network(network, folder, "tiny"))


def resolved(name: str, paths: dict[str, Path], **changes: object) -> ResolvedModel:
    """Return a model of the compact family without a card on disk."""
    card = ModelCard(
        name=name,
        family="compact",
        spec=FAMILY_SPECS["compact"],
        licence="CC0-1.0",
        description="random weights",
        config={"widths": WIDTHS},
        files={kind: ModelFileRef(path.name) for kind, path in paths.items()},
    )
    hashes = {kind: sha256_of(path) for kind, path in paths.items()}
    return ResolvedModel(name, card, paths, next(iter(hashes.values()), ""), hashes)
