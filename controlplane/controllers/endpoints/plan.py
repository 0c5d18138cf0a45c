"""Which addresses stand behind a Service: its EndpointSlices, and the older Endpoints object.

A slice holds at most 100 endpoints; endpoints are sorted by pod name and cut into slices in that order, so that the
same pods always make the same slices. Ports named in the Service are resolved pod by pod; pods that resolve them
differently get slices of their own (Kubernetes does the same, KEP-752). IPv4 alone: another family's address in a slice
would make all of it invalid.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from controlplane.controllers.pods import is_ready, is_terminal
from kubeapi.meta import controller_reference
from kubeapi.types.core_v1 import (
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSubset,
    ObjectReference,
    Pod,
    Service,
)
from kubeapi.types.discovery_v1 import Endpoint, EndpointConditions, EndpointSlice
from kubeapi.types.discovery_v1 import EndpointPort as SlicePort
from kubeapi.types.meta_v1 import ObjectMeta

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
MOST_PER_SLICE = 100

Ports = tuple[tuple[str, str, int], ...]
"""(name, protocol, number) of each port, as a pod resolves them."""


@dataclass(frozen=True, slots=True)
class Wanted:
    slices: list[EndpointSlice]
    endpoints: Endpoints


def plan(service: Service, pods: Iterable[Pod]) -> Wanted:
    grouped: dict[Ports, list[Pod]] = {}
    for pod in sorted(pods, key=lambda p: p.metadata.name):
        if pod.status.pod_ip and ":" not in pod.status.pod_ip and not is_terminal(pod):
            grouped.setdefault(_ports(service, pod), []).append(pod)
    slices = [
        _slice(service, ports, members[at : at + MOST_PER_SLICE], at // MOST_PER_SLICE)
        for ports, members in sorted(grouped.items())
        for at in range(0, len(members), MOST_PER_SLICE)
    ]
    return Wanted(slices, _endpoints(service, grouped))


def _ports(service: Service, pod: Pod) -> Ports:
    found = []
    for port in service.spec.ports:
        number = port.target_port
        if isinstance(number, str):
            number = _named(pod, number, port.protocol)
        if number:
            found.append((port.name, port.protocol, int(number)))
    return tuple(found)


def _named(pod: Pod, name: str, protocol: str) -> int:
    for container in pod.spec.containers:
        for port in container.ports:
            if port.name == name and port.protocol == protocol:
                return port.container_port
    return 0


def _serves(service: Service, pod: Pod) -> bool:
    return is_ready(pod) or service.spec.publish_not_ready_addresses


def _endpoint(service: Service, pod: Pod) -> Endpoint:
    serving, terminating = _serves(service, pod), pod.metadata.deletion_timestamp is not None
    return Endpoint(
        addresses=[pod.status.pod_ip],
        conditions=EndpointConditions(ready=serving and not terminating, serving=serving, terminating=terminating),
        hostname=pod.spec.hostname or None if pod.spec.subdomain == service.metadata.name else None,
        node_name=pod.spec.node_name,
        target_ref=_reference(pod),
    )


def _reference(pod: Pod) -> ObjectReference:
    return ObjectReference(kind="Pod", namespace=pod.metadata.namespace, name=pod.metadata.name, uid=pod.metadata.uid)


def _labels(service: Service) -> dict[str, str]:
    labels = dict(service.metadata.labels)
    if service.spec.cluster_ip == "None":
        labels[HEADLESS] = ""
    return labels


def _slice(service: Service, ports: Ports, pods: Sequence[Pod], number: int) -> EndpointSlice:
    digest = hashlib.sha256(repr((ports, number)).encode()).hexdigest()[:6]
    return EndpointSlice(
        metadata=ObjectMeta(
            name=f"{service.metadata.name}-{digest}",
            namespace=service.metadata.namespace,
            labels={**_labels(service), SERVICE_NAME: service.metadata.name, MANAGED_BY: MANAGER},
            owner_references=[controller_reference(service)],
        ),
        address_type="IPv4",
        endpoints=[_endpoint(service, pod) for pod in pods],
        ports=[SlicePort(name=name, protocol=protocol, port=port) for name, protocol, port in ports],
    )


def _endpoints(service: Service, grouped: dict[Ports, list[Pod]]) -> Endpoints:
    """The older form has no terminating endpoints: those are left out."""
    subsets = []
    for ports, pods in sorted(grouped.items()):
        alive = [p for p in pods if p.metadata.deletion_timestamp is None]
        ready = [_address(p) for p in alive if _serves(service, p)]
        other = [_address(p) for p in alive if not _serves(service, p)]
        if ready or other:
            numbers = [EndpointPort(name=n, protocol=proto, port=port) for n, proto, port in ports]
            subsets.append(EndpointSubset(addresses=ready, not_ready_addresses=other, ports=numbers))
    return Endpoints(
        metadata=ObjectMeta(name=service.metadata.name, namespace=service.metadata.namespace, labels=_labels(service)),
        subsets=subsets,
    )


def _address(pod: Pod) -> EndpointAddress:
    return EndpointAddress(ip=pod.status.pod_ip, node_name=pod.spec.node_name, target_ref=_reference(pod))
