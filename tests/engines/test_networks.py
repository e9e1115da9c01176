"""Engines that build from weights keep the contract on the architectures of Cellpose too."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from cellbrook.engines._openvino import OpenVinoEngine
from cellbrook.engines._torch import TorchEngine
from cellbrook.networks.cards import FAMILY_SPECS
from cellbrook.testing.contracts import EngineContract

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cellbrook.engines import Engine
    from cellbrook.networks.base import NetworkSpec


@functools.cache
def network(family: str) -> Any:
    """Build a network of random weights, none of them at the value that it begins with."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    if family == "cp3":
        from cellbrook.networks.cp3.model import Cp3Net

        built: Any = Cp3Net()
    else:
        from cellbrook.networks.cpsam.model import CpsamNet

        built = CpsamNet(depth=2, dim=64, head_dim=16, mlp=96, neck=24)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return built.eval()


@functools.cache
def engine(name: str, family: str) -> Engine:
    """Make an engine of one thread, once: converting takes seconds."""
    spec = FAMILY_SPECS[family]

    def load() -> Any:
        return network(family)

    if name == "openvino":
        return OpenVinoEngine(load, spec, precision="fp32", threads=1, why="a test")
    return TorchEngine(load, spec, device="cpu", precision="fp32", threads=1, why="a test")


class OnFamily(EngineContract):
    name = ""
    family = ""

    @pytest.fixture(autouse=True)
    def _libraries(self) -> None:
        pytest.importorskip(self.name)

    @property
    def spec(self) -> NetworkSpec:
        return FAMILY_SPECS[self.family]

    def make_engine(self, threads: int = 1) -> Engine:
        return engine(self.name, self.family)

    def expected(self, x_BCYX: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        import torch

        with torch.inference_mode():
            outputs = network(self.family)(torch.from_numpy(x_BCYX))
        return {name: value.numpy() for name, value in outputs.items()}


class TestTorchCp3(OnFamily):
    name, family = "torch", "cp3"


class TestOpenVinoCp3(OnFamily):
    name, family = "openvino", "cp3"


class TestTorchCpsam(OnFamily):
    name, family = "torch", "cpsam"


class TestOpenVinoCpsam(OnFamily):
    name, family = "openvino", "cpsam"


def test_torch_folds_batch_norms_and_leaves_the_network_as_it_is() -> None:
    torch = pytest.importorskip("torch")
    from cellbrook.engines._torch import folded
    from cellbrook.networks.compact.model import CompactNet

    torch.manual_seed(0)
    built = CompactNet((8, 8, 16, 16, 16)).eval()
    with torch.no_grad():
        for value in (*built.parameters(), *(b for b in built.buffers() if b.is_floating_point())):
            value.add_(torch.rand_like(value) * 0.3)
    before = {name: value.clone() for name, value in built.state_dict().items()}
    x = torch.randn(1, built.spec.planes, 64, 64)
    quick = folded(built)
    assert not [part for part in quick.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    with torch.inference_mode():
        for name, expected in built(x).items():
            torch.testing.assert_close(quick(x)[name], expected, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())
    assert folded(network("cp3")) is network("cp3"), "its norms come before the convolutions"


FORKED = """
import os, signal, sys
import numpy as np
from cellbrook.engines._torch import TorchEngine
from cellbrook.networks.cards import FAMILY_SPECS
from cellbrook.networks.cp3.model import Cp3Net

def make():
    return TorchEngine(lambda: Cp3Net().eval(), FAMILY_SPECS["cp3"], device="cpu", precision="fp32", threads=2, why="")

x_BCYX = np.zeros((1, 2, 128, 128), np.float32)
engine = make()
engine.run(x_BCYX)
if os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
signal.alarm(60)
for each in (engine, make()):
    each.run(x_BCYX)
    assert each.info.threads == 1
os._exit(7)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_torch_goes_on_in_a_forked_process() -> None:
    pytest.importorskip("torch")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
