from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cellbrook import networks
from cellbrook.errors import ChecksumError, EngineError, ModelError, UnknownModelError
from cellbrook.networks import loading, store
from cellbrook.networks.cards import CARD_NAME, FAMILY_SPECS, ModelCard, ModelFileRef, write_card
from cellbrook.networks.cp3.model import Cp3Net
from cellbrook.networks.install import install

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("home", "no_network")

State = Callable[..., dict[str, "torch.Tensor"]]


@pytest.mark.parametrize(
    ("name", "near"), [("cyto4", "cyto"), ("CYTO3", "cyto3"), ("nucleus", "nuclei"), ("cpsam2", "cpsam_v2")]
)
def test_an_unknown_name_is_an_error_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UnknownModelError, match=rf"did you mean .*\b{near}\b.*`cellbrook models list`"):
        networks.resolve_model(name)


def test_a_known_model_that_is_not_installed_says_how(home: Path) -> None:
    with pytest.raises(ModelError, match=r"`cellbrook models install cyto3`"):
        networks.resolve_model("cyto3")
    assert not home.exists(), "looking for a model must not write anything"


def test_cellposes_own_download_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my models"
    folder.mkdir()
    monkeypatch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(folder))
    torch.save(Cp3Net().state_dict(), folder / "nucleitorch_0")
    with pytest.raises(ModelError, match=r"models install '.*nucleitorch_0'`, which Cellpose has downloaded"):
        networks.resolve_model("nuclei")
    assert install(folder / "nucleitorch_0")[0].card.name == "cp3.nuclei"


def test_a_missing_path_is_no_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match=r"no model file"):
        networks.resolve_model(tmp_path / "nothing.pth")
    with pytest.raises(ModelError, match=r"without card.toml"):
        networks.resolve_model(tmp_path)


def test_a_lone_checkpoint_tells_what_it_is(checkpoint: Callable[..., Path]) -> None:
    path = checkpoint()
    model = networks.resolve_model(str(path))
    assert (model.name, model.card.family) == ("mein modèle", "cpsam")
    assert model.paths == {"checkpoint": path}
    assert model.sha256 == store.sha256_of(path) == model.hashes["checkpoint"]
    assert model.card.spec.tile_size == 8
    assert model.card.spec.stride == 2


def test_a_name_wins_over_a_file_in_the_working_directory(
    checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint("cyto3").parent)
    with pytest.raises(ModelError, match=r"known but not installed"):
        networks.resolve_model("cyto3")
    assert networks.resolve_model("./cyto3").card.family == "cpsam"


def test_a_model_folder_and_its_files_resolve_to_the_same(tmp_path: Path, tiny_state: State) -> None:
    from safetensors.torch import save_file

    folder = tmp_path / "trainiert"
    folder.mkdir()
    save_file(tiny_state(), folder / "w.safetensors")
    (folder / "g.onnx").write_bytes(b"graph")
    card = ModelCard(
        name="cpsam.mine",
        family="cpsam",
        spec=dataclasses.replace(FAMILY_SPECS["cpsam"], tile_size=8, stride=2),
        licence="CC0",
        description="a test",
        files={"onnx": ModelFileRef("g.onnx"), "safetensors": ModelFileRef("w.safetensors")},
    )
    write_card(folder / CARD_NAME, card)
    by_folder = networks.resolve_model(folder)
    assert (
        by_folder
        == networks.resolve_model(folder / "w.safetensors")
        == networks.resolve_model(folder / "g.onnx")
    )
    assert by_folder.sha256 == store.sha256_of(folder / "w.safetensors")
    assert set(by_folder.paths) == {"onnx", "safetensors"}
    (folder / "w.safetensors").unlink()
    with pytest.raises(ModelError, match=r"w\.safetensors cannot be read"):
        networks.resolve_model(folder)


def test_an_onnx_file_needs_its_card(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"graph")
    with pytest.raises(ModelError, match=r"needs its card a\.card\.toml"):
        networks.resolve_model(tmp_path / "a.onnx")


def test_a_changed_file_says_expected_and_found(checkpoint: Callable[..., Path], home: Path) -> None:
    (model,) = install(checkpoint(), name="mine")
    path = model.paths["checkpoint"]
    good, data = model.sha256, bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ChecksumError, match=rf"should have SHA-256 {good}, it has {store.sha256_of(path)}"):
        networks.resolve_model("mine")
    path.write_bytes(data[:-1])
    with pytest.raises(ChecksumError, match=f"should have {len(data)} bytes, it has {len(data) - 1}"):
        networks.load("mine")


