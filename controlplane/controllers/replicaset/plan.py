"""What one ReplicaSet needs, decided from what is known and nothing else.

    its pods ─► active ones ─► create or delete ─► status

New pods get names that no pod has had before: the shell draws them by chance.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from controlplane.controllers.pods import available_at, is_active, is_available, is_ready
from kubeapi.meta import set_condition, without_condition
from kubeapi.tasks import Backoff
from kubeapi.types.apps_v1 import ReplicaSet, ReplicaSetCondition, ReplicaSetStatus
from kubeapi.types.core_v1 import Pod

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
FREE_FAILURES, FAILED_LATELY = 10, 600.0
"""So many pods, and at least twice those wanted, may have failed in so many seconds until the next ones have to wait."""
FAILED_AGAIN = Backoff(first=1.0, most=300.0, jitter=0.0)
BURST = 500
"""Pods created or deleted at most in one visit."""


@dataclass(frozen=True, slots=True)
class ReplicaPlan:
    create: int
    delete: list[Pod]
    rest: float | None = None
    """Seconds until pods that are missing may be made: too many have failed."""


def plan(rs: ReplicaSet, own: Sequence[Pod], related: Sequence[Pod], now: datetime) -> ReplicaPlan:
    """`own` may hold terminating and finished pods; `related` are those of all sets of the same deployment."""
    active = [pod for pod in own if is_active(pod)]
    wanted = 1 if rs.spec.replicas is None else rs.spec.replicas
    missing = wanted - len(active)
    if missing > 0:
        wait = rest(wanted, own, now)
        return ReplicaPlan(0, [], wait) if wait > 0 else ReplicaPlan(min(missing, BURST), [])
    if missing == 0:
        return ReplicaPlan(0, [])
    crowds = Counter(pod.spec.node_name for pod in related if is_active(pod))
    ranked = sorted(active, key=lambda pod: deletion_rank(pod, crowds[pod.spec.node_name], now))
    return ReplicaPlan(0, ranked[: min(-missing, BURST)])


def rest(wanted: int, own: Sequence[Pod], now: datetime) -> float:
    """Seconds until failed pods may be replaced. Some are at once; but where a node refuses whatever it is sent, each round
    of new ones waits twice as long as the one before. The failed pods themselves tell: nothing is remembered."""
    failed = [pod for pod in own if pod.status.phase == "Failed" and (made := pod.metadata.creation_timestamp)
              and (now - made).total_seconds() < FAILED_LATELY]  # fmt: skip
    too_many = len(failed) - max(FREE_FAILURES, 2 * wanted)
    if too_many < 0:
        return 0.0
    newest = max(pod.metadata.creation_timestamp for pod in failed if pod.metadata.creation_timestamp is not None)
    return FAILED_AGAIN.delay(too_many // max(1, wanted), None) - (now - newest).total_seconds()


def deletion_rank(pod: Pod, crowd: int, now: datetime) -> tuple[object, ...]:
    """Smallest goes first: unbound, pending, unready, cheap, crowded, ready for a short time, restarted, young.

    Ages count by their magnitude only (powers of two), so that not always all of the newest go; the rest is chance (uid).
    """
    phases = {"Pending": 0, "": 1, "Unknown": 1, "Running": 2}
    ready = available_at(pod, 0)
    try:
        cost = int(pod.metadata.annotations.get(DELETION_COST, "0"))
    except ValueError:
        cost = 0
    return (
        pod.spec.node_name != "",
        phases.get(pod.status.phase, 2),
        ready is not None,
        cost,
        -crowd,
        _magnitude(ready, now) if ready is not None else 0,
        -max((c.restart_count for c in pod.status.container_statuses), default=0),
        _magnitude(pod.metadata.creation_timestamp, now),
        pod.metadata.uid,
    )


def _magnitude(since: datetime | None, now: datetime) -> int:
    age = (now - since).total_seconds() if since is not None else 0.0
    return int(math.log2(age)) + 1 if age >= 1 else 0


def status_of(rs: ReplicaSet, own: Sequence[Pod], failure: str, now: datetime) -> ReplicaSetStatus:
    active = [pod for pod in own if is_active(pod)]
    template = rs.spec.template.metadata.labels.items()
    conditions = without_condition(rs.status.conditions, "ReplicaFailure")
    if failure:
        condition = ReplicaSetCondition(type="ReplicaFailure", status="True", reason="FailedCreate", message=failure)
        conditions = set_condition(rs.status.conditions, condition, now)
    return ReplicaSetStatus(
        replicas=len(active),
        fully_labeled_replicas=sum(1 for p in active if template <= p.metadata.labels.items()),
        ready_replicas=sum(1 for p in active if is_ready(p)),
        available_replicas=sum(1 for p in active if is_available(p, rs.spec.min_ready_seconds, now)),
        terminating_replicas=rs.status.terminating_replicas,
        observed_generation=rs.metadata.generation,
        conditions=conditions,
    )


def next_available(rs: ReplicaSet, own: Sequence[Pod], now: datetime) -> float | None:
    """Seconds until another ready pod has been so for minReadySeconds."""
    if not rs.spec.min_ready_seconds:
        return None
    moments = [at for p in own if is_active(p) and (at := available_at(p, rs.spec.min_ready_seconds)) and at > now]
    return (min(moments) - now).total_seconds() + 0.001 if moments else None
