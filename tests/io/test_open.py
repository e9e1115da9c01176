import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from cellbrook.errors import AmbiguousAxesError, CellbrookError, ImageError, UsageError
from cellbrook.io import Source, StoredImage, describe, open_image, register, scenes
from cellbrook.io import open as open_module

DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
FLOATS = ["float16", "float32", "float64"]


def pixels(shape, dtype="uint16", seed=0):
    values = np.random.default_rng(seed).integers(0, 200, shape)
    return (values > 100) if np.dtype(dtype) == bool else values.astype(dtype)


def write(path, array, axes):
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        tifffile.imwrite(path, array, photometric="minisblack", metadata={"axes": axes})


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
@pytest.mark.parametrize("dtype", [*DTYPES, *FLOATS, ">u2", ">f4", "<f8"])
def test_every_type_comes_back_in_native_order(tmp_path, suffix, dtype):
    array = pixels((13, 17), dtype)
    path = tmp_path / f"a{suffix}"
    if suffix == ".tif" and dtype.startswith(">"):
        tifffile.imwrite(path, array, byteorder=">")
    else:
        write(path, array, "YX")
    source = open_image(path)
    assert isinstance(source, Source)
    assert source.dtype == np.dtype(dtype).newbyteorder("=")
    assert source.read().dtype.isnative
    np.testing.assert_array_equal(source.read(), array)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_order_of_axes_reads_as_numpy_indexing_says(tmp_path_factory, data):
    axes = "".join(
        data.draw(st.permutations(data.draw(st.sampled_from(["YX", "CYX", "ZYX", "TCYX", "TCZYX"]))))
    )
    array = pixels(tuple(data.draw(st.integers(2, 6)) for _ in axes))
    if data.draw(st.booleans()):
        source = open_image(array, axes=axes)
    else:
        path = tmp_path_factory.mktemp("axes") / "a.npy"
        np.save(path, array)
        source = open_image(path, axes=axes.lower())
    order = [a for a in "TCZYX" if a in axes]
    expected = array.transpose([axes.index(a) for a in order])
    assert source.axes == "".join(order)
    assert source.shape == expected.shape == source.levels[0]
    selection, key = {}, []
    for axis, length in zip(order, expected.shape, strict=True):
        kind = data.draw(st.sampled_from(["all", "index", "slice", "step"]))
        part = slice(None)
        if kind == "index":
            part = data.draw(st.integers(-length, length - 1))
        elif kind != "all":
            start, stop = sorted(data.draw(st.tuples(st.integers(0, length), st.integers(0, length))))
            part = slice(start, stop, 2 if kind == "step" else None)
        key.append(part)
        if kind != "all":
            selection[axis] = part
    np.testing.assert_array_equal(source.read(selection), expected[tuple(key)])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "lzw", "rowsperstrip": 5},
        {"tile": (16, 32), "compression": "zlib", "predictor": True},
        {"tile": (16, 16)},
        {"rowsperstrip": 7},
        {"bigtiff": True, "compression": "zlib"},
    ],
)
def test_parts_of_tiff_planes(tmp_path, options):
    array = pixels((2, 3, 61, 83))
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, photometric="minisblack", metadata={"axes": "ZCYX"}, **options)
    source = open_image(path)
    assert source.axes == "CZYX"
    expected = array.swapaxes(0, 1)
    np.testing.assert_array_equal(source.read(), expected)
    np.testing.assert_array_equal(source.read({"C": 2, "Z": 1}), expected[2, 1])
    box = {"Y": slice(13, 19), "X": slice(30, 71, 3)}
    np.testing.assert_array_equal(source.read(box), expected[:, :, 13:19, 30:71:3])
    np.testing.assert_array_equal(source.read({"Y": 60, "X": slice(80, 83), "Z": 0}), expected[:, 0, 60, 80:])
    assert source.read({"Y": slice(5, 5)}).shape == (3, 2, 0, 83)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_colour_tiffs(tmp_path, planar, tile):
    array = pixels((40, 50, 3), "uint8")
    stored = array if planar == "contig" else array.transpose(2, 0, 1)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored, photometric="rgb", planarconfig=planar, tile=tile, compression="zlib")
    source = open_image(path)
    assert (source.axes, source.is_rgb, source.channel_names) == ("CYX", True, ("red", "green", "blue"))
    np.testing.assert_array_equal(source.read(), array.transpose(2, 0, 1))
    np.testing.assert_array_equal(
        source.read({"C": 1, "Y": slice(3, 9), "X": slice(20, 30)}), array[3:9, 20:30, 1]
    )


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_png_of_any_kind_and_alpha_is_dropped_knowingly(tmp_path, dtype, samples):
    array = pixels((19, 23, samples), dtype)
    array = array[..., 0] if samples == 1 else array
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(array))
    source = open_image(path)
    assert source.is_rgb == (samples >= 3)
    assert ("dropped the alpha channel" in source.notes) == (samples in (2, 4))
    if samples <= 2:
        np.testing.assert_array_equal(source.read(), array if samples == 1 else array[..., 0])
        assert source.axes == "YX"
    else:
        np.testing.assert_array_equal(source.read(), array[..., :3].transpose(2, 0, 1))
        assert source.axes == "CYX"


