"""Places that are labelled a second time, blind, to see how well a person agrees with themselves, and a model with them.

A second look is an image of the project, a crop of another one under a name that tells nothing. It is never taught from,
predicted or suggested: its pixels are in the project already. ``second_looks.json`` says which image it was cut from. It is
one plane with all channels, whose file says so itself: the project's axes and z are not for it.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.progress import NoProgress, Progress
from cellbrook.errors import CellbrookError, ImageError, ProjectError, UsageError
from cellbrook.io.atomic import atomic
from cellbrook.io.hashing import sha256_of_image
from cellbrook.io.writers import write_image
from cellbrook.project.images import id_of
from cellbrook.project.objects import meet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from cellbrook.project.images import ImageRecord
    from cellbrook.project.objects import Box
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


def own_params(folder: Path, image: str) -> dict[str, Any]:
    """Return what an image is read with, whatever its project in `folder` says: second looks are no stacks."""
    return {"axes": None, "z": None} if image in read_second_looks(folder) else {}


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
    ImageError
        If a place cannot be added.
    """
    project.check_writable()
    if count < 1:
        raise UsageError(f"the number of places must be at least 1, got {count}")
    there = {r.id for r in project.images()}
    known = {i: look for i, look in read_second_looks(project.folder).items() if i in there}
    records = [r for r in project.own_images() if r.state == "done"]
    if not records:
        raise UsageError("no image is done yet: mark one as done when all of its cells are right")
    rng = np.random.default_rng(seed)
    places = _places(project, records, known.values(), count, rng)
    if not places:
        raise UsageError(
            "there is no place with cells left that was not labelled again already: finish more images"
        )
    progress = progress or NoProgress()
    by_image: dict[str, list[tuple[Path, SecondLook]]] = {}
    with tempfile.TemporaryDirectory(prefix="cellbrook-looks-") as temporary:
        for number, look in enumerate(places, len(known) + 1):
            path = Path(temporary) / f"again-{number:02d}.tif"
            by_image.setdefault(look.image, []).append((path, look))
        progress.start("image", len(by_image))
        for image, crops in by_image.items():
            progress.check_cancelled()
            _write(project, image, crops)
            progress.advance()
        new = {
            id_of(sha256_of_image(path)): (path, look) for crops in by_image.values() for path, look in crops
        }
        new = {i: new[i] for i in sorted(new.keys() - there, key=lambda i: new[i][0].name)}
        # that they are second looks must be known before they are there: else a crash would leave images to learn from
        add_second_looks(project.folder, {i: look for i, (_, look) in new.items()})
        report = project.add([path for path, _ in new.values()], copy=True)
        if report.failed:
            raise ImageError(report.failed[0][1])
    return [project.image(i) for i in new]


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
    from cellbrook.metrics.evaluation import pooled_metrics
    from cellbrook.metrics.human import compare_with_human, count_pairs

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
            counts = count_pairs(sides, name=record.name)
            columns.append(counts)
            f1 = float(pooled_metrics([counts[0]])["f1"][0, 0])
            rows.append({"id": record.id, "name": record.name, "f1": f1})
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
    used: dict[str, list[Box]] = {}
    for look in taken:
        used.setdefault(look.image, []).append((look.plane, *look.box))
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
            if inside and not any(meet((plane, *box), b) for b in used.get(record.id, ())):
                (many if cells >= _FEWEST else few).append(SecondLook(record.id, plane, box))
    order = [*rng.permutation(len(many)), *(rng.permutation(len(few)) + len(many))]
    return [(many + few)[int(k)] for k in order[:count]]


def _cut(labels: NDArray[Any], look: SecondLook) -> NDArray[Any]:
    y0, x0, y1, x1 = look.box
    return np.ascontiguousarray(labels.reshape(-1, *labels.shape[-2:])[look.plane, y0:y1, x0:x1])


def _write(project: Project, image: str, crops: list[tuple[Path, SecondLook]]) -> None:
    """Write places of an image as images of their own, with all channels, of which the project's are then chosen."""
    from cellbrook.project._pixels import stack_of

    source = project.open_image(image)
    pixels, plan = stack_of(source, replace(project.settings, channels=None))
    planes = pixels.reshape(-1, *pixels.shape[-3:])
    rgb = source.is_rgb and planes.shape[1] == 3
    for path, look in crops:
        y0, x0, y1, x1 = look.box
        write_image(
            path,
            planes[look.plane, :, y0:y1, x0:x1],
            axes="CYX",
            pixel_size_um={a: v for a, v in plan.pixel_size_um.items() if a in "YX"},
            names=() if rgb else plan.channel_names,
            rgb=rgb,
        )
