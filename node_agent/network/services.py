"""Services as nftables: `desired()` turns services and host ports into a value, `script()` turns the
difference of two such values into one atomic transaction. Both are pure.

A packet for a service looks up one verdict map by (address, protocol, port), whatever the number of services,
and goes to the chain of that service port, which picks an endpoint by chance and rewrites the destination;
the kernel's connection tracking does the rest. A change of one service touches that service's chain and
nothing else, so a thousand services cost a change no more than one does.

A service port without endpoints must refuse at once, not time out: its verdict sits in a filter chain,
because a nat chain cannot reject. One that has endpoints, but none that its traffic policy allows here, drops, as
kube-proxy does: another node may serve the retry.

Addresses of loopback lead to no node port and no host port: what left from 127.0.0.1 could not be answered.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from node_agent.network.interface import ServicePort
from node_agent.network.kernel import Flow

TABLE = "ip sampan"
MASQUERADE_MARK = "0x4000"

_MAPS = {
    "service_ports": "type ipv4_addr . inet_proto . inet_service : verdict",
    "node_ports": "type inet_proto . inet_service : verdict",
    "host_ports": "type inet_proto . inet_service : ipv4_addr . inet_service",
    "refused_services": "type ipv4_addr . inet_proto . inet_service : verdict",
    "refused_nodes": "type inet_proto . inet_service : verdict",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What is, or should be, in our table beyond the fixed part."""

    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sets: Mapping[str, str] = field(default_factory=dict)
    """Name to declaration: who was sent to which endpoint, for client affinity."""
    elements: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(map, key) to value; "" in a set."""


def base(*, cluster_cidr: str, bridge: str, tunnel: str) -> str:
    """The fixed part, in place of whatever our table held before; in one transaction with what follows it."""
    maps = "\n".join(f"add map {TABLE} {name} {{ {kind} ; }}" for name, kind in _MAPS.items())
    outside = f"ip saddr {cluster_cidr} ip daddr != {cluster_cidr}"
    return f"""\
