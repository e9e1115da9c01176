"""A user's labelled images: found, read, checked, and split into what is learnt from and what is held out."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import CellbrookError, UsageError
from cellbrook.export.classes import classes_by_frame, of_frame
from cellbrook.io import OUTPUT_ENDINGS, open_image, read_labels, sha256_of
from cellbrook.io.channels import order_by_role
from cellbrook.io.pairs import find_labelled
from cellbrook.measure.classify import channels_of
from cellbrook.normalize import normalize, stack_ranges
from cellbrook.provenance import hash_of_array
from cellbrook.training.checks import Issue, check_pair, check_set

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from cellbrook.io.source import Source

LARGEST_LABEL = 2**24
"""Whole numbers up to here are the same in float32, in which crops are turned and scaled."""


@dataclass(frozen=True, slots=True)
class Example:
    """One plane with its labels.

    Parameters
    ----------
    name : str
        Id, with the plane's number for stacks.
    pixels : ndarray of shape (C, Y, X)
        As the camera gave them.
    labels : ndarray of shape (Y, X), uint32
        0 is background.
    is_rgb : bool
        The channels are red, green and blue of one picture.
    sha256 : str
        Hash of the pixels.
    classes : dict of int to str
        The class of each label that a person gave one.
    cut_from : Example or None
        The image that this is a part of. What is segmented is that one: a strip alone shows few whole cells.
    corner : (row, column)
        Where in it.
    roles : tuple of (str or None)
        What each channel is for, None where the user did not say so. Empty: nothing was said.
    ranges : ndarray of shape (C, 2) or None
        What becomes 0 and 1 in each channel of the stack that it is a plane of; in the first alone where that is gray saved
        as RGB, and last in the mean of its colours. None: it is no plane of a stack and has its own percentiles.
    """

    name: str
    pixels: NDArray[Any]
    labels: NDArray[np.uint32]
    is_rgb: bool
    sha256: str
    classes: dict[int, str] = field(default_factory=dict)
    cut_from: Example | None = None
    corner: tuple[int, int] = (0, 0)
    roles: tuple[str | None, ...] = ()
    ranges: NDArray[np.float64] | None = None

    @property
    def n_objects(self) -> int:
        """Number of labelled objects."""
        return int(np.count_nonzero(np.bincount(self.labels.ravel())[1:]))

    def for_pipeline(self, channels: int) -> tuple[Source, dict[str, Any]]:
        """Return what the pipeline takes for a network of so many channels, and parameters; colour stays colour.

        What it would normalise together with the rest of a stack is normalised here.
        """
        pixels = self.pixels if self.ranges is None else self.normalised(channels)
        params = {} if self.ranges is None else {"normalize": False}
        if self.is_rgb and len(pixels) == 3:
            return open_image(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)), axes="YXS"), params
        return open_image(pixels, axes="CYX"), params

    @property
    def whole(self) -> Example:
        """The image that it was cut from, or itself."""
        return self if self.cut_from is None else self.cut_from

    def its_part(self, of_whole: NDArray[Any]) -> NDArray[Any]:
        """Return what lies at its place in labels of the whole image."""
        (y, x), (rows, columns) = self.corner, self.labels.shape
        return of_whole[y : y + rows, x : x + columns]

    def own(self, of_whole: NDArray[Any] | None = None) -> NDArray[np.int64]:
        """Return which labels of the whole image, by default the true ones, lie here with more than half of their area."""
        of_whole = self.whole.labels if of_whole is None else of_whole
        area = np.bincount(of_whole.ravel())
        here = np.bincount(self.its_part(of_whole).ravel(), minlength=len(area))
        return np.flatnonzero(2 * here[1:] > area[1:]) + 1

    def part(self, rows: slice, columns: slice, suffix: str) -> Example:
        """Return a rectangle of it, as an example of its own."""
        pixels = np.ascontiguousarray(self.pixels[:, rows, columns])
        labels = np.ascontiguousarray(self.labels[rows, columns])
        return replace(
            self,
            name=f"{self.name}{suffix}",
            pixels=pixels,
            labels=labels,
            sha256=hash_of_array(pixels),
            classes=_of_objects(self.classes, labels),
            cut_from=self.whole,
            corner=(self.corner[0] + (rows.start or 0), self.corner[1] + (columns.start or 0)),
        )

    def renumbered(self) -> Example:
        """Return it with small label numbers where there are very large ones, which tables and float32 cannot hold."""
        if not self.labels.size or int(self.labels.max()) <= min(self.labels.size, LARGEST_LABEL):
            return self
        values = np.unique(self.labels[self.labels > 0])
        labels = np.where(self.labels > 0, np.searchsorted(values, self.labels) + 1, 0).astype(np.uint32)
        number = {int(value): i + 1 for i, value in enumerate(values)}
        classes = {number[label]: name for label, name in self.classes.items() if label in number}
        return replace(self, labels=labels, classes=classes)

    def by_role(self, wanted: Sequence[str]) -> Example:
        """Return it with the channels in the order in which a network wants their roles, as the pipeline shows them.

        Raises
        ------
        UsageError
            If channels have other roles than those.
        """
        if not (wanted and any(self.roles)):
            return self
        order = order_by_role(self.roles, wanted, "the model")
        return replace(
            self,
            pixels=self.pixels[order],
            is_rgb=False,
            cut_from=self.cut_from and self.cut_from.by_role(wanted),
            roles=tuple(self.roles[i] for i in order),
            ranges=None if self.ranges is None or self.is_rgb else self.ranges[order],
        )

    def normalised(self, channels: int = 3, *, sparse: bool = False) -> NDArray[np.float32]:
        """Return the image as a network of so many channels sees it.

        As in the pipeline, gray pictures saved as RGB have one channel, and where the network takes fewer than three so
        have colours, their mean. `sparse` is `cellbrook.networks.base.NetworkSpec.sparse`; stacks have the ranges they were
        read with.
        """
        pixels, ranges = self.pixels, self.ranges
        if self.is_rgb:
            if (channels_of(pixels) if ranges is None else len(ranges)) == 1:
                pixels = pixels[:1]
            elif channels < 3:
                pixels = pixels.mean(axis=0, keepdims=True, dtype=np.float32)
                ranges = None if ranges is None else ranges[3:]
            else:
                ranges = None if ranges is None else ranges[:3]
        return normalize(pixels, ranges=ranges, sparse=sparse)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled images and what was found wrong with them.

    Parameters
    ----------
    where : str
        Folder they come from.
    examples : tuple of Example
        In natural order of their names.
    issues : tuple of Issue
        See `cellbrook.training.checks`.
    """

    where: str
    examples: tuple[Example, ...]
    issues: tuple[Issue, ...] = field(default=())

    @property
    def n_objects(self) -> int:
        """Number of labelled objects of all images."""
        return sum(e.n_objects for e in self.examples)

    @property
    def sha256(self) -> str:
        """Hash of all pixels and labels: two equal data sets have the same, wherever they lie."""
        digest = hashlib.sha256()
        for example in self.examples:
            line = f"{example.name} {example.sha256} {hash_of_array(example.labels)}\n"
            digest.update(
                line.encode("utf-8", "surrogateescape")
            )  # a file's name may hold bytes that are no text
            if example.classes:
                digest.update(f"{sorted(example.classes.items())}\n".encode())
        return digest.hexdigest()

    @property
    def classes(self) -> dict[str, int]:
        """Numbers of objects by class, of those that have one."""
        return dict(sorted(Counter(name for e in self.examples for name in e.classes.values()).items()))

    @property
    def fatal(self) -> tuple[Issue, ...]:
        """What forbids training."""
        return tuple(issue for issue in self.issues if issue.fatal)

    def report(self) -> list[str]:
        """Return what was found, a line each, the worst first."""
        count = len(self.examples)
        diameters = [d for e in self.examples if (d := typical_diameter(e.labels))]
        size = f", typical diameter {np.median(diameters):.0f} px" if diameters else ""
        lines = [f"{count} labelled image{'s' * (count != 1)}, {self.n_objects} objects{size}"]
        if counts := self.classes:
            without = self.n_objects - sum(counts.values())
            named = ", ".join(f"{n} {name}" for name, n in counts.items())
            lines.append(f"classes: {named}{f', {without} without' if without else ''}")
        for issue in sorted(self.issues, key=lambda i: not i.fatal):
            if issue.kind != "gaps":
                lines.append(f"{'error' if issue.fatal else 'warning'}: {issue.name}: {issue.text}")
        if gaps := sum(issue.kind == "gaps" for issue in self.issues):
            lines.append(
                f"the numbers of objects have gaps in {gaps} image{'s' * (gaps != 1)}; that does no harm"
            )
        return lines

    def require_usable(self) -> None:
        """Stop before training what would teach nonsense.

        Raises
        ------
        UsageError
            If an issue is fatal, or nothing is labelled; the message names the first.
        """
        if self.fatal:
            first = self.fatal[0]
            more = f" (and {len(self.fatal) - 1} more)" if len(self.fatal) > 1 else ""
            raise UsageError(f"{first.name}: {first.text}{more}; mend or remove it, then train again")
        if not self.n_objects:
            raise UsageError(
                f"{self.where}: no object is labelled in {len(self.examples)} images: nothing to learn from"
            )


