"""The check of the blows, fed by stores that cheat: writers and watchers of a true API server over each must find it out.

A judge that never says "guilty" is worth nothing; so here is one store of each crime, and an honest one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from random import Random

import pytest

from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.storage.embedded import EmbeddedStore
from controlplane.storage.errors import RevisionConflict
from controlplane.storage.interface import Change, Latest
from kubeapi.client.local import LocalClient
from kubeapi.clock import SystemClock
from tests.support.linearizability import check
from tests.support.traffic import Seen, Snapshot, Stretch, Watcher, Writer, faults_of, faults_of_lists

MAPS = "/registry/core/configmaps/default/"
EVERY = 7
"""Of so many chances a cheat takes one."""


class Cheat(EmbeddedStore):
    def __init__(self) -> None:
        super().__init__()
        self._chances = 0
        self.honest = True
        """Until the API server stands."""

    def cheats(self, key: str) -> bool:
        if self.honest or not key.startswith(f"{MAPS}key-"):
            return False
        self._chances += 1
        return self._chances % EVERY == 0


class LosesUpdates(Cheat):
    """Acknowledges an update at a revision of its own, and keeps the value before."""

    async def update(self, key: str, value: bytes, *, at: int) -> int:
        if self.cheats(key) and (held := await self.get(key)) is not None and held.revision == at:
            return await super().update(key, held.value, at=at)
        return await super().update(key, value, at=at)


class SwapsWithoutComparing(Cheat):
    """An update is made at whatever revision there is: of two writers at one version both win."""

    async def update(self, key: str, value: bytes, *, at: int) -> int:
        try:
            return await super().update(key, value, at=at)
        except RevisionConflict as error:
            return await super().update(key, value, at=error.current)


class DeletesWithoutComparing(Cheat):
    async def delete(self, key: str, *, at: int) -> int:
        try:
            return await super().delete(key, at=at)
        except RevisionConflict as error:
            return await super().delete(key, at=error.current)


class DeletesNothing(Cheat):
    """Acknowledges a deletion, and the object is made anew as it was."""

    async def delete(self, key: str, *, at: int) -> int:
        held = await self.get(key)
        revision = await super().delete(key, at=at)
        if held is not None and self.cheats(key):
            await super().create(key, held.value)
        return revision


class SkipsEvents(Cheat):
    async def watch(self, prefix: str, *, after: int, previous: bool = True) -> AsyncIterator[Sequence[Change]]:  # type: ignore[override]
        async for batch in super().watch(prefix, after=after, previous=previous):
            yield [change for change in batch if not self.cheats(change.key)]


class ReadsOldNews(Cheat):
    """Says that nothing new has happened: reads come from a cache that may be behind."""

    async def latest(self) -> Latest:
        return await super().latest() if self.honest else Latest(0, 0)

    async def watch(self, prefix: str, *, after: int, previous: bool = True) -> AsyncIterator[Sequence[Change]]:  # type: ignore[override]
        async for batch in super().watch(prefix, after=after, previous=previous):
            if not self.honest:
                await asyncio.sleep(0.01)
            yield batch


async def faults(store: EmbeddedStore, seed: int, operations: int = 600) -> list[str]:
    rng = Random(seed)
    async with api_core(store=store, clock=SystemClock(), rng=Random(seed)) as api, asyncio.timeout(40):
        if isinstance(store, Cheat):
            store.honest = False
        client = LocalClient(api, context=RequestContext)
        stop = asyncio.Event()
        writers = [Writer(f"w{i}", [client], ["key-0", "key-1"], Random(rng.random()), 0.0) for i in range(6)]
        watcher = Watcher("watcher", [client], Random(rng.random()))
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watcher.run())
            writing = [tasks.create_task(writer.run(stop)) for writer in writers]
            while sum(len(w.history) for w in writers) < operations:  # noqa: ASYNC110 - they do not tell
                await asyncio.sleep(0.01)
            stop.set()
            await asyncio.gather(*writing)
            await asyncio.sleep(0.1)  # for the watcher's last batch; without it less is looked at, and nothing fails
            watching.cancel()
        history = [op for writer in writers for op in writer.history]
        told = [fault for writer in writers for fault in writer.faults]
        return [
            *told,
            *faults_of([watcher], history),
            *faults_of_lists(writers, [watcher]),
            *(str(v) for v in check(history)),
        ]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_an_honest_store_is_found_innocent(seed: int) -> None:
    assert await faults(EmbeddedStore(), seed) == []


@pytest.mark.parametrize(
    "cheat",
    [
        LosesUpdates,
        SwapsWithoutComparing,
        DeletesWithoutComparing,
        DeletesNothing,
        SkipsEvents,
        ReadsOldNews,
    ],
)
async def test_each_cheat_is_found_out(cheat: type[Cheat]) -> None:
    found = await faults(cheat(), 7)
    assert found
    print(f"{cheat.__name__}: {found[0][:600]}")


@pytest.mark.parametrize(
    ("shown", "innocent"),
    [
        (Snapshot(2, {"a": "1", "b": "2"}), True),
        (Snapshot(3, {"b": "2"}), True),
        (Snapshot(9, {}), True),
        (Snapshot(2, {"a": "1"}), False),
        (Snapshot(3, {"a": "1", "b": "2"}), False),
        (Snapshot(3, {"b": "1"}), False),
    ],
)
def test_a_list_must_show_what_the_events_make(shown: Snapshot, innocent: bool) -> None:
    """Up to its revision, no more and no less; of what no watcher saw (here beyond 3) nothing is said."""
    events = [Seen(1, "ADDED", "a", "1"), Seen(2, "ADDED", "b", "2"), Seen(3, "DELETED", "a", "1")]
    watcher = Watcher("watcher", [], Random(1), stretches=[Stretch(0, {}, events)])
    writer = Writer("w", [], [], Random(1), 0.0, lists=[shown])
    assert (faults_of_lists([writer], [watcher]) == []) is innocent
