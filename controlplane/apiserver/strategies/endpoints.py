"""Where a service leads: what is left out is filled in, as clients rely on it (Prometheus' discovery ends at a port without
protocol), and an address is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from controlplane.apiserver.strategy import Strategy
from controlplane.apiserver.validation import duplicate, immutable, invalid, required, unsupported
from kubeapi.errors import FieldError
from kubeapi.meta import replace
from kubeapi.types import core_v1, discovery_v1

ADDRESS_TYPES = ("IPv4", "IPv6", "FQDN")
_KINDS: dict[str, type[IPv4Address | IPv6Address]] = {"IPv4": IPv4Address, "IPv6": IPv6Address}
MOST_ENDPOINTS, MOST_ADDRESSES = 1000, 100
"""In a slice, and of an endpoint."""


class EndpointsStrategy(Strategy):
    def default(self, obj: core_v1.Endpoints) -> core_v1.Endpoints:
        if all(port.protocol for subset in obj.subsets for port in subset.ports):
            return obj
        subsets = [
            replace(subset, ports=[replace(port, protocol=port.protocol or "TCP") for port in subset.ports])
            for subset in obj.subsets
        ]
        return replace(obj, subsets=subsets)

    def validate(self, obj: core_v1.Endpoints) -> Iterator[FieldError]:
        for i, subset in enumerate(obj.subsets):
            where = f"subsets[{i}]"
            for field, addresses in (
                ("addresses", subset.addresses),
                ("notReadyAddresses", subset.not_ready_addresses),
            ):
                for k, address in enumerate(addresses):
                    if not _is_ip(address.ip, IPv4Address) and not _is_ip(address.ip, IPv6Address):
                        yield invalid(f"{where}.{field}[{k}].ip", address.ip, "must be a valid IP address")
            for k, port in enumerate(subset.ports):
                if len(subset.ports) > 1 and not port.name:
                    yield required(f"{where}.ports[{k}].name")
                yield from _port(f"{where}.ports[{k}]", port.port)


class EndpointSliceStrategy(Strategy):
    def default(self, obj: discovery_v1.EndpointSlice) -> discovery_v1.EndpointSlice:
        if all(port.protocol and port.name is not None for port in obj.ports):
            return obj
        ports = [replace(p, name=p.name or "", protocol=p.protocol or "TCP") for p in obj.ports]
        return replace(obj, ports=ports)

    def validate(self, obj: discovery_v1.EndpointSlice) -> Iterator[FieldError]:
        if not obj.address_type:
            yield required("addressType")
        elif obj.address_type not in ADDRESS_TYPES:
            yield unsupported("addressType", obj.address_type, ADDRESS_TYPES)
        if len(obj.endpoints) > MOST_ENDPOINTS:
            yield FieldError("endpoints", f"Too many: must have at most {MOST_ENDPOINTS} items")
        kind = _KINDS.get(obj.address_type)
        for i, endpoint in enumerate(obj.endpoints):
            if not endpoint.addresses:
                yield required(f"endpoints[{i}].addresses", "must contain at least 1 address")
            if len(endpoint.addresses) > MOST_ADDRESSES:
                yield FieldError(f"endpoints[{i}].addresses", f"Too many: must have at most {MOST_ADDRESSES} items")
            for k, address in enumerate(endpoint.addresses):
                if kind is not None and not _is_ip(address, kind):
                    yield invalid(f"endpoints[{i}].addresses[{k}]", address, f"must be an {obj.address_type} address")
        names: set[str] = set()
        for i, port in enumerate(obj.ports):
            if (port.name or "") in names:
                yield duplicate(f"ports[{i}].name", port.name or "")
            names.add(port.name or "")
            yield from _port(f"ports[{i}]", port.port)

    def validate_update(self, new: discovery_v1.EndpointSlice, old: discovery_v1.EndpointSlice) -> Iterator[FieldError]:
        yield from immutable("addressType", new.address_type, old.address_type)


def _port(where: str, port: int | None) -> Iterator[FieldError]:
    if port is not None and not 0 < port < 65536:
        yield invalid(f"{where}.port", port, "must be between 1 and 65535, inclusive")


def _is_ip(text: str, kind: type[IPv4Address | IPv6Address]) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True
