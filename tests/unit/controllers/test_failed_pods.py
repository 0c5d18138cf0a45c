"""How long failed pods hold back their successors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controlplane.controllers.failures import AGAIN, Failures
from controlplane.controllers.replicaset.plan import FAILED_LATELY, FREE_FAILURES, plan, rest
from kubeapi.client.keys import Key
from kubeapi.meta import replace
from kubeapi.types.core_v1 import Pod
from tests.support.hand_clock import HandClock
from tests.support.make import make_pod, make_replicaset

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def failed(count: int, ago: float = 0.0) -> list[Pod]:
    pods = [make_pod(f"p{i}") for i in range(count)]
    return [
        replace(
            pod,
            metadata=replace(pod.metadata, creation_timestamp=NOW - timedelta(seconds=ago)),
            status=replace(pod.status, phase="Failed"),
        )
        for pod in pods
    ]


@pytest.mark.parametrize(
    ("wanted", "count", "ago", "seconds"),
    [
        (1, FREE_FAILURES - 1, 0, 0),
        (1, FREE_FAILURES, 0, 1),
        (1, FREE_FAILURES + 1, 0, 2),
        (1, FREE_FAILURES + 3, 0, 8),
        (1, FREE_FAILURES + 3, 5, 3),
        (1, FREE_FAILURES + 50, 0, 300),
        (1, 50, FAILED_LATELY, 0),
        (20, 39, 0, 0),
        (20, 40, 0, 1),
        (20, 60, 0, 2),
        (0, FREE_FAILURES + 1, 0, 2),
    ],
)
def test_a_set_rests_twice_as_long_after_each_round(wanted: int, count: int, ago: float, seconds: float) -> None:
    assert max(0.0, rest(wanted, failed(count, ago), NOW)) == seconds


def test_a_resting_set_makes_nothing_but_still_deletes() -> None:
    alive = [make_pod(f"alive{i}") for i in range(3)]
    own = [*failed(50), *alive]
    few, many = make_replicaset("web", 2), make_replicaset("web", 4)
    assert len(plan(few, own, own, NOW).delete) == 1
    todo = plan(many, own, own, NOW)
    assert (todo.create, todo.delete) == (0, []) and todo.rest is not None and todo.rest > 0


def test_failures_in_a_row_wait_longer_and_are_forgiven() -> None:
    clock, one = HandClock(), Key("default", "web")
    failures = Failures(clock, free=1)
    waits = []
    for _ in range(4):
        failures.note(one, "web-0")
        waits.append(failures.wait(one))
        clock.at += failures.wait(one) or 0.0
        assert failures.may_start(one, "web-0")
    assert waits == [None, 1.0, 2.0, 4.0]
    failures.note(one, "web-0")
    assert not failures.may_start(one, "web-0") and failures.may_start(one, "web-1")
    failures.forget(one)
    assert failures.may_start(one, "web-0")
    failures.note(one, "web-0")
    failures.note(one, "web-0")
    clock.at += 2 * AGAIN.most
    failures.note(one, "web-0")
    assert failures.wait(one) is None, "long ago"
