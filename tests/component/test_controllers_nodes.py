"""Nodes that fall silent and claims that want volumes: all controllers and the scheduler, on the real API core."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.claims import PROVISIONER, RECLAIM
from kubeapi.client.interface import Client
from kubeapi.client.local import LocalClient
from kubeapi.clock import LoopClock, format_micro
from kubeapi.errors import Invalid, NotFound
from kubeapi.meta import get_condition, is_true, replace, set_condition
from kubeapi.types import coordination_v1, core_v1, meta_v1, storage_v1
from node_agent.reclaimer import VolumeReclaimer
from sampan import scheduler
from sampan.controllers import manager
from tests.support.make import make_claim, make_deployment, make_node, make_pod
from tests.support.until import until

pytestmark = [pytest.mark.looptime]
CLOCK = LoopClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
async def client(volumes: Path) -> AsyncIterator[Client]:
    rng = Random(3)
    async with api_core(store=EmbeddedStore(), clock=CLOCK, rng=rng) as api:
        local = LocalClient(api, context=RequestContext)
        jobs = [
            asyncio.create_task(
                manager(local, clock=CLOCK, rng=rng, pod_eviction=3.0, local_path=str(volumes)).run(),
                name="controllers",
            ),
            asyncio.create_task(scheduler.run(local, clock=CLOCK, rng=rng), name="scheduler"),
        ]
        yield local
        for job in jobs:
            job.cancel()
        await asyncio.wait(jobs)


def fresh(obj: Any) -> Any:
    return replace(obj, metadata=replace(obj.metadata, uid="", creation_timestamp=None))


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
        spec = coordination_v1.LeaseSpec(holder_identity=name, renew_time=format_micro(CLOCK.now()))
        meta = meta_v1.ObjectMeta(name=name, namespace="kube-node-lease")
        await self._client.create(coordination_v1.Lease(metadata=meta, spec=spec))
        self._beats[name] = self._tasks.create_task(self._beat(name))

    async def speak(self, name: str) -> None:
        """Again, after a silence: it is well, and its heart beats."""
        await self._renew(name)
        node = await self._client.get(core_v1.Node, name)
        status = replace(node.status, conditions=make_node(name).status.conditions)
        await self._client.update(replace(node, status=status), subresource="status")
        self._beats[name] = self._tasks.create_task(self._beat(name))

    def silence(self, name: str) -> None:
        self._beats[name].cancel()

    async def reclaim(self, name: str) -> None:
        """The part of the agent that removes directories."""
        reclaimer = VolumeReclaimer(
            client=self._client, node=name, on_disk=True, clock=CLOCK, rng=Random(1), log=logging.getLogger("reclaimer")
        )
        self._beats[f"reclaimer-{name}"] = self._tasks.create_task(reclaimer.run())

    def stop(self) -> None:
        for task in self._beats.values():
            task.cancel()

    async def _beat(self, name: str) -> None:
        while True:
            await asyncio.sleep(10)
            await self._renew(name)

    async def _renew(self, name: str) -> None:
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


async def test_an_agent_that_speaks_again_is_not_argued_with(client: Client) -> None:
    """It tells of its pods before the node counts as ready again: its word stands, or both would write without end."""
    async with asyncio.TaskGroup() as tasks:
        nodes = FakeNodes(client, tasks)
        for name in ("a", "b"):
            await nodes.add(name)
        stays = core_v1.Toleration(key="node.kubernetes.io/unreachable", operator="Exists")
        await client.create(fresh(make_pod("p", node="a", tolerations=[stays])))
        await nodes.make_ready()
        nodes.silence("a")

        def is_ready(found: list[core_v1.Pod]) -> bool:
            return is_true(found[0].status.conditions, "Ready")

        await until(client, core_v1.Pod, lambda found: not is_ready(found))
        await nodes.make_ready()
        await asyncio.sleep(60)
        assert is_ready((await client.list(core_v1.Pod, "default")).items)
        await nodes.speak("a")
        await until(client, core_v1.Node, lambda found: not any(n.spec.taints for n in found), namespace="")
        nodes.silence("a")
        await until(client, core_v1.Pod, lambda found: not is_ready(found))
        nodes.stop()


async def test_a_node_that_speaks_again_is_trusted_again(client: Client) -> None:
    async with asyncio.TaskGroup() as tasks:
        nodes = FakeNodes(client, tasks)
        await nodes.add("a")
        await asyncio.sleep(60)
        assert not (await client.get(core_v1.Node, "a")).spec.taints
        nodes.silence("a")
        await until(client, core_v1.Node, lambda n: bool(n[0].spec.taints), namespace="")
        await nodes.speak("a")
        await until(client, core_v1.Node, lambda n: not n[0].spec.taints, namespace="")
        nodes.stop()


async def test_a_taint_put_by_hand_is_left_after_as_long_as_each_pod_tolerates_it(client: Client) -> None:
    async with asyncio.TaskGroup() as tasks:
        nodes = FakeNodes(client, tasks)
        await nodes.add("a")
        for name, seconds in (("never", None), ("patient", 60), ("forever", 0)):
            toleration = core_v1.Toleration(
                key="maintenance", operator="Exists", effect="NoExecute", toleration_seconds=seconds or None
            )
            pod = make_pod(name, node="a", tolerations=[] if name == "never" else [toleration])
            await client.create(fresh(pod))
        await asyncio.sleep(20)
        assert len((await client.list(core_v1.Pod, "default")).items) == 3
        taint = {"spec": {"taints": [{"key": "maintenance", "effect": "NoExecute"}]}}
        await client.patch(core_v1.Node, "a", taint)
        begun = CLOCK.monotonic()

        def leaving(pods: list[core_v1.Pod]) -> set[str]:
            return {p.metadata.name for p in pods if p.metadata.deletion_timestamp is not None}

        await until(client, core_v1.Pod, lambda pods: leaving(pods) == {"never"})
        assert CLOCK.monotonic() - begun < 2
        await until(client, core_v1.Pod, lambda pods: "patient" in leaving(pods))
        assert 59 <= CLOCK.monotonic() - begun <= 63
        await asyncio.sleep(600)
        assert "forever" not in leaving((await client.list(core_v1.Pod, "default")).items)
        nodes.stop()


def storage_class(mode: str, policy: str = "Delete") -> storage_v1.StorageClass:
    return storage_v1.StorageClass(
        metadata=meta_v1.ObjectMeta(name="local"),
        provisioner=PROVISIONER,
        volume_binding_mode=mode,
        reclaim_policy=policy,
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
        bigger = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
        with pytest.raises(Invalid, match="can be resized"):
            await client.patch(core_v1.PersistentVolumeClaim, "data", bigger, namespace="default")

        await client.delete(core_v1.PersistentVolumeClaim, "data", "default")
        await asyncio.sleep(5)
        held = await client.get(core_v1.PersistentVolumeClaim, "data", "default")
        assert held.metadata.deletion_timestamp is not None, "a pod uses it"
        await client.delete(core_v1.Pod, "p", "default", grace_seconds=0)
        await until(client, core_v1.PersistentVolumeClaim, lambda found: not found)
        await asyncio.sleep(30)
        held_volume = await client.get(core_v1.PersistentVolume, volume.metadata.name)
        assert held_volume.metadata.finalizers == [RECLAIM], "its directory is there still"
        nodes.stop()


@pytest.mark.parametrize("policy", ["Delete", "Retain"])
async def test_a_deleted_claim_takes_the_directory_with_it_where_the_policy_says_so(
    client: Client, volumes: Path, policy: str
) -> None:
    async with asyncio.TaskGroup() as tasks:
        nodes = FakeNodes(client, tasks)
        await nodes.add("a")
        await client.create(storage_class("Immediate", policy))
        await client.create(fresh(make_claim("data")))
        (volume,) = await until(
            client, core_v1.PersistentVolume, lambda v: bool(v) and v[0].status.phase == "Bound", namespace=""
        )
        assert volume.spec.host_path is not None
        directory = Path(volume.spec.host_path.path)
        assert directory.parent == volumes
        (directory / "deep").mkdir(parents=True)
        (directory / "deep" / "file").write_text("precious")
        (directory / "elsewhere").symlink_to(volumes)
        (volumes / "other").write_text("another's")
        await nodes.reclaim("a")
        await asyncio.sleep(5)
        assert directory.exists()  # noqa: ASYNC240
        await client.delete(core_v1.PersistentVolumeClaim, "data", "default")
        if policy == "Delete":
            await until(client, core_v1.PersistentVolume, lambda found: not found, namespace="")
            assert [p.name for p in volumes.iterdir()] == ["other"]  # noqa: ASYNC240
        else:
            await until(client, core_v1.PersistentVolume, lambda v: v[0].status.phase == "Released", namespace="")
            await client.delete(core_v1.PersistentVolume, volume.metadata.name)
            await until(client, core_v1.PersistentVolume, lambda found: not found, namespace="")
            assert (directory / "deep" / "file").read_text() == "precious"
        nodes.stop()


async def test_a_volume_whose_node_has_left_the_cluster_does_not_wait_for_it(client: Client) -> None:
    async with asyncio.TaskGroup() as tasks:
        nodes = FakeNodes(client, tasks)
        await nodes.add("a")
        await client.create(storage_class("Immediate"))
        await client.create(fresh(make_claim("data")))
        await until(client, core_v1.PersistentVolumeClaim, lambda c: c[0].status.phase == "Bound")
        await client.delete(core_v1.PersistentVolumeClaim, "data", "default")
        await asyncio.sleep(30)
        assert (await client.list(core_v1.PersistentVolume)).items, "the node may come back"
        nodes.stop()
        await client.delete(core_v1.Node, "a")
        await until(client, core_v1.PersistentVolume, lambda found: not found, namespace="")


async def test_an_ephemeral_volume_has_a_claim_of_its_own_that_goes_with_the_pod(client: Client) -> None:
    async with asyncio.TaskGroup() as tasks:
        nodes = FakeNodes(client, tasks)
        await nodes.add("a")
        await nodes.reclaim("a")
        await client.create(storage_class("WaitForFirstConsumer"))
        template = core_v1.PersistentVolumeClaimTemplate(spec=make_claim("x").spec)
        source = core_v1.EphemeralVolumeSource(volume_claim_template=template)
        volume = core_v1.Volume(name="scratch", ephemeral=source)
        await client.create(fresh(make_pod("p", volumes=[volume])))
        (pod,) = await until(client, core_v1.Pod, lambda p: bool(p[0].spec.node_name))
        claim = await client.get(core_v1.PersistentVolumeClaim, "p-scratch", "default")
        assert claim.status.phase == "Bound"
        assert [ref.uid for ref in claim.metadata.owner_references] == [pod.metadata.uid]
        await client.delete(core_v1.Pod, "p", "default", grace_seconds=0)
        await until(client, core_v1.PersistentVolumeClaim, lambda found: not found)
        await until(client, core_v1.PersistentVolume, lambda found: not found, namespace="")
        nodes.stop()


async def test_an_ephemeral_volume_never_takes_the_claim_of_somebody_else(client: Client) -> None:
    await client.create(fresh(make_claim("p-scratch")))
    template = core_v1.PersistentVolumeClaimTemplate(spec=make_claim("x").spec)
    volume = core_v1.Volume(name="scratch", ephemeral=core_v1.EphemeralVolumeSource(volume_claim_template=template))
    await client.create(fresh(make_pod("p", volumes=[volume])))
    await until(client, core_v1.Event, lambda events: any("pod is not owner" in e.message for e in events))
    claim = await client.get(core_v1.PersistentVolumeClaim, "p-scratch", "default")
    assert claim.metadata.owner_references == []


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
