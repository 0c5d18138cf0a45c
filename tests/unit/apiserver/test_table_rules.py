"""The columns of what bounds and binds others, as kubectl users know them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controlplane.apiserver.items import Item
from controlplane.apiserver.tables.table import make_table
from kubeapi import codec
from kubeapi.scheme import SCHEME

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BORN = (NOW - timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")

CASES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    (
        "policy/v1",
        "PodDisruptionBudget",
        {"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 2}},
        {"Min Available": "50%", "Max Unavailable": "N/A", "Allowed Disruptions": 2},
    ),
    (
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        {
            "spec": {
                "scaleTargetRef": {"kind": "Deployment", "name": "web"},
                "maxReplicas": 4,
                "metrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 60}}},
                    {"type": "Resource", "resource": {"name": "memory", "target": {"averageValue": "1Gi"}}},
                ],
            },
            "status": {
                "currentReplicas": 3,
                "currentMetrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 7}}}
                ],
            },
        },
        {
            "Reference": "Deployment/web",
            "Targets": "cpu: 7%/60%, memory: <unknown>/1Gi",
            "MinPods": "<unset>",
            "MaxPods": 4,
            "Replicas": 3,
        },
    ),
    (
        "networking.k8s.io/v1",
        "NetworkPolicy",
        {"spec": {"podSelector": {"matchLabels": {"app": "web"}}}},
        {"Pod-Selector": "app=web"},
    ),
    (
        "v1",
        "ResourceQuota",
        {"status": {"hard": {"pods": "10", "limits.cpu": "2"}, "used": {"pods": "3"}}},
        {"Request": "pods: 3/10", "Limit": "limits.cpu: 0/2"},
    ),
    (
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        {
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
            "subjects": [
                {"kind": "User", "name": "jane"},
                {"kind": "User", "name": "joe"},
                {"kind": "ServiceAccount", "name": "bot", "namespace": "ci"},
            ],
        },
        {"Role": "Role/reader", "Users": "jane, joe", "Groups": "", "ServiceAccounts": "ci/bot"},
    ),
    (
        "networking.k8s.io/v1",
        "IngressClass",
        {
            "spec": {
                "controller": "example.com/c",
                "parameters": {"apiGroup": "k8s.example.com", "kind": "P", "name": "x"},
            }
        },
        {"Controller": "example.com/c", "Parameters": "P.k8s.example.com/x"},
    ),
]


@pytest.mark.parametrize(("version", "kind", "fields", "wanted"), CASES, ids=[case[1] for case in CASES])
def test_cells(version: str, kind: str, fields: dict[str, Any], wanted: dict[str, Any]) -> None:
    resource = SCHEME.by_kind(version, kind)
    assert resource is not None
    metadata = {"name": "one", "namespace": "default", "creationTimestamp": BORN}
    obj = codec.from_builtins(resource.type, {"apiVersion": version, "kind": kind, "metadata": metadata, **fields})
    table = make_table(resource, [Item("/k", obj, 7)], NOW, revision=7)
    cells = {c.name: cell for c, cell in zip(table.column_definitions, table.rows[0].cells, strict=True)}
    assert cells == {"Name": "one", "Age": "5m", **wanted}
