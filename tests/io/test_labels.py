import pathlib
import struct
import zlib

import numpy as np
import pytest
import tifffile

from cellbrook.errors import ImageError
from cellbrook.io import encode_png, read_labels, write_labels_zarr

LABELS = np.arange(20 * 30, dtype=np.uint32).reshape(20, 30) % 300


@pytest.mark.parametrize("dtype", ["uint16", "int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_plain_files_of_any_whole_numbers(tmp_path, suffix, dtype):
    path = tmp_path / f"a_masks{suffix}"
    array = LABELS.astype(dtype)
    np.save(path, array) if suffix == ".npy" else tifffile.imwrite(path, array)
    found, axes = read_labels(path)
    assert (axes, found.dtype) == ("YX", np.uint32)
    np.testing.assert_array_equal(found, LABELS)


def test_png_masks(tmp_path):
    (tmp_path / "a_masks.png").write_bytes(encode_png(LABELS.astype(np.uint16)))
    np.testing.assert_array_equal(read_labels(tmp_path / "a_masks.png")[0], LABELS)


def test_grey_saved_as_colour_is_taken_and_colours_are_not(tmp_path):
    grey = (LABELS % 256).astype(np.uint8)
    (tmp_path / "grey.png").write_bytes(encode_png(np.repeat(grey[..., None], 3, axis=2)))
    np.testing.assert_array_equal(read_labels(tmp_path / "grey.png")[0], grey)
    (tmp_path / "colour.png").write_bytes(encode_png(np.stack([grey, grey // 2, grey], axis=2)))
    with pytest.raises(ImageError, match="has 3 channels, labels have one"):
        read_labels(tmp_path / "colour.png")


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_indices_of_a_palette_are_labels_where_zero_is_black(tmp_path, bits, gray):
    labels = (LABELS % (1 << bits)).astype(np.uint8)
    labels[:, 29] = 0  # rows end within a byte
    rows = [np.packbits(np.unpackbits(row[:, None], axis=1)[:, -bits:]).tobytes() for row in labels]
    colours = np.random.default_rng(0).integers(0, 255, (1 << bits, 3)).astype(np.uint8)
    colours[0] = 0
    if gray:
        colours[:, 1:] = colours[:, :1]
    path = tmp_path / "a_masks.png"

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    def write(transparent=b""):
        header = struct.pack(">IIBBBBB", 30, 20, bits, 3, 0, 0, 0)
        body = zlib.compress(b"".join(b"\0" + row for row in rows))
        parts = [(b"IHDR", header), (b"PLTE", colours.tobytes()), *transparent, (b"IDAT", body[:9])]
        parts += [(b"IDAT", body[9:]), (b"IEND", b"")]
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))

    for more in ((), ((b"tRNS", b"\0"),)):
        write(more)
        np.testing.assert_array_equal(read_labels(path)[0], labels)
    colours[0] = 255  # of which nobody can say what is background
    write()
    if gray:
        np.testing.assert_array_equal(read_labels(path)[0], colours[labels, 0])
        return
    with pytest.raises(ImageError, match="picture of the labels"):
        read_labels(path)


@pytest.mark.parametrize("shape", [(3, 20, 30), (2, 3, 20, 30)])
@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_stacks_without_metadata_are_planes(tmp_path, suffix, shape):
    labels = np.broadcast_to(LABELS, shape).astype(np.uint16)
    path = tmp_path / f"a{suffix}"
    np.save(path, labels) if suffix == ".npy" else tifffile.imwrite(path, labels, photometric="minisblack")
    found, axes = read_labels(path)
    assert axes == "TZYX"[-len(shape) :]
    np.testing.assert_array_equal(found, labels)
    assert read_labels(path, axes="CTYX"[-len(shape) :])[1] == "TYX"[-3:] if len(shape) == 3 else True


@pytest.mark.parametrize("value", [0.5, -1.0, np.nan])
def test_what_is_no_label(tmp_path, value):
    np.save(tmp_path / "a.npy", np.full((4, 4), value))
    with pytest.raises(ImageError, match=r"a\.npy: labels must be"):
        read_labels(tmp_path / "a.npy")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_seg_npy_of_cellpose(tmp_path, protocol, order):
    import pickle

    content = {
        "masks": np.asarray(LABELS.astype(np.uint16), order=order),
        "outlines": np.zeros((20, 30), np.uint16),
        "filename": pathlib.PurePosixPath("/data/a.tif"),
        "flows": [np.zeros((1, 20, 30, 3), np.uint8), np.zeros((2, 20, 30), np.float32), []],
        "diameter": np.float64(30.0),
        "ismanual": np.zeros(3, bool),
        "colors": None,
        "manual_changes": [],
    }
    path = tmp_path / "a_seg.npy"
    array = np.empty((), object)
    array[()] = content
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        pickle.dump(array, file, protocol=protocol)
    found, axes = read_labels(path)
    assert (axes, found.dtype) == ("YX", np.uint32)
    np.testing.assert_array_equal(found, LABELS)


def test_seg_npy_as_numpy_saves_it_with_a_stack(tmp_path):
    stack = np.stack([LABELS, LABELS * 0]).astype(np.uint32)
    np.save(tmp_path / "a_seg.npy", {"masks": stack}, allow_pickle=True)
    found, axes = read_labels(tmp_path / "a_seg.npy")
    assert axes == "ZYX"
    np.testing.assert_array_equal(found, stack)
    np.save(tmp_path / "b_seg.npy", {"no": stack}, allow_pickle=True)
    with pytest.raises(ImageError, match="no 'masks'"):
        read_labels(tmp_path / "b_seg.npy")


def test_labels_below_an_image_in_zarr(tmp_path):
    write_labels_zarr(tmp_path / "a.ome.zarr", LABELS, image=LABELS.astype(np.uint8))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.ome.zarr")[0], LABELS)
    (tmp_path / "a.ome.zarr" / "labels" / "nuclei").mkdir()
    with pytest.raises(ImageError, match="expected one label image under labels/, found cells, nuclei"):
        read_labels(tmp_path / "a.ome.zarr")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.ome.zarr" / "labels" / "cells")[0], LABELS)