def test_alpha_of_tiffs_is_dropped_and_unspecified_samples_are_kept(tmp_path):
    array = pixels((20, 30, 4), "uint8")
    tifffile.imwrite(tmp_path / "alpha.tif", array, photometric="rgb", extrasamples=["unassalpha"])
    tifffile.imwrite(tmp_path / "four.tif", array, photometric="rgb", extrasamples=["unspecified"])
    assert open_image(tmp_path / "alpha.tif").shape == (3, 20, 30)
    four = open_image(tmp_path / "four.tif")
    assert (four.shape, four.is_rgb) == ((4, 20, 30), False)


@pytest.mark.parametrize("file", [False, True])
def test_four_samples_of_an_array_are_colour_where_the_fourth_says_nothing(tmp_path, file):
    def opened(array, **options):
        np.save(tmp_path / "a.npy", array)
        return open_image(tmp_path / "a.npy" if file else array, **options)

    array = pixels((20, 30, 4), "uint8")
    for stains in (array, array.astype(np.uint16), np.where(array > 99, np.uint8(255), np.uint8(0))):
        with pytest.raises(AmbiguousAxesError, match=r'YXC or YXS.*axes="YXC"'):
            opened(stains)
    array[..., 3] = 255
    source = opened(array)
    assert (source.shape, source.is_rgb) == ((3, 20, 30), True)
    assert source.notes == ("read shape (20, 30, 4) as a colour picture", "dropped the alpha channel")
    with pytest.raises(AmbiguousAxesError):
        opened(array.astype(np.uint16))
    assert opened(array, axes="YXC").shape == (4, 20, 30)


def test_jpeg_and_its_orientation(tmp_path):
    # a picture whose corners differ, so that every turn shows
    array = np.zeros((32, 48, 3), np.uint8)
    array[:16, :24] = 220
    array[16:, :24, 1] = 130
    plain = imagecodecs.jpeg8_encode(array, level=95)
    upright = {
        1: array, 2: array[:, ::-1], 3: array[::-1, ::-1], 4: array[::-1], 5: array.swapaxes(0, 1),
        6: array.swapaxes(0, 1)[:, ::-1], 7: array[::-1, ::-1].swapaxes(0, 1), 8: array.swapaxes(0, 1)[::-1],
    }  # fmt: skip
    for orientation, expected in upright.items():
        for order in ("<", ">"):
            path = tmp_path / f"{orientation}.jpg"
            path.write_bytes(with_orientation(plain, orientation, order))
            source = open_image(path)
            assert source.shape == (3, *expected.shape[:2])
            difference = np.abs(source.read().transpose(1, 2, 0).astype(int) - expected)
            assert difference.mean() < 4


