"""Two API servers on one etcd, writing at once: addresses unique, one winner per swap, both watches complete."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack
from random import Random

import pytest

from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.storage.etcd import EtcdStore
from kubeapi.clock import SystemClock
from kubeapi.errors import Conflict
from kubeapi.meta import replace
from kubeapi.scheme import SCHEME
from kubeapi.types import core_v1, meta_v1
from tests.support.etcd_server import EtcdServer

pytestmark = pytest.mark.etcd
CTX = RequestContext()
MAPS, SERVICES = SCHEME.resource_of(core_v1.ConfigMap), SCHEME.resource_of(core_v1.Service)
MANY = 30


async def test_two_servers_are_one_cluster(etcd_server: EtcdServer) -> None:
    async with AsyncExitStack() as stack:
        apis = []
        for seed in (1, 2):
            store = EtcdStore([etcd_server.endpoint], compact_every=0)
            stack.push_async_callback(store.close)
            apis.append(await stack.enter_async_context(api_core(store=store, clock=SystemClock(), rng=Random(seed))))
        watches = [await api.open_watch(SERVICES, "default", resource_version=str(api.cache.revision)) for api in apis]

        def service(name: str) -> core_v1.Service:
            spec = core_v1.ServiceSpec(ports=[core_v1.ServicePort(port=80)])
            return core_v1.Service(metadata=meta_v1.ObjectMeta(name=name), spec=spec)

        made = await asyncio.gather(
            *(apis[n % 2].create(CTX, SERVICES, "default", service(f"s{n}")) for n in range(MANY))
        )
        assert len({item.object.spec.cluster_ip for item in made}) == MANY
        for watch in watches:
            names: list[str] = []
            async with asyncio.timeout(5):
                while len([n for n in names if n != "kubernetes"]) < MANY:
                    await watch.arrived(None)
                    names += [e.item.object.metadata.name for e in watch.take() if e.item is not None]
            assert sorted(n for n in names if n != "kubernetes") == sorted(f"s{n}" for n in range(MANY))
            watch.close()

        # All of a batch share an etcd revision; still no object takes a neighbour's version for its own.
        for mine, other in itertools.pairwise(made):
            alien = replace(mine.object.metadata, resource_version=other.object.metadata.resource_version)
            with pytest.raises(Conflict):
                await apis[0].update(CTX, SERVICES, "default", alien.name, replace(mine.object, metadata=alien))

        one = await apis[0].create(CTX, MAPS, "default", core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name="c")))
        seen = (await apis[1].get(CTX, MAPS, "default", "c")).object
        assert seen.metadata.resource_version == str(one.revision)
        results = await asyncio.gather(
            *(apis[n % 2].update(CTX, MAPS, "default", "c", replace(seen, data={"n": str(n)})) for n in range(MANY)),
            return_exceptions=True,
        )
        assert sorted(type(r).__name__ for r in results) == sorted(["Item", *["Conflict"] * (MANY - 1)])
        assert all(isinstance(r, Conflict) for r in results if isinstance(r, Exception))
