"""Images in, files out: sources, channels, folders of inputs, and the writers of results."""

from __future__ import annotations

from cellbrook.io._stored import StoredImage
from cellbrook.io.open import known_suffixes, open_image, register, scenes
from cellbrook.io.source import Selection, Source, describe

__all__ = [
    "Selection",
    "Source",
    "StoredImage",
    "describe",
    "known_suffixes",
    "open_image",
    "register",
    "scenes",
]
