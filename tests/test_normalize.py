from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cellbrook.core.params import NormalizeParams
from cellbrook.errors import UsageError
from cellbrook.normalize import noise_channels, normalize, percentile_ranges, stack_ranges
from cellbrook.normalize._ranges import channel_range, percentiles, percentiles_reference
from cellbrook.normalize._stretch import LIMIT

DTYPES = ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]
RNG = np.random.default_rng(7)
NOISE = RNG.gamma(2.0, 20.0, (2, 61, 47))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(DTYPES[1:]), st.data())
def test_percentiles_equal_their_reference(dtype: str, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    channel = data.draw(hnp.arrays(dtype, shape))
    fractions = np.array([0.0, 0.01, 0.37, 0.5, 0.99, 1.0])
    with np.errstate(all="ignore"):
        expected = percentiles_reference(channel, fractions)
    found = percentiles(channel, fractions, 2)
    # numpy interpolates by differences, which overflow where ours do not
    good = np.isfinite(expected)
    np.testing.assert_allclose(np.array(found)[good], np.array(expected)[good], rtol=1e-12, atol=0)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "i4", "u8", "f2", "f4", "f8", ">u2", ">f4", "f16"])
@pytest.mark.parametrize("threads", [1, 2])
def test_stretch_is_what_numpy_computes(dtype: str, threads: int) -> None:
    image = NOISE.astype(dtype)
    low, high = np.percentile(image.astype(np.float64), [1, 99], axis=(1, 2))[..., None, None]
    expected = (image.astype(np.float64) - low) / (high - low)
    result = normalize(image, threads=threads)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    assert result.max() > 1 > 0 > result.min(), "not clipped"


def test_threads_do_not_change_a_bit() -> None:
    image = RNG.integers(0, 65536, (1, 900, 901)).astype(np.uint16)
    np.testing.assert_array_equal(normalize(image, threads=1), normalize(image, threads=2))