def typical_diameter(labels: NDArray[np.uint32]) -> float:
    """Return the median equivalent diameter of the objects in pixels, 0 without any."""
    areas = np.bincount(labels.ravel())[1:]
    areas = areas[areas > 0]
    return float(np.median(2 * np.sqrt(areas / np.pi))) if len(areas) else 0.0


def load_folder(folder: str | Path, *, channels: str | None = None) -> Dataset:
    """Read and check the labelled images of a folder.

    Parameters
    ----------
    folder : path
        Holds images with their labels beside them: ``x_img.*`` and ``x_masks.*``, ``x.*`` and ``x_seg.npy`` or
        ``x_cp_masks.*``, or ``x.*`` and ``x_labels.tif``; subfolders too. Where ``x_objects.csv`` has columns "label" and
        "class", objects have classes.
    channels : str or None
        Channels to use, as in `cellbrook.core.params.InputParams`.

    Returns
    -------
    Dataset
        Pairs that do not fit each other are not among its examples but among its issues.

    Raises
    ------
    UsageError
        If there is no such folder, or no label file in it.
    """
    found = find_labelled(Path(folder))
    examples: list[Example] = []
    issues: list[Issue] = []
    for name, image_path, labels_path in found.pairs:
        try:
            read = read_pair(name, image_path, labels_path, channels)
        except CellbrookError as error:
            kind = "size" if isinstance(error, _SizesDiffer) else "unreadable"
            issues.append(Issue(name, kind, fatal=True, text=str(error)))
            continue
        numbers = {n for plane in read for n in np.unique(plane.labels).tolist()} - {0}
        planes = [plane.renumbered() for plane in read]
        for plane in planes:
            issues += check_pair(plane.name, plane.normalised(), plane.labels, numbered=len(numbers) > 1)
        examples += planes
        if _is_prediction(labels_path):
            text = f"{labels_path.name} is what `cellbrook segment` wrote, not corrected: a model learns nothing from itself"
            issues.append(Issue(name, "prediction", fatal=False, text=text))
    for path in found.only_labels:
        issues.append(
            Issue(path.name, "no image", fatal=False, text="has labels but no image beside it; left out")
        )
    if found.only_images:
        some = ", ".join(p.name for p in found.only_images[:3])
        more = f" and {len(found.only_images) - 3} more" if len(found.only_images) > 3 else ""
        issues.append(
            Issue("images without labels", "no labels", fatal=False, text=f"{some}{more}; left out")
        )
    return checked(str(folder), examples, issues)


