"""Damaged, missing and misnamed inputs: one clear line of our own, whatever the decoder raised."""

import logging
import os
import sys

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellbrook.errors import CellbrookError, ImageError
from cellbrook.io import open_image, read_labels, sha256_of, write_labels, write_labels_zarr
from cellbrook.io.png import encode_png


@pytest.fixture(autouse=True)
def _quiet_tifffile():
    logger = logging.getLogger("tifffile")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


def picture(shape, dtype="uint8"):
    return np.random.default_rng(2).integers(0, 200, shape).astype(dtype)


def _tiff(path, **options):
    tifffile.imwrite(path, picture((4, 21, 23), "uint16"), photometric="minisblack", **options)


def _npy(path):
    np.save(path, picture((20, 30)))


WHOLE = {
    "ome.ome.tif": lambda p: _tiff(p, metadata={"axes": "ZYX"}, compression="zlib"),
    "imagej.tif": lambda p: _tiff(p, imagej=True, metadata={"axes": "ZYX"}),
    "tiled.tif": lambda p: _tiff(p, metadata={"axes": "ZYX"}, tile=(16, 16), compression="lzw"),
    "big.tif": lambda p: _tiff(p, metadata={"axes": "ZYX"}, bigtiff=True),
    "a.png": lambda p: p.write_bytes(encode_png(picture((20, 30, 3)))),
    "a.jpg": lambda p: p.write_bytes(imagecodecs.jpeg8_encode(picture((20, 30, 3)))),
    "a.bmp": lambda p: p.write_bytes(imagecodecs.bmp_encode(picture((20, 30)))),
    "a.npy": _npy,
    "a_labels.tif": lambda p: write_labels(p, picture((20, 30))),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    for name, make in WHOLE.items():
        make(folder / name)
    return {name: (folder / name).read_bytes() for name in WHOLE}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_a_file_cut_short_is_refused(tmp_path, whole, name, part):
    data = whole[name]
    path = tmp_path / name
    path.write_bytes(data[: max(1, int(len(data) * part))])
    with pytest.raises(ImageError) as caught:
        open_image(path).read()
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_either_harmless_or_an_error_of_ours(tmp_path_factory, whole, data):
    name = data.draw(st.sampled_from(list(WHOLE)))
    content = bytearray(whole[name])
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(
            st.one_of(st.integers(0, min(300, len(content) - 1)), st.integers(0, len(content) - 1))
        )
        content[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / name
    path.write_bytes(content)
    for read in (
        lambda: open_image(path).read(),
        lambda: open_image(path).read({"Y": 3}),
        lambda: read_labels(path),
    ):
        message = ""
        try:
            read()
        except CellbrookError as error:
            message = str(error)
        assert "\n" not in message


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpg", "a.bmp", "a.npy", "a.czi", "a.xyz"])
def test_empty_missing_and_text_files(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(ImageError, match="no such file"):
        open_image(path)
    path.write_bytes(b"")
    with pytest.raises(ImageError, match=r"empty \(0 bytes\)"):
        open_image(path)
    path.write_bytes(b"this is a letter, not a picture")
    with pytest.raises(ImageError) as caught:
        open_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_suffixes_do_not_matter_where_content_tells(tmp_path):
    path = tmp_path / "really a png.tif"
    path.write_bytes(encode_png(picture((20, 30))))
    assert open_image(path).shape == (20, 30)
    tifffile.imwrite(tmp_path / "no suffix", picture((5, 6)))
    assert open_image(tmp_path / "no suffix").shape == (5, 6)


@pytest.mark.parametrize(
    "name", ["mit Leerzeichen und Größe µm.tif", "細胞 画像.npy", "ünïcödé.png", "émoji 🔬.ome.zarr"]
)
def test_names_of_any_kind(tmp_path, name):
    path = tmp_path / "Ordner mit Leerzeichen é" / name
    path.parent.mkdir()
    array = picture((20, 30))
    if name.endswith(".npy"):
        np.save(path, array)
    elif name.endswith(".png"):
        path.write_bytes(encode_png(array))
    elif name.endswith(".zarr"):
        write_labels_zarr(path, array)
    else:
        write_labels(path, array)
    np.testing.assert_array_equal(open_image(str(path)).read(), array)


def test_folders_links_and_permissions(tmp_path):
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(ImageError, match="a folder, not an image"):
        open_image(tmp_path / "folder.tif")
    (tmp_path / "not.zarr").mkdir()
    with pytest.raises(ImageError, match="not an OME-Zarr image"):
        open_image(tmp_path / "not.zarr")
    if sys.platform != "win32":
        (tmp_path / "link.tif").symlink_to(tmp_path / "gone.tif")
        with pytest.raises(ImageError, match="a link to a file that does not exist"):
            open_image(tmp_path / "link.tif")
        if os.geteuid() != 0:
            _npy(tmp_path / "secret.npy")
            (tmp_path / "secret.npy").chmod(0)
            with pytest.raises(ImageError, match="no permission"):
                open_image(tmp_path / "secret.npy")


def test_no_permission_is_one_line(tmp_path, monkeypatch):
    # root reads everything, so the system's answer is played
    path = tmp_path / "a.npy"
    _npy(path)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(ImageError, match=r"a\.npy: no permission to read it"):
        open_image(path)
    with pytest.raises(ImageError, match="no permission"):
        sha256_of(path)


@pytest.mark.parametrize("damage", ["attributes", "chunk", "level", "empty"])
def test_damaged_zarr(tmp_path, damage):
    path = tmp_path / "a.ome.zarr"
    write_labels_zarr(path, picture((30, 40)))
    if damage == "attributes":
        (path / "zarr.json").write_text("{ this is no JSON")
    elif damage == "chunk":
        (path / "0" / "c" / "0" / "0").write_bytes(b"no gzip")
    elif damage == "level":
        (path / "0" / "zarr.json").unlink()
    else:
        (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    with pytest.raises(ImageError) as caught:
        open_image(path).read()
    assert "\n" not in str(caught.value)


def test_an_npy_of_python_objects_is_not_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    np.save(tmp_path / "a.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    np.save(tmp_path / "a_seg.npy", {"masks": np.ones((3, 3)), "x": Trap()}, allow_pickle=True)
    with pytest.raises(ImageError, match="Python objects"):
        open_image(tmp_path / "a.npy")
    for name in ("a.npy", "a_seg.npy"):
        with pytest.raises(ImageError, match=r"names .*mkdir"):
            read_labels(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_a_header_that_promises_too_much(tmp_path):
    data = bytearray(encode_png(picture((20, 30))))
    data[16:24] = (2**30).to_bytes(4, "big") * 2
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(ImageError, match="GiB of memory at once"):
        open_image(tmp_path / "bomb.png").read()
