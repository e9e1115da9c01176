"""Labels to polygons and back: exact, and every ring simple."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.testing import assert_array_equal
from skimage.draw import polygon2mask
from skimage.measure import label as components

from cellbrook.errors import ImageError
from cellbrook.export.polygons import Polygon, Shape, polygons_to_labels, trace

LABELS = npst.arrays(
    np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 1, 1, 2, 9])
)
STACKS = npst.arrays(
    np.uint16, st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)), elements=st.integers(0, 3)
)


def area(ring):
    """Return the signed area: positive if the inside is on the right hand, walking."""
    y, x = ring.T.astype(np.int64)
    return (x @ np.roll(y, -1) - np.roll(x, -1) @ y) / 2


@settings(max_examples=400, deadline=None)
@given(LABELS)
def test_polygons_rasterise_back_to_the_same_labels(labels):
    assert_array_equal(polygons_to_labels(trace(labels), labels.shape), labels)


@settings(max_examples=60, deadline=None)
@given(STACKS)
def test_stacks_too(labels):
    assert_array_equal(polygons_to_labels(trace(labels), labels.shape), labels)
    assert_array_equal(polygons_to_labels(trace(labels[None]), labels[None].shape), labels[None])


@settings(max_examples=300, deadline=None)
@given(LABELS)
def test_rings_are_simple_and_pieces_are_four_connected(labels):
    for shape in trace(labels):
        mask = labels == shape.label
        assert len(shape.polygons) == components(mask, connectivity=1).max()
        assert sum(area(r) for r in shape.rings) == mask.sum()
        for polygon in shape.polygons:
            assert area(polygon.outline) > 0
            assert all(area(hole) < 0 for hole in polygon.holes)
            # a hole lies in its own outline: the piece by itself is 4-connected and has no other area
            alone = polygons_to_labels([Shape(1, (polygon,))], labels.shape)
            assert components(alone, connectivity=1).max() == 1
            assert alone.sum() == sum(area(r) for r in polygon.rings)
        for ring in shape.rings:
            corners = [tuple(c) for c in ring]
            assert len(set(corners)) == len(corners)  # comes to no corner twice
            steps = np.diff(ring, axis=0, append=ring[:1])
            assert ((steps == 0).sum(axis=1) == 1).all()  # level or upright
            assert (
                (steps[:, 0] == 0) != (np.roll(steps, -1, axis=0)[:, 0] == 0)
            ).all()  # a turn at each corner


def test_a_ring_with_a_piece_in_its_hole():
    labels = np.zeros((7, 7), int)
    labels[0:7, 0:7] = 1
    labels[1:6, 1:6] = 0
    labels[2:5, 2:5] = 1
    labels[3, 3] = 0
    (shape,) = trace(labels)
    assert [len(p.holes) for p in shape.polygons] == [1, 1]
    assert area(shape.polygons[0].holes[0]) == -25
    assert area(shape.polygons[1].holes[0]) == -1


def test_pixels_that_meet_at_a_corner_are_two_pieces():
    (shape,) = trace(np.eye(2, dtype=int))
    assert [p.outline.tolist() for p in shape.polygons] == [
        [[0, 1], [1, 1], [1, 0], [0, 0]],
        [[1, 2], [2, 2], [2, 1], [1, 1]],
    ]


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_threads_do_not_change_the_result(threads):
    labels = np.random.default_rng(0).integers(0, 60, (40, 50))
    one, many = trace(labels, threads=1), trace(labels, threads=threads)
    assert [s.label for s in one] == [s.label for s in many]
    assert all(
        np.array_equal(a, b)
        for s, t in zip(one, many, strict=True)
        for a, b in zip(s.rings, t.rings, strict=True)
    )


def test_huge_labels_keep_their_numbers():
    labels = np.array([[0, 4_000_000_000], [5, 5]], np.uint32)
    assert [s.label for s in trace(labels)] == [5, 4_000_000_000]
    assert_array_equal(polygons_to_labels(trace(labels), labels.shape), labels)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-24, 112), st.integers(-24, 112)), min_size=3, max_size=6))
def test_polygons_of_any_corners_fill_pixels_whose_centre_they_contain(corners):
    ring = np.array(corners) / 8
    ours = polygons_to_labels([Shape(1, (Polygon(ring),))], (11, 12)) > 0
    theirs = polygon2mask((11, 12), ring - 0.5)
    # centres on an edge may fall to either side
    assert np.count_nonzero(ours != theirs) <= np.count_nonzero(on_edge(ring, (11, 12)))


def on_edge(ring, shape):
    y, x = np.indices(shape) + 0.5
    near = np.zeros(shape, bool)
    for a, b in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        length = np.hypot(*(b - a))
        if length == 0:
            near |= np.hypot(y - a[0], x - a[1]) < 1e-6
            continue
        along = ((y - a[0]) * (b[0] - a[0]) + (x - a[1]) * (b[1] - a[1])) / length**2
        along = np.clip(along, 0, 1)
        near |= np.hypot(y - a[0] - along * (b[0] - a[0]), x - a[1] - along * (b[1] - a[1])) < 1e-6
    return near


def test_what_lies_outside_is_cut_off_and_later_shapes_cover_earlier_ones():
    square = np.array([[-5, -5], [-5, 3], [3, 3], [3, -5]])
    labels = polygons_to_labels([Shape(1, (Polygon(square),)), Shape(2, (Polygon(square + 4),))], (4, 5))
    expected = np.zeros((4, 5), int)
    expected[:3, :3] = 1
    expected[:4, :5] = 2
    assert_array_equal(labels, expected)


def test_nothing_gives_nothing():
    assert trace(np.zeros((3, 4), int)) == []
    assert_array_equal(polygons_to_labels([], (2, 3)), np.zeros((2, 3)))
    with pytest.raises(ImageError, match="must have axes"):
        trace(np.zeros((0, 4), int))


def test_shapes_must_fit_the_stack():
    ring = Polygon(np.array([[0, 0], [0, 1], [1, 1]]))
    with pytest.raises(ImageError, match="outside labels"):
        polygons_to_labels([Shape(1, (ring,), (0,))], (4, 4))
    with pytest.raises(ImageError, match="outside labels"):
        polygons_to_labels([Shape(1, (ring,), (3,))], (2, 4, 4))
    with pytest.raises(ImageError, match="finite"):
        polygons_to_labels([Shape(1, (Polygon(np.array([[0, 0], [0, np.nan], [1, 1]])),))], (4, 4))
