"""Carries out the plan of pod garbage collection, every twenty seconds and when a node goes."""

from __future__ import annotations

from contextlib import suppress

from controlplane.controllers.podgc.plan import plan
from controlplane.controllers.shared import Shared
from kubeapi.client.controller import Controller, Done
from kubeapi.errors import Conflict, NotFound
from kubeapi.meta import replace
from kubeapi.types.core_v1 import Node, Pod

PERIOD = 20.0
MOST_FINISHED = 12500
_ALL = "all"
"""The only key: there is one collection of pods."""


class PodGarbageCollector:
    def __init__(self, shared: Shared, *, most_finished: int = MOST_FINISHED, period: float = PERIOD) -> None:
        self._shared = shared
        self._client = shared.client
        self._most_finished = most_finished
        self._period = period
        self._pods = shared.informers.of(Pod)
        self._nodes = shared.informers.of(Node)
        self.controller: Controller[str] = Controller(
            "podgc",
            self.reconcile,
            sources={self._nodes: lambda node: _ALL},
            wait_for=[self._pods],
            clock=shared.clock,
            rng=shared.rng,
            metrics=shared.metrics,
        )
        self.controller.queue.add(_ALL)

    async def reconcile(self, key: str) -> Done:
        nodes = {node.metadata.name for node in self._nodes.cache}
        todo = plan(list(self._pods.cache), nodes, self._most_finished)
        gone: dict[str, bool] = {}
        for pod in todo.orphaned:
            name = pod.spec.node_name
            if name not in gone:
                gone[name] = await self._is_gone(name)
            if gone[name]:
                await self._fail(pod, "PodGC: node no longer exists")
                await self._remove(pod)
        for pod in [*todo.finished, *todo.unscheduled]:
            await self._remove(pod)
        return Done(requeue_after=self._period)

    async def _is_gone(self, node: str) -> bool:
        try:
            await self._client.get(Node, node)
        except NotFound:
            return True
        return False

    async def _fail(self, pod: Pod, message: str) -> None:
        """So that whoever watches sees how it ended."""
        if pod.status.phase in ("Succeeded", "Failed"):
            return
        with suppress(NotFound, Conflict):
            status = replace(pod.status, phase="Failed", reason="NodeLost", message=message)
            await self._client.update(replace(pod, status=status), subresource="status")

    async def _remove(self, pod: Pod) -> None:
        with suppress(NotFound, Conflict):
            await self._client.delete(
                Pod, pod.metadata.name, pod.metadata.namespace, grace_seconds=0, uid=pod.metadata.uid
            )
