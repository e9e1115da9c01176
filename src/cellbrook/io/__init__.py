"""Images in, files out: sources, channels, folders of inputs, and the writers of results."""

from __future__ import annotations

from cellbrook.io._stored import StoredImage
from cellbrook.io.open import known_suffixes, open_image, register, scenes
from cellbrook.io.source import Selection, Source, describe
from cellbrook.io.writers import (
    atomic,
    encode_png,
    write_float_stack,
    write_labels,
    write_labels_zarr,
    write_png,
)

__all__ = [
    "Selection",
    "Source",
    "StoredImage",
    "atomic",
    "describe",
    "encode_png",
    "known_suffixes",
    "open_image",
    "register",
    "scenes",
    "write_float_stack",
    "write_labels",
    "write_labels_zarr",
    "write_png",
]
