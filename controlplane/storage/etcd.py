"""The etcd store: many API servers, one history. Keys begin with a slash and stand under a root. See etcd_batch for revisions, etcd_feed for watches.

    create/update/delete ──► waiting ──► one Txn for all that wait ──► one future per write resolves
    revision()           ──► one linearizable read shared by all who asked before it was sent ──► until the watch is there

A Txn is sent when none is under way, or when a full batch waits; so batches grow as etcd slows down.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import aclosing
from time import perf_counter
from typing import Any, Literal

from aetcd import rpc

from controlplane.storage.errors import (
    Compacted,
    FutureRevision,
    OutcomeUnknown,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from controlplane.storage.etcd_batch import (
    LAST_POSITION,
    MARKER,
    MOST_WRITES,
    POSITION_BITS,
    Write,
    all_passed,
    entry_of,
    marker,
    outcomes,
    public,
    take,
    together,
    transaction,
)
from controlplane.storage.etcd_feed import Feed, prefix_end
from controlplane.storage.etcd_link import EtcdTls, Link
from controlplane.storage.interface import Change, Entry, Latest, Measure, Page, Recent, Size, Unmeasured
from controlplane.storage.turns import Turns

MOST_IN_FLIGHT = 4
WARY = 16
"""Batches after a refused write whose writes each go for themselves: refusals come in company, and cost a second try."""
COMPACT_EVERY = 300.0
"""Seconds; also how much history is kept."""
NUDGE_AFTER = 0.1
"""Seconds. etcd moved on but our watch shows nothing: the newest write was not ours. We write the marker; once it is
seen, so is all before it. (etcd before 3.4.25 may answer a progress request ahead of events still under way.)"""
CATCH_UP = 3.0
MOST_RECALLED = 1_000
"""etcd revisions that recent() looks back: etcd sends that many in one message, however large."""

log = logging.getLogger(__name__)


class EtcdStore:
    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        root: str = "/sampan",
        tls: EtcdTls | None = None,
        compact_every: float = COMPACT_EVERY,
    ) -> None:
        self._endpoints, self._root, self._tls, self._compact_every = endpoints, root, tls, compact_every
        self.measure: Measure = Unmeasured()
        self._link_: Link | None = None
        self._waiting: list[Write] = []
        self._in_flight = 0
        self._wary = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._compactor: asyncio.Task[None] | None = None
        self._feeds: list[Feed] = []
        self._latest = Turns(self._etcd_revision, self._caught_up, spawn=self._spawn)
        self._closed = False

    def _link(self) -> Link:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if self._link_ is None:
            self._link_ = Link(self._endpoints, self._tls, probe=marker(self._root))
            if self._compact_every:
                self._compactor = asyncio.create_task(self._compact_for_ever(), name="etcd-compactor")
        return self._link_

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name="etcd-store")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, StoreError):
            log.error("a task of the store failed", exc_info=error)

    # ------------------------------------------------------------------ reads

    async def get(self, key: str) -> Entry | None:
        answer = await self._link().call("Range", rpc.RangeRequest(key=(self._root + key).encode()))
        return entry_of(answer.kvs[0], self._root) if answer.kvs else None

    async def range(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Page:
        if revision and revision & LAST_POSITION != LAST_POSITION:
            return await self._inside_a_batch(prefix, start, limit, revision)
        return await self._range(prefix, start, limit, revision >> POSITION_BITS)

    async def _range(self, prefix: str, start: str, limit: int, etcd_revision: int) -> Page:
        request = rpc.RangeRequest(
            key=(self._root + max(prefix, start)).encode(),
            range_end=prefix_end((self._root + prefix).encode()),
            limit=limit,
            revision=etcd_revision,
        )
        try:
            answer = await self._link().call("Range", request)
        except Compacted:
            raise Compacted(public(etcd_revision, LAST_POSITION)) from None
        entries = [e for kv in answer.kvs if (e := entry_of(kv, self._root)) is not None and e.key != MARKER]
        return Page(entries, public(etcd_revision or answer.header.revision, LAST_POSITION), answer.more)

    async def _inside_a_batch(self, prefix: str, start: str, limit: int, revision: int) -> Page:
        """The state before the batch, and its writes up to the asked-for one."""
        main = revision >> POSITION_BITS
        if main > await self._etcd_revision():
            raise FutureRevision(f"revision {revision} has not happened")
        before = await self._range(prefix, "", 0, main - 1)
        state = {entry.key: entry for entry in before.entries}
        try:
            async with asyncio.timeout(CATCH_UP), aclosing(self._follow(prefix, before.revision)) as batches:
                async for batch in batches:
                    for change in (c for c in batch if c.revision <= revision):
                        if change.type == "put":
                            state[change.key] = Entry(change.key, change.value, change.revision)
                        else:
                            state.pop(change.key, None)
                    break
        except TimeoutError:  # nothing of ours is newer than the state before
            pass
        entries = [state[key] for key in sorted(state) if key >= start]
        more = bool(limit) and len(entries) > limit
        return Page(entries[:limit] if more else entries, revision, more)

    async def revision(self) -> int:
        return (await self.latest()).change

    async def latest(self) -> Latest:
        return await self._latest.ask()

    async def _caught_up(self, newest: int) -> Latest:
        if not self._feeds:
            return Latest(public(newest, LAST_POSITION), public(newest, LAST_POSITION))
        feed = max(self._feeds, key=lambda f: f.passed)
        passed, begun = feed.passed, asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(CATCH_UP):
                await self._until(feed, newest)
        except TimeoutError:
            if feed.passed == passed:  # not even the marker that we wrote
                feed.renew(begun)
            raise StoreUnavailable("the watch of etcd does not catch up") from None
        return Latest(feed.newest, public(feed.passed, LAST_POSITION))

    async def _until(self, feed: Feed, newest: int) -> None:
        """Until the feed has shown what there is at that etcd revision."""
        nudged = False
        while (passed := feed.passed) < newest:
            moved = feed.moved
            try:
                async with asyncio.timeout(None if nudged else NUDGE_AFTER):
                    await moved.wait()
            except TimeoutError:
                try:
                    await self._link().call("Put", marker(self._root))
                    nudged = True
                except StoreFull:
                    if await self._same(passed, newest):
                        return

    async def _same(self, before: int, after: int) -> bool:
        """Whether our objects are the same at both etcd revisions: of none a newer write is left, and there are as many."""
        key = f"{self._root}/".encode()
        ours = {"key": key, "range_end": prefix_end(key)}
        counted = rpc.RangeRequest(**ours, revision=max(1, before), count_only=True)
        newer = rpc.RangeRequest(**ours, revision=after, min_mod_revision=before + 1, limit=1, keys_only=True)
        reads = [rpc.RequestOp(request_range=one) for one in (counted, newer)]
        try:
            answer = await self._link().call("Txn", rpc.TxnRequest(success=reads))
        except Compacted:
            return False
        then, now = (one.response_range for one in answer.responses)
        return not now.kvs and now.count == then.count

    async def _etcd_revision(self) -> int:
        """A linearizable read."""
        begun = perf_counter()
        answer = await self._link().call("Range", rpc.RangeRequest(key=self._root.encode(), count_only=True))
        self.measure.revision_read(perf_counter() - begun)
        return int(answer.header.revision)

    async def watch(self, prefix: str, *, after: int, previous: bool = True) -> AsyncIterator[Sequence[Change]]:
        async with aclosing(self._follow(prefix, after, previous)) as batches:
            async for batch in batches:
                yield batch

    async def _follow(self, prefix: str, after: int, previous: bool = True) -> AsyncGenerator[list[Change], None]:
        feed = Feed(self._link(), self._root, MARKER, after, previous=previous)
        self._feeds.append(feed)
        try:
            async with aclosing(feed.changes()) as batches:
                async for batch in batches:
                    if mine := [c for c in batch if c.key.startswith(prefix)]:
                        yield mine
        finally:
            self._feeds.remove(feed)

    async def recent(self, prefix: str, *, upto: int, most: int) -> Recent:
        main = upto >> POSITION_BITS
        after = public(max(0, main - MOST_RECALLED), LAST_POSITION)
        for _ in range(2):
            try:
                return await self._recall(Feed(self._link(), self._root, MARKER, after), prefix, upto, most)
            except Compacted as error:
                after = error.oldest
                if after >= upto:
                    break
        return Recent(upto, [])

    async def _recall(self, feed: Feed, prefix: str, upto: int, most: int) -> Recent:
        """A watch of the past, up to a marker that we write: else it could end with a revision that shows no event."""
        found: deque[Change] = deque(maxlen=most + 1)
        after = feed.newest

        async def read() -> None:
            async with aclosing(feed.changes()) as batches:
                async for batch in batches:
                    found.extend(c for c in batch if c.revision <= upto)

        reading = asyncio.create_task(read(), name="etcd-recall")
        try:
            end = (await self._link().call("Put", marker(self._root))).header.revision
            async with asyncio.timeout(CATCH_UP):
                while feed.passed < end and not reading.done():
                    moved = asyncio.ensure_future(feed.moved.wait())
                    await asyncio.wait([reading, moved], return_when=asyncio.FIRST_COMPLETED)
                    moved.cancel()
        except TimeoutError:
            raise StoreUnavailable("etcd does not show its history in time") from None
        finally:
            reading.cancel()
            await asyncio.wait([reading])
        if not reading.cancelled() and (error := reading.exception()) is not None:
            raise error
        if len(found) > most:
            after = found.popleft().revision
        return Recent(after, [c for c in found if c.key.startswith(prefix)])

    # ------------------------------------------------------------------ writes

    def create(self, key: str, value: bytes) -> Coroutine[Any, Any, int]:
        return self._submit("create", key, value, 0)

    def update(self, key: str, value: bytes, *, at: int) -> Coroutine[Any, Any, int]:
        return self._submit("update", key, value, at)

    def delete(self, key: str, *, at: int) -> Coroutine[Any, Any, int]:
        return self._submit("delete", key, b"", at)

    async def _submit(self, verb: Literal["create", "update", "delete"], key: str, value: bytes, at: int) -> int:
        self._link()
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(Write(verb, key, value, at, done))
        if self._in_flight == 0 or (self._in_flight < MOST_IN_FLIGHT and len(self._waiting) >= MOST_WRITES):
            self._in_flight += 1
            self._spawn(self._send_waiting())
        return await done

    async def _send_waiting(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = take(self._waiting)
                if batch:
                    await self._send(batch)
        finally:
            self._in_flight -= 1

    async def _send(self, batch: list[Write]) -> None:
        """Every write of the batch gets an answer, whatever happens."""
        results: Sequence[int | BaseException]
        try:
            results = await self._transact(batch)
        except StoreFull as error:
            if await self._took_place(batch):
                text = "etcd raised its NOSPACE alarm over this very write, which may have taken place"
                _settle(batch, [OutcomeUnknown(text)] * len(batch))
                return
            deletes = [write for write in batch if write.verb == "delete"]
            _settle(batch[len(deletes) :], [error] * (len(batch) - len(deletes)))
            if len(deletes) < len(batch):  # they make room, and were refused only for their neighbours
                if deletes:
                    await self._send(deletes)
                return
            results = [error] * len(batch)
        except StoreError as error:
            results = [error] * len(batch)
        except Exception as error:  # nobody may wait for ever, whatever broke
            log.exception("a batch of %d writes failed", len(batch))
            results = [OutcomeUnknown(f"the write failed: {error!r}")] * len(batch)
        _settle(batch, results)

    async def _took_place(self, batch: list[Write]) -> bool:
        """Whether anything says so. etcd carries out the write that passes its quota, and answers that there is no room."""
        assert self._link_ is not None
        puts = [(position, write) for position, write in enumerate(batch) if write.verb != "delete"]
        looks = [
            rpc.RequestOp(request_range=rpc.RangeRequest(key=(self._root + write.key).encode())) for _, write in puts
        ]
        try:
            answer = await self._link_.call("Txn", rpc.TxnRequest(success=looks))
        except StoreError:
            return True
        for (position, write), found in zip(puts, answer.responses, strict=True):
            held = entry_of(found.response_range.kvs[0], self._root) if found.response_range.kvs else None
            if held is None or held.value != write.value or held.revision & LAST_POSITION != position:
                continue
            if write.verb == "create" or held.revision != write.at:
                return True
        return False

    async def _transact(self, batch: list[Write]) -> Sequence[int | StoreError]:
        """All together, if that may be; each for itself where one of them was refused a moment ago."""
        assert self._link_ is not None
        begun = perf_counter()
        self._wary = max(0, self._wary - 1)
        if len(batch) > 1 and not self._wary and (whole := together(batch, self._root)) is not None:
            answer = await self._link_.call("Txn", whole, writes=True)
            if answer.succeeded:
                self.measure.batch(len(batch), perf_counter() - begun)
                return all_passed(batch, answer)
            self._wary = WARY
        answer = await self._link_.call("Txn", transaction(batch, self._root), writes=True)
        self.measure.batch(len(batch), perf_counter() - begun)
        return outcomes(batch, answer, self._root)

    # ------------------------------------------------------------------ history

    async def size(self) -> Size | None:
        return Size("etcd", await self._link().size())

    async def compact(self, revision: int) -> None:
        """Forgets what is older than the etcd revision of `revision`; of that one, everything is kept."""
        main = revision >> POSITION_BITS
        if main > await self._etcd_revision():
            raise FutureRevision(f"revision {revision} has not happened")
        await self._compact(main - 1)

    async def _compact(self, etcd_revision: int) -> None:
        if etcd_revision < 1:
            return
        try:
            await self._link().call("Compact", rpc.CompactionRequest(revision=etcd_revision))
        except Compacted:
            log.debug("another server has compacted further than %d", etcd_revision)

    async def _compact_for_ever(self) -> None:
        """Each server forgets what it knows to be older than the interval; so any number of them is safe together."""
        seen = 0
        while True:
            try:
                now = await self._etcd_revision()
                if seen:
                    await self._compact(seen - 1)
                seen = now
            except StoreError as error:
                log.warning("etcd cannot be compacted now (%s); later", error)
            await asyncio.sleep(self._compact_every)

    async def close(self) -> None:
        """What waits is written first."""
        if self._closed:
            return
        self._closed = True
        if self._compactor is not None:
            self._compactor.cancel()
            await asyncio.wait([self._compactor])
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._link_ is not None:
            await self._link_.close()


def _settle(batch: Sequence[Write], results: Sequence[int | BaseException]) -> None:
    for write, result in zip(batch, results, strict=True):
        if write.done.done():
            continue
        if isinstance(result, BaseException):
            write.done.set_exception(result)
        else:
            write.done.set_result(result)