def with_orientation(jpeg, value, order):
    import struct

    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, value, 0)
    tiff = head + struct.pack(order + "I", 8) + struct.pack(order + "H", 1) + entry + bytes(4)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def test_grey_jpeg(tmp_path):
    (tmp_path / "a.jpg").write_bytes(imagecodecs.jpeg8_encode(pixels((16, 24), "uint8")))
    assert open_image(tmp_path / "a.jpg").axes == "YX"


def zarr_image(path, array, axes, version, *, levels=1, unit="micrometer", channels=()):
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    kinds = {"t": "time", "c": "channel"}
    declared = [{"name": a, "type": kinds.get(a, "space")} for a in axes.lower()]
    for axis in declared:
        if axis["type"] == "space":
            axis["unit"] = unit
    datasets = []
    for level in range(levels):
        part = array[..., :: 2**level, :: 2**level]
        stored = group.create_array(str(level), shape=part.shape, dtype=part.dtype, chunks=part.shape)
        stored[...] = part
        scale = [0.5 * 2**level if a in "yx" else 2.0 if a == "z" else 1.0 for a in axes.lower()]
        datasets.append(
            {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        )
    ome = {"multiscales": [{"axes": declared, "datasets": datasets}]}
    if channels:
        ome["omero"] = {"channels": [{"label": c} for c in channels]}
    if version == "0.4":
        ome["multiscales"][0]["version"] = "0.4"
        group.attrs.update(ome)
    else:
        group.attrs["ome"] = {"version": version, **ome}
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_with_levels_names_and_pixel_size(tmp_path, version):
    array = pixels((2, 3, 32, 40))
    path = zarr_image(tmp_path / "a.ome.zarr", array, "czyx", version, levels=2, channels=("DAPI", "GFP"))
    source = open_image(path)
    assert (source.axes, source.shape, source.channel_names) == ("CZYX", array.shape, ("DAPI", "GFP"))
    assert source.pixel_size_um == {"Z": 2.0, "Y": 0.5, "X": 0.5}
    assert source.levels == (array.shape, (2, 3, 16, 20))
    np.testing.assert_array_equal(source.read({"Z": 1}), array[:, 1])
    np.testing.assert_array_equal(source.read({"C": 0, "Z": 2}, level=1), array[0, 2, ::2, ::2])
    with pytest.raises(UsageError, match="no level 2"):
        source.read(level=2)
    assert scenes(path) == ("0",)


def test_zarr_units_and_a_zarr_without_any_metadata(tmp_path):
    array = pixels((8, 12))
    source = open_image(zarr_image(tmp_path / "nm.zarr", array, "yx", "0.5", unit="nanometer"))
    assert source.pixel_size_um == {"Y": 0.0005, "X": 0.0005}
    bare = zarr.create_array(tmp_path / "bare.zarr", shape=(3, 8, 12), dtype="u2", chunks=(3, 8, 12))
    bare[...] = 7
    with pytest.raises(AmbiguousAxesError, match=r"bare\.zarr has shape \(3, 8, 12\)"):
        open_image(tmp_path / "bare.zarr")
    assert open_image(tmp_path / "bare.zarr", axes="CYX").read({"C": 1}).max() == 7


def test_zarr_scenes(tmp_path):
    zarr.open_group(tmp_path / "many.zarr", mode="w")
    for number in range(2):
        zarr_image(tmp_path / "many.zarr" / str(number), pixels((8, 9 + number)), "yx", "0.5")
    assert scenes(tmp_path / "many.zarr") == ("0", "1")
    # measure, export and project take one scene, train and evaluate none
    choice = r"give --scene N or NAME \(all, to segment each\), or save one as its own file"
    with pytest.raises(UsageError, match=f"holds 2 scenes: 0, 1; {choice}"):
        open_image(tmp_path / "many.zarr")
    assert open_image(tmp_path / "many.zarr", scene=1).shape == (8, 10)


def test_tiff_scenes_by_number_and_name(tmp_path):
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(pixels((20, 30)), photometric="minisblack", metadata={"axes": "YX", "Name": "left"})
        tif.write(pixels((25, 35)), photometric="minisblack", metadata={"axes": "YX", "Name": "right"})
    assert scenes(path) == ("left", "right")
    with pytest.raises(UsageError, match=r"0 \(left\), 1 \(right\)"):
        open_image(path)
    assert open_image(path, scene="right").shape == open_image(path, scene=1).shape == (25, 35)
    with pytest.raises(UsageError, match="no scene 'middle'"):
        open_image(path, scene="middle")
    digits = tmp_path / "wells.ome.tif"
    with tifffile.TiffWriter(digits, ome=True) as tif:
        for n in (1, 2):
            tif.write(pixels((20, 30 + n)), photometric="minisblack", metadata={"axes": "YX", "Name": str(n)})
    assert [open_image(digits, scene=s).shape[1] for s in ("0", "1", "2")] == [
        31,
        32,
        32,
    ]  # numbers before names
    with pytest.raises(UsageError, match="no scene '3'"):
        open_image(pixels_file(tmp_path), scene="3")


def test_smaller_copies_are_no_scenes(tmp_path):
    path = tmp_path / "with thumbnail.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(pixels((20, 30)), photometric="minisblack")
        tif.write(pixels((5, 7)), photometric="minisblack", subfiletype=1)
    assert len(scenes(path)) == 1
    assert open_image(path).shape == (20, 30)


def test_pictures_of_the_slide_are_left_out_by_their_whole_name_and_it_is_said(tmp_path):
    path = tmp_path / "cells.ome.tif"
    names = ("Macrophages ctrl", "MAP2 neurons", "label image", "HeLa", "Thumbnail")
    with tifffile.TiffWriter(path, ome=True) as tif:
        for name in names:
            tif.write(pixels((20, 30)), photometric="minisblack", metadata={"axes": "YX", "Name": name})
    assert scenes(path) == ("Macrophages ctrl", "MAP2 neurons", "HeLa")
    assert open_image(path, scene=1).notes == ("pictures of the slide were left out: label image, Thumbnail",)


def test_each_image_of_a_set_is_read_from_its_own_file(tmp_path):
    image = """<Image ID="Image:{0}" Name="{1}"><Pixels ID="Pixels:{0}" DimensionOrder="XYZCT" Type="uint16" SizeX="30"
        SizeY="20" SizeZ="1" SizeC="1" SizeT="1"><TiffData IFD="0" PlaneCount="1"><UUID FileName="{1}">{2}</UUID></TiffData>
        </Pixels></Image>"""
    names, marks = ("first.ome.tif", "b.ome.tif"), ("urn:uuid:1", "urn:uuid:2")
    images = "".join(image.format(n, *of) for n, of in enumerate(zip(names, marks, strict=True)))
    for n, (name, mark) in enumerate(zip(names, marks, strict=True)):
        xml = f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{mark}">{images}</OME>'
        filled = xml + " " * (n == 1) * 5000  # so that the pixels lie elsewhere
        tifffile.imwrite(tmp_path / name, pixels((20, 30), seed=n), description=filled, metadata=None)
    for n in range(2):
        assert np.array_equal(open_image(tmp_path / names[0], scene=n).read(), pixels((20, 30), seed=n))


def pixels_file(folder):
    path = folder / "plain.npy"
    np.save(path, pixels((9, 9)))
    return path


def test_tiff_pyramid(tmp_path):
    path = tmp_path / "pyramid.ome.tif"
    array = pixels((64, 96), "uint8")
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(array, subifds=1, tile=(16, 16), photometric="minisblack", metadata={"axes": "YX"})
        tif.write(array[::2, ::2], subfiletype=1, tile=(16, 16), photometric="minisblack")
    source = open_image(path)
    assert source.levels == ((64, 96), (32, 48))
    np.testing.assert_array_equal(source.read({"Y": slice(3, 9)}, level=1), array[6:18:2, ::2])


def test_user_axes_for_files_count_what_is_stored_with_or_without_ones(tmp_path):
    path = tmp_path / "a.ome.tif"
    array = pixels((1, 3, 4, 20, 30))
    tifffile.imwrite(path, array, photometric="minisblack", metadata={"axes": "TCZYX"})
    assert open_image(path).axes == "CZYX"
    assert open_image(path, axes="TCZYX").axes == "CZYX"
    assert open_image(path, axes="ZCYX").shape == (4, 3, 20, 30)
    kept = open_image(array, axes="TCZYX")
    assert (kept.axes, kept.shape) == ("TCZYX", (1, 3, 4, 20, 30))


@pytest.mark.parametrize("dtype", ["complex64", "O", "U3", "M8[s]", "longdouble", "S2"])
def test_what_is_not_a_real_number_is_refused(dtype):
    if np.dtype(dtype) == np.float64:
        pytest.skip("long double is float64 here")
    with pytest.raises(ImageError, match="array: "):
        open_image(np.zeros((4, 4), dtype))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (3, 0, 4)])
