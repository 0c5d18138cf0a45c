"""Carries out the plan of a DaemonSet, and keeps the history of its templates."""

from __future__ import annotations

from controlplane.controllers.creation import pod_from
from controlplane.controllers.daemonset.plan import next_available, node_of, plan, spec_for, status_of
from controlplane.controllers.history import HASH, drop_history, plan_history, superfluous, write_history
from controlplane.controllers.managed import ManagedPods
from controlplane.controllers.shared import Shared
from kubeapi.client.controller import Barrier, Controller, Done, own_key
from kubeapi.client.keys import Key, by_controller, by_namespace, key_of, revision_of
from kubeapi.meta import replace
from kubeapi.tasks import Backoff
from kubeapi.types.apps_v1 import ControllerRevision, DaemonSet
from kubeapi.types.core_v1 import Node, Pod

FAILED_AGAIN = Backoff(first=1.0, most=900.0, jitter=0.0)
"""Seconds until a pod that failed on a node is made there again."""
GENERATION = "pod-template-generation"

COMPONENT = "daemonset-controller"
"""Who tells the events."""


class DaemonSets:
    _failures: dict[tuple[Key, str], tuple[int, float]]
    """Per set and node: pods that failed there in a row, and when the next may be made, by the monotonic clock."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._sets = shared.informers.of(DaemonSet, {"namespace": by_namespace})
        self._nodes = shared.informers.of(Node)
        self._history = shared.informers.of(ControllerRevision, {"controller": by_controller})
        self._pods = ManagedPods(shared, "DaemonSet")
        self._revised: Barrier[Key] = Barrier()
        self._failures = {}
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
            self._failures = {k: v for k, v in self._failures.items() if k[0] != key}
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
        again = self._note_failures(key, todo.failed, own)
        ready = [node for node in todo.create if self._may_start(key, node)]
        failure = await self._pods.create(key, daemons, [(n, self._pod(daemons, n, hash_)) for n in ready])
        await self._pods.delete(key, daemons, todo.delete)
        in_use = {pod.metadata.labels.get(HASH, "") for pod in own}
        old = superfluous(history.former, in_use, daemons.spec.revision_history_limit)
        await drop_history(self._shared.client, old)
        status = status_of(daemons, nodes, own, hash_, now)
        if status != daemons.status:
            await self._shared.client.update(replace(daemons, status=status), subresource="status")
        waits = [w for w in (again, next_available(daemons, own, now), 1.0 if failure else None) if w is not None]
        return Done(requeue_after=min(waits, default=None))

    def _pod(self, daemons: DaemonSet, node: str, hash_: str) -> Pod:
        pod = pod_from(daemons.spec.template, daemons)
        labels = {**pod.metadata.labels, HASH: hash_, GENERATION: str(daemons.metadata.generation)}
        return replace(
            pod, metadata=replace(pod.metadata, labels=labels), spec=spec_for(daemons.spec.template.spec, node)
        )

    def _note_failures(self, key: Key, failed: list[Pod], own: list[Pod]) -> float | None:
        """Seconds until the first node may have its pod again. What was long ago is forgiven."""
        now = self._shared.clock.monotonic()
        for pod in failed:
            count = self._failures.get((key, node_of(pod)), (0, 0.0))[0]
            delay = FAILED_AGAIN.delay(count, None)
            self._failures[key, node_of(pod)] = (count + 1, now + delay)
            message = f"Found failed daemon pod {key_of(pod)} on node {node_of(pod)}, will try to kill it"
            self._shared.events.named(COMPONENT).event(pod, "Warning", "FailedDaemonPod", message)
        for pod in own:
            at = self._failures.get((key, node_of(pod)))
            if at is not None and at[1] + FAILED_AGAIN.most < now:
                del self._failures[key, node_of(pod)]
        waits = [due - now for (owner, _), (_, due) in self._failures.items() if owner == key and due > now]
        return min(waits, default=None)

    def _may_start(self, key: Key, node: str) -> bool:
        return self._failures.get((key, node), (0, 0.0))[1] <= self._shared.clock.monotonic()
