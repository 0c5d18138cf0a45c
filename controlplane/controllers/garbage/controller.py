"""Deletes what lost its owners, and holds owners back until their dependents are gone.

One informer per kind that may own or be owned; two indexes over all of them: by uid and by owner's uid. An owner that
is not in the caches is asked for at the server before anything is deleted: a cache may be behind.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from controlplane.controllers.garbage.plan import FOREGROUND, Presence, plan
from controlplane.controllers.shared import Shared
from kubeapi.client.controller import Controller, Done
from kubeapi.client.informer import Informer
from kubeapi.client.keys import Key, by_owner, key_of
from kubeapi.errors import Conflict, NotFound
from kubeapi.meta import replace
from kubeapi.scheme import SCHEME
from kubeapi.types.meta_v1 import OwnerReference

UNOWNED = {"events", "leases", "componentstatuses", "nodes", "namespaces"}
"""Kinds that are many or change without pause, and neither own nor are owned in practice."""
UNLISTED_GROUPS = {"metrics.k8s.io", "authorization.k8s.io", "authentication.k8s.io"}


class ObjectKey(NamedTuple):
    type: Any
    key: Key


class GarbageCollector:
    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._client = shared.client
        self._informers: dict[Any, Informer[Any]] = {
            r.type: shared.informers.of(r.type, {"owner": by_owner, "uid": _by_uid})
            for r in SCHEME.resources
            if r.plural not in UNOWNED and r.plural != "evictions" and r.group not in UNLISTED_GROUPS
        }
        self.controller: Controller[ObjectKey] = Controller(
            "garbagecollector",
            self.reconcile,
            sources={informer: self._keys_of(type_) for type_, informer in self._informers.items()},
            clock=shared.clock,
            rng=shared.rng,
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
            if todo.delete:
                await self._delete(key.type, obj, todo.delete)
            if todo.drop_owners:
                await self._without_owners(key.type, obj, todo.drop_owners)
            if todo.delete_dependents:
                for type_, dependent in dependents:
                    if dependent.metadata.deletion_timestamp is None:
                        with suppress(NotFound):
                            await self._delete(type_, dependent, "Foreground")
            if todo.orphan_dependents:
                for type_, dependent in dependents:
                    with suppress(NotFound):
                        await self._without_owners(type_, dependent, [obj.metadata.uid])
                return Done(requeue_after=0.1)
            if todo.remove_finalizer:
                await self._without_finalizer(obj, todo.remove_finalizer)
        return Done()

    async def _presence(self, ref: OwnerReference, dependent: Any) -> Presence:
        found = self._by_uid(ref.uid)
        if found is not None:
            metadata = found[1].metadata
            waiting = metadata.deletion_timestamp is not None and FOREGROUND in metadata.finalizers
            return "waiting" if waiting else "here"
        resource = SCHEME.by_kind(ref.api_version, ref.kind)
        if resource is None or resource.plural in UNOWNED:
            return "here"  # a kind that we cannot judge: nothing is deleted on its account
        namespace = dependent.metadata.namespace if resource.namespaced else ""
        try:
            live = await self._client.get(resource.type, ref.name, namespace)
        except NotFound:
            return "absent"
        return "here" if live.metadata.uid == ref.uid else "absent"

    async def _delete(self, type_: Any, obj: Any, propagation: Any) -> None:
        with suppress(Conflict):  # another object of that name by now
            await self._client.delete(
                type_, obj.metadata.name, obj.metadata.namespace, propagation=propagation, uid=obj.metadata.uid
            )

    async def _without_owners(self, type_: Any, obj: Any, uids: list[str]) -> None:
        kept = [ref for ref in obj.metadata.owner_references if ref.uid not in uids]
        await self._client.update(replace(obj, metadata=replace(obj.metadata, owner_references=kept)))

    async def _without_finalizer(self, obj: Any, finalizer: str) -> None:
        kept = [f for f in obj.metadata.finalizers if f != finalizer]
        await self._client.update(replace(obj, metadata=replace(obj.metadata, finalizers=kept)))


def _by_uid(obj: Any) -> tuple[str]:
    return (obj.metadata.uid,)
