"""The adapter for microscope makers' formats, against an object that behaves as `bioio.BioImage` does."""

import sys
import types
from types import SimpleNamespace

import numpy as np
import pytest

from cellbrook.errors import ImageError, UsageError
from cellbrook.io import describe, open_image, scenes
from cellbrook.io._bioio import VENDOR_FORMATS


class FakeBioImage:
    """Two scenes of TCZYX pixels."""

    def __init__(self, path):
        del path
        self.scenes = ("Series 1", "Series 2")
        self.dims = SimpleNamespace(order="TCZYX")
        self.physical_pixel_sizes = SimpleNamespace(Z=None, Y=0.2, X=0.2)
        self.channel_names = ["DAPI", "GFP"]
        self.set_scene(0)

    def set_scene(self, number):
        self.dask_data = np.full((1, 2, 1, 12, 14), number, np.uint16)


@pytest.fixture
def bioio(monkeypatch):
    module = types.ModuleType("bioio")
    module.BioImage = FakeBioImage
    monkeypatch.setitem(sys.modules, "bioio", module)
    return module


@pytest.fixture
def czi(tmp_path):
    path = tmp_path / "scan.czi"
    path.write_bytes(b"ZISRAWFILE")
    return path


def test_scenes_axes_names_and_pixel_size(bioio, czi):
    assert scenes(czi) == ("Series 1", "Series 2")
    with pytest.raises(UsageError, match=r"holds 2 scenes: 0 \(Series 1\), 1 \(Series 2\)"):
        open_image(czi)
    source = open_image(czi, scene="Series 2")
    assert (source.axes, source.shape) == ("CYX", (2, 12, 14))
    assert source.pixel_size_um == {"Y": 0.2, "X": 0.2}
    assert source.read({"C": 1}).max() == 1
    assert describe(source) == "scan.czi: TCZYX 1x2x1x12x14 uint16, channels DAPI, GFP, 0.2 um/px"


def test_what_readers_make_up_is_not_passed_on(bioio, czi, monkeypatch):
    def set_scene(self, number):
        self.dask_data = np.zeros((1, 2, 1, 12, 14), np.uint8)
        self.scenes = ("only",)
        self.channel_names = [np.str_("Channel:0:0"), np.str_("Channel:0:1")]
        self.physical_pixel_sizes = SimpleNamespace(Z=None, Y=1.0, X=1.0)

    monkeypatch.setattr(FakeBioImage, "set_scene", set_scene)
    source = open_image(czi)
    assert source.channel_names == ("0", "1")
    assert source.pixel_size_um == {}


def test_colour(bioio, czi, monkeypatch):
    def set_scene(self, number):
        self.dims = SimpleNamespace(order="TCZYXS")
        self.scenes = ("only",)
        self.dask_data = np.zeros((1, 1, 1, 12, 14, 4), np.uint8)

    monkeypatch.setattr(FakeBioImage, "set_scene", set_scene)
    source = open_image(czi)
    assert (source.axes, source.shape, source.is_rgb) == ("CYX", (3, 12, 14), True)
    assert "dropped the alpha channel" in source.notes


@pytest.mark.parametrize("suffix", VENDOR_FORMATS)
def test_without_a_reader_the_error_names_the_command(tmp_path, monkeypatch, suffix):
    monkeypatch.setitem(sys.modules, "bioio", None)  # makes the import fail
    path = tmp_path / f"scan{suffix.upper()}"
    path.write_bytes(b"something")
    with pytest.raises(ImageError) as caught:
        open_image(path)
    assert "pip install" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_reader_that_is_missing_or_fails(bioio, czi):
    class UnsupportedFileFormatError(Exception):
        pass

    def missing(path):
        raise UnsupportedFileFormatError(path)

    def fails(path):
        raise RuntimeError("bad\nblock")

    bioio.BioImage = missing
    with pytest.raises(
        ImageError, match="no installed reader takes this Zeiss CZI file; install one with: pip"
    ):
        open_image(czi)
    bioio.BioImage = fails
    with pytest.raises(ImageError, match=r"damaged or not what it seems \(bad block\)"):
        open_image(czi)
