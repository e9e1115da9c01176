import numpy as np
import pytest
import tifffile

from cellbrook.errors import AmbiguousAxesError, ImageError
from cellbrook.io import open_image
from cellbrook.io.pixel_size import credible_resolution, to_micrometres


def stack(shape):
    return np.random.default_rng(1).integers(0, 5000, shape, dtype=np.uint16)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (325, "nm", 0.325), (0.5, "µm", 0.5), (0.5, "μm", 0.5), (0.5, "um", 0.5), (0.5, "micron", 0.5),
        (0.5, "\\u00B5m", 0.5), (1, "mm", 1000.0), (1, "inch", 25400.0), (3, "Å", 0.0003), (2e-5, "cm", 0.2),
        (0.5, "micrometer", 0.5), (0.5, "pixel", None), (0.5, None, None), (0, "um", None), (-1, "um", None),
        (float("nan"), "um", None), (float("inf"), "um", None), (1, "furlong", None),
    ],
)  # fmt: skip
def test_units(value, unit, expected):
    assert to_micrometres(value, unit) == expected


@pytest.mark.parametrize("dpi", [72, 96, 150, 200, 300, 600, 1200])
def test_usual_print_resolutions_are_no_pixel_sizes(dpi):
    assert credible_resolution(dpi, "inch") is None
    assert credible_resolution(dpi / 2.54, "cm") is None


def test_measured_resolutions_are():
    assert credible_resolution(40000, "cm") == 0.25
    assert credible_resolution(1, "cm") is None
    assert credible_resolution(5, "") is None
    assert credible_resolution(0, "cm") is None


@pytest.mark.parametrize(
    ("unit", "size", "expected"),
    [("nm", 108.3, 0.1083), ("µm", 0.65, 0.65), (None, 0.65, 0.65), ("mm", 0.001, 1.0)],
)
def test_ome_pixel_size_with_units(tmp_path, unit, size, expected):
    metadata = {"axes": "ZYX", "PhysicalSizeX": size, "PhysicalSizeY": size, "PhysicalSizeZ": size * 2}
    if unit:
        metadata |= {f"PhysicalSize{a}Unit": unit for a in "XYZ"}
    tifffile.imwrite(tmp_path / "a.ome.tif", stack((3, 8, 9)), photometric="minisblack", metadata=metadata)
    source = open_image(tmp_path / "a.ome.tif")
    assert source.pixel_size_um == pytest.approx({"X": expected, "Y": expected, "Z": 2 * expected})


def test_a_pixel_size_of_the_user_wins(tmp_path):
    metadata = {"axes": "ZYX", "PhysicalSizeX": 1, "PhysicalSizeY": 1, "PhysicalSizeZ": 3}
    tifffile.imwrite(tmp_path / "a.ome.tif", stack((3, 8, 9)), photometric="minisblack", metadata=metadata)
    assert open_image(tmp_path / "a.ome.tif", pixel_size=0.2).pixel_size_um == {"X": 0.2, "Y": 0.2, "Z": 3.0}


@pytest.mark.parametrize("unit", ["micron", "um", "µm", "\\u00B5m"])
def test_imagej_hyperstack(tmp_path, unit):
    array = stack((2, 4, 3, 8, 9))
    tifffile.imwrite(
        tmp_path / "a.tif",
        array,
        imagej=True,
        resolution=(1 / 0.32, 1 / 0.32),
        metadata={"axes": "TZCYX", "unit": unit.encode("ascii", "backslashreplace").decode(), "spacing": 1.5},
    )
    source = open_image(tmp_path / "a.tif")
    assert (source.axes, source.shape) == ("TCZYX", (2, 3, 4, 8, 9))
    np.testing.assert_array_equal(source.read({"T": 1, "C": 2}), array[1, :, 2])
    expected = 0.32 if unit != "µm" else None  # tifffile escapes it as \xb5, which ImageJ does not write
    assert source.pixel_size_um.get("X") == expected


def test_imagej_without_a_unit_has_no_pixel_size(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", stack((8, 9)), imagej=True, resolution=(3, 3), metadata={"axes": "YX"}
    )
    assert open_image(tmp_path / "a.tif").pixel_size_um == {}


def test_imagej_inches_and_centimetres(tmp_path):
    for unit, per_unit, expected in [("inch", 72, {}), ("cm", 20000, {"X": 0.5, "Y": 0.5})]:
        tifffile.imwrite(
            tmp_path / "a.tif",
            stack((8, 9)),
            imagej=True,
            resolution=(per_unit,) * 2,
            metadata={"unit": unit},
        )
        assert open_image(tmp_path / "a.tif").pixel_size_um == expected


