"""The cache has lost a piece of the store's history: its watchers are told so, and not the difference as if it were all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from random import Random

import pytest

from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.storage.embedded import EmbeddedStore
from controlplane.storage.errors import Compacted, StoreUnavailable
from controlplane.storage.interface import Change
from kubeapi.client.local import LocalClient
from kubeapi.clock import LoopClock
from kubeapi.errors import Expired
from kubeapi.meta import replace
from kubeapi.types.core_v1 import ConfigMap
from kubeapi.types.meta_v1 import ObjectMeta

CLOCK = LoopClock(datetime(2026, 1, 1, tzinfo=UTC))


class Broken(EmbeddedStore):
    """Its watch shows nothing while `deaf`, and then breaks as `breaks` says."""

    breaks: Exception | None = None

    def __init__(self) -> None:
        super().__init__()
        self.deaf = asyncio.Event()

    async def watch(self, prefix: str, *, after: int, previous: bool = True) -> AsyncIterator[Sequence[Change]]:  # type: ignore[override]
        source = super().watch(prefix, after=after, previous=previous)
        async for batch in source:
            if self.deaf.is_set() and self.breaks is not None:
                breaks, self.breaks = self.breaks, None
                if isinstance(breaks, Compacted):
                    await self.compact(await self.revision())
                raise breaks
            yield batch


def config_map(value: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name="a", namespace="default"), data={"v": value})


@pytest.mark.parametrize("breaks", [Compacted(0), StoreUnavailable("away")], ids=["compacted", "away"])
async def test_a_broken_watch_of_the_store(breaks: Exception) -> None:
    store = Broken()
    async with api_core(store=store, clock=CLOCK, rng=Random(1)) as api, asyncio.timeout(10):
        client = LocalClient(api, context=RequestContext)
        made = await client.create(config_map("1"))
        events = client.watch(ConfigMap, "default", resource_version=int(made.metadata.resource_version))
        async with aclosing(events):  # type: ignore[type-var]
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0)
            store.breaks = breaks
            store.deaf.set()
            revision = int(made.metadata.resource_version)
            key = "/registry/core/configmaps/default/a"
            entry = await store.get(key)
            assert entry is not None
            for value in (b"2", b"3"):  # written by another server
                revision = await store.update(key, entry.value.replace(b'"1"', b'"%b"' % value), at=revision)
            if isinstance(breaks, Compacted):
                with pytest.raises(Expired):
                    await waiting
                with pytest.raises(Expired):
                    await anext(
                        client.watch(ConfigMap, "default", resource_version=int(made.metadata.resource_version))
                    )
            else:
                seen = [event.object.data["v"] for event in await waiting]
                while len(seen) < 2:
                    seen += [event.object.data["v"] for event in await anext(events)]
                assert seen == ["2", "3"]
        await client.update(replace((await client.list(ConfigMap, "default")).items[0], data={"v": "4"}))
