"""Labels that exist already, with the image they belong to: what `measure` and `export` work on."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import CellbrookError, ImageError, OutputError, UsageError
from cellbrook.io.files import OUTPUT_ENDINGS, image_name, image_of_run, natural_key, part_of_run
from cellbrook.io.open import settle_scene
from cellbrook.io.pairs import image_id, images_by_id, label_files, result_stem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from cellbrook.core.objects import ObjectTable
    from cellbrook.core.result import SegmentationData
    from cellbrook.io.source import Source

log = logging.getLogger(__name__)

# What segmenting and people say of an object and its pixels do not tell.
_KNOWN = ("parent", "flow_error", "cellprob", "score", "class", "class_prob", "origin")
_TEXTS = ("class", "origin")


@dataclass(frozen=True, slots=True)
class ExistingLabels:
    """A label file, its image, and where results go.

    Parameters
    ----------
    labels : Path
        The label file.
    image : Path or None
        Its image.
    folder : Path
        For results.
    stem : str
        Beginning of their names: the label file's, without ``_labels``, ``_masks`` or ``_seg``.
    scene : str or None
        Which scene of the image, by its number.
    scene_name : str or None
        What the image's file calls it.
    parameters : mapping
        Those with which the labels were made from this image; none where no ``run.json`` beside them says.
    """

    labels: Path
    image: Path | None
    folder: Path
    stem: str
    scene: str | None
    scene_name: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What tables call the image, as `cellbrook.export.table.TableRow` says."""
        return image_name((self.image or self.labels).absolute(), self.scene if self.image else None)


def find_existing(
    labels: Path, image: Path | None, out: Path | None, scene: str | None = None
) -> tuple[list[ExistingLabels], list[Path]]:
    """Return the label files to work on, and those whose image is missing.

    Parameters
    ----------
    labels : Path
        A label file, or a folder of files named ``*_labels``, ``*_masks`` or ``*_seg``.
    image : Path or None
        Its image, or a folder of images; they belong together by name. None: labels alone.
    out : Path or None
        Folder for results; None: beside the labels. Folders in `labels` are repeated in it.
    scene : str or None
        Which scene of the image. None: the one that the labels' ``run.json`` names.

    Raises
    ------
    UsageError
        If there is nothing to work on, a file is given with a folder, or two files of one kind have one id.
    """
    for path in (labels, image):
        if path is not None and not path.exists():
            raise UsageError(f"no such file or folder: {path}")
    if not is_folder(labels):
        if image is not None and is_folder(image):
            raise UsageError(f"{labels} is one file, {image} a folder: give the image itself")
        return [_existing(labels, image, out or labels.parent, scene)], []
    if image is not None and not is_folder(image):
        raise UsageError(f"{labels} is a folder, {image} one file: give the folder of images")
    images = {} if image is None else images_by_id(image)
    found: list[ExistingLabels] = []
    alone: list[Path] = []
    files = label_files(labels, "prediction", marked_only=True)
    for key in sorted(files, key=natural_key):
        path, own = files[key], images.get(key)
        below = path.parent.relative_to(labels)
        if own is None and (segmented := _segmented(path)):  # results of a scene are named by it
            own = images.get((below / image_id(Path(segmented["path"]).name)).as_posix())
        if image is not None and own is None:
            alone.append(path)
        else:
            found.append(_existing(path, own, path.parent if out is None else out / below, scene))
    return found, alone


def _existing(labels: Path, image: Path | None, folder: Path, scene: str | None) -> ExistingLabels:
    segmented = _segmented(labels)
    parameters: Mapping[str, Any] = {}
    # another file has scenes, axes and pixels of its own
    if segmented and (image is None or Path(segmented["path"]).name == image.name):
        parameters = part_of_run(_run_of(labels), "parameters")
        if scene is None and image is not None:
            scene = segmented.get("scene")
    name: str | None = None
    if image is not None:
        with suppress(CellbrookError):  # which is told when its turn comes
            scene, name = settle_scene(image, scene)
    return ExistingLabels(labels, image, folder, result_stem(labels), scene, name, parameters)


def _segmented(labels: Path) -> Mapping[str, Any]:
    """Return what the ``run.json`` beside labels says of the file that they were made from; nothing if it was none."""
    image = image_of_run(_run_of(labels))
    return image if image.get("path") else {}


