"""Candidates that thresholds discarded: shown faintly, brought back by a click.

They are no part of the document. Their pixels lie in the image's cache, their ids are leased from it, so that one that is
brought back keeps its id.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import EditError
from cellbrook.io.atomic import atomic
from cellbrook.server.messages import TILE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Ghosts:
    """Discarded candidates of an image.

    Parameters
    ----------
    rows : list of dict
        As sent, with ``discarded`` and ``reason``; ``id`` is a leased one.
    numbers : Path or None
        File with an array (planes, Y, X), uint32, of candidates counted from 1, open only while it is read: a project
        has thousands of images, and a process may have few files open.
    first : int
        The id of number 1.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    numbers: Path | None = None
    first: int = 1

    @classmethod
    def load(cls, cache: Path) -> Ghosts:
        """Return the candidates in an image's cache; none if there are none, or they are damaged."""
        try:
            facts = json.loads((cache / "ghosts.json").read_text(encoding="utf-8"))
            np.load(cache / "ghosts.npy", mmap_mode="r", allow_pickle=False)
            return cls(facts["rows"], cache / "ghosts.npy", facts["first"])
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("discarded candidates cannot be read: %s", error)
            return cls()

    @classmethod
    def store(cls, cache: Path, out: Path, rows: list[dict[str, Any]], first: int) -> Ghosts:
        """Keep what the worker found in an image's cache."""
        for row in rows:
            row.update({
                "id": row["id"] + first - 1, "class": 0, "origin": "auto", "locked": False, "discarded": True
            })  # fmt: skip
        cache.mkdir(parents=True, exist_ok=True)
        with atomic(cache / "ghosts.npy") as target:
            shutil.move(out / "ghosts.npy", target)
        with atomic(cache / "ghosts.json") as target:
            target.write_text(json.dumps({"rows": rows, "first": first}), encoding="utf-8")
        return cls.load(cache)

    def _mapped(self) -> NDArray[np.uint32]:
        with contextlib.suppress(OSError, ValueError):  # somebody emptied the cache
            if self.numbers is not None:
                return np.load(self.numbers, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
        return np.zeros((0, 0, 0), np.uint32)

    def on(self, plane: int | None, taken: set[int]) -> list[dict[str, Any]]:
        """Return the rows of a plane (None: of all) but those that became objects."""
        return [r for r in self.rows if (plane is None or r["plane"] == plane) and r["id"] not in taken]

    def tile(self, plane: int, ty: int, tx: int, taken: set[int]) -> NDArray[np.uint32] | None:
        """Return the ids of a tile's pixels (512, 512); None where there are none."""
        numbers = self._mapped()
        if not 0 <= plane < len(numbers):
            return None
        part = numbers[plane, ty * TILE : (ty + 1) * TILE, tx * TILE : (tx + 1) * TILE]
        if not part.any():
            return None
        full = np.zeros((TILE, TILE), np.uint32)
        full[: part.shape[0], : part.shape[1]] = np.where(part > 0, part + np.uint32(self.first - 1), 0)
        if taken:
            full[np.isin(full, list(taken))] = 0
        return full

    def pixels(self, ids: Sequence[int]) -> list[tuple[int, int, NDArray[np.int64]]]:
        """Return id, plane and runs (y, x0, x1) of candidates.

        Raises
        ------
        EditError
            If one of the ids is none.
        """
        known, numbers = {r["id"]: r for r in self.rows}, self._mapped()
        found = []
        for i in ids:
            row = known.get(i)
            if row is None or not len(numbers):
                raise EditError(f"{i} is no discarded cell of this image: segment it again to see them anew")
            y0, x0, y1, x1 = (row[k] for k in ("y0", "x0", "y1", "x1"))
            mask = numbers[row["plane"], y0:y1, x0:x1] == i - self.first + 1
            found.append((i, row["plane"], runs_of(mask) + np.array([y0, x0, x0])))
        return found


def runs_of(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return a mask as runs, (n, 3): ``y, x0, x1``.

    Examples
    --------
    >>> runs_of(np.array([[0, 1, 1], [1, 0, 1]], bool)).tolist()
    [[0, 1, 3], [1, 0, 1], [1, 2, 3]]
    """
    padded = np.pad(mask.astype(np.int8), ((0, 0), (1, 1)))
    steps = np.diff(padded, axis=1)
    y, x0 = np.nonzero(steps == 1)
    _, x1 = np.nonzero(steps == -1)
    return np.stack([y, x0, x1], axis=1).astype(np.int64)
