"""What the schema alone refuses, in any kind and at any depth: a line each."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.apiserver.structure import structural_faults
from kubeapi.codec import from_builtins
from kubeapi.types import batch_v1, core_v1, networking_v1, policy_v1, rbac_v1


def container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", **fields}]}}


def chosen(operator: str, *values: str, key: str = "k") -> dict[str, Any]:
    return {"spec": {"selector": {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}}}


def placed(kind: str, **term: Any) -> dict[str, Any]:
    terms = {"required": {"nodeSelectorTerms": [{kind: [term]}]}}
    return {"spec": {"nodeAffinity": terms}}


EXPRESSIONS = "spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0]"
FIELDS = "spec.nodeAffinity.required.nodeSelectorTerms[0].matchFields[0]"


@pytest.mark.parametrize(
    ("type_", "body", "messages"),
    [
        (core_v1.Pod, container(resources={"limits": {"cpu": "1", "memory": "5Gi"}}), []),
        (core_v1.Pod, container(resources={"limits": {"cpu": "much"}}), ['spec.containers[0].resources.limits[cpu]: Invalid value: "much": quantities must match']),
        (core_v1.Pod, container(terminationMessagePolicy="Any"), ['spec.containers[0].terminationMessagePolicy: Unsupported value: "Any"']),
        (core_v1.Pod, {"spec": {"volumes": [{"name": "v", "emptyDir": {"sizeLimit": ""}}]}}, ['spec.volumes[0].emptyDir.sizeLimit: Invalid value: "": quantities']),
        (core_v1.Node, {"status": {"allocatable": {"cpu": "a", "memory": 5}}}, ['status.allocatable[cpu]: Invalid value: "a"']),
        (core_v1.PersistentVolumeClaim, {"status": {"phase": "Lost", "capacity": {"storage": "1GB"}}}, ['status.capacity[storage]: Invalid value: "1GB"']),
        (policy_v1.PodDisruptionBudget, chosen("In", "a"), []),
        (policy_v1.PodDisruptionBudget, chosen("Exists"), []),
        (policy_v1.PodDisruptionBudget, chosen("Always"), ['spec.selector.matchExpressions[0].operator: Invalid value: "Always": not a valid selector operator']),
        (policy_v1.PodDisruptionBudget, chosen("Gt", "1"), ["spec.selector.matchExpressions[0].operator: Invalid value"]),
        (policy_v1.PodDisruptionBudget, chosen("NotIn"), ["spec.selector.matchExpressions[0].values: Required value: must be specified"]),
        (policy_v1.PodDisruptionBudget, chosen("Exists", "a"), ["spec.selector.matchExpressions[0].values: Forbidden: may not be specified"]),
        (policy_v1.PodDisruptionBudget, chosen("In", "a", key="a/b/c"), ['spec.selector.matchExpressions[0].key: Invalid value: "a/b/c"']),
        (policy_v1.PodDisruptionBudget, chosen("In", "a", "b c"), ['spec.selector.matchExpressions[0].values[1]: Invalid value: "b c"']),
        (policy_v1.PodDisruptionBudget, {"spec": {"selector": {"matchLabels": {"a": "b c"}}}}, ['spec.selector.matchLabels: Invalid value: "b c"']),
        (batch_v1.CronJob, {"spec": {"jobTemplate": {"spec": {"selector": {"matchLabels": {"a b": ""}}}}}}, ["spec.jobTemplate.spec.selector.matchLabels: Invalid value"]),
        (networking_v1.NetworkPolicy, {"spec": {"ingress": [{"from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "is"}]}}]}]}}, ["spec.ingress[0].from[0].podSelector.matchExpressions[0].operator"]),
        (rbac_v1.ClusterRole, {"aggregationRule": {"clusterRoleSelectors": [{"matchExpressions": [{"key": "a", "operator": "is"}]}]}}, ["aggregationRule.clusterRoleSelectors[0].matchExpressions[0].operator"]),
        (core_v1.PersistentVolume, placed("matchExpressions", key="a", operator="Gt", values=["5"]), []),
        (core_v1.PersistentVolume, placed("matchExpressions", key="a", operator="Gt"), [f"{EXPRESSIONS}.operator: Invalid value"]),
        (core_v1.PersistentVolume, placed("matchExpressions", key="a", operator="Always"), [f"{EXPRESSIONS}.operator: Invalid value"]),
        (core_v1.PersistentVolume, placed("matchExpressions", key="", operator="Exists"), [f"{EXPRESSIONS}.key: Invalid value"]),
        (core_v1.PersistentVolume, placed("matchFields", key="metadata.name", operator="In", values=["n"]), []),
        (core_v1.PersistentVolume, placed("matchFields", key="metadata.name", operator="In", values=["n", "m"]), [f"{FIELDS}.values: Required value: must be only one value"]),
        (core_v1.PersistentVolume, placed("matchFields", key="spec.x", operator="Exists"), [f"{FIELDS}.key: Invalid value", f"{FIELDS}.operator: Unsupported", f"{FIELDS}.values"]),
    ],
)  # fmt: skip
def test_structure(type_: Any, body: dict[str, Any], messages: list[str]) -> None:
    told = [str(fault) for fault in structural_faults(from_builtins(type_, body))]
    assert len(told) == len(messages) and all(map(str.startswith, told, messages)), told


def test_a_part_is_told_with_its_place() -> None:
    status = from_builtins(core_v1.Node, {"status": {"capacity": {"cpu": "x"}}}).status
    assert [f.path for f in structural_faults(status, "status")] == ["status.capacity[cpu]"]
