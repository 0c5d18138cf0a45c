"""Which API servers there are, told by the `kubernetes` service: each keeps its own address there, those that die lose theirs.

    every RENEW seconds, on each server:   renew my lease ──► forget leases that stood still ──► write who is left

A lease is a Lease in kube-system, so that anybody may look. Clocks of different machines are never compared: a lease has
run out when *this* server has looked at it for LIFE seconds, and it was always the same. A server that could not look
(its store was away) begins to count anew: with the store everybody's renewals were away.

Kubernetes does the same with keys under /masterleases that its store lets expire; ours need nothing of the store but
what every other object needs. Whoever is left alone is never taken out: an empty service would help nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any

from controlplane.apiserver.api import Api
from controlplane.apiserver.context import RequestContext
from controlplane.storage.errors import StoreError
from kubeapi.clock import Clock, format_micro
from kubeapi.errors import AlreadyExists, ApiError, Conflict, NotFound
from kubeapi.meta import replace
from kubeapi.scheme import SCHEME
from kubeapi.types import coordination_v1, core_v1, discovery_v1, meta_v1

LIFE = 12.0
"""Seconds without a renewal until an address goes. What is seen only at the next look comes on top: 15 in all, as in Kubernetes."""
RENEW = 3.0
NAMESPACE = "kube-system"
IDENTITY = {"apiserver.kubernetes.io/identity": "kube-apiserver"}
SELECTOR = "apiserver.kubernetes.io/identity=kube-apiserver"
_LEASES = SCHEME.resource_of(coordination_v1.Lease)
_SERVICE = "kubernetes"

log = logging.getLogger(__name__)


class Members:
    def __init__(self, api: Api, *, address: str, port: int, clock: Clock, rng: Random) -> None:
        self._api, self._address, self._port, self._clock, self._rng = api, address, port, clock, rng
        self._name = f"apiserver-{address.replace(':', '-')}"
        self._seen: dict[str, tuple[str, float]] = {}
        """Of each lease its resource version, and since when we see that one, by the monotonic clock."""
        self._looked = clock.monotonic()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._pause())
            await self.try_look()

    async def try_look(self) -> None:
        """A store that takes no writes now, full perhaps, keeps nobody from serving what can be read."""
        try:
            async with asyncio.timeout(RENEW):
                await self.look()
        except (ApiError, StoreError, TimeoutError) as error:
            log.warning("cannot say now that this server is here: %s", error)

    async def look(self) -> None:
        """One round."""
        await self._renew()
        now = self._clock.monotonic()
        if now - self._looked > 2 * RENEW:
            self._seen.clear()
        self._looked = now
        leases = await self._leases()
        self._seen = {
            lease.metadata.name: (version, held[1] if held is not None and held[0] == version else now)
            for lease in leases
            for version in (lease.metadata.resource_version,)
            for held in (self._seen.get(lease.metadata.name),)
        }
        dead = [lease for lease in leases if lease.metadata.name != self._name and self._stands_still(lease, now)]
        for lease in dead:
            await self._forget(lease)
        gone = {lease.metadata.name for lease in dead}
        await self._publish([lease for lease in leases if lease.metadata.name not in gone])

    def _pause(self) -> float:
        """Until the next renewal, or until a lease may have run out, if that is sooner."""
        now = self._clock.monotonic()
        ends = [since + LIFE - now for name, (_, since) in self._seen.items() if name != self._name]
        return max(0.1, min([RENEW * (1 - 0.1 * self._rng.random()), *ends]))

    async def leave(self) -> None:
        """In an orderly end the address goes at once, if anybody else is there."""
        others = [lease for lease in await self._leases() if lease.metadata.name != self._name]
        if others:
            await self._publish(others)
            with suppress(NotFound):
                await self._api.delete(RequestContext(), _LEASES, NAMESPACE, self._name)

    def _stands_still(self, lease: coordination_v1.Lease, now: float) -> bool:
        return now - self._seen[lease.metadata.name][1] >= LIFE

    async def _leases(self) -> list[coordination_v1.Lease]:
        found = await self._api.list(RequestContext(), _LEASES, NAMESPACE, label_selector=SELECTOR)
        return [item.object for item in found.items]

    async def _renew(self) -> None:
        now = format_micro(self._clock.now())
        spec = coordination_v1.LeaseSpec(
            holder_identity=self._address, lease_duration_seconds=round(LIFE), acquire_time=now, renew_time=now
        )
        metadata = meta_v1.ObjectMeta(name=self._name, namespace=NAMESPACE, labels=dict(IDENTITY))
        await self._write(
            coordination_v1.Lease(metadata=metadata, spec=spec),
            lambda old: replace(old, spec=replace(spec, acquire_time=old.spec.acquire_time)),
        )

    async def _forget(self, lease: coordination_v1.Lease) -> None:
        """Unless it is renewed at this very moment."""
        log.warning("the API server at %s renews its lease no more", lease.spec.holder_identity)
        as_seen = meta_v1.Preconditions(resource_version=lease.metadata.resource_version)
        options = meta_v1.DeleteOptions(preconditions=as_seen)
        with suppress(NotFound, Conflict):
            await self._api.delete(RequestContext(), _LEASES, NAMESPACE, lease.metadata.name, options)

    async def _publish(self, leases: Sequence[coordination_v1.Lease]) -> None:
        addresses = sorted({lease.spec.holder_identity or "" for lease in leases} - {""})
        endpoints, piece = _endpoints(addresses, self._port), _slice(addresses, self._port)
        await self._write(endpoints, lambda old: replace(old, subsets=endpoints.subsets))
        await self._write(piece, lambda old: replace(old, endpoints=piece.endpoints, ports=piece.ports))

    async def _write(self, wanted: Any, mutate: Callable[[Any], Any]) -> None:
        """What is right already is not written."""
        resource, metadata = SCHEME.resource_of(wanted), wanted.metadata
        where = (RequestContext(), resource, metadata.namespace)
        try:
            await self._api.change(*where, metadata.name, mutate)
        except NotFound:
            try:
                await self._api.create(*where, wanted)
            except AlreadyExists:  # another server was quicker
                await self._api.change(*where, metadata.name, mutate)


def _endpoints(addresses: Sequence[str], port: int) -> core_v1.Endpoints:
    # Its slice is written beside it.
    labels = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    return core_v1.Endpoints(
        metadata=meta_v1.ObjectMeta(name=_SERVICE, namespace="default", labels=labels),
        subsets=[
            core_v1.EndpointSubset(
                addresses=[core_v1.EndpointAddress(ip=address) for address in addresses],
                ports=[core_v1.EndpointPort(name="https", port=port, protocol="TCP")],
            )
        ],
    )


def _slice(addresses: Sequence[str], port: int) -> discovery_v1.EndpointSlice:
    ready = discovery_v1.EndpointConditions(ready=True)
    return discovery_v1.EndpointSlice(
        metadata=meta_v1.ObjectMeta(
            name=_SERVICE, namespace="default", labels={"kubernetes.io/service-name": _SERVICE}
        ),
        address_type="IPv6" if ":" in addresses[0] else "IPv4",
        endpoints=[discovery_v1.Endpoint(addresses=[address], conditions=ready) for address in addresses],
        ports=[discovery_v1.EndpointPort(name="https", port=port, protocol="TCP")],
    )
