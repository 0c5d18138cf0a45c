"""Deletes what lost its owners, and holds owners back until their dependents are gone.

One informer per kind that may own or be owned, of metadata only where no other controller reads the kind; two indexes
over all of them: by uid and by owner's uid. An owner that is not in the caches is asked for at the server before
anything is deleted: a cache may be behind. Every write names the version that was judged.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from controlplane.controllers.garbage.plan import Presence, is_waiting, plan
from controlplane.controllers.shared import Shared
from kubeapi import codec
from kubeapi.client.controller import Controller, Done
from kubeapi.client.informer import Informer
from kubeapi.client.interface import Propagation
from kubeapi.client.keys import Key, by_owner, key_of
from kubeapi.errors import NotFound
from kubeapi.meta import replace
from kubeapi.scheme import SCHEME, Resource
from kubeapi.types.meta_v1 import OwnerReference

UNOWNED = {"events", "componentstatuses", "evictions", "leases"}
"""Kinds that are many or change without pause, and neither own nor are owned in practice."""
UNLISTED_GROUPS = {"metrics.k8s.io", "authorization.k8s.io", "authentication.k8s.io"}


def is_collected(resource: Resource) -> bool:
    older = (resource.group, resource.version) == ("autoscaling", "v1")  # the same objects as of v2
    return resource.plural not in UNOWNED and resource.group not in UNLISTED_GROUPS and not older


COMPONENT = "garbage-collector-controller"
"""Who tells the events."""


class ObjectKey(NamedTuple):
    type: Any
    key: Key


class GarbageCollector:
    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._client = shared.client
        self._informers: dict[Any, Informer[Any]] = {
            r.type: shared.informers.metadata_of(r.type, {"owner": by_owner, "uid": _by_uid})
            for r in SCHEME.resources
            if is_collected(r)
        }
        self.controller: Controller[ObjectKey] = Controller(
            "garbagecollector",
            self.reconcile,
            sources={informer: self._keys_of(type_) for type_, informer in self._informers.items()},
            clock=shared.clock,
            rng=shared.rng,
            metrics=shared.metrics,
            workers=5,
        )

    def _keys_of(self, type_: Any) -> Any:
        """An object itself where it matters, its dependents (when it goes) and its owners (that may wait for it)."""

        def keys(obj: Any) -> Iterable[ObjectKey]:
            metadata = obj.metadata
            if metadata.owner_references or metadata.deletion_timestamp is not None:
                yield ObjectKey(type_, key_of(obj))
            for ref in metadata.owner_references:
                found = self._by_uid(ref.uid)
                if found is not None and found[1].metadata.deletion_timestamp is not None:
                    yield ObjectKey(found[0], key_of(found[1]))
            for dependent_type, dependent in self._dependents(metadata.uid):
                yield ObjectKey(dependent_type, key_of(dependent))

        return keys

    def _by_uid(self, uid: str) -> tuple[Any, Any] | None:
        for type_, informer in self._informers.items():
            for obj in informer.cache.by("uid", uid):
                return type_, obj
        return None

    def _dependents(self, uid: str) -> list[tuple[Any, Any]]:
        return [(type_, obj) for type_, informer in self._informers.items() for obj in informer.cache.by("owner", uid)]

    async def reconcile(self, key: ObjectKey) -> Done:
        informer = self._informers[key.type]
        obj = informer.get(key.key)
        if obj is None:
            return Done()
        owners = {ref.uid: await self._presence(ref, obj) for ref in obj.metadata.owner_references}
        dependents = self._dependents(obj.metadata.uid)
        todo = plan(obj, owners, [d for _, d in dependents])
        with suppress(NotFound):
            if todo.drop_owners:
                await self._set_owners(key.type, obj, [r for r in _refs(obj) if r.uid not in todo.drop_owners])
            if todo.delete:
                await self._delete(key.type, obj, todo.delete, unblock=todo.unblock)
            if todo.visit_dependents:
                for type_, dependent in dependents:
                    if dependent.metadata.deletion_timestamp is None:
                        self.controller.queue.add(ObjectKey(type_, key_of(dependent)))
            if todo.orphan_dependents:
                await self._orphan(obj, dependents)
                return Done(requeue_after=0.1)
            if todo.remove_finalizer:
                kept = [f for f in obj.metadata.finalizers if f != todo.remove_finalizer]
                await self._patch(key.type, obj, {"finalizers": kept})
        return Done()

    async def _presence(self, ref: OwnerReference, dependent: Any) -> Presence:
        found = self._by_uid(ref.uid)
        if found is not None and found[1].metadata.namespace in ("", dependent.metadata.namespace):
            return "waiting" if is_waiting(found[1]) else "here"
        resource = SCHEME.by_kind(ref.api_version, ref.kind)
        if resource is None or (resource.namespaced and not dependent.metadata.namespace):
            return "here"  # a kind or a place that we cannot judge: nothing is deleted on its account
        namespace = dependent.metadata.namespace if resource.namespaced else ""
        try:
            live = await self._client.get(resource.type, ref.name, namespace)
        except NotFound:
            if found is not None:
                message = f"ownerRef {ref.kind}/{ref.name} {ref.uid} does not exist in namespace {namespace!r}"
                self._shared.events.named(COMPONENT).event(dependent, "Warning", "OwnerRefInvalidNamespace", message)
            return "absent"
        if live.metadata.uid != ref.uid:
            return "absent"
        return "waiting" if is_waiting(live) else "here"

    async def _delete(self, type_: Any, obj: Any, propagation: Propagation, *, unblock: bool) -> None:
        """Only as it was when its owners were judged: one that has found a new owner since then stays."""
        if unblock:
            freed = [replace(ref, block_owner_deletion=False) for ref in _refs(obj)]
            obj = await self._set_owners(type_, obj, freed)
        meta = obj.metadata
        await self._client.delete(
            type_,
            meta.name,
            meta.namespace,
            propagation=propagation,
            uid=meta.uid,
            resource_version=int(meta.resource_version),
        )

    async def _orphan(self, owner: Any, dependents: Iterable[tuple[Any, Any]]) -> None:
        for type_, dependent in dependents:
            with suppress(NotFound):
                await self._set_owners(type_, dependent, [r for r in _refs(dependent) if r.uid != owner.metadata.uid])

    async def _set_owners(self, type_: Any, obj: Any, refs: list[OwnerReference]) -> Any:
        return await self._patch(type_, obj, {"ownerReferences": codec.to_builtins(refs) or None})

    async def _patch(self, type_: Any, obj: Any, change: dict[str, Any]) -> Any:
        """A patch, because the cache may hold no more than metadata; Conflict if the object has changed since."""
        meta = obj.metadata
        patch = {"metadata": {**change, "uid": meta.uid, "resourceVersion": meta.resource_version}}
        return await self._client.patch(type_, meta.name, patch, namespace=meta.namespace)


def _refs(obj: Any) -> list[OwnerReference]:
    return list(obj.metadata.owner_references)


def _by_uid(obj: Any) -> tuple[str]:
    return (obj.metadata.uid,)
