"""The connection to etcd: one channel per endpoint, the next one when one fails, and etcd's errors in our own words.

    call ──► the member in use ──► answer
               │ silent for PATIENCE
               └──► all members are asked something of the same kind ──► only another one answers: we move there, with
                                                                         reads and watches; of writes the outcome is unknown

A member that stands still, or that the network has parted from us or from its peers, keeps its connections and answers
nothing. A slow disk makes all members silent alike, and then we wait: what is asked is a write where a write hangs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from aetcd import rpc
from aetcd.rpc import rpc_pb2_grpc

from controlplane.storage.errors import (
    Compacted,
    FutureRevision,
    OutcomeUnknown,
    StoreError,
    StoreFull,
    StoreUnavailable,
    ValueTooLarge,
)

ANSWER_WITHIN = 10.0
"""Seconds. etcd itself gives up a proposal after some seven."""
PATIENCE = 1.0
"""Seconds of silence after which the other members are asked."""
LOOK_EVERY = 0.2
PROBE_WITHIN = 0.7
GRACE = 0.3
"""Seconds between the first member's answer to a probe and our judgement: for the others, and for what is on its way."""
NEVER_SENT = "failed to connect to all addresses"
OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EtcdTls:
    ca: bytes
    cert: bytes | None = None
    key: bytes | None = None


class _Pending:
    """A call without an answer so far."""

    __slots__ = ("begun", "call", "given_up", "member", "writes")

    def __init__(self, call: Any, member: int, begun: float, writes: bool) -> None:
        self.call, self.member, self.begun, self.writes = call, member, begun, writes
        self.given_up = False

    def give_up(self) -> None:
        self.given_up = True
        self.call.cancel()


