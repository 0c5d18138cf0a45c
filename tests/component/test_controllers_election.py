"""Two controller managers on one real API core, in virtual time: never are two at work, and never none for long."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from controlplane.apiserver.api import Api
from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.client.local import LocalClient
from kubeapi.clock import LoopClock
from kubeapi.meta import replace
from kubeapi.types import coordination_v1, core_v1
from sampan import election
from sampan.controllers import LEASE, manager
from tests.support.make import make_deployment
from tests.support.until import until

pytestmark = [pytest.mark.looptime]
CLOCK = LoopClock(datetime(2026, 1, 1, tzinfo=UTC))


class Mortal(LocalClient):
    """The client of a process that can be killed: from then on nothing that it asks arrives, and nothing answers."""

    def __init__(self, api: Api, name: str, writes: list[tuple[str, float]]) -> None:
        super().__init__(api, context=RequestContext)
        self.dead = asyncio.Event()
        self._name = name
        self._writes = writes

    async def _write(self, obj: Any) -> None:
        if self.dead.is_set():
            await asyncio.Event().wait()
        if not isinstance(obj, coordination_v1.Lease):
            self._writes.append((self._name, CLOCK.monotonic()))

    async def create(self, obj: Any, **where: Any) -> Any:
        await self._write(obj)
        return await super().create(obj, **where)

    async def update(self, obj: Any, **where: Any) -> Any:
        await self._write(obj)
        return await super().update(obj, **where)


class Instance:
    def __init__(self, api: Api, name: str, writes: list[tuple[str, float]], terms: list[str]) -> None:
        self.name = name
        self.client = Mortal(api, name, writes)
        self._terms = terms
        parser = argparse.ArgumentParser()
        election.add_flags(parser, lease=LEASE)
        args = parser.parse_args([f"--leader-elect-identity={name}"])
        self.elector = election.elector(args, self.client, clock=CLOCK, rng=Random(name))
        self.task = asyncio.create_task(election.lead(self.elector, self._work), name=name)

    async def _work(self) -> None:
        self._terms.append(f"+{self.name}")
        try:
            await manager(self.client, clock=CLOCK, rng=Random(self.name)).run()
        finally:
            self._terms.append(f"-{self.name}")

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


class Pair:
    def __init__(self, api: Api) -> None:
        self.api = LocalClient(api, context=RequestContext)
        self.writes: list[tuple[str, float]] = []
        self.terms: list[str] = []
        self.start: Callable[[str], Instance] = lambda name: Instance(api, name, self.writes, self.terms)

    async def scale(self, replicas: int) -> None:
        """And waits until the pods are there."""
        deployment = make_deployment(replicas=replicas)
        if replicas == 2:
            await self.api.create(
                replace(deployment, metadata=replace(deployment.metadata, uid="", creation_timestamp=None))
            )
        else:
            await self.api.patch(
                type(deployment), deployment.metadata.name, {"spec": {"replicas": replicas}}, namespace="default"
            )
        await until(self.api, core_v1.Pod, lambda pods: len(pods) == replicas)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with api_core(store=EmbeddedStore(), clock=CLOCK, rng=Random(3)) as api:
        yield Pair(api)


async def test_alone_the_election_costs_nothing(pair: Pair) -> None:
    begun = CLOCK.monotonic()
    only = pair.start("a")
    await pair.scale(2)
    assert CLOCK.monotonic() - begun < 0.5
    lease = await pair.api.get(coordination_v1.Lease, "kube-controller-manager", "kube-system")
    assert (lease.spec.holder_identity, lease.spec.lease_duration_seconds) == ("a", 15)
    await only.stop()


async def test_a_killed_manager_is_followed_when_its_lease_has_run_out_and_not_before(pair: Pair) -> None:
    first = pair.start("a")
    await pair.scale(2)
    second = pair.start("b")
    await asyncio.sleep(60)
    assert pair.terms == ["+a"]
    killed = CLOCK.monotonic()
    first.client.dead.set()
    first.task.cancel()
    await pair.scale(5)
    taken = next(moment for name, moment in pair.writes if name == "b")
    assert 13 <= taken - killed <= 15 + 2 * 2.4
    assert not [moment for name, moment in pair.writes if name == "a" and moment > killed]
    await asyncio.wait([first.task])
    await second.stop()


async def test_a_manager_cut_off_from_the_server_stops_before_another_begins(pair: Pair) -> None:
    first = pair.start("a")
    await pair.scale(2)
    second = pair.start("b")
    await asyncio.sleep(20)
    first.client.dead.set()
    await pair.scale(5)
    assert pair.terms == ["+a", "-a", "+b"]
    await first.stop()
    await second.stop()


async def test_a_manager_that_ends_in_order_is_followed_at_the_next_look(pair: Pair) -> None:
    first = pair.start("a")
    await pair.scale(2)
    second = pair.start("b")
    await asyncio.sleep(20)
    stopped = CLOCK.monotonic()
    await first.stop()
    await pair.scale(5)
    assert CLOCK.monotonic() - stopped < 3
    assert pair.terms == ["+a", "-a", "+b"]
    await second.stop()


async def test_one_that_comes_back_under_its_old_name_does_not_wait_for_itself(pair: Pair) -> None:
    first = pair.start("a")
    await pair.scale(2)
    first.client.dead.set()
    first.task.cancel()
    begun = CLOCK.monotonic()
    second = pair.start("a")
    await pair.scale(5)
    assert CLOCK.monotonic() - begun < 1
    await asyncio.wait([first.task])
    await second.stop()
