"""What could run a network here, found out without importing anything heavy.

`import torch` takes about a second, so "is there a GPU?" is not asked of torch: the driver leaves traces that
cost microseconds to look for. A trace is a hint, not a promise; the torch engine has the last word.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

INSTALL = {
    "onnxruntime": "pip install onnxruntime",
    "openvino": "pip install 'cellbrook[openvino]'",
    "torch": "pip install 'cellbrook[torch]'",
}
"""Engine -> the command that makes it available."""


def installed(engine: str) -> bool:
    """Return True if the library of that engine is there, without importing it."""
    try:
        return importlib.util.find_spec(engine) is not None
    except (ImportError, ValueError):
        return False


def library_version(engine: str) -> str | None:
    """Return the version of that engine's library from its metadata; None if it is not installed."""
    try:
        return version(engine)
    except PackageNotFoundError:
        return None


def fast_int8() -> bool:
    """Return True if the processor sums products of 8-bit integers in one instruction."""
    from cellbrook._kernels import _native

    return _native.has_int8_dot()


@cache
def accelerator_hint() -> str | None:
    """Return "cuda" or "mps" if the system looks as if the installed torch could use one, else None."""
    hint = driver_hint()
    if hint == "cuda" and (library_version("torch") or "").endswith("+cpu"):
        return None  # built for the processor only
    return hint


def driver_hint() -> str | None:
    """Return "cuda" or "mps" if the system looks as if it had a GPU that torch knows, else None.

    CUDA: the driver's files (Linux, Windows), WSL's device, or ``nvidia-smi`` on the path, unless
    CUDA_VISIBLE_DEVICES hides every card. MPS: macOS on Apple silicon.
    """
    if sys.platform == "darwin":
        return "mps" if platform.machine() == "arm64" else None
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return None
    if sys.platform == "win32":
        system = Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32")
        found = (system / "nvcuda.dll").exists()
    else:
        found = any(Path(p).exists() for p in ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg"))
    return "cuda" if found or shutil.which("nvidia-smi") else None
