"""Each of several API servers keeps its own address in the `kubernetes` service, and one that dies loses it in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from random import Random

import pytest

from controlplane.apiserver.api import Api
from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.members import LIFE, RENEW, Members
from controlplane.storage.embedded import EmbeddedStore
from controlplane.storage.etcd import EtcdStore
from controlplane.storage.interface import Store
from kubeapi.clock import SystemClock
from kubeapi.scheme import SCHEME
from kubeapi.types import coordination_v1, core_v1, discovery_v1
from tests.support.etcd_server import EtcdServer
from tests.support.hand_clock import HandClock

CTX = RequestContext()
ENDPOINTS, SLICES = SCHEME.resource_of(core_v1.Endpoints), SCHEME.resource_of(discovery_v1.EndpointSlice)
LEASES = SCHEME.resource_of(coordination_v1.Lease)
A, B = "10.0.0.1", "10.0.0.2"
Opener = Callable[[], AbstractAsyncContextManager[Store]]


@pytest.fixture(params=["embedded", pytest.param("etcd", marks=pytest.mark.etcd)])
def open_store(request: pytest.FixtureRequest) -> Opener:
    """The same store for every server."""
    if request.param == "embedded":
        shared = EmbeddedStore()

        @asynccontextmanager
        async def embedded() -> AsyncIterator[Store]:
            yield shared

        return embedded
    server: EtcdServer = request.getfixturevalue("etcd_server")

    @asynccontextmanager
    async def remote() -> AsyncIterator[Store]:
        store = EtcdStore([server.endpoint], compact_every=0)
        yield store
        await store.close()

    return remote


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


async def begin(stack: AsyncExitStack, open_store: Opener, address: str) -> Api:
    store = await stack.enter_async_context(open_store())
    core = api_core(store=store, clock=SystemClock(), rng=Random(1), address=address)
    return await stack.enter_async_context(core)


def member(api: Api, address: str, clock: HandClock) -> Members:
    return Members(api, address=address, port=6443, clock=clock, rng=Random(1))


async def told(api: Api) -> list[str]:
    """By the Endpoints; the slice must say the same."""
    endpoints = (await api.get(CTX, ENDPOINTS, "default", "kubernetes")).object
    piece = (await api.get(CTX, SLICES, "default", "kubernetes")).object
    found = [address.ip for subset in endpoints.subsets for address in subset.addresses]
    assert found == [address for endpoint in piece.endpoints for address in endpoint.addresses]
    return found


async def test_both_are_told_and_a_dead_one_goes_in_time(open_store: Opener, clock: HandClock) -> None:
    async with AsyncExitStack() as stack:
        one, two = await begin(stack, open_store, A), await begin(stack, open_store, B)
        assert await told(one) == await told(two) == [A, B]
        first, second = member(one, A, clock), member(two, B, clock)
        await asyncio.gather(first.look(), second.look())
        while clock.at < 60:
            clock.at += RENEW
            await second.look()
            await first.look()
            assert await told(one) == [A, B]
        died = clock.at  # the second one looks no more
        while await told(one) == [A, B]:
            clock.at += RENEW
            await first.look()
            assert clock.at - died <= LIFE
        assert clock.at - died == LIFE
        assert await told(two) == [A]
        assert len((await one.list(CTX, LEASES, "kube-system")).items) == 1
        await second.look()
        assert await told(one) == [A, B], "it is back, and nobody told so"


async def test_who_could_not_look_takes_nobody_for_dead(open_store: Opener, clock: HandClock) -> None:
    async with AsyncExitStack() as stack:
        one, two = await begin(stack, open_store, A), await begin(stack, open_store, B)
        first = member(one, A, clock)
        await first.look()
        clock.at += 10 * LIFE  # the store was away for both
        await first.look()
        assert await told(two) == [A, B]


async def test_an_orderly_end_is_told_at_once_and_the_last_one_stays(open_store: Opener, clock: HandClock) -> None:
    async with AsyncExitStack() as stack:
        one = await begin(stack, open_store, A)
        async with AsyncExitStack() as inner:
            await begin(inner, open_store, B)
            assert await told(one) == [A, B]
        assert await told(one) == [A]
        await member(one, A, clock).leave()
        assert await told(one) == [A]


async def test_what_is_right_is_not_written_again(open_store: Opener, clock: HandClock) -> None:
    async with AsyncExitStack() as stack:
        one = await begin(stack, open_store, A)
        before = (await one.get(CTX, SLICES, "default", "kubernetes")).revision
        clock.at += RENEW
        await member(one, A, clock).look()
        assert (await one.get(CTX, SLICES, "default", "kubernetes")).revision == before


async def test_a_server_that_comes_back_elsewhere_does_not_keep_its_old_address(
    open_store: Opener, clock: HandClock
) -> None:
    async with AsyncExitStack() as stack:
        async with AsyncExitStack() as inner:
            await begin(inner, open_store, A)
        two = await begin(stack, open_store, B)
        second = member(two, B, clock)
        for _ in range(int(LIFE / RENEW) + 2):
            await second.look()
            clock.at += RENEW
        assert await told(two) == [B]
