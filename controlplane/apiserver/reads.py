"""Reads of every resource: from the watch cache, once it has reached what the reader must see.

resourceVersion rules as in the Kubernetes API concepts: "" newest, "0" any, N not older.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from random import Random
from typing import Any

from controlplane.apiserver.auth.authn import Authenticator
from controlplane.apiserver.auth.authz import Authorizer
from controlplane.apiserver.auth.reviews import Reviewer
from controlplane.apiserver.auth.tokens import ServiceAccountTokens
from controlplane.apiserver.cache import WatchCache
from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.items import ApiEvent, Item, ListResult
from controlplane.apiserver.lifecycle import not_found
from controlplane.apiserver.registry import Registry, key_of, prefix_of
from controlplane.apiserver.versions import twin_of
from controlplane.apiserver.watch import BOOKMARK_EVERY, Watch
from controlplane.apiserver.wishes import check_version_match, read_token, read_version, write_token
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
from kubeapi.clock import Clock
from kubeapi.errors import BadRequest, Expired, RequestEntityTooLarge, ServiceUnavailable, Timeout
from kubeapi.scheme import Resource
from kubeapi.selectors import EVERYTHING, field_query, parse_label_selector


class Reads:
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
                    yield watch.bookmark()
        finally:
            watch.close()

    def age(self, revision: int) -> float:
        """Seconds since this server has known of the change of that revision."""
        return self.cache.age(revision)

    async def _wait_for(self, resource_version: str) -> None:
        if resource_version == "":
            await self._guard(self.cache.fresh())
        elif (wanted := read_version(resource_version)) > self.cache.revision:
            await self._guard(self.cache.not_older(wanted))

    def _filter(self, resource: Resource, namespace: str, labels: str, fields: str) -> Callable[[Any], bool]:
        query = parse_label_selector(labels) if labels else EVERYTHING
        field_test = field_query(fields, self.registry.strategy(resource).fields) if fields else None
        if field_test is None:
            return (lambda o: query.matches(o.metadata.labels)) if query else (lambda o: True)
        return lambda o: query.matches(o.metadata.labels) and field_test(o)

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
