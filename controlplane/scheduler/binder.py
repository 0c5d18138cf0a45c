"""Carries decisions out: bindings in batches. What fails is forgotten, and the pod tries again."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

from kubeapi.client.interface import BatchResult, Client, Write
from kubeapi.errors import ApiError
from kubeapi.types.core_v1 import Binding, ObjectReference, Pod
from kubeapi.types.meta_v1 import ObjectMeta

BATCH = 250
AT_ONCE = 2
"""Batches on their way: while the server works on one, the next is being made."""


class Binder:
    _waiting: deque[tuple[Pod, str]]
    """Assumed, and not yet told to the server; bounded by the nodes' room for pods."""

    def __init__(
        self,
        client: Client,
        *,
        bound: Callable[[Pod, str], None],
        failed: Callable[[Pod, Exception], None],
        log: logging.Logger,
    ) -> None:
        self._client = client
        self._bound = bound
        self._failed = failed
        self._log = log
        self._waiting = deque()
        self._wake = asyncio.Event()

    def bind(self, pod: Pod, node: str) -> None:
        self._waiting.append((pod, node))
        self._wake.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(AT_ONCE):
                tasks.create_task(self._work(), name=f"binder-{number}")

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                await asyncio.sleep(0)  # let the decisions of this moment come together
            taken = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            try:
                results: Sequence[BatchResult[Binding]] = await self._client.batch(
                    [
                        Write("create", binding_of(p, n), "binding", p.metadata.name, p.metadata.namespace)
                        for p, n in taken
                    ]
                )
            except (ApiError, OSError) as error:
                results = [BatchResult(error=error)] * len(taken)
            except BaseException:
                self._waiting.extendleft(reversed(taken))
                self._wake.set()
                raise
            for (pod, node), result in zip(taken, results, strict=True):
                if result.error is not None:
                    self._failed(pod, result.error)
                else:
                    self._bound(pod, node)


def binding_of(pod: Pod, node: str) -> Binding:
    meta = pod.metadata
    return Binding(
        metadata=ObjectMeta(name=meta.name, namespace=meta.namespace, uid=meta.uid),
        target=ObjectReference(api_version="v1", kind="Node", name=node),
    )
