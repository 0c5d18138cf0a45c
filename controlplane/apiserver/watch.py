"""One watch: what its bounds let through of the changes that the cache gives it.

    WatchCache ──Steps──► Watcher ──► Watch.take() ──► events ──► a door

Who awaits asks `arrived`; who would rather be called sets `tell`: thousands of watchers then cost no task each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from controlplane.apiserver.cache import WatchCache
from controlplane.apiserver.collection import Watcher
from controlplane.apiserver.items import ApiEvent
from controlplane.apiserver.versions import Twin
from controlplane.apiserver.wishes import as_event

BOOKMARK_EVERY = 60.0
"""Seconds between bookmarks to a watcher that asked for them, while nothing else comes."""


class Watch:
    def __init__(
        self,
        cache: WatchCache,
        watcher: Watcher,
        initial: list[ApiEvent],
        prefix: str,
        wanted: Callable[[Any], bool] | None,
        twin: Twin | None,
    ) -> None:
        """`wanted` is None where there is no selector."""
        self._cache, self._watcher, self._initial = cache, watcher, initial
        self._prefix, self._wanted, self._twin = prefix, wanted, twin

    def take(self) -> Sequence[ApiEvent]:
        """The events since the last call; perhaps none. Raises Expired: the reader was too slow."""
        first, self._initial = self._initial, []
        wanted, prefix = self._wanted, self._prefix
        steps = self._watcher.take()
        events: list[ApiEvent]
        if wanted is None:
            seen = [step.seen for step in steps]
            events = [e for e in seen if e is not None and e.item is not None and e.item.key.startswith(prefix)]
        else:
            events = [e for step in steps if (e := as_event(step, prefix, wanted)) is not None]
        if first:
            events = first + events
        return self._twin.events(events) if self._twin is not None else events

    @property
    def cut(self) -> bool:
        """The reader was too slow: take() says so."""
        return self._watcher.cut

    async def arrived(self, timeout: float | None) -> bool:
        """Whether there is something to take, waiting for it up to `timeout` seconds."""
        return await self._watcher.arrived(timeout)

    def tell(self, ready: Callable[[], None]) -> None:
        """`ready` is called when there is something to take, once until it is taken. If it raises, the watch is cut."""
        self._watcher.tell = ready

    def bookmark(self) -> Sequence[ApiEvent]:
        """What there is to take; a bookmark if that is nothing, because who has one skips all that came before it.
        Raises Expired: of a watch that was cut, events are missing."""
        return self.take() or [ApiEvent("BOOKMARK", None, self._cache.revision)]

    def close(self) -> None:
        self._watcher.tell = None
        self._watcher.close()
