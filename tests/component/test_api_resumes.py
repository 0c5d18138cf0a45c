"""A server that begins goes on with the history of the one before it: watches over a restart miss nothing, list nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from random import Random
from time import process_time

import pytest

from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.storage.open import open_store
from kubeapi.client.interface import WatchEvent
from kubeapi.client.local import LocalClient
from kubeapi.clock import SystemClock
from kubeapi.errors import Expired
from kubeapi.meta import replace
from kubeapi.types.core_v1 import ConfigMap, Secret
from kubeapi.types.meta_v1 import ObjectMeta
from tests.support.etcd_server import EtcdServer

CLOCK = SystemClock()


@pytest.fixture(params=["sqlite", pytest.param("etcd", marks=pytest.mark.etcd)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/store.db"
    server: EtcdServer = request.getfixturevalue("etcd_server")
    return f"etcd://{server.endpoint}"


@asynccontextmanager
async def server(url: str) -> AsyncIterator[LocalClient]:
    store = open_store(url)
    try:
        async with api_core(store=store, clock=CLOCK, rng=Random(1)) as api:
            yield LocalClient(api, context=RequestContext)
    finally:
        await store.close()


def config_map(name: str, value: str) -> ConfigMap:
    return ConfigMap(
        metadata=ObjectMeta(name=name, namespace="default", labels={"v": value, "x": "y"}), data={"v": value}
    )


async def some_events(client: LocalClient, after: int, count: int, labels: str = "x=y") -> list[WatchEvent[ConfigMap]]:
    found: list[WatchEvent[ConfigMap]] = []
    stream = client.watch(ConfigMap, "default", resource_version=after, label_selector=labels)
    async with asyncio.timeout(10), aclosing(stream) as batches:  # type: ignore[type-var]
        async for batch in batches:
            found += [event for event in batch if event.type != "BOOKMARK"]
            if len(found) >= count:
                return found
    raise AssertionError("the watch ended")


def shown(event: WatchEvent[ConfigMap]) -> tuple[str, int, str, str, str]:
    meta = event.object.metadata
    return event.type, event.resource_version, meta.name, meta.resource_version, event.object.data["v"]


async def test_a_watch_goes_on_over_a_restart_from_any_revision(url: str) -> None:
    """Every event, as the server before would have told it; a selector sees what came to fit, and what ceased to."""
    async with server(url) as client:
        begun = (await client.list(ConfigMap, "default")).resource_version
        a = await client.create(config_map("a", "1"))
        await asyncio.gather(*(client.create(config_map(f"many-{n}", "1")) for n in range(10)))
        await client.update(replace(config_map("a", "2"), metadata=replace(a.metadata, labels={"v": "2", "x": "y"})))
        await client.delete(ConfigMap, "many-3", "default")
        await client.delete(ConfigMap, "a", "default")
        await client.create(config_map("a", "3"))
        before = [shown(event) for event in await some_events(client, begun, 15)]
        fits = [shown(event)[:4] for event in await some_events(client, begun, 13, "v=1")]
    async with server(url) as client:
        await client.create(config_map("z", "9"))
        for position, revision in enumerate([begun, *(event[1] for event in before)]):
            after = [shown(event) for event in await some_events(client, revision, 16 - position)]
            assert after[:-1] == before[position:]
            assert after[-1][2] == "z"
        assert [shown(event)[:4] for event in await some_events(client, begun, 13, "v=1")] == fits


async def test_what_nobody_remembers_is_still_gone(url: str) -> None:
    async with server(url) as client:
        old = await client.create(config_map("a", "1"))
        await client.create(config_map("b", "1"))
    store = open_store(url)
    await store.create("/x", b"x")
    await store.compact(await store.create("/y", b"y"))
    await store.close()
    async with server(url) as client:
        with pytest.raises(Expired):
            await some_events(client, int(old.metadata.resource_version), 1)


async def test_a_busy_past_delays_neither_the_start_nor_much_the_first_old_watch(url: str) -> None:
    """The past is taken over beside all else, and decoded only of what is asked for: processor time is compared."""
    async with server(url) as client:
        begun = (await client.list(ConfigMap, "default")).resource_version
        for start in range(0, 1500, 100):
            many = (
                client.create(Secret(metadata=ObjectMeta(name=f"s{start + n}", namespace="default"), data={"k": b"v"}))
                for n in range(100)
            )
            await asyncio.gather(*many)
        await client.create(config_map("a", "1"))
    async with server(url) as client:
        used = process_time()
        (event,) = await some_events(client, begun, 1)
        used = process_time() - used
        assert event.object.metadata.name == "a"
        print(f"first old watch: {used * 1000:.0f} ms of processor time")
        assert used < 0.5
