"""Nodes that fall silent and claims that want volumes: all controllers and the scheduler, on the real API core."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.controllers.volumes.plan import PROVISIONER
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.client.interface import Client
from kubeapi.client.local import LocalClient
from kubeapi.clock import LoopClock, format_micro
from kubeapi.errors import NotFound
from kubeapi.meta import get_condition, replace, set_condition
from kubeapi.types import coordination_v1, core_v1, meta_v1, storage_v1
from sampan import scheduler
from sampan.controllers import manager
from tests.support.make import make_claim, make_deployment, make_node, make_pod

pytestmark = [pytest.mark.looptime]
CLOCK = LoopClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    rng = Random(3)
    async with api_core(store=EmbeddedStore(), clock=CLOCK, rng=rng) as api:
        local = LocalClient(api, context=RequestContext)
        jobs = [
            asyncio.create_task(manager(local, clock=CLOCK, rng=rng, pod_eviction=3.0).run(), name="controllers"),
            asyncio.create_task(scheduler.run(local, clock=CLOCK, rng=rng), name="scheduler"),
        ]
        yield local
        for job in jobs:
            job.cancel()
        await asyncio.wait(jobs)


def fresh(obj: Any) -> Any:
    return replace(obj, metadata=replace(obj.metadata, uid="", creation_timestamp=None))


async def until(client: Client, type_: Any, test: Callable[[list[Any]], bool], namespace: str = "default") -> list[Any]:
    async with asyncio.timeout(600):
        listing = await client.list(type_, namespace)
        state = {o.metadata.name: o for o in listing.items}
        if test(list(state.values())):
            return list(state.values())
        async for batch in client.watch(type_, namespace, resource_version=listing.resource_version):
            for event in batch:
                if event.type == "DELETED":
                    state.pop(event.object.metadata.name, None)
                elif event.type != "BOOKMARK":
                    state[event.object.metadata.name] = event.object
            if test(list(state.values())):
                return list(state.values())
    raise AssertionError("the watch ended")


class FakeNodes:
    """Agents' manners without agents: heartbeats, and pods that are ready at once."""

    def __init__(self, client: Client, tasks: asyncio.TaskGroup) -> None:
        self._client = client
        self._tasks = tasks
        self._beats: dict[str, asyncio.Task[None]] = {}

    async def add(self, name: str) -> None:
        node = make_node(name)
        made = await self._client.create(fresh(node))
        await self._client.update(replace(made, status=node.status), subresource="status")
        self._beats[name] = self._tasks.create_task(self._beat(name))

    def silence(self, name: str) -> None:
        self._beats[name].cancel()

    def stop(self) -> None:
        for task in self._beats.values():
            task.cancel()

    async def _beat(self, name: str) -> None:
        spec = coordination_v1.LeaseSpec(holder_identity=name, renew_time=format_micro(CLOCK.now()))
        meta = meta_v1.ObjectMeta(name=name, namespace="kube-node-lease")
        await self._client.create(coordination_v1.Lease(metadata=meta, spec=spec))
        while True:
            await asyncio.sleep(10)
            renewal = {"spec": {"renewTime": format_micro(CLOCK.now())}}
            await self._client.patch(coordination_v1.Lease, name, renewal, namespace="kube-node-lease")

    async def make_ready(self) -> None:
        for pod in (await self._client.list(core_v1.Pod, "default")).items:
            ready = core_v1.PodCondition(type="Ready", status="True")
            conditions = set_condition(pod.status.conditions, ready, CLOCK.now())
            status = replace(pod.status, phase="Running", conditions=conditions)
            await self._client.update(replace(pod, status=status), subresource="status")


async def test_pods_move_from_a_silent_node(client: Client) -> None:
    async with asyncio.TaskGroup() as tasks:
        nodes = FakeNodes(client, tasks)
        for name in ("a", "b"):
            await nodes.add(name)
        await client.create(fresh(make_deployment(replicas=4)))
        await until(client, core_v1.Pod, lambda p: len(p) == 4 and all(x.spec.node_name for x in p))
        await nodes.make_ready()
        nodes.silence("a")
        silent_since = CLOCK.monotonic()

        def lost(found: list[core_v1.Node]) -> bool:
            ready = get_condition(next(n for n in found if n.metadata.name == "a").status.conditions, "Ready")
            return ready is not None and ready.status == "Unknown"

        await until(client, core_v1.Node, lost, namespace="")
        assert 30 <= CLOCK.monotonic() - silent_since <= 41
        node = await until(
            client,
            core_v1.Node,
            lambda found: all(n.spec.taints for n in found if n.metadata.name == "a"),
            namespace="",
        )
        taints = {(t.key, t.effect) for n in node if n.metadata.name == "a" for t in n.spec.taints}
        assert taints == {("node.kubernetes.io/unreachable", e) for e in ("NoSchedule", "NoExecute")}

        def moved(found: list[core_v1.Pod]) -> bool:
            alive = [p for p in found if p.metadata.deletion_timestamp is None]
            return len(alive) == 4 and all(p.spec.node_name == "b" for p in alive)

        pods = await until(client, core_v1.Pod, moved)
        assert CLOCK.monotonic() - silent_since <= 46
        for pod in pods:
            if pod.spec.node_name == "a":
                ready = get_condition(pod.status.conditions, "Ready")
                assert ready is not None and ready.status == "False"
        await client.delete(core_v1.Node, "a")
        await until(client, core_v1.Pod, lambda found: len(found) == 4)
        nodes.stop()


