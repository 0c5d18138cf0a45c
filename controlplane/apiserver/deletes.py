"""Deletions: of one object, of a collection, of events that nobody has told of for an hour."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from controlplane.apiserver.changes import MOST_CONFLICTS, Changes
from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.items import Deleted, Item
from controlplane.apiserver.lifecycle import check_preconditions, conflict, mark_deleted, not_found, spec_finalizers
from controlplane.apiserver.registry import key_of
from controlplane.apiserver.versions import last_seen, twin_of
from controlplane.storage.errors import KeyMissing, RevisionConflict
from kubeapi.errors import ApiError, NotFound
from kubeapi.scheme import Resource
from kubeapi.types import meta_v1

EVENT_LIFE = timedelta(hours=1)
AT_ONCE = 64
"""Deletions of a collection that are under way together."""


class Deletes(Changes):
    async def delete(
        self,
        ctx: RequestContext,
        resource: Resource,
        namespace: str,
        name: str,
        options: meta_v1.DeleteOptions | None = None,
    ) -> Deleted:
        """Raises NotFound, Conflict (preconditions)."""
        if (twin := twin_of(resource)) is not None:
            deleted = await self.delete(ctx, twin.stored, namespace, name, options)
            return Deleted(twin.item(deleted.item), deleted.gone)
        options = options or meta_v1.DeleteOptions()
        strategy = self.registry.strategy(resource)
        key = key_of(resource, namespace, name)
        sure = False  # as in `change`
        for _ in range(MOST_CONFLICTS + 1):
            held = self.cache.get(key)
            try:
                if held is None:
                    raise not_found(resource, name)
                old = held.object
                check_preconditions(resource, old, options)
                grace = strategy.grace_seconds(old, options.grace_period_seconds)
                new = mark_deleted(old, grace, options, self.now())
                waits = bool(new.metadata.finalizers) or grace > 0 or bool(spec_finalizers(new))
                settled = ctx.dry_run or (waits and new == old)
            except ApiError:
                if sure:
                    raise
                settled = True
            if settled and not sure:
                await self._guard(self.cache.fresh())
                sure = True
                continue
            assert held is not None
            if ctx.dry_run:
                return Deleted(Item(key, new, held.revision), not waits)
            try:
                if not waits:
                    revision = await self._guard(self._store.delete(key, at=held.revision))
                    await strategy.settle(None, old)
                    return Deleted(Item.at(key, old, revision), True)
                if new == old:
                    return Deleted(held, False)
                return Deleted(await self._write(resource, key, new, held.revision), False)
            except RevisionConflict as error:
                await self.cache.reached(error.current)
                sure = True
            except KeyMissing:
                raise not_found(resource, name) from None
        raise conflict(resource, name)

    async def delete_collection(
        self,
        ctx: RequestContext,
        resource: Resource,
        namespace: str,
        options: meta_v1.DeleteOptions | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> Sequence[Item]:
        """Many at once, so that the store commits them together; what is gone meanwhile is fine."""
        found = await self.list(ctx, resource, namespace, label_selector=label_selector, field_selector=field_selector)

        async def remove(item: Item) -> None:
            metadata = item.object.metadata
            with suppress(NotFound):
                await self.delete(ctx, resource, metadata.namespace, metadata.name, options)

        for start in range(0, len(found.items), AT_ONCE):
            await asyncio.gather(*(remove(item) for item in found.items[start : start + AT_ONCE]))
        return found.items

    async def forget_events(self) -> int:
        """Removes the events that nobody has told of for an hour; how many."""
        oldest = self.now() - EVENT_LIFE
        items = self.cache.collection("/registry/core/events/").items.values()
        old = [item for item in items if last_seen(item.object) < oldest]
        done = 0
        for start in range(0, len(old), AT_ONCE):
            batch = (self._store.delete(item.key, at=item.revision) for item in old[start : start + AT_ONCE])
            results = await asyncio.gather(*batch, return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException) and not isinstance(result, KeyMissing | RevisionConflict):
                    raise result
                done += not isinstance(result, BaseException)
        return done
