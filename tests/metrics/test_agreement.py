"""Panoptic quality, aggregated Jaccard index, SEG and boundary scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cellbrook.errors import UsageError
from cellbrook.metrics import (
    adjusted_rand_index,
    aggregated_jaccard_index,
    boundary,
    boundary_f,
    boundary_scores,
    matching,
    panoptic_quality,
    seg_score,
)

LABELS = st.integers(0, 4)
EMPTY, FULL = np.zeros((4, 6), int), np.ones((4, 6), int)


@st.composite
def label_pairs(draw):
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=8))
    return tuple(draw(hnp.arrays(np.uint8, shape, elements=LABELS)) for _ in range(2))


def kumar_by_pixels(true, pred):
    intersection, union, used = 0, 0, set()
    for i in np.setdiff1d(true, [0]):
        a = true == i
        ious = {j: (a & (pred == j)).sum() / (a | (pred == j)).sum() for j in np.setdiff1d(pred[a], [0])}
        if not ious:
            union += a.sum()
            continue
        j = max(ious, key=lambda j: (ious[j], -int(j)))
        used.add(j)
        intersection += (a & (pred == j)).sum()
        union += (a | (pred == j)).sum()
    union += sum((pred == j).sum() for j in np.setdiff1d(pred, [0, *used]))
    return intersection / union if union else 1.0


def seg_by_pixels(true, pred):
    scores = []
    for i in np.setdiff1d(true, [0]):
        a = true == i
        hits = [pred == j for j in np.setdiff1d(pred, [0]) if 2 * (a & (pred == j)).sum() > a.sum()]
        scores.append((a & hits[0]).sum() / (a | hits[0]).sum() if hits else 0.0)
    return np.mean(scores) if scores else float(not pred.any())


def outline_by_pixels(labels):
    padded = np.pad(labels.astype(int), 1, constant_values=-1)
    out = np.zeros(labels.shape, bool)
    for place in np.ndindex(labels.shape):
        centre = np.array(place) + 1
        near = [
            padded[tuple(centre + step)] for axis in np.eye(labels.ndim, dtype=int) for step in (axis, -axis)
        ]
        out[place] = labels[place] > 0 and any(value != labels[place] for value in near)
    return out


def near_by_pixels(edge, other, tolerance):
    places, others = np.argwhere(edge), np.argwhere(other)
    if not len(others):
        return 0
    return int((np.linalg.norm(places[:, None] - others[None], axis=2).min(1) <= tolerance).sum())


@settings(deadline=None)
@given(label_pairs())
def test_kumar_jaccard_is_that_of_counting_pixels(pair):
    assert aggregated_jaccard_index(*pair) == pytest.approx(kumar_by_pixels(*pair))


@settings(deadline=None)
@given(label_pairs())
def test_seg_is_that_of_counting_pixels(pair):
    assert seg_score(*pair) == pytest.approx(seg_by_pixels(*pair))


@settings(deadline=None)
@given(label_pairs(), st.sampled_from([0.0, 1.0, 1.5, 2.0, 2.3, 3.0]))
def test_boundary_scores_are_those_of_measuring_every_distance(pair, tolerance):
    parts = [pair]
    if pair[0].ndim == 3 and not any(((a[1:] == a[:-1]) & (a[1:] > 0)).any() for a in pair):
        parts = list(zip(*pair, strict=True))  # planes without a common object
    edges = [tuple(map(outline_by_pixels, part)) for part in parts]
    scores = boundary_scores(*pair, tolerance)
    assert scores.n_true == sum(true.sum() for true, _ in edges)
    assert scores.n_pred == sum(pred.sum() for _, pred in edges)
    assert scores.true_hits == sum(near_by_pixels(true, pred, tolerance) for true, pred in edges)
    assert scores.pred_hits == sum(near_by_pixels(pred, true, tolerance) for true, pred in edges)
    assert 0 <= scores.f <= 1


@pytest.mark.parametrize("shape", [(40, 70), (9, 20, 30)])
@pytest.mark.parametrize("slab", [1, 150, 1000, 10**6])
def test_outlines_do_not_depend_on_the_slabs_they_are_found_in(shape, slab, monkeypatch):
    labels = np.random.default_rng(5).integers(0, 3, shape)
    labels = labels.repeat(3, 0).repeat(2, 1)
    monkeypatch.setattr(boundary, "_SLAB_PX", slab)
    np.testing.assert_array_equal(boundary.outlines(labels), outline_by_pixels(labels))


@settings(deadline=None)
@given(label_pairs())
def test_panoptic_quality_is_its_two_factors(pair):
    quality = panoptic_quality(*pair, threshold=0.4)
    assert quality.quality == pytest.approx(quality.segmentation * quality.recognition)
    assert quality.quality == matching(*pair, 0.4).panoptic_quality


def test_the_two_jaccard_definitions_differ_as_described():
    # the second true object overlaps nothing but the first one's partner: Kumar's index lets it have it
    true = np.array([[1, 1, 1, 1, 2, 2]])
    pred = np.array([[1, 1, 1, 1, 1, 0]])
    assert aggregated_jaccard_index(true, pred, "cellpose") == pytest.approx(4 / 6)
    assert aggregated_jaccard_index(true, pred, "kumar") == pytest.approx((4 + 1) / (5 + 6))


@pytest.mark.parametrize(
    ("true", "pred", "value"),
    [(EMPTY, EMPTY, 1.0), (EMPTY, FULL, 0.0), (FULL, EMPTY, 0.0), (FULL, FULL, 1.0)],
)
def test_empty_images_have_defined_values(true, pred, value):
    assert panoptic_quality(true, pred) == (value,) * 3
    assert aggregated_jaccard_index(true, pred, "kumar") == value
    assert aggregated_jaccard_index(true, pred, "cellpose") == value
    assert seg_score(true, pred) == value
    scores = boundary_scores(true, pred)
    assert (scores.precision, scores.recall, scores.f, boundary_f(true, pred)) == (value,) * 4


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: aggregated_jaccard_index(EMPTY, EMPTY, "other"), ["definition", "other"]),
        (lambda: boundary_scores(EMPTY, EMPTY.T), ["(4, 6)", "(6, 4)"]),
        (lambda: boundary_scores(EMPTY, EMPTY, -1), ["tolerance_px", "-1"]),
        (lambda: seg_score(EMPTY * 0.5, EMPTY), ["true", "float64"]),
    ],
)
def test_errors_are_one_line_and_name_what_came(call, words):
    with pytest.raises(UsageError) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_the_rand_index_knows_partitions_not_numbers():
    a = np.array([0, 0, 1, 1, 2, 2])
    assert adjusted_rand_index(a, a * 7 + 5) == pytest.approx(1)
    assert adjusted_rand_index(a, [0, 0, 1, 2, 2, 1]) < 0.5
    assert adjusted_rand_index(np.zeros(4, int), np.zeros(4, int)) == 1
    # by hand: 1 pair together in both, 3 and 2 in each, 10 in all
    assert adjusted_rand_index([1, 1, 1, 2, 3], [1, 1, 2, 2, 3]) == pytest.approx((1 - 0.6) / (2.5 - 0.6))


def test_planes_without_a_common_object_are_compared_one_by_one():
    square = np.zeros((60, 60), int)
    square[10:50, 10:50] = 1
    inner = np.zeros_like(square)
    inner[18:42, 18:42] = 1
    frames = [(square * n, inner * n) for n in (1, 2, 3)]
    true, pred = (np.stack(side) for side in zip(*frames, strict=True))
    assert boundary_f(true, pred) == 0
    assert boundary_f(true, true) == 1
    assert boundary_scores(true, pred).n_true == 3 * boundary_scores(square, inner).n_true
    solid = np.stack([square] * 3)  # one body: its top and bottom are outline too
    assert boundary_scores(solid, solid).n_true > 3 * boundary_scores(square, square).n_true
