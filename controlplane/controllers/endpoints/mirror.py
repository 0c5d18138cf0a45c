"""EndpointSlices for Endpoints that people write by hand: nodes read slices only.

An Endpoints object is mirrored if its Service exists and has no selector, and nothing says that it shall not be. What
is written into the slices by others is put right again; when the Endpoints go, their slices go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address

from controlplane.controllers.endpoints.plan import MANAGED_BY, SERVICE_NAME
from controlplane.controllers.shared import Shared
from kubeapi.client.controller import Barrier, Controller, Done, own_key
from kubeapi.client.keys import Key, revision_of
from kubeapi.errors import AlreadyExists, Forbidden, NotFound
from kubeapi.meta import controller_reference, replace
from kubeapi.types.core_v1 import EndpointAddress, Endpoints, EndpointSubset, Service
from kubeapi.types.discovery_v1 import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from kubeapi.types.meta_v1 import ObjectMeta

MIRROR = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
MOST = 1000
"""Addresses of a subset that are mirrored; an event says so when there are more."""


def is_mirrored(endpoints: Endpoints, service: Service | None) -> bool:
    meta = endpoints.metadata
    if meta.labels.get(SKIP) == "true" or LEADER in meta.annotations or meta.deletion_timestamp is not None:
        return False
    return service is not None and not service.spec.selector and service.metadata.deletion_timestamp is None


def slices_of(endpoints: Endpoints) -> list[EndpointSlice]:
    """One per subset and address family."""
    found = []
    for number, subset in enumerate(endpoints.subsets):
        for family in ("IPv4", "IPv6"):
            members = _members(subset, family)
            if members:
                found.append(_slice(endpoints, subset, number, family, members[:MOST]))
    return found


def _members(subset: EndpointSubset, family: str) -> list[Endpoint]:
    both = [(a, True) for a in subset.addresses] + [(a, False) for a in subset.not_ready_addresses]
    return [_endpoint(address, ready) for address, ready in both if _family(address.ip) == family]


def _family(ip: str) -> str:
    try:
        return f"IPv{ip_address(ip).version}"
    except ValueError:
        return ""


def _endpoint(address: EndpointAddress, ready: bool) -> Endpoint:
    return Endpoint(
        addresses=[address.ip],
        conditions=EndpointConditions(ready=ready),
        hostname=address.hostname or None,
        node_name=address.node_name,
        target_ref=address.target_ref,
    )


def _slice(
    endpoints: Endpoints, subset: EndpointSubset, number: int, family: str, members: Sequence[Endpoint]
) -> EndpointSlice:
    meta = endpoints.metadata
    digest = hashlib.sha256(f"{meta.uid}/{number}/{family}".encode()).hexdigest()[:6]
    return EndpointSlice(
        metadata=ObjectMeta(
            name=f"{meta.name[:240]}-{digest}",
            namespace=meta.namespace,
            labels={**meta.labels, SERVICE_NAME: meta.name, MANAGED_BY: MIRROR},
            owner_references=[controller_reference(endpoints)],
        ),
        address_type=family,
        endpoints=list(members),
        ports=[
            EndpointPort(name=p.name, protocol=p.protocol or "TCP", port=p.port, app_protocol=p.app_protocol)
            for p in subset.ports
        ],
    )


class EndpointMirror:
    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._client = shared.client
        self._endpoints = shared.informers.of(Endpoints)
        self._services = shared.informers.of(Service)
        self._slices = shared.informers.of(EndpointSlice, {"mirrored": _mirrored})
        self._barrier: Barrier[Key] = Barrier()
        self.controller: Controller[Key] = Controller(
            "endpointslicemirroring",
            self.reconcile,
            sources={self._endpoints: own_key, self._services: own_key, self._slices: _mirrored},
            clock=shared.clock,
            rng=shared.rng,
            metrics=shared.metrics,
        )

    async def reconcile(self, key: Key) -> Done:
        if not self._barrier.ready(key, self._slices.revision):
            return Done(requeue_after=0.05)
        endpoints = self._endpoints.get(key)
        mirrored = endpoints is not None and is_mirrored(endpoints, self._services.get(key))
        wanted = slices_of(endpoints) if endpoints is not None and mirrored else []
        held = {piece.metadata.name: piece for piece in self._slices.cache.by("mirrored", key)}
        with suppress(Forbidden):  # the namespace is on its way out
            for piece in wanted:
                await self._put(key, held.pop(piece.metadata.name, None), piece)
        for piece in held.values():
            with suppress(NotFound):
                await self._client.delete(
                    EndpointSlice, piece.metadata.name, piece.metadata.namespace, uid=piece.metadata.uid
                )
        if endpoints is not None and any(
            len(s.addresses) + len(s.not_ready_addresses) > MOST for s in endpoints.subsets
        ):
            message = f"A subset has more than {MOST} addresses; only so many of it are mirrored"
            self._shared.events.named("endpointslice-mirroring-controller").event(
                endpoints, "Warning", "TooManyAddressesToMirror", message
            )
        return Done()

    async def _put(self, key: Key, old: EndpointSlice | None, wanted: EndpointSlice) -> None:
        if old is None:
            with suppress(AlreadyExists):
                self._barrier.wrote(key, revision_of(await self._client.create(wanted)))
            return
        labels = wanted.metadata.labels
        if (old.endpoints, old.ports, old.metadata.labels) != (wanted.endpoints, wanted.ports, labels):
            metadata = replace(old.metadata, labels=labels)
            changed = replace(old, endpoints=wanted.endpoints, ports=wanted.ports, metadata=metadata)
            self._barrier.wrote(key, revision_of(await self._client.update(changed)))


def _mirrored(piece: EndpointSlice) -> tuple[Key, ...]:
    """The key of the Endpoints (and of the Service) that a slice of ours mirrors."""
    labels = piece.metadata.labels
    return (Key(piece.metadata.namespace, labels.get(SERVICE_NAME, "")),) if labels.get(MANAGED_BY) == MIRROR else ()
