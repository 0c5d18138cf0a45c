"""The embedded store: everything in memory, durable when it is given a path.

    create/update/delete ──► waiting ──(committer takes all that wait)──► decide in order ──► journal ──► memory ──► watchers
                                                                              └─ one future per write resolves ─┘

Group commit: writes that arrive while a transaction is being synced wait together and share the next one, so the cost of
an fsync is paid once for all of them. A write is decided (compare-and-swap) against memory and the writes before it in its
batch; it is visible to readers and watchers only once it is durable. Without a path there is no journal, and a write is
done before its coroutine first waits.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left, insort
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from msgspec import Struct

from controlplane.storage.errors import (
    FutureRevision,
    KeyExists,
    KeyMissing,
    RevisionConflict,
    StoreError,
    StoreUnavailable,
)
from controlplane.storage.history import History
from controlplane.storage.interface import Change, Entry, Latest, Measure, Page, Recent, Size, Unmeasured
from controlplane.storage.journal import Journal

HISTORY_LIMIT = 20_000
"""Changes kept for watches that resume and for lists that go on in chunks."""
HISTORY_BYTES = 16 << 20
"""Of their values: some 5 000 changes of pods. What its watchers need the API server's cache keeps decoded."""
LARGEST_BATCH = 2_000

log = logging.getLogger(__name__)


class _Write(Struct, eq=False):
    verb: Literal["create", "update", "delete"]
    key: str
    value: bytes
    at: int
    done: asyncio.Future[int] | None


