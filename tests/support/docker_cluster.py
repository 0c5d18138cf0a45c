"""An API server with TLS on loopback and one node's agent on the real Docker engine, in this process. No pod network.

Pods get loopback addresses of their own namespace, so that what is dialled inside the pod answers.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.server import ApiServer, Tls, api_server
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.client.local import LocalClient
from kubeapi.clock import SystemClock
from kubeapi.pki import Authority, kubeconfig
from kubeapi.types.core_v1 import Container, Pod, PodSpec
from kubeapi.types.meta_v1 import ObjectMeta
from node_agent.dialing import NamespaceDialer
from node_agent.node_object import Machine
from node_agent.parts import HostlessNetwork, Observer
from node_agent.runtimes.docker import DockerRuntime
from node_agent.server import NodeServer, start_server
from node_agent.server import Tls as NodeTls
from sampan.node import NodeConfig, build

IMAGE = "sampan/busybox:1"
NODE = "n1"


@dataclass
class Done:
    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        return self.out.decode(errors="replace")

    @property
    def complaint(self) -> str:
        return self.err.decode(errors="replace")


@dataclass
class DockerCluster:
    server: ApiServer
    ca: Authority
    client: LocalClient
    runtime: DockerRuntime
    config: Path
    stop_node: Callable[[], Any]
    """Ends the node's gRPC service, as a node that dies would."""

    def argv(self, kubectl: Path, *words: str) -> list[str]:
        return [str(kubectl), "--kubeconfig", str(self.config), *words]

    async def start(self, kubectl: Path, *words: str, **pipes: Any) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        options = {"stdin": asyncio.subprocess.DEVNULL, "stdout": pipe, "stderr": pipe, **pipes}
        env = {"HOME": str(self.config.parent), "PATH": "/usr/bin:/bin"}
        return await asyncio.create_subprocess_exec(*self.argv(kubectl, *words), **options, env=env)

    async def kubectl(self, kubectl: Path, *words: str, stdin: bytes | None = None) -> Done:
        pipes = {"stdin": asyncio.subprocess.PIPE} if stdin is not None else {}
        process = await self.start(kubectl, *words, **pipes)
        try:
            out, err = await process.communicate(stdin)
        except BaseException:
            process.kill()
            await process.wait()
            raise
        return Done(process.returncode or 0, out, err)

    async def run(self, name: str, *containers: Container, wait: bool = True, **spec: Any) -> Pod:
        """A pod on the node; running and ready when this returns."""
        made = PodSpec(containers=list(containers), node_name=NODE, termination_grace_period_seconds=0, **spec)
        await self.client.create(Pod(metadata=ObjectMeta(name=name, namespace="default"), spec=made))
        if not wait:
            return await self.client.get(Pod, name, "default")
        return await self.until(
            name, lambda p: any(c.type == "Ready" and c.status == "True" for c in p.status.conditions)
        )

    async def until(self, name: str, holds: Callable[[Pod], Any], *, within: float = 20.0) -> Pod:
        async with asyncio.timeout(within):
            while not holds(found := await self.client.get(Pod, name, "default")):  # noqa: ASYNC110 - as a user would
                await asyncio.sleep(0.05)
        return found


def box(name: str = "c", *, command: Sequence[str] = ("sleep", "1000"), **fields: Any) -> Container:
    return Container(name=name, image=IMAGE, command=list(command), **fields)


def shell(script: str, name: str = "c", **fields: Any) -> Container:
    return box(name, command=["sh", "-c", script], **fields)


@asynccontextmanager
async def docker_cluster(directory: Path) -> AsyncIterator[DockerCluster]:
    now = datetime.now(UTC)
    ca = Authority.open(directory, now=now)
    ca.peer("kube-apiserver", ["system:masters"], ["127.0.0.1"], now=now).save(directory, "apiserver")
    tls = Tls(directory / "apiserver.crt", directory / "apiserver.key", directory / "ca.crt")
    store, clock = EmbeddedStore(), SystemClock()
    runtime = DockerRuntime(node_name=f"streams-{uuid.uuid4().hex[:8]}")
    dialer = NamespaceDialer()
    try:
        await runtime.prepare()
        async with api_server(store=store, clock=clock, rng=Random(uuid.uuid4().int), tls=tls) as server:
            client = LocalClient(server.api, context=RequestContext)
            observer = Observer(runtime)
            mine = ca.peer(f"system:node:{NODE}", ["system:nodes"], ["127.0.0.1"], now=now)
            servicer = NodeServer(
                node=NODE, runtime=runtime, observer=observer, dialer=dialer, clock=clock, secure=True
            )
            node_tls = NodeTls(certificate=mine.cert, key=mine.key, ca=ca.cert)
            service, port = await start_server(servicer, address="127.0.0.1:0", tls=node_tls)
            agent = build(
                NodeConfig(name=NODE, ip="127.0.0.1", data=directory, pod_cidr="127.0.0.0/24"),
                client,
                runtime,
                machine=Machine(cpus=2, memory=4 << 30, disk=10 << 30),
                clock=clock,
                rng=Random(uuid.uuid4().int),
                dialer=dialer,
                port=port,
                observer=observer,
                network=HostlessNetwork("127.0.0.0/24"),
                log=logging.getLogger("test"),
            )
            task = asyncio.create_task(agent.run())
            await agent.ready.wait()
            config = directory / "kubeconfig"
            admin = ca.client("admin", ["system:masters"], now=now)
            config.write_text(kubeconfig(server=f"https://127.0.0.1:{server.port}", ca=ca.cert, client=admin))
            try:
                yield DockerCluster(server, ca, client, runtime, config, lambda: service.stop(None))
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await service.stop(None)
    finally:
        for container in await runtime.list():
            await runtime.remove(container.id)
        await runtime.close()
        dialer.close()
        await store.close()
