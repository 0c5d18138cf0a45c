"""Carries out the plans of claims and volumes, each by a loop of its own, and guards both against deletion in use."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from controlplane.controllers.pods import is_terminal
from controlplane.controllers.shared import Runnable, Shared
from controlplane.controllers.volumes.ephemeral import EphemeralClaims
from controlplane.controllers.volumes.plan import HOSTNAME, plan_claim, plan_volume, reference_to
from kubeapi.claims import CLAIM_PROTECTION, RECLAIM, VOLUME_NODE, class_of
from kubeapi.client.controller import Barrier, Controller, Done, own_key
from kubeapi.client.keys import Key, key_of, revision_of
from kubeapi.errors import AlreadyExists, NotFound
from kubeapi.meta import replace
from kubeapi.types.core_v1 import Node, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod
from kubeapi.types.storage_v1 import StorageClass

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
DIRECTORY = "/var/lib/sampan/volumes"


def claims_of(pod: Pod) -> list[Key]:
    names = [v.persistent_volume_claim.claim_name for v in pod.spec.volumes if v.persistent_volume_claim is not None]
    names += [f"{pod.metadata.name}-{v.name}" for v in pod.spec.volumes if v.ephemeral is not None]
    return [Key(pod.metadata.namespace, name) for name in names]


COMPONENT = "persistentvolume-controller"
"""Who tells the events."""


class Volumes:
    def __init__(self, shared: Shared, *, directory: str = DIRECTORY) -> None:
        self._shared = shared
        self._client = shared.client
        self._directory = directory
        self._claims = shared.informers.of(PersistentVolumeClaim)
        self._volumes = shared.informers.of(PersistentVolume)
        self._classes = shared.informers.of(StorageClass)
        self._nodes = shared.informers.of(Node)
        self._pods = shared.informers.of(Pod, {"claim": claims_of})
        self._barrier: Barrier[Key] = Barrier()
        self.claims: Controller[Key] = Controller(
            "volumeclaims",
            self.reconcile_claim,
            sources={
                self._claims: own_key,
                self._volumes: self._claims_for,
                self._pods: claims_of,
                self._classes: self._pending_of,
            },
            wait_for=[self._nodes],
            clock=shared.clock,
            rng=shared.rng,
            metrics=shared.metrics,
        )
        """One worker: no volume is chosen for two claims."""
        self.volumes: Controller[Key] = Controller(
            "volumes",
            self.reconcile_volume,
            sources={self._volumes: own_key, self._claims: self._volumes_for, self._nodes: self._volumes_on},
            clock=shared.clock,
            rng=shared.rng,
            metrics=shared.metrics,
            workers=2,
        )
        self.ephemeral = EphemeralClaims(shared).controller
        self.controllers: list[Runnable] = [self.claims, self.volumes, self.ephemeral]

    def _claims_for(self, volume: PersistentVolume) -> Iterable[Key]:
        ref = volume.spec.claim_ref
        if ref is not None:
            return [Key(ref.namespace, ref.name)]
        return [
            key_of(c)
            for c in self._claims.cache
            if c.status.phase != "Bound" and class_of(c) == volume.spec.storage_class_name
        ]

    def _pending_of(self, class_: StorageClass) -> Iterable[Key]:
        return [key_of(c) for c in self._claims.cache if not c.spec.volume_name and class_of(c) == class_.metadata.name]

    def _volumes_for(self, claim: PersistentVolumeClaim) -> Iterable[Key]:
        ours = {f"pvc-{claim.metadata.uid}", claim.spec.volume_name} - {""}
        return [Key("", name) for name in ours]

    def _volumes_on(self, node: Node) -> Iterable[Key]:
        """Those that wait for the node to remove their directory."""
        hostname = node.metadata.labels.get(HOSTNAME, node.metadata.name)
        return [
            key_of(v)
            for v in self._volumes.cache
            if v.metadata.deletion_timestamp is not None and v.metadata.labels.get(VOLUME_NODE) == hostname
        ]

    # -------------------------------------------------------------- claims

    async def reconcile_claim(self, key: Key) -> Done:
        claim = self._claims.get(key)
        if claim is None:
            self._barrier.forget(key)
            return Done()
        if claim.metadata.deletion_timestamp is not None:
            return await self._unprotect_claim(key, claim)
        if not self._barrier.ready(Key("", ""), self._volumes.revision):
            return Done(requeue_after=0.05)
        class_ = self._classes.cache.find(class_of(claim)) if class_of(claim) else None
        todo = plan_claim(claim, class_, list(self._volumes.cache), list(self._nodes.cache), self._directory)
        if todo.message:
            self._shared.events.named(COMPONENT).event(claim, todo.severity, todo.reason, todo.message)
        match todo.step:
            case "bind" if todo.volume is not None:
                await self._bind(claim, todo.volume)
            case "provision" if todo.volume is not None:
                try:
                    created = await self._client.create(todo.volume)
                except AlreadyExists:
                    return Done(requeue_after=0.1)
                self._barrier.wrote(Key("", ""), revision_of(created))
                await self._bind(claim, created)
            case "lost":
                await self._set_phase(claim, "Lost")
            case "pending" | "wait":
                await self._set_phase(claim, "Pending")
                return Done(requeue_after=15.0 if todo.step == "pending" else None)
        return Done()

    async def _bind(self, claim: PersistentVolumeClaim, volume: PersistentVolume) -> None:
        """The volume first: whoever writes its claimRef has it. Each step may be the last; the next visit goes on."""
        wanted = reference_to(claim)
        ref = volume.spec.claim_ref
        if ref is None or ref.uid != claim.metadata.uid:
            volume = await self._client.update(replace(volume, spec=replace(volume.spec, claim_ref=wanted)))
            self._barrier.wrote(Key("", ""), revision_of(volume))
        if claim.spec.volume_name != volume.metadata.name:
            notes = {**claim.metadata.annotations, BIND_COMPLETED: "yes", "pv.kubernetes.io/bound-by-controller": "yes"}
            claim = await self._client.update(
                replace(
                    claim,
                    metadata=replace(claim.metadata, annotations=notes),
                    spec=replace(claim.spec, volume_name=volume.metadata.name),
                )
            )
        status = replace(
            claim.status, phase="Bound", access_modes=volume.spec.access_modes, capacity=volume.spec.capacity
        )
        if status != claim.status:
            await self._client.update(replace(claim, status=status), subresource="status")

    async def _set_phase(self, claim: PersistentVolumeClaim, phase: str) -> None:
        if claim.status.phase != phase:
            status = replace(claim.status, phase=phase)
            await self._client.update(replace(claim, status=status), subresource="status")

    async def _unprotect_claim(self, key: Key, claim: PersistentVolumeClaim) -> Done:
        """A pod uses it as long as it may run; one that is deleted, as long as its node has not said that it is gone."""
        if CLAIM_PROTECTION not in claim.metadata.finalizers:
            return Done()
        if any(not is_terminal(pod) for pod in self._pods.cache.by("claim", key)):
            return Done()
        listing = await self._client.list(Pod, key.namespace)
        if any(not is_terminal(pod) and key in claims_of(pod) for pod in listing.items):
            return Done(requeue_after=1.0)  # the cache is behind
        kept = [f for f in claim.metadata.finalizers if f != CLAIM_PROTECTION]
        await self._client.update(replace(claim, metadata=replace(claim.metadata, finalizers=kept)))
        return Done()

    # -------------------------------------------------------------- volumes

    async def reconcile_volume(self, key: Key) -> Done:
        volume = self._volumes.get(key)
        if volume is None:
            return Done()
        ref = volume.spec.claim_ref
        claim = await self._claim_of(ref) if ref is not None and ref.uid else None
        todo = plan_volume(volume, claim, self._hostnames)
        if todo.finalizers is not None:
            if RECLAIM in volume.metadata.finalizers and RECLAIM not in todo.finalizers:
                node = volume.metadata.labels.get(VOLUME_NODE)
                message = f"node {node} is gone, and the directory of the volume with it"
                self._shared.events.named(COMPONENT).event(volume, "Warning", "VolumeDirectoryLost", message)
            metadata = replace(volume.metadata, finalizers=todo.finalizers)
            await self._client.update(replace(volume, metadata=metadata))
        if volume.metadata.deletion_timestamp is not None:
            return Done()
        if (volume.status.phase, volume.status.message) != (todo.phase, todo.message):
            now = self._shared.clock.now().replace(microsecond=0)
            status = replace(volume.status, phase=todo.phase, message=todo.message, last_phase_transition_time=now)
            volume = await self._client.update(replace(volume, status=status), subresource="status")
            if todo.phase == "Failed":
                self._shared.events.named(COMPONENT).event(volume, "Warning", "VolumeFailedDelete", todo.message)
        if todo.delete:
            with suppress(NotFound):
                await self._client.delete(PersistentVolume, key.name, uid=volume.metadata.uid)
        return Done()

    def _hostnames(self) -> set[str]:
        return {node.metadata.labels.get(HOSTNAME, node.metadata.name) for node in self._nodes.cache}

    async def _claim_of(self, ref: ObjectReference) -> PersistentVolumeClaim | None:
        """Before a volume is given up the server is asked: the cache may be behind."""
        cached = self._claims.cache.find(ref.name, ref.namespace)
        if cached is not None and cached.metadata.uid == ref.uid:
            return cached
        try:
            return await self._client.get(PersistentVolumeClaim, ref.name, ref.namespace)
        except NotFound:
            return None
