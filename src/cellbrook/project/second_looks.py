"""Places that are labelled a second time, blind, to see how well a person agrees with themselves, and a model with them.

A second look is an image of the project, a crop of another one under a name that tells nothing. It is never taught from,
predicted or suggested: its pixels are in the project already. ``second_looks.json`` says which image it was cut from.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.progress import NoProgress, Progress
from cellbrook.errors import CellbrookError, ProjectError, UsageError
from cellbrook.io.atomic import atomic
from cellbrook.io.writers import write_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from cellbrook.project.images import ImageRecord
    from cellbrook.project.project import Project

FILE = "second_looks.json"
WORKED_ON = ("corrected", "done")
_SIDES_PX = (128, 512)
_CELLS_ACROSS = 6
_FEWEST = 3  # objects in a place: of an empty one nobody learns how well outlines agree


@dataclass(frozen=True, slots=True)
class SecondLook:
    """Where a second look was cut from.

    Parameters
    ----------
    image : str
        Id of the image.
    plane : int
        T and Z flattened.
    box : tuple of int
        Half-open y0, x0, y1, x1, in pixels.
    """

    image: str
    plane: int
    box: tuple[int, int, int, int]


def read_second_looks(folder: Path) -> dict[str, SecondLook]:
    """Return the second looks of a project's folder by the id of their image.

    Raises
    ------
    ProjectError
        If the file is damaged.
    """
    path = folder / FILE
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(image): SecondLook(str(v["image"]), int(v["plane"]), tuple(map(int, v["box"])))  # type: ignore[arg-type]
            for image, v in table.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProjectError(
            f"{path} cannot be read ({error}): put back a copy of it, or move it away: the crops are then images like others"
        ) from error


def add_second_looks(folder: Path, looks: dict[str, SecondLook]) -> None:
    """Write more second looks down."""
    table = {image: asdict(look) for image, look in (read_second_looks(folder) | looks).items()}
    with atomic(folder / FILE) as target:
        target.write_text(json.dumps(table, indent=1), encoding="utf-8")


def plan_second_looks(
    project: Project, count: int = 6, *, seed: int | None = None, progress: Progress | None = None
) -> list[ImageRecord]:
    """Pick random places of images that are done, and add each as an image to be labelled again.

    Parameters
    ----------
    project : Project
        Open for writing.
    count : int
        How many, at most: places do not overlap.
    seed : int or None
        Of the choice. None: another one each time.
    progress : Progress or None
        Told of every image that is read.

    Returns
    -------
    list of ImageRecord
        The new images.

    Raises
    ------
    UsageError
        If no image is done yet, or there is no place with cells left.
    """
    project.check_writable()
    if count < 1:
        raise UsageError(f"the number of places must be at least 1, got {count}")
    known = read_second_looks(project.folder)
    records = [r for r in project.images() if r.state == "done" and r.id not in known]
    if not records:
        raise UsageError("no image is done yet: mark one as done when all of its cells are right")
    rng = np.random.default_rng(seed)
    places = _places(project, records, known.values(), count, rng)
    if not places:
        raise UsageError(
            "there is no place with cells left that was not labelled again already: finish more images"
        )
    progress = progress or NoProgress()
    added: dict[str, SecondLook] = {}
    progress.start("image", len(places))
    with tempfile.TemporaryDirectory(prefix="cellbrook-looks-") as temporary:
        for number, look in enumerate(places, len(known) + 1):
            progress.check_cancelled()
            path = Path(temporary) / f"again-{number:02d}.tif"
            _write(project, look, path)
            for record in project.add(path, copy=True).added:
                added[record.id] = look
            progress.advance()
    add_second_looks(project.folder, added)
    return [project.image(i) for i in added]


def compare_second_looks(
    project: Project,
    segment: Callable[[ImageRecord], NDArray[Any]] | None = None,
    *,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compare first with second labels of all places that were labelled again, and a model with both.

    Parameters
    ----------
    project : Project
        May be open for reading only.
    segment : callable or None
        Gives the model's labels of an image, in the shape of the project's labels. None: people only.
    progress : Progress or None
        Told of every image; may cancel.

    Returns
    -------
    dict
        As `HumanComparison.to_dict`, with ``failed`` and ``images``: id, name and F1 at IoU 0.5 of each place.

    Raises
    ------
    UsageError
        If no place was labelled again yet.
    """
    from cellbrook.metrics.evaluation import THRESHOLDS, count_image
    from cellbrook.metrics.human import compare_with_human
    from cellbrook.metrics.matching import ratio

    progress = progress or NoProgress()
    looks = read_second_looks(project.folder)
    records = {r.id: r for r in project.images()}
    again = [r for r in records.values() if r.id in looks and r.state in WORKED_ON]
    if not again:
        raise UsageError("no place was labelled again yet: draw its cells, then mark it as done")
    by_image: dict[str, list[ImageRecord]] = {}
    for record in again:
        by_image.setdefault(looks[record.id].image, []).append(record)
    columns: list[list[Any]] = []
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    progress.start("image", len(by_image))
    for image, places in by_image.items():
        progress.check_cancelled()
        try:
            if image not in records:
                raise UsageError("the image that it was cut from is no longer in the project")
            first = project.labels(image).read_all()
            model = None if segment is None else segment(records[image])
        except (CellbrookError, OSError) as error:
            failed += [{"name": r.name, "error": str(error)} for r in places]
            continue
        for record in places:
            look = looks[record.id]
            second = project.labels(record.id).read_all()
            sides = [_cut(first, look), second]
            if model is not None:
                sides.append(_cut(model, look))
            pairs = ((0, 1), (0, 2), (1, 2))[: 1 if model is None else 3]
            counts = [
                count_image(sides[i], sides[j], name=record.name, thresholds=THRESHOLDS) for i, j in pairs
            ]
            columns.append(counts)
            f1 = ratio(2 * counts[0].tp[0], counts[0].n_true + counts[0].n_pred)
            rows.append({"id": record.id, "name": record.name, "f1": float(f1)})
        progress.advance()
    if not columns:
        raise UsageError(f"{failed[0]['name']}: {failed[0]['error']}")
    sides_of = list(zip(*columns, strict=True))
    comparison = compare_with_human(sides_of[0], None if len(sides_of) == 1 else (sides_of[1], sides_of[2]))
    return {**comparison.to_dict(), "images": rows, "failed": failed}


