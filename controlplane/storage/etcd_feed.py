"""One watch of the store's whole content, resumed wherever it breaks.

It always covers the root, never a part: a deletion's position is its rank among the events of its etcd revision. It begins
one etcd revision before the one it resumes in: etcd refuses that exactly if the latter may have lost events to compaction.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc
import grpc.aio
from aetcd import rpc

from controlplane.storage.errors import Compacted
from controlplane.storage.etcd_batch import LAST_POSITION, POSITION_BITS, entry_of, public, text_of
from controlplane.storage.etcd_link import Link
from controlplane.storage.interface import Change
from kubeapi.tasks import Backoff

log = logging.getLogger(__name__)

RECONNECT = Backoff(first=0.05, most=1.0)


class Feed:
    newest: int
    """Public revision of the newest change handed out, or where the watch began."""
    passed: int
    """etcd revision up to which everything has been handed out; what is not ours counts too."""

    def __init__(self, link: Link, root: str, marker: str, after: int, *, previous: bool = True) -> None:
        self._link, self._root, self._marker, self._previous = link, root, marker, previous
        self._resume = self.newest = after
        self.passed = max(0, self._start())
        self.moved = asyncio.Event()
        """Set, and replaced, whenever `passed` grows."""
        self._call: Any = None
        self._used = link.current
        self._begun = 0.0

    def renew(self, since: float) -> None:
        """For who knows that it should have shown something since that moment (of the loop's time): a watch can go deaf, its
        call and its member alive. It goes on where it is, on the next member. One that began later has its time still: many
        readers find out, one after the other."""
        if self._begun > since:
            return
        log.warning("the watch of etcd shows nothing, though there is something; beginning it anew")
        self._link.turn(self._used)
        if self._call is not None:
            self._call.cancel()

    async def changes(self) -> AsyncGenerator[list[Change], None]:
        """Ends when the store is closed. Raises Compacted."""
        failures = 0
        while not self._link.closed:
            used = self._used = self._link.current
            call = self._call = self._link.watch()
            self._begun = asyncio.get_running_loop().time()
            try:
                await _send(call, rpc.WatchRequest(create_request=self._request()))
                counter = _Positions(self._root, self._start(), self._previous)
                async for response in _responses(call):
                    failures = 0
                    if response.canceled:
                        if response.compact_revision:
                            raise Compacted(public(response.compact_revision, LAST_POSITION))
                        log.warning("etcd ended the watch (%s); resuming it", response.cancel_reason)
                        break
                    found = [c for e in response.events if (c := counter.change(e)) and c.revision > self._resume]
                    mine = [c for c in found if c.key != self._marker]
                    self._advance(response, mine)
                    if mine:
                        yield mine
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                if self._link.closed:
                    return  # gRPC says so of the calls of a closed channel; nobody has cancelled us
                if used != self._link.current:
                    log.info("the watch of etcd moves to another member")
                    continue
                log.warning("the watch of etcd was cancelled; resuming it")
            except grpc.aio.AioRpcError as error:
                log.warning("the watch of etcd broke (%s); resuming it", error.details())
                self._link.turn(used)
            finally:
                call.cancel()
            await asyncio.sleep(RECONNECT.delay(failures, None))
            failures += 1

    def _start(self) -> int:
        """After a last position the next etcd revision is the one to resume in; so one before it is that very one."""
        return ((self._resume + 1) >> POSITION_BITS) - 1

    def _request(self) -> Any:
        start = max(1, self._start())
        key = f"{self._root}/".encode()
        return rpc.WatchCreateRequest(
            key=key,
            range_end=prefix_end(key),
            start_revision=start,
            prev_kv=self._previous,
            progress_notify=True,
        )

    def _advance(self, response: Any, mine: list[Change]) -> None:
        if mine:
            self.newest = mine[-1].revision
        if response.events:  # all of an etcd revision, and of those before it
            self._pass(response.events[-1].kv.mod_revision)
        elif not response.created:  # a progress notification of this watch: etcd sends it behind all events up to then
            self._pass(response.header.revision)
        self.moved.set()
        self.moved = asyncio.Event()

    def _pass(self, etcd_revision: int) -> None:
        self.passed = max(self.passed, etcd_revision)
        self._resume = max(self._resume, public(self.passed, LAST_POSITION))


class _Positions:
    """Counts the deletions of each etcd revision. Events come in the order of the batch."""

    def __init__(self, root: str, needed: int, previous: bool) -> None:
        """`previous`: the events tell what was there before; else nobody needs it."""
        self._root, self._needed, self._revision, self._deleted, self._previous = root, needed, 0, 0, previous

    def change(self, event: Any) -> Change | None:
        """None: nothing of ours. Raises Compacted where the value before is no longer known."""
        kv = event.kv
        if kv.mod_revision != self._revision:
            self._revision, self._deleted = kv.mod_revision, 0
        entry = entry_of(kv, self._root) if event.type == rpc.Event.PUT else None
        if not self._previous:
            if entry is not None:
                return Change("put", entry.key, entry.value, entry.revision)
            key = text_of(kv.key)
            if key is None:
                return None
            return Change("delete", key[len(self._root) :], b"", self._next_deletion(kv))
        known = event.HasField("prev_kv")
        if not known and (event.type == rpc.Event.DELETE or kv.version > 1) and kv.mod_revision > self._needed:
            raise Compacted(public(kv.mod_revision, LAST_POSITION))
        held = entry_of(event.prev_kv, self._root) if known else None
        if entry is not None:
            return Change("put", entry.key, entry.value, entry.revision, held.value if held is not None else None)
        if text_of(kv.key) is None:
            return None
        revision = self._next_deletion(kv)
        if held is None:
            return None
        return Change("delete", held.key, held.value, revision, held.value)

    def _next_deletion(self, kv: Any) -> int:
        position, self._deleted = min(self._deleted, LAST_POSITION), self._deleted + 1
        return public(kv.mod_revision, position)


async def _send(call: Any, request: Any) -> None:
    """A call's first message. Raises CancelledError if it is cancelled: gRPC forgets to wake a writer whose call is cancelled
    before it is connected (grpc.aio 1.85: cancel() ends the task that would have let it write)."""
    writing = asyncio.ensure_future(call.write(request))
    ended = asyncio.Event()
    call.add_done_callback(lambda _: ended.set())
    ending = asyncio.ensure_future(ended.wait())
    try:
        await asyncio.wait((writing, ending), return_when=asyncio.FIRST_COMPLETED)
        if not writing.done() and call.cancelled():
            raise asyncio.CancelledError
        await writing
    finally:
        ending.cancel()
        writing.cancel()


async def _responses(call: Any) -> AsyncIterator[Any]:
    while (response := await call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
        yield response


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all that begin so. Our keys are UTF-8: no byte of theirs is 0xff."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))
