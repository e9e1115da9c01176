"""Finds out what this installation can do, each part by itself, so that a broken one hides no other."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cellbrook.cli._console import one_line
from cellbrook.core.threads import core_limits

REQUIRED = ("numpy", "onnxruntime", "tifffile", "imagecodecs", "zarr", "roifile", "cyclopts")
"""Distributions of the base install."""

EXTRAS = {
    "torch": ("torch", "Cellpose checkpoints and GPUs"),
    "train": ("onnx", "models for your own cells, with torch"),
    "openvino": ("openvino", "faster networks on processors, for those without an ONNX graph or in bf16"),
    "bioio": ("bioio", "nd2 and dv"),
    "bioio-gpl": ("bioio-czi", "czi and lif too, by readers under the GPL"),
}
"""Extra -> (package to look for, what it is good for)."""

# Imports run in processes of their own: a library built for another processor kills the one that loads it.
_PROBES = {
    "onnxruntime": "import onnxruntime as o; r = dict(version=o.__version__, devices=['cpu'])",
    "openvino": (
        "import openvino as o; c = o.Core(); r = dict(version=o.__version__.split('-')[0],"
        " devices=['cpu'] if 'CPU' in c.available_devices else [],"
        " bf16='BF16' in c.get_property('CPU', 'OPTIMIZATION_CAPABILITIES'))"
    ),
    "torch": (
        "import torch as t; n = t.cuda.device_count() if t.cuda.is_available() else 0;"
        " r = dict(version=t.__version__, devices=['cpu'] + [f'cuda:{i}' for i in range(n)]"
        " + (['mps'] if t.backends.mps.is_available() else []),"
        " cards=[t.cuda.get_device_name(i) for i in range(n)])"
    ),
}
_PROBE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong, and what mends it."""

    what: str
    mend: str


def diagnose() -> dict[str, Any]:
    """Look at everything.

    Returns
    -------
    dict
        Plain values by section, for people and for JSON; ``problems`` lists what is wrong as dicts of
        ``what`` and ``mend``, empty if all is well; ``notes`` are lines about what may be as it is.
    """
    problems: list[Problem] = []
    notes: list[str] = []
    running = {name: _start_probe(name) for name in _PROBES}  # side by side, while the rest is looked at
    report: dict[str, Any] = {
        "system": _system(),
        "cores": _cores(),
        "memory": _memory(),
        "packages": _packages(problems),
        "kernels": _kernels(problems),
        "models": _models(problems, notes),
    }
    report["engines"] = {name: _end_probe(name, process, problems) for name, process in running.items()}
    report["gpu"] = _gpu(report["engines"], problems)
    report["auto"] = _auto(report["engines"], problems)
    report["extras"] = _extras()
    report["notes"] = notes
    report["problems"] = [{"what": p.what, "mend": p.mend} for p in problems]
    return report


def _system() -> dict[str, Any]:
    return {
        "cellbrook": _version("cellbrook"),
        "location": str(Path(__file__).parents[1]),
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "machine": platform.machine(),
    }


def _cores() -> dict[str, Any]:
    limits = core_limits()
    return {"host": limits.host, "allowed": limits.allowed, "reason": limits.reason}


def _memory() -> dict[str, Any]:
    total, free = _host_memory()
    return {"total_bytes": total, "available_bytes": free, "cgroup_limit_bytes": cgroup_memory_limit()}


def _host_memory() -> tuple[int | None, int | None]:
    """Return bytes in all and free for use; None where the system does not say."""
    try:
        words = [line.split() for line in Path("/proc/meminfo").read_text().splitlines()]
        sizes = {w[0].rstrip(":"): int(w[1]) * 1024 for w in words if len(w) > 1}
        return sizes.get("MemTotal"), sizes.get("MemAvailable")
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), None
    except (AttributeError, OSError, ValueError):
        return None, None


