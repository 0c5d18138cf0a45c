"""One pod, some nodes: where it goes, or in exactly which words it is refused."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.scheduler.decide import decide
from controlplane.scheduler.snapshot import Snapshot
from controlplane.scheduler.volumes import VolumeNeeds
from kubeapi.types import core_v1, storage_v1
from tests.support.make import make_claim, make_node, make_pod, make_replicaset, make_volume


def snapshot_of(*nodes: core_v1.Node, pods: Any = ()) -> Snapshot:
    snapshot = Snapshot()
    for node in nodes:
        snapshot.put_node(node)
    for pod in pods:
        snapshot.put_pod(pod)
    return snapshot


def taint(key: str, value: str = "", effect: str = "NoSchedule") -> core_v1.Taint:
    return core_v1.Taint(key=key, value=value, effect=effect)


def affinity(key: str, operator: str, *values: str, weight: int = 0) -> core_v1.Affinity:
    wanted = core_v1.NodeSelectorRequirement(key=key, operator=operator, values=list(values))
    term = core_v1.NodeSelectorTerm(match_expressions=[wanted])
    if weight:
        preferred = core_v1.PreferredSchedulingTerm(weight=weight, preference=term)
        node = core_v1.NodeAffinity(preferred_during_scheduling_ignored_during_execution=[preferred])
    else:
        selector = core_v1.NodeSelector(node_selector_terms=[term])
        node = core_v1.NodeAffinity(required_during_scheduling_ignored_during_execution=selector)
    return core_v1.Affinity(node_affinity=node)


REFUSED = [
    ("no nodes", [], make_pod(), "no nodes available to schedule pods"),
    (
        "taints and resources together",
        [make_node("a", taints=[taint("k", "v")]), make_node("b", cpu="1"), make_node("c", cpu="1")],
        make_pod(requests={"cpu": "2"}),
        "0/3 nodes are available: 1 node(s) had untolerated taint {k: v}, 2 Insufficient cpu.",
    ),
    (
        "two resources short on one node",
        [make_node("a", cpu="1", memory="1Gi")],
        make_pod(requests={"cpu": "2", "memory": "2Gi"}),
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.",
    ),
    ("full", [make_node("a", pods=0)], make_pod(), "0/1 nodes are available: 1 Too many pods."),
    (
        "a resource that no node has",
        [make_node("a")],
        make_pod(requests={"example.com/gpu": "1"}),
        "0/1 nodes are available: 1 Insufficient example.com/gpu.",
    ),
    (
        "cordoned",
        [make_node("a", unschedulable=True)],
        make_pod(),
        "0/1 nodes are available: 1 node(s) were unschedulable.",
    ),
    (
        "node selector",
        [make_node("a", labels={"disk": "hdd"})],
        make_pod(node_selector={"disk": "ssd"}),
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
    ),
    (
        "required affinity",
        [make_node("a", labels={"zone": "1"})],
        make_pod(affinity=affinity("zone", "NotIn", "1")),
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
    ),
]


@pytest.mark.parametrize(("nodes", "pod", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refusals_say_why(nodes: list[core_v1.Node], pod: core_v1.Pod, message: str) -> None:
    decision = decide(pod, snapshot_of(*nodes))
    assert (decision.node, decision.message) == ("", message)


def test_a_host_port_is_given_once_per_node() -> None:
    snapshot = snapshot_of(make_node("a"), pods=[make_pod("first", node="a", host_port=80)])
    decision = decide(make_pod("second", host_port=80), snapshot)
    assert "1 node(s) didn't have free ports for the requested pod ports" in decision.message
    assert decide(make_pod("third", host_port=81), snapshot).node == "a"


def test_a_toleration_lets_in() -> None:
    snapshot = snapshot_of(make_node("a", taints=[taint("k", "v", "NoExecute")]))
    pod = make_pod(tolerations=[core_v1.Toleration(key="k", operator="Exists")])
    assert decide(pod, snapshot).node == "a"


def test_a_preference_decides_among_equals() -> None:
    snapshot = snapshot_of(make_node("a"), make_node("b", labels={"disk": "ssd"}), make_node("c"))
    pod = make_pod(affinity=affinity("disk", "In", "ssd", weight=100))
    assert decide(pod, snapshot).node == "b"


def test_a_soft_taint_is_avoided_while_possible() -> None:
    nodes = [make_node("a", taints=[taint("k", "v", "PreferNoSchedule")]), make_node("b")]
    assert decide(make_pod(), snapshot_of(*nodes)).node == "b"
    assert decide(make_pod(), snapshot_of(nodes[0])).node == "a"


def test_pods_of_one_owner_spread() -> None:
    snapshot = snapshot_of(*(make_node(n) for n in "abc"))
    owner = make_replicaset()
    snapshot.around.set_owner("ReplicaSet", "default", "web", owner.spec.selector)
    for i in range(6):
        pod = make_pod(f"p{i}", owner=owner, labels={"app": "web"})
        snapshot.put_pod(pod, decide(pod, snapshot).node)
    assert sorted(len(here) for here in snapshot.by_row.values()) == [2, 2, 2]


def test_a_removed_node_takes_its_pods_out_and_a_returning_one_brings_them_back() -> None:
    node = make_node("a", cpu="1")
    snapshot = snapshot_of(node, pods=[make_pod("p", node="a", requests={"cpu": "1"})])
    snapshot.remove_node("a")
    snapshot.put_node(make_node("b", cpu="1"))
    assert decide(make_pod("q", requests={"cpu": "1"}), snapshot).node == "b"
    snapshot.put_node(node)
    snapshot.remove_node("b")
    assert decide(make_pod("q", requests={"cpu": "1"}), snapshot).message.endswith("1 Insufficient cpu.")


def test_a_pod_for_a_node_that_is_not_there_is_refused_on_all_others() -> None:
    """As a daemon's pod is whose node goes before it is bound."""
    name = core_v1.NodeSelectorRequirement(key="metadata.name", operator="In", values=["gone"])
    selector = core_v1.NodeSelector(node_selector_terms=[core_v1.NodeSelectorTerm(match_fields=[name])])
    pinned = core_v1.Affinity(
        node_affinity=core_v1.NodeAffinity(required_during_scheduling_ignored_during_execution=selector)
    )
    snapshot = snapshot_of(make_node("a"), make_node("b"))
    decision = decide(make_pod(affinity=pinned), snapshot)
    assert decision.node == "" and decision.message.startswith("0/2 nodes are available: ")


