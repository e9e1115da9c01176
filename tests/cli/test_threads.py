"""`--threads` bounds the whole command, from reading the image to writing the results."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "fluorescence.png"


@pytest.mark.parametrize("threads", [1, 2])
def test_processor_time_stays_within_the_threads(tmp_path: Path, threads: int) -> None:
    resource = pytest.importorskip("resource")
    command = [sys.executable, "-m", "cellbrook.cli.app", "segment", str(EXAMPLE), "--out", str(tmp_path)]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*command, "--threads", str(threads), "--quiet"], check=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent <= 1.1 * threads * wall
    assert (tmp_path / "fluorescence_labels.tif").exists()
