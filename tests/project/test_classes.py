"""Classes of objects between people, models and training."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cellbrook.core.objects import ObjectTable
from cellbrook.export.classes import classes_by_frame, read_classes
from cellbrook.export.table import read_csv
from cellbrook.io import open_image, write_labels
from cellbrook.measure.classify import features_of, fit_classifier
from cellbrook.networks.store import resolve_model
from cellbrook.project import ClassInfo, Paint, Project, Relabel, Replace, SetClass
from cellbrook.project.predict import land, teller

from .conftest import SHAPE, square

if TYPE_CHECKING:
    from pathlib import Path


def found(*names: str) -> tuple[np.ndarray, ObjectTable]:
    """A run's result: a cell for each class that it tells, in a row."""
    labels = np.zeros(SHAPE, np.uint32)
    for k in range(len(names)):
        labels[100:120, 40 * k : 40 * k + 20] = k + 1
    return labels, ObjectTable({"label": np.arange(1, len(names) + 1), "class": np.array(names)})


def told(project: Project, image: str) -> list[str]:
    names = {0: "", **{c.id: c.name for c in project.settings.classes}}
    return [names[r.class_id] for r in sorted(project.labels(image).objects(), key=lambda r: r.x0)]


def run(project: Project, image: str, *names: str) -> None:
    land(project, project.image(image), *found(*names))


def test_what_a_model_tells_becomes_classes_of_the_project(project: Project, image: str) -> None:
    project.save_settings(classes=(ClassInfo(2, "dead", "#112233"),))
    run(project, image, "live", "dead", "")
    assert [(c.id, c.name) for c in project.settings.classes] == [(2, "dead"), (1, "live")]
    assert project.settings.classes[0].color == "#112233"
    assert told(project, image) == ["live", "dead", ""]
    run(project, image, "dead", "dead", "live")  # a better model
    assert told(project, image) == ["dead", "dead", "live"]
    land(project, project.image(image), found("", "", "")[0], None)  # one that tells none
    assert told(project, image) == ["dead", "dead", "live"]
    for _ in range(3):
        project.log(image).undo()
    assert project.labels(image).objects() == []


def test_a_class_that_a_person_gave_is_never_changed_by_a_run(project: Project, image: str) -> None:
    log = project.log(image)
    run(project, image, "live", "live", "live", "live")
    ids = [r.id for r in sorted(log.store.objects(), key=lambda r: r.x0)]
    dead = 2
    project.save_settings(classes=(*project.settings.classes, ClassInfo(dead, "dead")))
    log.apply(SetClass((ids[0],), dead))
    log.apply(SetClass((ids[1],), 0))  # "none" is said, too
    log.apply(SetClass((ids[2],), dead))
    log.undo()  # thought better of it
    assert log.classified() == {ids[0], ids[1]}
    run(project, image, "live", "live", "dead", "dead")
    assert told(project, image) == ["dead", "", "dead", "dead"]
    run(project, image, "live", "live", "live", "live")  # and the next one neither
    assert told(project, image) == ["dead", "", "live", "live"]
    log.undo()
    assert told(project, image) == ["dead", "", "dead", "dead"]


def test_a_class_given_to_the_first_part_of_a_result_outlives_it(project: Project, image: str) -> None:
    log = project.log(image)
    project.save_settings(classes=(ClassInfo(1, "dead"),))
    labels, _ = found("", "")
    log.apply(Replace(labels), user="job-1")
    first = min(log.store.objects(), key=lambda r: r.x0).id
    log.apply(SetClass((first,), 1))
    log.undo("job-1", spare=True)
    assert [r.id for r in log.store.objects()] == [first]
    run(project, image, "live", "live")
    assert told(project, image) == ["dead", "live"]


@pytest.mark.parametrize("state", ["corrected", "done"])
def test_classes_reach_training(project: Project, image: str, place: Path, state: str) -> None:
    run(project, image, "live", "dead", "dead")
    log = project.log(image)
    drawn = log.store.lease(2)
    log.apply(Paint(drawn[0], square(300, 300)))
    log.apply(SetClass((drawn[0],), 2))
    ids = [r.id for r in sorted(log.store.objects(), key=lambda r: (r.y0, r.x0))]
    log.apply(SetClass((ids[1],), 1))
    log.apply(Relabel(ids[1], drawn[1]))
    project.set_state(image, state)
    files = project.export(place / "out", kinds=["objects", "training"])["cells"]
    assert files["classes"].name == "cells_masks_objects.csv"
    assert len(files["objects"].read_text().splitlines()) == 5  # the measured table is another file
    by_hand = {drawn[0]: "dead", drawn[1]: "live"}
    model = {ids[0]: "live", ids[2]: "dead"} if state == "done" else {}  # seen by a person, if all is done
    assert read_classes(files["masks"]) == read_classes(files["masks"], given=True) == by_hand | model

    pytest.importorskip("torch")
    from cellbrook.training.dataset import load_folder

    (example,) = load_folder(place / "out").examples
    assert set(example.classes.values()) == {"live", "dead"}
    assert len(example.classes) == len(by_hand | model)


