"""A window is segmented as a part of the whole plane, without reading a large one."""

import numpy as np
import pytest

from cellbrook.core.params import SegmentParams
from cellbrook.io import open_image
from cellbrook.server import window as module
from cellbrook.server.window import Window


class Reading:
    """A source that remembers how much was read."""

    def __init__(self, source):
        self._source = source
        self.pixels = 0

    def __getattr__(self, name):
        return getattr(self._source, name)

    def read(self, selection=None, level=0):
        found = self._source.read(selection, level)
        self.pixels += found.size
        return found


def image(shape=(3, 700, 500)):
    rng = np.random.default_rng(0)
    return (rng.gamma(2.0, 300.0, shape) * np.array([1, 3, 0.5])[:, None, None]).astype(np.uint16)


def window_of(source, channels=None):
    return Window(source, 0, (100, 50, 260, 210), SegmentParams.from_keywords(channels=channels, threads=1))


def test_a_window_has_the_intensities_of_the_whole_plane():
    pixels = image()
    part = window_of(open_image(pixels, axes="CYX"), channels="1,2")._normalized(sparse=False)
    low, high = np.percentile(pixels[1], (1, 99))
    np.testing.assert_allclose(part[0], (pixels[1, 100:260, 50:210] - low) / (high - low), atol=1e-4)
    assert part.shape == (2, 160, 160)


@pytest.mark.parametrize(
    ("axes", "z"), [(a, z) for a in ("ZYX", "CZYX", "TZYX") for z in ("max", "mean", "1")]
)
def test_a_window_of_a_projected_stack_is_of_the_projection(axes, z):
    lengths = dict(zip("TCZYX", (2, 2, 3, 40, 30), strict=True))
    pixels = np.random.default_rng(0).integers(0, 999, [lengths[a] for a in axes], np.uint16)
    plane = 1 if "T" in axes else 0
    params = SegmentParams.from_keywords(z=z, normalize=False, threads=1)
    part = Window(open_image(pixels, axes=axes), plane, (5, 6, 25, 20), params)._normalized(sparse=False)
    stack = np.moveaxis(pixels, axes.index("Z"), 0)
    expected = stack[1] if z == "1" else getattr(stack, z)(0)
    expected = expected[1:] if "T" in axes else expected.reshape(-1, 40, 30)
    np.testing.assert_allclose(part, expected[:, 5:25, 6:20], rtol=1e-5)


def test_of_a_large_plane_a_sample_is_read(monkeypatch):
    pixels = image()
    whole = window_of(open_image(pixels, axes="CYX"))._normalized(sparse=False)
    monkeypatch.setattr(module, "LARGE_PX", 2**16)
    monkeypatch.setattr(module, "SAMPLE_PX", 2**17)
    source = Reading(open_image(pixels, axes="CYX"))
    sampled = window_of(source)._normalized(sparse=False)
    assert source.pixels < 0.6 * pixels.size
    np.testing.assert_allclose(sampled, whole, atol=0.03)
