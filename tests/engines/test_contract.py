"""Every engine keeps the contract, on a small random network and on the shipped one."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cellbrook import engines
from cellbrook.errors import UnknownModelError
from cellbrook.networks.store import ResolvedModel, resolve_model
from cellbrook.testing.contracts import EngineContract
from cellbrook.testing.fakes import BLOB_SPEC, BlobEngine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cellbrook.engines import Engine
    from cellbrook.networks.base import NetworkSpec


_ENGINES: dict[Path, Engine] = {}


def _converted(path: Path, make: Callable[[], Engine]) -> Engine:
    if path not in _ENGINES:
        _ENGINES[path] = make()
    return _ENGINES[path]


class OnTiny(EngineContract):
    """The contract for an engine that `create` makes, held to torch's output in fp32."""

    engine_name = ""
    precision = "auto"
    weights_only = False

    @pytest.fixture(autouse=True)
    def _model(self, tiny: ResolvedModel) -> None:
        pytest.importorskip(self.engine_name)
        self.model = tiny
        if self.weights_only:
            paths = {kind: path for kind, path in tiny.paths.items() if kind == "safetensors"}
            self.model = dataclasses.replace(tiny, paths=paths)

    @property
    def spec(self) -> NetworkSpec:
        return self.model.card.spec

    def make_engine(self, threads: int = 1) -> Engine:
        if self.weights_only and threads == 1:  # converting takes seconds
            return _converted(self.model.paths["safetensors"], lambda: self._create(threads))
        return self._create(threads)

    def _create(self, threads: int) -> Engine:
        return engines.create(
            self.model, engine=self.engine_name, device="cpu", precision=self.precision, threads=threads
        )

    def expected(self, x_BCYX: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        import torch

        from cellbrook.networks import load

        with torch.inference_mode():
            outputs = load(self.model)(torch.from_numpy(x_BCYX))
        return {name: value.numpy() for name, value in outputs.items()}

    def test_threads_that_share_an_engine_get_their_own_outputs(self, engine: Engine) -> None:
        batches = [self.batch(1, 256, 256, seed=seed) for seed in range(4)]
        expected = [engine.run(x_BCYX)["flow"] for x_BCYX in batches]
        with ThreadPoolExecutor(4) as pool:
            for _ in range(5):
                for found, alone in zip(pool.map(engine.run, batches), expected, strict=True):
                    np.testing.assert_array_equal(found["flow"], alone)


class TestOnnxRuntime(OnTiny):
    engine_name = "onnxruntime"


class TestOpenVino(OnTiny):
    engine_name = "openvino"


class TestOpenVinoFromWeights(OnTiny):
    engine_name = "openvino"
    weights_only = True


class TestTorch(OnTiny):
    engine_name = "torch"


class TestTorchBf16(OnTiny):
    engine_name = "torch"
    precision = "bf16"
    tolerance = 0.2  # bf16 keeps 8 bits; this holds it to the right network, not to accuracy


class TestOpenVinoBf16(OnTiny):
    engine_name = "openvino"
    precision = "bf16"
    tolerance = 0.2


class TestFake(EngineContract):
    spec = BLOB_SPEC

    def make_engine(self, threads: int = 1) -> Engine:
        return BlobEngine()


class OnShipped(EngineContract):
    """The same for the shipped model, held to onnxruntime's output."""

    engine_name = ""

    @pytest.fixture(autouse=True)
    def _model(self) -> None:
        pytest.importorskip(self.engine_name)
        try:
            self.model = resolve_model("compact")
        except UnknownModelError:
            pytest.skip("no shipped model in this checkout")

    @property
    def spec(self) -> NetworkSpec:
        return self.model.card.spec

    def make_engine(self, threads: int = 1) -> Engine:
        return engines.create(
            self.model, engine=self.engine_name, device="cpu", precision="fp32", threads=threads
        )

    def expected(self, x_BCYX: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        return engines.create(self.model, engine="onnxruntime", precision="fp32", threads=1).run(x_BCYX)


class TestShippedOnnxRuntime(OnShipped):
    engine_name = "onnxruntime"


class TestShippedOpenVino(OnShipped):
    engine_name = "openvino"


class TestShippedTorch(OnShipped):
    engine_name = "torch"