def test_nobody_gave_classes(project: Project, image: str, place: Path) -> None:
    run(project, image, "live", "dead")
    log = project.log(image)
    log.apply(Paint(log.store.lease(1)[0], square(300, 300)))
    files = project.export(place / "out", kinds=["objects", "training"])["cells"]
    assert read_classes(files["masks"]) == {}  # and not those of the table beside it, which a model told


@pytest.mark.parametrize("depth", [1, 2])
def test_a_cell_has_a_class_at_each_time_point(place: Path, depth: int) -> None:
    shape = (3, depth, 40, 50)
    film = place / "film.npy"
    np.save(film, np.random.default_rng(0).integers(0, 255, shape, np.uint8))
    labels = np.zeros(shape, np.uint32)
    labels[:, :, 5:15, 5:15], labels[1, :, 20:30, 30:40] = 1, 2
    write_labels(place / "film_masks.tif", labels, axes="TZYX")
    rows = "label,t,class\n1,0,live\n1,2,dead\n2,1,live\n2,2,dead\n"
    (place / "film_masks_objects.csv").write_text(rows)
    with Project.create(place / "p", images=[film], axes="TZYX") as project:
        (done,) = project.import_labels([place / "film_masks.tif"], done=True)
        assert done.error is None
        names = {0: "", **{c.id: c.name for c in project.settings.classes}}
        found = {(r.x0, r.plane): names[r.class_id] for r in project.labels(project.images()[0].id).objects()}
        of = {0: "live", 1: "", 2: "dead"}
        expected = {(5, t * depth + z): of[t] for t in range(3) for z in range(depth)}
        assert found == expected | {(30, depth + z): "live" for z in range(depth)}
        files = project.export(place / "out", kinds=["objects", "training"])["film"]
        frames = classes_by_frame(files["masks"], given=True) or {}
        assert {t: sorted(own.values()) for t, own in frames.items()} == {
            0: ["live"],
            1: ["live"],
            2: ["dead"],
        }
        table = read_csv(files["objects"])
        assert sorted(zip(table["t"].tolist(), table["class"].tolist(), strict=True)) == [
            (0, "live"),
            (1, ""),
            (1, "live"),
            (2, "dead"),
        ]


def test_classes_of_time_points_are_those_of_an_image_that_has_none(project: Project, place: Path) -> None:
    labels = np.zeros(SHAPE, np.uint32)
    labels[5:15, 5:15], labels[20:30, 30:40] = 1, 2
    write_labels(place / "cells_masks.tif", labels)
    (place / "cells_masks_objects.csv").write_text("label,t,class\n1,0,live\n2,1,dead\n")
    project.import_labels([place / "cells_masks.tif"])
    assert told(project, project.images()[0].id) == ["live", "dead"]


def test_a_black_frame_of_a_colour_film_does_not_take_the_classes_that_limits_bring_back(
    tmp_path: Path,
) -> None:
    labels = np.zeros((64, 64), np.uint32)
    labels[5:15, 5:15], labels[5:35, 25:55] = 1, 2
    colour = np.stack([(labels > 0) * level for level in (200, 100, 50)], axis=-1).astype(np.uint8)
    found, names, features = features_of(labels, np.moveaxis(colour, -1, 0))
    fit_classifier(features, ["small", "large"], names, 3).save(tmp_path / "classes.json")
    model = resolve_model("compact")
    model = dataclasses.replace(model, paths={**model.paths, "classes": tmp_path / "classes.json"})
    film = open_image(np.stack([colour, colour * 0, colour]), axes="TYXS")
    tell = teller(model, film, {}, 1)
    assert tell is not None
    table = ObjectTable({"label": found})
    first, black, last = (tell(labels, table) for _ in range(3))
    assert first["class"].tolist() == last["class"].tolist() == ["small", "large"]
    assert "class" in black  # without it, all of them lose theirs when they are put together
