"""Engines run networks: onnxruntime in the base install, OpenVINO and torch as extras, behind one protocol.

Importing this room imports none of them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from cellbrook.core.threads import bind_pools, resolve_threads
from cellbrook.engines._pick import Choice, candidates, pick_engine
from cellbrook.engines.base import Engine, EngineInfo
from cellbrook.errors import EngineError

if TYPE_CHECKING:
    from cellbrook.networks.store import ResolvedModel

__all__ = ["Choice", "Engine", "EngineInfo", "create", "pick_engine"]

_log = logging.getLogger(__name__)


def create(
    model: ResolvedModel,
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> Engine:
    """Load a model into the engine that suits it and this machine.

    Parameters
    ----------
    model : ResolvedModel
        From `cellbrook.networks.store.resolve_model`.
    engine : {"auto", "onnxruntime", "openvino", "torch"}
        What runs the network.
    device : str
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    precision : {"auto", "fp32", "bf16", "int8"}
        Arithmetic; "auto" is int8 where the model has it and the processor is fast at it, else fp32.
    threads : int or None
        Processor threads; None: those this process may use. Holds the other pools of the process (BLAS, file
        decoders) to the same number.

    Returns
    -------
    Engine
        Ready to run; ``info.why`` says in one line why it was chosen.

    Raises
    ------
    EngineError
        If nothing that is installed can do what is asked for; names the command that installs it.
    UsageError
        If `threads` is less than 1.
    """
    count = resolve_threads(threads)
    bind_pools(count)  # here, as every use of a model passes here with its number of threads
    ways = candidates(model, engine=engine, device=device, precision=precision)
    failures: list[str] = []
    for way in ways:
        try:
            return _build(model, way, count, "; ".join([way.why, *failures]))
        except EngineError as error:
            # "auto" goes on to the next: a driver without a card, or a broken optional package, should not
            # stop a run.
            if way is ways[-1]:
                raise
            failures.append(f"not {way.engine} on {way.device}: {error}")
            _log.info("%s", failures[-1])
    raise AssertionError("candidates() never returns an empty list")


def _build(model: ResolvedModel, way: Choice, threads: int, why: str) -> Engine:
    spec = model.card.spec

    def load() -> Any:
        from cellbrook.networks import load as load_network

        return load_network(model)

    if way.engine == "onnxruntime":
        from cellbrook.engines._onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(
            model.paths[str(way.graph)], spec, precision=way.precision, threads=threads, why=why
        )
    if way.engine == "openvino":
        from cellbrook.engines._openvino import OpenVinoEngine

        source = model.paths[way.graph] if way.graph else load
        return OpenVinoEngine(source, spec, precision=way.precision, threads=threads, why=why)
    from cellbrook.engines._torch import TorchEngine

    return TorchEngine(load, spec, device=way.device, precision=way.precision, threads=threads, why=why)
