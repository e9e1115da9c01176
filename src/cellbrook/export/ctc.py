"""Tracks as the Cell Tracking Challenge wants them: a label image a frame, and a line a track.

A track there has no gaps: one that was missed in a frame ends, and goes on as its own daughter.
"""

from __future__ import annotations

import io
import zipfile
from bisect import bisect_left
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from cellbrook.errors import UsageError
from cellbrook.io.writers import atomic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from cellbrook.core.objects import ObjectTable

FOLDER = "01_RES"
"""The challenge's name for the results of a first sequence."""

_MOST = 2**16 - 1
_DATE = (1980, 1, 1, 0, 0, 0)  # equal tracks give equal files


def write_ctc(
    path: str | Path, labels: NDArray[Any], objects: ObjectTable | None = None, *, axes: str = "TYX"
) -> Path:
    """Write labels of a time series as a zip of ``01_RES/mask000.tif`` ... and ``01_RES/res_track.txt``.

    Parameters
    ----------
    path : str or Path
        Replaced whole if it exists.
    labels : ndarray of shape (T, Y, X) or (T, Z, Y, X), integer
        0 is background; an object has one number in all frames.
    objects : ObjectTable or None
        Its column ``parent``, if there is one, says which track another came from.
    axes : str
        Axes of `labels`.

    Raises
    ------
    UsageError
        If there is no time, or there are more than 65,535 tracks, which the format cannot hold.

    References
    ----------
    .. [1] Ulman et al., Nat Methods 14, 1141-1152 (2017); naming and content as the challenge's page lays down.
    """
    if not axes.startswith("T"):
        raise UsageError(f"tracks are of a time series, and these labels have the axes {axes}")
    masks, lines = tracks_of(labels, objects)
    if len(lines) > _MOST:
        raise UsageError(
            f"files of the Cell Tracking Challenge hold {_MOST:,} tracks, and there are {len(lines):,}"
        )
    digits = max(3, len(str(len(masks) - 1)))
    with atomic(path) as target, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in _files(masks, lines, digits):
            archive.writestr(zipfile.ZipInfo(f"{FOLDER}/{name}", _DATE), content)
    return Path(path)


def tracks_of(
    labels: NDArray[Any], objects: ObjectTable | None = None
) -> tuple[NDArray[np.uint32], list[tuple[int, int, int, int]]]:
    """Return labels whose tracks have no gaps, and for each track its number, first and last frame, and parent.

    Parameters
    ----------
    labels, objects
        As for `write_ctc`.

    Examples
    --------
    >>> labels = np.zeros((4, 2, 2), int)
    >>> labels[0, 0, 0] = labels[1, 0, 0] = labels[3, 0, 0] = 7
    >>> masks, lines = tracks_of(labels)
    >>> lines, masks[:, 0, 0].tolist()
    ([(1, 0, 1, 0), (2, 3, 3, 1)], [1, 1, 0, 2])
    """
    seen: dict[int, list[int]] = {}
    for t, frame in enumerate(labels):
        for label in np.unique(frame[frame > 0]).tolist():
            seen.setdefault(label, []).append(t)
    came_from: dict[int, int] = {}
    if objects is not None and "parent" in objects:
        pairs = zip(objects["label"].tolist(), objects["parent"].tolist(), strict=True)
        came_from = {int(label): int(parent) for label, parent in pairs if parent}
    runs = [
        (int(part[0]), int(part[-1]), label)
        for label, frames in seen.items()
        for part in np.split(np.array(frames), np.flatnonzero(np.diff(frames) > 1) + 1)
    ]
    runs.sort(key=lambda part: (part[0], part[2]))
    number = {(label, begin): k for k, (begin, _, label) in enumerate(runs, 1)}
    begins: dict[int, list[int]] = {}
    for begin, _, label in runs:
        begins.setdefault(label, []).append(begin)

    def before(label: int, begin: int) -> int:
        """Return the number of the last part of a track that began before; 0 for none."""
        earlier = begins.get(label, [])
        at = bisect_left(earlier, begin)
        return number[label, earlier[at - 1]] if at else 0

    lines = [
        (
            number[label, begin],
            begin,
            end,
            before(label, begin) or before(came_from.get(label, 0), begin),
        )
        for begin, end, label in runs
    ]
    masks = np.zeros(labels.shape, np.uint32)
    top = max(seen, default=0)
    for t, frame in enumerate(labels):
        new = np.zeros(top + 1, np.uint32)
        for begin, end, label in runs:
            if begin <= t <= end:
                new[label] = number[label, begin]
        masks[t] = new[frame]
    return masks, lines


def _files(
    masks: NDArray[np.uint32], lines: list[tuple[int, int, int, int]], digits: int
) -> Iterator[tuple[str, bytes]]:
    for t, frame in enumerate(masks):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, frame.astype(np.uint16), compression="zlib", photometric="minisblack")
        yield f"mask{t:0{digits}}.tif", buffer.getvalue()
    yield "res_track.txt", "".join(f"{' '.join(map(str, line))}\n" for line in lines).encode()
