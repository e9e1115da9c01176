"""_seg.npy: what Cellpose's interface reads from it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cellbrook.core.result import NetworkOutput
from cellbrook.errors import UsageError
from cellbrook.export.seg_npy import flow_rgb, write_seg_npy
from cellbrook.io import read_labels


def load(path):
    return np.load(path, allow_pickle=True).item()


def make(shape, ndim=2):
    rng = np.random.default_rng(0)
    labels = np.zeros(shape, np.uint32)
    labels[..., 1:4, 1:5], labels[..., 4:6, 2:7] = 1, 2
    return (
        labels,
        rng.normal(size=(ndim, *shape)).astype(np.float32),
        rng.normal(size=shape).astype(np.float32),
    )


def test_flows_are_in_the_order_of_the_interface(tmp_path):
    labels, flows, cellprob = make((7, 9))
    path = write_seg_npy(
        tmp_path / "x_seg.npy",
        labels,
        NetworkOutput(flows, cellprob),
        image_path="/data/x.tif",
        diameter_px=12.5,
    )
    content = load(path)
    assert_array_equal(content["masks"], labels)
    assert content["masks"].dtype == content["outlines"].dtype == np.uint16
    assert content["filename"] == "/data/x.tif"
    assert content["diameter"] == 12.5
    assert "img" not in content
    assert len(content["ismanual"]) == len(content["colors"]) == 2
    picture, shown, scaled, logits = content["flows"]
    assert picture.shape == (1, 7, 9, 3)
    assert shown.shape == (1, 7, 9)
    assert picture.dtype == shown.dtype == np.uint8
    # what the interface computes masks from: squeezed, and five times the step
    assert_allclose(scaled.squeeze(), 5 * flows, rtol=1e-6)
    assert_array_equal(logits.squeeze(), cellprob)


def test_outlines_are_the_edges_of_objects(tmp_path):
    labels = np.zeros((9, 9), int)
    labels[2:7, 2:7] = 1
    labels[2:7, 7:9] = 2
    outlines = load(write_seg_npy(tmp_path / "x_seg.npy", labels, image_path="x.tif"))["outlines"]
    expected = labels.copy()
    expected[3:6, 3:6] = 0
    assert_array_equal(outlines, expected)


@pytest.mark.parametrize("volume", [False, True])
def test_stacks(tmp_path, volume):
    labels, flows, cellprob = make((3, 7, 9), 3 if volume else 2)
    given = flows if volume else np.moveaxis(flows, 0, 1)
    content = load(
        write_seg_npy(tmp_path / "x_seg.npy", labels, NetworkOutput(given, cellprob), image_path="x.tif")
    )
    picture, shown, scaled, logits, along_z = content["flows"]
    assert picture.shape == (3, 7, 9, 3)
    assert shown.shape == logits.shape == along_z.shape == (3, 7, 9)
    assert_allclose(scaled, 5 * flows, rtol=1e-6)
    assert content["zdraw"] == [None, None]


def test_the_image_goes_in_if_there_is_no_file(tmp_path):
    labels, _, _ = make((7, 9))
    grey = np.arange(63, dtype=np.uint16).reshape(1, 7, 9)
    content = load(write_seg_npy(tmp_path / "x_seg.npy", labels, image=grey))
    assert_array_equal(content["img"], np.repeat(grey[0, ..., None], 3, axis=-1))
    two = load(write_seg_npy(tmp_path / "x_seg.npy", labels, image=np.concatenate([grey, grey])))["img"]
    assert two.shape == (7, 9, 3)
    assert two[..., 2].max() == 0
    assert content["flows"] == [[], [], [], [], [[]]]


def test_masks_are_read_back_without_running_what_is_in_the_file(tmp_path):
    labels, flows, cellprob = make((7, 9))
    path = write_seg_npy(tmp_path / "x_seg.npy", labels, NetworkOutput(flows, cellprob))
    assert_array_equal(read_labels(path)[0], labels)


def test_many_objects_need_more_than_16_bits(tmp_path):
    labels = np.arange(70_000).reshape(200, 350)
    assert load(write_seg_npy(tmp_path / "x_seg.npy", labels))["masks"].dtype == np.uint32


def test_stacks_over_time_have_no_place(tmp_path):
    with pytest.raises(UsageError, match="one plane or one stack"):
        write_seg_npy(tmp_path / "x_seg.npy", np.zeros((2, 2, 3, 3), int))


def test_flow_pictures_show_direction_as_hue():
    flows = np.zeros((2, 1, 3), np.float32)
    flows[1, 0, 0], flows[0, 0, 1] = 1, 0.5
    picture = flow_rgb(flows)
    assert picture[0, 0].argmax() == 0  # to the right: red
    assert picture[0, 1].max() < picture[0, 0].max()
    assert picture[0, 2].max() == 0
