"""What controllers read of texts that anybody may have written."""

from __future__ import annotations

import pytest

from controlplane.controllers.endpoints.plan import plan as endpoints
from controlplane.controllers.job.indexes import INDEX, format_indexes, index_of, parse_indexes
from controlplane.controllers.nodeipam.plan import next_cidr
from kubeapi.meta import replace
from kubeapi.types import core_v1, meta_v1
from tests.support.make import make_pod


@pytest.mark.parametrize(
    ("text", "completions", "found"),
    [
        ("", 5, set()),
        ("0,2-4", 5, {0, 2, 3, 4}),
        ("0,2-4", 4, {0, 2, 3}),
        ("0-999999999", 3, {0, 1, 2}),
        ("5-3,1", 9, {1}),
        ("/a,1,²,2-b,-3", 9, {1}),
        ("9" * 5000, 9, set()),
    ],
)
def test_indexes(text: str, completions: int, found: set[int]) -> None:
    assert parse_indexes(text, completions) == found
    assert parse_indexes(format_indexes(found), completions) == found


@pytest.mark.parametrize(("text", "index"), [("3", 3), ("", None), ("²", None), ("-1", None), ("9" * 5000, None)])
def test_index_of_a_pod(text: str, index: int | None) -> None:
    pod = make_pod()
    assert index_of(replace(pod, metadata=replace(pod.metadata, annotations={INDEX: text}))) == index


def test_a_nodes_network_that_is_none_takes_nothing() -> None:
    assert next_cidr("10.244.0.0/16", ["ten", "10.244.0.0/24", "fd00::/64"]) == "10.244.1.0/24"


def test_an_address_of_another_family_stands_behind_no_service() -> None:
    service = core_v1.Service(
        metadata=meta_v1.ObjectMeta(name="web", namespace="default"),
        spec=core_v1.ServiceSpec(selector={"app": "web"}, ports=[core_v1.ServicePort(port=80, target_port=80)]),
    )
    pods = [make_pod(name) for name in "ab"]
    pods = [
        replace(pod, status=replace(pod.status, pod_ip=ip))
        for pod, ip in zip(pods, ("10.0.0.1", "fd00::1"), strict=True)
    ]
    [found] = endpoints(service, pods).slices
    assert [e.addresses for e in found.endpoints] == [["10.0.0.1"]]
