"""Segmenting a window of a plane as it would come out of the whole image, nearly: with the whole plane's intensities."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.params import InputParams, NormalizeParams, SegmentParams
from cellbrook.io.channels import resolve_channels
from cellbrook.io.pixel_size import side_of_pixel
from cellbrook.measure.classify import channels_of
from cellbrook.normalize import normalize, percentile_ranges
from cellbrook.server.pixels import read_plane

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.api import Segmentation, Segmenter
    from cellbrook.core.progress import Progress
    from cellbrook.io.source import Source


LARGE_PX = 2**26
"""Pixels of a plane from which on a window's intensities are those of a sample: to read it all would take longer than to
find the window's cells."""

SAMPLE_PX, BAND_ROWS = 2**24, 32


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """A window of a plane of an image.

    Parameters
    ----------
    source : Source
        The image.
    plane : int
        T and Z flattened; T alone where the stack is projected.
    box : tuple of int
        Half-open ``y0, x0, y1, x1``.
    params : SegmentParams
        What was asked of the whole image.
    """

    source: Source
    plane: int
    box: tuple[int, int, int, int]
    params: SegmentParams

    def segment(self, segmenter: Segmenter, progress: Progress) -> Segmentation:
        """Return its segmentation, in the window's own coordinates."""
        pixels = self._normalized(sparse=segmenter.card.spec.sparse)
        keywords = self.params.to_keywords()
        fixed = {f.name for f in dataclasses.fields(self.params.model_params)} - {"diameter"}
        plain = {
            **{f.name: getattr(InputParams(), f.name) for f in dataclasses.fields(InputParams)},
            **{f.name: getattr(NormalizeParams(), f.name) for f in dataclasses.fields(NormalizeParams)},
            "axes": "CYX",
            "normalize": False,
            "pixel_size": self.params.input_params.pixel_size or side_of_pixel(self.source.pixel_size_um),
        }
        rest = {k: v for k, v in keywords.items() if k not in fixed and k not in plain}
        return segmenter.segment(pixels, progress=progress, **rest, **plain)

    def _normalized(self, *, sparse: bool) -> NDArray[np.float32]:
        """Return the chosen channels of the window, (C, y, x), as the network would see them in the whole plane."""
        source, params = self.source, self.params.normalize_params
        y0, x0, y1, x1 = self.box
        if math.prod(source.shape[-2:]) > LARGE_PX:
            shown, part = self._sample(), self._read(slice(y0, y1), slice(x0, x1))
        else:
            shown = self._read(slice(None), slice(None))
            part = np.ascontiguousarray(shown[:, y0:y1, x0:x1])
        if source.is_rgb and len(shown) == 3:
            gray = channels_of(shown)
            shown, part = shown[:gray], part[:gray]
        threads = self.params.model_params.threads
        ranges = None
        if params.normalize and params.tile_norm_size <= 0:
            ranges = percentile_ranges(shown, params, sparse=sparse, threads=threads)
        return normalize(part, params, ranges=ranges, threads=threads)

    def _read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Return a part of the plane, (C, y, x), of the chosen channels."""
        source, given = self.source, self.params.input_params
        chosen = resolve_channels(given.channels, source).indices
        pixels = read_plane(source, self.plane, given.z, {"Y": rows, "X": columns})
        return np.ascontiguousarray(pixels[list(chosen)])

    def _sample(self) -> NDArray[Any]:
        """Return bands of rows from all over the plane: files have their pixels by rows, or by tiles of them."""
        height, width = self.source.shape[-2:]
        bands = max(8, min(height // BAND_ROWS, SAMPLE_PX // (BAND_ROWS * width)))
        starts = np.linspace(0, max(0, height - BAND_ROWS), bands).astype(int)
        everything = [self._read(slice(y, y + BAND_ROWS), slice(None)) for y in starts.tolist()]
        return np.concatenate(everything, axis=1)
