"""Nodes counted by zone, as Kubernetes' node lifecycle controller tells them."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from controlplane.controllers.nodelifecycle.metrics import ZoneNumbers, zone_of, zones_of
from kubeapi.meta import replace
from kubeapi.types.core_v1 import Node, NodeCondition
from tests.support.make import make_node

REGION, ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"


def node(name: str, ready: str, **labels: str) -> Node:
    made = make_node(name)
    conditions = [NodeCondition(type="MemoryPressure", status="False")]
    if ready:
        conditions.append(NodeCondition(type="Ready", status=ready))
    metadata = replace(made.metadata, labels={ZONE if k == "zone" else REGION: v for k, v in labels.items()})
    return replace(made, metadata=metadata, status=replace(made.status, conditions=conditions))


@pytest.mark.parametrize(
    ("labels", "zone"),
    [
        ({}, ""),
        ({REGION: "eu", ZONE: "a"}, "eu::a"),
        ({REGION: "eu"}, "eu::"),
        ({ZONE: "a"}, "::a"),
        ({"failure-domain.beta.kubernetes.io/region": "eu", "failure-domain.beta.kubernetes.io/zone": "a"}, "eu::a"),
        ({ZONE: "new", "failure-domain.beta.kubernetes.io/zone": "old"}, "::new"),
        ({"kubernetes.io/hostname": "n1"}, ""),
    ],
)
def test_a_zone_is_named_as_kubernetes_shows_it(labels: dict[str, str], zone: str) -> None:
    assert zone_of(labels) == zone


def test_only_ready_is_healthy() -> None:
    nodes = [node("n1", "True"), node("n2", "False"), node("n3", "Unknown"), node("n4", "")]
    zones = zones_of(nodes)
    assert [*zones] == [""] and (zones[""].size, zones[""].unhealthy, zones[""].health) == (4, 3, 25.0)


def test_zones_are_counted_apart_and_only_while_somebody_watches() -> None:
    registry = CollectorRegistry()
    numbers = ZoneNumbers(registry)
    seen = [node("n1", "True", region="eu", zone="a"), node("n2", "Unknown", region="eu", zone="b")]

    def told(what: str, zone: str) -> float | None:
        return registry.get_sample_value(f"node_collector_{what}", {"zone": zone})

    assert told("zone_size", "eu::a") is None, "who does not lead knows of no nodes"
    numbers.watched(lambda: seen)
    assert [told(w, "eu::a") for w in ("zone_size", "unhealthy_nodes_in_zone", "zone_health")] == [1, 0, 100]
    assert [told(w, "eu::b") for w in ("zone_size", "unhealthy_nodes_in_zone", "zone_health")] == [1, 1, 0]
    seen.pop()
    assert told("zone_size", "eu::b") is None, "a zone without nodes is none"
    numbers.watched(None)
    assert told("zone_size", "eu::a") is None
