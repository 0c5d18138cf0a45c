"""Carries out the plan of a CronJob."""

from __future__ import annotations

from contextlib import suppress

from controlplane.controllers.cronjob.plan import outcome, plan, reference_to
from controlplane.controllers.shared import Shared
from kubeapi.client.controller import Barrier, Controller, Done, own_key
from kubeapi.client.keys import Key, by_controller, owner_key, revision_of
from kubeapi.errors import AlreadyExists, ApiError, Conflict, NotFound
from kubeapi.meta import is_controlled_by, replace
from kubeapi.types.batch_v1 import CronJob, CronJobStatus, Job

COMPONENT = "cronjob-controller"
"""Who tells the events."""


class CronJobs:
    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._client = shared.client
        self._crons = shared.informers.of(CronJob)
        self._jobs = shared.informers.of(Job, {"controller": by_controller})
        self._made: Barrier[Key] = Barrier()
        self._written: Barrier[Key] = Barrier()
        self.controller: Controller[Key] = Controller(
            "cronjob",
            self.reconcile,
            sources={self._crons: own_key, self._jobs: owner_key("CronJob")},
            clock=shared.clock,
            rng=shared.rng,
            workers=2,
            metrics=shared.metrics,
        )

    async def reconcile(self, key: Key) -> Done:
        crons = self._crons.get(key)
        if crons is None:
            self._made.forget(key)
            self._written.forget(key)
            return Done()
        if not (self._made.ready(key, self._jobs.revision) and self._written.ready(key, self._crons.revision)):
            return Done(requeue_after=0.05)
        jobs = self._jobs.cache.by("controller", crons.metadata.uid)
        self._tell_finished(crons, jobs)
        todo = plan(crons, jobs, self._shared.clock.now())
        if todo.reason:
            self._shared.events.named(COMPONENT).event(crons, "Warning", todo.reason, todo.message)
        for job in (*todo.replace, *todo.forget):
            await self._delete(crons, job)
        status = todo.status
        if todo.start is not None:
            status = replace(status, last_schedule_time=todo.due)
            started = await self._start(key, crons, todo.start)
            if started is not None:
                status = replace(status, active=[*status.active, reference_to(started)])
        if status != crons.status:
            await self._write(key, crons, status)
        return Done(requeue_after=todo.look_again)

    async def _start(self, key: Key, crons: CronJob, job: Job) -> Job | None:
        """None: this appointment has been kept before (its Job may have ended and been forgotten since)."""
        try:
            made = await self._client.create(job)
        except AlreadyExists:
            there = await self._client.get(Job, job.metadata.name, key.namespace)
            self._made.wrote(key, revision_of(there))
            return there if is_controlled_by(there, crons) and not outcome(there) else None
        except ApiError as error:
            self._shared.events.named(COMPONENT).event(crons, "Warning", "FailedCreate", f"Error creating job: {error}")
            raise
        self._made.wrote(key, revision_of(made))
        self._shared.events.named(COMPONENT).event(
            crons, "Normal", "SuccessfulCreate", f"Created job {made.metadata.name}"
        )
        return made

    async def _write(self, key: Key, crons: CronJob, status: CronJobStatus) -> None:
        written = await self._client.update(replace(crons, status=status), subresource="status")
        self._written.wrote(key, revision_of(written))

    async def _delete(self, crons: CronJob, job: Job) -> None:
        meta = job.metadata
        with suppress(NotFound, Conflict):
            await self._client.delete(Job, meta.name, meta.namespace, propagation="Background", uid=meta.uid)
            self._shared.events.named(COMPONENT).event(crons, "Normal", "SuccessfulDelete", f"Deleted job {meta.name}")

    def _tell_finished(self, crons: CronJob, jobs: list[Job]) -> None:
        active = {ref.uid for ref in crons.status.active}
        for job in jobs:
            if job.metadata.uid in active and (result := outcome(job)):
                message = f"Saw completed job: {job.metadata.name}, condition: {result}"
                self._shared.events.named(COMPONENT).event(crons, "Normal", "SawCompletedJob", message)
