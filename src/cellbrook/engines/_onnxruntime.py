"""onnxruntime on the processor: the engine of the base install."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellbrook.engines.base import EngineInfo, check_input
from cellbrook.errors import EngineError, EngineMemoryError

if TYPE_CHECKING:
    from cellbrook.networks.base import NetworkSpec


class OnnxRuntimeEngine:
    """Runs an ONNX graph with onnxruntime's CPU provider.

    Parameters
    ----------
    graph : Path
        The ``.onnx`` file. External weights are looked for beside it.
    spec : NetworkSpec
        What the network takes and gives.
    precision : {"fp32", "int8"}
        Arithmetic of that graph: a fact about the file, for the record.
    threads : int
        Threads of the one pool that computes.
    why : str
        Why this engine was chosen.

    Raises
    ------
    EngineError
        If onnxruntime is missing or does not take the file.
    """

    def __init__(self, graph: Path, spec: NetworkSpec, *, precision: str, threads: int, why: str) -> None:
        try:
            import onnxruntime
        except Exception as error:  # a broken install raises what it likes
            raise EngineError(f"onnxruntime does not import ({error}): pip install --force-reinstall onnxruntime") from error

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3  # errors only: warnings about odd graphs are of no use to a biologist
        try:
            self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise EngineError(f"onnxruntime cannot load {graph}: {_first_line(error)}") from error
        # Blocks that a large tile needed go back to the system after the run instead of staying with the process.
        self._run_options = onnxruntime.RunOptions()
        self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._spec = spec
        self._info = EngineInfo("onnxruntime", onnxruntime.__version__, "cpu", precision, threads, why)

    @property
    def info(self) -> EngineInfo:
        """What runs, where."""
        return self._info

    def run(self, x_BCYX: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Run one batch; see `Engine.run`."""
        x_BCYX = check_input(x_BCYX, self._spec)
        try:
            arrays: list[Any] = self._session.run(self._outputs, {self._input: x_BCYX}, self._run_options)
        except Exception as error:
            text = _first_line(error)
            if "allocat" in text.lower() or isinstance(error, MemoryError):
                raise EngineMemoryError(f"no memory for a batch of shape {x_BCYX.shape}: use a smaller --batch-size") from error
            raise EngineError(f"onnxruntime failed on a batch of shape {x_BCYX.shape}: {text}") from error
        return dict(zip(self._outputs, arrays, strict=True))


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
