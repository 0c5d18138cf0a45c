"""What only etcd can do to a store: die under a watch, move on without us, be compacted by another server, be full."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from random import Random

import pytest
from aetcd import rpc

from controlplane.storage.errors import (
    Compacted,
    KeyExists,
    KeyMissing,
    OutcomeUnknown,
    StoreError,
    StoreFull,
    StoreUnavailable,
    ValueTooLarge,
)
from controlplane.storage.etcd import WARY, EtcdStore
from controlplane.storage.interface import Change
from tests.support.cable import Cable
from tests.support.etcd_server import EtcdServer

pytestmark = pytest.mark.etcd


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path, ["--quota-backend-bytes", "20000000"]) as server:
        yield server


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
    with pytest.raises(StoreUnavailable):
        await store.create("/lost", b"")
    server.start()
    for n in range(20):
        while True:
            with suppress(StoreUnavailable):
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
    for size in (2_000_000, 10_000_000):  # etcd refuses the one, gRPC the other
        with pytest.raises(ValueTooLarge):
            await store.create("/big", b"x" * size)
    newest = first = await store.create("/f0", b"x" * 1_000_000)
    with pytest.raises(StoreFull):
        for n in range(1, 60):
            with suppress(OutcomeUnknown):  # the write that raises the alarm may have taken place
                newest = await store.create(f"/f{n}", b"x" * 1_000_000)
    mixed = await asyncio.gather(
        store.delete("/f0", at=first), store.create("/more", b"x" * 1000), return_exceptions=True
    )
    assert isinstance(mixed[0], int) and mixed[0] > newest
    assert isinstance(mixed[1], StoreFull)


async def test_writes_of_one_moment_go_as_few_transactions(store: EtcdStore) -> None:
    made = await asyncio.gather(*(store.create(f"/a{n}", b"") for n in range(300)), return_exceptions=True)
    assert not any(isinstance(m, StoreError) for m in made)
    assert len({int(m) >> 8 for m in made if isinstance(m, int)}) <= 5


async def test_a_watch_that_breaks_right_after_a_batch_repeats_nothing(server: EtcdServer, store: EtcdStore) -> None:
    """The marker ends the batch, and its position is before its neighbours'."""
    found: list[Change] = []
    watching = asyncio.create_task(collect(store, found, 52))
    first = await store.create("/first", b"")
    made = await asyncio.gather(*(store.create(f"/a{n}", b"") for n in range(50)))
    while len(found) < 51:
        await store.revision()
    server.kill()
    server.start()
    while True:
        with suppress(StoreUnavailable):
            last = await store.create("/last", b"")
            break
    await asyncio.wait_for(watching, 10)
    assert [c.revision for c in found] == sorted([first, *made, last])


async def test_what_others_write_under_the_root_is_no_object_and_breaks_no_watch(store: EtcdStore) -> None:
    found: list[Change] = []
    watching = asyncio.create_task(collect(store, found, 3))
    made = await store.create("/a", b"ours")
    await store.revision()
    for key, value in ((b"/sampan/empty", b""), (b"/sampan/\xfe", b"x"), (b"/sampan/a", b"theirs")):
        await store._link().call("Put", rpc.PutRequest(key=key, value=value))
    assert await store.get("/a") is None and (await store.range("/")).entries == []
    with pytest.raises(KeyMissing):
        await store.update("/a", b"", at=made)
    last = await store.create("/z", b"")
    assert await store.revision() >= last
    await asyncio.wait_for(watching, 5)
    assert [(c.type, c.key, c.value) for c in found] == [
        ("put", "/a", b"ours"), ("delete", "/a", b"ours"), ("put", "/z", b"")
    ]  # fmt: skip


