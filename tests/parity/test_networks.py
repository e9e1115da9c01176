"""Official checkpoints compute here what they compute in Cellpose (fixtures: record_networks.py)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from cellbrook import networks
from cellbrook.networks.layout import expand, measure, read_layout

torch = pytest.importorskip("torch")
HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("network_recipe", HERE / "network_recipe.py")
assert _spec is not None
assert _spec.loader is not None
recipe = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(recipe)

CPSAM_SMALL = {
    "dim": 96,
    "channels": 3,
    "patch": 8,
    "grid": 32,
    "head_dim": 32,
    "mlp": 384,
    "neck": 32,
    "depth": 3,
}
CPDINO_SMALL = {
    "dim": 96,
    "channels": 3,
    "kernel": 16,
    "patch": 8,
    "quarter_head": 8,
    "storage": 4,
    "mlp": 384,
    "nout": 3,
    "depth": 3,
}


def official_state(
    family: str, values: dict[str, int], rel_pos: tuple[int, ...] = ()
) -> dict[str, torch.Tensor]:
    """Make the state dict that the recorded program had."""
    layout = read_layout(f"cellbrook.networks.{family}")
    shapes = {**expand(layout, values), **dict.fromkeys(layout["optional"], (1,))}
    state = {}
    for name, shape in shapes.items():
        if "rel_pos" in name:
            shape = (rel_pos[int(name.split(".")[2])], shape[1])
        state[name] = torch.from_numpy(recipe.tensor(name, shape).reshape(shape))
    return state


def run(net: torch.nn.Module, seed: int, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Run in double precision: in single, kinds of processor differ in the order in which they sum, by up to 1.2e-4."""
    image = torch.from_numpy(recipe.image(seed, shape)).double()
    with torch.no_grad():
        return {name: t.numpy() for name, t in net.double()(image).items()}


@pytest.mark.parametrize("family", ["cp3", "cpsam", "cpdino"])
def test_the_key_list_is_that_of_the_official_network(family: str) -> None:
    recorded = {
        k: tuple(s) for k, s in json.loads((HERE / f"networks_{family}_keys.json").read_text()).items()
    }
    layout = read_layout(f"cellbrook.networks.{family}")
    listed = {
        **expand(layout, measure(layout, recorded, family)),
        **dict.fromkeys(layout["optional"], (1,)),
    }
    assert set(listed) == set(recorded)
    for name, shape in recorded.items():
        assert len(listed[name]) == len(shape)
        assert all(a in (None, b) for a, b in zip(listed[name], shape, strict=True)), name


@pytest.mark.parametrize("nchan", [2, 3])
def test_cp3_equals_cellpose(nchan: int, tmp_path: Path) -> None:
    recorded = np.load(HERE / "networks_cp3.npz")
    state = official_state("cp3", {"nchan": nchan, "nout": 3})
    torch.save(state, tmp_path / "a_model")
    net = networks.load(tmp_path / "a_model")
    out = run(net, int(recorded[f"nchan{nchan}_seed"]), tuple(recorded[f"nchan{nchan}_shape"]))
    wanted = recorded[f"nchan{nchan}_y"]
    assert wanted.std() > 0.5
    np.testing.assert_allclose(out["flow"] * 5, wanted[:, :2], atol=1e-4, rtol=0)
    np.testing.assert_allclose(out["cellprob"], wanted[:, 2:], atol=1e-4, rtol=0)
    np.testing.assert_allclose(out["style"], recorded[f"nchan{nchan}_style"], atol=1e-5, rtol=0)
    assert net.spec.channels == nchan
    assert net.spec.object_diameter_px == pytest.approx(float(state["diam_mean"]))
    assert float(net.diam_labels) == pytest.approx(float(state["diam_labels"]))
    assert not net.training


@pytest.mark.parametrize(("nout", "channels"), [(3, 3), (3, 2), (3, 1), (5, 3)])
def test_cpsam_equals_cellpose(nout: int, channels: int, tmp_path: Path) -> None:
    recorded = np.load(HERE / "networks_cpsam.npz")
    state = official_state("cpsam", {**CPSAM_SMALL, "nout": nout}, rel_pos=(27, 127, 27))
    if channels == 2:  # left over in some official files
        state["encoder.size_embed"] = torch.ones(32, 1024)
    prefix = "module." if channels == 1 else ""  # data-parallel training puts it before every name
    torch.save({prefix + k: v for k, v in state.items()}, tmp_path / "a_model.pth")
    net = networks.load(tmp_path / "a_model.pth")
    name = f"nout{nout}_channels{channels}"
    out = run(net, int(recorded[f"{name}_seed"]), tuple(recorded[f"{name}_shape"]))
    stride = int(recorded["stride"])
    wanted = recorded[f"{name}_y"]
    assert wanted.std() > 0.5
    got = np.concatenate([*([out["class"]] if nout > 3 else []), out["flow"] * 5, out["cellprob"]], axis=1)
    np.testing.assert_allclose(got[:, :, ::stride, ::stride], wanted, atol=1e-4, rtol=0)
    assert ("class" in out) == ("class" in net.spec.outputs) == (nout > 3)
    assert net.spec.fixed_tile
    assert net.spec.tile_size == 256


@pytest.mark.parametrize("channels", [3, 2, 1])
def test_cpdino_equals_cellpose(channels: int, tmp_path: Path) -> None:
    recorded = np.load(HERE / "networks_cpdino.npz")
    torch.save(official_state("cpdino", CPDINO_SMALL), tmp_path / "a_model.pth")
    net = networks.load(tmp_path / "a_model.pth")
    name = f"nout3_channels{channels}"
    out = run(net, int(recorded[f"{name}_seed"]), tuple(recorded[f"{name}_shape"]))
    wanted = recorded[f"{name}_y"]
    assert wanted.std() > 0.5
    got = np.concatenate([out["flow"] * 5, out["cellprob"]], axis=1)
    np.testing.assert_allclose(got, wanted, atol=1e-4, rtol=0)
    assert not net.spec.fixed_tile
    assert net.spec.stride == 8
