"""Keeps the node's network in step with the cluster: peers, service rules and DNS records, gathered and told together."""

import asyncio
import logging
import re
from collections.abc import Sequence
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network

from kubeapi.client.informer import Informer
from kubeapi.clock import Clock
from kubeapi.types.core_v1 import Node, Service
from kubeapi.types.discovery_v1 import EndpointSlice
from node_agent.metrics import NodeMetrics
from node_agent.network.interface import Peer, PodNetwork
from node_agent.node_object import VTEP_MAC
from node_agent.service_plan import dns_records, service_ports

LAST_CHANGE = "endpoints.kubernetes.io/last-change-trigger-time"


class NetworkKeeper:
    def __init__(
        self,
        *,
        node: str,
        domain: str,
        nodes: Informer[Node],
        services: Informer[Service],
        slices: Informer[EndpointSlice],
        gather: float,
        verify: float,
        clock: Clock,
        metrics: NodeMetrics,
        log: logging.Logger,
    ) -> None:
        """Seconds: `gather` changes for so long before the network is told; `verify` that it is as it was left so often."""
        self._node, self._domain = node, domain
        self._nodes, self._services, self._slices = nodes, services, slices
        self._gather, self._verify = gather, verify
        self._clock, self._metrics, self._log = clock, metrics, log
        self._changed = asyncio.Event()
        self._measured = False
        self._unreadable: set[str] = set()
        self._triggers: list[datetime] = []
        """When the changes happened that the network has not followed yet, as far as endpoint slices tell."""

    def listen(self) -> None:
        for informer in (self._nodes, self._services, self._slices):
            informer.subscribe(lambda old, new: self._changed.set())
        self._slices.subscribe(self._note_trigger)

    def measure(self) -> None:
        """From now on: what was there before us does not tell how fast we are."""
        self._measured = True

    async def keep(self, network: PodNetwork) -> None:
        for informer in (self._nodes, self._services, self._slices):
            await informer.synced.wait()
        self._changed.set()
        while True:
            try:
                async with asyncio.timeout(self._verify):
                    await self._changed.wait()
            except TimeoutError:
                if await network.verify():
                    continue
                self._log.warning("the node's network is not as it was left: setting it up again")
                await network.setup()
            await asyncio.sleep(self._gather)
            self._changed.clear()
            triggers, self._triggers = self._triggers, []
            try:
                with self._metrics.programming():
                    await network.set_peers(self._peers())
                    services, slices = list(self._services.cache), list(self._slices.cache)
                    await network.set_services(service_ports(services, slices, node=self._node))
                    await network.set_dns(dns_records(services, slices, domain=self._domain))
            except BaseException:
                self._triggers = [*triggers, *self._triggers]
                self._changed.set()
                raise
            for trigger in triggers:
                self._metrics.programmed((self._clock.now() - trigger).total_seconds())

    def _peers(self) -> list[Peer]:
        nodes = list(self._nodes.cache)
        peers = peers_of(nodes, self._node)
        told = {n.metadata.name for n in nodes if VTEP_MAC in n.metadata.annotations and n.spec.pod_cidr}
        if (unreadable := told - {self._node, *(p.node for p in peers)}) - self._unreadable:
            names = ", ".join(sorted(unreadable))
            self._log.warning("no way to pods of %s: the address, podCIDR or %s cannot be read", names, VTEP_MAC)
        self._unreadable = unreadable
        return peers

    def _note_trigger(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        text = new.metadata.annotations.get(LAST_CHANGE, "") if new is not None else ""
        if not text or not self._measured:
            return
        if old is not None and old.metadata.annotations.get(LAST_CHANGE) == text:
            return
        try:
            self._triggers.append(datetime.fromisoformat(text.replace("Z", "+00:00")))
        except ValueError:
            self._log.debug("endpoint slice with an unreadable time of change: %s", text)


def peers_of(nodes: Sequence[Node], me: str) -> list[Peer]:
    """The other nodes that have all the overlay needs to know, and have it so that it can be read: what one node says of
    itself is not to keep this one from all others."""
    peers = []
    for node in nodes:
        mac = node.metadata.annotations.get(VTEP_MAC, "")
        address = next((a.address for a in node.status.addresses if a.type == "InternalIP"), "")
        if (
            node.metadata.name != me
            and _MAC.fullmatch(mac)
            and _is_address(address)
            and _is_network(node.spec.pod_cidr)
        ):
            peers.append(Peer(node.metadata.name, node.spec.pod_cidr, address, mac))
    return sorted(peers, key=lambda peer: peer.node)


_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


def _is_address(text: str) -> bool:
    try:
        return bool(IPv4Address(text))
    except ValueError:
        return False


def _is_network(text: str) -> bool:
    try:
        return bool(IPv4Network(text))
    except ValueError:
        return False
