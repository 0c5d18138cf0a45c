"""Arrays, kept rankings and repaired rows come to the node that the plain rules come to, pod after pod."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.scheduler.decide import Decider, decide
from controlplane.scheduler.snapshot import Snapshot
from kubeapi.meta import replace
from kubeapi.types import core_v1, meta_v1
from tests.support.make import NOW, make_node, make_pod, make_replicaset
from tests.unit.scheduler import reference

ZONE = "topology.kubernetes.io/zone"
HOST = "kubernetes.io/hostname"
APPS = ("a", "b")
WEB = make_replicaset("web", labels={"app": "a"})

selectors = st.builds(
    lambda app, there: meta_v1.LabelSelector(
        match_labels={"app": app} if there else {},
        match_expressions=[]
        if there
        else [meta_v1.LabelSelectorRequirement(key="app", operator="NotIn", values=[app])],
    ),
    st.sampled_from(APPS),
    st.booleans(),
)
terms = st.builds(
    core_v1.PodAffinityTerm,
    label_selector=selectors,
    topology_key=st.sampled_from([ZONE, HOST]),
    namespaces=st.sampled_from([[], [], ["other"], ["default", "other"]]),
    namespace_selector=st.sampled_from(
        [None, None, meta_v1.LabelSelector(), meta_v1.LabelSelector(match_labels={"team": "x"})]
    ),
    match_label_keys=st.sampled_from([[], [], ["rev"]]),
    mismatch_label_keys=st.sampled_from([[], [], [], ["rev"]]),
)
weighted = st.builds(core_v1.WeightedPodAffinityTerm, weight=st.integers(1, 100), pod_affinity_term=terms)
company = {
    "required_during_scheduling_ignored_during_execution": st.lists(terms, max_size=1),
    "preferred_during_scheduling_ignored_during_execution": st.lists(weighted, max_size=2),
}
node_terms = st.builds(
    lambda operator, zone: core_v1.NodeSelectorTerm(
        match_expressions=[
            core_v1.NodeSelectorRequirement(
                key=ZONE, operator=operator, values=[zone] if operator in ("In", "NotIn") else []
            )
        ]
    ),
    st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
    st.sampled_from(["z0", "z1"]),
)
node_affinity = st.builds(
    lambda needed, wishes: core_v1.NodeAffinity(
        required_during_scheduling_ignored_during_execution=core_v1.NodeSelector(node_selector_terms=needed)
        if needed
        else None,
        preferred_during_scheduling_ignored_during_execution=[
            core_v1.PreferredSchedulingTerm(weight=w, preference=t) for w, t in wishes
        ],
    ),
    st.lists(node_terms, max_size=1),
    st.lists(st.tuples(st.integers(1, 100), node_terms), max_size=2),
)
affinities = st.one_of(
    st.none(),
    st.none(),
    st.builds(
        core_v1.Affinity,
        node_affinity=st.one_of(st.none(), node_affinity),
        pod_affinity=st.one_of(st.none(), st.builds(core_v1.PodAffinity, **company)),
        pod_anti_affinity=st.one_of(st.none(), st.builds(core_v1.PodAntiAffinity, **company)),
    ),
)
spreads = st.builds(
    core_v1.TopologySpreadConstraint,
    max_skew=st.integers(1, 2),
    topology_key=st.sampled_from([ZONE, HOST]),
    when_unsatisfiable=st.sampled_from(["DoNotSchedule", "ScheduleAnyway"]),
    label_selector=selectors,
    min_domains=st.sampled_from([None, None, 3]),
    node_affinity_policy=st.sampled_from([None, "Ignore", "Honor"]),
    node_taints_policy=st.sampled_from([None, "Ignore", "Honor"]),
    match_label_keys=st.sampled_from([[], [], ["rev"]]),
)
taints = st.builds(
    core_v1.Taint, key=st.sampled_from(["t", "u"]), effect=st.sampled_from(["NoSchedule", "PreferNoSchedule"])
)
nodes = st.lists(
    st.tuples(
        st.sampled_from(["z0", "z1", "z2", ""]),
        st.integers(1, 4),
        st.integers(1, 4),
        st.lists(taints, max_size=1),
        st.booleans(),
        st.integers(0, 2000),
    ),
    min_size=1,
    max_size=6,
)
workloads = st.fixed_dictionaries(
    {
        "namespace": st.sampled_from(["default", "default", "other"]),
        "labels": st.fixed_dictionaries({"app": st.sampled_from(APPS), "rev": st.sampled_from(["1", "2"])}),
        "requests": st.one_of(
            st.just({}),
            st.fixed_dictionaries({"cpu": st.sampled_from(["0", "250m", "1"]), "memory": st.just("500Mi")}),
        ),
        "affinity": affinities,
        "spreads": st.lists(spreads, max_size=2, unique_by=lambda c: (c.topology_key, c.when_unsatisfiable)),
        "tolerates": st.booleans(),
        "owned": st.booleans(),
        "port": st.sampled_from([0, 0, 0, 80]),
    }
)
STEP = st.tuples(st.integers(0, 2), st.sampled_from(["place", "place", "place", "leave", "finish", "cordon", "label"]))


def build_node(index: int, drawn: Any, cordoned: bool = False, zone: str | None = None) -> core_v1.Node:
    own_zone, cpu, memory, marks, pulled, size = drawn
    own_zone = own_zone if zone is None else zone
    node = make_node(
        f"n{index}",
        cpu=str(cpu),
        memory=f"{memory}Gi",
        pods=6,
        labels={ZONE: own_zone} if own_zone else {},
        taints=marks,
        unschedulable=cordoned,
    )
    images = [core_v1.ContainerImage(names=["app:1"], size_bytes=size << 20)] if pulled else []
    return replace(node, status=replace(node.status, images=images))


def build_pod(number: int, drawn: Any) -> core_v1.Pod:
    return make_pod(
        f"p{number}",
        requests=drawn["requests"],
        labels=drawn["labels"],
        owner=WEB if drawn["owned"] else None,
        host_port=drawn["port"],
        metadata={"namespace": drawn["namespace"]},
        affinity=drawn["affinity"],
        topology_spread_constraints=drawn["spreads"],
        tolerations=[core_v1.Toleration(operator="Exists", key="t")] if drawn["tolerates"] else [],
    )


def default_selector(pod: core_v1.Pod) -> meta_v1.LabelSelector | None:
    owned = pod.metadata.owner_references and pod.metadata.namespace == "default"
    served = pod.metadata.namespace == "other" and pod.metadata.labels.get("app") == "b"
    if owned:
        return WEB.spec.selector
    return meta_v1.LabelSelector(match_labels={"app": "b"}) if served else None


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(nodes, st.lists(workloads, min_size=3, max_size=3), st.lists(STEP, min_size=1, max_size=25), st.integers(0, 99))
def test_arrays_come_to_the_node_of_the_plain_rules(drawn: Any, kinds: Any, steps: Any, seed: int) -> None:
    rng = Random(seed)
    snapshot = Snapshot(rng)
    snapshot.set_namespace("default", {"team": "x"})
    snapshot.set_namespace("other", {})
    snapshot.around.set_owner("ReplicaSet", "default", "web", WEB.spec.selector)
    snapshot.around.set_service("other", "svc", {"app": "b"})
    built = [build_node(i, d) for i, d in enumerate(drawn)]
    for node in built:
        snapshot.put_node(node)
    ranks = {name: int(snapshot.rank[row]) for name, row in snapshot.rows.items()}
    world = reference.World(built, ranks, [], {"default": {"team": "x"}, "other": {}}, default_selector)
    decider = Decider(snapshot)
    for number, (which, what) in enumerate(steps):
        if what == "place":
            pod = build_pod(number, kinds[which])
            expected = reference.choose(pod, world)
            kept = decider.decide(pod)
            afresh = decide(pod, snapshot)
            assert (kept.node, afresh.node) == (expected, expected), (kept.message, expected)
            if expected:
                assert reference.allowed(pod, built[int(expected[1:])], world)
                snapshot.put_pod(pod, expected)
                world.pods.append((pod, expected))
        elif what in ("leave", "finish") and world.pods:
            index = rng.randrange(len(world.pods))
            pod, where = world.pods[index]
            if what == "finish":
                snapshot.remove_pod(pod.metadata.uid)
                del world.pods[index]
            else:
                leaving = replace(pod, metadata=replace(pod.metadata, deletion_timestamp=NOW))
                snapshot.put_pod(leaving, where)
                world.pods[index] = (leaving, where)
        elif what in ("cordon", "label"):
            i = rng.randrange(len(built))
            zone = rng.choice(["z0", "z1", ""]) if what == "label" else None
            built[i] = build_node(i, drawn[i], cordoned=what == "cordon" and rng.random() < 0.5, zone=zone)
            snapshot.put_node(built[i])
