"""Keeps the EndpointSlices and the Endpoints of every Service with a selector as the plan wants them."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from controlplane.controllers.endpoints.plan import MANAGED_BY, MANAGER, SERVICE_NAME, plan
from controlplane.controllers.endpoints.triggers import Triggers, annotated
from controlplane.controllers.shared import Shared
from kubeapi.client.controller import Barrier, Controller, Done, own_key
from kubeapi.client.keys import Key, by_namespace, key_of, revision_of
from kubeapi.errors import AlreadyExists, Forbidden, NotFound
from kubeapi.meta import replace
from kubeapi.selectors import label_query
from kubeapi.types.core_v1 import Endpoints, Pod, Service
from kubeapi.types.discovery_v1 import EndpointSlice


class EndpointSlices:
    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._client = shared.client
        self._services = shared.informers.of(Service, {"namespace": by_namespace})
        self._pods = shared.informers.of(Pod, {"namespace": by_namespace})
        self._slices = shared.informers.of(EndpointSlice, {"service": by_service})
        self._endpoints = shared.informers.of(Endpoints)
        self._slices_barrier: Barrier[Key] = Barrier()
        self._endpoints_barrier: Barrier[Key] = Barrier()
        self._triggers = Triggers(shared.clock.now)
        self._pods.subscribe(self._note_pod)
        self._services.subscribe(self._note_service)
        self.controller: Controller[Key] = Controller(
            "endpointslice",
            self.reconcile,
            sources={
                self._services: own_key,
                self._pods: self._keys_of_pod,
                self._slices: lambda piece: service_key(piece) if is_ours(piece) else None,
                self._endpoints: own_key,
            },
            clock=shared.clock,
            rng=shared.rng,
            metrics=shared.metrics,
            workers=5,
        )

    def _note_pod(self, old: Pod | None, new: Pod | None) -> None:
        if self._pods.synced.is_set():  # what was there before us did not change now
            keys = {key for pod in (old, new) if pod is not None for key in self._keys_of_pod(pod)}
            self._triggers.pod_changed(keys, old, new)

    def _note_service(self, old: Service | None, new: Service | None) -> None:
        if new is not None and self._services.synced.is_set():
            self._triggers.service_changed(key_of(new), old, new)

    def _keys_of_pod(self, pod: Pod) -> list[Key]:
        found = self._services.cache.by("namespace", pod.metadata.namespace)
        return [
            key_of(s) for s in found if s.spec.selector and label_query(s.spec.selector).matches(pod.metadata.labels)
        ]

    async def reconcile(self, key: Key) -> Done:
        service = self._services.get(key)
        mine = [s for s in self._slices.cache.by("service", key) if is_ours(s)]
        if service is None or service.metadata.deletion_timestamp is not None:
            self._triggers.take(key)
            for piece in mine:
                await self._delete(EndpointSlice, piece)
            held = self._endpoints.get(key)
            if service is None and held is not None and mine:
                await self._delete(Endpoints, held)
            return Done()
        if not service.spec.selector or service.spec.type == "ExternalName":
            self._triggers.take(key)
            return Done()  # somebody else says where it leads
        if not self._slices_barrier.ready(key, self._slices.revision) or not self._endpoints_barrier.ready(
            key, self._endpoints.revision
        ):
            return Done(requeue_after=0.05)
        query = label_query(service.spec.selector)
        pods = self._pods.cache.by("namespace", key.namespace)
        wanted = plan(service, [p for p in pods if query.matches(p.metadata.labels)])
        since = self._triggers.take(key)
        try:
            with suppress(Forbidden):  # the namespace is on its way out
                await self._put_slices(key, {s.metadata.name: s for s in mine}, wanted.slices, since)
                await self._put_endpoints(key, wanted.endpoints, since)
        except BaseException:
            self._triggers.put(key, since)
            raise
        return Done()

    async def _put_slices(
        self, key: Key, held: dict[str, EndpointSlice], wanted: list[EndpointSlice], since: datetime | None
    ) -> None:
        for piece in wanted:
            old = held.pop(piece.metadata.name, None)
            if old is None:
                with suppress(AlreadyExists):
                    meta = replace(piece.metadata, annotations=annotated(piece.metadata.annotations, since))
                    made = await self._client.create(replace(piece, metadata=meta))
                    self._slices_barrier.wrote(key, revision_of(made))
            elif (old.endpoints, old.ports, old.metadata.labels) != (
                piece.endpoints,
                piece.ports,
                piece.metadata.labels,
            ):
                notes = annotated(old.metadata.annotations, since)
                changed = replace(
                    old,
                    endpoints=piece.endpoints,
                    ports=piece.ports,
                    metadata=replace(old.metadata, labels=piece.metadata.labels, annotations=notes),
                )
                self._slices_barrier.wrote(key, revision_of(await self._client.update(changed)))
        for piece in held.values():
            await self._delete(EndpointSlice, piece)

    async def _put_endpoints(self, key: Key, wanted: Endpoints, since: datetime | None) -> None:
        held = self._endpoints.get(key)
        notes = annotated(held.metadata.annotations if held is not None else {}, since)
        if held is None:
            wanted = replace(wanted, metadata=replace(wanted.metadata, annotations=notes))
            with suppress(AlreadyExists):
                self._endpoints_barrier.wrote(key, revision_of(await self._client.create(wanted)))
        elif (held.subsets, held.metadata.labels) != (wanted.subsets, wanted.metadata.labels):
            meta = replace(held.metadata, labels=wanted.metadata.labels, annotations=notes)
            changed = replace(held, subsets=wanted.subsets, metadata=meta)
            self._endpoints_barrier.wrote(key, revision_of(await self._client.update(changed)))

    async def _delete(self, type_: type[EndpointSlice] | type[Endpoints], obj: EndpointSlice | Endpoints) -> None:
        with suppress(NotFound):
            await self._client.delete(type_, obj.metadata.name, obj.metadata.namespace, uid=obj.metadata.uid)


def is_ours(piece: EndpointSlice) -> bool:
    return piece.metadata.labels.get(MANAGED_BY) == MANAGER


def service_key(piece: EndpointSlice) -> Key:
    return Key(piece.metadata.namespace, piece.metadata.labels.get(SERVICE_NAME, ""))


def by_service(piece: EndpointSlice) -> tuple[Key]:
    return (service_key(piece),)
