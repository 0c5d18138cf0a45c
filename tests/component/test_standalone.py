"""One process with the whole cluster in it, the node's agent too (hollow): what clients see of it from outside."""

from __future__ import annotations

import asyncio
import logging
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--name=Not_A_Name"], "a lowercase RFC 1123 subdomain must consist of"),
        ([f"--name={'a' * 300}"], "at most 253 characters"),
        (["--name=ca"], "--name: none of admin, apiserver, ca, sa"),
        (["--name=a", "--store=nothing"], "--store 'nothing' names no store"),
        (["--name=a", "--address=here"], "--address: "),
        (["--name=a", "--address=127.0.0.1", "--port=65535"], "65536 is no port"),
        (["--name=a", "--address=127.0.0.1", "--port=-1"], "-1 is no port"),
    ],
)
def test_what_cannot_be_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: Sequence[str], why: str
) -> None:
    assert standalone.main([f"--data-dir={tmp_path}", "--runtime=hollow", *flags]) == 1
    assert why in capsys.readouterr().err


def test_a_second_start_is_as_the_first_was(tmp_path: Path) -> None:
    """With another store, say, the agent would know none of its pods, and end them."""

    def plan(*flags: str) -> standalone.Plan:
        return standalone.plan_of(
            standalone.parser().parse_args([f"--data-dir={tmp_path}", "--address=127.0.0.1", *flags])
        )

    flags = ["--name=a", "--runtime=hollow", "--store=memory:", "--port=7000", "--grpc-port=7100", "--plain-network"]
    first = plan(*flags)
    first.layout.save(first.settings)
    assert plan().settings == plan(*flags).settings == first.settings
    assert plan("--port=8000").settings.grpc_port == 8001
    for other in (["--name=b"], ["--runtime=docker"], ["--store=etcd://127.0.0.1:2379"]):
        with pytest.raises(
            standalone.StandaloneError, match="--name a --runtime hollow --store memory: --plain-network"
        ):
            plan(*other)