def _run_of(labels: Path) -> Path:
    return labels.with_name(f"{result_stem(labels)}{OUTPUT_ENDINGS['run']}")


def check_free(folder: Path, names: Sequence[str], *, overwrite: bool) -> None:
    """Raise an OutputError if a file that is to be written is there and may not be replaced."""
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        raise OutputError(
            f"{folder / there[0]} is there already: give --overwrite, or another folder with --out"
        )


def load_existing(
    job: ExistingLabels,
    *,
    axes: str | None = None,
    labels_axes: str | None = None,
    pixel_size: float | None = None,
    z: str | None = None,
    volume: bool | None = None,
    threads: int | None = None,
) -> SegmentationData:
    """Read labels and image and measure the objects; what the tables beside the labels know besides is kept.

    Parameters
    ----------
    job : ExistingLabels
        The files.
    axes, labels_axes : str or None
        Axes of the image and of the labels. None: as the image was segmented, or else from their metadata.
    pixel_size : float or None
        Micrometres a pixel. None: as the image was segmented, or else from its metadata, or the labels'.
    z : str or None
        "max", "mean" or the number of a plane: what of the z-stack the labels are of. None: as the image was segmented.
    volume : bool or None
        See `cellbrook.measure.measure`.
    threads : int or None
        Processor threads.

    Raises
    ------
    ImageError
        If a file cannot be read, or image and labels differ in size.
    UsageError
        If `axes`, `pixel_size` or `z` do not fit the image.
    """
    from cellbrook.core.result import SegmentationData
    from cellbrook.io import open_image, read_labels
    from cellbrook.io.labels import pixel_size_of_labels
    from cellbrook.measure import measure

    axes = job.parameters.get("axes") if axes is None else axes
    pixel_size = job.parameters.get("pixel_size") if pixel_size is None else pixel_size
    labels, found_axes = read_labels(job.labels, axes=labels_axes)
    known = pixel_size_of_labels(job.labels, axes=labels_axes)
    names: tuple[str, ...] = ()
    pixels: NDArray[Any] | None = None
    if job.image is not None:
        source = open_image(job.image, axes=axes, pixel_size=pixel_size, scene=job.scene)
        if z is None and "Z" in source.axes and "Z" not in found_axes:
            z = job.parameters.get("z")
        pixels, found_axes = _aligned(*_read(source, z), labels, found_axes, job)
        names = source.channel_names
        if pixel_size is None:
            _warn_of_sizes(job, known, source.pixel_size_um)
        known = source.pixel_size_um or known
    size = _sizes(found_axes, known, pixel_size)
    objects = measure(
        labels,
        pixels,
        channel_names=names,
        pixel_size_um=size,
        axes=found_axes,
        volume=volume,
        threads=threads,
    )
    objects = _with_known(objects, job.labels)
    # no channel: there is no image
    shown = np.zeros((*labels.shape[:-2], 0, *labels.shape[-2:]), np.uint8) if pixels is None else pixels
    path = None if job.image is None else str(job.image.absolute())
    provenance = {"image": {"path": path, "scene": job.scene}, "labels": {"path": str(job.labels.absolute())}}
    return SegmentationData(labels, objects, None, shown, found_axes, names, size, job.stem, provenance)


def _with_known(objects: ObjectTable, labels: Path) -> ObjectTable:
    """Return measured objects with what tables beside their labels say and pixels do not tell: classes, scores."""
    from cellbrook.core.objects import ObjectTable
    from cellbrook.export.classes import object_tables
    from cellbrook.measure.intensity import STATISTICS

    known: dict[str, NDArray[Any]] = {}
    for table in object_tables(labels):
        try:
            known = _known(table, objects, labels) | known
        except CellbrookError as error:
            log.warning("classes and scores are left out: %s", error)
    if not known:
        return objects
    intensity = {name: objects[name] for name in objects if name.split("_")[0] in STATISTICS}
    first = {name: objects[name] for name in objects if name not in intensity}
    return ObjectTable({**first, **known, **intensity}, objects.discarded)


