"""PNG, JPEG and BMP: small pictures, decoded whole when first read."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import ImageError
from cellbrook.io import _bmp
from cellbrook.io._stored import StoredImage, check_memory
from cellbrook.io.png import chunk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

_PNG_SAMPLES = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type; a palette becomes RGB


def open_raster(path: Path, scene: str | None = None) -> StoredImage:
    """Return what a PNG, JPEG or BMP file holds; see `cellbrook.io.open_image`."""
    del scene  # such a file holds one picture
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(b"\x89PNG"):
        shape, kind, notes = _png_header(head, path)
        return _stored(_Raster(path, shape, kind, _decode_png), notes)
    if head.startswith(b"\xff\xd8"):
        data = path.read_bytes()
        shape, orientation = _jpeg_header(data, path)
        if len(shape) == 3 and shape[2] == 4:
            shape = (*shape[:2], 3)  # CMYK, which is converted
        notes = ()
        if orientation > 1:
            notes = ("turned upright as the camera noted",)
        if orientation >= 5:
            shape = (shape[1], shape[0], *shape[2:])
        return _stored(_Raster(path, shape, np.uint8, lambda d: _decode_jpeg(d, orientation)), notes)
    header = _bmp.read_header(path)
    return _stored(_Raster(path, header.shape, np.uint8, lambda d: _bmp.decode(header, d)), ())


def _stored(raster: _Raster, notes: tuple[str, ...]) -> StoredImage:
    samples = raster.shape[2] if len(raster.shape) == 3 else 1
    return StoredImage(
        levels=(raster,),
        axes="YXS"[: len(raster.shape)],
        is_rgb=samples >= 3,
        alpha=1 if samples in (2, 4) else 0,
        notes=notes,
    )


class _Raster:
    """A picture whose shape is known from its header; decoded at the first read and kept."""

    def __init__(
        self, path: Path, shape: tuple[int, ...], kind: Any, decode: Callable[[bytes], NDArray[Any]]
    ) -> None:
        self.shape = shape
        self.dtype: np.dtype[Any] = np.dtype(kind)
        self._path = path
        self._decode = decode
        self._pixels: NDArray[Any] | None = None

    def __getitem__(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        if self._pixels is None:
            check_memory(int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize, str(self._path))
            pixels = self._decode(self._path.read_bytes())
            if pixels.shape != self.shape and pixels.ndim == 3 and pixels.shape[2] in (2, 4):
                # transparency that the header did not tell of
                opaque = pixels[..., :-1]
                pixels = opaque[..., 0] if len(self.shape) == 2 else opaque
            if pixels.shape != self.shape:
                raise ImageError(f"{self._path}: its header says {self.shape}, its pixels {pixels.shape}")
            self._pixels = pixels.astype(self.dtype, copy=False)
        return self._pixels[key]


def _png_header(head: bytes, path: Path) -> tuple[tuple[int, ...], Any, tuple[str, ...]]:
    if len(head) < 33 or head[12:16] != b"IHDR":
        raise ImageError(f"{path}: truncated, its PNG header is not complete")
    width, height, depth, colour = struct.unpack(">IIBB", head[16:26])
    if colour not in _PNG_SAMPLES or not width or not height:
        raise ImageError(f"{path}: its PNG header is damaged (size {width} x {height}, colour type {colour})")
    samples = _PNG_SAMPLES[colour]
    notes: tuple[str, ...] = ()
    if colour == 3 or colour in (0, 2):
        with path.open("rb") as file:  # a transparency chunk makes the decoder add alpha
            chunks = file.read(1 << 16)
        before_pixels = chunks.partition(b"IDAT")[0]
        samples += b"tRNS" in before_pixels
    if colour == 3:
        notes = ("colours of the palette were looked up",)
    if depth == 1 and colour == 0:
        notes = ("1 bit a pixel became 0 and 255",)
    shape = (height, width) if samples == 1 else (height, width, samples)
    return shape, np.uint16 if depth == 16 else np.uint8, notes


def _decode_png(data: bytes) -> NDArray[Any]:
    import imagecodecs

    pixels: NDArray[Any] = imagecodecs.png_decode(data)
    return pixels


def png_indices(path: Path) -> NDArray[np.uint8] | None:
    """Return the indices of a PNG with a palette, not colours; None if it has none, or one that does not begin with black.

    Annotation programs write labels so, with a colour an object for the eye. The decoder looks colours up, so it is given
    the same pixels as a grey picture.
    """
    data = path.read_bytes()
    chunks, at = [], 8
    while data.startswith(b"\x89PNG") and at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        chunks.append((kind, data[at + 8 : at + 8 + length]))
        at += 12 + length
    parts = dict(chunks)
    header = parts.get(b"IHDR", b"")
    if len(header) != 13 or header[9] != 3 or not parts.get(b"PLTE", b"").startswith(b"\0\0\0"):
        return None
    pixels = [chunk(kind, body) for kind, body in chunks if kind in (b"IDAT", b"IEND")]
    file = b"".join([data[:8], chunk(b"IHDR", header[:9] + b"\0" + header[10:]), *pixels])
    # fewer bits a pixel than eight are spread over all of a byte
    spread = 255 // ((1 << header[8]) - 1)
    return _decode_png(file) // np.uint8(spread)


def _jpeg_header(data: bytes, path: Path) -> tuple[tuple[int, ...], int]:
    """Return the shape and the EXIF orientation (1: upright), from the segments before the pixels."""
    position, orientation = 2, 1
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            break
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 2
            continue
        length = struct.unpack(">H", data[position + 2 : position + 4])[0]
        body = data[position + 4 : position + 2 + length]
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = _exif_orientation(body[6:])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(body) >= 6:
            precision, height, width, samples = struct.unpack(">BHHB", body[:6])
            if precision != 8:
                raise ImageError(f"{path}: a JPEG of {precision} bits a sample, save it as TIFF")
            if height and width:
                return ((height, width) if samples == 1 else (height, width, samples)), orientation
            break
        position += 2 + length
    raise ImageError(f"{path}: truncated or damaged, its JPEG header is not complete")


def _exif_orientation(tiff: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        start = struct.unpack(order + "I", tiff[4:8])[0]
        for entry in range(struct.unpack(order + "H", tiff[start : start + 2])[0]):
            field = tiff[start + 2 + 12 * entry :][:12]
            if struct.unpack(order + "H", field[:2])[0] == 0x0112:
                value = struct.unpack(order + "H", field[8:10])[0]
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _decode_jpeg(data: bytes, orientation: int) -> NDArray[Any]:
    import imagecodecs

    # The codec pads a cut-off file with grey and says nothing; the end marker tells.
    # Looked for behind the last start of pixels, since a thumbnail in the metadata has an end of its own.
    if data.find(b"\xff\xd9", data.rfind(b"\xff\xda")) < 0:
        raise ValueError("truncated: its end marker is missing")
    pixels: NDArray[Any] = imagecodecs.jpeg8_decode(data)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = _cmyk_to_rgb(pixels)
    return np.ascontiguousarray(_upright(pixels, orientation))


def _cmyk_to_rgb(inks: NDArray[Any]) -> NDArray[Any]:
    """Return RGB of inverted CMYK, which is what programs write into JPEG."""
    product = inks[..., :3].astype(np.uint16) * inks[..., 3:]
    rgb: NDArray[Any] = ((product + 127) // 255).astype(np.uint8)
    return rgb


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo a camera's orientation, by the definition of the EXIF tag: where row 0 and column 0 were."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    return pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
