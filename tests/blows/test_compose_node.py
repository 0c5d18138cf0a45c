"""The Docker engine of a node is killed, and one is restarted in order: on the cluster of docker-compose.yml, whose node
containers have engines of their own. A project of its own beside a cluster that may run; `make cluster` has built its image.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from kubeapi.client.grpc_client import GrpcClient, connect
from kubeapi.client.interface import Client
from kubeapi.client.kubeconfig import load
from kubeapi.meta import replace
from kubeapi.types import apps_v1, core_v1
from tests.blows.campaign import answers
from tests.blows.test_cut_off import is_up
from tests.blows.test_kills import nodes_ready, settled
from tests.support.make import make_deployment
from tests.support.until import until

ROOT = Path(__file__).parents[2]
PROJECT = "sampan-blows"
SERVICES = ("init", "etcd", "apiserver", "scheduler", "controllers", "node-1")
BACK_WITHIN = 40.0
"""Seconds until the pods of a node are ready again whose engine died."""

pytestmark = [pytest.mark.blows, pytest.mark.e2e, pytest.mark.timeout(240)]


def compose(environment: dict[str, str], *words: str) -> str:
    command = ["docker-compose", "-p", PROJECT, "-f", str(ROOT / "docker-compose.yml"), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[dict[str, str]]:
    if not (ROOT / "docker-compose.yml").exists() or shutil.which("docker-compose") is None:
        pytest.skip("needs docker-compose and docker-compose.yml")
    if subprocess.run(["docker", "image", "inspect", "sampan/cluster:1"], capture_output=True, check=False).returncode:
        pytest.skip("needs the image: make cluster")
    environment = {
        **os.environ,
        "SAMPAN_STATE": str(tmp_path / "state"),
        "SAMPAN_SUBNET": "172.31.78",
        "SAMPAN_PORT": "7543",
        "SAMPAN_GRPC_PORT": "7544",
        "SAMPAN_NODE_LEASE": "2",
    }
    compose(environment, "up", "-d", *SERVICES)
    try:
        yield environment
    finally:
        compose(environment, "down", "--volumes", "--timeout=15")


@pytest.fixture
async def client(cluster: dict[str, str]) -> AsyncIterator[GrpcClient]:
    config = load(str(Path(cluster["SAMPAN_STATE"]) / "admin.kubeconfig"))
    async with connect(config.grpc, ca=config.ca, cert=config.cert, key=config.key) as client, asyncio.timeout(200):
        await answers(client)
        yield client


def sleepers() -> apps_v1.Deployment:
    web = make_deployment("web", replicas=3)
    template = web.spec.template
    sleeper = core_v1.Container(name="c", image="sampan/busybox:1", command=["sleep", "86400"])
    template = replace(template, spec=replace(template.spec, containers=[sleeper]))
    return replace(web, spec=replace(web.spec, template=template))


def in_node(environment: dict[str, str], script: str) -> str:
    return compose(environment, "exec", "-T", "node-1", "sh", "-c", script)


async def pods_up(client: Client, uids: set[str]) -> list[core_v1.Pod]:
    """The very same pods, all ready."""

    def test(pods: list[core_v1.Pod]) -> bool:
        return {p.metadata.uid for p in pods if is_up(p)} == uids

    return await until(client, core_v1.Pod, test, seconds=BACK_WITHIN)


@pytest.mark.parametrize("how", ["KILL", "TERM"])
async def test_the_engine_of_a_node_goes_and_comes(how: str, cluster: dict[str, str], client: GrpcClient) -> None:
    await nodes_ready(client, 1)
    await client.create(sleepers())
    await until(client, apps_v1.Deployment, lambda found: settled(found, {"web": 3}), seconds=60)
    before = {p.metadata.uid for p in (await client.list(core_v1.Pod, "default")).items}
    engine = in_node(cluster, "pidof dockerd").split()[0]
    begun = time.monotonic()
    in_node(cluster, f"kill -{how} {engine}")
    in_node(cluster, f"while kill -0 {engine} 2>/dev/null; do sleep 0.1; done")
    in_node(cluster, "until docker info >/dev/null 2>&1; do sleep 0.1; done")
    print(f"{how}: another engine answers after {time.monotonic() - begun:.1f} s")
    pods = await pods_up(client, before)
    restarts = sorted(s.restart_count for p in pods for s in p.status.container_statuses)
    print(f"{how}: all ready {time.monotonic() - begun:.1f} s after the blow; restarts {restarts}")
    assert max(restarts) <= 1
    running = in_node(cluster, "docker ps --format '{{.Names}}' | grep -c web").strip()
    assert int(running) == 6, f"three pods have a sandbox and a container each, and there are {running}"