def _known(table: Path, objects: ObjectTable, labels: Path) -> dict[str, NDArray[Any]]:
    """Return the columns of a table that measuring does not make, in the order of the objects."""
    from cellbrook.export.classes import as_label
    from cellbrook.export.table import read_text

    columns = read_text(table)
    names = [name for name in _KNOWN if name in columns]
    if not names or "label" not in columns:
        return {}
    by = [name for name in ("label", "t") if name in columns and name in objects]
    told = {
        tuple(as_label(text, table) for text in key): k
        for k, key in enumerate(zip(*(columns[name] for name in by), strict=True))
        if key[0]
    }
    here = list(zip(*(objects[name].tolist() for name in by), strict=True))
    if not told.keys() <= set(here):
        raise ImageError(f"{table} lists other objects than {labels} has")
    if not set(here) <= told.keys():  # people list those that have a class; a run lists all it found
        names = [name for name in names if name == "class"]
    rows = [told.get(key) for key in here]
    return {
        name: _column(name, ["" if k is None else columns[name][k] for k in rows], table) for name in names
    }


def _column(name: str, cells: list[str], table: Path) -> NDArray[Any]:
    if name in _TEXTS:
        return np.array(cells, np.str_)
    try:  # a spreadsheet may have written a decimal comma
        numbers = np.array([float(cell.replace(",", ".")) if cell else np.nan for cell in cells])
    except ValueError as error:
        raise ImageError(f"{table}: expected numbers in its column {name}: {error}") from None
    return np.nan_to_num(numbers).astype(np.int64) if name == "parent" else numbers


def one_line_error(problem: Exception) -> str:
    """Return what went wrong as one line; errors that are not ours keep their kind."""
    text = " ".join(str(problem).split())
    return text if isinstance(problem, CellbrookError) else f"{type(problem).__name__}: {text}"


def _read(source: Source, z: str | None) -> tuple[NDArray[Any], str]:
    """Return the pixels and their axes: of the z-stack the projection or the plane that is wished."""
    if z is None:
        return source.read(), source.axes
    if "Z" not in source.axes:
        raise UsageError(f"--z {z} needs a z-stack, but {source.name} has the axes {source.axes}")
    at = source.axes.index("Z")
    if z == "max":
        pixels = source.read().max(axis=at)
    elif z == "mean":
        pixels = source.read().mean(axis=at, dtype=np.float64).astype(np.float32)
    else:
        pixels = source.read({"Z": int(z)})
    return pixels, source.axes.replace("Z", "")


def _aligned(
    pixels: NDArray[Any], axes: str, labels: NDArray[Any], labels_axes: str, job: ExistingLabels
) -> tuple[NDArray[Any], str]:
    """Return the image with its channels before Y, X and leading axes as the labels have them."""
    stack = "".join(a for a in axes if a in "TZ")
    order = [axes.index(a) for a in f"{stack}CYX" if a in axes]
    pixels = pixels.transpose(order)
    if "C" not in axes:
        pixels = pixels[..., None, :, :]
    if pixels.shape[:-3] + pixels.shape[-2:] != labels.shape:
        of_one = "Z" in stack and "Z" not in labels_axes
        advice = "; if they are of a projection or one plane of it, give --z max, mean or its number"
        raise ImageError(
            f"{job.image} is {stack}YX {pixels.shape[:-3] + pixels.shape[-2:]} besides its channels, "
            f"{job.labels} is {labels_axes} {labels.shape}: they must be of the same size" + advice * of_one
        )
    return pixels, f"{stack}YX"


def _warn_of_sizes(
    job: ExistingLabels, of_labels: Mapping[str, float], of_image: Mapping[str, float]
) -> None:
    """Say it where the label file states another size of a pixel than the image."""
    for axis in sorted({"Y", "X"} & of_labels.keys() & of_image.keys()):
        said, counts = of_labels[axis], of_image[axis]
        if abs(said - counts) > 1e-3 * counts:  # TIFF files state it with five digits or so
            log.warning(
                "%s states %g um a pixel, %s %g, which is taken: give --pixel-size if that is wrong",
                *(job.labels, said, job.image, counts),
            )
            return


def _sizes(axes: str, known: Any, pixel_size: float | None) -> tuple[float, ...] | None:
    spatial = [a for a in axes if a in "ZYX"]
    if pixel_size is not None:
        known = {"Y": pixel_size, "X": pixel_size, **{a: v for a, v in known.items() if a == "Z"}}
    if "Y" not in known or "X" not in known:
        return None
    return tuple(float(known[a]) for a in spatial if a in known)


def is_folder(path: Path) -> bool:
    """Return True for a folder of files; an OME-Zarr folder is one image."""
    return path.is_dir() and path.suffix.lower() != ".zarr"
