"""A collection, mirrored: list once, then watch for ever.

    list in chunks ──► diff with the cache ──► handlers ──► synced
         ▲                                                     │
         │ Expired (jittered backoff)                          ▼
         └──────────────────────────────────────── watch from `revision`, batch by batch
                                                      any other failure: backoff, watch again from `revision`

The diff makes up for what was missed while no watch ran: also deletions, which nobody will tell again. So a
handler never learns whether a change came by list or by watch, and need not: it puts a key into a queue.

`revision` is the newest event seen, bookmarks counted. A loop that has written waits until its informer's
`revision` has reached the write (see controller.Barrier), so it never acts on a cache without its own work.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from random import Random
from time import perf_counter
from typing import Any, Generic, Protocol, TypeVar

from kubeapi.client.cache import Cache, IndexFunction, O
from kubeapi.client.interface import Client, WatchEvent
from kubeapi.client.keys import Key, key_of
from kubeapi.errors import ApiError, Expired
from kubeapi.logs import about
from kubeapi.tasks import Backoff
from kubeapi.types.meta_v1 import ObjectMeta, PartialObjectMetadata

T = TypeVar("T")
Handler = Callable[[T | None, T | None], None]
"""(old, new): None, new is an addition; old, None a deletion. Called in the event loop; must be quick."""

RECONNECT = Backoff(first=0.1, most=3.0, jitter=0.5)
SHORT_WATCH = 1.0
"""Seconds. After a watch that ended sooner than this there is a pause, lest it be begun again and again."""


class InformerMetrics(Protocol):
    """What an informer tells about itself. Times are seconds."""

    def listed(self, type_: type[Any], seconds: float, revision: int, *, again: bool) -> None:
        """`again`: because the history was gone, or was never known."""
        ...

    def watching(self, type_: type[Any]) -> None: ...
    def watched(self, type_: type[Any], *, short: bool) -> None: ...
    def failed(self, type_: type[Any]) -> None: ...
    def stumbled(self, type_: type[Any]) -> None:
        """A handler did not take a change: whoever it belongs to works on an older picture."""
        ...

    def applied(self, type_: type[Any], events: int, revision: int, lag: float) -> None:
        """A batch is in the cache, up to this revision; `lag` is how late its first event was."""
        ...


class NoInformerMetrics:
    def listed(self, type_: type[Any], seconds: float, revision: int, *, again: bool) -> None: ...
    def watching(self, type_: type[Any]) -> None: ...
    def watched(self, type_: type[Any], *, short: bool) -> None: ...
    def failed(self, type_: type[Any]) -> None: ...
    def stumbled(self, type_: type[Any]) -> None: ...
    def applied(self, type_: type[Any], events: int, revision: int, lag: float) -> None: ...


class Informer(Generic[O]):
    synced: asyncio.Event
    """The cache has shown the whole collection once. Never cleared: an old picture is better than none."""
    revision: int
    """Newest event seen, bookmarks counted; 0 before the first list."""
    outages: int
    """Counts when the server is lost, and again when it is found: what is odd is going on, and what grew was a gap."""
    keep: Callable[[O], O] | None
    """What of an object goes into the cache, to save memory (see metadata_only). Set before run(); None: all of it."""

    def __init__(
        self,
        client: Client,
        type_: type[O],
        *,
        rng: Random,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        indexes: Mapping[str, IndexFunction] | None = None,
        chunk: int = 1000,
        backoff: Backoff = RECONNECT,
        keep: Callable[[O], O] | None = None,
        metrics: InformerMetrics | None = None,
        log: logging.Logger | None = None,
    ) -> None:
        self.keep = keep
        self.name = f"informer-{type_.__name__.lower()}"
        self.type = type_
        self.cache: Cache[O] = Cache(indexes)
        self.synced = asyncio.Event()
        self.revision = 0
        self.relists = 0
        self.outages = 0
        self._client = client
        self._rng = rng
        self._namespace = namespace
        self._selectors = {"label_selector": label_selector, "field_selector": field_selector}
        self._chunk = chunk
        self._backoff = backoff
        self._metrics = metrics or NoInformerMetrics()
        self._log = log or logging.getLogger(self.name)
        self._handlers: list[Handler[O]] = []
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._failures = 0
        self._expired = 0

    def subscribe(self, handler: Handler[O]) -> Callable[[], None]:
        """From now on, and at once for every object that is cached already. Returns what ends it."""
        self._handlers.append(handler)
        for obj in self.cache:
            self._call(handler, None, obj)
        return lambda: self._handlers.remove(handler)

    def get(self, key: Key) -> O | None:
        return self.cache.get(key)

    async def reached(self, revision: int) -> None:
        """Waits until the cache shows the state of that revision, or a newer one."""
        if self.revision >= revision:
            return
        entry = (revision, asyncio.get_running_loop().create_future())
        self._waiters.append(entry)
        try:
            await entry[1]
        finally:
            with contextlib.suppress(ValueError):
                self._waiters.remove(entry)

    async def run(self) -> None:
        """Until cancelled. May be run again afterwards: it goes on from what is cached."""
        while True:
            try:
                if not self.revision:
                    await self._list()
                await self._watch()
            except Expired:
                self._log.info("%s: the history is gone; listing again", self.name)
                self._well()  # it has answered
                self.revision, self._expired = 0, self._expired + 1
                await asyncio.sleep(self._backoff.delay(min(self._expired - 1, 4), self._rng))
            except (ApiError, OSError) as error:
                await self._failed(error)
            except Exception as error:
                self._log.exception("%s: unforeseen", self.name)
                await self._failed(error)

    async def _failed(self, error: Exception) -> None:
        if not self._failures:
            self._log.warning("%s: lost the server, trying again: %s", self.name, error)
            self.outages += 1
        self._failures += 1
        self._metrics.failed(self.type)
        await asyncio.sleep(self._backoff.delay(self._failures - 1, self._rng))

    def _well(self) -> None:
        if self._failures:
            self._log.info("%s: has the server again after %d failures", self.name, self._failures)
            self.outages += 1
            self._failures = 0

    async def _list(self) -> None:
        found: list[O] = []
        revision, next_ = 0, ""
        begun = perf_counter()
        while True:
            page = await self._client.list(self.type, self._namespace, limit=self._chunk, next=next_, **self._selectors)
            found += page.items if self.keep is None else map(self.keep, page.items)
            revision = revision or page.resource_version
            next_ = page.next
            if not next_:
                break
        self.relists += 1
        self._replace(found)
        self._advance(revision)
        self._metrics.listed(self.type, perf_counter() - begun, revision, again=self.synced.is_set())
        self.synced.set()
        self._well()

    def _replace(self, found: Sequence[O]) -> None:
        """Makes the cache show exactly these, and tells the difference."""
        present = {key_of(obj) for obj in found}
        for key in self.cache.keys():  # noqa: SIM118 - a snapshot
            if key not in present:
                self._tell(self.cache.remove(key), None)
        for obj in found:
            self._put(obj)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        self._metrics.watching(self.type)
        stream = self._client.watch(self.type, self._namespace, resource_version=self.revision, **self._selectors)
        try:
            async for batch in stream:
                came = perf_counter()
                events = self._apply(batch)
                if batch:
                    self._metrics.applied(self.type, events, self.revision, batch[0].age + perf_counter() - came)
                self._expired = 0
                self._well()
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()
        short = loop.time() - begun < SHORT_WATCH
        self._metrics.watched(self.type, short=short)
        if short:
            await asyncio.sleep(self._backoff.delay(0, self._rng))

    def _apply(self, batch: Sequence[WatchEvent[O]]) -> int:
        """How many changes there were, bookmarks left out."""
        events = 0
        for event in batch:
            events += event.type != "BOOKMARK"
            if event.type == "DELETED":
                old = self.cache.remove(key_of(event.object))
                if old is not None:
                    self._tell(old, None)
            elif event.type != "BOOKMARK":
                self._put(event.object if self.keep is None else self.keep(event.object))
        if batch:
            self._advance(batch[-1].resource_version)
        return events

    def _put(self, obj: O) -> None:
        old = self.cache.get(key_of(obj))
        if old is not None:
            if old.metadata.uid != obj.metadata.uid:
                self.cache.remove(key_of(old))
                self._tell(old, None)
                old = None
            elif old.metadata.resource_version == obj.metadata.resource_version:
                return
        self.cache.put(obj)
        self._tell(old, obj)

    def _advance(self, revision: int) -> None:
        self.revision = revision
        if self._waiters:
            for wanted, future in self._waiters:
                if wanted <= revision and not future.done():
                    future.set_result(None)

    def _tell(self, old: O | None, new: O | None) -> None:
        for handler in self._handlers:
            self._call(handler, old, new)

    def _call(self, handler: Handler[O], old: O | None, new: O | None) -> None:
        """One handler's defect must not blind the others."""
        try:
            handler(old, new)
        except Exception:
            self._metrics.stumbled(self.type)
            subject: Any = new if new is not None else old
            self._log.exception("%s: a handler failed", self.name, extra=None if subject is None else about(subject))


def metadata_only(obj: Any) -> Any:
    """For who asks only what there is, whose it is and whether it goes: no spec, no data, no labels, no annotations."""
    meta = obj.metadata
    return PartialObjectMetadata(
        metadata=ObjectMeta(
            name=meta.name,
            namespace=meta.namespace,
            uid=meta.uid,
            resource_version=meta.resource_version,
            deletion_timestamp=meta.deletion_timestamp,
            finalizers=meta.finalizers,
            owner_references=meta.owner_references,
        )
    )
