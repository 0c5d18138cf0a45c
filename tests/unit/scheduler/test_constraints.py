"""Single rules about other pods and domains, one by one, where random worlds seldom look."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry

from controlplane.scheduler.decide import Decider, decide
from controlplane.scheduler.metrics import Metrics
from controlplane.scheduler.requests import request_of
from controlplane.scheduler.snapshot import Snapshot
from controlplane.scheduler.volumes import VolumeNeeds
from kubeapi.meta import replace
from kubeapi.types import core_v1, meta_v1, storage_v1
from tests.support.make import make_claim, make_node, make_pod

ZONE = "topology.kubernetes.io/zone"
WEB = meta_v1.LabelSelector(match_labels={"app": "web"})


def snapshot_of(*nodes: core_v1.Node, pods: Any = ()) -> Snapshot:
    snapshot = Snapshot()
    for node in nodes:
        snapshot.put_node(node)
    for pod in pods:
        snapshot.put_pod(pod)
    return snapshot


def web(name: str = "web", **more: Any) -> core_v1.Pod:
    return make_pod(name, labels={"app": "web"}, **more)


def spread(**more: Any) -> list[core_v1.TopologySpreadConstraint]:
    wanted = {"max_skew": 1, "topology_key": ZONE, "when_unsatisfiable": "DoNotSchedule", "label_selector": WEB}
    return [core_v1.TopologySpreadConstraint(**{**wanted, **more})]


def test_the_first_of_a_group_drawn_to_itself_may_start_it_and_a_stranger_may_not() -> None:
    def near(labels: dict[str, str]) -> core_v1.Pod:
        term = core_v1.PodAffinityTerm(topology_key=ZONE, label_selector=WEB)
        affinity = core_v1.PodAffinity(required_during_scheduling_ignored_during_execution=[term])
        return make_pod(labels=labels, affinity=core_v1.Affinity(pod_affinity=affinity))

    nodes = [make_node("a", labels={ZONE: "1"}), make_node("b", labels={ZONE: "2"}), make_node("c")]
    assert decide(near({"app": "web"}), snapshot_of(*nodes)).node in ("a", "b")
    assert decide(near({"app": "web"}), snapshot_of(*nodes, pods=[web("w", node="b")])).node == "b"
    refused = decide(near({"app": "db"}), snapshot_of(*nodes)).message
    assert refused == "0/3 nodes are available: 3 node(s) didn't match pod affinity rules."


def test_existing_anti_affinity_keeps_newcomers_out_of_the_zone() -> None:
    term = core_v1.PodAffinityTerm(topology_key=ZONE, label_selector=WEB)
    apart = core_v1.PodAntiAffinity(required_during_scheduling_ignored_during_execution=[term])
    holder = make_pod("holder", node="a", affinity=core_v1.Affinity(pod_anti_affinity=apart))
    nodes = [make_node("a", labels={ZONE: "1"}), make_node("b", labels={ZONE: "1"})]
    refused = decide(web(), snapshot_of(*nodes, pods=[holder])).message
    assert refused == "0/2 nodes are available: 2 node(s) didn't satisfy existing pods anti-affinity rules."


def test_too_few_domains_count_as_if_one_were_empty() -> None:
    nodes = [make_node("a", labels={ZONE: "1"}), make_node("b", labels={ZONE: "2"})]
    pods = [web("w1", node="a"), web("w2", node="b")]
    assert decide(web(topology_spread_constraints=spread()), snapshot_of(*nodes, pods=pods)).node
    refused = decide(web(topology_spread_constraints=spread(min_domains=3)), snapshot_of(*nodes, pods=pods)).message
    assert refused == "0/2 nodes are available: 2 node(s) didn't match pod topology spread constraints."


def test_a_tainted_zone_counts_unless_the_taints_are_honoured() -> None:
    closed = make_node("b", labels={ZONE: "2"}, taints=[core_v1.Taint(key="k", effect="NoSchedule")])
    snapshot = snapshot_of(make_node("a", labels={ZONE: "1"}), closed, pods=[web("w", node="a")])
    assert not decide(web(topology_spread_constraints=spread()), snapshot).node
    assert decide(web(topology_spread_constraints=spread(node_taints_policy="Honor")), snapshot).node == "a"


def test_a_node_without_the_label_is_told_apart() -> None:
    snapshot = snapshot_of(make_node("a"), make_node("b", labels={ZONE: "1"}, unschedulable=True))
    assert decide(web(topology_spread_constraints=spread()), snapshot).message == (
        "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label), "
        "1 node(s) were unschedulable."
    )


def test_rollouts_are_spread_revision_by_revision() -> None:
    nodes = [make_node("a", labels={ZONE: "1"}), make_node("b", labels={ZONE: "2"})]
    old = [make_pod(f"o{i}", node="a", labels={"app": "web", "rev": "1"}) for i in range(3)]
    new = make_pod(
        "new", labels={"app": "web", "rev": "2"}, topology_spread_constraints=spread(match_label_keys=["rev"])
    )
    assert (
        decide(new, snapshot_of(*nodes, pods=[*old, make_pod("n", node="b", labels=new.metadata.labels)])).node == "a"
    )


def test_existing_preferences_draw_newcomers() -> None:
    term = core_v1.PodAffinityTerm(topology_key=ZONE, label_selector=WEB)
    near = core_v1.PodAffinity(required_during_scheduling_ignored_during_execution=[term])
    fan = make_pod("fan", node="b", affinity=core_v1.Affinity(pod_affinity=near))
    nodes = [make_node(n, labels={ZONE: n}) for n in "abc"]
    assert decide(web(), snapshot_of(*nodes, pods=[fan])).node == "b"


def test_a_large_image_on_the_spot_is_worth_the_way() -> None:
    images = [core_v1.ContainerImage(names=["app:1"], size_bytes=900 << 20)]
    nodes = [make_node(n) for n in "abc"]
    nodes[1] = replace(nodes[1], status=replace(nodes[1].status, images=images))
    assert decide(make_pod(), snapshot_of(*nodes)).node == "b"


def test_pods_for_one_node_each_share_a_shape_and_find_their_own() -> None:
    decider = Decider(snapshot_of(make_node("a"), make_node("b", cpu="1")))

    def daemon(node: str, cpu: str = "1") -> core_v1.Pod:
        name = core_v1.NodeSelectorRequirement(key="metadata.name", operator="In", values=[node])
        required = core_v1.NodeSelector(node_selector_terms=[core_v1.NodeSelectorTerm(match_fields=[name])])
        affinity = core_v1.NodeAffinity(required_during_scheduling_ignored_during_execution=required)
        return make_pod(f"d-{node}", requests={"cpu": cpu}, affinity=core_v1.Affinity(node_affinity=affinity))

    found = [decider.decide(daemon(n)) for n in ("b", "a", "gone")]
    assert [d.node for d in found] == ["b", "a", ""]
    assert found[0].shape is found[1].shape
    assert decider.decide(daemon("b", "2")).message == (
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector."
    )


def test_a_class_may_say_where_its_volumes_can_be() -> None:
    wanted = core_v1.TopologySelectorLabelRequirement(key=ZONE, values=["2"])
    topology = core_v1.TopologySelectorTerm(match_label_expressions=[wanted])
    class_ = storage_v1.StorageClass(
        provisioner="x", volume_binding_mode="WaitForFirstConsumer", allowed_topologies=[topology]
    )
    nodes = [make_node("a", labels={ZONE: "1"}), make_node("b", labels={ZONE: "2"})]
    decision = decide(make_pod(), snapshot_of(*nodes), VolumeNeeds(waiting=((make_claim(), class_),)))
    assert (decision.node, decision.pin) == ("b", ("data",))


def container(cpu: str, **more: Any) -> core_v1.Container:
    return core_v1.Container(name="c", resources=core_v1.ResourceRequirements(requests={"cpu": cpu}), **more)


def test_sidecars_count_with_the_containers_and_with_the_init_containers_after_them() -> None:
    pod = make_pod(overhead={"cpu": "50m"})
    sidecar, init = container("100m", restart_policy="Always"), container("1")
    spec = replace(pod.spec, containers=[container("500m")], init_containers=[init, sidecar, container("900m")])
    assert request_of(replace(pod, spec=spec)).amounts["cpu"] == 1050
    spec = replace(spec, init_containers=[sidecar, init])
    assert request_of(replace(pod, spec=spec)).amounts["cpu"] == 1150
    spec = replace(spec, init_containers=[sidecar])
    assert request_of(replace(pod, spec=spec)).amounts["cpu"] == 650


def test_what_the_pod_asks_for_as_a_whole_counts() -> None:
    pod = make_pod(requests={"cpu": "1"}, resources=core_v1.ResourceRequirements(requests={"cpu": "3"}))
    assert request_of(pod).amounts["cpu"] == 3000


def test_metrics_have_the_names_that_dashboards_know() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.watch(queue=lambda: {"active": 3}, refused=lambda: {"NodeAffinity": 2}, cache=lambda: {"nodes": 5})
    metrics.attempt("scheduled", 0.001)
    metrics.bound(0, 0.5)
    labels = {"result": "scheduled", "profile": "default-scheduler"}
    assert registry.get_sample_value("scheduler_schedule_attempts_total", labels) == 1
    assert registry.get_sample_value("scheduler_scheduling_attempt_duration_seconds_count", labels) == 1
    assert registry.get_sample_value("scheduler_pending_pods", {"queue": "active"}) == 3
    refused = {"plugin": "NodeAffinity", "profile": "default-scheduler"}
    assert registry.get_sample_value("scheduler_unschedulable_pods", refused) == 2
    assert registry.get_sample_value("scheduler_cache_size", {"type": "nodes"}) == 5
    assert registry.get_sample_value("scheduler_pod_scheduling_attempts_count") == 1
    assert registry.get_sample_value("scheduler_pod_scheduling_sli_duration_seconds_count", {"attempts": "1"}) == 1
