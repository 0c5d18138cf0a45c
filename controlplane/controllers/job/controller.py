"""Carries out the plan of a Job: status first, then finalizers, then pods."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress

from controlplane.controllers.creation import pod_from
from controlplane.controllers.job.indexes import INDEX
from controlplane.controllers.job.plan import TRACKING, finished_at, orphans, plan
from controlplane.controllers.managed import ManagedPods
from controlplane.controllers.shared import Shared
from kubeapi.client.controller import Barrier, Controller, Done, own_key
from kubeapi.client.keys import Key, by_namespace, owner_key, revision_of
from kubeapi.errors import NotFound
from kubeapi.meta import is_true, replace
from kubeapi.types.batch_v1 import Job
from kubeapi.types.core_v1 import Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod

US = "kubernetes.io/job-controller"
ENV = "JOB_COMPLETION_INDEX"
_job_key = owner_key("Job")


def _tracked(pod: Pod) -> Iterable[Key]:
    """Pods that a Job has still to count, by the Job's key."""
    key = _job_key(pod) if TRACKING in pod.metadata.finalizers else None
    return () if key is None else (key,)


COMPONENT = "job-controller"
"""Who tells the events."""


class Jobs:
    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._client = shared.client
        self._jobs = shared.informers.of(Job, {"namespace": by_namespace})
        self._pods = ManagedPods(shared, "Job")
        self._pods.informer.cache.add_index("tracked", _tracked)
        self._status: Barrier[Key] = Barrier()
        self.controller: Controller[Key] = Controller(
            "job",
            self.reconcile,
            sources={self._jobs: own_key, self._pods.informer: self._keys_of_pod},
            clock=shared.clock,
            rng=shared.rng,
            workers=5,
            metrics=shared.metrics,
        )

    def _keys_of_pod(self, pod: Pod) -> list[Key]:
        return self._pods.owner_keys(pod, self._jobs.cache.by("namespace", pod.metadata.namespace))

    async def reconcile(self, key: Key) -> Done:
        job = self._jobs.get(key)
        gone = job is None or job.metadata.deletion_timestamp is not None
        await self._release(key, orphans(self._tracked(key), "" if job is None or gone else job.metadata.uid))
        if job is None or gone:
            self._pods.forget(key)
            self._status.forget(key)
            return Done()
        if job.spec.managed_by not in (None, US):
            return Done()
        if not (self._pods.ready(key) and self._status.ready(key, self._jobs.revision)):
            return Done(requeue_after=0.05)
        todo = plan(job, await self._pods.claim(key, job), self._shared.clock.now().replace(microsecond=0))
        if todo.expired:
            await self._expire(key, job)
            return Done()
        if todo.status != job.status:
            written = await self._client.update(replace(job, status=todo.status), subresource="status")
            self._status.wrote(key, revision_of(written))
            self._tell(job, written)
        await self._release(key, todo.release)
        if todo.remove:
            await self._release(key, todo.remove)
            await self._pods.delete(key, job, todo.remove)
        await self._pods.delete(key, job, todo.abort)
        failure = await self._pods.create(key, job, [(str(i), self._pod(job, i)) for i in todo.create])
        again = [t for t in (todo.look_again, 1.0 if failure else None) if t is not None]
        return Done(requeue_after=max(0.01, min(again)) if again else None)

    def _tracked(self, key: Key) -> list[Pod]:
        return self._pods.informer.cache.by("tracked", key)

    async def _release(self, key: Key, pods: Sequence[Pod]) -> None:
        async def one(pod: Pod) -> None:
            if TRACKING not in pod.metadata.finalizers:
                return
            kept = [f for f in pod.metadata.finalizers if f != TRACKING]
            change = {"metadata": {"finalizers": kept, "resourceVersion": pod.metadata.resource_version}}
            with suppress(NotFound):
                written = await self._client.patch(Pod, pod.metadata.name, change, namespace=key.namespace)
                if written.metadata.deletion_timestamp is None:
                    self._pods.wrote(key, written)

        await asyncio.gather(*(one(pod) for pod in pods))

    async def _expire(self, key: Key, job: Job) -> None:
        """Only the Job that was looked at: its version is named."""
        with suppress(NotFound):
            await self._client.delete(
                Job,
                key.name,
                key.namespace,
                propagation="Foreground",
                uid=job.metadata.uid,
                resource_version=revision_of(job),
            )

    def _pod(self, job: Job, index: int) -> Pod:
        pod = pod_from(job.spec.template, job)
        meta = replace(pod.metadata, finalizers=[*pod.metadata.finalizers, TRACKING])
        if index < 0:
            return replace(pod, metadata=meta)
        name = f"{job.metadata.name}-{index}"
        text = str(index)
        meta = replace(
            meta,
            generate_name=f"{name}-",
            annotations={**meta.annotations, INDEX: text},
            labels={**meta.labels, INDEX: text},
        )
        spec = replace(
            pod.spec,
            hostname=pod.spec.hostname or name,
            containers=[_with_index(c) for c in pod.spec.containers],
            init_containers=[_with_index(c) for c in pod.spec.init_containers],
        )
        return replace(pod, metadata=meta, spec=spec)

    def _tell(self, before: Job, after: Job) -> None:
        event = self._shared.events.named(COMPONENT).event
        for type_, way in (("Suspended", "Suspended"),):
            was, is_ = is_true(before.status.conditions, type_), is_true(after.status.conditions, type_)
            if is_ and not was:
                event(after, "Normal", way, "Job suspended")
            elif was and not is_:
                event(after, "Normal", "Resumed", "Job resumed")
        if finished_at(before) is None and finished_at(after) is not None:
            failed = next((c for c in after.status.conditions if c.type == "Failed"), None)
            if failed is None:
                event(after, "Normal", "Completed", "Job completed")
            else:
                event(after, "Warning", failed.reason, failed.message)


def _with_index(container: Container) -> Container:
    if any(e.name == ENV for e in container.env):
        return container
    source = EnvVarSource(field_ref=ObjectFieldSelector(field_path=f"metadata.annotations['{INDEX}']"))
    return replace(container, env=[*container.env, EnvVar(name=ENV, value_from=source)])
