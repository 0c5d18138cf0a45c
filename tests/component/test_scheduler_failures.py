"""The scheduler in virtual time while the server fails: nothing is lost, nothing is placed twice or too much."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.scheduler.scheduler import Scheduler
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.client.interface import BatchResult, Write
from kubeapi.client.local import LocalClient
from kubeapi.clock import LoopClock
from kubeapi.errors import NotFound, ServiceUnavailable
from kubeapi.meta import replace
from kubeapi.types import core_v1, meta_v1, scheduling_v1
from tests.support.make import make_node, make_pod
from tests.support.until import until

pytestmark = [pytest.mark.looptime]
CLOCK = LoopClock(datetime(2026, 1, 1, tzinfo=UTC))


class Unreliable(LocalClient):
    """A server that now and then does not answer, or did what was asked and lost the answer."""

    def __init__(self, api: Any, rng: Random) -> None:
        super().__init__(api, context=RequestContext)
        self._rng = rng
        self.failing = 0.0
        """The part of the requests that fail."""

    def _maybe(self) -> None:
        if self._rng.random() < self.failing:
            raise ServiceUnavailable("the server is away")

    async def list(self, *args: Any, **kwargs: Any) -> Any:
        self._maybe()
        return await super().list(*args, **kwargs)

    async def watch(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        self._maybe()
        stream = super().watch(*args, **kwargs)
        try:
            async for batch in stream:
                yield batch
                self._maybe()
        finally:
            await stream.aclose()  # type: ignore[attr-defined]

    async def patch(self, *args: Any, **kwargs: Any) -> Any:
        self._maybe()
        return await super().patch(*args, **kwargs)

    async def delete(self, *args: Any, **kwargs: Any) -> None:
        self._maybe()
        await super().delete(*args, **kwargs)

    async def batch(self, writes: Sequence[Write[Any]]) -> list[BatchResult[Any]]:
        self._maybe()
        results = await super().batch(writes)
        self._maybe()
        return results


def fresh(obj: Any) -> Any:
    return replace(obj, metadata=replace(obj.metadata, uid="", creation_timestamp=None))


@pytest.mark.parametrize("seed", range(6))
async def test_every_pod_comes_to_a_node_whatever_happens_on_the_way(seed: int) -> None:
    rng = Random(seed)
    async with api_core(store=EmbeddedStore(), clock=CLOCK, rng=rng) as api:
        sure = LocalClient(api, context=RequestContext)
        client = Unreliable(api, rng)
        for i in range(4):
            made = await sure.create(fresh(make_node(f"n{i}", cpu="6", pods=10)))
            await sure.update(replace(made, status=make_node(f"n{i}", cpu="6", pods=10).status), subresource="status")
        await sure.create(scheduling_v1.PriorityClass(metadata=meta_v1.ObjectMeta(name="five"), value=5))
        client.failing = 0.3
        running = asyncio.create_task(Scheduler(client, clock=CLOCK, rng=rng).run(), name="scheduler")
        try:
            for i in range(60):
                await disturb(sure, rng, i)
                await asyncio.sleep(rng.choice([0, 0.1, 2.0]))
            client.failing = 0.0
            for i in range(4):
                await sure.patch(core_v1.Node, f"n{i}", {"spec": {"unschedulable": None}})
            pods = await until(sure, core_v1.Pod, lambda found: all(p.spec.node_name for p in found), seconds=400)
        finally:
            running.cancel()
            await asyncio.wait([running])
        for i in range(4):
            here = [p for p in pods if p.spec.node_name == f"n{i}"]
            assert sum(int(p.spec.containers[0].resources.requests["cpu"]) for p in here) <= 6


async def disturb(client: LocalClient, rng: Random, number: int) -> None:
    """At most 9 pods of one core or two, on nodes of six: however they lie, one more of two fits somewhere."""
    pods = (await client.list(core_v1.Pod, "default")).items
    what = rng.choice(["pod", "pod", "pod", "leave", "cordon", "uncordon"])
    if what == "pod" and len(pods) < 9:
        cpu = rng.choice(["1", "1", "2"])
        name = rng.choice(["", "", "five"])
        await client.create(fresh(make_pod(f"p{number}", requests={"cpu": cpu}, priority_class_name=name)))
    elif what == "leave" and pods:
        try:
            await client.delete(core_v1.Pod, rng.choice(pods).metadata.name, "default", grace_seconds=0)
        except NotFound:
            return
    elif what in ("cordon", "uncordon"):
        cordoned = what == "cordon" or None
        await client.patch(core_v1.Node, f"n{rng.randrange(4)}", {"spec": {"unschedulable": cordoned}})
