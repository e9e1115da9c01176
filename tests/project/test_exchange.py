"""Labels in and out, predictions, suggestions, merging copies."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import shutil
import zipfile
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cellbrook.core.objects import ObjectTable
from cellbrook.core.params import MaskParams
from cellbrook.core.result import NetworkOutput
from cellbrook.errors import ImageError, OutputError, ProjectError, UsageError
from cellbrook.io import read_labels, write_image, write_labels, write_png
from cellbrook.measure import measure
from cellbrook.project import ClassInfo, Delete, Lock, Paint, Project, Replace, SetClass
from cellbrook.project.exchange import as_result, export_training
from cellbrook.project.merge import merge_projects, rows_at
from cellbrook.project.models import activate_model, model_reference
from cellbrook.project.predict import land, predict, read_cache, rethreshold
from cellbrook.project.settings import read_settings
from cellbrook.project.status import conflicts, settle_conflict, status
from cellbrook.project.suggest import suggest
from cellbrook.project.teach import general_start

from .conftest import SHAPE, square

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def drawn(project: Project, image: str) -> Project:
    """The project with three cells, one of a class."""
    project.save_settings(classes=(ClassInfo(1, "dead", "#000000"),))
    log = project.log(image)
    log.store.lease(50)
    for k, (y, x) in enumerate([(10, 10), (10, 60), (505, 505)], 1):
        log.apply(Paint(k, square(y, x, 20)))
    log.apply(SetClass((2,), 1))
    return project


def pixels(project: Project) -> np.ndarray:
    return project.labels(project.images()[0].id).read()


@pytest.mark.parametrize("kind", ["labels", "rois", "geojson", "coco", "seg"])
def test_out_and_in_again(drawn: Project, image: str, place: Path, kind: str) -> None:
    before = pixels(drawn)
    path = drawn.export(place / "out", kinds=[kind])["cells"][kind]
    drawn.log(image).apply(Delete((1, 3)))
    drawn.log(image).apply(Paint(9, square(200, 200)))
    (result,) = drawn.import_labels([path])
    assert result.error is None
    after = pixels(drawn)
    assert np.array_equal(after > 0, before > 0)
    rows = drawn.labels(image).objects()
    assert sorted(r.area for r in rows) == [400, 400, 400]
    assert all(r.protected for r in rows)
    assert [r.class_id for r in rows if r.x0 == 60] == [1]  # the cell that stayed kept its id and class
    drawn.log(image).undo()
    assert (pixels(drawn) == 9).sum() == 100


def test_what_is_imported_is_never_changed_by_a_model(drawn: Project, image: str, place: Path) -> None:
    labels = np.zeros(SHAPE, np.uint16)
    labels[300:330, 300:330] = 5
    write_labels(place / "cells_masks.tif", labels)
    drawn.log(image).apply(Lock((3,)))
    assert drawn.import_labels([place], done=True)[0].error is None
    assert drawn.image(image).state == "done"
    assert set(np.unique(pixels(drawn))) >= {0, 3}  # locked
    before = pixels(drawn)
    drawn.log(image).apply(Replace(np.ones(SHAPE, np.uint32)))
    after = pixels(drawn)
    np.testing.assert_array_equal(after[before > 0], before[before > 0])


def test_what_cannot_be_imported_changes_nothing(
    drawn: Project, image: str, place: Path, picture: Callable[..., Path]
) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (print, ("run",))

    folder = place / "bad"
    folder.mkdir()
    (folder / "cells_rois.zip").write_bytes(b"PK no")
    (folder / "other.geojson").write_text("{}")
    write_labels(folder / "wrong_labels.tif", np.ones((5, 5), np.uint8))
    buffer = io.BytesIO()
    np.save(buffer, np.array({"masks": Evil()}, dtype=object), allow_pickle=True)
    (folder / "x_seg.npy").write_bytes(buffer.getvalue())
    assert b"print" in pickle.dumps(Evil())
    before, rev = pixels(drawn), drawn.log(image).rev
    errors = {r.path.name: r.error or "" for r in drawn.import_labels([folder])}
    assert "no image 'other'" in errors["other.geojson"]
    assert "cells_rois.zip" in errors["cells_rois.zip"]
    (named,) = drawn.import_labels([folder / "x_seg.npy"], image="cells")
    assert "not opened" in (named.error or "")
    (named,) = drawn.import_labels([folder / "wrong_labels.tif"], image="cells")
    assert "do not fit cells, whose labels are 530x540" in (named.error or "")
    (named,) = drawn.import_labels([folder / "other.geojson"], image="cells")
    assert named.error
    assert drawn.log(image).rev == rev
    np.testing.assert_array_equal(pixels(drawn), before)
    with pytest.raises(UsageError, match="no such file"):
        drawn.import_labels([folder / "none.tif"])
    with pytest.raises(UsageError, match="no labels in"):
        drawn.import_labels([picture().parent])


@pytest.mark.parametrize("name", ["coco", "zarr", "ome.tif", "seg", "geojson"])
def test_a_folder_is_taken_by_the_rules_of_its_files(
    drawn: Project, image: str, place: Path, name: str
) -> None:
    out = place / "out"
    if name == "ome.tif":
        write_labels(out / "cells_labels.ome.tif", pixels(drawn))
    else:
        drawn.export(out, kinds=[name])
    write_png(out / "cells.png", np.zeros(SHAPE, np.uint8))
    (out / "notes.txt").write_text("no labels")
    drawn.log(image).apply(Delete((1,)))
    said: list[str] = []
    (result,) = drawn.import_labels([out], say=said.append)
    assert (result.image, result.error) == (image, None)
    assert len(drawn.labels(image).objects()) == 3
    assert said == [f"{out}: passed over what is not called labels (cells.png): name it to take it over"]


def test_two_files_of_one_image(drawn: Project, place: Path) -> None:
    drawn.export(place / "out", kinds=["labels", "rois"])
    results = drawn.import_labels([place / "out"])
    assert ["give the one that counts" in (r.error or "") for r in results] == [True, True]


@pytest.mark.parametrize("copy", [False, True])
def test_labels_belong_to_the_image_beside_them(place: Path, copy: bool) -> None:
    files = [place / "plate" / well / "f1.png" for well in "AB"]
    for k, file in enumerate(files):
        file.parent.mkdir(parents=True)
        write_png(file, np.full((40, 50), k, np.uint8))
    with Project.create(place / "p", images=files, copy=copy) as project:
        a, b = (r.id for r in project.images())
        masks = files[1].with_name("f1_masks.png")
        write_png(masks, np.eye(40, 50, dtype=np.uint8))
        (result,) = project.import_labels([masks.parent])
        if copy:  # nothing says which one
            assert "fits f1 and f1_2: name the image (--image)" in (result.error or "")
            (result,) = project.import_labels([masks], image="f1_2")
        assert result.image == b
        assert project.labels(a).objects() == []
        # an export says of which image it is, also without one beside it
        labels = project.export(place / "out", kinds=["labels"])["f1_2"]["labels"]
        labels = labels.rename(labels.with_name("f1_labels.tif"))
        (result,) = project.import_labels([labels])
        assert "fits f1 and f1_2" in (result.error or "")
        labels.with_name("f1_2_run.json").rename(labels.with_name("f1_run.json"))
        (result,) = project.import_labels([labels])
        assert result.image == b


def test_a_name_may_have_dots(place: Path) -> None:
    files = [place / f"img.{k}.png" for k in range(2)]
    for k, file in enumerate(files):
        write_png(file, np.full((40, 50), k, np.uint8))
    write_png(place / "img.1_masks.png", np.eye(40, 50, dtype=np.uint8))
    with Project.create(place / "p", images=files) as project:
        (result,) = project.import_labels([place / "img.1_masks.png"])
        assert (result.name, result.error) == ("img.1", None)


def test_training_folder(drawn: Project, image: str, place: Path, picture: Callable[..., Path]) -> None:
    drawn.add([picture("later.png", seed=1)])
    written = drawn.export(place / "train", kinds=["training"])
    assert {k: p.name for k, p in written["cells"].items()} == {
        "image": "cells_img.png",
        "masks": "cells_masks.tif",
        "classes": "cells_masks_objects.csv",
    }
    assert list(written) == ["cells"]
    np.testing.assert_array_equal(read_labels(place / "train" / "cells_masks.tif")[0], pixels(drawn))
    from cellbrook.io.pairs import find_labelled

    assert [p[0] for p in find_labelled(place / "train").pairs] == ["cells"]


def test_an_export_for_training_replaces_nobody_s_work(
    drawn: Project, image: str, place: Path, picture: Callable[..., Path]
) -> None:
    out = place / "train"
    masks = drawn.export(out, kinds=["training"])["cells"]["masks"]
    drawn.log(image).apply(Delete((1,)))
    drawn.export(out, kinds=["training"])  # over what is ours
    np.testing.assert_array_equal(read_labels(masks)[0], pixels(drawn))
    write_labels(masks, np.ones(SHAPE, np.uint8))
    kept = masks.read_bytes()
    with pytest.raises(
        OutputError, match=r"cells_masks\.tif was changed since .* \(in Python overwrite=True\)"
    ):
        drawn.export(out, kinds=["training"])
    assert masks.read_bytes() == kept
    drawn.export(out, kinds=["training"], overwrite=True)
    np.testing.assert_array_equal(read_labels(masks)[0], pixels(drawn))

    other = place / "other"
    write_labels(other / "cells_masks.tif", np.ones(SHAPE, np.uint8))
    with pytest.raises(OutputError, match=r"cells_masks\.tif is there and not Cellbrook's"):
        drawn.export(other, kinds=["training"])
    assert [p.name for p in other.iterdir()] == ["cells_masks.tif"]
    (out / "training.json").write_text("{}")
    with pytest.raises(OutputError, match=r"training\.json is not Cellbrook's"):
        drawn.export(out, kinds=["training"])


def test_an_export_for_training_never_replaces_an_image_of_the_project(place: Path) -> None:
    raw = place / "plate" / "x_img.tif"
    write_image(raw, np.zeros((3, 64, 64), np.uint8), axes="CYX")
    before = raw.read_bytes()
    with Project.create(place / "p", images=[raw], channels="0") as project:
        record = project.images()[0]
        project.labels(record.id).lease()
        project.log(record.id).apply(Paint(1, square(5, 5)))
        with pytest.raises(OutputError, match=r"x_img\.tif is an image of the project"):
            project.export(raw.parent, kinds=["training"], overwrite=True)
    assert raw.read_bytes() == before
    assert [p.name for p in raw.parent.iterdir()] == ["x_img.tif"]


def test_an_image_that_cannot_be_read_is_left_out_of_training(
    drawn: Project, place: Path, picture: Callable[..., Path]
) -> None:
    gone = picture("gone.png", seed=1)
    (record,) = drawn.add([gone]).added
    drawn.labels(record.id).lease()
    drawn.log(record.id).apply(Paint(1, square(5, 5)))
    gone.unlink()
    said: list[str] = []
    assert list(export_training(drawn, place / "train", say=said.append)) == ["cells"]
    assert len(said) == 1
    assert "gone.png" in said[0]
    with pytest.raises(ImageError, match=r"gone\.png"):
        export_training(drawn, place / "named", names=["gone"])
    drawn.path(drawn.find("cells").id).unlink()
    with pytest.raises(ImageError):
        export_training(drawn, place / "none")


def test_training_folder_of_chosen_channels(place: Path) -> None:
    from tifffile import imwrite

    from cellbrook.io import open_image

    stack = np.random.default_rng(0).integers(0, 9, (4, 2, 30, 40)).astype(np.uint16)
    imwrite(place / "s.tif", stack, imagej=True, metadata={"axes": "ZCYX"})
    with Project.create(place / "p", images=[place / "s.tif"], channels="1", z="max") as project:
        record = project.images()[0]
        assert record.label_axes == "YX"
        project.labels(record.id).lease()
        project.log(record.id).apply(Paint(1, square(5, 5)))
        written = project.export(place / "train", kinds=["training"])["s"]
        source = open_image(written["image"])
        np.testing.assert_array_equal(np.squeeze(source.read()), stack[:, 1].max(axis=0))
        head, row = project.export(place / "out", kinds=["objects"])["s"]["objects"].read_text().splitlines()
        measured = dict(zip(head.split(","), row.split(","), strict=True))
        for channel in (0, 1):  # both, though only one is segmented
            where = stack[:, channel].max(axis=0)[project.labels(record.id).read() > 0]
            assert float(measured[f"mean_{channel}"]) == pytest.approx(where.mean(), rel=1e-4)


def test_an_export_is_of_one_revision(drawn: Project, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*args: Any, **keywords: Any) -> ObjectTable:
        drawn.log(image).apply(Delete((1,)))
        return measure(*args, **keywords)

    monkeypatch.setattr("cellbrook.project.exchange.measure", measured)
    result = as_result(drawn, drawn.image(image))
    assert result.objects["label"].tolist() == [1, 2, 3]
    assert result.provenance["revision"] == result.provenance["edits"][-1]["rev"] == drawn.log(image).rev - 1


def test_the_table_says_class_and_origin(drawn: Project, place: Path) -> None:
    lines = drawn.export(place / "out", kinds=["objects"])["cells"]["objects"].read_text().splitlines()
    head, *rows = [line.split(",") for line in lines]
    assert [r[head.index("class")] for r in rows] == ["", "dead", ""]
    assert {r[head.index("origin")] for r in rows} == {"manual"}
    with pytest.raises(UsageError, match="cannot export 'flows'"):
        drawn.export(place / "out", kinds=["flows"])


# Models


@pytest.fixture
def discs(place: Path) -> Iterator[Project]:
    """A project of three small pictures of bright discs: two alike, and one of few, large, dim ones."""
    yy, xx = np.mgrid[:128, :160]
    for name, centres, radius, level in (
        ("a", [(30, 30), (30, 80), (80, 50), (90, 120)], 11, 200),
        ("b", [(35, 35), (30, 90), (85, 55), (90, 125)], 11, 190),
        ("c", [(60, 70)], 30, 90),
    ):
        picture = np.random.default_rng(0).normal(20, 3, yy.shape)
        for y, x in centres:
            picture[(yy - y) ** 2 + (xx - x) ** 2 < radius**2] += level
        write_png(place / f"{name}.png", np.clip(picture, 0, 255).astype(np.uint8))
    with Project.create(place / "discs", images=[place / f"{n}.png" for n in "abc"]) as project:
        yield project


def test_predicting(discs: Project) -> None:
    import cellbrook

    a = discs.find("a")
    (first,) = predict(discs, ["a"], threads=1)
    assert (first.status, first.objects, first.kept) == ("done", 4, 0)
    same = cellbrook.segment(discs.path(a.id), threads=1)
    np.testing.assert_array_equal(discs.labels(a.id).read_all(), same.labels)
    assert discs.find("a").state == "predicted"
    assert predict(discs, ["a"], threads=1)[0].status == "skipped"
    discs.log(a.id).undo()
    assert predict(discs, ["a"], threads=1)[0].status == "done"  # it was taken back, so it is wanted again
    # a person's work stays, whatever the model says
    log = discs.log(a.id)
    ids = [r.id for r in log.store.objects()]
    log.apply(Delete((ids[0],)))
    label = log.store.lease(1)[0]
    log.apply(Paint(label, square(60, 100)))
    log.apply(Paint(ids[1], [(y, 100, 104) for y in range(25, 40)]))
    before = log.store.read()
    assert predict(discs, threads=1, each=lambda _: None)[0].name == "b"  # a is begun, so it is left out
    (again,) = predict(discs, ["a"], again=True, cellprob_threshold=-1.0, threads=1)
    kept = np.isin(before, [r.id for r in log.store.objects() if r.protected])
    np.testing.assert_array_equal(log.store.read()[kept], before[kept])
    assert again.kept >= 1
    log.undo()
    np.testing.assert_array_equal(log.store.read(), before)
    # other thresholds, from the cache
    flows, cellprob = read_cache(discs, discs.find("b"))
    assert (flows.dtype, flows.shape, cellprob.shape) == (np.float16, (1, 2, 128, 160), (1, 128, 160))
    first = discs.find("b").run
    applied = rethreshold(discs, "b", MaskParams(min_size=10_000), threads=1)
    assert len(applied.removed) == 4
    assert discs.labels(discs.find("b").id).objects() == []
    changed = discs.find("b").run
    assert (changed["parameters"]["min_size"], first["parameters"]["min_size"]) == (10_000, 15)
    discs.log(discs.find("b").id).undo()
    assert discs.find("b").run == first  # what the labels are made with comes and goes with them
    discs.log(discs.find("b").id).redo()
    assert discs.find("b").run == changed
    shutil.rmtree(discs.folder / "cache")
    with pytest.raises(UsageError, match="no flows are cached"):
        rethreshold(discs, "b")
    found = status(discs)
    assert found.images[0].ap is not None
    assert 0 < found.images[0].ap < 1
    assert found.states["predicted"] == 2


def test_what_the_network_gave_is_kept_of_two_runs(discs: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def segmented(project: Project, record: Any, model: Any, engine: Any, params: Any, progress: Any) -> Any:
        shape = (record.height, record.width)
        output = NetworkOutput(np.zeros((2, *shape), np.float32), np.zeros(shape, np.float32))
        return SimpleNamespace(labels=np.zeros(shape, np.uint32), objects=None, output=output)

    monkeypatch.setattr("cellbrook.project.predict._segment", segmented)

    def kept(name: str) -> set[str]:
        facts = (json.loads(p.read_text()) for p in (discs.folder / "cache").glob("*/about.json"))
        image = discs.find(name).id
        return {f["run"]["parameters"]["diameter"] for f in facts if f["image"] == image}

    predict(discs, ["b"], diameter=5)
    for diameter in (10, 20, 30):
        predict(discs, ["a"], diameter=diameter)
    assert kept("a") == {"20", "30"}
    log = discs.log(discs.find("a").id)
    log.undo()
    read_cache(discs, discs.find("a"))
    predict(discs, ["a"], diameter=40)
    assert kept("a") == {"20", "40"}
    rethreshold(discs, "a", MaskParams(min_size=50))
    assert kept("a") == {"20", "40"}
    assert kept("b") == {"5"}


def test_a_result_lands_only_where_it_belongs(discs: Project) -> None:
    a = discs.find("a")
    result = np.ones((128, 160), np.uint32)
    discs.remove(a.id)
    with pytest.raises(ProjectError, match="thrown away"):
        land(discs, a, result, None)
    b = discs.find("b")
    shutil.copy(discs.folder.parent / "a.png", discs.path(b.id))
    with pytest.raises(ProjectError, match="thrown away"):
        land(discs, b, result, None)
    failed = predict(discs, ["b", "c"], threads=1)
    assert [p.status for p in failed] == ["failed", "done"]
    assert "was changed" in (failed[0].error or "")


def test_parameters_of_the_whole_project(discs: Project) -> None:
    with pytest.raises(UsageError, match="belongs to the whole project"):
        predict(discs, axes="YX")
    with pytest.raises(UsageError, match="unknown parameter 'diametr'"):
        predict(discs, diametr=3)
    with pytest.raises(Exception, match="no model 'nonsense'"):
        activate_model(discs, "nonsense")
    assert activate_model(discs, "compact") == "compact"
    for name in ("better", "worse/not-active"):
        folder = discs.folder / "models" / name
        folder.mkdir(parents=True)
        (folder / "card.toml").write_text("")
    assert model_reference(discs, "better").endswith("better")
    assert model_reference(discs, "worse").endswith("not-active")
    assert model_reference(discs, "../models/better") == "../models/better"
    assert model_reference(discs, "compact") == "compact"


def _scored(project: Project, name: str, scores: list[float]) -> None:
    record = project.find(name)
    labels = np.zeros((record.height, record.width), np.uint32)
    for k, _ in enumerate(scores):
        labels[5:15, 5 + k * 20 : 15 + k * 20] = k + 1
    table = ObjectTable({"label": np.arange(1, len(scores) + 1), "score": np.array(scores)})
    project.log(record.id).apply(Replace(labels, table))


def test_suggestions_prefer_doubt_and_what_is_new(discs: Project) -> None:
    assert {s.name for s in suggest(discs)} == {"a", "b", "c"}  # also before any prediction
    _scored(discs, "a", [0.9, 0.9])
    _scored(discs, "b", [0.9, 0.4])
    _scored(discs, "c", [0.9, 0.9])
    discs.set_state(discs.find("a").id, "done")
    found = suggest(discs)
    assert {s.name for s in found} == {"b", "c"}
    b = next(s for s in found if s.name == "b")
    assert "unsure" in b.reason
    c = next(s for s in found if s.name == "c")
    assert "unlike what is corrected" in c.reason
    assert all(0 <= s.score <= 1 for s in found)
    plane, y0, x0, y1, x1 = b.region
    assert plane == 0
    assert 0 <= y0 < y1 <= 128
    assert 0 <= x0 < x1 <= 160
    _scored(discs, "b", [0.95, 0.95])
    assert suggest(discs, 1)[0].name == "c"
    for name in "bc":
        discs.set_state(discs.find(name).id, "done")
    with pytest.raises(UsageError, match="every image"):
        suggest(discs)


# Merging


@pytest.fixture
def copies(drawn: Project, place: Path) -> Iterator[tuple[Project, Project]]:
    """Two copies of a project: each has three cells."""
    drawn.flush()
    drawn.database.one("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copytree(drawn.folder, place / "copy.project")
    with Project.open(place / "copy.project") as other:
        yield drawn, other


def test_merging_what_nobody_else_touched(copies: tuple[Project, Project], image: str) -> None:
    ours, theirs = copies
    there = theirs.log(image)
    there.store.lease(5)
    there.apply(Delete((1,)))
    there.apply(Paint(51, square(200, 200)))
    there.apply(SetClass((51,), 1))
    there.apply(SetClass((3,), 1))
    there.apply(Paint(2, square(30, 60)))
    theirs.set_state(image, "done")
    here = ours.log(image)
    mine = here.store.lease(3)[0]
    here.apply(Paint(mine, square(400, 100)))  # the same number as a cell there
    report = merge_projects(ours, theirs)
    assert (report.taken, report.conflicts) == (4, [])
    rows = {(r.y0, r.x0): r for r in here.store.objects()}
    assert set(rows) == {(10, 60), (505, 505), (200, 200), (400, 100)}
    assert rows[400, 100].id == mine != rows[200, 200].id
    assert rows[10, 60].area == 500
    assert [rows[k].class_id for k in ((200, 200), (505, 505), (10, 60))] == [1, 1, 1]
    assert ours.image(image).state == "done"
    again = merge_projects(ours, theirs)
    assert (again.taken, again.conflicts) == (0, [])
    here.undo("merge")
    assert {r.id for r in here.store.objects()} == {1, 2, 3, mine}


def test_merging_again_takes_over_what_is_new(copies: tuple[Project, Project], image: str) -> None:
    ours, theirs = copies
    here, there = ours.log(image), theirs.log(image)
    there.store.lease(9)
    here.store.lease(9)
    here.apply(Paint(51, square(400, 400)))  # the same number as a cell there
    there.apply(Paint(51, square(200, 200)))
    there.apply(Paint(52, square(300, 300)))
    theirs.set_state(image, "done")
    assert merge_projects(ours, theirs).taken == 2
    first, second = (here.store.at(0, y, y) for y in (205, 305))
    here.apply(Delete((first,)))
    ours.set_state(image, "corrected")
    report = merge_projects(ours, theirs)
    assert (report.taken, report.conflicts) == (0, [])
    assert here.store.at(0, 205, 205) == 0
    assert ours.image(image).state == "corrected"

    there.apply(Paint(52, square(310, 300)))
    there.apply(SetClass((52,), 1))
    there.apply(Delete((2,)))
    assert merge_projects(ours, theirs).taken == 3
    rows = {r.id: r for r in here.store.objects()}
    assert (rows[second].area, rows[second].class_id) == (200, 1)
    assert rows.keys() == {1, 3, 51, second}
    there.apply(SetClass((52,), 0))
    there.apply(Lock((52,)))
    assert merge_projects(ours, theirs).taken == 1
    row = next(r for r in here.store.objects() if r.id == second)
    assert (row.class_id, row.locked) == (0, True)

    there.apply(Paint(51, square(205, 200)))  # was deleted here
    report = merge_projects(ours, theirs)
    assert [c.reason for c in report.conflicts] == [f"object {first} was changed in both copies"]
    assert merge_projects(ours, theirs).conflicts == []
    assert len(conflicts(ours)) == 1  # it is told once, and stays until it is settled
    for _ in range(3):
        here.undo("merge")
    assert merge_projects(ours, theirs).taken == 3  # what was taken back can be had again
    assert here.store.at(0, 305, 305)


@pytest.mark.parametrize("seed", range(6))
def test_copies_that_are_merged_in_both_directions_have_the_newest_of_each_cell(
    copies: tuple[Project, Project], image: str, seed: int
) -> None:
    """Each cell is drawn, grown and deleted by whoever has its newest state; so nothing is ever in conflict."""
    rng = np.random.default_rng(seed)
    logs = [project.log(image) for project in copies]
    free = [(y, x) for y in range(100, 400, 50) for x in range(100, 400, 50)]
    newest = {(10, 10): (0, 20), (10, 60): (0, 20)}  # number of its state, and its side: 0 once it is deleted
    known = [dict(newest), dict(newest)]

    def found(k: int) -> dict[tuple[int, int], int]:
        return {(r.y0, r.x0): r.y1 - r.y0 for r in logs[k].store.objects() if r.id != 3}

    for _ in range(40):
        k = int(rng.integers(2))
        mine = sorted(spot for spot, state in known[k].items() if state == newest[spot] and state[1])
        action = rng.choice(["draw", "grow", "delete", "merge"], p=[0.2, 0.2, 0.2, 0.4])
        if action == "merge":
            assert merge_projects(copies[k], copies[1 - k]).conflicts == []
            both = known[k].keys() | known[1 - k].keys()
            known[k] = {spot: max(known[n].get(spot, (-1, 0)) for n in (0, 1)) for spot in both}
            assert found(k) == {spot: side for spot, (_, side) in known[k].items() if side}
            continue
        if action != "draw" and not mine:
            continue
        spot = free.pop() if action == "draw" else mine[int(rng.integers(len(mine)))]
        number, side = newest.get(spot, (-1, 8))
        label = logs[k].store.at(0, spot[0], spot[1]) or logs[k].store.lease(1)[0]
        if action == "delete":
            logs[k].apply(Delete((label,)))
        else:
            logs[k].apply(Paint(label, square(*spot, side + 2)))
        newest[spot] = known[k][spot] = (number + 1, 0 if action == "delete" else side + 2)
    for k in (0, 1, 0, 1):
        assert merge_projects(copies[k], copies[1 - k]).conflicts == []
    assert found(0) == found(1) == {spot: side for spot, (_, side) in newest.items() if side}


def test_what_both_drew_and_one_deleted_stays_deleted(copies: tuple[Project, Project], image: str) -> None:
    ours, theirs = copies
    here, there = ours.log(image), theirs.log(image)
    for log in (here, there):
        log.apply(Paint(log.store.lease(1)[0], square(200, 200)))
    assert merge_projects(theirs, ours).same == 1
    here.apply(Delete((here.store.at(0, 205, 205),)))
    for project, other in ((ours, theirs), (theirs, ours), (ours, theirs)):
        assert merge_projects(project, other).conflicts == []
        assert [r.id for r in here.store.objects()] == [1, 2, 3]
    assert [r.id for r in there.store.objects()] == [1, 2, 3]


def test_attributes_that_came_from_here_do_not_hide_those_of_the_other_copy(
    copies: tuple[Project, Project], image: str
) -> None:
    ours, theirs = copies
    here, there = ours.log(image), theirs.log(image)
    here.apply(Paint(1, square(30, 10)))
    there.apply(SetClass((1,), 1))
    assert merge_projects(theirs, ours).conflicts == []
    here.apply(Delete((2,)))
    assert merge_projects(ours, theirs).conflicts == []
    rows = {r.id: r for r in here.store.objects()}
    assert (rows.keys(), rows[1].class_id, rows[1].area) == ({1, 3}, 1, 500)


def test_what_was_in_conflict_once_is_never_taken_over(copies: tuple[Project, Project], image: str) -> None:
    ours, theirs = copies
    ours.log(image).apply(Paint(0, square(10, 20, 5)))
    theirs.log(image).apply(Paint(0, square(10, 10, 5)))
    before = pixels(ours)
    assert len(merge_projects(ours, theirs).conflicts) == 1
    theirs.log(image).apply(Paint(0, square(20, 20, 5)))
    assert len(merge_projects(ours, theirs).conflicts) == 1
    assert len(conflicts(ours)) == 1
    np.testing.assert_array_equal(pixels(ours), before)


def test_an_image_that_was_taken_out_stays_out(
    copies: tuple[Project, Project], picture: Callable[..., Path]
) -> None:
    ours, theirs = copies
    theirs.add([picture("second.png", seed=2)])
    second = theirs.find("second").id
    merge_projects(ours, theirs)
    ours.remove(second)
    report = merge_projects(ours, theirs)
    assert report.notes == ["left out second, which was taken out here: add it to have it again"]
    assert [r.name for r in ours.images()] == ["cells"]


@pytest.mark.parametrize("inside", ["", "not-active"])
def test_merging_models_of_one_name(copies: tuple[Project, Project], inside: str) -> None:
    ours, theirs = copies

    def teach(project: Project, name: str, start: str, text: str, inside: str = "") -> Path:
        card = project.folder / "models" / name / inside / "card.toml"
        card.parent.mkdir(parents=True)
        card.write_text(text)
        project.add_round({"model": name, "start": start})
        return card

    mine = teach(ours, "my.1", "compact", "mine", inside)
    teach(theirs, "my.1", "compact", "theirs")
    teach(theirs, "my.2", "my.1", "no better", "not-active")
    teach(theirs, "my.3", "my.2", "newest")
    notes = merge_projects(ours, theirs).notes
    assert notes == [
        "took over the model my.1, which is my.1-2 here: there is another one of its name",
        "took over the model my.3",
    ]
    assert mine.read_text() == "mine"
    assert (ours.folder / "models" / "my.1-2" / "card.toml").read_text() == "theirs"
    assert [(r["model"], r["start"]) for r in ours.rounds()] == [
        ("my.1", "compact"),
        ("my.1-2", "compact"),
        ("my.3", "my.1-2"),
    ]
    ours.save_settings(model="my.3")
    assert general_start(ours) == "compact"
    assert merge_projects(ours, theirs).notes == []
    assert len(ours.rounds()) == 3


def test_merging_what_both_changed(copies: tuple[Project, Project], image: str) -> None:
    ours, theirs = copies
    for project, y in ((ours, 10), (theirs, 20)):
        project.log(image).apply(Paint(0, [(y, 10, 30)]))  # of cell 1, not the same
        project.log(image).apply(Delete((2,)))  # the same
    ours.log(image).apply(SetClass((3,), 1))
    theirs.log(image).apply(SetClass((3,), 2))
    before = pixels(ours)
    report = merge_projects(ours, theirs)
    assert report.same == 1
    assert [c.reason for c in report.conflicts] == [
        "object 1 was changed in both copies",
        "object 3 has class 1 here and 2 there",
    ]
    np.testing.assert_array_equal(pixels(ours), before)
    merge_projects(ours, theirs)
    assert [c["reason"] for c in conflicts(ours)] == [c.reason for c in report.conflicts]  # not twice
    settle_conflict(ours, conflicts(ours)[0]["number"])
    assert len(status(ours).conflicts) == 1


def test_a_class_of_another_number_is_known_by_its_name(copies: tuple[Project, Project], image: str) -> None:
    ours, theirs = copies
    dead, mitotic, round_ = (ClassInfo(1, "dead"), ClassInfo(2, "mitotic"), ClassInfo(2, "round"))
    ours.save_settings(classes=(dead, mitotic))
    theirs.save_settings(classes=(dead, round_, dataclasses.replace(mitotic, id=3)))
    ours.log(image).apply(SetClass((1,), 2))
    ours.log(image).apply(SetClass((2,), 2))
    there = theirs.log(image)
    there.store.lease(60)
    there.apply(SetClass((1,), 3))  # the same as here
    there.apply(Paint(2, square(30, 60)))  # of which the class is told here
    there.apply(SetClass((3,), 2))
    there.apply(Paint(80, square(200, 200)))
    there.apply(SetClass((80,), 3))
    report = merge_projects(ours, theirs)
    assert report.conflicts == []
    names = {c.id: c.name for c in ours.settings.classes}
    rows = {(r.y0, r.x0): names[r.class_id] for r in ours.labels(image).objects()}
    assert rows == {(10, 10): "mitotic", (10, 60): "mitotic", (505, 505): "round", (200, 200): "mitotic"}
    assert merge_projects(ours, theirs).taken == 0


def test_a_person_goes_before_a_model(copies: tuple[Project, Project], image: str) -> None:
    ours, theirs = copies
    result = np.zeros(SHAPE, np.uint32)
    result[200:220, 200:220] = 1
    result[300:320, 300:320] = 2
    for project in copies:
        project.log(image).apply(Replace(result))
        result[200:221, 200:221] = 1
    there, here = theirs.log(image), ours.log(image)
    label = there.store.lease(1)[0]
    there.apply(Paint(label, square(195, 195, 30)))
    mine = next(r.id for r in here.store.objects() if r.y0 == 300)
    here.apply(Paint(mine, square(310, 310, 30)))
    report = merge_projects(ours, theirs)
    assert report.conflicts == []
    rows = {(r.y0, r.x0): r for r in here.store.objects()}
    assert (rows[195, 195].area, rows[195, 195].origin) == (900, "manual")
    assert (200, 200) not in rows
    assert rows[300, 300].origin == "edited"
    assert [r.id for r in rows_at(here, 0)] == []


def test_merging_other_images(
    copies: tuple[Project, Project], picture: Callable[..., Path], image: str
) -> None:
    ours, theirs = copies
    theirs.add([picture("second.png", seed=2)])
    second = theirs.find("second").id
    theirs.labels(second).lease()
    theirs.log(second).apply(Paint(1, square(7, 7)))
    theirs.add([picture("third.png", seed=4)])
    theirs.path(theirs.find("third").id).unlink()
    theirs.save_settings(classes=(ClassInfo(1, "alive"), ClassInfo(2, "new")))
    report = merge_projects(ours, theirs)
    assert report.images_added == ["second"]
    assert ours.labels(second).at(0, 8, 8) == 1
    assert ours.image(second).state == "corrected"
    _scored(theirs, "second", [0.5])
    theirs.set_state(second, "predicted")
    ours.set_state(second, "predicted")
    merge_projects(ours, theirs)
    assert ours.image(second).state == "predicted"  # a model's result is no correction
    assert [c.name for c in ours.settings.classes] == ["dead", "new", "alive"]
    assert any("third" in n for n in report.notes)
    assert 'class 1 there, "alive", is class 3 here' in report.notes
    with pytest.raises(UsageError, match="with itself"):
        merge_projects(ours, ours)
    with pytest.raises(ImageError):
        theirs.open_image(theirs.find("third").id)


def test_classes_come_with_coco(drawn: Project, image: str, place: Path) -> None:
    path = drawn.export(place / "out", kinds=["coco"])["cells"]["coco"]
    document = json.loads(path.read_text(encoding="utf-8"))
    document["categories"].append({"id": 9, "name": "Immune"})
    document["annotations"][0]["category_id"] = 9
    path.write_text(json.dumps(document), encoding="utf-8")
    (done,) = drawn.import_labels([path])  # by its name
    assert done.error is None
    names = {c.id: c.name for c in drawn.settings.classes}
    rows = drawn.labels(image).objects()
    assert {r.id: names.get(r.class_id or 0) for r in rows} == {1: "Immune", 2: "dead", 3: None}


def test_classes_come_and_go_with_geojson(drawn: Project, image: str, place: Path) -> None:
    path = drawn.export(place / "out", kinds=["geojson"])["cells"]["geojson"]
    document = json.loads(path.read_text(encoding="utf-8"))
    properties = [f["properties"] for f in document["features"]]
    assert [p.get("classification") for p in properties] == [None, {"name": "dead"}, None]

    properties[0]["classification"] = {"names": ["Immune", "T µ"]}
    properties[2]["classification"] = {"name": "Stroma", "color": [1, 2, 3]}
    path.write_text(json.dumps(document), encoding="utf-8")
    (done,) = drawn.import_labels([path], image=image)
    assert done.error is None
    assert [(c.id, c.name) for c in drawn.settings.classes] == [
        (1, "dead"),
        (2, "Immune: T µ"),
        (3, "Stroma"),
    ]
    assert {r.id: r.class_id for r in drawn.labels(image).objects()} == {1: 2, 2: 1, 3: 3}
    assert read_settings(drawn.folder).classes == drawn.settings.classes


def test_a_file_without_objects_does_not_delete_all(drawn: Project, image: str, place: Path) -> None:
    before = drawn.labels(image).read_all()
    with zipfile.ZipFile(place / "cells_rois.zip", "w"):
        pass
    (place / "cells.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    np.save(place / "cells_labels.npy", np.zeros_like(before))
    for name in ("cells_rois.zip", "cells.geojson", "cells_labels.npy"):
        (refused,) = drawn.import_labels([place / name])
        assert "holds no objects" in refused.error
    np.testing.assert_array_equal(drawn.labels(image).read_all(), before)