def test_small_signal_on_a_large_offset_keeps_its_digits() -> None:
    offset = 1 << 53
    image = (NOISE * 10).astype(np.int64)
    np.testing.assert_allclose(normalize(image + offset), normalize(image), atol=1e-2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("invert", [False, True])
def test_constant_channel_becomes_zero(dtype: str, value: int, invert: bool) -> None:
    image = np.full((1, 20, 20), value, dtype)
    assert not normalize(image, NormalizeParams(invert=invert)).any()


def test_rounding_noise_is_a_constant() -> None:
    image = np.full((1, 30, 30), 1000.1, np.float32)
    image[0, ::2] = np.nextafter(np.float32(1000.1), np.float32(np.inf))
    assert not normalize(image).any()


@pytest.mark.parametrize("count", [1, 3, 30])
@pytest.mark.parametrize("dtype", ["?", "u1", "u2", "f4"])
def test_sparse_objects_on_a_flat_ground_are_kept(count: int, dtype: str) -> None:
    image = np.zeros((1, 100, 100), dtype)
    image.reshape(-1)[:count] = 1
    result = normalize(image)
    assert result.reshape(-1)[:count].min() >= 1
    assert not result.reshape(-1)[count:].any()


def test_saturated_image_keeps_its_few_dark_pixels() -> None:
    image = np.full((1, 100, 100), 255, np.uint8)
    image[0, :3, :3] = 0
    result = normalize(image)
    assert result[0, 0, 0] <= 0
    assert result[0, 50, 50] == 1


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_non_finite_pixels_are_ignored_and_become_low(dtype: str) -> None:
    image = NOISE.astype(dtype)
    bad = RNG.random(image.shape) < 0.2
    holed = image.copy()
    holed[bad] = RNG.choice([np.nan, np.inf, -np.inf], bad.sum())
    result = normalize(holed)
    assert not result[bad].any()
    low, high = np.percentile(image[0][~bad[0]].astype(float), [1, 99])
    np.testing.assert_allclose(
        result[0][~bad[0]], (image[0][~bad[0]] - low) / (high - low), rtol=1e-4, atol=1e-4
    )
    assert not normalize(np.full((1, 5, 5), np.nan, dtype)).any()


@pytest.mark.parametrize(
    "params", [NormalizeParams(), NormalizeParams(smooth_radius=2), NormalizeParams(tile_norm_size=4)]
)
def test_extreme_floats_stay_finite(params: NormalizeParams) -> None:
    image = RNG.normal(size=(1, 40, 40))
    image[0, 0, 0], image[0, 5, 5] = 1e300, -1e308
    result = normalize(image, params)
    assert np.isfinite(result).all()
    assert np.abs(result).max() <= 2 * LIMIT
    assert np.isfinite(normalize(np.array([[[-1.7e308, 1.7e308]]]))).all()


def test_invert_exchanges_dark_and_bright() -> None:
    np.testing.assert_allclose(
        normalize(NOISE, NormalizeParams(invert=True)), 1 - normalize(NOISE), atol=1e-6
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_switched_off_only_casts(dtype: str) -> None:
    image = NOISE.astype(dtype)
    np.testing.assert_array_equal(
        normalize(image, NormalizeParams(normalize=False)), image.astype(np.float32)
    )


def test_options_that_would_do_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="without normalization invert, smooth_radius would do nothing"):
        NormalizeParams(normalize=False, invert=True, smooth_radius=3)


def test_a_channel_of_more_than_2_to_the_32_pixels() -> None:
    image = np.zeros((1, 2**16, 2**16 + 1), np.uint8)  # of zeros that nobody writes, memory holds one page
    image[0, -1, -1], image[0, 0, 0] = 200, 7
    np.testing.assert_array_equal(
        percentile_ranges(image, NormalizeParams(percentile_low=0, percentile_high=100)), [[0, 200]]
    )


@pytest.mark.parametrize("shape", [(0, 4, 4), (1, 0, 4), (1, 4, 0), (0, 0, 0)])
def test_empty_images(shape: tuple[int, int, int]) -> None:
    assert normalize(np.zeros(shape, np.uint8)).shape == shape
    assert percentile_ranges(np.zeros(shape, np.uint8)).shape == (shape[0], 2)


def test_blocks_with_the_ranges_of_the_whole_give_the_whole() -> None:
    image = NOISE.astype(np.uint16)
    ranges = percentile_ranges(image)
    parts = [normalize(image[:, :, x : x + 20], ranges=ranges) for x in range(0, 47, 20)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=2), normalize(image))


@pytest.mark.parametrize("radii", [{"smooth_radius": 1.0}, {"smooth_radius": 1.0, "sharpen_radius": 2.0}])
def test_filtered_blocks_with_the_ranges_of_the_whole_give_the_whole(radii: dict[str, float]) -> None:
    params = NormalizeParams(**radii)  # type: ignore[arg-type]
    ramp = np.linspace(1000, 9000, 120) + np.random.default_rng(3).normal(0, 50, (1, 64, 120))
    ranges = percentile_ranges(ramp, params)
    whole = normalize(ramp, params)
    np.testing.assert_allclose(normalize(ramp, params, ranges=ranges), whole, atol=1e-5)
    for x in (0, 60):  # each with a darkest pixel of its own
        part = normalize(ramp[:, :, x : x + 60], params, ranges=ranges)
        inner = (slice(None), slice(None), slice(15, 45))
        np.testing.assert_allclose(part[inner], whole[:, :, x : x + 60][inner], atol=1e-4)


def test_out_is_written_and_may_be_the_image() -> None:
    image = NOISE.astype(np.float32)
    expected = normalize(image)
    assert normalize(image, out=image) is image
    np.testing.assert_array_equal(image, expected)


def test_views_need_not_be_contiguous() -> None:
    pixels = NOISE.astype(np.uint8).transpose(1, 2, 0)[::-1, ::2].copy()
    view = np.moveaxis(pixels, -1, 0)
    np.testing.assert_array_equal(normalize(view), normalize(view.copy()))


