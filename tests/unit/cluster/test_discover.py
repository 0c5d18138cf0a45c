"""What Prometheus is led to, as files."""

import json
from pathlib import Path

from kubeapi.types import core_v1, discovery_v1
from kubeapi.types.meta_v1 import ObjectMeta
from sampan.discover import of_nodes, of_pods, of_slices, write


def piece() -> discovery_v1.EndpointSlice:
    labels = {"kubernetes.io/service-name": "kube-scheduler"}
    return discovery_v1.EndpointSlice(
        metadata=ObjectMeta(name="kube-scheduler-1", namespace="kube-system", labels=labels),
        address_type="IPv4",
        endpoints=[
            discovery_v1.Endpoint(addresses=["10.0.0.12"], conditions=discovery_v1.EndpointConditions(ready=True)),
            discovery_v1.Endpoint(addresses=["10.0.0.13"], conditions=discovery_v1.EndpointConditions(ready=False)),
        ],
        ports=[discovery_v1.EndpointPort(name="metrics", port=10251)],
    )


def test_a_slice_has_a_target_for_each_address_and_its_services_labels() -> None:
    meta = ObjectMeta(name="kube-scheduler", namespace="kube-system", labels={"monitoring.sampan.dev/job": "s"})
    found = of_slices([piece()], {("kube-system", "kube-scheduler"): core_v1.Service(metadata=meta)})
    assert [group["targets"] for group in found] == [["10.0.0.12:10251"], ["10.0.0.13:10251"]]
    first = found[0]["labels"]
    assert first["__meta_kubernetes_service_label_monitoring_sampan_dev_job"] == "s"
    assert first["__meta_kubernetes_endpointslice_port_name"] == "metrics"
    assert [g["labels"]["__meta_kubernetes_endpointslice_endpoint_conditions_ready"] for g in found] == [
        "true",
        "false",
    ]


def test_a_slice_whose_service_is_not_known_yet_is_found_too() -> None:
    assert "__meta_kubernetes_service_name" not in of_slices([piece()], {})[0]["labels"]


def test_nodes_and_pods() -> None:
    address = core_v1.NodeAddress(type="InternalIP", address="10.0.0.21")
    node = core_v1.Node(metadata=ObjectMeta(name="node-1"), status=core_v1.NodeStatus(addresses=[address]))
    [group] = of_nodes([node])
    assert (group["targets"], group["labels"]["__meta_kubernetes_node_name"]) == (["10.0.0.21"], "node-1")
    notes = {"prometheus.io/scrape": "true"}
    waits = core_v1.Pod(metadata=ObjectMeta(name="a", namespace="d", annotations=notes))
    runs = core_v1.Pod(
        metadata=ObjectMeta(name="b", namespace="d", annotations=notes),
        status=core_v1.PodStatus(pod_ip="10.244.0.2", phase="Running"),
    )
    [group] = of_pods([waits, runs])
    assert group["labels"]["__meta_kubernetes_pod_name"] == "b"
    assert group["labels"]["__meta_kubernetes_pod_annotation_prometheus_io_scrape"] == "true"


def test_a_file_is_written_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    groups = [{"targets": ["a"], "labels": {"b": "c"}}]
    assert write(path, groups)
    assert not write(path, groups)
    assert write(path, [])
    assert json.loads(path.read_text()) == []
