"""Carries out the plan of a DaemonSet, and keeps the history of its templates."""

from __future__ import annotations

from controlplane.controllers.creation import pod_from
from controlplane.controllers.daemonset.plan import next_available, node_of, plan, spec_for, status_of
from controlplane.controllers.failures import Failures
from controlplane.controllers.history import HASH, drop_history, plan_history, superfluous, write_history
from controlplane.controllers.managed import ManagedPods
from controlplane.controllers.shared import Shared
from kubeapi.client.controller import Barrier, Controller, Done, own_key
from kubeapi.client.keys import Key, by_controller, by_namespace, key_of, revision_of
from kubeapi.meta import replace
from kubeapi.types.apps_v1 import ControllerRevision, DaemonSet
from kubeapi.types.core_v1 import Node, Pod

GENERATION = "pod-template-generation"

COMPONENT = "daemonset-controller"
"""Who tells the events."""


class DaemonSets:
    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._sets = shared.informers.of(DaemonSet, {"namespace": by_namespace})
        self._nodes = shared.informers.of(Node)
        self._history = shared.informers.of(ControllerRevision, {"controller": by_controller})
        self._pods = ManagedPods(shared, "DaemonSet")
        self._revised: Barrier[Key] = Barrier()
        self._failures = Failures(shared.clock)
        self.controller: Controller[Key] = Controller(
            "daemonset",
            self.reconcile,
            sources={
                self._sets: own_key,
                self._pods.informer: self._keys_of_pod,
                self._nodes: lambda node: [key_of(d) for d in self._sets.cache],
            },
            wait_for=[self._history],
            clock=shared.clock,
            rng=shared.rng,
            workers=2,
            metrics=shared.metrics,
        )

    def _keys_of_pod(self, pod: Pod) -> list[Key]:
        return self._pods.owner_keys(pod, self._sets.cache.by("namespace", pod.metadata.namespace))

    async def reconcile(self, key: Key) -> Done:
        daemons = self._sets.get(key)
        if daemons is None:
            self._pods.forget(key)
            self._revised.forget(key)
            self._failures.forget(key)
            return Done()
        if not (self._pods.ready(key) and self._revised.ready(key, self._history.revision)):
            return Done(requeue_after=0.05)
        own = await self._pods.claim(key, daemons)
        if daemons.metadata.deletion_timestamp is not None:
            return Done()
        history = plan_history(daemons, self._history.cache.by("controller", daemons.metadata.uid))
        current = await write_history(self._shared.client, daemons, history)
        self._revised.wrote(key, revision_of(current))
        hash_ = current.metadata.labels[HASH]
        now = self._shared.clock.now().replace(microsecond=0)
        nodes = list(self._nodes.cache)
        todo = plan(daemons, nodes, own, hash_, now)
        for pod in todo.failed:
            self._failures.note(key, node_of(pod))
            message = f"Found failed daemon pod {key_of(pod)} on node {node_of(pod)}, will try to kill it"
            self._shared.events.named(COMPONENT).event(pod, "Warning", "FailedDaemonPod", message)
        ready = [node for node in todo.create if self._failures.may_start(key, node)]
        failure = await self._pods.create(key, daemons, [(n, self._pod(daemons, n, hash_)) for n in ready])
        await self._pods.delete(key, daemons, todo.delete)
        in_use = {pod.metadata.labels.get(HASH, "") for pod in own}
        old = superfluous(history.former, in_use, daemons.spec.revision_history_limit)
        await drop_history(self._shared.client, old)
        status = status_of(daemons, nodes, own, hash_, now)
        if status != daemons.status:
            await self._shared.client.update(replace(daemons, status=status), subresource="status")
        again = self._failures.wait(key)
        waits = [w for w in (again, next_available(daemons, own, now), 1.0 if failure else None) if w is not None]
        return Done(requeue_after=min(waits, default=None))

    def _pod(self, daemons: DaemonSet, node: str, hash_: str) -> Pod:
        pod = pod_from(daemons.spec.template, daemons)
        labels = {**pod.metadata.labels, HASH: hash_, GENERATION: str(daemons.metadata.generation)}
        return replace(
            pod, metadata=replace(pod.metadata, labels=labels), spec=spec_for(daemons.spec.template.spec, node)
        )
