"""What a pod asks of a node, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from kubeapi.quantity import Quantity, milli, whole
from kubeapi.types.core_v1 import Container, Pod, ResourceRequirements

CPU, MEMORY, PODS = "cpu", "memory", "pods"
POD_LEVEL = frozenset({CPU, MEMORY})
"""What a pod as a whole may ask for instead of the sum of its containers."""
ASSUMED_CPU = 100
"""Thousandths of a core that a pod without a request is taken to use when nodes are compared (never when they are
filtered)."""
ASSUMED_MEMORY = 200 << 20

MOST = 1 << 53
"""Units (9 PB, and as many thousandths of cores) that more is taken to be: thousands of these add up in 64 bits."""

Port = tuple[str, str, int]
"""(host address, protocol, port)"""


@dataclass(frozen=True, slots=True)
class Request:
    amounts: dict[str, int]
    """Resource to units (thousandths of cores for cpu); one pod included."""
    cpu_guess: int
    memory_guess: int
    ports: frozenset[Port]


def units(resource: str, quantity: Quantity) -> int:
    return min(milli(quantity) if resource == CPU else whole(quantity), MOST)


@lru_cache(maxsize=65536)
def _units(resource: str, quantity: Quantity) -> int:
    return units(resource, quantity)


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        total[name] = min(total.get(name, 0) + amount, MOST)


def _of(container: Container) -> dict[str, int]:
    return _requests(container.resources)


def _requests(resources: ResourceRequirements) -> dict[str, int]:
    requests = {**resources.limits, **resources.requests}
    return {name: _units(name, quantity) for name, quantity in requests.items()}


def request_of(pod: Pod) -> Request:
    """Containers together; or the largest init container with the sidecars begun before it, if that is more (KEP-753).
    What the pod asks for as a whole takes the place of that; overhead comes on top."""
    total: dict[str, int] = {}
    cpu = memory = 0
    for container in pod.spec.containers:
        own = _of(container)
        _add(total, own)
        cpu += own.get(CPU) or ASSUMED_CPU
        memory += own.get(MEMORY) or ASSUMED_MEMORY
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in pod.spec.init_containers:
        own = _of(container)
        if container.restart_policy == "Always":
            _add(sidecars, own)
            own = dict(sidecars)
        else:
            own = {n: own.get(n, 0) + sidecars.get(n, 0) for n in own.keys() | sidecars.keys()}
        peak = {n: max(peak.get(n, 0), own.get(n, 0)) for n in peak.keys() | own.keys()}
    _add(total, sidecars)
    total = {n: max(total.get(n, 0), peak.get(n, 0)) for n in total.keys() | peak.keys()}
    if pod.spec.resources is not None:
        total |= {n: amount for n, amount in _requests(pod.spec.resources).items() if n in POD_LEVEL}
    _add(total, {name: _units(name, quantity) for name, quantity in pod.spec.overhead.items()})
    total[PODS] = 1
    return Request(
        amounts=total,
        cpu_guess=max(cpu, total.get(CPU, 0)),
        memory_guess=max(memory, total.get(MEMORY, 0)),
        ports=_ports(pod),
    )


def _ports(pod: Pod) -> frozenset[Port]:
    return frozenset(
        (port.host_ip or "0.0.0.0", port.protocol or "TCP", port.host_port)
        for container in pod.spec.containers
        for port in container.ports
        if port.host_port
    )
