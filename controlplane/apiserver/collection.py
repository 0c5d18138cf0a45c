"""One resource in the watch cache: its objects, their newest changes, and who watches them.

Collection ──► steps: the changes, in the store's order ──► Watcher.give ──► a reader takes them when it likes
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from controlplane.apiserver.items import ApiEvent, Item
from controlplane.storage.interface import Recent
from kubeapi.errors import Expired

log = logging.getLogger(__name__)

MOST_PENDING = 16_384
"""A watcher with more undelivered changes is cut off."""

Decode = Callable[[str, bytes], Any]


class Step(Struct, frozen=True, eq=False, gc=False):
    """One change as watchers see it."""

    revision: int
    old: Item | None
    new: Item | None
    """None: deleted; then `old` carries the deletion's revision."""
    before: Item | None
    """What was there, at its own revision: to show the collection as it was."""
    seen: ApiEvent | None
    """What everybody sees of it who watches with no selector: made once, shared by all of them."""

    @classmethod
    def of(cls, revision: int, old: Item | None, new: Item | None, before: Item | None = None) -> Step:
        seen = None
        if new is not None:
            seen = ApiEvent("ADDED" if old is None else "MODIFIED", new, revision)
        elif old is not None:
            seen = ApiEvent("DELETED", old, revision)
        return cls(revision, old, new, before, seen)


class Watcher:
    """The changes that one reader has not taken yet.

    The cache calls `tell` when there are some, once until they are taken, and not all watchers in one go.
    """

    __slots__ = ("_collection", "_steps", "_told", "cut", "tell")

    def __init__(self, collection: Collection, steps: list[Step]) -> None:
        self._collection, self._steps = collection, steps
        self.cut = False
        self._told = False
        """It stands in the cache's queue of those to be told."""
        self.tell: Callable[[], None] | None = None
        collection.watchers.add(self)

    def give(self, steps: Sequence[Step]) -> bool:
        """Whether it has to be told."""
        self._steps.extend(steps)
        if len(self._steps) > MOST_PENDING:
            self.cut = True
            self._steps = []
        told, self._told = self._told, True
        return not told

    def end(self) -> None:
        self.cut, self._steps = True, []
        self.call()

    def call(self) -> None:
        """A defect of one watcher must not leave those untold that stand in the queue behind it."""
        self._told = False
        if self.tell is not None:
            try:
                self.tell()
            except Exception:
                log.exception("a watcher failed when it was told of changes; its watch ends")
                self.cut, self._steps, self.tell = True, [], None

    def take(self) -> Sequence[Step]:
        """Raises Expired: it was too slow."""
        if self.cut:
            raise Expired("the watch fell too far behind and was ended; list again")
        steps, self._steps = self._steps, []
        return steps

    async def arrived(self, timeout: float | None) -> bool:
        """Whether there is something to take, waiting for it up to `timeout` seconds."""
        if self._steps or self.cut:
            return True
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()

        def settle(result: bool) -> None:
            if not done.done():
                done.set_result(result)

        timer = None if timeout is None else loop.call_later(timeout, settle, False)
        self.tell = lambda: settle(True)
        try:
            return await done
        finally:
            self.tell = None
            if timer is not None:
                timer.cancel()

    def close(self) -> None:
        if self in self._collection.watchers:
            self._collection.watchers.discard(self)
            self._collection.cut_offs += self.cut


class Collection:
    """One resource's objects, by key, with the newest changes."""

    def __init__(self, floor: int) -> None:
        self.items: dict[str, Item] = {}
        self.steps: deque[Step] = deque()
        self.floor = floor
        """Changes up to this revision are forgotten."""
        self.begun = floor
        """What was before comes from the store: of its objects' earlier states, the revisions are not known."""
        self.watchers: set[Watcher] = set()
        self.cut_offs = 0
        """Watchers that were too slow."""
        self.changes = 0
        """Counts them all: who keeps something worked out from the objects sees here that it is old."""

    def at(self, revision: int) -> Mapping[str, Item]:
        """The objects as they were; the newest changes are taken back one by one. Raises Expired."""
        if not self.steps or revision >= self.steps[-1].revision:
            return self.items
        if revision < self.begun:
            raise Expired(f"too old resource version: {revision} ({self.begun})")
        found = dict(self.items)
        for step in reversed(self.since(revision)):
            key = (step.new or step.old or step.before).key  # type: ignore[union-attr]
            if step.before is not None:
                found[key] = step.before
            else:
                found.pop(key, None)
        return found

    def since(self, revision: int) -> list[Step]:
        if revision < self.floor:
            raise Expired(f"too old resource version: {revision} ({self.floor})")
        at = bisect_right(self.steps, revision, key=lambda s: s.revision)
        return [self.steps[i] for i in range(at, len(self.steps))]

    def recall(self, past: Recent, prefix: str, decode: Decode) -> None:
        """Puts the changes from before the beginning in front of those since. Not where some of the latter are forgotten."""
        if self.floor != self.begun or past.after >= self.floor:
            return
        state: dict[str, Item] = {}
        steps = []
        for change in past.changes:
            if not change.key.startswith(prefix):
                continue
            old = state.pop(change.key, None)
            if old is None and change.previous is not None:
                old = Item.at(change.key, decode(change.key, change.previous), past.after)
            new = None
            if change.type == "put":
                new = self.items.get(change.key)
                if new is None or new.revision != change.revision:
                    new = Item.at(change.key, decode(change.key, change.value), change.revision)
                state[change.key] = new
                steps.append(Step.of(change.revision, old, new))
            elif old is not None:
                steps.append(Step.of(change.revision, Item.at(change.key, old.object, change.revision), None))
        self.steps.extendleft(reversed(steps))
        self.floor = past.after
