"""The loop: informers keep the snapshot and the queue, one pod after another is decided about, others carry it out.

    informers ──► snapshot, queue ──pop──► decide ──┬─ node:   assume ──► binder ── failed: forget, retry
                                                    ├─ claims: annotate them with the node, wait until they are bound
                                                    └─ nowhere: preempt? ──► condition and event, wait for a change

Between two awaits nothing else runs, so a decision and its assumption are one step. What needs the server (claims,
victims) is handed to errands, so that a slow answer to one pod keeps no other waiting.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import Any

from controlplane.scheduler.binder import Binder
from controlplane.scheduler.cluster import Cluster
from controlplane.scheduler.decide import Decider, Decision, Nomination, with_preemption
from controlplane.scheduler.hints import Change, What, Why
from controlplane.scheduler.metrics import Metrics
from controlplane.scheduler.preempt import WAITING, Preemption, preempt, priority_of
from controlplane.scheduler.queue import SchedulingQueue, Waiting
from controlplane.scheduler.reporter import Report, Reporter
from controlplane.scheduler.snapshot import Snapshot
from kubeapi.claims import SELECTED_NODE
from kubeapi.client.events import EventLimits, EventRecorder
from kubeapi.client.informer import Informer
from kubeapi.client.interface import Client
from kubeapi.clock import Clock
from kubeapi.errors import ApiError, BadRequest, Conflict, NotFound
from kubeapi.logs import about
from kubeapi.tasks import forever
from kubeapi.types.core_v1 import PersistentVolumeClaim, Pod

NAME = "default-scheduler"
SLICE = 32
"""Decisions between two chances for everything else."""
EVENTS = EventLimits(pending=20_000, batch=250)
ERRANDS = 4
"""Errands on their way."""
GATED = "Scheduling is blocked due to non-empty scheduling gates"


class Scheduler:
    _assumed: dict[str, str]
    """Uid to node: decided and not yet seen as bound in the cache."""
    _nominated: dict[str, Nomination]
    """Uid to what was promised to a pod that waits for its victims to go."""
    _victims: dict[str, set[str]]
    """Uid of such a pod to the uids of those sent away for it and, as far as is known, still there."""

    def __init__(
        self,
        client: Client,
        *,
        clock: Clock,
        rng: Random,
        name: str = NAME,
        metrics: Metrics | None = None,
        log: logging.Logger | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._rng = rng
        self._name = name
        self._log = log or logging.getLogger("scheduler")
        self.snapshot = Snapshot(rng)
        self.queue = SchedulingQueue(clock=clock)
        self.metrics = metrics or Metrics(profile=name)
        self.metrics.watch(
            queue=lambda: {**self.queue.counts(), "gated": len(self._gated)},
            refused=self.queue.refused,
            cache=lambda: {
                "nodes": len(self._cluster.nodes.cache),
                "pods": len(self.snapshot.pods),
                "assumed_pods": len(self._assumed),
            },
        )
        self.events = EventRecorder(client, component=name, clock=clock, rng=rng, limits=EVENTS, log=self._log)
        self._decider = Decider(self.snapshot)
        self._binder = Binder(client, bound=self._was_bound, failed=self._bind_failed, log=self._log)
        self._reporter = Reporter(client, clock=clock, rng=rng, log=self._log)
        self._assumed = {}
        self._nominated = {}
        self._victims = {}
        self._gated: set[str] = set()
        self._errands: deque[Callable[[], Awaitable[None]]] = deque()
        self._errand = asyncio.Event()
        self._cluster = Cluster(client, snapshot=self.snapshot, changed=self.queue.wake, rng=rng, metrics=self.metrics)
        self._pods = Informer(client, Pod, rng=rng, metrics=self.metrics)
        self._pods.subscribe(self._on_pod)

    async def run(self) -> None:
        informers: list[Informer[Any]] = [*self._cluster.informers, self._pods]
        async with asyncio.TaskGroup() as tasks:
            for informer in informers:
                tasks.create_task(forever(informer.run, name=informer.name, rng=self._rng), name=informer.name)
            for informer in informers:
                await informer.synced.wait()
            for name, run in (
                ("scheduler-events", self.events.run),
                ("scheduler-binder", self._binder.run),
                ("scheduler-reporter", self._reporter.run),
                *((f"scheduler-errands-{i}", self._run_errands) for i in range(ERRANDS)),
                ("scheduler-loop", self._loop),
            ):
                tasks.create_task(forever(run, name=name, rng=self._rng, log=self._log), name=name)

    # -------------------------------------------------------------- pods come, change and go

    def _on_pod(self, old: Pod | None, new: Pod | None) -> None:
        pod = new if new is not None else old
        if pod is None:
            return
        uid = pod.metadata.uid
        if new is None or new.status.phase in ("Succeeded", "Failed"):
            self._settle(uid)
            self._left(pod)
        elif new.spec.node_name:
            ours = uid in self._assumed
            waited = self._settle(uid)
            if ours and waited is not None:
                self.metrics.bound(waited.failures, self._clock.monotonic() - waited.since)
            self._placed(new)
        elif self._is_ours(new):
            before = old.status.nominated_node_name if old is not None else ""
            if new.status.nominated_node_name != before:
                self._nominate(new, new.status.nominated_node_name)
            if new.spec.scheduling_gates:
                self._gated.add(uid)
                self._reporter.report(Report(new, "SchedulingGated", GATED))
            else:
                self._gated.discard(uid)
                self.queue.put(new)
        elif uid not in self._assumed:
            self._settle(uid)

    def _is_ours(self, pod: Pod) -> bool:
        return (pod.spec.scheduler_name or NAME) == self._name and pod.metadata.deletion_timestamp is None

    def _settle(self, uid: str) -> Waiting | None:
        """It no longer wants a node. Returns what the queue knew of it."""
        self._assumed.pop(uid, None)
        self._reporter.forget(uid)
        self._gated.discard(uid)
        self._victims.pop(uid, None)
        waited = self.queue.remove(uid)
        if self._nominated.pop(uid, None) is not None:
            self.queue.wake()
        return waited

    def _left(self, pod: Pod) -> None:
        placed = self.snapshot.pods.get(pod.metadata.uid)
        if self.snapshot.remove_pod(pod.metadata.uid):
            freed = placed.request.amounts if placed is not None else None
            self.queue.wake(Change(What.POD_GONE, pod=pod, freed=freed))

    def _placed(self, pod: Pod) -> None:
        """Bound, or changed where it is: to those who wait, new labels are one pod's going and another's coming."""
        uid = pod.metadata.uid
        before = self.snapshot.pods.get(uid)
        old = before.pod if before is not None else None
        self.snapshot.put_pod(pod)
        after = self.snapshot.pods.get(uid)
        if after is None:
            return
        if not after.told:
            after.told = True
            self.queue.wake(Change(What.POD_PLACED, pod=pod))
        if before is not None and after is not before:
            freed = before.request.amounts if after.request != before.request else {}
            self.queue.wake(Change(What.POD_GONE, pod=old, freed=freed))

    # -------------------------------------------------------------- the decision

    async def _loop(self) -> None:
        while True:
            pod = await self.queue.pop()
            for left in reversed(range(SLICE)):
                self._one(pod)
                following = self.queue.pop_now() if left else None
                if following is None:
                    break
                pod = following
            await asyncio.sleep(0)

    def _one(self, pod: Pod) -> None:
        uid, begun = pod.metadata.uid, self._clock.monotonic()
        result = "error"
        try:
            decision = self._decider.decide(pod, self._cluster.volumes_of(pod), list(self._nominated.values()))
            result = "scheduled" if decision.node else "unschedulable"
            if not decision.node:
                self._refuse(pod, decision)
            elif decision.pin:
                self.queue.wait(uid, Why(frozenset(["VolumeBinding"])))
                self._run_errand(partial(self._pin, pod, decision))
            else:
                self._assume(pod, decision)
        except Exception as error:
            if not isinstance(error, BadRequest):
                self._log.exception("cannot decide about a pod", extra=about(pod))
            self._tell(pod, "SchedulerError", str(error))
            self.queue.retry(uid)
        self.metrics.attempt(result, self._clock.monotonic() - begun)

    def _assume(self, pod: Pod, decision: Decision) -> None:
        uid = pod.metadata.uid
        request = decision.shape.request if decision.shape is not None else None
        self.snapshot.put_pod(pod, decision.node, request)
        self._assumed[uid] = decision.node
        self._nominated.pop(uid, None)
        self._victims.pop(uid, None)
        self._reporter.forget(uid)
        self._binder.bind(pod, decision.node)

    def _was_bound(self, pod: Pod, node: str) -> None:
        """It stays in the queue, out of reach, until the cache shows it: an older event must not make it new again."""
        name = f"{pod.metadata.namespace}/{pod.metadata.name}"
        self.events.event(pod, "Normal", "Scheduled", f"Successfully assigned {name} to {node}")

    def _bind_failed(self, pod: Pod, error: Exception) -> None:
        uid = pod.metadata.uid
        if self._assumed.pop(uid, None) is None:
            return  # the cache has shown it bound meanwhile, or gone
        placed = self.snapshot.pods.get(uid)
        self.snapshot.remove_pod(uid)
        if isinstance(error, NotFound):
            self.queue.remove(uid)
        else:
            self._log.info("binding failed: %s", error, extra=about(pod))
            if not isinstance(error, Conflict):
                self._tell(pod, "SchedulerError", f"binding rejected: {error}")
            self.queue.retry(uid)
        freed = placed.request.amounts if placed is not None else None
        self.queue.wake(Change(What.POD_GONE, pod=pod, freed=freed))

    # -------------------------------------------------------------- nowhere

    def _refuse(self, pod: Pod, decision: Decision) -> None:
        uid = pod.metadata.uid
        plan = self._plan(pod, decision)
        if plan.node:
            self._nominate(pod, plan.node)
            self._victims[uid] = {v.metadata.uid for v in plan.victims}
            self.metrics.victims.observe(len(plan.victims))
            self._run_errand(partial(self._send_away, pod, plan))
        elif uid in self._nominated and plan.message != WAITING:
            self._nominate(pod, "")
        promised = self._nominated.get(uid)
        told = with_preemption(decision, plan.message)
        self._tell(pod, "Unschedulable", told.message, promised.node if promised is not None else "")
        found = decision.examination
        short = frozenset(
            "pods" if reason == "Too many pods" else reason.removeprefix("Insufficient ")
            for reason in (found.refused if found is not None else ())
            if reason == "Too many pods" or reason.startswith("Insufficient ")
        )
        self.queue.fail(uid, Why(decision.plugins, decision.shape, short))

    def _plan(self, pod: Pod, decision: Decision) -> Preemption:
        uid = pod.metadata.uid
        if any(v in self.snapshot.pods for v in self._victims.get(uid, ())):
            return Preemption(message=WAITING)
        self.metrics.preemptions.inc()
        return preempt(
            pod,
            decision,
            self._decider.rankings.of(decision.shape or self._decider.shapes.of(pod, self.snapshot)),
            self.snapshot,
            budgets=self._cluster.budgets(),
            nominated=list(self._nominated.values()),
            rng=self._rng,
        )

    def _nominate(self, pod: Pod, node: str) -> None:
        """Less important pods lose their promises of this node: they will look again."""
        if not node:
            if self._nominated.pop(pod.metadata.uid, None) is not None:
                self.queue.wake()
            return
        for other in list(self._nominated.values()):
            if other.node == node and priority_of(other.pod) < priority_of(pod):
                del self._nominated[other.pod.metadata.uid]
                self._reporter.report(Report(other.pod, nominated=""))
        self._nominated[pod.metadata.uid] = Nomination(pod, node)

    def _tell(self, pod: Pod, reason: str, message: str, nominated: str | None = None) -> None:
        self.events.event(pod, "Warning", "FailedScheduling", message)
        self._reporter.report(Report(pod, reason, message, nominated))

    # -------------------------------------------------------------- errands

    def _run_errand(self, errand: Callable[[], Awaitable[None]]) -> None:
        self._errands.append(errand)
        self._errand.set()

    async def _run_errands(self) -> None:
        while True:
            while not self._errands:
                self._errand.clear()
                await self._errand.wait()
            await self._errands.popleft()()

    async def _pin(self, pod: Pod, decision: Decision) -> None:
        """The claims' coming to be bound brings the pod back, and then their volumes lead it to the same node."""
        for name in decision.pin:
            claim = self._cluster.claim(pod.metadata.namespace, name)
            if claim is None or claim.metadata.annotations.get(SELECTED_NODE) == decision.node:
                continue
            note = {"metadata": {"annotations": {SELECTED_NODE: decision.node}}}
            try:
                await self._client.patch(PersistentVolumeClaim, name, note, namespace=pod.metadata.namespace)
            except (ApiError, OSError) as error:
                self._log.warning("claim %s cannot be given its node: %s", name, error, extra=about(pod))
                self.queue.hurry(pod.metadata.uid)
                return

    async def _send_away(self, pod: Pod, plan: Preemption) -> None:
        """Tells each victim why, then deletes it with its own grace. The pod waits for their going."""
        for victim in plan.victims:
            meta = victim.metadata
            try:
                await self._condemn(victim)
                if meta.deletion_timestamp is None:
                    await self._client.delete(Pod, meta.name, meta.namespace, uid=meta.uid)
                self.events.event(
                    victim, "Normal", "Preempted", f"Preempted by pod {pod.metadata.uid} on node {plan.node}"
                )
            except (NotFound, Conflict):
                self._spared(pod, meta.uid)
            except (ApiError, OSError) as error:
                self._log.warning("cannot preempt a pod: %s", error, extra=about(victim))
                self._spared(pod, meta.uid)
                self.queue.hurry(pod.metadata.uid)

    async def _condemn(self, victim: Pod) -> None:
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": f"{self._name}: preempting to accommodate a higher priority pod",
            "lastTransitionTime": self._reporter.now(),
        }
        await self._client.patch(
            Pod,
            victim.metadata.name,
            {"metadata": {"uid": victim.metadata.uid}, "status": {"conditions": [condition]}},
            kind="strategic",
            namespace=victim.metadata.namespace,
            subresource="status",
        )

    def _spared(self, pod: Pod, victim: str) -> None:
        self._victims.get(pod.metadata.uid, set()).discard(victim)
