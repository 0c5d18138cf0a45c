"""The client in the server's own process: no bytes, no sockets, the same objects and the same errors.

It calls the API core, which it knows only by the protocols below, so that nothing here imports the server.
Objects are frozen, so that handing out the server's own is safe; a watch of thousands costs no decoding.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

from msgspec.structs import replace

from kubeapi import codec
from kubeapi.client.interface import BatchResult, Listing, PatchType, Propagation, WatchEvent, Write
from kubeapi.client.parents import resource_for
from kubeapi.errors import ApiError
from kubeapi.scheme import Resource
from kubeapi.types.meta_v1 import DeleteOptions, ObjectMeta, Preconditions

T = TypeVar("T")


class Item(Protocol):
    @property
    def object(self) -> Any: ...


class Api(Protocol):
    """The API core's requests. `ctx` says who asks; results have .object, lists .items, .revision, .continue_."""

    async def get(self, ctx: Any, resource: Resource, namespace: str, name: str) -> Any: ...
    async def list(
        self,
        ctx: Any,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_: str = "",
    ) -> Any: ...
    def watch(
        self,
        ctx: Any,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        bookmarks: bool = False,
    ) -> AsyncIterator[Sequence[Any]]: ...
    def age(self, revision: int) -> float: ...
    async def create(
        self,
        ctx: Any,
        resource: Resource,
        namespace: str,
        obj: Any,
        *,
        name: str = "",
        subresource: str = "",
    ) -> Any: ...
    async def update(
        self, ctx: Any, resource: Resource, namespace: str, name: str, obj: Any, *, subresource: str = ""
    ) -> Any: ...
    async def patch(
        self,
        ctx: Any,
        resource: Resource,
        namespace: str,
        name: str,
        body: Any,
        kind: Any,
        *,
        subresource: str = "",
    ) -> Any: ...
    async def delete(
        self, ctx: Any, resource: Resource, namespace: str, name: str, options: DeleteOptions | None = None
    ) -> Any: ...


class LocalClient:
    def __init__(self, api: Api, *, context: Callable[[], Any]) -> None:
        """`context` makes the request context of one call: who asks."""
        self._api = api
        self._context = context

    async def get(self, type_: type[T], name: str, namespace: str = "") -> T:
        item = await self._api.get(self._context(), resource_for(type_), namespace, name)
        return cast(T, item.object)

    async def list(
        self,
        type_: type[T],
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        next: str = "",
    ) -> Listing[T]:
        found = await self._api.list(
            self._context(),
            resource_for(type_),
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            limit=limit,
            continue_=next,
        )
        return Listing([item.object for item in found.items], found.revision, found.continue_)

    async def watch(
        self,
        type_: type[T],
        namespace: str = "",
        *,
        resource_version: int,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[Sequence[WatchEvent[T]]]:
        stream = self._api.watch(
            self._context(),
            resource_for(type_),
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=str(resource_version),
            bookmarks=True,
        )
        try:
            async for batch in stream:
                news = next((event.revision for event in batch if event.item is not None), 0)
                yield [
                    WatchEvent(
                        event.type,
                        _bookmark(type_, event.revision) if event.item is None else event.item.object,
                        event.revision,
                        self._api.age(news) if number == 0 and news else 0.0,
                    )
                    for number, event in enumerate(batch)
                ]
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()

    async def create(self, obj: T, *, subresource: str = "", name: str = "", namespace: str = "") -> T:
        metadata = cast(Any, obj).metadata
        item = await self._api.create(
            self._context(),
            resource_for(obj, subresource),
            namespace or metadata.namespace,
            obj,
            name=name or (metadata.name if subresource else ""),
            subresource=subresource,
        )
        return self._written(obj, item)

    async def update(self, obj: T, *, subresource: str = "") -> T:
        metadata = cast(Any, obj).metadata
        item = await self._api.update(
            self._context(),
            resource_for(obj, subresource),
            metadata.namespace,
            metadata.name,
            obj,
            subresource=subresource,
        )
        return self._written(obj, item)

    async def patch(
        self,
        type_: type[T],
        name: str,
        patch: Mapping[str, Any] | Sequence[Any],
        *,
        kind: PatchType = "merge",
        namespace: str = "",
        subresource: str = "",
    ) -> T:
        item = await self._api.patch(
            self._context(), resource_for(type_), namespace, name, patch, kind, subresource=subresource
        )
        return _as(type_, item.object)

    async def delete(
        self,
        type_: type[T],
        name: str,
        namespace: str = "",
        *,
        grace_seconds: int | None = None,
        propagation: Propagation | None = None,
        uid: str = "",
        resource_version: int = 0,
    ) -> None:
        preconditions = None
        if uid or resource_version:
            preconditions = Preconditions(
                uid=uid or None, resource_version=str(resource_version) if resource_version else None
            )
        options = DeleteOptions(
            grace_period_seconds=grace_seconds, propagation_policy=propagation, preconditions=preconditions
        )
        await self._api.delete(self._context(), resource_for(type_), namespace, name, options)

    async def batch(self, writes: Sequence[Write[T]]) -> builtins.list[BatchResult[T]]:
        """All at once, so that the store can commit them as a group."""
        return builtins.list(await asyncio.gather(*(self._one(write) for write in writes)))

    async def _one(self, write: Write[T]) -> BatchResult[T]:
        try:
            if write.verb == "create":
                made = await self.create(
                    write.object, subresource=write.subresource, name=write.name, namespace=write.namespace
                )
                return BatchResult(object=made)
            return BatchResult(object=await self.update(write.object, subresource=write.subresource))
        except ApiError as error:
            return BatchResult(error=error)

    @staticmethod
    def _written(obj: T, item: Item | None) -> T:
        return obj if item is None else _as(type(obj), item.object)


def _as(type_: type[T], found: Any) -> T:
    """A write to a subresource may answer with another kind; keep what both have, as the wire would."""
    if isinstance(found, type_):
        return found
    empty: Any = type_()
    if not hasattr(empty, "spec"):  # a Binding, an Eviction: thousands of them, and only the metadata is common
        return cast(T, replace(empty, metadata=found.metadata))
    return codec.from_builtins(type_, codec.to_builtins(found))


def _bookmark(type_: type[T], revision: int) -> T:
    empty: Any = type_()
    return cast(T, replace(empty, metadata=ObjectMeta(resource_version=str(revision))))
