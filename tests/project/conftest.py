from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cellbrook.io import write_png
from cellbrook.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
SHAPE = (530, 540)  # two chunks by two, the further ones narrow


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in memory where there is one: every edit waits for the disk."""
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="cellbrook-") as folder:
        yield Path(folder)


@pytest.fixture
def picture(place: Path) -> Callable[..., Path]:
    """Write an image, and return its path."""

    def make(name: str = "cells.png", shape: tuple[int, int] = SHAPE, seed: int = 0) -> Path:
        path = place / "pictures" / name
        path.parent.mkdir(exist_ok=True)
        write_png(path, np.random.default_rng(seed).integers(0, 255, shape, np.uint8))
        return path

    return make


@pytest.fixture
def project(place: Path, picture: Callable[..., Path]) -> Iterator[Project]:
    """A project of one image."""
    with Project.create(place / "my.project", images=[picture()]) as made:
        yield made


@pytest.fixture
def image(project: Project) -> str:
    """Its id."""
    return project.images()[0].id


def abandon(project: Project) -> None:
    """Let go of a project as a killed process does: nothing more is written."""
    project.database.close()
    project._file_lock.release()


def square(y: int, x: int, size: int = 10) -> list[tuple[int, int, int]]:
    """Return the runs of a square."""
    return [(row, x, x + size) for row in range(y, y + size)]
