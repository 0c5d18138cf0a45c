"""Tables of what each kind's strategy fills in, refuses and lets change: a line each."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from controlplane.apiserver.strategies.allocation import Allocator
from controlplane.apiserver.strategies.batch import JobStrategy
from controlplane.apiserver.strategies.endpoints import EndpointSliceStrategy, EndpointsStrategy
from controlplane.apiserver.strategies.networkpolicy import NetworkPolicyStrategy
from controlplane.apiserver.strategies.pod import PodStrategy
from controlplane.apiserver.strategies.pod_defaults import pull_policy
from controlplane.apiserver.strategies.scaling import AutoscalerStrategy, BudgetStrategy, PriorityClassStrategy
from controlplane.apiserver.strategies.service import ServiceStrategy
from controlplane.apiserver.strategies.sets import DaemonSetStrategy, StatefulSetStrategy
from controlplane.apiserver.strategies.simple import ConfigMapStrategy, NodeStrategy, SecretStrategy
from controlplane.apiserver.strategies.storage import PersistentVolumeClaimStrategy, PersistentVolumeStrategy
from controlplane.apiserver.strategies.workload import DeploymentStrategy
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.clock import SystemClock
from kubeapi.codec import from_builtins
from kubeapi.meta import replace
from kubeapi.types import (
    apps_v1,
    autoscaling_v2,
    batch_v1,
    core_v1,
    discovery_v1,
    networking_v1,
    policy_v1,
    scheduling_v1,
)

TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
MOUNTING = {"name": "c", "image": "i:1", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}


def merged(base: Any, change: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(change, dict):
        return change
    both = {k: merged(base.get(k), v) for k, v in change.items()}
    return {k: v for k, v in (base | both).items() if v is not None}


BASES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "pod": (PodStrategy(), core_v1.Pod, {"spec": TEMPLATE["spec"]}),
    "deployment": (
        DeploymentStrategy(),
        apps_v1.Deployment,
        {"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}},
    ),
    "daemonset": (
        DaemonSetStrategy(),
        apps_v1.DaemonSet,
        {"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}},
    ),
    "statefulset": (
        StatefulSetStrategy(),
        apps_v1.StatefulSet,
        {
            "spec": {
                "serviceName": "s",
                "selector": {"matchLabels": {"a": "b"}},
                "template": merged(TEMPLATE, {"spec": {"containers": [MOUNTING]}}),
                "volumeClaimTemplates": [
                    {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}
                ],
            }
        },
    ),
    "job": (
        JobStrategy(),
        batch_v1.Job,
        {"spec": {"template": merged(TEMPLATE, {"spec": {"restartPolicy": "Never"}})}},
    ),
    "service": (
        ServiceStrategy(Allocator(store=EmbeddedStore(), cidr="10.96.0.0/16", clock=SystemClock(), rng=Random(1))),
        core_v1.Service,
        {"spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}},
    ),
    "pvc": (
        PersistentVolumeClaimStrategy(lambda: "fast"),
        core_v1.PersistentVolumeClaim,
        {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}},
    ),
    "pv": (
        PersistentVolumeStrategy(),
        core_v1.PersistentVolume,
        {"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}},
    ),
    "hpa": (
        AutoscalerStrategy(),
        autoscaling_v2.HorizontalPodAutoscaler,
        {"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "w"}, "maxReplicas": 3}},
    ),
    "pdb": (BudgetStrategy(), policy_v1.PodDisruptionBudget, {"spec": {"minAvailable": 1}}),
    "priority": (PriorityClassStrategy(), scheduling_v1.PriorityClass, {"value": 5}),
    "configmap": (ConfigMapStrategy(), core_v1.ConfigMap, {"data": {"k": "1"}}),
    "secret": (SecretStrategy(), core_v1.Secret, {"stringData": {"k": "1"}}),
    "node": (NodeStrategy(), core_v1.Node, {"spec": {"podCIDR": "10.244.1.0/24"}}),
    "endpoints": (
        EndpointsStrategy(),
        core_v1.Endpoints,
        {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]},
    ),
    "slice": (
        EndpointSliceStrategy(),
        discovery_v1.EndpointSlice,
        {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]},
    ),
    "policy": (
        NetworkPolicyStrategy(),
        networking_v1.NetworkPolicy,
        {"spec": {"podSelector": {}, "egress": [{"ports": [{"port": 80}]}]}},
    ),
}


def made(kind: str, change: dict[str, Any] | None = None) -> Any:
    strategy, type_, base = BASES[kind]
    body = merged(merged(base, change or {}), {"metadata": {"name": "x", "namespace": "d"}})
    return strategy.prepare_create(strategy.default(from_builtins(type_, body)))


def at(obj: Any, path: str) -> Any:
    for step in path.split("."):
        obj = obj[int(step)] if step.isdigit() else getattr(obj, step)
    return obj


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("pod", "spec.restart_policy", "Always"),
        ("pod", "spec.dns_policy", "ClusterFirst"),
        ("pod", "spec.scheduler_name", "default-scheduler"),
        ("pod", "spec.termination_grace_period_seconds", 30),
        ("pod", "spec.enable_service_links", True),
        ("pod", "spec.service_account_name", "default"),
        ("pod", "spec.priority", 0),
        ("pod", "spec.preemption_policy", "PreemptLowerPriority"),
        ("pod", "spec.containers.0.image_pull_policy", "IfNotPresent"),
        ("pod", "spec.containers.0.termination_message_path", "/dev/termination-log"),
        ("pod", "spec.containers.0.termination_message_policy", "File"),
        ("pod", "status.phase", "Pending"),
        ("pod", "status.qos_class", "BestEffort"),
        ("deployment", "spec.replicas", 1),
        ("deployment", "spec.revision_history_limit", 10),
        ("deployment", "spec.progress_deadline_seconds", 600),
        ("deployment", "spec.strategy.type", "RollingUpdate"),
        ("deployment", "spec.strategy.rolling_update.max_surge", "25%"),
        ("deployment", "spec.strategy.rolling_update.max_unavailable", "25%"),
        ("statefulset", "spec.pod_management_policy", "OrderedReady"),
        ("statefulset", "spec.update_strategy.type", "RollingUpdate"),
        ("statefulset", "spec.update_strategy.rolling_update.partition", 0),
        ("statefulset", "spec.persistent_volume_claim_retention_policy.when_deleted", "Retain"),
        ("job", "spec.completions", 1),
        ("job", "spec.parallelism", 1),
        ("job", "spec.backoff_limit", 6),
        ("job", "spec.completion_mode", "NonIndexed"),
        ("service", "spec.type", "ClusterIP"),
        ("service", "spec.session_affinity", "None"),
        ("service", "spec.internal_traffic_policy", "Cluster"),
        ("service", "spec.ip_families", ["IPv4"]),
        ("service", "spec.ports.0.protocol", "TCP"),
        ("service", "spec.ports.0.target_port", 80),
        ("pvc", "spec.volume_mode", "Filesystem"),
        ("pvc", "spec.storage_class_name", "fast"),
        ("pvc", "metadata.finalizers", ["kubernetes.io/pvc-protection"]),
        ("pvc", "status.phase", "Pending"),
        ("pv", "spec.persistent_volume_reclaim_policy", "Retain"),
        ("pv", "spec.volume_mode", "Filesystem"),
        ("hpa", "spec.min_replicas", 1),
        ("hpa", "spec.metrics.0.resource.target.average_utilization", 80),
        ("priority", "preemption_policy", "PreemptLowerPriority"),
        ("secret", "type", "Opaque"),
        ("secret", "data", {"k": b"1"}),
        ("secret", "string_data", {}),
        ("endpoints", "subsets.0.ports.0.protocol", "TCP"),
        ("slice", "ports.0.protocol", "TCP"),
        ("slice", "ports.0.name", ""),
        ("policy", "spec.policy_types", ["Ingress", "Egress"]),
        ("policy", "spec.egress.0.ports.0.protocol", "TCP"),
    ],
)
def test_defaults(kind: str, path: str, value: Any) -> None:
    assert at(made(kind), path) == value


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("a", "Always"),
        ("a:latest", "Always"),
        ("a:1", "IfNotPresent"),
        ("r:5000/a", "Always"),
        ("a@sha256:0", "IfNotPresent"),
    ],
)
def test_the_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    assert pull_policy(image) == policy


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("pod", {"spec": {"containers": []}}, "spec.containers: Required value"),
        ("pod", {"spec": {"restartPolicy": "Often"}}, 'spec.restartPolicy: Unsupported value: "Often": supported values: "Always", '),
        ("pod", {"spec": {"activeDeadlineSeconds": 0}}, "spec.activeDeadlineSeconds: Invalid value: 0"),
        ("pod", {"spec": {"containers": [{"name": "A", "image": "i"}]}}, 'spec.containers[0].name: Invalid value: "A"'),
        ("deployment", {"spec": {"replicas": -1}}, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ("deployment", {"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}, 'Unsupported value: "Never": supported values: "Always"'),
        ("statefulset", {"spec": {"volumeClaimTemplates": []}}, 'spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data"'),
        ("deployment", {"spec": {"strategy": {"rollingUpdate": {"maxSurge": "http"}}}}, 'spec.strategy.rollingUpdate.maxSurge: Invalid value: "http": a valid percent string'),
        ("deployment", {"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": "101%"}}}}, "maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"),
        ("daemonset", {"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "http"}}}}, 'spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: "http"'),
        ("daemonset", {"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": -1}}}}, "maxUnavailable: Invalid value: -1"),
        ("statefulset", {"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}}}, "maxUnavailable: Invalid value: 0: cannot be 0"),
        ("statefulset", {"spec": {"podManagementPolicy": "Any"}}, 'spec.podManagementPolicy: Unsupported value: "Any"'),
        ("job", {"spec": {"template": {"spec": {"restartPolicy": "Always"}}}}, 'spec.template.spec.restartPolicy: Unsupported value: "Always"'),
        ("job", {"spec": {"completionMode": "Indexed", "parallelism": 2}}, "spec.completions: Required value"),
        ("job", {"spec": {"backoffLimitPerIndex": 1}}, "spec.backoffLimitPerIndex: Forbidden: not supported by this cluster"),
        ("service", {"spec": {"ports": []}}, "spec.ports: Required value"),
        ("service", {"spec": {"ports": [{"port": 80}, {"port": 81}]}}, "spec.ports[0].name: Required value"),
        ("service", {"spec": {"ports": [{"port": 0}]}}, "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535"),
        ("service", {"spec": {"ports": [{"port": 80, "nodePort": 30080}]}}, "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"),
        ("service", {"spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}}, "provided port is not in the valid range. The range of valid ports is 30000-32767"),
        ("service", {"spec": {"clusterIP": "8.8.8.8"}}, "the provided IP is not in the valid range 10.96.0.0/"),
        ("service", {"spec": {"clusterIP": "None", "type": "NodePort"}}, "may not be set to 'None' for NodePort services"),
        ("service", {"spec": {"type": "ExternalName"}}, "spec.externalName: Required value"),
        ("service", {"spec": {"externalIPs": ["127.0.0.1"]}}, "spec.externalIPs[0]: Invalid value"),
        ("service", {"spec": {"healthCheckNodePort": 30001}}, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"),
        ("service", {"spec": {"ipFamilyPolicy": "RequireDualStack"}}, "this cluster is not configured for dual-stack services"),
        ("service", {"spec": {"externalIPs": ["fe80::1%} ; flush ruleset"]}}, "spec.externalIPs[0]: Invalid value"),
        ("service", {"spec": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}}, "spec.loadBalancerSourceRanges[0]: Forbidden: may only be used when `type` is 'LoadBalancer'"),
        ("service", {"spec": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8", "0.0.0.0/0 } ; flush ruleset"]}}, "spec.loadBalancerSourceRanges[1]: Invalid value"),
        ("pod", {"spec": {"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/a:rw"}]}]}}, "volumeMounts[0].mountPath: Invalid value: \"/a:rw\": must not contain ':'"),
        ("pvc", {"spec": {"accessModes": ["Any"]}}, 'spec.accessModes: Unsupported value: "Any"'),
        ("pvc", {"spec": {"resources": {"requests": None}}}, "spec.resources[storage]: Required value"),
        ("hpa", {"spec": {"maxReplicas": 0}}, "spec.maxReplicas: Invalid value: 0: must be greater than 0"),
        ("hpa", {"spec": {"minReplicas": 9}}, "must be greater than or equal to `minReplicas`"),
        ("pdb", {"spec": {"maxUnavailable": 1}}, "minAvailable and maxUnavailable cannot be both set"),
        ("pdb", {"spec": {"minAvailable": "101%"}}, 'spec.minAvailable: Invalid value: "101%": must not be greater than 100%'),
        ("priority", {"value": 2_000_000_000}, "maximum allowed value of a user defined priority is 1000000000"),
        ("node", {"spec": {"podCIDR": "ten", "podCIDRs": ["10.244.1.0/24", "10.1"]}}, 'spec.podCIDR: Invalid value: "ten": must be a valid CIDR value'),
        ("node", {"spec": {"podCIDRs": ["10.244.1.0/24", "10.1"]}}, 'spec.podCIDRs[1]: Invalid value: "10.1"'),
        ("node", {"spec": {"podCIDRs": ["10.244.2.0/24"]}}, "must match `podCIDR`"),
        ("configmap", {"data": {"a b": "1"}}, "data[a b]: Invalid value"),
        ("secret", {"type": "kubernetes.io/tls"}, "data[tls.crt]: Required value"),
        ("endpoints", {"subsets": [{"addresses": [{"ip": "ten"}]}]}, 'subsets[0].addresses[0].ip: Invalid value: "ten"'),
        ("endpoints", {"subsets": [{"ports": [{"port": 80}, {"port": 81}]}]}, "subsets[0].ports[0].name: Required value"),
        ("endpoints", {"subsets": [{"ports": [{"port": 0}]}]}, "subsets[0].ports[0].port: Invalid value: 0"),
        ("slice", {"addressType": None}, "addressType: Required value"),
        ("slice", {"addressType": "IPv6"}, 'endpoints[0].addresses[0]: Invalid value: "10.0.0.1": must be an IPv6 address'),
        ("slice", {"endpoints": [{"addresses": []}]}, "endpoints[0].addresses: Required value"),
        ("slice", {"ports": [{"port": 80}, {"port": 81}]}, 'ports[1].name: Duplicate value: ""'),
        ("policy", {"spec": {"policyTypes": ["Both"]}}, 'spec.policyTypes[0]: Unsupported value: "Both"'),
    ],
)  # fmt: skip
def test_what_is_refused_is_told_with_its_path(kind: str, change: dict[str, Any], message: str) -> None:
    assert message in "\n".join(str(f) for f in BASES[kind][0].validate(made(kind, change)))


@pytest.mark.parametrize(
    ("kind", "status", "message"),
    [
        ("pod", {"podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}, {"ip": "fd00::1"}], "hostIP": ""}, ""),
        ("pod", {"podIP": "Exists"}, 'status.podIP: Invalid value: "Exists": must be a valid IP address'),
        ("pod", {"podIPs": [{"ip": "10.1.2.3"}, {"ip": "10.1"}]}, 'status.podIPs[1].ip: Invalid value: "10.1"'),
        ("pod", {"hostIPs": [{"ip": "a"}]}, "status.hostIPs[0].ip: Invalid value"),
        ("service", {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "hostname": "a.example", "ipMode": "VIP"}]}}, ""),
        ("service", {"loadBalancer": {"ingress": [{"ip": "1.2.3.4 } ; flush ruleset"}]}}, "status.loadBalancer.ingress[0].ip: Invalid value"),
        ("service", {"loadBalancer": {"ingress": [{"hostname": "a_b"}]}}, "status.loadBalancer.ingress[0].hostname: Invalid value"),
        ("service", {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "None"}]}}, "status.loadBalancer.ingress[0].ipMode: Unsupported value"),
        ("job", {"completedIndexes": "0,2-4,7", "failedIndexes": "5"}, ""),
        ("job", {"completedIndexes": "/a"}, 'status.completedIndexes: Invalid value: "/a": must be numbers and ranges'),
        ("job", {"failedIndexes": "1,,2"}, "status.failedIndexes: Invalid value"),
    ],
)  # fmt: skip
def test_what_a_status_may_not_say(kind: str, status: dict[str, Any], message: str) -> None:
    before = made(kind)
    after = replace(before, status=from_builtins(type(before), {"status": status}).status)
    faults = "\n".join(str(f) for f in BASES[kind][0].validate_status(after, before))
    assert (message in faults) if message else not faults


@pytest.mark.parametrize("kind", BASES)
def test_each_base_is_valid_and_may_stay_as_it_is(kind: str) -> None:
    obj, strategy = made(kind), BASES[kind][0]
    assert list(strategy.validate(obj)) == [] and list(strategy.validate_update(obj, obj)) == []


@pytest.mark.parametrize(
    ("kind", "before", "after", "message"),
    [
        ("pod", {}, {"spec": {"containers": [{"name": "c", "image": "other:2"}]}}, ""),
        ("pod", {}, {"spec": {"activeDeadlineSeconds": 5}}, ""),
        ("pod", {"spec": {"activeDeadlineSeconds": 5}}, {"spec": {"activeDeadlineSeconds": 6}}, "spec.activeDeadlineSeconds"),
        ("pod", {"spec": {"activeDeadlineSeconds": 5}}, {}, "spec.activeDeadlineSeconds"),
        ("pod", {}, {"spec": {"tolerations": [{"key": "k", "operator": "Exists"}]}}, ""),
        ("pod", {"spec": {"tolerations": [{"key": "k", "operator": "Exists"}]}}, {}, "spec.tolerations"),
        ("pod", {"spec": {"schedulingGates": [{"name": "g"}]}}, {}, ""),
        ("pod", {}, {"spec": {"schedulingGates": [{"name": "g"}]}}, "spec.schedulingGates: Forbidden: only deletion"),
        ("pod", {}, {"spec": {"terminationGracePeriodSeconds": 1}}, "spec: Forbidden: pod updates may not change fields"),
        ("pod", {}, {"spec": {"hostname": "h"}}, "spec: Forbidden: pod updates may not change fields"),
        ("deployment", {}, {"spec": {"selector": {"matchLabels": {"a": "c"}}}}, "spec.selector: Invalid value"),
        ("deployment", {}, {"spec": {"replicas": 9, "template": {"spec": {"hostname": "h"}}}}, ""),
        ("statefulset", {}, {"spec": {"replicas": 5, "template": {"spec": {"hostname": "h"}}}}, ""),
        ("statefulset", {}, {"spec": {"serviceName": "other"}}, "updates to statefulset spec for fields other than"),
        ("job", {"spec": {"completions": 1}}, {"spec": {"completions": 1, "parallelism": 5}}, ""),
        ("job", {}, {"spec": {"completions": 5}}, "spec.completions: Invalid value"),
        ("job", {}, {"spec": {"template": {"spec": {"hostname": "h"}}}}, "spec.template: Invalid value"),
        ("job", {"spec": {"suspend": True}}, {"spec": {"template": {"spec": {"hostname": "h"}}}}, ""),
        ("service", {"spec": {"clusterIP": "10.96.0.7"}}, {"spec": {"clusterIP": "10.96.0.8"}}, "spec.clusterIPs[0]: Invalid value"),
        ("service", {"spec": {"clusterIP": "10.96.0.7"}}, {"spec": {"type": "ExternalName", "externalName": "x.y"}}, ""),
        ("pvc", {}, {"spec": {"accessModes": ["ReadWriteMany"]}}, "spec: Forbidden: spec is immutable after creation"),
        ("pvc", {}, {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}, "only dynamically provisioned pvc"),
        ("pvc", {}, {"spec": {"volumeName": "v"}}, ""),
        ("priority", {}, {"value": 6}, "value: Invalid value: 6: field is immutable"),
        ("configmap", {"immutable": True}, {"immutable": True, "data": {"k": "2"}}, "data: Forbidden: field is immutable"),
        ("configmap", {"immutable": True}, {}, "immutable: Forbidden: field is immutable when `immutable` is set"),
        ("secret", {"immutable": True}, {"immutable": True, "stringData": {"k": "2"}}, "data: Forbidden"),
        ("secret", {}, {"type": "other"}, "type: Invalid value"),
        ("node", {}, {"spec": {"podCIDR": "10.244.2.0/24"}}, "spec.podCIDR: Forbidden"),
        ("slice", {}, {"addressType": "FQDN"}, "addressType: Invalid value"),
        ("slice", {}, {"endpoints": []}, ""),
    ],
)  # fmt: skip
def test_what_may_change(kind: str, before: dict[str, Any], after: dict[str, Any], message: str) -> None:
    faults = "\n".join(str(f) for f in BASES[kind][0].validate_update(made(kind, after), made(kind, before)))
    assert (message in faults) if message else not faults
