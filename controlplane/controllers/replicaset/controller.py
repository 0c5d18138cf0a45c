"""Carries out the plan of a ReplicaSet: claims, creates in growing batches, deletes, writes the status."""

from __future__ import annotations

from controlplane.controllers.creation import pod_from
from controlplane.controllers.managed import ManagedPods
from controlplane.controllers.replicaset.plan import next_available, plan, status_of
from controlplane.controllers.shared import Shared
from kubeapi.client.controller import Controller, Done, own_key
from kubeapi.client.keys import Key, by_controller, by_namespace
from kubeapi.meta import controller_of, replace
from kubeapi.types.apps_v1 import ReplicaSet
from kubeapi.types.core_v1 import Pod

FAILED_AGAIN = 1.0


class ReplicaSets:
    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._sets = shared.informers.of(ReplicaSet, {"namespace": by_namespace, "controller": by_controller})
        self._pods = ManagedPods(shared, "ReplicaSet")
        self.controller: Controller[Key] = Controller(
            "replicaset",
            self.reconcile,
            sources={self._sets: own_key, self._pods.informer: self._keys_of_pod},
            clock=shared.clock,
            rng=shared.rng,
            workers=5,
            metrics=shared.metrics,
        )

    def _keys_of_pod(self, pod: Pod) -> list[Key]:
        return self._pods.owner_keys(pod, self._sets.cache.by("namespace", pod.metadata.namespace))

    async def reconcile(self, key: Key) -> Done:
        rs = self._sets.get(key)
        if rs is None:
            self._pods.forget(key)
            return Done()
        if not self._pods.ready(key):
            return Done(requeue_after=0.05)
        now = self._shared.clock.now().replace(microsecond=0)
        own = await self._pods.claim(key, rs)
        failure, resting = "", None
        if rs.metadata.deletion_timestamp is None:
            todo = plan(rs, own, self._related(rs, own), now)
            resting = todo.rest
            failure = await self._pods.create(key, rs, [("", pod_from(rs.spec.template, rs))] * todo.create)
            await self._pods.delete(key, rs, todo.delete)
        status = status_of(rs, own, failure, now)
        if status != rs.status:
            await self._shared.client.update(replace(rs, status=status), subresource="status")
        if failure or resting:
            return Done(requeue_after=FAILED_AGAIN if failure else resting)
        return Done(requeue_after=next_available(rs, own, self._shared.clock.now()))

    def _related(self, rs: ReplicaSet, own: list[Pod]) -> list[Pod]:
        """The pods of all sets of the same deployment: they ought to be spread over the nodes together."""
        owner = controller_of(rs)
        if owner is None:
            return own
        sets = self._sets.cache.by("controller", owner.uid)
        return [pod for one in sets for pod in self._pods.informer.cache.by("controller", one.metadata.uid)]
