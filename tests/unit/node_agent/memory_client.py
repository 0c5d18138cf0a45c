"""A client over a dictionary: enough API for the agent under virtual time. The real one serves the component tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from kubeapi.client.interface import BatchResult, Listing, WatchEvent, Write
from kubeapi.errors import AlreadyExists, ApiError, Conflict, NotFound, ServiceUnavailable
from kubeapi.types.authentication_v1 import TokenRequest, TokenRequestStatus


class MemoryClient:
    objects: dict[tuple[type, str, str], Any]
    log: list[WatchEvent[Any]]
    """Every change, in order: version N is at index N - 1."""

    def __init__(self) -> None:
        self.objects = {}
        self.log = []
        self.tokens: list[TokenRequest] = []
        """All that were asked for."""
        self.refuse_tokens = False
        self._changed = asyncio.Condition()

    async def get(self, type_: Any, name: str, namespace: str = "") -> Any:
        try:
            return self.objects[(type_, namespace, name)]
        except KeyError:
            raise NotFound(f"{type_.__name__} {namespace}/{name} not found") from None

    async def list(self, type_: Any, namespace: str = "", **options: Any) -> Listing[Any]:
        found = [o for (t, ns, _), o in self.objects.items() if t is type_ and namespace in ("", ns)]
        wanted = options.get("field_selector", "")
        return Listing([o for o in found if _selected(o, wanted)], len(self.log))

    async def watch(
        self, type_: Any, namespace: str = "", *, resource_version: int, field_selector: str = "", **_: Any
    ) -> AsyncIterator[Sequence[WatchEvent[Any]]]:
        seen = resource_version
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda after=seen: len(self.log) > after)
            batch = [e for e in self.log[seen:] if type(e.object) is type_ and _selected(e.object, field_selector)]
            seen = len(self.log)
            if batch:
                yield batch

    async def create(self, obj: Any, *, subresource: str = "", name: str = "", namespace: str = "") -> Any:
        if subresource == "token":
            return self._token(obj)
        key = (type(obj), obj.metadata.namespace, obj.metadata.name)
        if key in self.objects:
            raise AlreadyExists(f"{key} exists")
        return await self._store("ADDED", obj)

    def _token(self, asked: TokenRequest) -> TokenRequest:
        """Each its own; it does not say when it ends, so it ends when it was asked to."""
        if self.refuse_tokens:
            raise ServiceUnavailable("no tokens today")
        self.tokens.append(asked)
        return replace(asked, status=TokenRequestStatus(token=f"token-{len(self.tokens)}"))

    async def update(self, obj: Any, *, subresource: str = "") -> Any:
        old = await self.get(type(obj), obj.metadata.name, obj.metadata.namespace)
        if obj.metadata.resource_version not in ("", old.metadata.resource_version):
            raise Conflict("the object has changed")
        new = replace(old, status=obj.status) if subresource == "status" else obj
        return await self._store("MODIFIED", new)

    async def patch(self, type_: Any, name: str, patch: Mapping[str, Any] | Sequence[Any], **_: Any) -> Any:
        raise NotImplementedError

    async def delete(self, type_: Any, name: str, namespace: str = "", *, uid: str = "", **_: Any) -> None:
        old = await self.get(type_, name, namespace)
        if uid and old.metadata.uid != uid:
            raise Conflict("another object has this name now")
        del self.objects[(type_, namespace, name)]
        await self._tell("DELETED", old)

    async def batch(self, writes: Sequence[Write[Any]]) -> list[BatchResult[Any]]:
        results: list[BatchResult[Any]] = []
        for write in writes:
            try:
                if write.verb == "create":
                    results.append(BatchResult(await self.create(write.object)))
                else:
                    results.append(BatchResult(await self.update(write.object, subresource=write.subresource)))
            except ApiError as error:
                results.append(BatchResult(error=error))
        return results

    async def _store(self, kind: Any, obj: Any) -> Any:
        new = replace(obj, metadata=replace(obj.metadata, resource_version=str(len(self.log) + 1)))
        self.objects[(type(obj), obj.metadata.namespace, obj.metadata.name)] = new
        await self._tell(kind, new)
        return new

    async def _tell(self, kind: Any, obj: Any) -> None:
        self.log.append(WatchEvent(kind, obj, len(self.log) + 1))
        async with self._changed:
            self._changed.notify_all()


def _selected(obj: Any, selector: str) -> bool:
    name, _, value = selector.partition("=")
    return name != "spec.nodeName" or obj.spec.node_name == value
