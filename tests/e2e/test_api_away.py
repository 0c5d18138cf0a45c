"""The control plane is killed and stays away for two minutes: what runs goes on, on real containers, asked ten times a second.

    0 s  control plane killed     20 s  a container killed: its agent starts it again     100 s  names and service addresses asked
    120 s  back: nobody is called not ready, evicted, or started twice, though every lease is older than all graces

The supervisor stands still meanwhile (SIGSTOP): else it would start the control plane again at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from kubeapi.client.grpc_client import GrpcClient, connect
from kubeapi.client.kubeconfig import load
from kubeapi.types import apps_v1, core_v1
from sampan import cluster_machine
from sampan.cluster_layout import ADMIN, Layout
from sampan.cluster_remains import node_names
from sampan.demo import leftovers
from tests.blows.campaign import answers
from tests.blows.test_compose_node import PORT, REPLICAS, service, web
from tests.blows.test_cut_off import is_up, pods_of, unready_nodes
from tests.blows.test_kills import nodes_ready, settled
from tests.e2e.conftest import sampan
from tests.support.asking import Asking
from tests.support.until import until

pytestmark = [pytest.mark.e2e, pytest.mark.blows, pytest.mark.timeout(300)]

NODES = ("node-1", "node-2")
GRACE, EVICTION = 8.0, 3.0
"""Seconds; so short that whoever counted the time away as silence would evict at once."""
AWAY, STRIKES, LOOKS = 120.0, 20.0, 100.0
"""Seconds: how long the control plane is away, when a container is killed, and when pods ask for each other."""
RESTARTS_WITHIN, BACK_WITHIN = 5.0, 15.0
PATIENCE = 5.0
"""Seconds, for a request: on a busy machine one packet may be lost, and is sent again after one second."""
MAY_BURN = 0.10
"""Of a processor, that an agent may use while it cannot reach the API server."""
MAY_GROW = 4096
"""KiB."""


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layout]:
    made = Layout(tmp_path_factory.mktemp("away") / "cluster")
    sampan(made, "up", f"--nodes={len(NODES)}", f"--node-monitor-grace={GRACE}", f"--pod-eviction={EVICTION}")
    try:
        yield made
    finally:
        nodes = node_names(made)
        sampan(made, "down")
    assert leftovers(made, nodes) == []


@pytest.fixture
async def client(layout: Layout) -> AsyncIterator[GrpcClient]:
    config = load(str(layout.kubeconfig(ADMIN)))
    async with connect(config.grpc, ca=config.ca, cert=config.cert, key=config.key) as client:
        await nodes_ready(client, len(NODES))
        await client.create(web())
        await client.create(service())
        await until(client, apps_v1.Deployment, lambda found: settled(found, {"web": REPLICAS}), seconds=60)
        yield client


@pytest.fixture
def engine() -> Iterator[docker.DockerClient]:
    made = docker.from_env()
    yield made
    made.close()


def pid_of(layout: Layout, component: str) -> int:
    return next(int(pid) for pid, name in map(str.split, layout.pids.read_text().splitlines()) if name == component)


@contextmanager
def control_plane_away(layout: Layout) -> Iterator[None]:
    supervisor = os.pidfd_open(int(layout.lock.read_text()))
    signal.pidfd_send_signal(supervisor, signal.SIGSTOP)
    try:
        os.kill(pid_of(layout, "controlplane"), signal.SIGKILL)
        yield
    finally:
        signal.pidfd_send_signal(supervisor, signal.SIGCONT)
        os.close(supervisor)


@dataclass(frozen=True)
class Used:
    """What the nodes' agents have used of the machine."""

    processor: list[float]
    memory: list[int]

    @staticmethod
    def now(layout: Layout) -> Used:
        agents = [Path(f"/proc/{pid_of(layout, node)}") for node in NODES]
        ticks = [sum(map(int, (agent / "stat").read_text().rpartition(")")[2].split()[11:13])) for agent in agents]
        pages = [int((agent / "statm").read_text().split()[1]) for agent in agents]
        return Used(
            [n / os.sysconf("SC_CLK_TCK") for n in ticks], [n * os.sysconf("SC_PAGE_SIZE") >> 10 for n in pages]
        )


@asynccontextmanager
async def asking() -> AsyncIterator[list[Asking]]:
    """At the node port of every node: ten requests a second together."""
    made = [
        Asking(f"http://{cluster_machine.address(i)}:{PORT}/", every=0.2, patience=PATIENCE) for i in range(len(NODES))
    ]
    async with asyncio.TaskGroup() as tasks:
        for one in made:
            tasks.create_task(asyncio.to_thread(one.run))
        try:
            yield made
        finally:
            for one in made:
                one.stop.set()


def containers_of(engine: docker.DockerClient, uid: str) -> list[Container]:
    """Those of the pod itself that run, whoever started them."""
    return engine.containers.list(
        filters={"label": [f"sampan.dev/pod-uid={uid}", "sampan.dev/kind=app"]}, ignore_removed=True
    )


