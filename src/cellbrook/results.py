"""Writing results without losing anybody's work.

Files that Cellbrook wrote and nobody changed since are replaced by a new run; a file that was corrected by hand, or
was never ours, is not. ``run.json`` holds the hash of every file beside it, which tells the two apart. It is put in its
place first, and knows the hashes of the files that are about to be replaced too: a run that is killed at any moment leaves
nothing behind of which the next one could not tell whose it is. Files of an earlier run that this one does not write go
before that, unless they show the same labels. Files that are written beside a run later are put down in its ``run.json``
too, each with the hash of the labels that it shows.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import TYPE_CHECKING, Any

from cellbrook import export
from cellbrook.errors import OVERWRITE, OutputError
from cellbrook.io.atomic import put, remove, staged
from cellbrook.io.files import OUTPUT_ENDINGS, output_paths
from cellbrook.io.hashing import sha256_of, sha256_of_image
from cellbrook.provenance import hash_of_array

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cellbrook.core.result import SegmentationData
    from cellbrook.export.regions import Regions

log = logging.getLogger(__name__)


def write_results(
    data: SegmentationData,
    folder: Path,
    kinds: Sequence[str],
    *,
    overwrite: bool = False,
    classes: Sequence[str] = (),
    regions: Regions | None = None,
) -> dict[str, Path]:
    """Write the files of one image, each whole or not at all.

    Parameters
    ----------
    data : SegmentationData
        The result; `name` is the stem.
    folder : Path
        Made if it does not exist.
    kinds : sequence of str
        What to write; see `cellbrook.export.KINDS`.
    overwrite : bool
        Replace also what was changed by others.
    classes : sequence of str
        See `cellbrook.export.save`. None given: those that the model tells.
    regions : Regions or None
        As there.

    Returns
    -------
    dict of str to Path

    Raises
    ------
    OutputError
        If the folder cannot be written, or something would be lost.
    UsageError
        If a kind is not known, or the name has a folder in it.

    Notes
    -----
    Files that an earlier run wrote and this one does not stay if they show the same labels. Others are removed, but not what
    somebody changed. A ``run.json`` that is there is written also without being asked for: it must not speak of labels
    that are gone.
    """
    earlier = _read_run(folder, data.name)
    if "run" not in kinds and "labels" in kinds and earlier is not None:
        kinds = (*kinds, "run")
    places = _places(folder, data.name, kinds)
    if not overwrite:
        _check_same_image(folder, data.name, data.provenance.get("image"))
        check_replaceable(folder, data.name, kinds)
    threads = data.provenance.get("parameters", {}).get("threads")
    classes = classes or data.provenance.get("model", {}).get("classes", ())
    with staged(folder, data.name) as stage:
        rest = [k for k in kinds if k != "run"]
        written = export.save(
            data, stage, rest, stem=data.name, classes=classes, regions=regions, threads=threads
        )
        entries = {kind: _entry(path, folder) for kind, path in written.items()}
        digest = hash_of_array(data.labels)
        facts: dict[str, Any] | None = None
        if "run" in kinds:
            files = _left(folder, data.name, places, digest) | entries
            facts = {**data.provenance, "labels_sha256": digest, "files": files}
        elif earlier is not None:
            facts = _with_files(earlier, entries, digest)
        if facts is not None:
            whole = dataclasses.replace(data, provenance=facts)
            written = export.save(whole, stage, ["run"], stem=data.name, threads=threads) | written
        for path in written.values():
            put(path, folder / path.name)
    return {kind: places[kind] for kind in sorted(places, key="run".__eq__)}


def put_down(data: SegmentationData, folder: Path, files: Mapping[str, Path]) -> None:
    """Let the ``run.json`` of labels, where there is one, know of files that were made from these since.

    Parameters
    ----------
    data : SegmentationData
        The labels, which may be corrected ones; `name` is the stem.
    folder : Path
        Where the files and the ``run.json`` are.
    files : mapping of str to Path
        What was written, by kind.

    Raises
    ------
    OutputError
        If the ``run.json`` cannot be written.
    """
    run = _read_run(folder, data.name)
    if run is None:
        return
    entries = {kind: {"name": path.name, "sha256": sha256_of(path)} for kind, path in files.items()}
    facts = _with_files(run, entries, hash_of_array(data.labels))
    export.save(dataclasses.replace(data, provenance=facts), folder, ["run"], stem=data.name)


def check_place(path: Path, scene: str | None, folder: Path, stem: str, kinds: Sequence[str]) -> None:
    """Raise what `write_results` would of an image, before any time is spent on it.

    Parameters
    ----------
    path : Path
        The image.
    scene : str or None
        Which of its scenes.
    folder, stem, kinds
        As for `write_results`.

    Raises
    ------
    OutputError
        If results that are there are somebody's work, or another image's.
    """
    run = _read_run(folder, stem)
    if run is not None:
        same = (run.get("image") or {}).get("path") == str(path.absolute())
        sha256 = (
            run["image"].get("sha256") if same else sha256_of_image(path, scene)
        )  # a changed image is still the same one
        _check_same_image(folder, stem, {"path": str(path.absolute()), "scene": scene, "sha256": sha256})
    check_replaceable(folder, stem, kinds)


def _places(folder: Path, stem: str, kinds: Sequence[str]) -> dict[str, Path]:
    return output_paths(folder, stem, export.check_kinds(kinds, regions=True))


def _left(folder: Path, stem: str, written: Mapping[str, Path], digest: str) -> dict[str, dict[str, str]]:
    """Return the entries of files of the earlier run that stay, and remove those that show other labels than these."""
    run = _read_run(folder, stem)
    if run is None:
        return {}
    left: dict[str, dict[str, str]] = {}
    for kind, entry in run["files"].items():
        path = folder / f"{stem}{OUTPUT_ENDINGS.get(kind)}"
        if kind in written or entry["name"] != path.name or not path.exists():
            continue
        shown = entry.get("labels_sha256", run.get("labels_sha256"))
        if "labels" not in written or (shown == digest and _in_place(folder, entry)):
            left[kind] = {**entry, "labels_sha256": shown}
        elif sha256_of(path) in _hashes(entry):
            remove(path)
            log.warning("%s showed the labels before and was removed: --save %s writes it again", path, kind)
        else:
            log.warning("%s shows the labels before and stays, as somebody changed it", path)
    return left


def _with_files(run: Mapping[str, Any], entries: Mapping[str, dict[str, str]], digest: str) -> dict[str, Any]:
    """Return a run with files that were written beside it later, from labels of this hash."""
    more = {kind: {**entry, "labels_sha256": digest} for kind, entry in entries.items()}
    return {**run, "files": {**run["files"], **more}}


def _entry(staged_file: Path, folder: Path) -> dict[str, str]:
    """Return what ``run.json`` says of a file: its name, its hash, and that of the file it replaces, if any."""
    entry = {"name": staged_file.name, "sha256": sha256_of(staged_file)}
    old = folder / staged_file.name
    return {**entry, "replaces": sha256_of(old)} if old.exists() else entry


def _check_same_image(folder: Path, stem: str, new: Mapping[str, Any] | None) -> None:
    """Raise if the results that are there are those of another image of the same name, or of another scene."""
    old = (_read_run(folder, stem) or {}).get("image")
    if not old or not new:
        return
    run = folder / f"{stem}{OUTPUT_ENDINGS['run']}"
    # an array has no path, so its pixels alone tell which image it is
    told = [pair for key in ("path", "sha256") if None not in (pair := (old.get(key), new.get(key)))]
    if told and all(before != now for before, now in told):
        raise OutputError(
            f"{run} is of another image, {old.get('path') or 'an array'}: give another folder (--out) "
            f"or name, or {OVERWRITE} to replace its results"
        )
    scenes = old.get("scene"), new.get("scene")
    if None not in scenes and scenes[0] != scenes[1]:
        raise OutputError(
            f"{run} is of scene {scenes[0]} of this file: --scene all names results by scene; or give another "
            f"folder (--out), or {OVERWRITE} to replace them"
        )


def check_replaceable(folder: Path, stem: str, kinds: Sequence[str]) -> None:
    """Raise if writing these files would lose something.

    Parameters
    ----------
    folder : Path
        Where they go.
    stem : str
        Beginning of their names.
    kinds : sequence of str
        What is to be written.

    Raises
    ------
    OutputError
        If one of them is there and is not what Cellbrook wrote.
    """
    there = {kind: path for kind, path in _places(folder, stem, kinds).items() if path.exists()}
    if not there:
        return
    ours = {e["name"]: _hashes(e) for e in _files_of_run(folder, stem).values()}
    for kind, path in there.items():
        if kind == "run" and ours:
            continue
        if path.name not in ours:
            raise OutputError(
                f"{path} is there already and no run.json says that Cellbrook wrote it: "
                f"give {OVERWRITE} to replace it, or another folder (--out)"
            )
        if sha256_of(path) not in ours[path.name]:
            raise OutputError(
                f"{path} was changed since Cellbrook wrote it: give {OVERWRITE} to lose the changes, "
                "or another folder (--out)"
            )


def read_previous_run(folder: Path, stem: str) -> dict[str, Any] | None:
    """Return the ``run.json`` of this stem if it and all files it names are there, else None."""
    run = _read_run(folder, stem)
    return run if run and all(_in_place(folder, entry) for entry in run["files"].values()) else None


def _hashes(entry: Mapping[str, str]) -> tuple[str | None, ...]:
    """Return the hashes of what Cellbrook may have written under a name."""
    return entry["sha256"], entry.get("replaces")


def _in_place(folder: Path, entry: Mapping[str, str]) -> bool:
    """Tell whether a file is there, and is not still the one it was to replace."""
    path = folder / entry["name"]
    old = entry.get("replaces", entry["sha256"])
    return path.exists() and (old == entry["sha256"] or sha256_of(path) != old)


def _files_of_run(folder: Path, stem: str) -> dict[str, dict[str, str]]:
    run = _read_run(folder, stem)
    return run["files"] if run else {}


def _read_run(folder: Path, stem: str) -> dict[str, Any] | None:
    """Return the content of a ``run.json`` that says which files it belongs to; None for anything else."""
    try:
        run = json.loads((folder / f"{stem}{OUTPUT_ENDINGS['run']}").read_text(encoding="utf-8"))
        whole = all({"name", "sha256"} <= set(entry) for entry in run["files"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return run if whole else None
