"""The network contract: what the node agent asks of the part that plumbs pods and programs services.

Desired state is a value; set_*() is idempotent, installs only the difference, and may be called again after
any failure. Passed by the fake kernel and by real network namespaces: tests/contract/test_network.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node, as the overlay must know it."""

    node: str
    pod_cidr: str
    address: str
    """The node's own address: outer address of the tunnel."""
    mac: str
    """Of its VXLAN device; from the Node annotation sampan.dev/vtep-mac."""


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of one Service with the endpoints behind it that are ready."""

    service: str
    """namespace/name:portname, for comments and metrics."""
    protocol: Literal["tcp", "udp"]
    cluster_ips: Sequence[str]
    port: int
    node_port: int
    endpoints: Sequence[tuple[str, int]]
    """Of the whole cluster, whatever the traffic policies say."""
    affinity_seconds: int = 0
    """0: none; else ClientIP affinity."""
    external_ips: Sequence[str] = ()
    balancer_ips: Sequence[str] = ()
    """From the status: what a load balancer sends here arrives with one of these as its destination."""
    source_ranges: Sequence[str] = ()
    """Who may come by a balancer's address; empty: everybody."""
    local_only: bool = False
    """externalTrafficPolicy Local: what comes from outside goes to endpoints of this node, or is dropped. Pods and
    the node itself are not outside, whichever address they use."""
    internal_local: bool = False
    """internalTrafficPolicy Local: the cluster IP leads to endpoints of this node, or nowhere."""
    local_endpoints: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True, slots=True)
class Attachment:
    pod_uid: str
    ip: str


class PodNetwork(Protocol):
    async def setup(self) -> str:
        """Bridge, VXLAN device, masquerade. Returns the VXLAN device's MAC. Idempotent, keeps what is
        right.
        """
        ...

    async def attach(self, pod_uid: str, pid: int, *, host_ports: Sequence[tuple[str, int, int]] = ()) -> str:
        """Gives the network namespace of process `pid` its veth, address and routes; returns the pod's IP.

        host_ports: (protocol, host port, container port). Calling again for the same pod returns the same IP.
        """
        ...

    async def detach(self, pod_uid: str) -> None: ...

    async def attachments(self) -> Sequence[Attachment]:
        """What is attached now; also after a restart of the agent."""
        ...

    async def set_peers(self, peers: Sequence[Peer]) -> None: ...

    async def set_services(self, ports: Sequence[ServicePort]) -> None: ...

    async def set_dns(self, records: Mapping[str, Sequence[str]]) -> None:
        """Names (fully qualified, no final dot) to addresses, answered by the node's DNS server."""
        ...

    async def verify(self) -> bool:
        """False: somebody has taken away what we installed; setup() and set_*() bring it back."""
        ...

    async def teardown(self) -> None:
        """Removes everything of ours, and nothing else."""
        ...
