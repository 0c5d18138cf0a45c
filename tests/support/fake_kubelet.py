"""Nodes without agents: every pod that is bound runs, in virtual time, as its annotations say.

`test/ends` after how many seconds its containers end (absent: never), `test/fails` whether they fail then,
`test/unready` that it never becomes ready. A pod that is deleted is gone a second later.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime
from random import Random
from typing import Any

from kubeapi.client.informer import Informer
from kubeapi.client.interface import Client
from kubeapi.clock import Clock, format_micro
from kubeapi.errors import ApiError, Conflict
from kubeapi.meta import replace, set_condition
from kubeapi.types import coordination_v1, core_v1, meta_v1
from tests.support.make import make_node


class FakeKubelet:
    def __init__(self, client: Client, clock: Clock, tasks: asyncio.TaskGroup) -> None:
        self._client = client
        self._clock = clock
        self._tasks = tasks
        self._pods = Informer(client, core_v1.Pod, rng=Random(1))
        self._known: dict[str, list[asyncio.Task[None]]] = {}
        self._jobs: list[asyncio.Task[None]] = []
        self.ready: list[str] = []
        """Names of pods in the order in which they became ready."""
        self.gone: list[str] = []

    async def start(self, *nodes: str, binds: bool = True) -> None:
        """`binds`: also does what a scheduler would, for pods that name their node by affinity or not at all."""
        for name in nodes:
            await self.add_node(make_node(name))
        self._nodes = list(nodes)
        self._binds = binds
        self._pods.subscribe(self._see)
        self._jobs.append(self._tasks.create_task(self._pods.run()))

    async def add_node(self, node: core_v1.Node) -> None:
        meta = replace(node.metadata, uid="", creation_timestamp=None)
        made = await self._client.create(replace(node, metadata=meta))
        await self._client.update(replace(made, status=node.status), subresource="status")
        self._jobs.append(self._tasks.create_task(self._beat(node.metadata.name)))

    async def _beat(self, name: str) -> None:
        spec = coordination_v1.LeaseSpec(holder_identity=name, renew_time=format_micro(self._clock.now()))
        meta = meta_v1.ObjectMeta(name=name, namespace="kube-node-lease")
        await self._client.create(coordination_v1.Lease(metadata=meta, spec=spec))
        while True:
            await asyncio.sleep(10)
            renewal = {"spec": {"renewTime": format_micro(self._clock.now())}}
            await self._client.patch(coordination_v1.Lease, name, renewal, namespace="kube-node-lease")

    def stop(self) -> None:
        for task in [*self._jobs, *(t for many in self._known.values() for t in many)]:
            task.cancel()

    def _see(self, old: core_v1.Pod | None, new: core_v1.Pod | None) -> None:
        if new is None:
            for task in self._known.pop(old.metadata.uid if old else "", []):
                task.cancel()
            return
        tasks = self._known.setdefault(new.metadata.uid, [])
        if not tasks:
            tasks.append(self._tasks.create_task(self._run(new)))
        if new.metadata.deletion_timestamp is not None and len(tasks) == 1:
            tasks[0].cancel()
            tasks.append(self._tasks.create_task(self._end(new)))

    async def _run(self, pod: core_v1.Pod) -> None:
        if not pod.spec.node_name:
            if not self._binds:
                return
            target = core_v1.ObjectReference(kind="Node", name=self._target(pod))
            binding = core_v1.Binding(metadata=pod.metadata, target=target)
            with suppress(ApiError):
                await self._client.create(
                    binding, subresource="binding", name=pod.metadata.name, namespace=pod.metadata.namespace
                )
        await asyncio.sleep(1)
        notes = pod.metadata.annotations
        await self._set(pod, "Running", ready="test/unready" not in notes)
        if "test/unready" not in notes:
            self.ready.append(pod.metadata.name)
        if "test/ends" in notes:
            await asyncio.sleep(float(notes["test/ends"]))
            await self._set(pod, "Failed" if "test/fails" in notes else "Succeeded", ready=False)

    async def _end(self, pod: core_v1.Pod) -> None:
        await asyncio.sleep(1)
        self.gone.append(pod.metadata.name)
        with suppress(ApiError):
            await self._client.delete(
                core_v1.Pod, pod.metadata.name, pod.metadata.namespace, grace_seconds=0, uid=pod.metadata.uid
            )

    def _target(self, pod: core_v1.Pod) -> str:
        affinity = pod.spec.affinity.node_affinity if pod.spec.affinity is not None else None
        required = affinity.required_during_scheduling_ignored_during_execution if affinity is not None else None
        if required is not None and required.node_selector_terms[0].match_fields:
            return required.node_selector_terms[0].match_fields[0].values[0]
        return self._nodes[0]

    async def _set(self, pod: core_v1.Pod, phase: str, *, ready: bool) -> None:
        while True:
            try:
                live = await self._client.get(core_v1.Pod, pod.metadata.name, pod.metadata.namespace)
                if live.metadata.uid == pod.metadata.uid:
                    await self._client.update(
                        replace(live, status=self._status(live, phase, ready, self._clock.now())), subresource="status"
                    )
                return
            except Conflict:
                continue
            except ApiError:
                return

    @staticmethod
    def _status(pod: core_v1.Pod, phase: str, ready: bool, now: datetime) -> Any:
        now = now.replace(microsecond=0)
        condition = core_v1.PodCondition(type="Ready", status="True" if ready else "False")
        statuses = pod.status.container_statuses
        if phase in ("Succeeded", "Failed"):
            ended = core_v1.ContainerStateTerminated(exit_code=int(phase == "Failed"), finished_at=now)
            statuses = [core_v1.ContainerStatus(name="c", state=core_v1.ContainerState(terminated=ended))]
        return replace(
            pod.status,
            phase=phase,
            conditions=set_condition(pod.status.conditions, condition, now),
            container_statuses=statuses,
        )
