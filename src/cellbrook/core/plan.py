"""What a run will do, resolved once from the user's wishes and the image's facts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellbrook.errors import UsageError

if TYPE_CHECKING:
    from cellbrook.core.params import SegmentParams


@dataclass(frozen=True, slots=True)
class Diameter:
    """A wish for the objects' typical diameter.

    Parameters
    ----------
    px : float or None
        In pixels; None lets the model estimate it.
    """

    px: float | None

    @classmethod
    def parse(cls, text: str | float | None, pixel_size_um: float | None) -> Diameter:
        """Read "auto", None, 0, a number of pixels, or micrometres as in "12um".

        Raises
        ------
        UsageError
            If it is none of these, or micrometres are given for an image of unknown pixel size.
        """
        words = str(text).strip().lower().replace("µ", "u").replace("μ", "u")
        if words in ("auto", "none", ""):
            return cls(None)
        in_um = words.endswith("um")
        number = words.removesuffix("um").removesuffix("px").strip()
        try:
            value = float(number)
        except ValueError:
            raise UsageError(
                f'diameter must be "auto", a number of pixels such as 30, or micrometres such as "12um", got {text!r}'
            ) from None
        if not 0 <= value < 1e5:
            raise UsageError(f"diameter must be 0 (auto) or positive, got {text!r}")
        if value == 0:
            return cls(None)
        if not in_um:
            return cls(value)
        if pixel_size_um is None:
            raise UsageError(
                f"a diameter in micrometres ({text}) needs the size of a pixel, which this image does not state: "
                "give --pixel-size, or the diameter in pixels"
            )
        return cls(value / pixel_size_um)


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """Everything that decides the result, and nothing that is still to be decided.

    Parameters
    ----------
    axes : str
        Axes of the image, as opened.
    shape : tuple of int
        Their lengths.
    dtype : str
        Type of its pixels.
    channels : tuple of int
        Channels that the network sees, in this order.
    channel_names : tuple of str
        Their names.
    stack_axes : str
        Axes of the labels before Y and X: of "TZ", those that remain after projection. Planes are segmented one by one,
        but of a volume.
    projection : {"max", "mean"} or int or None
        What happens to the z-stack before.
    pixel_size_um : dict of str to float
        For those of Z, Y, X that are known.
    diameter_px : float or None
        Given diameter; None: estimated.
    target : {"cells", "nuclei", "either"}
        What the network is told to look for.
    model : str
        Name of the model.
    model_sha256 : str
        Hash of the model's weights.
    params : SegmentParams
        The wishes it was made from.
    anisotropy : float or None
        None: planes. Else Z, Y and X are segmented together, and the planes lie so many pixels apart.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: str
    channels: tuple[int, ...]
    channel_names: tuple[str, ...]
    stack_axes: str
    projection: str | int | None
    pixel_size_um: dict[str, float]
    diameter_px: float | None
    target: str
    model: str
    model_sha256: str
    params: SegmentParams
    anisotropy: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain types, for ``run.json``."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "params"}
        fields["channels"] = list(self.channels)
        fields["channel_names"] = list(self.channel_names)
        fields["shape"] = list(self.shape)
        return fields
