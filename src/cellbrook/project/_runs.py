"""What a model's results were made with: it comes and goes with the labels, so that both say the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlite3 import Connection


def keep_run(connection: Connection, image: str, rev: int, run: dict[str, Any]) -> None:
    """Write down what an image's labels are made with from a revision on, and what it was before."""
    before, after = _now(connection, image), json.dumps(run)
    connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?)", (image, rev, before, after))
    _set(connection, image, after)


def revert_run(connection: Connection, image: str, rev: int, way: str) -> None:
    """Undo or redo what a revision changed of it, unless a later run has changed it since."""
    row = connection.execute(
        "SELECT before, after FROM runs WHERE image = ? AND rev = ?", (image, rev)
    ).fetchone()
    if row is None:
        return
    before, after = row if way == "undo" else reversed(row)
    if _now(connection, image) == after:
        _set(connection, image, before)


def _now(connection: Connection, image: str) -> str | None:
    run: str | None = connection.execute("SELECT run FROM images WHERE id = ?", (image,)).fetchone()[0]
    return run


def _set(connection: Connection, image: str, run: str | None) -> None:
    connection.execute("UPDATE images SET run = ? WHERE id = ?", (run, image))
