"""What the worker does, called directly."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from cellbrook.errors import ImageError
from cellbrook.io.writers import write_image
from cellbrook.project import Paint, Project
from cellbrook.server import tasks


def test_scoring_names_places_by_plane_and_goes_on_after_a_missing_image(tmp_path, monkeypatch):
    for seed, name in enumerate(("stack", "lost")):
        pixels = np.random.default_rng(seed).integers(0, 99, (3, 40, 50), np.uint8)
        write_image(tmp_path / f"{name}.tif", pixels, axes="ZYX")
    found = np.zeros((3, 40, 50), np.uint32)
    found[2, 5:15, 20:30] = 1

    def find(record):
        if record.name == "lost":
            raise ImageError("lost: its file is gone")
        return SimpleNamespace(labels=found)

    monkeypatch.setattr(tasks, "_finding", lambda call, project, keywords: find)
    call = SimpleNamespace(start=lambda *a: None, advance=lambda: None, check_cancelled=lambda: None)
    with Project.create(tmp_path / "p", images=[tmp_path / "stack.tif", tmp_path / "lost.tif"]) as project:
        image, lost = (project.find(n).id for n in ("stack", "lost"))
        label = project.labels(image).lease(1)[0]
        project.log(image).apply(Paint(label, [(y, 8, 18) for y in range(20, 30)], plane=1))
        args = {"project": str(project.folder), "images": [lost, image], "keywords": {}, "most": 9}
        answer = tasks.evaluate(call, args)
        places = {g["kind"]: (g["plane"], g["box"], g["ids"]) for g in answer["gallery"]}
        assert places == {
            "missed": (1, [20, 8, 30, 18], [label]),
            "spurious": (2, [5, 20, 15, 30], []),
        }
        assert [r["name"] for r in answer["images"]] == ["stack"]
        assert [f["name"] for f in answer["failed"]] == ["lost"]
        with pytest.raises(ImageError, match="its file is gone"):
            tasks.evaluate(call, {**args, "images": [lost]})
