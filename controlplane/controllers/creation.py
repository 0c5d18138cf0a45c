"""How controllers make pods: under names drawn by chance, in growing batches, and never one twice.

draw a name ──► create ──┬─ made ─────────────► the barrier waits for the cache to show it
                 ▲       ├─ refused ──────────► stop: what is refused once is refused a thousand times
                 │       ├─ name is taken ────► ours? then it was made before, answer lost; else another name
                 └───────┴─ no answer ────────► remember the name; the next visit asks for it again
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from controlplane.controllers.shared import Shared
from kubeapi.client.cache import Cache
from kubeapi.client.controller import Barrier
from kubeapi.client.events import Teller
from kubeapi.client.keys import Key, revision_of
from kubeapi.errors import AlreadyExists, ApiError, Conflict, Forbidden, NotFound, ServiceUnavailable, Timeout
from kubeapi.meta import controller_reference, is_controlled_by, name_suffix, replace
from kubeapi.types.core_v1 import Pod, PodTemplateSpec
from kubeapi.types.meta_v1 import ObjectMeta

FIRST_BATCH = 1
NAMES_TRIED = 8


def pod_from(template: PodTemplateSpec, owner: Any) -> Pod:
    """Still without a name."""
    return Pod(
        metadata=ObjectMeta(
            generate_name=f"{owner.metadata.name}-",
            namespace=owner.metadata.namespace,
            labels=template.metadata.labels,
            annotations=template.metadata.annotations,
            finalizers=template.metadata.finalizers,
            owner_references=[controller_reference(owner)],
        ),
        spec=template.spec,
    )


class PodMaker:
    _unanswered: dict[Key, list[tuple[str, str]]]
    """Per owner, slot and name: perhaps made. A name leaves when the server, or the cache, has told."""

    def __init__(self, shared: Shared, *, pods: Cache[Pod], barrier: Barrier[Key]) -> None:
        self._shared = shared
        self._client = shared.client
        self._pods = pods
        self._barrier = barrier
        self._unanswered = {}

    def forget(self, key: Key) -> None:
        self._unanswered.pop(key, None)

    async def create(self, key: Key, owner: Any, wanted: Sequence[tuple[str, Pod]]) -> str:
        """Each pod with the slot that it is to fill: where two pods of an owner are alike, the same one.

        Returns why it stopped; empty: all are made. Raises what is no answer of the server.
        """
        asked = self._unanswered.get(key, [])
        self._unanswered[key] = [(s, n) for s, n in asked if Key(key.namespace, n) not in self._pods]
        size, rest = FIRST_BATCH, list(wanted)
        while rest:
            batch, rest = rest[:size], rest[size:]
            named = [
                (slot, replace(pod, metadata=replace(pod.metadata, name=self._take(key, slot, pod))))
                for slot, pod in batch
            ]
            results = await asyncio.gather(*(self._one(key, owner, s, p) for s, p in named), return_exceptions=True)
            for result in results:
                if isinstance(result, NotFound | Forbidden) and "terminat" in str(result):
                    return ""  # the namespace is on its way out
                if isinstance(result, BaseException) and not isinstance(result, ApiError):
                    raise result
                if isinstance(result, ApiError):
                    teller(self._shared, owner).event(owner, "Warning", "FailedCreate", f"Error creating: {result}")
                    return str(result)
            size *= 2
        return ""

    def _take(self, key: Key, slot: str, pod: Pod) -> str:
        asked = self._unanswered[key]
        again = next((entry for entry in asked if entry[0] == slot), None)
        if again is None:
            return self._draw(pod)
        asked.remove(again)
        return again[1]

    def _draw(self, pod: Pod) -> str:
        return f"{pod.metadata.generate_name.removesuffix('-')[:247]}-{name_suffix(self._shared.rng)}"

    async def _one(self, key: Key, owner: Any, slot: str, pod: Pod) -> None:
        for _ in range(NAMES_TRIED):
            name = pod.metadata.name
            try:
                made = await self._client.create(pod)
            except AlreadyExists:
                made = await self._client.get(Pod, name, key.namespace)
                if not is_controlled_by(made, owner):
                    pod = replace(pod, metadata=replace(pod.metadata, name=self._draw(pod)))
                    continue
            except (ServiceUnavailable, Timeout):
                self._unanswered.setdefault(key, []).append((slot, name))
                raise
            self._barrier.wrote(key, revision_of(made))
            teller(self._shared, owner).event(owner, "Normal", "SuccessfulCreate", f"Created pod: {name}")
            return
        raise Conflict(f"no free name for a pod of {key} was found by chance")


async def delete_pods(shared: Shared, owner: Any, pods: Sequence[Pod]) -> list[Pod]:
    """Those that are on their way out now; others had gone already."""

    async def delete(pod: Pod) -> bool:
        meta = pod.metadata
        try:
            await shared.client.delete(Pod, meta.name, meta.namespace, uid=meta.uid)
        except (NotFound, Conflict):
            return False
        teller(shared, owner).event(owner, "Normal", "SuccessfulDelete", deleted_text(owner, meta.name))
        return True

    done = await asyncio.gather(*(delete(pod) for pod in pods))
    return [pod for pod, deleted in zip(pods, done, strict=True) if deleted]


def teller(shared: Shared, owner: Any) -> Teller:
    """Who tells the events about an owner of pods: replicaset-controller and so on."""
    return shared.events.named(f"{owner.kind.lower()}-controller")


def deleted_text(owner: Any, name: str) -> str:
    if owner.kind == "StatefulSet":
        return f"delete Pod {name} in StatefulSet {owner.metadata.name} successful"
    return f"Deleted pod: {name}"
