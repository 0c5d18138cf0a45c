"""A watch that ends oddly, or shows nothing, is begun anew: whoever follows the store never notices."""

from __future__ import annotations

import asyncio
import socket
from contextlib import aclosing

from controlplane.storage.errors import StoreUnavailable
from controlplane.storage.etcd import EtcdStore
from controlplane.storage.etcd_batch import MARKER, marker
from controlplane.storage.etcd_feed import Feed
from controlplane.storage.etcd_link import Link
from controlplane.storage.interface import Latest
from tests.support.odd_etcd import OddEtcd, cancelled_by_the_server, deaf, odd_etcd, slow


async def names(store: EtcdStore, count: int) -> list[str]:
    found: list[str] = []
    async with asyncio.timeout(10), aclosing(store.watch("/", after=0)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            found += [change.key for change in batch]
            if len(found) >= count:
                break
    return found


def fill(odd: OddEtcd) -> None:
    for name in (b"a", b"b"):
        odd.put(b"/sampan/" + name)


async def test_the_server_may_call_it_cancelled() -> None:
    async with odd_etcd(cancelled_by_the_server) as (odd, endpoint):
        store = EtcdStore([endpoint], compact_every=0)
        fill(odd)
        assert await names(store, 2) == ["/a", "/b"]
        assert odd.watches == 2
        await store.close()


async def test_it_moves_on_while_its_member_only_lets_it_in() -> None:
    """A member that begins takes connections before it answers on them."""
    async with odd_etcd() as (odd, endpoint):
        with socket.create_server(("127.0.0.1", 0)) as mute:
            mute.setblocking(False)
            link = Link([f"127.0.0.1:{mute.getsockname()[1]}", endpoint], None, probe=marker("/sampan"))
            fill(odd)
            feed = Feed(link, "/sampan", MARKER, 0, previous=False)
            async with asyncio.timeout(10), aclosing(feed.changes()) as batches:
                first = asyncio.ensure_future(anext(batches))
                let_in, _ = await asyncio.get_running_loop().sock_accept(mute)
                with let_in:
                    link.turn()
                    assert [change.key for change in await first] == ["/a"]
            await link.close()


async def test_one_that_shows_nothing_is_given_up_once_however_many_reads_have_waited_for_it() -> None:
    async with odd_etcd(deaf, slow) as (odd, endpoint):
        store = EtcdStore([endpoint], compact_every=0)
        fill(odd)
        following = asyncio.create_task(names(store, 2))
        await odd.watched.wait()
        reads = []
        for _ in range(30):
            reads.append(asyncio.create_task(store.latest()))
            await asyncio.sleep(0.01)
        assert {type(end) for end in await asyncio.gather(*reads, return_exceptions=True)} <= {StoreUnavailable, Latest}
        assert isinstance(reads[0].exception(), StoreUnavailable)
        assert await following == ["/a", "/b"]
        assert odd.watches == 2
        await store.close()
