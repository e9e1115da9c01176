"""The project that a first `cellbrook serve` shows: images to try everything on, copied so that nothing can be spoilt."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellbrook.networks.store import home
from cellbrook.project.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "Sample images"
_IMAGES = ("fluorescence.png", "brightfield.png", "stained_tissue.png")
_PACKAGE = Path(__file__).parents[1]
_FOLDERS = (_PACKAGE / "samples", _PACKAGE.parents[1] / "examples")  # of a wheel; of a clone


def sample_project(folder: Path | None = None) -> Path:
    """Make the sample project if it is not there yet.

    Parameters
    ----------
    folder : Path or None
        Where it is, or is to be. None: ``sample.project`` in the user's folder of Cellbrook.

    Returns
    -------
    Path
        The project's folder. What was done in it before is still there.

    Raises
    ------
    ProjectError
        If the folder holds something else, or cannot be written to.
    """
    folder = folder or home() / "sample.project"
    if (folder / "project.toml").is_file():
        return folder
    with tempfile.TemporaryDirectory() as scratch:
        Project.create(folder, name=NAME, images=list(_write(Path(scratch))), copy=True).close()
    return folder


def _write(folder: Path) -> Iterator[Path]:
    """Put the sample images into a folder: real ones, and a generated one with two channels and a pixel size."""
    for name in _IMAGES:
        for source in (f / name for f in _FOLDERS):
            if source.is_file():
                yield Path(shutil.copy(source, folder / name))
                break
    yield _two_channels(folder / "two_channels_generated.ome.tif")


def _two_channels(path: Path) -> Path:
    import tifffile

    from cellbrook.training.synthetic import generate

    drawn = generate("cyto_fluo", 5, 512, 46.0)
    metadata = {
        "axes": "CYX",
        "Channel": {"Name": list(drawn.channel_names)},
        "PhysicalSizeX": 0.325, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.325, "PhysicalSizeYUnit": "µm",
    }  # fmt: skip
    tifffile.imwrite(path, drawn.image.astype(np.uint16), photometric="minisblack", metadata=metadata)
    return path
