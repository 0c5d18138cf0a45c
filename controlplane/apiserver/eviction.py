"""The eviction subresource: a delete that asks the pod's disruption budget first.

    pod that has ended, or waits to run ──────────────────────────────────────► delete
    pod ──► its one budget ──► judge (pure): free of charge ──────────────────► delete
                               one disruption, taken in the budget's status ──► mark the pod, delete
                               refused: 429, try again

The disruption is taken by compare-and-swap before the pod goes, and the pod is written into `disruptedPods`, so of two
evictions at one moment the second sees what the first has taken. The disruption controller gives it back when it sees
the pod gone, or after two minutes if it never went.

Source: the API-initiated eviction page of the Kubernetes documentation; KEP-3017 for unhealthy pods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.items import Item
from controlplane.apiserver.lifecycle import check_preconditions
from kubeapi.errors import Forbidden, TooManyRequests
from kubeapi.meta import is_true, replace, set_condition
from kubeapi.scheme import SCHEME, Resource
from kubeapi.selectors import label_query
from kubeapi.types import core_v1, meta_v1, policy_v1

if TYPE_CHECKING:
    from controlplane.apiserver.api import Api

RETRY = 10
"""Seconds a client should wait."""
MOST_DISRUPTED = 2000
"""Evictions on their way in one budget; more mean that its controller is not at work."""


async def evict(
    api: Api, ctx: RequestContext, resource: Resource, namespace: str, name: str, eviction: policy_v1.Eviction
) -> Item:
    """Deletes a pod unless its budget forbids it now. Raises TooManyRequests, Forbidden, NotFound, Conflict."""
    options = eviction.delete_options or meta_v1.DeleteOptions()
    held = await api.get(ctx, resource, namespace, name)
    pod: core_v1.Pod = held.object
    check_preconditions(resource, pod, options)
    # The pod that was judged is the pod that goes, not a namesake that has come since.
    options = replace(options, preconditions=meta_v1.Preconditions(uid=pod.metadata.uid))
    if not _free(pod):
        budget = await _budget_of(api, ctx, pod)
        if budget is not None and costs(budget, pod):
            await _take(api, ctx, budget, pod)
            if not ctx.dry_run:
                await api.change(ctx, resource, namespace, name, lambda old: _marked(api, old), whole=True)
    deleted = await api.delete(ctx, resource, namespace, name, options)
    return deleted.item


def _free(pod: core_v1.Pod) -> bool:
    """No budget counts it: it does not run yet, runs no more, or is on its way out."""
    return pod.status.phase in ("Pending", "Succeeded", "Failed") or pod.metadata.deletion_timestamp is not None


async def _budget_of(api: Api, ctx: RequestContext, pod: core_v1.Pod) -> policy_v1.PodDisruptionBudget | None:
    found = await api.list(ctx, _budgets(), pod.metadata.namespace)
    budgets = [
        item.object
        for item in found.items
        if item.object.spec.selector is not None and label_query(item.object.spec.selector).matches(pod.metadata.labels)
    ]
    if len(budgets) > 1:
        names = ", ".join(sorted(budget.metadata.name for budget in budgets))
        # Kubernetes answers 500 here; but no input of ours makes a server error.
        raise Forbidden(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support: " + names
        )
    return budgets[0] if budgets else None


def costs(budget: policy_v1.PodDisruptionBudget, pod: core_v1.Pod) -> bool:
    """Whether evicting `pod` takes a disruption. One that is not ready serves nobody, and may go free of charge."""
    if is_true(pod.status.conditions, "Ready"):
        return True
    if budget.spec.unhealthy_pod_eviction_policy == "AlwaysAllow":
        return False
    status = budget.status
    enough = status.current_healthy >= status.desired_healthy and status.desired_healthy > 0
    return not (enough and status.observed_generation >= budget.metadata.generation)


def charged(budget: policy_v1.PodDisruptionBudget, pod: core_v1.Pod, now: Any) -> policy_v1.PodDisruptionBudget:
    """The budget with one disruption taken for `pod`. Raises TooManyRequests when there is none to take."""
    name, status = budget.metadata.name, budget.status
    if status.observed_generation < budget.metadata.generation:
        raise _refused(name, f"The disruption budget {name} is still being processed by the server.")
    if len(status.disrupted_pods) > MOST_DISRUPTED:
        raise Forbidden(f"pod disruption budget {name}: DisruptedPods map too big - too many evictions not confirmed")
    if status.disruptions_allowed <= 0:
        raise _refused(
            name,
            f"The disruption budget {name} needs {status.desired_healthy} healthy pods and has "
            f"{status.current_healthy} currently",
        )
    disrupted = {**status.disrupted_pods, pod.metadata.name: now}
    allowed = status.disruptions_allowed - 1
    return replace(budget, status=replace(status, disruptions_allowed=allowed, disrupted_pods=disrupted))


def _refused(budget: str, why: str) -> TooManyRequests:
    cause = {"reason": "DisruptionBudget", "message": why}
    return TooManyRequests(
        "Cannot evict pod as it would violate the pod's disruption budget.",
        details={"name": budget, "causes": [cause]},
        retry_after=RETRY,
    )


async def _take(api: Api, ctx: RequestContext, budget: policy_v1.PodDisruptionBudget, pod: core_v1.Pod) -> None:
    namespace, name = budget.metadata.namespace, budget.metadata.name
    await api.change(ctx, _budgets(), namespace, name, lambda old: charged(old, pod, api.now()), subresource="status")


def _marked(api: Api, pod: core_v1.Pod) -> core_v1.Pod:
    why = core_v1.PodCondition(
        type="DisruptionTarget",
        status="True",
        reason="EvictionByEvictionAPI",
        message="Eviction API: evicting",
    )
    return replace(pod, status=replace(pod.status, conditions=set_condition(pod.status.conditions, why, api.now())))


def _budgets() -> Resource:
    return SCHEME.resource_of(policy_v1.PodDisruptionBudget)
