"""The folder: making, opening, images by content, and what is refused without harm."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sqlite3
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

import cellbrook
from cellbrook.errors import CellbrookError, ImageError, ProjectError, UsageError
from cellbrook.io import open_image, sha256_of_image, write_labels_zarr, write_png
from cellbrook.project import ClassInfo, Paint, Project, Replace
from cellbrook.project._chunks import chunk_rev

from .conftest import square

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_project_is_opened_again(place: Path, picture: Callable[..., Path]) -> None:
    with Project.create(place / "Zellen µ.project", images=[picture("Zürich 1.png")]) as project:
        project.save_settings(classes=(ClassInfo(1, 'a "quoted" name\\', "#ff0000"),), channels="0")
        settings = project.settings
    with cellbrook.open_project(place / "Zellen µ.project" / "project.toml") as again:
        assert again.settings == settings
        assert (again.name, [r.name for r in again.images()]) == ("Zellen µ", ["Zürich 1"])


def test_the_same_image_is_told_not_doubled(project: Project, picture: Callable[..., Path]) -> None:
    twin = picture("twin.png")
    report = project.add([twin, picture("other.png", seed=1)])
    assert [r.name for r in report.added] == ["other"]
    assert [(p.name, r.name) for p, r in report.already] == [("twin.png", "cells")]
    assert report.found_again == []
    assert len(project.images()) == 2


def test_a_scene_has_one_id_that_is_a_name_of_files(project: Project, place: Path) -> None:
    from tifffile import TiffWriter

    with TiffWriter(place / "scenes.ome.tif", ome=True) as file:
        for name in ("Exp/Pos #1", "Exp/Pos #2"):
            file.write(np.zeros((20, 30), np.uint8), metadata={"axes": "YX", "Name": name})
    (added,) = project.add([place / "scenes.ome.tif"], scene="Exp/Pos #2").added
    assert (added.id[-3:], added.name) == ("-s1", "scenes_Exp_Pos_2")
    assert project.open_image(added.id).shape == (20, 30)
    assert [r.id for _, r in project.add([place / "scenes.ome.tif"], scene="1").already] == [added.id]
    ((_, why),) = project.add([place / "scenes.ome.tif"], scene="Pos").failed
    assert "has no scene 'Pos'" in why


@pytest.mark.parametrize("copy", [False, True])
def test_a_scene_of_an_ome_zarr_plate_has_the_hash_that_segment_tells(place: Path, copy: bool) -> None:
    plate = place / "plate.zarr"
    root = zarr.open_group(plate, mode="w")
    root.attrs.update({"ome": {"plate": {"wells": [{"path": "A/1"}, {"path": "B/2"}]}}})
    for n, well in enumerate(("A/1", "B/2")):
        root.create_group(well).attrs.update({"ome": {"well": {"images": [{"path": "0"}]}}})
        write_labels_zarr(plate / well / "0", np.full((9, 9), n))
    with Project.create(place / "p") as project:
        report = project.add(plate, copy=copy)
        assert (report.failed, [r.scene for r in report.added]) == ([], ["0", "1"])
        assert [r.name for r in report.added] == ["plate_A_1_0", "plate_B_2_0"]
        assert len({project.path(r.id) for r in report.added}) == 1
        assert [r.sha256 for r in report.added] == [sha256_of_image(plate, n) for n in "01"]
        assert [r.id for _, r in project.add(plate, scene="B/2/0").already] == [report.added[1].id]
        first, second = report.added
        well = project.path(second.id) / "B" / "2" / "0"
        write_labels_zarr(well, np.full((9, 9), 7))
        assert project.problem(first.id) is None
        assert "was changed since" in (project.problem(second.id) or "")
        shutil.rmtree(well.parent)
        (well.parents[1] / "zarr.json").unlink(missing_ok=True)
        assert "was changed since" in (project.problem(second.id) or "")


@pytest.mark.parametrize("copy", [False, True])
def test_the_files_of_an_ome_tiff_set_are_one_image(place: Path, copy: bool) -> None:
    from tifffile import imwrite

    names = ("cells_1.ome.tif", "cells_2.ome.tif")
    told = "".join(
        f'<TiffData IFD="0" PlaneCount="1" FirstZ="{n}"><UUID FileName="{name}">urn:uuid:{n}</UUID></TiffData>'
        for n, name in enumerate(names)
    )
    head = '<Pixels DimensionOrder="XYZCT" Type="uint16" SizeX="30" SizeY="20" SizeZ="2" SizeC="1" SizeT="1">'
    (place / "set").mkdir()
    for n, name in enumerate(names):
        xml = f'<OME UUID="urn:uuid:{n}"><Image>{head}{told}</Pixels></Image></OME>'
        pixels = np.full((20, 30), n, np.uint16)
        imwrite(place / "set" / name, pixels, description=xml, metadata=None)
    with Project.create(place / "p") as project:
        (record,) = project.add(place / "set", copy=copy).added
        assert record.sha256 == sha256_of_image(place / "set" / names[0])
        assert [r.id for _, r in project.add(place / "set" / names[1]).already] == [record.id]
        if copy:
            shutil.rmtree(place / "set")
        assert project.open_image(record.id).read({"Y": 0, "X": 0}).tolist() == [0, 1]
        project.log(record.id).apply(Paint(project.labels(record.id).lease(1)[0], square(2, 2)))
        image = project.export(place / "out", kinds=["training"])["cells_1"]["image"]
        assert open_image(image).read({"Y": 0, "X": 0}).tolist() == [0, 1]
        with project.path(record.id).with_name(names[1]).open("ab") as file:
            file.write(b"changed")
        assert "was changed since" in (project.problem(record.id) or "")


@pytest.mark.skipif(os.name != "posix", reason="names are Unicode there")
def test_a_name_that_is_not_unicode_is_told(project: Project, picture: Callable[..., Path]) -> None:
    path = picture("other.png", seed=5)
    path.rename(os.fsdecode(os.fsencode(path.parent) + b"/Zelle\xe4.png"))
    report = project.add([path.parent])
    ((shown, why),) = report.failed
    assert "rename the file" in why
    assert why.startswith(str(shown))
    why.encode()
    assert len(report.already) == len(project.images()) == 1


def test_two_images_of_one_name(project: Project, place: Path) -> None:
    (place / "more").mkdir()
    write_png(place / "more" / "cells.png", np.ones((9, 9), np.uint8))
    (place / "more" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (place / "more" / "cells_labels.tif").write_bytes(b"")
    report = project.add([place / "more"])
    assert [r.name for r in report.added] == ["cells_2"]
    assert [p.name for p, _ in report.failed] == ["broken.png"]


def test_a_moved_image_is_found_again(project: Project, image: str) -> None:
    project.labels(image).lease(5)
    project.log(image).apply(Paint(1, square(5, 5)))
    old = project.path(image)
    new = old.with_name("moved.png")
    old.rename(new)
    with pytest.raises(ImageError, match=r"is not at .* any more"):
        project.open_image(image)
    report = project.add([new])
    assert [r.id for _, r in report.found_again] == [image]
    assert project.open_image(image).shape == (530, 540)
    assert project.labels(image).at(0, 6, 6) == 1


def test_a_changed_image_is_not_read(project: Project, image: str, picture: Callable[..., Path]) -> None:
    path = project.path(image)
    content = path.read_bytes()
    path.touch()
    assert project.problem(image) is None  # the time alone says nothing
    picture(path.name, seed=3)
    assert "was changed since it was added" in (project.problem(image) or "")
    with pytest.raises(ImageError, match="was changed"):
        project.open_image(image)
    path.write_bytes(content)
    assert project.problem(image) is None


def test_copies_and_folders_that_cannot_be_written(place: Path, picture: Callable[..., Path]) -> None:
    path = picture()
    path.parent.chmod(0o500)
    try:
        with Project.create(place / "p", images=[path.parent], copy=True) as project:
            record = project.images()[0]
            assert record.copied
            shutil.copytree(place / "p", place / "elsewhere")
        shutil.move(place / "p", place / "q")
        with Project.open(place / "q") as project:
            assert project.open_image(record.id).shape == (530, 540)
        assert sorted(p.name for p in path.parent.iterdir()) == ["cells.png"]
    finally:
        path.parent.chmod(0o700)


def test_an_image_is_taken_out_and_comes_back(project: Project, image: str) -> None:
    project.labels(image).lease(5)
    project.log(image).apply(Paint(1, square(5, 5)))
    path = project.path(image)
    project.remove(image)
    assert project.images() == []
    with pytest.raises(UsageError, match="no image"):
        project.image(image)
    elsewhere = path.parents[1] / "upload" / path.name
    elsewhere.parent.mkdir()
    shutil.copy(path, elsewhere)
    report = project.add([elsewhere], copy=True)
    assert [r.id for _, r in report.found_again] == [image]
    assert project.path(image) == path, "its own file is still there"
    assert project.labels(image).at(0, 6, 6) == 1


@pytest.mark.parametrize("taken_out", [True, False])
def test_an_upload_of_an_image_whose_file_is_gone_is_kept(
    project: Project, image: str, *, taken_out: bool
) -> None:
    path = project.path(image)
    upload = path.parents[1] / "upload" / path.name
    upload.parent.mkdir()
    path.rename(upload)
    if taken_out:
        project.remove(image)
    project.add([upload], copy=True)
    shutil.rmtree(upload.parent)
    assert project.image(image).copied
    assert project.open_image(image).shape == (530, 540)


def test_the_file_of_a_changed_image_is_found_elsewhere(
    project: Project, image: str, picture: Callable[..., Path]
) -> None:
    path = project.path(image)
    kept = shutil.copy(path, path.with_name("kept.png"))
    picture(path.name, seed=3)
    project.add([kept])
    assert project.path(image) == kept
    assert project.problem(image) is None


def test_states_and_names(project: Project, image: str) -> None:
    assert project.find("cells").id == project.find(str(project.path(image))).id == image
    with pytest.raises(UsageError, match="did you mean cells"):
        project.find("cell")
    with pytest.raises(UsageError, match="one of new"):
        project.set_state(image, "finished")  # type: ignore[arg-type]
    project.set_state(image, "done")
    project.labels(image).lease(5)
    project.log(image).apply(Paint(1, square(5, 5)))
    assert project.image(image).state == "done"  # an edit does not undo what a person said


def test_a_state_goes_with_the_edits_that_made_it(project: Project, image: str) -> None:
    def state() -> str:
        return project.image(image).state

    project.labels(image).lease(9)
    log = project.log(image)
    assert state() == "new"
    log.apply(Replace(np.pad(np.ones((6, 6), np.uint32), 3)))
    assert state() == "predicted"
    log.apply(Paint(7, square(20, 20)))
    assert state() == "corrected"
    log.undo()
    assert state() == "predicted"
    log.undo()
    assert state() == "new"
    log.redo()
    assert state() == "predicted"
    log.redo()
    assert state() == "corrected"
    project.set_state(image, "done")
    log.undo()
    assert state() == "done"  # a person said so
    project.unmark(image)
    assert state() == "predicted"
    log.redo()
    project.set_state(image, "done")
    project.unmark(image)
    assert state() == "corrected"


def test_one_writer(project: Project, place: Path, image: str) -> None:
    with pytest.raises(ProjectError, match=r"open in another program \(.*process \d+"):
        Project.open(project.folder)
    code = f"import cellbrook; cellbrook.open_project({str(project.folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "is open in another program" in done.stderr
    project.labels(image).lease(5)
    project.log(image).apply(Paint(1, square(5, 5)))
    with Project.open(project.folder, read_only=True) as reader:  # sees what is not in the chunks yet
        assert reader.labels(image).at(0, 6, 6) == 1
        project.log(image).apply(Paint(0, square(5, 5)))
        assert reader.labels(image).at(0, 6, 6) == 0
        for forbidden in (
            lambda: reader.add([place]),
            lambda: reader.labels(image).lease(),
            lambda: reader.log(image).undo(),
            lambda: reader.save_settings(name="x"),
            lambda: reader.set_state(image, "done"),
        ):
            with pytest.raises(ProjectError, match="reading only"):
                forbidden()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind here")
def test_a_folder_that_nobody_can_write(project: Project, image: str) -> None:
    project.close()
    project.folder.chmod(0o500)
    try:
        with pytest.raises(ProjectError, match="cannot be written"):
            Project.open(project.folder)
        with Project.open(project.folder, read_only=True) as reader:
            assert len(reader.images()) == 1
    finally:
        project.folder.chmod(0o700)


def test_jobs_survive(project: Project, image: str) -> None:
    job = project.add_job("segment", image, {"diameter": "30"})
    project.update_job(job, state="running", done=3, total=10)
    other = project.add_job("train")
    project.update_job(other, state="done", result={"ap": 0.8})
    project.add_round({"model": "m.1", "start": "compact", "ap_after": 0.7})
    project.close()
    with Project.open(project.folder) as again:
        assert [(j["state"], j["done"], j["params"], j["result"]) for j in again.jobs()] == [
            ("interrupted", 3, {"diameter": "30"}, None),
            ("done", 0, {}, {"ap": 0.8}),
        ]
        assert [j["id"] for j in again.jobs(unfinished=True)] == [job]
        assert again.rounds()[0]["number"] == 1
        with pytest.raises(UsageError, match="a job has"):
            again.update_job(job, nothing=1)


def _snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name != ".lock"
    }


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("project.toml", b"schema = 2\nname = 'x'\n", "schema 2, this version of Cellbrook knows 1: update"),
        ("project.toml", b"", "says no schema"),
        ("project.toml", b"schema = 1\nname = 'x'\nfoo = 1\n", "unknown setting 'foo'"),
        ("project.toml", b"schema = 1\n", "'name'"),
        ("project.toml", b"schema = 1\nname = 3\n", "the name of a project is text"),
        (
            "project.toml",
            b"schema = 1\nname = 'x'\npixel_size = -1\n",
            "project.toml: pixel_size must be a positive",
        ),
        ("project.toml", b"schema = 1\nname = 'x'\nclasses = 3\n", "classes|iterable"),
        ("project.toml", b"\xff\xfe", "not TOML"),
        ("project.toml", None, "is not a project"),
        ("index.sqlite", None, "has no index.sqlite"),
        ("index.sqlite", b"", "damaged"),
        ("index.sqlite", b"hello" * 99, "damaged"),
        ("index.sqlite", b"SQLite format 3\0" + b"\x01" * 5000, "damaged"),
    ],
)
def test_hostile_folders(project: Project, name: str, content: bytes | None, what: str) -> None:
    project.close()
    path = project.folder / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    before = _snapshot(project.folder)
    for read_only in (True, False):
        with pytest.raises(ProjectError, match=what) as caught:
            Project.open(project.folder, read_only=read_only)
        assert "\n" not in str(caught.value)
    assert _snapshot(project.folder) == before


def test_a_cut_off_index(project: Project, image: str) -> None:
    project.labels(image).lease(50)
    for k in range(1, 30):
        project.log(image).apply(Paint(k, square(k * 12, 5)))
    project.close()
    path = project.folder / "index.sqlite"
    whole = path.read_bytes()
    for part in (0.3, 0.6, 0.9):
        path.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(ProjectError, match=r"damaged .*put back a copy"):
            Project.open(project.folder)
    path.write_bytes(whole)
    with Project.open(project.folder) as again:
        assert len(again.labels(image).objects()) == 29


def test_another_program_s_database(project: Project) -> None:
    project.close()
    path = project.folder / "index.sqlite"
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE images (id)")
    connection.commit()
    connection.close()
    with pytest.raises(ProjectError, match="another program"):
        Project.open(project.folder)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA application_id = 1128419920")
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(ProjectError, match="schema 9"):
        Project.open(project.folder)


def test_creating_where_something_is(place: Path, project: Project) -> None:
    with pytest.raises(ProjectError, match="open it instead"):
        Project.create(project.folder)
    (place / "file").write_text("x")
    with pytest.raises(ProjectError, match="in the way"):
        Project.create(place / "file")
    with pytest.raises(UsageError, match="unknown setting 'chanels'"):
        Project.create(place / "new", chanels="0")
    assert not (place / "new").exists()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"z": 0}, {"z": "0"}),
        ({"channels": [0, 2]}, {"channels": "0,2"}),
        ({"channels": np.arange(2)}, {"channels": "0,1"}),
        ({"channels": 0, "pixel_size": 1}, {"channels": "0", "pixel_size": 1.0}),
        ({"z": "some"}, "z must be"),
        ({"axes": "QYX"}, "axes must be letters"),
        ({"channels": 1.5j}, "channels must be text"),
        ({"pixel_size": -1}, "pixel_size must be a positive number"),
        ({"pixel_size": "1"}, "pixel_size must be a number"),
        ({"model": 3}, "the model of a project is text"),
        ({"classes": 3}, "classes are a list"),
        ({"classes": [ClassInfo(0, "x")]}, "ids from 1 to 255"),
        ({"classes": [ClassInfo(1, 3)]}, "are text"),  # type: ignore[arg-type]
    ],
)
def test_settings_that_make_no_sense_are_never_written(
    place: Path, given: dict[str, Any], kept: dict[str, Any] | str
) -> None:
    if isinstance(kept, str):
        with pytest.raises(UsageError, match=kept):
            Project.create(place / "new", **given)
        assert not (place / "new").exists()
    else:
        Project.create(place / "new", **given).close()
    with Project.create(place / "p") as project:
        before = project.settings
        if isinstance(kept, str):
            with pytest.raises(UsageError, match=kept):
                project.save_settings(**given)
            assert project.settings == before
        else:
            project.save_settings(**given)
            assert project.settings == dataclasses.replace(before, **kept)
        before = project.settings
    with Project.open(place / "p") as project:
        assert project.settings == before


def test_what_cannot_be_created_leaves_nothing(place: Path, picture: Callable[..., Path]) -> None:
    with pytest.raises(ImageError, match="no such file"):
        Project.create(place / "p", images=[place / "none.png"])
    assert not (place / "p").exists()
    (place / "p").mkdir()  # an empty folder of the user's stays
    with pytest.raises(ImageError):
        Project.create(place / "p", images=[place / "none.png"])
    assert list((place / "p").iterdir()) == []
    Project.create(place / "p", images=[picture()]).close()


def test_chunks_are_plain_zarr(project: Project, image: str) -> None:
    import zarr

    log, store = project.log(image), project.labels(image)
    assert store.chunk_bytes(0, 0, 0) is None
    store.lease(5)
    log.apply(Paint(1, square(500, 500, 29)))
    project.flush()
    folder = project.folder / "labels" / f"{image}.ome.zarr"
    data = (folder / "0" / "c" / "0" / "0").read_bytes()
    assert store.chunk_bytes(0, 0, 0) == data
    assert chunk_rev(data) == 1
    group = zarr.open_group(folder, mode="r")
    for level in range(store.levels):
        np.testing.assert_array_equal(group[str(level)][...], store.read()[:: 2**level, :: 2**level])
    source = cellbrook.open_image(folder)
    assert (source.axes, source.shape) == ("YX", (530, 540))
    for wrong in ((0, 2, 0, 0), (0, 0, 0, 2), (1, 0, 0, 0), (0, -1, 0, 0), (0, 0, 0, -1)):
        with pytest.raises(UsageError):
            store.chunk_bytes(*wrong)
    assert store.etag(0, 0, 0) == store.etag(0, 0, 0, 1) != "0"


def test_a_chunk_s_tag_is_of_one_project_only(project: Project, image: str, place: Path) -> None:
    with Project.create(place / "anew.project", images=[project.path(image)]) as other:
        tags = set()
        for each in (project, other):
            assert each.labels(image).etag(0, 0, 0) == "0"
            each.labels(image).lease(5)
            each.log(image).apply(Paint(1, square(5, 5)))
            tags.add(each.labels(image).etag(0, 0, 0))
        assert len(tags) == 2


def test_a_chunk_that_another_program_wrote_is_kept_aside(
    project: Project, image: str, caplog: pytest.LogCaptureFixture
) -> None:
    import zarr

    project.labels(image).lease(5)
    project.log(image).apply(Paint(1, square(5, 5)))
    project.close()
    folder = project.folder / "labels" / f"{image}.ome.zarr"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = zarr.open_array(folder / "0", mode="r+")
        array[0:20, 0:20] = 7
    with Project.open(project.folder) as again:
        assert again.labels(image).at(0, 0, 0) == 0  # the log counts
        assert "written by another program" in caplog.text
        kept = (folder / "0" / "c" / "0" / "0.foreign").read_bytes()
        assert kept


def test_labels_ahead_of_an_index_that_was_put_back_never_come_back(project: Project, image: str) -> None:
    folder = project.folder
    project.labels(image).lease(5)
    project.log(image).apply(Paint(1, square(515, 515)))
    project.close()
    kept = shutil.copy(folder / "index.sqlite", folder.parent)
    with Project.open(folder) as later:
        later.log(image).apply(Paint(2, square(5, 5)))
    shutil.copy(kept, folder / "index.sqlite")
    with Project.open(folder) as back:
        for y in (515, 520):
            back.log(image).apply(Paint(3, square(y, 520)))
        assert back.labels(image).at(0, 6, 6) == 0
        assert back.labels(image).at(0, 516, 516) == 1
        aside = folder / "labels" / f"{image}.ome.1.foreign"
        assert chunk_rev((aside / "0" / "c" / "0" / "0").read_bytes()) == 2


def test_many_threads(project: Project, image: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    log, store = project.log(image), project.labels(image)
    first = store.lease(40)[0]

    def work(k: int) -> None:
        log.apply(Paint(first + k, square(k * 12, 20)), user=f"u{k % 3}")
        store.read(0, 0, 0, 100, 100)
        store.chunk_bytes(0, 0, 0, 1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(40)))
    assert [r.area for r in store.objects()] == [100] * 40
    assert [h.rev for h in log.history()] == list(range(1, 41))


def test_errors_are_ours() -> None:
    assert issubclass(ProjectError, CellbrookError)
    assert issubclass(ProjectError, OSError)


def test_what_killed_runs_left_is_swept(project: Project, image: str) -> None:
    folder = project.folder
    old, aside, partner, fresh, mine = (
        folder / "cache" / name
        for name in (".a.partial-1", ".b.partial-2.old", ".b.partial-2", ".c.partial-3", ".hidden")
    )
    for place in (old, aside, partner, fresh, mine):
        place.mkdir(parents=True)
        (place / "flows.npy").write_bytes(b"half")
    for place in (old, aside, partner, mine):
        for each in (place / "flows.npy", place):
            os.utime(each, (1, 1))
    project.close()
    Project.open(folder, read_only=True).close()
    assert old.exists()
    Project.open(folder).close()
    assert not old.exists()
    assert all(p.exists() for p in (aside, partner, fresh, mine))  # perhaps needed, or not ours
