"""Statuses: the newest wins, what is passing waits for its successor, and nothing is lost."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import pytest
from msgspec.structs import replace

from kubeapi.client.interface import BatchResult, Write
from kubeapi.types.core_v1 import Pod, PodCondition, PodStatus
from node_agent.status_writer import PATIENCE, StatusWriter
from tests.unit.node_agent.memory_client import MemoryClient
from tests.unit.node_agent.pods import pod, wish

pytestmark = pytest.mark.looptime


class Counting(MemoryClient):
    """Notes each status that is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    async def batch(self, writes: Sequence[Write]) -> list[BatchResult]:
        self.written += [w.object.status.message for w in writes if isinstance(w.object, Pod)]
        return list(await super().batch(writes))


@asynccontextmanager
async def writer(client: Counting) -> AsyncIterator[StatusWriter]:
    statuses = StatusWriter(client, rng=Random(1), log=logging.getLogger("test"))
    running = asyncio.create_task(statuses.run())
    yield statuses
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def saying(found: Pod, text: str) -> PodStatus:
    return replace(found.status, message=text)


async def test_what_is_passing_is_not_written_when_its_successor_comes() -> None:
    client = Counting()
    made = await client.create(pod(wish()))
    async with writer(client) as statuses:
        statuses.put(made, saying(made, "sandbox"), passing=True)
        await asyncio.sleep(PATIENCE / 3)
        statuses.put(made, saying(made, "network"), passing=True)
        await asyncio.sleep(PATIENCE / 3)
        begun = asyncio.get_running_loop().time()
        statuses.put(made, saying(made, "runs"))
        await statuses.settle(made.metadata.uid)
        assert asyncio.get_running_loop().time() - begun < 0.01
        assert client.written == ["runs"]
        await asyncio.sleep(1)
        assert client.written == ["runs"]


async def test_what_stays_is_written_in_the_end() -> None:
    client = Counting()
    made = await client.create(pod(wish()))
    async with writer(client) as statuses:
        statuses.put(made, saying(made, "pulling"), passing=True)
        await asyncio.sleep(PATIENCE * 0.9)
        assert client.written == []
        await asyncio.sleep(PATIENCE * 0.2)
        assert client.written == ["pulling"]


async def test_who_wants_it_settled_does_not_wait_for_patience() -> None:
    client = Counting()
    made = await client.create(pod(wish()))
    async with writer(client) as statuses:
        await asyncio.sleep(0)
        begun = asyncio.get_running_loop().time()
        statuses.put(made, saying(made, "pending"), passing=True)
        await statuses.settle(made.metadata.uid)
        assert client.written == ["pending"]
        assert asyncio.get_running_loop().time() - begun < PATIENCE / 2


async def test_what_another_has_overwritten_is_written_again_and_no_more() -> None:
    """In the same second: nothing but the condition's status tells it."""
    client = Counting()
    made = await client.create(pod(wish()))
    ours = replace(made.status, conditions=[PodCondition(type="Ready", status="True")], message="runs")
    theirs = replace(ours, conditions=[PodCondition(type="Ready", status="False", reason="NodeNotReady")])
    async with writer(client) as statuses:
        statuses.put(made, ours)
        await statuses.settle(made.metadata.uid)
        mine = await client.get(Pod, made.metadata.name, made.metadata.namespace)
        statuses.put(mine, ours)
        assert client.written == ["runs"]
        changed = await client.update(replace(mine, status=theirs), subresource="status")
        for _ in range(3):
            statuses.put(changed, ours)
            await statuses.settle(made.metadata.uid)
        assert client.written == ["runs", "runs"]
        assert (await client.get(Pod, made.metadata.name, made.metadata.namespace)).status == ours
