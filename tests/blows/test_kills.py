"""kill -9 of everything, by turns and at random, while writers write, watchers follow and Deployments are scaled.

Afterwards: nothing acknowledged is lost, each watcher saw one and the same history, no container was started twice, no pod
ran on two nodes, leadership moved within seconds, and what should run runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from random import Random

import pytest

from kubeapi.client.interface import Client
from kubeapi.errors import ApiError, NotFound
from kubeapi.types import apps_v1, coordination_v1, core_v1
from tests.blows.campaign import Campaign
from tests.support.make import make_deployment
from tests.support.processes import Process
from tests.support.rig import LEASE, Rig, Size
from tests.support.traffic import AWAY
from tests.support.until import until

pytestmark = [pytest.mark.blows, pytest.mark.timeout(150)]

DEPLOYMENTS = ("red", "green", "blue")
LEASES = {"scheduler": "kube-scheduler", "controllers": "kube-controller-manager"}
MOVES_WITHIN = LEASE + 3.0
"""Seconds: the lease runs out, the other one looks, and its first renewal is seen."""


class Scaler:
    """Scales Deployments up and down all the time; at the end each has its last size."""

    def __init__(self, clients: Sequence[Client], rng: Random) -> None:
        self._clients, self._rng = clients, rng

    async def create(self) -> None:
        for name in DEPLOYMENTS:
            await self._clients[0].create(make_deployment(name, replicas=3))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.scale(self._rng.choice(DEPLOYMENTS), self._rng.randrange(7))
            await asyncio.sleep(0.3)

    async def scale(self, name: str, replicas: int) -> None:
        while True:
            try:
                await self._rng.choice(self._clients).patch(
                    apps_v1.Deployment, name, {"spec": {"replicas": replicas}}, namespace="default"
                )
                return
            except AWAY:
                await asyncio.sleep(0.1)


async def leader(clients: Sequence[Client], lease: str) -> str:
    for client in clients:
        try:
            held = await client.get(coordination_v1.Lease, lease, "kube-system")
            return held.spec.holder_identity or ""
        except NotFound:
            return ""
        except AWAY:
            continue
    return ""


async def led(
    clients: Sequence[Client], lease: str, *, but: str = "", seconds: float = MOVES_WITHIN
) -> tuple[str, float]:
    """Who leads, being not `but`, and after how long."""
    begun = time.monotonic()
    async with asyncio.timeout(seconds):
        while (name := await leader(clients, lease)) in ("", but):  # noqa: ASYNC110 - through whichever server answers
            await asyncio.sleep(0.02)
    return name, time.monotonic() - begun


async def kill_leader(campaign: Campaign, kind: str, group: Sequence[Process]) -> float:
    """It stays dead until another one leads: how long that took."""
    name, _ = await led(campaign.clients, LEASES[kind], seconds=20)
    victim = next(p for p in group if name.startswith(f"{p.name}."))
    victim.kill()
    new, seconds = await led(campaign.clients, LEASES[kind], but=name)
    campaign.note(f"killed the leader {name}; {new} leads after {seconds:.2f} s")
    victim.start()
    return seconds


def settled(deployments: Sequence[apps_v1.Deployment], sizes: dict[str, int]) -> bool:
    return len(deployments) == len(sizes) and all(
        (d.status.replicas, d.status.ready_replicas, d.status.updated_replicas) == (sizes[d.metadata.name],) * 3
        and d.status.observed_generation == d.metadata.generation
        for d in deployments
    )


async def converge(campaign: Campaign, scaler: Scaler, sizes: dict[str, int]) -> None:
    """Every Deployment at its last size, with as many pods, all of them ready and none of them restarted."""
    begun = time.monotonic()
    client = campaign.clients[-1]
    for name, size in sizes.items():
        await scaler.scale(name, size)
    await until(client, apps_v1.Deployment, lambda found: settled(found, sizes), seconds=40)
    pods = await until(client, core_v1.Pod, lambda found: len(found) == sum(sizes.values()), seconds=20)
    campaign.note(f"all settled {time.monotonic() - begun:.2f} s after the last blow")
    for pod in pods:
        assert pod.status.phase == "Running", pod.metadata.name
        assert [c.restart_count for c in pod.status.container_statuses] == [0], pod.metadata.name
    sets = (await client.list(apps_v1.ReplicaSet, "default")).items
    assert len(sets) == len(sizes), "a Deployment made two ReplicaSets of one template"


def no_container_twice(rig: Rig) -> int:
    starts = rig.starts()
    twice = {pod: nodes for pod, nodes in starts.items() if len(nodes) != 1}
    assert not twice, f"started more than once: {twice}"
    return len(starts)


async def nodes_ready(client: Client, count: int) -> None:
    def ready(nodes: list[core_v1.Node]) -> bool:
        return sum(c.type == "Ready" and c.status == "True" for n in nodes for c in n.status.conditions) == count

    try:
        await until(client, core_v1.Node, ready, namespace="", seconds=30)
    except TimeoutError:
        raise AssertionError("the nodes do not become ready") from None


SIZES = {
    "etcd": (Size(etcds=3, apis=2, pairs=2, nodes=3), 16),
    "sqlite": (Size(etcds=0, apis=1, pairs=2, nodes=2), 8),
}


@pytest.mark.parametrize("store", [pytest.param("etcd", marks=pytest.mark.etcd), "sqlite"])
async def test_kills_at_random(store: str, make_rig: Callable[[Size], Rig], seed: int) -> None:
    size, count = SIZES[store]
    async with make_rig(size).running() as rig:
        campaign = Campaign(rig, Random(seed), writers=4, keys=5, pause=0.02)
        moves: list[float] = []
        try:
            async with campaign, asyncio.timeout(110):
                await nodes_ready(campaign.clients[0], size.nodes)
                campaign.note("the nodes are ready")
                scaler = Scaler(campaign.clients, Random(campaign.rng.random()))
                await scaler.create()
                scaling = asyncio.create_task(scaler.run(), name="scaler")
                try:
                    rounds = [rig.etcds, rig.apis, rig.schedulers, rig.controllers, rig.nodes]
                    groups = [group for group in rounds if group]
                    plan = [groups[i % len(groups)] for i in range(count)]
                    campaign.rng.shuffle(plan)
                    for group in plan:
                        await campaign.kill(campaign.rng.choice(group))
                    for kind, group in (("scheduler", rig.schedulers), ("controllers", rig.controllers)):
                        moves.append(await kill_leader(campaign, kind, group))
                finally:
                    scaling.cancel()
                    await asyncio.wait([scaling])
                await converge(campaign, scaler, {name: 2 + campaign.rng.randrange(4) for name in DEPLOYMENTS})
        except (TimeoutError, AssertionError, ApiError, ExceptionGroup) as error:
            print("\n".join(campaign.blows))
            raise AssertionError(f"seed {seed}: {error!r}") from error
        started = no_container_twice(rig)
        campaign.judge()
        print(f"{started} containers started, each once; leaders moved in {', '.join(f'{m:.2f} s' for m in moves)}")
        assert max(moves) < MOVES_WITHIN
