"""Classes told from measurements: what is learnt, what is refused, and what is stored."""

import json

import numpy as np
import pytest

from cellbrook.errors import ModelError, UsageError
from cellbrook.measure.classify import ObjectClassifier, channels_of, features_of, fit_classifier

CENTRES = [(16 + 32 * r, 16 + 32 * c) for r in range(4) for c in range(4)]


def scene(seed, kinds=("small bright", "large dim")):
    """Return labels, an image and the class of each object: discs on a grid."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:128, :128]
    labels = np.zeros((128, 128), np.uint32)
    image = rng.normal(100, 5, (128, 128))
    classes = {}
    for label, (cy, cx) in enumerate(CENTRES, 1):
        kind = kinds[int(rng.integers(len(kinds)))]
        size, light = {"small bright": (5, 400), "large dim": (11, 150), "small dim": (5, 150)}[kind]
        inside = np.hypot(y - cy, x - cx) <= size * rng.uniform(0.85, 1.15)
        labels[inside] = label
        image[inside] += light * rng.uniform(0.8, 1.2)
        classes[label] = kind
    return labels, image[None].astype(np.float32), classes


def fitted(seeds, **keywords):
    features, classes = [], []
    for seed in seeds:
        labels, image, known = scene(seed, **keywords)
        label, names, found = features_of(labels, image)
        features.append(found)
        classes += [known[int(i)] for i in label]
    return fit_classifier(np.concatenate(features), classes, names, 1)


@pytest.mark.parametrize("kinds", [("small bright", "large dim"), ("small bright", "large dim", "small dim")])
def test_classes_are_told_on_images_that_were_never_seen(kinds):
    classifier = fitted(range(3), kinds=kinds)
    right = total = 0
    for seed in range(10, 14):
        labels, image, known = scene(seed, kinds=kinds)
        label, name, probability = classifier.classify(labels, image * 7 + 300)  # another exposure
        assert ((probability > 1 / len(kinds)) & (probability <= 1)).all()
        right += sum(known[int(i)] == n for i, n in zip(label, name, strict=True))
        total += len(label)
    assert right / total > 0.95


def test_a_rare_class_is_not_drowned():
    """40 against 4, overlapping: every class weighs the same."""
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(0, 1, (400, 1)), rng.normal(2.5, 1, (20, 1))])
    found = fit_classifier(features, ["usual"] * 400 + ["rare"] * 20, ["log_diameter"], 1)
    told = found.probabilities(features).argmax(1)
    assert (told[400:] == found.names.index("rare")).mean() > 0.75


def test_the_weights_are_at_the_minimum():
    rng = np.random.default_rng(1)
    features, classes = rng.normal(size=(60, 3)), rng.choice(["a", "b", "c"], 60)
    found = fit_classifier(features, classes, ["log_diameter", "solidity", "mean_0"], 1)
    twice = fit_classifier(np.concatenate([features] * 2), [*classes] * 2, found.features, 1)
    np.testing.assert_allclose(twice.weights, found.weights, atol=1e-6)
    p = found.probabilities(features)
    share = np.array([1 / (3 * (classes == c).sum()) for c in classes])
    for k, name in enumerate(found.names):  # of the biases, whose penalty is next to nothing
        assert ((p[:, k] - (classes == name)) * share).sum() == pytest.approx(0, abs=1e-3)


def test_what_cannot_be_measured_counts_as_usual():
    features = np.array([[0.0, np.nan], [0.1, np.nan], [1.0, 3.0], [1.1, 3.0]])
    found = fit_classifier(features, ["a", "a", "b", "b"], ["log_diameter", "solidity"], 1)
    assert np.isfinite(found.probabilities(np.array([[np.nan, np.inf], [0.0, np.nan]]))).all()


def test_an_image_without_objects_has_none(tmp_path):
    label, name, probability = fitted([0]).classify(np.zeros((20, 20), np.uint32), np.zeros((1, 20, 20)))
    assert (len(label), len(name), len(probability)) == (0, 0, 0)


def test_other_channels_are_refused_and_gray_colour_is_gray():
    classifier = fitted([0, 1])
    labels, image, _ = scene(2)
    with pytest.raises(UsageError, match="on images of 1 channel, this one has 2"):
        classifier.classify(labels, np.concatenate([image, image]))
    colour = np.concatenate([image] * 3)
    assert channels_of(colour) == 1
    np.testing.assert_array_equal(
        classifier.classify(labels, colour)[1], classifier.classify(labels, image)[1]
    )


def test_it_is_stored_to_the_bit(tmp_path):
    classifier = fitted([0])
    classifier.save(tmp_path / "classes.json")
    assert ObjectClassifier.load(tmp_path / "classes.json") == classifier


@pytest.mark.parametrize("damage", ["{", "[]", "schema", "weights", "names"])
def test_damage_is_one_line(tmp_path, damage):
    path = tmp_path / "classes.json"
    classifier = fitted([0])
    classifier.save(path)
    document = json.loads(path.read_text())
    changed = {
        "schema": document | {"schema": 2},
        "weights": document | {"weights": document["weights"][:1]},
        "names": {k: v for k, v in document.items() if k != "names"},
    }
    path.write_text(json.dumps(changed[damage]) if damage in changed else damage)
    with pytest.raises(ModelError) as caught:
        ObjectClassifier.load(path)
    assert "\n" not in str(caught.value)


def test_one_class_is_none():
    with pytest.raises(UsageError, match="two or more"):
        fit_classifier(np.zeros((3, 1)), ["a"] * 3, ["log_diameter"], 1)
