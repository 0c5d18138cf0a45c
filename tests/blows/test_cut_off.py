"""Who is cut off goes on: nodes without an API server, and a node whose cable is out.

Hollow nodes: what their runtimes did is in their journals. That service rules and overlay stay in the kernel whatever happens
to the agent is the network's own contract (tests/contract/test_network.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from kubeapi.client.interface import Client
from kubeapi.errors import ServiceUnavailable
from kubeapi.types import apps_v1, core_v1
from kubeapi.types.meta_v1 import ObjectMeta
from tests.blows.campaign import answers
from tests.blows.test_kills import nodes_ready, settled
from tests.support.link import FarPlace
from tests.support.make import make_deployment
from tests.support.rig import Rig, Size
from tests.support.until import until

pytestmark = [pytest.mark.blows, pytest.mark.timeout(120)]

GRACE, EVICTION = 4.0, 2.0
FLAGS = (f"--node-monitor-grace={GRACE}", f"--pod-eviction={EVICTION}")
KEEPALIVE = 16.0
"""Seconds until both ends of an idle connection know that it is dead."""
MAY_GROW = 4096
"""KiB: that an agent's memory may grow while it cannot reach the API server."""
AWAY = 10.0
"""Seconds: more than grace and eviction together."""


async def pods_of(client: Client) -> dict[str, core_v1.Pod]:
    return {pod.metadata.uid: pod for pod in (await client.list(core_v1.Pod, "default")).items}


@asynccontextmanager
async def unready_nodes(client: Client) -> AsyncIterator[set[str]]:
    """The nodes that anybody says to be not ready, from now on and over any restart of the server."""
    seen: set[str] = set()
    revision = (await client.list(core_v1.Node)).resource_version

    async def watch() -> None:
        nonlocal revision
        while True:
            try:
                async for batch in client.watch(core_v1.Node, resource_version=revision):
                    for event in batch:
                        revision = event.resource_version
                        if event.type != "BOOKMARK":
                            seen.update(not_ready([event.object]))
            except ServiceUnavailable:
                await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch(), name="unready")
    try:
        yield seen
        assert not watching.done(), "the watch of the nodes ended"
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def test_the_api_server_away_for_long(make_rig: Callable[[Size], Rig], seed: int) -> None:
    """No pod ends, a container that ends is started again without asking, and on return nobody is given up for dead: not by
    controllers that lived on, nor (by chance of the seed) by those that begin with leases long run out. The agents hold
    nothing back in memory meanwhile."""
    anew = Random(seed).random() < 0.5
    size = Size(etcds=0, apis=1, pairs=2, nodes=2, controller_flags=FLAGS)
    async with make_rig(size).running() as rig, rig.client() as client, unready_nodes(client) as unready:
        await nodes_ready(client, 2)
        await client.create(make_deployment("web", replicas=4))
        dies = core_v1.Container(name="c", image="x", env=[core_v1.EnvVar(name="HOLLOW_EXIT_AFTER", value="6")])
        await client.create(
            core_v1.Pod(metadata=ObjectMeta(name="dies", namespace="default"), spec=core_v1.PodSpec(containers=[dies]))
        )
        await until(client, apps_v1.Deployment, lambda found: settled(found, {"web": 4}), seconds=30)
        before = await pods_of(client)
        unready.clear()
        restarts = len(rig.gone())
        rig.apis[0].kill()
        if anew:
            for process in [*rig.controllers, *rig.schedulers]:
                process.kill()
        await asyncio.sleep(1.0)  # until everybody knows
        memory = [node.resident() for node in rig.nodes]
        await asyncio.sleep(AWAY)
        grown = [node.resident() - then for node, then in zip(rig.nodes, memory, strict=True)]
        print(f"controllers begin anew: {anew}; the agents' memory grew by {grown} KiB")
        assert max(grown) < MAY_GROW
        mortal = next(uid for uid, pod in before.items() if pod.metadata.name == "dies")
        assert set(rig.gone()) == {mortal} and len(rig.gone()) > restarts
        assert len(rig.starts()[mortal, "c"]) > 1, "nobody started it again"
        rig.apis[0].start()
        begun = time.monotonic()
        await rig.ready(0)
        if anew:
            for process in [*rig.controllers, *rig.schedulers]:
                process.start()
        await answers(client)
        await until(client, core_v1.Pod, lambda pods: any(restarted(p) for p in pods), seconds=20)
        print(f"statuses told {time.monotonic() - begun:.2f} s after the server's start")
        await asyncio.sleep(GRACE + EVICTION + 1)  # whoever was wrongly given up would be evicted by now
        await nodes_ready(client, 2)
        assert not unready, "told to be not ready, though it had no chance to renew"
        assert set(await pods_of(client)) == set(before)
        assert set(rig.gone()) == {mortal}
        await client.patch(apps_v1.Deployment, "web", {"spec": {"replicas": 6}}, namespace="default")
        await until(client, apps_v1.Deployment, lambda found: settled(found, {"web": 6}), seconds=20)