async def test_a_foreign_deletion_of_more_keys_than_a_batch_has_positions_stays_in_its_revision(
    store: EtcdStore,
) -> None:
    await asyncio.gather(*(store.create(f"/d{n:03}", b"") for n in range(300)))
    found: list[Change] = []
    watching = asyncio.create_task(collect(store, found, 601))
    await store._link().call("DeleteRange", rpc.DeleteRangeRequest(key=b"/sampan/d", range_end=b"/sampan/e"))
    last = await store.create("/z", b"")
    await asyncio.wait_for(watching, 5)
    revisions = [c.revision for c in found]
    assert revisions == sorted(revisions) and revisions[-1] == last and max(revisions[:-1]) < last
    assert len([c for c in found if c.type == "delete"]) == 300


async def test_readers_share_one_linearizable_read(server: EtcdServer, store: EtcdStore) -> None:
    """etcd's own count of the reads it served: a hundred readers cost two, the one under way and the next."""
    made = await store.create("/a", b"")
    before = await served(server, "Range")
    results = await asyncio.gather(*(store.revision() for _ in range(100)))
    assert set(results) == {results[0]} and results[0] >= made
    assert 1 <= await served(server, "Range") - before <= 2


async def served(server: EtcdServer, method: str) -> int:
    """How many calls of a method etcd has answered since it began."""

    def fetch() -> str:
        with urllib.request.urlopen(f"http://{server.endpoint}/metrics") as answer:
            return str(answer.read().decode())

    text = await asyncio.to_thread(fetch)
    found = re.search(rf'grpc_server_handled_total\{{grpc_code="OK",grpc_method="{method}".*\}} (\S+)', text)
    return int(float(found[1])) if found else 0


async def test_a_watch_of_a_closed_store_ends(server: EtcdServer) -> None:
    store = EtcdStore([server.endpoint], compact_every=0)
    await store.create("/a", b"")
    found: list[Change] = []
    watching = asyncio.create_task(collect(store, found, 99))
    while not found:
        await store.revision()
    await store.close()
    async with asyncio.timeout(5):
        await watching
    assert not watching.cancelled()


async def test_a_dead_first_endpoint_is_passed_over(server: EtcdServer) -> None:
    """Neither a read nor a write that was never sent fails for it."""
    for write_first in (True, False):
        store = EtcdStore(["127.0.0.1:1", server.endpoint], compact_every=0)
        if not write_first:
            assert await store.get("/a") is not None
        made = await store.create(f"/{'a' if write_first else 'b'}", b"")
        found: list[Change] = []
        await asyncio.wait_for(collect(store, found, 1 if write_first else 2), 5)
        assert found[-1].revision == made
        await store.close()


MOVED_WITHIN = 3.0
"""Seconds: patience, a probe, a little grace, and a busy machine."""


async def test_from_a_member_that_falls_silent_reads_watches_and_writes_move_to_the_next(server: EtcdServer) -> None:
    """It may be frozen, or the network cut: connections stay, and nothing comes. Only the write under way is in doubt."""
    loop = asyncio.get_running_loop()
    async with Cable(server.port).running() as cable:
        store = EtcdStore([cable.endpoint, server.endpoint], compact_every=0)
        found: list[Change] = []
        watching = asyncio.create_task(collect(store, found, 3))
        first = await store.create("/first", b"")
        assert await store.revision() >= first
        cable.silence()
        begun = loop.time()
        read = asyncio.create_task(store.revision())
        with pytest.raises(OutcomeUnknown, match="may have taken place"):
            await store.create("/lost", b"")
        second = await store.create("/second", b"")
        assert await read >= first
        third = await store.create("/third", b"")
        assert await store.revision() >= third
        assert loop.time() - begun < MOVED_WITHIN
        await asyncio.wait_for(watching, 5)
        assert [c.revision for c in found] == [first, second, third]
        cable.mend()
        await store.close()


async def test_when_all_members_are_silent_alike_nothing_is_given_up(server: EtcdServer) -> None:
    """A disk that stands still for a while: whoever waited is answered, and no outcome is in doubt."""
    async with Cable(server.port).running() as one, Cable(server.port).running() as two:
        store = EtcdStore([one.endpoint, two.endpoint], compact_every=0)
        await store.create("/first", b"")
        for cable in (one, two):
            cable.silence()
        waiting = [asyncio.create_task(store.create("/second", b"")), asyncio.create_task(store.revision())]
        done, _ = await asyncio.wait(waiting, timeout=2.5)
        assert not done
        for cable in (one, two):
            cable.mend()
        made, newest = await asyncio.wait_for(asyncio.gather(*waiting), 5)
        assert made and newest
        assert store._link().current == 0
        await store.close()


