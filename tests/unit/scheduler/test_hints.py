"""Which change wakes which refused pod."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.scheduler.decide import Decider
from controlplane.scheduler.hints import Change, What, Why, helps
from controlplane.scheduler.shape import shape_of
from controlplane.scheduler.snapshot import Snapshot
from kubeapi.types import core_v1, meta_v1
from tests.support.make import make_node, make_pod

TAINTED = make_node("t", taints=[core_v1.Taint(key="k", effect="NoSchedule")])
HELD = make_pod("gone", node="n", labels={"app": "a"})


def why(plugin: str, pod: core_v1.Pod, *short: str) -> Why:
    return Why(frozenset([plugin]), shape_of(pod, Snapshot()), frozenset(short))


def gone(pod: core_v1.Pod = HELD, **freed: int) -> Change:
    return Change(What.POD_GONE, pod=pod, freed={"pods": 1, **freed})


def affinity(anti: bool) -> core_v1.Affinity:
    selector = meta_v1.LabelSelector(match_labels={"app": "a"})
    terms: Any = [core_v1.PodAffinityTerm(topology_key="zone", label_selector=selector)]
    if anti:
        return core_v1.Affinity(
            pod_anti_affinity=core_v1.PodAntiAffinity(required_during_scheduling_ignored_during_execution=terms)
        )
    return core_v1.Affinity(pod_affinity=core_v1.PodAffinity(required_during_scheduling_ignored_during_execution=terms))


BIG = make_pod(requests={"cpu": "2"})
NEAR, APART = make_pod(affinity=affinity(False)), make_pod(affinity=affinity(True))
TABLE = [
    ("cpu comes free", why("NodeResourcesFit", BIG, "cpu"), gone(cpu=500), True),
    ("only memory comes free", why("NodeResourcesFit", BIG, "cpu"), gone(memory=500), False),
    ("a large node", why("NodeResourcesFit", BIG, "cpu"), Change(What.NODE_ADDED, node=make_node(cpu="2")), True),
    ("a small node", why("NodeResourcesFit", BIG, "cpu"), Change(What.NODE_ADDED, node=make_node(cpu="1")), False),
    ("a label for a pod without cpu", why("NodeResourcesFit", BIG), Change(What.NODE_LABELS, node=TAINTED), False),
    ("a taint goes", why("TaintToleration", BIG), Change(What.NODE_TAINTS, node=make_node()), True),
    ("a taint stays", why("TaintToleration", BIG), Change(What.NODE_TAINTS, node=TAINTED), False),
    ("a pod goes, the taint stays", why("TaintToleration", BIG), gone(cpu=500), False),
    ("uncordoned", why("NodeUnschedulable", BIG), Change(What.NODE_TAINTS, node=make_node()), True),
    (
        "the right label",
        why("NodeAffinity", make_pod(node_selector={"d": "ssd"})),
        Change(What.NODE_LABELS, node=make_node(labels={"d": "ssd"})),
        True,
    ),
    (
        "the wrong label",
        why("NodeAffinity", make_pod(node_selector={"d": "ssd"})),
        Change(What.NODE_LABELS, node=make_node(labels={"d": "hdd"})),
        False,
    ),
    ("a friend comes", why("InterPodAffinity", NEAR), Change(What.POD_PLACED, pod=HELD), True),
    ("a stranger comes", why("InterPodAffinity", NEAR), Change(What.POD_PLACED, pod=make_pod()), False),
    ("a foe goes", why("InterPodAffinity", APART), gone(), True),
    ("a stranger goes", why("InterPodAffinity", APART), gone(make_pod()), False),
    ("one that kept others away goes", why("InterPodAffinity", NEAR), gone(APART), True),
    ("the port's holder goes", why("NodePorts", make_pod(host_port=80)), gone(make_pod(host_port=80)), True),
    ("a claim is bound", why("VolumeBinding", BIG), Change(What.VOLUMES), True),
    ("nothing is known", Why(), Change(What.NODE_LABELS), True),
    ("a filter unheard of", Why(frozenset(["Later"])), Change(What.NODE_LABELS), True),
]


@pytest.mark.parametrize(("reason", "change", "expected"), [t[1:] for t in TABLE], ids=[t[0] for t in TABLE])
def test_only_what_could_help_wakes(reason: Why, change: Change, expected: bool) -> None:
    assert helps(reason, change) is expected


def test_the_decision_names_who_objected() -> None:
    snapshot = Snapshot()
    snapshot.put_node(TAINTED)
    snapshot.put_node(make_node("small", cpu="1"))
    assert Decider(snapshot).decide(BIG).plugins == {"TaintToleration", "NodeResourcesFit"}
