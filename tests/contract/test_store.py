"""What every store must do: memory, SQLite, and a real etcd (one for the session, a root of its own for each test)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from controlplane.storage.errors import Compacted, KeyExists, KeyMissing, RevisionConflict, StoreUnavailable
from controlplane.storage.interface import Change, Latest, Store
from controlplane.storage.metrics import MeasuredStore, StoreMetrics
from controlplane.storage.open import open_store
from sampan.cluster_pki import Identity, Pki
from tests.support.etcd_server import EtcdServer

CLIENT = Identity("etcd-client", "etcd-client")


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    folder = tmp_path_factory.mktemp("etcd")
    with EtcdServer(folder, pki=certificates(folder / "pki")) as server:
        yield server


def certificates(folder: Path) -> Pki:
    pki = Pki(folder, now=datetime.now(UTC))
    pki.authority()
    pki.server("etcd", addresses=["127.0.0.1"], names=["localhost"])
    pki.client(CLIENT)
    return pki


def over_tls(etcd: EtcdServer, root: str) -> str:
    folder = etcd.folder / "pki"
    files = f"ca={folder}/ca.crt&cert={folder}/{CLIENT.file}.crt&key={folder}/{CLIENT.file}.key"
    return f"etcd://127.0.0.1:{etcd.tls_port}/{root}?{files}"


ETCD = pytest.mark.etcd


@pytest.fixture(
    params=["memory", "sqlite", "measured", pytest.param("etcd", marks=ETCD), pytest.param("etcd-tls", marks=ETCD)]
)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "etcd":
        opened = open_store(f"etcd://{request.getfixturevalue('etcd').endpoint}/{tmp_path.name}")
    elif request.param == "etcd-tls":
        opened = open_store(over_tls(request.getfixturevalue("etcd"), tmp_path.name))
    else:
        opened = open_store("memory:" if request.param == "memory" else f"sqlite://{tmp_path}/store.db")
    if request.param == "measured":
        opened = MeasuredStore(opened, StoreMetrics(CollectorRegistry()))
    yield opened
    await opened.close()


async def seen(store: Store, prefix: str, after: int, count: int, *, previous: bool = True) -> list[Change]:
    changes: list[Change] = []
    async with asyncio.timeout(5):
        async with aclosing(store.watch(prefix, after=after, previous=previous)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                changes += batch
                if len(changes) >= count:
                    break
    return changes


async def test_compare_and_swap(store: Store) -> None:
    first = await store.create("/a", b"1")
    with pytest.raises(KeyExists):
        await store.create("/a", b"x")
    second = await store.update("/a", b"2", at=first)
    assert second > first
    with pytest.raises(RevisionConflict) as caught:
        await store.update("/a", b"3", at=first)
    assert caught.value.current == second
    with pytest.raises(RevisionConflict):
        await store.delete("/a", at=first)
    with pytest.raises(KeyMissing):
        await store.update("/none", b"", at=1)
    with pytest.raises(KeyMissing):
        await store.delete("/none", at=1)
    entry = await store.get("/a")
    assert entry is not None and (entry.value, entry.revision) == (b"2", second)


async def test_a_delete_has_a_revision_of_its_own_and_the_last_value(store: Store) -> None:
    made = await store.create("/a", b"1")
    gone = await store.delete("/a", at=made)
    assert gone > made
    assert await store.get("/a") is None
    assert (await seen(store, "/", made, 1)) == [Change("delete", "/a", b"1", gone, b"1")]


async def test_who_asks_for_no_values_before_is_told_the_same_changes(store: Store) -> None:
    start = await store.revision()
    first = await asyncio.gather(*(store.create(f"/{key}", b"1") for key in "abcdef"))
    second = await asyncio.gather(
        *(store.update(f"/{key}", b"2", at=at) for key, at in zip("abc", first, strict=False))
    )
    gone = zip("abde", [*second[:2], *first[3:5]], strict=True)
    await asyncio.gather(*(store.delete(f"/{key}", at=at) for key, at in gone), store.create("/g", b"1"))

    def told(changes: list[Change]) -> list[tuple[str, str, int, bytes]]:
        return [(c.type, c.key, c.revision, c.value if c.type == "put" else b"") for c in changes]

    count = 6 + 3 + 4 + 1
    whole = await seen(store, "/", start, count)
    assert len(whole) == count
    assert told(await seen(store, "/", start, count, previous=False)) == told(whole)


async def test_pages_cover_the_prefix_once_in_order(store: Store) -> None:
    for number in (3, 1, 2, 5, 4):
        await store.create(f"/p/{number}", b"")
    await store.create("/q/1", b"")
    keys: list[str] = []
    start = ""
    while True:
        page = await store.range("/p/", start=start, limit=2)
        keys += [e.key for e in page.entries]
        if not page.more:
            break
        start = page.entries[-1].key + "\0"
    assert keys == [f"/p/{n}" for n in (1, 2, 3, 4, 5)]


async def test_a_past_revision_is_shown_as_it_was(store: Store) -> None:
    first = await store.create("/a", b"1")
    await store.update("/a", b"2", at=first)
    await store.create("/b", b"")
    page = await store.range("/", revision=first)
    assert [(e.key, e.value) for e in page.entries] == [("/a", b"1")]


async def test_a_watch_resumed_at_any_revision_loses_and_repeats_nothing(store: Store) -> None:
    begun = await store.revision()
    made = await asyncio.gather(*(store.create(f"/k{n}", b"1") for n in range(20)))
    await asyncio.gather(*(store.delete(f"/k{n}", at=made[n]) for n in range(10)))
    everything = await seen(store, "/", begun, 30)
    revisions = [c.revision for c in everything]
    assert len(revisions) == 30 and revisions == sorted(set(revisions))
    for position, change in enumerate(everything[:-1]):
        assert await seen(store, "/", change.revision, 29 - position) == everything[position + 1 :]


async def test_a_watch_from_before_the_compaction_is_refused(store: Store) -> None:
    first = await store.create("/a", b"1")
    second = await store.update("/a", b"2", at=first)
    third = await store.update("/a", b"3", at=second)
    await store.compact(second)
    with pytest.raises(Compacted):
        await seen(store, "/", first, 1)
    assert [c.revision for c in await seen(store, "/", second, 1)] == [third]


async def test_of_concurrent_swaps_at_one_revision_exactly_one_wins(store: Store) -> None:
    at = await store.create("/a", b"0")
    results = await asyncio.gather(*(store.update("/a", b"%d" % n, at=at) for n in range(50)), return_exceptions=True)
    assert sum(isinstance(r, int) for r in results) == 1
    assert sum(isinstance(r, RevisionConflict) for r in results) == 49


async def test_mixed_batches_are_one_history_that_acknowledgements_reads_and_watches_agree_on(store: Store) -> None:
    """Writes of one moment, some refused: each acknowledged one is in the watch once, at the revision it was told."""
    rng = random.Random(7)
    begun = await store.revision()
    held: dict[str, int] = {}
    told: list[int] = []
    for _ in range(15):
        keys = [f"/m/{n}" for n in rng.sample(range(60), 30)]

        async def write(key: str, kind: float) -> None:
            try:
                if key not in held or kind < 0.1:
                    held[key] = await store.create(key, b"new")
                elif kind < 0.5:
                    gone = await store.delete(key, at=held[key] if kind > 0.2 else 1)
                    del held[key]
                    told.append(gone)
                    return
                else:
                    held[key] = await store.update(key, b"%f" % kind, at=held[key])
                told.append(held[key])
            except (KeyExists, RevisionConflict):
                pass

        await asyncio.gather(*(write(key, rng.random()) for key in keys))
    assert {e.key: e.revision for e in (await store.range("/m/")).entries} == held
    everything = await seen(store, "/", begun, len(told))
    revisions = [c.revision for c in everything]
    assert revisions == sorted(told) and len(set(told)) == len(told)
    for cut in rng.sample(range(len(told) - 1), 25):
        assert await seen(store, "/", revisions[cut], len(told) - cut - 1) == everything[cut + 1 :]
    state: dict[str, int] = {}
    for change in everything[: len(told) // 2]:
        state[change.key] = change.revision
        if change.type == "delete":
            del state[change.key]
    past = await store.range("/m/", revision=revisions[len(told) // 2 - 1])
    assert {e.key: e.revision for e in past.entries} == state


async def test_the_revision_is_never_behind_an_acknowledged_write(store: Store) -> None:
    for n in range(5):
        made = await store.create(f"/r{n}", b"")
        assert await store.revision() >= made


async def test_between_the_latest_change_and_what_is_told_beside_it_there_is_none_and_none_comes(store: Store) -> None:
    """Asked while others write, with a watch under way and without; who watches has been shown all up to then."""
    told: list[int] = []

    async def write(name: str) -> None:
        at = await store.create(name, b"0")
        told.append(at)
        for _ in range(8):
            at = await store.update(name, b"1", at=at)
            told.append(at)
        told.append(await store.delete(name, at=at))

    async def ask(writing: Sequence[asyncio.Task[None]]) -> list[tuple[int, Latest]]:
        found = []
        while not all(task.done() for task in writing):
            acknowledged = max(told, default=0)
            found.append((acknowledged, await store.latest()))
            await asyncio.sleep(0)
        return found

    for round_ in range(2):
        watched = asyncio.create_task(seen(store, "/", max(told), 60)) if round_ else None
        writing = [asyncio.create_task(write(f"/l{round_}{n}")) for n in range(6)]
        moments = await ask(writing)
        await asyncio.gather(*writing)
        for acknowledged, latest in moments:
            assert acknowledged <= latest.change <= latest.upto
            assert not [r for r in told if latest.change < r <= latest.upto]
        if watched is not None:
            assert [c.revision for c in await watched] == sorted(told)[-60:]
    last = await store.latest()
    assert last.change == max(told) or last.change == last.upto
    assert await store.create("/after", b"") > last.upto


async def test_a_swap_at_a_neighbours_revision_is_refused(store: Store) -> None:
    made = await asyncio.gather(*(store.create(f"/n{n}", b"") for n in range(5)))
    for wrong in made[1:]:
        with pytest.raises(RevisionConflict):
            await store.update("/n0", b"x", at=wrong)


async def test_a_swap_at_an_earlier_revision_is_refused_whoever_wrote_beside_it(store: Store) -> None:
    had = list(await asyncio.gather(*(store.create(f"/n{n}", b"") for n in range(5))))
    for _ in range(2):
        had += await asyncio.gather(*(store.update(f"/n{n}", b"x", at=had[n - 5]) for n in range(5)))
    for n in range(5):
        for old in had[n:-5:5]:
            with pytest.raises(RevisionConflict) as refused:
                await store.update(f"/n{n}", b"late", at=old)
            assert refused.value.current == had[n - 5]
            with pytest.raises(RevisionConflict):
                await store.delete(f"/n{n}", at=old)
    assert [e.value for e in (await store.range("/n")).entries] == [b"x"] * 5


async def test_the_newest_changes_up_to_a_revision_are_told_to_who_comes_later(store: Store) -> None:
    begun = await store.revision()
    made = await asyncio.gather(*(store.create(f"/old{n}", b"1") for n in range(6)))
    gone = await store.delete("/old0", at=made[0])
    upto = await store.revision()
    await store.create("/later", b"1")
    everything = await seen(store, "/", begun, 7)
    recent = await store.recent("/", upto=upto, most=100)
    assert recent.after <= begun and list(recent.changes)[-7:] == everything[:7]
    assert recent.changes[-1].revision == gone
    few = await store.recent("/", upto=upto, most=3)
    assert (few.after, list(few.changes)) == (everything[3].revision, everything[4:7])
    assert [c.key for c in (await store.recent("/old0", upto=upto, most=100)).changes] == ["/old0", "/old0"]


async def test_of_what_is_compacted_nothing_is_told_to_who_comes_later(store: Store) -> None:
    first = await store.create("/a", b"1")
    second = await store.update("/a", b"2", at=first)
    third = await store.update("/a", b"3", at=second)
    await store.compact(second)
    recent = await store.recent("/", upto=third, most=100)
    assert first <= recent.after <= third
    assert [c.revision for c in recent.changes] == [r for r in (second, third) if r > recent.after]


@pytest.mark.etcd
async def test_over_tls_only_who_has_a_certificate_and_the_right_authority(etcd: EtcdServer, tmp_path: Path) -> None:
    other = certificates(tmp_path / "other")
    url = over_tls(etcd, "tls")
    refused = [
        url.replace(f"ca={etcd.folder}/pki/ca.crt", f"ca={other.certificate('ca')}"),
        url.partition("&cert=")[0],
        url.replace(f"{etcd.folder}/pki/{CLIENT.file}", f"{tmp_path}/other/{CLIENT.file}"),
    ]
    for wrong in refused:
        store = open_store(wrong)
        with pytest.raises(StoreUnavailable):
            await store.get("/a")
        await store.close()


async def test_what_it_takes_on_its_disk_is_told(store: Store, request: pytest.FixtureRequest) -> None:
    param = request.node.callspec.params["store"]
    if param == "memory":
        assert await store.size() is None
        return
    await store.create("/size/a", b"x")
    before = await store.size()
    for number in range(8):
        await store.create(f"/size/b{number}", b"x" * 500_000)
    assert before is not None and before.store == ("etcd" if param.startswith("etcd") else "sqlite")
    async with asyncio.timeout(5):  # etcd writes its log first, and its database ten times a second
        while (after := await store.size()) is None or after.bytes < 4_000_000:  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.02)
    assert before.bytes <= after.bytes


async def test_a_store_that_is_away_tells_no_size() -> None:
    nowhere = open_store("etcd://127.0.0.1:1/nowhere")
    with pytest.raises(StoreUnavailable):
        await nowhere.size()
    await nowhere.close()
