"""One process with API server, scheduler and controllers: what clients see of it from outside."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import generate_latest

from controlplane.controllers.metrics import Metrics as ControllerMetrics
from controlplane.scheduler.metrics import Metrics as SchedulerMetrics
from kubeapi.client.grpc_client import GrpcClient, connect
from kubeapi.codec import to_builtins
from kubeapi.meta import replace
from kubeapi.types import coordination_v1, core_v1
from sampan import controlplane, health
from sampan.cluster_layout import ADMIN
from sampan.cluster_pki import Pki
from tests.support.make import make_deployment, make_node, make_pod
from tests.support.ports import free_ports
from tests.support.until import until


@asynccontextmanager
async def served(folder: Path, *flags: str) -> AsyncIterator[GrpcClient]:
    pki = Pki(folder / "pki", now=datetime.now(UTC))
    pki.authority()
    pki.server("apiserver", addresses=["127.0.0.1"], names=["localhost"])
    pki.client(ADMIN)
    http, grpc = free_ports(2)
    words = [
        f"--port={http}",
        f"--grpc-port={grpc}",
        f"--pki={pki.directory}",
        f"--local-path-directory={folder}",
        *flags,
    ]
    ready, args = asyncio.Event(), controlplane.parser().parse_args(words)
    running = asyncio.create_task(controlplane.serve(args, ready=ready.set), name="controlplane")
    try:
        await ready.wait()
        files = [(pki.directory / name).read_bytes() for name in ("ca.crt", "admin.crt", "admin.key")]
        async with connect(f"127.0.0.1:{grpc}", ca=files[0], cert=files[1], key=files[2]) as client:
            yield client
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_the_loops_work_in_the_servers_own_process(tmp_path: Path) -> None:
    """A deployment becomes pods, and pods get a node, with nothing else running."""
    async with served(tmp_path) as client:
        node = make_node("n1")
        await client.create(replace(node, metadata=replace(node.metadata, uid="", creation_timestamp=None)))
        status = {"status": to_builtins(node.status)}  # as a patch: a controller gives the node its range meanwhile
        await client.patch(core_v1.Node, "n1", status, subresource="status")
        deployment = make_deployment(replicas=3)
        metadata = replace(deployment.metadata, uid="", creation_timestamp=None)
        await client.create(replace(deployment, metadata=metadata))
        await until(
            client,
            core_v1.Pod,
            lambda pods: [pod.spec.node_name for pod in pods] == ["n1"] * 3,
            deployment.metadata.namespace,
            seconds=20,
        )
        leases = (await client.list(coordination_v1.Lease, "kube-system")).items
        loops = {lease.metadata.name for lease in leases if not lease.metadata.name.startswith("apiserver-")}
        assert loops == {"kube-scheduler", "kube-controller-manager"}


async def test_the_loops_tell_their_requests_and_the_nodes_on_one_page(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/metrics"

    def page() -> str:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return str(reply.read().decode())

    async with served(tmp_path, f"--metrics-address=127.0.0.1:{port}") as client:
        node = make_node("n1")
        await client.create(replace(node, metadata=replace(node.metadata, uid="", creation_timestamp=None)))
        pod = make_pod("web")
        await client.create(replace(pod, metadata=replace(pod.metadata, uid="", creation_timestamp=None)))
        await until(client, core_v1.Pod, lambda pods: [p.spec.node_name for p in pods] == ["n1"], seconds=20)
        series = [line.rpartition(" ") for line in (await asyncio.to_thread(page)).splitlines() if line[0] != "#"]
    told = {name: float(value) for name, _, value in series}
    assert len(told) == len(series), "no series twice: Prometheus would refuse the page"
    asked = 'rest_client_requests_total{client="%s",code="%s",host="in-process",method="%s"}'
    assert told[asked % ("scheduler", "201", "POST")] >= 1, "the binding"
    assert told[asked % ("scheduler", "200", "GET")] >= 1 and told[asked % ("controllers", "200", "GET")] >= 1
    assert told['rest_client_request_duration_seconds_count{client="scheduler",host="in-process",verb="POST"}'] >= 1
    assert told['node_collector_zone_size{zone=""}'] == 1


def test_the_loops_share_one_page_of_metrics() -> None:
    scheduling, controlling = SchedulerMetrics(), ControllerMetrics()
    scheduling.watching(core_v1.Pod)
    controlling.watching(core_v1.Pod)
    page = generate_latest(health.Together([scheduling.registry, controlling.registry])).decode()
    assert "scheduler_schedule_attempts_total" in page
    assert "workqueue_depth" in page
    assert page.count("# TYPE reflector_watches_total") == 1, "a metric that both have is told once"
    assert page.count('resource="pods"} 1.0') == 2
