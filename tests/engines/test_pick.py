"""Which engine is chosen, on machines that the tests make up."""

from __future__ import annotations

import builtins
import dataclasses
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from cellbrook import engines
from cellbrook.engines import _pick, _probe
from cellbrook.errors import EngineError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cellbrook.networks.store import ResolvedModel

COMPACT = frozenset({"onnx", "onnx_int8", "safetensors"})
CHECKPOINT = frozenset({"checkpoint"})
EVERYTHING = ("onnxruntime", "openvino", "torch")

Machine = "Callable[..., None]"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set what is installed and which accelerator there is."""

    def setup(*installed: str, accelerator: str | None = None, int8: bool = False) -> None:
        monkeypatch.setattr(_probe, "installed", lambda engine: engine in installed)
        monkeypatch.setattr(_probe, "fast_int8", lambda: int8)
        monkeypatch.setattr(_probe, "accelerator_hint", lambda: accelerator)

    return setup


def model(kinds: frozenset[str], family: str = "compact") -> Any:
    return SimpleNamespace(name="m", paths=dict.fromkeys(kinds), card=SimpleNamespace(family=family))


def first(kinds: frozenset[str], family: str = "compact", **asked: str) -> tuple[str, str, str]:
    way = _pick.pick_engine(model(kinds, family), **asked)
    assert way.why
    assert "\n" not in way.why
    return way.engine, way.device, way.precision


@pytest.mark.parametrize(
    ("installed", "accelerator", "kinds", "asked", "expected"),
    [
        (EVERYTHING, None, COMPACT, {}, ("onnxruntime", "cpu", "fp32")),
        (("onnxruntime",), None, COMPACT, {}, ("onnxruntime", "cpu", "fp32")),
        (("openvino",), None, COMPACT, {}, ("openvino", "cpu", "fp32")),
        (EVERYTHING, "cuda", COMPACT, {}, ("torch", "cuda", "fp32")),
        (("onnxruntime",), "cuda", COMPACT, {}, ("onnxruntime", "cpu", "fp32")),
        (EVERYTHING, "mps", CHECKPOINT, {}, ("torch", "mps", "fp32")),
        (EVERYTHING, "cuda", COMPACT, {"device": "cpu"}, ("onnxruntime", "cpu", "fp32")),
        (EVERYTHING, "cuda", COMPACT, {"engine": "onnxruntime"}, ("onnxruntime", "cpu", "fp32")),
        (EVERYTHING, None, COMPACT, {"device": "cuda:1"}, ("torch", "cuda:1", "fp32")),
        (EVERYTHING, None, CHECKPOINT, {}, ("openvino", "cpu", "fp32")),
        (("onnxruntime", "torch"), None, CHECKPOINT, {}, ("torch", "cpu", "fp32")),
        (EVERYTHING, None, COMPACT, {"engine": "torch"}, ("torch", "cpu", "fp32")),
        (EVERYTHING, None, COMPACT, {"precision": "int8"}, ("onnxruntime", "cpu", "int8")),
        (EVERYTHING, "cuda", COMPACT, {"precision": "int8"}, ("onnxruntime", "cpu", "int8")),
        (EVERYTHING, None, COMPACT, {"precision": "bf16"}, ("openvino", "cpu", "bf16")),
        (EVERYTHING, "cuda", COMPACT, {"precision": "bf16"}, ("torch", "cuda", "bf16")),
    ],
)
def test_best_way(
    machine: Callable[..., None],
    installed: tuple[str, ...],
    accelerator: str | None,
    kinds: frozenset[str],
    asked: dict[str, str],
    expected: tuple[str, str, str],
) -> None:
    machine(*installed, accelerator=accelerator)
    assert first(kinds, **asked) == expected


@pytest.mark.parametrize(
    ("installed", "accelerator", "asked", "expected"),
    [
        (EVERYTHING, None, {}, ("onnxruntime", "cpu", "int8")),
        (("openvino",), None, {}, ("openvino", "cpu", "int8")),
        (("torch",), None, {}, ("torch", "cpu", "fp32")),
        (EVERYTHING, "cuda", {}, ("torch", "cuda", "fp32")),
        (EVERYTHING, "cuda", {"device": "cpu"}, ("onnxruntime", "cpu", "int8")),
        (EVERYTHING, None, {"engine": "torch"}, ("torch", "cpu", "fp32")),
        (EVERYTHING, None, {"precision": "fp32"}, ("onnxruntime", "cpu", "fp32")),
    ],
)
def test_int8_is_the_default_where_the_processor_is_made_for_it(
    machine: Callable[..., None],
    installed: tuple[str, ...],
    accelerator: str | None,
    asked: dict[str, str],
    expected: tuple[str, str, str],
) -> None:
    machine(*installed, accelerator=accelerator, int8=True)
    assert first(COMPACT, **asked) == expected


def test_without_an_int8_graph_the_default_is_fp32(machine: Callable[..., None]) -> None:
    machine(*EVERYTHING, int8=True)
    assert first(frozenset({"onnx", "safetensors"})) == ("onnxruntime", "cpu", "fp32")


def test_transformers_stay_with_torch_on_a_processor(machine: Callable[..., None]) -> None:
    machine(*EVERYTHING)
    assert first(CHECKPOINT, "cpsam") == ("torch", "cpu", "fp32")
    assert first(CHECKPOINT, "cpsam", engine="openvino") == ("openvino", "cpu", "fp32")
    assert first(CHECKPOINT, "cpsam", precision="bf16") == ("openvino", "cpu", "bf16")


@pytest.mark.parametrize(
    ("installed", "kinds", "asked", "told"),
    [
        (("onnxruntime",), COMPACT, {"engine": "torch"}, "pip install 'cellbrook[torch]'"),
        (("onnxruntime",), COMPACT, {"engine": "openvino"}, "pip install 'cellbrook[openvino]'"),
        (("onnxruntime",), CHECKPOINT, {}, "pip install 'cellbrook[torch]'"),
        (("onnxruntime",), COMPACT, {"device": "cuda"}, "pip install 'cellbrook[torch]'"),
        (("onnxruntime", "openvino"), CHECKPOINT, {"engine": "openvino"}, "torch is not installed"),
        ((), COMPACT, {}, "pip install onnxruntime"),
        (EVERYTHING, CHECKPOINT, {"engine": "onnxruntime"}, "without an ONNX graph"),
        (EVERYTHING, COMPACT, {"engine": "onnxruntime", "device": "cuda"}, "runs on cpu only"),
        (EVERYTHING, CHECKPOINT, {"precision": "int8"}, "without an int8 graph"),
        (EVERYTHING, COMPACT, {"engine": "onnxruntime", "precision": "bf16"}, "no bf16"),
        (EVERYTHING, frozenset({"size"}), {}, "size"),
        (EVERYTHING, COMPACT, {"engine": "tensorflow"}, "engine must be auto, onnxruntime"),
        (EVERYTHING, COMPACT, {"device": "gpu"}, "device must be auto, cpu, cuda"),
        (EVERYTHING, COMPACT, {"device": "cpu:1"}, "device must be auto, cpu, cuda"),
        (EVERYTHING, COMPACT, {"precision": "fp16"}, "precision must be auto, fp32"),
    ],
)
def test_what_cannot_be_done_is_said_with_the_remedy(
    machine: Callable[..., None],
    installed: tuple[str, ...],
    kinds: frozenset[str],
    asked: dict[str, str],
    told: str,
) -> None:
    machine(*installed)
    with pytest.raises((EngineError, UsageError)) as caught:
        _pick.pick_engine(model(kinds), **asked)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_auto_goes_on_when_the_gpu_does_not_answer(
    tiny: ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("the GPU answers")
    monkeypatch.setattr(_probe, "accelerator_hint", lambda: "cuda")
    info = engines.create(tiny, threads=1).info
    assert (info.engine, info.device) == ("onnxruntime", "cpu")
    assert "not torch on cuda" in info.why
    with pytest.raises(EngineError, match="cuda is not available"):
        engines.create(tiny, device="cuda")


def test_auto_goes_on_when_a_library_is_broken(tiny: ResolvedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    really_import = builtins.__import__

    def broken(name: str, *args: Any, **keywords: Any) -> Any:
        if name == "openvino":
            raise OSError("libopenvino.so: cannot open\nmore lines")
        return really_import(name, *args, **keywords)

    monkeypatch.setattr(builtins, "__import__", broken)
    weights = dataclasses.replace(tiny, paths={"safetensors": tiny.paths["safetensors"]})
    info = engines.create(weights, threads=1).info
    assert info.engine == "torch"
    assert "libopenvino.so" in info.why
    with pytest.raises(EngineError, match=r"openvino does not import.*pip install"):
        engines.create(tiny, engine="openvino")


def test_a_damaged_graph_is_one_line(tiny: ResolvedModel, tmp_path: Path) -> None:
    graph = tmp_path / "damaged.onnx"
    graph.write_bytes(tiny.paths["onnx"].read_bytes()[:100])
    damaged = dataclasses.replace(tiny, paths={"onnx": graph})
    for name in ("onnxruntime", "openvino"):
        pytest.importorskip(name)
        with pytest.raises(EngineError) as caught:
            engines.create(damaged, engine=name)
        assert "\n" not in str(caught.value)


def test_threads_are_checked(tiny: ResolvedModel) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        engines.create(tiny, threads=0)


def test_choosing_imports_no_engine() -> None:
    code = (
        "import sys\n"
        "from cellbrook.engines._pick import candidates\n"
        "from cellbrook.networks import resolve_model\n"
        "candidates(resolve_model('compact'))\n"
        "print([m for m in ('torch', 'onnxruntime', 'openvino') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_hidden_cards_count_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "darwin":
        pytest.skip("CUDA is of no concern there")
    monkeypatch.setattr(_probe, "library_version", lambda _: "2.9.0+cu128")
    monkeypatch.setattr(_probe.shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    _probe.accelerator_hint.cache_clear()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert _probe.accelerator_hint() == "cuda"
    for hidden in ("", "-1"):
        _probe.accelerator_hint.cache_clear()
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert _probe.accelerator_hint() is None
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(_probe, "library_version", lambda _: "2.9.0+cpu")
    _probe.accelerator_hint.cache_clear()
    assert _probe.accelerator_hint() is None
    _probe.accelerator_hint.cache_clear()
