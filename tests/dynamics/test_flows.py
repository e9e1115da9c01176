import numpy as np
import pytest

from cellbrook.dynamics import flows_from_labels
from cellbrook.errors import UsageError


def _length(flows):
    return np.linalg.norm(flows, axis=0)


def test_a_long_thin_object_has_flows_everywhere():
    labels = np.zeros((12, 620), np.uint16)
    labels[3:9, 10:610] = 1
    flows = flows_from_labels(labels)
    assert np.allclose(_length(flows)[labels == 1], 1)
    assert (flows[1, 5, 20:280] > 0.9).all()
    assert (flows[1, 5, 330:600] < -0.9).all()


def test_a_line_of_one_pixel_reaches_beyond_what_double_precision_holds():
    labels = np.zeros((3, 3000), np.uint16)
    labels[1] = 1
    flows = flows_from_labels(labels)
    still = np.flatnonzero(_length(flows)[1] < 0.5)
    assert len(still) <= 1
    assert (flows[1, 1, :1400] == 1).all()
    assert (flows[1, 1, 1600:] == -1).all()


def test_a_spiral_leads_along_itself():
    t = np.linspace(2, 40, 6000)
    labels = np.zeros((260, 260), np.uint8)
    labels[(130 + 3 * t * np.sin(t)).astype(int), (130 + 3 * t * np.cos(t)).astype(int)] = 1
    assert (_length(flows_from_labels(labels))[labels == 1] > 0.99).mean() > 0.99


def test_objects_do_not_see_each_other():
    left = np.zeros((30, 40), np.int64)
    left[5:25, 5:20] = 4
    both = left.copy()
    both[5:25, 20:35] = 9
    np.testing.assert_array_equal(flows_from_labels(both)[:, left > 0], flows_from_labels(left)[:, left > 0])
    assert np.abs(flows_from_labels(both, compat="cellpose") - flows_from_labels(both)).max() > 0.05


def test_each_piece_of_a_label_flows_to_its_own_centre():
    labels = np.zeros((20, 50), np.uint8)
    labels[4:15, 3:14] = 1
    labels[4:15, 30:41] = 1
    flows = flows_from_labels(labels)
    apart = labels.copy()
    apart[:, 25:] *= 2
    np.testing.assert_allclose(flows, flows_from_labels(apart), atol=1e-4)


@pytest.mark.parametrize(
    "shape", [(0, 5), (5, 0), (0, 0), (1, 1), (1, 9), (9, 1), (0, 3, 3), (1, 1, 1), (4, 1, 6)]
)
def test_any_shape(shape):
    flows = flows_from_labels(np.ones(shape, np.uint8))
    assert flows.shape == (len(shape), *shape)
    assert flows.dtype == np.float32
    assert np.isfinite(flows).all()


@pytest.mark.parametrize("dtype", ["u1", "i2", ">i4", "<u8", "i8", "?"])
def test_any_integer_dtype_and_layout(dtype):
    labels = np.zeros((12, 14), dtype)
    labels[2:9, 3:11] = 1
    expected = flows_from_labels(labels.astype(np.uint32))
    np.testing.assert_array_equal(flows_from_labels(labels), expected)
    np.testing.assert_array_equal(flows_from_labels(np.asfortranarray(labels)), expected)
    np.testing.assert_array_equal(flows_from_labels(np.repeat(labels, 2, 1)[:, ::2]), expected)


def test_huge_labels_cost_nothing():
    labels = np.zeros((10, 10), np.uint32)
    labels[2:8, 2:8] = 2**32 - 1
    np.testing.assert_array_equal(flows_from_labels(labels), flows_from_labels(labels > 0))


@pytest.mark.parametrize(
    ("labels", "expects"),
    [
        (np.zeros((3, 3), np.float32), "whole numbers"),
        (np.full((3, 3), -1), "negative"),
        (np.zeros(4, int), "shape"),
    ],
)
def test_what_is_not_a_label_image_is_refused(labels, expects):
    with pytest.raises(UsageError, match=expects):
        flows_from_labels(labels)


def test_an_unknown_compat_is_refused():
    with pytest.raises(UsageError, match="compat"):
        flows_from_labels(np.zeros((3, 3), int), compat="omnipose")


def test_threads_do_not_matter():
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 40, (6, 6)), np.ones((15, 15), int))
    for compat in (None, "cellpose"):
        one, two = (flows_from_labels(labels, compat, threads=t) for t in (1, 2))
        np.testing.assert_array_equal(one, two)
