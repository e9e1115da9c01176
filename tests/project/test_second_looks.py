from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cellbrook import pipeline
from cellbrook.errors import ImageError, ProjectError, UsageError
from cellbrook.io import write_image
from cellbrook.networks.store import resolve_model
from cellbrook.project import Project, Replace
from cellbrook.project.project import choose
from cellbrook.project.second_looks import (
    FILE,
    compare_second_looks,
    plan_second_looks,
    read_second_looks,
)
from cellbrook.project.suggest import suggest

if TYPE_CHECKING:
    from pathlib import Path

    from cellbrook.core.params import SegmentParams

SHAPE = (300, 400)


def cells(shift: int = 0) -> np.ndarray:
    """Squares of 16 px, 25 px apart."""
    labels = np.zeros(SHAPE, np.uint32)
    for k, (y, x) in enumerate(np.ndindex(11, 15), 1):
        labels[y * 25 + 5 + shift : y * 25 + 21 + shift, x * 25 + 5 : x * 25 + 21] = k
    return labels


@pytest.fixture
def done(place: Path) -> Project:
    """A project of two images of two channels, one of them done."""
    for name, seed in (("a", 0), ("b", 1)):
        pixels = np.random.default_rng(seed).integers(0, 4000, (2, *SHAPE)).astype(np.uint16)
        write_image(
            place / f"{name}.tif",
            pixels,
            axes="CYX",
            pixel_size_um={"Y": 0.5, "X": 0.5},
            names=("DAPI", "GFP"),
        )
    with Project.create(place / "p.project", images=[place / "a.tif", place / "b.tif"]) as project:
        first = project.find("a").id
        project.log(first).apply(Replace(cells(), origin="manual"))
        project.set_state(first, "done")
        yield project


def test_places_are_crops_of_what_is_done(done: Project) -> None:
    source = done.open_image(done.find("a").id)
    added = plan_second_looks(done, 5, seed=3)
    looks = read_second_looks(done.folder)
    assert [r.id for r in added] == list(looks)
    for record in added:
        look = looks[record.id]
        assert look.image == done.find("a").id
        y0, x0, y1, x1 = look.box
        crop = done.open_image(record.id)
        np.testing.assert_array_equal(crop.read({}), source.read({"Y": slice(y0, y1), "X": slice(x0, x1)}))
        assert crop.channel_names == ("DAPI", "GFP")
        assert crop.pixel_size_um == {"Y": 0.5, "X": 0.5}
        assert record.state == "new"
        assert not done.labels(record.id).read_all().any(), "the first labels are not shown"
        assert record.name.startswith("again-")
    boxes = [look.box for look in looks.values()]
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((2, *SHAPE), {"axes": "ZYX"}),
        ((3, *SHAPE), {"axes": "CYX", "channels": "nucleus=2,cell=0"}),
        ((2, 3, *SHAPE), {"axes": "CZYX", "channels": "1", "z": "max"}),
        ((*SHAPE, 3), {"axes": "YXS"}),
    ],
)
def test_a_place_is_a_plane_whatever_the_axes_of_the_project(
    place: Path, shape: tuple[int, ...], settings: dict[str, str]
) -> None:
    np.save(place / "a.npy", np.random.default_rng(0).integers(0, 255, shape, np.uint8))
    with Project.create(place / "p", images=[place / "a.npy"], **settings) as project:
        image = project.images()[0]
        labels = np.zeros((*image.leading, *SHAPE), np.uint32)
        labels[..., :, :] = cells()
        stack = labels.reshape(-1, *SHAPE)
        project.log(image.id).apply(Replace(stack, planes=tuple(range(len(stack))), origin="manual"))
        project.set_state(image.id, "done")
        (look,) = plan_second_looks(project, 1, seed=0)
        assert look.label_axes == "YX"
        assert project.open_image(look.id).is_rgb == project.open_image(image.id).is_rgb
        project.log(look.id).apply(Replace(cells()[: look.height, : look.width], origin="manual"))
        project.export(place / "out", names=["again-01"], kinds=["objects", "training"])
        params: list[SegmentParams] = []

        def segment(*args: Any) -> None:
            params.append(args[4])
            raise ImageError("enough is known")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("cellbrook.project.predict._segment", segment)
            project.predict(["again-01", "a"], again=True, threads=1)
        assert [(p.input_params.axes, p.input_params.z) for p in params] == [
            (None, None),
            (settings["axes"], settings.get("z")),
        ]
        pipeline.resolve(project.open_image(look.id), resolve_model("compact"), params[0])


