"""Keeps the status of every PodDisruptionBudget true."""

from __future__ import annotations

from typing import Any

from controlplane.controllers.disruption.plan import plan
from controlplane.controllers.shared import Shared
from kubeapi.client.controller import Controller, Done, own_key
from kubeapi.client.keys import Key, by_namespace, controller_of, key_of
from kubeapi.meta import replace
from kubeapi.selectors import label_query
from kubeapi.types.apps_v1 import Deployment, ReplicaSet, StatefulSet
from kubeapi.types.core_v1 import Pod, ReplicationController
from kubeapi.types.meta_v1 import OwnerReference
from kubeapi.types.policy_v1 import PodDisruptionBudget

COMPONENT = "controllermanager"
"""Who tells the events."""


class Disruptions:
    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._budgets = shared.informers.of(PodDisruptionBudget, {"namespace": by_namespace})
        self._pods = shared.informers.of(Pod, {"namespace": by_namespace})
        self._sized: dict[str, Any] = {
            type_.__name__: shared.informers.of(type_)
            for type_ in (Deployment, ReplicaSet, StatefulSet, ReplicationController)
        }
        self.controller: Controller[Key] = Controller(
            "disruption",
            self.reconcile,
            sources={
                self._budgets: own_key,
                self._pods: self._keys_of_pod,
                **{informer: self._keys_of_namespace for informer in self._sized.values()},
            },
            clock=shared.clock,
            rng=shared.rng,
            metrics=shared.metrics,
        )

    def _keys_of_pod(self, pod: Pod) -> list[Key]:
        budgets = self._budgets.cache.by("namespace", pod.metadata.namespace)
        return [key_of(b) for b in budgets if label_query(b.spec.selector).matches(pod.metadata.labels)]

    def _keys_of_namespace(self, sized: Any) -> list[Key]:
        return [key_of(b) for b in self._budgets.cache.by("namespace", sized.metadata.namespace)]

    async def reconcile(self, key: Key) -> Done:
        budget = self._budgets.get(key)
        if budget is None or budget.metadata.deletion_timestamp is not None:
            return Done()
        query = label_query(budget.spec.selector)
        pods = [
            p
            for p in self._pods.cache.by("namespace", key.namespace)
            if budget.spec.selector is not None and query.matches(p.metadata.labels)
        ]
        todo = plan(budget, pods, self._scale_of, self._shared.clock.now().replace(microsecond=0))
        if todo.problem:
            self._shared.events.named(COMPONENT).event(
                budget, "Warning", "CalculateExpectedPodCountFailed", todo.problem
            )
        if todo.unmanaged:
            message = f"{todo.unmanaged} selected pods have no controller, and do not count"
            self._shared.events.named(COMPONENT).event(budget, "Warning", "UnmanagedPods", message)
        if todo.status != budget.status:
            await self._shared.client.update(replace(budget, status=todo.status), subresource="status")
        return Done(requeue_after=max(todo.look_again, 0.0) + 1.0 if todo.look_again is not None else None)

    def _scale_of(self, ref: OwnerReference, namespace: str) -> int | None:
        """Of a ReplicaSet that a Deployment owns, the Deployment's: its sets come and go in a rollout."""
        informer = self._sized.get(ref.kind)
        found = informer.get(Key(namespace, ref.name)) if informer is not None else None
        if found is None or found.metadata.uid != ref.uid:
            return None
        above = controller_of(found)
        if ref.kind == "ReplicaSet" and above is not None and above.kind == "Deployment":
            return self._scale_of(above, namespace)
        return 1 if found.spec.replicas is None else int(found.spec.replicas)
