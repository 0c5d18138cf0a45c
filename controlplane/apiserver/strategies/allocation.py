"""Service addresses and node ports: each is an object in the store, made before its service and removed after it.

    take:  store.create(reservation) ── KeyExists: somebody has it, on this server or on another ──► next candidate
    give:  store.delete(reservation)
    repair (at the start, and every few minutes): reservations without a service go, services without one get theirs

The store decides, so any number of API servers may allocate at once. An address's reservation is the IPAddress object that
Kubernetes has for it; a node port's is a small object of ours. A server that dies between reservation and service leaves a
reservation behind: the repair removes it once it is older than any request can be.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from random import Random
from typing import Any

from msgspec import Struct, field

from controlplane.storage.errors import KeyExists, KeyMissing, RevisionConflict, StoreError
from controlplane.storage.interface import Store
from kubeapi import codec
from kubeapi.clock import Clock
from kubeapi.errors import InternalError
from kubeapi.meta import new_uid
from kubeapi.types import core_v1, meta_v1, networking_v1

log = logging.getLogger(__name__)

FIRST_PORT, LAST_PORT = 30000, 32767
DYNAMIC_FROM = 16
"""Addresses before this one of the range are left for those who ask for one by name (KEP-3070)."""
GUESSES = 8
"""Random candidates that are tried before the taken ones are read and a free one is picked."""
ABANDONED = timedelta(seconds=120)
"""A reservation of this age without a service was left behind by a server that died."""
ADDRESSES = "/registry/networking.k8s.io/ipaddresses/"
PORTS = "/registry/sampan.dev/nodeports/"


class NodePort(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Which service has this node port. Not served; its name is the port."""

    api_version: str = field(default_factory=lambda: "sampan.dev/v1")
    kind: str = field(default_factory=lambda: "NodePort")
    metadata: meta_v1.ObjectMeta = meta_v1.ObjectMeta()
    holder: str = ""


