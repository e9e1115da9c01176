"""``index.sqlite``: the index of a project, and the log of its edits."""

from __future__ import annotations

import logging
import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cellbrook.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

logger = logging.getLogger(__name__)

SCHEMA = 1
"""Raised when a table changes its meaning; kept in the file (``PRAGMA user_version``) and in project.toml."""

_APPLICATION = 0x43425250  # "CBRP": tells our files from those of other programs

_CHECKED = 64 << 20  # bytes

_LATER = """
CREATE TABLE IF NOT EXISTS runs (
    image TEXT NOT NULL, rev INTEGER NOT NULL, before TEXT, after TEXT NOT NULL, PRIMARY KEY (image, rev));
CREATE TABLE IF NOT EXISTS merges (
    number INTEGER PRIMARY KEY, image TEXT NOT NULL, rev INTEGER NOT NULL, uid TEXT NOT NULL, ids TEXT NOT NULL,
    state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS regions (
    image TEXT NOT NULL, rev INTEGER NOT NULL, id TEXT NOT NULL, before TEXT, after TEXT, PRIMARY KEY (image, rev, id));
"""
"""Tables that projects of earlier versions lack and get when they are opened for writing."""

_TABLES = """
CREATE TABLE images (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, path TEXT NOT NULL, copied INTEGER NOT NULL,
    sha256 TEXT NOT NULL, scene TEXT, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    axes TEXT NOT NULL, shape TEXT NOT NULL, dtype TEXT NOT NULL, channels TEXT NOT NULL, pixel_size TEXT NOT NULL,
    label_axes TEXT NOT NULL, leading TEXT NOT NULL, height INTEGER NOT NULL, width INTEGER NOT NULL,
    state TEXT NOT NULL, rev INTEGER NOT NULL DEFAULT 0, next_id INTEGER NOT NULL DEFAULT 1,
    added TEXT NOT NULL, run TEXT, removed INTEGER NOT NULL DEFAULT 0, place INTEGER NOT NULL);
CREATE TABLE ops (
    image TEXT NOT NULL, rev INTEGER NOT NULL, uid TEXT NOT NULL, kind TEXT NOT NULL, user TEXT NOT NULL,
    client TEXT NOT NULL, created TEXT NOT NULL, boxes TEXT NOT NULL, reverts INTEGER, status TEXT NOT NULL,
    objects BLOB NOT NULL, PRIMARY KEY (image, rev));
CREATE UNIQUE INDEX ops_uid ON ops (image, uid);
CREATE TABLE patches (
    image TEXT NOT NULL, plane INTEGER NOT NULL, cy INTEGER NOT NULL, cx INTEGER NOT NULL, rev INTEGER NOT NULL,
    data BLOB NOT NULL, PRIMARY KEY (image, plane, cy, cx, rev));
CREATE INDEX patches_rev ON patches (image, rev);
CREATE TABLE objects (
    image TEXT NOT NULL, id INTEGER NOT NULL, plane INTEGER NOT NULL,
    y0 INTEGER NOT NULL, x0 INTEGER NOT NULL, y1 INTEGER NOT NULL, x1 INTEGER NOT NULL, area INTEGER NOT NULL,
    class INTEGER NOT NULL, origin TEXT NOT NULL, locked INTEGER NOT NULL, score REAL, flow_error REAL, cellprob REAL,
    PRIMARY KEY (image, id, plane)) WITHOUT ROWID;
CREATE INDEX objects_locked ON objects (image, id) WHERE locked;
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, image TEXT, state TEXT NOT NULL, params TEXT NOT NULL,
    done INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '',
    error TEXT, hint TEXT, result TEXT, created TEXT NOT NULL, updated TEXT NOT NULL);
CREATE TABLE rounds (number INTEGER PRIMARY KEY, created TEXT NOT NULL, report TEXT NOT NULL);
CREATE TABLE conflicts (
    number INTEGER PRIMARY KEY, image TEXT NOT NULL, plane INTEGER NOT NULL, y0 INTEGER NOT NULL, x0 INTEGER NOT NULL,
    y1 INTEGER NOT NULL, x1 INTEGER NOT NULL, reason TEXT NOT NULL, source TEXT NOT NULL, created TEXT NOT NULL);
"""


