import struct

import imagecodecs
import numpy as np
import pytest

from cellbrook.errors import ImageError
from cellbrook.io import open_image


def bmp(bits, rows, *, height=None, width=None, palette=(), compression=0, masks=b"", header=40):
    """Assemble a BMP file; `rows` are the stored bytes of each row, bottom first."""
    body = b"".join(row + bytes(-len(row) % 4) for row in rows)
    table = b"".join(bytes((b, g, r, 0)) for r, g, b in palette)
    offset = 14 + header + len(masks) * (header == 40) + len(table)
    info = struct.pack(
        "<IiiHHIIiiII", header, width, height, 1, bits, compression, len(body), 0, 0, len(palette), 0
    )
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + info + masks + table + body


def read(tmp_path, data):
    path = tmp_path / "a.bmp"
    path.write_bytes(data)
    source = open_image(path)
    pixels = source.read()
    assert pixels.shape == source.shape
    return pixels


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3), (8, 6, 4)])
def test_what_another_encoder_writes(tmp_path, shape):
    array = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    pixels = read(tmp_path, imagecodecs.bmp_encode(array))
    np.testing.assert_array_equal(pixels, array if len(shape) == 2 else array[..., :3].transpose(2, 0, 1))


def test_few_bits_a_pixel_with_palettes(tmp_path):
    one = read(tmp_path, bmp(1, [b"\xa0", b"\x40"], width=3, height=2, palette=[(0, 0, 0), (255, 255, 255)]))
    np.testing.assert_array_equal(one, [[0, 255, 0], [255, 0, 255]])
    four = read(tmp_path, bmp(4, [b"\x12\x00"], width=3, height=1, palette=[(1, 2, 3), (4, 5, 6), (7, 8, 9)]))
    np.testing.assert_array_equal(four[:, 0], np.transpose([[4, 5, 6], [7, 8, 9], [1, 2, 3]]))
    eight = read(tmp_path, bmp(8, [b"\x01\x00\x09"], width=3, height=-1, palette=[(5, 5, 5), (9, 9, 9)]))
    np.testing.assert_array_equal(eight, [[9, 5, 0]])


def test_rows_from_the_top(tmp_path):
    data = bmp(24, [bytes((3, 2, 1)), bytes((6, 5, 4))], width=1, height=-2)
    np.testing.assert_array_equal(read(tmp_path, data)[:, :, 0], [[1, 4], [2, 5], [3, 6]])


def test_sixteen_bits(tmp_path):
    rows = [struct.pack("<2H", 0x7C00, 0x03FF)]
    np.testing.assert_array_equal(
        read(tmp_path, bmp(16, rows, width=2, height=1))[:, 0], [[255, 0], [0, 255], [0, 255]]
    )
    masks = struct.pack("<3I", 0xF800, 0x07E0, 0x001F)
    rows = [struct.pack("<2H", 0xF800, 0x07E0)]
    data = bmp(16, rows, width=2, height=1, compression=3, masks=masks)
    np.testing.assert_array_equal(read(tmp_path, data)[:, 0], [[255, 0], [0, 255], [0, 0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"compression": 1}, "packed as 1: save it as PNG or TIFF"),
        ({"bits": 7}, "BMP of 7 bits"),
        ({"width": 0}, "header is damaged"),
        ({"width": -3}, "header is damaged"),
        ({"height": 0}, "header is damaged"),
        ({"height": 10**9}, "truncated"),
        ({"header": 12}, "header is damaged or older"),
        ({"bits": 1, "palette": ()}, "truncated, its palette"),
    ],
)
def test_headers_that_lie(tmp_path, change, message):
    fields = {"bits": 24, "width": 1, "height": 1, **change}
    with pytest.raises(ImageError, match=message):
        read(tmp_path, bmp(rows=[bytes(4)], **fields))