add table {TABLE}
delete table {TABLE}
add table {TABLE}
{maps}
add set {TABLE} hairpins {{ type ipv4_addr . ipv4_addr ; }}
add chain {TABLE} services
add rule {TABLE} services ip daddr . meta l4proto . th dport vmap @service_ports
add rule {TABLE} services ip daddr 127.0.0.0/8 return
add rule {TABLE} services fib daddr type local meta l4proto . th dport vmap @node_ports
add rule {TABLE} services fib daddr type local dnat ip to meta l4proto . th dport map @host_ports
add chain {TABLE} prerouting {{ type nat hook prerouting priority dstnat ; }}
add rule {TABLE} prerouting meta l4proto {{ tcp, udp }} jump services
add chain {TABLE} output {{ type nat hook output priority -100 ; }}
add rule {TABLE} output meta l4proto {{ tcp, udp }} jump services
add chain {TABLE} refuse
add rule {TABLE} refuse meta l4proto tcp reject with tcp reset
add rule {TABLE} refuse reject with icmp port-unreachable
add chain {TABLE} refusals
add rule {TABLE} refusals ip daddr . meta l4proto . th dport vmap @refused_services
add rule {TABLE} refusals ip daddr 127.0.0.0/8 return
add rule {TABLE} refusals fib daddr type local meta l4proto . th dport vmap @refused_nodes
add chain {TABLE} filter_input {{ type filter hook input priority -10 ; }}
add rule {TABLE} filter_input ct state new jump refusals
add chain {TABLE} filter_forward {{ type filter hook forward priority -10 ; }}
add rule {TABLE} filter_forward ct state new jump refusals
add chain {TABLE} filter_output {{ type filter hook output priority -10 ; }}
add rule {TABLE} filter_output ct state new jump refusals
add chain {TABLE} postrouting {{ type nat hook postrouting priority srcnat ; }}
add rule {TABLE} postrouting meta mark and {MASQUERADE_MARK} == {MASQUERADE_MARK} masquerade
add rule {TABLE} postrouting ct status dnat ip saddr . ip daddr @hairpins masquerade
add rule {TABLE} postrouting oifname "{tunnel}" ip saddr != {cluster_cidr} masquerade
add rule {TABLE} postrouting oifname != "{bridge}" {outside} masquerade
"""


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _comment(text: str) -> str:
    return 'comment "' + "".join(c for c in text if c.isprintable() and c != '"')[:120] + '"'


def _balance(endpoints: Sequence[tuple[str, int]], protocol: str, comment: str) -> str:
    if len(endpoints) == 1:
        ip, port = endpoints[0]
        return f"meta l4proto {protocol} dnat ip to {ip}:{port} {comment}"
    choices = ", ".join(f"{i} : {ip} . {port}" for i, (ip, port) in enumerate(endpoints))
    return f"meta l4proto {protocol} dnat ip to numgen random mod {len(endpoints)} map {{ {choices} }} {comment}"


def _sticky(
    name: str, endpoints: Sequence[tuple[str, int]], port: ServicePort, chains: dict[str, tuple[str, ...]],
    sets: dict[str, str],
) -> tuple[str, ...]:  # fmt: skip
    """A client known to one endpoint's set goes there again; a new one is dealt an endpoint, which notes
    it.
    """
    rules: list[str] = []
    targets: list[str] = []
    for ip, number in endpoints:
        target = f"ep_{_short(f'{name} {ip} {number} {port.affinity_seconds}')}"
        known = f"client_{target}"
        sets[known] = f"type ipv4_addr ; flags dynamic,timeout ; timeout {port.affinity_seconds}s"
        chains[target] = (
            f"update @{known} {{ ip saddr }}",
            f"meta l4proto {port.protocol} dnat ip to {ip}:{number}",
        )
        rules.append(f"ip saddr @{known} goto {target}")
        targets.append(target)
    choices = ", ".join(f"{i} : goto {target}" for i, target in enumerate(targets))
    rules.append(f"numgen random mod {len(targets)} vmap {{ {choices} }}")
    return tuple(rules)


def desired(
    ports: Iterable[ServicePort], host_ports: Mapping[tuple[str, int], tuple[str, int]], *, cluster_cidr: str
) -> Rules:
    """`host_ports`: (protocol, host port) to (pod address, container port)."""
    chains: dict[str, tuple[str, ...]] = {}
    sets: dict[str, str] = {}
    elements: dict[tuple[str, str], str] = {}
    for port in ports:
        short = _short(f"{port.service} {port.protocol}")
        everywhere, nearby = sorted(set(port.endpoints)), sorted(set(port.local_endpoints))
        for ip, _ in {*everywhere, *nearby}:
            elements["hairpins", f"{ip} . {ip}"] = ""
        outside = [*port.external_ips, *port.balancer_ips]
        if not everywhere:
            for ip in (*port.cluster_ips, *outside):
                elements["refused_services", _at(ip, port)] = "goto refuse"
            if port.node_port:
                elements["refused_nodes", f"{port.protocol} . {port.node_port}"] = "goto refuse"
            continue
        anywhere = f"goto svc_{short}"
        chains[f"svc_{short}"] = _deal(f"svc_{short}", everywhere, port, chains, sets)
        here = "drop"
        if nearby and (port.local_only or port.internal_local):
            here = f"goto loc_{short}"
            chains[f"loc_{short}"] = _deal(f"loc_{short}", nearby, port, chains, sets)
        for ip in port.cluster_ips:
            elements["service_ports", _at(ip, port)] = here if port.internal_local else anywhere
        if not (outside or port.node_port):
            continue
        chains[f"ext_{short}"] = _from_outside(anywhere, here, port, cluster_cidr)
        for ip in port.external_ips:
            elements["service_ports", _at(ip, port)] = f"goto ext_{short}"
        if port.balancer_ips and port.source_ranges:
            ranges = ", ".join(sorted(set(port.source_ranges)))
            chains[f"lb_{short}"] = (f"ip saddr != {{ {ranges} }} drop", f"goto ext_{short}")
        for ip in port.balancer_ips:
            elements["service_ports", _at(ip, port)] = f"goto {'lb' if port.source_ranges else 'ext'}_{short}"
        if port.node_port:
            elements["node_ports", f"{port.protocol} . {port.node_port}"] = f"goto ext_{short}"
    for (protocol, number), (ip, target) in host_ports.items():
        elements["host_ports", f"{protocol} . {number}"] = f"{ip} . {target}"
        elements["hairpins", f"{ip} . {ip}"] = ""
    return Rules(chains, sets, elements)


def _at(ip: str, port: ServicePort) -> str:
    return f"{ip} . {port.protocol} . {port.port}"


def _deal(
    name: str, endpoints: Sequence[tuple[str, int]], port: ServicePort, chains: dict[str, tuple[str, ...]],
    sets: dict[str, str],
) -> tuple[str, ...]:  # fmt: skip
    if port.affinity_seconds:
        return _sticky(name, endpoints, port, chains, sets)
    return (_balance(endpoints, port.protocol, _comment(port.service)),)


def _from_outside(anywhere: str, here: str, port: ServicePort, cluster_cidr: str) -> tuple[str, ...]:
    """What comes by a node port or an outer address. An endpoint of another node must answer by way of this one, so
    the client's address is hidden from it; under the policy Local it stays visible, and only local endpoints serve.
    """
    mark = f"meta mark set meta mark or {MASQUERADE_MARK}"
    if not port.local_only:
        return (mark, anywhere)
    return (
        f"ip saddr {cluster_cidr} {anywhere}",
        f"fib saddr type local {mark}",
        f"fib saddr type local {anywhere}",
        here,
    )


Backends = Mapping[tuple[str, int], frozenset[tuple[str, int]]]
"""UDP only: (address, port) to the endpoints that may answer for it; the address is "" for any of this node's."""