async def started_again(engine: docker.DockerClient, uid: str, old: str) -> float:
    """When: by the clock that the requests are timed with."""
    async with asyncio.timeout(RESTARTS_WITHIN):
        while not (new := [c for c in await asyncio.to_thread(containers_of, engine, uid) if c.id != old]):  # noqa: ASYNC110 - by an agent that has nobody to tell
            await asyncio.sleep(0.1)
    started = datetime.fromisoformat(new[0].attrs["State"]["StartedAt"][:26].rstrip("Z") + "+00:00")
    return time.monotonic() - (datetime.now(UTC) - started).total_seconds()


def asks(container: Container, url: str) -> str:
    code, out = container.exec_run(["timeout", "5", "wget", "-qO-", url])
    assert code == 0, f"{url}: {out.decode()}"
    return str(out.decode())


async def test_two_minutes_without_control_plane(
    layout: Layout, client: GrpcClient, engine: docker.DockerClient
) -> None:
    before = await pods_of(client)
    assert {p.spec.node_name for p in before.values()} == set(NODES)
    victim = next(uid for uid, pod in before.items() if pod.spec.node_name == NODES[0])
    other = next(uid for uid, pod in before.items() if pod.spec.node_name == NODES[1])
    address = (await client.get(core_v1.Service, "web", "default")).spec.cluster_ip
    async with unready_nodes(client) as unready, asking() as asked:
        await asyncio.gather(*(one.quiet(2) for one in asked))
        unready.clear()
        begun = time.monotonic()
        with control_plane_away(layout):
            at_first = Used.now(layout)
            await asyncio.sleep(STRIKES)
            (old,) = await asyncio.to_thread(containers_of, engine, victim)
            struck = time.monotonic()
            await asyncio.to_thread(old.kill)
            again = await started_again(engine, victim, str(old.id))
            print(f"a container killed at {struck - begun:.1f} s runs again {again - struck:.1f} s later")
            await asyncio.sleep(LOOKS - (time.monotonic() - begun))
            for uid in (victim, other):
                (asker,) = await asyncio.to_thread(containers_of, engine, uid)
                for host in (address, "web", "web.default.svc.cluster.local"):
                    assert await asyncio.to_thread(asks, asker, f"http://{host}/") == "here\n"
            await asyncio.sleep(AWAY - (time.monotonic() - begun))
            at_last = Used.now(layout)
        back = time.monotonic()
        await answers(client)
        print(f"the API server answers {time.monotonic() - back:.1f} s after it may be started again")
        pods = await until(
            client, core_v1.Pod, lambda pods: restarts(pods)[victim] == 1 and all(map(is_up, pods)), seconds=BACK_WITHIN
        )
        print(f"the restart is told after {time.monotonic() - back:.1f} s")
        await client.patch(apps_v1.Deployment, "web", {"spec": {"replicas": REPLICAS + 2}}, namespace="default")
        await until(
            client, apps_v1.Deployment, lambda found: settled(found, {"web": REPLICAS + 2}), seconds=BACK_WITHIN
        )
        print(f"work is done again after {time.monotonic() - back:.1f} s")
        await asyncio.sleep(GRACE + EVICTION + 1)  # whoever was wrongly given up would be evicted by now
        await nodes_ready(client, len(NODES))
        await asyncio.gather(*(one.quiet(2) for one in asked))
    print("\n".join(f"{one.url}: {one.report(begun)}" for one in asked))
    assert not unready, "told to be not ready, though nobody could hear it"
    assert {p.metadata.uid for p in pods} == set(before)
    after = await pods_of(client)
    assert set(before) < set(after) and len(after) == REPLICAS + 2
    assert {uid for uid, count in restarts(list(after.values())).items() if count} == {victim}
    running = {uid: len(await asyncio.to_thread(containers_of, engine, uid)) for uid in after}
    assert set(running.values()) == {1}, f"containers by pod: {running}"
    down = (struck - 0.05, again + 0.5)
    failures = [(at - begun, text) for one in asked for at, text in one.failures if not down[0] <= at <= down[1]]
    assert not failures, failures
    reasons = {e.reason for e in (await client.list(core_v1.Event, "")).items}
    assert not reasons & {"NodeNotReady", "TaintManagerEviction"}, reasons
    burnt = [(b - a) / AWAY for a, b in zip(at_first.processor, at_last.processor, strict=True)]
    grown = [b - a for a, b in zip(at_first.memory, at_last.memory, strict=True)]
    print(f"agents meanwhile: {', '.join(f'{b:.1%} of a processor' for b in burnt)}; {grown} KiB more")
    assert max(burnt) < MAY_BURN and max(grown) < MAY_GROW


def restarts(pods: list[core_v1.Pod]) -> dict[str, int]:
    return {p.metadata.uid: sum(s.restart_count for s in p.status.container_statuses) for p in pods}
