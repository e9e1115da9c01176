"""measure() against scikit-image on shared definitions, and its own on the rest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.testing import assert_allclose, assert_array_equal
from skimage.measure import regionprops_table
from skimage.morphology import convex_hull_image

from cellbrook.core.objects import ObjectTable
from cellbrook.errors import ImageError, UsageError
from cellbrook.measure import measure
from cellbrook.measure.intensity import column_names

SHARED = {
    "label": "label",
    "area": "area_px",
    "centroid-0": "centroid_y",
    "centroid-1": "centroid_x",
    "bbox-0": "bbox_y0",
    "bbox-1": "bbox_x0",
    "bbox-2": "bbox_y1",
    "bbox-3": "bbox_x1",
    "equivalent_diameter_area": "diameter_px",
    "perimeter_crofton": "perimeter_px",
    "axis_major_length": "major_axis_px",
    "axis_minor_length": "minor_axis_px",
    "eccentricity": "eccentricity",
    "intensity_mean": "mean_0",
    "intensity_std": "std_0",
    "intensity_min": "min_0",
    "intensity_max": "max_0",
    "intensity_median": "median_0",
}


def cells(seed: int = 0, size: int = 160) -> np.ndarray:
    """Return overlapping rough discs, some cut by the border, labels with gaps."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:size, :size]
    labels = np.zeros((size, size), np.uint16)
    for n in range(40):
        y, x, r, stretch = *rng.uniform(0, size, 2), rng.uniform(2, 14), rng.uniform(0.6, 1.6)
        inside = ((yy - y) * stretch) ** 2 + ((xx - x) / stretch) ** 2 < (
            r + rng.normal(0, 0.8, labels.shape)
        ) ** 2
        labels[inside] = 3 * n + 2
    return labels


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.uint32, np.float32, np.float64])
def test_equals_scikit_image_on_shared_definitions(dtype):
    labels = cells()
    image = np.random.default_rng(1).integers(0, 120, labels.shape).astype(dtype)
    table = measure(labels, image)
    wanted = {name.rsplit("-", 1)[0] if name[-1].isdigit() else name for name in SHARED}
    theirs = regionprops_table(labels, image, properties=sorted(wanted))
    for name, ours in SHARED.items():
        assert_allclose(table[ours], theirs[name], rtol=1e-6, atol=1e-5, err_msg=name)
    assert_array_equal(table["sum_0"], [image[labels == n].sum(dtype=np.float64) for n in table["label"]])


def test_orientation_is_the_angle_to_the_x_axis_as_one_looks_at_the_picture():
    labels = np.zeros((60, 60), np.uint8)
    for k in range(20):  # up and to the right
        labels[40 - k, 10 + k : 13 + k] = 1
    labels[45:48, 30:55] = 2  # level
    labels[5:30, 50:53] = 3  # upright
    assert_allclose(measure(labels)["orientation_deg"], [45, 0, 90], atol=2)


def test_orientation_agrees_with_scikit_image():
    labels = cells(3)
    table = measure(labels)
    theirs = np.rad2deg(regionprops_table(labels, properties=["orientation"])["orientation"]) + 90
    clear = table["eccentricity"] > 0.3
    difference = (table["orientation_deg"] - theirs + 90) % 180 - 90
    assert clear.sum() > 20
    assert_allclose(difference[clear], 0, atol=1e-6)


def hull_pixels(mask):
    """Return pixels whose centre lies in the hull of all centres, found by testing every half-plane."""
    points = np.argwhere(mask)
    inside = np.ones(mask.shape, bool)
    every = np.indices(mask.shape).reshape(2, -1).T
    for a in points:
        for b in points:
            side = (b[1] - a[1]) * (points[:, 0] - a[0]) - (b[0] - a[0]) * (points[:, 1] - a[1])
            if (a != b).any() and (side >= 0).all():
                all_sides = (b[1] - a[1]) * (every[:, 0] - a[0]) - (b[0] - a[0]) * (every[:, 1] - a[1])
                inside &= (all_sides >= 0).reshape(mask.shape)
                if (side == 0).all():  # on one line: nothing beyond its ends
                    along = (every - a) @ (b - a)
                    reach = (points - a) @ (b - a)
                    inside &= ((along >= reach.min()) & (along <= reach.max())).reshape(mask.shape)
    return inside.sum() if len(points) > 1 else 1