def cgroup_memory_limit(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int | None:
    """Return the memory limit of the process's cgroup in bytes, the tightest on the way up; None if none."""
    limits: list[int] = []
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        folder = base / path.lstrip("/")
        for level in (folder, *folder.parents):
            with contextlib.suppress(OSError, ValueError):  # no such level, or "max"
                limits.append(int((level / name).read_text()))
            if level == base:
                break
    real = [limit for limit in limits if limit < 1 << 60]  # version 1 writes a huge number for "none"
    return min(real) if real else None


def _packages(problems: list[Problem]) -> dict[str, str | None]:
    found = {name: _version(name) for name in REQUIRED}
    for name, number in found.items():
        if number is None:
            problems.append(Problem(f"{name} is not installed", f"pip install {name}"))
    for name in REQUIRED:
        if found[name] is None or name == "onnxruntime":  # that one is probed as an engine
            continue
        try:
            importlib.import_module(name)
        except Exception as error:
            reason = one_line(str(error))[:200]
            problems.append(
                Problem(f"{name} does not import: {reason}", f"pip install --force-reinstall {name}")
            )
    return found


def _kernels(problems: list[Problem]) -> dict[str, Any]:
    try:
        importlib.import_module("cellbrook._kernels._native")
    except Exception as error:
        what = f"the compiled kernels do not load: {one_line(str(error))[:200]}"
        problems.append(Problem(what, "install Cellbrook again as you did"))
        return {"ok": False}
    return {"ok": True}


def _models(problems: list[Problem], notes: list[str]) -> list[dict[str, Any]]:
    """Check the files of every shipped and installed model against their hashes."""
    try:
        from cellbrook.networks.store import (
            damaged_models,
            list_models,
            mend_advice,
            models_dir,
            resolve_model,
        )

        damaged = damaged_models()
        listed = [m for m in list_models() if m.state != "available"]
    except Exception as error:
        what = f"models cannot be listed: {one_line(str(error))}"
        problems.append(Problem(what, "install Cellbrook again as you did"))
        return []
    rows: list[dict[str, Any]] = []
    for model in listed:
        row: dict[str, Any] = {"name": model.card.name, "state": model.state, "licence": model.card.licence}
        try:
            row |= {"ok": True, "sha256": resolve_model(model.card.name).sha256}
        except Exception as error:
            row |= {"ok": False, "error": one_line(str(error))}
            name = model.card.name
            mend = mend_advice(model.state, name, model.card)
            problems.append(Problem(f"model {name} is damaged: {row['error']}", mend))
        rows.append(row)
    for folder, why in damaged:
        name = folder.name
        mend = mend_advice("installed", name)
        problems.append(Problem(f"model {name} is damaged: {one_line(str(why))}", mend))
    if not any(row["state"] == "shipped" for row in rows):
        problems.append(Problem("the shipped model is missing", mend_advice("shipped", "compact")))
    folder = models_dir()
    existing = next(p for p in (folder, *folder.parents) if os.path.exists(p))  # false of what cannot be seen
    if not os.access(existing, os.W_OK):
        notes.append(
            f"models cannot be installed, {existing} is not writable: set CELLBROOK_HOME to a folder of yours if you need to"
        )
    return rows


def _start_probe(engine: str) -> subprocess.Popen[str] | None:
    from cellbrook.engines import _probe

    if not _probe.installed(engine):
        return None
    code = f"import json\n{_PROBES[engine]}\nprint('\\n' + json.dumps(r))"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _end_probe(engine: str, process: subprocess.Popen[str] | None, problems: list[Problem]) -> dict[str, Any]:
    from cellbrook.engines._probe import INSTALL

    if process is None:
        return {"state": "missing", "install": INSTALL[engine]}
    try:
        out, err = process.communicate(timeout=_PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        out, err = "", f"the import takes more than {_PROBE_SECONDS} s"
    if process.returncode == 0:
        return {"state": "ok", **json.loads(out.strip().splitlines()[-1])}
    if process.returncode < 0 and not err.strip():
        err = f"the import dies with signal {-process.returncode}"
    reason = one_line(err.strip().splitlines()[-1]) if err.strip() else f"exit code {process.returncode}"
    mend = f"pip install --force-reinstall {engine}"
    problems.append(Problem(f"{engine} is installed but does not work: {reason[:300]}", mend))
    return {"state": "broken", "error": reason, "mend": mend}


def _gpu(engines: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Compare what the system shows with what torch can use."""
    from cellbrook.engines._probe import driver_hint

    hint, torch = driver_hint(), engines["torch"]
    usable = [d for d in torch.get("devices", []) if d != "cpu"]
    report: dict[str, Any] = {"driver": hint, "usable": usable, "cards": torch.get("cards", [])}
    if hint is not None and not usable:
        if torch["state"] == "missing":
            report["advice"] = f"a GPU driver is there; to use it: {torch['install']}"
        elif torch["state"] == "ok" and "+cpu" in torch["version"]:
            report["advice"] = (
                "a GPU driver is there, this torch is for processors only; to use the GPU: "
                "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu128"
            )
        elif torch["state"] == "ok" and hint == "cuda":
            problems.append(Problem("a GPU driver is there but torch cannot use a card", "nvidia-smi"))
    return report


def _auto(engines: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Say what "auto" chooses for the shipped model, and run one small tile through it."""
    import time

    import numpy as np

    from cellbrook.engines import create
    from cellbrook.networks.store import resolve_model

    try:
        model = resolve_model("compact")
    except Exception:
        return {"ok": False}  # reported with the models
    if engines["onnxruntime"]["state"] != "ok" and engines["torch"]["state"] != "ok":
        return {"ok": False}  # reported with the engines
    try:
        began = time.perf_counter()
        engine = create(model)
        spec = model.card.spec
        engine.run(np.zeros((1, spec.planes, 2 * spec.stride, 2 * spec.stride), np.float32))
    except Exception as error:
        what = f"the shipped model does not run: {one_line(str(error))}"
        problems.append(Problem(what, "pip install --force-reinstall onnxruntime"))
        return {"ok": False, "error": one_line(str(error))}
    info = engine.info
    return {
        "ok": True,
        "engine": info.engine,
        "device": info.device,
        "precision": info.precision,
        "threads": info.threads,
        "why": info.why,
        "start_s": round(time.perf_counter() - began, 3),
    }


def _extras() -> dict[str, dict[str, Any]]:
    return {
        extra: {"version": _version(package), "for": purpose, "install": f"pip install 'cellbrook[{extra}]'"}
        for extra, (package, purpose) in EXTRAS.items()
    }


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
