"""What the onnxruntime engine keeps to beyond the contract: memory and threads."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import os, time
import numpy as np
from cellbrook import engines
from cellbrook.networks import resolve_model

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", CODE + code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_large_tile_is_given_back() -> None:
    grown = run(
        "engine = engines.create(resolve_model('compact'), engine='onnxruntime', threads=1)\n"
        "tile = np.zeros((1, 4, 512, 512), np.float32)\n"
        "engine.run(tile)\nbefore = resident()\n"
        "engine.run(np.zeros((1, 4, 2048, 2048), np.float32))\n"
        "engine.release()\n"
        "print(resident() - before)"
    )
    assert float(grown) < 100  # MB; without giving back it is about 500


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_one_more_thread_makes_one_more_thread() -> None:
    def threads(count: int) -> int:
        return int(
            run(
                "from cellbrook.engines._onnxruntime import OnnxRuntimeEngine\n"
                "model = resolve_model('compact')\nengine = OnnxRuntimeEngine(\n"
                f"    model.paths['onnx'], model.card.spec, precision='fp32', threads={count}, why='')\n"
                "engine.run(np.zeros((2, 4, 128, 128), np.float32))\n"
                "print(len(os.listdir('/proc/self/task')))"
            )
        )

    assert threads(3) - threads(1) == 2


def test_waiting_threads_do_not_spin() -> None:
    cpu = run(
        "from cellbrook.engines._onnxruntime import OnnxRuntimeEngine\nmodel = resolve_model('compact')\n"
        "engine = OnnxRuntimeEngine(\n"
        "    model.paths['onnx'], model.card.spec, precision='fp32', threads=4, why='')\n"
        "engine.run(np.zeros((1, 4, 128, 128), np.float32))\n"
        "began = time.process_time()\ntime.sleep(0.5)\nprint(time.process_time() - began)"
    )
    assert float(cpu) < 0.25, "spinning would take a core and more for half a second"
