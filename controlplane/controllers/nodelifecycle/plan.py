"""What a node's silence means, and which of its pods have to leave when: decided without I/O.

    silence >= grace ─► conditions Unknown ─► taints not-ready / unreachable ─► pods not Ready, evicted as they tolerate

Silence is measured by our own clock, from the moment we saw the last sign of life: no two clocks are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from kubeapi.meta import get_condition, replace
from kubeapi.placement import tolerates
from kubeapi.types.core_v1 import Node, NodeCondition, Pod, PodCondition, Taint

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
PRESSURE = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
DEFAULT_TOLERATION = 300
"""Seconds that the API server lets pods tolerate a lost node when they say nothing of it; the cluster's own eviction
time stands in for it."""


def conditions_of(node: Node, silent: bool, now: datetime) -> list[NodeCondition]:
    """Of a silent node all are Unknown; of any other they are its agent's to write."""
    conditions = list(node.status.conditions)
    if not silent:
        return conditions
    for type_ in CONDITIONS:
        old = get_condition(conditions, type_)
        if old is None:
            reason, message = "NodeStatusNeverUpdated", "The node's agent never posted node status."
            new = NodeCondition(type=type_, status="Unknown", reason=reason, message=message, last_transition_time=now)
            conditions.append(new)
        elif old.status != "Unknown":
            new = replace(
                old,
                status="Unknown",
                reason="NodeStatusUnknown",
                message="The node's agent stopped posting node status.",
                last_transition_time=now,
            )
            conditions[conditions.index(old)] = new
    return conditions


def taints_of(node: Node, conditions: Sequence[NodeCondition], now: datetime) -> list[Taint]:
    """Ours follow the conditions; all others stay. A taint that stays keeps the time at which it was added."""
    ready = get_condition(conditions, "Ready")
    wanted: list[tuple[str, str]] = []
    if ready is None or ready.status == "False":
        wanted += [(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]
    elif ready.status == "Unknown":
        wanted += [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]
    for type_, key in PRESSURE.items():
        condition = get_condition(conditions, type_)
        if condition is not None and condition.status == "True":
            wanted.append((key, "NoSchedule"))
    if node.spec.unschedulable:
        wanted.append((UNSCHEDULABLE, "NoSchedule"))
    ours = {NOT_READY, UNREACHABLE, UNSCHEDULABLE, *PRESSURE.values()}
    kept = [t for t in node.spec.taints if t.key not in ours or (t.key, t.effect) in wanted]
    has = {(t.key, t.effect) for t in kept}
    return kept + [Taint(key=k, effect=e, time_added=now) for k, e in wanted if (k, e) not in has]


def unready(pod: Pod, now: datetime) -> Pod | None:
    """The pod as its lost node can no longer say it; None when it is not Ready anyway."""
    old = get_condition(pod.status.conditions, "Ready")
    if old is None or old.status != "True":
        return None
    new: PodCondition = replace(old, status="False", reason="NodeNotReady", last_transition_time=now)
    conditions = [new if c is old else c for c in pod.status.conditions]
    return replace(pod, status=replace(pod.status, conditions=conditions))


@dataclass(frozen=True, slots=True)
class Eviction:
    pods: list[Pod]
    force: bool
    """Somebody has said that the node is out of service: nobody will ever end these pods."""
    look_again: float | None
    """Seconds until the next pod has to leave."""


def plan_eviction(
    node: Node,
    pods: Sequence[Pod],
    now: datetime,
    *,
    default_toleration: float | None,
    suspended: bool,
    patience: float = 0.0,
) -> Eviction:
    """`suspended`: no node at all is ready, so the fault is likely ours: silence evicts nobody then.
    `patience`: for so many seconds from now a lost node may have come back unheard; whose time has run out waits for that.
    """
    taints = [t for t in node.spec.taints if t.effect == "NoExecute"]
    if suspended:
        taints = [t for t in taints if t.key not in (NOT_READY, UNREACHABLE)]
    due: list[Pod] = []
    later: list[float] = []
    for pod in pods:
        if pod.metadata.deletion_timestamp is not None or pod.status.phase in ("Succeeded", "Failed"):
            continue
        moment = _leaves_at(pod, taints, now, default_toleration, patience)
        if moment is None:
            continue
        if moment <= now:
            due.append(pod)
        else:
            later.append((moment - now).total_seconds())
    force = any(t.key == OUT_OF_SERVICE for t in taints)
    return Eviction(due, force, min(later) if later else None)


def _leaves_at(
    pod: Pod, taints: Sequence[Taint], now: datetime, default_toleration: float | None, patience: float
) -> datetime | None:
    """None: it may stay. The shortest toleration of all taints counts, from when both the taint and the pod were there."""
    found: datetime | None = None
    for taint in taints:
        tolerations = [t for t in pod.spec.tolerations if tolerates(t, taint)]
        limits = [t.toleration_seconds for t in tolerations if t.toleration_seconds is not None]
        if tolerations and not limits:
            continue
        seconds = float(min(limits)) if limits else 0.0
        lost = taint.key in (NOT_READY, UNREACHABLE)
        if lost and default_toleration is not None and seconds == DEFAULT_TOLERATION:
            seconds = default_toleration
        since = max(filter(None, (taint.time_added or now, pod.metadata.creation_timestamp)))
        moment = since + timedelta(seconds=max(0.0, seconds))
        if lost:
            moment = max(moment, now + timedelta(seconds=patience))
        found = moment if found is None else min(found, moment)
    return found
