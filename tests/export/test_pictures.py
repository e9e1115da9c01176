"""Pictures: contours that stand out on any image, colours that set neighbours apart."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.testing import assert_array_equal
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.segmentation import find_boundaries

from cellbrook.errors import ImageError
from cellbrook.export import pictures
from cellbrook.export.pictures import PALETTE, color_rgb, image_rgb, neighbour_palette, overlay_rgb


def luminance(rgb):
    v = rgb / 255
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def cells(size=200, gap=2, seed=0):
    """Return cells in a lattice, some touching, some large, some cut by the edge."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, size), np.uint32)
    yy, xx = np.mgrid[:size, :size]
    for n, (y, x) in enumerate((y, x) for y in range(0, size, 24) for x in range(0, size, 24)):
        r = rng.uniform(7, 13 + 2 / gap)
        labels[((yy - y) ** 2 + (xx - x) ** 2 < r**2) & (labels == 0)] = n + 1
    return labels


def images():
    rng = np.random.default_rng(0)
    labels = cells()
    inside = labels > 0
    noise = rng.normal(0, 0.03, labels.shape)
    dark = 0.05 + 0.9 * inside * rng.random(int(labels.max()) + 1)[labels] + noise
    yield "fluorescence", (60000 * np.clip(dark, 0, 1)).astype(np.uint16)[None], ()
    bright = 0.95 - 0.6 * inside * rng.random(int(labels.max()) + 1)[labels] + noise
    yield "brightfield", (255 * np.clip(bright, 0, 1)).astype(np.uint8)[None], ()
    yield "phase", (0.5 + 0.2 * inside + 3 * noise)[None].astype(np.float32), ()
    stain = np.stack([0.9 - 0.5 * inside, 0.75 - 0.5 * inside, 0.9 - 0.3 * inside]) + noise
    yield "stained", (255 * np.clip(stain, 0, 1)).astype(np.uint8), ("red", "green", "blue")
    yield "white", np.full((1, *labels.shape), 255, np.uint8), ()
    yield "two channels", np.stack([dark, dark.T]).astype(np.float32), ("a", "b")
    yield "noise", rng.integers(0, 65535, (1, *labels.shape)).astype(np.uint16), ()
    yield "broken", np.full((1, *labels.shape), np.nan), ()


@pytest.mark.parametrize(
    ("name", "image", "channels"), [pytest.param(*case, id=case[0]) for case in images()]
)
@pytest.mark.parametrize("width", [1, 2, 3])
def test_contours_stand_out_on_any_image(name, image, channels, width):
    labels = cells()
    rgb = overlay_rgb(image, labels, channel_names=channels, line_width=width)
    line = find_boundaries(labels, mode="inner", connectivity=1)
    bright = luminance(rgb)
    # the surroundings of a contour pixel: the darkest that is no contour, within 3 pixels
    contour = np.isin(rgb.reshape(-1, 3) @ [1, 256, 65536], PALETTE.astype(int) @ [1, 256, 65536]).reshape(
        labels.shape
    )
    surround = np.where(contour, np.inf, bright)
    nearest = np.full(labels.shape, np.inf)
    for dy in range(-3, 4):
        for dx in range(-3, 4):
            nearest = np.minimum(nearest, np.roll(surround, (dy, dx), (0, 1)))
    contrast = (bright + 0.05) / (nearest + 0.05)
    assert (contrast[line] > 3).mean() > 0.95
    # and what lies beside the line itself, on either side, is no brighter than that
    beside = find_boundaries(labels, mode="thick", connectivity=1) & ~contour
    assert np.percentile(luminance(rgb)[beside], 99, method="lower") < 0.13


def test_nothing_but_contours_and_their_halo_is_changed():
    labels = cells()
    image = np.random.default_rng(0).integers(0, 255, (1, *labels.shape)).astype(np.uint8)
    changed = (overlay_rgb(image, labels) != image_rgb(image)).any(axis=-1)
    near = find_boundaries(labels, mode="thick", connectivity=1)
    for axis in (0, 1):
        near = near | np.roll(near, 1, axis) | np.roll(near, -1, axis)
    assert not (changed & ~near).any()
    assert_array_equal(overlay_rgb(image, np.zeros_like(labels)), image_rgb(image))