def _places(
    project: Project,
    records: list[ImageRecord],
    taken: Iterable[SecondLook],
    count: int,
    rng: np.random.Generator,
) -> list[SecondLook]:
    """Return places with cells, drawn from all tiles of all images; fewer than `count` if there are no more."""
    many: list[SecondLook] = []
    few: list[SecondLook] = []
    used: dict[tuple[str, int], list[tuple[int, int, int, int]]] = {}
    for look in taken:
        used.setdefault((look.image, look.plane), []).append(look.box)
    for record in records:
        rows = project.labels(record.id).objects()
        if not rows:
            continue
        across = _CELLS_ACROSS * float(np.median([np.sqrt(4 / np.pi * r.area) for r in rows]))
        side = round(float(np.clip(across, *_SIDES_PX)))
        height, width = min(side, record.height), min(side, record.width)
        # the tiles lie elsewhere each time
        top, left = (
            int(rng.integers(n % k + 1)) for n, k in ((record.height, height), (record.width, width))
        )
        held: dict[tuple[int, int, int], int] = {}
        for row in rows:
            tile = (
                row.plane,
                ((row.y0 + row.y1) // 2 - top) // height,
                ((row.x0 + row.x1) // 2 - left) // width,
            )
            held[tile] = held.get(tile, 0) + 1
        for (plane, i, j), cells in held.items():
            box = (top + i * height, left + j * width, top + (i + 1) * height, left + (j + 1) * width)
            inside = min(box[:2]) >= 0 and box[2] <= record.height and box[3] <= record.width
            if inside and not any(_meet(box, b) for b in used.get((record.id, plane), ())):
                (many if cells >= _FEWEST else few).append(SecondLook(record.id, plane, box))
    order = [*rng.permutation(len(many)), *(rng.permutation(len(few)) + len(many))]
    return [(many + few)[int(k)] for k in order[:count]]


def _meet(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _cut(labels: NDArray[Any], look: SecondLook) -> NDArray[Any]:
    y0, x0, y1, x1 = look.box
    return np.ascontiguousarray(labels.reshape(-1, *labels.shape[-2:])[look.plane, y0:y1, x0:x1])


def _write(project: Project, look: SecondLook, path: Path) -> None:
    """Write a place as an image of its own, with the channels that are segmented."""
    from cellbrook.project._pixels import stack_of

    source = project.open_image(look.image)
    pixels, plan = stack_of(source, project.settings)
    y0, x0, y1, x1 = look.box
    part = pixels.reshape(-1, *pixels.shape[-3:])[look.plane, :, y0:y1, x0:x1]
    rgb = source.is_rgb and len(part) == 3
    write_image(
        path,
        part,
        axes="CYX",
        pixel_size_um={a: v for a, v in plan.pixel_size_um.items() if a in "YX"},
        names=() if rgb else plan.channel_names,
        rgb=rgb,
    )
