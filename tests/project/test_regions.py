"""Regions that people draw in images: kept, undone, merged, counted in, and written as files."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellbrook.cli.app import main
from cellbrook.errors import EditError, ImageError, OutputError, UsageError
from cellbrook.export.regions import read_regions
from cellbrook.export.table import read_csv
from cellbrook.project import Batch, Paint, Project, Region, Replace, SetRegion
from cellbrook.project.merge import merge_projects
from cellbrook.project.regions import MOST_REGIONS, adding, count_in_regions, drawn_regions, import_regions

from .conftest import square

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def box(y0: float, x0: float, y1: float, x1: float) -> tuple[tuple[float, float], ...]:
    return ((y0, x0), (y0, x1), (y1, x1), (y1, x0))


def region(name: str, *at: float, number: str = "a") -> Region:
    return Region(number, name, ((box(*at),),))


def draw(project: Project, image: str, *regions: Region, user: str = "me"):
    return project.log(image).apply(adding(regions), user=user)


def names(project: Project, image: str) -> list[str]:
    return [r.name for r in project.log(image).regions()]


def test_regions_are_drawn_renamed_taken_away_and_all_of_it_undone(project: Project, image: str) -> None:
    log = project.log(image)
    first, second = region("tumour", 0, 0, 50, 50), region("stroma", 60, 0, 90, 50, number="b")
    applied = draw(project, image, first, second)
    assert (applied.kind, applied.regions, applied.boxes, applied.changed) == ("region", ("a", "b"), (), True)
    draw(project, image, region("  edge of \n tumour ", 0, 0, 50, 50))
    draw(project, image, Region("b", "", ()))
    assert names(project, image) == ["edge of tumour"]
    assert log.apply(adding([Region("b", "", ())])).changed is False, "it is gone already"
    log.undo()
    assert log.regions() == [region("edge of tumour", 0, 0, 50, 50), second]
    log.undo()
    log.undo()
    assert log.regions() == []
    for _ in range(3):
        log.redo()
    assert names(project, image) == ["edge of tumour"]
    assert list(log.store.regions(1)) == ["a", "b"]
    again = log.apply(adding([first]), op_id=applied.op_id)
    assert (again.rev, again.regions) == (1, ("a", "b")), "an op that came twice is done once"


def test_they_are_still_there_when_the_project_is_opened_again(project: Project, image: str) -> None:
    hole = ((box(0, 0, 50, 50), box(10.5, 10.25, 20, 20)), (box(60, 60, 70, 70),))
    draw(project, image, Region("x", "Gewebe µ 細", hole))
    project.close()
    with Project.open(project.folder, read_only=True) as opened:
        assert opened.log(image).regions() == [Region("x", "Gewebe µ 細", hole)]
        assert drawn_regions(opened, image).numbers.sum() == 50 * 50 - 10 * 10 + 10 * 10


def test_they_say_nothing_of_how_far_an_image_is(project: Project, image: str) -> None:
    log = project.log(image)
    draw(project, image, region("a", 0, 0, 9, 9))
    assert project.image(image).state == "new"
    log.undo()
    assert project.image(image).state == "new"
    labels = np.zeros(project.labels(image).shape, np.uint32)
    labels[5:20, 5:20] = 1
    log.apply(Replace(labels))
    log.redo() if log.can_redo() else draw(project, image, region("b", 0, 0, 9, 9))
    assert project.image(image).state == "predicted"
    project.set_state(image, "done")
    log.undo()
    assert project.image(image).state == "done"
    project.unmark(image)
    assert project.image(image).state == "predicted"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (Region("a", " ", ((box(0, 0, 9, 9),),)), "a name of"),
        (Region("a", "n" * 201, ((box(0, 0, 9, 9),),)), "a name of"),
        (Region("", "n", ((box(0, 0, 9, 9),),)), "id"),
        (Region("a", "n", ((((0, 0), (1, 1)),),)), "three corners"),
        (Region("a", "n", ((),)), "three corners"),
        (Region("a", "n", ((box(0, 0, math.nan, 9),),)), "no numbers"),
        (Region("a", "n", ((box(0, 600, 9, 700),),)), "outside of the image of 530x540"),
        (Region("a", "n", ((box(-9, 0, 0, 9),),)), "outside"),
        (Region("a", "n", ((box(0, 5, 9, 5),),)), "outside"),
    ],
)
def test_what_is_no_region_is_refused(project: Project, image: str, wrong: Region, why: str) -> None:
    with pytest.raises(EditError, match=why):
        draw(project, image, region("right", 0, 0, 9, 9, number="b"), wrong)
    assert names(project, image) == []
    assert project.log(image).rev == 0


def test_cells_taken_for_regions_are_refused(project: Project, image: str) -> None:
    many = [region(f"{k}", 0, 0, 9, 9, number=str(k)) for k in range(MOST_REGIONS + 1)]
    with pytest.raises(EditError, match="cells are imported as cells"):
        draw(project, image, *many)
    draw(project, image, *many[:-1])
    assert len(names(project, image)) == MOST_REGIONS


EDITS = st.lists(
    st.tuples(st.sampled_from(["ada", "bo"]), st.sampled_from(["set", "set", "gone", "undo", "redo"]),
              st.sampled_from("xyz"), st.integers(0, 3)), max_size=25,
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
def test_undo_takes_back_ones_own_and_leaves_others_work(project: Project, image: str, edits) -> None:
    log, example = project.log(image), project.log(image).rev
    draw(project, image, *(Region(i, "", ()) for i in "xyz"), user="broom")
    now: dict[str, Region | None] = {}
    done: dict[str, list] = {"ada": [], "bo": []}
    undone: dict[str, list] = {"ada": [], "bo": []}
    for user, what, i, size in edits:
        as_user = f"{user}{example}"
        if what in ("set", "gone"):
            new = region(f"{user}{size}", 0, 0, 9 + size, 9, number=i) if what == "set" else None
            applied = draw(project, image, new or Region(i, "", ()), user=as_user)
            assert applied.changed == (now.get(i) != new)
            if applied.changed:
                done[user].append((i, now.get(i), new))
                undone[user].clear()
                now[i] = new
        elif not (done if what == "undo" else undone)[user]:
            assert getattr(log, what)(as_user) is None
        else:
            getattr(log, what)(as_user)
            if what == "undo":
                change = i, old, new = done[user].pop()
                took = (i, now.get(i), old if now.get(i) == new else now.get(i))
                undone[user].append((change, took))
                now[i] = took[2]
            else:  # gives back what the undo took
                change, (i, old, new) = undone[user].pop()
                done[user].append(change)
                now[i] = old if now.get(i) == new else now.get(i)
        assert log.store.regions() == {k: v for k, v in now.items() if v is not None}


# Counting


@pytest.fixture
def cells(project: Project, image: str) -> list[int]:
    """Three cells: in the tumour, mostly in the stroma, nowhere."""
    ids = list(project.labels(image).lease(3))
    for label, (y, x) in zip(ids, [(10, 10), (97, 10), (300, 300)], strict=True):
        project.log(image).apply(Paint(label, square(y, x)))
    draw(project, image, region("tumour", 0, 0, 100, 100), region("stroma", 100, 0, 200, 100, number="b"))
    return ids


def test_cells_are_counted_where_half_of_them_lies(project: Project, image: str, cells: list[int]) -> None:
    record = project.image(image)
    rows = count_in_regions(project, record, 0)
    assert [(r["region"], r["objects"], r["area_px"]) for r in rows] == [
        ("tumour", 1, 10000),
        ("stroma", 1, 10000),
    ]
    assert rows[0]["covered"] == pytest.approx(130 / 10000)
    assert "area_um2" not in rows[0]
    project.save_settings(pixel_size=0.5)
    assert count_in_regions(project, record)[0]["objects_per_mm2"] == pytest.approx(1 / 2500e-6)
    project.log(image).apply(Paint(0, square(10, 10)))
    assert count_in_regions(project, record)[0]["objects"] == 0
    draw(project, image, region("tumour", 250, 250, 400, 400, number="c"))  # a second part of the same
    assert [r["objects"] for r in count_in_regions(project, record)] == [1, 1]


def test_a_stack_is_counted_by_plane_and_what_reaches_through_it_once(place: Path) -> None:
    import tifffile

    path = place / "stack.tif"
    tifffile.imwrite(path, np.zeros((2, 3, 60, 70), np.uint8), metadata={"axes": "TZYX"}, ome=True)
    with Project.create(place / "s.project", images=[path]) as project:
        record = project.images()[0]
        a, b = project.labels(record.id).lease(2)
        for plane in (0, 4):
            project.log(record.id).apply(Paint((a, b)[plane > 2], square(5, 5), plane=plane))
        draw(project, record.id, region("left", 0, 0, 60, 35), region("right", 0, 35, 60, 70, number="b"))
        rows = count_in_regions(project, record)
        assert [(r["t"], r["z"], r["region"], r["objects"]) for r in rows if r["objects"]] == [
            (0, 0, "left", 1), (1, 1, "left", 1),
        ]  # fmt: skip
        assert len(rows) == 12
        assert [r["objects"] for r in count_in_regions(project, record, 1)] == [0, 0]
        project.log(record.id).apply(Paint(b, square(5, 40, 12), plane=5))  # now it reaches through planes
        rows = count_in_regions(project, record)
        assert [(r["t"], r["region"], r["objects"]) for r in rows] == [
            (0, "left", 1), (0, "right", 0), (1, "left", 0), (1, "right", 1),
        ]  # fmt: skip
        assert "z" not in rows[0]
        assert [r["objects"] for r in count_in_regions(project, record, 3)] == [0, 1], "at its time point"


# Files


def test_they_come_from_files_and_go_into_files(
    project: Project, image: str, cells: list[int], place: Path
) -> None:
    out = place / "out"
    files = project.export(out, kinds=["objects", "regions", "region_outlines"])["cells"]
    assert files["regions"].name == "cells_regions.csv"
    assert read_csv(files["regions"])["objects"].tolist() == [1, 1]
    assert read_csv(files["objects"])["region"].tolist() == ["tumour", "stroma", ""]
    features = json.loads(files["region_outlines"].read_text("utf-8"))["features"]
    assert [f["properties"]["name"] for f in features] == ["tumour", "stroma"]
    assert features[0]["properties"]["measurements"]["objects"] == 1
    drawn = drawn_regions(project, image)
    assert np.array_equal(read_regions(files["region_outlines"], drawn.shape).numbers, drawn.numbers)
    before = project.log(image).regions()
    draw(project, image, Region("a", "", ()), Region("b", "", ()))
    ((record, found, left),) = import_regions(project, out)
    assert (record.id, left) == (image, [])
    assert [(r.name, r.polygons) for r in found] == [(r.name, r.polygons) for r in before]
    project.export(out, kinds=["objects", "regions", "region_outlines"])  # again, over its own files
    files["regions"].write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="was changed since"):
        project.export(out, kinds=["regions"])


def test_exported_outlines_are_not_taken_for_cells(
    project: Project, image: str, cells: list[int], place: Path
) -> None:
    out = place / "out"
    project.export(out, kinds=["labels", "regions", "region_outlines"])
    results = project.import_labels([out])
    assert [r.path.name for r in results] == ["cells_labels.tif"]
    assert len(project.labels(image).objects()) == 3


def test_without_regions_there_is_nothing_of_them_to_write(project: Project, image: str, place: Path) -> None:
    project.log(image).apply(Paint(project.labels(image).lease(1)[0], square(5, 5)))
    files = project.export(place / "out", kinds=["labels", "regions"])["cells"]
    assert set(files) == {"labels", "run"}
    with pytest.raises(UsageError, match="no regions are drawn"):
        project.export(place / "out2", kinds=["regions"])


def test_a_file_that_does_not_fit_changes_nothing(project: Project, image: str, place: Path) -> None:
    path = place / "cells_regions.geojson"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ImageError, match="cannot read"):
        import_regions(project, path)
    ring = [[900, 900], [990, 900], [990, 990], [900, 900]]
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}), encoding="utf-8")
    with pytest.raises(ImageError, match="no region lies in the image"):
        import_regions(project, path)
    (place / "empty").mkdir()
    with pytest.raises(UsageError, match="no file there is called"):
        import_regions(project, place / "empty")
    assert project.log(image).rev == 0


def test_of_several_outlines_those_outside_are_left_out_and_named(
    project: Project, image: str, place: Path
) -> None:
    def feature(name: str, x: int) -> dict:
        ring = [[x, 5], [x + 50, 5], [x + 50, 50], [x, 5]]
        return {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"name": name},
        }

    path = place / "any.geojson"
    path.write_text(
        json.dumps([feature("in", 5), feature("half", 520), feature("out", 600)]), encoding="utf-8"
    )
    ((_, found, left),) = import_regions(project, path)
    assert ([r.name for r in found], left) == (["in", "half"], ["out"])


def test_the_command_brings_regions_in_and_shows_what_is_in_them(
    project: Project, image: str, cells: list[int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project.export(place / "out", kinds=["region_outlines"])
    draw(project, image, Region("a", "", ()), Region("b", "", ()))
    project.close()
    assert main(["project", "regions", str(project.folder)]) == 0
    assert "no regions are drawn" in capsys.readouterr().out
    assert (
        main(["project", "regions", str(project.folder), str(place / "out" / "cells_regions.geojson")]) == 0
    )
    told = capsys.readouterr()
    assert "cells: 2 regions came in" in told.err
    assert [line.split()[:4] for line in told.out.splitlines()] == [
        ["IMAGE", "REGION", "OBJECTS", "AREA_PX"], ["cells", "tumour", "1", "10000"], ["cells", "stroma", "1", "10000"],
    ]  # fmt: skip
    assert main(["project", "regions", str(project.folder), "--json"]) == 0
    assert [r["region"] for r in json.loads(capsys.readouterr().out)] == ["tumour", "stroma"]
    assert main(["project", "regions", str(project.folder), "--image", "cells"]) == 2
    (place / "bad.geojson").write_text("{", encoding="utf-8")
    right = place / "out" / "cells_regions.geojson"
    assert main(["project", "regions", str(project.folder), str(place / "bad.geojson"), str(right)]) == 1
    told = capsys.readouterr()
    assert "cells: 2 regions came in" in told.err, "one bad file costs itself alone"
    assert "cannot read polygons" in told.err


# Copies


@pytest.fixture
def copies(project: Project, image: str, place: Path) -> Callable[[], tuple[Project, Project]]:
    opened: list[Project] = []

    def make() -> tuple[Project, Project]:
        project.flush()
        project.close()
        shutil.copytree(project.folder, place / "other.project")
        opened.extend((Project.open(project.folder), Project.open(place / "other.project")))
        return opened[0], opened[1]

    yield make
    for each in opened:
        each.close()


def test_of_two_copies_both_peoples_regions_come_together(project: Project, image: str, copies) -> None:
    draw(project, image, region("both", 0, 0, 9, 9), region("old", 0, 0, 9, 9, number="o"))
    ours, theirs = copies()
    draw(ours, image, region("here", 20, 0, 29, 9, number="h"))
    draw(theirs, image, region("there", 40, 0, 49, 9, number="t"), Region("o", "", ()))
    report = merge_projects(ours, theirs)
    assert (report.taken, report.notes) == (2, [])
    assert names(ours, image) == ["both", "here", "there"]
    assert ours.image(image).state == "new"
    assert merge_projects(ours, theirs).taken == 0
    assert merge_projects(theirs, ours).notes == []
    assert sorted(names(theirs, image)) == ["both", "here", "there"]
    draw(ours, image, Region("t", "", ()))
    assert (merge_projects(ours, theirs).taken, merge_projects(theirs, ours).taken) == (0, 1)
    assert sorted(names(theirs, image)) == ["both", "here"]
    ours.log(image).undo()
    ours.log(image).undo("merge")
    assert names(ours, image) == ["both", "old", "here"]


def test_what_both_changed_stays_as_it_is_here_and_is_told(project: Project, image: str, copies) -> None:
    draw(project, image, region("both", 0, 0, 9, 9))
    ours, theirs = copies()
    draw(ours, image, region("mine", 0, 0, 9, 9))
    draw(theirs, image, region("yours", 0, 0, 9, 9))
    assert merge_projects(ours, theirs).notes == [
        "cells: the region mine was changed in both copies; this one's stays"
    ]
    assert names(ours, image) == ["mine"]


def test_a_project_of_before_has_none(project: Project, image: str) -> None:
    project.close()
    connection = sqlite3.connect(project.folder / "index.sqlite")
    connection.execute("DROP TABLE regions")
    connection.close()
    with Project.open(project.folder, read_only=True) as opened:
        assert opened.log(image).regions() == []
    with Project.open(project.folder) as opened:
        draw(opened, image, region("a", 0, 0, 9, 9))
        assert names(opened, image) == ["a"]


def test_with_other_edits_they_are_one_step(project: Project, image: str) -> None:
    label = project.labels(image).lease(1)[0]
    both = Batch((Paint(label, square(5, 5)), SetRegion(region("a", 0, 0, 50, 50))))
    project.log(image).apply(both)
    assert (len(project.labels(image).objects()), names(project, image)) == (1, ["a"])
    project.log(image).undo()
    assert (len(project.labels(image).objects()), names(project, image)) == (0, [])
