"""Carries out the plan of a ReplicaSet: claims, creates in growing batches, deletes, writes the status."""

from __future__ import annotations

import asyncio

from controlplane.controllers.replicaset.plan import claim, next_available, plan, status_of
from controlplane.controllers.shared import Shared, may_adopt
from kubeapi.client.controller import Barrier, Controller, Done, own_key
from kubeapi.client.keys import Key, by_controller, by_namespace, key_of, owner_key, revision_of
from kubeapi.errors import AlreadyExists, ApiError, Conflict, Forbidden, NotFound, ServiceUnavailable, Timeout
from kubeapi.meta import controller_of, controller_reference, is_controlled_by, name_suffix, replace
from kubeapi.selectors import label_query
from kubeapi.types.apps_v1 import ReplicaSet
from kubeapi.types.core_v1 import Pod
from kubeapi.types.meta_v1 import ObjectMeta

FIRST_BATCH = 1
NAMES_TRIED = 8


class ReplicaSets:
    _deleted: dict[Key, set[str]]
    """Uids of pods that we deleted and whose end the cache does not show yet."""
    _unanswered: dict[Key, list[str]]
    """Names under which pods may have been made: the answer was lost. The next creation asks for them again, so that
    no pod is made twice; a name leaves when the server or the cache has told."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._client = shared.client
        self._sets = shared.informers.of(ReplicaSet, {"namespace": by_namespace, "controller": by_controller})
        self._pods = shared.informers.of(Pod, {"namespace": by_namespace, "controller": by_controller})
        self._barrier: Barrier[Key] = Barrier()
        self._deleted, self._unanswered = {}, {}
        self.controller: Controller[Key] = Controller(
            "replicaset",
            self.reconcile,
            sources={self._sets: own_key, self._pods: self._keys_of_pod},
            clock=shared.clock,
            rng=shared.rng,
            workers=5,
        )

    def _keys_of_pod(self, pod: Pod) -> list[Key]:
        """Its controller's; of an orphan those of all sets that could adopt it."""
        if any(ref.controller for ref in pod.metadata.owner_references):
            key = owner_key("ReplicaSet")(pod)
            return [key] if key is not None else []
        if not self._sets.synced.is_set() or not pod.metadata.labels:
            return []
        sets = self._sets.cache.by("namespace", pod.metadata.namespace)
        return [key_of(rs) for rs in sets if label_query(rs.spec.selector).matches(pod.metadata.labels)]

    async def reconcile(self, key: Key) -> Done:
        rs = self._sets.get(key)
        if rs is None:
            self._barrier.forget(key)
            self._deleted.pop(key, None)
            self._unanswered.pop(key, None)
            return Done()
        if not self._barrier.ready(key, self._pods.revision):
            return Done(requeue_after=0.05)
        now = self._shared.clock.now().replace(microsecond=0)
        pods = [self._seen(key, pod) for pod in self._pods.cache.by("namespace", key.namespace)]
        claims = claim(rs, pods)
        failure = ""
        if rs.metadata.deletion_timestamp is None:
            await self._claim(key, rs, claims.adopt, claims.release)
            self._unanswered[key] = [
                n for n in self._unanswered.get(key, []) if Key(key.namespace, n) not in self._pods.cache
            ]
            todo = plan(rs, claims.own, self._related(rs, claims.own), now)
            failure = await self._create(key, rs, todo.create)
            await self._delete(key, rs, todo.delete)
        self._prune(key)
        status = status_of(rs, claims.own, failure, now)
        if status != rs.status:
            await self._client.update(replace(rs, status=status), subresource="status")
        return Done(requeue_after=1.0 if failure else next_available(rs, claims.own, self._shared.clock.now()))

    def _seen(self, key: Key, pod: Pod) -> Pod:
        if pod.metadata.uid in self._deleted.get(key, ()) and pod.metadata.deletion_timestamp is None:
            return replace(pod, metadata=replace(pod.metadata, deletion_timestamp=self._shared.clock.now()))
        return pod

    def _prune(self, key: Key) -> None:
        if not (deleted := self._deleted.get(key)):
            return
        alive = {
            p.metadata.uid
            for p in self._pods.cache.by("namespace", key.namespace)
            if p.metadata.deletion_timestamp is None
        }
        deleted &= alive
        if not deleted:
            del self._deleted[key]

    def _related(self, rs: ReplicaSet, own: list[Pod]) -> list[Pod]:
        """The pods of all sets of the same deployment: they ought to be spread over the nodes together."""
        owner = controller_of(rs)
        if owner is None:
            return own
        sets = self._sets.cache.by("controller", owner.uid)
        return [pod for one in sets for pod in self._pods.cache.by("controller", one.metadata.uid)]

    async def _claim(self, key: Key, rs: ReplicaSet, adopt: list[Pod], release: list[Pod]) -> None:
        if adopt and not await may_adopt(self._client, rs):
            raise Conflict(f"{key} is being deleted, or another by now")
        for pod in adopt:
            refs = [*pod.metadata.owner_references, controller_reference(rs)]
            adopted = await self._client.update(replace(pod, metadata=replace(pod.metadata, owner_references=refs)))
            self._barrier.wrote(key, revision_of(adopted))
        for pod in release:
            refs = [ref for ref in pod.metadata.owner_references if ref.uid != rs.metadata.uid]
            await self._client.update(replace(pod, metadata=replace(pod.metadata, owner_references=refs)))

    async def _create(self, key: Key, rs: ReplicaSet, missing: int) -> str:
        """In batches of 1, 2, 4 ...: what is refused once is refused a thousand times. Returns why it stopped."""
        size = FIRST_BATCH
        while missing > 0:
            batch = self._names(key, rs, min(size, missing))
            results = await asyncio.gather(*(self._create_one(key, rs, name) for name in batch), return_exceptions=True)
            missing -= len(batch)
            for result in results:
                if isinstance(result, NotFound | Forbidden) and "terminat" in str(result):
                    return ""
                if isinstance(result, BaseException) and not isinstance(result, ApiError):
                    raise result
                if isinstance(result, ApiError):
                    self._shared.events.event(rs, "Warning", "FailedCreate", f"Error creating: {result}")
                    return str(result)
            size *= 2
        return ""

    def _names(self, key: Key, rs: ReplicaSet, count: int) -> list[str]:
        """First those whose fate is not known."""
        asked = self._unanswered.get(key, [])
        again, self._unanswered[key] = asked[:count], asked[count:]
        return again + [self._name(rs) for _ in range(count - len(again))]

    def _name(self, rs: ReplicaSet) -> str:
        return f"{rs.metadata.name[:247]}-{name_suffix(self._shared.rng)}"

    async def _create_one(self, key: Key, rs: ReplicaSet, name: str) -> None:
        for _ in range(NAMES_TRIED):
            try:
                made = await self._client.create(pod_of(rs, name))
            except AlreadyExists:
                made = await self._client.get(Pod, name, key.namespace)
                if not is_controlled_by(made, rs):
                    name = self._name(rs)
                    continue
            except (ServiceUnavailable, Timeout):
                self._unanswered.setdefault(key, []).append(name)
                raise
            self._barrier.wrote(key, revision_of(made))
            self._shared.events.event(rs, "Normal", "SuccessfulCreate", f"Created pod: {name}")
            return
        raise Conflict(f"no free name for a pod of {key} was found by chance")

    async def _delete(self, key: Key, rs: ReplicaSet, pods: list[Pod]) -> None:
        async def delete(pod: Pod) -> None:
            try:
                await self._client.delete(Pod, pod.metadata.name, key.namespace, uid=pod.metadata.uid)
            except (NotFound, Conflict):
                return
            self._deleted.setdefault(key, set()).add(pod.metadata.uid)
            self._shared.events.event(rs, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}")

        await asyncio.gather(*(delete(pod) for pod in pods))


def pod_of(rs: ReplicaSet, name: str) -> Pod:
    template = rs.spec.template
    return Pod(
        metadata=ObjectMeta(
            name=name,
            generate_name=f"{rs.metadata.name}-",
            namespace=rs.metadata.namespace,
            labels=template.metadata.labels,
            annotations=template.metadata.annotations,
            finalizers=template.metadata.finalizers,
            owner_references=[controller_reference(rs)],
        ),
        spec=template.spec,
    )
