"""The wheel, installed alone in a fresh environment, segments offline."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Imported at start-up of the fresh environment: any connection but to this process's own family fails.
NO_NETWORK = """
import socket

def refuse(self, address, *rest):
    raise RuntimeError(f"tried to reach {address}")

socket.socket.connect = socket.socket.connect_ex = refuse
"""


@pytest.fixture(scope="session")
def wheel(request, tmp_path_factory):
    if not request.config.getoption("--packaging"):
        pytest.skip("give --packaging to build the wheel (make packaging)")
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out, ROOT], check=True
    )
    return next(out.glob("cellbrook-*.whl"))


def test_it_holds_what_it_must_and_no_more(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for needed in ("compact.onnx", "compact.safetensors", "CARDS.toml"):
        assert f"cellbrook/weights/{needed}" in names
    assert any(n.startswith("cellbrook/_kernels/_native") and n.endswith((".so", ".pyd")) for n in names)
    assert "cellbrook/py.typed" in names
    assert "cellbrook/samples/fluorescence.png" in names
    assert "cellbrook/server/static/index.html" in names, "the page of `cellbrook serve`"
    assert any(re.fullmatch(r"cellbrook/server/static/assets/.*\.js", n) for n in names)
    assert not [n for n in names if n.endswith((".cpp", ".hpp", ".o"))]
    assert not [n for n in names if not n.startswith("cellbrook")]
    assert wheel.stat().st_size < 60e6


def test_it_holds_the_page_of_the_weights_it_holds(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (card,) = tomllib.loads(archive.read("cellbrook/weights/CARDS.toml").decode())["model"]
        page = archive.read("cellbrook/weights/MODEL_CARD.md").decode()
        assert card["files"]["safetensors"]["sha256"] in page, "make it anew: benchmarks/accuracy/card.py"
        for picture in re.findall(r"\]\((card/[^)]+)\)", page):
            assert f"cellbrook/weights/{picture}" in archive.namelist()


@pytest.mark.usefixtures("wheel")  # which builds the page
def test_the_source_distribution_carries_the_built_page(tmp_path):
    build = "import sys; from scikit_build_core.build import build_sdist; build_sdist(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL
    )
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert "src/cellbrook/server/static/index.html" in names
    assert "src/cellbrook/server/static/sources.sha256" in names, "so that it is not built again"
    assert not [name for name in names if "node_modules" in name]


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory):
    """Folder of a fresh environment with the wheel and what pip brings along."""
    home = tmp_path_factory.mktemp("installed") / "environment"
    venv.create(home, with_pip=True)
    pip = [home / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", wheel], check=True)
    return home


def test_its_page_works_in_a_browser(installed):
    # from the first look at the sample to a corrected image that is exported, served by the wheel alone
    environment = {**os.environ, "CELLBROOK_E2E_PYTHON": str(installed / "bin" / "python")}
    environment.pop("PYTHONPATH", None)
    tests = [sys.executable, "-m", "pytest", "-q", "tests/e2e/test_first_minutes.py"]
    done = subprocess.run(tests, check=False, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_it_segments_alone_and_offline(installed, tmp_path):
    home, python = installed, installed / "bin" / "python"
    site = next((home / "lib").glob("python*/site-packages"))
    (site / "sitecustomize.py").write_text(NO_NETWORK)
    image = tmp_path / "fluorescence.png"
    image.write_bytes((ROOT / "examples" / "fluorescence.png").read_bytes())
    environment = {**os.environ, "CELLBROOK_HOME": str(tmp_path / "nothing")}
    environment.pop("PYTHONPATH", None)
    run = [home / "bin" / "cellbrook", "segment", str(image), "--json"]
    done = subprocess.run(run, check=False, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for ending in ("_labels.tif", "_overlay.png", "_objects.csv", "_run.json"):
        assert (tmp_path / f"fluorescence{ending}").stat().st_size > 0
    torch = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False)
    assert torch.returncode != 0, "the base install must not bring torch"
