"""The pure decisions of a node's network: which address a pod gets, what is written on its link, which tunnel
entries must exist. No I/O: tested by tables.
"""

import hashlib
import ipaddress
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from node_agent.network.errors import NetworkError
from node_agent.network.interface import Peer
from node_agent.network.kernel import Route

_TAG = "sampan-pod"


@dataclass(frozen=True, slots=True)
class PodLink:
    """What one attached pod's host-side link says of itself: all that a restarted agent needs to know."""

    pod_uid: str
    ip: str
    host_ports: tuple[tuple[str, int, int], ...] = ()
    """(protocol, host port, container port)."""


def link_name(pod_uid: str) -> str:
    """At most 15 characters, the same for the same pod."""
    return "pod" + hashlib.sha256(pod_uid.encode()).hexdigest()[:11]


def write_alias(link: PodLink) -> str:
    ports = ",".join(f"{protocol}:{host}:{container}" for protocol, host, container in link.host_ports)
    return " ".join(part for part in (_TAG, link.pod_uid, link.ip, ports) if part)


def read_alias(alias: str) -> PodLink | None:
    """None for a link that is not ours."""
    parts = alias.split(" ")
    if len(parts) not in (3, 4) or parts[0] != _TAG:
        return None
    ports: list[tuple[str, int, int]] = []
    for item in parts[3].split(",") if len(parts) == 4 else ():
        protocol, host, container = item.split(":")
        ports.append((protocol, int(host), int(container)))
    return PodLink(parts[1], parts[2], tuple(ports))


def device_mac(seed: str) -> str:
    """A locally administered MAC that is the same for the same seed, so that peers keep knowing a restarted
    node.
    """
    digest = hashlib.sha256(seed.encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x0E, *digest[:5]))


def pod_mac(ip: str) -> str:
    """Made from the address, with the prefix that CNI's bridge has for it. Whoever has learnt where a pod is need not
    learn anew when its sandbox is made again, or another pod gets its address: the kernel believes a stale
    neighbour for up to a minute, and what is sent to it meanwhile is lost.
    """
    return ":".join(f"{byte:02x}" for byte in (0x0A, 0x58, *ipaddress.IPv4Address(ip).packed))


def gateway(pod_cidr: str) -> str:
    return str(ipaddress.ip_network(pod_cidr)[1])


def next_address(pod_cidr: str, taken: Collection[str], after: str) -> str:
    """The first free address behind `after`, going round: a freed address rests as long as possible."""
    network = ipaddress.ip_network(pod_cidr)
    count = network.num_addresses - 3  # not the network, the gateway, the broadcast address
    if count <= 0:
        raise NetworkError(f"pod CIDR {pod_cidr} has no room for pods")
    start = int(ipaddress.ip_address(after)) - int(network[2]) + 1 if after else 0
    for step in range(count):
        candidate = str(network[2 + (start + step) % count])
        if candidate not in taken:
            return candidate
    raise NetworkError(f"no free address in {pod_cidr}: {len(taken)} pods hold one")


@dataclass(frozen=True, slots=True)
class Tunnels:
    """Entries of the VXLAN device: static, one of each per peer, so that nothing is ever flooded or
    learnt.
    """

    neighbours: Mapping[str, str]
    forwardings: Mapping[str, str]
    routes: Sequence[Route]


def tunnels(peers: Iterable[Peer], device: str) -> Tunnels:
    neighbours: dict[str, str] = {}
    forwardings: dict[str, str] = {}
    routes: list[Route] = []
    for peer in peers:
        if not (peer.pod_cidr and peer.address and peer.mac):
            continue
        inner = str(ipaddress.ip_network(peer.pod_cidr).network_address)
        neighbours[inner] = peer.mac
        forwardings[peer.mac] = peer.address
        routes.append(Route(destination=peer.pod_cidr, via=inner, device=device, onlink=True))
    return Tunnels(neighbours, forwardings, sorted(routes))
