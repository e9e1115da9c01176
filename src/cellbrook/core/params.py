"""Every parameter, once: its name, default, unit and help.

The command line, the Python keywords, the documentation and the provenance written beside results are all made
from these dataclasses, so a parameter is added, renamed or explained here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from dataclasses import dataclass, field
from functools import cache
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

from cellbrook.core.axes import check_axes
from cellbrook.core.plan import Diameter
from cellbrook.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

Compat = Literal["cellpose"]

_LEAST = {
    "batch_size": 1,
    "tile_size": 1,
    "tile_overlap": 0,
    "niter": 0,
    "sharpen_radius": 0,
    "smooth_radius": 0,
    "tile_norm_size": 0,
}


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

    def __post_init__(self) -> None:
        _check_numbers(self)
        if self.min_score is not None and not 0 <= self.min_score <= 1:
            raise UsageError(f"min_score is a number from 0 to 1, got {self.min_score}")
        if self.compat and self.min_score:
            raise UsageError(
                f"min_score and compat={self.compat!r} exclude each other, as Cellpose has no scores: give one"
            )


@dataclass(frozen=True, slots=True)
class NormalizeParams:
    """How intensities are brought to the range that networks expect.

    Parameters
    ----------
    normalize : bool
        Stretch each channel so that the two percentiles become 0 and 1. Else values are shown as they are.
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

    def __post_init__(self) -> None:
        _check_numbers(self)
        low, high = self.percentile_low, self.percentile_high
        if not 0 <= low < high <= 100:
            raise UsageError(f"percentiles must satisfy 0 <= low < high <= 100, got {low} and {high}")
        if not self.normalize:
            changed = (f.name for f in dataclasses.fields(self) if getattr(self, f.name) != f.default)
            others = [name for name in changed if name != "normalize"]
            if others:
                raise UsageError(
                    f"without normalization {', '.join(others)} would do nothing: leave out either the one or the other"
                )


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

    def __post_init__(self) -> None:
        _check_numbers(self)


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
    volume : bool
        Find objects through the planes of the z-stack, in 3-D.
    anisotropy : float or None
        With `volume`: distance of planes, in pixels of a plane. None: from the file's metadata, else 1.
    track : bool
        Follow objects through time: one number for all frames, and the `parent` of those that came from a division.
    """

    axes: str | None = None
    channels: str | None = None
    pixel_size: float | None = None
    scene: str | None = None
    z: str | None = None
    volume: bool = False
    anisotropy: float | None = None
    track: bool = False

    def __post_init__(self) -> None:
        if self.axes is not None:
            check_axes(self.axes)
        if self.pixel_size is not None and not 0 < self.pixel_size < math.inf:
            raise UsageError(f"pixel_size must be a positive number of micrometres, got {self.pixel_size}")
        if self.z not in (None, "max", "mean") and not self.z.isdecimal():
            raise UsageError(f'z must be "max", "mean" or the number of a plane, got {self.z!r}')
        if self.volume and self.z is not None:
            raise UsageError(f"volume and z={self.z!r} exclude each other, as z leaves one plane: give one")
        if self.anisotropy is not None and not self.volume:
            raise UsageError("anisotropy does nothing without volume: give both, or leave it out")
        if self.anisotropy is not None and not 0.1 <= self.anisotropy <= 50:
            raise UsageError(f"anisotropy must lie between 0.1 and 50, got {self.anisotropy}")


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
        Arithmetic of the network. "auto" is the fastest that was measured to be nearly as accurate.
    threads : int or None
        Processor threads for everything, the cores of the machine at most. None: the cores this process may use.
    """

    model: str = "compact"
    diameter: str = "auto"
    target: Literal["auto", "cells", "nuclei"] = "auto"
    device: str = "auto"
    engine: str = "auto"
    precision: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        Diameter.parse(self.diameter, pixel_size_um=1)  # whether it is one; its pixel size is the image's


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
        From each group: if a value makes no sense whatever the image.
    """

    model_params: ModelParams = field(default_factory=ModelParams)
    input_params: InputParams = field(default_factory=InputParams)
    normalize_params: NormalizeParams = field(default_factory=NormalizeParams)
    tile_params: TileParams = field(default_factory=TileParams)
    mask_params: MaskParams = field(default_factory=MaskParams)

    @classmethod
    def from_keywords(cls, **keywords: Any) -> SegmentParams:
        """Build from flat keywords; an unknown one is an error that names the nearest.

        Scalars of NumPy are as good as Python's own. Whole numbers may stand for fractions, and numbers for text: a
        diameter or a channel is naturally written as one.

        Raises
        ------
        UsageError
            If a keyword is not a parameter, or a value is of the wrong type or makes no sense.
        """
        groups: dict[str, Any] = {}
        given = checked(keywords, types_of_keywords())
        for group in dataclasses.fields(cls):
            kind: Any = group.default_factory
            names = [f.name for f in dataclasses.fields(kind) if f.name in given]
            groups[group.name] = kind(**{n: given[n] for n in names})
        return cls(**groups)

    def to_keywords(self) -> dict[str, Any]:
        """Return the flat keywords that `from_keywords` takes, defaults included."""
        return {
            f.name: getattr(getattr(self, group.name), f.name)
            for group in dataclasses.fields(self)
            for f in dataclasses.fields(getattr(self, group.name))
        }


def _check_numbers(group: Any) -> None:
    for field_ in dataclasses.fields(group):
        name, value = field_.name, getattr(group, field_.name)
        if isinstance(value, Real) and math.isnan(value):
            raise UsageError(f"{name} must be a number, got {value}")
        if value is not None and name in _LEAST and value < _LEAST[name]:
            raise UsageError(f"{name} must be at least {_LEAST[name]}, got {value}")


@cache
def types_of_keywords() -> dict[str, Any]:
    """Return the annotation of every parameter by its name."""
    groups: list[Any] = [group.default_factory for group in dataclasses.fields(SegmentParams)]
    return {name: kind for group in groups for name, kind in typing.get_type_hints(group).items()}


def checked(keywords: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords as values of the types that are known of them; see `SegmentParams.from_keywords`."""
    for name in keywords:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known are: {', '.join(sorted(known))}"
            raise UsageError(f"unknown parameter {name!r}: {hint}")
    return {name: _as_type(name, value, known[name]) for name, value in keywords.items()}


def _as_type(name: str, value: Any, annotation: Any) -> Any:
    """Return a value as one of the types that an annotation allows."""
    if getattr(value, "ndim", None) == 0:  # a scalar of NumPy
        value = value.item()
    union = typing.get_origin(annotation) in (types.UnionType, typing.Union)
    options = typing.get_args(annotation) if union else (annotation,)
    for option in options:
        if typing.get_origin(option) is Literal:
            if isinstance(value, str) and value in typing.get_args(option):
                return value
        elif option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        elif option is str and isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)
        elif type(value) is option:
            return value
    wanted = " or ".join(_in_words(option) for option in options if option is not types.NoneType)
    raise UsageError(f"{name} must be {wanted}, got {value!r}")


def _in_words(option: Any) -> str:
    if typing.get_origin(option) is Literal:
        return ", ".join(repr(a) for a in typing.get_args(option))
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[option]