def from_arrays(
    images: Sequence[NDArray[Any]],
    labels: Sequence[NDArray[Any]],
    names: Sequence[str] | None = None,
    classes: Sequence[Mapping[int, str]] | None = None,
) -> Dataset:
    """Make a data set of arrays in memory.

    Parameters
    ----------
    images : sequence of ndarray of shape (Y, X) or (C, Y, X)
    labels : sequence of ndarray of shape (Y, X), any integer dtype
    names : sequence of str, optional
        A name each. None: numbers from 0.
    classes : sequence of mapping of int to str, optional
        For each image the class of each label that has one.

    Raises
    ------
    UsageError
        If the numbers of images, labels, names and classes differ.
    """
    from cellbrook.io import as_labels

    names = [str(i) for i in range(len(images))] if names is None else names
    classes = [{} for _ in images] if classes is None else classes
    if not len(images) == len(labels) == len(names) == len(classes):
        raise UsageError(
            "expected as many images as labels, names and classes, got "
            f"{len(images)}, {len(labels)}, {len(names)}, {len(classes)}"
        )
    examples, issues = [], []
    for name, image, label, own in zip(names, images, labels, classes, strict=True):
        pixels = image[None] if image.ndim == 2 else image
        if pixels.shape[1:] != label.shape:
            issues.append(_mismatch(name, pixels.shape[1:], label.shape))
            continue
        labelled = as_labels(label, name)
        example = Example(name, pixels, labelled, False, hash_of_array(pixels), _of_objects(own, labelled))
        example = example.renumbered()
        issues += check_pair(name, example.normalised(), example.labels)
        examples.append(example)
    return checked("arrays", examples, issues)


