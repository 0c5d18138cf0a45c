"""The loop: informers keep the snapshot and the queue, one pod at a time is decided about, the binder tells the server.

    informers ──► snapshot, queue ──pop──► decide ──┬─ node:   assume ──► binder ── failed: forget, retry
                                                    ├─ claims: annotate them with the node, wait until they are bound
                                                    └─ nowhere: condition and event, wait for a change

Between two awaits nothing else runs, so a decision and its assumption are one step.
"""

from __future__ import annotations

import asyncio
import logging
from random import Random
from typing import Any

from controlplane.scheduler.binder import Binder
from controlplane.scheduler.decide import Decision, decide
from controlplane.scheduler.queue import SchedulingQueue
from controlplane.scheduler.snapshot import Snapshot
from controlplane.scheduler.volumes import needs_of
from kubeapi.claims import SELECTED_NODE
from kubeapi.client.events import EventRecorder
from kubeapi.client.informer import Informer
from kubeapi.client.interface import Client
from kubeapi.clock import Clock
from kubeapi.errors import ApiError, Conflict, NotFound
from kubeapi.meta import get_condition
from kubeapi.tasks import forever
from kubeapi.types.core_v1 import Node, PersistentVolume, PersistentVolumeClaim, Pod
from kubeapi.types.storage_v1 import StorageClass

NAME = "default-scheduler"


