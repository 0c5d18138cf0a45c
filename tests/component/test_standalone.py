"""One process with the whole cluster in it, the node's agent too (hollow): what clients see of it from outside."""

from __future__ import annotations

import asyncio
import logging
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from kubeapi.client.grpc_client import GrpcClient, connect
from kubeapi.client.kubeconfig import load
from kubeapi.meta import is_true, replace
from kubeapi.types import coordination_v1, core_v1
from sampan import standalone
from sampan.cluster_layout import ADMIN
from tests.support.make import make_deployment
from tests.support.ports import free_ports
from tests.support.until import until


@asynccontextmanager
async def served(folder: Path, *flags: str) -> AsyncIterator[GrpcClient]:
    ports = [f"--{name}={port}" for name, port in zip(("port", "grpc-port"), free_ports(2), strict=True)]
    words = [f"--data-dir={folder}", "--name=alone", "--address=127.0.0.1", "--plain-network", *ports, *flags]
    plan = standalone.plan_of(standalone.parser().parse_args(words))
    standalone.prepare(plan, now=datetime.now(UTC))
    ready = asyncio.Event()
    running = asyncio.create_task(standalone.serve(plan, ready=ready.set), name="standalone")
    access = load(str(plan.layout.kubeconfig(ADMIN)))
    try:
        await ready.wait()
        async with connect(access.grpc, ca=access.ca, cert=access.cert, key=access.key) as client:
            yield client
    finally:
        running.cancel()
        await asyncio.wait([running])


def asked(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as reply:
        return str(reply.read().decode())


async def test_a_deployment_runs_with_nothing_else_running(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    async with served(tmp_path, "--runtime=hollow", f"--metrics-address=127.0.0.1:{port}") as client:
        await until(
            client, core_v1.Node, lambda nodes: [is_true(n.status.conditions, "Ready") for n in nodes] == [True], ""
        )
        deployment = make_deployment(replicas=3)
        metadata = replace(deployment.metadata, uid="", creation_timestamp=None)
        await client.create(replace(deployment, metadata=metadata))
        pods = await until(
            client,
            core_v1.Pod,
            lambda pods: [is_true(pod.status.conditions, "Ready") for pod in pods] == [True] * 3,
            deployment.metadata.namespace,
            seconds=20,
        )
        assert {pod.spec.node_name for pod in pods} == {"alone"}
        page = await asyncio.to_thread(asked, f"http://127.0.0.1:{port}/metrics")
        assert 'scheduler_schedule_attempts_total{profile="default-scheduler",result="scheduled"} 3.0' in page
        leases = (await client.list(coordination_v1.Lease, "kube-system")).items
        assert all(lease.metadata.name.startswith("apiserver-") for lease in leases), "there is nobody to compete with"


class Heard(logging.Handler):
    """Waits for a logger to say something."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words, self.event = words, asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self._words in record.getMessage():
            self.event.set()


async def test_the_server_goes_on_without_an_engine(tmp_path: Path) -> None:
    heard, logger = Heard("alone failed, starting it again"), logging.getLogger("alone")
    logger.addHandler(heard)
    try:
        async with served(tmp_path, f"--docker=unix://{tmp_path}/nobody.sock") as client, asyncio.timeout(20):
            await heard.event.wait()
            assert (await client.list(core_v1.Namespace)).items
            assert not (await client.list(core_v1.Node)).items
    finally:
        logger.removeHandler(heard)
