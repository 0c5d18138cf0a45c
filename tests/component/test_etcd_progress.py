"""etcd's notifications of progress, ten times a second instead of every ten minutes: a watch under whose keys nothing changes
learns from them how far the store is. What we take from them must hold, for it is where a broken watch goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest
from aetcd import rpc
from aetcd.rpc import rpc_pb2_grpc

from controlplane.storage.errors import Compacted, StoreFull
from controlplane.storage.etcd import EtcdStore
from controlplane.storage.etcd_batch import MARKER, POSITION_BITS
from controlplane.storage.interface import Change
from tests.support.etcd_server import EtcdServer

pytestmark = pytest.mark.etcd
FLAG = "--experimental-watch-progress-notify-interval"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path, [f"{FLAG}=100ms"]) as made:
        yield made


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[EtcdServer]:
    """For the length of a test it tells no progress, as is its default."""
    with EtcdServer(tmp_path) as made:
        yield made


@asynccontextmanager
async def store_of(server: EtcdServer, root: str = "/sampan") -> AsyncIterator[EtcdStore]:
    store = EtcdStore([server.endpoint], root=root, compact_every=0)
    try:
        yield store
    finally:
        await store.close()


async def moved_on(others: EtcdStore, count: int = 50) -> int:
    """etcd's revision after so many writes that are not ours."""
    made = [await others.create(f"/{n}", b"") for n in range(count)]
    return made[-1] >> POSITION_BITS


async def follow(store: EtcdStore, after: int, into: list[Change]) -> None:
    async with aclosing(store.watch("/", after=after)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            into += batch


async def passes(store: EtcdStore, etcd_revision: int) -> None:
    (feed,) = store._feeds
    async with asyncio.timeout(5):
        while feed.passed < etcd_revision:
            await feed.moved.wait()


async def test_a_notification_never_runs_ahead_of_an_event(server: EtcdServer) -> None:
    """Under writers, on a watch of one of three keys: what comes after it is newer than what it says."""
    async with grpc.aio.insecure_channel(server.endpoint) as channel:
        kv, watch = rpc_pb2_grpc.KVStub(channel), rpc_pb2_grpc.WatchStub(channel).Watch()
        create = rpc.WatchCreateRequest(key=b"/key-0", progress_notify=True)
        await watch.write(rpc.WatchRequest(create_request=create))
        await watch.read()
        stop = asyncio.Event()

        async def write(n: int) -> None:
            while not stop.is_set():
                await kv.Put(rpc.PutRequest(key=b"/key-%d" % (n % 3), value=b"x"))
                if n == 0:
                    await asyncio.sleep(0.15)  # a watch that has just shown an event is not notified

        claimed, notified, events = 0, 0, 0
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            writing = [tasks.create_task(write(n)) for n in range(6) if n != 3]
            while notified < 20 or events < 20:
                response = await watch.read()
                for event in response.events:
                    assert event.kv.mod_revision > claimed, f"r{claimed} was said to have passed"
                events += len(response.events)
                if not response.events:
                    claimed, notified = response.header.revision, notified + 1
            stop.set()
            await asyncio.wait(writing)
        watch.cancel()


async def test_a_watch_that_learnt_of_progress_goes_on_after_the_compaction_of_what_it_passed(
    server: EtcdServer,
) -> None:
    """Nothing of ours has changed for long, etcd has forgotten all that time, and then its member dies."""
    async with store_of(server) as store, store_of(server, "/others") as others:
        found: list[Change] = []
        first = await store.create("/a", b"1")
        following = asyncio.create_task(follow(store, first, found))
        await asyncio.sleep(0)
        far = await moved_on(others)
        await passes(store, far)
        latest = await store.latest()
        assert latest.change == first and latest.upto >> POSITION_BITS >= far
        assert await store.get(MARKER) is None, "nobody had to nudge"
        await others.compact(latest.upto)
        server.kill()
        server.start()
        second = await others_then_ours(others, store)
        async with asyncio.timeout(10):
            while not found:  # noqa: ASYNC110 - the watch beside
                await asyncio.sleep(0.01)
        assert not following.done()
        assert [c.revision for c in found] == [second]
        following.cancel()
        await asyncio.wait([following])


async def others_then_ours(others: EtcdStore, store: EtcdStore) -> int:
    await others.create("/after", b"")
    return await store.create("/b", b"2")


async def test_without_notifications_a_reader_makes_the_watch_learn_it(silent: EtcdServer) -> None:
    async with store_of(silent) as store, store_of(silent, "/others") as others:
        found: list[Change] = []
        first = await store.create("/a", b"1")
        following = asyncio.create_task(follow(store, first, found))
        await asyncio.sleep(0)
        far = await moved_on(others)
        latest = await store.latest()
        assert latest.change == first and latest.upto >> POSITION_BITS >= far
        await others.compact(latest.upto)
        silent.kill()
        silent.start()
        second = await others_then_ours(others, store)
        async with asyncio.timeout(10):
            while not found:  # noqa: ASYNC110 - the watch beside
                await asyncio.sleep(0.01)
        assert [c.revision for c in found] == [second]
        following.cancel()
        await asyncio.wait([following])


async def test_a_full_etcd_that_moves_on_without_us_is_read_all_the_same(tmp_path: Path) -> None:
    """No marker can be written then. What is ours is compared instead: none of it may be newer than what the watch showed."""
    with EtcdServer(tmp_path, ["--quota-backend-bytes", "20000000"]) as server:
        async with store_of(server) as store, store_of(server, "/others") as others:
            found: list[Change] = []
            first = await store.create("/a", b"1")
            other = await others.create("/x", b"1")
            second = await store.create("/b", b"1")
            following = asyncio.create_task(follow(store, first, found))
            with pytest.raises(StoreFull):
                for n in range(60):
                    await others.create(f"/{n}", b"x" * 1_000_000)
            await others.delete("/x", at=other)
            for _ in range(3):
                assert await store.revision() == second
            gone = await store.delete("/b", at=second)
            assert await store.revision() == gone
            assert [c.revision for c in found] == [second, gone]
            assert not following.done()
            following.cancel()
            await asyncio.wait([following])


async def test_who_learnt_nothing_is_told_that_the_history_is_gone(silent: EtcdServer) -> None:
    """The counterpart: it is the progress that carried the two above over the compaction."""
    async with store_of(silent) as store, store_of(silent, "/others") as others:
        first = await store.create("/a", b"1")
        following = asyncio.create_task(follow(store, first, []))
        await asyncio.sleep(0)
        await moved_on(others)
        await others.compact((await others.latest()).upto)
        silent.kill()
        silent.start()
        with pytest.raises(Compacted):
            async with asyncio.timeout(10):
                await following