def test_no_pixels(shape):
    with pytest.raises(ImageError, match="no pixels"):
        open_image(np.zeros(shape))


def test_selections_that_do_not_fit():
    source = open_image(pixels((6, 7)))
    cases = [({"C": 0}, "no 'C'"), ({"Y": 6}, "no index 6"), ({"X": slice(5, 1, -1)}, "positive step")]
    for selection, message in cases:
        with pytest.raises(UsageError, match=message):
            source.read(selection)


def test_arguments_that_do_not_fit():
    with pytest.raises(UsageError, match="positive"):
        open_image(pixels((6, 7)), pixel_size=0)
    with pytest.raises(UsageError, match="expected a path or an array, got dict"):
        open_image({})
    source = open_image(pixels((6, 7)), pixel_size=0.25)
    assert open_image(source) is source
    with pytest.raises(UsageError, match="open already"):
        open_image(source, axes="YX")
    with pytest.raises(ImageError, match="2 channels of 3 colour samples"):
        open_image(np.zeros((2, 9, 9, 3)), axes="CYXS")


def test_describe(tmp_path):
    path = tmp_path / "cells.ome.tif"
    tifffile.imwrite(
        path,
        np.zeros((1, 3, 4, 97, 97), np.uint16),
        photometric="minisblack",
        metadata={
            "axes": "TCZYX",
            "PhysicalSizeX": 0.32,
            "PhysicalSizeY": 0.32,
            "Channel": {"Name": ["DAPI", "GFP", "RFP"]},
        },
    )
    assert describe(open_image(path)) == (
        "cells.ome.tif: TCZYX 1x3x4x97x97 uint16, channels DAPI, GFP, RFP, 0.32 um/px"
    )
    assert describe(open_image(np.zeros((9, 8, 3), np.uint8))) == "array: CYX 3x9x8 uint8, RGB"
    many = open_image(np.zeros((40, 9, 8), np.uint8), axes="CYX")
    assert describe(many) == "array: CYX 40x9x8 uint8"


