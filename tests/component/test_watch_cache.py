"""The watch cache under load and behind: who is told when, what is decoded, and what a writer may conclude from old news."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from controlplane.apiserver.api import Api
from controlplane.apiserver.build import api_core
from controlplane.apiserver.cache import HISTORY, WatchCache
from controlplane.apiserver.collection import MOST_PENDING, Step
from controlplane.apiserver.context import RequestContext
from controlplane.storage.embedded import EmbeddedStore
from controlplane.storage.interface import Change
from kubeapi import codec
from kubeapi.clock import SystemClock
from kubeapi.errors import Expired
from kubeapi.meta import replace
from kubeapi.scheme import SCHEME
from kubeapi.types import core_v1, meta_v1
from tests.support.hand_clock import HandClock

CONFIG = SCHEME.resource_of(core_v1.ConfigMap)
NAME = "/registry/core/configmaps/"
CTX = RequestContext()


def config(name: str, **data: str) -> core_v1.ConfigMap:
    return core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name=name, namespace="default"), data=data)


class Decoder:
    """Counts what had to be decoded."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def __call__(self, key: str, value: bytes) -> Any:
        self.keys.append(key)
        return codec.decode(core_v1.ConfigMap, value)


@asynccontextmanager
async def running(store: EmbeddedStore, decode: Decoder) -> AsyncIterator[WatchCache]:
    cache = WatchCache(
        store=store, decode=decode, rng=Random(1), clock=HandClock(1.0)
    )  # nothing takes time: one watcher is told in each turn of the loop
    feeder = asyncio.create_task(cache.run())
    try:
        await cache.synced.wait()
        yield cache
    finally:
        feeder.cancel()
        await asyncio.wait([feeder])


async def test_watchers_are_told_some_at_a_time_and_who_is_late_gets_several_changes_in_one_piece() -> None:
    store = EmbeddedStore()
    async with running(store, Decoder()) as cache:
        watchers = [cache.watch(NAME, cache.revision) for _ in range(5)]
        told: list[int] = []
        for number, watcher in enumerate(watchers):
            watcher.tell = lambda n=number: told.append(n)
        await cache.reached(await store.create(f"{NAME}default/a", codec.encode(config("a"))))
        while not told:  # noqa: ASYNC110 (a turn of the loop is what is looked at)
            await asyncio.sleep(0)
        assert len(told) == 1
        await cache.reached(await store.create(f"{NAME}default/b", codec.encode(config("b"))))
        while len(told) < len(watchers) + 1:  # noqa: ASYNC110
            await asyncio.sleep(0)
        counts = {len(watcher.take()) for watcher in watchers}
        assert counts == {2}, "each has both changes, whether told once or twice"
        for watcher in watchers:
            watcher.close()
        assert not cache.collection(NAME).watchers


async def test_a_watcher_that_takes_nothing_is_cut_off_and_counted() -> None:
    store = EmbeddedStore()
    async with running(store, Decoder()) as cache:
        slow, quick = cache.watch(NAME, cache.revision), cache.watch(NAME, cache.revision)
        await cache.reached(await store.create(f"{NAME}default/a", codec.encode(config("a"))))
        steps = quick.take()
        for _ in range(MOST_PENDING):
            slow.give(steps)
        with pytest.raises(Expired):
            slow.take()
        slow.close()
        quick.close()
        assert cache.collection(NAME).cut_offs == 1


async def test_slow_watchers_share_what_they_have_not_taken_and_hold_it_no_longer_than_the_bound() -> None:
    """Counted, not weighed: however many watchers take nothing, the changes in memory are at most the history's and one
    watcher's; past the bound none of them holds any."""
    store = EmbeddedStore(history_limit=10)
    async with running(store, Decoder()) as cache:
        watchers = [cache.watch(NAME, cache.revision) for _ in range(20)]
        key, value = f"{NAME}default/a", codec.encode(config("a"))
        revision = await store.create(key, value)
        most = 0
        for number in range(MOST_PENDING + HISTORY):
            revision = await store.update(key, value, at=revision)
            if number % 4096 == 0:
                await cache.reached(revision)
                most = max(most, changes_in_memory())
        await cache.reached(revision)
        assert most <= MOST_PENDING + HISTORY // 4 + 4096
        assert changes_in_memory() <= HISTORY + HISTORY // 4
        for watcher in watchers:
            with pytest.raises(Expired):
                watcher.take()
            watcher.close()
        assert cache.collection(NAME).cut_offs == len(watchers)


def changes_in_memory() -> int:
    gc.collect()
    return sum(type(found) is Step for found in gc.get_objects())


async def test_a_watcher_that_fails_when_told_keeps_no_other_from_being_told() -> None:
    store = EmbeddedStore()
    async with running(store, Decoder()) as cache:
        watchers = [cache.watch(NAME, cache.revision) for _ in range(3)]
        for watcher in watchers:
            watcher.tell = lambda: 1 / 0  # type: ignore[assignment, return-value]
        well = cache.watch(NAME, cache.revision)
        for name in ("a", "b"):
            await cache.reached(await store.create(f"{NAME}default/{name}", codec.encode(config(name))))
            assert await well.arrived(timeout=5)
            assert [step.new is not None for step in well.take()] == [True]
        while not all(watcher.cut for watcher in watchers):  # noqa: ASYNC110 (each turn of the loop tells one of them)
            await asyncio.sleep(0)
        with pytest.raises(Expired):
            watchers[0].take()