def test_few_cells_in_a_wide_field_are_seen_and_its_noise_is_not():
    field = np.random.default_rng(0).normal(200, 5, (1, 600, 600)).clip(0).astype(np.uint16)
    dim, bright = (slice(50, 62), slice(50, 62)), (slice(300, 312), slice(300, 312))
    field[0][dim] += 400
    field[0][bright] += 1500
    grey = image_rgb(field)[..., 0]
    assert grey[400:].mean() < 15
    assert 60 < grey[dim].mean() < 200 < grey[bright].mean()


def test_no_contour_along_the_edge_of_the_image():
    labels = np.ones((8, 8), int)
    image = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    assert_array_equal(overlay_rgb(image, labels), image_rgb(image))


def test_palette_is_told_apart_and_bright():
    lab = rgb2lab(PALETTE[None] / 255)[0]
    difference = deltaE_ciede2000(lab[:, None], lab[None]) + 99 * np.eye(len(PALETTE))
    assert difference.min() > 21
    assert luminance(PALETTE).min() > 0.47


@settings(max_examples=100, deadline=None)
@given(npst.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 12)))
def test_touching_objects_never_share_a_colour(labels):
    index, palette = neighbour_palette(labels.astype(np.uint32))
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        for y, x in np.ndindex(labels.shape):
            v, u = y + dy, x + dx
            if v < labels.shape[0] and 0 <= u < labels.shape[1]:
                a, b = labels[y, x], labels[v, u]
                assert not a or not b or a == b or tuple(palette[index[a]]) != tuple(palette[index[b]])


def test_neighbours_in_the_colour_picture_differ_by_20():
    labels = cells(gap=1)
    lab = rgb2lab(color_rgb(labels) / 255)
    touching = 0
    for axis in (0, 1):
        a, b = (labels[:-1], labels[1:]) if axis == 0 else (labels[:, :-1], labels[:, 1:])
        la, lb = (lab[:-1], lab[1:]) if axis == 0 else (lab[:, :-1], lab[:, 1:])
        meet = (a != b) & (a > 0) & (b > 0)
        touching += meet.sum()
        assert deltaE_ciede2000(la[meet], lb[meet]).min() > 20
    assert touching > 50


def test_more_neighbours_than_colours_get_more_colours():
    labels = np.zeros((41, 41), np.uint32)
    for n in range(20):  # twenty objects, each beside each other one
        labels[2 * n, :] = n + 1
        for m in range(20):
            if m != n:
                labels[2 * n + 1, 2 * m], labels[2 * n + 1, 2 * m + 1] = n + 1, m + 1
    index, palette = neighbour_palette(labels)
    assert len(palette) > len(PALETTE)
    assert len({tuple(palette[i]) for i in index[1:21]}) == 20


def test_background_is_black_and_huge_labels_do():
    rgb = color_rgb(np.array([[0, 4_000_000_000, 7]], np.uint32))
    assert rgb[0, 0].max() == 0
    assert tuple(rgb[0, 1]) != tuple(rgb[0, 2])


def test_grey_is_stretched_and_dim_signal_is_lifted():
    image = np.full((100, 100), 100.0)
    image[:10, :10], image[50:53, 50:53] = 400, 1000
    rgb = image_rgb(image)
    assert (rgb[..., 0] == rgb[..., 2]).all()
    assert rgb[60, 0, 0] == 0
    assert 100 < rgb[5, 5, 0] <= 255
    assert rgb[51, 51, 0] == 255


def test_colour_pictures_are_shown_as_they_are():
    image = np.random.default_rng(0).integers(0, 256, (3, 20, 30), dtype=np.uint8)
    assert_array_equal(image_rgb(image), np.moveaxis(image, 0, -1))
    assert_array_equal(image_rgb(image, channel_names=("Red", "Green", "Blue")), np.moveaxis(image, 0, -1))
    unit = image_rgb(image / 255, channel_names=("red", "green", "blue"))
    assert np.abs(unit.astype(int) - np.moveaxis(image, 0, -1)).max() <= 1