def test_registering_a_format(tmp_path, monkeypatch):
    monkeypatch.setattr(open_module, "_SUFFIXES", dict(open_module._SUFFIXES))

    def opener(path, scene):
        if path.read_text() == "bad":
            raise KeyError("no\nsuch thing")
        return StoredImage(levels=(np.full((2, 6, 5), int(scene)),), axes="CYX", channel_names=("a", "b"))

    register(".xyz", opener, lambda path: ("0", "1"))
    (tmp_path / "a.XYZ").write_text("good")
    assert scenes(tmp_path / "a.XYZ") == ("0", "1")
    assert open_image(tmp_path / "a.XYZ", scene=1).read({"C": 0}).max() == 1
    (tmp_path / "b.xyz").write_text("bad")
    with pytest.raises(ImageError) as caught:
        open_image(tmp_path / "b.xyz", scene=0)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="dot"):
        register("xyz", opener)


def test_a_registered_opener_replaces_a_built_in_one(tmp_path, monkeypatch):
    monkeypatch.setattr(open_module, "_SUFFIXES", dict(open_module._SUFFIXES))
    register(".npy", lambda path, scene: StoredImage(levels=(np.ones((2, 2)),), axes="YX"))
    assert open_image(pixels_file(tmp_path)).shape == (2, 2)


