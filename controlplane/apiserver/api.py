"""The API core: every verb on every resource, the same for both doors and for callers in the same process.

    create   default → prepare → validate → store.create
    update   ┌─► current object ─► patch | replace ─► default → prepare → validate ─► unchanged? done
             └───────────── conflict ◄──────────── store.update at its revision ◄──┘
    delete   preconditions → finalizers or grace? mark : store.delete
    reads    the watch cache, once it has reached what the reader must see

    Reads (reads.py) ◄── Changes (changes.py) ◄── Deletes (deletes.py) ◄── Api: each adds its verbs.

Errors are kubeapi.errors; nothing else leaves this module. One CAS loop (`change`) serves update, patch, status,
scale and deletion marks.
"""

from __future__ import annotations

from typing import Any

from controlplane.apiserver import subresources
from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.deletes import Deletes
from controlplane.apiserver.items import Item
from controlplane.apiserver.lifecycle import already_exists
from controlplane.apiserver.registry import key_of
from controlplane.apiserver.versions import twin_of
from controlplane.apiserver.wishes import PatchKind, apply_patch, report_problems
from controlplane.storage.errors import KeyExists
from kubeapi import codec
from kubeapi.errors import BadRequest, FieldError, Forbidden, NotFound
from kubeapi.meta import name_suffix, new_uid, replace
from kubeapi.scheme import Resource

LONGEST_PREFIX = 58
"""Of generateName, so that prefix and suffix fit a label."""


class Api(Deletes):
    """Every verb; here create, update and patch."""

    async def create(
        self,
        ctx: RequestContext,
        resource: Resource,
        namespace: str,
        obj: Any,
        *,
        name: str = "",
        subresource: str = "",
    ) -> Item:
        """POST. Raises Invalid, AlreadyExists, Forbidden (namespace), NotFound (namespace)."""
        if subresource:
            return await subresources.create(self, ctx, resource, namespace, name, subresource, obj)
        if (twin := twin_of(resource)) is not None:
            return twin.item(await self.create(ctx, twin.stored, namespace, twin.up(obj)))
        strategy = self.registry.strategy(resource)
        metadata = obj.metadata
        if metadata.namespace and resource.namespaced and metadata.namespace != namespace:
            raise BadRequest(
                "the namespace of the provided object does not match the namespace sent on the request: "
                f"{metadata.namespace} is not {namespace}"
            )
        generated = not metadata.name and bool(metadata.generate_name)
        if metadata.resource_version:
            raise BadRequest("metadata.resourceVersion: must not be set on objects to be created")
        obj = replace(
            obj,
            metadata=replace(
                metadata,
                namespace=namespace if resource.namespaced else "",
                uid=new_uid(self._rng),
                creation_timestamp=self.now(),
                deletion_timestamp=None,
                deletion_grace_period_seconds=None,
                generation=1 if hasattr(obj, "spec") else 0,
                self_link="",
                resource_version="",
            ),
        )
        if strategy.create_only:
            return Item("", self._reviewer.answer(ctx.who, obj, namespace), 0)
        if resource.namespaced:
            await self._check_namespace(namespace, resource)
        for _ in range(8 if generated else 1):
            if generated:
                made = metadata.generate_name[:LONGEST_PREFIX] + name_suffix(self._rng)
                obj = replace(obj, metadata=replace(obj.metadata, name=made))
            ready = strategy.default(obj)
            if strategy.must_see_newest(ready):
                await self._guard(self.cache.fresh())
            ready = strategy.prepare_create(ready)
            key = key_of(resource, namespace, ready.metadata.name)
            if not generated and await self._is_there(key):
                raise already_exists(resource, ready.metadata.name)
            self._validate(resource, ready, None)
            self.authorizer.admit(ctx.who, resource.plural, resource.group, ready, None)
            self._warn(ctx, resource, ready)
            ready = await self._guard(strategy.reserve(ready, None, dry_run=ctx.dry_run))
            if ctx.dry_run:
                return Item(key, ready, 0)
            try:
                return await self._stored(key, ready, self._store.create)
            except KeyExists:
                await self._guard(self.cache.fresh())
                held = self.cache.get(key)
                await strategy.settle(held.object if held is not None else None, ready)
                if not generated:
                    raise already_exists(resource, ready.metadata.name) from None
        raise already_exists(resource, metadata.generate_name)

    async def _is_there(self, key: str) -> bool:
        """A deletion that was acknowledged counts, even if the cache has not seen it yet."""
        if self.cache.get(key) is None:
            return False
        await self._guard(self.cache.fresh())
        return self.cache.get(key) is not None

    async def _check_namespace(self, namespace: str, resource: Resource) -> None:
        key = f"/registry/core/namespaces/{namespace}"
        held = self.cache.get(key)
        if held is None:
            await self._guard(self.cache.fresh())
            held = self.cache.get(key)
        if held is None:
            raise NotFound(f'namespaces "{namespace}" not found', details={"name": namespace, "kind": "namespaces"})
        if held.object.metadata.deletion_timestamp is not None:
            raise Forbidden(
                f"unable to create new content in namespace {namespace} because it is being terminated",
                details={"kind": resource.plural},
                causes=[
                    FieldError("metadata.namespace", "namespace is being terminated", reason="NamespaceTerminating")
                ],
            )

    async def update(
        self, ctx: RequestContext, resource: Resource, namespace: str, name: str, obj: Any, *, subresource: str = ""
    ) -> Item:
        """PUT. At the object's resourceVersion where it has one. Raises NotFound, Conflict, Invalid."""
        if subresource == "scale":
            return await subresources.put_scale(self, ctx, resource, namespace, name, obj)
        if (twin := twin_of(resource)) is not None:
            up = twin.up(obj)
            return twin.item(await self.update(ctx, twin.stored, namespace, name, up, subresource=subresource))
        if obj.metadata.name and obj.metadata.name != name:
            raise BadRequest(
                f"the name of the object ({obj.metadata.name}) does not match the name on the URL ({name})"
            )
        if obj.metadata.namespace and resource.namespaced and obj.metadata.namespace != namespace:
            raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
        return await self.change(ctx, resource, namespace, name, lambda old: obj, subresource=subresource)

    async def patch(
        self,
        ctx: RequestContext,
        resource: Resource,
        namespace: str,
        name: str,
        body: Any,
        kind: PatchKind,
        *,
        subresource: str = "",
    ) -> Item:
        """`body` is the patch as plain JSON values. Raises NotFound, Conflict, Invalid, BadRequest."""
        if subresource == "scale":
            return await subresources.patch_scale(self, ctx, resource, namespace, name, body, kind)

        twin = twin_of(resource)

        def mutate(old: Any) -> Any:
            shown = twin.down(old) if twin is not None else old
            merged = apply_patch(resource.type, codec.to_builtins(shown), body, kind)
            obj, problems = codec.from_builtins_strict(resource.type, merged)
            report_problems(ctx, problems)
            if obj.metadata.resource_version == old.metadata.resource_version:
                obj = replace(obj, metadata=replace(obj.metadata, resource_version=""))
            return twin.up(obj) if twin is not None else obj

        if twin is not None:
            return twin.item(await self.change(ctx, twin.stored, namespace, name, mutate, subresource=subresource))
        return await self.change(ctx, resource, namespace, name, mutate, subresource=subresource)
