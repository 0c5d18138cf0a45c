"""Objects for tests, with as few words as possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kubeapi.types import apps_v1, core_v1, meta_v1

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GIB = "1Gi"


def meta(name: str, namespace: str = "default", uid: str = "", **fields: Any) -> meta_v1.ObjectMeta:
    fields.setdefault("creation_timestamp", NOW)
    return meta_v1.ObjectMeta(name=name, namespace=namespace, uid=uid or f"uid-{name}", **fields)


def owned_by(owner: Any) -> meta_v1.OwnerReference:
    return meta_v1.OwnerReference(
        api_version=owner.api_version,
        kind=owner.kind,
        name=owner.metadata.name,
        uid=owner.metadata.uid,
        controller=True,
        block_owner_deletion=True,
    )


def make_pod(
    name: str = "pod",
    *,
    requests: Mapping[str, str] | None = None,
    node: str = "",
    phase: str = "Pending",
    ready: bool | None = None,
    owner: Any = None,
    host_port: int = 0,
    labels: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    **spec: Any,
) -> core_v1.Pod:
    refs = [owned_by(owner)] if owner is not None else []
    ports = [core_v1.ContainerPort(container_port=80, host_port=host_port)] if host_port else []
    container = core_v1.Container(
        name="c",
        image="app:1",
        ports=ports,
        resources=core_v1.ResourceRequirements(requests=dict(requests or {})),
    )
    conditions = []
    if ready is not None:
        status = "True" if ready else "False"
        conditions = [core_v1.PodCondition(type="Ready", status=status, last_transition_time=NOW)]
    return core_v1.Pod(
        metadata=meta(name, labels=dict(labels or {}), owner_references=refs, **(metadata or {})),
        spec=core_v1.PodSpec(containers=[container], node_name=node, **spec),
        status=core_v1.PodStatus(phase=phase, conditions=conditions),
    )


def make_node(
    name: str = "node",
    *,
    cpu: str = "4",
    memory: str = "8Gi",
    pods: int = 110,
    labels: Mapping[str, str] | None = None,
    taints: Sequence[core_v1.Taint] = (),
    unschedulable: bool = False,
    ready: str | None = "True",
) -> core_v1.Node:
    conditions = []
    if ready is not None:
        conditions = [core_v1.NodeCondition(type="Ready", status=ready, last_transition_time=NOW)]
    return core_v1.Node(
        metadata=meta(name, "", labels={"kubernetes.io/hostname": name, **(labels or {})}),
        spec=core_v1.NodeSpec(taints=list(taints), unschedulable=unschedulable),
        status=core_v1.NodeStatus(allocatable={"cpu": cpu, "memory": memory, "pods": str(pods)}, conditions=conditions),
    )


def make_template(labels: Mapping[str, str] | None = None, image: str = "app:1") -> core_v1.PodTemplateSpec:
    return core_v1.PodTemplateSpec(
        metadata=meta_v1.ObjectMeta(labels=dict(labels or {"app": "web"})),
        spec=core_v1.PodSpec(containers=[core_v1.Container(name="c", image=image)]),
    )


def make_replicaset(
    name: str = "web", replicas: int = 3, *, labels: Mapping[str, str] | None = None, **spec: Any
) -> apps_v1.ReplicaSet:
    wanted = dict(labels or {"app": "web"})
    return apps_v1.ReplicaSet(
        metadata=meta(name, labels=wanted, generation=1),
        spec=apps_v1.ReplicaSetSpec(
            replicas=replicas,
            selector=meta_v1.LabelSelector(match_labels=wanted),
            template=make_template(wanted),
            **spec,
        ),
    )


def make_deployment(
    name: str = "web",
    replicas: int = 3,
    *,
    image: str = "app:1",
    surge: int | str | None = None,
    unavailable: int | str | None = None,
    strategy: str = "RollingUpdate",
    **spec: Any,
) -> apps_v1.Deployment:
    rolling = None
    if strategy == "RollingUpdate":
        rolling = apps_v1.RollingUpdateDeployment(max_surge=surge, max_unavailable=unavailable)
    spec.setdefault("progress_deadline_seconds", 600)
    spec.setdefault("revision_history_limit", 10)
    return apps_v1.Deployment(
        metadata=meta(name, generation=1),
        spec=apps_v1.DeploymentSpec(
            replicas=replicas,
            selector=meta_v1.LabelSelector(match_labels={"app": "web"}),
            template=make_template(image=image),
            strategy=apps_v1.DeploymentStrategy(type=strategy, rolling_update=rolling),
            **spec,
        ),
    )


def make_claim(name: str = "data", size: str = GIB, **fields: Any) -> core_v1.PersistentVolumeClaim:
    spec = {"access_modes": ["ReadWriteOnce"], "storage_class_name": "local", **fields}
    return core_v1.PersistentVolumeClaim(
        metadata=meta(name),
        spec=core_v1.PersistentVolumeClaimSpec(
            resources=core_v1.VolumeResourceRequirements(requests={"storage": size}), **spec
        ),
        status=core_v1.PersistentVolumeClaimStatus(phase="Pending"),
    )


def make_volume(name: str = "pv", size: str = GIB, *, node: str = "", **fields: Any) -> core_v1.PersistentVolume:
    affinity = None
    if node:
        wanted = core_v1.NodeSelectorRequirement(key="kubernetes.io/hostname", operator="In", values=[node])
        term = core_v1.NodeSelectorTerm(match_expressions=[wanted])
        affinity = core_v1.VolumeNodeAffinity(required=core_v1.NodeSelector(node_selector_terms=[term]))
    spec = {"access_modes": ["ReadWriteOnce"], "storage_class_name": "local", "volume_mode": "Filesystem", **fields}
    return core_v1.PersistentVolume(
        metadata=meta(name, ""),
        spec=core_v1.PersistentVolumeSpec(capacity={"storage": size}, node_affinity=affinity, **spec),
        status=core_v1.PersistentVolumeStatus(phase="Available"),
    )
