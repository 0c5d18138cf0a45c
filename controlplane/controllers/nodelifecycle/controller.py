"""Listens for the nodes' heartbeats (their leases) and carries out what their silence means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Literal

from controlplane.controllers.nodelifecycle.hearing import Hearing
from controlplane.controllers.nodelifecycle.metrics import Nodes
from controlplane.controllers.nodelifecycle.plan import conditions_of, plan_eviction, taints_of, unready
from controlplane.controllers.shared import Shared
from kubeapi.client.controller import Controller, Done, own_key
from kubeapi.client.keys import Key, by_node
from kubeapi.errors import Conflict, NotFound, ServiceUnavailable, Timeout, TooManyRequests
from kubeapi.meta import get_condition, is_true, replace
from kubeapi.types.coordination_v1 import Lease
from kubeapi.types.core_v1 import Node, Pod

LEASES = "kube-node-lease"
GRACE = 40.0

COMPONENT = "node-controller"
"""Who tells the events."""


class NodeLifecycle:
    _heard: dict[str, tuple[tuple[str, datetime | None], float]]
    """Node name to its last sign of life, and when, by our own clock, we saw it first."""
    _taints: dict[str, dict[tuple[str, str, str], datetime]]
    """By node, since when each taint (key, value, effect) is known."""
    _registered: dict[str, Node]
    """As we saw them last: what their going is told about."""
    _unreadied: dict[str, set[str]]
    """By node, the UIDs of pods that we have told to be not Ready since it was last ready itself. Each once: when its
    agent says otherwise, it speaks again and knows better, and who went on arguing would make both write without end.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        grace: float = GRACE,
        pod_eviction: float | None = None,
        show: Callable[[Nodes], None] = lambda nodes: None,
    ) -> None:
        """`show` is given what tells all nodes: for metrics, which count them by zone."""
        self._shared = shared
        self._client = shared.client
        self._grace = grace
        self._pod_eviction = pod_eviction
        self._nodes = shared.informers.of(Node)
        self._leases = shared.informers.of(Lease)
        self._pods = shared.informers.of(Pod, {"node": by_node})
        self._heard, self._taints, self._registered, self._unreadied = {}, {}, {}, {}
        self._hearing = Hearing(shared.clock, grace)
        show(lambda: self._nodes.cache)
        self.controller: Controller[Key] = Controller(
            "nodelifecycle",
            self.reconcile,
            sources={self._nodes: own_key, self._leases: _key_of_lease, self._pods: _key_of_pod},
            clock=shared.clock,
            rng=shared.rng,
            metrics=shared.metrics,
            workers=4,
        )

    async def reconcile(self, key: Key) -> Done:
        self._hearing.outages(self._leases.outages)
        try:
            return await self._look_after(key)
        except (ServiceUnavailable, Timeout, TooManyRequests):
            self._hearing.refused()
            raise

    async def _look_after(self, key: Key) -> Done:
        node = self._nodes.get(key)
        if node is None:
            self._heard.pop(key.name, None)
            self._taints.pop(key.name, None)
            self._unreadied.pop(key.name, None)
            if (gone := self._registered.pop(key.name, None)) is not None:
                message = f"Node {key.name} event: Removing Node {key.name} from Controller"
                self._tell(gone, "Normal", "RemovingNode", message)
            return Done()
        if key.name not in self._registered:
            self._tell(
                node, "Normal", "RegisteredNode", f"Node {key.name} event: Registered Node {key.name} in Controller"
            )
        self._registered[key.name] = node
        silence = self._silence(node)
        now = self._shared.clock.now().replace(microsecond=0)
        node = await self._judge(node, silence >= self._grace, now)
        pods = self._pods.cache.by("node", key.name)
        if is_true(node.status.conditions, "Ready"):
            self._unreadied.pop(key.name, None)
        else:
            await self._unready(key.name, pods, now)
        again = await self._evict(node, pods)
        waits = [again] if again is not None else []
        if silence < self._grace:
            waits.append(self._grace - silence)
        return Done(requeue_after=max(0.01, min(waits)) if waits else None)

    def _silence(self, node: Node) -> float:
        lease = self._leases.cache.find(node.metadata.name, LEASES)
        renewed = (lease.spec.renew_time or "") if lease is not None else ""
        ready = get_condition(node.status.conditions, "Ready")
        agent = ready is not None and ready.status != "Unknown"
        sign = (renewed, ready.last_heartbeat_time if ready is not None and agent else None)
        now = self._shared.clock.monotonic()
        known = self._heard.get(node.metadata.name)
        if known is None or (known[0] != sign and not self._is_our_own_doing(known[0], sign)):
            if known is not None:
                self._hearing.voice()
            self._heard[node.metadata.name] = known = (sign, now)
        return min(now - known[1], self._hearing.seconds())

    @staticmethod
    def _is_our_own_doing(old: tuple[str, datetime | None], new: tuple[str, datetime | None]) -> bool:
        """That we wrote Unknown over the agent's condition is no sign of life."""
        return old[0] == new[0] and new[1] is None

    async def _judge(self, node: Node, silent: bool, now: datetime) -> Node:
        conditions = conditions_of(node, silent, now)
        if conditions != node.status.conditions:
            status = replace(node.status, conditions=conditions)
            node = await self._client.update(replace(node, status=status), subresource="status")
            self._tell(node, "Normal", "NodeNotReady", f"Node {node.metadata.name} status is now: NodeNotReady")
        taints = taints_of(node, node.status.conditions, now)
        if taints != node.spec.taints:
            node = await self._client.update(replace(node, spec=replace(node.spec, taints=taints)))
        return node

    async def _unready(self, node: str, pods: list[Pod], now: datetime) -> None:
        told = self._unreadied.setdefault(node, set())
        told.intersection_update(pod.metadata.uid for pod in pods)
        for pod in pods:
            lost = unready(pod, now) if pod.metadata.uid not in told else None
            if lost is not None:
                with suppress(NotFound, Conflict):
                    await self._client.update(lost, subresource="status")
                    told.add(pod.metadata.uid)
                    self._tell(pod, "Warning", "NodeNotReady", "Node is not ready")

    def _tell(self, about: Node | Pod, severity: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        self._shared.events.named(COMPONENT).event(about, severity, reason, message)

    def _dated(self, node: Node) -> Node:
        """Taints that people put carry no time: what counts is when we first saw them."""
        known = self._taints.get(node.metadata.name, {})
        now = self._shared.clock.now()
        seen: dict[tuple[str, str, str], datetime] = {}
        taints = []
        for taint in node.spec.taints:
            key = (taint.key, taint.value, taint.effect)
            seen[key] = taint.time_added or known.get(key, now)
            taints.append(replace(taint, time_added=seen[key]))
        self._taints[node.metadata.name] = seen
        return replace(node, spec=replace(node.spec, taints=taints))

    async def _evict(self, node: Node, pods: list[Pod]) -> float | None:
        todo = plan_eviction(
            self._dated(node),
            pods,
            self._shared.clock.now(),
            default_toleration=self._pod_eviction,
            suspended=not any(is_true(n.status.conditions, "Ready") for n in self._nodes.cache),
            patience=self._hearing.patience(),
        )

        async def evict(pod: Pod) -> None:
            name, namespace = pod.metadata.name, pod.metadata.namespace
            grace = 0 if todo.force else None
            with suppress(NotFound, Conflict):
                await self._client.delete(Pod, name, namespace, grace_seconds=grace, uid=pod.metadata.uid)
                message = f"Marking for deletion Pod {namespace}/{name}"
                taints = self._shared.events.named("taint-eviction-controller")
                taints.event(pod, "Normal", "TaintManagerEviction", message)

        await asyncio.gather(*(evict(pod) for pod in todo.pods))
        return todo.look_again


def _key_of_lease(lease: Lease) -> Key | None:
    return Key("", lease.metadata.name) if lease.metadata.namespace == LEASES else None


def _key_of_pod(pod: Pod) -> Key | None:
    return Key("", pod.spec.node_name) if pod.spec.node_name else None
