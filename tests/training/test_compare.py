"""Several starts on the same images: which images each learns from, the answer, and that finished trainings count."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

from cellbrook.errors import Cancelled, UsageError
from cellbrook.training import compare as module
from cellbrook.training.compare import ComparedPoint, compare, portions
from cellbrook.training.dataset import from_arrays
from cellbrook.training.params import TrainParams
from cellbrook.training.synthetic import generate


def cells(count):
    samples = [generate("fluo_nuclei", seed, 128, 14) for seed in range(count)]
    return from_arrays([s.image[0].astype(np.uint16) for s in samples], [s.labels for s in samples])


@pytest.fixture
def calls(monkeypatch):
    """Stands for training: a start's AP rises with the objects, fastest from scratch."""
    made = []

    def train(dataset, out, *, start, parts, **_):
        objects = sum(e.n_objects for e in parts.train)
        made.append((start, objects, tuple(e.sha256 for e in parts.validation)))
        known = {"compact": 0.6 + objects / 1000, "scratch": objects / 500}
        ap = {"p/my.1": 0.5, "p/my.2": 0.6, "q/my.1": 0.7, **known}[start]
        out.mkdir(parents=True)
        report = {
            "validation": {"ap": ap},
            "validation_start": None if start == "scratch" else {"ap": 0.55},
            "data": {"sha256": dataset.sha256},
            "path": str(out),
        }
        (out / "report.json").write_text(json.dumps(report))

    monkeypatch.setattr(module, "finetune", train)
    return made


def test_every_start_learns_from_the_same_and_is_judged_on_the_same(tmp_path, calls):
    report = compare(cells(6), tmp_path)
    by_start = {s: [objects for name, objects, _ in calls if name == s] for s in ("compact", "scratch")}
    assert by_start["compact"] == by_start["scratch"] == sorted(by_start["compact"])
    assert len(by_start["compact"]) == 3
    assert len({held_out for *_, held_out in calls}) == 1
    assert report.untrained == 0.55
    assert (tmp_path / "compare.png").stat().st_size > 1000
    assert "starting from compact is best" in report.words[0]
    assert report.lines()[0].split() == ["objects", "compact", "scratch"]


def test_what_is_finished_is_not_trained_again(tmp_path, calls):
    first = compare(cells(6), tmp_path)
    count = len(calls)
    second = compare(cells(6), tmp_path)
    assert len(calls) == count
    assert first.points == second.points
    assert first.untrained == second.untrained
    with pytest.raises(UsageError, match="other images"):
        compare(cells(5), tmp_path)
    with pytest.raises(UsageError, match="options"):
        compare(cells(6), tmp_path, params=TrainParams(steps=7))


def test_what_is_finished_is_told_where_it_is_cancelled(tmp_path, calls, monkeypatch):
    train = module.finetune

    def stopped(dataset, out, *, cut_short, **wishes):
        assert not cut_short, "such a training would not be comparable"
        if len(calls) == 2:
            raise Cancelled("stopped")
        train(dataset, out, **wishes)

    monkeypatch.setattr(module, "finetune", stopped)
    report = compare(cells(6), tmp_path)
    assert len(report.points) == 2
    assert report.words[0] == "Stopped after 2 of 6 trainings; the same command goes on with the rest."
    assert str(report.points[1].path) in report.words[1]
    with pytest.raises(Cancelled):
        compare(cells(6), tmp_path / "another")
    monkeypatch.setattr(module, "finetune", train)
    assert len(compare(cells(6), tmp_path).points) == len(calls) == 6


def test_every_start_is_drawn(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(module, "write_panels", lambda path, panels: drawn.extend(panels[0].lines))
    points = tuple(ComparedPoint(f"m{n}", 9, 0.5, tmp_path) for n in range(6))
    module._draw(tmp_path / "compare.png", module.CompareReport(points, None, ()))
    assert [line.name for line in drawn] == [p.start for p in points]


def test_rounds_of_one_project_are_told_apart(tmp_path, calls, monkeypatch):
    models = {"p/my.1": 0.5, "p/my.2": 0.6, "q/my.1": 0.7}
    monkeypatch.setattr(
        module, "resolve_model", lambda start: SimpleNamespace(sha256=f"{models[start]} of {start}")
    )
    report = compare(cells(6), tmp_path, list(models))
    assert len(calls) == 3 * len(models)
    assert [p.ap for p in report.points] == [ap for ap in models.values() for _ in range(3)]
    with pytest.raises(UsageError, match="models"):
        compare(cells(6), tmp_path, ["q/my.1", "p/my.2"])


def test_few_images_are_learnt_from_in_parts():
    examples = cells(2).examples
    parts = portions(examples)
    counts = [sum(e.n_objects for e in some) for some in parts]
    assert counts == sorted(set(counts))
    assert parts[-1] == tuple(examples)
    assert all(len(some) == 2 for some in parts)


def test_all_images_are_learnt_from_where_the_last_ones_are_empty():
    full = cells(4).examples
    train = (*full[:2], *(replace(e, labels=0 * e.labels) for e in full[2:]))
    assert [[e.name for e in some] for some in portions(train)] == [["0"], ["0", "1", "2", "3"]]


@pytest.mark.parametrize("starts", [["compact"], ["compact", "compact"]])
def test_one_start_is_no_comparison(starts, tmp_path):
    with pytest.raises(UsageError, match="two or more different starts"):
        compare(cells(2), tmp_path, starts)


def test_equal_starts_are_said_to_be_equal(tmp_path):
    points = [ComparedPoint(s, 90, 0.7, tmp_path) for s in ("compact", "scratch")]
    assert "makes no difference" in module._answer(points, 0.6)[0]
