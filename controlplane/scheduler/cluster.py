"""What the scheduler watches besides pods: informers that keep the snapshot, and say what has changed for whom."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from controlplane.scheduler.hints import Change, What
from controlplane.scheduler.preempt import Budget
from controlplane.scheduler.snapshot import Snapshot
from controlplane.scheduler.volumes import VolumeNeeds, needs_of
from kubeapi.client.informer import Informer, InformerMetrics
from kubeapi.client.interface import Client
from kubeapi.client.keys import by_namespace
from kubeapi.selectors import label_query
from kubeapi.types.apps_v1 import ReplicaSet, StatefulSet
from kubeapi.types.core_v1 import (
    Namespace,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    ReplicationController,
    Service,
)
from kubeapi.types.policy_v1 import PodDisruptionBudget
from kubeapi.types.storage_v1 import StorageClass


class Cluster:
    def __init__(
        self,
        client: Client,
        *,
        snapshot: Snapshot,
        changed: Callable[[Change], None],
        rng: Random,
        metrics: InformerMetrics | None = None,
    ) -> None:
        self.snapshot = snapshot
        self._changed = changed
        self.nodes = Informer(client, Node, rng=rng, metrics=metrics)
        self._claims = Informer(client, PersistentVolumeClaim, rng=rng, metrics=metrics)
        self._volumes = Informer(client, PersistentVolume, rng=rng, metrics=metrics)
        self._classes = Informer(client, StorageClass, rng=rng, metrics=metrics)
        self._budgets = Informer(
            client, PodDisruptionBudget, rng=rng, metrics=metrics, indexes={"namespace": by_namespace}
        )
        namespaces = Informer(client, Namespace, rng=rng, metrics=metrics)
        services = Informer(client, Service, rng=rng, metrics=metrics)
        controllers = Informer(client, ReplicationController, rng=rng, metrics=metrics)
        replicas = Informer(client, ReplicaSet, rng=rng, metrics=metrics)
        sets = Informer(client, StatefulSet, rng=rng, metrics=metrics)
        self.nodes.subscribe(self._on_node)
        self._claims.subscribe(self._on_volumes)
        self._volumes.subscribe(self._on_volumes)
        self._classes.subscribe(self._on_volumes)
        namespaces.subscribe(self._on_namespace)
        services.subscribe(self._on_service)
        for owners in (controllers, replicas, sets):
            owners.subscribe(self._on_owner)
        self.informers: list[Informer[Any]] = [
            namespaces,
            services,
            controllers,
            replicas,
            sets,
            self.nodes,
            self._claims,
            self._volumes,
            self._classes,
            self._budgets,
        ]

    # -------------------------------------------------------------- asking

    def volumes_of(self, pod: Pod) -> VolumeNeeds | None:
        return needs_of(
            pod,
            lambda namespace, name: self._claims.cache.find(name, namespace),
            self._volumes.cache.find,
            self._classes.cache.find,
            self._volumes.cache,
        )

    def claim(self, namespace: str, name: str) -> PersistentVolumeClaim | None:
        return self._claims.cache.find(name, namespace)

    def budgets(self) -> list[Budget]:
        return [
            Budget(
                b.metadata.namespace,
                label_query(b.spec.selector),
                b.status.disruptions_allowed,
                frozenset(b.status.disrupted_pods),
            )
            for b in self._budgets.cache
        ]

    # -------------------------------------------------------------- hearing

    def _on_node(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            if old is not None:
                self.snapshot.remove_node(old.metadata.name)
                self._changed(Change(What.NODE_GONE, node=old))
            return
        self.snapshot.put_node(new)
        if old is None:
            self._changed(Change(What.NODE_ADDED, node=new))
            return
        if old.status.allocatable != new.status.allocatable:
            self._changed(Change(What.NODE_ROOM, node=new))
        if old.metadata.labels != new.metadata.labels:
            self._changed(Change(What.NODE_LABELS, node=new))
        if old.spec.taints != new.spec.taints or old.spec.unschedulable != new.spec.unschedulable:
            self._changed(Change(What.NODE_TAINTS, node=new))

    def _on_volumes(self, old: Any, new: Any) -> None:
        self._changed(Change(What.VOLUMES))

    def _on_namespace(self, old: Namespace | None, new: Namespace | None) -> None:
        one = new or old
        if one is not None:
            self.snapshot.set_namespace(one.metadata.name, dict(new.metadata.labels) if new is not None else None)
            if old is None or new is None or old.metadata.labels != new.metadata.labels:
                self._changed(Change(What.NAMESPACES))

    def _on_service(self, old: Service | None, new: Service | None) -> None:
        one = new or old
        if one is not None:
            selector = new.spec.selector if new is not None else None
            self.snapshot.around.set_service(one.metadata.namespace, one.metadata.name, selector)

    def _on_owner(self, old: Any, new: Any) -> None:
        one = new or old
        meta = one.metadata
        selector = new.spec.selector if new is not None else None
        self.snapshot.around.set_owner(one.kind, meta.namespace, meta.name, selector)
