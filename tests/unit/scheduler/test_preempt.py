"""Who has to go: as few as possible, the least important, and nobody at all where that would not help."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.scheduler.decide import Decider, Nomination
from controlplane.scheduler.preempt import NEVER, WAITING, Budget, Preemption, preempt
from controlplane.scheduler.snapshot import Snapshot
from kubeapi.meta import replace
from kubeapi.selectors import label_query
from kubeapi.types import core_v1, meta_v1
from tests.support.make import NOW, make_node, make_pod


def snapshot_of(*nodes: core_v1.Node, pods: Any = ()) -> Snapshot:
    snapshot = Snapshot()
    for node in nodes:
        snapshot.put_node(node)
    for pod in pods:
        snapshot.put_pod(pod)
    return snapshot


def running(name: str, node: str, cpu: str = "1", priority: int = 0, age: int = 0, **more: Any) -> core_v1.Pod:
    pod = make_pod(name, node=node, requests={"cpu": cpu}, priority=priority, **more)
    return replace(pod, status=replace(pod.status, start_time=NOW - timedelta(seconds=age)))


def plan(pod: core_v1.Pod, snapshot: Snapshot, **more: Any) -> Preemption:
    decider = Decider(snapshot)
    decision = decider.decide(pod, nominated=more.get("nominated", ()))
    assert not decision.node
    return preempt(
        pod, decision, decider.rankings.of(decider.shapes.of(pod, snapshot)), snapshot, rng=Random(1), **more
    )


def names(found: Preemption) -> list[str]:
    return [v.metadata.name for v in found.victims]


def important(cpu: str = "1", **more: Any) -> core_v1.Pod:
    return make_pod("vip", requests={"cpu": cpu}, priority=10, **more)


def test_the_least_important_victim_decides_between_nodes() -> None:
    pods = [running("a1", "a", priority=5), running("b1", "b", priority=3)]
    found = plan(important(), snapshot_of(make_node("a", cpu="1"), make_node("b", cpu="1"), pods=pods))
    assert (found.node, names(found)) == ("b", ["b1"])


def test_no_more_go_than_must_and_the_young_before_the_old() -> None:
    pods = [running("old", "a", age=100), running("young", "a", age=1), running("more", "a", priority=2)]
    found = plan(important(), snapshot_of(make_node("a", cpu="3"), pods=pods))
    assert names(found) == ["young"]


def test_fewer_victims_are_better_among_equals() -> None:
    pods = [running("a1", "a", "500m"), running("a2", "a", "500m"), running("b1", "b", "1")]
    found = plan(important(), snapshot_of(make_node("a", cpu="1"), make_node("b", cpu="1"), pods=pods))
    assert found.node == "b"


def test_a_budget_is_respected_while_another_node_will_do() -> None:
    guarded = {"app": "db"}
    pods = [running("a1", "a", labels=guarded), running("b1", "b", priority=5)]
    budget = Budget("default", label_query(guarded), allowed=0)
    nodes = [make_node("a", cpu="1"), make_node("b", cpu="1")]
    found = plan(important(), snapshot_of(*nodes, pods=pods), budgets=[budget])
    assert (found.node, found.broken) == ("b", 0)
    found = plan(important(), snapshot_of(nodes[0], pods=pods[:1]), budgets=[budget])
    assert (found.node, found.broken) == ("a", 1)


def test_the_equally_important_stay_and_the_reason_is_told() -> None:
    snapshot = snapshot_of(
        make_node("a", cpu="1"),
        make_node("b", cpu="1", taints=[core_v1.Taint(key="k", effect="NoSchedule")]),
        pods=[running("same", "a", priority=10)],
    )
    found = plan(important(), snapshot)
    assert found.message == (
        "0/2 nodes are available: 1 No preemption victims found for incoming pod, "
        "1 Preemption is not helpful for scheduling."
    )


def test_the_modest_never_preempt() -> None:
    snapshot = snapshot_of(make_node("a", cpu="1"), pods=[running("low", "a")])
    assert plan(important(preemption_policy="Never"), snapshot).message == NEVER


def test_while_a_victim_is_going_no_other_is_chosen() -> None:
    leaving = running("low", "a", metadata={"deletion_timestamp": NOW})
    pod = important()
    pod = replace(pod, status=replace(pod.status, nominated_node_name="a"))
    snapshot = snapshot_of(make_node("a", cpu="1"), make_node("b", cpu="1"), pods=[leaving, running("other", "b")])
    assert plan(pod, snapshot).message == WAITING


def test_room_promised_to_one_is_not_promised_to_another() -> None:
    snapshot = snapshot_of(make_node("a", cpu="2"), pods=[running("one", "a"), running("two", "a")])
    first = make_pod("first", requests={"cpu": "1"}, priority=10)
    found = plan(important(), snapshot, nominated=[Nomination(first, "a")])
    assert sorted(names(found)) == ["one", "two"]
    assert sorted(snapshot.pods) == ["uid-one", "uid-two"]


def test_a_promise_keeps_the_less_important_out_but_not_the_more_important() -> None:
    decider = Decider(snapshot_of(make_node("a", cpu="1")))
    promised = [Nomination(make_pod("first", requests={"cpu": "1"}, priority=5), "a")]
    late = decider.decide(make_pod("late", requests={"cpu": "1"}), nominated=promised)
    assert late.message == "0/1 nodes are available: 1 Insufficient cpu."
    assert decider.decide(important(), nominated=promised).node == "a"


def test_a_pod_that_keeps_others_away_can_be_a_victim() -> None:
    term = core_v1.PodAffinityTerm(
        topology_key="zone", label_selector=meta_v1.LabelSelector(match_labels={"app": "vip"})
    )
    away = core_v1.Affinity(
        pod_anti_affinity=core_v1.PodAntiAffinity(required_during_scheduling_ignored_during_execution=[term])
    )
    nodes = [make_node("a", labels={"zone": "z"}), make_node("b", labels={"zone": "z"})]
    hostile = running("hostile", "a", affinity=away)
    found = plan(important(labels={"app": "vip"}), snapshot_of(*nodes, pods=[hostile, running("other", "b")]))
    assert (found.node, names(found)) == ("a", ["hostile"])


def test_a_host_port_can_be_won() -> None:
    snapshot = snapshot_of(make_node("a"), pods=[make_pod("holder", node="a", host_port=80), running("other", "a")])
    assert names(plan(make_pod("vip", host_port=80, priority=10), snapshot)) == ["holder"]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.integers(0, 9)), max_size=14),
    st.integers(1, 8),
    st.integers(0, 10),
)
def test_after_the_victims_have_gone_it_fits_and_each_was_needed(drawn: Any, cpu: int, priority: int) -> None:
    room = {f"n{i}": 8 for i in range(3)}
    snapshot = snapshot_of(*(make_node(n, cpu="8") for n in room))
    for i, (node, size, level) in enumerate(drawn):
        name = f"n{node}"
        if room[name] >= size:
            room[name] -= size
            snapshot.put_pod(running(f"p{i}", name, str(size), level))
    pod = make_pod("vip", requests={"cpu": str(cpu)}, priority=priority)
    decider = Decider(snapshot)
    decision = decider.decide(pod)
    before = {uid: p.row for uid, p in snapshot.pods.items()}
    if decision.node:
        return
    found = preempt(pod, decision, decider.rankings.of(decider.shapes.of(pod, snapshot)), snapshot, rng=Random(1))
    assert {uid: p.row for uid, p in snapshot.pods.items()} == before
    lower = {n: sum(int(p.pod.spec.containers[0].resources.requests["cpu"]) for p in snapshot.pods.values()
             if snapshot.names[p.row] == n and (p.pod.spec.priority or 0) < priority) for n in room}  # fmt: skip
    assert bool(found.node) == any(room[n] + lower[n] >= cpu for n in room)
    if found.node:
        assert all((v.spec.priority or 0) < priority for v in found.victims)
        sizes = [int(v.spec.containers[0].resources.requests["cpu"]) for v in found.victims]
        assert room[found.node] + sum(sizes) >= cpu
        assert all(room[found.node] + sum(sizes) - size < cpu for size in sizes)
