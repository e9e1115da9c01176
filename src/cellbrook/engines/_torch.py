"""torch: processor, CUDA and Apple GPUs, for every network that has weights."""

from __future__ import annotations

import copy
import dataclasses
import logging
import os
from typing import TYPE_CHECKING, Any

from cellbrook.core.threads import calm_openmp
from cellbrook.engines.base import EngineInfo, check_input, first_line
from cellbrook.errors import EngineError, EngineMemoryError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from cellbrook.networks.base import NetworkSpec

_log = logging.getLogger(__name__)

_pool_of: int | None = None
"""The process in which torch first computed with several threads."""


class TorchEngine:
    """Runs a network as a torch module.

    Parameters
    ----------
    load : callable returning torch.nn.Module
        Builds the network with its weights; called once torch and the device are known to work.
    spec : NetworkSpec
        What the network takes and gives.
    device : str
        "cpu", "cuda", "cuda:1", "mps".
    precision : {"fp32", "bf16"}
        Arithmetic of weights and activations. Input and outputs are float32 in any case.
    threads : int
        Processor threads. torch keeps one pool a process, which this bounds before each run. One in a process that was
        forked from one in which torch had computed with several.
    why : str
        Why this engine was chosen.

    Raises
    ------
    EngineError
        If torch does not import or the device is not there.
    """

    def __init__(
        self,
        load: Callable[[], Any],
        spec: NetworkSpec,
        *,
        device: str,
        precision: str,
        threads: int,
        why: str,
    ) -> None:
        calm_openmp()
        try:
            import torch
        except Exception as error:  # a broken install raises OSError, RuntimeError ...
            raise EngineError(
                f"torch does not import ({first_line(error)}): pip install --force-reinstall torch"
            ) from error
        self._torch = torch
        self._device = checked_device(torch, device)
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        # Channels last saves reordering: 15 % on a processor, 45 % there in bf16; tensor cores want it too.
        self._format = torch.contiguous_format if self._device.type == "mps" else torch.channels_last
        self._spec = spec
        threads = _threads_here(threads)
        torch.set_num_threads(threads)
        try:
            module = folded(load().eval()).requires_grad_(False)
            self._module = module.to(device=self._device, dtype=self._dtype, memory_format=self._format)
        except torch.OutOfMemoryError as error:
            raise EngineMemoryError(
                f"the network does not fit the memory of {device}: use --device cpu"
            ) from error
        self._info = EngineInfo("torch", torch.__version__, str(self._device), precision, threads, why)

    @property
    def info(self) -> EngineInfo:
        """What runs, where."""
        return self._info

    def run(self, x_BCYX: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Run one batch; see `Engine.run`."""
        torch = self._torch
        x_BCYX = check_input(x_BCYX, self._spec)
        threads = _threads_here(self._info.threads)
        if threads != self._info.threads:
            self._info = dataclasses.replace(self._info, threads=threads)
        if torch.get_num_threads() != threads:  # another engine of this process may have changed it
            torch.set_num_threads(threads)
        try:
            with torch.inference_mode():
                x = torch.from_numpy(x_BCYX).to(
                    device=self._device, dtype=self._dtype, memory_format=self._format
                )
                outputs = self._module(x)
                return {
                    name: value.float().cpu().numpy() for name, value in outputs.items() if value is not None
                }
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise EngineMemoryError(
                f"no memory on {self._device} for a batch of {len(x_BCYX)}: use a smaller --batch-size"
            ) from error
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, MemoryError) or "alloc" in str(error).lower():  # DefaultCPUAllocator, MPS
                raise EngineMemoryError(
                    f"no memory on {self._device} for a batch of {len(x_BCYX)}: use a smaller --batch-size"
                ) from error
            raise EngineError(
                f"torch failed on a batch of shape {x_BCYX.shape}: {first_line(error)}"
            ) from error

    def release(self) -> None:
        """Give memory back; see `Engine.release`."""
        if self._device.type == "cuda":
            self._torch.cuda.empty_cache()


def _threads_here(threads: int) -> int:
    """Return how many threads torch can compute with in this process.

    A fork takes the record of OpenMP's threads along but not the threads: with several, the child waits for them for ever.
    With one it asks for none of them.
    """
    global _pool_of
    if threads > 1 and _pool_of not in (None, os.getpid()):
        _log.warning(
            "torch goes on with one thread: this process was forked after torch had used several;"
            " start processes by the method 'spawn' for more"
        )
        return 1
    if threads > 1:
        _pool_of = os.getpid()
    return threads


def folded(module: Any) -> Any:
    """Return a network in which batch norms are part of the convolutions before them: a fifth less time on a processor.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode. It stays as it is; without such norms it is returned itself.
    """
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    def pairs(network: Any) -> list[tuple[Any, int]]:
        return [
            (part, i)
            for part in network.modules()
            if isinstance(part, nn.Sequential)
            for i in range(len(part) - 1)
            if isinstance(part[i], nn.Conv2d) and isinstance(part[i + 1], nn.BatchNorm2d)
        ]

    if not pairs(module):
        return module
    module = copy.deepcopy(module)
    for part, i in pairs(module):
        part[i], part[i + 1] = fuse_conv_bn_eval(part[i], part[i + 1]), nn.Identity()
    return module


def checked_device(torch: Any, device: str) -> Any:
    """Return the torch device, after asking torch whether it can be used."""
    kind, _, number = device.partition(":")
    if kind == "cuda":
        if not torch.cuda.is_available():
            built = torch.version.cuda
            fix = (
                "its driver does not answer: check nvidia-smi"
                if built
                else "this torch is built for the processor only: see pytorch.org for a CUDA build"
            )
            raise EngineError(f"device cuda is not available; {fix}")
        if number and int(number) >= torch.cuda.device_count():
            raise EngineError(
                f"device {device} is not there: the last one is cuda:{torch.cuda.device_count() - 1}"
            )
        return torch.device(device if number else f"cuda:{torch.cuda.current_device()}")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise EngineError("device mps is not available: it needs an Apple GPU and macOS 14 or later")
    return torch.device(device)