def test_smooth_and_sharpen_are_gaussians_mirrored_at_the_edge() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    image = NOISE[:1].astype(np.uint8)
    smoothed = ndimage.gaussian_filter(image[0].astype(float), 1.5, mode="reflect")
    surround = ndimage.gaussian_filter(image[0].astype(float), 6.0, mode="reflect")
    result = normalize(image, NormalizeParams(smooth_radius=1.5))
    np.testing.assert_allclose(result, normalize(smoothed[None]), atol=1e-3)
    result = normalize(image, NormalizeParams(smooth_radius=1.5, sharpen_radius=6))
    np.testing.assert_allclose(result, normalize((smoothed - surround)[None]), atol=1e-3)
    result = normalize(image, NormalizeParams(sharpen_radius=6))
    np.testing.assert_allclose(result, normalize((image[0] - surround)[None]), atol=1e-3)


def test_blockwise_percentiles_level_uneven_light() -> None:
    light = np.linspace(1, 5, 480)[:, None]
    image = (RNG.random((1, 480, 200)) + 2) * light
    whole, level = normalize(image), normalize(image, NormalizeParams(tile_norm_size=40))

    def unevenness(result: np.ndarray, statistic: str) -> float:
        bands = result.reshape(12, 40, 200)[1:-1]  # beyond the outermost centres there is no slope
        return float(np.ptp(getattr(bands, statistic)(axis=(1, 2))))

    assert unevenness(level, "mean") < unevenness(whole, "mean") / 3
    assert unevenness(level, "std") < unevenness(whole, "std")


def test_flat_blocks_borrow_from_their_neighbours() -> None:
    image = np.full((1, 300, 300), 100.0)
    image[0, :100, :100] += RNG.random((100, 100)) * 50
    image[0, 100:] += RNG.random((200, 300)) * 1e-3  # noise that must not be stretched to the full range
    result = normalize(image, NormalizeParams(tile_norm_size=50))
    assert result[0, 150:, 150:].std() < 0.01
    assert np.isfinite(result).all()
    assert result[0, :90, :90].std() > 0.2


def test_flat_blocks_of_few_levels_borrow_from_their_neighbours_too() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(100, 103, (1, 300, 300)).astype(np.uint16)
    image[0, :100, :100] += rng.integers(0, 60, (100, 100)).astype(np.uint16)
    params = NormalizeParams(tile_norm_size=100)
    empty = (0, slice(200, None), slice(200, None))
    # numbers of a camera may not show more of its noise than any others
    of_fractions = normalize(image / np.float32(7), params)[empty].std()
    assert normalize(image, params)[empty].std() == pytest.approx(of_fractions, rel=1e-3)
    assert of_fractions < 0.02


def test_block_larger_than_the_image_is_the_image() -> None:
    np.testing.assert_array_equal(normalize(NOISE, NormalizeParams(tile_norm_size=100)), normalize(NOISE))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_tiny_blocks_and_images(size: int) -> None:
    for shape in [(1, 1, 1), (1, 1, 7), (1, 5, 1), (2, 6, 7)]:
        image = RNG.integers(0, 255, shape).astype(np.uint8)
        params = NormalizeParams(tile_norm_size=size, smooth_radius=3, sharpen_radius=9)
        assert np.isfinite(normalize(image, params)).all()


def test_memory_is_the_output_and_little_else() -> None:
    image = RNG.integers(0, 4096, (1, 1500, 1500)).astype(np.uint16)
    tracemalloc.start()
    result = normalize(image, NormalizeParams(tile_norm_size=200))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * result.nbytes