@settings(max_examples=150, deadline=None)
@given(npst.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 1)))
def test_solidity_counts_the_pixels_of_the_convex_hull(mask):
    if mask.any():
        assert measure(mask)["solidity"][0] == pytest.approx(mask.sum() / hull_pixels(mask == 1))


def test_solidity_is_that_of_scikit_images_hull_of_pixel_centres():
    labels = cells(5)
    table = measure(labels)
    some = np.flatnonzero(table["area_px"] > 60)[:12]
    hulls = [convex_hull_image(labels == n, offset_coordinates=False).sum() for n in table["label"][some]]
    assert_allclose(table["area_px"][some] / table["solidity"][some], hulls)


def test_a_disc_is_round_solid_and_measured_in_micrometres():
    yy, xx = np.mgrid[:200, :200]
    table = measure(((yy - 100) ** 2 + (xx - 100) ** 2 <= 80**2).astype(np.uint8), pixel_size_um=0.25)
    row = {name: float(table[name][0]) for name in table}
    assert row["diameter_um"] == pytest.approx(40, rel=0.01)
    assert row["area_um2"] == pytest.approx(np.pi * 400, rel=0.01)
    assert row["perimeter_um"] == pytest.approx(np.pi * 40, rel=0.01)
    assert row["major_axis_um"] == pytest.approx(40, rel=0.01)
    assert row["circularity"] == pytest.approx(1, abs=0.02)
    assert row["solidity"] > 0.99
    assert row["centroid_x_um"] == pytest.approx(25)


def test_oblong_pixels_give_the_shape_of_the_real_object():
    size_y, size_x = 1.5, 0.5
    yy, xx = np.mgrid[:120, :300]
    disc = (((yy - 60) * size_y) ** 2 + ((xx - 150) * size_x) ** 2 <= 50**2).astype(np.uint8)
    table = measure(disc, pixel_size_um=(size_y, size_x))
    assert table["eccentricity"][0] < 0.1
    assert table["perimeter_um"][0] == pytest.approx(np.pi * 100, rel=0.05)
    assert table["area_um2"][0] == pytest.approx(np.pi * 2500, rel=0.01)
    assert table["major_axis_um"][0] == pytest.approx(100, rel=0.01)
    assert table["major_axis_px"][0] == pytest.approx(200, rel=0.01)


def test_channels_keep_their_names_and_whole_numbers():
    labels = np.array([[1, 1, 0], [2, 2, 2]])
    image = np.stack([np.arange(6).reshape(2, 3), np.full((2, 3), 60000)]).astype(np.uint16)
    table = measure(labels, image, channel_names=["DAPI", "GFP (488)"])
    assert_array_equal(table["sum_DAPI"], [1, 12])
    assert_array_equal(table["max_GFP_488"], [60000, 60000])
    assert table["sum_GFP_488"].dtype == np.int64
    assert_array_equal(table["median_DAPI"], [0.5, 4])


@given(st.lists(st.sampled_from(["GFP", "GFP_1", "GFP_2", "GFP 2", "2", ""]), max_size=7), st.integers(1, 7))
def test_no_two_channels_share_a_column(names, channels):
    assert len(set(column_names(names, channels))) == channels


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_left_out(hole):
    labels = np.array([[1, 1, 1], [2, 0, 3]])
    image = np.array([[1.0, hole, 3.0], [hole, 5.0, 7.0]], np.float32)
    table = measure(labels, image)
    assert_array_equal(table["mean_0"], [2, np.nan, 7])
    assert_array_equal(table["max_0"], [3, np.nan, 7])
    assert_array_equal(table["sum_0"], [4, np.nan, 7])


