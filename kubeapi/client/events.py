"""Events: what happened to an object, for people to read. Never worth waiting for, never allowed to flood.

    event() ── token bucket per (object, reason) ── combine ── pending (bounded) ── run(): batches ── server

The same message about the same object becomes one Event whose count rises. Many different messages for one
reason (a changing number in the text, say) become one Event too, "(combined from similar events)". The caller
never waits: what does not fit is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Generic, Literal, TypeVar

from msgspec.structs import replace

from kubeapi.client.interface import BatchResult, Client, Write
from kubeapi.client.keys import KubeObject
from kubeapi.clock import Clock
from kubeapi.errors import AlreadyExists, ApiError, NotFound, ServiceUnavailable, Timeout, TooManyRequests
from kubeapi.tasks import Backoff
from kubeapi.types.core_v1 import Event, EventSource, ObjectReference
from kubeapi.types.meta_v1 import ObjectMeta

Severity = Literal["Normal", "Warning"]
_RETRY = Backoff(first=0.5, most=30.0)
_PASSING = (ServiceUnavailable, Timeout, TooManyRequests)


@dataclass(frozen=True, slots=True)
class EventLimits:
    pending: int = 1000
    """Different events that may wait for the server; more are dropped."""
    batch: int = 100
    burst: int = 25
    """Events about one object for one reason that may come at once."""
    refill: float = 1 / 300
    """Tokens that come back per second, per object and reason."""
    similar: int = 10
    """Different messages for one object and reason, within `window`, from which on they are combined."""
    window: float = 600.0
    """Seconds after which an event that happens again is a new one."""
    remembered: int = 4096
    """Objects and events kept in mind to recognise repetitions."""


V = TypeVar("V")


class _Memory(OrderedDict[Hashable, V], Generic[V]):
    """Forgets what was longest unused."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def remember(self, key: Hashable, value: V) -> V:
        self[key] = value
        self.move_to_end(key)
        if len(self) > self._most:
            self.popitem(last=False)
        return value


