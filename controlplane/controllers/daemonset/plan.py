"""One pod on every node that suits: decided from what is known and nothing else.

    nodes ─► should run here? ─┬─ no pod ───────► create, bound to the node by affinity
    pods, by node ─────────────┼─ several ──────► the oldest stays (during a surge: one of each template)
                               └─ must not ─────► delete
    and on top, within maxUnavailable or maxSurge, pods of a former template are replaced.

A pod that fails is deleted and made again after a delay that doubles: a node that kills it at once is not hammered.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from controlplane.controllers.history import HASH
from controlplane.controllers.pods import available_at, is_available, is_ready, is_terminal
from kubeapi.meta import replace
from kubeapi.placement import selector_matches, untolerated
from kubeapi.types.apps_v1 import DaemonSet, DaemonSetStatus
from kubeapi.types.core_v1 import (
    Affinity,
    Node,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    Pod,
    PodSpec,
    Toleration,
)

_PREFIX = "node.kubernetes.io/"
_ALWAYS = (
    ("not-ready", "NoExecute"),
    ("unreachable", "NoExecute"),
    ("disk-pressure", "NoSchedule"),
    ("memory-pressure", "NoSchedule"),
    ("pid-pressure", "NoSchedule"),
    ("unschedulable", "NoSchedule"),
)
"""Taints that no daemon minds: it is wanted also on nodes in trouble."""


@dataclass(frozen=True, slots=True)
class DaemonPlan:
    create: list[str] = field(default_factory=list)
    """Names of nodes."""
    delete: list[Pod] = field(default_factory=list)
    failed: list[Pod] = field(default_factory=list)
    """Part of delete: those that have ended, and are to come back after a delay."""


def tolerations_of(spec: PodSpec) -> list[Toleration]:
    names = [*_ALWAYS, *([("network-unavailable", "NoSchedule")] if spec.host_network else [])]
    ours = [Toleration(key=_PREFIX + name, operator="Exists", effect=effect) for name, effect in names]
    return [*spec.tolerations, *(t for t in ours if t not in spec.tolerations)]


def spec_for(spec: PodSpec, node: str) -> PodSpec:
    """Bound to one node by affinity, so that the scheduler still checks whether it has room."""
    here = NodeSelectorRequirement(key="metadata.name", operator="In", values=[node])
    affinity = spec.affinity or Affinity()
    given = affinity.node_affinity or NodeAffinity()
    required = given.required_during_scheduling_ignored_during_execution
    terms = required.node_selector_terms if required is not None and required.node_selector_terms else [None]
    pinned = [
        replace(term, match_fields=[here]) if term is not None else NodeSelectorTerm(match_fields=[here])
        for term in terms
    ]
    wanted = replace(
        given, required_during_scheduling_ignored_during_execution=NodeSelector(node_selector_terms=pinned)
    )
    return replace(spec, affinity=replace(affinity, node_affinity=wanted), tolerations=tolerations_of(spec))


def wanted_on(daemons: DaemonSet, node: Node) -> tuple[bool, bool]:
    """Whether a pod should start on the node, and whether one that is there may stay."""
    spec = daemons.spec.template.spec
    if spec.node_name and spec.node_name != node.metadata.name:
        return False, False
    labels = node.metadata.labels.items()
    if not spec.node_selector.items() <= labels:
        return False, False
    affinity = spec.affinity.node_affinity if spec.affinity is not None else None
    if affinity is not None and not selector_matches(
        affinity.required_during_scheduling_ignored_during_execution, node
    ):
        return False, False
    tolerations = tolerations_of(spec)
    start = untolerated(tolerations, node.spec.taints, ("NoSchedule", "NoExecute")) is None
    return start, untolerated(tolerations, node.spec.taints, ("NoExecute",)) is None


def node_of(pod: Pod) -> str:
    """Where it runs, or is bound to go by affinity."""
    if pod.spec.node_name:
        return pod.spec.node_name
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity is not None else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity is not None else None
    for term in required.node_selector_terms if required is not None else []:
        for one in term.match_fields:
            if one.key == "metadata.name" and one.operator == "In" and len(one.values) == 1:
                return one.values[0]
    return ""


def by_node(pods: Sequence[Pod]) -> Mapping[str, list[Pod]]:
    found: dict[str, list[Pod]] = defaultdict(list)
    for pod in pods:
        found[node_of(pod)].append(pod)
    return found


def plan(daemons: DaemonSet, nodes: Sequence[Node], pods: Sequence[Pod], hash_: str, now: datetime) -> DaemonPlan:
    """`pods` are the set's own; `hash_` is that of its template's revision."""
    todo = DaemonPlan()
    there = by_node(pods)
    names = {node.metadata.name for node in nodes}
    unavailable, surge = bounds_of(daemons, sum(wanted_on(daemons, node)[0] for node in nodes))
    for node in nodes:
        start, stay = wanted_on(daemons, node)
        here = there.get(node.metadata.name, [])
        going = [p for p in here if p.metadata.deletion_timestamp is not None]
        alive = [p for p in here if p.metadata.deletion_timestamp is None]
        if not stay:
            todo.delete.extend(alive)
            continue
        ended = [p for p in alive if is_terminal(p)]
        todo.delete.extend(ended)
        todo.failed.extend(ended)
        running = sorted((p for p in alive if not is_terminal(p)), key=_keep_first)
        if not running:
            if start and not ended and (not going or surge):
                todo.create.append(node.metadata.name)
            continue
        todo.delete.extend(_duplicates(running, hash_, surge > 0, daemons, now))
    for name, stray in there.items():
        if name not in names:  # the node has gone; the pod garbage collector takes what it ran
            todo.delete.extend(p for p in stray if p.metadata.deletion_timestamp is None and not p.spec.node_name)
    if daemons.spec.update_strategy.type != "OnDelete":
        _update(daemons, nodes, there, hash_, (unavailable, surge), todo, now)
    return todo


def _keep_first(pod: Pod) -> tuple[object, ...]:
    created = pod.metadata.creation_timestamp
    return (not pod.spec.node_name, created.timestamp() if created else 0.0, pod.metadata.name)


def _duplicates(running: Sequence[Pod], hash_: str, surges: bool, daemons: DaemonSet, now: datetime) -> list[Pod]:
    """In a surge the old pod stays until the new one is available."""
    if not surges:
        return list(running[1:])
    new = [p for p in running if p.metadata.labels.get(HASH) == hash_]
    old = [p for p in running if p.metadata.labels.get(HASH) != hash_]
    replaced = bool(new) and is_available(new[0], daemons.spec.min_ready_seconds, now)
    return [*new[1:], *(old if replaced else old[1:])]


def bounds_of(daemons: DaemonSet, desired: int) -> tuple[int, int]:
    """maxUnavailable and maxSurge as numbers; percentages rounded up, and never both nothing."""

    def number(value: int | str | None, default: int) -> int:
        if value is None:
            return default
        return value if isinstance(value, int) else math.ceil(int(value.removesuffix("%") or 0) * desired / 100)

    rolling = daemons.spec.update_strategy.rolling_update
    surge = number(rolling.max_surge if rolling else None, 0)
    unavailable = number(rolling.max_unavailable if rolling else None, 0 if surge else 1)
    return (max(unavailable, 1) if not surge else unavailable), surge


def _update(
    daemons: DaemonSet,
    nodes: Sequence[Node],
    there: Mapping[str, list[Pod]],
    hash_: str,
    bounds: tuple[int, int],
    todo: DaemonPlan,
    now: datetime,
) -> None:
    """Adds to `todo` the pods of former templates that may be replaced now; those that serve nobody go first."""
    unavailable, surge = bounds
    doomed = {p.metadata.uid for p in todo.delete}
    down, surging = 0, 0
    idle: list[Pod] = []
    serving: list[Pod] = []
    for node in nodes:
        if not wanted_on(daemons, node)[0]:
            continue
        here = [
            p
            for p in there.get(node.metadata.name, [])
            if p.metadata.deletion_timestamp is None and p.metadata.uid not in doomed and not is_terminal(p)
        ]
        available = [p for p in here if is_available(p, daemons.spec.min_ready_seconds, now)]
        old = [p for p in here if p.metadata.labels.get(HASH) != hash_]
        down += not available
        if len(here) > len(old) and old:
            surging += 1
        elif old:
            (serving if available else idle).extend(old)
    if surge:
        for pod in [*idle, *serving][: max(0, surge - surging)]:
            todo.create.append(node_of(pod))
        return
    todo.delete.extend(idle)
    todo.delete.extend(serving[: max(0, unavailable - down)])


def status_of(
    daemons: DaemonSet, nodes: Sequence[Node], pods: Sequence[Pod], hash_: str, now: datetime
) -> DaemonSetStatus:
    there = by_node(pods)
    counts = {"desired": 0, "current": 0, "missed": 0, "ready": 0, "available": 0, "updated": 0}
    for node in nodes:
        here = [p for p in there.get(node.metadata.name, []) if p.metadata.deletion_timestamp is None]
        if not wanted_on(daemons, node)[0]:
            counts["missed"] += bool(here)
            continue
        counts["desired"] += 1
        if not here:
            continue
        counts["current"] += 1
        best = min(here, key=lambda p: (not is_ready(p), _keep_first(p)))
        counts["ready"] += is_ready(best)
        counts["available"] += is_available(best, daemons.spec.min_ready_seconds, now)
        counts["updated"] += any(p.metadata.labels.get(HASH) == hash_ for p in here)
    return replace(
        daemons.status,
        observed_generation=daemons.metadata.generation,
        desired_number_scheduled=counts["desired"],
        current_number_scheduled=counts["current"],
        number_misscheduled=counts["missed"],
        number_ready=counts["ready"],
        number_available=counts["available"],
        number_unavailable=counts["desired"] - counts["available"],
        updated_number_scheduled=counts["updated"],
    )


def next_available(daemons: DaemonSet, pods: Sequence[Pod], now: datetime) -> float | None:
    if not daemons.spec.min_ready_seconds:
        return None
    moments = [at for p in pods if (at := available_at(p, daemons.spec.min_ready_seconds)) and at > now]
    return (min(moments) - now).total_seconds() + 0.001 if moments else None
