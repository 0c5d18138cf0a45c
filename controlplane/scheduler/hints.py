"""Which change of the cluster may help which refused pod: a table, refined by a look at what has changed.

A wrong yes costs one needless attempt; a wrong no would keep a pod waiting for minutes. So where nothing certain is
known the answer is yes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from controlplane.scheduler.requests import units
from controlplane.scheduler.shape import Shape
from controlplane.scheduler.static import HARD
from controlplane.scheduler.terms import kind_of
from kubeapi.placement import selector_matches
from kubeapi.types.core_v1 import Node, Pod


class What(Enum):
    NODE_ADDED = "NodeAdd"
    NODE_ROOM = "NodeAllocatableUpdate"
    NODE_LABELS = "NodeLabelUpdate"
    NODE_TAINTS = "NodeTaintUpdate"
    """Taints or spec.unschedulable."""
    NODE_GONE = "NodeDelete"
    POD_PLACED = "AssignedPodAdd"
    """Or its labels have changed."""
    POD_GONE = "AssignedPodDelete"
    """Or it has ended, or begun to."""
    VOLUMES = "VolumeUpdate"
    """A claim, a volume or a class."""
    NAMESPACES = "NamespaceUpdate"


NODES = frozenset({What.NODE_ADDED, What.NODE_LABELS, What.NODE_TAINTS})
HELPS: Mapping[str, frozenset[What]] = {
    "NodeUnschedulable": frozenset({What.NODE_ADDED, What.NODE_TAINTS}),
    "TaintToleration": frozenset({What.NODE_ADDED, What.NODE_TAINTS}),
    "NodeAffinity": frozenset({What.NODE_ADDED, What.NODE_LABELS}),
    "NodePorts": frozenset({What.NODE_ADDED, What.POD_GONE}),
    "NodeResourcesFit": frozenset({What.NODE_ADDED, What.NODE_ROOM, What.POD_GONE}),
    "VolumeBinding": frozenset({What.NODE_ADDED, What.NODE_LABELS, What.VOLUMES}),
    "PodTopologySpread": NODES | {What.NODE_GONE, What.POD_PLACED, What.POD_GONE},
    "InterPodAffinity": NODES | {What.POD_PLACED, What.POD_GONE, What.NAMESPACES},
}
"""By the name of the filter that objected."""


@dataclass(frozen=True, slots=True)
class Change:
    what: What
    node: Node | None = None
    pod: Pod | None = None
    freed: Mapping[str, int] | None = None
    """Resource to units that a pod's going leaves."""


@dataclass(frozen=True, slots=True)
class Why:
    """What stands in a pod's way. Pods that wait for the same reason are asked about once."""

    plugins: frozenset[str] = frozenset()
    """Empty: not known, or there are no nodes; then any change may help."""
    shape: Shape | None = None
    short: frozenset[str] = frozenset()
    """Resources of which some node has too little."""


def helps(why: Why, change: Change) -> bool:
    if not why.plugins:
        return True
    return any(
        change.what in HELPS.get(plugin, frozenset(What))
        and (why.shape is None or plugin not in REFINED or REFINED[plugin](why, why.shape, change))
        for plugin in why.plugins
    )


def _room(why: Why, shape: Shape, change: Change) -> bool:
    if change.freed is not None and why.short:
        return any(change.freed.get(name, 0) > 0 for name in why.short)
    if change.node is not None:
        amounts = change.node.status.allocatable or change.node.status.capacity
        return all(units(n, amounts.get(n, 0)) >= amount for n, amount in shape.request.amounts.items())
    return True


def _cordon(why: Why, shape: Shape, change: Change) -> bool:
    return change.node is None or not change.node.spec.unschedulable


def _taints(why: Why, shape: Shape, change: Change) -> bool:
    return change.node is None or not any(t.effect in HARD and not shape.tolerates(t) for t in change.node.spec.taints)


def _affinity(why: Why, shape: Shape, change: Change) -> bool:
    if change.node is None:
        return True
    labels = change.node.metadata.labels
    return all(labels.get(k) == v for k, v in shape.node_selector.items()) and selector_matches(
        shape.required, change.node
    )


def _ports(why: Why, shape: Shape, change: Change) -> bool:
    if change.pod is None:
        return True
    return any(p.host_port for c in change.pod.spec.containers for p in c.ports)


def _spread(why: Why, shape: Shape, change: Change) -> bool:
    if change.pod is None:
        return True
    meta = change.pod.metadata
    return any(meta.namespace in s.term.namespaces and s.term.query.matches(meta.labels) for s in shape.hard)


def _pods(why: Why, shape: Shape, change: Change) -> bool:
    """A pod that comes may be one to be near to; one that goes may be one to keep apart from, or that kept apart."""
    pod = change.pod
    if pod is None:
        return True
    terms = shape.near
    if change.what is What.POD_GONE:
        if pod.spec.affinity is not None and pod.spec.affinity.pod_anti_affinity is not None:
            return True
        terms = shape.apart
    kind, labels = kind_of(pod), pod.metadata.labels
    return any(t.namespace_query is not None or t.selects(kind, labels, {}) for t, _ in terms)


REFINED: Mapping[str, Callable[[Why, Shape, Change], bool]] = {
    "NodeResourcesFit": _room,
    "NodeUnschedulable": _cordon,
    "TaintToleration": _taints,
    "NodeAffinity": _affinity,
    "NodePorts": _ports,
    "PodTopologySpread": _spread,
    "InterPodAffinity": _pods,
}
