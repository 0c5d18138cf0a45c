"""Services and EndpointSlices as the network wants them: ports with their endpoints, and DNS records. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from typing import Literal

from kubeapi.remembered import by_text
from kubeapi.types.core_v1 import Service
from kubeapi.types.discovery_v1 import Endpoint, EndpointSlice
from node_agent.network.interface import ServicePort

SERVICE_NAME = "kubernetes.io/service-name"
DEFAULT_AFFINITY = 10800
NOBODY = "255.255.255.255/32"


def slices_by_service(slices: Iterable[EndpointSlice]) -> dict[tuple[str, str], list[EndpointSlice]]:
    found: dict[tuple[str, str], list[EndpointSlice]] = {}
    for piece in slices:
        if (name := piece.metadata.labels.get(SERVICE_NAME)) and piece.address_type in ("IPv4", ""):
            found.setdefault((piece.metadata.namespace, name), []).append(piece)
    return found


def service_ports(services: Iterable[Service], slices: Iterable[EndpointSlice], *, node: str) -> list[ServicePort]:
    behind = slices_by_service(slices)
    ports: list[ServicePort] = []
    for svc in sorted(services, key=lambda s: (s.metadata.namespace, s.metadata.name)):
        ips = cluster_ips(svc)
        if svc.spec.type == "ExternalName" or not ips:
            continue
        mine = behind.get((svc.metadata.namespace, svc.metadata.name), [])
        for port in svc.spec.ports:
            protocol = _protocol(port.protocol)
            if protocol is None:
                continue
            everywhere = _endpoints(mine, port.name, port.protocol or "TCP", "")
            here = _endpoints(mine, port.name, port.protocol or "TCP", node)
            ingress = [i.ip for i in svc.status.load_balancer.ingress if _v4(i.ip) and i.ip_mode != "Proxy"]
            ports.append(
                ServicePort(
                    service=f"{svc.metadata.namespace}/{svc.metadata.name}:{port.name}",
                    protocol=protocol,
                    cluster_ips=ips,
                    port=port.port,
                    node_port=port.node_port if svc.spec.type in ("NodePort", "LoadBalancer") else 0,
                    endpoints=everywhere,
                    affinity_seconds=affinity_of(svc),
                    external_ips=[ip for ip in svc.spec.external_ips if _v4(ip)],
                    balancer_ips=ingress if svc.spec.type == "LoadBalancer" else [],
                    source_ranges=_ranges(svc.spec.load_balancer_source_ranges),
                    local_only=svc.spec.external_traffic_policy == "Local",
                    internal_local=svc.spec.internal_traffic_policy == "Local",
                    local_endpoints=here,
                )
            )
    return ports


def dns_records(
    services: Iterable[Service], slices: Iterable[EndpointSlice], *, domain: str = "cluster.local"
) -> dict[str, Sequence[str]]:
    """Names to addresses; names of named ports to "PORT TARGET", for service records. An ExternalName is passed on as
    its target's name, for the server to resolve.
    """
    behind = slices_by_service(slices)
    records: dict[str, Sequence[str]] = {}
    for svc in services:
        name = f"{svc.metadata.name}.{svc.metadata.namespace}.svc.{domain}"
        if svc.spec.type == "ExternalName":
            if svc.spec.external_name:
                records[name] = [svc.spec.external_name.rstrip(".")]
            continue
        if ips := cluster_ips(svc):
            records[name] = ips
            for port in svc.spec.ports:
                if port.name:
                    records[f"_{port.name}._{(port.protocol or 'TCP').lower()}.{name}"] = [f"{port.port} {name}"]
            continue
        records[name] = []
        records |= _headless(name, behind.get((svc.metadata.namespace, svc.metadata.name), []), svc)
    return records


def _headless(name: str, slices: Sequence[EndpointSlice], svc: Service) -> dict[str, Sequence[str]]:
    """A headless service's name leads to its endpoints; each has a name of its own, and so has each named port."""
    found: dict[str, set[str]] = {}
    for piece in slices:
        for endpoint in piece.endpoints:
            if not endpoint.addresses or not (_ready(endpoint) or svc.spec.publish_not_ready_addresses):
                continue
            own = f"{endpoint.hostname or endpoint.addresses[0].replace('.', '-')}.{name}"
            for key in (name, own):
                found.setdefault(key, set()).update(endpoint.addresses)
            for port in piece.ports:
                if port.name and port.port is not None:
                    key = f"_{port.name}._{(port.protocol or 'TCP').lower()}.{name}"
                    found.setdefault(key, set()).add(f"{port.port} {own}")
    return {key: sorted(values) for key, values in found.items()}


def cluster_ips(svc: Service) -> list[str]:
    """IPv4 only; none for a headless service."""
    ips = svc.spec.cluster_ips or ([svc.spec.cluster_ip] if svc.spec.cluster_ip else [])
    return [ip for ip in ips if _v4(ip)]


@by_text(4096)
def _v4(ip: str) -> bool:
    """Looked at closely, though the API server has: it becomes part of a script that root runs."""
    try:
        return bool(IPv4Address(ip))
    except ValueError:
        return False


def _ranges(cidrs: Sequence[str]) -> list[str]:
    """Those of IPv4, none of them within another. Who allows only ranges of another family allows nobody here."""
    found = []
    for cidr in cidrs:
        with suppress(ValueError):
            found.append(IPv4Network(cidr.strip(), strict=False))
    return [str(network) for network in collapse_addresses(found)] if found or not cidrs else [NOBODY]


def affinity_of(svc: Service) -> int:
    if svc.spec.session_affinity != "ClientIP":
        return 0
    config = svc.spec.session_affinity_config
    seconds = config.client_ip.timeout_seconds if config and config.client_ip else None
    return seconds or DEFAULT_AFFINITY


def _endpoints(slices: Sequence[EndpointSlice], name: str, protocol: str, node: str) -> list[tuple[str, int]]:
    """Those that are ready; if none is, those that still serve while they terminate. `node` empty is any node."""
    ready: set[tuple[str, int]] = set()
    serving: set[tuple[str, int]] = set()
    for piece in slices:
        for port in piece.ports:
            if (port.name or "") != name or (port.protocol or "TCP") != protocol or port.port is None:
                continue
            for endpoint in piece.endpoints:
                if node and endpoint.node_name != node:
                    continue
                pairs = {(address, port.port) for address in endpoint.addresses if _v4(address)}
                if _ready(endpoint):
                    ready |= pairs
                elif endpoint.conditions.serving and endpoint.conditions.terminating:
                    serving |= pairs
    return sorted(ready or serving)


def _ready(endpoint: Endpoint) -> bool:
    return endpoint.conditions.ready is not False


def _protocol(name: str) -> Literal["tcp", "udp"] | None:
    table: Mapping[str, Literal["tcp", "udp"]] = {"TCP": "tcp", "": "tcp", "UDP": "udp"}
    return table.get(name)
