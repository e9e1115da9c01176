"""What takes long tells how far it is, and what is done before a cancel stays."""

from __future__ import annotations

import numpy as np
import pytest

from cellbrook.core.progress import NoProgress
from cellbrook.errors import Cancelled
from cellbrook.project import Paint, Project

from .conftest import square


class Told(NoProgress):
    """Writes down what it is told; wants to stop after so many units."""

    def __init__(self, stop: int = 10**9) -> None:
        self.tasks: list[list] = []
        self.left = stop

    def start(self, task, total):
        self.tasks.append([task, total, 0])

    def advance(self, count=1):
        self.tasks[-1][2] += count
        self.left -= count

    def check_cancelled(self):
        if self.left <= 0:
            raise Cancelled("enough")


def test_adding_tells_each_scene_and_keeps_what_was_added_before_a_cancel(place, picture):
    tifffile = pytest.importorskip("tifffile")
    folder = picture("a.png", (40, 40)).parent
    picture("b.png", (40, 40), seed=1)
    with tifffile.TiffWriter(folder / "scenes.ome.tif", ome=True) as file:
        for seed in range(3):
            pixels = np.random.default_rng(seed).integers(0, 255, (40, 40), np.uint8)
            file.write(pixels, metadata={"axes": "YX"})
    with Project.create(place / "p.project") as project:
        told = Told(stop=3 + 2)
        with pytest.raises(Cancelled):
            project.add(folder, progress=told)
        assert told.tasks == [["looking", 3, 3], ["adding", 5, 2]]
        assert len(project.images()) == 2
        told = Told()
        report = project.add(folder, progress=told)
        assert told.tasks == [["looking", 3, 3], ["adding", 5, 5]]
        assert len(report.added) == 3
        assert len(report.already) == 2


def test_exporting_tells_each_image_also_those_that_cannot_be_read(place, picture):
    paths = [picture(f"{n}.png", (40, 40), seed=n) for n in range(3)]
    with Project.create(place / "p.project", images=paths) as project:
        for record in project.images():
            log = project.log(record.id)
            log.store.lease(1)
            log.apply(Paint(1, square(4, 4)))
        told = Told(stop=1)
        with pytest.raises(Cancelled):
            project.export(place / "out", progress=told)
        assert told.tasks == [["writing", 3, 1]]
        assert len(list((place / "out").glob("*_labels*"))) == 1
        paths[1].unlink()
        told, left = Told(), []
        project.export(place / "out", say=left.append, progress=told)
        assert told.tasks == [["writing", 3, 3]]
        assert len(left) == 1
