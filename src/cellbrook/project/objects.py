"""The rows of a project's object table."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cellbrook.core.objects import ObjectTable

if TYPE_CHECKING:
    from collections.abc import Sequence

Origin = Literal["auto", "manual", "edited"]
Box = tuple[int, int, int, int, int]
"""Plane and half-open ``y0, x0, y1, x1``, in pixels."""

COLUMNS = (
    "id, plane, y0, x0, y1, x1, area, class, origin, locked, score, flow_error, cellprob"  # as in the table
)


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """One object in one plane.

    Parameters
    ----------
    id : int
        Its label.
    plane : int
        T and Z flattened, from 0.
    y0, x0, y1, x1 : int
        Half-open bounding box, in pixels.
    area : int
        In pixels.
    class_id : int
        0: none.
    origin : {"auto", "manual", "edited"}
        Found by a model; drawn by hand; found by a model and changed by hand.
    locked : bool
        Nothing changes it.
    score, flow_error, cellprob : float or None
        As the model gave them; None once the shape was changed by hand.
    """

    id: int
    plane: int
    y0: int
    x0: int
    y1: int
    x1: int
    area: int
    class_id: int = 0
    origin: Origin = "manual"
    locked: bool = False
    score: float | None = None
    flow_error: float | None = None
    cellprob: float | None = None

    @classmethod
    def from_values(cls, values: Sequence[Any]) -> ObjectRow:
        """Return the row of these values, in the order of `COLUMNS`."""
        v = list(values)
        v[9] = bool(v[9])
        return cls(*v)

    def values(self) -> list[Any]:
        """Return plain values in the order of `COLUMNS`."""
        return [getattr(self, f.name) for f in dataclasses.fields(self)]

    def reshaped(self, **changes: Any) -> ObjectRow:
        """Return the row of an object whose shape a hand changed: the model's word holds no more."""
        origin = "edited" if self.origin == "auto" else self.origin
        return dataclasses.replace(
            self, **{"origin": origin, "score": None, "flow_error": None, "cellprob": None, **changes}
        )

    @property
    def box(self) -> Box:
        """Plane and bounding box."""
        return self.plane, self.y0, self.x0, self.y1, self.x1

    @property
    def protected(self) -> bool:
        """True if no model may change it: locked, or touched by a hand."""
        return self.locked or self.origin != "auto"


def meet(a: Sequence[int], b: Sequence[int]) -> bool:
    """Return whether two boxes (see `Box`) share a pixel."""
    return a[0] == b[0] and a[1] < b[3] and b[1] < a[3] and a[2] < b[4] and b[2] < a[4]


def as_table(rows: Sequence[ObjectRow], leading: tuple[int, ...] = (), axes: str = "YX") -> ObjectTable:
    """Return rows as an object table, with the columns of a segmentation's as far as they are known.

    Parameters
    ----------
    rows : sequence of ObjectRow
        In any order.
    leading : tuple of int
        Lengths of the axes before Y and X.
    axes : str
        Axes of the labels, such as "ZYX".
    """
    integers = {
        "label": "id",
        "area_px": "area",
        "bbox_y0": "y0",
        "bbox_x0": "x0",
        "bbox_y1": "y1",
        "bbox_x1": "x1",
    }
    columns: dict[str, Any] = {
        name: np.array([getattr(r, field) for r in rows], np.int64) for name, field in integers.items()
    }
    if leading:
        place = np.unravel_index(np.array([r.plane for r in rows], np.int64), leading)
        columns |= {a.lower(): p for a, p in zip(axes[:-2], place, strict=True)}
    for name in ("flow_error", "cellprob", "score"):
        columns[name] = np.array([np.nan if (v := getattr(r, name)) is None else v for r in rows], np.float64)
    columns["class"] = np.array([r.class_id for r in rows], np.int64)
    columns["origin"] = np.array([r.origin for r in rows], "U6")
    columns["locked"] = np.array([r.locked for r in rows], bool)
    return ObjectTable(columns)
