"""The watch cache: the store's whole content decoded once, its recent history, and the fan-out to watchers.

    store.watch("/") ──► decode each change once ──► current Items by resource ──► history ring per resource ──► watchers

A server that begins takes over what the store still knows of its predecessor's history, so watches go on over a restart.

A read waits until the cache has reached the newest revision that the reader must see, then answers from memory. A watcher
wakes once per batch; one that falls too far behind is cut off with Expired, never awaited.

The cache is fed by the store's watch alone, not by its own writes: one order of events, the store's.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import Any

from controlplane.apiserver.collection import Collection, Decode, Step, Watcher
from controlplane.apiserver.items import Item
from controlplane.apiserver.telling import Teller
from controlplane.storage.errors import Compacted, StoreError
from controlplane.storage.interface import Change, Recent, Store
from kubeapi.clock import Clock
from kubeapi.errors import Timeout
from kubeapi.tasks import Backoff

log = logging.getLogger(__name__)

HISTORY = 8_192
"""Changes kept per resource; a watch from further back is Expired."""
RECALLED = 8_192
"""Changes, of all resources together, that are taken over from before this server's start."""
ARRIVALS = 256
"""Batches of changes whose coming is remembered, to tell watchers how late they hear of them."""
CATCH_UP = 3.0
"""Seconds a read waits for the cache before it fails with Timeout."""
UNTOLD = 0.1
"""Seconds that a read waits for a change of which it knows, before it asks whether there is one to come."""