class Database:
    """One connection, its lock, and transactions.

    Parameters
    ----------
    path : Path
        ``index.sqlite``.
    read_only : bool
        Change nothing, not even the journal.
    create : bool
        Make the tables; the file must not exist.

    Raises
    ------
    ProjectError
        If the file is damaged, not ours, or of a later version. It is left as it is.
    """

    def __init__(self, path: Path, *, read_only: bool = False, create: bool = False) -> None:
        self.path = path
        self.lock = threading.RLock()
        self.read_only = read_only
        if create:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            with self._translated():
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.executescript(
                    f"BEGIN; {_TABLES} {_LATER} PRAGMA application_id = {_APPLICATION}; "
                    f"PRAGMA user_version = {SCHEMA}; COMMIT;"
                )
        else:
            self._check_head()
            with self._translated():
                self._connection = self._opened()
        try:
            with self._translated():
                self._connection.execute("PRAGMA synchronous = FULL")  # a committed edit survives a power cut
                self._connection.execute("PRAGMA busy_timeout = 5000")
                if not create:
                    self._check()
                if not create and not read_only:
                    self._connection.executescript(_LATER)
        except BaseException:
            self._connection.close()
            raise

    def _check_head(self) -> None:
        try:
            with self.path.open("rb") as file:
                head = file.read(100)
        except OSError as error:
            raise ProjectError(f"{self.path}: cannot be read: {error.strerror or error}") from error
        if len(head) < 100 or not head.startswith(b"SQLite format 3\0"):
            raise ProjectError(self._damaged("it is not an SQLite file, or cut short"))

    def _opened(self) -> sqlite3.Connection:
        from urllib.request import pathname2url

        address = "file:" + pathname2url(str(self.path.absolute()))
        if not self.read_only:
            return sqlite3.connect(
                address + "?mode=rw", uri=True, isolation_level=None, check_same_thread=False
            )
        connection = sqlite3.connect(
            address + "?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return connection
        except sqlite3.OperationalError:  # a folder that nobody can write to has no place for the WAL's index
            connection.close()
        except BaseException:
            connection.close()
            raise
        waiting = self.path.with_name(f"{self.path.name}-wal")
        if waiting.exists() and waiting.stat().st_size:
            logger.warning(
                "%s: the newest edits, in %s, are only seen where the folder can be written to",
                self.path.parent,
                waiting.name,
            )
        return sqlite3.connect(
            address + "?immutable=1", uri=True, isolation_level=None, check_same_thread=False
        )

    def _check(self) -> None:
        application = self.one("PRAGMA application_id")[0]
        version = self.one("PRAGMA user_version")[0]
        if application != _APPLICATION:
            raise ProjectError(self._damaged("another program's database lies in its place"))
        if version > SCHEMA:
            raise ProjectError(
                f"{self.path} has schema {version}, this version of Cellbrook knows {SCHEMA}: update Cellbrook to open it"
            )
        if self.path.stat().st_size > _CHECKED:
            return  # that would take seconds, and a damaged page still tells when it is read
        problem = self.one("PRAGMA quick_check(1)")[0]
        if problem != "ok":
            raise ProjectError(self._damaged(problem))

    def _damaged(self, why: str) -> str:
        return (
            f"{self.path} is damaged ({' '.join(str(why).split())}): put back a copy of it; the labels themselves are in "
            f"{self.path.parent / 'labels'}, which any OME-Zarr reader opens, and nothing was changed"
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            text = str(error)
            if "full" in text or "disk I/O" in text:
                raise ProjectError(
                    f"{self.path}: the disk is full or fails ({text}): nothing was changed"
                ) from error
            if "readonly" in text:
                raise ProjectError(
                    f"{self.path}: the project cannot be written to: nothing was changed"
                ) from error
            if "locked" in text:
                raise ProjectError(f"{self.path}: another program is writing to it: try again") from error
            raise ProjectError(self._damaged(text)) from error
        except sqlite3.DatabaseError as error:
            raise ProjectError(self._damaged(str(error))) from error

    def query(self, sql: str, values: Iterable[Any] = ()) -> list[Any]:
        """Return all rows of a query."""
        with self.lock, self._translated():
            return self._connection.execute(sql, tuple(values)).fetchall()

    def one(self, sql: str, values: Iterable[Any] = ()) -> Any:
        """Return the first row of a query, None without."""
        with self.lock, self._translated():
            return self._connection.execute(sql, tuple(values)).fetchone()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection; what is done with it happens whole or not at all."""
        if self.read_only:
            raise ProjectError(f"{self.path.parent} is open for reading only: nothing was changed")
        with self.lock, self._translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk makes SQLite roll back by itself
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the connection."""
        with self.lock:
            self._connection.close()
