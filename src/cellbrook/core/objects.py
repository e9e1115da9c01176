"""The object table: one row an object, columns as arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True, repr=False, eq=False)  # == of arrays is no bool, and they have no hash
class ObjectTable:
    """Columns of equal length, one row an object.

    Parameters
    ----------
    columns : mapping of str to ndarray of shape (n,)
        Always has ``label``. Names carry their unit (``area_px``, ``diameter_um``); bounding boxes are half-open
        ``bbox_y0, bbox_x0, bbox_y1, bbox_x1`` (``bbox_z0, bbox_z1`` in 3-D); centroids ``centroid_y, centroid_x``.
    discarded : ObjectTable or None
        Candidates that were not accepted. Its columns are the same where they are known, plus ``reason`` (str: such as
        "flow_error", "too_small", "too_large", "touches_border") and ``figure`` (float, the value that decided).
        Its ``label`` counts candidates from 1 and refers to no pixel of the label image.

    Examples
    --------
    >>> import numpy as np
    >>> table = ObjectTable({"label": np.array([1, 2]), "area_px": np.array([20, 35])})
    >>> len(table), int(table["area_px"].max())
    (2, 35)
    """

    columns: Mapping[str, NDArray[Any]]
    discarded: ObjectTable | None = field(default=None)

    def __post_init__(self) -> None:
        arrays = {name: np.asarray(values) for name, values in self.columns.items()}
        if "label" not in arrays:
            raise ValueError(f"an object table needs a 'label' column, got {sorted(arrays)}")
        lengths = {name: len(values) for name, values in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of an object table must be of equal length, got {lengths}")
        object.__setattr__(self, "columns", MappingProxyType(arrays))

    def __len__(self) -> int:
        return len(self.columns["label"])

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __repr__(self) -> str:
        dropped = "" if self.discarded is None else f", {len(self.discarded)} discarded"
        return f"ObjectTable({len(self)} objects{dropped}; {', '.join(self.columns)})"

    @property
    def nbytes(self) -> int:
        """Bytes of the columns, without those discarded."""
        return sum(values.nbytes for values in self.columns.values())

    def __reduce__(self) -> tuple[type[ObjectTable], tuple[dict[str, NDArray[Any]], ObjectTable | None]]:
        # a mapping proxy can be neither pickled nor copied
        return ObjectTable, (dict(self.columns), self.discarded)

    def with_columns(self, **columns: ArrayLike) -> ObjectTable:
        """Return a table with these columns added or replaced."""
        return ObjectTable({**self.columns, **{n: np.asarray(v) for n, v in columns.items()}}, self.discarded)

    def select(self, rows: ArrayLike) -> ObjectTable:
        """Return the rows that a boolean mask or an index array picks; `discarded` is kept."""
        index = np.asarray(rows)
        return ObjectTable({name: values[index] for name, values in self.columns.items()}, self.discarded)

    def discard_counts(self) -> dict[str, int]:
        """Return how many candidates were discarded, by reason."""
        if self.discarded is None:
            return {}
        reasons, counts = np.unique(self.discarded["reason"], return_counts=True)
        return {str(r): int(c) for r, c in zip(reasons, counts, strict=True)}

    def to_pandas(self) -> Any:
        """Return the table as a ``pandas.DataFrame``.

        Raises
        ------
        UsageError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise UsageError(f"a table for pandas needs pandas ({error}): pip install pandas") from error
        return pd.DataFrame(dict(self.columns))


def concatenate(tables: Sequence[ObjectTable]) -> ObjectTable:
    """Return the rows of several tables in one; only columns that all of them have are kept."""
    if len(tables) == 1:
        return tables[0]
    if not tables:
        return ObjectTable({"label": np.zeros(0, np.uint32)})
    names = [n for n in tables[0] if all(n in t for t in tables)]
    columns = {n: np.concatenate([t[n] for t in tables]) for n in names}
    dropped = [t.discarded for t in tables if t.discarded is not None]
    return ObjectTable(columns, concatenate(dropped) if dropped else None)