def test_range_of_a_channel_without_finite_pixels() -> None:
    assert channel_range(np.full((3, 3), np.inf), NormalizeParams(), 1) == (0.0, 0.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: normalize(np.zeros((4, 4))),
        lambda: normalize(np.zeros((1, 4, 4), complex)),
        lambda: normalize(NOISE, NormalizeParams(percentile_low=99, percentile_high=1)),
        lambda: normalize(NOISE, NormalizeParams(percentile_low=float("nan"))),
        lambda: normalize(NOISE, NormalizeParams(smooth_radius=-1)),
        lambda: normalize(NOISE, ranges=np.zeros((1, 2))),
        lambda: normalize(NOISE, NormalizeParams(tile_norm_size=9), ranges=np.zeros((2, 2))),
        lambda: normalize(NOISE, out=np.empty((2, 61, 47))),
        lambda: normalize(NOISE, threads=0),
    ],
)
def test_misuse_is_one_line(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError) as error:
        call()
    assert "\n" not in str(error.value)


def test_blocks_that_a_compression_left_are_nothing() -> None:
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(120, 132, (30, 40)), np.ones((8, 8), int)).astype(np.uint8)
    for moved in (blocks, blocks[3:, 5:], blocks.astype(np.float32)):
        assert not normalize(moved[None]).any()
    # whatever has detail, or a few bright blocks only, is shown
    noisy = blocks + rng.integers(0, 2, blocks.shape).astype(np.uint8)
    bright = (blocks - 120) * 8
    square = np.full_like(blocks, 120)
    square[64:128, 80:160] = 130
    for image in (noisy, bright, square):
        assert normalize(image[None]).max() > 0.9


def test_what_the_blocks_of_a_compression_differ_by_is_a_level() -> None:
    rng = np.random.default_rng(0)
    image = np.full((160, 160), 100.0)
    image[:, 90:] = 120
    image += rng.normal(0, 4, image.shape)
    # a mean of each block, in steps of 20, and a little detail beside the edge and in a few other places
    means = np.rint(image.reshape(20, 8, 20, 8).mean((1, 3)) / 20) * 20 + 20 * (rng.random((20, 20)) < 0.2)
    blocks = np.kron(means, np.ones((8, 8))).astype(np.uint8)
    blocks[::3, 84:92] += rng.integers(0, 9, blocks[::3, 84:92].shape).astype(np.uint8)
    low, high = percentile_ranges(blocks[None])[0]
    assert (low, high) == (100, 260)
    low, high = percentile_ranges(image.astype(np.uint8)[None])[0]
    assert high < 150, "without them one level is 1"


def test_lines_without_a_value_are_no_blocks_of_a_compression() -> None:
    image = np.full((1, 80, 160), 100, np.float32)
    image[..., ::8] = np.nan
    image[0, 40:60, 20:50] = 140
    assert percentile_ranges(image)[0].tolist() == [100, 140]


def test_a_few_levels_are_not_stretched_into_cells() -> None:
    rng = np.random.default_rng(0)
    blocks = (10 + rng.integers(0, 2, (1, 16, 16))).repeat(5, 1).repeat(5, 2)
    for dtype in (np.uint8, np.int16, np.float32):
        assert np.ptp(normalize(blocks.astype(dtype))) == pytest.approx(1 / 8)
    assert np.ptp(normalize(blocks / np.float32(7))) == 1, "what a unit means is not known of a fraction"
    assert np.ptp(normalize((blocks - 10).astype(np.uint8))) == 1, "a picture in black and white"
    assert np.ptp(normalize((blocks == 10).astype(bool))) == 1
    assert np.ptp(normalize((blocks - 11).astype(np.int16))) == pytest.approx(1 / 8), "less than 0 is no mask"
    assert np.ptp(normalize((blocks * 8).astype(np.uint8))) == 1


def noise(shape: tuple[int, ...] = (256, 256), sigma: float = 3.0, seed: int = 0) -> np.ndarray:
    return np.rint(np.random.default_rng(seed).normal(1000, sigma, shape)).astype(np.uint16)


