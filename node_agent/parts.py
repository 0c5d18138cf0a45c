"""What all pod workers of one node share: built once by the agent, handed to each worker."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from random import Random

from kubeapi.client.events import EventRecorder
from kubeapi.client.interface import Client
from kubeapi.clock import Clock
from kubeapi.types.core_v1 import Service
from node_agent.checks import Checker
from node_agent.metrics import NodeMetrics
from node_agent.network.interface import Attachment, Peer, PodNetwork, ServicePort
from node_agent.references import References
from node_agent.runtimes.interface import Container, Runtime
from node_agent.status_writer import StatusWriter
from node_agent.volumes import Volumes


@dataclass(frozen=True, slots=True)
class NodeFacts:
    name: str
    ip: str
    dns_ip: str = ""
    """Where this node's DNS server answers; empty: pods use the machine's own."""
    domain: str = "cluster.local"
    host_resolv: str = ""
    """The machine's own resolv.conf."""
    allocatable: Mapping[str, float] = field(default_factory=dict)


class Observer:
    """Lists the runtime once for all workers that ask at the same moment."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = asyncio.Lock()
        self._asked = 0
        self._answered = 0
        """The list in `_found` began after this many had asked."""
        self._found: dict[str, list[Container]] = {}

    async def of(self, uid: str) -> Sequence[Container]:
        """The pod's containers, by a list that began after this call."""
        return (await self.all()).get(uid, [])

    async def all(self) -> Mapping[str, list[Container]]:
        self._asked += 1
        mine = self._asked
        async with self._lock:
            if self._answered < mine:
                upto = self._asked
                found: dict[str, list[Container]] = {}
                for container in await self._runtime.list():
                    found.setdefault(container.pod_uid, []).append(container)
                self._found, self._answered = found, upto
        return self._found


@dataclass(frozen=True, slots=True)
class Parts:
    client: Client
    runtime: Runtime
    observer: Observer
    network: PodNetwork
    volumes: Volumes
    references: References
    checker: Checker
    statuses: StatusWriter
    events: EventRecorder
    clock: Clock
    rng: Random
    facts: NodeFacts
    services: Callable[[], Iterable[Service]]
    log: logging.Logger
    metrics: NodeMetrics


class HostlessNetwork:
    """Addresses and nothing behind them: for hollow nodes."""

    def __init__(self, cidr: str) -> None:
        network = IPv4Network(cidr)
        self._free = iter(network.hosts())
        next(self._free, None)  # the bridge's, on a real node
        self._given: dict[str, str] = {}
        self._returned: list[str] = []

    async def setup(self) -> str:
        return ""

    async def attach(self, pod_uid: str, pid: int, *, host_ports: Sequence[tuple[str, int, int]] = ()) -> str:
        if pod_uid not in self._given:
            fresh = next(self._free, None)
            if fresh is None and not self._returned:
                raise OSError("no pod address is free on this node")
            self._given[pod_uid] = str(fresh) if fresh is not None else self._returned.pop(0)
        return self._given[pod_uid]

    async def detach(self, pod_uid: str) -> None:
        if (ip := self._given.pop(pod_uid, None)) is not None:
            self._returned.append(ip)

    async def attachments(self) -> Sequence[Attachment]:
        return [Attachment(uid, ip) for uid, ip in self._given.items()]

    async def set_peers(self, peers: Sequence[Peer]) -> None:
        return None

    async def set_services(self, ports: Sequence[ServicePort]) -> None:
        return None

    async def set_dns(self, records: Mapping[str, Sequence[str]]) -> None:
        return None

    async def verify(self) -> bool:
        return True

    async def teardown(self) -> None:
        self._given.clear()
