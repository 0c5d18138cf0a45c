"""The control loop's harness: informers put keys into a queue, workers take them out and reconcile.

    informer ──(old, new)──► mapper ──keys──► WorkQueue ──key──► reconcile(key) ─┬─ Done(): wait for a change
                                                  ▲                              ├─ Done(requeue_after): later
                                                  └──────────────────────────────┴─ raised: backoff, again

A reconciler gets a key and never an event. That the object is gone is a normal answer. It compares what
should be with what is, acts, and says when to look again; nothing else decides about the next visit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Generic, Protocol, TypeVar, cast

from kubeapi.client.informer import Informer, InformerMetrics, NoInformerMetrics
from kubeapi.client.keys import Key, KubeObject, key_of
from kubeapi.client.workqueue import AWAY, CONFLICTS, FAILURES, Monotonic, NoMetrics, QueueMetrics, WorkQueue
from kubeapi.errors import ApiError, Conflict, ServiceUnavailable, Timeout, TooManyRequests
from kubeapi.logs import Subject, concerning
from kubeapi.tasks import Backoff

K = TypeVar("K", bound=Hashable)


class ControllerMetrics(QueueMetrics, InformerMetrics, Protocol):
    """What a controller tells about itself, beyond its queue and its informers. Seconds."""

    def employed(self, controller: str, workers: int) -> None:
        """Told once, when it is made."""
        ...

    def reconciling(self, controller: str, more: int) -> None:
        """1: one begins; -1: one has ended."""
        ...

    def reconciled(self, controller: str, result: str, seconds: float) -> None:
        """`result`: success, requeue_after, conflict or error."""
        ...


class NoControllerMetrics(NoMetrics, NoInformerMetrics):
    def employed(self, controller: str, workers: int) -> None: ...
    def reconciling(self, controller: str, more: int) -> None: ...
    def reconciled(self, controller: str, result: str, seconds: float) -> None: ...


Mapper = Callable[[Any], Any]
"""An object to the keys that it concerns: one key (a Key, a str or an int), several in an iterable, or None.
Asked for the old and for the new state of a changed object, so that both owners hear of a handover."""


@dataclass(frozen=True, slots=True)
class Done:
    requeue_after: float | None = None
    """Seconds until the key comes again without any change. None: only a change brings it."""


class Controller(Generic[K]):
    def __init__(
        self,
        name: str,
        reconcile: Callable[[K], Awaitable[Done]],
        *,
        sources: Mapping[Informer[Any], Mapper],
        clock: Monotonic,
        rng: Random,
        workers: int = 1,
        wait_for: Iterable[Informer[Any]] = (),
        backoff: Backoff = FAILURES,
        metrics: ControllerMetrics | None = None,
        log: logging.Logger | None = None,
    ) -> None:
        """`wait_for` names informers that the reconciler reads but that bring no keys."""
        self.name = name
        self.queue: WorkQueue[K] = WorkQueue(name, clock=clock, rng=rng, backoff=backoff, metrics=metrics)
        self._metrics = metrics or NoControllerMetrics()
        self._clock = clock
        self._reconcile = reconcile
        self._informers = [*sources, *wait_for]
        self._workers = workers
        self._log = log or logging.getLogger(name)
        self._metrics.employed(name, workers)
        self._kind = next((informer.type.__name__ for informer, mapper in sources.items() if mapper is own_key), "")
        """Of the objects that keys name; empty where that is not told."""
        for informer, mapper in sources.items():
            informer.subscribe(self._handler(mapper))

    def _handler(self, mapper: Mapper) -> Callable[[Any, Any], None]:
        def handle(old: Any, new: Any) -> None:
            for state in (old, new):
                if state is not None:
                    for key in keys_in(mapper(state)):
                        self.queue.add(cast(K, key))

        return handle

    async def run(self) -> None:
        """Until cancelled. May be run again: keys that came meanwhile, or that were in work, are not lost."""
        for informer in self._informers:
            await informer.synced.wait()
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._workers):
                tasks.create_task(self._work(), name=f"{self.name}-{number}")

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                with concerning(self._subject(key)):
                    await self._visit(key)
            except BaseException:
                self.queue.add(key)
                raise
            finally:
                self.queue.done(key)

    def _subject(self, key: K) -> Subject:
        if isinstance(key, Key):
            return Subject(self._kind, key.namespace, key.name)
        return Subject(self._kind, "", str(key))

    async def _visit(self, key: K) -> None:
        begun = self._clock.monotonic()
        result = "error"
        self._metrics.reconciling(self.name, 1)
        try:
            done = await self._reconcile(key)
        except Conflict as error:
            self._log.debug("%s: %s: %s; reading again", self.name, key, error)
            self.queue.retry(key, CONFLICTS)
            result = "conflict"
        except ApiError as error:
            away = AWAY if isinstance(error, ServiceUnavailable | Timeout | TooManyRequests) else None
            delay = self.queue.retry(key, away, at_least=error.retry_after)
            self._log.warning("%s: %s: %s; again in %gs", self.name, key, error, round(delay, 2))
        except Exception:
            delay = self.queue.retry(key)
            self._log.exception("%s: %s failed; again in %gs", self.name, key, round(delay, 2))
        else:
            self.queue.forget(key)
            result = "success"
            if done.requeue_after is not None:
                self.queue.add_after(key, done.requeue_after)
                result = "requeue_after"
        finally:
            self._metrics.reconciling(self.name, -1)
        self._metrics.reconciled(self.name, result, self._clock.monotonic() - begun)


def keys_in(found: Any) -> Iterable[Hashable]:
    """What a mapper may return, as keys."""
    if found is None:
        return ()
    if isinstance(found, (Key, str, int)):
        return (found,)
    return cast(Iterable[Hashable], found)


def own_key(obj: KubeObject) -> Key:
    """The mapper of a controller's own kind."""
    return key_of(obj)


class Barrier(Generic[K]):
    """Keeps a loop from acting on a cache that lacks the loop's own last write.

    One per informer whose objects the loop writes: after a write wrote(key, its resourceVersion); at the
    start of a visit ready(key, informer.revision), and if that is False, Done(requeue_after=0.05) (the write's
    own event will most likely bring the key sooner). This takes the place of counting expected creations and
    deletions: nothing can be miscounted, and a write whose event was missed is covered by the next list.
    """

    _pending: dict[K, int]
    """The newest write of each key that the cache had not shown when it was last asked."""

    def __init__(self) -> None:
        self._pending = {}

    def wrote(self, key: K, revision: int | str) -> None:
        self._pending[key] = max(self._pending.get(key, 0), int(revision or 0))

    def ready(self, key: K, revision: int) -> bool:
        pending = self._pending.get(key)
        if pending is None:
            return True
        if pending > revision:
            return False
        del self._pending[key]
        return True

    def forget(self, key: K) -> None:
        """The key's object is gone, and so is what was written for it."""
        self._pending.pop(key, None)