def test_transmitted_light_is_grey_and_fluorescence_adds_colour():
    rng = np.random.default_rng(0)
    phase = rng.normal(120, 10, (80, 80))
    nuclei = np.zeros((80, 80))
    nuclei[30:40, 30:40] = 200
    rgb = image_rgb(np.stack([phase, nuclei])).astype(int)
    outside = rgb[:20]
    assert np.abs(outside[..., 0] - outside[..., 2]).max() <= 1
    assert (rgb[32:38, 32:38, 2] > rgb[32:38, 32:38, 0] + 30).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_any_number_of_channels(channels):
    image = np.random.default_rng(0).random((channels, 12, 9)) ** 4
    rgb = image_rgb(image, channel_names=[f"c{k}" for k in range(channels)])
    assert rgb.shape == (12, 9, 3)
    assert rgb.std() > 5


@pytest.mark.parametrize("value", [0, 255, np.nan, np.inf])
def test_constant_images(value):
    assert image_rgb(np.full((5, 6), value, np.float32)).shape == (5, 6, 3)


def test_stacks_are_shown_side_by_side():
    labels = np.zeros((12, 20, 30), np.uint16)
    labels[:, 5:15, 5:25] = np.arange(1, 13)[:, None, None]
    image = np.random.default_rng(0).random((12, 2, 20, 30))
    rgb = overlay_rgb(image, labels)
    assert rgb.shape == (3 * 20 + 8, 3 * 30 + 8, 3)
    line = find_boundaries(labels[11], mode="inner", connectivity=1)
    assert np.isin(rgb[-20:, -30:][line], PALETTE).all()
    assert (rgb[20:24] == 255).all()
    assert overlay_rgb(image[:2], labels[:2]).shape == (20, 64, 3)
    assert color_rgb(labels[:1]).shape == (20, 30, 3)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_do_not_change_the_picture(threads):
    labels = cells()
    image = np.random.default_rng(0).random((3, *labels.shape))
    one, many = (
        overlay_rgb(image, labels, channel_names="abc", line_width=3, threads=t) for t in (2, threads)
    )
    assert_array_equal(one, many)


def test_what_does_not_fit_is_an_error():
    with pytest.raises(ImageError, match="does not fit labels"):
        overlay_rgb(np.zeros((2, 3, 3)), np.zeros((3, 4), int))
    with pytest.raises(ImageError, match="needs an image"):
        image_rgb(np.zeros((2, 2, 3, 3)))
    with pytest.raises(ImageError, match="real numbers"):
        image_rgb(np.zeros((3, 3), complex))


def test_planes_of_a_stack_can_be_compared():
    labels = np.zeros((3, 20, 30), np.uint16)
    labels[:, 5:15, 5:15] = 1  # one object through all planes
    labels[1, 5:15, 15:25] = 2
    image = np.zeros((3, 1, 20, 30), np.uint16)
    image[1, 0, :, 25:] = 1000
    image[2, 0, :, 25:] = 10  # dim, and shown so
    rgb = overlay_rgb(image, labels)
    first, second, third = rgb[:20, :30], rgb[:20, 34:], rgb[24:, :30]
    assert tuple(first[5, 7]) == tuple(second[5, 7]) == tuple(third[5, 7])
    assert tuple(second[5, 7]) != tuple(second[5, 20])
    assert second[10, 28, 0] == 255
    assert third[10, 28, 0] < 30
    assert tuple(color_rgb(labels)[7, 7]) == tuple(first[5, 7])


def test_the_overlay_of_a_huge_image_is_smaller(monkeypatch):
    labels = np.kron(cells(gap=1), np.ones((2, 2), np.uint32))
    image = (labels * 7 % 251).astype(np.uint8)
    half = overlay_rgb(image[::2, ::2], labels[::2, ::2])
    monkeypatch.setattr(pictures, "_LARGEST_SIDE_PX", max(labels.shape) // 2)
    np.testing.assert_array_equal(overlay_rgb(image, labels), half)
    stack = overlay_rgb(np.stack([image] * 2), np.stack([labels] * 2))
    assert stack.shape[0] == half.shape[0]
