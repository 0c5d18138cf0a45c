"""A small server behind the Client interface: objects in a dict, one history, failures on demand.

A real implementation of the part of the contract that informers, leases and recorders use: versions, conflicts,
resumable watches, expiry of the history.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncIterator, Sequence
from typing import Any

from msgspec.structs import replace

from kubeapi.client.interface import BatchResult, Listing, WatchEvent, Write
from kubeapi.client.keys import Key, key_of
from kubeapi.errors import AlreadyExists, ApiError, Conflict, Expired, NotFound, ServiceUnavailable


class FakeApi:
    def __init__(self) -> None:
        self.revision = 0
        self.objects: dict[tuple[type, Key], Any] = {}
        self.history: list[tuple[type, WatchEvent[Any]]] = []
        self.oldest = 0
        """Watches from before this revision are expired."""
        self.down = False
        self.calls: list[str] = []
        self._changed = asyncio.Event()
        self._cut = 0

    # what a test does to the server

    def put(self, obj: Any) -> Any:
        known = self.objects.get((type(obj), key_of(obj)))
        self.revision += 1
        metadata = replace(obj.metadata, resource_version=str(self.revision))
        obj = replace(obj, metadata=metadata)
        self.objects[type(obj), key_of(obj)] = obj
        self._tell(WatchEvent("ADDED" if known is None else "MODIFIED", obj, self.revision))
        return obj

    def remove(self, type_: type, name: str, namespace: str = "default") -> None:
        obj = self.objects.pop((type_, Key(namespace, name)))
        self.revision += 1
        gone = replace(obj, metadata=replace(obj.metadata, resource_version=str(self.revision)))
        self._tell(WatchEvent("DELETED", gone, self.revision))

    def bookmark(self, type_: Any) -> None:
        self.revision += 1
        self._tell(WatchEvent("BOOKMARK", type_(), self.revision))

    def cut(self) -> None:
        """Ends all watches."""
        self._cut += 1
        self._changed.set()

    def stop(self) -> None:
        self.down = True
        self.cut()

    def forget_history(self) -> None:
        self.oldest = self.revision
        self.history.clear()

    def _tell(self, event: WatchEvent[Any]) -> None:
        self.history.append((type(event.object), event))
        self._changed.set()

    def _enter(self, call: str) -> None:
        self.calls.append(call)
        if self.down:
            raise ServiceUnavailable("down")

    # the Client interface

    async def get(self, type_: Any, name: str, namespace: str = "") -> Any:
        self._enter("get")
        found = self.objects.get((type_, Key(namespace, name)))
        if found is None:
            raise NotFound(f"{name} not found")
        return found

    async def list(
        self,
        type_: Any,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        next: str = "",
    ) -> Listing[Any]:
        self._enter("list")
        items = [o for (t, k), o in sorted(self.objects.items(), key=lambda e: e[0][1]) if t is type_]
        start = int(next or 0)
        end = start + limit if limit else len(items)
        return Listing(items[start:end], self.revision, str(end) if end < len(items) else "")

    async def watch(
        self,
        type_: Any,
        namespace: str = "",
        *,
        resource_version: int,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[Sequence[WatchEvent[Any]]]:
        self._enter("watch")
        if resource_version < self.oldest:
            raise Expired("too old")
        cut = self._cut
        while cut == self._cut:
            self._changed.clear()
            found = [e for t, e in self.history if t is type_ and e.resource_version > resource_version]
            if found:
                resource_version = found[-1].resource_version
                yield found
            else:
                await self._changed.wait()
        if self.down:
            raise ServiceUnavailable("the connection was lost")

    async def create(self, obj: Any, *, subresource: str = "", name: str = "", namespace: str = "") -> Any:
        self._enter("create")
        if (type(obj), key_of(obj)) in self.objects:
            raise AlreadyExists(obj.metadata.name)
        return self.put(obj)

    async def update(self, obj: Any, *, subresource: str = "") -> Any:
        self._enter("update")
        known = self.objects.get((type(obj), key_of(obj)))
        if known is None:
            raise NotFound(obj.metadata.name)
        if obj.metadata.resource_version not in ("", known.metadata.resource_version):
            raise Conflict(obj.metadata.name)
        return self.put(obj)

    async def patch(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    async def delete(self, type_: Any, name: str, namespace: str = "", **preconditions: Any) -> None:
        self._enter("delete")
        self.remove(type_, name, namespace)

    async def batch(self, writes: Sequence[Write[Any]]) -> builtins.list[BatchResult[Any]]:
        self._enter("batch")
        results = []
        for write in writes:
            try:
                done = await (self.create if write.verb == "create" else self.update)(write.object)
                results.append(BatchResult(object=done))
            except ApiError as error:
                results.append(BatchResult(error=error))
        return results
