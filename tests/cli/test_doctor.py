"""`cellbrook doctor` on a sound installation and on broken ones that the tests make up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cellbrook.cli import _diagnose
from cellbrook.cli._diagnose import cgroup_memory_limit, diagnose
from cellbrook.cli.doctor import _lines, doctor
from cellbrook.engines import _probe
from cellbrook.errors import ChecksumError
from cellbrook.io._bioio import VENDOR_FORMATS
from cellbrook.networks import store


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes that import nothing."""
    fine = {"version": "1.0", "devices": ["cpu"], "cards": []}
    for name in ("onnxruntime", "openvino", "torch"):
        monkeypatch.setitem(_diagnose._PROBES, name, f"r = {fine!r}")
    monkeypatch.setattr(_probe, "installed", lambda _: True)
    monkeypatch.setattr(_probe, "driver_hint", lambda: None)
    monkeypatch.setattr(_probe, "accelerator_hint", lambda: None)


def told(report: dict[str, Any]) -> str:
    return "\n".join(_lines(report))


def test_this_installation_is_sound(capsys: pytest.CaptureFixture[str]) -> None:
    code = doctor(json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == []
    assert code == 0
    assert report["engines"]["onnxruntime"]["state"] == "ok"
    assert report["auto"]["ok"]
    assert [m["name"] for m in report["models"] if m["state"] == "shipped" and m["ok"]] == ["compact"]
    assert report["cores"]["allowed"] >= 1


@pytest.mark.usefixtures("quick")
def test_text_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor() == 0
    out = capsys.readouterr().out
    for word in (
        "Python",
        "Cores",
        "Memory",
        "onnxruntime",
        "auto: ",
        "compact",
        "hash verified",
        "pip install",
    ):
        assert word in out
    assert out.rstrip().endswith("Nothing is wrong.")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        ("raise OSError('libtorch.so: undefined symbol')", "undefined symbol"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "signal 4"),
    ],
)
def test_a_library_that_fails_to_import_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], probe: str, reason: str
) -> None:
    if "signal" in reason and sys.platform == "win32":
        pytest.skip("no signals there")
    monkeypatch.setitem(_diagnose._PROBES, "torch", probe)
    assert doctor() == 1
    out = capsys.readouterr().out
    assert reason in out
    assert "to mend: pip install --force-reinstall torch" in out
    assert "BROKEN" in out


@pytest.mark.usefixtures("quick")
def test_a_probe_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_diagnose, "_PROBE_SECONDS", 0.5)
    monkeypatch.setitem(_diagnose._PROBES, "openvino", "import time; time.sleep(60)")
    monkeypatch.setitem(_diagnose._PROBES, "onnxruntime", "r = dict(version='1', devices=['cpu'])")
    report = diagnose()
    assert report["engines"]["openvino"]["state"] == "broken"


@pytest.mark.usefixtures("quick")
def test_a_damaged_card_is_a_problem(quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELLBROOK_HOME", str(tmp_path))
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "models" / "mine" / "card.toml").write_text("name = [")
    (problem,) = diagnose()["problems"]
    assert "model mine is damaged" in problem["what"]
    assert problem["mend"].startswith("if you have its file or folder elsewhere")


def test_a_damaged_model_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def damaged(name: str) -> None:
        raise ChecksumError(f"model {name!r}: expected abc, found def")

    monkeypatch.setattr(store, "resolve_model", damaged)
    assert doctor() == 1
    out = capsys.readouterr().out
    assert "DAMAGED" in out
    assert "expected abc, found def" in out
    assert "to mend: install Cellbrook again as you did" in out


@pytest.mark.usefixtures("quick")
def test_a_missing_package_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_diagnose, "_version", lambda name: None if name == "roifile" else "1")
    assert {"what": "roifile is not installed", "mend": "pip install roifile"} in diagnose()["problems"]


@pytest.mark.usefixtures("quick")
def test_missing_extras_are_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_probe, "installed", lambda engine: engine == "onnxruntime")
    version = _diagnose._version
    monkeypatch.setattr(_diagnose, "_version", lambda name: None if name == "onnx" else version(name))
    report = diagnose()
    assert report["problems"] == []
    assert "not installed: pip install 'cellbrook[torch]'" in told(report)
    assert "not installed: pip install 'cellbrook[train]'" in told(report)


def test_every_extra_that_reads_formats_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_diagnose, "_version", lambda _: None)
    for _, install in VENDOR_FORMATS.values():
        if "cellbrook[" in install:
            assert install.replace('"', "'") in {extra["install"] for extra in _diagnose._extras().values()}


@pytest.mark.usefixtures("quick")
def test_a_home_that_cannot_be_seen_or_written_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def unseen(path: object, **_: object) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", unseen)
    monkeypatch.setattr(_diagnose.os, "access", lambda *_: False)
    report = diagnose()
    assert report["problems"] == []
    assert "note: models cannot be installed" in told(report)


@pytest.mark.usefixtures("quick")
def test_a_gpu_that_torch_cannot_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_probe, "driver_hint", lambda: "cuda")
    report = diagnose()
    assert report["problems"] == [
        {"what": "a GPU driver is there but torch cannot use a card", "mend": "nvidia-smi"}
    ]
    cpu_only = {"version": "2.9.0+cpu", "devices": ["cpu"], "cards": []}
    monkeypatch.setitem(_diagnose._PROBES, "torch", f"r = {cpu_only!r}")
    report = diagnose()
    assert report["problems"] == []
    assert "--index-url" in told(report)


def test_memory_limits_of_cgroups(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("4:memory:/docker/a\n0::/job\n")
    root = tmp_path / "fs"
    for path, text in (
        ("memory/memory.limit_in_bytes", "9223372036854771712"),
        ("memory.max", "max"),
        ("job/memory.max", "8000000000"),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    assert cgroup_memory_limit(root, own) == 8_000_000_000
    (root / "job/memory.max").write_text("max")
    assert cgroup_memory_limit(root, own) is None
    (root / "memory/memory.limit_in_bytes").write_text("4000000000")
    assert cgroup_memory_limit(root, own) == 4_000_000_000
    assert cgroup_memory_limit(root, tmp_path / "absent") is None


def test_json_is_one_document_on_standard_output() -> None:
    command = [sys.executable, "-m", "cellbrook.cli.app", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert set(json.loads(done.stdout)) >= {"engines", "models", "cores", "memory", "problems"}
    assert done.stderr == ""
