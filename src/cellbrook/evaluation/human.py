"""Two people's labels of the same images, and a model's, compared file by file."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellbrook.core.progress import NoProgress, Progress
from cellbrook.errors import CellbrookError, UsageError
from cellbrook.evaluation.blind import SIDES, key_beside, read_key
from cellbrook.evaluation.files import Side, by_frame, by_plane, read_side
from cellbrook.io.files import natural_key
from cellbrook.io.pairs import image_id, is_image, label_files
from cellbrook.metrics.evaluation import THRESHOLDS, ImageCounts, count_image, pooled_metrics
from cellbrook.metrics.human import MARGIN, HumanComparison, compare_with_human, count_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellbrook.evaluation.blind import BlindCrop


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well two people agree, and a model with both.

    Parameters
    ----------
    comparison : HumanComparison or None
        The figures and the sentence; None if no image could be compared.
    names : tuple of str
        Images that were compared.
    only_a, only_b, without_model : tuple of str
        Images that the other person, or the model, has not labelled.
    failed : dict of str to str
        What could not be compared, by name, each with the reason.
    key : Path or None
        The key of a blind plan that was used.
    counts : tuple of tuple of ImageCounts
        Of each image: A with B, and with a model A and B with it.
    sources : tuple of str
        Paths of A, B and, if there is one, the model.
    """

    comparison: HumanComparison | None
    names: tuple[str, ...]
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    without_model: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    key: Path | None = None
    counts: tuple[tuple[ImageCounts, ...], ...] = ()
    sources: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Say what it is in a line, as `cellbrook.Segmentation` does."""
        return f"<Agreement on {len(self.names)} images: {self.sentence}>"

    @property
    def sentence(self) -> str:
        """The answer, in one plain sentence."""
        return self.comparison.sentence if self.comparison else "Nothing could be compared."

    @property
    def complete(self) -> bool:
        """True if every image was labelled by all and could be compared."""
        left_out = self.only_a or self.only_b or self.without_model or self.failed
        return self.comparison is not None and not left_out

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat dictionary an image: numbers of objects, and F1 of each pair at the first threshold."""
        rows = []
        for name, counts in zip(self.names, self.counts, strict=True):
            row: dict[str, Any] = {"name": name, "n_a": counts[0].n_true, "n_b": counts[0].n_pred}
            if len(counts) > 1:
                row["n_model"] = counts[1].n_pred
            for pair, count in zip(("f1_people", "f1_model_a", "f1_model_b"), counts, strict=False):
                row[pair] = float(pooled_metrics([count])["f1"][0, 0])
            rows.append(row)
        return rows

    def save_page(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write one self-contained HTML page; see `cellbrook.evaluation.human_page.write_human_page`."""
        from cellbrook.evaluation.human_page import write_human_page

        return write_human_page(self, path, overwrite=overwrite)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain dictionaries, lists and numbers, ready for JSON."""
        figures = self.comparison.to_dict() if self.comparison else {"n_images": 0, "sentence": self.sentence}
        return figures | {
            "images": list(self.names),
            "per_image": self.rows(),
            "only_a": list(self.only_a),
            "only_b": list(self.only_b),
            "without_model": list(self.without_model),
            "failed": [{"name": name, "error": text} for name, text in self.failed.items()],
            "key": str(self.key) if self.key else None,
        }


def agreement(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    tolerance_px: float = 2.0,
    margin: float = MARGIN,
    resamples: int = 2000,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Agreement:
    """Say how well two people (or one person twice) agree on the same images, and whether a model does as well.

    Parameters
    ----------
    a, b : path
        Label files or folders of them; they belong together by name, as in `cellbrook.evaluate`.
        Frames of a time series, and planes that one of them outlined each by itself, are compared as there.
    model : path or None
        The model's labels of the same images.
    key : path or None
        Key of a blind plan, whose folders `a` and `b` are. None: the one beside their folder, if there is one. The
        model's labels may then be of the whole images.
    thresholds : sequence of float
        IoU thresholds; the sentence is about F1 at the first.
    tolerance_px : float
        Largest distance between outlines that agree, for the boundary F score.
    margin : float
        Difference that is of no consequence: within it the model is "at" human agreement.
    resamples : int
        Bootstrap samples behind each interval.
    seed : int
        Seed of the bootstrap.
    threads : int or None
        Processor threads. None: the cores this process may use.
    progress : Progress, optional
        Told of every image; may cancel.

    Returns
    -------
    Agreement

    Raises
    ------
    UsageError
        If an option is wrong, a path does not exist or holds no labels, or a file would be compared with itself.
    Cancelled
        If `progress` says so.
    """
    count_image(
        [[1]], [[1]], thresholds=thresholds, tolerance_px=tolerance_px
    )  # a wrong option fails here, once
    thresholds = list(dict.fromkeys(thresholds))
    if not margin > 0:
        raise UsageError(f"margin must be above 0, got {margin}")
    progress = progress or NoProgress()
    sides = _existing(a), _existing(b)
    model_path = None if model is None else _existing(model)
    key_path = _key(sides, key)
    crops = {crop.names[SIDES[0]]: crop for crop in read_key(key_path)} if key_path else {}
    # beside planned crops lie their images, which are no labels whatever they are called
    of_a, of_b = (label_files(side, "truth", marked_only=bool(crops)) for side in sides)
    if is_image(sides[0]) and is_image(sides[1]):
        of_b = {next(iter(of_a)): sides[1]}
    if crops:  # B's names are not A's
        back = {crop.names[SIDES[1]]: name for name, crop in crops.items()}
        of_b = {back.get(name, name): path for name, path in of_b.items()}
    both = sorted(of_a.keys() & of_b.keys(), key=natural_key)
    same = [of_a[name] for name in both if of_a[name].samefile(of_b[name])]
    if same:
        raise UsageError(f"{same[0]} would be compared with itself: give two people's labels")
    of_model = _model_files(model_path, both, crops)
    counted: list[tuple[str, list[ImageCounts]]] = []
    failed: dict[str, str] = {}
    planar = 0
    progress.start("compare", len(both))
    for name in both:
        progress.check_cancelled()
        if of_model is None or name in of_model:
            try:
                labels = [read_side(of_a[name]), read_side(of_b[name])]
                if of_model is not None:
                    labels.append(_of_model(of_model[name], crops.get(name), labels[0].labels.shape))
                labels = by_frame(labels)
                planes = by_plane(labels)
                counts = count_pairs(
                    [side.labels for side in planes or labels],
                    name=name,
                    thresholds=thresholds,
                    tolerance_px=tolerance_px,
                    threads=threads,
                )
                counted.append((name, counts))
                planar += planes is not None
            except (CellbrookError, OSError) as error:
                failed[name] = " ".join(str(error).split())
        progress.advance()
    comparison = None
    if counted:
        columns = [list(column) for column in zip(*(counts for _, counts in counted), strict=True)]
        comparison = compare_with_human(
            columns[0],
            None if of_model is None else (columns[1], columns[2]),
            margin=margin,
            resamples=resamples,
            seed=seed,
        )
    if comparison is not None and planar:
        remark = (
            f"{planar} of {len(counted)} images were compared plane by plane: some of the labels have objects that go "
            "through several planes and others have none"
        )
        comparison = dataclasses.replace(comparison, remarks=(remark,))
    return Agreement(
        comparison=comparison,
        names=tuple(name for name, _ in counted),
        only_a=tuple(sorted(of_a.keys() - of_b.keys(), key=natural_key)),
        only_b=tuple(sorted(of_b.keys() - of_a.keys(), key=natural_key)),
        without_model=() if of_model is None else tuple(name for name in both if name not in of_model),
        failed=failed,
        key=key_path,
        counts=tuple(tuple(counts) for _, counts in counted),
        sources=tuple(str(side) for side in (*sides, *([model_path] if model_path else []))),
    )


def _existing(path: str | os.PathLike[str]) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise UsageError(
            f"agreement takes label files or folders of them, got {type(path).__name__}; "
            "cellbrook.evaluate([a], [b]) compares arrays"
        )
    path = Path(path)
    if not path.exists():
        raise UsageError(f"no such file or folder: {path}")
    return path


def _key(sides: tuple[Path, Path], given: str | os.PathLike[str] | None) -> Path | None:
    if given is not None:
        return _existing(given)
    a, b = (side.absolute() for side in sides)
    beside = key_beside(a.parent)
    planned = a.parent == b.parent and {a.name, b.name} == set(SIDES) and beside.exists()
    if planned and a.name != SIDES[0]:
        raise UsageError(f"give the folders of a plan in this order: {b} {a}")
    return beside if planned else None


def _model_files(
    model: Path | None, names: Sequence[str], crops: dict[str, BlindCrop]
) -> dict[str, Path] | None:
    """Return the model's label file of each image; of a crop, one of the crop or else of its whole image."""
    if model is None:
        return None
    files = label_files(model, "prediction")
    if is_image(model) and len(names) == 1:
        return {names[0]: model}
    found = {name: files[name] for name in names if name in files}
    for name, crop in crops.items():
        image = Path(crop.image)
        whole = (image.parent / image_id(image.name)).as_posix()
        if name not in found and whole in files:
            found[name] = files[whole]
    return found


def _of_model(path: Path, crop: BlindCrop | None, shape: tuple[int, ...]) -> Side:
    side = read_side(path)
    labels = side.labels
    if crop is None or labels.shape == shape:
        return side
    place = tuple(crop.plane.values())
    y0, x0, y1, x1 = crop.box
    if labels.ndim != 2 + len(place):
        raise UsageError(
            f"{path} has shape {labels.shape}, which does not fit the image that {shape} was cut from"
        )
    return Side(labels[place][y0:y1, x0:x1])
