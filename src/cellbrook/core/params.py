"""Every parameter, once: its name, default, unit and help.

The command line, the Python keywords, the documentation and the provenance written beside results are all made
from these dataclasses, so a parameter is added, renamed or explained here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Literal

from cellbrook.errors import UsageError

Compat = Literal["cellpose"]


@dataclass(frozen=True, slots=True)
class MaskParams:
    """How flows become labels.

    Parameters
    ----------
    cellprob_threshold : float
        Pixels with a cellprob logit above this belong to objects. Lower finds more and larger objects. About -6 to 6.
    flow_threshold : float or None
        Largest mean squared difference between an object's predicted flows and those its shape implies. Objects
        above it are discarded as ill-shaped. 0 keeps all. None: 0.4, but all where a model's scores are probabilities.
    min_score : float or None
        Smallest score, 0 to 1. Objects below it are discarded as doubtful. 0 keeps all. None: 0.4 where a model's
        scores are probabilities that an object is right (as compact's are), else all.
    min_size : int
        Smallest object, in pixels (voxels in 3-D). Smaller ones are discarded. 0 or less keeps all.
    max_size_fraction : float or None
        Largest object as a fraction of the image. None keeps all (with compat="cellpose": 0.4).
    niter : int or None
        Largest number of steps that pixels take along the flow. None: until they have converged
        (with compat="cellpose": 200).
    fill_holes : bool
        Fill holes inside objects.
    exclude_border : bool
        Discard objects that touch the border of the image.
    compat : {"cellpose"} or None
        "cellpose" repeats the arithmetic of Cellpose 4.2 to the pixel, its known defects included. None: sampled
        correctly, run to convergence, one connected component a label.
    """

    cellprob_threshold: float = 0.0
    flow_threshold: float | None = None
    min_score: float | None = None
    min_size: int = 15
    max_size_fraction: float | None = None
    niter: int | None = None
    fill_holes: bool = True
    exclude_border: bool = False
    compat: Compat | None = None


@dataclass(frozen=True, slots=True)
class NormalizeParams:
    """How intensities are brought to the range that networks expect.

    Parameters
    ----------
    normalize : bool
        Stretch each channel so that the two percentiles become 0 and 1.
    percentile_low : float
        Percentile that becomes 0.
    percentile_high : float
        Percentile that becomes 1.
    invert : bool
        Exchange dark and bright, after the stretch.
    sharpen_radius : float
        Subtract the surround: a Gaussian of this standard deviation, in pixels. 0: off.
    smooth_radius : float
        Smooth with a Gaussian of this standard deviation, in pixels. 0: off.
    tile_norm_size : int
        Take the percentiles in blocks of this many pixels, for uneven illumination. 0: once an image.
    """

    normalize: bool = True
    percentile_low: float = 1.0
    percentile_high: float = 99.0
    invert: bool = False
    sharpen_radius: float = 0.0
    smooth_radius: float = 0.0
    tile_norm_size: int = 0


@dataclass(frozen=True, slots=True)
class TileParams:
    """How an image is cut for the network.

    Parameters
    ----------
    tile_size : int or None
        Side of a tile, in pixels of the rescaled image. None: the model's own.
    tile_overlap : int or None
        Pixels that neighbouring tiles share. None: the model's own.
    batch_size : int or None
        Tiles run at once. None: what suits the device.
    augment : bool
        Average the network over flips and quarter turns: slower, slightly more accurate.
    """

    tile_size: int | None = None
    tile_overlap: int | None = None
    batch_size: int | None = None
    augment: bool = False


@dataclass(frozen=True, slots=True)
class InputParams:
    """Which part of the image is segmented.

    Parameters
    ----------
    axes : str or None
        What the dimensions are, a letter each out of T, C, Z, Y, X (and S for RGB samples), such as "CYX". None: from
        the file's metadata.
    channels : str or None
        Channels to use: by index from 0 ("0,2"), by name ("DAPI,GFP") or by role ("nucleus=2,cell=0"). None: all, where
        the model takes as many; else an error that lists them.
    pixel_size : float or None
        Side of a pixel in micrometres. None: from the file's metadata.
    scene : str or None
        Scene of a multi-scene file: its number from 0, its name, or "all". None: the only one.
    z : str or None
        "max" or "mean" projects the z-stack, a number takes that plane. None: each plane by itself.
    """

    axes: str | None = None
    channels: str | None = None
    pixel_size: float | None = None
    scene: str | None = None
    z: str | None = None


@dataclass(frozen=True, slots=True)
class ModelParams:
    """Which network runs, and where.

    Parameters
    ----------
    model : str
        Name of a model (see `cellbrook models list`) or path of a checkpoint.
    diameter : str
        Typical diameter of the objects: "auto" lets the model estimate it; a number is in pixels; "12um" in micrometres.
    device : {"auto", "cpu", "cuda", "mps"}
        Where the network runs. "cuda:1" names the second card.
    engine : {"auto", "onnxruntime", "openvino", "torch"}
        What runs the network.
    target : {"auto", "cells", "nuclei"}
        What to outline where an image shows both whole cells and their nuclei. "auto": the cells where there are two
        or more stains, else whatever is seen.
    precision : {"auto", "fp32", "bf16", "int8"}
        Arithmetic of the network. "auto" is the fastest that is shown to give equal accuracy.
    threads : int or None
        Processor threads for everything. None: the cores this process may use.
    """

    model: str = "compact"
    diameter: str = "auto"
    target: Literal["auto", "cells", "nuclei"] = "auto"
    device: str = "auto"
    engine: str = "auto"
    precision: str = "auto"
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class SegmentParams:
    """Everything that decides a segmentation. Nested by concern, flat as keywords and flags.

    Parameters
    ----------
    model_params, input_params, normalize_params, tile_params, mask_params
        The groups; every field of theirs is a keyword of `from_keywords`.

    Raises
    ------
    UsageError
        If one is no number, or would silently stand for the default.
    """

    model_params: ModelParams = field(default_factory=ModelParams)
    input_params: InputParams = field(default_factory=InputParams)
    normalize_params: NormalizeParams = field(default_factory=NormalizeParams)
    tile_params: TileParams = field(default_factory=TileParams)
    mask_params: MaskParams = field(default_factory=MaskParams)

    def __post_init__(self) -> None:
        for name, value in self.to_keywords().items():
            if isinstance(value, Real) and math.isnan(value):
                raise UsageError(f"{name} must be a number, got {value}")
            if name in ("batch_size", "tile_size") and isinstance(value, Real) and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")

    @classmethod
    def from_keywords(cls, **keywords: Any) -> SegmentParams:
        """Build from flat keywords; an unknown one is an error that names the nearest.

        Raises
        ------
        UsageError
            If a keyword is not a parameter.
        """
        groups: dict[str, Any] = {}
        known: list[str] = []
        for group in dataclasses.fields(cls):
            kind: Any = group.default_factory
            names = [f.name for f in dataclasses.fields(kind)]
            known += names
            groups[group.name] = kind(**{n: keywords.pop(n) for n in names if n in keywords})
        if keywords:
            name = next(iter(keywords))
            near = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known are: {', '.join(sorted(known))}"
            raise UsageError(f"unknown parameter {name!r}: {hint}")
        return cls(**groups)

    def to_keywords(self) -> dict[str, Any]:
        """Return the flat keywords that `from_keywords` takes, defaults included."""
        return {
            f.name: getattr(getattr(self, group.name), f.name)
            for group in dataclasses.fields(self)
            for f in dataclasses.fields(getattr(self, group.name))
        }
