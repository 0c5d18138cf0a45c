"""Services: addresses and node ports, each given once."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator

from controlplane.apiserver.strategies.allocation import FIRST_PORT, LAST_PORT, Allocator, addresses_of, ports_of
from controlplane.apiserver.strategy import Strategy
from controlplane.apiserver.validation import (
    address_faults,
    duplicate,
    forbidden,
    immutable,
    invalid,
    label_faults,
    name_faults,
    network_faults,
    required,
    unsupported,
)
from kubeapi.errors import FieldError, Invalid
from kubeapi.meta import replace
from kubeapi.types import core_v1

TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
EXPOSED = ("NodePort", "LoadBalancer")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9](?:-?[a-z0-9]){0,14}")
SPECIAL = ipaddress.ip_network("169.254.0.0/16"), ipaddress.ip_network("127.0.0.0/8")


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
        return _one_address(replace(obj, status=core_v1.ServiceStatus()))

    def prepare_update(self, new: core_v1.Service, old: core_v1.Service) -> core_v1.Service:
        """What was allocated stays where the client did not send it again, and goes where the type no longer has it."""
        new = _one_address(replace(new, status=old.status))
        spec, was = new.spec, old.spec
        if spec.type == "ExternalName":
            if was.type != "ExternalName" and spec.cluster_ip in ("", was.cluster_ip):
                spec = replace(spec, cluster_ip="", cluster_ips=[])
        elif not spec.cluster_ip and was.type != "ExternalName":
            spec = replace(spec, cluster_ip=was.cluster_ip, cluster_ips=was.cluster_ips)
        kept = {(p.protocol, p.port): p.node_port for p in was.ports}
        if spec.type in EXPOSED:
            ports = [replace(p, node_port=p.node_port or kept.get((p.protocol, p.port), 0)) for p in spec.ports]
        else:
            held = set(kept.values())
            ports = [replace(p, node_port=0 if p.node_port in held else p.node_port) for p in spec.ports]
        spec = replace(spec, ports=ports)
        if _checks_health(spec) and not spec.health_check_node_port:
            spec = replace(spec, health_check_node_port=was.health_check_node_port)
        elif not _checks_health(spec) and spec.health_check_node_port == was.health_check_node_port:
            spec = replace(spec, health_check_node_port=0)
        return replace(new, spec=spec)

    async def reserve(self, new: core_v1.Service, old: core_v1.Service | None, *, dry_run: bool) -> core_v1.Service:
        """Raises Invalid for an address or port that another service has, InternalError when none is left."""
        spec, path = new.spec, "spec"
        if spec.type == "ExternalName":
            return new
        allocator, mine = self._allocator, addresses_of(old) if old else set()
        my_ports = ports_of(old) if old else set()
        taken: list[str | int] = []
        try:
            address = spec.cluster_ip
            if not address:
                address = await allocator.any_address(new, dry_run=dry_run)
                taken.append(address)
            elif address != "None" and address not in mine:
                free = (
                    not await allocator.address_is_taken(address)
                    if dry_run
                    else await allocator.take_address(address, new)
                )
                if not free:
                    text = "failed to allocate IP " + address + ": provided IP is already allocated"
                    raise _taken(new, invalid(f"{path}.clusterIPs", [address], text))
                taken.append(address)
            ports, seen = list(spec.ports), set(my_ports)
            wants = spec.type == "NodePort" or (
                spec.type == "LoadBalancer" and spec.allocate_load_balancer_node_ports is not False
            )
            for i, p in sorted(enumerate(ports), key=lambda at: not at[1].node_port):
                number = p.node_port
                if number and number not in seen:
                    free = (
                        not await allocator.port_is_taken(number) if dry_run else await allocator.take_port(number, new)
                    )
                    if not free:
                        fault = invalid(f"{path}.ports[{i}].nodePort", number, "provided port is already allocated")
                        raise _taken(new, fault)
                    taken.append(number)
                elif not number and wants:
                    number = await allocator.any_port(new, dry_run=dry_run)
                    taken.append(number)
                seen.add(number)
                ports[i] = replace(p, node_port=number)
            health = spec.health_check_node_port
            if _checks_health(spec) and health not in my_ports:
                if not health:
                    health = await allocator.any_port(new, dry_run=dry_run)
                elif not dry_run and not await allocator.take_port(health, new):
                    raise _taken(
                        new, invalid(f"{path}.healthCheckNodePort", health, "provided port is already allocated")
                    )
                taken.append(health)
        except BaseException:
            if not dry_run:
                await self._give(taken)
            raise
        return replace(
            new,
            spec=replace(spec, cluster_ip=address, cluster_ips=[address], ports=ports, health_check_node_port=health),
        )

    async def settle(self, kept: core_v1.Service | None, dropped: core_v1.Service) -> None:
        addresses, ports = addresses_of(dropped), ports_of(dropped)
        if kept is not None:
            addresses, ports = addresses - addresses_of(kept), ports - ports_of(kept)
        await self._give([*addresses, *ports])

    async def _give(self, names: Iterable[str | int]) -> None:
        for name in names:
            if isinstance(name, int):
                await self._allocator.give_port(name)
            else:
                await self._allocator.give_address(name)

    def validate(self, obj: core_v1.Service) -> Iterator[FieldError]:
        spec = obj.spec
        if spec.type not in TYPES:
            yield unsupported("spec.type", spec.type, TYPES)
        headless = spec.cluster_ip == "None"
        outside = spec.type == "ExternalName"
        if not spec.ports and not headless and not outside:
            yield required("spec.ports")
        if headless and spec.type in EXPOSED:
            yield invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {spec.type} services")
        if outside:
            yield from _external_name(spec)
        elif spec.cluster_ip and not headless:
            yield from self._address_faults(spec.cluster_ip)
        if not outside and spec.cluster_ips:
            if spec.cluster_ips[0] != spec.cluster_ip:
                yield invalid("spec.clusterIPs", spec.cluster_ips, "first value must match `clusterIP`")
            if len(spec.cluster_ips) > 1:
                yield invalid("spec.clusterIPs", spec.cluster_ips, "this cluster is single-stack: it has one address")
        yield from _families(spec)
        yield from label_faults("spec.selector", spec.selector)
        if spec.session_affinity not in ("None", "ClientIP"):
            yield unsupported("spec.sessionAffinity", spec.session_affinity, ("None", "ClientIP"))
        config = spec.session_affinity_config
        if config is not None and spec.session_affinity != "ClientIP":
            yield forbidden("spec.sessionAffinityConfig", "must not be set when session affinity is None")
        elif config is not None:
            seconds = config.client_ip.timeout_seconds if config.client_ip is not None else None
            if seconds is None:
                yield required("spec.sessionAffinityConfig.clientIP.timeoutSeconds")
            elif not 1 <= seconds <= 86400:
                path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
                yield invalid(path, seconds, "must be greater than 0 and less than 86400")
        if spec.external_traffic_policy and spec.type not in EXPOSED:
            yield invalid(
                "spec.externalTrafficPolicy",
                spec.external_traffic_policy,
                "may only be set for externally-accessible services",
            )
        if spec.health_check_node_port and not _checks_health(spec):
            text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
            yield invalid("spec.healthCheckNodePort", spec.health_check_node_port, text)
        for i, cidr in enumerate(spec.load_balancer_source_ranges):
            path = f"spec.loadBalancerSourceRanges[{i}]"
            yield from network_faults(path, cidr.strip(), strict=False)
            if spec.type != "LoadBalancer":
                yield forbidden(path, "may only be used when `type` is 'LoadBalancer'")
        for i, address in enumerate(spec.external_ips):
            faults = list(address_faults(f"spec.externalIPs[{i}]", address))
            yield from faults
            if faults:
                continue
            parsed = ipaddress.ip_address(address)
            if parsed.is_unspecified or any(parsed in network for network in SPECIAL):
                yield invalid(f"spec.externalIPs[{i}]", address, "may not be unspecified, loopback or link-local")
        yield from _ports(spec)

    def validate_status(self, new: core_v1.Service, old: core_v1.Service) -> Iterator[FieldError]:
        """Every node makes rules for these addresses."""
        for i, ingress in enumerate(new.status.load_balancer.ingress):
            path = f"status.loadBalancer.ingress[{i}]"
            if ingress.ip:
                yield from address_faults(f"{path}.ip", ingress.ip)
            if ingress.hostname:
                yield from name_faults(f"{path}.hostname", ingress.hostname, "subdomain")
            if ingress.ip_mode is not None and ingress.ip_mode not in ("VIP", "Proxy"):
                yield unsupported(f"{path}.ipMode", ingress.ip_mode, ("VIP", "Proxy"))

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


def _one_address(obj: core_v1.Service) -> core_v1.Service:
    """clusterIP and clusterIPs say the same; only one of them need be sent."""
    spec = obj.spec
    first = spec.cluster_ip or (spec.cluster_ips[0] if spec.cluster_ips else "")
    return replace(
        obj, spec=replace(spec, cluster_ip=first, cluster_ips=spec.cluster_ips or ([first] if first else []))
    )


def _checks_health(spec: core_v1.ServiceSpec) -> bool:
    return spec.type == "LoadBalancer" and spec.external_traffic_policy == "Local"


def _taken(obj: core_v1.Service, fault: FieldError) -> Invalid:
    return Invalid.of("Service", "", obj.metadata.name, [fault])


def _external_name(spec: core_v1.ServiceSpec) -> Iterator[FieldError]:
    if spec.cluster_ip:
        yield forbidden("spec.clusterIPs[0]", "may not be set for ExternalName services")
    if not spec.external_name:
        yield required("spec.externalName")
    else:
        yield from name_faults("spec.externalName", spec.external_name.removesuffix("."), "subdomain")


def _families(spec: core_v1.ServiceSpec) -> Iterator[FieldError]:
    if spec.type == "ExternalName":
        if spec.ip_families:
            yield forbidden("spec.ipFamilies", "may not be set for ExternalName services")
        return
    if spec.ip_family_policy == "RequireDualStack":
        text = "this cluster is not configured for dual-stack services"
        yield invalid("spec.ipFamilyPolicy", spec.ip_family_policy, text)
    for i, family in enumerate(spec.ip_families):
        if family not in ("IPv4", "IPv6"):
            yield unsupported(f"spec.ipFamilies[{i}]", family, ("IPv4", "IPv6"))
        elif family == "IPv6" or i > 0:
            yield invalid(f"spec.ipFamilies[{i}]", family, "not configured on this cluster")


def _ports(spec: core_v1.ServiceSpec) -> Iterator[FieldError]:
    names: set[str] = set()
    numbers: set[tuple[str, int]] = set()
    nodes: set[tuple[str, int]] = set()
    for i, p in enumerate(spec.ports):
        path = f"spec.ports[{i}]"
        if len(spec.ports) > 1 and not p.name:
            yield required(f"{path}.name")
        if p.name:
            yield from name_faults(f"{path}.name", p.name, "label")
        if p.name and p.name in names:
            yield duplicate(f"{path}.name", p.name)
        names.add(p.name)
        if not 1 <= p.port <= 65535:
            yield invalid(f"{path}.port", p.port, "must be between 1 and 65535, inclusive")
        if p.protocol not in ("TCP", "UDP", "SCTP"):
            yield unsupported(f"{path}.protocol", p.protocol, ("TCP", "UDP", "SCTP"))
        if isinstance(p.target_port, int) and not 1 <= p.target_port <= 65535:
            yield invalid(f"{path}.targetPort", p.target_port, "must be between 1 and 65535, inclusive")
        elif isinstance(p.target_port, str) and not _PORT_NAME.fullmatch(p.target_port):
            text = "must contain at least one letter, and only lower case alphanumeric characters and '-', at most 15"
            yield invalid(f"{path}.targetPort", p.target_port, text)
        if p.node_port and spec.type not in EXPOSED:
            yield forbidden(f"{path}.nodePort", f"may not be used when `type` is '{spec.type}'")
        elif p.node_port and not FIRST_PORT <= p.node_port <= LAST_PORT:
            yield invalid(
                f"{path}.nodePort",
                p.node_port,
                f"provided port is not in the valid range. The range of valid ports is {FIRST_PORT}-{LAST_PORT}",
            )
        if p.node_port and (p.protocol, p.node_port) in nodes:
            yield duplicate(f"{path}.nodePort", p.node_port)
        nodes.add((p.protocol, p.node_port))
        if (p.protocol, p.port) in numbers:
            yield duplicate(path, {"port": p.port, "protocol": p.protocol})
        numbers.add((p.protocol, p.port))
