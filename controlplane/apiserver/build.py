"""Puts the API core together around a store; the doors, and a cluster in a test, start from here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from random import Random

from controlplane.apiserver.api import Api
from controlplane.apiserver.auth.authn import Authenticator, TokenSource
from controlplane.apiserver.auth.authz import Authorizer
from controlplane.apiserver.auth.node import NodeAuthorizer
from controlplane.apiserver.auth.rbac import Rbac
from controlplane.apiserver.auth.tokens import ServiceAccountTokens, TokenKeys
from controlplane.apiserver.bootstrap import bootstrap
from controlplane.apiserver.cache import WatchCache
from controlplane.apiserver.members import Members
from controlplane.apiserver.registry import Registry
from controlplane.apiserver.strategies.all import all_strategies
from controlplane.apiserver.strategies.allocation import Allocator
from controlplane.apiserver.strategies.pod_admission import Surroundings
from controlplane.apiserver.strategies.storage import DEFAULT_CLASS
from controlplane.storage.errors import StoreError
from controlplane.storage.interface import Store
from kubeapi.clock import Clock
from kubeapi.errors import ApiError

log = logging.getLogger(__name__)

SERVICE_CIDR = "10.96.0.0/16"
LEAVE_WITHIN = 0.5
"""Seconds for telling the others that this server goes."""
REPAIR_EVERY = 180.0
"""Seconds between two looks for addresses and ports that were left behind."""


@asynccontextmanager
async def api_core(
    *,
    store: Store,
    clock: Clock,
    rng: Random,
    service_cidr: str = SERVICE_CIDR,
    address: str = "127.0.0.1",
    port: int = 6443,
    tokens: Iterable[TokenSource] = (),
    token_keys: TokenKeys | None = None,
) -> AsyncIterator[Api]:
    """An Api whose cache is warm, whose allocations are known and whose namespaces exist; stops with the block."""
    allocator = Allocator(store=store, cidr=service_cidr, clock=clock, rng=rng)
    cache: WatchCache

    def default_class() -> str:
        items = cache.collection("/registry/storage.k8s.io/storageclasses/").items.values()
        names = [i.object.metadata.name for i in items if i.object.metadata.annotations.get(DEFAULT_CLASS) == "true"]
        return min(names, default="")

    around = Surroundings(
        find=lambda key: item.object if (item := cache.get(key)) is not None else None,
        every=lambda prefix: [i.object for i in cache.collection(prefix).items.values()],
    )
    registry = Registry(all_strategies(allocator=allocator, default_class=default_class, around=around, rng=rng))
    cache = WatchCache(store=store, decode=registry.decode, rng=rng, clock=clock)
    feeder = asyncio.create_task(cache.run(), name="watch-cache")
    tasks = [feeder]

    async def repair() -> None:
        await allocator.repair([i.object for i in cache.collection("/registry/core/services/").items.values()])

    try:
        await cache.synced.wait()
        await repair()
        accounts = ServiceAccountTokens(cache=cache, keys=token_keys or TokenKeys(), clock=clock, rng=rng)
        api = Api(
            store=store,
            cache=cache,
            registry=registry,
            clock=clock,
            rng=rng,
            authorizer=Authorizer(rbac=Rbac(cache), nodes=NodeAuthorizer(cache)),
            authenticator=Authenticator([*tokens, accounts]),
            tokens=accounts,
        )
        await bootstrap(api, port=port, service_cidr=service_cidr, first=allocator.first)
        members = Members(api, address=address, port=port, clock=clock, rng=rng)
        await members.try_look()
        tasks.append(asyncio.create_task(_housekeeping(api, repair), name="housekeeping"))
        present = asyncio.create_task(members.run(), name="members")
        tasks.append(present)
        try:
            yield api
        finally:
            present.cancel()
            await _leave(members)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _leave(members: Members) -> None:
    """With a store that is away there is nobody to tell."""
    try:
        async with asyncio.timeout(LEAVE_WITHIN):
            await members.leave()
    except (ApiError, StoreError, TimeoutError) as error:
        log.info("left without a word: %s", error)


async def _housekeeping(api: Api, repair: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(REPAIR_EVERY)
        try:
            await asyncio.gather(repair(), api.forget_events())
        except StoreError as error:
            log.warning("the store cannot be looked through now (%s); later", error)
