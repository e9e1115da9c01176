"""Runs of pixels as they travel: varints (LEB128), 170 bytes for a cell.

A run is (row, first column, column after the last); in a patch also the label. It is sent as the row less the row
before, the column less the end of the run before in this row (else the column), the length, and the label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellbrook.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST = 2**31 - 1


def decode_runs(data: bytes, shape: tuple[int, int], *, labelled: bool = False) -> NDArray[np.int64]:
    """Read runs, and refuse what does not fit the image.

    Parameters
    ----------
    data : bytes
        As sent.
    shape : tuple of int
        Rows and columns of the image.
    labelled : bool
        Each run carries a label.

    Returns
    -------
    ndarray of shape (n, 3) or (n, 4), int64
        Rows ``y, x0, x1`` (half-open) and the label, sorted by row, then column; no two overlap.

    Raises
    ------
    UsageError
        If the bytes are no runs, or leave the image.

    Examples
    --------
    >>> decode_runs(bytes([2, 5, 3, 0, 1, 2]), (10, 20)).tolist()
    [[2, 5, 8], [2, 9, 11]]
    """
    width = 4 if labelled else 3
    fields = _varints(data)
    if len(fields) % width:
        raise UsageError(f"runs have {width} numbers each, got {len(fields)} numbers")
    fields = fields.reshape(-1, width)
    if not len(fields):
        return np.zeros((0, width), np.int64)
    rows = np.cumsum(fields[:, 0])
    first = np.flatnonzero(np.concatenate([[True], fields[1:, 0] > 0]))
    steps = fields[:, 1] + fields[:, 2]
    ends = np.cumsum(steps)
    before = (ends - steps)[first]
    ends -= np.repeat(before, np.diff(np.append(first, len(fields))))
    if rows[-1] >= shape[0] or (ends > shape[1]).any() or (fields[:, 2] < 1).any():
        raise UsageError(f"runs must lie within the image of {shape[0]} x {shape[1]} pixels")
    columns = [rows, ends - fields[:, 2], ends]
    return np.stack([*columns, fields[:, 3]] if labelled else columns, axis=1)


def encode_runs(runs: NDArray[np.int64]) -> bytes:
    """Write runs; the inverse of `decode_runs`.

    Parameters
    ----------
    runs : ndarray of shape (n, 3) or (n, 4), int
        Rows ``y, x0, x1`` and perhaps the label, sorted by row, then column.

    Examples
    --------
    >>> encode_runs(np.array([[2, 5, 8], [2, 9, 11]])).hex()
    '020503000102'
    """
    runs = np.asarray(runs, np.int64)
    if not len(runs):
        return b""
    fields = runs.copy()
    fields[1:, 0] -= runs[:-1, 0]
    same_row = np.concatenate([[False], fields[1:, 0] == 0])
    fields[1:, 1] -= np.where(same_row[1:], runs[:-1, 2], 0)
    fields[:, 2] = runs[:, 2] - runs[:, 1]
    return _as_varints(fields.reshape(-1))


def _varints(data: bytes) -> NDArray[np.int64]:
    raw = np.frombuffer(data, np.uint8)
    last = np.flatnonzero(raw < 128)
    if len(raw) and (not len(last) or last[-1] != len(raw) - 1):
        raise UsageError("runs end in the middle of a number")
    starts = np.concatenate([[0], last[:-1] + 1]).astype(np.intp)
    if len(last) and int((last - starts).max()) > 4:
        raise UsageError("runs hold a number above 2147483647")
    values = np.zeros(len(last), np.int64)
    for place in range(5):
        at = starts + place
        inside = at <= last
        values[inside] |= (raw[at[inside]].astype(np.int64) & 127) << (7 * place)
    if len(values) and int(values.max()) > _MOST:
        raise UsageError("runs hold a number above 2147483647")
    return values


def _as_varints(values: NDArray[np.int64]) -> bytes:
    lengths = np.ones(len(values), np.intp)
    for place in range(1, 5):
        lengths += values >= 1 << (7 * place)
    starts = np.cumsum(lengths) - lengths
    out = np.zeros(int(lengths.sum()), np.uint8)
    for place in range(5):
        has = lengths > place
        more = (lengths[has] > place + 1).astype(np.int64) << 7
        out[starts[has] + place] = (values[has] >> (7 * place) & 127) | more
    return out.tobytes()
