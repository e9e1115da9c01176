"""Which files a run reads and which it writes."""

from __future__ import annotations

import functools
import glob
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellbrook.errors import ImageError, UsageError
from cellbrook.io._omezarr import attributes_of, is_zarr, ome_of
from cellbrook.io._stored import reading
from cellbrook.io._tiff import other_files
from cellbrook.io.atomic import is_temporary
from cellbrook.io.open import known_suffixes
from cellbrook.io.writers import RESULT_MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

OUTPUT_ENDINGS: Mapping[str, str] = {
    "labels": "_labels.tif",
    "overlay": "_overlay.png",
    "objects": "_objects.csv",
    "run": "_run.json",
    "color": "_color.png",
    "rois": "_rois.zip",
    "geojson": ".geojson",
    "coco": "_coco.json",
    "seg": "_seg.npy",
    "flows": "_flows.tif",
    "cellprob": "_cellprob.tif",
    "zarr": ".ome.zarr",
    "ctc": "_ctc.zip",
    "regions": "_regions.csv",
    "region_outlines": "_regions.geojson",
}
"""What follows an image's stem in the names of its results, by kind."""

# What looks like a result, ours or another program's, and is not read as an image when a folder is given.
_RESULT = re.compile(
    r"_(masks?|labels?|overlay|colou?r|flows|cellprob|outlines|output|seg)(_cp)?(\.ome)?\.[^.]+$",
    re.IGNORECASE,
)

# What Cellbrook makes among images, by a file in it: its pictures are thumbnails, copies and curves.
_NO_IMAGES = {"project.toml": "a project", "card.toml": "a model", "not-active/card.toml": "a model"}


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image to work on.

    Parameters
    ----------
    path : Path
        The file, or OME-Zarr folder.
    relative_folder : Path
        Where it lies below the folder that was given (with that folder's name in front where several were
        given); "." for a file given by itself. ``--out`` repeats it.
    stem : str
        Name without suffix, the beginning of the names of its results.
    """

    path: Path
    relative_folder: Path
    stem: str


@dataclass(frozen=True, slots=True)
class FoundImages:
    """What `find_images` found.

    Parameters
    ----------
    images : list of FoundImage
        In natural order.
    skipped : list of (Path, str)
        What lies in the folders and is not worked on, each with the reason.
    """

    images: list[FoundImage]
    skipped: list[tuple[Path, str]]

    def summary(self) -> str:
        """Return one line for the user, such as "12 images; skipped 24 (looks like a result)"."""
        counts: dict[str, int] = {}
        for _, reason in self.skipped:
            counts[reason] = counts.get(reason, 0) + 1
        found = f"{len(self.images)} image{'s' if len(self.images) != 1 else ''}"
        return "; ".join([found, *(f"skipped {n} ({reason})" for reason, n in counts.items())])


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key by which "img2" comes before "img10".

    Examples
    --------
    >>> sorted(["img10.tif", "img2.tif", "Img1.tif"], key=natural_key)
    ['Img1.tif', 'img2.tif', 'img10.tif']
    """
    parts = re.split(r"(\d+)", text.casefold())
    return tuple((0, int(p), "") if i % 2 else (1, 0, p) for i, p in enumerate(parts) if p)


def stem_of(path: Path) -> str:
    """Return the name of an image without its suffix; ".ome.tif" and ".ome.zarr" count as one.

    Examples
    --------
    >>> stem_of(Path("a/cells.ome.tif")), stem_of(Path("cells 1.2.png"))
    ('cells', 'cells 1.2')
    """
    stem = path.stem
    return stem[:-4] if stem.lower().endswith(".ome") and len(stem) > 4 else stem


