"""Changes of what is there: one compare-and-swap loop (`change`) for update, patch, status, scale and deletion marks."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.items import Item
from controlplane.apiserver.lifecycle import (
    conflict,
    is_finished,
    keep_system_fields,
    not_found,
    with_ephemeral_containers,
)
from controlplane.apiserver.notices import notices
from controlplane.apiserver.reads import Reads
from controlplane.apiserver.registry import key_of
from controlplane.apiserver.structure import structural_faults
from controlplane.apiserver.validation import metadata_faults
from controlplane.storage.errors import KeyMissing, RevisionConflict
from kubeapi import codec
from kubeapi.errors import ApiError, Conflict, FieldError, Invalid, NotFound
from kubeapi.meta import replace
from kubeapi.scheme import Resource

MOST_CONFLICTS = 50
"""Lost races until an unconditional writer is told Conflict."""
VIEWS = {"namespaces": {"finalize": True}, "pods": {"ephemeralcontainers": True}}
"""Subresources that are a part of their object, beside status."""


class Changes(Reads):
    async def change(
        self,
        ctx: RequestContext,
        resource: Resource,
        namespace: str,
        name: str,
        mutate: Callable[[Any], Any],
        *,
        subresource: str = "",
        whole: bool = False,
    ) -> Item:
        """The one CAS loop. `mutate` may run many times: keep it pure.

        `whole`: what mutate returns is stored as it is (a binding changes spec and status in one write).
        """
        strategy = self.registry.strategy(resource)
        served = {"status": resource.status} | VIEWS.get(resource.qualified, {})
        if subresource and not served.get(subresource):
            raise NotFound("the server could not find the requested resource")
        key = key_of(resource, namespace, name)
        sure = False  # the cache has shown all that was acknowledged before this call
        for _ in range(MOST_CONFLICTS + 1):
            held = self.cache.get(key)
            try:
                if held is None:
                    raise not_found(resource, name)
                old = held.object
                new = self._changed(ctx, resource, name, mutate(old), old, subresource, whole)
                settled = new is old or ctx.dry_run
            except ApiError:
                if sure:
                    raise
                settled = True
            if settled and not sure:  # a write says itself whether it was too late; no other answer does
                await self._guard(self.cache.fresh())
                sure = True
                continue
            assert held is not None
            if new is old:
                return held
            if not subresource and not whole:
                new = await self._guard(strategy.reserve(new, old, dry_run=ctx.dry_run))
            if ctx.dry_run:
                return Item(key, new, held.revision)
            try:
                written = await self._write(resource, key, new, held.revision)
            except RevisionConflict as error:
                await strategy.settle(old, new)
                await self.cache.reached(error.current)
                sure = True
            except KeyMissing:
                await strategy.settle(None, new)
                raise not_found(resource, name) from None
            else:
                await strategy.settle(new, old)
                return written
        raise conflict(resource, name)

    def _changed(
        self, ctx: RequestContext, resource: Resource, name: str, asked: Any, old: Any, subresource: str, whole: bool
    ) -> Any:
        """What is to be stored; `old` itself where nothing changes. Raises Conflict, Invalid, Forbidden."""
        strategy = self.registry.strategy(resource)
        version = asked.metadata.resource_version
        if version and version != old.metadata.resource_version:
            raise conflict(resource, name)
        if asked.metadata.uid and asked.metadata.uid != old.metadata.uid:
            raise Conflict(
                f'Operation cannot be fulfilled on {resource.qualified} "{name}": Precondition failed: UID in '
                f"precondition: {asked.metadata.uid}, UID in object meta: {old.metadata.uid}"
            )
        new = keep_system_fields(asked, old)
        if whole:
            pass
        elif subresource == "status":
            new = strategy.prepare_status(new, old)
        elif subresource == "finalize":
            new = replace(old, spec=replace(old.spec, finalizers=new.spec.finalizers))
        elif subresource == "ephemeralcontainers":
            new = with_ephemeral_containers(strategy.default(new), old)
        else:
            new = strategy.prepare_update(strategy.default(new), old)
            if strategy.generation_matters(new, old):
                new = replace(new, metadata=replace(new.metadata, generation=old.metadata.generation + 1))
        if new == old:
            return old
        if not subresource and not whole:
            self._validate(resource, new, old)
            self.authorizer.admit(ctx.who, resource.plural, resource.group, new, old)
            self._warn(ctx, resource, new)
        elif subresource == "status":
            self._validate_status(resource, new, old)
        return new

    async def _write(self, resource: Resource, key: str, new: Any, at: int) -> Item:
        """Stores an object; one that was only waiting for its finalizers is removed instead."""
        if is_finished(new):
            revision = await self._guard(self._store.delete(key, at=at))
            await self.registry.strategy(resource).settle(None, new)
            return Item.at(key, new, revision)
        stored = replace(new, metadata=replace(new.metadata, resource_version=""))
        written = await self._stored(key, stored, functools.partial(self._store.update, at=at))
        if resource.kind == "Namespace":
            await self.cache.reached(written.revision)  # a terminating namespace must refuse from now on
        return written

    async def _stored(self, key: str, obj: Any, write: Callable[[str, bytes], Awaitable[int]]) -> Item:
        value = codec.encode(obj)
        if codec.has_odd_time(value):  # not what a reader will find: times are cut to seconds when they are read
            return Item.at(key, obj, await self._guard(write(key, value)))
        with self.cache.writing(key, value, obj):
            revision = await self._guard(write(key, value))
        return self.cache.wrote(key, obj, revision, value)

    def _validate(self, resource: Resource, new: Any, old: Any | None) -> None:
        strategy = self.registry.strategy(resource)
        faults = [
            *metadata_faults(new, namespaced=resource.namespaced, rule=strategy.name_rule),
            *structural_faults(new),
            *strategy.validate(new),
        ]
        if old is not None:
            faults += strategy.validate_update(new, old)
        _refuse(resource, new, faults)

    def _validate_status(self, resource: Resource, new: Any, old: Any) -> None:
        strategy = self.registry.strategy(resource)
        faults = [*structural_faults(new.status, "status"), *strategy.validate_status(new, old)]
        if new.metadata != old.metadata:
            faults += metadata_faults(new, namespaced=resource.namespaced, rule=strategy.name_rule)
        _refuse(resource, new, faults)

    def _warn(self, ctx: RequestContext, resource: Resource, obj: Any) -> None:
        """Each text once, however often the write is tried."""
        texts = [*self.registry.strategy(resource).warnings(obj), *notices(resource.qualified, obj)]
        ctx.warnings.extend(text for text in texts if text not in ctx.warnings)


def _refuse(resource: Resource, obj: Any, faults: Sequence[FieldError]) -> None:
    """Raises Invalid if there are any. A value that the schema refuses a strategy may refuse, too: it is told once."""
    if faults:
        told = {str(fault): fault for fault in faults}
        raise Invalid.of(resource.kind, resource.group, obj.metadata.name, told.values())
