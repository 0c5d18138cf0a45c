"""metrics.k8s.io through both doors from a node's agent, and the node's own numbers for Prometheus."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hack.metrics import names as documented
from kubeapi.errors import MethodNotAllowed, NotFound
from kubeapi.quantity import parse
from kubeapi.types.core_v1 import Container, Node, Pod, PodSpec
from kubeapi.types.meta_v1 import ObjectMeta
from kubeapi.types.metrics_v1beta1 import NodeMetrics, PodMetrics
from node_agent.server import Tls as NodeTls
from sampan.node import NodeConfig, run
from tests.component import test_http_api
from tests.component.test_http_api import World

world = test_http_api.world
API = "/apis/metrics.k8s.io/v1beta1"


@pytest.fixture
async def node(world: World, tmp_path: Path, unused_tcp_port: int) -> AsyncIterator[int]:
    """A hollow node with one pod that runs; gives the port of its numbers."""
    mine = world.ca.peer("system:node:n1", ["system:masters"], ["127.0.0.1"], now=datetime.now(UTC))
    config = NodeConfig(
        name="n1",
        ip="127.0.0.1",
        data=tmp_path,
        runtime="hollow",
        pod_cidr="10.244.1.0/24",
        tls=NodeTls(certificate=mine.cert, key=mine.key, ca=world.ca.cert),
        metrics=f"127.0.0.1:{unused_tcp_port}",
    )
    ready = asyncio.Event()
    async with world.grpc() as client:
        task = asyncio.create_task(run(config, client, ready=ready.set))
        async with asyncio.timeout(10):
            await ready.wait()
        spec = PodSpec(node_name="n1", containers=[Container(name="main", image="web:1")])
        labels = {"app": "web"}
        await client.create(Pod(metadata=ObjectMeta(name="web", namespace="default", labels=labels), spec=spec))
        async with asyncio.timeout(10):
            while (await client.get(Pod, "web", "default")).status.phase != "Running":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        yield unused_tcp_port
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_what_a_pod_and_its_node_use_is_told_by_both_doors(world: World, node: int) -> None:
    http = await world.http()
    status, _, body = await http.ask("GET", f"{API}/namespaces/default/pods")
    found = json.loads(body)
    assert (status, found["kind"]) == (200, "PodMetricsList")
    (pod,) = found["items"]
    assert (pod["metadata"]["name"], pod["metadata"]["labels"]) == ("web", {"app": "web"})
    (container,) = pod["containers"]
    assert container["name"] == "main"
    assert 0 < parse(container["usage"]["cpu"]) < parse("10m")  # a hollow container uses a thousandth of a core
    assert parse(container["usage"]["memory"]) == 1 << 20
    async with world.grpc() as client:
        assert (await client.get(PodMetrics, "web", "default")).containers[0].name == "main"
        usage = (await client.get(NodeMetrics, "n1")).usage
        assert parse(usage["memory"]) == (256 << 20) + (2 << 20), "an idle machine, a sandbox and a container"
        assert parse("20m") <= parse(usage["cpu"]) < parse("30m")
    status, _, body = await http.ask("GET", f"{API}/namespaces/default/pods?labelSelector=app%3Dother")
    assert (status, json.loads(body)["items"]) == (200, [])
    names = [r["name"] for r in json.loads((await http.ask("GET", API))[2])["resources"]]
    assert names == ["nodes", "pods"]


async def test_a_node_that_does_not_answer_is_left_out_and_nothing_is_written(world: World) -> None:
    async with world.grpc() as client:
        await client.create(Node(metadata=ObjectMeta(name="mute")))
        assert (await client.list(NodeMetrics)).items == []
        with pytest.raises(NotFound):
            await client.get(NodeMetrics, "mute")
        with pytest.raises(MethodNotAllowed):
            await client.create(NodeMetrics(metadata=ObjectMeta(name="mute")))


async def test_the_api_server_passes_on_a_nodes_numbers(world: World, node: int) -> None:
    http = await world.http()
    status, headers, body = await http.ask("GET", "/api/v1/nodes/n1/proxy/metrics")
    assert (status, headers["content-type"].split(";")[0]) == (200, "text/plain")
    told = {line.split(" ")[0]: float(line.rsplit(" ", 1)[1]) for line in body.decode().splitlines() if line[0] != "#"}
    assert {line.split()[2] for line in body.decode().splitlines() if line.startswith("# TYPE ")} <= documented()
    assert told["kubelet_pod_start_sli_duration_seconds_count"] == 1
    assert told["kubelet_started_pods_total"] == 1
    for stage in ("volumes", "sandbox", "network"):
        assert told[f'sampan_pod_start_stage_duration_seconds_count{{stage="{stage}"}}'] == 1
    assert told['sampan_certificate_expiration_timestamp_seconds{certificate="client"}'] > datetime.now(UTC).timestamp()
    assert told["kubelet_certificate_manager_client_ttl_seconds"] > 3600
    assert told['reflector_lists_total{client="node",group="",resource="pods"}'] == 1
    assert told['rest_client_requests_total{client="node",code="201",host="in-process",method="POST"}'] >= 1, (
        "its Node, its lease"
    )
    assert told['rest_client_request_duration_seconds_count{client="node",host="in-process",verb="GET"}'] >= 1
    assert told['controller_runtime_reconcile_errors_total{controller="volume-reclaimer"}'] == 0
    assert told["process_resident_memory_bytes"] > 1 << 20
    assert (await (await world.http("eve", "nobody")).ask("GET", "/api/v1/nodes/n1/proxy/metrics"))[0] == 403


async def test_a_node_serves_its_numbers(node: int) -> None:
    def read(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{node}{path}", timeout=5) as reply:
            return str(reply.read().decode())

    text = await asyncio.to_thread(read, "/metrics")
    assert 'kubelet_started_containers_total{container_type="container"} 1.0' in text
    assert "kubelet_pod_start_duration_seconds_count 1.0" in text
    assert await asyncio.to_thread(read, "/readyz") == "ok"
