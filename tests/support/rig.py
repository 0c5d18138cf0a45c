"""A whole cluster of real processes on ports of its own: etcd members or SQLite, API servers, schedulers, controllers, hollow nodes.

    etcd-1 etcd-2 etcd-3 ◄── api-1 api-2 ◄── scheduler-1 -2, controllers-1 -2, node-1 ... (each with one API server)

Hollow nodes keep a journal: their containers outlive a killed agent, and it tells how often each was started.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from kubeapi.client.grpc_client import GrpcClient, connect
from kubeapi.errors import ApiError
from kubeapi.types import core_v1
from node_agent.runtimes import hollow_journal
from sampan.cluster_layout import ADMIN, CONTROLLERS, SCHEDULER, node_identity
from sampan.cluster_pki import Identity, Pki, write_private
from tests.support.link import FarPlace
from tests.support.parted import Place
from tests.support.ports import free_port
from tests.support.processes import Process

LEASE = 2.0
"""Seconds that the others wait for a leader that is silent."""


@dataclass(frozen=True, slots=True)
class Size:
    etcds: int = 3
    """0: the embedded store, on SQLite."""
    apis: int = 2
    pairs: int = 2
    """Schedulers, and controller managers."""
    nodes: int = 3
    etcd_flags: Sequence[str] = ()
    store: str = ""
    """Instead of the above."""
    controller_flags: Sequence[str] = ()
    far: FarPlace | None = None
    """Where the last node is."""
    places: Sequence[Place] = ()
    """Where the etcd members are; here, if empty. Each API server then begins with another member."""


class Rig:
    def __init__(self, folder: Path, rng: Random, size: Size) -> None:
        self.folder, self.size = folder, size
        self._ports: set[int] = set()
        self._rng = rng
        self._pki = Pki(folder / "pki", now=datetime.now(UTC))
        self.etcds = self._etcds()
        self.etcd_endpoints = [
            f"{client}:{port}" for (client, _), (port, _) in zip(self._etcd_hosts, self._etcd_ports, strict=True)
        ]
        self._api_ports = [(self._port(), self._port()) for _ in range(size.apis)]
        self._credentials()
        self.apis = [self._sampan(f"api-{i + 1}", self._api_command(i)) for i in range(size.apis)]
        self.schedulers = [self._elected("scheduler", SCHEDULER, i) for i in range(size.pairs)]
        self.controllers = [self._elected("controllers", CONTROLLERS, i) for i in range(size.pairs)]
        self.nodes = [self._node(i) for i in range(size.nodes)]

    @property
    def processes(self) -> list[Process]:
        return [*self.etcds, *self.apis, *self.schedulers, *self.controllers, *self.nodes]

    def _port(self) -> int:
        return free_port(self._rng, self._ports)

    # ------------------------------------------------------------------ commands

    def _etcds(self) -> list[Process]:
        count = self.size.etcds
        places = self.size.places
        self._etcd_ports = [(self._port(), self._port()) for _ in range(count)]
        self._etcd_hosts = [(p.client, p.peer) for p in places] or [("127.0.0.1", "127.0.0.1")] * count
        urls = [
            [f"http://{host}:{port}" for host, port in zip(hosts, ports, strict=True)]
            for hosts, ports in zip(self._etcd_hosts, self._etcd_ports, strict=True)
        ]
        cluster = ",".join(f"etcd-{i + 1}={peer}" for i, (_, peer) in enumerate(urls))

        def command(i: int) -> list[str]:
            client, peer = urls[i]
            return [
                *(["ip", "netns", "exec", places[i].name] if places else []),
                "etcd", f"--name=etcd-{i + 1}", f"--data-dir={self.folder / f'etcd-{i + 1}'}",
                f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster={cluster}", "--pre-vote", "--logger=zap", *self.size.etcd_flags,
            ]  # fmt: skip

        def process(i: int) -> Process:
            return Process(f"etcd-{i + 1}", lambda start: command(i), self._log(f"etcd-{i + 1}"))

        return [process(i) for i in range(count)]

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _credentials(self) -> None:
        self._pki.authority()
        self._pki.server(
            "apiserver",
            addresses=["127.0.0.1", "10.96.0.1", *([self.size.far.near] if self.size.far else [])],
            names=["localhost"],
        )
        self._pki.token_key()
        self._pki.client(ADMIN)

    def _kubeconfig(self, identity: Identity, api: int, *, serves: str = "", host: str = "127.0.0.1") -> Path:
        self._pki.client(identity, addresses=[serves] if serves else [])
        https, grpc = self._api_ports[api]
        path = self.folder / f"{identity.file}-{api + 1}.kubeconfig"
        text = self._pki.kubeconfig(identity, server=f"https://{host}:{https}", grpc=f"{host}:{grpc}")
        write_private(path, text)
        return path

    def _sampan(
        self, name: str, command: Sequence[str], *, identity: bool = False, inside: Sequence[str] = ()
    ) -> Process:
        def words(start: int) -> list[str]:
            extra = [f"--leader-elect-identity={name}.{start}"] if identity else []
            return [*inside, sys.executable, "-m", "sampan", *command, *extra]

        return Process(name, words, self._log(name))

    def _api_command(self, i: int) -> list[str]:
        https, grpc = self._api_ports[i]
        first = i % self.size.etcds if self.size.places else 0
        endpoints = [*self.etcd_endpoints[first:], *self.etcd_endpoints[:first]]
        store = self.size.store or (
            f"etcd://{','.join(endpoints)}" if self.size.etcds else f"sqlite:{self.folder / 'store.db'}"
        )
        return [
            "apiserver", f"--store={store}", f"--port={https}", f"--grpc-port={grpc}", f"--pki={self._pki.directory}",
            f"--bind={'0.0.0.0' if self.size.far else '127.0.0.1'}", "--advertise=127.0.0.1",
        ]  # fmt: skip

    def _elected(self, kind: str, who: Identity, i: int) -> Process:
        command = [
            kind, f"--kubeconfig={self._kubeconfig(who, i % self.size.apis)}",
            f"--leader-elect-lease-duration={LEASE}", "--leader-elect-renew-deadline=1.5",
            "--leader-elect-retry-period=0.3", *(self.size.controller_flags if kind == "controllers" else ()),
        ]  # fmt: skip
        return self._sampan(f"{kind}-{i + 1}", command, identity=True)

    def _node(self, i: int) -> Process:
        name = f"node-{i + 1}"
        far = self.size.far if i == self.size.nodes - 1 else None
        here, server = (far.far, far.near) if far else ("127.0.0.1", "127.0.0.1")
        config = self._kubeconfig(node_identity(name), i % self.size.apis, serves=here, host=server)
        command = [
            "node", f"--name={name}", f"--kubeconfig={config}", f"--address={here}", "--runtime=hollow",
            f"--hollow-journal={self.journal(name)}", f"--data-dir={self.folder / name}", "--lease=1",
            "--cpus=64", f"--memory={256 << 30}",
        ]  # fmt: skip
        return self._sampan(name, command, inside=["ip", "netns", "exec", far.name] if far else [])

    def journal(self, node: str) -> Path:
        return self.folder / f"{node}.journal"

    # ------------------------------------------------------------------ life

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Rig]:
        """All processes; at the end all are killed, and none may have ended by itself."""
        try:
            for process in [*self.etcds, *self.apis]:
                process.start()
            await asyncio.gather(*(self.ready(i) for i in range(len(self.apis))))
            for process in [*self.schedulers, *self.controllers, *self.nodes]:
                process.start()
            yield self
            ended = [p for p in self.processes if p.ended_by_itself() is not None]
            assert not ended, "\n".join(f"{p.name} ended by itself:\n{p.tail()}" for p in ended)
        finally:
            for process in self.processes:
                process.kill()

    async def ready(self, api: int, seconds: float = 40.0) -> None:
        """Until that API server answers."""
        try:
            async with asyncio.timeout(seconds):
                await self._answers(api)
        except TimeoutError:
            parts = [self.apis[api], *self.etcds]
            raise AssertionError("\n".join(f"{p.name} is not ready:\n{p.tail()}" for p in parts)) from None

    async def _answers(self, api: int) -> None:
        while True:
            with socket.socket() as probe:
                listening = probe.connect_ex(("127.0.0.1", self._api_ports[api][1])) == 0
            if listening:
                try:
                    async with self.client(api) as client:
                        await client.get(core_v1.Namespace, "default")
                        return
                except ApiError:
                    pass
            await asyncio.sleep(0.05)

    @asynccontextmanager
    async def client(self, api: int = 0) -> AsyncIterator[GrpcClient]:
        """The administrator's."""
        pki, (_, port) = self._pki, self._api_ports[api]
        async with connect(
            f"127.0.0.1:{port}",
            ca=pki.certificate("ca").read_bytes(),
            cert=pki.certificate(ADMIN.file).read_bytes(),
            key=pki.key(ADMIN.file).read_bytes(),
            timeout=15.0,
        ) as client:
            yield client

    @asynccontextmanager
    async def clients(self) -> AsyncIterator[list[GrpcClient]]:
        """One of each API server."""
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(self.client(i)) for i in range(len(self.apis))]

    def lines(self) -> list[tuple[str, hollow_journal.Line]]:
        """Of every node's runtime, what it did, with the node's name."""
        return [(n.name, line) for n in self.nodes for line in hollow_journal.read(self.journal(n.name))]

    def starts(self) -> dict[tuple[str, str], list[str]]:
        """By pod UID and container, where it was started: every start of every node's runtime."""
        found: dict[tuple[str, str], list[str]] = {}
        for node, line in self.lines():
            if line.container is not None and line.spec is not None:
                found.setdefault((line.container.pod_uid, line.container.name), []).append(node)
        return found

    def gone(self) -> list[str]:
        """UIDs of pods of which a container ended."""
        return [
            line.container.pod_uid for _, line in self.lines() if line.container and line.container.state == "exited"
        ]
