"""The Docker engine of a node is killed, and one is restarted in order; a node's link is taken down and up again. On the
cluster of docker-compose.yml, whose node containers have engines of their own, while somebody asks a service all the time.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from kubeapi.client.grpc_client import GrpcClient, connect
from kubeapi.client.interface import Client
from kubeapi.client.kubeconfig import load
from kubeapi.meta import replace
from kubeapi.types import apps_v1, core_v1, discovery_v1
from kubeapi.types.meta_v1 import ObjectMeta
from sampan.cluster_compose import ComposeCluster, docker
from tests.blows.campaign import answers
from tests.blows.test_cut_off import is_up, not_ready
from tests.blows.test_kills import nodes_ready, settled
from tests.support.asking import Asking
from tests.support.compose import Place, running
from tests.support.make import make_deployment
from tests.support.until import until

PLACE = Place("node", 80)
SETTINGS = {"SAMPAN_NODE_LEASE": "2", "SAMPAN_NODE_MONITOR_GRACE": "8", "SAMPAN_POD_EVICTION": "300"}
VICTIM, OTHER = "node-1", "node-2"
PORT, REPLICAS = 30090, 4
BACK_WITHIN = 40.0
"""Seconds until the pods of a node are ready again whose engine died."""

pytestmark = [
    pytest.mark.blows,
    pytest.mark.e2e,
    pytest.mark.compose,
    pytest.mark.timeout(240),
]


@pytest.fixture(scope="module")
def cluster(compose_image: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeCluster]:
    with running(PLACE, tmp_path_factory.mktemp("node") / "state", ha=False, nodes=2, settings=SETTINGS) as cluster:
        yield cluster


@pytest.fixture
async def client(cluster: ComposeCluster) -> AsyncIterator[GrpcClient]:
    """In a cluster where `web` runs behind a node port; both go with the test."""
    config = load(str(cluster.kubeconfig))
    async with connect(config.grpc, ca=config.ca, cert=config.cert, key=config.key) as client, asyncio.timeout(200):
        await answers(client)
        await nodes_ready(client, 2)
        await client.create(web())
        await client.create(service())
        await until(client, apps_v1.Deployment, lambda found: settled(found, {"web": REPLICAS}), seconds=60)
        yield client
        await client.delete(core_v1.Service, "web", "default")
        await client.delete(apps_v1.Deployment, "web", "default")
        await until(client, core_v1.Pod, lambda pods: not pods, seconds=60)


def web() -> apps_v1.Deployment:
    made = make_deployment("web", replicas=REPLICAS)
    script = "echo here >/tmp/index.html; exec httpd -f -p 8080 -h /tmp"
    probe = core_v1.Probe(http_get=core_v1.HTTPGetAction(port=8080, path="/"), period_seconds=1)
    box = core_v1.Container(name="c", image="sampan/busybox:1", command=["sh", "-c", script], readiness_probe=probe)
    template = replace(made.spec.template, spec=replace(made.spec.template.spec, containers=[box]))
    return replace(made, spec=replace(made.spec, template=template))


def service() -> core_v1.Service:
    port = core_v1.ServicePort(port=80, target_port=8080, node_port=PORT)
    labels = web().spec.template.metadata.labels
    spec = core_v1.ServiceSpec(type="NodePort", selector=labels, ports=[port])
    return core_v1.Service(metadata=ObjectMeta(name="web", namespace="default"), spec=spec)


@contextmanager
def asking(cluster: ComposeCluster) -> Iterator[Asking]:
    """By the node that takes no blow."""
    made = Asking(f"http://{cluster.address(OTHER)}:{PORT}/")
    thread = threading.Thread(target=made.run, name="asking")
    thread.start()
    try:
        yield made
    finally:
        made.stop.set()
        thread.join()


async def in_node(cluster: ComposeCluster, script: str) -> str:
    return await asyncio.to_thread(docker, "exec", cluster.container(VICTIM), "sh", "-c", script)


async def pods_up(client: Client, uids: set[str]) -> list[core_v1.Pod]:
    """The very same pods, all ready."""
    return await until(
        client, core_v1.Pod, lambda pods: {p.metadata.uid for p in pods if is_up(p)} == uids, seconds=BACK_WITHIN
    )


@pytest.mark.parametrize("how", ["KILL", "TERM"])
async def test_the_engine_of_a_node_goes_and_comes(how: str, cluster: ComposeCluster, client: GrpcClient) -> None:
    pods = (await client.list(core_v1.Pod, "default")).items
    before = {p.metadata.uid for p in pods}
    here = sum(p.spec.node_name == VICTIM for p in pods)
    assert 0 < here < REPLICAS
    with asking(cluster) as asked:
        await asked.quiet(1)
        engine = (await in_node(cluster, "pidof dockerd")).split()[0]
        begun = time.monotonic()
        await in_node(cluster, f"kill -{how} {engine}; while kill -0 {engine} 2>/dev/null; do sleep 0.1; done")
        await in_node(cluster, "until docker info >/dev/null 2>&1; do sleep 0.1; done")
        print(f"{how}: another engine answers after {time.monotonic() - begun:.1f} s")
        await pods_up(client, before)
        print(f"{how}: all ready {time.monotonic() - begun:.1f} s after the blow")
        # Readiness of before the blow may be what is seen here: requests tell when the service is whole.
        print(f"{how}: no request fails {await asked.quiet_within(BACK_WITHIN):.1f} s after that")
    print(f"{how}: {asked.report(begun)}")
    pods = await pods_up(client, before)
    await serving(client, REPLICAS)
    restarts = {
        p.metadata.name: (p.spec.node_name, [s.restart_count for s in p.status.container_statuses]) for p in pods
    }
    assert all(counts == [int(node == VICTIM)] for node, counts in restarts.values()), restarts
    running = (await in_node(cluster, "docker ps --format '{{.Names}}' | grep -c _web-")).strip()
    assert int(running) == 2 * here, f"each of {here} pods has a sandbox and a container, and there are {running}"


async def serving(client: Client, count: int) -> None:
    """So many endpoints of web are ready."""

    def ready(slices: list[discovery_v1.EndpointSlice]) -> bool:
        ours = [s for s in slices if s.metadata.labels.get("kubernetes.io/service-name") == "web"]
        return sum(e.conditions.ready is True for s in ours for e in s.endpoints) == count

    await until(client, discovery_v1.EndpointSlice, ready, seconds=30)


async def test_the_link_of_a_node_is_down_and_up_again(cluster: ComposeCluster, client: GrpcClient) -> None:
    """Its pods run on and are none the worse; meanwhile requests go to the others, once the node is known to be away."""
    before = {p.metadata.uid: p.spec.node_name for p in (await client.list(core_v1.Pod, "default")).items}
    elsewhere = sum(node == OTHER for node in before.values())
    assert 0 < elsewhere < REPLICAS
    route = (await in_node(cluster, "ip route show default")).strip()
    with asking(cluster) as asked:
        await asked.quiet(1)
        begun = time.monotonic()
        await in_node(cluster, "ip link set eth0 down")
        try:
            await until(client, core_v1.Node, lambda nodes: not_ready(nodes) == {VICTIM}, namespace="", seconds=30)
            print(f"not ready after {time.monotonic() - begun:.1f} s")
            await serving(client, elsewhere)
            print(f"out of the service after {time.monotonic() - begun:.1f} s")
            print(f"no request fails {await asked.quiet_within(BACK_WITHIN):.1f} s after that")
        finally:
            await in_node(cluster, f"ip link set eth0 up; ip route replace {route}")
        back = time.monotonic()
        await nodes_ready(client, 2)
        print(f"ready {time.monotonic() - back:.1f} s after the link is up again")
        pods = await pods_up(client, set(before))
        await serving(client, REPLICAS)
        print(f"whole {time.monotonic() - back:.1f} s after the link is up again")
        print(f"no request fails {await asked.quiet_within(BACK_WITHIN):.1f} s after that")
    print(asked.report(begun))
    assert not any(s.restart_count for p in pods for s in p.status.container_statuses)