@pytest.mark.parametrize("seed", [1, 2])
async def test_compaction_under_live_watches_and_a_bad_line(server: EtcdServer, seed: int) -> None:
    """Another server compacts to the newest revision all the time; the watch's line falls silent now and then. A watch sees
    every change once and in order, or it is told that it cannot: there is never a hole."""
    rng = Random(seed)
    other = EtcdStore([server.endpoint], compact_every=0)
    made: list[int] = []
    seen: list[int] = []
    listed: list[tuple[int, int]] = []
    """After which revision a list took the watch's place, and up to which."""

    async def write() -> None:
        held: dict[str, int] = {}
        for _ in range(40):
            for key in (f"/k{n}" for n in rng.sample(range(12), 6)):
                if key not in held:
                    held[key] = await other.create(key, b"x")
                elif rng.random() < 0.4:
                    made.append(await other.delete(key, at=held.pop(key)))
                    continue
                else:
                    held[key] = await other.update(key, b"y", at=held[key])
                made.append(held[key])
            if rng.random() < 0.5:
                await other.compact(made[-1])
        made.append(await other.create("/last", b""))

    async with Cable(server.port).running() as cable:
        store = EtcdStore([cable.endpoint], compact_every=0)
        after = await store.revision()

        async def follow() -> None:
            since = after
            while True:
                try:
                    async with aclosing(store.watch("/", after=since)) as batches:  # type: ignore[type-var]
                        async for batch in batches:
                            seen.extend(c.revision for c in batch)
                            since = seen[-1]
                            if batch[-1].key == "/last":
                                return
                except Compacted:  # it lists, and goes on from there
                    page = await other.range("/")
                    listed.append((since, page.revision))
                    since = page.revision
                    if any(entry.key == "/last" for entry in page.entries):
                        return

        async def disturb() -> None:
            while True:
                await asyncio.sleep(rng.uniform(0.05, 0.3))
                if rng.random() < 0.5:
                    cable.silence()
                    await asyncio.sleep(rng.uniform(0.05, 0.3))
                    cable.mend()
                else:
                    cable.cut()

        writing = asyncio.create_task(write())
        disturbing = asyncio.create_task(disturb())
        async with asyncio.timeout(20):
            following = asyncio.create_task(follow())
            await writing
            disturbing.cancel()
            await asyncio.wait([disturbing])
            cable.mend()
            await following
        await store.close()
    await other.close()
    print(f"{len(made)} changes, {len(listed)} times told that the history is gone")
    assert seen == [r for r in made if not any(after < r <= upto for after, upto in listed)]


async def test_writes_go_together_until_one_is_refused_which_takes_no_other_along(
    server: EtcdServer, store: EtcdStore
) -> None:
    async def create(*names: str) -> list[int | BaseException]:
        return await asyncio.gather(*(store.create(f"/{name}", b"x") for name in names), return_exceptions=True)

    begun = await served(server, "Txn")
    made = await create(*(f"a{n}" for n in range(20)))
    assert await served(server, "Txn") == begun + 1
    again = await create("b1", "a3", "b2")
    assert await served(server, "Txn") == begun + 3
    assert isinstance(again[1], KeyExists)
    shown: list[Change] = []
    await collect(store, shown, 22)
    assert [c.revision for c in shown] == [*made, again[0], again[2]]
    for number in range(WARY - 1):  # each for itself now, so that refusals cost no second try
        assert isinstance((await create(f"c{number}", "a3"))[1], KeyExists)
    assert await served(server, "Txn") == begun + 3 + WARY - 1
    assert isinstance((await create("d", "a3"))[1], KeyExists)
    assert await served(server, "Txn") == begun + 3 + WARY + 1
