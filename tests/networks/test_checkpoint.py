from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cellbrook import networks
from cellbrook.errors import ModelError
from cellbrook.networks.checkpoint import read_header
from cellbrook.networks.cp3.size import SizeModel

torch = pytest.importorskip("torch")

STATE = {
    "diam_mean": torch.tensor([17.25]),
    "a.weight": torch.arange(24.0).reshape(2, 3, 4),
    "a.view": torch.arange(24.0)[5:9],
    "count": torch.tensor(7),
    "half": torch.ones(3, dtype=torch.bfloat16),
}
SHAPES = {"diam_mean": (1,), "a.weight": (2, 3, 4), "a.view": (4,), "count": (), "half": (3,)}


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors", "data parallel", "parameters"])
def test_names_shapes_and_scalars_are_read_in_every_format(form: str, tmp_path: Path) -> None:
    path = tmp_path / "größe.bin"
    if form == "safetensors":
        from safetensors.torch import save_file

        save_file({k: v.clone() for k, v in STATE.items()}, path, metadata={"family": "none"})
    elif form == "legacy":
        torch.save(STATE, path, _use_new_zipfile_serialization=False)
    elif form == "data parallel":
        torch.save({f"module.{k}": v for k, v in STATE.items()}, path)
    elif form == "parameters":
        torch.save({k: torch.nn.Parameter(v, requires_grad=False) for k, v in STATE.items()}, path)
    else:
        torch.save(STATE, path)
    header = read_header(path)
    assert header.shapes == SHAPES
    assert header.scalars["diam_mean"] == 17.25
    assert header.format == ("safetensors" if form == "safetensors" else "torch")


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_scalars_of_every_precision_are_read(dtype: str, form: str, tmp_path: Path) -> None:
    state = {"first": torch.ones(3), "diam_mean": torch.tensor([17.25])}
    state = {k: v.to(getattr(torch, dtype)) for k, v in state.items()}
    if form == "safetensors":
        from safetensors.torch import save_file

        save_file(state, tmp_path / "a")
    else:
        torch.save(state, tmp_path / "a", _use_new_zipfile_serialization=form == "zip")
    assert read_header(tmp_path / "a").scalars == {"diam_mean": 17.25}


