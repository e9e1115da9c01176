from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def pytest_addoption(parser):
    parser.addoption(
        "--packaging", action="store_true", help="run the tests that build and install the wheel"
    )


@pytest.fixture
def examples():
    """Folder of the sample images."""
    return EXAMPLES