def test_listing_works_without_a_folder_and_with_damaged_cards(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    states = {m.state for m in networks.list_models()}
    assert "available" in states
    assert "installed" not in states
    (home / "models" / "broken").mkdir(parents=True)
    (home / "models" / "broken" / CARD_NAME).write_text("nonsense", encoding="utf-8")
    (home / "models" / "stray file").write_text("x", encoding="utf-8")
    assert len(networks.list_models()) >= 16
    assert "is not TOML" in caplog.text
    with pytest.raises(ModelError, match=r"is not TOML"):
        networks.resolve_model("broken")


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_DATA_HOME", "cellbrook"),
        ("win32", "LOCALAPPDATA", "cellbrook"),
        ("darwin", None, "Application Support"),
    ],
)
def test_the_users_folder_is_the_platforms(
    platform: str, variable: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CELLBROOK_HOME")
    monkeypatch.setattr(sys, "platform", platform)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
        assert store.home() == tmp_path / "cellbrook"
    assert expected in str(store.home())


def test_the_advice_for_a_damaged_model_can_be_followed(checkpoint: Callable[..., Path], home: Path) -> None:
    (model,) = install(checkpoint(), name="my own")
    model.paths["checkpoint"].write_bytes(b"x")
    with pytest.raises(ChecksumError, match="if you have its file or folder elsewhere") as caught:
        networks.resolve_model("my own")
    assert "models install" not in str(caught.value)
    assert "`cellbrook models install cp3.cyto3`" in store.mend_advice("installed", "cp3.cyto3")
    url = "https://example.org/a.pth"
    card = dataclasses.replace(model.card, files={"checkpoint": ModelFileRef("a.pth", url=url)})
    assert store.mend_advice("installed", "my own", card).endswith(f"`cellbrook models install {url}`")
    assert store.mend_advice("shipped", "compact") == "install Cellbrook again as you did"


def test_a_user_without_a_home_has_the_shipped_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pwd = pytest.importorskip("pwd")

    def unknown(_: object) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "CELLBROOK_HOME", "XDG_DATA_HOME", "CELLPOSE_LOCAL_MODELS_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    assert store.home().is_absolute()
    assert networks.resolve_model("compact").name == "compact"
    with pytest.raises(ModelError, match="known but not installed"):
        networks.resolve_model("cyto3")


# ---- loading


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors", "half"])
def test_every_format_loads_to_the_same_network(form: str, tmp_path: Path, tiny_state: State) -> None:
    state = {n: t.half().float() for n, t in tiny_state().items()}
    path = tmp_path / ("a.safetensors" if form == "safetensors" else "a")
    if form == "safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    elif form == "half":
        torch.save({n: t.half() for n, t in state.items()}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    net = networks.load(path)
    for name, tensor in net.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, state[name], rtol=0, atol=0)
    with torch.no_grad():
        out = net(torch.rand(2, 1, 8, 8))
    assert {n: tuple(t.shape) for n, t in out.items()} == {"flow": (2, 2, 8, 8), "cellprob": (2, 1, 8, 8)}
    assert all(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"1 missing: encoder\.neck\.3\.bias"),
        ("unexpected", r"2 unexpected: extra\.one, extra\.two"),
        ("shape", r"1 of a wrong shape: out\.bias \(12, got 7\)"),
        ("block", r"12 unexpected: encoder\.blocks\.2\.norm1\.bias"),
    ],
)
def test_weights_that_do_not_fit_are_listed(
    change: str, message: str, tmp_path: Path, tiny_state: State
) -> None:
    state = tiny_state()
    if change == "missing":
        del state["encoder.neck.3.bias"]
    elif change == "unexpected":
        state |= {"extra.one": torch.ones(1), "extra.two": torch.ones(1)}
    elif change == "shape":
        state["out.bias"] = torch.ones(7)
    else:  # a third block of which one tensor is missing does not count as one
        third = {n.replace("blocks.1.", "blocks.2."): t for n, t in state.items() if "blocks.1." in n}
        state |= {n: t for n, t in third.items() if not n.endswith(("norm1.weight", "rel_pos_h"))}
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ModelError, match=message) as caught:
        networks.load(tmp_path / "a.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"conv.weight": torch.ones(2)}, "of no known family"),
        ({"downsample.down.res_down_0.x": torch.ones(2)}, "does not fit the cp3 network"),
        ({"W2": torch.ones(2), "encoder.cls_token": torch.ones(1)}, "cpdino"),
        ({"W2": torch.ones(2), "encoder.blocks.0.attn.x": torch.ones(1)}, "does not fit the cpsam network"),
    ],
)
def test_other_networks_are_refused(state: dict[str, torch.Tensor], message: str, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ModelError, match=message):
        networks.load(tmp_path / "a.pth")