def test_a_safetensors_file_is_known_whatever_the_length_of_its_header(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    for length in range(0, 256, 8):  # one of these begins as a pickle does
        save_file({"a": torch.ones(1)}, tmp_path / "a", metadata={"note": "x" * length})
        assert read_header(tmp_path / "a").format == "safetensors"


def test_an_ordered_dict_as_modules_save_it(tmp_path: Path) -> None:
    net = torch.nn.Linear(3, 2)
    torch.save(net.state_dict(), tmp_path / "a")
    assert read_header(tmp_path / "a").shapes == {"weight": (2, 3), "bias": (2,)}


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("keep", [0.98, 0.5, 0.01])
def test_truncated_files_are_said_to_be_damaged(form: str, keep: float, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    state = {"a": torch.zeros(3000), "diam_mean": torch.zeros(1)}
    if form == "safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ModelError, match="damaged"):
        read_header(path)
    with pytest.raises(ModelError):
        networks.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>not found</html>", "an HTML page"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "expected a torch checkpoint"),
        (pickle.dumps([1, 2, 3]), "damaged|another pickle"),
        (pickle.dumps({"a": 1}) * 5, "another pickle"),
    ],
)
def test_other_files_are_told_apart(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        networks.resolve_model(path)


def _with_flipped_bytes(content: bytes, seed: int) -> bytes:
    random = np.random.default_rng(seed)
    changed = np.frombuffer(content, np.uint8).copy()
    head = min(int(random.choice([64, 512, 10**6])), len(changed))
    changed[random.integers(0, head, 1 + seed % 4)] = random.integers(0, 256, 1 + seed % 4)
    return changed.tobytes()


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_no_damage_raises_anything_else(form: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    if form == "safetensors":
        from safetensors.torch import save_file

        save_file({k: v.clone() for k, v in STATE.items()}, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=form == "zip")
    whole, told = path.read_bytes(), []
    for seed in range(400):
        path.write_bytes(_with_flipped_bytes(whole, seed))
        try:
            read_header(path)
        except ModelError as error:
            told.append(str(error))
    assert len(told) > 20
    assert not [message for message in told if "\n" in message]


def test_other_damage_is_told(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "a")
    with zipfile.ZipFile(tmp_path / "a") as archive, zipfile.ZipFile(tmp_path / "b", "w", 8) as packed:
        for name in archive.namelist():
            packed.writestr(name, archive.read(name) * (1 if name.endswith(".pkl") else 50))
    content = (tmp_path / "b").read_bytes()
    locked = content.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01")
    start = content.index(b"data.pkl") + 8
    torn = content[:start] + b"\xff" * 20 + content[start + 20 :]
    deep = b"[" * 200_000
    deep = len(deep).to_bytes(8, "little") + b'{"a":' + deep[5:]
    for damaged in (locked, torn, deep):
        assert damaged != content
        (tmp_path / "c").write_bytes(damaged)
        with pytest.raises(ModelError, match="damaged"):
            read_header(tmp_path / "c")


def test_another_zip_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("letter.txt", "hello")
    with pytest.raises(ModelError, match="another zip archive"):
        networks.resolve_model(tmp_path / "a.pth")


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pth")
    with pytest.raises(ModelError, match=r"is refused: expected tensors only.*torch\.nn"):
        networks.resolve_model(tmp_path / "a.pth")


class Bomb:
    """Writes a file when it is unpickled carelessly."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("form", ["zip", "legacy", "bare pickle"])
def test_a_file_that_would_run_code_is_refused(form: str, tmp_path: Path) -> None:
    target, path = tmp_path / "harm", tmp_path / "bomb.pth"
    content = {"diam_mean": torch.ones(1), "bomb": Bomb(target)}
    if form == "bare pickle":
        path.write_bytes(pickle.dumps(Bomb(target)))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    for attempt in (read_header, networks.resolve_model, networks.load):
        with pytest.raises(ModelError, match="is refused"):
            attempt(path)
    assert not target.exists()


def test_a_size_model_gives_the_diameter_of_a_style(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, mean, style = rng.normal(size=256), rng.normal(size=256), rng.normal(size=256)
    np.save(
        tmp_path / "size_a.npy",
        {
            "A": a * 0.01,
            "smean": mean,
            "ymean": np.float64(0.1),
            "diam_mean": 30.0,
            "ccol": np.array([[1.0]]),
        },  # type: ignore[arg-type]
        allow_pickle=True,
    )
    model = SizeModel.load(tmp_path / "size_a.npy")
    style /= np.linalg.norm(style)
    expected = np.exp(a * 0.01 @ (style - mean) + np.log(30.0) + 0.1)
    assert model.diameter_px(style) == pytest.approx(expected)
    assert model.diameter_px(np.stack([style, style])) == pytest.approx(expected)
    assert model.diameter_px(np.full(256, np.nan)) == 30.0
    tiny = SizeModel(np.zeros(256), mean, -9.0, 30.0)
    assert tiny.diameter_px(style) == 5.0


def test_a_size_model_that_would_run_code_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "harm"
    np.save(tmp_path / "size_a.npy", {"A": Bomb(target)}, allow_pickle=True)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="is refused"):
        SizeModel.load(tmp_path / "size_a.npy")
    assert not target.exists()


@pytest.mark.parametrize(
    "content",
    [np.zeros(3), {"A": np.zeros(3)}, {"A": np.zeros(3), "smean": np.zeros(2), "ymean": 0, "diam_mean": 1}],
)
def test_other_npy_files_are_no_size_models(content: object, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", content, allow_pickle=True)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="size model"):
        SizeModel.load(tmp_path / "a.npy")
