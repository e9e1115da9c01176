"""Edits a project until it is killed. Edit k is the same in every run, so that a test can tell what the labels must be."""

from __future__ import annotations

import sys

import numpy as np

from cellbrook.project import Batch, Paint, Project, Region, SetRegion


def edit(k: int, shape: tuple[int, int]) -> tuple[int, int, int, int, int]:
    """Return label and rectangle of the k-th edit, counted from 1."""
    rng = np.random.default_rng(k)
    y, x = rng.integers(0, shape[0] - 1), rng.integers(0, shape[1] - 1)
    h, w = rng.integers(1, 200, 2)
    # the label says which edit it was, so that every edit changes something
    return k, int(y), int(x), int(min(y + h, shape[0])), int(min(x + w, shape[1]))


def drawn(k: int) -> Region:
    """Return the region that the k-th edit draws as well, in the place of the one before."""
    return Region("r", f"edit {k}", ((((0, 0), (0, k), (k, k)),),))


def main(folder: str) -> None:
    with Project.open(folder) as project:
        image = project.images()[0].id
        log, store = project.log(image), project.labels(image)
        sys.stdout.write("open\n")
        sys.stdout.flush()
        while True:
            k = log.rev + 1
            label, y0, x0, y1, x1 = edit(k, store.shape)
            while store.next_id <= label:
                store.lease(64)
            paint = Paint(label, [(y, x0, x1) for y in range(y0, y1)])
            log.apply(Batch((paint, SetRegion(drawn(k)))))
            sys.stdout.write(f"{k}\n")
            sys.stdout.flush()
            if k % 3 == 0:
                project.flush()


if __name__ == "__main__":
    main(sys.argv[1])