def test_cp3_reads_its_diameter_and_old_files_have_none(tmp_path: Path) -> None:
    state = Cp3Net().state_dict() | {"diam_mean": torch.tensor([17.0])}
    torch.save(state, tmp_path / "new")
    assert networks.load(tmp_path / "new").spec.object_diameter_px == 17.0
    assert networks.resolve_model(tmp_path / "new").card.spec.diameter_range_px == pytest.approx(
        (12.75, 21.25)
    )
    old = {n: t for n, t in state.items() if not n.startswith("diam_")}
    torch.save(old, tmp_path / "nucleitorch_0")
    net = networks.load(tmp_path / "nucleitorch_0")
    assert float(net.diam_mean) == 30.0
    (installed,) = install(tmp_path / "nucleitorch_0")  # known by its file name: its card says 17
    assert installed.card.spec.object_diameter_px == 17.0
    assert float(networks.load("nuclei").diam_mean) == 17.0


def test_cp3_with_a_diameter_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    torch.save(Cp3Net().state_dict() | {"diam_mean": torch.tensor([17])}, tmp_path / "a")
    with pytest.raises(ModelError, match="diam_mean cannot be read: expected a float"):
        networks.resolve_model(tmp_path / "a")


def test_a_restoration_network_is_refused(tmp_path: Path) -> None:
    state = Cp3Net().state_dict()
    state |= {"output.2.weight": torch.ones(1, 32, 1, 1), "output.2.bias": torch.ones(1)}
    torch.save(state, tmp_path / "denoise")
    with pytest.raises(ModelError, match=r"does not segment"):
        networks.load(tmp_path / "denoise")


def test_cp3s_size_model_beside_the_checkpoint_is_found(tmp_path: Path) -> None:
    torch.save(Cp3Net().state_dict(), tmp_path / "cyto3")
    zeros = np.zeros(256)
    alone = networks.resolve_model(tmp_path / "cyto3")
    np.save(tmp_path / "size_cyto3.npy", {"A": zeros, "smean": zeros, "ymean": 0.0, "diam_mean": 30.0})  # type: ignore[arg-type]
    model = networks.resolve_model(tmp_path / "cyto3")
    assert model.paths["size"] == tmp_path / "size_cyto3.npy"
    assert model.sha256 != alone.sha256, "other results, another identity"
    assert alone.sha256 == model.hashes["checkpoint"]
    (installed,) = install(tmp_path / "cyto3")
    assert (installed.name, set(installed.paths)) == ("cp3.cyto3", {"checkpoint", "size"})


def test_without_torch_the_remedy_is_said(
    checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoint()
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineError, match=r'pip install "cellbrook\[torch\]"'):
        loading.load(path)
    assert networks.resolve_model(path).card.family == "cpsam", "only running it needs torch"


def test_a_model_of_graphs_only_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(b"graph")
    card = ModelCard(
        name="compact.mine",
        family="compact",
        spec=FAMILY_SPECS["compact"],
        licence="CC0",
        description="a test",
        files={"onnx": ModelFileRef("g.onnx")},
    )
    write_card(tmp_path / CARD_NAME, card)
    with pytest.raises(ModelError, match=r"graphs only"):
        networks.load(tmp_path)


def test_a_card_of_another_family_is_noticed(tmp_path: Path, tiny_state: State) -> None:
    torch.save(tiny_state(), tmp_path / "a.pth")
    card = dataclasses.replace(store.card_of_file(tmp_path / "a.pth"), family="cp3", spec=FAMILY_SPECS["cp3"])
    write_card(tmp_path / CARD_NAME, card)
    with pytest.raises(ModelError, match=r"is a cpsam network, its card says cp3"):
        networks.load(tmp_path)


def test_shipped_weights_load_without_the_users_folder(home: Path) -> None:
    for model in networks.list_models():
        if model.state == "shipped":
            net = networks.load(model.card.name)
            assert net.spec == model.card.spec
    assert not home.exists()
