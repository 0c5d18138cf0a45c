"""The server was away, or took no writes: nobody could be heard, and so nobody was silent. Controllers that live on through it
(without an election, or within their lease) must not give up nodes that had no chance to speak. In virtual time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from random import Random

import pytest

from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.client.interface import Client
from kubeapi.client.local import LocalClient
from kubeapi.clock import LoopClock, format_micro
from kubeapi.errors import Conflict, ServiceUnavailable
from kubeapi.meta import is_true, replace
from kubeapi.types import coordination_v1, core_v1, meta_v1
from sampan.controllers import manager
from tests.component.test_controllers_faults import Unreliable
from tests.component.test_controllers_nodes import fresh
from tests.support.make import make_node, make_pod
from tests.support.until import until

pytestmark = [pytest.mark.looptime]
CLOCK = LoopClock(datetime(2026, 1, 1, tzinfo=UTC))
GRACE, BEAT, EVICTION = 40.0, 10.0, 300.0
NODES = ("a", "b", "c")


class Agents:
    """Of all nodes: a sign of life every ten seconds, and a status that says Ready where it says otherwise."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.mute: set[str] = set()

    async def run(self, name: str) -> None:
        """Until cancelled."""
        node = make_node(name)
        made = await self._client.create(fresh(node))
        await self._client.update(replace(made, status=node.status), subresource="status")
        spec = coordination_v1.LeaseSpec(holder_identity=name, renew_time=format_micro(CLOCK.now()))
        meta = meta_v1.ObjectMeta(name=name, namespace="kube-node-lease")
        await self._client.create(coordination_v1.Lease(metadata=meta, spec=spec))
        await asyncio.sleep(BEAT / 2)
        while True:
            if name not in self.mute:
                with suppress(ServiceUnavailable, Conflict):
                    await self._beat(name)
            await asyncio.sleep(BEAT)

    async def _beat(self, name: str) -> None:
        renewal = {"spec": {"renewTime": format_micro(CLOCK.now())}}
        await self._client.patch(coordination_v1.Lease, name, renewal, namespace="kube-node-lease")
        node = await self._client.get(core_v1.Node, name)
        if not is_ready(node):
            status = replace(node.status, conditions=make_node(name).status.conditions)
            await self._client.update(replace(node, status=status), subresource="status")


def is_ready(node: core_v1.Node) -> bool:
    return is_true(node.status.conditions, "Ready")


class World:
    """Controllers and agents that reach the server over one line, and somebody beside it who sees all."""

    def __init__(self, line: Unreliable, here: LocalClient, agents: Agents) -> None:
        self.line, self.here, self.agents = line, here, agents
        self.unready: set[str] = set()
        """The nodes that anybody ever said to be not ready."""

    async def look(self) -> None:
        revision = (await self.here.list(core_v1.Node)).resource_version
        async for batch in self.here.watch(core_v1.Node, resource_version=revision):
            conditions = [(e.object.metadata.name, e.object.status.conditions) for e in batch if e.type == "MODIFIED"]
            self.unready |= {name for name, found in conditions if found and not is_true(found, "Ready")}

    async def nodes_ready(self, count: int = len(NODES)) -> None:
        await until(self.here, core_v1.Node, lambda n: sum(map(is_ready, n)) == count, namespace="")


@asynccontextmanager
async def living() -> AsyncIterator[World]:
    """Inside the test: virtual time begins with it."""
    async with api_core(store=EmbeddedStore(), clock=CLOCK, rng=Random(3)) as api:
        line, here = Unreliable(api, Random(5)), LocalClient(api, context=RequestContext)
        controllers = manager(line, clock=CLOCK, rng=Random(7), node_monitor_grace=GRACE, pod_eviction=EVICTION)
        made = World(line, here, Agents(line))
        tasks = [asyncio.create_task(work) for work in (controllers.run(), made.look(), *map(made.agents.run, NODES))]
        await made.nodes_ready()
        yield made
        ended = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert not ended


@pytest.mark.parametrize("kind", ["down", "read_only"])
@pytest.mark.parametrize("seconds", [37.0, 41.0, 120.0])
async def test_a_server_that_was_away_makes_no_node_silent(kind: str, seconds: float) -> None:
    """Of every length, also such that the grace runs out just when it is back."""
    async with living() as world:
        await asyncio.sleep(60.5)
        assert not world.unready
        setattr(world.line, kind, True)
        await asyncio.sleep(seconds)
        setattr(world.line, kind, False)
        await asyncio.sleep(3 * GRACE)
        assert not world.unready


@pytest.mark.parametrize("kind", ["down", "read_only"])
async def test_who_stays_silent_when_the_server_is_back_is_told_all_the_same(kind: str) -> None:
    async with living() as world:
        await asyncio.sleep(60.5)
        setattr(world.line, kind, True)
        world.agents.mute.add("b")
        await asyncio.sleep(120)
        setattr(world.line, kind, False)
        begun = CLOCK.monotonic()
        await world.nodes_ready(len(NODES) - 1)
        assert GRACE / 2 < CLOCK.monotonic() - begun < GRACE + 10
        await asyncio.sleep(GRACE)
        assert world.unready == {"b"}


@pytest.mark.parametrize("kind", ["down", "read_only"])
@pytest.mark.parametrize("longer", [0, 6, 13, 19, 26, 33, 39])
async def test_a_node_that_came_back_while_nobody_could_hear_it_keeps_its_pods(kind: str, longer: int) -> None:
    """It was not ready before, and its pods' time ran out in between. But it is well by now, and says so soon. Whenever
    in their tries to evict them the controllers are when the server is back."""
    async with living() as world:
        await world.here.create(fresh(make_pod("stays", node="b")))
        world.agents.mute.add("b")
        await world.nodes_ready(len(NODES) - 1)
        setattr(world.line, kind, True)
        await asyncio.sleep(EVICTION + 30 + longer)
        world.agents.mute.clear()
        await asyncio.sleep(20)
        setattr(world.line, kind, False)
        await world.nodes_ready()
        await asyncio.sleep(2 * GRACE)
        (pod,) = (await world.here.list(core_v1.Pod, "default")).items
        assert pod.metadata.deletion_timestamp is None


@pytest.mark.parametrize("kind", ["down", "read_only"])
async def test_a_node_that_is_still_silent_afterwards_loses_its_pods(kind: str) -> None:
    async with living() as world:
        await world.here.create(fresh(make_pod("goes", node="b")))
        world.agents.mute.add("b")
        await world.nodes_ready(len(NODES) - 1)
        setattr(world.line, kind, True)
        await asyncio.sleep(EVICTION + 30)
        setattr(world.line, kind, False)
        begun = CLOCK.monotonic()
        await until(world.here, core_v1.Pod, lambda pods: all(p.metadata.deletion_timestamp for p in pods))
        assert GRACE / 2 < CLOCK.monotonic() - begun < GRACE + 10
