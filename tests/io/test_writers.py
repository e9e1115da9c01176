import json
import sys

import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cellbrook.core.colors import label_colors
from cellbrook.errors import OutputError, UsageError
from cellbrook.io import (
    atomic,
    encode_png,
    open_image,
    read_labels,
    write_float_stack,
    write_image,
    write_labels,
    write_labels_zarr,
    write_png,
)


def labels_of(shape, largest, seed=0):
    values = np.random.default_rng(seed).integers(0, largest + 1, shape).astype(np.uint32)
    values.flat[0] = largest
    return values


@pytest.mark.parametrize("largest", [0, 1, 255, 256, 65535, 65536, 2**32 - 1])
@pytest.mark.parametrize(("shape", "axes"), [((31, 37), "YX"), ((3, 31, 37), "ZYX"), ((2, 3, 9, 8), "TZYX")])
def test_labels_come_back_exactly(tmp_path, largest, shape, axes):
    labels = labels_of(shape, largest)
    size = {"Z": 2.0, "Y": 0.5, "X": 0.5} if "Z" in axes else (0.5, 0.5)
    write_labels(tmp_path / "a_labels.tif", labels, axes=axes, pixel_size_um=size)
    found, found_axes = read_labels(tmp_path / "a_labels.tif")
    assert (found.dtype, found_axes) == (np.uint32, axes)
    np.testing.assert_array_equal(found, labels)
    raw = tifffile.imread(tmp_path / "a_labels.tif")
    assert raw.dtype == (np.uint16 if largest <= 65535 else np.uint32)
    np.testing.assert_array_equal(raw, labels)
    expected = {a: s for a, s in {"Z": 2.0, "Y": 0.5, "X": 0.5}.items() if a in axes}
    assert open_image(tmp_path / "a_labels.tif").pixel_size_um == pytest.approx(expected)


def test_time_series_keep_their_axis(tmp_path):
    write_labels(tmp_path / "a.tif", labels_of((4, 9, 8), 5), axes="TYX")
    assert read_labels(tmp_path / "a.tif")[1] == "TYX"


@pytest.mark.parametrize(("largest", "shown"), [(0, 255), (40, 255), (255, 255), (256, 256), (3000, 3000)])
def test_imagej_shows_objects_in_colours(tmp_path, largest, shown):
    write_labels(tmp_path / "a.tif", labels_of((64, 65), largest))
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.is_imagej
        assert (tif.imagej_metadata["min"], tif.imagej_metadata["max"]) == (0, shown)
        table = np.reshape(tif.pages[0].tags["ColorMap"].value, (3, 256)) // 257
        # the map must not turn the values into colours for other readers
        assert tif.pages[0].photometric.name == "MINISBLACK"
    np.testing.assert_array_equal(table.T, label_colors(255))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int64", "uint64", "float32", "float64"])
def test_labels_of_any_type(tmp_path, dtype):
    write_labels(tmp_path / "a.tif", np.eye(5).astype(dtype))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif")[0], np.eye(5))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full((3, 3), 0.5), "fractions"),
        (np.full((3, 3), np.nan), "fractions"),
        (np.full((3, 3), -1), "0 or more"),
        (np.full((3, 3), 2**33), "at most"),
        (np.full((3, 3), "a"), "whole numbers"),
    ],
)
def test_what_is_no_label_is_refused(tmp_path, labels, message):
    with pytest.raises(UsageError, match=message):
        write_labels(tmp_path / "a.tif", labels)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("axes", "size"), [("ZYX", None), ("YY", None), ("QX", None), ("YX", (1.0,))])
def test_axes_and_sizes_that_do_not_fit(tmp_path, axes, size):
    with pytest.raises(UsageError):
        write_labels(tmp_path / "a.tif", np.eye(3), axes=axes, pixel_size_um=size)


def test_float_stack(tmp_path):
    flows = np.random.default_rng(0).normal(size=(2, 3, 20, 21)).astype(np.float32)
    write_float_stack(
        tmp_path / "a_flows.tif", flows, axes="CZYX", pixel_size_um=(2, 0.5, 0.5), names=("dy", "dx")
    )
    source = open_image(tmp_path / "a_flows.tif")
    assert (source.axes, source.dtype) == ("CZYX", np.float32)
    np.testing.assert_array_equal(source.read(), flows)
    write_float_stack(tmp_path / "b_flows.tif", flows[:, 0], axes="CYX", names=("dy", "dx"))
    assert open_image(tmp_path / "b_flows.tif").channel_names == ("dy", "dx")
    write_float_stack(tmp_path / "c_cellprob.tif", np.full((4, 5), np.nan), axes="YX")
    assert np.isnan(open_image(tmp_path / "c_cellprob.tif").read()).all()


def test_what_is_too_large_for_imagej_keeps_its_pixel_size(tmp_path, monkeypatch):
    monkeypatch.setattr("cellbrook.io.writers._CLASSIC_LIMIT", 100)
    flows = np.ones((2, 20, 21), np.float32)
    write_float_stack(tmp_path / "a_flows.tif", flows, axes="CYX", pixel_size_um=(0.5, 0.325))
    source = open_image(tmp_path / "a_flows.tif")
    assert source.axes == "CYX"
    assert source.pixel_size_um == pytest.approx({"Y": 0.5, "X": 0.325}, rel=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_colour_pictures_keep_their_pixel_size(tmp_path, dtype):
    picture = np.arange(3 * 20 * 30).reshape(3, 20, 30).astype(dtype)
    write_image(tmp_path / "a.tif", picture, axes="CYX", pixel_size_um={"Y": 0.5, "X": 0.325}, rgb=True)
    back = open_image(tmp_path / "a.tif")
    assert back.pixel_size_um == pytest.approx({"Y": 0.5, "X": 0.325}, rel=1e-5)
    np.testing.assert_array_equal(back.read(), picture)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4)),
        elements=st.integers(0, 255),
    )
)
def test_png_decodes_to_the_same_pixels(image):
    image = image[..., 0] if image.shape[2] == 1 else image
    np.testing.assert_array_equal(imagecodecs.png_decode(encode_png(image)), image)


