"""A leader stands still for longer than its lease, another one leads, and the first one wakes up: it must not go on as if it led.

What it had decided before may still reach the API server. So what is looked at is what came of it: every pod is bound once,
no node is given more than it has, nothing is started twice, and the one who leads is the one who took over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random

import pytest

from kubeapi.client.interface import Client
from kubeapi.types import apps_v1, core_v1
from kubeapi.types.meta_v1 import ObjectMeta
from tests.blows.campaign import Campaign
from tests.blows.test_kills import LEASES, Scaler, led, no_container_twice, nodes_ready, settled
from tests.support.processes import Process
from tests.support.rig import LEASE, Rig, Size
from tests.support.until import until

pytestmark = [pytest.mark.blows, pytest.mark.timeout(120)]

CPUS_OF_A_POD = 8
FITTING = 2 * 64 // CPUS_OF_A_POD
"""Pods that find room on two nodes of 64."""
FROZEN = LEASE + 2.5


class Bindings:
    """Where each pod was ever seen to be bound."""

    def __init__(self) -> None:
        self.of: dict[str, list[str]] = {}

    async def watch(self, client: Client, revision: int) -> None:
        """Until cancelled."""
        async for batch in client.watch(core_v1.Pod, "default", resource_version=revision):
            for event in batch:
                if event.type != "BOOKMARK" and (node := event.object.spec.node_name):
                    nodes = self.of.setdefault(event.object.metadata.uid, [])
                    if not nodes or nodes[-1] != node:
                        nodes.append(node)


def demanding(number: int) -> core_v1.Pod:
    resources = core_v1.ResourceRequirements(requests={"cpu": str(CPUS_OF_A_POD)})
    return core_v1.Pod(
        metadata=ObjectMeta(name=f"pod-{number:03}", namespace="default"),
        spec=core_v1.PodSpec(containers=[core_v1.Container(name="c", image="x", resources=resources)]),
    )


async def leader_of(clients: Sequence[Client], kind: str, group: Sequence[Process]) -> tuple[str, Process]:
    name, _ = await led(clients, LEASES[kind], seconds=20)
    return name, next(p for p in group if name.startswith(f"{p.name}."))


async def test_a_scheduler_that_wakes_up_after_its_lease_binds_nothing_anew(
    make_rig: Callable[[Size], Rig], seed: int
) -> None:
    """Frozen in the middle of a burst, again and again: each time the other one binds what is left and what comes."""
    rng = Random(seed)
    async with make_rig(Size(etcds=0, apis=1, pairs=2, nodes=2)).running() as rig, rig.client() as client:
        await nodes_ready(client, 2)
        bindings = Bindings()
        page = await client.list(core_v1.Pod, "default")
        watching = asyncio.create_task(bindings.watch(client, page.resource_version), name="bindings")
        try:
            made = 0
            for round_ in range(2):
                old, frozen = await leader_of([client], "scheduler", rig.schedulers)
                burst = [asyncio.create_task(client.create(demanding(made + n))) for n in range(10)]
                made += 10
                await asyncio.wait(burst, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(rng.uniform(0, 0.05))
                frozen.freeze()
                await asyncio.gather(*burst)
                begun = asyncio.get_running_loop().time()
                new, seconds = await led([client], LEASES["scheduler"], but=old, seconds=FROZEN + 5)
                fitting = min(made, FITTING)  # they are bound by the new one alone
                await until(client, core_v1.Pod, lambda pods, n=fitting: bound(pods) >= n, seconds=20)
                await asyncio.sleep(max(0.0, begun + FROZEN - asyncio.get_running_loop().time()))
                frozen.thaw()
                print(f"round {round_}: {new} leads {seconds:.1f} s after {old} was frozen; {bound_of(bindings)} bound")
                for _ in range(4):  # more work for whoever believes that it leads
                    await client.create(demanding(made))
                    made += 1
                await asyncio.sleep(1.0)
                still, _ = await led([client], LEASES["scheduler"], seconds=5)
                assert still == new, "the one that woke up took the lease back"
            pods = (await client.list(core_v1.Pod, "default")).items
            used: dict[str, int] = {}
            for pod in pods:
                if pod.spec.node_name:
                    used[pod.spec.node_name] = used.get(pod.spec.node_name, 0) + CPUS_OF_A_POD
            assert used == {"node-1": 64, "node-2": 64}, f"seed {seed}: {used}"
            moved = {uid: nodes for uid, nodes in bindings.of.items() if len(nodes) > 1}
            assert not moved, f"seed {seed}: bound twice: {moved}"
            assert len(pods) == made
            no_container_twice(rig)
        finally:
            watching.cancel()
            await asyncio.wait([watching])


def bound(pods: list[core_v1.Pod]) -> int:
    return sum(bool(p.spec.node_name) for p in pods)


def bound_of(bindings: Bindings) -> int:
    return len(bindings.of)


async def exactly(client: Client, count: int) -> list[core_v1.Pod]:
    try:
        return await until(client, core_v1.Pod, lambda found: len(found) == count, seconds=20)
    except TimeoutError:
        pods = (await client.list(core_v1.Pod, "default")).items
        lines = [
            f"{p.metadata.name} {p.status.phase} on {p.spec.node_name!r}, deleted {p.metadata.deletion_timestamp}"
            for p in pods
        ]
        raise AssertionError("\n".join([f"{count} pods should be there:", *lines])) from None


async def test_a_controller_manager_that_wakes_up_after_its_lease_makes_nothing_twice(
    make_rig: Callable[[Size], Rig], seed: int
) -> None:
    """Frozen while Deployments are scaled up and down; afterwards there is what was asked for last, and no more comes."""
    async with make_rig(Size(etcds=0, apis=1, pairs=2, nodes=2)).running() as rig:
        campaign = Campaign(rig, Random(seed), writers=1, watchers=1, keys=2, pause=0.05)
        async with campaign:
            client = campaign.clients[0]
            await nodes_ready(client, 2)
            scaler = Scaler(campaign.clients, Random(seed))
            await scaler.create()
            for _ in range(2):
                scaling = asyncio.create_task(scaler.run(), name="scaler")
                old, frozen = await leader_of([client], "controllers", rig.controllers)
                await asyncio.sleep(campaign.rng.uniform(0.5, 1.0))
                await campaign.freeze(frozen, FROZEN)
                new, _ = await led([client], LEASES["controllers"], but=old, seconds=5)
                await asyncio.sleep(0.5)
                scaling.cancel()
                await asyncio.wait([scaling])
                sizes = {name: 1 + campaign.rng.randrange(4) for name in ("red", "green", "blue")}
                for name, size in sizes.items():
                    await scaler.scale(name, size)
                await until(client, apps_v1.Deployment, lambda found, s=sizes: settled(found, s), seconds=30)
                pods = await exactly(client, sum(sizes.values()))
                await asyncio.sleep(1.0)
                later = (await client.list(core_v1.Pod, "default")).items
                assert {p.metadata.uid for p in later} == {p.metadata.uid for p in pods}, f"seed {seed}"
                assert (await led([client], LEASES["controllers"], seconds=5))[0] == new
            sets = (await client.list(apps_v1.ReplicaSet, "default")).items
            assert len(sets) == 3, "a Deployment made two ReplicaSets of one template"
        no_container_twice(rig)
        campaign.judge()
