"""Addresses and ports of services on the memory store: what any client may rely on, whatever door it comes through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from controlplane.apiserver.api import Api
from controlplane.apiserver.build import api_core
from controlplane.apiserver.strategies.allocation import Allocator
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.clock import LoopClock, SystemClock
from kubeapi.errors import InternalError, Invalid
from kubeapi.meta import replace
from kubeapi.types import core_v1, discovery_v1, meta_v1, networking_v1
from tests.component.api_world import (
    CTX,
    SERVICES,
    memory_api,
    resource,
)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with memory_api() as made:
        yield made


def service(name: str, **spec: Any) -> core_v1.Service:
    port = core_v1.ServicePort(port=80)
    return core_v1.Service(
        metadata=meta_v1.ObjectMeta(name=name), spec=core_v1.ServiceSpec(**({"ports": [port]} | spec))
    )


async def test_addresses_and_node_ports_are_given_once_and_given_back(api: Api) -> None:
    first = (await api.create(CTX, SERVICES, "default", service("a", type="NodePort"))).object
    assert 30000 <= first.spec.ports[0].node_port <= 32767 and first.spec.ports[0].target_port == 80
    with pytest.raises(Invalid, match="provided IP is already allocated"):
        await api.create(CTX, SERVICES, "default", service("b", cluster_ip=first.spec.cluster_ip))
    await api.delete(CTX, SERVICES, "default", "a")
    second = await api.create(CTX, SERVICES, "default", service("b", cluster_ip=first.spec.cluster_ip))
    assert second.object.spec.cluster_ip == first.spec.cluster_ip
    headless = await api.create(CTX, SERVICES, "default", service("h", cluster_ip="None"))
    assert headless.object.spec.cluster_ip == "None"


async def test_the_service_kubernetes_has_the_first_address_and_the_servers_endpoints(api: Api) -> None:
    held = (await api.get(CTX, SERVICES, "default", "kubernetes")).object
    assert held.spec.cluster_ips == ["10.96.0.1"]
    with pytest.raises(Invalid, match="already allocated"):
        await api.create(CTX, SERVICES, "default", service("thief", cluster_ip="10.96.0.1"))
    for kind in (core_v1.Endpoints, discovery_v1.EndpointSlice):
        assert (await api.get(CTX, resource(kind), "default", "kubernetes")).object


async def test_two_servers_on_one_store_never_give_an_address_or_a_port_twice() -> None:
    store = EmbeddedStore()
    async with (
        api_core(store=store, clock=SystemClock(), rng=Random(5), service_cidr="10.9.0.0/26") as a,
        api_core(store=store, clock=SystemClock(), rng=Random(5), service_cidr="10.9.0.0/26") as b,
    ):
        wanted = [
            core.create(CTX, SERVICES, "default", service(f"s{n}{side}", type="NodePort"))
            for n in range(20)
            for side, core in (("a", a), ("b", b))
        ]
        made = [item.object.spec for item in await asyncio.gather(*wanted)]
        assert len({spec.cluster_ip for spec in made}) == len({spec.ports[0].node_port for spec in made}) == 40
        with pytest.raises(InternalError, match="no address is left"):
            for n in range(40):
                await a.create(CTX, SERVICES, "default", service(f"more{n}"))


async def test_servers_that_start_together_make_what_every_cluster_has_once() -> None:
    store = EmbeddedStore()

    async def start(stack: AsyncExitStack) -> Api:
        return await stack.enter_async_context(api_core(store=store, clock=SystemClock(), rng=Random(5)))

    async with AsyncExitStack() as one, AsyncExitStack() as two:
        a, b = await asyncio.gather(start(one), start(two))
        held = [(await core.get(CTX, SERVICES, "default", "kubernetes")).object for core in (a, b)]
        assert held[0] == held[1] and held[0].spec.cluster_ip == "10.96.0.1"
        assert (await b.get(CTX, resource(networking_v1.IPAddress), "", "10.96.0.1")).object


async def test_a_failed_create_and_a_change_of_type_give_back_what_was_taken(api: Api) -> None:
    await api.create(CTX, SERVICES, "default", service("a", type="NodePort"))
    addresses = resource(networking_v1.IPAddress)
    before = {i.object.metadata.name for i in (await api.list(CTX, addresses)).items}
    await asyncio.gather(
        *(api.create(CTX, SERVICES, "default", service("b", type="NodePort")) for _ in range(3)), return_exceptions=True
    )
    after = {i.object.metadata.name for i in (await api.list(CTX, addresses)).items}
    assert len(after - before) == 1
    port = (await api.get(CTX, SERVICES, "default", "a")).object.spec.ports[0].node_port
    plain = await api.patch(CTX, SERVICES, "default", "a", {"spec": {"type": "ClusterIP"}}, "merge")
    assert plain.object.spec.ports[0].node_port == 0
    again = service("c", type="NodePort")
    ports = [replace(again.spec.ports[0], node_port=port)]
    await api.create(CTX, SERVICES, "default", replace(again, spec=replace(again.spec, ports=ports)))


async def test_what_a_dead_server_left_behind_is_given_back_at_the_next_start() -> None:
    store, old = EmbeddedStore(), core_v1.Service(metadata=meta_v1.ObjectMeta(name="x", namespace="default"))
    then = LoopClock(datetime(2020, 1, 1, tzinfo=UTC))
    await Allocator(store=store, cidr="10.96.0.0/16", clock=then, rng=Random(1)).take_address("10.96.7.7", old)
    async with api_core(store=store, clock=SystemClock(), rng=Random(1)) as api:
        assert (await api.create(CTX, SERVICES, "default", service("a", cluster_ip="10.96.7.7"))).revision
