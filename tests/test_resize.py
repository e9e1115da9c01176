from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellbrook.errors import UsageError
from cellbrook.resize import (
    _apply,
    _apply_reference,
    _gauss_weights,
    _resize_weights,
    resize,
    scaled_shape,
    smooth,
)

RNG = np.random.default_rng(11)
SIDES = st.integers(1, 200)


@settings(max_examples=100, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_kernel_equals_its_reference(y: int, x: int, rows: int, cols: int, threads: int, seed: int) -> None:
    image = np.random.default_rng(seed).normal(size=(2, y, x)).astype(np.float32)
    along_y, along_x = _resize_weights(y, rows), _resize_weights(x, cols)
    result = _apply(image, along_y, along_x, threads)
    np.testing.assert_allclose(result, _apply_reference(image, along_y, along_x), atol=2e-5)


@settings(max_examples=50, deadline=None)
@given(SIDES, SIDES, st.floats(0.2, 16))
def test_gaussian_kernel_equals_its_reference(y: int, x: int, sigma: float) -> None:
    image = RNG.normal(size=(1, y, x)).astype(np.float32)
    expected = _apply_reference(image, _gauss_weights(y, sigma), _gauss_weights(x, sigma))
    np.testing.assert_allclose(smooth(image, sigma, threads=2), expected, atol=2e-5)


@settings(max_examples=100, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES)
def test_constant_stays_constant(y: int, x: int, rows: int, cols: int) -> None:
    result = resize(np.full((1, y, x), 3.7, np.float32), (rows, cols))
    assert result.shape == (1, rows, cols)
    np.testing.assert_allclose(result, 3.7, rtol=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.integers(4, 300), st.integers(1, 300))
def test_ramp_stays_a_ramp_away_from_the_edges(n_in: int, n_out: int) -> None:
    image = np.arange(n_in, dtype=np.float32)[None]
    step = n_in / n_out
    expected = (np.arange(n_out) + 0.5) * step - 0.5
    inside = (expected - step / 2 >= 0) & (expected + step / 2 <= n_in - 1)
    np.testing.assert_allclose(resize(image, (1, n_out))[0][inside], expected[inside], rtol=1e-5, atol=1e-4)


def test_identity_returns_the_image() -> None:
    image = RNG.random((2, 5, 6)).astype(np.float32)
    assert resize(image, (5, 6)) is image


@pytest.mark.parametrize("shape", [(74, 90), (61, 47), (37, 45), (200, 30), (1, 1)])
def test_enlarging_equals_scikit_image(shape: tuple[int, int]) -> None:
    transform = pytest.importorskip("skimage.transform")
    image = RNG.random((37, 30)).astype(np.float32)
    target = (max(shape[0], 37), max(shape[1], 30))
    expected = transform.resize(image, target, order=1, mode="edge", anti_aliasing=False)
    np.testing.assert_allclose(resize(image, target), expected, atol=1e-5)


def test_halving_is_the_mean_of_two_by_two() -> None:
    image = RNG.random((3, 40, 64)).astype(np.float32)
    expected = image.reshape(3, 20, 2, 32, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(resize(image, (20, 32)), expected, atol=1e-6)


@pytest.mark.parametrize("factor", [0.5, 0.37, 0.21])
def test_shrinking_is_close_to_scikit_image_and_does_not_alias(factor: float) -> None:
    transform = pytest.importorskip("skimage.transform")
    y, x = np.mgrid[:200, :240]
    image = (np.sin(y / 15) + np.cos(x / 20)).astype(np.float32)
    shape = scaled_shape(image.shape, factor)
    expected = transform.resize(image, shape, order=1, mode="edge", anti_aliasing=True)
    np.testing.assert_allclose(resize(image, shape), expected, atol=0.06)
    checker = ((y + x) % 2).astype(np.float32)
    # away from the edge, where the mirrored half pixel counts more
    assert np.abs(resize(checker, shape)[1:-1, 1:-1] - 0.5).max() < 0.3
    plain = transform.resize(checker, shape, order=1, mode="edge", anti_aliasing=False)
    assert resize(checker, shape).std() <= plain.std() + 1e-6


def test_factors_next_to_one_join_smoothly() -> None:
    image = RNG.random((1, 4000)).astype(np.float32)
    just_below, just_above = resize(image, (1, 3999))[0], resize(image, (1, 4001))[0]
    np.testing.assert_allclose(just_below[:100], image[0, :100], atol=0.05)
    np.testing.assert_allclose(just_above[:100], image[0, :100], atol=0.05)


@pytest.mark.parametrize("factor", [1.3, 2.0, 3.7])
def test_up_then_down_is_close_to_the_image(factor: float) -> None:
    y, x = np.mgrid[:80, :90]
    image = (np.sin(y / 8) * np.cos(x / 9)).astype(np.float32)
    back = resize(resize(image, scaled_shape(image.shape, factor)), image.shape)
    np.testing.assert_allclose(back[2:-2, 2:-2], image[2:-2, 2:-2], atol=0.02)


def test_centre_of_mass_stays_in_place() -> None:
    image = np.zeros((60, 50), np.float32)
    image[20:30, 10:22] = 1
    for shape in [(120, 100), (45, 70), (21, 19)]:
        result = resize(image, shape)
        weight = result.sum()
        centre_y = ((np.arange(shape[0]) + 0.5) / shape[0] * result.sum(axis=1)).sum() / weight
        centre_x = ((np.arange(shape[1]) + 0.5) / shape[1] * result.sum(axis=0)).sum() / weight
        assert centre_y * 60 == pytest.approx(25, abs=0.2)
        assert centre_x * 50 == pytest.approx(16, abs=0.2)


def test_gaussian_equals_scipy() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    image = RNG.random((1, 33, 20)).astype(np.float32)
    for sigma in (0.5, 2.0, 15.0):
        expected = ndimage.gaussian_filter(image[0].astype(float), sigma, mode="reflect")
        np.testing.assert_allclose(smooth(image, sigma)[0], expected, atol=1e-3)
    assert smooth(image, 0) is image


@pytest.mark.parametrize("sigma", [16.1, 25.0, 60.0, 500.0])
def test_wide_gaussian_is_close_to_scipy(sigma: float) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    image = ndimage.gaussian_filter(RNG.random((301, 440)), 4).astype(np.float32)
    image /= np.ptp(image)
    expected = ndimage.gaussian_filter(image.astype(float), sigma, mode="reflect")
    np.testing.assert_allclose(smooth(image, sigma), expected, atol=3e-3)


def test_non_contiguous_input() -> None:
    image = RNG.random((20, 30, 3)).astype(np.float32).transpose(2, 0, 1)
    np.testing.assert_array_equal(resize(image, (11, 50)), resize(image.copy(), (11, 50)))


def test_scaled_shape_is_never_empty() -> None:
    assert scaled_shape((3, 100), 0.01) == (1, 1)
    assert scaled_shape((3, 100), 2.5) == (8, 250)
    for scale in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="scale"):
            scaled_shape((3, 3), scale)


@pytest.mark.parametrize(
    ("image", "shape"),
    [
        (np.zeros((3, 3)), (2, 2)),
        (np.zeros(3, np.float32), (2, 2)),
        (np.zeros((3, 3), np.float32), (0, 2)),
        (np.zeros((1, 0, 3), np.float32), (2, 2)),
    ],
)
def test_misuse_is_one_line(image: np.ndarray, shape: tuple[int, int]) -> None:
    with pytest.raises(UsageError) as error:
        resize(image, shape)
    assert "\n" not in str(error.value)
