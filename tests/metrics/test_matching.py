"""Overlap tables, matching and average precision."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cellbrook.errors import UsageError
from cellbrook.metrics import average_precision, mask_ious, matching, overlaps

LABELS = st.integers(0, 4)


@st.composite
def label_pairs(draw, elements=LABELS):
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=8))
    return tuple(draw(hnp.arrays(np.int32, shape, elements=elements)) for _ in range(2))


def dense_iou(true, pred):
    """Return the full matrix of IoU, the slow and plain way."""
    true_ids, pred_ids = (np.setdiff1d(labels, [0]) for labels in (true, pred))
    iou = np.zeros((len(true_ids), len(pred_ids)))
    for i, j in np.ndindex(iou.shape):
        a, b = true == true_ids[i], pred == pred_ids[j]
        iou[i, j] = (a & b).sum() / (a | b).sum()
    return iou


def best_by_trying(iou, threshold):
    """Return matches and the sum of all IoU of the best assignment, by trying every one."""
    if iou.shape[0] > iou.shape[1]:
        iou = iou.T
    best = (0, 0.0)
    for columns in itertools.permutations(range(iou.shape[1]), iou.shape[0]):
        values = iou[np.arange(iou.shape[0]), list(columns)]
        best = max(best, (int((values >= threshold).sum()), float(values.sum())))
    return best


@settings(deadline=None)
@given(label_pairs(st.integers(0, 300)))
def test_table_counts_what_counting_pixel_by_pixel_counts(pair):
    true, pred = pair
    table = overlaps(true, pred)
    for ids, areas, labels in (
        (table.true_ids, table.true_areas, true),
        (table.pred_ids, table.pred_areas, pred),
    ):
        expected, counts = np.unique(labels[labels > 0], return_counts=True)
        np.testing.assert_array_equal(ids, expected)
        np.testing.assert_array_equal(areas, counts)
    both = (true > 0) & (pred > 0)
    pairs, counts = np.unique(np.stack([true[both], pred[both]]), axis=1, return_counts=True)
    np.testing.assert_array_equal(table.true_ids[table.true_index], pairs[0])
    np.testing.assert_array_equal(table.pred_ids[table.pred_index], pairs[1])
    np.testing.assert_array_equal(table.count, counts)


@pytest.mark.parametrize("shape", [(700, 1000), (5, 300, 400)])
def test_table_is_the_same_for_any_number_of_threads(shape):
    rng = np.random.default_rng(1)
    true = np.repeat(rng.integers(0, 3000, (*shape[:-1], shape[-1] // 4), np.uint32), 4, axis=-1)
    pred = np.roll(true, 1, axis=-1)
    first = overlaps(true, pred, threads=1)
    for threads in (2, 5):
        other = overlaps(true, pred, threads=threads)
        for name in ("true_ids", "true_areas", "pred_ids", "pred_areas", "true_index", "pred_index", "count"):
            np.testing.assert_array_equal(getattr(first, name), getattr(other, name))
    assert first.true_areas.sum() == np.count_nonzero(true)


@settings(max_examples=150, deadline=None)
@given(label_pairs(), st.sampled_from([0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0]))
def test_matching_is_the_best_assignment(pair, threshold):
    true, pred = pair
    iou = dense_iou(true, pred)
    tp, _ = best_by_trying(iou, threshold)
    result = matching(true, pred, threshold)
    assert result.tp == tp == average_precision(true, pred, threshold)[1][0]
    assert (result.scores >= threshold).all()
    assert len(set(result.pairs[:, 0])) == len(set(result.pairs[:, 1])) == tp
    for (one_true, one_pred), score in zip(result.pairs, result.scores, strict=True):
        a, b = true == one_true, pred == one_pred
        assert score == pytest.approx((a & b).sum() / (a | b).sum())


@settings(max_examples=100, deadline=None)
@given(label_pairs())
def test_mask_ious_are_the_best_assignment_at_one_half(pair):
    true, pred = pair
    iou, labels = mask_ious(true, pred)
    n, total = best_by_trying(dense_iou(true, pred), 0.5)
    assert np.count_nonzero(iou >= 0.5) == n
    assert iou.sum() == pytest.approx(total)
    np.testing.assert_array_equal(labels > 0, iou > 0)
    assert len(labels) == len(np.setdiff1d(true, [0]))


def test_conflict_below_one_half_is_solved_for_the_most_matches():
    # true 1 overlaps both predictions; taking the better one for it would leave true 2 without a match
    true = np.array([[1] * 10 + [2] * 6])
    pred = np.array([[1] * 4 + [2] * 12])
    result = matching(true, pred, 0.3)
    assert result.tp == 2
    assert result.pairs.tolist() == [[1, 1], [2, 2]]


@pytest.mark.parametrize("dtype", ["bool", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", ">u2", ">i8"])
def test_every_integer_type_gives_the_same(dtype):
    labels = np.array([[0, 1, 1], [0, 0, 1]]).astype(dtype)
    result = matching(labels, labels.astype(np.uint16))
    assert (result.n_true, result.tp, result.mean_matched_score) == (1, 1, 1.0)


def test_labels_may_have_gaps_and_be_huge():
    true = np.array([[0, 7, 7, 2**40, 2**40]], np.uint64)
    pred = np.array([[0, 2**32 - 1, 0, 3, 3]], np.int64)
    result = matching(true, pred, 0.5)
    assert result.pairs.tolist() == [[7, 2**32 - 1], [2**40, 3]]
    assert result.scores.tolist() == [0.5, 1.0]


def test_images_without_background_count_every_object():
    labels = np.arange(1, 7).reshape(2, 3)
    ap, tp, fp, fn = average_precision(labels, labels, 0.5)
    assert (ap[0], tp[0], fp[0], fn[0]) == (1.0, 6, 0, 0)


def test_views_that_are_not_contiguous():
    base = np.kron(np.arange(1, 26).reshape(5, 5), np.ones((4, 4), int))
    assert matching(base[::2, ::-1], base[::2, ::-1].copy()).tp == 25


EMPTY, FULL = np.zeros((4, 4), int), np.ones((4, 4), int)


@pytest.mark.parametrize(
    ("true", "pred", "value"),
    [(EMPTY, EMPTY, 1.0), (EMPTY, FULL, 0.0), (FULL, EMPTY, 0.0), (FULL, FULL, 1.0)],
)
def test_empty_images_have_defined_values(true, pred, value):
    ap, *_ = average_precision(true, pred)
    assert ap.tolist() == [value] * 3
    result = matching(true, pred)
    ratios = (result.precision, result.recall, result.f1, result.accuracy, result.panoptic_quality)
    assert ratios == (value,) * 5
    assert mask_ious(true, pred)[0].tolist() == [value] * int(true.max())


def test_images_of_no_pixels_are_empty():
    assert average_precision(np.zeros((0, 5), int), np.zeros((0, 5), int), 0.5)[0].tolist() == [1.0]


def test_lists_give_one_row_an_image():
    a, b = np.eye(4, dtype=int), np.ones((2, 3, 3), int)
    ap, tp, fp, fn = average_precision([a, b], (a, np.zeros_like(b)), (0.5, 0.9))
    assert ap.tolist() == [[1, 1], [0, 0]]
    assert (tp + fn)[:, 0].tolist() == [1, 1]
    assert fp.shape == (2, 2)
    assert average_precision([], [])[0].shape == (0, 3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: overlaps(np.ones((2, 3), int), np.ones((3, 2), int)), ["(2, 3)", "(3, 2)"]),
        (lambda: overlaps(np.ones((2, 3)), np.ones((2, 3), int)), ["true", "float64"]),
        (lambda: overlaps(np.ones((2, 3), int), -np.ones((2, 3), int)), ["pred", "-1"]),
        (lambda: overlaps(np.full((2, 3), 2**63, np.uint64), np.ones((2, 3), int)), ["2**63"]),
        (lambda: matching(EMPTY, EMPTY, 0), ["thresholds", "0"]),
        (lambda: average_precision(EMPTY, EMPTY, [0.5, 1.5]), ["thresholds", "1.5"]),
        (lambda: average_precision([EMPTY], [EMPTY, EMPTY]), ["lists of equal length", "1 and 2"]),
        (lambda: average_precision([EMPTY], EMPTY), ["lists of equal length", "ndarray"]),
    ],
)
def test_errors_are_one_line_and_name_what_came(call, words):
    with pytest.raises(UsageError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
