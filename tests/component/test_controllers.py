"""All controllers on the real API core and the memory store, in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.client.interface import Client
from kubeapi.client.local import LocalClient
from kubeapi.clock import SystemClock
from kubeapi.errors import NotFound
from kubeapi.meta import replace, set_condition
from kubeapi.types import apps_v1, core_v1, discovery_v1, meta_v1
from sampan.controllers import manager

LABELS = {"app": "web"}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    clock, rng = SystemClock(), Random(3)
    async with api_core(store=EmbeddedStore(), clock=clock, rng=rng) as api:
        local = LocalClient(api, context=RequestContext)
        running = asyncio.create_task(manager(local, clock=clock, rng=rng).run(), name="controllers")
        yield local
        running.cancel()
        await asyncio.wait([running])


def deployment(image: str = "app:1", replicas: int = 3) -> apps_v1.Deployment:
    return apps_v1.Deployment(
        metadata=meta_v1.ObjectMeta(name="web", namespace="default"),
        spec=apps_v1.DeploymentSpec(
            replicas=replicas,
            selector=meta_v1.LabelSelector(match_labels=LABELS),
            template=core_v1.PodTemplateSpec(
                metadata=meta_v1.ObjectMeta(labels=LABELS),
                spec=core_v1.PodSpec(containers=[core_v1.Container(name="c", image=image)]),
            ),
        ),
    )


async def until(client: Client, type_: Any, test: Callable[[list[Any]], bool], namespace: str = "default") -> list[Any]:
    """The collection, as soon as it passes; by watching, not by asking again and again."""
    async with asyncio.timeout(10):
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


async def make_ready(client: Client, pods: list[core_v1.Pod]) -> None:
    """What a node would do."""
    now = SystemClock().now().replace(microsecond=0)
    for i, pod in enumerate(pods):
        if pod.status.pod_ip:
            continue
        ready = core_v1.PodCondition(type="Ready", status="True")
        status = replace(
            pod.status,
            phase="Running",
            pod_ip=f"10.244.0.{i + 2}",
            conditions=set_condition(pod.status.conditions, ready, now),
        )
        await client.update(replace(pod, status=status), subresource="status")


async def test_a_deployment_becomes_pods_that_stand_behind_its_service(client: Client) -> None:
    await client.create(
        core_v1.Service(
            metadata=meta_v1.ObjectMeta(name="web", namespace="default"),
            spec=core_v1.ServiceSpec(selector=LABELS, ports=[core_v1.ServicePort(port=80, target_port=8080)]),
        )
    )
    await client.create(deployment())
    pods = await until(client, core_v1.Pod, lambda found: len(found) == 3)
    await make_ready(client, pods)
    await until(client, apps_v1.Deployment, lambda d: d[0].status.available_replicas == 3)

    def complete(slices: list[discovery_v1.EndpointSlice]) -> bool:
        mine = [s for s in slices if s.metadata.labels.get("kubernetes.io/service-name") == "web"]
        return sum(1 for s in mine for e in s.endpoints if e.conditions.ready) == 3

    slices = await until(client, discovery_v1.EndpointSlice, complete)
    web = next(s for s in slices if s.metadata.name.startswith("web-"))
    assert [p.port for p in web.ports] == [8080]
    since = datetime.fromisoformat(web.metadata.annotations["endpoints.kubernetes.io/last-change-trigger-time"])
    assert timedelta() <= datetime.now(UTC) - since < timedelta(seconds=20), "nodes measure themselves against it"
    endpoints = await client.get(core_v1.Endpoints, "web", "default")
    assert len(endpoints.subsets[0].addresses) == 3


async def test_a_deleted_pod_is_replaced_and_a_deleted_deployment_takes_all_with_it(client: Client) -> None:
    await client.create(deployment())
    before = await until(client, core_v1.Pod, lambda found: len(found) == 3)
    gone = before[0].metadata.uid
    await client.delete(core_v1.Pod, before[0].metadata.name, "default")
    after = await until(
        client, core_v1.Pod, lambda found: len(found) == 3 and gone not in {p.metadata.uid for p in found}
    )
    assert before[0].metadata.name not in {p.metadata.name for p in after}, "a name is never used again"
    await client.delete(apps_v1.Deployment, "web", "default", propagation="Background")
    await until(client, core_v1.Pod, lambda found: not found)
    await until(client, apps_v1.ReplicaSet, lambda found: not found)


async def test_foreground_deletion_keeps_the_owner_until_its_dependents_are_gone(client: Client) -> None:
    await client.create(deployment())
    await until(client, core_v1.Pod, lambda found: len(found) == 3)
    await client.delete(apps_v1.Deployment, "web", "default", propagation="Foreground")
    await until(client, apps_v1.Deployment, lambda found: not found)
    assert not (await client.list(core_v1.Pod, "default")).items
    assert not (await client.list(apps_v1.ReplicaSet, "default")).items


async def test_orphans_stay(client: Client) -> None:
    await client.create(deployment())
    await until(client, core_v1.Pod, lambda found: len(found) == 3)
    await client.delete(apps_v1.Deployment, "web", "default", propagation="Orphan")
    await until(client, apps_v1.Deployment, lambda found: not found)
    (kept,) = (await client.list(apps_v1.ReplicaSet, "default")).items
    assert kept.metadata.owner_references == []


async def test_a_rollout_replaces_every_pod_and_is_undone_by_its_old_template(client: Client) -> None:
    await client.create(deployment())
    await make_ready(client, await until(client, core_v1.Pod, lambda found: len(found) == 3))
    await until(client, apps_v1.Deployment, lambda d: d[0].status.available_replicas == 3)
    for number, image in ((2, "app:2"), (3, "app:1")):
        change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}
        await client.patch(apps_v1.Deployment, "web", change, kind="strategic", namespace="default")

        async def node() -> None:
            while True:
                await make_ready(client, (await client.list(core_v1.Pod, "default")).items)
                await asyncio.sleep(0)

        ready_maker = asyncio.create_task(node())
        await until(
            client,
            core_v1.Pod,
            lambda found, image=image: len(found) == 3 and all(p.spec.containers[0].image == image for p in found),  # type: ignore[misc]
        )
        (found,) = await until(
            client,
            apps_v1.Deployment,
            lambda d, n=number: d[0].metadata.annotations.get("deployment.kubernetes.io/revision") == str(n),  # type: ignore[misc]
        )
        ready_maker.cancel()
        await asyncio.wait([ready_maker])
        assert found.spec.template.spec.containers[0].image == image


async def test_a_namespace_goes_with_all_that_is_in_it(client: Client) -> None:
    await client.create(core_v1.Namespace(metadata=meta_v1.ObjectMeta(name="shop")))
    await until(client, core_v1.ServiceAccount, lambda found: bool(found), namespace="shop")
    await client.create(core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name="c", namespace="shop")))
    await client.delete(core_v1.Namespace, "shop")
    await until(client, core_v1.Namespace, lambda found: "shop" not in {n.metadata.name for n in found}, namespace="")
    with pytest.raises(NotFound):
        await client.get(core_v1.ConfigMap, "c", "shop")


async def test_every_node_gets_a_network_of_its_own(client: Client) -> None:
    for i in range(5):
        await client.create(core_v1.Node(metadata=meta_v1.ObjectMeta(name=f"n{i}")))
    nodes = await until(
        client, core_v1.Node, lambda found: len(found) == 5 and all(n.spec.pod_cidr for n in found), namespace=""
    )
    assert len({n.spec.pod_cidr for n in nodes}) == 5


async def test_addresses_written_by_hand_get_slices_that_nodes_read(client: Client) -> None:
    meta = meta_v1.ObjectMeta(name="db", namespace="default")
    await client.create(
        core_v1.Service(metadata=meta, spec=core_v1.ServiceSpec(ports=[core_v1.ServicePort(port=5432)]))
    )
    subset = core_v1.EndpointSubset(
        addresses=[core_v1.EndpointAddress(ip="192.0.2.1"), core_v1.EndpointAddress(ip="2001:db8::1")],
        not_ready_addresses=[core_v1.EndpointAddress(ip="192.0.2.2")],
        ports=[core_v1.EndpointPort(port=5432)],
    )
    await client.create(core_v1.Endpoints(metadata=meta, subsets=[subset]))

    def mine(slices: list[discovery_v1.EndpointSlice]) -> list[discovery_v1.EndpointSlice]:
        found = [s for s in slices if s.metadata.labels.get("kubernetes.io/service-name") == "db"]
        return sorted(found, key=lambda s: s.address_type)

    slices = mine(await until(client, discovery_v1.EndpointSlice, lambda found: len(mine(found)) == 2))
    told = [(s.address_type, [(e.addresses, e.conditions.ready) for e in s.endpoints]) for s in slices]
    assert told == [
        ("IPv4", [(["192.0.2.1"], True), (["192.0.2.2"], False)]),
        ("IPv6", [(["2001:db8::1"], True)]),
    ]
    assert [p.port for p in slices[0].ports] == [5432]
    await client.patch(
        core_v1.Endpoints,
        "db",
        {"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}},
        namespace="default",
    )
    await until(client, discovery_v1.EndpointSlice, lambda found: not mine(found))
