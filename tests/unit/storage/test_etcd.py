"""What only etcd can do to a store: die under a watch, move on without us, be compacted by another server, be full."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, suppress
from pathlib import Path

import pytest
from aetcd import rpc

from controlplane.storage.errors import Compacted, OutcomeUnknown, StoreError, StoreFull, ValueTooLarge
from controlplane.storage.etcd import EtcdStore
from controlplane.storage.interface import Change
from tests.support.etcd_server import EtcdServer

pytestmark = [pytest.mark.etcd, pytest.mark.skipif(shutil.which("etcd") is None, reason="needs etcd")]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EtcdServer]:
    server = EtcdServer(tmp_path, ["--quota-backend-bytes", "20000000"])
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def store(server: EtcdServer) -> AsyncIterator[EtcdStore]:
    opened = EtcdStore([server.endpoint], compact_every=0)
    yield opened
    await opened.close()


async def collect(store: EtcdStore, into: list[Change], count: int) -> None:
    async with aclosing(store.watch("/", after=0)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            into += batch
            if len(into) >= count:
                return


async def test_a_watch_survives_kill_9_of_etcd_and_loses_nothing(server: EtcdServer, store: EtcdStore) -> None:
    found: list[Change] = []
    watching = asyncio.create_task(collect(store, found, 40))
    made = list(await asyncio.gather(*(store.create(f"/a{n}", b"") for n in range(20))))
    server.kill()
    with pytest.raises(OutcomeUnknown):
        await store.create("/lost", b"")
    server.start()
    for n in range(20):
        while True:
            with suppress(OutcomeUnknown):
                made.append(await store.create(f"/b{n}", b""))
                break
    await asyncio.wait_for(watching, 10)
    assert [c.revision for c in found] == sorted(made)


async def test_a_foreign_write_does_not_hold_up_consistent_reads(store: EtcdStore) -> None:
    found: list[Change] = []
    watching = asyncio.create_task(collect(store, found, 2))
    made = await store.create("/a", b"")
    await store.revision()
    await store._link().call("Put", rpc.PutRequest(key=b"foreign", value=b"x"))
    assert await store.revision() == made
    await store.create("/b", b"")
    await watching
    assert [c.key for c in found] == ["/a", "/b"]


async def test_two_servers_share_one_history_and_compact_it_safely(server: EtcdServer, store: EtcdStore) -> None:
    other = EtcdStore([server.endpoint], compact_every=0)
    first = await store.create("/a", b"1")
    second = await other.update("/a", b"2", at=first)
    third = await store.update("/a", b"3", at=second)
    await store.compact(third)
    await other.compact(second)
    with pytest.raises(Compacted):
        await anext(aiter(other.watch("/", after=first)))
    entry = await other.get("/a")
    assert entry is not None and entry.revision == third
    await other.close()


async def test_too_large_and_full_are_told_apart(store: EtcdStore) -> None:
    with pytest.raises(ValueTooLarge):
        await store.create("/big", b"x" * 2_000_000)
    newest = first = await store.create("/f0", b"x" * 1_000_000)
    with pytest.raises(StoreFull):
        for n in range(1, 60):
            newest = await store.create(f"/f{n}", b"x" * 1_000_000)
    mixed = await asyncio.gather(
        store.delete("/f0", at=first), store.create("/more", b"x" * 1000), return_exceptions=True
    )
    assert isinstance(mixed[0], int) and mixed[0] > newest
    assert isinstance(mixed[1], StoreFull)


async def test_one_linearizable_read_serves_all_who_ask_at_once(store: EtcdStore) -> None:
    made = await store.create("/a", b"")
    results = await asyncio.gather(*(store.revision() for _ in range(100)))
    assert set(results) == {results[0]} and results[0] >= made


async def test_writes_of_one_moment_go_as_few_transactions(store: EtcdStore) -> None:
    made = await asyncio.gather(*(store.create(f"/a{n}", b"") for n in range(300)), return_exceptions=True)
    assert not any(isinstance(m, StoreError) for m in made)
    assert len({int(m) >> 8 for m in made if isinstance(m, int)}) <= 5
