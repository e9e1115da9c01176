"""Confusion of classes."""

import numpy as np
import pytest

from cellbrook.errors import UsageError
from cellbrook.metrics import class_scores, count_classes
from cellbrook.metrics.classes import add_up

GRID = np.kron(np.arange(1, 5).reshape(2, 2), np.pad(np.ones((8, 8), int), 1))
CLASSES = {1: "a", 2: "a", 3: "b", 4: "b"}


def test_rows_are_true_and_columns_predicted_classes():
    pred = np.where(GRID == 4, 0, GRID)  # one b is missed
    pred[0, 0] = 9  # and a speck invented
    counts = count_classes(GRID, pred, CLASSES, {1: "a", 2: "b", 3: "b", 9: "c"})
    assert counts.names == ("a", "b", "c")
    np.testing.assert_array_equal(counts.confusion, [[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0]])


def test_scores_count_objects_that_are_found_with_their_class():
    scores = class_scores(np.array([[3, 1, 0], [0, 2, 2], [0, 1, 0]]))
    np.testing.assert_allclose(scores["recall"], [3 / 4, 2 / 4])
    np.testing.assert_allclose(scores["precision"], [3 / 3, 2 / 4])
    np.testing.assert_allclose(scores["ap"], [3 / 4, 2 / 6])
    np.testing.assert_allclose(scores["f1"], [6 / 7, 4 / 8])


def test_images_with_different_classes_add_up():
    first = count_classes(GRID, GRID, CLASSES, CLASSES)
    second = count_classes(GRID, GRID, dict.fromkeys(CLASSES, "c"), dict.fromkeys(CLASSES, "a"))
    names, stacked = add_up([first, second])
    assert names == ("a", "b", "c")
    np.testing.assert_array_equal(stacked.sum(0)[:3, :3], [[2, 0, 0], [0, 2, 0], [4, 0, 0]])


def test_a_class_without_objects_scores_1():
    assert class_scores(np.zeros((2, 2), int))["ap"].tolist() == [1.0]


def test_an_object_without_class_is_an_error():
    with pytest.raises(UsageError, match="object 4 has none"):
        count_classes(GRID, GRID, {1: "a", 2: "a", 3: "b"}, CLASSES)
