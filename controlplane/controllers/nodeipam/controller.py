"""Gives every node its spec.podCIDR. One worker, so that no two nodes get the same."""

from __future__ import annotations

from controlplane.controllers.nodeipam.plan import next_cidr
from controlplane.controllers.shared import Shared
from kubeapi.client.controller import Controller, Done, own_key
from kubeapi.client.keys import Key
from kubeapi.types.core_v1 import Node

COMPONENT = "cidrAllocator"
"""Who tells the events."""


class NodeIpam:
    _given: dict[str, str]
    """Node name to the part that we gave it and the cache may not show yet."""

    def __init__(self, shared: Shared, *, cluster_cidr: str) -> None:
        self._shared = shared
        self._cluster_cidr = cluster_cidr
        self._nodes = shared.informers.of(Node)
        self._given = {}
        self.controller: Controller[Key] = Controller(
            "nodeipam",
            self.reconcile,
            sources={self._nodes: own_key},
            clock=shared.clock,
            rng=shared.rng,
            metrics=shared.metrics,
        )

    async def reconcile(self, key: Key) -> Done:
        node = self._nodes.get(key)
        if node is None:
            self._given.pop(key.name, None)
            return Done()
        if node.spec.pod_cidr:
            self._given.pop(key.name, None)
            return Done()
        taken = {cidr for other in self._nodes.cache for cidr in [other.spec.pod_cidr, *other.spec.pod_cidrs] if cidr}
        taken |= {cidr for name, cidr in self._given.items() if name != key.name}
        cidr = self._given.get(key.name) or next_cidr(self._cluster_cidr, taken)
        if cidr is None:
            message = f"Node {node.metadata.name} status is now: CIDRNotAvailable"
            self._shared.events.named(COMPONENT).event(node, "Normal", "CIDRNotAvailable", message)
            return Done(requeue_after=30.0)
        self._given[key.name] = cidr
        await self._shared.client.patch(Node, key.name, {"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}})
        return Done()
