"""Which pod comes next, and when a refused one comes again: in virtual time."""

import asyncio
from datetime import UTC, datetime

import pytest

from controlplane.scheduler.queue import SchedulingQueue
from kubeapi.clock import LoopClock
from tests.support.make import make_pod

pytestmark = [pytest.mark.looptime]


def queue() -> SchedulingQueue:
    return SchedulingQueue(clock=LoopClock(datetime(2026, 1, 1, tzinfo=UTC)))


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_importance_first_then_age() -> None:
    q = queue()
    for name, priority in (("old", 0), ("young", 0), ("important", 10)):
        q.put(make_pod(name, priority=priority))
    assert [(await q.pop()).metadata.name for _ in range(3)] == ["important", "old", "young"]


async def test_a_refused_pod_waits_for_a_change_and_for_its_backoff() -> None:
    q = queue()
    q.put(make_pod("p"))
    begun = now()
    q.fail((await q.pop()).metadata.uid)
    q.wake()
    await q.pop()
    assert now() - begun == pytest.approx(1.0, abs=0.01)


async def test_without_a_change_it_comes_after_minutes() -> None:
    q = queue()
    q.put(make_pod("p"))
    begun = now()
    q.fail((await q.pop()).metadata.uid)
    await q.pop()
    assert now() - begun == pytest.approx(300, abs=0.01)


async def test_backoff_grows() -> None:
    q = queue()
    q.put(make_pod("p"))
    pauses = []
    for _ in range(6):
        pod = await q.pop()
        begun = now()
        q.retry(pod.metadata.uid)
        pod = await q.pop()
        pauses.append(round(now() - begun))
        q.wait(pod.metadata.uid)
        q.wake()
    assert pauses == [1, 2, 4, 8, 10, 10]


async def test_a_changed_spec_is_a_reason_to_try_again_and_a_status_is_not() -> None:
    q = queue()
    q.put(make_pod("p"))
    q.wait((await q.pop()).metadata.uid)
    q.put(make_pod("p", phase="Running"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await q.pop()
    q.put(make_pod("p", node_selector={"a": "b"}))
    assert (await q.pop()).spec.node_selector == {"a": "b"}


async def test_what_is_removed_does_not_come() -> None:
    q = queue()
    q.put(make_pod("gone"))
    q.put(make_pod("p"))
    q.remove("uid-gone")
    assert (await q.pop()).metadata.name == "p"