class Allocator:
    def __init__(self, *, store: Store, cidr: str, clock: Clock, rng: Random) -> None:
        self.network = ipaddress.ip_network(cidr)
        self._store = store
        self._clock = clock
        self._rng = rng

    # ------------------------------------------------------------------ addresses

    @property
    def first(self) -> str:
        """The address of the service `kubernetes`; never given to another."""
        return str(self.network[1])

    async def take_address(self, address: str, holder: core_v1.Service) -> bool:
        parent = networking_v1.ParentReference(
            resource="services", namespace=holder.metadata.namespace, name=holder.metadata.name
        )
        labels = {"ipaddress.kubernetes.io/ip-family": f"IPv{self.network.version}"}
        reservation = networking_v1.IPAddress(
            metadata=self._metadata(address, labels), spec=networking_v1.IPAddressSpec(parent_ref=parent)
        )
        taken = await self._take(ADDRESSES + address, codec.encode(reservation))
        # Every server makes the service `kubernetes` at its start: what another one began, this one may finish.
        owner = (holder.metadata.namespace, holder.metadata.name)
        return taken or (address == self.first and owner == ("default", "kubernetes"))

    async def any_address(self, holder: core_v1.Service, *, dry_run: bool = False) -> str:
        """Raises InternalError when the range is used up."""
        size = min(self.network.num_addresses, 1 << 20)
        first = DYNAMIC_FROM if size > 4 * DYNAMIC_FROM else 2
        for _ in range(GUESSES):
            candidate = str(self.network[self._rng.randrange(first, size - 1)])
            if dry_run:
                if await self._store.get(ADDRESSES + candidate) is None:
                    return candidate
            elif await self.take_address(candidate, holder):
                return candidate
        taken = await self._taken(ADDRESSES)
        for at in [*range(first, size - 1), *range(2, first)]:
            candidate = str(self.network[at])
            if candidate not in taken and (dry_run or await self.take_address(candidate, holder)):
                return candidate
        raise InternalError(f"no address is left in the service range {self.network}")

    async def address_is_taken(self, address: str) -> bool:
        return await self._store.get(ADDRESSES + address) is not None

    async def give_address(self, address: str) -> None:
        await self._give(ADDRESSES + address)

    # ------------------------------------------------------------------ node ports

    async def take_port(self, port: int, holder: core_v1.Service) -> bool:
        who = f"{holder.metadata.namespace}/{holder.metadata.name}"
        return await self._take(
            f"{PORTS}{port}", codec.encode(NodePort(metadata=self._metadata(str(port)), holder=who))
        )

    async def any_port(self, holder: core_v1.Service, *, dry_run: bool = False) -> int:
        """Raises InternalError when all are used up."""
        for _ in range(GUESSES):
            candidate = self._rng.randint(FIRST_PORT, LAST_PORT)
            if dry_run:
                if not await self.port_is_taken(candidate):
                    return candidate
            elif await self.take_port(candidate, holder):
                return candidate
        taken = await self._taken(PORTS)
        for candidate in range(FIRST_PORT, LAST_PORT + 1):
            if str(candidate) not in taken and (dry_run or await self.take_port(candidate, holder)):
                return candidate
        raise InternalError(f"no node port is left between {FIRST_PORT} and {LAST_PORT}")

    async def port_is_taken(self, port: int) -> bool:
        return await self._store.get(f"{PORTS}{port}") is not None

    async def give_port(self, port: int) -> None:
        await self._give(f"{PORTS}{port}")

    # ------------------------------------------------------------------ repair

    async def repair(self, services: Iterable[core_v1.Service]) -> None:
        """Makes reservations and services agree. `services` is every one that the store had when this was called."""
        wanted: dict[str, core_v1.Service] = {}
        for service in services:
            for address in addresses_of(service):
                wanted[ADDRESSES + address] = service
            for port in ports_of(service):
                wanted[f"{PORTS}{port}"] = service
        now = self._clock.now()
        held: set[str] = set()
        kinds: tuple[tuple[str, type[Any]], ...] = ((ADDRESSES, networking_v1.IPAddress), (PORTS, NodePort))
        for prefix, kind in kinds:
            for entry in (await self._store.range(prefix)).entries:
                held.add(entry.key)
                held_by: NodePort | networking_v1.IPAddress = codec.decode(kind, entry.value)
                made = held_by.metadata.creation_timestamp
                if entry.key not in wanted and (made is None or now - made > ABANDONED):
                    log.warning("%s belongs to no service: given back", entry.key)
                    await self._give(entry.key, at=entry.revision)
        for key, service in wanted.items():
            if key not in held:
                name = key.rpartition("/")[2]
                if key.startswith(ADDRESSES):
                    await self.take_address(name, service)
                else:
                    await self.take_port(int(name), service)

    # ------------------------------------------------------------------ the store

    def _metadata(self, name: str, labels: dict[str, str] | None = None) -> meta_v1.ObjectMeta:
        now: datetime = self._clock.now().replace(microsecond=0)
        return meta_v1.ObjectMeta(name=name, labels=labels or {}, uid=new_uid(self._rng), creation_timestamp=now)

    async def _taken(self, prefix: str) -> set[str]:
        return {entry.key.rpartition("/")[2] for entry in (await self._store.range(prefix)).entries}

    async def _take(self, key: str, value: bytes) -> bool:
        try:
            await self._store.create(key, value)
        except KeyExists:
            return False
        return True

    async def _give(self, key: str, *, at: int = 0) -> None:
        """Gone is gone; a store that cannot answer now leaves it to the repair."""
        try:
            if not at:
                held = await self._store.get(key)
                if held is None:
                    return
                at = held.revision
            await self._store.delete(key, at=at)
        except (KeyMissing, RevisionConflict):
            return
        except StoreError as error:
            log.warning("%s cannot be given back now (%s); the repair will", key, error)


def addresses_of(service: core_v1.Service) -> set[str]:
    return {ip for ip in service.spec.cluster_ips if ip != "None"}


def ports_of(service: core_v1.Service) -> set[int]:
    found = {p.node_port for p in service.spec.ports if p.node_port}
    return found | {service.spec.health_check_node_port} if service.spec.health_check_node_port else found
