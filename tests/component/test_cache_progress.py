"""How new the cache is, where nothing of ours changes: others share the etcd, and its revision moves on without us.

A revision that one server has told must mean something to every other; a bookmark must never be ahead of what was shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from controlplane.apiserver.cache import CATCH_UP, UNTOLD, WatchCache
from controlplane.storage.embedded import EmbeddedStore
from controlplane.storage.etcd import EtcdStore
from controlplane.storage.interface import Store
from kubeapi.clock import SystemClock
from kubeapi.errors import Timeout
from kubeapi.types.core_v1 import ConfigMap
from kubeapi.types.meta_v1 import ObjectMeta
from tests.support.etcd_server import EtcdServer

NAME = "/registry/core/configmaps/"
PROGRESS = "--experimental-watch-progress-notify-interval=100ms"


def decode(key: str, value: bytes) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=key.rpartition("/")[2]))


@asynccontextmanager
async def running(store: Store) -> AsyncIterator[WatchCache]:
    cache = WatchCache(store=store, decode=decode, rng=Random(1), clock=SystemClock())
    task = asyncio.create_task(cache.run())
    await cache.synced.wait()
    try:
        yield cache
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def shared(server: EtcdServer, root: str = "/sampan") -> AsyncIterator[EtcdStore]:
    store = EtcdStore([server.endpoint], root=root, compact_every=0)
    try:
        yield store
    finally:
        await store.close()


@pytest.mark.etcd
async def test_what_one_server_told_is_known_to_another_though_nothing_changes(etcd_server: EtcdServer) -> None:
    async with (
        shared(etcd_server) as a,
        shared(etcd_server) as b,
        shared(etcd_server, "/others") as others,
        running(a) as first,
    ):
        await a.create(f"{NAME}default/old", b"1")
        for n in range(3):
            await others.create(f"/{n}", b"")
        async with running(b) as second:  # what it shows is of a moment after all that
            told = second.revision
            assert told > first.revision
            async with asyncio.timeout(CATCH_UP / 2):
                await first.not_older(told)
            assert first.revision >= told
            watch = first.watch(NAME, told)
            made = await b.create(f"{NAME}default/new", b"1")
            assert await watch.arrived(5)
            assert [step.revision for step in watch.take()] == [made]
            watch.close()


@pytest.mark.etcd
async def test_a_bookmark_of_a_quiet_time_is_good_at_the_next_server(etcd_server: EtcdServer) -> None:
    """Though all that was ours before it has been compacted: it says how far the store was, not what was ours last."""
    async with shared(etcd_server, "/others") as others:
        async with shared(etcd_server) as store, running(store) as cache:
            await store.create(f"{NAME}default/old", b"1")
            made = [await others.create(f"/{n}", b"") for n in range(20)]
            await cache.fresh()
            bookmark = cache.revision
        await others.compact(made[-1])
        async with shared(etcd_server) as store, running(store) as cache:
            await cache.reaches_back(NAME, bookmark)
            watch = cache.watch(NAME, bookmark)
            new = await store.create(f"{NAME}default/new", b"1")
            assert await watch.arrived(5)
            assert [step.revision for step in watch.take()] == [new]
            watch.close()


@pytest.mark.etcd
async def test_a_revision_that_has_not_happened_is_refused_still(etcd_server: EtcdServer) -> None:
    async with shared(etcd_server) as store, running(store) as cache:
        begun = asyncio.get_running_loop().time()
        with pytest.raises(Timeout, match="Too large resource version"):
            await cache.not_older(cache.revision + (1 << 20))
        assert asyncio.get_running_loop().time() - begun < UNTOLD + CATCH_UP + 2


@pytest.fixture(params=["memory", pytest.param("etcd", marks=pytest.mark.etcd)])
async def stores(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[list[Store]]:
    """Two ways into one store; on etcd the notifications of progress come ten times a second, between all else."""
    if request.param == "memory":
        only = EmbeddedStore()
        yield [only, only]
        await only.close()
        return
    with EtcdServer(tmp_path_factory.mktemp("etcd"), [PROGRESS]) as server:
        async with shared(server) as one, shared(server) as two, shared(server, "/others") as others:
            noise = asyncio.create_task(make_noise(others))
            yield [one, two]
            noise.cancel()
            await asyncio.wait([noise])


async def make_noise(others: EtcdStore) -> None:
    number = 0
    while True:
        number += 1
        await others.create(f"/{number}", b"")
        await asyncio.sleep(0.002)


async def test_all_up_to_the_caches_revision_has_been_shown_and_none_comes_later(stores: list[Store]) -> None:
    """While writers write, others move the store on, and readers make the cache say how new it is."""
    told: list[int] = []
    moments: list[tuple[int, int]] = []
    stop = asyncio.Event()

    async def write(number: int, store: Store) -> None:
        key, rng = f"{NAME}default/{number}", Random(number)
        while not stop.is_set():
            at = await store.create(key, b"1")
            told.append(at)
            for _ in range(3):
                at = await store.update(key, b"2", at=at)
                told.append(at)
            told.append(await store.delete(key, at=at))
            await asyncio.sleep(rng.uniform(0, 0.02))

    async with running(stores[0]) as cache:
        collection = cache.collection(NAME)
        begun = cache.revision

        async def read() -> None:
            while not stop.is_set():
                acknowledged = max(told, default=0)
                await cache.fresh()
                assert cache.revision >= acknowledged
                moments.append((cache.revision, len(collection.steps)))
                await asyncio.sleep(0.003)

        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            for number in range(4):
                tasks.create_task(write(number, stores[number % 2]))
            tasks.create_task(read())
            while len(told) < 400 or len(moments) < 100:  # noqa: ASYNC110 - the tasks beside
                await asyncio.sleep(0.01)
            stop.set()
        await cache.fresh()
        shown = [step.revision for step in collection.steps]
        assert set(told) <= set(shown) and shown == sorted(set(shown))
        for revision, count in moments:
            assert sum(r <= revision for r in shown) == count, f"at r{revision} the cache had shown {count} changes"
        assert all(revision >= begun for revision, _ in moments)
