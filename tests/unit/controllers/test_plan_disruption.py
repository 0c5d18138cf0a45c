"""What a PodDisruptionBudget allows."""

from __future__ import annotations

from datetime import timedelta

import pytest

from controlplane.controllers.disruption.plan import plan
from kubeapi.meta import get_condition, replace
from kubeapi.types import core_v1, meta_v1, policy_v1
from tests.support.make import NOW, make_pod, make_replicaset, meta

SET = make_replicaset(replicas=4)


def budget(*, least: int | str | None = None, most: int | str | None = None) -> policy_v1.PodDisruptionBudget:
    return policy_v1.PodDisruptionBudget(
        metadata=meta("b", generation=3),
        spec=policy_v1.PodDisruptionBudgetSpec(
            min_available=least, max_unavailable=most, selector=meta_v1.LabelSelector(match_labels={"app": "web"})
        ),
    )


def pods(ready: int, unready: int = 0) -> list[core_v1.Pod]:
    return [make_pod(f"p{n}", owner=SET, phase="Running", ready=n < ready) for n in range(ready + unready)]


def scale(ref: meta_v1.OwnerReference, namespace: str) -> int | None:
    return 4 if ref.uid == SET.metadata.uid else None


@pytest.mark.parametrize(
    ("least", "most", "ready", "unready", "desired", "expected", "allowed"),
    [
        (2, None, 4, 0, 2, 4, 2),
        (5, None, 4, 0, 5, 4, 0),
        (None, 1, 4, 0, 3, 4, 1),
        (None, 1, 3, 1, 3, 4, 0),
        (None, 1, 2, 0, 3, 4, 0),
        (None, "30%", 4, 0, 2, 4, 2),
        ("30%", None, 4, 0, 2, 4, 2),
        ("100%", None, 4, 0, 4, 4, 0),
        (None, 0, 4, 0, 4, 4, 0),
        (0, None, 0, 0, 0, 0, 0),
    ],
)
def test_how_many_may_go(
    least: int | str | None, most: int | str | None, ready: int, unready: int, desired: int, expected: int, allowed: int
) -> None:
    status = plan(budget(least=least, most=most), pods(ready, unready), scale, NOW).status
    assert (status.desired_healthy, status.expected_pods, status.disruptions_allowed) == (desired, expected, allowed)
    assert (status.current_healthy, status.observed_generation) == (ready, 3)
    condition = get_condition(status.conditions, "DisruptionAllowed")
    assert condition is not None
    assert condition.reason == ("SufficientPods" if allowed else "InsufficientPods")


def test_an_evicted_pod_counts_as_gone_until_it_is_or_two_minutes_have_passed() -> None:
    evicted = replace(budget(least=2), status=policy_v1.PodDisruptionBudgetStatus(disrupted_pods={"p0": NOW}))
    early = plan(evicted, pods(4), scale, NOW + timedelta(seconds=30))
    assert (early.status.current_healthy, early.status.disruptions_allowed, early.look_again) == (3, 1, 90.0)
    late = plan(evicted, pods(4), scale, NOW + timedelta(minutes=3))
    assert (late.status.current_healthy, late.status.disrupted_pods) == (4, {})
    gone = plan(evicted, pods(4)[1:], scale, NOW)
    assert gone.status.disrupted_pods == {}


def test_where_nobody_knows_the_size_nothing_may_be_disturbed_and_the_reason_is_told() -> None:
    stray = [make_pod("s", owner=make_replicaset("gone"), phase="Running", ready=True)]
    result = plan(budget(most=1), stray, scale, NOW)
    condition = get_condition(result.status.conditions, "DisruptionAllowed")
    assert condition is not None and (condition.reason, result.status.disruptions_allowed) == ("SyncFailed", 0)
    assert "gone" in result.problem


def test_pods_without_controller_count_only_for_an_absolute_minimum() -> None:
    loose = [make_pod(f"p{n}", phase="Running", ready=True) for n in range(3)]
    assert plan(budget(least=1), loose, scale, NOW).status.disruptions_allowed == 2
    parts = plan(budget(most=1), loose, scale, NOW)
    assert (parts.unmanaged, parts.status.disruptions_allowed) == (3, 0)
