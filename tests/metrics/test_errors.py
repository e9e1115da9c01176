"""Kinds of errors: each unmatched object has exactly one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cellbrook.errors import UsageError
from cellbrook.metrics import find_errors, matching


def scene(*boxes, shape=(40, 60)):
    labels = np.zeros(shape, int)
    for number, (y0, x0, y1, x1) in enumerate(boxes, 1):
        labels[y0:y1, x0:x1] = number
    return labels


@pytest.mark.parametrize(
    ("true", "pred", "kind", "true_labels", "pred_labels"),
    [
        (scene((5, 5, 15, 15)), scene(), "missed", (1,), ()),
        (scene(), scene((5, 5, 15, 15)), "spurious", (), (1,)),
        (scene((5, 5, 15, 15), (5, 16, 15, 26)), scene((5, 5, 15, 26)), "merged", (1, 2), (1,)),
        (scene((5, 5, 15, 26)), scene((5, 5, 15, 15), (5, 16, 15, 26)), "split", (1,), (1, 2)),
        (scene((5, 5, 15, 15)), scene((8, 8, 18, 18)), "boundary", (1,), (1,)),
    ],
)
def test_each_kind_is_told(true, pred, kind, true_labels, pred_labels):
    found = find_errors(true, pred)
    assert [(e.kind, e.true_labels, e.pred_labels) for e in found.errors] == [
        (kind, true_labels, pred_labels)
    ]
    assert found.count(kind) == 1


def test_a_small_object_swallowed_by_a_good_match_is_merged():
    found = find_errors(scene((5, 5, 25, 25), (5, 25, 10, 28)), scene((5, 5, 25, 28)))
    assert [(e.kind, e.true_labels) for e in found.errors] == [("merged", (1, 2))]
    assert found.true_objects["merged"] == 1, "the large one was found"
    assert found.pred_objects["merged"] == 0


def test_a_good_match_with_a_poor_outline_is_listed_but_not_counted_as_lost():
    found = find_errors(scene((5, 5, 15, 15)), scene((5, 5, 15, 12)))
    assert [(e.kind, round(e.iou, 2)) for e in found.errors] == [("boundary", 0.7)]
    assert sum(found.true_objects.values()) == sum(found.pred_objects.values()) == 0


def test_a_speck_inside_a_missed_object_is_spurious():
    found = find_errors(scene((5, 5, 35, 35)), scene((15, 15, 18, 18)))
    assert sorted(e.kind for e in found.errors) == ["missed", "spurious"]


def test_the_worst_of_a_kind_comes_first():
    found = find_errors(scene((0, 0, 4, 4), (10, 10, 30, 30), (32, 40, 39, 50)), scene())
    assert [e.true_labels for e in found.errors] == [(2,), (3,), (1,)]


def test_equal_and_empty_images_have_no_errors():
    assert find_errors(scene((5, 5, 15, 15)), scene((5, 5, 15, 15))).errors == ()
    assert find_errors(scene(), scene()).errors == ()


@settings(max_examples=200)
@given(st.data(), st.sampled_from([0.3, 0.5, 0.8]))
def test_every_unmatched_object_is_explained_once(data, threshold):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=7))
    true, pred = (data.draw(hnp.arrays(np.int32, shape, elements=st.integers(0, 5))) for _ in range(2))
    found, matched = find_errors(true, pred, threshold), matching(true, pred, threshold)
    assert sum(found.true_objects.values()) == matched.fn
    assert sum(found.pred_objects.values()) == matched.fp
    named = {label for e in found.errors for label in e.true_labels} | set(matched.pairs[:, 0].tolist())
    assert named == set(np.unique(true[true > 0]).tolist())


def test_threshold_is_checked():
    with pytest.raises(UsageError, match="thresholds"):
        find_errors([[1]], [[1]], 0)
