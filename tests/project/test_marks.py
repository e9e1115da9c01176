"""Limits that suit corrections."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cellbrook.core.params import MaskParams
from cellbrook.core.result import NetworkOutput
from cellbrook.dynamics import flows_from_labels
from cellbrook.errors import Cancelled, UsageError
from cellbrook.project import Delete, Lock, Paint
from cellbrook.project.marks import marks_of, suggest_limits
from cellbrook.project.predict import labels_anew, land, write_cache

if TYPE_CHECKING:
    from cellbrook.project import Project

WEIGHTS = (-2.0, 1.0, -1.0)
KEEP_ALL = MaskParams(min_score=0.0, min_size=0)
SURE, FAINT = 3.0, 1.0


def discs() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Labels of 36 discs, and logits: sure ones (1 to 12), faint ones (to 24), sure specks (to 36)."""
    labels = np.zeros((530, 540), np.uint32)
    cellprob = np.full(labels.shape, -5.0, np.float32)
    y, x = np.ogrid[:530, :540]
    for k in range(36):
        at = (y - 40 - 80 * (k // 6)) ** 2 + (x - 40 - 80 * (k % 6)) ** 2 < (9 if k < 24 else 4) ** 2
        labels[at] = k + 1
        cellprob[at] = FAINT if 12 <= k < 24 else SURE
    return labels, cellprob


@pytest.fixture
def segmented(project: Project, image: str) -> Project:
    """A project whose image was segmented with all kept."""
    labels, cellprob = discs()
    flows = flows_from_labels(labels)
    run = {"image": {"sha256": "x"}, "model": {"sha256": "y"}, "parameters": {"model": "compact"}}
    record = project.image(image)
    output = NetworkOutput(flows, cellprob)
    write_cache(project, record, run, SimpleNamespace(output=output), score=WEIGHTS)
    found, objects = labels_anew(flows[None], cellprob[None], KEEP_ALL, WEIGHTS)
    land(project, record, found, objects, run=run)
    return project


def ids_of(project: Project, image: str, discs_: range | list[int]) -> list[int]:
    labels, _ = discs()
    found = project.labels(image).read()
    return [int(np.bincount(found[labels == k + 1]).argmax()) for k in discs_]


def test_a_score_parts_what_is_wanted_from_what_was_deleted(segmented: Project, image: str) -> None:
    log = segmented.log(image)
    log.apply(Lock(ids_of(segmented, image, [0, 3, 7, 26]), True))
    log.apply(Delete(ids_of(segmented, image, [12, 15, 20, 23])))
    advice = suggest_limits(segmented, image, KEEP_ALL)
    assert (advice.wanted, advice.unwanted) == (4, 4)
    assert (advice.found, advice.wrong) == ((4, 4), (4, 0))
    assert advice.f1 == (pytest.approx(2 / 3), 1.0)
    assert advice.keywords["min_size"] <= 40, "a speck is wanted, too"
    flows = flows_from_labels(discs()[0])
    labels, _ = labels_anew(flows[None], discs()[1][None], MaskParams(**advice.keywords), WEIGHTS)
    assert labels.max() == 24, "those that nobody marked follow: the faint ones go"


def test_a_size_parts_cells_from_specks(segmented: Project, image: str) -> None:
    log = segmented.log(image)
    log.apply(Lock(ids_of(segmented, image, [0, 3, 14]), True))
    log.apply(Delete(ids_of(segmented, image, [25, 27, 30])))
    advice = suggest_limits(segmented, image, KEEP_ALL)
    assert (advice.found, advice.wrong) == ((3, 3), (3, 0))
    assert 45 < advice.keywords["min_size"] < 250
    flows = flows_from_labels(discs()[0])
    labels, _ = labels_anew(flows[None], discs()[1][None], MaskParams(**advice.keywords), WEIGHTS)
    assert labels.max() == 24, "a faint cell is wanted, and all faint ones follow"


def test_limits_that_hid_what_was_drawn_are_relaxed(segmented: Project, image: str) -> None:
    log = segmented.log(image)
    log.apply(Delete(ids_of(segmented, image, [25, 27, 30])))
    faint = ids_of(segmented, image, [12, 13, 14])
    log.apply(Delete(faint))
    for new, disc in zip(segmented.labels(image).lease(3), (13, 14, 15), strict=True):
        rows, columns = np.nonzero(discs()[0] == disc)
        runs = np.array(
            [(r, columns[rows == r].min(), columns[rows == r].max() + 1) for r in np.unique(rows)]
        )
        log.apply(Paint(new, runs))
    marks = marks_of(segmented, image)
    assert [len(np.unique(m.unwanted)) - 1 for m in marks] == [3], "what was drawn anew is wanted"
    strict = MaskParams(min_score=0.5, min_size=15)
    advice = suggest_limits(segmented, image, strict)
    assert (advice.found, advice.wrong[1]) == ((0, 3), 0)


def test_too_few_marks_and_no_output_are_said(segmented: Project, image: str) -> None:
    with pytest.raises(UsageError, match="3 of each are needed, and cells has 0 and 0"):
        suggest_limits(segmented, image)
    log = segmented.log(image)
    log.apply(Lock(ids_of(segmented, image, [0, 3, 7]), True))
    log.apply(Delete(ids_of(segmented, image, [12, 15])))
    with pytest.raises(UsageError, match="has 3 and 2"):
        suggest_limits(segmented, image)
    log.apply(Delete(ids_of(segmented, image, [20])))
    before = segmented.log(image).rev
    assert suggest_limits(segmented, image).wanted == 3
    assert segmented.log(image).rev == before, "nothing is changed"
    for file in (segmented.folder / "cache").rglob("*.npy"):
        file.unlink()
    with pytest.raises(UsageError, match="no flows are cached"):
        suggest_limits(segmented, image)


def test_the_search_can_be_cancelled(segmented: Project, image: str) -> None:
    log = segmented.log(image)
    log.apply(Lock(ids_of(segmented, image, [0, 3, 7]), True))
    log.apply(Delete(ids_of(segmented, image, [12, 15, 20])))

    class Stop:
        steps = 0

        def start(self, task: str, total: int) -> None:
            assert total > 5

        def advance(self, count: int = 1) -> None:
            self.steps += count

        def check_cancelled(self) -> None:
            if self.steps == 2:
                raise Cancelled

    with pytest.raises(Cancelled):
        suggest_limits(segmented, image, progress=Stop())
