"""Which image, and which part of it, teaches most when it is corrected next.

An image teaches much if the model is unsure of it and if it looks unlike what it was taught already. Both are made ranks
among the images that are still open, so that their scales do not matter, and the two ranks are averaged. Images are chosen
one after the other, each counting as taught for the next, so that the list itself is varied.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.core.progress import NoProgress
from cellbrook.errors import CellbrookError, UsageError
from cellbrook.io.atomic import atomic
from cellbrook.project._pixels import planes_of
from cellbrook.project.predict import read_cache
from cellbrook.resize import resize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellbrook.core.progress import Progress
    from cellbrook.project.images import ImageRecord
    from cellbrook.project.objects import Box, ObjectRow
    from cellbrook.project.project import Project

_SIDE = 256  # px of the picture that looks are compared in
_REGION_CELLS = 8  # sides of cells in the side of a region: about sixty cells
_REGION_PX = (192, 768)
_DOUBTFUL = 0.5


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An image to correct next.

    Parameters
    ----------
    image, name : str
        Which one.
    score : float
        0 to 1, of what it would teach, among the images that are open.
    region : (plane, y0, x0, y1, x1)
        Where in it to begin.
    objects : int
        Objects that the model found in the region.
    reason : str
        Why, in words.
    """

    image: str
    name: str
    score: float
    region: Box
    objects: int
    reason: str


@dataclass(frozen=True, slots=True)
class _Facts:
    record: ImageRecord
    rows: list[ObjectRow]
    doubt: float
    entropy: float
    look: NDArray[np.float64]


def suggest(
    project: Project, count: int = 5, *, names: Sequence[str] = (), progress: Progress | None = None
) -> list[Suggestion]:
    """Rank the images that nobody has finished by what correcting them would teach.

    Parameters
    ----------
    project : Project
        Any; best after `predict`.
    count : int
        How many at most.
    names : sequence of str
        Among these only, by id, name or path. Empty: among all that are not "corrected" or "done".
    progress : Progress or None
        Told of every image.

    Returns
    -------
    list of Suggestion
        The best first. Images whose file is gone are left out.

    Raises
    ------
    UsageError
        If every image is corrected already, or there is none.
    """
    progress = progress or NoProgress()
    records = project.own_images()
    chosen = {project.find(n).id for n in names}
    open_ = {r.id for r in records if (r.id in chosen if chosen else r.state in ("new", "predicted"))}
    if not open_:
        raise UsageError(
            "every image of the project is corrected: add images, or name those to look at again"
        )
    facts: dict[str, _Facts] = {}
    progress.start("image", len(records))
    for record in records:
        progress.check_cancelled()
        try:
            facts[record.id] = _facts_of(project, record)
        except CellbrookError:
            if record.id in chosen:
                raise
        progress.advance()
    left = [f for i, f in facts.items() if i in open_]
    if not left:
        raise UsageError("no open image can be read: see `cellbrook project status`")
    looks = _scaled(np.array([f.look for f in facts.values()]))
    look = dict(zip(facts, looks, strict=True))
    taught = [look[i] for i in facts if i not in open_]
    corrected = bool(taught)
    doubt = _ranks(np.array([f.doubt + f.entropy for f in left]))
    found: list[Suggestion] = []
    while left and len(found) < count:
        distance = np.array([_nearest(look[f.record.id], taught) for f in left])
        novelty = _ranks(distance)
        best = int(np.argmax(doubt + novelty))
        fact = left.pop(best)
        region, inside = _region(project, fact)
        reason = _reason(fact, doubt[best], novelty[best], corrected, len(found), inside)
        found.append(
            Suggestion(
                fact.record.id,
                fact.record.name,
                float(doubt[best] + novelty[best]) / 2,
                region,
                len(inside),
                reason,
            )
        )
        taught.append(look[fact.record.id])
        doubt = np.delete(doubt, best)
    return found


