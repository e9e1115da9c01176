"""From a trained network to the files that engines load: weights as safetensors, and an ONNX graph that points into them.

The safetensors file is also the graph's external-data file, so the weights are on disk once and every engine
runs the very same numbers.
"""

from __future__ import annotations

import importlib
import json
import warnings
from typing import TYPE_CHECKING, Any

from cellbrook.errors import EngineError
from cellbrook.networks.store import sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn


def export_network(network: nn.Module, folder: Path, stem: str) -> dict[str, Path]:
    """Write ``<stem>.safetensors`` and ``<stem>.onnx``.

    Parameters
    ----------
    network : nn.Module
        With a `spec` and a `forward(x_BCYX)` that returns the outputs named there.
    folder : Path
        Must exist.
    stem : str
        Name of the files.

    Returns
    -------
    dict of str to Path
        By kind, as in a model card.

    Raises
    ------
    EngineError
        If onnx is not installed.
    """
    from safetensors.torch import save_file

    onnx = require_onnx()
    weights_path, graph_path = folder / f"{stem}.safetensors", folder / f"{stem}.onnx"
    network = network.eval().to("cpu")
    # the counter of batches seen is of no use to anybody who only runs the network
    state = {
        k: v.contiguous() for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")
    }
    save_file(state, weights_path)
    weights_path.chmod(0o644)  # it is written for its owner alone

    # batch norms stay: folded, they would be weights of other values than those in the file
    trace_network(network, graph_path, folded=False)
    model = onnx.load(str(graph_path))
    _point_into(model, weights_path, set(state))
    graph_path.write_bytes(model.SerializeToString())
    onnx.checker.check_model(str(graph_path))
    return {"safetensors": weights_path, "onnx": graph_path}


def require_onnx() -> Any:
    """Return onnx, or say how to get it.

    Raises
    ------
    EngineError
        If it is not installed.
    """
    try:
        return importlib.import_module("onnx")
    except ImportError as error:
        raise EngineError(f'this needs onnx ({error}): pip install "cellbrook[train]"') from error


def trace_network(network: nn.Module, path: Path, *, folded: bool) -> None:
    """Write the ONNX graph of a network, with its weights, for tiles of any size and number.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode, on the processor, with a `spec` and a `forward(x_BCYX)` that returns the outputs named there.
    path : Path
        The file to write.
    folded : bool
        Whether batch norms become part of the convolutions before them.
    """
    import torch

    spec: Any = network.spec
    side = spec.stride * 4
    outputs = list(spec.outputs)
    dynamic = {name: {0: "B"} for name in ("x", *outputs)}
    dynamic["x"] |= {2: "Y", 3: "X"}
    for name in outputs:
        dynamic[name] |= {2: f"Y_{name}", 3: f"X_{name}"}
    mode = torch.onnx.TrainingMode
    with warnings.catch_warnings():
        # the exporter's own deprecation; the newer one folds the weights away
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(1, spec.planes, side, side),),
            str(path),
            input_names=["x"],
            output_names=outputs,
            dynamic_axes=dynamic,
            opset_version=17,
            training=mode.EVAL if folded else mode.PRESERVE,
            do_constant_folding=folded,
            dynamo=False,
        )


def _point_into(model: Any, weights_path: Path, names: set[str]) -> None:
    """Replace initializers that are in the safetensors file by references to their bytes there."""
    from onnx import TensorProto

    raw = weights_path.read_bytes()
    header_length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + header_length])
    for tensor in model.graph.initializer:
        if tensor.name not in names:
            continue
        begin, end = header[tensor.name]["data_offsets"]
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
        tensor.data_location = TensorProto.EXTERNAL
        del tensor.external_data[:]
        for key, value in (
            ("location", weights_path.name),
            ("offset", 8 + header_length + begin),
            ("length", end - begin),
        ):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, str(value)


def file_entry(path: Path) -> dict[str, Any]:
    """Return the model card's entry for a file."""
    return {"filename": path.name, "sha256": sha256_of(path), "bytes": path.stat().st_size}