class Link:
    """Made inside the running loop, as grpc.aio wants it."""

    current: int
    """Grows with each turn; the member in use is its remainder."""
    _pending: dict[_Pending, None]  # the oldest first

    def __init__(self, endpoints: Sequence[str], tls: EtcdTls | None, *, probe: Any) -> None:
        """`probe` is a PutRequest that changes nothing anybody looks at."""
        self._endpoints, self._probe = list(endpoints), probe
        self._channels = [_channel(endpoint, tls) for endpoint in endpoints]
        self._stubs = [rpc_pb2_grpc.KVStub(channel) for channel in self._channels]
        self.current = 0
        self.closed = False
        self._pending = {}
        self._watches: set[Any] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None

    @property
    def _member(self) -> int:
        return self.current % len(self._channels)

    async def call(self, method: str, request: Any, *, writes: bool = False) -> Any:
        """A unary call of the KV service. Raises StoreError; OutcomeUnknown only where `writes`.

        Begun anew on another member is only what changes nothing, or was never sent.
        """
        loop = asyncio.get_running_loop()
        deadline, failures = loop.time() + ANSWER_WITHIN, 0
        while True:
            used, begun = self.current, loop.time()
            call = getattr(self._stubs[self._member], method)(request, timeout=max(0.0, deadline - begun))
            pending = _Pending(call, self._member, begun, writes)
            self._pending[pending] = None
            if self._timer is None:
                self._timer = loop.call_later(LOOK_EVERY, self._look)
            try:
                return await call
            except grpc.aio.AioRpcError as error:
                found, away = error_of(error, writes=writes), error.code() == grpc.StatusCode.UNAVAILABLE
                if away or error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                    self.turn(used)
                failures += 1
                unsent = not isinstance(found, OutcomeUnknown)
                if not (away and unsent and failures < len(self._channels)) or self.closed:
                    raise found from error
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not pending.given_up or (task is not None and task.cancelling()):
                    raise
                if writes:
                    raise OutcomeUnknown(
                        f"etcd at {self._endpoints[pending.member]} did not confirm the write, which may have taken place"
                    ) from None
            finally:
                del self._pending[pending]

    async def size(self) -> int:
        """Bytes of the database of the member in use. No other is asked, and nothing waits for it. Raises StoreError."""
        stub = rpc_pb2_grpc.MaintenanceStub(self._channels[self._member])
        try:
            return int((await stub.Status(rpc.StatusRequest(), timeout=PATIENCE)).dbSize)
        except grpc.aio.AioRpcError as error:
            raise error_of(error, writes=False) from error

    def watch(self) -> Any:
        """etcd ends it when its member loses its leader; else a member that was cut off would keep it, and be silent.
        Cancelled when the link turns to another member."""
        stub = rpc_pb2_grpc.WatchStub(self._channels[self._member])
        call = stub.Watch(metadata=(("hasleader", "true"),))
        self._watches.add(call)
        call.add_done_callback(self._watches.discard)
        return call

    def turn(self, used: int | None = None) -> None:
        """To the next endpoint; once for many calls that failed on the same one."""
        if used is None or used == self.current:
            self._turn_to(self.current + 1)

    def _turn_to(self, current: int) -> None:
        self.current = current
        if len(self._channels) > 1:
            for call in list(self._watches):
                call.cancel()

    # ------------------------------------------------------------------ silence

    def _look(self) -> None:
        """Runs while anything is pending."""
        self._timer = None
        if not self._pending or self.closed:
            return
        loop = asyncio.get_running_loop()
        late = [p for p in self._pending if loop.time() - p.begun >= PATIENCE]
        if late and (self._looking is None or self._looking.done()):
            writes = any(p.writes for p in late)
            self._looking = asyncio.create_task(self._ask_all(writes), name="etcd-probe")
        self._timer = loop.call_later(LOOK_EVERY, self._look)

    async def _ask_all(self, writes: bool) -> None:
        """Who answers? Of a later write that was confirmed we also know that an earlier one was lost on its way."""
        used, begun = self.current, asyncio.get_running_loop().time()
        asked = {asyncio.create_task(self._ask(i, writes)): i for i in range(len(self._channels))}
        answered: set[int] = set()
        waiting: set[asyncio.Task[bool]] = set(asked)
        try:
            while waiting and not answered:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                answered |= {asked[task] for task in done if task.result()}
            if not answered:
                return
            await asyncio.sleep(GRACE)
            answered |= {asked[task] for task in waiting if task.done() and task.result()}
        finally:
            for task in asked:
                task.cancel()
        if used == self.current and self._member not in answered:
            step = min((i - self._member) % len(self._channels) for i in answered)
            log.warning(
                "etcd at %s does not answer, %s does: moving there",
                self._endpoints[self._member],
                self._endpoints[(self._member + step) % len(self._channels)],
            )
            self._turn_to(self.current + step)
        for pending in list(self._pending):
            silent = pending.member not in answered and pending.member != self._member
            lost = writes and pending.writes and pending.begun + PATIENCE <= begun
            if silent or lost:
                pending.give_up()

    async def _ask(self, member: int, writes: bool) -> bool:
        stub = self._stubs[member]
        try:
            if writes:
                await stub.Put(self._probe, timeout=PROBE_WITHIN)
            else:
                await stub.Range(rpc.RangeRequest(key=self._probe.key, count_only=True), timeout=PROBE_WITHIN)
        except grpc.aio.AioRpcError as error:
            return "space exceeded" in (error.details() or "")  # it is its members' common answer
        return True

    async def close(self) -> None:
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        for channel in self._channels:
            await channel.close(None)


def _channel(endpoint: str, tls: EtcdTls | None) -> grpc.aio.Channel:
    if tls is None:
        return grpc.aio.insecure_channel(endpoint, options=OPTIONS)
    credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.cert)
    return grpc.aio.secure_channel(endpoint, credentials, options=OPTIONS)


def error_of(error: grpc.aio.AioRpcError, *, writes: bool) -> StoreError:
    code, text = error.code(), error.details() or error.code().name
    if "space exceeded" in text:
        return StoreFull(f"etcd has raised its NOSPACE alarm: compact, defragment, then disarm it ({text})")
    if "has been compacted" in text:
        return Compacted(0)
    if "future revision" in text:
        return FutureRevision(text)
    if "request is too large" in text or "message larger than max" in text:
        return ValueTooLarge(text)
    if "too many requests" in text or code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return StoreUnavailable(f"etcd refused: {text}")
    if writes and NEVER_SENT not in text:
        return OutcomeUnknown(f"etcd did not confirm the write, which may have taken place: {text}")
    return StoreUnavailable(f"etcd: {text}")