class EmbeddedStore:
    _keys: list[str]  # sorted; exactly the keys of _entries
    _entries: dict[str, Entry]
    _revision: int  # of the newest durable write; never goes back, not across restarts either

    def __init__(self, path: Path | None = None, *, history_limit: int = HISTORY_LIMIT) -> None:
        self._journal = Journal(path) if path is not None else None
        saved = self._journal.load() if self._journal else None
        self._entries = {entry.key: entry for entry in saved.entries} if saved else {}
        self._keys = sorted(self._entries)
        self._revision = saved.revision if saved else 0
        self._history = History(
            limit=history_limit,
            most_bytes=HISTORY_BYTES,
            compacted=saved.compacted if saved else 0,
            changes=saved.changes if saved else (),
        )
        self._waiting: list[_Write] = []
        self._committer: asyncio.Task[None] | None = None
        self._closed = False
        self.measure: Measure = Unmeasured()

    # ------------------------------------------------------------------ reads

    async def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    async def range(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Page:
        if revision > self._revision:
            raise FutureRevision(f"revision {revision} has not happened; the newest is {self._revision}")
        if 0 < revision < self._revision and self._history.since(revision):
            entries = self._past(prefix, start, revision)
        else:
            first = bisect_left(self._keys, max(prefix, start))
            stop = first + limit + 1 if limit else len(self._keys)
            entries = []
            for key in self._keys[first:stop]:
                if not key.startswith(prefix):
                    break
                entries.append(self._entries[key])
        more = bool(limit) and len(entries) > limit
        return Page(entries[:limit] if more else entries, revision or self._revision, more)

    def _past(self, prefix: str, start: str, revision: int) -> list[Entry]:
        """The state at a past revision, by undoing what came since. Raises Compacted.

        A previous value's own revision is not kept, so an entry undone carries a revision found in the history,
        or else the history's beginning: never newer than the asked-for one.
        """
        state = {key: entry for key, entry in self._entries.items() if key.startswith(prefix)}
        undone = [c for c in self._history.since(revision) if c.key.startswith(prefix)]
        earlier = {
            c.key: c.revision
            for c in self._history.since(self._history.compacted)
            if c.revision <= revision and c.key.startswith(prefix)
        }
        for change in reversed(undone):
            if change.previous is None:
                state.pop(change.key, None)
            else:
                before = earlier.get(change.key, max(1, self._history.compacted))
                state[change.key] = Entry(change.key, change.previous, before)
        return [state[key] for key in sorted(state) if key >= start]

    async def revision(self) -> int:
        return self._revision

    async def latest(self) -> Latest:
        return Latest(self._revision, self._revision)

    def watch(self, prefix: str, *, after: int, previous: bool = True) -> AsyncIterator[Sequence[Change]]:
        return self._history.watch(prefix, after=after)

    async def recent(self, prefix: str, *, upto: int, most: int) -> Recent:
        known = [c for c in self._history.since(self._history.compacted) if c.revision <= upto]
        after = known[-most - 1].revision if len(known) > most else self._history.compacted
        return Recent(after, [c for c in known[-most:] if c.key.startswith(prefix)])

    # ------------------------------------------------------------------ writes

    def create(self, key: str, value: bytes) -> Coroutine[Any, Any, int]:
        return self._submit("create", key, value, 0)

    def update(self, key: str, value: bytes, *, at: int) -> Coroutine[Any, Any, int]:
        return self._submit("update", key, value, at)

    def delete(self, key: str, *, at: int) -> Coroutine[Any, Any, int]:
        return self._submit("delete", key, b"", at)

    async def _submit(self, verb: Literal["create", "update", "delete"], key: str, value: bytes, at: int) -> int:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if self._journal is None:
            change = self._decide(_Write(verb, key, value, at, None), {}, self._revision + 1)
            self._apply([change])
            return change.revision
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Write(verb, key, value, at, done))
        if self._committer is None or self._committer.done():
            self._committer = asyncio.create_task(self._commit_waiting(), name="store-committer")
        return await done

    def _decide(self, write: _Write, pending: dict[str, Change], revision: int) -> Change:
        """The change that a write makes, after the changes of its batch before it. Raises StoreError."""
        before = pending.get(write.key)
        entry = self._entries.get(write.key)
        if before is not None:
            entry = Entry(write.key, before.value, before.revision) if before.type == "put" else None
        if write.verb == "create":
            if entry is not None:
                raise KeyExists(write.key)
            return Change("put", write.key, write.value, revision, None)
        if entry is None:
            raise KeyMissing(write.key)
        if entry.revision != write.at:
            raise RevisionConflict(entry.revision)
        if write.verb == "update":
            return Change("put", write.key, write.value, revision, entry.value)
        return Change("delete", write.key, entry.value, revision, entry.value)

    async def _commit_waiting(self) -> None:
        """Takes batch after batch until nothing waits. One runs at a time."""
        assert self._journal is not None
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting[:LARGEST_BATCH], self._waiting[LARGEST_BATCH:]
            pending: dict[str, Change] = {}
            decided: list[tuple[_Write, Change]] = []
            refused: list[tuple[_Write, StoreError]] = []
            for write in batch:
                try:
                    change = self._decide(write, pending, self._revision + len(decided) + 1)
                except StoreError as error:
                    if write.key in pending:  # told only when what refused it is durable, and no reader sees less
                        refused.append((write, error))
                    else:
                        _fail(write, error)
                else:
                    pending[write.key] = change
                    decided.append((write, change))
            changes = [change for _, change in decided]
            if not changes:
                continue
            begun = perf_counter()
            try:
                await loop.run_in_executor(self._journal.thread, self._journal.write, changes, self._history.compacted)
            except StoreError as error:
                log.error("a batch of %d writes was refused: %s", len(changes), error)
                for write, _ in (*decided, *refused):
                    _fail(write, error)
                continue
            except Exception as error:  # nobody may wait for ever, whatever broke
                log.exception("a batch of %d writes failed", len(changes))
                for write, _ in (*decided, *refused):
                    _fail(write, StoreUnavailable(f"the journal failed: {error!r}"))
                continue
            self.measure.batch(len(changes), perf_counter() - begun)
            self._apply(changes)
            for write, change in decided:
                if write.done is not None and not write.done.done():
                    write.done.set_result(change.revision)
            for write, refusal in refused:
                _fail(write, refusal)

    def _apply(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.type == "put":
                if change.key not in self._entries:
                    insort(self._keys, change.key)
                self._entries[change.key] = Entry(change.key, change.value, change.revision)
            else:
                del self._entries[change.key]
                del self._keys[bisect_left(self._keys, change.key)]
        self._revision = changes[-1].revision
        self._history.append(changes)

    async def size(self) -> Size | None:
        if self._journal is None:
            return None
        return Size("sqlite", await asyncio.to_thread(self._journal.size))

    async def compact(self, revision: int) -> None:
        if revision > self._revision:
            raise FutureRevision(f"revision {revision} has not happened")
        self._history.compact(revision)
        if self._journal is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._journal.thread, self._journal.write, [], self._history.compacted)

    async def close(self) -> None:
        """What was acknowledged is kept; what still waits is written first."""
        if self._closed:
            return
        self._closed = True
        if self._committer is not None:
            await self._committer
        self._history.close()
        if self._journal is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._journal.close)


def _fail(write: _Write, error: StoreError) -> None:
    if write.done is not None and not write.done.done():
        write.done.set_exception(error)