def udp_backends(ports: Iterable[ServicePort], host_ports: Mapping[tuple[str, int], tuple[str, int]]) -> Backends:
    found: dict[tuple[str, int], frozenset[tuple[str, int]]] = {}
    for port in ports:
        if port.protocol != "udp":
            continue
        behind = frozenset([*port.endpoints, *port.local_endpoints])
        for ip in (*port.cluster_ips, *port.external_ips, *port.balancer_ips):
            found[ip, port.port] = behind
        if port.node_port:
            found["", port.node_port] = behind
    for (protocol, number), target in host_ports.items():
        if protocol == "udp":
            found["", number] = frozenset([target])
    return found


def stale(flows: Iterable[Flow], wanted: Backends, before: Backends, *, local: Collection[str]) -> list[Flow]:
    """UDP flows that connection tracking would go on sending where nobody answers for them any more.

    UDP has no end of a connection: a client that keeps its source port is sent to a vanished pod as long as it goes
    on asking. So is one that asked before the service was there. `local`: this node's own addresses.
    """
    found = []
    for flow in flows:
        keys = [(flow.destination, flow.destination_port)]
        if flow.destination in local:
            keys.append(("", flow.destination_port))
        for key in keys:
            behind = wanted.get(key, frozenset() if key in before else None)
            if behind is not None and (flow.answers_from, flow.answers_port) not in behind:
                found.append(flow)
                break
    return found


def script(wanted: Rules, installed: Rules) -> str:
    """The transaction that turns `installed` into `wanted`; "" when they are equal.

    Order: stop using, then change, then start using; sets and chains that nothing names any more go last.
    """
    lines: list[str] = []
    for (name, key), value in installed.elements.items():
        if wanted.elements.get((name, key)) != value:
            lines.append(f"delete element {TABLE} {name} {{ {key} }}")
    for name, declaration in wanted.sets.items():
        if name not in installed.sets:
            lines.append(f"add set {TABLE} {name} {{ {declaration} ; }}")
    changed = [name for name, rules in wanted.chains.items() if installed.chains.get(name) != rules]
    lines += [f"add chain {TABLE} {name}" for name in changed if name not in installed.chains]
    gone = [name for name in installed.chains if name not in wanted.chains]
    lines += [f"flush chain {TABLE} {name}" for name in (*changed, *gone) if name in installed.chains]
    for name in changed:
        lines += [f"add rule {TABLE} {name} {rule}" for rule in wanted.chains[name]]
    for (name, key), value in wanted.elements.items():
        if installed.elements.get((name, key)) != value:
            lines.append(f"add element {TABLE} {name} {{ {key}{' : ' + value if value else ''} }}")
    lines += [f"delete chain {TABLE} {name}" for name in gone]
    lines += [f"delete set {TABLE} {name}" for name in installed.sets if name not in wanted.sets]
    return "\n".join(lines) + "\n" if lines else ""
