"""ImageJ ROI sets: exact round trip, and what ImageJ itself would read."""

import zipfile

import numpy as np
import pytest
import roifile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.testing import assert_array_equal

from cellbrook.core.objects import ObjectTable
from cellbrook.errors import ImageError
from cellbrook.export.roi_zip import read_roi_zip, write_roi_zip

LABELS = npst.arrays(
    np.uint16, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.sampled_from([0, 1, 1, 2, 30])
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("rois") / "x_rois.zip"


@settings(max_examples=120, deadline=None)
@given(LABELS)
def test_round_trip(path, labels):
    write_roi_zip(path, labels)
    assert_array_equal(read_roi_zip(path, labels.shape), labels)


@settings(max_examples=40, deadline=None)
@given(
    npst.arrays(np.uint16, st.tuples(*[st.integers(1, 4)] * 3), elements=st.integers(0, 12)),
    st.sampled_from(["ZYX", "TYX"]),
    st.booleans(),
)
def test_round_trip_of_stacks(path, labels, axes, hyperstack):
    write_roi_zip(path, labels, axes=axes, hyperstack=hyperstack)
    assert_array_equal(read_roi_zip(path, labels.shape), labels)


def test_round_trip_of_stacks_over_time(path):
    labels = np.random.default_rng(0).integers(0, 40, (3, 4, 6, 7))
    write_roi_zip(path, labels)
    assert_array_equal(read_roi_zip(path, labels.shape), labels)


def test_a_plain_object_is_a_traced_polygon_on_pixel_corners(path):
    labels = np.zeros((40, 50), int)
    labels[10:13, 20:24] = 7
    labels[30:33, 5:9] = 12
    write_roi_zip(path, labels)
    roi, _ = roifile.roiread(path)
    assert roi.name == "07"
    assert roi.roitype == roifile.ROI_TYPE.TRACED
    assert (roi.top, roi.left, roi.bottom, roi.right) == (10, 20, 13, 24)
    assert not roi.subpixelresolution
    assert roi.coordinates().tolist() == [[24, 10], [24, 13], [20, 13], [20, 10]]


def test_holes_make_a_composite(path):
    labels = np.ones((5, 6), int)
    labels[2, 3] = 0
    write_roi_zip(path, labels)
    (roi,) = roifile.roiread(path)
    assert roi.composite
    assert roi.roitype == roifile.ROI_TYPE.RECT
    outline, hole = roi.coordinates(multi=True)
    assert outline[0].tolist() == outline[-1].tolist()
    assert sorted(map(tuple, hole[:-1].tolist())) == [(3, 2), (3, 3), (4, 2), (4, 3)]


def test_bytes_are_what_roifile_writes(path):
    labels = np.zeros((9, 9), int)
    labels[1:4, 2:8] = 1
    labels[5:9, 0:3] = 2
    labels[7, 1] = 0
    write_roi_zip(path, labels)
    for roi, raw in zip(roifile.roiread(path), read_members(path), strict=True):
        assert roi.tobytes() == raw


def test_classes_are_groups_and_properties(path):
    labels = np.zeros((9, 12), int)
    labels[1:4, 1:4], labels[1:4, 6:9], labels[6:8, 1:4] = 1, 2, 5
    objects = ObjectTable({"label": np.array([5, 1, 2]), "class": np.array(["", "neuron", "glia \u00e9"])})
    write_roi_zip(path, labels, objects, classes=["neuron"])
    rois = roifile.roiread(path)
    assert [roi.name for roi in rois] == ["1", "2", "5"]
    assert [roi.group for roi in rois] == [1, 2, 0]
    assert [roi.properties for roi in rois] == [{"class": "neuron"}, {"class": "glia \u00e9"}, {}]
    assert_array_equal(read_roi_zip(path, labels.shape), labels)
    for roi, raw in zip(rois, read_members(path), strict=True):
        assert roi.tobytes() == raw


def read_members(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return [archive.read(name) for name in archive.namelist()]


def test_positions_in_stacks_and_hyperstacks(path):
    labels = np.zeros((2, 3, 4, 4), int)
    labels[1, 2, 1:3, 1:3] = 1
    write_roi_zip(path, labels)
    (roi,) = roifile.roiread(path)
    assert (roi.position, roi.z_position, roi.t_position, roi.name) == (0, 3, 2, "1-t2-z3")
    write_roi_zip(path, labels[1])
    (roi,) = roifile.roiread(path)
    assert (roi.position, roi.z_position, roi.t_position, roi.name) == (3, 0, 0, "1-z3")
    write_roi_zip(path, labels[1], axes="TYX", hyperstack=True)
    (roi,) = roifile.roiread(path)
    assert (roi.position, roi.z_position, roi.t_position, roi.name) == (0, 0, 3, "1-t3")


@pytest.mark.parametrize("corner", [33_000, 59_990, 65_000])
def test_images_wider_than_16_bits_hold(path, corner):
    labels = np.zeros((3, corner + 10), np.uint8)
    labels[1, corner : corner + 4] = 1
    write_roi_zip(path, labels)
    assert_array_equal(read_roi_zip(path, labels.shape), labels)


def test_rois_of_others_are_numbered_in_their_order(path):
    square = np.array([[1, 1], [4, 1], [4, 3], [1, 3]])
    others = [
        roifile.ImagejRoi.frompoints(square, name="0002-0003"),
        roifile.ImagejRoi.frompoints(square + np.array([5, 4]), name="0006-0007"),
    ]
    others[0].roitype = others[1].roitype = roifile.ROI_TYPE.POLYGON
    line = roifile.ImagejRoi.frompoints(square, name="0009-0009")
    line.roitype = roifile.ROI_TYPE.FREELINE
    path.unlink(missing_ok=True)
    roifile.roiwrite(path, [*others, line])
    labels = read_roi_zip(path, (9, 12))
    expected = np.zeros((9, 12), int)
    expected[1:3, 1:4], expected[5:7, 6:9] = 1, 2
    assert_array_equal(labels, expected)


def test_no_objects_give_an_empty_archive(path):
    write_roi_zip(path, np.zeros((4, 4), int))
    assert read_members(path) == []
    assert_array_equal(read_roi_zip(path, (4, 4)), np.zeros((4, 4)))


def test_equal_labels_give_equal_files(path, tmp_path):
    labels = np.random.default_rng(0).integers(0, 9, (20, 20))
    write_roi_zip(path, labels)
    write_roi_zip(tmp_path / "other.zip", labels, threads=1)
    assert path.read_bytes() == (tmp_path / "other.zip").read_bytes()


def test_what_cannot_be_read_is_said_in_one_line(path, tmp_path):
    for content in (b"", b"PK\x03\x04 cut off", b"Iout"):
        path.write_bytes(content)
        with pytest.raises(ImageError, match="cannot read ImageJ ROIs"):
            read_roi_zip(path, (4, 4))
    with pytest.raises(ImageError, match="cannot read"):
        read_roi_zip(tmp_path / "none.zip", (4, 4))
    write_roi_zip(path, np.ones((4, 4), int))
    with pytest.raises(ImageError, match="no position"):
        read_roi_zip(path, (2, 4, 4))
    write_roi_zip(path, np.arange(5)[:, None, None] + np.ones((5, 4, 4), int))
    with pytest.raises(ImageError, match="outside a stack"):
        read_roi_zip(path, (2, 4, 4))
