"""The garbage collector alone on the real API core, in virtual time: random graphs of owners, cycles included.

Whatever happens, in the order in which the server says it happened:
- nothing is deleted while one of its owners lives (and does not wait for its dependents);
- in the end nothing is left that has only absent owners, and nothing waits for its deletion.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from random import Random
from typing import Any, get_args

import pytest

from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.controllers.garbage.controller import GarbageCollector
from controlplane.controllers.garbage.plan import is_waiting
from controlplane.controllers.manager import ControllerManager
from controlplane.storage.embedded import EmbeddedStore
from kubeapi import codec
from kubeapi.client.interface import Client, Propagation
from kubeapi.client.local import LocalClient
from kubeapi.clock import LoopClock
from kubeapi.errors import ApiError
from kubeapi.types import core_v1, meta_v1, rbac_v1

pytestmark = [pytest.mark.looptime]
CLOCK = LoopClock(datetime(2026, 1, 1, tzinfo=UTC))
KINDS = (core_v1.ConfigMap, core_v1.Secret, rbac_v1.ClusterRole)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    rng = Random(3)
    async with api_core(store=EmbeddedStore(), clock=CLOCK, rng=rng) as api:
        local = LocalClient(api, context=RequestContext)
        collector = ControllerManager(
            client=local, clock=CLOCK, rng=rng, builders=[lambda shared: [GarbageCollector(shared).controller]]
        )
        running = asyncio.create_task(collector.run(), name="collector")
        yield local
        running.cancel()
        await asyncio.wait([running])


def owned_by(owner: Any, *, block: bool = True) -> meta_v1.OwnerReference:
    return meta_v1.OwnerReference(
        api_version=owner.api_version,
        kind=owner.kind,
        name=owner.metadata.name,
        uid=owner.metadata.uid,
        block_owner_deletion=block,
    )


async def make(client: Client, type_: Any, name: str, *owners: Any, namespace: str = "default", **how: Any) -> Any:
    namespace = "" if type_ is rbac_v1.ClusterRole else namespace
    refs = [owned_by(owner, **how) for owner in owners]
    return await client.create(
        type_(metadata=meta_v1.ObjectMeta(name=name, namespace=namespace, owner_references=refs))
    )


async def own(client: Client, obj: Any, *owners: Any) -> Any:
    patch = {"metadata": {"ownerReferences": codec.to_builtins([owned_by(o) for o in owners])}}
    return await client.patch(type(obj), obj.metadata.name, patch, namespace=obj.metadata.namespace)


async def names(client: Client, type_: Any = core_v1.ConfigMap, namespace: str = "default") -> set[str]:
    return {o.metadata.name for o in (await client.list(type_, namespace)).items}


class World:
    """Does what it likes to a graph of objects, and remembers all that the server told."""

    def __init__(self, client: Client, rng: Random) -> None:
        self._client = client
        self._rng = rng
        self._made: list[Any] = []
        self.doomed: set[str] = set()
        """Uids of what we deleted ourselves."""
        self.told: list[tuple[int, str, Any]] = []

    async def listen(self, type_: Any, since: int) -> None:
        async for batch in self._client.watch(type_, resource_version=since):
            for event in batch:
                if event.type != "BOOKMARK":
                    self.told.append((event.resource_version, event.type, event.object))

    def _owners(self, of: Any = None) -> list[Any]:
        """Those made long ago may be gone by now; and a namespaced owner of a cluster-scoped object means nothing."""
        cluster = of is not None and not of.metadata.namespace
        fit = [o for o in self._made if not (cluster and o.metadata.namespace)]
        return self._rng.sample(fit, min(len(fit), self._rng.choice((0, 1, 1, 2, 3))))

    async def act(self, number: int) -> None:
        rng = self._rng
        with suppress(ApiError):
            match rng.choice(("make", "make", "make", "own", "delete")):
                case "make":
                    type_ = rng.choice(KINDS)
                    dummy = type_(
                        metadata=meta_v1.ObjectMeta(namespace="" if type_ is rbac_v1.ClusterRole else "default")
                    )
                    self._made.append(await make(self._client, type_, f"o{number}", *self._owners(dummy)))
                case "own" if self._made:
                    obj = rng.choice(self._made)
                    await own(self._client, obj, *(o for o in self._owners(obj) if o is not obj))
                case "delete" if self._made:
                    obj = rng.choice(self._made)
                    self.doomed.add(obj.metadata.uid)
                    await self._client.delete(
                        type(obj),
                        obj.metadata.name,
                        obj.metadata.namespace,
                        uid=obj.metadata.uid,
                        propagation=rng.choice(get_args(Propagation)),
                    )

    def check(self) -> None:
        there: dict[str, Any] = {}
        for _, event, obj in sorted(self.told, key=lambda t: t[0]):
            uid = obj.metadata.uid
            before = there.get(uid)
            goes = event == "DELETED" or obj.metadata.deletion_timestamp is not None
            if goes and before is not None and before.metadata.deletion_timestamp is None and uid not in self.doomed:
                refs = before.metadata.owner_references
                assert refs, f"{before.metadata.name} has no owners, and was deleted"
                for ref in refs:
                    owner = there.get(ref.uid)
                    assert owner is None or is_waiting(owner), f"{before.metadata.name} is owned by {ref.name}"
            if event == "DELETED":
                there.pop(uid, None)
            else:
                there[uid] = obj
        for obj in there.values():
            refs = obj.metadata.owner_references
            assert obj.metadata.deletion_timestamp is None, f"{obj.metadata.name} waits for ever"
            assert not refs or any(ref.uid in there for ref in refs), f"{obj.metadata.name} has nobody"


@pytest.mark.parametrize("seed", range(25))
async def test_no_owned_object_is_deleted_and_no_abandoned_one_stays(client: Client, seed: int) -> None:
    rng = Random(seed)
    world = World(client, rng)
    async with asyncio.TaskGroup() as tasks:
        listeners = [
            tasks.create_task(world.listen(type_, (await client.list(type_)).resource_version)) for type_ in KINDS
        ]
        for number in range(80):
            await world.act(number)
            await asyncio.sleep(rng.choice((0, 0, 0, 0.01, 0.5)))
        await asyncio.sleep(600)
        for listener in listeners:
            listener.cancel()
    world.check()


async def test_in_the_foreground_what_another_also_owns_stays(client: Client) -> None:
    a, b = await make(client, core_v1.ConfigMap, "a"), await make(client, core_v1.ConfigMap, "b")
    await make(client, core_v1.ConfigMap, "both", a, b)
    await make(client, core_v1.ConfigMap, "only", a)
    await client.delete(core_v1.ConfigMap, "a", "default", propagation="Foreground")
    await asyncio.sleep(30)
    assert await names(client) >= {"b", "both"}
    assert not await names(client) & {"a", "only"}
    both = await client.get(core_v1.ConfigMap, "both", "default")
    assert [ref.name for ref in both.metadata.owner_references] == ["b"]


async def test_a_circle_deleted_in_the_foreground_does_not_wait_for_itself(client: Client) -> None:
    a = await make(client, core_v1.ConfigMap, "a")
    b = await make(client, core_v1.ConfigMap, "b", a)
    c = await make(client, core_v1.ConfigMap, "c", b)
    await own(client, a, c)
    await client.delete(core_v1.ConfigMap, "a", "default", propagation="Foreground")
    await asyncio.sleep(60)
    assert not await names(client) & {"a", "b", "c"}


async def test_an_owner_of_the_same_name_and_another_uid_is_no_owner(client: Client) -> None:
    former = await make(client, core_v1.ConfigMap, "a")
    await make(client, core_v1.ConfigMap, "child", former)
    await client.delete(core_v1.ConfigMap, "a", "default", propagation="Orphan")
    await asyncio.sleep(5)
    child = await client.get(core_v1.ConfigMap, "child", "default")
    assert child.metadata.owner_references == [], "orphaned"
    await own(client, child, former)
    await make(client, core_v1.ConfigMap, "a")
    await asyncio.sleep(30)
    assert "child" not in await names(client)


async def test_a_cluster_scoped_owner_takes_namespaced_dependents_with_it(client: Client) -> None:
    role = await make(client, rbac_v1.ClusterRole, "r")
    await make(client, core_v1.ConfigMap, "child", role)
    await asyncio.sleep(30)
    assert "child" in await names(client)
    await client.delete(rbac_v1.ClusterRole, "r")
    await asyncio.sleep(30)
    assert "child" not in await names(client)


async def test_a_namespaced_owner_of_a_cluster_scoped_object_is_not_judged(client: Client) -> None:
    owner = await make(client, core_v1.ConfigMap, "a")
    await make(client, rbac_v1.ClusterRole, "r", owner)
    await client.delete(core_v1.ConfigMap, "a", "default")
    await asyncio.sleep(30)
    assert "r" in await names(client, rbac_v1.ClusterRole, "")


async def test_an_owner_in_another_namespace_does_not_count_and_an_event_says_so(client: Client) -> None:
    await client.create(core_v1.Namespace(metadata=meta_v1.ObjectMeta(name="shop")))
    owner = await make(client, core_v1.ConfigMap, "a", namespace="shop")
    await make(client, core_v1.ConfigMap, "child", owner)
    await asyncio.sleep(30)
    assert "child" not in await names(client)
    events = (await client.list(core_v1.Event, "default")).items
    assert [e.reason for e in events if e.involved_object.name == "child"] == ["OwnerRefInvalidNamespace"]
