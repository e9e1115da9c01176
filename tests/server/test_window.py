"""A window is segmented as a part of the whole plane, without reading a large one."""

import numpy as np

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
    part = window_of(open_image(pixels, axes="CYX"), channels=(1, 2))._normalized()
    low, high = np.percentile(pixels[1], (1, 99))
    np.testing.assert_allclose(part[0], (pixels[1, 100:260, 50:210] - low) / (high - low), atol=1e-4)
    assert part.shape == (2, 160, 160)


def test_of_a_large_plane_a_sample_is_read(monkeypatch):
    pixels = image()
    whole = window_of(open_image(pixels, axes="CYX"))._normalized()
    monkeypatch.setattr(module, "LARGE_PX", 2**16)
    monkeypatch.setattr(module, "SAMPLE_PX", 2**17)
    source = Reading(open_image(pixels, axes="CYX"))
    sampled = window_of(source)._normalized()
    assert source.pixels < 0.6 * pixels.size
    np.testing.assert_allclose(sampled, whole, atol=0.03)