class WatchCache:
    def __init__(self, *, store: Store, decode: Decode, rng: Random, clock: Clock, prefix: str = "/registry/") -> None:
        self._store = store
        self._decode = decode
        self._rng = rng
        self._clock = clock
        self._prefix = prefix
        self._collections: dict[str, Collection] = {}
        self._floor = 0
        self.revision = 0
        self._written: dict[str, tuple[bytes, Any] | Item] = {}
        """Writes of this server that the watch has not shown: bytes and object, once acknowledged the Item."""
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self.synced = asyncio.Event()
        self._past: Recent | None = None
        """From before this server's start; of a resource it becomes steps when the first watch asks for them."""
        self._recalled = asyncio.Event()
        self._teller = Teller(clock)
        self.failures: Counter[str] = Counter()
        """How often the mirroring broke, by cause: compacted, store, defect."""
        self._deaf = False
        """A defect of ours broke it, and the store has not been read whole since."""
        self._arrivals: deque[tuple[int, float]] = deque(maxlen=ARRIVALS)
        """Up to which revision the store's newest batches reached, and when they came."""

    # ------------------------------------------------------------------ feeding

    async def run(self) -> None:
        """Mirrors the store for ever; survives the store's absence."""
        async with asyncio.TaskGroup() as tasks:
            recalling = tasks.create_task(self._recall(), name="watch-cache-past")
            await self._mirror()
            recalling.cancel()

    async def _recall(self) -> None:
        """Beside all else: nobody waits for it but a watch that goes on from before."""
        await self.synced.wait()
        upto = self._floor
        try:
            past = await self._store.recent(self._prefix, upto=upto, most=RECALLED)
            self._past = past if self._floor == upto else None
        except StoreError as error:
            log.warning("the store does not tell what was before (%s): older watches will list again", error)
        finally:
            self._recalled.set()

    async def _mirror(self) -> None:
        failures, defects, backoff, whole = 0, 0, Backoff(), False
        while True:
            try:
                if not whole:
                    await self._load()
                    whole, self._deaf = True, False
                self.synced.set()
                failures = 0
                async for changes in self._store.watch(self._prefix, after=self.revision, previous=False):
                    self._apply(changes)
                    defects = 0
                return
            except Compacted:
                self.failures["compacted"] += 1
                log.warning("the store's history was compacted under the cache's watch; reading everything again")
                whole = False
            except StoreError as error:
                failures += 1
                self.failures["store"] += 1
                log.warning("the store cannot be watched (%s); trying again", error)
                await asyncio.sleep(backoff.delay(failures, self._rng))
            except Exception:
                # A defect of ours, which this loop must survive: else the cache stands still for good, in a server that looks
                # healthy. It does not vanish: the log has its traceback, /readyz says no, a metric counts it and an alert
                # hangs on that.
                defects += 1
                self.failures["defect"] += 1
                whole, self._deaf = False, True
                log.exception("the watch cache cannot take in what the store holds; reading everything again")
                await asyncio.sleep(backoff.delay(defects, self._rng))

    def ready(self) -> bool:
        """Whether it mirrors the store, or last did so until the store went away."""
        return self.synced.is_set() and not self._deaf

    async def _load(self) -> None:
        page = await self._store.range(self._prefix)
        self._written.clear()
        fresh = {entry.key: entry for entry in page.entries}
        if not self.synced.is_set():
            self._floor = page.revision
        changes = [
            Change("put", entry.key, entry.value, entry.revision)
            for entry in fresh.values()
            if (held := self.get(entry.key)) is None or held.revision != entry.revision
        ]
        gone = [key for c in self._collections.values() for key in c.items if key not in fresh]
        changes += [Change("delete", key, b"", page.revision) for key in gone]
        self._apply(sorted(changes, key=lambda c: c.revision))
        if self.synced.is_set():
            self._begin_anew(page.revision)
        self._reach(page.revision)

    def _begin_anew(self, revision: int) -> None:
        """What happened in between nobody knows, so no watch may go on as if nothing had: all list again."""
        self._floor, self._past = revision, None
        for collection in self._collections.values():
            collection.steps.clear()
            collection.floor = revision
            for watcher in list(collection.watchers):
                watcher.end()

    def _apply(self, changes: Sequence[Change]) -> None:
        batches: dict[str, list[Step]] = {}
        for change in changes:
            name = collection_of(change.key)
            collection = self.collection(name)
            old = before = collection.items.get(change.key)
            new: Item | None = None
            if change.type == "put":
                new = self._item(change)
                collection.items[change.key] = new
            elif old is not None:
                del collection.items[change.key]
                old = Item.at(change.key, old.object, change.revision)
            else:
                continue
            if before is not None:
                before.shed()
            batches.setdefault(name, []).append(Step.of(change.revision, old, new, before))
        for name, steps in batches.items():
            collection = self._collections[name]
            collection.changes += len(steps)
            if self.synced.is_set():
                collection.steps.extend(steps)
                while len(collection.steps) > HISTORY:
                    collection.floor = collection.steps.popleft().revision
                self._teller.add([watcher for watcher in collection.watchers if watcher.give(steps)])
        if changes:
            self._arrivals.append((changes[-1].revision, self._clock.monotonic()))
            self._reach(changes[-1].revision)

    def _item(self, change: Change) -> Item:
        """Of what this server has just written it knows the object; of the rest, the bytes."""
        written = self._written.pop(change.key, None)
        if isinstance(written, Item):
            if written.revision == change.revision:
                return written
        elif written is not None and written[0] == change.value:
            return Item.at(change.key, written[1], change.revision, change.value)
        return Item.at(change.key, self._decode(change.key, change.value), change.revision)

    def writing(self, key: str, value: bytes, obj: Any) -> _Writing:
        """Around a write of `value`, which decodes to `obj`: the watch may show it before the write is acknowledged."""
        return _Writing(self._written, key, (value, obj))

    def wrote(self, key: str, obj: Any, revision: int, value: bytes) -> Item:
        """The one Item of an acknowledged write of `value`, for its writer and for all readers."""
        held = self.get(key)
        if held is not None and held.revision == revision:
            return held
        item = Item.at(key, obj, revision, value)
        if revision > self.revision:
            self._written[key] = item
        return item

    def _reach(self, revision: int) -> None:
        self.revision = max(self.revision, revision)
        still = []
        for wanted, future in self._waiters:
            if wanted <= self.revision:
                if not future.done():
                    future.set_result(None)
            else:
                still.append((wanted, future))
        self._waiters = still

    # ------------------------------------------------------------------ reading

    def collection(self, name: str) -> Collection:
        found = self._collections.get(name)
        if found is None:
            found = self._collections[name] = Collection(self._floor)
        return found

    def get(self, key: str) -> Item | None:
        collection = self._collections.get(collection_of(key))
        return collection.items.get(key) if collection is not None else None

    def names(self) -> list[str]:
        return list(self._collections)

    async def fresh(self) -> None:
        """Waits until the cache shows every write that was acknowledged before this call. Raises Timeout, StoreError."""
        latest = await self._store.latest()
        await self.reached(latest.change)
        self._reach(latest.upto)

    async def not_older(self, revision: int) -> None:
        """Waits until the cache shows that revision, or a newer one. Raises Timeout, StoreError.

        It may be another server's: of a moment when the store had moved on, and none of our changes came of it. So where
        none comes, the store is asked."""
        try:
            async with asyncio.timeout(UNTOLD):
                await self.reached(revision)
        except TimeoutError:
            await self.fresh()
            await self.reached(revision)

    async def reached(self, revision: int) -> None:
        """Raises Timeout."""
        if revision <= self.revision:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((revision, future))
        late = asyncio.get_running_loop().call_later(CATCH_UP, self._give_up, future, revision)
        try:
            await future
        finally:
            late.cancel()

    def _give_up(self, future: asyncio.Future[None], revision: int) -> None:
        if not future.done():
            text = f"Too large resource version: {revision}, current: {self.revision}"
            future.set_exception(Timeout(text, retry_after=1))

    def age(self, revision: int) -> float:
        """Seconds since the change of that revision came from the store; of a forgotten one, since the oldest known."""
        came = 0.0
        for reached, at in reversed(self._arrivals):
            if reached < revision:
                break
            came = at
        return self._clock.monotonic() - came if came else 0.0

    async def reaches_back(self, name: str, after: int) -> None:
        """Before watch(): where that revision is from before this server's start, the past is sought, and found or not."""
        collection = self.collection(name)
        if after >= collection.floor or collection.floor != collection.begun:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP):
                await self._recalled.wait()
        if self._past is not None and after >= self._past.after:
            collection.recall(self._past, name, self._decode)

    def watch(self, name: str, after: int) -> Watcher:
        """Of the changes after a revision. Close it. Raises Expired: too old."""
        collection = self.collection(name)
        return Watcher(collection, collection.since(after))


class _Writing:
    """By hand: contextlib's takes three times as long, in every write."""

    __slots__ = ("_all", "_expected", "_key")

    def __init__(self, all_: dict[str, Any], key: str, expected: tuple[bytes, Any]) -> None:
        self._all, self._key, self._expected = all_, key, expected

    def __enter__(self) -> None:
        self._all[self._key] = self._expected

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._all.pop(self._key, None)


_GROUP = len("/registry/")


def collection_of(key: str) -> str:
    """`/registry/apps/deployments/` of `/registry/apps/deployments/default/web`."""
    return key[: key.index("/", key.index("/", _GROUP) + 1) + 1]