async def test_a_node_that_speaks_again_is_trusted_again(client: Client) -> None:
    async with asyncio.TaskGroup() as tasks:
        nodes = FakeNodes(client, tasks)
        await nodes.add("a")
        await asyncio.sleep(60)
        assert not (await client.get(core_v1.Node, "a")).spec.taints
        nodes.silence("a")
        await until(client, core_v1.Node, lambda n: bool(n[0].spec.taints), namespace="")
        node = await client.get(core_v1.Node, "a")
        status = replace(node.status, conditions=make_node("a").status.conditions)
        await client.patch(
            coordination_v1.Lease, "a", {"spec": {"renewTime": format_micro(CLOCK.now())}}, namespace="kube-node-lease"
        )
        node = await client.get(core_v1.Node, "a")
        await client.update(replace(node, status=status), subresource="status")
        await until(client, core_v1.Node, lambda n: not n[0].spec.taints, namespace="")


def storage_class(mode: str) -> storage_v1.StorageClass:
    return storage_v1.StorageClass(
        metadata=meta_v1.ObjectMeta(name="local"), provisioner=PROVISIONER, volume_binding_mode=mode
    )


def pod_with_claim(name: str, claim: str) -> core_v1.Pod:
    source = core_v1.PersistentVolumeClaimVolumeSource(claim_name=claim)
    volume = core_v1.Volume(name="data", persistent_volume_claim=source)
    return fresh(make_pod(name, volumes=[volume]))  # type: ignore[no-any-return]


async def test_a_claim_waits_for_its_pod_and_gets_a_volume_on_the_pods_node(client: Client) -> None:
    async with asyncio.TaskGroup() as tasks:
        nodes = FakeNodes(client, tasks)
        for name in ("a", "b"):
            await nodes.add(name)
        await client.create(storage_class("WaitForFirstConsumer"))
        await client.create(fresh(make_claim("data")))
        await asyncio.sleep(5)
        assert (await client.get(core_v1.PersistentVolumeClaim, "data", "default")).status.phase == "Pending"
        await client.create(pod_with_claim("p", "data"))
        (pod,) = await until(client, core_v1.Pod, lambda p: bool(p[0].spec.node_name))
        claim = await client.get(core_v1.PersistentVolumeClaim, "data", "default")
        assert (claim.status.phase, claim.status.capacity) == ("Bound", {"storage": "1Gi"})
        volume = await client.get(core_v1.PersistentVolume, claim.spec.volume_name)
        affinity = volume.spec.node_affinity
        assert affinity is not None and affinity.required is not None
        term = affinity.required.node_selector_terms[0]
        assert term.match_expressions[0].values == [pod.spec.node_name]
        assert volume.spec.host_path is not None

        await client.delete(core_v1.PersistentVolumeClaim, "data", "default")
        await asyncio.sleep(5)
        held = await client.get(core_v1.PersistentVolumeClaim, "data", "default")
        assert held.metadata.deletion_timestamp is not None, "a pod uses it"
        await client.delete(core_v1.Pod, "p", "default", grace_seconds=0)
        await until(client, core_v1.PersistentVolumeClaim, lambda found: not found)
        await until(client, core_v1.PersistentVolume, lambda found: not found, namespace="")
        nodes.stop()


async def test_a_volume_made_by_hand_is_bound_at_once_and_kept_after(client: Client) -> None:
    volume = core_v1.PersistentVolume(
        metadata=meta_v1.ObjectMeta(name="byhand"),
        spec=core_v1.PersistentVolumeSpec(
            capacity={"storage": "2Gi"},
            access_modes=["ReadWriteOnce"],
            storage_class_name="manual",
            host_path=core_v1.HostPathVolumeSource(path="/data"),
        ),
    )
    await client.create(volume)
    await client.create(fresh(make_claim("data", storage_class_name="manual")))
    await until(client, core_v1.PersistentVolumeClaim, lambda c: c[0].status.phase == "Bound")
    await until(client, core_v1.PersistentVolume, lambda v: v[0].status.phase == "Bound", namespace="")
    await client.delete(core_v1.PersistentVolumeClaim, "data", "default")
    await until(client, core_v1.PersistentVolume, lambda v: v[0].status.phase == "Released", namespace="")
    with pytest.raises(NotFound):
        await client.get(core_v1.PersistentVolumeClaim, "data", "default")
