"""Claims that live as long as their pod: one for each `ephemeral` volume, owned by the pod and named after both.

A claim of that name which belongs to somebody else is never taken over: the pod waits, and an event says why.
"""

from __future__ import annotations

from controlplane.controllers.pods import is_active
from controlplane.controllers.shared import Shared
from kubeapi.client.controller import Controller, Done
from kubeapi.client.keys import Key, key_of
from kubeapi.errors import AlreadyExists
from kubeapi.meta import controller_reference, is_controlled_by
from kubeapi.types.core_v1 import PersistentVolumeClaim, Pod
from kubeapi.types.meta_v1 import ObjectMeta

FOREIGN_CLAIM_AGAIN = 30.0


def claims_for(pod: Pod) -> list[PersistentVolumeClaim]:
    """What the pod needs; nothing when it will not run (again)."""
    if not is_active(pod):
        return []
    found = []
    for volume in pod.spec.volumes:
        template = volume.ephemeral.volume_claim_template if volume.ephemeral is not None else None
        if template is not None:
            meta = ObjectMeta(
                name=f"{pod.metadata.name}-{volume.name}",
                namespace=pod.metadata.namespace,
                labels=template.metadata.labels,
                annotations=template.metadata.annotations,
                owner_references=[controller_reference(pod)],
            )
            found.append(PersistentVolumeClaim(metadata=meta, spec=template.spec))
    return found


COMPONENT = "persistentvolume-controller"
"""Who tells the events."""


class EphemeralClaims:
    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._client = shared.client
        self._pods = shared.informers.of(Pod)
        self._claims = shared.informers.of(PersistentVolumeClaim)
        self.controller: Controller[Key] = Controller(
            "ephemeral",
            self.reconcile,
            sources={self._pods: _wants_claims, self._claims: _owning_pod},
            clock=shared.clock,
            rng=shared.rng,
            metrics=shared.metrics,
        )

    async def reconcile(self, key: Key) -> Done:
        pod = self._pods.get(key)
        if pod is None:
            return Done()
        foreign = False
        for claim in claims_for(pod):
            there = self._claims.get(key_of(claim))
            if there is None:
                try:
                    await self._client.create(claim)
                    continue
                except AlreadyExists:
                    there = await self._client.get(PersistentVolumeClaim, claim.metadata.name, key.namespace)
            if not is_controlled_by(there, pod):
                foreign = True
                message = f"PVC {key_of(claim)} was not created for pod {key} (pod is not owner)"
                self._shared.events.named(COMPONENT).event(pod, "Warning", "FailedBinding", message)
        return Done(requeue_after=FOREIGN_CLAIM_AGAIN if foreign else None)


def _wants_claims(pod: Pod) -> Key | None:
    return key_of(pod) if any(v.ephemeral is not None for v in pod.spec.volumes) else None


def _owning_pod(claim: PersistentVolumeClaim) -> Key | None:
    ref = next((r for r in claim.metadata.owner_references if r.controller and r.kind == "Pod"), None)
    return Key(claim.metadata.namespace, ref.name) if ref is not None else None
