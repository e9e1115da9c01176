"""Edits one by one: what they change, what they refuse, and what undo gives back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellbrook.core.objects import ObjectTable
from cellbrook.errors import EditConflict, EditError, UsageError
from cellbrook.project import (
    Batch,
    Delete,
    Lock,
    Merge,
    Paint,
    Project,
    Relabel,
    Replace,
    SetClass,
    SetPixels,
    Split,
)
from cellbrook.project._patch import Patch

from .conftest import SHAPE, square

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cellbrook.project import OpLog


@pytest.fixture
def log(project: Project, image: str) -> OpLog:
    """The log of an image with ids 1 to 50 leased and two cells: 1 at (10, 10), 2 at (10, 30), ten pixels a side."""
    log = project.log(image)
    log.store.lease(50)
    log.apply(Paint(1, square(10, 10)))
    log.apply(Paint(2, square(10, 30)))
    return log


def area(log: OpLog, label: int) -> int:
    return int((log.store.read() == label).sum())


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 9),
    boxes=st.lists(
        st.tuples(st.integers(0, 511), st.integers(0, 511), st.integers(1, 90), st.integers(0, 2**32 - 1)),
        max_size=5,
    ),
)
def test_a_patch_is_what_changed(seed: int, boxes: list[tuple[int, int, int, int]]) -> None:
    old = np.random.default_rng(seed).integers(0, 3, (64, 64), np.uint32).repeat(8, 0).repeat(8, 1)
    new = old.copy()
    for y, x, size, value in boxes:
        new[y : y + size, x : x + 2 * size] = value
    patch = Patch.between((0, 1, 2), old, new)
    if patch is None:
        assert np.array_equal(old, new)
        return
    again = Patch.decode((0, 1, 2), patch.encode())
    forward, back = old.copy(), new.copy()
    forward.ravel()[again.pixels] = again.new
    back.ravel()[again.pixels] = again.old
    np.testing.assert_array_equal(forward, new)
    np.testing.assert_array_equal(back, old)
    assert (again.runs[0] % 512 + again.runs[1] <= 512).all()
    _, y0, x0, y1, x1 = patch.box
    y, x = np.nonzero(old != new)
    assert (y0 - 512, x0 - 1024, y1 - 512, x1 - 1024) == (y.min(), x.min(), y.max() + 1, x.max() + 1)


def test_a_cell_s_patch_is_small() -> None:
    yy, xx = np.mgrid[:512, :512]
    new = (((yy - 100) / 20) ** 2 + ((xx - 100) / 21) ** 2 < 1).astype(np.uint32) * 7
    patch = Patch.between((0, 0, 0), np.zeros_like(new), new)
    assert patch is not None
    assert len(patch.encode()) < 300


def test_painting_over_another_cell_makes_it_edited(log: OpLog) -> None:
    result = np.zeros(SHAPE, np.uint32)
    result[100:110, 100:110] = 5
    log.apply(Replace(result, ObjectTable({"label": np.array([5]), "score": np.array([0.9])})))
    found = next(r for r in log.store.objects() if r.origin == "auto")
    assert found.score == 0.9
    applied = log.apply(Paint(3, square(105, 105)))
    assert {r.id: (r.origin, r.score, r.area) for r in applied.objects} == {
        found.id: ("edited", None, 75), 3: ("manual", None, 100),
    }  # fmt: skip
    log.undo()
    assert log.store.objects(ids=[found.id]) == [found]


def test_modes(log: OpLog) -> None:
    log.apply(Paint(3, [(12, 5, 35)], mode="keep"))
    assert log.store.read(0, 12, 5, 13, 35).tolist() == [[3] * 5 + [1] * 10 + [3] * 10 + [2] * 5]
    log.apply(Paint(0, [(12, 5, 35)], mode="inside", inside=(1, 3)))
    assert log.store.read(0, 12, 5, 13, 35).tolist() == [[0] * 25 + [2] * 5]


@pytest.mark.parametrize(
    ("op", "what"),
    [
        (Paint(99, [(0, 0, 5)]), "never leased"),
        (Paint(3, [(0.5, 0, 5)]), "whole numbers"),
        (Paint(3, [(0, 5)]), "rows of y, x0, x1"),
        (Paint(3, [(0, 0, 5)], mode="other"), "paint mode"),  # type: ignore[arg-type]
        (Merge((1,)), "two objects"),
        (Merge((1, 7)), "no object 7"),
        (Delete((8,)), "no object 8"),
        (Relabel(1, 2), "there already"),
        (Relabel(1, 99), "never leased"),
        (SetClass((1,), 300), "0 to 255"),
        (Split(1, ((0, 0),)), "two points"),
        (Split(1, ((100, 100), (110, 110))), "does not cut"),
        (Split(1, ((11, 11), (15, 15))), "does not cut"),
        (Split(1, ((0, float("nan")), (15, 15))), "two points"),
        (Replace(np.zeros((5, 5), int), y0=528), "do not fit"),
        (SetPixels(np.ones((2, 2), bool), np.full((2, 2), 99, np.uint32)), "never leased"),
        (Batch((Paint(3, [(0, 0, 9)]), Delete((44,)))), "no object 44"),
    ],
)
def test_what_cannot_be_done_changes_nothing(log: OpLog, op, what: str) -> None:
    before, rev = log.store.read(), log.rev
    with pytest.raises(EditError, match=what):
        log.apply(op)
    assert log.rev == rev
    np.testing.assert_array_equal(log.store.read(), before)
    assert [r.id for r in log.store.objects()] == [1, 2]


def test_what_lies_outside_is_cut_off(log: OpLog) -> None:
    applied = log.apply(Paint(3, [(-4, 0, 9), (529, 535, 9**9), (9**9, 0, 4)]))
    assert [(r.id, r.area) for r in applied.objects] == [(3, 5)]
    assert not log.apply(Paint(3, [])).changed


def test_locked_cells_are_left_alone(log: OpLog) -> None:
    log.apply(Lock((1,)))
    for op in (
        Paint(1, square(0, 0)),
        Delete((1,)),
        Merge((2, 1)),
        Split(1, ((5, 15), (25, 15))),
        SetClass((1,), 2),
    ):
        with pytest.raises(EditError, match="locked"):
            log.apply(op)
    log.apply(Paint(3, square(5, 5, 30)))
    log.apply(Paint(0, square(0, 0, 60)))
    result = np.ones(SHAPE, np.uint32)
    log.apply(Replace(result, protect=False, origin="manual"))
    assert area(log, 1) == 100
    assert log.store.objects(ids=[1])[0].locked
    log.apply(Lock((1,), False))
    log.apply(Delete((1,)))
    assert area(log, 1) == 0


def test_a_cut_leaves_no_gap(log: OpLog) -> None:
    log.apply(SetClass((1,), 3))
    applied = log.apply(Split(1, ((8.0, 13.2), (22.0, 16.7))))
    (big, small) = applied.objects
    assert big.id == 1
    assert big.area + small.area == 100
    assert big.area >= small.area > 20
    assert small.class_id == 3
    log.undo()
    assert area(log, 1) == 100


def test_merging_keeps_the_first(log: OpLog) -> None:
    log.apply(SetClass((2,), 4))
    applied = log.apply(Merge((2, 1)))
    assert applied.removed == ((1, 0),)
    assert [(r.id, r.area, r.class_id, r.x0, r.x1) for r in applied.objects] == [(2, 200, 4, 10, 40)]


def test_a_model_never_changes_what_a_person_made(log: OpLog) -> None:
    before = log.store.read()
    result = np.zeros(SHAPE, np.uint32)
    result[8:18, 8:18] = 1  # most of it on cell 1: left out
    result[10:20, 36:60] = 2  # a little of it on cell 2: cut back
    result[100:110, 100:110] = 3
    result[12:18, 50:52] = 9
    applied = log.apply(Replace(result))
    after = log.store.read()
    np.testing.assert_array_equal(after[before > 0], before[before > 0])
    found = {r.id: r for r in log.store.objects() if r.origin == "auto"}
    assert sorted((r.x0, r.area) for r in found.values()) == [(40, 188), (50, 12), (100, 100)]
    # again, slightly different: ids stay, what is gone goes
    result[100, 100] = 0
    result[12:18, 50:52] = 2
    second = log.apply(Replace(result))
    assert {r.id for r in second.objects} <= set(found)
    assert len(second.removed) == 1
    log.undo()
    np.testing.assert_array_equal(log.store.read(), after)
    log.undo()
    np.testing.assert_array_equal(log.store.read(), before)
    assert applied.kind == "predict"


def test_what_a_person_deleted_no_model_brings_back(log: OpLog) -> None:
    result = np.zeros(SHAPE, np.uint32)
    result[100:110, 100:110] = 1  # a grain
    result[100:110, 500:520] = 2  # two cells in one, across two chunks
    result[200:210, 100:110] = 3

    def found() -> list[tuple[int, int, int]]:
        return sorted((r.y0, r.x0, r.area) for r in log.store.objects() if r.origin == "auto")

    log.apply(Replace(result))
    grain, pair = log.store.at(0, 105, 105), log.store.at(0, 105, 505)
    log.apply(Delete((grain,)))
    log.apply(Delete((pair,)))
    result[100, 100] = 0  # another model sees it a little differently
    log.apply(Replace(result))
    assert found() == [(200, 100, 100)]
    window = Replace(result[90:130, 490:530], y0=90, x0=490)
    log.apply(window)
    assert found() == [(200, 100, 100)]
    result[100:110, 510:520] = 4  # the pair as two cells is something else
    log.apply(Replace(result))
    assert found() == [(100, 500, 100), (100, 510, 100), (200, 100, 100)]
    log.undo()
    log.undo()  # the deletion of the pair
    assert found() == [(100, 500, 200), (200, 100, 100)]
    log.apply(Replace(np.where(result == 4, 2, result)))
    assert found() == [(100, 500, 200), (200, 100, 100)]
    log.apply(Replace(result))
    assert len(found()) == 3
    log.apply(Replace(result, protect=False, kind="import"))  # a person's own labels hold all there is
    assert len(found()) == 4


def test_deleting_all_is_to_start_anew(log: OpLog) -> None:
    result = np.zeros(SHAPE, np.uint32)
    result[100:110, 100:110] = 1
    result[200:210, 100:110] = 2
    log.apply(Replace(result))
    ids = tuple(r.id for r in log.store.objects() if r.origin == "auto")
    assert log.apply(Delete(ids)).kind == "clear"
    log.apply(Replace(result))
    again = [r.id for r in log.store.objects() if r.origin == "auto"]
    assert len(again) == 2
    for label in again:  # one by one they were judged
        assert log.apply(Delete((label,))).kind == "delete"
    log.apply(Replace(result))
    assert not [r for r in log.store.objects() if r.origin == "auto"]


def test_a_class_given_by_hand_outlives_its_outline(log: OpLog) -> None:
    result = np.zeros(SHAPE, np.uint32)
    result[100:110, 100:110] = 1
    result[200:210, 100:110] = 2
    log.apply(Replace(result))
    kept, other = log.store.at(0, 105, 105), log.store.at(0, 205, 105)
    log.apply(SetClass((kept, other), 3))
    log.apply(Replace(np.where(result == 2, result, 0)))  # a higher threshold: the first drops out
    log.apply(Replace(result))
    assert [(r.id, r.class_id, r.area) for r in log.store.objects(ids=(kept, other))] == [
        (kept, 3, 100),
        (other, 3, 100),
    ]
    result[110:115, 100:110] = 1  # found again in another shape: the class goes along
    log.apply(Replace(result))
    assert [(r.class_id, r.area) for r in log.store.objects(ids=(kept,))] == [(3, 150)]


def test_of_a_cell_that_falls_to_pieces_the_largest_stays(log: OpLog) -> None:
    log.apply(Paint(3, [(y, 300, 303) for y in range(0, 100)]))
    result = np.zeros(SHAPE, np.uint32)
    result[40:50, 260:310] = 1
    log.apply(Replace(result))
    found = [r for r in log.store.objects() if r.origin == "auto"]
    assert [(r.x0, r.x1, r.area) for r in found] == [(260, 300, 400)]


def test_a_window_leaves_what_reaches_out_of_it(log: OpLog) -> None:
    whole = np.zeros(SHAPE, np.uint32)
    whole[200:210, 190:220] = 1
    whole[250:260, 250:260] = 2
    log.apply(Replace(whole))
    window = np.zeros((100, 100), np.uint32)
    window[0:5, 20:30] = 1  # cut by the window's border
    window[2:12, 2:22] = 2  # half on what reaches out
    window[60:70, 60:70] = 3
    log.apply(Replace(window, y0=200, x0=200))
    found = {(r.y0, r.x0): r.area for r in log.store.objects() if r.origin == "auto"}
    assert found == {(200, 190): 300, (260, 260): 100}


def test_an_answer_is_given_twice_an_edit_made_once(log: OpLog) -> None:
    first = log.apply(Paint(3, square(60, 60)), op_id="a")
    log.apply(Delete((3,)))
    again = log.apply(Paint(3, square(60, 60)), op_id="a")
    assert again == first
    assert area(log, 3) == 0
    assert log.undo(op_id="u") == log.undo(op_id="u")
    assert area(log, 3) == 100


def test_stale_edits(log: OpLog) -> None:
    base = log.rev
    log.apply(Paint(3, square(50, 50)), base, user="ada")
    log.apply(Paint(4, square(80, 80)), base, user="bo")  # elsewhere
    log.apply(Paint(3, square(52, 52)), base, user="ada")  # her own
    with pytest.raises(EditConflict, match="meanwhile") as caught:
        log.apply(Paint(5, square(55, 55)), base, user="bo")
    assert caught.value.rev == log.rev
    assert (0, 50, 50, 60, 60) in caught.value.boxes
    with pytest.raises(EditConflict):
        log.apply(Delete((3,)), base, user="bo")
    with pytest.raises(EditError, match="future"):
        log.apply(Delete((3,)), log.rev + 1)
    log.apply(SetClass((3,), 1), base, user="bo")  # touches no pixel
    log.apply(Paint(5, square(55, 55)), log.rev, user="bo")


def cells(*squares: tuple[int, int]) -> Replace:
    labels = np.zeros((530, 540), np.uint32)
    for i, (y, x) in enumerate(squares, 1):
        labels[y : y + 10, x : x + 10] = i
    return Replace(labels)


def test_an_edit_goes_on_top_of_what_a_model_found_meanwhile(log: OpLog) -> None:
    log.apply(cells((50, 50), (80, 80)), user="ada")
    stays, goes = log.store.at(0, 50, 50), log.store.at(0, 80, 80)
    base, own = log.rev, log.store.lease(2)
    log.apply(cells((50, 50), (110, 110)), user="ada")
    new = log.apply(Paint(own[0], square(105, 105)), base, user="ada", client="page")
    assert [r.id for r in new.objects if r.origin == "manual"] == [own[0]]
    log.apply(Paint(own[0], square(120, 120)), base, user="ada", client="page")
    log.apply(Paint(stays, square(50, 55)), base, user="ada", client="page")
    assert area(log, stays) == 150
    with pytest.raises(EditConflict, match=f"no object {goes} any more") as caught:
        log.apply(Batch((Paint(goes, square(80, 85)),)), base, user="ada", client="page")
    assert caught.value.boxes == ((0, 80, 85, 90, 95),)
    for op in (Delete((goes,)), Merge((stays, goes)), SetClass((goes,), 1), Lock((goes,))):
        with pytest.raises(EditError, match="no object"):
            log.apply(op, base, user="ada", client="page")
    log.apply(Paint(own[1], square(81, 81)), user="bo")
    with pytest.raises(EditConflict, match="somebody else"):
        log.apply(Paint(0, square(80, 80)), base, user="ada", client="page")


def test_an_edit_goes_on_top_of_a_model_s_result_that_was_taken_back(log: OpLog) -> None:
    log.apply(cells((50, 50)), user="job-1")
    base = log.rev
    log.undo("job-1", spare=True)
    label = log.store.lease(1)[0]
    log.apply(Paint(label, square(55, 55)), base, user="ada")
    assert area(log, label) == 100


def test_undo_is_a_user_s_own(log: OpLog) -> None:
    log.apply(Paint(3, square(50, 50)), user="ada")
    log.apply(Paint(4, square(55, 55)), user="bo")
    log.undo("ada")  # what bo painted over stays bo's
    assert (area(log, 3), area(log, 4)) == (0, 100)
    log.undo("bo")
    assert log.store.read(0, 50, 50, 66, 66).max() == 3  # and gives back what bo had covered
    assert not log.can_undo("ada")
    log.redo("ada")
    log.apply(Paint(5, [(0, 0, 3)]), user="ada")
    assert log.redo("ada") is None
    assert [h.kind for h in log.history(2)] == ["paint", "paint", "undo", "undo", "redo", "paint"]


def test_a_batch_is_one_edit(log: OpLog) -> None:
    rev = log.rev
    applied = log.apply(
        Batch((Paint(3, square(50, 50)), Merge((1, 3)), SetClass((1,), 2), Delete((2,))), kind="tidy")
    )
    assert applied.rev == rev + 1
    assert [(r.id, r.area, r.class_id) for r in log.store.objects()] == [(1, 200, 2)]
    log.undo()
    assert [(r.id, r.area, r.class_id) for r in log.store.objects()] == [(1, 100, 0), (2, 100, 0)]


def test_a_class_for_what_was_drawn_on_other_cells_is_no_error(log: OpLog) -> None:
    stroke = Batch((Paint(3, square(12, 12, 4), mode="keep"), SetClass((3,), 2)))
    assert not log.apply(stroke).changed
    with pytest.raises(EditError, match="no object 4"):
        log.apply(Batch((Paint(3, square(12, 12, 4), mode="keep"), SetClass((4,), 2))))


def test_planes(place: Path) -> None:
    from tifffile import imwrite

    path = place / "stack.tif"
    imwrite(path, np.zeros((2, 3, 40, 50), np.uint8), imagej=True, metadata={"axes": "TZYX"})
    with Project.create(place / "p", images=[path]) as project:
        record = project.images()[0]
        log, store = project.log(record.id), project.labels(record.id)
        assert (record.label_axes, store.planes, store.leading) == ("TZYX", 6, (2, 3))
        store.lease(5)
        log.apply(Paint(1, square(5, 5), plane=4))
        log.apply(Paint(1, square(5, 5, 4), plane=5))
        assert [(r.plane, r.area) for r in store.objects(ids=[1])] == [(4, 100), (5, 16)]
        assert store.read_all()[1, 1, 5, 5] == 1
        assert store.table()["z"].tolist() == [1, 2]
        log.apply(Delete((1,)))
        assert not store.read_all().any()
        log.undo()
        result = np.zeros((2, 40, 50), np.uint32)
        result[0, 20:30, 20:30] = 1
        result[1, 20:30, 20:30] = 2
        log.apply(Replace(result, planes=(0, 4)))
        assert len({r.id for r in store.objects()}) == 3
        assert store.at(4, 5, 5) == 1
        project.flush()
        import zarr

        stored = zarr.open_array(place / "p" / "labels" / f"{record.id}.ome.zarr" / "0", mode="r")
        np.testing.assert_array_equal(stored[...], store.read_all())


def test_everybody_can_be_told_what_changed(log: OpLog) -> None:
    pixels = log.store.read()
    base = log.rev
    log.apply(Paint(3, square(505, 505, 20)))
    log.apply(Merge((3, 1)))
    log.undo()
    for patch in log.patches(base):
        _, cy, cx = patch.chunk
        y, x = np.divmod(patch.pixels, 512)
        pixels[y + cy * 512, x + cx * 512] = patch.new
    np.testing.assert_array_equal(pixels, log.store.read())
    for rev in range(log.rev + 1):
        assert log.store.read_at(rev).shape == SHAPE
    assert not log.store.read_at(0).any()
    np.testing.assert_array_equal(log.store.read_at(log.rev), log.store.read())


def test_ids_run_out(log: OpLog, project: Project, picture: Callable[..., Path]) -> None:
    assert log.store.lease(3) == range(51, 54)
    with pytest.raises(EditError, match="ids go up to"):
        log.store.lease(2**24)
    with pytest.raises(EditError):
        log.store.lease(0)


def test_a_missing_plane_is_refused(log: OpLog) -> None:
    before, rev = log.store.read(), log.rev
    mask = np.ones((2, 2), bool)
    for op in (
        Paint(1, square(40, 40), plane=1),
        Paint(0, square(10, 10), plane=-1),
        Split(1, ((5, 15), (25, 15)), plane=1),
        SetPixels(mask, mask.astype(np.uint32), plane=1),
        Replace(mask.astype(np.uint32), planes=(1,)),
        Batch((Delete((1,)), Paint(1, square(40, 40), plane=7))),
    ):
        with pytest.raises((UsageError, EditError), match="plane"):
            log.apply(op)
    assert log.rev == rev
    np.testing.assert_array_equal(log.store.read(), before)


def test_taking_back_a_first_part_spares_what_a_person_touched(log: OpLog) -> None:
    part = np.zeros((60, 60), np.uint32)
    part[2:20, 2:20], part[2:20, 30:50], part[30:50, 2:20] = 1, 2, 3
    before = log.store.read()
    log.apply(Replace(part, y0=100, x0=100), user="job")
    first, second, third = (log.store.at(0, *p) for p in ((105, 105), (105, 135), (135, 105)))
    log.apply(Paint(first, square(118, 100, 6)))  # drawn on
    log.apply(Paint(0, square(102, 130, 5)))  # a corner of the second erased
    touched = log.store.read()
    log.undo("job", spare=True)
    expected = np.where(touched == third, 0, touched)
    np.testing.assert_array_equal(log.store.read(), expected)
    assert {r.id: r.origin for r in log.store.objects(ids=[first, second, third])} == {
        first: "edited", second: "edited",
    }  # fmt: skip
    log.undo()
    log.undo()
    left = np.isin(log.store.read(), [first, second])
    np.testing.assert_array_equal(left[100:160, 100:160], np.isin(part, [1, 2]))  # whole cells, no splinters
    assert np.array_equal(log.store.read()[:100], before[:100])


def test_a_run_goes_and_comes_with_its_labels(project: Project, image: str) -> None:
    log = project.log(image)
    labels = np.ones(SHAPE, np.uint32)
    log.apply(Replace(labels), run={"parameters": {"min_size": 1}})
    log.apply(Replace(labels * 2), run={"parameters": {"min_size": 2}}, user="you")
    log.undo()  # theirs is what the labels are made with, whatever came before
    assert project.image(image).run == {"parameters": {"min_size": 2}}
    log.undo("you")
    assert project.image(image).run == {"parameters": {"min_size": 1}}
    log.redo("you")
    assert project.image(image).run == {"parameters": {"min_size": 2}}


def test_a_project_of_before_runs_were_kept(project: Project, image: str) -> None:
    log = project.log(image)
    log.apply(Replace(np.ones(SHAPE, np.uint32)), run={"parameters": {}})
    with project.database.transaction() as connection:
        connection.execute("DROP TABLE runs")
    project.close()
    with Project.open(project.folder, read_only=True) as reader:
        assert reader.image(image).run == {"parameters": {}}
    with Project.open(project.folder) as again:
        again.log(image).undo()
        assert again.labels(image).objects() == []
        again.log(image).apply(Replace(np.ones(SHAPE, np.uint32)), run={"parameters": {"niter": 5}})
        again.log(image).undo()
        assert again.image(image).run == {"parameters": {}}
