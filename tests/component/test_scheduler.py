"""The scheduler on the real API core and the memory store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.scheduler.metrics import Metrics
from controlplane.scheduler.scheduler import Scheduler
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.client.interface import Client
from kubeapi.client.local import LocalClient
from kubeapi.clock import SystemClock
from kubeapi.meta import get_condition, replace
from kubeapi.types import core_v1, meta_v1, scheduling_v1
from tests.support.make import make_node, make_pod


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    clock, rng = SystemClock(), Random(3)
    async with api_core(store=EmbeddedStore(), clock=clock, rng=rng) as api:
        local = LocalClient(api, context=RequestContext)
        running = asyncio.create_task(Scheduler(local, clock=clock, rng=rng).run(), name="scheduler")
        yield local
        running.cancel()
        await asyncio.wait([running])


def fresh(obj: Any) -> Any:
    return replace(obj, metadata=replace(obj.metadata, uid="", creation_timestamp=None))


async def until(client: Client, type_: Any, test: Callable[[list[Any]], bool], namespace: str = "default") -> list[Any]:
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


async def add_node(client: Client, node: core_v1.Node) -> None:
    made = await client.create(fresh(node))
    await client.update(replace(made, status=node.status), subresource="status")


async def test_pods_are_bound_and_told_so(client: Client) -> None:
    for name in "abc":
        await add_node(client, make_node(name, pods=10))
    for i in range(30):
        await client.create(fresh(make_pod(f"p{i}")))
    pods = await until(client, core_v1.Pod, lambda found: len(found) == 30 and all(p.spec.node_name for p in found))
    counts = [sum(1 for p in pods if p.spec.node_name == name) for name in "abc"]
    assert counts == [10, 10, 10]
    assert all(get_condition(p.status.conditions, "PodScheduled").status == "True" for p in pods)  # type: ignore[union-attr]
    events = await until(client, core_v1.Event, lambda found: sum(1 for e in found if e.reason == "Scheduled") == 30)
    assert any(e.message.startswith("Successfully assigned default/p0 to ") for e in events)


async def test_a_refused_pod_says_why_and_is_bound_when_a_node_comes(client: Client) -> None:
    await client.create(fresh(make_pod("p", requests={"cpu": "2"})))
    await add_node(client, make_node("small", cpu="1"))
    message = (
        "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: "
        "1 Preemption is not helpful for scheduling."
    )

    def refused(found: list[core_v1.Pod]) -> bool:
        condition = get_condition(found[0].status.conditions, "PodScheduled")
        return condition is not None and (condition.reason, condition.message) == ("Unschedulable", message)

    await until(client, core_v1.Pod, refused)
    await until(
        client, core_v1.Event, lambda found: any((e.reason, e.message) == ("FailedScheduling", message) for e in found)
    )
    await add_node(client, make_node("large", cpu="2"))
    (pod,) = await until(client, core_v1.Pod, lambda found: bool(found[0].spec.node_name))
    assert pod.spec.node_name == "large"


async def test_gated_and_foreign_pods_are_left_alone(client: Client) -> None:
    await add_node(client, make_node("a"))
    await client.create(fresh(make_pod("foreign", scheduler_name="another")))
    await client.create(fresh(make_pod("gated", scheduling_gates=[core_v1.PodSchedulingGate(name="wait")])))
    await client.create(fresh(make_pod("ours")))
    pods = await until(client, core_v1.Pod, lambda found: any(p.spec.node_name for p in found))
    assert [p.metadata.name for p in pods if p.spec.node_name] == ["ours"]


async def test_a_gated_pod_says_so(client: Client) -> None:
    await client.create(fresh(make_pod("gated", scheduling_gates=[core_v1.PodSchedulingGate(name="wait")])))

    def told(found: list[core_v1.Pod]) -> bool:
        condition = get_condition(found[0].status.conditions, "PodScheduled")
        return condition is not None and (condition.status, condition.reason) == ("False", "SchedulingGated")

    await until(client, core_v1.Pod, told)
    await add_node(client, make_node("a"))
    await client.patch(core_v1.Pod, "gated", {"spec": {"schedulingGates": None}}, namespace="default")
    await until(client, core_v1.Pod, lambda found: bool(found[0].spec.node_name))


async def test_the_important_take_the_place_of_others(client: Client) -> None:
    await add_node(client, make_node("a", cpu="1"))
    low = fresh(make_pod("low", requests={"cpu": "1"}))
    await client.create(low)
    await until(client, core_v1.Pod, lambda found: bool(found[0].spec.node_name))
    await client.create(scheduling_v1.PriorityClass(metadata=meta_v1.ObjectMeta(name="high"), value=1000))
    await client.create(fresh(make_pod("high", requests={"cpu": "1"}, priority_class_name="high")))

    def condemned(found: list[core_v1.Pod]) -> bool:
        pods = {p.metadata.name: p for p in found}
        return (
            "high" in pods
            and pods["high"].status.nominated_node_name == "a"
            and pods["low"].metadata.deletion_timestamp is not None
        )

    pods = {p.metadata.name: p for p in await until(client, core_v1.Pod, condemned)}
    condition = get_condition(pods["low"].status.conditions, "DisruptionTarget")
    assert condition is not None and (condition.status, condition.reason) == ("True", "PreemptionByScheduler")
    assert pods["low"].metadata.deletion_grace_period_seconds == 30
    await until(client, core_v1.Event, lambda found: any(e.reason == "Preempted" for e in found))
    await client.delete(core_v1.Pod, "low", "default", grace_seconds=0)
    (high,) = await until(client, core_v1.Pod, lambda found: len(found) == 1 and bool(found[0].spec.node_name))
    assert high.metadata.name == "high"


async def test_a_pod_that_changes_its_labels_makes_way(client: Client) -> None:
    await add_node(client, make_node("a"))
    await client.create(fresh(make_pod("first", labels={"app": "web"})))
    await until(client, core_v1.Pod, lambda found: all(p.spec.node_name for p in found))
    term = core_v1.PodAffinityTerm(
        topology_key="kubernetes.io/hostname", label_selector=meta_v1.LabelSelector(match_labels={"app": "web"})
    )
    apart = core_v1.PodAntiAffinity(required_during_scheduling_ignored_during_execution=[term])
    await client.create(fresh(make_pod("second", affinity=core_v1.Affinity(pod_anti_affinity=apart))))
    await until(client, core_v1.Event, lambda found: any(e.reason == "FailedScheduling" for e in found))
    await client.patch(core_v1.Pod, "first", {"metadata": {"labels": {"app": None}}}, namespace="default")
    await until(client, core_v1.Pod, lambda found: all(p.spec.node_name for p in found))


async def test_attempts_and_waiting_pods_are_counted() -> None:
    clock, rng, registry = SystemClock(), Random(3), CollectorRegistry()
    async with api_core(store=EmbeddedStore(), clock=clock, rng=rng) as api:
        local = LocalClient(api, context=RequestContext)
        scheduler = Scheduler(local, clock=clock, rng=rng, metrics=Metrics(registry))
        await add_node(local, make_node("a", cpu="1"))
        await local.create(fresh(make_pod("fits")))
        await local.create(fresh(make_pod("large", requests={"cpu": "2"})))
        running = asyncio.create_task(scheduler.run(), name="scheduler")
        await until(local, core_v1.Event, lambda found: len({e.reason for e in found}) == 2)
        await until(local, core_v1.Pod, lambda found: any(p.spec.node_name for p in found))

        def of(result: str) -> float | None:
            labels = {"result": result, "profile": "default-scheduler"}
            return registry.get_sample_value("scheduler_schedule_attempts_total", labels)

        assert (of("scheduled"), of("unschedulable")) == (1, 1)
        assert registry.get_sample_value("scheduler_pending_pods", {"queue": "unschedulable"}) == 1
        refused = {"plugin": "NodeResourcesFit", "profile": "default-scheduler"}
        assert registry.get_sample_value("scheduler_unschedulable_pods", refused) == 1
        assert registry.get_sample_value("scheduler_cache_size", {"type": "nodes"}) == 1
        pods = {"client": "scheduler", "group": "", "resource": "pods"}
        assert registry.get_sample_value("reflector_lists_total", pods) == 1
        assert (registry.get_sample_value("sampan_informer_lag_seconds_count", pods) or 0) >= 1
        assert registry.get_sample_value("scheduler_pod_scheduling_sli_duration_seconds_count", {"attempts": "1"}) == 1
        running.cancel()
        await asyncio.wait([running])
