"""A queue of keys to look at, not of events to handle.

A key that is added many times before it is handed out is handed out once; a key that is added while it is
being worked on is handed out again after done(), never at the same time. So reconcilers need no locks, and a
burst of events costs one visit.

Failures come back later and later: retry() doubles the key's delay, forget() makes the next failure the first
again. Delays are timers of the event loop, one per key at most, of which the earliest wins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable
from random import Random
from typing import Generic, Protocol, TypeVar

from kubeapi.tasks import Backoff

K = TypeVar("K", bound=Hashable)

FAILURES = Backoff(first=0.05, most=300.0)
AWAY = Backoff(first=0.1, most=15.0, jitter=0.5)
"""The server does not answer: that is no fault of the key, and work goes on soon after it comes back."""
CONFLICTS = Backoff(first=0.01, most=1.0, factor=1.5, jitter=1.0)
"""Somebody else wrote first: read again soon, and not in step with them."""


class QueueMetrics(Protocol):
    """What a queue tells about itself; `queue` is its name, times are seconds."""

    def opened(self, queue: str, working: Callable[[], Iterable[float]]) -> None:
        """`working`: asked at any time, how long each key has been in work by then."""
        ...

    def added(self, queue: str) -> None: ...
    def retried(self, queue: str) -> None: ...
    def handed_out(self, queue: str, waited: float) -> None: ...
    def finished(self, queue: str, worked: float) -> None: ...


class NoMetrics:
    def opened(self, queue: str, working: Callable[[], Iterable[float]]) -> None: ...
    def added(self, queue: str) -> None: ...
    def retried(self, queue: str) -> None: ...
    def handed_out(self, queue: str, waited: float) -> None: ...
    def finished(self, queue: str, worked: float) -> None: ...


class Monotonic(Protocol):
    def monotonic(self) -> float: ...


class WorkQueue(Generic[K]):
    _order: asyncio.Queue[K]
    """Waiting keys, first come first served: each is dirty and none is active."""
    _dirty: dict[K, float]
    """Needs work, since when; may also be active."""
    _active: dict[K, float]
    """Handed out, since when; goes back to _order in done() if it is dirty again."""
    _timers: dict[K, asyncio.TimerHandle]
    """Will be added later; may also be dirty or active."""
    _failures: dict[K, int]
    """Retries since the last forget()."""

    def __init__(
        self,
        name: str,
        *,
        clock: Monotonic,
        rng: Random,
        backoff: Backoff = FAILURES,
        metrics: QueueMetrics | None = None,
    ) -> None:
        self.name = name
        self._clock = clock
        self._rng = rng
        self._backoff = backoff
        self._metrics = metrics or NoMetrics()
        self._order = asyncio.Queue()
        self._dirty = {}
        self._active = {}
        self._timers = {}
        self._failures = {}
        self._metrics.opened(name, self._working)

    def _working(self) -> list[float]:
        now = self._clock.monotonic()
        return [now - begun for begun in self._active.values()]

    def __len__(self) -> int:
        """Keys that wait for a worker now."""
        return self._order.qsize()

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is being worked on (something may be due later)."""
        return not self._dirty and not self._active

    def add(self, key: K) -> None:
        if key in self._dirty:
            return
        self._dirty[key] = self._clock.monotonic()
        self._metrics.added(self.name)
        if key not in self._active:
            self._order.put_nowait(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Adds the key then; an earlier timer of the same key stays, a later one is replaced."""
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= due:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(due, self._fire, key)

    def retry(self, key: K, backoff: Backoff | None = None, *, at_least: float = 0.0) -> float:
        """Adds the key after its backoff, or later if the server asked for that; says how many seconds that is."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = max((backoff or self._backoff).delay(failures, self._rng), at_least)
        self._metrics.retried(self.name)
        self.add_after(key, delay)
        return delay

    def failures(self, key: K) -> int:
        return self._failures.get(key, 0)

    def forget(self, key: K) -> None:
        self._failures.pop(key, None)

    async def get(self) -> K:
        """Waits for a key. Whoever gets it must call done(key)."""
        return self._hand_out(await self._order.get())

    def get_nowait(self) -> K | None:
        return None if self._order.empty() else self._hand_out(self._order.get_nowait())

    def done(self, key: K) -> None:
        begun = self._active.pop(key)
        self._metrics.finished(self.name, self._clock.monotonic() - begun)
        if key in self._dirty:
            self._order.put_nowait(key)

    def close(self) -> None:
        """Drops what is due later, so that no timer outlives the queue's owner."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _hand_out(self, key: K) -> K:
        now = self._clock.monotonic()
        self._metrics.handed_out(self.name, now - self._dirty.pop(key))
        self._active[key] = now
        return key

    def _fire(self, key: K) -> None:
        del self._timers[key]
        self.add(key)