class _Similar:
    __slots__ = ("messages", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.messages: set[str] = set()


class EventRecorder:
    dropped: int
    """Events that were not told to the server: too many, or refused by it."""

    def __init__(
        self,
        client: Client,
        *,
        component: str,
        clock: Clock,
        rng: Random,
        host: str = "",
        limits: EventLimits = EventLimits(),
        backoff: Backoff = _RETRY,
        log: logging.Logger | None = None,
    ) -> None:
        self.dropped = 0
        self._client = client
        self._component = component
        self._host = host
        self._clock = clock
        self._rng = rng
        self._limits = limits
        self._backoff = backoff
        self._log = log or logging.getLogger("events")
        self._pending: OrderedDict[Hashable, Event] = OrderedDict()
        self._flight: dict[Hashable, Event] = {}
        """Taken from _pending, and not answered yet."""
        self._wake = asyncio.Event()
        self._buckets: _Memory[tuple[float, float]] = _Memory(limits.remembered)
        """(object, reason) to tokens left, and when that was."""
        self._similar: _Memory[_Similar] = _Memory(limits.remembered)
        self._told: _Memory[tuple[Event, float]] = _Memory(limits.remembered)
        """Events as they stand on the server (no resourceVersion), and when they last happened."""

    def named(self, component: str) -> Teller:
        """Tells in the name of one of several components that share this recorder."""
        return Teller(self, component)

    def event(
        self,
        about: KubeObject | ObjectReference,
        severity: Severity,
        reason: str,
        message: str,
        *,
        component: str = "",
    ) -> None:
        """Returns at once. `about` is the object, or a reference to it."""
        source = component or self._component
        ref = about if isinstance(about, ObjectReference) else reference(about)
        now = self._clock.monotonic()
        if not self._admit((_identity(ref), reason), now):
            self.dropped += 1
            return
        key, message = self._combine(source, ref, severity, reason, message[:1024], now)
        moment = self._clock.now().replace(microsecond=0)
        known = self._pending.get(key) or self._flight.get(key)
        if known is None and (told := self._told.get(key)) is not None:
            known = told[0] if now - told[1] < self._limits.window else None
        if known is not None:
            self._pending[key] = replace(known, count=known.count + 1, last_timestamp=moment, message=message)
        elif len(self._pending) >= self._limits.pending:
            self.dropped += 1
            return
        else:
            self._pending[key] = Event(
                metadata=ObjectMeta(name=self._name(ref), namespace=ref.namespace or "default"),
                involved_object=ref,
                type=severity,
                reason=reason,
                message=message,
                source=EventSource(component=source, host=self._host),
                reporting_component=source,
                reporting_instance=self._host,
                first_timestamp=moment,
                last_timestamp=moment,
                count=1,
            )
        self._wake.set()

    async def run(self) -> None:
        """Tells the server, until cancelled."""
        failures = 0
        while True:
            if not self._pending:
                self._wake.clear()
                await self._wake.wait()
            if await self._flush():
                failures = 0
                continue
            await asyncio.sleep(self._backoff.delay(failures, self._rng))
            failures += 1

    async def flush(self) -> None:
        """Tells what waits, once: for shutdown and for tests."""
        while self._pending and await self._flush():
            pass

    async def _flush(self) -> bool:
        """One batch. False when the server should be left alone for a while."""
        taken = [(key, self._pending.pop(key)) for key in list(self._pending)[: self._limits.batch]]
        self._flight = dict(taken)
        writes = [
            Write("update" if key in self._told else "create", event, namespace=event.metadata.namespace)
            for key, event in taken
        ]
        results: Sequence[BatchResult[Event]]
        try:
            results = await self._client.batch(writes)
        except (ApiError, OSError) as error:
            results = [BatchResult(error=error)] * len(writes)
        except BaseException:
            for key, event in taken:
                self._again(key, event)
            raise
        finally:
            self._flight = {}
        passing = False
        for (key, event), result in zip(taken, results, strict=True):
            passing |= self._settle(key, event, result.error)
        return not passing

    def _settle(self, key: Hashable, event: Event, error: Exception | None) -> bool:
        """True when the event waits again because the server could not take it now."""
        if error is None:
            self._told.remember(key, (event, self._clock.monotonic()))
            return False
        if isinstance(error, AlreadyExists):
            fresh = self._name(event.involved_object)
            self._again(key, replace(event, metadata=replace(event.metadata, name=fresh)))
        elif isinstance(error, NotFound) and self._told.pop(key, None) is not None:
            self._again(key, event)  # it has expired there
        elif isinstance(error, (*_PASSING, OSError)):
            self._again(key, event)
            return True
        else:
            self.dropped += 1
            self._log.info("event %s about %s refused: %s", event.reason, event.involved_object.name, error)
        return False

    def _again(self, key: Hashable, event: Event) -> None:
        """What happened meanwhile has counted on from the event in flight already."""
        newer = self._pending.get(key)
        self._pending[key] = event if newer is None else replace(newer, metadata=event.metadata)

    def _admit(self, key: Hashable, now: float) -> bool:
        tokens, since = self._buckets.get(key, (float(self._limits.burst), now))
        tokens = min(float(self._limits.burst), tokens + (now - since) * self._limits.refill)
        admitted = tokens >= 1
        self._buckets.remember(key, (tokens - 1 if admitted else tokens, now))
        return admitted

    def _combine(
        self, source: str, ref: ObjectReference, severity: str, reason: str, message: str, now: float
    ) -> tuple[Hashable, str]:
        """The key under which the event is counted, and its text."""
        kind = (source, _identity(ref), severity, reason)
        similar = self._similar.get(kind)
        if similar is None or now - similar.since > self._limits.window:
            similar = _Similar(now)
        self._similar.remember(kind, similar)
        similar.messages.add(message)
        if len(similar.messages) <= self._limits.similar:
            return (*kind, message), message
        return kind, f"(combined from similar events): {message}"

    def _name(self, ref: ObjectReference) -> str:
        """Unique across restarts and instances without asking anybody."""
        return f"{ref.name[:220]}.{self._rng.getrandbits(64):016x}"


@dataclass(frozen=True, slots=True)
class Teller:
    recorder: EventRecorder
    component: str

    def event(self, about: KubeObject | ObjectReference, severity: Severity, reason: str, message: str) -> None:
        self.recorder.event(about, severity, reason, message, component=self.component)


def reference(obj: Any, field_path: str = "") -> ObjectReference:
    """`field_path`: of a part of it, as spec.containers{web}."""
    meta = obj.metadata
    return ObjectReference(
        api_version=obj.api_version,
        kind=obj.kind,
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
        field_path=field_path,
    )


def _identity(ref: ObjectReference) -> Hashable:
    return (ref.kind, ref.namespace, ref.name, ref.uid, ref.field_path)
