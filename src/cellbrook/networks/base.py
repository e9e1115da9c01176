"""What a network promises, whatever runs it."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

TARGET_VALUES = MappingProxyType({"either": 0.0, "cells": 1.0, "nuclei": -1.0})
"""What the target plane holds, everywhere the same, for whole cells, for nuclei, or for what there is."""


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Facts about a network that the pipeline needs. They come from the model's card.

    Parameters
    ----------
    family : {"compact", "cp3", "cpsam", "cpdino"}
        Architecture.
    channels : int
        Channels the network takes.
    min_channels : int
        Fewest channels of an image that make sense; missing ones are filled with zeros.
    stride : int
        Tile sides must be multiples of this.
    tile_size : int
        Side of a tile, in pixels.
    fixed_tile : bool
        True if no other tile size works (position embeddings).
    tile_overlap : int
        Pixels that neighbouring tiles share by default.
    object_diameter_px : float or None
        Diameter the network was trained for; None if it takes any.
    diameter_range_px : tuple of float
        Diameters that it segments well without rescaling.
    outputs : tuple of str
        Names among "flow", "cellprob", "log_diameter", "class", "style".
    default_diameter_px : float or None
        Diameter to assume where neither the user nor the network says one; None: take the image as it is.
    channel_roles : tuple of str
        What the channels must show, in order, such as ("cell", "nucleus"). Empty: they have no roles.
    order_free : bool
        True if it was trained on channels in any order: the pipeline then shows them in one order of its own, so that
        the file's order cannot matter.
    targets : tuple of str
        What it can be told to look for, among "cells" and "nuclei". A plane after the channels tells it (see
        `TARGET_VALUES`). Empty: it has no such plane.
    score : tuple of float
        Bias and weights of an object's cellprob and flow error, whose sum is the logit of the probability that the
        object is right (matches a true one at IoU 0.5). Empty: not known.
    """

    family: str
    channels: int
    min_channels: int
    stride: int
    tile_size: int
    fixed_tile: bool
    tile_overlap: int
    object_diameter_px: float | None
    diameter_range_px: tuple[float, float]
    outputs: tuple[str, ...]
    channel_roles: tuple[str, ...] = ()
    default_diameter_px: float | None = None
    targets: tuple[str, ...] = ()
    score: tuple[float, ...] = ()
    order_free: bool = False

    @property
    def sparse(self) -> bool:
        """Whether a few objects decide their image's range (see `cellbrook.normalize`), which other families never saw."""
        return self.family == "compact"

    @property
    def planes(self) -> int:
        """Planes of the network's input: the channels, and one for the target if it can be told one."""
        return self.channels + bool(self.targets)
