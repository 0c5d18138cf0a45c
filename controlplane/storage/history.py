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

    def __init__(self, *, limit: int, compacted: int = 0, changes: Sequence[Change] = ()) -> None:
        self._limit = limit
        self._changes = list(changes)
        self.compacted = compacted
        self._watchers: set[_Watcher] = set()
        self._closed = False

    def append(self, batch: Sequence[Change]) -> None:
        self._changes.extend(batch)
        if len(self._changes) > self._limit + self._limit // 4:
            self.compact(self._changes[-self._limit - 1].revision)
        for watcher in self._watchers:
            if watcher.cut:
                continue
            mine = [c for c in batch if c.revision > watcher.after and c.key.startswith(watcher.prefix)]
            if mine:
                watcher.changes += mine
                if len(watcher.changes) > MOST_PENDING:
                    watcher.cut, watcher.changes = True, []
                watcher.wake.set()

    def compact(self, revision: int) -> None:
        self._changes = self._changes[self._after(revision) :]
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