def checked(where: str, examples: Sequence[Example], issues: Sequence[Issue]) -> Dataset:
    """Return the data set with what can only be seen of all images together; exact copies are left out."""
    found, keep = check_set([(e.name, e.sha256, hash_of_array(e.labels)) for e in examples])
    return Dataset(where, tuple(examples[i] for i in keep), (*issues, *found))


def _of_objects(classes: Mapping[int, str], labels: NDArray[Any]) -> dict[int, str]:
    """Return the classes of the objects that are there."""
    present = set(np.unique(labels[labels > 0]).tolist())
    return {label: name for label, name in classes.items() if label in present}


def _is_prediction(labels_path: Path) -> bool:
    """Return whether a label file is a result of ours that nobody has changed since."""
    ending = OUTPUT_ENDINGS["labels"]
    if not labels_path.name.endswith(ending):
        return False
    run = labels_path.with_name(labels_path.name.removesuffix(ending) + OUTPUT_ENDINGS["run"])
    try:
        files = json.loads(run.read_text(encoding="utf-8"))["files"]
        return bool(files["labels"]["sha256"] == sha256_of(labels_path))
    except (OSError, ValueError, KeyError, TypeError):
        return False


class _SizesDiffer(UsageError):
    """Labels are not of the size of their image."""


def read_pair(name: str, image_path: Path, labels_path: Path, channels: str | None) -> list[Example]:
    """Read an image, its labels and their classes, plane by plane; planes without labels of a stack are left out.

    Raises
    ------
    ImageError
        If a file cannot be read.
    UsageError
        If their sizes differ, or the channels are not there.
    """
    from cellbrook.io import resolve_channels

    source = open_image(image_path)
    labels, axes = read_labels(labels_path)
    chosen = resolve_channels(channels, source)
    stack = "".join(a for a in source.axes if a in "TZ")
    shape = tuple(source.shape[source.axes.index(a)] for a in stack + "YX")
    keep = [i for i, a in enumerate(axes) if a in stack + "YX" or labels.shape[i] > 1]
    labels = labels.reshape([labels.shape[i] for i in keep])
    if labels.shape != shape:
        raise _SizesDiffer(_mismatch(name, shape, labels.shape).text)
    pixels = source.read()
    if "C" in source.axes:
        pixels = np.moveaxis(pixels, source.axes.index("C"), -3)[..., list(chosen.indices), :, :]
    else:
        pixels = pixels[..., None, :, :]
    rgb = source.is_rgb and pixels.shape[-3] == 3
    ranges = _shared_ranges(pixels, rgb) if stack else None
    told = classes_by_frame(labels_path, given=True) or {}
    planes = []
    for place in np.ndindex(*shape[:-2]):
        if place and not labels[place].any():
            continue
        plane = np.ascontiguousarray(pixels[place])
        suffix = "".join(f"_{a.lower()}{i}" for a, i in zip(stack, place, strict=True))
        own = np.ascontiguousarray(labels[place])
        sha256 = hash_of_array(plane)
        classes = (
            _of_objects(of_frame(told, dict(zip(stack, place, strict=True)).get("T")), own) if told else {}
        )
        planes.append(
            Example(f"{name}{suffix}", plane, own, rgb, sha256, classes, roles=chosen.roles, ranges=ranges)
        )
    return planes


def _shared_ranges(pixels: NDArray[Any], is_rgb: bool) -> NDArray[np.float64]:
    """Return `Example.ranges` of a stack (..., C, Y, X): the pipeline stretches an empty plane as those beside it."""
    if not is_rgb:
        return stack_ranges(pixels)
    if channels_of(pixels) == 1:
        return stack_ranges(pixels[..., :1, :, :])
    mean = pixels.mean(axis=-3, keepdims=True, dtype=np.float32)
    return np.concatenate([stack_ranges(pixels), stack_ranges(mean)])


def _mismatch(name: str, image: Sequence[int], labels: Sequence[int]) -> Issue:
    sizes = [" x ".join(str(n) for n in shape) for shape in (image, labels)]
    turned = tuple(image) == tuple(labels)[::-1]
    hint = ", its sides exchanged: were the labels transposed?" if turned else ""
    return Issue(
        name, "size", fatal=True, text=f"the image has {sizes[0]} pixels and its labels {sizes[1]}{hint}"
    )
