"""How far a project is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.metrics import average_precision
from cellbrook.project.images import STATES
from cellbrook.project.ops import MODEL_RUNS

if TYPE_CHECKING:
    from cellbrook.project.images import ImageRecord
    from cellbrook.project.project import Project


@dataclass(frozen=True, slots=True)
class ImageStatus:
    """How far an image is.

    Parameters
    ----------
    id, name, state : str
        Which one, and how far.
    rev : int
        Revision of its labels.
    objects, by_hand, locked : int
        All; those that a person drew or changed; those that are locked.
    score : float or None
        Mean score of the objects that a model found.
    ap : float or None
        How right the last prediction was: its AP at IoU 0.5 against what a person made of it. Of images that a person has
        worked on.
    problem : str or None
        What is wrong with its file, and what to do.
    """

    id: str
    name: str
    state: str
    rev: int
    objects: int
    by_hand: int
    locked: int
    score: float | None
    ap: float | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class ProjectStatus:
    """How far a project is.

    Parameters
    ----------
    name, folder, model : str
        Of the project, and its active model.
    states : dict of str to int
        Images by state.
    images : list of ImageStatus
        In the order they were added.
    rounds : list of dict
        Training rounds and their scores.
    conflicts : list of dict
        What merging left for a person to decide.
    """

    name: str
    folder: str
    model: str
    states: dict[str, int]
    images: list[ImageStatus]
    rounds: list[dict[str, Any]]
    conflicts: list[dict[str, Any]]


def status(project: Project) -> ProjectStatus:
    """Return how far a project and each of its images are."""
    images = [_image_status(project, r) for r in project.images()]
    return ProjectStatus(
        name=project.name,
        folder=str(project.folder),
        model=project.settings.model,
        states={s: sum(i.state == s for i in images) for s in STATES},
        images=images,
        rounds=project.rounds(),
        conflicts=conflicts(project),
    )


def conflicts(project: Project) -> list[dict[str, Any]]:
    """Return what merging copies left for a person to decide, oldest first."""
    names = ["number", "image", "plane", "y0", "x0", "y1", "x1", "reason", "source", "created"]
    rows = project.database.query(f"SELECT {', '.join(names)} FROM conflicts ORDER BY number")
    return [dict(zip(names, row, strict=True)) for row in rows]


def settle_conflict(project: Project, number: int) -> None:
    """Say that a conflict has been looked at."""
    with project.database.transaction() as connection:
        connection.execute("DELETE FROM conflicts WHERE number = ?", (number,))


def prediction_ap(project: Project, image: str) -> float | None:
    """Return how right the model was: AP at IoU 0.5 of the last run before a person's first edit, against the labels now.

    None if there is no such run.
    """
    log, store = project.log(image), project.labels(image)
    last = None
    for line in log.history():
        if line.kind in MODEL_RUNS:
            last = line.rev
        elif line.kind not in ("undo", "redo"):
            break
    if last is None:
        return None
    scores = [
        average_precision(store.read(plane), store.read_at(last, plane), thresholds=(0.5,))[0]
        for plane in range(store.planes)
    ]
    return float(np.mean(scores))


def _image_status(project: Project, record: ImageRecord) -> ImageStatus:
    rows = {r.id: r for r in project.labels(record.id).objects()}.values()
    scores = [r.score for r in rows if r.score is not None]
    touched = record.state in ("corrected", "done")
    return ImageStatus(
        id=record.id,
        name=record.name,
        state=record.state,
        rev=record.rev,
        objects=len(rows),
        by_hand=sum(r.origin != "auto" for r in rows),
        locked=sum(r.locked for r in rows),
        score=float(np.mean(scores)) if scores else None,
        ap=prediction_ap(project, record.id) if touched else None,
        problem=project.problem(record.id),
    )