def test_plain_resolution_tags_only_when_credible(tmp_path):
    for resolution, unit, expected in [((72, 72), 2, {}), ((31250, 31250), 3, {"X": 0.32, "Y": 0.32})]:
        tifffile.imwrite(tmp_path / "a.tif", stack((8, 9)), resolution=resolution, resolutionunit=unit)
        assert open_image(tmp_path / "a.tif").pixel_size_um == pytest.approx(expected)


@pytest.mark.parametrize(
    ("words", "size"), [("|AppMag = 20|MPP = 0.4990", 0.499), ("|MPP = 0", None), ("", None)]
)
def test_the_pixel_size_of_an_aperio_slide_stands_in_its_description(tmp_path, words, size):
    told = f"Aperio Image Library v10.0.51\r\n46920x33014 [0,100 46000x32914] (256x256) JPEG/RGB Q=30{words}"
    path = tmp_path / "a.svs"
    tifffile.imwrite(
        path, stack((64, 64, 3)).astype(np.uint8), photometric="rgb", description=told, metadata=None
    )
    assert open_image(path).pixel_size_um == ({} if size is None else {"Y": size, "X": size})


def test_half_known_pixel_size_is_none(tmp_path):
    metadata = {"axes": "YX", "PhysicalSizeX": 1}
    tifffile.imwrite(tmp_path / "a.ome.tif", stack((8, 9)), metadata=metadata)
    assert open_image(tmp_path / "a.ome.tif").pixel_size_um == {}


@pytest.mark.parametrize("options", [{"metadata": None}, {}])
def test_pages_without_meaning_are_ambiguous(tmp_path, options):
    tifffile.imwrite(tmp_path / "a.tif", stack((3, 32, 33)), photometric="minisblack", **options)
    with pytest.raises(AmbiguousAxesError, match=r"a\.tif has shape \(3, 32, 33\).*CYX, ZYX or TYX"):
        open_image(tmp_path / "a.tif")
    assert open_image(tmp_path / "a.tif", axes="CYX").channel_names == ("0", "1", "2")


def test_channel_names(tmp_path):
    names = ["DAPI", "", "DAPI"]
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        stack((3, 8, 9)),
        photometric="minisblack",
        metadata={"axes": "CYX", "Channel": {"Name": names}},
    )
    assert open_image(tmp_path / "a.ome.tif").channel_names == ("DAPI (0)", "1", "DAPI (2)")
    tifffile.imwrite(
        tmp_path / "b.tif",
        stack((2, 8, 9)),
        imagej=True,
        metadata={"axes": "CYX", "Labels": ["red one", "other"]},
    )
    assert open_image(tmp_path / "b.tif").channel_names == ("red one", "other")


def test_grey_saved_as_rgb_stays_three_channels(tmp_path):
    grey = np.repeat(stack((30, 31, 1)), 3, axis=2)
    tifffile.imwrite(tmp_path / "a.tif", grey, photometric="rgb")
    source = open_image(tmp_path / "a.tif")
    assert (source.shape, source.is_rgb) == ((3, 30, 31), True)


def test_three_fluorescence_channels_are_no_picture(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", stack((3, 30, 31)), photometric="minisblack", metadata={"axes": "CYX"}
    )
    assert not open_image(tmp_path / "a.tif").is_rgb
    assert not open_image(stack((3, 30, 31)), axes="CYX").is_rgb
    assert open_image(stack((30, 31, 3)), axes="YXS").is_rgb


def test_palette_and_white_is_zero_are_noted(tmp_path):
    table = np.zeros((3, 256), np.uint16)
    values = np.arange(64, dtype=np.uint8).reshape(8, 8)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="palette", colormap=table)
    source = open_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(source.read(), values)
    assert "palette" in source.notes[0]
    tifffile.imwrite(tmp_path / "b.tif", values, photometric="miniswhite")
    assert "0 is white" in open_image(tmp_path / "b.tif").notes[0]


def test_ome_set_with_a_missing_file(tmp_path):
    array = stack((2, 8, 9))
    tifffile.imwrite(tmp_path / "a.ome.tif", array, photometric="minisblack", metadata={"axes": "ZYX"})
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        xml = tif.ome_metadata
    blocks = "".join(
        f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1">'
        f'<UUID FileName="z{z}.ome.tif">urn:uuid:{z}</UUID></TiffData>'
        for z in range(2)
    )
    start, end = xml.index("<TiffData"), xml.index("</Pixels>")
    xml = xml[:start] + blocks + xml[end:]
    path = tmp_path / "z0.ome.tif"
    tifffile.imwrite(path, array[0], photometric="minisblack", description=xml.encode(), metadata=None)
    with pytest.raises(ImageError, match="plane is missing"):
        open_image(path).read()
