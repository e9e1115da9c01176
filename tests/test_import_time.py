"""What importing the package costs, and that it keeps to itself."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import cellbrook

HEAVY = (
    "torch",
    "onnxruntime",
    "openvino",
    "zarr",
    "tifffile",
    "imagecodecs",
    "roifile",
    "cyclopts",
    "pandas",
    "starlette",
    "uvicorn",
    "msgspec",
)


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert run(f"import sys, cellbrook\nprint([m for m in {HEAVY} if m in sys.modules])") == "[]"


@pytest.mark.parametrize(
    "room", [m.name for m in pkgutil.iter_modules(cellbrook.__path__) if m.name[0] != "_"]
)
def test_importing_a_room_loads_no_engine(room: str) -> None:
    if room == "testing":
        pytest.skip("made for tests")
    code = (
        f"import sys, cellbrook.{room}\n"
        "print([m for m in ('torch', 'onnxruntime', 'openvino') if m in sys.modules])"
    )
    assert run(code) == "[]"


def test_rooms_are_there_without_being_imported_by_name() -> None:
    rooms = ["core", "errors", "project", "training", "measure", "export", "io", "evaluation"]
    for room in rooms:  # each afresh, as one brings others along
        assert run(f"import cellbrook\nprint(cellbrook.{room}.__name__)") == f"cellbrook.{room}"
    assert set(rooms) <= set(cellbrook.__all__)


def test_importing_the_package_takes_a_quarter_of_a_second_at_most() -> None:
    # processor time less that of a bare interpreter: other processes on the machine do not stretch it
    code = "import time\nbegan = time.process_time()\nimport cellbrook\nprint(time.process_time() - began)"
    assert min(float(run(code)) for _ in range(3)) < 0.25


def test_nothing_speaks_to_the_network_on_import() -> None:
    code = """
import socket

def refuse(*args, **keywords):
    raise AssertionError("a socket was opened")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import importlib, pkgutil, cellbrook
for module in pkgutil.iter_modules(cellbrook.__path__):
    if module.name not in ("testing", "training"):
        importlib.import_module(f"cellbrook.{module.name}")
import cellbrook.cli.app
print("quiet")
"""
    assert run(code) == "quiet"
