"""Evictions and disruption budgets: nobody gets more than the budget has, and what costs nothing always goes."""

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest

from controlplane.apiserver.api import Api
from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.clock import SystemClock
from kubeapi.errors import ApiError, Conflict, Forbidden, NotFound, TooManyRequests
from kubeapi.meta import replace
from kubeapi.scheme import SCHEME
from kubeapi.types import core_v1, meta_v1, policy_v1

PODS, BUDGETS = SCHEME.resource_of(core_v1.Pod), SCHEME.resource_of(policy_v1.PodDisruptionBudget)
CTX = RequestContext()


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with api_core(store=EmbeddedStore(), clock=SystemClock(), rng=Random(7)) as core:
        yield core


async def running(api: Api, name: str, *, ready: bool = True) -> None:
    pod = core_v1.Pod(
        metadata=meta_v1.ObjectMeta(name=name, labels={"app": "web"}),
        # Bound, so that its deletion has a grace period and it stays to be looked at.
        spec=core_v1.PodSpec(node_name="n", containers=[core_v1.Container(name="c", image="busybox:1")]),
    )
    made = (await api.create(CTX, PODS, "default", pod)).object
    condition = core_v1.PodCondition(type="Ready", status="True" if ready else "False")
    status = core_v1.PodStatus(phase="Running", conditions=[condition])
    await api.update(CTX, PODS, "default", name, replace(made, status=status), subresource="status")


async def budget(api: Api, name: str = "b", *, allowed: int, healthy: int = 3, policy: str | None = None) -> None:
    selector = meta_v1.LabelSelector(match_labels={"app": "web"})
    spec = policy_v1.PodDisruptionBudgetSpec(selector=selector, min_available=2, unhealthy_pod_eviction_policy=policy)
    wanted = policy_v1.PodDisruptionBudget(metadata=meta_v1.ObjectMeta(name=name), spec=spec)
    made = (await api.create(CTX, BUDGETS, "default", wanted)).object
    status = policy_v1.PodDisruptionBudgetStatus(
        observed_generation=made.metadata.generation,
        disruptions_allowed=allowed,
        current_healthy=healthy,
        desired_healthy=2,
        expected_pods=3,
    )
    await api.update(CTX, BUDGETS, "default", name, replace(made, status=status), subresource="status")


async def evict(api: Api, name: str, ctx: RequestContext = CTX, **options: object) -> None:
    wish = policy_v1.Eviction(delete_options=meta_v1.DeleteOptions(**options) if options else None)
    await api.create(ctx, PODS, "default", wish, name=name, subresource="eviction")


async def pod_of(api: Api, name: str) -> core_v1.Pod:
    found: core_v1.Pod = (await api.get(CTX, PODS, "default", name)).object
    return found


async def status_of(api: Api, name: str = "b") -> policy_v1.PodDisruptionBudgetStatus:
    found: policy_v1.PodDisruptionBudget = (await api.get(CTX, BUDGETS, "default", name)).object
    return found.status


async def test_an_eviction_takes_a_disruption_and_marks_the_pod(api: Api) -> None:
    await running(api, "a")
    await budget(api, allowed=1)
    await evict(api, "a")
    pod, status = await pod_of(api, "a"), await status_of(api)
    assert pod.metadata.deletion_timestamp is not None
    assert ("DisruptionTarget", "EvictionByEvictionAPI") in [(c.type, c.reason) for c in pod.status.conditions]
    assert (status.disruptions_allowed, list(status.disrupted_pods)) == (0, ["a"])


async def test_of_evictions_at_one_moment_as_many_pass_as_the_budget_has(api: Api) -> None:
    for name in "abcde":
        await running(api, name)
    await budget(api, allowed=2, healthy=4)
    done = await asyncio.gather(*(evict(api, name) for name in "abcde"), return_exceptions=True)
    assert [type(d) for d in done].count(type(None)) == 2
    refusals = [d for d in done if isinstance(d, ApiError)]
    assert len(refusals) == 3 and all(isinstance(d, TooManyRequests) and d.retry_after == 10 for d in refusals)
    assert refusals[0].details["causes"][0]["message"] == (
        "The disruption budget b needs 2 healthy pods and has 4 currently"
    )
    going = [name for name in "abcde" if (await pod_of(api, name)).metadata.deletion_timestamp is not None]
    assert len(going) == 2 and set((await status_of(api)).disrupted_pods) == set(going)


async def test_a_budget_that_its_controller_has_not_seen_yet_refuses(api: Api) -> None:
    await running(api, "a")
    await budget(api, allowed=1)
    await api.change(CTX, BUDGETS, "default", "b", lambda b: replace(b, spec=replace(b.spec, min_available=1)))
    with pytest.raises(TooManyRequests) as refused:
        await evict(api, "a")
    assert "still being processed" in refused.value.details["causes"][0]["message"]


@pytest.mark.parametrize(
    ("healthy", "policy", "passes"),
    [(2, None, True), (1, None, False), (1, "AlwaysAllow", True), (1, "IfHealthyBudget", False)],
)
async def test_a_pod_that_is_not_ready_goes_free_when_enough_others_are_or_always_if_so_told(
    api: Api, healthy: int, policy: str | None, passes: bool
) -> None:
    await running(api, "sick", ready=False)
    await budget(api, allowed=0, healthy=healthy, policy=policy)
    if passes:
        await evict(api, "sick")
        assert (await status_of(api)).disrupted_pods == {}
    else:
        with pytest.raises(TooManyRequests):
            await evict(api, "sick")


async def test_two_budgets_over_one_pod_are_refused_by_name(api: Api) -> None:
    await running(api, "a")
    await budget(api, "one", allowed=1)
    await budget(api, "two", allowed=1)
    with pytest.raises(Forbidden, match="one, two"):
        await evict(api, "a")


async def test_what_is_refused_or_only_tried_costs_nothing(api: Api) -> None:
    await running(api, "a")
    await budget(api, allowed=1)
    with pytest.raises(Conflict, match="UID"):
        await evict(api, "a", preconditions=meta_v1.Preconditions(uid="another"))
    await evict(api, "a", replace(CTX, dry_run=True))
    assert (await status_of(api)).disruptions_allowed == 1
    assert (await pod_of(api, "a")).metadata.deletion_timestamp is None


async def test_a_pod_that_does_not_run_is_deleted_whatever_the_budget(api: Api) -> None:
    pod = core_v1.Pod(
        metadata=meta_v1.ObjectMeta(name="a", labels={"app": "web"}),
        spec=core_v1.PodSpec(containers=[core_v1.Container(name="c", image="busybox:1")]),
    )
    await api.create(CTX, PODS, "default", pod)
    await budget(api, allowed=0)
    await evict(api, "a")
    with pytest.raises(NotFound):
        await pod_of(api, "a")
