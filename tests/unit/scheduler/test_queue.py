"""Which pod comes next, and when a refused one comes again: in virtual time."""

import asyncio
from datetime import UTC, datetime
from random import Random

import pytest

from controlplane.scheduler.hints import Change, What, Why
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


async def test_a_failed_errand_hurries_only_a_pod_that_still_waits() -> None:
    q = queue()
    q.put(make_pod("p"))
    uid = (await q.pop()).metadata.uid
    q.hurry(uid)
    assert q.counts()["out"] == 1
    q.wait(uid)
    q.hurry(uid)
    assert q.counts()["backoff"] == 1


async def test_only_those_wake_whom_the_change_could_help() -> None:
    q = queue()
    for name, plugin in (("cpu", "NodeResourcesFit"), ("label", "NodeAffinity")):
        q.put(make_pod(name))
        q.wait((await q.pop()).metadata.uid, Why(frozenset([plugin])))
    q.wake(Change(What.NODE_LABELS))
    assert (await q.pop()).metadata.name == "label"
    assert q.pop_now() is None
    assert q.counts() == {"active": 0, "backoff": 0, "unschedulable": 1, "out": 1}


OPS = ["put", "pop", "pop", "fail", "wait", "retry", "bind", "wake", "wake-some", "change", "time"]


@pytest.mark.parametrize("seed", range(60))
async def test_no_pod_is_lost_and_none_is_tried_twice_at_once(seed: int) -> None:
    """Long random lives: Hypothesis draws too many short ones to be of use here."""
    rng = Random(seed)
    ops = [(rng.choice(OPS), rng.randrange(4)) for _ in range(200)]
    q = queue()
    wanted: set[str] = set()
    out: list[str] = []
    reasons = [Why(), Why(frozenset(["NodeResourcesFit"])), Why(frozenset(["NodeAffinity"]))]
    for op, number in ops:
        uid = f"uid-p{number}"
        if op == "put":
            q.put(make_pod(f"p{number}", priority=number))
            wanted.add(uid)
        elif op == "change":
            if uid in wanted:
                q.put(make_pod(f"p{number}", priority=number, node_selector={"a": str(len(out))}))
        elif op == "bind":
            q.remove(uid)
            wanted.discard(uid)
            out = [o for o in out if o != uid]
        elif op == "pop":
            pod = q.pop_now()
            if pod is not None:
                assert pod.metadata.uid in wanted and pod.metadata.uid not in out
                out.append(pod.metadata.uid)
        elif op == "time":
            await asyncio.sleep(number * 3)
        elif op == "wake":
            q.wake()
        elif op == "wake-some":
            q.wake(Change(What.NODE_LABELS))
        elif out:
            done = out.pop()
            if op == "retry":
                q.retry(done)
            elif op == "wait":
                q.wait(done, reasons[number % 3])
            else:
                q.fail(done, reasons[number % 3])
    for uid in out:
        q.fail(uid)
    came = set()
    async with asyncio.timeout(311):
        while came != wanted:
            pod = await q.pop()
            came.add(pod.metadata.uid)
    assert len(q) == len(wanted)
    for uid in wanted:
        q.remove(uid)
    assert len(q) == 0