def find_images(
    inputs: Sequence[str | Path] | str | Path,
    out: str | Path | None = None,
    *,
    recursive: bool = True,
    required: bool = True,
) -> FoundImages:
    """Find the images that files, folders and patterns stand for.

    A file given by its name is taken, unless it looks like a result of another one that is given, as the shell's
    ``dir/*.png`` brings them. From folders come files of known kinds, except hidden ones,
    those in `out`, those that look like results (``*_labels.tif``, ``*_masks.png``, ``*_seg.npy`` ...), and those in
    folders of projects and models. An OME-Zarr folder is one image. Of the files of an OME-TIFF or Micro-Manager set the
    first is taken, which opens them all.

    Parameters
    ----------
    inputs : sequence of str or Path
        Files, folders, or patterns such as "plate/*.tif" and "data/**/*.png".
    out : str, Path or None
        Where results go; not searched when it lies in an input folder.
    recursive : bool
        Look into the folders of folders.
    required : bool
        Nothing is an error.

    Returns
    -------
    FoundImages

    Raises
    ------
    ImageError
        If an input does not exist, or nothing is found that has to be; says what was looked for.
    """
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    if not given:
        raise UsageError("no input is given: name an image, a folder or a pattern")
    images: list[FoundImage] = []
    skipped: list[tuple[Path, str]] = []
    seen: set[str] = set()
    out_path = Path(out).resolve() if out is not None else None
    if any(Path(e).resolve() == out_path for e in given):
        out_path = None  # results beside the images: told apart by their names

    with reading(", ".join(str(e) for e in given)):
        folders = [Path(e) for e in given if Path(e).is_dir() and not is_zarr(Path(e))]

    # A shell turns dir/*.png into names, results among them: one whose image is named too is not an image.
    sources = {
        p.parent / stem_of(p).removesuffix("_img") for p in map(Path, given) if not _is_result_name(p.name)
    }

    def take(path: Path, folder: Path) -> None:
        identity = os.path.normcase(path.absolute())
        if identity not in seen:
            seen.add(identity)
            images.append(FoundImage(path, folder, stem_of(path)))

    def take_entry(entry: str | Path) -> None:
        path = Path(entry)
        if path.is_dir() and not is_zarr(path):
            # several folders would mirror into each other, so each keeps its name then
            top = Path(path.resolve().name) if len(folders) > 1 else Path()
            for found, reason in _walk(path, out_path, recursive, set()):
                if reason is None:
                    take(found, top / found.parent.relative_to(path))
                else:
                    skipped.append((found, reason))
        elif os.path.lexists(path):
            if path.parent / _source_name(path) in sources:
                skipped.append((path, "looks like a result"))
            else:
                take(path, Path())
        elif glob.has_magic(str(entry)):
            _take_pattern(str(entry), take, skipped)
        else:
            raise ImageError(f"{entry}: no such file or folder")

    for entry in given:
        with reading(str(entry)):
            take_entry(entry)
    images, parts = _one_a_set(images)
    skipped += parts
    if not images and required:
        looked = ", ".join(str(e) for e in given)
        reasons = FoundImages(images, skipped).summary().partition("; ")[2]
        raise ImageError(
            f"no image in {looked}: looked for TIFF, PNG, JPEG, BMP, .npy, OME-Zarr and microscopes' formats"
            + (f"; {reasons}" if reasons else "")
        )
    return FoundImages(images, skipped)


def _one_a_set(images: list[FoundImage]) -> tuple[list[FoundImage], list[tuple[Path, str]]]:
    """Return the images without those that others are opened with: their cells would be counted once a file."""
    opened: set[str] = set()
    if len(images) > 1:
        for image in images:
            if not (opened and identity(image.path) in opened):
                opened |= {identity(other) for other in other_files(image.path)}
    if not opened:  # the usual case, in which thousands of names need not be resolved
        return images, []
    kept = [image for image in images if identity(image.path) not in opened]
    parts = [image.path for image in images if identity(image.path) in opened]
    return kept, [(path, "part of a set that another file opens") for path in parts]


def _take_pattern(pattern: str, take: Callable[[Path, Path], None], skipped: list[tuple[Path, str]]) -> None:
    # the part before the first wildcard is the folder that results repeat
    fixed: list[str] = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    base = Path(*fixed)
    matches = sorted(glob.glob(pattern, recursive=True), key=natural_key)
    kind = functools.cache(_no_images)
    passed: dict[Path, str] = {}
    for match in matches:
        path = Path(match)
        if path.is_dir() and not is_zarr(path):
            continue
        above = [p for p in path.parents if p != base and base in p.parents]
        if any(is_zarr(p) for p in above):
            continue  # a chunk inside an OME-Zarr image
        outermost = next((p for p in reversed(above) if kind(p)), None)
        if outermost is not None:
            passed[outermost] = kind(outermost) or ""
            continue
        reason = reason_to_skip(path)
        if reason is None:
            take(path, path.parent.relative_to(base))
        else:
            skipped.append((path, reason))
    skipped.extend(passed.items())


