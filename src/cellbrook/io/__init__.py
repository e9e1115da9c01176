"""Images in, files out: sources, channels, folders of inputs, and the writers of results."""

from __future__ import annotations

from cellbrook.io._stored import StoredImage
from cellbrook.io.atomic import atomic
from cellbrook.io.channels import ChannelSelection, resolve_channels
from cellbrook.io.files import (
    OUTPUT_ENDINGS,
    FoundImage,
    FoundImages,
    find_images,
    natural_key,
    output_folder,
    output_paths,
    stem_of,
)
from cellbrook.io.hashing import sha256_of, sha256_of_image
from cellbrook.io.labels import read_labels
from cellbrook.io.open import known_suffixes, open_image, register, scenes
from cellbrook.io.png import encode_png, write_png
from cellbrook.io.source import Selection, Source, describe
from cellbrook.io.writers import as_labels, write_float_stack, write_image, write_labels, write_labels_zarr

__all__ = [
    "OUTPUT_ENDINGS",
    "ChannelSelection",
    "FoundImage",
    "FoundImages",
    "Selection",
    "Source",
    "StoredImage",
    "as_labels",
    "atomic",
    "describe",
    "encode_png",
    "find_images",
    "known_suffixes",
    "natural_key",
    "open_image",
    "output_folder",
    "output_paths",
    "read_labels",
    "register",
    "resolve_channels",
    "scenes",
    "sha256_of",
    "sha256_of_image",
    "stem_of",
    "write_float_stack",
    "write_image",
    "write_labels",
    "write_labels_zarr",
    "write_png",
]
