"""Training rounds; the training itself has its own tests."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cellbrook.errors import UsageError
from cellbrook.io import write_image, write_png
from cellbrook.project import Paint, Project, Replace
from cellbrook.project.exchange import taught_channels
from cellbrook.project.models import model_reference, own_models
from cellbrook.project.teach import general_start, next_model_name, record_round, train_round

from .conftest import square

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def report(active: bool) -> Any:
    score = SimpleNamespace(ap=0.8, mean_ap=0.7)
    return SimpleNamespace(
        active=active,
        validation_start=None,
        validation=score,
        frozen_start=score,
        frozen=None,
        objects=12,
        seconds=1.25,
        words=("good",),
    )


def test_what_is_asked_for_is_checked_first(project: Project, image: str) -> None:
    with pytest.raises(UsageError, match="nothing is corrected yet"):
        train_round(project)
    with pytest.raises(UsageError, match="letters, digits"):
        train_round(project, name="../up")
    with Project.open(project.folder, read_only=True) as reader, pytest.raises(OSError, match="reading only"):
        train_round(reader)
    folder = project.folder / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "card.toml").write_text("")
    with pytest.raises(UsageError, match="has a model mine already"):
        train_round(project, name="mine")


def test_rounds_are_written_down(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cellbrook.project.teach.activate_model", lambda p, name: p.save_settings(model=name))
    assert next_model_name(project) == "my.1"
    first = record_round(project, "my.1", "compact", report(active=True), ["cells"])
    assert (first.number, first.activated, project.settings.model) == (1, True, "my.1")
    assert general_start(project) == "compact"
    assert next_model_name(project) == "my.2"
    second = record_round(project, "my.2", "my.1", report(active=False), ["cells"])
    assert (second.activated, project.settings.model) == (False, "my.1")
    third = record_round(project, "my.3", "my.1", report(active=True), ["cells"], activate=False)
    assert (third.activated, project.settings.model) == (False, "my.1")
    rounds = project.rounds()
    assert [r["model"] for r in rounds] == ["my.1", "my.2", "my.3"]
    with pytest.raises(UsageError, match=r"has a model my\.2 already"):
        train_round(project, name="my.2")
    record_round(project, "my.5", "compact", report(active=False), ["cells"])
    assert next_model_name(project) == "my.6", "a model that is no better has its name too"
    assert (rounds[0]["ap_before"], rounds[0]["ap_after"], rounds[0]["frozen_before"]) == (None, 0.8, 0.7)
    project.save_settings(model="my.3")
    assert general_start(project) == "compact"


def test_a_round(project: Project, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training gets the corrected images, the general model and a folder in the project."""
    pytest.importorskip("torch")
    import cellbrook.training.finetune as training

    project.labels(image).lease()
    project.log(image).apply(Paint(1, square(5, 5)))
    given: dict[str, Any] = {}

    def finetune(folder: str, out: Path, **keywords: Any) -> Any:
        from pathlib import Path

        given.update(files=sorted(p.name for p in Path(folder).iterdir()), out=out, **keywords)
        out.mkdir(parents=True)
        (out / "card.toml").write_text("")
        return report(active=False)

    monkeypatch.setattr(training, "finetune", finetune)
    done = train_round(project)
    assert given["params"].channels is None
    assert given["files"] == ["cells_img.png", "cells_masks.tif"]
    assert (given["start"], given["out"]) == ("compact", project.folder / "models" / "my.1")
    assert given["overwrite"], "a training that was broken off blocks no other"
    assert (done.model, done.activated, own_models(project)) == ("my.1", False, ["my.1"])
    assert model_reference(project, "my.1") == str(given["out"])


def test_channels_keep_their_roles(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    import cellbrook.training.finetune as training
    from cellbrook.training.dataset import load_folder

    pixels = np.random.default_rng(0).integers(0, 255, (3, 40, 50), np.uint8)
    write_image(place / "a.tif", pixels, axes="CYX")
    shown: list[Any] = []

    def finetune(folder: str, out: Path, *, params: Any, **keywords: Any) -> Any:
        (example,) = load_folder(folder, channels=params.channels).examples
        shown.append(example.by_role(("cell", "nucleus")).pixels)
        return report(active=False)

    monkeypatch.setattr(training, "finetune", finetune)
    with Project.create(place / "p", images=[place / "a.tif"], channels="nucleus=2,cell=0") as project:
        image = project.images()[0].id
        project.labels(image).lease()
        project.log(image).apply(Paint(1, square(5, 5)))
        train_round(project)
        np.testing.assert_array_equal(shown[0], pixels[[0, 2]])
        written = project.export(place / "out", kinds=["training"])
        assert taught_channels(project, written) == "nucleus=0,cell=1"
        project.save_settings(channels="2,0")
        assert taught_channels(project, written) is None


@pytest.fixture
def discs(place: Path) -> Iterator[Project]:
    """A project of an image of discs, all drawn."""
    yy, xx = np.mgrid[:192, :192]
    labels = np.zeros(yy.shape, np.uint32)
    for k, (y, x) in enumerate(np.ndindex(4, 4), 1):
        labels[(yy - 24 - 48 * y) ** 2 + (xx - 24 - 48 * x) ** 2 < 11**2] = k
    picture = np.random.default_rng(0).normal(20, 3, yy.shape) + 180 * (labels > 0)
    write_png(place / "discs.png", np.clip(picture, 0, 255).astype(np.uint8))
    with Project.create(place / "p", images=[place / "discs.png"]) as project:
        project.log(project.images()[0].id).apply(Replace(labels, origin="manual"))
        yield project


@pytest.mark.parametrize("start", ["scratch", "other"])
@pytest.mark.parametrize("ap", [0.01, 1.1])
def test_the_active_model_stays_unless_the_new_one_is_better(
    discs: Project, monkeypatch: pytest.MonkeyPatch, start: str, ap: float
) -> None:
    pytest.importorskip("torch")
    import cellbrook.training.finetune as training
    from cellbrook.training.report import TrainReport
    from cellbrook.training.scores import Score

    new = Score(ap=ap, mean_ap=ap, n_true=4, n_pred=4, tp=1, iou=0.6, images={})
    facts = dict.fromkeys(f.name for f in dataclasses.fields(TrainReport))
    settings = SimpleNamespace(device="cpu", threads=1)
    told = TrainReport(**facts | {
        "active": True, "validation": new, "settings": settings, "words": (), "seconds": 1.0, "objects": 9,
    })  # fmt: skip
    monkeypatch.setattr(training, "finetune", lambda *args, **keywords: told)
    monkeypatch.setattr("cellbrook.project.teach.activate_model", lambda p, name: p.save_settings(model=name))
    monkeypatch.setattr(
        "cellbrook.project.teach.model_reference", lambda p, name=None: name or p.settings.model
    )
    done = train_round(discs, start=start)
    assert done.activated == (ap > 1)
    assert discs.settings.model == ("p.1" if ap > 1 else "compact")
    (words,) = done.report.words
    assert words.startswith(f"compact {'no longer predicts' if ap > 1 else 'stays in use'}: on the held-out")
    assert discs.rounds()[0]["better"] == (ap > 1)
    assert train_round(discs, start=discs.settings.model, activate=False).report.words == ()