def _no_images(folder: Path) -> str | None:
    """Return what a folder is in which no images are looked for."""
    return next((kind for file, kind in _NO_IMAGES.items() if (folder / file).exists()), None)


def _walk(
    folder: Path, out: Path | None, recursive: bool, visited: set[Path]
) -> Iterator[tuple[Path, str | None]]:
    real = folder.resolve()
    if real in visited or real == out:  # links can lead back; results are not inputs
        return
    visited.add(real)
    if kind := _no_images(folder):
        yield folder, kind
        return
    try:
        entries = sorted(folder.iterdir(), key=lambda p: natural_key(p.name))
    except OSError as error:
        yield folder, f"cannot be listed: {error.strerror}"
        return
    for path in entries:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if is_zarr(path):
                yield path, reason_to_skip(path)
            elif recursive:
                yield from _walk(path, out, recursive, visited)
            continue
        yield path, reason_to_skip(path)


def reason_to_skip(path: Path) -> str | None:
    """Return why what lies in a folder is not worked on as an image; None if it is."""
    if is_temporary(path) or path.name.startswith("."):
        return "hidden"
    if _is_result_name(path.name):
        return "looks like a result"
    if path.is_dir():  # an OME-Zarr folder
        return "looks like a result" if _holds_labels(path) else None
    return None if path.suffix.lower() in known_suffixes() else "not an image"


def _is_result_name(name: str) -> bool:
    endings = tuple(e for e in OUTPUT_ENDINGS.values() if e.startswith("_"))
    return bool(_RESULT.search(name)) or name.lower().endswith(endings)


def _source_name(path: Path) -> str:
    """Return the stem of the image that a file looks like a result of; its own name if it does not."""
    if not _is_result_name(path.name):
        return path.name
    stem = _RESULT.sub("", path.name)
    for ending in OUTPUT_ENDINGS.values():
        stem = stem.removesuffix(ending)
    return stem.removesuffix("_img")


def _holds_labels(folder: Path) -> bool:
    """Return True for an OME-Zarr folder that holds labels rather than a picture, or that Cellbrook wrote."""
    try:
        attributes = attributes_of(folder)
    except (OSError, ValueError):  # which opening it tells
        return False
    return "image-label" in ome_of(attributes) or RESULT_MARK in attributes


def output_folder(image: FoundImage, out: str | Path | None) -> Path:
    """Return the folder for an image's results: beside it, or in the mirrored folder below `out`."""
    return image.path.parent if out is None else Path(out) / image.relative_folder


def output_paths(folder: Path, stem: str, kinds: Iterable[str]) -> dict[str, Path]:
    """Return where results go.

    Parameters
    ----------
    folder : Path
        From `output_folder`.
    stem : str
        Beginning of their names.
    kinds : iterable of str
        Keys of `OUTPUT_ENDINGS`.

    Returns
    -------
    dict of str to Path
        By kind.

    Raises
    ------
    UsageError
        If a kind is unknown, or `stem` names a folder.
    """
    if os.path.basename(stem) != stem:
        raise UsageError(f"a name begins the names of files and holds no folder, got {stem!r}")
    paths: dict[str, Path] = {}
    for kind in kinds:
        if kind not in OUTPUT_ENDINGS:
            raise UsageError(f"there is no result {kind!r}; there are {', '.join(OUTPUT_ENDINGS)}")
        paths[kind] = folder / f"{stem}{OUTPUT_ENDINGS[kind]}"
    return paths


def image_name(path: str | Path, scene: str | None) -> str:
    """Return what people and tables call an image: its path, and which scene where it has several."""
    return str(path) if scene is None else f"{path} scene {scene}"


def image_of_run(run: Path) -> Mapping[str, Any]:
    """Return what a ``run.json`` says of the image that was segmented; nothing if it is none."""
    return part_of_run(run, "image")


def part_of_run(run: Path, part: str) -> Mapping[str, Any]:
    """Return what a ``run.json`` says of the "image", the "parameters" or the like; nothing if it is none."""
    try:
        told = json.loads(run.read_text(encoding="utf-8"))[part]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return told if isinstance(told, dict) else {}


def identity(path: Path) -> str:
    """Return what two names of one file share, on systems that ignore case also those that differ in it."""
    name = str(path.resolve())
    return name.casefold() if sys.platform in ("win32", "darwin") else name
