"""What makes the embedded store durable: SQLite, one transaction a batch, written by a thread of its own.

WAL with synchronous=FULL: a committed transaction survives kill -9 and loss of power. The current state and the recent
history are both kept, so that after a restart revisions go on where they stood and watches resume.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from controlplane.storage.errors import StoreFull, StoreUnavailable
from controlplane.storage.interface import Change, Entry

SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS history (
    revision INTEGER PRIMARY KEY, type TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, previous BLOB);
CREATE TABLE IF NOT EXISTS numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Saved:
    entries: list[Entry]
    changes: list[Change]
    revision: int
    compacted: int


class Journal:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")
        self._db = self.thread.submit(self._open).result()

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self._path, isolation_level=None)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.executescript(SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(f"cannot open {self._path}: {error}") from error
        return db

    def load(self) -> Saved:
        return self.thread.submit(self._load).result()

    def _load(self) -> Saved:
        numbers = dict(self._db.execute("SELECT name, value FROM numbers"))
        return Saved(
            entries=[Entry(*row) for row in self._db.execute("SELECT key, value, revision FROM entries ORDER BY key")],
            changes=[
                Change(*row)
                for row in self._db.execute(
                    "SELECT type, key, value, revision, previous FROM history ORDER BY revision"
                )
            ],
            revision=numbers.get("revision", 0),
            compacted=numbers.get("compacted", 0),
        )

    def write(self, changes: Sequence[Change], compacted: int) -> None:
        """All or nothing; returns when it is on disk. Runs in `thread`. Raises StoreFull, StoreUnavailable."""
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            try:
                for change in changes:
                    if change.type == "put":
                        db.execute(
                            "REPLACE INTO entries VALUES (?, ?, ?)",
                            (change.key, change.value, change.revision),
                        )
                    else:
                        db.execute("DELETE FROM entries WHERE key = ?", (change.key,))
                db.executemany(
                    "INSERT INTO history VALUES (?, ?, ?, ?, ?)",
                    [(c.revision, c.type, c.key, c.value, c.previous) for c in changes],
                )
                if changes:
                    db.execute("REPLACE INTO numbers VALUES ('revision', ?)", (changes[-1].revision,))
                db.execute("DELETE FROM history WHERE revision <= ?", (compacted,))
                db.execute("REPLACE INTO numbers VALUES ('compacted', ?)", (compacted,))
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname in ("SQLITE_FULL", "SQLITE_IOERR_WRITE"):
                raise StoreFull(f"no room on the disk of {self._path}: the write was refused") from error
            raise StoreUnavailable(f"{self._path}: {error}") from error
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error

    def size(self) -> int:
        """Bytes of its files, the log of what is not yet in the main one included. Any thread may ask."""
        try:
            log = self._path.with_name(f"{self._path.name}-wal")
            return self._path.stat().st_size + (log.stat().st_size if log.exists() else 0)
        except OSError as error:
            raise StoreUnavailable(f"cannot look at {self._path}: {error}") from error

    def close(self) -> None:
        self.thread.submit(self._db.close).result()
        self.thread.shutdown()
