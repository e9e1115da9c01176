"""onnxruntime on the processor: the engine of the base install."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.engines.base import EngineInfo, check_input, first_line
from cellbrook.errors import EngineError, EngineMemoryError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

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
            raise EngineError(
                f"onnxruntime does not import ({error}): pip install --force-reinstall onnxruntime"
            ) from error

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        # Threads that wait by spinning gain microseconds here, and take a whole core from whoever shares the
        # machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Planning one block for all tensors of a shape costs more memory (1,058 against 739 MB for a 2048 x
        # 2048 tile) and time (6 to 25 %) than it saves with this kind of network.
        options.enable_mem_pattern = False
        # Products of 8-bit numbers are summed in 16 bits where the processor has no instruction for it, and saturate;
        # this keeps them exact there, more slowly, so that int8 means the same everywhere.
        options.add_session_config_entry("session.x64quantprecision", "1")
        options.log_severity_level = 3  # errors only: warnings about odd graphs are of no use to a biologist
        try:
            self._session = onnxruntime.InferenceSession(
                str(graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise EngineError(f"onnxruntime cannot load {graph}: {first_line(error)}") from error
        self._giving_back = onnxruntime.RunOptions()
        self._giving_back.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
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
            arrays: list[Any] = self._session.run(self._outputs, {self._input: x_BCYX})
        except Exception as error:
            text = first_line(error)
            if "allocat" in text.lower() or isinstance(error, MemoryError):
                raise EngineMemoryError(
                    f"no memory for a batch of shape {x_BCYX.shape}: use a smaller --batch-size"
                ) from error
            raise EngineError(f"onnxruntime failed on a batch of shape {x_BCYX.shape}: {text}") from error
        return dict(zip(self._outputs, arrays, strict=True))

    def release(self) -> None:
        """Give memory back; see `Engine.release`.

        The arena shrinks at the end of a run that asks for it, hence one of the smallest tile. Asking in every run
        would cost a tenth of the time.
        """
        side = self._spec.tile_size if self._spec.fixed_tile else self._spec.stride
        least = np.zeros((1, self._spec.planes, side, side), np.float32)
        self._session.run(self._outputs[:1], {self._input: least}, self._giving_back)
