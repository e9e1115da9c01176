"""Does one operation after another on a project until it is killed, and tells what is done of each as a line of JSON."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from cellbrook.io import write_labels, write_png
from cellbrook.project import Delete, Paint, Project

SHAPE = (96, 128)


def tell(project: Project, what: str) -> None:
    """Say that an operation is done, and how far the project is."""
    facts: dict[str, Any] = {"what": what, "revs": {r.id: project.log(r.id).rev for r in project.images()}}
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def draw(project: Project, seed: int) -> None:
    """Draw a few squares by hand on the first image."""
    rng = np.random.default_rng(seed)
    log = project.log(project.images()[0].id)
    for label in log.store.lease(3):
        y, x = (int(v) for v in rng.integers(0, 80, 2))
        log.apply(Paint(label, [(row, x, x + 12) for row in range(y, y + 12)], mode="keep"))


def main(folder: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    files, other = folder / "files", folder / "other.project"
    with Project.open(folder / "a.project") as project:
        tell(project, "open")
        for number in itertools.count():
            what = str(rng.choice(["add", "copy", "import", "predict", "merge", "edit", "settings", "flush"]))
            first = project.images()[0]
            if what in ("add", "copy"):
                path = files / f"{seed}-{number}.png"
                write_png(path, rng.integers(0, 255, SHAPE, np.uint8))
                project.add([path], copy=what == "copy")
            elif what == "import":
                labels = np.kron(rng.integers(0, 3, (6, 8)), np.ones((16, 16))).astype(np.uint16)
                labels[labels > 0] += np.uint16(rng.integers(0, 9))
                labels[0, 0] = 1
                write_labels(files / f"{first.name}_labels.tif", labels)
                (done,) = project.import_labels([files / f"{first.name}_labels.tif"])
                assert done.error is None, done.error
            elif what == "predict":
                (outcome,) = project.predict([first.name], again=True, threads=1, diameter=30.0)
                assert outcome.error is None, outcome.error
            elif what == "merge":
                with Project.open(other) as copy:
                    draw(copy, seed + number)
                project.merge(other)
            elif what == "edit":
                draw(project, seed * 100 + number)
                log = project.log(first.id)
                log.apply(Delete((log.store.objects()[0].id,)))
                log.undo()
            elif what == "settings":
                project.save_settings(pixel_size=float(rng.uniform(0.1, 2)))
            else:
                project.flush()
            tell(project, what)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
