"""Which engine runs a model here: asked for, or the best of those that are installed and able to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cellbrook.engines import _probe
from cellbrook.errors import EngineError, UsageError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from cellbrook.networks.store import ResolvedModel

ENGINES = ("onnxruntime", "openvino", "torch")
PRECISIONS = ("fp32", "bf16", "int8")
_WEIGHTS = ("safetensors", "checkpoint")
_CONVOLUTIONAL = ("compact", "cp3")


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine that should be able to run a model.

    Parameters
    ----------
    engine : {"onnxruntime", "openvino", "torch"}
        Library.
    device : str
        "cpu", "cuda", "cuda:1", "mps".
    precision : {"fp32", "bf16", "int8"}
        Arithmetic.
    graph : {"onnx", "onnx_int8"} or None
        Kind of the model's file that it runs; None: the torch network, built from its weights.
    why : str
        One line.
    """

    engine: str
    device: str
    precision: str
    graph: str | None
    why: str


def pick_engine(
    model: ResolvedModel, *, engine: str = "auto", device: str = "auto", precision: str = "auto"
) -> Choice:
    """Choose what runs a model, without importing any engine.

    Parameters
    ----------
    model : ResolvedModel
        The model; which engines can run it depends on the kinds of files it has.
    engine, device, precision : str
        What is asked for, or "auto".

    Returns
    -------
    Choice
        The best one.

    Raises
    ------
    EngineError
        If nothing that is installed can do what is asked for; says what to install or to change.
    """
    return candidates(model, engine=engine, device=device, precision=precision)[0]


def candidates(
    model: ResolvedModel, *, engine: str = "auto", device: str = "auto", precision: str = "auto"
) -> list[Choice]:
    """Return every installed way to run a model, best first; never empty.

    The order on a processor follows from measurements (design/0002-engines.md): an int8 graph goes first where the
    processor has the instructions for it; a ready ONNX graph in fp32 goes first through onnxruntime, which takes
    the same processor time a tile as OpenVINO and starts sooner; weights of a convolutional network go first
    through OpenVINO, those of a transformer through torch; bf16 goes through OpenVINO.
    """
    _check_asked(engine, device, precision)
    kinds = frozenset(model.paths)
    reasons: list[str] = []
    found: list[Choice] = []
    for way in _ways(kinds, model.card.family, device, precision):
        if engine not in ("auto", way.engine):
            continue
        libraries = [way.engine] if way.graph else dict.fromkeys((way.engine, "torch"))
        if missing := [name for name in libraries if not _probe.installed(name)]:
            reasons.append(f"{missing[0]} is not installed: {_probe.INSTALL[missing[0]]}")
        else:
            found.append(way if engine == "auto" else replace(way, why=f"{engine}: asked for"))
    if found:
        return found
    asked = [
        f"engine {engine} cannot" if engine != "auto" else "no engine can",
        f"run model {model.name!r}",
        f"on {device}" if device != "auto" else "",
        f"in {precision}" if precision != "auto" else "",
    ]
    reason = "; ".join(dict.fromkeys(reasons)) or _unable(kinds, engine, device, precision)
    raise EngineError(f"{' '.join(part for part in asked if part)}: {reason}")


def _ways(kinds: AbstractSet[str], family: str, device: str, precision: str) -> list[Choice]:
    """Return every way that the model's files, the device and the precision allow, best first."""
    has_weights = not kinds.isdisjoint(_WEIGHTS)
    arithmetic = "fp32" if precision == "auto" else precision
    # a model gets an int8 graph only where it was measured to be nearly as accurate
    arithmetics = ("int8", "fp32") if precision == "auto" and _probe.fast_int8() else (arithmetic,)
    ways: list[Choice] = []
    accelerator = _probe.accelerator_hint() if device == "auto" else None if device == "cpu" else device
    if accelerator and has_weights and arithmetic != "int8":
        why = (
            f"torch: a GPU is there ({accelerator})" if device == "auto" else f"torch: {device} is asked for"
        )
        ways.append(Choice("torch", accelerator, arithmetic, None, why))
    if device not in ("auto", "cpu"):
        return ways

    converting: list[tuple[str, str, str | None, str]] = []
    if "onnx" not in kinds:
        converting = [
            ("openvino", "fp32", None, "OpenVINO: the faster on a processor for this kind of network")
        ]
    torch_fp32: list[tuple[str, str, str | None, str]] = [("torch", "fp32", None, "torch on the processor")]
    by_weights = converting + torch_fp32 if family in _CONVOLUTIONAL else torch_fp32 + converting
    on_processor: list[tuple[str, str, str | None, str]] = [
        (
            "onnxruntime",
            "fp32",
            "onnx",
            "onnxruntime: starts soonest, and none is faster on a processor in fp32",
        ),
        ("openvino", "fp32", "onnx", "OpenVINO on the processor"),
        *by_weights,
        (
            "onnxruntime",
            "int8",
            "onnx_int8",
            "onnxruntime: in int8, several times faster on this processor and nearly as accurate",
        ),
        ("openvino", "int8", "onnx_int8", "OpenVINO: runs the int8 graph"),
        ("openvino", "bf16", "onnx" if "onnx" in kinds else None, "OpenVINO: fastest on a processor in bf16"),
        ("torch", "bf16", None, "torch: computes in bf16"),
    ]
    for wanted in arithmetics:
        for name, computes_in, graph, why in on_processor:
            if computes_in == wanted and (graph in kinds if graph else has_weights):
                ways.append(Choice(name, "cpu", computes_in, graph, why))
    return ways


def _check_asked(engine: str, device: str, precision: str) -> None:
    if engine not in ("auto", *ENGINES):
        raise UsageError(f"engine must be auto, {', '.join(ENGINES)}; got {engine!r}")
    if precision not in ("auto", *PRECISIONS):
        raise UsageError(f"precision must be auto, {', '.join(PRECISIONS)}; got {precision!r}")
    check_device(device)


def check_device(device: str) -> None:
    """Raise `UsageError` for what is the name of no device; whether one is there, its engine tells."""
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (number and (kind != "cuda" or not number.isdigit())):
        raise UsageError(f"device must be auto, cpu, cuda, cuda:N or mps; got {device!r}")


def _unable(kinds: AbstractSet[str], engine: str, device: str, precision: str) -> str:
    """Say why no way is left although nothing is missing from the installation."""
    if engine in ("onnxruntime", "openvino") and device not in ("auto", "cpu"):
        return f"{engine} runs on cpu only here; --engine torch runs on {device}"
    if precision == "int8":
        return "the model comes without an int8 graph; use --precision fp32"
    if precision == "bf16" and engine == "onnxruntime":
        return "onnxruntime has no bf16 on a processor; use --engine openvino or --precision fp32"
    if engine == "onnxruntime":
        return "the model comes without an ONNX graph; use --engine torch or openvino"
    return f"the model has only {', '.join(sorted(kinds)) or 'no files'}"
