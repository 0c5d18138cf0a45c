"""Carries out the plan of a StatefulSet: history, claims, pods, status."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from controlplane.controllers.failures import Failures
from controlplane.controllers.history import HASH, drop_history, plan_history, superfluous, template_of, write_history
from controlplane.controllers.managed import ManagedPods
from controlplane.controllers.shared import Shared
from controlplane.controllers.statefulset.plan import (
    claim_name,
    claim_owners,
    claims_for,
    next_available,
    ordinal_of,
    plan,
    pod_for,
    status_of,
)
from kubeapi.client.controller import Barrier, Controller, Done, own_key
from kubeapi.client.keys import Key, by_controller, by_namespace, key_of, revision_of
from kubeapi.errors import AlreadyExists, ApiError
from kubeapi.meta import is_controlled_by, replace
from kubeapi.types.apps_v1 import ControllerRevision, StatefulSet
from kubeapi.types.core_v1 import PersistentVolumeClaim, Pod

FAILED_AGAIN = 1.0

COMPONENT = "statefulset-controller"
"""Who tells the events."""


class StatefulSets:
    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._client = shared.client
        self._sets = shared.informers.of(StatefulSet, {"namespace": by_namespace})
        self._claims = shared.informers.of(PersistentVolumeClaim)
        self._history = shared.informers.of(ControllerRevision, {"controller": by_controller})
        self._pods = ManagedPods(shared, "StatefulSet")
        self._failures = Failures(shared.clock, free=1)
        self._written: Barrier[Key] = Barrier()
        """Our own statuses and revisions: which revision is current must not be read from an old picture."""
        self._revised: Barrier[Key] = Barrier()
        self.controller: Controller[Key] = Controller(
            "statefulset",
            self.reconcile,
            sources={self._sets: own_key, self._pods.informer: self._keys_of_pod},
            wait_for=[self._history, self._claims],
            clock=shared.clock,
            rng=shared.rng,
            workers=4,
            metrics=shared.metrics,
        )

    def _keys_of_pod(self, pod: Pod) -> list[Key]:
        return self._pods.owner_keys(pod, self._sets.cache.by("namespace", pod.metadata.namespace))

    async def reconcile(self, key: Key) -> Done:
        owner = self._sets.get(key)
        if owner is None:
            self._pods.forget(key)
            self._failures.forget(key)
            self._written.forget(key)
            self._revised.forget(key)
            return Done()
        ready = self._pods.ready(key) and self._written.ready(key, self._sets.revision)
        if not (ready and self._revised.ready(key, self._history.revision)):
            return Done(requeue_after=0.05)
        own = await self._pods.claim(
            key, owner, may_be_ours=lambda pod: ordinal_of(owner, pod.metadata.name) is not None
        )
        if owner.metadata.deletion_timestamp is not None:
            return Done()
        history = plan_history(owner, self._history.cache.by("controller", owner.metadata.uid))
        updated = await write_history(self._client, owner, history)
        self._revised.wrote(key, revision_of(updated))
        update = updated.metadata.labels[HASH]
        known = {r.metadata.name: r for r in (*history.former, updated)}
        current = known.get(owner.status.current_revision, updated)
        now = self._shared.clock.now().replace(microsecond=0)
        await self._hand_claims(owner, own)
        todo = plan(owner, own, update, now)
        for pod in todo.delete:
            if pod.status.phase == "Failed":
                self._failures.note(key, pod.metadata.name)
        await self._pods.delete(key, owner, todo.delete)
        failure = ""
        for ordinal, from_update in todo.create:
            if not self._failures.may_start(key, f"{key.name}-{ordinal}"):
                continue
            failure = failure or await self._create(key, owner, updated if from_update else current, ordinal)
        status = status_of(owner, own, current.metadata.labels[HASH], update, now)
        if status != owner.status:
            written = await self._client.update(replace(owner, status=status), subresource="status")
            self._written.wrote(key, revision_of(written))
        in_use = {pod.metadata.labels.get(HASH, "") for pod in own} | {status.current_revision, status.update_revision}
        await drop_history(self._client, superfluous(history.former, in_use, owner.spec.revision_history_limit))
        waits = (next_available(owner, own, now), self._failures.wait(key), FAILED_AGAIN if failure else None)
        return Done(requeue_after=min((seconds for seconds in waits if seconds is not None), default=None))

    async def _create(self, key: Key, owner: StatefulSet, revision: ControllerRevision, ordinal: int) -> str:
        """Claims first: a pod never waits for a claim that nobody makes. Returns why it stopped."""
        pod = pod_for(owner, template_of(revision), revision.metadata.labels[HASH], ordinal)
        try:
            if not await self._make_claims(owner, ordinal):
                return "a claim of the pod is being deleted"
            made = await self._client.create(pod)
        except AlreadyExists:
            made = await self._client.get(Pod, pod.metadata.name, key.namespace)
            if not is_controlled_by(made, owner):
                message = f"create Pod {pod.metadata.name} in StatefulSet {key.name} failed: the name is taken"
                self._shared.events.named(COMPONENT).event(owner, "Warning", "FailedCreate", message)
                return message
        except ApiError as error:
            message = f"create Pod {pod.metadata.name} in StatefulSet {key.name} failed error: {error}"
            self._shared.events.named(COMPONENT).event(owner, "Warning", "FailedCreate", message)
            return message
        self._pods.wrote(key, made)
        message = f"create Pod {pod.metadata.name} in StatefulSet {key.name} successful"
        self._shared.events.named(COMPONENT).event(owner, "Normal", "SuccessfulCreate", message)
        return ""

    async def _make_claims(self, owner: StatefulSet, ordinal: int) -> bool:
        for claim in claims_for(owner, ordinal):
            there = self._claims.get(key_of(claim))
            if there is None:
                owners = claim_owners(owner, claim, ordinal, None)
                with suppress(AlreadyExists):
                    there = await self._client.create(
                        replace(claim, metadata=replace(claim.metadata, owner_references=owners))
                    )
                    name, pod = claim.metadata.name, f"{owner.metadata.name}-{ordinal}"
                    message = f"create Claim {name} Pod {pod} in StatefulSet {owner.metadata.name} success"
                    self._shared.events.named(COMPONENT).event(owner, "Normal", "SuccessfulCreate", message)
            if there is not None and there.metadata.deletion_timestamp is not None:
                return False
        return True

    async def _hand_claims(self, owner: StatefulSet, own: list[Pod]) -> None:
        """To whom each claim belongs follows the retention policy, and the size: before a pod goes, not after."""
        pods: Mapping[int, Pod] = {n: p for p in own if (n := ordinal_of(owner, p.metadata.name)) is not None}
        for ordinal, pod in pods.items():
            for template in owner.spec.volume_claim_templates:
                claim = self._claims.get(Key(owner.metadata.namespace, claim_name(owner, template, ordinal)))
                if claim is None or claim.metadata.deletion_timestamp is not None:
                    continue
                refs = claim_owners(owner, claim, ordinal, pod)
                if refs != claim.metadata.owner_references:
                    metadata = replace(claim.metadata, owner_references=refs)
                    await self._client.update(replace(claim, metadata=metadata))
