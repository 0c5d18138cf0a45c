"""How many pods of a PodDisruptionBudget may be disturbed now. Pure.

    pods ─► their controllers ─► expected ─► desired healthy ─┐
      └──► healthy ones ────────────────────────────────────► disruptionsAllowed

The API server takes from disruptionsAllowed with every eviction, and notes the pod in disruptedPods: it counts as
gone until it is seen to go, or until DISRUPTED_FOR has passed without that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from controlplane.controllers.pods import is_ready
from kubeapi.meta import controller_of, replace, set_condition
from kubeapi.types.core_v1 import Pod
from kubeapi.types.meta_v1 import Condition, OwnerReference
from kubeapi.types.policy_v1 import PodDisruptionBudget, PodDisruptionBudgetStatus

ALLOWED = "DisruptionAllowed"
DISRUPTED_FOR = timedelta(minutes=2)

Scale = Callable[[OwnerReference, str], int | None]
"""The size that a controller (in a namespace) wants; None where it is gone, or has no size."""


@dataclass(frozen=True, slots=True)
class BudgetPlan:
    status: PodDisruptionBudgetStatus
    problem: str = ""
    unmanaged: int = 0
    """Pods without a controller: they count for nothing where the budget is about parts of a whole."""
    look_again: float | None = None


def plan(budget: PodDisruptionBudget, pods: Sequence[Pod], scale_of: Scale, now: datetime) -> BudgetPlan:
    """`pods` are all that the budget selects."""
    disrupted = _still_disrupted(budget, pods, now)
    healthy = sum(
        1
        for pod in pods
        if is_ready(pod) and pod.metadata.deletion_timestamp is None and pod.metadata.name not in disrupted
    )
    unmanaged = 0
    try:
        if budget.spec.max_unavailable is not None:
            expected, unmanaged = _expected(budget, pods, scale_of)
            desired = max(0, expected - resolve(budget.spec.max_unavailable, expected))
        elif isinstance(budget.spec.min_available, str):
            expected, unmanaged = _expected(budget, pods, scale_of)
            desired = resolve(budget.spec.min_available, expected)
        else:
            expected, desired = len(pods), budget.spec.min_available or 0
    except LookupError as error:
        return BudgetPlan(_failed(budget, str(error), now), problem=str(error))
    allowed = healthy - desired if expected > 0 else 0
    status = replace(
        budget.status,
        current_healthy=healthy,
        desired_healthy=desired,
        expected_pods=expected,
        disruptions_allowed=max(0, allowed),
        disrupted_pods=disrupted,
        observed_generation=budget.metadata.generation,
    )
    reasons = ("True", "SufficientPods") if allowed > 0 else ("False", "InsufficientPods")
    condition = Condition(
        type=ALLOWED, status=reasons[0], reason=reasons[1], observed_generation=budget.metadata.generation
    )
    status = replace(status, conditions=set_condition(status.conditions, condition, now))
    again = [(since + DISRUPTED_FOR - now).total_seconds() for since in disrupted.values() if since is not None]
    return BudgetPlan(status, unmanaged=unmanaged, look_again=min(again, default=None))


def resolve(value: int | str, total: int) -> int:
    """A percentage is rounded up, for both kinds of budget."""
    return value if isinstance(value, int) else math.ceil(int(value.removesuffix("%") or 0) * total / 100)


def _expected(budget: PodDisruptionBudget, pods: Sequence[Pod], scale_of: Scale) -> tuple[int, int]:
    """The sizes of all controllers of the pods together. Raises LookupError for one whose size nobody knows."""
    owners: dict[str, int] = {}
    unmanaged = 0
    for pod in pods:
        ref = controller_of(pod)
        if ref is None:
            unmanaged += 1
        elif ref.uid not in owners:
            size = scale_of(ref, pod.metadata.namespace)
            if size is None:
                raise LookupError(f"{ref.kind} {ref.name!r} does not implement the scale subresource, or is gone")
            owners[ref.uid] = size
    return sum(owners.values()), unmanaged


def _still_disrupted(budget: PodDisruptionBudget, pods: Sequence[Pod], now: datetime) -> dict[str, datetime | None]:
    there = {pod.metadata.name: pod for pod in pods}
    return {
        name: since
        for name, since in budget.status.disrupted_pods.items()
        if name in there
        and there[name].metadata.deletion_timestamp is None
        and since is not None
        and since + DISRUPTED_FOR > now
    }


def _failed(budget: PodDisruptionBudget, problem: str, now: datetime) -> PodDisruptionBudgetStatus:
    """Nothing may be disturbed while nobody knows how many there ought to be."""
    generation = budget.metadata.generation
    condition = Condition(
        type=ALLOWED, status="False", reason="SyncFailed", message=problem, observed_generation=generation
    )
    return replace(
        budget.status,
        disruptions_allowed=0,
        observed_generation=generation,
        conditions=set_condition(budget.status.conditions, condition, now),
    )
