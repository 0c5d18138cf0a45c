"""DaemonSets on the real API core, with nodes that only pretend: in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from kubeapi.client.interface import Client
from kubeapi.meta import replace
from kubeapi.types import apps_v1, core_v1, meta_v1
from tests.component.workloads_world import LABELS, controllers, meta, nodes, pods, template
from tests.support.make import make_node
from tests.support.until import until

pytestmark = [pytest.mark.looptime]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with controllers() as made:
        yield made


def daemons(**spec: Any) -> apps_v1.DaemonSet:
    selector = meta_v1.LabelSelector(match_labels=LABELS)
    return apps_v1.DaemonSet(
        metadata=meta("d"), spec=apps_v1.DaemonSetSpec(selector=selector, template=template(), **spec)
    )


async def test_every_node_that_suits_has_one_daemon_also_those_that_come_later(client: Client) -> None:
    async with nodes(client, "a", "b") as kubelet:
        taint = core_v1.Taint(key="only", value="x", effect="NoSchedule")
        await kubelet.add_node(make_node("tainted", taints=[taint]))
        await kubelet.add_node(make_node("cordoned", unschedulable=True))
        await client.create(daemons())
        (found,) = await until(client, apps_v1.DaemonSet, lambda d: d[0].status.number_available == 3)
        assert (found.status.desired_number_scheduled, found.status.number_misscheduled) == (3, 0)
        await kubelet.add_node(make_node("late"))
        await until(client, core_v1.Pod, lambda p: {x.spec.node_name for x in p} == {"a", "b", "cordoned", "late"})
        await client.delete(core_v1.Node, "b")
        await until(client, core_v1.Pod, lambda p: {x.spec.node_name for x in p} == {"a", "cordoned", "late"})


@pytest.mark.parametrize("rolling", [{}, {"max_surge": 1, "max_unavailable": 0}, {"max_unavailable": "50%"}])
async def test_a_new_template_reaches_every_node_within_bounds(client: Client, rolling: Mapping[str, Any]) -> None:
    names = [f"n{i}" for i in range(4)]
    async with nodes(client, *names):
        update = apps_v1.DaemonSetUpdateStrategy(
            type="RollingUpdate", rolling_update=apps_v1.RollingUpdateDaemonSet(**rolling)
        )
        await client.create(daemons(update_strategy=update))
        await until(client, apps_v1.DaemonSet, lambda d: d[0].status.number_available == 4)
        await client.patch(
            apps_v1.DaemonSet, "d", {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "app:2"}]}}}},
            kind="strategic", namespace="default",
        )  # fmt: skip
        least = {"max_surge": 4, "max_unavailable": 2}.get(next(iter(rolling), ""), 3)
        worst = 4
        async with asyncio.timeout(300):
            while True:
                live = await pods(client)
                serving = {
                    p.spec.node_name
                    for p in live
                    if p.metadata.deletion_timestamp is None and any(c.status == "True" for c in p.status.conditions)
                }
                worst = min(worst, len(serving))
                if [p.spec.containers[0].image for p in live] == ["app:2"] * 4 and len(serving) == 4:
                    break
                await asyncio.sleep(0.2)
        assert worst >= least
        await until(client, apps_v1.DaemonSet, lambda d: d[0].status.updated_number_scheduled == 4)
        history = (await client.list(apps_v1.ControllerRevision, "default")).items
        assert sorted(r.revision for r in history) == [1, 2]


async def test_a_daemon_that_fails_comes_back_later_and_later(client: Client) -> None:
    async with nodes(client, "a"):
        await client.create(replace(daemons(), spec=replace(daemons().spec, template=template(ends="1", fails="x"))))
        revision = (await client.list(core_v1.Pod, "default")).resource_version
        await asyncio.sleep(300)
        made = set()
        async with asyncio.timeout(1):
            async for batch in client.watch(core_v1.Pod, "default", resource_version=revision):
                made |= {e.object.metadata.uid for e in batch if e.type == "ADDED"}
                if len(made) >= 5:
                    break
        assert 5 <= len(made) <= 9