class Scheduler:
    _assumed: dict[str, str]
    """Uid to node: decided and not yet seen as bound in the cache."""

    def __init__(
        self,
        client: Client,
        *,
        clock: Clock,
        rng: Random,
        name: str = NAME,
        log: logging.Logger | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._rng = rng
        self._name = name
        self._log = log or logging.getLogger("scheduler")
        self.snapshot = Snapshot()
        self.queue = SchedulingQueue(clock=clock)
        self.events = EventRecorder(client, component=name, clock=clock, rng=rng, log=self._log)
        self._binder = Binder(client, events=self.events, failed=self._bind_failed, log=self._log)
        self._assumed = {}
        self._reports: dict[str, tuple[Pod, str]] = {}
        """Uid to pod and message: what the reporter has still to write, the newest only."""
        self._report = asyncio.Event()
        self._pods = Informer(client, Pod, rng=rng)
        self._nodes = Informer(client, Node, rng=rng)
        self._claims = Informer(client, PersistentVolumeClaim, rng=rng)
        self._volumes = Informer(client, PersistentVolume, rng=rng)
        self._classes = Informer(client, StorageClass, rng=rng)
        self._nodes.subscribe(self._on_node)
        self._pods.subscribe(self._on_pod)
        others: list[Informer[Any]] = [self._claims, self._volumes, self._classes]
        for informer in others:
            informer.subscribe(self._on_other)
        self._informers: list[Informer[Any]] = [self._nodes, self._pods, *others]

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for informer in self._informers:
                tasks.create_task(forever(informer.run, name=informer.name, rng=self._rng), name=informer.name)
            for informer in self._informers:
                await informer.synced.wait()
            for name, run in (
                ("scheduler-events", self.events.run),
                ("scheduler-binder", self._binder.run),
                ("scheduler-reporter", self._report_all),
                ("scheduler-loop", self._loop),
            ):
                tasks.create_task(forever(run, name=name, rng=self._rng, log=self._log), name=name)

    # -------------------------------------------------------------- the cluster

    def _on_node(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            if old is not None:
                self.snapshot.remove_node(old.metadata.name)
            return
        self.snapshot.put_node(new)
        if old is None or _matters(old) != _matters(new):
            self.queue.wake()

    def _on_pod(self, old: Pod | None, new: Pod | None) -> None:
        pod = new if new is not None else old
        if pod is None:
            return
        uid = pod.metadata.uid
        if new is None or new.status.phase in ("Succeeded", "Failed"):
            self._assumed.pop(uid, None)
            self._reports.pop(uid, None)
            self.queue.remove(uid)
            if self.snapshot.remove_pod(uid):
                self.queue.wake()
        elif new.spec.node_name:
            self._assumed.pop(uid, None)
            self._reports.pop(uid, None)
            self.queue.remove(uid)
            self.snapshot.put_pod(new)
        elif self._is_ours(new):
            self.queue.put(new)
        elif uid not in self._assumed:
            self.queue.remove(uid)

    def _is_ours(self, pod: Pod) -> bool:
        return (
            (pod.spec.scheduler_name or NAME) == self._name
            and not pod.spec.scheduling_gates
            and pod.metadata.deletion_timestamp is None
        )

    def _on_other(self, old: Any, new: Any) -> None:
        self.queue.wake()

    # -------------------------------------------------------------- the decision

    async def _loop(self) -> None:
        while True:
            pod = await self.queue.pop()
            try:
                decision = self._decide(pod)
            except Exception as error:
                self._log.exception("cannot decide about %s/%s", pod.metadata.namespace, pod.metadata.name)
                self._refuse(pod, f"scheduler failed: {error}")
                self.queue.retry(pod.metadata.uid)
                continue
            if not decision.node:
                self._refuse(pod, decision.message)
                self.queue.fail(pod.metadata.uid)
            elif decision.pin:
                await self._pin(pod, decision)
            else:
                self.snapshot.put_pod(pod, decision.node)
                self._assumed[pod.metadata.uid] = decision.node
                self._binder.bind(pod, decision.node)
            await asyncio.sleep(0)

    def _decide(self, pod: Pod) -> Decision:
        needs = needs_of(
            pod,
            lambda namespace, name: self._claims.cache.find(name, namespace),
            self._volumes.cache.find,
            self._classes.cache.find,
            self._volumes.cache,
        )
        return decide(pod, self.snapshot, self._rng, needs)

    async def _pin(self, pod: Pod, decision: Decision) -> None:
        """The claims' coming to be bound brings the pod back, and then their volumes lead it to the same node."""
        self.queue.wait(pod.metadata.uid)
        for name in decision.pin:
            claim = self._claims.cache.find(name, pod.metadata.namespace)
            if claim is None or claim.metadata.annotations.get(SELECTED_NODE) == decision.node:
                continue
            note = {"metadata": {"annotations": {SELECTED_NODE: decision.node}}}
            try:
                await self._client.patch(PersistentVolumeClaim, name, note, namespace=pod.metadata.namespace)
            except (ApiError, OSError) as error:
                self._log.warning("claim %s/%s: %s", pod.metadata.namespace, name, error)
                self.queue.retry(pod.metadata.uid)
                return

    def _bind_failed(self, pod: Pod, error: Exception) -> None:
        uid = pod.metadata.uid
        if self._assumed.pop(uid, None) is None:
            return  # the cache has shown it bound meanwhile, or gone
        self.snapshot.remove_pod(uid)
        if isinstance(error, NotFound):
            self.queue.remove(uid)
            return
        self._log.info("binding %s/%s failed: %s", pod.metadata.namespace, pod.metadata.name, error)
        if not isinstance(error, Conflict):
            self._refuse(pod, f"binding rejected: {error}")
        self.queue.retry(uid)
        self.queue.wake()

    # -------------------------------------------------------------- the explanation

    def _refuse(self, pod: Pod, message: str) -> None:
        self.events.event(pod, "Warning", "FailedScheduling", message)
        condition = get_condition(pod.status.conditions, "PodScheduled")
        if condition is None or (condition.status, condition.message) != ("False", message):
            self._reports[pod.metadata.uid] = (pod, message)
            self._report.set()

    async def _report_all(self) -> None:
        while True:
            if not self._reports:
                self._report.clear()
                await self._report.wait()
            uid = next(iter(self._reports))
            pod, message = self._reports.pop(uid)
            now = self._clock.now().replace(microsecond=0).isoformat().replace("+00:00", "Z")
            old = get_condition(pod.status.conditions, "PodScheduled")
            kept = old.last_transition_time if old is not None and old.status == "False" else None
            condition = {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": message,
                "lastTransitionTime": kept.isoformat().replace("+00:00", "Z") if kept is not None else now,
            }
            try:
                await self._client.patch(
                    Pod,
                    pod.metadata.name,
                    {"metadata": {"uid": uid}, "status": {"conditions": [condition]}},
                    kind="strategic",
                    namespace=pod.metadata.namespace,
                    subresource="status",
                )
            except (NotFound, Conflict):
                continue
            except (ApiError, OSError) as error:
                self._log.warning("cannot report on %s/%s: %s", pod.metadata.namespace, pod.metadata.name, error)
                await asyncio.sleep(1.0)
                self._reports.setdefault(uid, (pod, message))


def _matters(node: Node) -> tuple[Any, ...]:
    """What of a node may let a pod in; a heartbeat does not."""
    return (node.status.allocatable, node.metadata.labels, node.spec.taints, node.spec.unschedulable)
