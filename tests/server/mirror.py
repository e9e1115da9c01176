"""What a page knows of an image: the pixels that the server confirmed, the edits on their way, and how both go together.

The rules are those of ``frontend/src/core/document.ts`` and ``outbox.ts``, without a picture: an acknowledged edit is done
here as the page foresaw it, everything else comes as patches, and revisions arrive one by one or are fetched anew.
"""

from __future__ import annotations

import itertools
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np

from cellbrook.server.runs import decode_runs, encode_runs

if TYPE_CHECKING:
    from .conftest import Page

Row = tuple[int, int]
COLUMNS = ("y0", "x0", "y1", "x1", "area", "class", "origin", "locked", "score", "flow_error")


class Mirror:
    """A page's side of the document."""

    def __init__(self, page: Page, image: str, shape: tuple[int, int, int]) -> None:
        self.page, self.image, self.shape = page, image, shape
        self.pixels = np.zeros(shape, np.uint32)
        self.rows: dict[Row, dict[str, Any]] = {}
        self.rev = -1
        self.outbox: dict[str, dict[str, Any]] = {}
        self.free: list[int] = []
        self._highest = 0
        self.jobs: dict[str, str] = {}
        self.refused: list[str] = []
        self.notices: list[str] = []
        self._numbers = itertools.count()

    # Connecting

    def connect(self) -> None:
        """Connect, or connect again: open the image, then send once more what was not answered."""
        self.page.connect()
        self.page.send(type="open", image=self.image, plane=0)
        for edit in self.outbox.values():
            self.page.send(**edit)

    def settle(self) -> None:
        """Wait for all answers, and for all that others did before."""
        self.page.send(type="lease", image=self.image, count=1)
        while self.take() != "leased" or self.outbox:
            pass

    # What the page does

    def edit(self, kind: str, **fields: Any) -> None:
        """Send an edit, without waiting."""
        edit = {
            "type": "edit", "op_id": uuid.uuid4().hex, "image": self.image, "base_rev": self.rev, "plane": 0,
            "kind": kind, **fields,
        }  # fmt: skip
        self.outbox[edit["op_id"]] = edit
        self.page.send(**edit)

    def present(self) -> list[int]:
        """Return the objects that the page shows and has not sent away."""
        gone = {i for e in self.outbox.values() if e["kind"] in ("merge", "delete") for i in e["ids"]}
        return sorted({i for i, _ in self.rows} - gone)

    # What the server says

    def take(self) -> str:
        """Take the next message; return its type."""
        message = self.page.receive()
        kind: str = message["type"]
        if message.get("image", self.image) == self.image and hasattr(self, f"_{kind}"):
            getattr(self, f"_{kind}")(message)
        return kind

    def _opened(self, message: dict[str, Any]) -> None:
        # what is offered again may have been used in edits that wait
        self.free += range(max(message["first_id"], self._highest + 1), message["last_id"] + 1)
        self._highest = max(self._highest, message["last_id"])
        if message["rev"] != self.rev:
            self.rev = message["rev"]
            self.fetch()

    def _ack(self, message: dict[str, Any]) -> None:
        edit = self.outbox.pop(message["op_id"])
        if message["rev"] < self.rev:  # given again: what it says is old
            self.fetch()
            return
        assert message["rev"] <= self.rev + 1, f"ack of {message['rev']} at {self.rev}"
        if message["rev"] > self.rev:
            self.rev = message["rev"]
            self._do(edit)
        self._rows(message["objects"])

    def _reject(self, message: dict[str, Any]) -> None:
        del self.outbox[message["op_id"]]
        self.refused.append(message["reason"])

    def _patch(self, message: dict[str, Any]) -> None:
        assert self.rev <= message["rev"] <= self.rev + 1, f"patch of {message['rev']} at {self.rev}"
        self.rev = message["rev"]
        assert message["runs"] is not None
        plane = self.pixels[message["plane"]]
        for y, x0, x1, label in decode_runs(message["runs"], plane.shape, labelled=True):
            plane[y, x0:x1] = label
        self._rows(message["objects"])

    def _job(self, message: dict[str, Any]) -> None:
        self.jobs[message["job"]["id"]] = message["job"]["state"]

    def _notice(self, message: dict[str, Any]) -> None:
        self.notices.append(message["message"])

    def _rows(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            key = row["id"], row["plane"]
            if row.get("gone"):
                self.rows.pop(key, None)
            else:
                self.rows[key] = {n: row[n] for n in COLUMNS}

    def fetch(self) -> None:
        """Ask for all pixels and rows."""
        for plane in range(self.shape[0]):
            self.pixels[plane] = self.page.labels(self.image, plane)
        self.rows = self.stored_rows()

    def stored_rows(self) -> dict[Row, dict[str, Any]]:
        """Return the rows as the server has them."""
        columns = self.page.json(f"/api/images/{self.image}/objects")
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return {(r["id"], r["plane"]): {n: r[n] for n in COLUMNS} for r in rows if not r["discarded"]}

    # What an edit does

    def _do(self, edit: dict[str, Any]) -> None:
        match edit["kind"]:
            case "paint":
                self._paint(edit)
            case "merge" | "delete":
                into, *others = edit["ids"] if edit["kind"] == "merge" else (0, *edit["ids"])
                self.pixels[np.isin(self.pixels, others)] = into
            case "relabel":
                self.pixels[self.pixels == edit["ids"][0]] = edit["label"]
            case "batch":
                for part in edit["parts"]:
                    self._do(part)
        # what a cut, a proposal and accepted candidates write, only the server knows: it came as a patch before

    def _paint(self, edit: dict[str, Any]) -> None:
        plane, label = self.pixels[edit["plane"]], edit["label"]
        mask = np.zeros(plane.shape, bool)
        for y, x0, x1 in decode_runs(edit["runs"], plane.shape):
            mask[y, x0:x1] = True
        if edit["mode"] == "keep":
            mask &= np.isin(plane, (0, label))
        elif edit["mode"] == "inside":
            mask &= np.isin(plane, edit["ids"])
        locked = [i for (i, _), row in self.rows.items() if row["locked"]]
        plane[mask & ~np.isin(plane, locked)] = label


def rectangle(y: int, x: int, h: int, w: int, shape: tuple[int, int]) -> bytes:
    """Return the runs of a rectangle, cut to the image."""
    y1, x1 = min(y + h, shape[0]), min(x + w, shape[1])
    return encode_runs(np.array([[row, x, x1] for row in range(y, y1)]))
