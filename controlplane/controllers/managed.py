"""The pods that one controller manages for each of its owners: found, adopted, let go, made and deleted.

Whoever reconciles an owner asks ready() first, then claim(), plans, and calls create() and delete(). In between lies
what every such loop needs and none should write anew: a cache that is behind must not make it act twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.controllers.creation import PodMaker, delete_pods
from controlplane.controllers.pods import is_active
from controlplane.controllers.shared import Shared, may_adopt
from kubeapi.client.controller import Barrier
from kubeapi.client.keys import Key, by_controller, key_of, owner_key, revision_of
from kubeapi.errors import Conflict
from kubeapi.meta import controller_of, controller_reference, replace
from kubeapi.selectors import LabelQuery, label_query
from kubeapi.types.core_v1 import Pod


@dataclass(frozen=True, slots=True)
class Claims:
    own: list[Pod]
    """Ours and matching; those to be adopted included."""
    adopt: list[Pod]
    release: list[Pod]


def claim(owner: Any, query: LabelQuery, pods: Sequence[Pod]) -> Claims:
    """By owner uid first, by labels second. An owner that is being deleted adopts nothing."""
    found = Claims([], [], [])
    for pod in pods:
        ref = controller_of(pod)
        matches = query.matches(pod.metadata.labels)
        if ref is not None and ref.uid == owner.metadata.uid:
            (found.own if matches else found.release).append(pod)
        elif ref is None and matches and is_active(pod) and owner.metadata.deletion_timestamp is None:
            found.own.append(pod)
            found.adopt.append(pod)
    return found


def by_orphan(pod: Pod) -> tuple[str, ...]:
    """The namespace, of pods without a controller."""
    return () if controller_of(pod) is not None else (pod.metadata.namespace,)


class ManagedPods:
    _deleted: dict[Key, set[str]]
    """Per owner, uids of pods that we deleted and whose end the cache does not show yet."""

    def __init__(self, shared: Shared, kind: str) -> None:
        self._shared = shared
        self._client = shared.client
        self._kind = kind
        self.informer = shared.informers.of(Pod, {"controller": by_controller, "orphan": by_orphan})
        self._barrier: Barrier[Key] = Barrier()
        self._maker = PodMaker(shared, pods=self.informer.cache, barrier=self._barrier)
        self._deleted = {}

    def ready(self, key: Key) -> bool:
        """The cache shows all that was written for this owner."""
        return self._barrier.ready(key, self.informer.revision)

    def wrote(self, key: Key, pod: Pod) -> None:
        self._barrier.wrote(key, revision_of(pod))

    def forget(self, key: Key) -> None:
        self._barrier.forget(key)
        self._maker.forget(key)
        self._deleted.pop(key, None)

    def owner_keys(self, pod: Pod, owners: Sequence[Any]) -> list[Key]:
        """Its controller's; of an orphan those of all `owners` of its namespace that could adopt it."""
        if controller_of(pod) is not None:
            key = owner_key(self._kind)(pod)
            return [key] if key is not None else []
        labels = pod.metadata.labels
        return [key_of(o) for o in owners if labels and label_query(o.spec.selector).matches(labels)]

    async def claim(self, key: Key, owner: Any, *, may_be_ours: Callable[[Pod], bool] = lambda pod: True) -> list[Pod]:
        """The pods of the owner, as they are after what we did to them. Orphans are adopted if they `may_be_ours`."""
        cache = self.informer.cache
        pods = [*cache.by("controller", owner.metadata.uid), *filter(may_be_ours, cache.by("orphan", key.namespace))]
        claims = claim(owner, label_query(owner.spec.selector), pods)
        own = {pod.metadata.uid: pod for pod in claims.own}
        if owner.metadata.deletion_timestamp is None:
            if claims.adopt and not await may_adopt(self._client, owner):
                raise Conflict(f"{key} is being deleted, or another by now")
            for pod in claims.adopt:
                refs = [*pod.metadata.owner_references, controller_reference(owner)]
                adopted = await self._client.update(replace(pod, metadata=replace(pod.metadata, owner_references=refs)))
                self.wrote(key, adopted)
                own[pod.metadata.uid] = adopted
            for pod in claims.release:
                refs = [ref for ref in pod.metadata.owner_references if ref.uid != owner.metadata.uid]
                await self._client.update(replace(pod, metadata=replace(pod.metadata, owner_references=refs)))
        if key in self._deleted:
            self._deleted[key] &= own.keys()
        return [self._as_deleted(key, pod) for pod in own.values()]

    async def create(self, key: Key, owner: Any, wanted: Sequence[tuple[str, Pod]]) -> str:
        """See PodMaker.create."""
        return await self._maker.create(key, owner, wanted)

    async def delete(self, key: Key, owner: Any, pods: Sequence[Pod]) -> None:
        gone = await delete_pods(self._shared, owner, pods)
        if gone:
            self._deleted.setdefault(key, set()).update(pod.metadata.uid for pod in gone)

    def _as_deleted(self, key: Key, pod: Pod) -> Pod:
        """A pod that we have deleted counts as such before the cache shows it."""
        deleted = self._deleted.get(key, set())
        if pod.metadata.deletion_timestamp is not None:
            deleted.discard(pod.metadata.uid)
        elif pod.metadata.uid in deleted:
            return replace(pod, metadata=replace(pod.metadata, deletion_timestamp=self._shared.clock.now()))
        return pod
