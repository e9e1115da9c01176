import os
from pathlib import Path

import pytest
from hypothesis import settings

from cellbrook.core import threads

# On a shared build every run tries the same examples; on a developer's machine each run tries new ones.
settings.register_profile("build", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("build")

EXAMPLES = Path(__file__).parents[1] / "examples"


def pytest_addoption(parser):
    parser.addoption(
        "--packaging", action="store_true", help="run the tests that build and install the wheel"
    )


@pytest.fixture(autouse=True, scope="session")
def threads_as_asked_for():
    """Let tests have the threads they ask for: on a machine of one core they would compare one thread with itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "_host_cores", lambda: 16)
        yield


@pytest.fixture
def touch():
    """Make files with something in them: a folder, and their names below it."""

    def make(folder, *names):
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")

    return make


@pytest.fixture
def examples():
    """Folder of the sample images."""
    return EXAMPLES


def pytest_collection_modifyitems(items):
    """Put the tests in the browser last: its driver keeps an event loop running in this thread until the end."""
    items.sort(key=lambda item: "e2e" in item.path.parts)