def restarted(pod: core_v1.Pod) -> bool:
    return any(status.restart_count for status in pod.status.container_statuses)


@pytest.fixture
def far() -> Iterator[FarPlace]:
    place = FarPlace()
    place.make()
    yield place
    place.remove()


@pytest.mark.netns
async def test_a_node_whose_cable_is_out_and_in_again(make_rig: Callable[[Size], Rig], far: FarPlace) -> None:
    """Its pods run on, and elsewhere others take their place; back again, it ends those that were given up, and serves."""
    size = Size(etcds=0, apis=1, pairs=1, nodes=2, controller_flags=FLAGS, far=far)
    async with make_rig(size).running() as rig, rig.client() as client:
        await nodes_ready(client, 2)
        await client.create(make_deployment("web", replicas=6))
        await until(client, apps_v1.Deployment, lambda found: settled(found, {"web": 6}), seconds=30)
        stranded = {uid for uid, pod in (await pods_of(client)).items() if pod.spec.node_name == "node-2"}
        assert stranded
        far.cut()
        cut = time.monotonic()
        await until(client, core_v1.Node, lambda nodes: not_ready(nodes) == {"node-2"}, namespace="", seconds=20)
        print(f"not ready after {time.monotonic() - cut:.1f} s")
        await until(
            client,
            core_v1.Pod,
            lambda pods: sum(p.spec.node_name == "node-1" and is_up(p) for p in pods) == 6,
            seconds=30,
        )
        print(f"replaced after {time.monotonic() - cut:.1f} s")
        assert not stranded & set(rig.gone()), "the node that was cut off ended its pods by itself"
        await asyncio.sleep(KEEPALIVE - (time.monotonic() - cut))  # until its connection is given up, too
        far.mend()
        back = time.monotonic()
        await nodes_ready(client, 2)
        print(f"ready {time.monotonic() - back:.1f} s after the cable is in again")
        assert time.monotonic() - back < 12
        await until(client, core_v1.Pod, lambda pods: not stranded & {p.metadata.uid for p in pods}, seconds=40)
        print(f"given-up pods gone {time.monotonic() - back:.1f} s after the cable is in again")
        assert stranded <= set(rig.gone())
        await client.patch(apps_v1.Deployment, "web", {"spec": {"replicas": 12}}, namespace="default")
        await until(client, apps_v1.Deployment, lambda found: settled(found, {"web": 12}), seconds=30)
        assert any(p.spec.node_name == "node-2" for p in (await pods_of(client)).values())
        assert all(len(set(nodes)) == 1 for nodes in rig.starts().values())


def not_ready(nodes: list[core_v1.Node]) -> set[str]:
    return {n.metadata.name for n in nodes for c in n.status.conditions if c.type == "Ready" and c.status != "True"}


def is_up(pod: core_v1.Pod) -> bool:
    return pod.metadata.deletion_timestamp is None and any(
        c.type == "Ready" and c.status == "True" for c in pod.status.conditions
    )
