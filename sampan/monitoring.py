"""What Prometheus needs of a compose cluster: an identity, its rights, and services that lead it to what are no pods.

Nodes and API servers are found by what the cluster itself knows of them. Scheduler, controllers and etcd are containers
beside the cluster, so `sampan init`, which is told their addresses anyway, writes a headless service without selector and
its endpoint slice for each. The other ways were worse: a list of targets in Prometheus' own file would know the subnet and
the number of members, and components that register themselves would need rights to write what others are scraped by.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from sampan.cluster_pki import Identity

NAMESPACE = "kube-system"
SCHEDULER_PORT, CONTROLLERS_PORT, ETCD_PORT = 10251, 10252, 2381
"""Plain HTTP, numbers only; not published to the host."""
LABEL = "monitoring.sampan.dev/job"
"""On a service: the job that its endpoints belong to."""


@dataclass(frozen=True, slots=True)
class Host:
    name: str
    address: str


PROMETHEUS = Identity("prometheus", "prometheus", ("system:monitoring",))
"""Of the scraper, which finds what to scrape by itself."""
SETUP = Identity("monitoring", "monitoring-setup", ("system:masters",))
"""Applies the manifest, once."""


def manifest(*, schedulers: Sequence[Host], controllers: Sequence[Host], etcd: Sequence[Host]) -> str:
    objects = [_role(), _binding()]
    for job, hosts, port in (
        ("kube-scheduler", schedulers, SCHEDULER_PORT),
        ("kube-controller-manager", controllers, CONTROLLERS_PORT),
        ("etcd", etcd, ETCD_PORT),
    ):
        if hosts:
            objects += [_service(job, port), _slice(job, hosts, port)]
    return yaml.safe_dump_all(objects, sort_keys=False)


def _role() -> dict[str, Any]:
    look = ["get", "list", "watch"]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": PROMETHEUS.name},
        "rules": [
            {"apiGroups": [""], "resources": ["nodes", "services", "endpoints", "pods"], "verbs": look},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": look},
            {"apiGroups": [""], "resources": ["nodes/proxy", "nodes/metrics", "pods/proxy"], "verbs": ["get"]},
            {"nonResourceURLs": ["/metrics"], "verbs": ["get"]},
        ],
    }


def _binding() -> dict[str, Any]:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": PROMETHEUS.name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": PROMETHEUS.name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": PROMETHEUS.name}],
    }


def _service(job: str, port: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": job, "namespace": NAMESPACE, "labels": {LABEL: job}},
        "spec": {"clusterIP": "None", "ports": [{"name": "metrics", "port": port}]},
    }


def _slice(job: str, hosts: Sequence[Host], port: int) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": job,
            "namespace": NAMESPACE,
            # It is nobody's: the endpoint slice controller leaves a slice alone that another manager names as its own.
            "labels": {"kubernetes.io/service-name": job, "endpointslice.kubernetes.io/managed-by": "sampan-init"},
        },
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": [host.address], "hostname": host.name, "conditions": {"ready": True}} for host in hosts
        ],
        "ports": [{"name": "metrics", "port": port, "protocol": "TCP"}],
    }
