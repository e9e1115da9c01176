"""Classes that people gave: read beside the labels, learnt, judged, stored with the model and told by `segment`."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
pytest.importorskip("onnx")

import cellbrook  # noqa: E402
from cellbrook.cli.app import main  # noqa: E402
from cellbrook.io import write_labels  # noqa: E402
from cellbrook.networks.store import resolve_model  # noqa: E402
from cellbrook.training import finetune as module  # noqa: E402
from cellbrook.training import generalist  # noqa: E402
from cellbrook.training.classes import learn_classes  # noqa: E402
from cellbrook.training.dataset import Example, from_arrays, load_folder  # noqa: E402
from cellbrook.training.finetune import finetune  # noqa: E402
from cellbrook.training.params import TrainParams  # noqa: E402

QUICK = TrainParams(steps=2, batch_size=1, crop=64, threads=1, device="cpu", learning_rate=1e-6)


def scene(seed, size=192, bright=(7, 900), dim=(13, 450)):
    """Return an image of small round bright and large dim cells on a grid, labels and classes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    labels = np.zeros((size, size), np.uint16)
    image = np.full((size, size), 100.0)
    classes = {}
    for label, at in enumerate(np.ndindex(size // 32, size // 32), 1):
        kind = "round" if rng.random() < 0.5 else "large"
        radius, light = bright if kind == "round" else dim
        centre = 16 + 32 * np.array(at) + rng.uniform(-2, 2, 2)
        aspect = 1.0 if kind == "round" else 0.8
        distance = np.hypot((y - centre[0]) * aspect, x - centre[1]) / (radius * rng.uniform(0.9, 1.1))
        labels[distance <= 1] = label
        image += light * rng.uniform(0.85, 1.15) * np.clip((1.1 - distance) * 4, 0, 1)
        classes[label] = kind
    return rng.poisson(image).astype(np.uint16), labels, classes


@pytest.fixture(autouse=True)
def few_general_images(monkeypatch):
    every = generalist.crops()
    monkeypatch.setattr(generalist, "crops", lambda: (every[0], every[-1]))


def write(folder, seeds, *, table=True):
    folder.mkdir()
    for seed in seeds:
        image, labels, classes = scene(seed)
        tifffile.imwrite(folder / f"{seed}_img.tif", image)
        tifffile.imwrite(folder / f"{seed}_masks.tif", labels)
        if table:
            rows = "".join(f"{label},{name}\n" for label, name in classes.items())
            (folder / f"{seed}_objects.csv").write_text(f"label,class\n{rows}")
    return folder


def column(path, name):
    with path.open(newline="", encoding="utf-8") as file:
        return [row[name] for row in csv.DictReader(file)]


@pytest.mark.slow
def test_classes_are_learnt_and_told_on_new_images(tmp_path, capsys):
    given, test = write(tmp_path / "given", range(4)), write(tmp_path / "test", (20, 21))
    flags = ["--steps", "2", "--batch-size", "1", "--crop", "64", "--threads", "1", "--learning-rate", "1e-6"]
    assert main(["train", str(given), "--out", str(tmp_path / "m"), *flags]) == 0
    out, err = capsys.readouterr()
    assert "classes: " in err
    assert "Of held-out objects that were found, the class is right for large" in out

    report = json.loads((tmp_path / "m" / "report.json").read_text())
    assert report["active"], "whether or not two steps made the network better, it tells classes"
    assert set(report["classes"]["learnt"]) == {"large", "round"}
    for image in test.glob("*_img.tif"):
        arguments = ["segment", image, "--model", tmp_path / "m", "--out", tmp_path / "found", "--quiet"]
        assert main([*map(str, arguments), "--threads", "1", "--save", "geojson"]) == 0
    assert set(column(tmp_path / "found" / "20_img_objects.csv", "class")) == {"large", "round"}
    assert all(float(p) > 0.5 for p in column(tmp_path / "found" / "20_img_objects.csv", "class_prob"))
    result = cellbrook.evaluate(test, tmp_path / "found")
    assert result.classes.names == ("large", "round")
    found = result.classes.confusion[:2, :2]
    assert np.trace(found) / found.sum() > 0.95
    assert found.sum() > 60

    run = json.loads((tmp_path / "found" / "20_img_run.json").read_text())
    assert run["model"]["sha256"] == resolve_model(tmp_path / "m").sha256
    assert run["model"]["classes"] == ["large", "round"]

    image, labels, classes = scene(20)
    only = np.where(
        np.isin(labels, [n for n, kind in classes.items() if kind == "round"]), image, image.min()
    )
    tifffile.imwrite(tmp_path / "only.tif", only)
    cellbrook.segment(tmp_path / "only.tif", model=tmp_path / "m", threads=1).save(tmp_path, kinds=["coco"])
    document = json.loads((tmp_path / "only_coco.json").read_text())
    assert document["categories"][:2] == [
        {"id": 1, "name": "large", "supercategory": ""},
        {"id": 2, "name": "round", "supercategory": ""},
    ], "numbered alike in all files, whatever an image shows"

    two = tmp_path / "two.tif"
    tifffile.imwrite(two, np.stack([scene(20)[0]] * 2), metadata={"axes": "CYX"}, ome=True)
    seg = cellbrook.segment(two, model=tmp_path / "m", threads=1)
    assert "class" not in seg.objects
    assert "this one has 2" in seg.provenance["result"]["notes"][-1]


def test_a_frame_of_a_film_is_taught_its_own_classes(tmp_path):
    image, labels, _ = scene(0)
    tifffile.imwrite(
        tmp_path / "a_img.tif", np.stack([image, image[::-1]]), imagej=True, metadata={"axes": "TYX"}
    )
    write_labels(tmp_path / "a_masks.tif", np.stack([labels, labels[::-1]]), axes="TYX")
    (tmp_path / "a_objects.csv").write_text("label,t,class\n1,0,live\n1,1,dead\n2,1,dead\n")
    assert [e.classes for e in load_folder(tmp_path).examples] == [{1: "live"}, {1: "dead", 2: "dead"}]


def test_without_classes_nothing_changes(tmp_path):
    images, labels, classes = zip(*(scene(seed) for seed in range(2)), strict=True)
    plain, told = from_arrays(images, labels), from_arrays(images, labels, classes=classes)
    assert plain.sha256 != told.sha256
    report = finetune(plain, tmp_path / "m", params=QUICK)
    assert report.classes is None
    assert "classes" not in resolve_model(report.path).paths
    assert "class" not in cellbrook.segment(images[0], model=report.path, threads=1).objects


@pytest.mark.slow
def test_a_model_that_tells_classes_keeps_telling_them(tmp_path):
    """Going on with images whose cells have no class loses none; the network of a start that was good enough stays."""
    images, labels, classes = zip(*(scene(seed) for seed in range(3)), strict=True)
    ruinous = replace(QUICK, steps=4, learning_rate=0.03, max_forgetting=1.0)
    first = finetune(from_arrays(images, labels, classes=classes), tmp_path / "a", params=ruinous)
    assert first.active
    assert first.kept == 0
    assert first.validation == first.validation_start
    assert "tells classes besides" in first.words[0]
    assert not any("stays in use" in words or "general images" in words for words in first.words)
    shipped = cellbrook.segment(images[0], threads=1)  # in whatever arithmetic this processor is fast at
    seg = cellbrook.segment(images[0], model=first.path, threads=1)
    np.testing.assert_array_equal(seg.labels, shipped.labels)
    assert resolve_model(first.path).hashes["safetensors"] == resolve_model("compact").hashes["safetensors"]
    assert resolve_model(first.path).sha256 != resolve_model("compact").sha256, (
        "other results, another identity"
    )

    second = finetune(from_arrays(images, labels), tmp_path / "b", start=first.path, params=QUICK)
    assert resolve_model(second.path).hashes["classes"] == resolve_model(first.path).hashes["classes"]


def test_classes_of_the_start_are_kept_where_none_can_be_learnt(tmp_path, monkeypatch):
    images, labels, classes = zip(*(scene(seed, 96) for seed in range(2)), strict=True)
    known, _ = learn_classes(examples([0]), [], by_truth, threads=1)
    start_from = module.start_from
    monkeypatch.setattr(module, "start_from", lambda *a: replace(start_from(*a), classifier=known))
    few = from_arrays(images, labels, classes=[{1: classes[0][1]}, {}])
    report = finetune(few, tmp_path / "m", params=QUICK)
    assert not report.active, "nothing was learnt"
    assert not report.classes.active
    assert "The new model tells the classes of compact: large, round." in report.words
    assert "classes" in resolve_model(report.path).paths


def examples(seeds, change=lambda classes: classes):
    made = []
    for seed in seeds:
        image, labels, classes = scene(seed)
        made.append(Example(str(seed), image[None], labels.astype(np.uint32), False, "", change(classes)))
    return made


def by_truth(example):
    return example.labels


def test_what_is_no_better_than_chance_is_not_used():
    swapped = {"round": "large", "large": "round"}
    held_out = examples([5], lambda classes: {i: swapped[n] for i, n in classes.items()})
    classifier, report = learn_classes(examples([0, 1]), held_out, by_truth, threads=1)
    assert classifier is None
    assert not report.active
    assert report.words.endswith("no better than by chance, so no class is told by it.")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda classes: dict.fromkeys(classes, "one"), "two classes of at least 5 objects"),
        (lambda classes: dict(list(classes.items())[:2]), "two classes of at least 5 objects"),
    ],
)
def test_too_little_is_said(change, words):
    classifier, report = learn_classes(examples([0, 1], change), examples([5]), by_truth, threads=1)
    assert classifier is None
    assert words in report.words


