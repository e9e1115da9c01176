"""From a trained network to a graph in 8-bit integers, for processors that multiply those several times faster.

Weights are rounded per output channel, activations by ranges seen on calibration tiles. The first convolution stays in
fp32, since the range of its input has no limit: a few bright cells on a dark image reach many times the usual values.
So does the last, whose rounding would be seen directly in the flows.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.networks.export import trace_network

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from torch import nn


def quantize_network(network: nn.Module, tiles: Iterable[NDArray[np.float32]], path: Path) -> None:
    """Write an int8 graph of a network; it needs no other file.

    Parameters
    ----------
    network : nn.Module
        With a `spec` and a `forward(x_BCYX)` that returns the outputs named there.
    tiles : iterable of ndarray of shape (planes, Y, X), float32
        What the network will typically see; many hundred, since ranges are running means that follow slowly.
    path : Path
        The ``.onnx`` file to write.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    spec: Any = network.spec
    outputs = list(spec.outputs)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the quantiser
        plain, ready = Path(folder) / "plain.onnx", Path(folder) / "ready.onnx"
        trace_network(network.eval(), plain, folded=True)
        quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready),
            str(path),
            _Tiles(tiles),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_first_and_last(onnx.load(str(ready)), outputs),
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"CalibMovingAverage": True, "CalibMovingAverageConstant": 0.005},
        )


def _first_and_last(model: Any, outputs: list[str]) -> list[str]:
    """Return the names of the convolution that reads the image, and of all from the last ones to the outputs."""
    nodes = list(model.graph.node)
    maker = {name: node for node in nodes for name in node.output}
    kept = [node.name for node in nodes if node.op_type == "Conv" and "x" in node.input]
    for name in outputs:
        node = maker[name]
        kept.append(node.name)
        while node.op_type != "Conv":
            node = maker[node.input[0]]
            kept.append(node.name)
    return list(dict.fromkeys(kept))


class _Tiles:
    """Hands calibration tiles over, one at a time."""

    def __init__(self, tiles: Iterable[NDArray[np.float32]]) -> None:
        self._tiles = iter(tiles)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        tile = next(self._tiles, None)
        return None if tile is None else {"x": np.ascontiguousarray(tile[None], np.float32)}
