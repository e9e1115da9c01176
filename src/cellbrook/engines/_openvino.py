"""OpenVINO on the processor: for bf16, and for networks that come as weights without an ONNX graph."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.threads import calm_openmp
from cellbrook.engines.base import EngineInfo, check_input, first_line
from cellbrook.errors import EngineError, EngineMemoryError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cellbrook.networks.base import NetworkSpec


class OpenVinoEngine:
    """Runs an ONNX graph, or a converted torch module, with OpenVINO's CPU plugin.

    Parameters
    ----------
    source : Path or callable returning torch.nn.Module
        The ``.onnx`` file, or what builds the network (which needs torch, for the conversion only).
    spec : NetworkSpec
        What the network takes and gives.
    precision : {"fp32", "bf16", "int8"}
        Arithmetic. OpenVINO would choose bf16 by itself on processors that have it; here only if asked to.
        "int8" is a fact about the graph.
    threads : int
        Threads of its pool.
    why : str
        Why this engine was chosen.

    Raises
    ------
    EngineError
        If OpenVINO does not import or does not take the network.
    """

    def __init__(
        self, source: Path | Callable[[], Any], spec: NetworkSpec, *, precision: str, threads: int, why: str
    ) -> None:
        try:
            import openvino
        except Exception as error:
            raise EngineError(
                f"openvino does not import ({first_line(error)}): pip install --force-reinstall openvino"
            ) from error
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Pinned threads of two processes would sit on the same cores of a shared machine.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            core = openvino.Core()
            if callable(source):
                graph, self._outputs = _convert(openvino, source, spec)
            else:
                graph = core.read_model(str(source))
                self._outputs = [output.get_any_name() for output in graph.outputs]
            self._request = core.compile_model(graph, "CPU", settings).create_infer_request()
        except EngineError:
            raise
        except Exception as error:
            raise EngineError(f"OpenVINO cannot load this network: {first_line(error)}") from error
        self._lock = threading.Lock()
        self._spec = spec
        self._info = EngineInfo(
            "openvino", openvino.__version__.split("-")[0], "cpu", precision, threads, why
        )

    @property
    def info(self) -> EngineInfo:
        """What runs, where."""
        return self._info

    def run(self, x_BCYX: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Run one batch; see `Engine.run`."""
        x_BCYX = check_input(x_BCYX, self._spec)
        try:
            # The request's own buffers are written over by the next run, hence the copies, and the lock until they are made.
            with self._lock:
                self._request.infer({0: x_BCYX}, share_inputs=True)
                return {
                    name: np.array(self._request.get_output_tensor(place).data, dtype=np.float32)
                    for place, name in enumerate(self._outputs)
                }
        except Exception as error:
            text = first_line(error)
            if "alloc" in text.lower() or isinstance(error, MemoryError):
                raise EngineMemoryError(
                    f"no memory for a batch of shape {x_BCYX.shape}: use a smaller --batch-size"
                ) from error
            raise EngineError(f"OpenVINO failed on a batch of shape {x_BCYX.shape}: {text}") from error

    def release(self) -> None:
        """Do nothing: a compiled model keeps the memory of its requests; see `Engine.release`."""


def _convert(openvino: Any, load: Callable[[], Any], spec: NetworkSpec) -> tuple[Any, list[str]]:
    """Convert a torch network; return OpenVINO's model and the names of its outputs in order."""
    import warnings

    calm_openmp()
    import torch

    network = load().float().eval()
    names = list(spec.outputs)

    class ByPosition(torch.nn.Module):
        """A traced graph has outputs by position, not by name."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Any) -> Any:
            outputs = self.network(x)
            return tuple(outputs[name] for name in names)

    side = spec.tile_size if spec.fixed_tile else 2 * spec.stride
    free = side if spec.fixed_tile else -1
    example = torch.zeros(1, spec.planes, side, side)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracer remarks on every shape that Python looks at
        # Left to itself, convert_model traces twice and compares: seconds for a large network.
        trace: Any = torch.jit.trace
        traced = trace(ByPosition().eval(), example, check_trace=False)
        graph = openvino.convert_model(traced, example_input=example, input=[(-1, spec.planes, free, free)])
    return graph, names
