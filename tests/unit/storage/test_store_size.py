"""The store's size at a scrape: told, or left out, but never waited for, nor a failure."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from controlplane.apiserver.doors.metrics import Metrics
from controlplane.storage.embedded import EmbeddedStore
from controlplane.storage.errors import StoreUnavailable
from controlplane.storage.interface import Size
from controlplane.storage.metrics import StoreSize

NAME = "apiserver_storage_size_bytes"


class Moody(EmbeddedStore):
    mood = "well"
    asked = 0

    async def size(self) -> Size | None:
        self.asked += 1
        if self.mood == "away":
            raise StoreUnavailable("no etcd")
        if self.mood == "silent":
            await asyncio.Event().wait()
        return Size("etcd", 4096)


@pytest.mark.looptime
async def test_a_scrape_tells_the_size_or_goes_without_it() -> None:
    store, registry = Moody(), CollectorRegistry()
    size = StoreSize(store, registry)

    def told() -> float | None:
        return registry.get_sample_value(NAME, {"storage_cluster_id": "etcd-0"})

    assert told() is None and store.asked == 0, "nobody asks the store but for a scrape"
    await size.ask()
    assert told() == 4096
    for mood in ("away", "silent"):
        store.mood = mood
        begun = asyncio.get_running_loop().time()
        await size.ask()
        assert told() is None, "no figure rather than an old one"
        assert asyncio.get_running_loop().time() - begun <= 1
        store.mood = "well"
        await size.ask()
        assert told() == 4096
    assert store.asked == 5


async def test_a_page_of_metrics_asks_first() -> None:
    store, metrics = Moody(), Metrics()
    metrics.before_scrape(StoreSize(store, metrics.registry).ask)
    assert f'{NAME}{{storage_cluster_id="etcd-0"}} 4096.0'.encode() in await metrics.render()
    store.mood = "away"
    page = await metrics.render()
    assert f"{NAME}{{".encode() not in page and b"apiserver_current_inflight_requests" in page