def test_png_of_smooth_noisy_and_flat_pictures_by_a_second_decoder():
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(70), np.arange(90)).astype(np.uint8)
    for image in (
        ramp,
        rng.integers(0, 255, (70, 90, 3), np.uint8),
        np.zeros((70, 90), bool),
        ramp.astype(np.uint16) * 99,
    ):
        decoded = imagecodecs.apng_decode(encode_png(image))
        np.testing.assert_array_equal(decoded, image * np.uint8(255) if image.dtype == bool else image)


def test_png_pixel_size_and_refusals(tmp_path):
    assert b"pHYs" + (2_000_000).to_bytes(4, "big") in encode_png(
        np.zeros((3, 3), np.uint8), pixel_size_um=0.5
    )
    for image in (
        np.zeros((3, 3)),
        np.zeros((3, 3, 5), np.uint8),
        np.zeros((0, 3), np.uint8),
        np.zeros(3, np.uint8),
    ):
        with pytest.raises(UsageError):
            write_png(tmp_path / "a.png", image)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("shape", "axes"), [((1100, 700), "YX"), ((2, 600, 30), "ZYX"), ((40, 50), "YX")])
def test_labels_zarr(tmp_path, shape, axes):
    labels = labels_of(shape, 2**32 - 1)
    path = tmp_path / "a.ome.zarr"
    write_labels_zarr(path, labels, axes, (2, 0.5, 0.5)[-len(axes) :])
    found, found_axes = read_labels(path)
    assert found_axes == axes
    np.testing.assert_array_equal(found, labels)
    source = open_image(path)
    assert source.pixel_size_um["X"] == 0.5
    for level in range(len(source.levels)):
        step = 2**level
        np.testing.assert_array_equal(source.read(level=level), labels[..., ::step, ::step])
    assert max(source.levels[-1][-2:]) <= 512
    metadata = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]
    assert metadata["version"] == "0.5"
    assert "image-label" in metadata
    first = json.loads((path / "0" / "zarr.json").read_text())
    assert first["chunk_grid"]["configuration"]["chunk_shape"][-2:] == [min(512, n) for n in shape[-2:]]
    assert "gzip" in [codec["name"] for codec in first["codecs"]]
    scales = [d["coordinateTransformations"][0]["scale"][-1] for d in metadata["multiscales"][0]["datasets"]]
    assert scales == [0.5 * 2**i for i in range(len(scales))]


def test_labels_zarr_with_its_image_replaces_an_older_one(tmp_path):
    path = tmp_path / "a.ome.zarr"
    write_labels_zarr(path, np.zeros((9, 9), int))
    image = np.random.default_rng(0).integers(0, 9, (3, 40, 50), np.uint8)
    labels = labels_of((40, 50), 7)
    write_labels_zarr(path, labels, image=image)
    source = open_image(path)
    assert source.axes == "CYX"
    np.testing.assert_array_equal(source.read(), image)
    np.testing.assert_array_equal(read_labels(path)[0], labels)
    group = zarr.open_group(path, mode="r")
    assert group["labels"].attrs["ome"]["labels"] == ["cells"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.ome.zarr"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
def test_nothing_is_left_of_a_write_that_breaks_off(tmp_path, error):
    path = tmp_path / "new" / "a.txt"

    def break_off():
        with atomic(path) as temporary:
            assert temporary.parent == path.parent
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        break_off()
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("at", ["compress", "rename"])
def test_an_old_result_survives_a_failed_new_one(tmp_path, monkeypatch, at):
    path = tmp_path / "a_labels.tif"
    write_labels(path, np.eye(4))
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    if at == "compress":
        monkeypatch.setattr(tifffile.TiffWriter, "write", fail)
    else:
        monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OutputError, match=r"a_labels\.tif: cannot be written: the disk is full"):
        write_labels(path, np.ones((9, 9)))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_broken_zarr_write_keeps_the_old_folder(tmp_path, monkeypatch):
    path = tmp_path / "a.ome.zarr"
    write_labels_zarr(path, np.eye(4))
    from cellbrook.io import writers

    def interrupt(group, *rest):
        group.create_array("0", shape=(3, 3), dtype="u4")
        raise KeyboardInterrupt

    monkeypatch.setattr(writers, "_write_levels", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_labels_zarr(path, np.ones((9, 9)))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    np.testing.assert_array_equal(read_labels(path)[0], np.eye(4))


def test_writing_where_one_cannot(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a file lies where a folder is needed"):
        write_png(tmp_path / "file" / "a.png", np.zeros((3, 3), np.uint8))
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match="a folder of that name is in the way"):
        write_png(tmp_path / "folder.png", np.zeros((3, 3), np.uint8))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.png"]

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "write_bytes", refuse)
    with pytest.raises(OutputError, match=r"no permission to write in this folder; give another \(--out\)"):
        write_png(tmp_path / "a.png", np.zeros((3, 3), np.uint8))


@pytest.mark.skipif(sys.platform == "win32", reason="names of 255 bytes are a limit of POSIX file systems")
def test_names_up_to_the_longest_and_beyond(tmp_path):
    write_png(tmp_path / ("é" * 125 + ".png"), np.zeros((3, 3), np.uint8))
    with pytest.raises(OutputError, match="its name is too long"):
        write_png(tmp_path / ("é" * 126 + ".png"), np.zeros((3, 3), np.uint8))
    assert len(list(tmp_path.iterdir())) == 1
