"""The API core: every verb on every resource, the same for both doors and for callers in the same process.

    create   default → prepare → validate → store.create
    update   ┌─► current object ─► patch | replace ─► default → prepare → validate ─► unchanged? done
             └───────────── conflict ◄──────────── store.update at its revision ◄──┘
    delete   preconditions → finalizers or grace? mark : store.delete
    reads    the watch cache, once it has reached what the reader must see

Errors are kubeapi.errors; nothing else leaves this module. One CAS loop (`_change`) serves update, patch, status,
scale and deletion marks. resourceVersion rules as in the Kubernetes API concepts: "" newest, "0" any, N not older.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from random import Random
from typing import Any

from controlplane.apiserver import subresources
from controlplane.apiserver.auth.authn import Authenticator
from controlplane.apiserver.auth.authz import Authorizer
from controlplane.apiserver.auth.reviews import Reviewer
from controlplane.apiserver.auth.tokens import ServiceAccountTokens
from controlplane.apiserver.cache import WatchCache
from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.items import ApiEvent, Deleted, Item, ListResult
from controlplane.apiserver.lifecycle import (
    already_exists,
    check_preconditions,
    conflict,
    is_finished,
    keep_system_fields,
    mark_deleted,
    not_found,
    spec_finalizers,
    with_ephemeral_containers,
)
from controlplane.apiserver.notices import notices
from controlplane.apiserver.registry import Registry, key_of, prefix_of
from controlplane.apiserver.validation import metadata_faults, structural_faults
from controlplane.apiserver.versions import last_seen, twin_of
from controlplane.apiserver.watch import BOOKMARK_EVERY, Watch
from controlplane.apiserver.wishes import (
    PatchKind,
    apply_patch,
    check_version_match,
    read_token,
    read_version,
    report_problems,
    write_token,
)
from controlplane.storage.errors import (
    KeyExists,
    KeyMissing,
    OutcomeUnknown,
    RevisionConflict,
    StoreError,
    StoreFull,
    ValueTooLarge,
)
from controlplane.storage.interface import Store
from kubeapi import codec
from kubeapi.clock import Clock
from kubeapi.errors import (
    ApiError,
    BadRequest,
    Conflict,
    Expired,
    FieldError,
    Forbidden,
    Invalid,
    NotFound,
    RequestEntityTooLarge,
    ServiceUnavailable,
    Timeout,
)
from kubeapi.meta import name_suffix, new_uid, replace
from kubeapi.scheme import Resource
from kubeapi.selectors import EVERYTHING, field_query, parse_label_selector
from kubeapi.types import meta_v1

MOST_CONFLICTS = 50
"""Lost races until an unconditional writer is told Conflict."""
VIEWS = {"namespaces": {"finalize": True}, "pods": {"ephemeralcontainers": True}}
"""Subresources that are a part of their object, beside status."""
EVENT_LIFE = timedelta(hours=1)
AT_ONCE = 64
"""Deletions of a collection that are under way together."""
LONGEST_PREFIX = 58
"""Of generateName, so that prefix and suffix fit a label."""


class Api:
    def __init__(
        self,
        *,
        store: Store,
        cache: WatchCache,
        registry: Registry,
        clock: Clock,
        rng: Random,
        authorizer: Authorizer | None = None,
        authenticator: Authenticator | None = None,
        tokens: ServiceAccountTokens | None = None,
    ) -> None:
        self._store = store
        self.cache = cache
        self.registry = registry
        self._clock = clock
        self._rng = rng
        self.authorizer = authorizer or Authorizer()
        self.authenticator = authenticator or Authenticator()
        self.tokens = tokens
        self._reviewer = Reviewer(self.authorizer, self.authenticator)

    def now(self) -> datetime:
        """To the second, as metav1.Time."""
        return self._clock.now().replace(microsecond=0)

    # ------------------------------------------------------------------ reads

    async def get(
        self, ctx: RequestContext, resource: Resource, namespace: str, name: str, *, resource_version: str = ""
    ) -> Item:
        """Raises NotFound."""
        if (twin := twin_of(resource)) is not None:
            return twin.item(await self.get(ctx, twin.stored, namespace, name, resource_version=resource_version))
        await self._wait_for(resource_version)
        item = self.cache.get(key_of(resource, namespace, name))
        if item is None:
            raise not_found(resource, name)
        return item

    async def list(
        self,
        ctx: RequestContext,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_: str = "",
        resource_version: str = "",
        resource_version_match: str = "",
    ) -> ListResult:
        """In key order. A chunk's token names the last key and the list's revision. Raises BadRequest, Expired."""
        if (twin := twin_of(resource)) is not None:
            found = await self.list(
                ctx,
                twin.stored,
                namespace,
                label_selector=label_selector,
                field_selector=field_selector,
                limit=limit,
                continue_=continue_,
                resource_version=resource_version,
                resource_version_match=resource_version_match,
            )
            return ListResult([twin.item(i) for i in found.items], found.revision, found.continue_, found.remaining)
        if limit < 0:
            raise BadRequest("limit: must not be negative")
        check_version_match(resource_version, resource_version_match, continue_)
        await self._wait_for(resource_version)
        wanted = self._filter(resource, namespace, label_selector, field_selector)
        start, revision = read_token(continue_) if continue_ else ("", self.cache.revision)
        if resource_version_match == "Exact":
            revision = read_version(resource_version)
        collection = self.cache.collection(prefix_of(resource))
        if revision > self.cache.revision:
            raise BadRequest("continue key is not valid: it is of a version that this server has not seen")
        try:
            items = collection.at(revision)
        except Expired:
            what = "continue parameter" if continue_ else f"resource version {revision}"
            raise Expired(f"The provided {what} is too old; list again from the start") from None
        prefix = prefix_of(resource, namespace if resource.namespaced else "")
        keys = sorted(k for k in items if k > start and k.startswith(prefix))
        chosen = [items[k] for k in keys if wanted(items[k].object)]
        if limit and len(chosen) > limit:
            token = write_token(chosen[limit - 1].key, revision)
            # How many more there are is told only where no selector makes it a guess, as in Kubernetes.
            remaining = 0 if label_selector or field_selector else len(chosen) - limit
            return ListResult(chosen[:limit], revision, token, remaining)
        return ListResult(chosen, revision)

    async def open_watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        send_initial_events: bool | None = None,
    ) -> Watch:
        """With no version, or "0", it begins with what there is now as ADDED. Close it. Raises Expired, BadRequest."""
        twin = twin_of(resource)
        stored = twin.stored if twin is not None else resource
        wanted = self._filter(stored, namespace, label_selector, field_selector)
        await self._wait_for(resource_version)
        prefix, name = prefix_of(stored, namespace if stored.namespaced else ""), prefix_of(stored)
        after = read_version(resource_version)
        if after:
            await self.cache.reaches_back(name, after)
        initial: list[ApiEvent] = []
        if send_initial_events or (after == 0 and send_initial_events is None):
            after = self.cache.revision
            present = self.cache.collection(name).items
            initial = [
                ApiEvent("ADDED", item, item.revision)
                for key, item in sorted(present.items())
                if key.startswith(prefix) and wanted(item.object)
            ]
            if send_initial_events:
                initial.append(ApiEvent("BOOKMARK", None, after, initial_events_end=True))
        watcher = self.cache.watch(name, after or self.cache.revision)
        every = not label_selector and not field_selector
        return Watch(self.cache, watcher, initial, prefix, None if every else wanted, twin)

    async def watch(
        self,
        ctx: RequestContext,
        resource: Resource,
        namespace: str = "",
        *,
        bookmarks: bool = False,
        **wish: Any,
    ) -> AsyncIterator[Sequence[ApiEvent]]:
        """Batches of events; `wish` as for open_watch.

        An object that begins (or ceases) to fit the selectors is ADDED (or DELETED), as watchers of Kubernetes expect.
        """
        watch = await self.open_watch(resource, namespace, **wish)
        try:
            while True:
                if events := watch.take():
                    yield events
                elif not await watch.arrived(BOOKMARK_EVERY if bookmarks else None):
                    yield [watch.bookmark()]
        finally:
            watch.close()

    def age(self, revision: int) -> float:
        """Seconds since this server has known of the change of that revision."""
        return self.cache.age(revision)

    async def _wait_for(self, resource_version: str) -> None:
        if resource_version == "":
            await self._guard(self.cache.fresh())
        elif (wanted := read_version(resource_version)) > self.cache.revision:
            await self.cache.reached(wanted)

    def _filter(self, resource: Resource, namespace: str, labels: str, fields: str) -> Callable[[Any], bool]:
        query = parse_label_selector(labels) if labels else EVERYTHING
        field_test = field_query(fields, self.registry.strategy(resource).fields) if fields else None
        if field_test is None:
            return (lambda o: query.matches(o.metadata.labels)) if query else (lambda o: True)
        return lambda o: query.matches(o.metadata.labels) and field_test(o)

    # ------------------------------------------------------------------ create

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

    def _validate(self, resource: Resource, new: Any, old: Any | None) -> None:
        strategy = self.registry.strategy(resource)
        faults = [
            *metadata_faults(new, namespaced=resource.namespaced, rule=strategy.name_rule),
            *structural_faults(new),
            *strategy.validate(new),
        ]
        if old is not None:
            faults += strategy.validate_update(new, old)
        if faults:
            raise Invalid.of(resource.kind, resource.group, new.metadata.name, faults)

    def _warn(self, ctx: RequestContext, resource: Resource, obj: Any) -> None:
        """Each text once, however often the write is tried."""
        texts = [*self.registry.strategy(resource).warnings(obj), *notices(resource.qualified, obj)]
        ctx.warnings.extend(text for text in texts if text not in ctx.warnings)

    # ------------------------------------------------------------------ update and patch

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

    # ------------------------------------------------------------------ delete

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

    async def _guard(self, call: Any) -> Any:
        """A store's failure as an API error; CAS outcomes pass through."""
        try:
            return await call
        except (KeyExists, KeyMissing, RevisionConflict):
            raise
        except StoreFull as error:
            # No Retry-After: a person is to hear of it now, and not when kubectl has tried ten times.
            raise ServiceUnavailable(f"the store is full: {error}") from error
        except ValueTooLarge as error:
            raise RequestEntityTooLarge(f"the object is too large for the store: {error}") from error
        except OutcomeUnknown as error:
            # No Retry-After: clients in Go would send it again by themselves, and make a second object, or lose to themselves.
            raise Timeout(f"the store did not answer in time: {error}") from error
        except StoreError as error:
            raise ServiceUnavailable(f"the store cannot answer: {error}", retry_after=1) from error