def test_large_requests_are_refused_before_anything_is_allocated(tmp_path, monkeypatch):
    from cellbrook.io import _stored

    path = tmp_path / "a.npy"
    np.save(path, np.zeros((1 << 13, 1 << 14), np.uint8))
    monkeypatch.setattr(_stored, "free_memory", lambda: 1 << 26)
    source = open_image(path)
    with pytest.raises(ImageError, match=r"needs 0.125 GiB of memory at once and 0.0625 GiB are free"):
        source.read()
    assert source.read({"Y": slice(0, 4)}).shape == (4, 1 << 14)


def test_files_are_closed_after_each_read(tmp_path):
    # an open handle would be a ResourceWarning, which is an error here
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, pixels((3, 20, 20)), photometric="minisblack", metadata={"axes": "ZYX"}, compression="zlib"
    )
    source = open_image(path)
    source.read({"Z": 1})
    path.unlink()
    with pytest.raises(CellbrookError):
        source.read({"Z": 2})


def test_zarr_plate(tmp_path):
    plate = zarr.open_group(tmp_path / "plate.zarr", mode="w")
    plate.attrs["ome"] = {"version": "0.5", "plate": {"wells": [{"path": "A/1"}, {"path": "B/2"}]}}
    for well in ("A/1", "B/2"):
        group = plate.create_group(well)
        group.attrs["ome"] = {"version": "0.5", "well": {"images": [{"path": "0"}]}}
        zarr_image(tmp_path / "plate.zarr" / well / "0", pixels((8, 9), seed=len(well)), "yx", "0.5")
    assert scenes(tmp_path / "plate.zarr") == ("A/1/0", "B/2/0")
    assert open_image(tmp_path / "plate.zarr", scene="B/2/0").shape == (8, 9)
    assert open_image(tmp_path / "plate.zarr" / "A" / "1").shape == (8, 9)


def test_reading_from_several_threads(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    array = pixels((40, 64, 65))
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, photometric="minisblack", metadata={"axes": "ZYX"}, compression="zlib")
    source = open_image(path)
    with ThreadPoolExecutor(4) as pool:
        planes = list(pool.map(lambda z: source.read({"Z": z}), range(40)))
    np.testing.assert_array_equal(np.stack(planes), array)


def test_transparent_palette_png(tmp_path):
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    colours = bytes([10, 20, 30, 40, 50, 60])
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 1, 1, 3, 0, 0, 0)) + chunk(b"PLTE", colours)
    tail = chunk(b"IDAT", zlib.compress(b"\0\xaa")) + chunk(b"IEND", b"")
    for name, extra in [("plain", b""), ("clear", chunk(b"tRNS", b"\0"))]:
        late = (
            chunk(b"teXt", bytes(1 << 17)) if name == "clear" else b""
        )  # beyond where the header is looked at
        path = tmp_path / f"{name}.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + late + extra + tail)
        source = open_image(path)
        assert "palette" in source.notes[0]
        np.testing.assert_array_equal(source.read()[:, 0, :2].T, [[40, 50, 60], [10, 20, 30]])
