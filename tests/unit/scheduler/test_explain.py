"""Why a pod is pending: every node, every objection, with the figures."""

from __future__ import annotations

from controlplane.scheduler.explain import NodeReasons, explain
from controlplane.scheduler.snapshot import Snapshot
from kubeapi.types import core_v1
from tests.support.make import make_node, make_pod


def snapshot_of(*nodes: core_v1.Node) -> Snapshot:
    snapshot = Snapshot()
    for node in nodes:
        snapshot.put_node(node)
    return snapshot


def told(found: list[NodeReasons]) -> dict[str, list[tuple[str, str]]]:
    return {n.node: [(r.text, r.detail) for r in n.reasons] for n in found}


def test_every_objection_of_every_node_with_its_figures() -> None:
    snapshot = snapshot_of(
        make_node("busy", cpu="2", memory="1Gi"),
        make_node("marked", cpu="1", taints=[core_v1.Taint(key="gpu", value="yes", effect="NoSchedule")]),
        make_node("free", cpu="8"),
    )
    snapshot.put_pod(make_pod("other", node="busy", requests={"cpu": "1500m", "memory": "768Mi"}))
    pod = make_pod("p", requests={"cpu": "2", "memory": "512Mi"})
    assert told(explain(snapshot, pod)) == {
        "busy": [
            ("Insufficient cpu", "requested 2, free 500m (1500m of 2 used)"),
            ("Insufficient memory", "requested 512Mi, free 256Mi (768Mi of 1Gi used)"),
        ],
        "free": [],
        "marked": [
            ("node(s) had untolerated taint {gpu: yes}", "gpu=yes:NoSchedule"),
            ("Insufficient cpu", "requested 2, free 1 (0 of 1 used)"),
        ],
    }


def test_whether_preemption_could_help_is_said() -> None:
    snapshot = snapshot_of(make_node("small", cpu="1"), make_node("busy", cpu="2"))
    snapshot.put_pod(make_pod("other", node="busy", requests={"cpu": "2"}))
    found = {n.node: n.reasons[0].by_preemption for n in explain(snapshot, make_pod(requests={"cpu": "2"}))}
    assert found == {"small": False, "busy": True}


def test_labels_ports_and_pins_are_named() -> None:
    snapshot = snapshot_of(make_node("a", labels={"disk": "hdd"}), make_node("b", labels={"disk": "ssd"}))
    snapshot.put_pod(make_pod("web", node="b", host_port=80))
    found = told(explain(snapshot, make_pod(host_port=80, node_selector={"disk": "ssd"})))
    assert found["a"] == [("node(s) didn't match Pod's node affinity/selector", "wants disk=ssd, has hdd")]
    assert found["b"] == [("node(s) didn't have free ports for the requested pod ports", "TCP 80")]
    name = core_v1.NodeSelectorRequirement(key="metadata.name", operator="In", values=["a"])
    selector = core_v1.NodeSelector(node_selector_terms=[core_v1.NodeSelectorTerm(match_fields=[name])])
    affinity = core_v1.Affinity(
        node_affinity=core_v1.NodeAffinity(required_during_scheduling_ignored_during_execution=selector)
    )
    found = told(explain(snapshot, make_pod(affinity=affinity)))
    assert found["a"] == [] and found["b"][0][1] == "the pod is for node a"
