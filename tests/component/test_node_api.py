"""The agent, on hollow pods, against the real API core over the embedded store in memory."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.client.local import LocalClient
from kubeapi.clock import SystemClock
from kubeapi.errors import NotFound
from kubeapi.types.coordination_v1 import Lease
from kubeapi.types.core_v1 import Node, Pod
from kubeapi.types.meta_v1 import ObjectMeta
from node_agent.dialing import PlainDialer
from node_agent.node_object import Machine
from node_agent.runtimes.hollow import Behaviour, HollowRuntime
from sampan.node import NodeConfig, build
from tests.unit.node_agent.pods import IMAGE, pod


@pytest.fixture
async def client() -> AsyncIterator[LocalClient]:
    store = EmbeddedStore()
    async with api_core(store=store, clock=SystemClock(), rng=Random(1)) as api:
        yield LocalClient(api, context=RequestContext)
    await store.close()


@pytest.fixture
async def runtime(client: LocalClient) -> AsyncIterator[HollowRuntime]:
    """The runtime of a node that has joined."""
    runtime = HollowRuntime(clock=SystemClock())
    agent = build(
        NodeConfig(name="n1", ip="192.0.2.1", data=Path("/nowhere"), pod_cidr="10.244.1.0/24"),
        client,
        runtime,
        machine=Machine(cpus=2, memory=4 << 30, disk=10 << 30),
        clock=SystemClock(),
        rng=Random(1),
        dialer=PlainDialer(),
        log=logging.getLogger("test"),
    )
    task = asyncio.create_task(agent.run())
    await agent.ready.wait()
    yield runtime
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def phase(client: LocalClient, wanted: str) -> Pod:
    async with asyncio.timeout(10):
        while (found := await client.get(Pod, "web", "default")).status.phase != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found


def fresh() -> Pod:
    return replace(pod(), metadata=ObjectMeta(name="web", namespace="default"))


async def test_a_node_joins(client: LocalClient, runtime: HollowRuntime) -> None:
    node = await client.get(Node, "n1")
    assert node.spec.pod_cidr == "10.244.1.0/24"
    assert (await client.get(Lease, "n1", "kube-node-lease")).spec.holder_identity == "n1"
    async with asyncio.timeout(5):
        while not any(c.type == "Ready" and c.status == "True" for c in node.status.conditions):
            await asyncio.sleep(0.02)
            node = await client.get(Node, "n1")


async def test_a_pod_lives_and_dies(client: LocalClient, runtime: HollowRuntime) -> None:
    await client.create(fresh())
    found = await phase(client, "Running")
    assert found.status.pod_ip == "10.244.1.2"
    await client.delete(Pod, "web", "default")
    async with asyncio.timeout(10):
        while True:
            try:
                await client.get(Pod, "web", "default")
            except NotFound:
                break
            await asyncio.sleep(0.02)
    assert await runtime.list() == []


async def test_a_pod_that_ends_is_told(client: LocalClient, runtime: HollowRuntime) -> None:
    runtime.script(IMAGE, Behaviour(exit_after=0.1, exit_code=2))
    await client.create(replace(fresh(), spec=replace(fresh().spec, restart_policy="Never")))
    found = await phase(client, "Failed")
    ended = found.status.container_statuses[0].state.terminated
    assert ended is not None
    assert ended.exit_code == 2