@pytest.mark.parametrize("sigma", [0.6, 3.0, 50.0])
@pytest.mark.parametrize("shape", [(256, 256), (70, 400), (1030, 999)])
def test_noise_beside_a_stain_counts_as_constant(shape: tuple[int, int], sigma: float) -> None:
    stain = noise(shape)
    stain[10:40, 10:40] += 40
    dark = noise(shape, sigma, seed=1)
    dark[5, 7] = 60_000  # a hot pixel says nothing
    image = np.stack([stain, dark])
    assert noise_channels(image) == (1,)
    found = normalize(image)
    assert not found[1].any()
    assert np.array_equal(found[0], normalize(stain[None])[0])
    low, high = percentile_ranges(image)[1]
    assert low == high
    low, high = stack_ranges(np.stack([image, image]))[1]
    assert low == high
    later = image.copy()
    later[1, 20:40, 20:40] += int(4 * sigma) + 3
    assert noise_channels(np.stack([image] * 9 + [later])) == (), "one plane of the stack shows something"
    assert normalize(dark[None]).any(), "nothing else is left"
    assert noise_channels(np.stack([dark, dark])) == ()


def test_what_is_faint_or_rare_is_not_noise() -> None:
    y, x = np.mgrid[:1024, :1024]
    stain = noise((1024, 1024))
    stain[10:40, 10:40] += 40
    one_cell = noise((1024, 1024), seed=2) + (9 * (np.hypot(y - 500, x - 300) < 9)).astype(np.uint16)
    small_cells = noise((1024, 1024), seed=3)
    for row, column in np.random.default_rng(0).integers(8, 1000, (20, 2)):
        small_cells[row : row + 6, column : column + 6] += 15
    texture = noise((1024, 1024), seed=4) + np.rint(3 * np.sin(y / 5) * np.sin(x / 5) + 3).astype(np.uint16)
    for channel in (one_cell, small_cells, texture):
        assert noise_channels(np.stack([stain, channel])) == ()


def test_uneven_light_does_not_make_a_stain_of_noise() -> None:
    stain = noise((512, 512))
    stain[10:40, 10:40] += 40
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    shaded = (noise((512, 512), seed=5) + 30 - 30 * (y**2 + x**2) / 2).astype(np.uint16)
    assert noise_channels(np.stack([stain, shaded])) == (1,)


def _few(objects=60, level=1000, dtype=np.uint16, shape=(200, 300)):
    """A noisy background with so many pixels of objects."""
    image = np.random.default_rng(0).normal(500, 5, shape)
    image[50 : 50 + objects // 10, 80:90] = level
    return image[None].astype(dtype)


@pytest.mark.parametrize(("level", "value"), [(1000, 1), (0, 0)])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_few_objects_decide_the_range_of_their_image(level, value, dtype):
    image = _few(level=level, dtype=dtype)
    assert abs(normalize(image)[0, 52, 85]) > 15, "many times the range of the noise"
    assert normalize(image, sparse=True)[0, 52, 85] == pytest.approx(value, abs=0.01)
    assert percentile_ranges(image, sparse=True)[0, value] == level
    stack = np.stack([image, _few(0, dtype=dtype)])
    assert stack_ranges(stack, sparse=True)[0, value] == level


def test_other_images_keep_their_percentiles():
    def same(image, params=None):
        return np.array_equal(percentile_ranges(image, params, sparse=True), percentile_ranges(image, params))

    assert same(_few(0)), "background alone"
    assert same(_few(20)), "specks"
    assert same(_few(1500)), "more than a fiftieth"
    assert same(_few(), NormalizeParams(percentile_high=99.5)), "what was said"
    tissue = 500 + 400 * np.sin(np.arange(300) / 5) + 50 * np.random.default_rng(1).normal(size=(1, 200, 300))
    tissue[0, 10:20, 10:20] = 60000
    assert same(tissue), "dirt on what has structures everywhere"


def test_what_is_no_number_decides_no_range():
    image = _few(dtype=np.float32)
    image[0, :3, :40] = np.inf
    image[0, 3:6, :40] = np.nan
    image[0, 6:9, :40] = -np.inf
    low, high = percentile_ranges(image, sparse=True)[0]
    assert (low > 480, high) == (True, 1000)
