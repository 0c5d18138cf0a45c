"""Which strategy serves which resource."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from controlplane.apiserver.strategies.allocation import Allocator
from controlplane.apiserver.strategies.batch import CronJobStrategy, JobStrategy
from controlplane.apiserver.strategies.endpoints import EndpointSliceStrategy, EndpointsStrategy
from controlplane.apiserver.strategies.networkpolicy import NetworkPolicyStrategy
from controlplane.apiserver.strategies.pod import PodStrategy
from controlplane.apiserver.strategies.pod_admission import Surroundings
from controlplane.apiserver.strategies.reviews import ReviewStrategy
from controlplane.apiserver.strategies.scaling import AutoscalerStrategy, BudgetStrategy, PriorityClassStrategy
from controlplane.apiserver.strategies.service import ServiceStrategy
from controlplane.apiserver.strategies.sets import DaemonSetStrategy, StatefulSetStrategy
from controlplane.apiserver.strategies.simple import (
    ConfigMapStrategy,
    EventStrategy,
    NamespaceStrategy,
    NodeStrategy,
    RbacStrategy,
    SecretStrategy,
)
from controlplane.apiserver.strategies.storage import (
    PersistentVolumeClaimStrategy,
    PersistentVolumeStrategy,
    StorageClassStrategy,
)
from controlplane.apiserver.strategies.workload import DeploymentStrategy, ReplicaSetStrategy
from controlplane.apiserver.strategy import Strategy


def all_strategies(
    *, allocator: Allocator, default_class: Callable[[], str], around: Surroundings, rng: Random
) -> dict[str, Strategy]:
    review, rbac = ReviewStrategy(), RbacStrategy()
    return {
        "pods": PodStrategy(around, rng),
        "services": ServiceStrategy(allocator),
        "namespaces": NamespaceStrategy(),
        "nodes": NodeStrategy(),
        "configmaps": ConfigMapStrategy(),
        "secrets": SecretStrategy(),
        "events": EventStrategy(),
        "endpoints": EndpointsStrategy(),
        "endpointslices.discovery.k8s.io": EndpointSliceStrategy(),
        "networkpolicies.networking.k8s.io": NetworkPolicyStrategy(),
        "persistentvolumes": PersistentVolumeStrategy(),
        "persistentvolumeclaims": PersistentVolumeClaimStrategy(default_class),
        "storageclasses.storage.k8s.io": StorageClassStrategy(),
        "deployments.apps": DeploymentStrategy(),
        "replicasets.apps": ReplicaSetStrategy(),
        "statefulsets.apps": StatefulSetStrategy(),
        "daemonsets.apps": DaemonSetStrategy(),
        "jobs.batch": JobStrategy(),
        "cronjobs.batch": CronJobStrategy(),
        "horizontalpodautoscalers.autoscaling": AutoscalerStrategy(),
        "poddisruptionbudgets.policy": BudgetStrategy(),
        "priorityclasses.scheduling.k8s.io": PriorityClassStrategy(),
        "clusterroles.rbac.authorization.k8s.io": rbac,
        "clusterrolebindings.rbac.authorization.k8s.io": rbac,
        "roles.rbac.authorization.k8s.io": rbac,
        "rolebindings.rbac.authorization.k8s.io": rbac,
        "tokenreviews.authentication.k8s.io": review,
        "selfsubjectreviews.authentication.k8s.io": review,
        "subjectaccessreviews.authorization.k8s.io": review,
        "selfsubjectaccessreviews.authorization.k8s.io": review,
        "localsubjectaccessreviews.authorization.k8s.io": review,
        "selfsubjectrulesreviews.authorization.k8s.io": review,
    }
