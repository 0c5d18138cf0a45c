"""Services: addresses and node ports, each given once."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from random import Random

from controlplane.apiserver.strategy import Strategy
from controlplane.apiserver.validation import duplicate, immutable, invalid, required, unsupported
from kubeapi.errors import FieldError, InternalError
from kubeapi.meta import replace
from kubeapi.types import core_v1

TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
FIRST_PORT, LAST_PORT = 30000, 32767
DYNAMIC_FROM = 16
"""Addresses before this one of the range are left for those who ask for one by name (KEP-3070)."""


class Allocator:
    """Which addresses and node ports are taken; rebuilt from the services themselves at the start.

    Held in memory by one API server. Several API servers on one store need an allocation in the store; until then
    `docs/decisions` says so and a second server refuses nothing but may collide.
    """

    def __init__(self, *, cidr: str, rng: Random) -> None:
        self.network = ipaddress.ip_network(cidr)
        self._rng = rng
        self._addresses: set[str] = set()
        self._ports: set[int] = set()

    def claim(self, service: core_v1.Service) -> None:
        """What an existing service has."""
        self._addresses.update(ip for ip in service.spec.cluster_ips if ip != "None")
        self._ports.update(p.node_port for p in service.spec.ports if p.node_port)

    def release(self, service: core_v1.Service) -> None:
        self._addresses.difference_update(service.spec.cluster_ips)
        self._ports.difference_update(p.node_port for p in service.spec.ports)

    def is_taken(self, address: str) -> bool:
        return address in self._addresses

    def port_is_taken(self, port: int) -> bool:
        return port in self._ports

    def address(self) -> str:
        """Raises InternalError when the range is used up."""
        size = min(self.network.num_addresses, 1 << 20)
        start = self._rng.randrange(DYNAMIC_FROM, max(DYNAMIC_FROM + 1, size - 1))
        for i in range(size):
            at = (start + i) % size
            if 0 < at < size - 1 and (candidate := str(self.network[at])) not in self._addresses:
                return candidate
        raise InternalError(f"no address is left in the service range {self.network}")

    def port(self) -> int:
        """Raises InternalError when all are used up."""
        count = LAST_PORT - FIRST_PORT + 1
        start = self._rng.randrange(count)
        for i in range(count):
            candidate = FIRST_PORT + (start + i) % count
            if candidate not in self._ports:
                return candidate
        raise InternalError(f"no node port is left between {FIRST_PORT} and {LAST_PORT}")


class ServiceStrategy(Strategy):
    name_rule = "label"

    def __init__(self, allocator: Allocator) -> None:
        self._allocator = allocator

    def default(self, obj: core_v1.Service) -> core_v1.Service:
        spec = obj.spec
        kind = spec.type or "ClusterIP"
        affinity = spec.session_affinity or "None"
        config = spec.session_affinity_config
        if affinity == "ClientIP" and config is None:
            config = core_v1.SessionAffinityConfig(client_ip=core_v1.ClientIPConfig(timeout_seconds=10800))
        exposed = kind in ("NodePort", "LoadBalancer")
        plain = kind != "ExternalName"
        return replace(
            obj,
            spec=replace(
                spec,
                type=kind,
                session_affinity=affinity,
                session_affinity_config=config,
                ports=[
                    replace(
                        p,
                        protocol=p.protocol or "TCP",
                        target_port=p.port if p.target_port in (None, 0, "") else p.target_port,
                    )
                    for p in spec.ports
                ],
                internal_traffic_policy=(spec.internal_traffic_policy or "Cluster") if plain else None,
                external_traffic_policy=(spec.external_traffic_policy or "Cluster") if exposed else "",
                ip_families=spec.ip_families or ["IPv4"] if plain else [],
                ip_family_policy=(spec.ip_family_policy or "SingleStack") if plain else None,
                allocate_load_balancer_node_ports=(
                    True if spec.allocate_load_balancer_node_ports is None else spec.allocate_load_balancer_node_ports
                )
                if kind == "LoadBalancer"
                else None,
            ),
        )

    def prepare_create(self, obj: core_v1.Service) -> core_v1.Service:
        return self._allocate(replace(obj, status=core_v1.ServiceStatus()), None)

    def prepare_update(self, new: core_v1.Service, old: core_v1.Service) -> core_v1.Service:
        new = replace(new, status=old.status)
        spec = new.spec
        if not spec.cluster_ip and spec.type != "ExternalName" and old.spec.type != "ExternalName":
            spec = replace(spec, cluster_ip=old.spec.cluster_ip, cluster_ips=old.spec.cluster_ips)
        if spec.type in ("NodePort", "LoadBalancer"):
            kept = {(p.protocol, p.port): p.node_port for p in old.spec.ports}
            ports = [replace(p, node_port=p.node_port or kept.get((p.protocol, p.port), 0)) for p in spec.ports]
            spec = replace(spec, ports=ports)
        return self._allocate(replace(new, spec=spec), old)

    def _allocate(self, obj: core_v1.Service, old: core_v1.Service | None) -> core_v1.Service:
        """Fills what is missing. What was asked for by name and is taken is left for `validate` to tell."""
        spec = obj.spec
        if spec.type == "ExternalName":
            return replace(obj, spec=replace(spec, cluster_ip="", cluster_ips=[]))
        address = spec.cluster_ip or (spec.cluster_ips[0] if spec.cluster_ips else "") or self._allocator.address()
        ports = list(spec.ports)
        if spec.type in ("NodePort", "LoadBalancer") and spec.allocate_load_balancer_node_ports is not False:
            given: set[int] = {p.node_port for p in ports if p.node_port}
            for i, p in enumerate(ports):
                if not p.node_port:
                    number = self._allocator.port()
                    while number in given:
                        number = self._allocator.port()
                    given.add(number)
                    ports[i] = replace(p, node_port=number)
        elif spec.type == "ClusterIP":
            ports = [replace(p, node_port=0) for p in ports]
        return replace(obj, spec=replace(spec, cluster_ip=address, cluster_ips=[address], ports=ports))

    def validate(self, obj: core_v1.Service) -> Iterator[FieldError]:
        spec = obj.spec
        if spec.type not in TYPES:
            yield unsupported("spec.type", spec.type, TYPES)
        headless = spec.cluster_ip == "None"
        if not spec.ports and not headless and spec.type != "ExternalName":
            yield required("spec.ports")
        if spec.type == "ExternalName" and not spec.external_name:
            yield required("spec.externalName")
        if spec.cluster_ip and not headless:
            yield from self._address_faults(spec.cluster_ip)
        if spec.session_affinity not in ("None", "ClientIP"):
            yield unsupported("spec.sessionAffinity", spec.session_affinity, ("None", "ClientIP"))
        names: set[str] = set()
        numbers: set[tuple[str, int]] = set()
        for i, p in enumerate(spec.ports):
            path = f"spec.ports[{i}]"
            if len(spec.ports) > 1 and not p.name:
                yield required(f"{path}.name")
            if p.name in names:
                yield duplicate(f"{path}.name", p.name)
            names.add(p.name)
            if not 1 <= p.port <= 65535:
                yield invalid(f"{path}.port", p.port, "must be between 1 and 65535, inclusive")
            if p.protocol not in ("TCP", "UDP", "SCTP"):
                yield unsupported(f"{path}.protocol", p.protocol, ("TCP", "UDP", "SCTP"))
            if isinstance(p.target_port, int) and not 1 <= p.target_port <= 65535:
                yield invalid(f"{path}.targetPort", p.target_port, "must be between 1 and 65535, inclusive")
            if p.node_port and not FIRST_PORT <= p.node_port <= LAST_PORT:
                yield invalid(
                    f"{path}.nodePort",
                    p.node_port,
                    f"provided port is not in the valid range. The range of valid ports is {FIRST_PORT}-{LAST_PORT}",
                )
            if (p.protocol, p.port) in numbers:
                yield duplicate(path, p.port)
            numbers.add((p.protocol, p.port))

    def _address_faults(self, address: str) -> Iterator[FieldError]:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            yield invalid("spec.clusterIPs[0]", address, "must be a valid IP address, (e.g. 10.9.8.7)")
            return
        if parsed not in self._allocator.network:
            yield invalid(
                "spec.clusterIPs", [address], f"the provided IP is not in the valid range {self._allocator.network}"
            )

    def validate_update(self, new: core_v1.Service, old: core_v1.Service) -> Iterator[FieldError]:
        if old.spec.cluster_ip and new.spec.type != "ExternalName" and old.spec.type != "ExternalName":
            yield from immutable("spec.clusterIPs[0]", new.spec.cluster_ip, old.spec.cluster_ip)

    def conflicts(self, new: core_v1.Service, old: core_v1.Service | None) -> Iterator[FieldError]:
        """Addresses and ports asked for by name that another service has; asked right before they are claimed."""
        mine_ports = {p.node_port for p in old.spec.ports} if old else set()
        for address in new.spec.cluster_ips:
            mine = old is not None and address in old.spec.cluster_ips
            if address != "None" and not mine and self._allocator.is_taken(address):
                yield invalid("spec.clusterIPs", [address], "failed to allocate IP: provided IP is already allocated")
        for i, p in enumerate(new.spec.ports):
            if p.node_port and p.node_port not in mine_ports and self._allocator.port_is_taken(p.node_port):
                yield invalid(f"spec.ports[{i}].nodePort", p.node_port, "provided port is already allocated")

    def claimed(self, new: core_v1.Service, old: core_v1.Service | None) -> None:
        if old is not None:
            self._allocator.release(old)
        self._allocator.claim(new)

    def released(self, obj: core_v1.Service) -> None:
        self._allocator.release(obj)
