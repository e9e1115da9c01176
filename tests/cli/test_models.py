from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from cellbrook.cli.app import main

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No command here may use the network: sockets fail the test."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("CELLBROOK_HOME", str(tmp_path / "hömé"))
    monkeypatch.delenv("CELLBROOK_OFFLINE", raising=False)
    return tmp_path / "hömé"


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    from cellbrook.networks.cpsam.model import CpsamNet

    net = CpsamNet(patch=2, grid=4, depth=1, dim=8, head_dim=4, mlp=16, neck=4)
    torch.save(net.state_dict(), tmp_path / "kleines netz.pth")
    return tmp_path / "kleines netz.pth"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["models", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_model_lives_from_install_to_remove(
    model_file: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "install", str(model_file), "--json")
    (installed,) = json.loads(out)
    assert code == 0
    assert installed["name"] == "kleines netz"
    code, out, _ = run(capsys, "path", "kleines netz")
    assert (code, out.strip()) == (0, str(home / "models" / "kleines netz" / model_file.name))
    code, out, _ = run(capsys, "info", "kleines netz")
    assert code == 0
    assert installed["sha256"] in out
    assert "licence         not stated" in out
    code, out, _ = run(capsys, "verify", "--json")
    assert code == 0
    assert json.loads(out)["ok"] is True
    Path(installed["files"]["checkpoint"]).write_bytes(b"x")
    code, out, _ = run(capsys, "verify", "kleines netz")
    assert code == 1
    assert "BAD" in out
    code, out, _ = run(capsys, "remove", "kleines netz", "--json")
    assert (code, json.loads(out)) == (0, {"removed": str(home / "models" / "kleines netz")})
    assert model_file.exists()


def test_the_list_tells_names_states_and_licences(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    code, out, _ = run(capsys, "list")
    assert code == 0
    (line,) = [each for each in out.splitlines() if each.startswith("cp3.cyto3")]
    assert "available" in line
    assert "CC-BY-NC" in line
    code, out, _ = run(capsys, "list", "--json")
    names = {alias for model in json.loads(out) for alias in model["aliases"]}
    assert {"cyto3", "nuclei", "cpsam"} <= names
    assert not home.exists(), "listing must not write"


def test_info_shows_licence_and_training_data(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "info", "livecell_cp3")
    assert code == 0
    assert "LIVECell: CC-BY-NC 4.0" in out
    assert "cellbrook models install livecell_cp3" in out
    code, out, _ = run(capsys, "info", "cpsam", "--json")
    card = json.loads(out)
    assert card["spec"]["tile_size"] == 256
    assert card["training_data"]


def test_info_shows_how_good_a_model_is(
    model_file: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (installed,) = json.loads(run(capsys, "install", str(model_file), "--json")[1])
    page = home / "models" / "kleines netz" / "MODEL_CARD.md"
    table = "| set | AP 0.5 |\n| --- | -----: |\n| zellen | 0.912 |"
    page.write_text(f"# kleines netz\n\n`{installed['sha256']}`\n\n## Accuracy\n\n{table}\n\n## More\n")
    code, out, _ = run(capsys, "info", "kleines netz")
    assert code == 0
    assert f"model card      {page}" in out
    assert out.endswith(f"\n\n{table}\n")
    assert json.loads(run(capsys, "info", "kleines netz", "--json")[1])["model_card"] == str(page)
    page.write_text("# of other weights\n\n## Accuracy\n\n" + table)
    assert "zellen" not in run(capsys, "info", "kleines netz")[1]


def test_info_of_a_file(model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "info", str(model_file))
    assert code == 0
    assert "cpsam" in out
    assert f"file, in {model_file.parent}" in out
    assert json.loads(run(capsys, "info", str(model_file), "--json")[1])["state"] == "file"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("info", "cyto33"), "did you mean cyto3"),
        (("path", "cyto3"), "`cellbrook models install cyto3`"),
        (("verify", "cyto3"), "`cellbrook models install cyto3`"),
        (("remove", "cyto3"), "nothing to remove"),
        (("install", "cyto3", "--offline"), "offline mode is on"),
        (("install", "https://example.org/a.pth", "--offline"), "offline mode is on"),
        (("install", "http://example.org/a.pth"), "expected an https"),
        (("install", "nowhere/a.pth"), "nothing to install"),
    ],
)
def test_errors_are_one_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 1
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()) == 1