async def test_what_this_server_writes_is_not_decoded_and_has_one_item_for_all() -> None:
    store, decode = EmbeddedStore(), Decoder()
    async with running(store, decode) as cache:
        key, obj = f"{NAME}default/own", config("own", a="1")
        value = codec.encode(obj)
        with cache.writing(key, value, obj):
            revision = await store.create(key, value)
        mine = cache.wrote(key, obj, revision, value)
        await cache.reached(revision)
        held = cache.get(key)
        assert held is mine
        assert held.object.metadata.resource_version == str(revision)
        assert decode.keys == []


async def test_what_another_server_writes_to_the_same_key_meanwhile_is_what_is_shown() -> None:
    store, decode = EmbeddedStore(), Decoder()
    async with running(store, decode) as cache:
        key, mine = f"{NAME}default/both", config("both", who="me")
        with cache.writing(key, codec.encode(mine), mine):
            revision = await store.create(key, codec.encode(config("both", who="other")))
            await cache.reached(revision)
        held = cache.get(key)
        assert held is not None
        assert held.object.data == {"who": "other"}
        assert decode.keys == [key]


class Stumbling(Decoder):
    """Cannot read one object, twice; and looks whether the cache calls itself ready when it is asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.cache: WatchCache | None = None
        self.ready: list[bool] = []

    def __call__(self, key: str, value: bytes) -> Any:
        made = super().__call__(key, value)
        if key.endswith("/odd") and self.cache is not None:
            self.ready.append(self.cache.ready())
            if len(self.ready) <= 2:
                raise RuntimeError("a defect")
        return made


async def test_a_defect_while_it_reads_a_change_does_not_leave_it_deaf(caplog: pytest.LogCaptureFixture) -> None:
    store, decode = EmbeddedStore(), Stumbling()
    async with running(store, decode) as cache:
        decode.cache, watcher = cache, cache.watch(NAME, cache.revision)
        await store.create(f"{NAME}default/odd", codec.encode(config("odd")))
        await cache.reached(await store.create(f"{NAME}default/next", codec.encode(config("next"))))
        assert sorted(cache.collection(NAME).items) == [f"{NAME}default/next", f"{NAME}default/odd"]
        with pytest.raises(Expired):
            watcher.take()
        assert decode.ready == [True, False, False] and cache.ready()
        assert cache.failures == {"defect": 2}
    told = [r.message for r in caplog.records if r.levelname == "ERROR"]
    assert told == ["the watch cache cannot take in what the store holds; reading everything again"] * 2


class Held(EmbeddedStore):
    """Its watch shows nothing while the gate is closed: a cache that has fallen behind."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()

    async def watch(self, prefix: str, *, after: int, previous: bool = True) -> AsyncIterator[Sequence[Change]]:
        async for batch in super().watch(prefix, after=after, previous=previous):
            await self.gate.wait()
            yield batch


@pytest.fixture
async def behind() -> AsyncIterator[tuple[Api, Held]]:
    store = Held()
    async with api_core(store=store, clock=SystemClock(), rng=Random(7)) as api:
        await api.create(CTX, CONFIG, "default", config("c", a="1"))
        await api.cache.fresh()
        store.gate.clear()
        yield api, store
        store.gate.set()


async def written_elsewhere(api: Api, store: Held, **data: str) -> int:
    """By a server that shares the store; this one's cache does not see it yet."""
    key = f"{NAME}default/c"
    held = api.cache.get(key)
    assert held is not None
    stored = replace(held.object, data=data, metadata=replace(held.object.metadata, resource_version=""))
    return await store.update(key, codec.encode(stored), at=held.revision)


async def finish(work: asyncio.Task[Any], store: Held) -> Any:
    """It must not decide while the cache is behind."""
    done, _ = await asyncio.wait([work], timeout=0.05)
    assert not done, "it was decided on old news"
    store.gate.set()
    return await work


async def test_an_update_at_the_newest_version_is_not_refused_because_the_cache_is_behind(
    behind: tuple[Api, Held],
) -> None:
    api, store = behind
    newest = await written_elsewhere(api, store, a="2")
    asked = config("c", a="3")
    asked = replace(asked, metadata=replace(asked.metadata, resource_version=str(newest)))
    item = await finish(asyncio.create_task(api.update(CTX, CONFIG, "default", "c", asked)), store)
    assert item.object.data == {"a": "3"}


async def test_an_update_to_what_the_cache_shows_is_written_when_the_store_has_something_else(
    behind: tuple[Api, Held],
) -> None:
    api, store = behind
    await written_elsewhere(api, store, a="2")
    item = await finish(asyncio.create_task(api.update(CTX, CONFIG, "default", "c", config("c", a="1"))), store)
    assert item.object.data == {"a": "1"}


async def test_an_object_created_elsewhere_can_be_deleted_at_once(behind: tuple[Api, Held]) -> None:
    api, store = behind
    await store.create(f"{NAME}default/new", codec.encode(config("new")))
    deleted = await finish(asyncio.create_task(api.delete(CTX, CONFIG, "default", "new")), store)
    assert deleted.gone


async def test_a_write_on_what_is_newest_anyway_does_not_wait_for_the_cache(behind: tuple[Api, Held]) -> None:
    api, _ = behind
    item = await asyncio.wait_for(api.update(CTX, CONFIG, "default", "c", config("c", a="9")), 2)
    assert item.object.data == {"a": "9"}