def test_one_pixel_and_border():
    labels = np.zeros((5, 5), int)
    labels[0, 2], labels[2, 2] = 1, 2
    table = measure(labels)
    assert_array_equal(table["touches_border"], [True, False])
    assert_array_equal(table["solidity"], [1, 1])
    assert_array_equal(table["eccentricity"], [0, 0])
    assert_array_equal(table["bbox_y1"], [1, 3])


def test_no_objects_give_an_empty_table_with_all_columns():
    empty, full = (
        measure(np.zeros((4, 4), int), np.zeros((4, 4))),
        measure(np.ones((4, 4), int), np.zeros((4, 4))),
    )
    assert len(empty) == 0
    assert list(empty) == list(full)


def test_planes_share_one_numbering_and_are_measured_one_by_one():
    plane = cells(2, 60)
    other = np.where(plane > 0, plane + plane.max(), 0)
    stack = np.stack([plane, other])
    image = np.random.default_rng(0).random((2, 3, 60, 60), np.float32)
    table = measure(stack, image, axes="TYX", pixel_size_um=(0.5, 0.5))
    first, second = measure(plane, image[0], pixel_size_um=0.5), measure(other, image[1], pixel_size_um=0.5)
    assert_array_equal(table["t"], np.repeat([0, 1], len(first)))
    for name in first:
        assert_array_equal(table[name], np.concatenate([first[name], second[name]]), err_msg=name)


def test_volumes_are_measured_through_their_planes():
    labels = np.zeros((6, 20, 20), np.int32)
    labels[1:4, 2:6, 3:8] = 5
    labels[0:2, 10:12, 10:12] = 9
    image = np.random.default_rng(0).integers(0, 99, (6, 1, 20, 20), dtype=np.uint16)
    table = measure(labels, image, pixel_size_um=(2.0, 0.5, 0.5))
    assert_array_equal(table["volume_px"], [60, 8])
    assert_allclose(table["volume_um3"], [30, 4])
    assert_array_equal(table["centroid_z"], [2, 0.5])
    assert_allclose(table["centroid_z_um"], [4, 1])
    assert_array_equal(table["bbox_z1"], [4, 2])
    assert_array_equal(table["touches_border"], [False, True])
    assert_array_equal(table["sum_0"], [image[:, 0][labels == n].sum() for n in (5, 9)])
    assert "perimeter_px" not in table


def test_volumes_over_time_count_z_from_their_own_stack():
    labels = np.zeros((2, 4, 9, 9), int)
    labels[0, 1:3, 2:4, 2:4], labels[1, 0:2, 5:7, 5:7] = 1, 2
    table = measure(labels, volume=True)
    assert_array_equal(table["t"], [0, 1])
    assert_array_equal(table["bbox_z0"], [1, 0])
    assert_array_equal(table["centroid_z"], [1.5, 0.5])


def test_an_object_in_several_planes_is_no_plane_by_itself():
    labels = np.ones((2, 3, 3), int)
    with pytest.raises(UsageError, match=r"object 1 lies in several planes; .*--volume"):
        measure(labels, axes="ZYX", volume=False)


@pytest.mark.parametrize("numbers", [(2, 5), (7, 4_000_000_000)])
def test_tracked_objects_have_a_row_at_each_time_point(numbers):
    labels = np.zeros((3, 8, 8), np.uint32)
    labels[0, :2, :2], labels[1, :2, :3], labels[2, 4:, 4:] = *numbers, numbers[0]
    labels[2, 0, :5] = numbers[1]
    image = np.arange(3)[:, None, None] + np.zeros((8, 8))
    table = measure(labels, image, axes="TYX", pixel_size_um=0.5)
    assert list(zip(table["t"].tolist(), table["label"].tolist(), strict=True)) == [
        (0, numbers[0]),
        (1, numbers[1]),
        (2, numbers[0]),
        (2, numbers[1]),
    ]
    assert_array_equal(table["area_px"], [4, 6, 16, 5])
    assert_array_equal(table["mean_0"], [0, 1, 2, 2])
    for t in range(3):
        alone = measure(labels[t], image[t], pixel_size_um=0.5)
        rows = table.select(table["t"] == t)
        for name in alone:
            assert_array_equal(rows[name], alone[name], err_msg=name)
    with pytest.raises(UsageError, match="several time points; leave the table out"):
        measure(labels, axes="TYX", objects=table)