def test_a_place_that_cannot_be_added_is_told(done: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    path = done.folder / "images"
    path.write_text("a file is in the way of the folder for copies")
    with pytest.raises(ImageError, match="needed"):
        plan_second_looks(done, 2, seed=0)
    assert [r.name for r in done.images()] == ["a", "b"]


def test_nothing_is_learnt_from_them(done: Project) -> None:
    added = plan_second_looks(done, 2, seed=0)
    done.log(added[0].id).apply(Replace(np.pad(np.ones((9, 9), np.uint32), 5), origin="manual"))
    done.set_state(added[0].id, "done")
    assert [r.name for r in choose(done, ())] == ["a", "b"]
    assert [r.name for r in choose(done, (), ("done",))] == ["a"]
    assert {s.image for s in suggest(done, 9)} == {done.find("b").id}


def test_first_and_second_labels_and_a_model_on_one_scale(done: Project) -> None:
    added = plan_second_looks(done, 6, seed=1)
    looks = read_second_looks(done.folder)
    with pytest.raises(UsageError, match="no place was labelled again"):
        compare_second_looks(done)
    again = cells(shift=2)
    for record in added:
        y0, x0, y1, x1 = looks[record.id].box
        part = again[y0:y1, x0:x1]
        done.log(record.id).apply(Replace(np.pad(part, 0), origin="manual"))
        done.set_state(record.id, "done")
    people = compare_second_looks(done)
    assert people["n_images"] == 6
    assert people["scores"][0]["people"]["value"] > 0.9  # two of 16 rows apart
    assert not people["failed"]
    perfect = compare_second_looks(done, lambda record: cells(shift=1))
    assert perfect["scores"][0]["model"][0]["value"] > 0.9
    none = compare_second_looks(done, lambda record: np.zeros(SHAPE, np.uint32))
    assert none["verdict"] == "below"
    assert "below human agreement" in none["sentence"]
    assert {r["name"] for r in none["images"]} == {r.name for r in added}


def test_what_was_cut_from_may_be_gone(done: Project) -> None:
    added = plan_second_looks(done, 1, seed=1)
    done.set_state(added[0].id, "done")
    done.remove(done.find("a").id)
    with pytest.raises(UsageError, match="no longer in the project"):
        compare_second_looks(done)


def test_places_run_out(done: Project) -> None:
    first = plan_second_looks(done, 500, seed=0)
    assert 4 < len(first) < 7
    names = [r.name for r in first]
    assert len(set(names)) == len(names)
    assert len(read_second_looks(done.folder)) == len(first)
    for _ in range(40):  # tiles lie elsewhere each time, until nothing is left
        with contextlib.suppress(UsageError):
            plan_second_looks(done, 500)
    with pytest.raises(UsageError, match="no place with cells"):
        plan_second_looks(done, 500)


def test_it_is_said_what_is_missing(done: Project) -> None:
    done.set_state(done.find("a").id, "corrected")
    with pytest.raises(UsageError, match="mark one as done"):
        plan_second_looks(done)
    done.set_state(done.find("b").id, "done")
    with pytest.raises(UsageError, match="no place with cells"):
        plan_second_looks(done)
    (done.folder / FILE).write_text("{", encoding="utf-8")
    with pytest.raises(ProjectError, match="put back a copy"):
        choose(done, ())


def test_a_merged_copy_knows_them(done: Project, place: Path) -> None:
    with Project.create(place / "other.project", images=[place / "b.tif"]) as other:
        added = plan_second_looks(done, 2, seed=4)
        other.merge(done)
        assert read_second_looks(other.folder) == read_second_looks(done.folder)
        assert {r.id for r in added} <= {r.id for r in other.images()}
        assert {r.name for r in choose(other, ())} == {"a", "b"}


def test_what_a_crash_leaves_is_never_learnt_from(done: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    add = Project.add

    def some(self: Project, paths: list[Path], **keywords: bool) -> None:
        add(self, paths[:1], **keywords)
        raise Killed

    monkeypatch.setattr(Project, "add", some)
    with pytest.raises(Killed):
        plan_second_looks(done, 3, seed=0)
    assert len(done.images()) == 3
    assert [r.name for r in choose(done, ())] == ["a", "b"]
    monkeypatch.undo()
    added = plan_second_looks(done, 2, seed=0)  # the places that did not come are free
    assert {r.id for r in added} <= set(read_second_looks(done.folder))
    assert [r.name for r in choose(done, ())] == ["a", "b"]