def test_what_no_machine_has_still_can_be_counted() -> None:
    vast = "9" * 30
    snapshot = snapshot_of(make_node("a", cpu=vast, memory=vast), make_node("b"))
    pods = [make_pod(f"p{i}", requests={"cpu": "1", "memory": vast}) for i in range(3)]
    assert decide(pods[0], snapshot).node == "a"
    for pod in pods:
        snapshot.put_pod(pod, "a")
    assert decide(make_pod("q", requests={"memory": vast}), snapshot).message.endswith("2 Insufficient memory.")


CLASS = storage_v1.StorageClass(provisioner="kubernetes.io/no-provisioner", volume_binding_mode="WaitForFirstConsumer")


def test_a_bound_volume_leads_its_pod() -> None:
    snapshot = snapshot_of(make_node("a"), make_node("b"))
    needs = VolumeNeeds(bound=(make_volume(node="b"),))
    assert decide(make_pod(), snapshot, needs).node == "b"
    elsewhere = VolumeNeeds(bound=(make_volume(node="c"),))
    message = decide(make_pod(), snapshot, elsewhere).message
    assert message == "0/2 nodes are available: 2 node(s) had volume node affinity conflict."


def test_a_waiting_claim_goes_where_a_volume_suits() -> None:
    snapshot = snapshot_of(make_node("a"), make_node("b"))
    small, large = make_volume("small", "1Mi", node="a"), make_volume("large", "2Gi", node="b")
    needs = VolumeNeeds(waiting=((make_claim(), CLASS),), available=(small, large))
    decision = decide(make_pod(), snapshot, needs)
    assert (decision.node, decision.pin) == ("b", ("data",))


def test_no_volume_no_node() -> None:
    needs = VolumeNeeds(waiting=((make_claim(), CLASS),), available=(make_volume("small", "1Mi"),))
    message = decide(make_pod(), snapshot_of(make_node("a")), needs).message
    assert message == "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind."


AMOUNTS = st.fixed_dictionaries({"cpu": st.integers(0, 2000), "memory": st.integers(0, 4 << 30)})


@given(
    st.lists(AMOUNTS, min_size=1, max_size=5),
    st.lists(st.tuples(AMOUNTS, st.booleans()), max_size=40),
    st.integers(0, 2**32),
)
def test_never_overcommits(nodes: list[dict[str, int]], pods: list[Any], seed: int) -> None:
    rng = Random(seed)
    snapshot = snapshot_of(
        *(make_node(f"n{i}", cpu=f"{n['cpu']}m", memory=str(n["memory"]), pods=5) for i, n in enumerate(nodes))
    )
    placed: list[tuple[str, str, dict[str, int]]] = []
    for i, (amounts, leaves) in enumerate(pods):
        if leaves and placed:
            snapshot.remove_pod(placed.pop(rng.randrange(len(placed)))[0])
        pod = make_pod(f"p{i}", requests={"cpu": f"{amounts['cpu']}m", "memory": str(amounts["memory"])})
        node = decide(pod, snapshot).node
        if node:
            snapshot.put_pod(pod, node)
            placed.append((pod.metadata.uid, node, amounts))
    for i, node_amounts in enumerate(nodes):
        here = [amounts for _, node, amounts in placed if node == f"n{i}"]
        assert len(here) <= 5
        assert sum(a["cpu"] for a in here) <= node_amounts["cpu"]
        assert sum(a["memory"] for a in here) <= node_amounts["memory"]