def test_a_class_of_few_objects_is_left_out_and_named():
    train = examples([0, 1], lambda classes: classes | {1: "rare"})
    classifier, report = learn_classes(train, examples([5]), by_truth, threads=1)
    assert classifier.names == ("large", "round")
    assert report.words.endswith("Too few objects to learn from: rare (2).")


def test_a_cell_across_the_cut_is_either_learnt_from_or_judged_on():
    (whole,) = examples([0])
    parts = [whole.part(rows, slice(None), "") for rows in (slice(0, 84), slice(84, None))]
    assert len(parts[0].classes) + len(parts[1].classes) > len(whole.classes)
    _, report = learn_classes(parts[:1], parts[1:], by_truth, threads=1)
    assert sum(report.learnt.values()) + sum(report.of.values()) == len(whole.classes)


def test_classes_of_labels_that_are_not_there_are_left_out():
    image, labels, classes = scene(0)
    (example,) = from_arrays([image], [labels], classes=[classes | {0: "none", 99: "gone"}]).examples
    assert example.classes == classes


def test_objects_without_a_class_are_passed_over(tmp_path):
    folder = write(tmp_path / "given", [0])
    _, labels, classes = scene(0)
    rows = "".join(f"{i},{n if i % 2 else ''}\n" for i, n in classes.items())
    (folder / "0_objects.csv").write_text(f"label,class\n{rows}999,large\n")
    dataset = load_folder(folder)
    assert dataset.examples[0].classes == {i: n for i, n in classes.items() if i % 2}
    assert dataset.report()[1].endswith(f", {len(classes) // 2} without")
    upper = dataset.examples[0].part(slice(0, 60), slice(None), " (upper)")
    assert set(upper.classes) == {i for i in classes if i % 2 and (labels[:60] == i).any()}


def test_numbers_are_names_too(tmp_path):
    folder = write(tmp_path / "given", [0])
    (folder / "0_objects.csv").write_text("label,class\n1,1\n2,2\n3,\n")
    assert load_folder(folder).examples[0].classes == {1: "1", 2: "2"}


def test_what_a_model_said_is_not_taken_for_what_a_person_said(tmp_path):
    import hashlib

    folder = write(tmp_path / "given", [0])
    table = folder / "0_objects.csv"
    run = {"model": {}, "files": {"objects": {"sha256": hashlib.sha256(table.read_bytes()).hexdigest()}}}
    (folder / "0_run.json").write_text(json.dumps(run))
    assert load_folder(folder).classes == {}
    table.write_text(table.read_text().replace("round", "small"))  # corrected
    assert set(load_folder(folder).classes) == {"large", "small"}