@pytest.mark.parametrize("volume", [None, True])
def test_tracked_volumes_have_a_row_at_each_time_point(volume):
    labels = np.zeros((2, 3, 6, 6), int)
    labels[0, 1:3, 2:4, 2:4], labels[1, 0:2, 1:5, 2:4], labels[1, 2, 0, 0] = 1, 1, 2
    table = measure(labels, volume=volume)
    assert [table[n].tolist() for n in ("t", "label", "volume_px")] == [[0, 1, 1], [1, 1, 2], [8, 16, 1]]
    assert_array_equal(table["bbox_z0"], [1, 0, 2])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_the_result(threads):
    labels = cells(7)
    image = np.random.default_rng(0).random((2, *labels.shape))
    one, many = measure(labels, image, threads=1), measure(labels, image, threads=threads)
    for name in one:
        assert_array_equal(one[name], many[name], err_msg=name)


def test_a_given_table_keeps_its_columns_rows_and_discards():
    labels = np.array([[1, 1, 0, 7]])
    gone = ObjectTable({"label": np.array([1]), "reason": np.array(["too_small"]), "figure": np.array([3.0])})
    given_ = ObjectTable({"label": np.array([7, 1]), "score": np.array([0.5, 0.9])}, gone)
    table = measure(labels, np.array([[1, 3, 0, 8]]), objects=given_)
    assert_array_equal(table["label"], [7, 1])
    assert_array_equal(table["score"], [0.5, 0.9])
    assert_array_equal(table["mean_0"], [8, 2])
    assert table.discarded is gone
    with pytest.raises(UsageError, match="lists 1 labels"):
        measure(labels, objects=ObjectTable({"label": np.array([1])}))


def test_huge_labels_need_no_huge_memory():
    labels = np.array([[0, 4_000_000_000], [17, 17]], np.uint32)
    table = measure(labels, np.array([[1, 2], [3, 5]]))
    assert_array_equal(table["label"], [17, 4_000_000_000])
    assert_array_equal(table["mean_0"], [4, 2])


@pytest.mark.parametrize(
    ("labels", "image", "message"),
    [
        (np.zeros((2, 2), bool), None, "boolean mask"),
        (np.full((2, 2), 0.5), None, "whole numbers"),
        (np.full((2, 2), -1), None, "0 .background. or more"),
        (np.zeros((0, 2), int), None, "must have pixels"),
        (np.zeros(4, int), None, "must have axes"),
        (np.zeros((2, 2), int), np.zeros((2, 3)), "to fit labels of shape"),
        (np.zeros((2, 2), int), np.zeros((2, 2), complex), "must be numbers"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(labels, image, message):
    with pytest.raises(ImageError, match=message) as caught:
        measure(labels, image)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("size", "axes"), [((1.0, 2.0, 3.0), "YX"), (0.0, "YX"), (np.nan, "YX"), (1.0, "XY"), (1.0, "ZYX")]
)
def test_pixel_sizes_and_axes_are_checked(size, axes):
    with pytest.raises(UsageError):
        measure(np.ones((3, 3), int), pixel_size_um=size, axes=axes)


@settings(max_examples=60, deadline=None)
@given(npst.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)))
def test_sums_over_objects_are_sums_over_the_image(labels):
    image = np.arange(labels.size, dtype=np.float64).reshape(labels.shape)
    table = measure(labels, image)
    assert table["area_px"].sum() == np.count_nonzero(labels)
    assert table["sum_0"].sum() == pytest.approx(image[labels > 0].sum())
    assert (table["solidity"] <= 1).all()
