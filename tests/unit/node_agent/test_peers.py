"""Which other nodes the overlay leads to."""

from __future__ import annotations

import pytest

from kubeapi.meta import replace
from kubeapi.types.core_v1 import Node, NodeAddress, NodeSpec, NodeStatus
from kubeapi.types.meta_v1 import ObjectMeta
from node_agent.network_keeper import peers_of
from node_agent.node_object import VTEP_MAC

MAC = "0a:58:0a:f4:01:01"


def node(name: str = "b", mac: str = MAC, address: str = "192.0.2.2", cidr: str = "10.244.2.0/24") -> Node:
    return Node(
        metadata=ObjectMeta(name=name, annotations={VTEP_MAC: mac}),
        spec=NodeSpec(pod_cidr=cidr),
        status=NodeStatus(addresses=[NodeAddress(type="InternalIP", address=address)]),
    )


@pytest.mark.parametrize(
    "odd",
    [
        node(mac=""),
        node(mac="web"),
        node(mac=MAC + ":00"),
        node(address=""),
        node(address="host"),
        node(address="fd00::1"),
        node(cidr=""),
        node(cidr="ten"),
        node(cidr="10.244.2.1/24"),
        replace(node(), status=NodeStatus()),
    ],
)
def test_a_node_that_cannot_be_read_keeps_nobody_from_the_others(odd: Node) -> None:
    assert [p.node for p in peers_of([odd, node("me"), node("c")], "me")] == ["c"]
