"""Which engine runs a model here: asked for, or the best of those that are installed and able to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellbrook.engines import _probe
from cellbrook.errors import EngineError, UsageError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from cellbrook.networks.store import ResolvedModel

ENGINES = ("onnxruntime", "openvino", "torch")
PRECISIONS = ("fp32", "bf16", "int8")
_WEIGHTS = ("safetensors", "checkpoint")


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
    return candidates(model.name, frozenset(model.paths), engine=engine, device=device, precision=precision)[
        0
    ]


def candidates(
    name: str, kinds: AbstractSet[str], *, engine: str = "auto", device: str = "auto", precision: str = "auto"
) -> list[Choice]:
    """Return every installed way to run a model that has files of these kinds, best first; never empty.

    On the processor the ready ONNX graph goes first through onnxruntime: at equal arithmetic OpenVINO takes
    the same processor time a tile and longer to start (figures in design/0002-engines.md). bf16, and networks
    that have no graph, go first through OpenVINO, which is then the faster.
    """
    _check_asked(engine, device, precision)
    reasons: list[str] = []
    found: list[Choice] = []
    for way in _ways(kinds, device, precision, asked_torch=engine == "torch"):
        if engine not in ("auto", way.engine):
            continue
        missing = [
            e
            for e in ((way.engine,) if way.graph else dict.fromkeys((way.engine, "torch")))
            if not _probe.installed(e)
        ]
        if missing:
            reasons.append(f"{missing[0]} is not installed: {_probe.INSTALL[missing[0]]}")
        else:
            found.append(way)
    if found:
        return found
    wanted = " ".join(
        part
        for part in (
            f"engine {engine}" if engine != "auto" else "no engine",
            f"on {device}" if device != "auto" else "",
            f"in {precision}" if precision != "auto" else "",
        )
        if part
    )
    verb = "cannot run" if engine != "auto" else "can run"
    reason = "; ".join(dict.fromkeys(reasons)) or _unable(kinds, engine, device, precision)
    raise EngineError(f"{wanted} {verb} model {name!r} here: {reason}")


def _ways(kinds: AbstractSet[str], device: str, precision: str, *, asked_torch: bool) -> list[Choice]:
    """Return every way that the model's files, the device and the precision allow, best first."""
    ways: list[Choice] = []
    weights = any(kind in kinds for kind in _WEIGHTS)
    accelerator = (
        device
        if device.startswith(("cuda", "mps"))
        else _probe.accelerator_hint()
        if device == "auto"
        else None
    )
    if accelerator and weights and precision != "int8":
        arithmetic = "fp32" if precision == "auto" else precision
        ways.append(
            Choice(
                "torch",
                accelerator,
                arithmetic,
                None,
                f"torch on {accelerator}: {_asked(device, 'a GPU is there')}",
            )
        )
    if device not in ("auto", "cpu"):
        return ways
    if precision in ("auto", "fp32"):
        if "onnx" in kinds:
            ways.append(
                Choice(
                    "onnxruntime",
                    "cpu",
                    "fp32",
                    "onnx",
                    "onnxruntime: starts fastest and is as fast as any on a processor in fp32",
                )
            )
            ways.append(Choice("openvino", "cpu", "fp32", "onnx", "OpenVINO from the ONNX graph"))
        elif weights:
            ways.append(
                Choice(
                    "openvino",
                    "cpu",
                    "fp32",
                    None,
                    "OpenVINO: fastest on a processor for a network that comes as weights",
                )
            )
        if weights:
            ways.append(Choice("torch", "cpu", "fp32", None, "torch on the processor"))
    elif precision == "int8" and "onnx_int8" in kinds:
        ways.append(Choice("onnxruntime", "cpu", "int8", "onnx_int8", "onnxruntime: runs the int8 graph"))
        ways.append(Choice("openvino", "cpu", "int8", "onnx_int8", "OpenVINO: runs the int8 graph"))
    elif precision == "bf16":
        if "onnx" in kinds or weights:
            ways.append(
                Choice(
                    "openvino",
                    "cpu",
                    "bf16",
                    "onnx" if "onnx" in kinds else None,
                    "OpenVINO: fastest in bf16 on a processor",
                )
            )
        if weights:
            ways.append(Choice("torch", "cpu", "bf16", None, "torch: computes in bf16"))
    if asked_torch:
        ways.sort(key=lambda way: way.engine != "torch")
    return ways


def _asked(device: str, otherwise: str) -> str:
    return "asked for" if device != "auto" else otherwise


def _check_asked(engine: str, device: str, precision: str) -> None:
    if engine not in ("auto", *ENGINES):
        raise UsageError(f"engine must be auto, {', '.join(ENGINES)}; got {engine!r}")
    if precision not in ("auto", *PRECISIONS):
        raise UsageError(f"precision must be auto, {', '.join(PRECISIONS)}; got {precision!r}")
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
