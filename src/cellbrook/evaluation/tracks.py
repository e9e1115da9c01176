"""Tracks of two films compared: label files of Cellbrook, and folders or zips of the Cell Tracking Challenge."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellbrook.core.objects import ObjectTable
from cellbrook.errors import ImageError, UsageError
from cellbrook.export.ctc import tracks_of
from cellbrook.export.table import read_csv
from cellbrook.io import OUTPUT_ENDINGS, read_labels
from cellbrook.io._stored import reading
from cellbrook.io.pairs import result_stem
from cellbrook.metrics.tracks import Tracks, TrackScores, score_tracks

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

_LINES = ("man_track.txt", "res_track.txt")
_FRAME = re.compile(r"(?:man_track|mask)(\d+)\.tiff?")


def evaluate_tracks(
    truth: str | os.PathLike[str], pred: str | os.PathLike[str], *, threads: int | None = None
) -> TrackScores:
    """Compare the tracks of a film with the truth; see `cellbrook.metrics.tracks.score_tracks`.

    Parameters
    ----------
    truth, pred : path
        As for `read_tracks`.
    threads : int or None
        Processor threads. None: the cores this process may use.

    Raises
    ------
    ImageError
        If a file cannot be read.
    UsageError
        If it holds no film, or the two are not of one size.
    """
    return score_tracks(read_tracks(truth), read_tracks(pred), threads=threads)


def read_tracks(path: str | os.PathLike[str]) -> Tracks:
    """Read tracks.

    Parameters
    ----------
    path : path
        A label file of a time series, in which an object has one number in all frames (``segment --track``; the column
        ``parent`` of the ``_objects.csv`` beside it tells of divisions); or a folder or zip of the Cell Tracking Challenge:
        ``man_track.txt`` or ``res_track.txt`` with a label image a frame, also one folder up (``01_GT`` for ``01_GT/TRA``).

    Raises
    ------
    ImageError
        If something cannot be read.
    UsageError
        If it is no film.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"no such file or folder: {path}")
    if path.is_dir() and (found := _challenge_folder(path)) is not None:
        return _of_challenge(
            found, [p.name for p in found.iterdir()], lambda name: (found / name).read_bytes()
        )
    if path.suffix.lower() == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                names = {Path(n).name: n for n in archive.namelist()}
                return _of_challenge(path, list(names), lambda name: archive.read(names[name]))
        except zipfile.BadZipFile as error:
            raise ImageError(f"cannot read {path}: {error}") from error
    labels, axes = read_labels(path)
    if not axes.startswith("T"):
        raise UsageError(f"{path} holds no film: tracks need a first axis T, and it has {axes}")
    table = path.with_name(f"{result_stem(path)}{OUTPUT_ENDINGS['objects']}")
    objects = None
    if table.exists():
        columns = read_csv(table)
        if {"label", "parent"} <= columns.keys():
            parents = np.nan_to_num(columns["parent"].astype(np.float64)).astype(np.int64)
            objects = ObjectTable({"label": columns["label"], "parent": parents})
    return Tracks(*tracks_of(labels, objects))


def _challenge_folder(path: Path) -> Path | None:
    """Return the folder with the lines of tracks: this one, or TRA in it."""
    return next((p for p in (path, path / "TRA") if any((p / name).exists() for name in _LINES)), None)


def _of_challenge(path: Path, names: Sequence[str], read: Callable[[str], bytes]) -> Tracks:
    import tifffile

    frames = sorted((int(m[1]), name) for name in names if (m := _FRAME.fullmatch(name)))
    lines = next((name for name in _LINES if name in names), None)
    if lines is None or not frames:
        raise UsageError(
            f"{path} holds no tracks of the Cell Tracking Challenge: expected man_track.txt with man_track000.tif ..., or "
            "res_track.txt with mask000.tif ..."
        )
    try:
        told = [
            tuple(map(int, line.split())) for line in read(lines).decode("ascii").splitlines() if line.strip()
        ]
        found = [(number, begin, end, parent) for number, begin, end, parent in told]
    except ValueError as error:
        raise ImageError(f"{path}: {lines} is not of lines of four numbers: {error}") from error
    images: list[NDArray[np.uint32]] = []
    for number, name in frames:
        if number != len(images):
            raise ImageError(f"{path}: a frame is missing before {name}")
        with reading(str(path / name)):
            image = tifffile.imread(io.BytesIO(read(name)))
        if image.dtype.kind not in "ui" or (images and image.shape != images[0].shape):
            raise ImageError(f"{path / name} is no label image of the size of the others")
        images.append(image.astype(np.uint32))
    return Tracks(np.stack(images), found)
