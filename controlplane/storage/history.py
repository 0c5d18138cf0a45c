"""The ordered history of a store: bounded, resumable, and fanned out to watchers in batches.

A watcher never makes the writer wait. It wakes once per batch of changes, however many writes the batch holds, and one
that falls more than `MOST_PENDING` changes behind is cut off with Compacted: it lists again and goes on.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence

from controlplane.storage.errors import Compacted
from controlplane.storage.interface import Change

MOST_PENDING = 50_000


def _size(changes: Sequence[Change]) -> int:
    """Values only: what was before is mostly the value of an earlier change."""
    return sum(len(change.value) for change in changes)


class _Watcher:
    __slots__ = ("after", "changes", "cut", "prefix", "wake")

    def __init__(self, prefix: str, after: int) -> None:
        self.prefix = prefix
        self.after = after
        self.changes: list[Change] = []
        self.cut = False
        self.wake = asyncio.Event()


class History:
    _changes: list[Change]  # ascending revisions, all > compacted
    compacted: int  # changes up to this revision are forgotten

    def __init__(
        self, *, limit: int, most_bytes: int = 1 << 62, compacted: int = 0, changes: Sequence[Change] = ()
    ) -> None:
        """Of the newest changes, as many as `limit` and their values as large as `most_bytes`; now and then a quarter more."""
        self._limit, self._most_bytes = limit, most_bytes
        self._changes = list(changes)
        self._bytes = _size(self._changes)
        self.compacted = compacted
        self._watchers: set[_Watcher] = set()
        self._closed = False

    def append(self, batch: Sequence[Change]) -> None:
        self._changes.extend(batch)
        self._bytes += _size(batch)
        if len(self._changes) * 4 > self._limit * 5 or self._bytes * 4 > self._most_bytes * 5:
            self._forget()
        for watcher in self._watchers:
            if watcher.cut:
                continue
            mine = [c for c in batch if c.revision > watcher.after and c.key.startswith(watcher.prefix)]
            if mine:
                watcher.changes += mine
                if len(watcher.changes) > MOST_PENDING:
                    watcher.cut, watcher.changes = True, []
                watcher.wake.set()

    def _forget(self) -> None:
        kept = size = 0
        for change in reversed(self._changes):
            size += len(change.value)
            if kept == self._limit or (kept and size > self._most_bytes):
                break
            kept += 1
        if kept < len(self._changes):
            self.compact(self._changes[-kept - 1].revision)

    def compact(self, revision: int) -> None:
        self._changes = self._changes[self._after(revision) :]
        self._bytes = _size(self._changes)
        self.compacted = max(self.compacted, revision)

    def _after(self, revision: int) -> int:
        return bisect_right(self._changes, revision, key=lambda c: c.revision)

    def since(self, revision: int) -> list[Change]:
        """Raises Compacted."""
        if revision < self.compacted:
            raise Compacted(self.compacted)
        return self._changes[self._after(revision) :]

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Sequence[Change]]:
        watcher = _Watcher(prefix, after)
        watcher.changes = [c for c in self.since(after) if c.key.startswith(prefix)]
        if watcher.changes or self._closed:
            watcher.wake.set()
        self._watchers.add(watcher)
        try:
            while True:
                await watcher.wake.wait()
                watcher.wake.clear()
                if watcher.cut:
                    raise Compacted(self.compacted)
                batch, watcher.changes = watcher.changes, []
                if batch:
                    yield batch
                if self._closed:
                    return
        finally:
            self._watchers.discard(watcher)

    def close(self) -> None:
        self._closed = True
        for watcher in self._watchers:
            watcher.wake.set()