def _facts_of(project: Project, record: ImageRecord) -> _Facts:
    rows = project.labels(record.id).objects()
    scores = np.array([r.score for r in rows if r.score is not None])
    # a cell that is just believed, at 0.5, is the most doubtful
    doubt = float(np.mean(1 - scores)) if len(scores) else 0.5
    return _Facts(record, rows, doubt, _entropy(project, record), _look(project, record, rows))


def _entropy(project: Project, record: ImageRecord) -> float:
    """Return the mean binary entropy of pixels that are not plainly background, 0 to 1; 0.5 where nothing is known."""
    if record.run is None:
        return 0.5
    try:
        _, cellprob = read_cache(project, record)
    except UsageError:
        return 0.5
    value = bits(np.asarray(cellprob[:, ::4, ::4], np.float32))
    unsure = value[value > 0.05]
    seen = np.asarray(cellprob[:, ::4, ::4]) > -3
    return float(unsure.sum() / max(int(seen.sum()), 1)) if seen.any() else 0.5


def bits(cellprob: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the entropy in bits of each logit: 1 where the model is torn, 0 where it is sure.

    Examples
    --------
    >>> import numpy as np
    >>> bits(np.float32([0.0, 20.0])).round(3).tolist()
    [1.0, 0.0]
    """
    p = 1 / (1 + np.exp(-np.clip(cellprob.astype(np.float64), -30, 30)))
    p = np.clip(p, 1e-9, 1 - 1e-9)
    return np.asarray(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)), np.float32)


def _look(project: Project, record: ImageRecord, rows: list[ObjectRow]) -> NDArray[np.float64]:
    """Return numbers that say how an image looks: brightness, contrast, texture at four scales; cells' size and density."""
    key = hashlib.sha256(
        json.dumps([record.id, project.settings.channels, project.settings.z]).encode()
    ).hexdigest()
    path = project.folder / "cache" / f"look-{key[:16]}.npy"
    try:
        picture = np.load(path)
    except (OSError, ValueError):
        picture = _picture_features(project, record)
        if not project.read_only:
            with atomic(path) as target:
                np.save(target, picture)
    areas = np.array([r.area for r in rows if r.area > 0], np.float64)
    size = np.log(np.median(areas)) if len(areas) else np.nan
    density = len(areas) / (record.height * record.width) * (np.median(areas) if len(areas) else 0)
    return np.concatenate([picture, [size, density]])


def _picture_features(project: Project, record: ImageRecord) -> NDArray[np.float64]:
    planes = list(planes_of(project.open_image(record.id), project.settings))
    gray = np.nan_to_num(planes[len(planes) // 2].astype(np.float32)).mean(axis=0)
    scale = min(1.0, _SIDE / max(gray.shape))
    shape = tuple(max(8, round(n * scale)) for n in gray.shape)
    small = resize(np.ascontiguousarray(gray[None]), (shape[0], shape[1]), threads=1)[0].astype(np.float64)
    low, high = np.percentile(small, (1, 99))
    small = np.clip((small - low) / max(high - low, 1e-6), 0, 1)
    levels = np.percentile(small, (10, 25, 50, 75, 90))
    texture = []
    for _ in range(4):
        gy, gx = np.gradient(small) if min(small.shape) > 2 else (np.zeros(1), np.zeros(1))
        texture.append(float(np.hypot(gy, gx).mean()))
        rows, cols = (n // 2 * 2 for n in small.shape)
        small = small[:rows, :cols].reshape(rows // 2, 2, cols // 2, 2).mean(axis=(1, 3))
    return np.array([*levels, *np.log(np.array(texture) + 1e-4), np.log(max(high - low, 1e-6)) * 0.2])


def _scaled(looks: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.where(np.isnan(looks), 0, 1).sum(axis=0) > 0
    middle = np.zeros(looks.shape[1])
    middle[known] = np.nanmedian(looks[:, known], axis=0)
    filled = np.where(np.isnan(looks), middle, looks)
    spread = filled.std(axis=0)
    return np.asarray((filled - filled.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0))


def _nearest(look: NDArray[np.float64], taught: list[NDArray[np.float64]]) -> float:
    if not taught:  # the most typical one first: it stands for most others
        return -float(np.linalg.norm(look))
    return float(min(np.linalg.norm(look - other) for other in taught))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks from 0 to 1; equal values share one, and where all are equal it is 0.5."""
    if len(values) < 2:
        return np.full(len(values), 0.5)
    below = (values[:, None] > values[None] + 1e-9).sum(axis=1)
    equal = (np.abs(values[:, None] - values[None]) <= 1e-9).sum(axis=1) - 1
    return np.asarray((below + equal / 2) / (len(values) - 1))


def _region(project: Project, fact: _Facts) -> tuple[Box, list[ObjectRow]]:
    """Return the window with the most doubt in it, and its objects."""
    record = fact.record
    areas = [r.area for r in fact.rows]
    side = _REGION_CELLS * float(np.sqrt(np.median(areas) * 4 / np.pi)) if areas else 0.0
    side = int(np.clip(side, *_REGION_PX))
    height, width = min(side, record.height), min(side, record.width)
    best: tuple[float, Box] = (-1.0, (0, 0, 0, height, width))
    doubtful = [(r, 1.0 if r.score is None else 1 - r.score) for r in fact.rows if r.origin == "auto"]
    for plane in sorted({r.plane for r in fact.rows}) or [0]:
        here = [(r, d) for r, d in doubtful if r.plane == plane]
        y = np.array([(r.y0 + r.y1) / 2 for r, _ in here])
        x = np.array([(r.x0 + r.x1) / 2 for r, _ in here])
        d = np.array([d for _, d in here])
        for y0 in _starts(record.height, height):
            for x0 in _starts(record.width, width):
                inside = (y >= y0) & (y < y0 + height) & (x >= x0) & (x < x0 + width)
                total = float(d[inside].sum()) if len(d) else 0.0
                if total > best[0]:
                    best = (total, (plane, y0, x0, y0 + height, x0 + width))
    plane, y0, x0, y1, x1 = best[1]
    members = [
        r
        for r in fact.rows
        if r.plane == plane and y0 <= (r.y0 + r.y1) / 2 < y1 and x0 <= (r.x0 + r.x1) / 2 < x1
    ]
    return best[1], members


def _starts(length: int, side: int) -> list[int]:
    step = max(side // 2, 1)
    return sorted({min(k, length - side) for k in range(0, max(length - side, 0) + step, step)})


def _reason(
    fact: _Facts, doubt: float, novelty: float, corrected: bool, before: int, inside: list[ObjectRow]
) -> str:
    words = []
    scores = [r.score for r in fact.rows if r.score is not None]
    if fact.record.run is None and not scores:
        words.append("the model has not seen it yet (predict tells more)")
    elif not fact.rows:
        words.append("the model found nothing in it")
    elif doubt >= _DOUBTFUL:
        words.append(
            f"the model is unsure of its cells (mean score {np.mean(scores):.2f})" if scores else "unsure"
        )
    if novelty >= _DOUBTFUL:
        unlike = "what is corrected so far" if corrected else "the suggestions before it"
        words.append(
            f"it looks unlike {unlike}" if corrected or before else "it is typical of the open images"
        )
    if not words:
        words.append("it is what is left to learn from")
    low = sum(1 for r in inside if r.score is not None and r.score < _DOUBTFUL)
    if inside:
        words.append(f"the region has {len(inside)} cells" + (f", {low} of them doubtful" if low else ""))
    return "; ".join(words)


def as_dict(suggestion: Suggestion) -> dict[str, Any]:
    """Return a suggestion as plain values."""
    plane, y0, x0, y1, x1 = suggestion.region
    return {
        "image": suggestion.image,
        "name": suggestion.name,
        "score": suggestion.score,
        "plane": plane,
        "box": [y0, x0, y1, x1],
        "objects": suggestion.objects,
        "reason": suggestion.reason,
    }
