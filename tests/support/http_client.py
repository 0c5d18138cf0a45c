"""The client's contract spoken over the HTTP door, one connection a request: so that one suite runs through both doors."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from kubeapi import codec
from kubeapi.client.interface import EventType, Listing, PatchType, Propagation, WatchEvent
from kubeapi.errors import from_status
from kubeapi.scheme import SCHEME

T = TypeVar("T")
PATCHES: dict[str, str] = {"merge": "merge-patch", "strategic": "strategic-merge-patch", "json": "json-patch"}


class HttpClient:
    def __init__(self, port: int, tls: ssl.SSLContext) -> None:
        self._port, self._tls = port, tls

    async def _ask(self, method: str, path: str, body: Any = None, kind: str = "json", **query: Any) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls)
        try:
            await self._send(writer, method, path, body, kind, query)
            status = int((await reader.readline()).split()[1])
            data = (await reader.read()).split(b"\r\n\r\n", 1)[1]
        finally:
            writer.transport.abort()
        if status >= 400:
            raise from_status(json.loads(data))
        return data

    async def _send(
        self, writer: asyncio.StreamWriter, method: str, path: str, body: Any, kind: str, query: Mapping[str, Any]
    ) -> None:
        payload = b"" if body is None else json.dumps(body).encode()
        asked = urlencode({name: value for name, value in query.items() if value})
        lines = [f"{method} {path}?{asked} HTTP/1.1", "Host: x", "Accept: application/json", "Connection: close"]
        lines += [f"Content-Type: application/{kind}", f"Content-Length: {len(payload)}"]
        writer.write("\r\n".join([*lines, "", ""]).encode() + payload)
        await writer.drain()

    async def get(self, type_: type[T], name: str, namespace: str = "") -> T:
        return codec.decode(type_, await self._ask("GET", _path(type_, namespace, name)))

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
        query = {"labelSelector": label_selector, "fieldSelector": field_selector, "limit": limit, "continue": next}
        found = json.loads(await self._ask("GET", _path(type_, namespace), **query))
        items = [codec.from_builtins(type_, item) for item in found["items"]]
        return Listing(items, int(found["metadata"]["resourceVersion"]), found["metadata"].get("continue", ""))

    async def watch(
        self, type_: type[T], namespace: str = "", *, resource_version: int, label_selector: str = ""
    ) -> AsyncIterator[Sequence[WatchEvent[T]]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls)
        query = {"watch": 1, "resourceVersion": resource_version, "labelSelector": label_selector}
        try:
            await self._send(writer, "GET", _path(type_, namespace), None, "json", query)
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head.splitlines()[0] and b"chunked" in head.lower(), head
            rest = b""
            while size := int(await reader.readline(), 16):
                *lines, rest = (rest + await reader.readexactly(size)).split(b"\n")
                await reader.readline()
                for line in filter(None, lines):
                    yield [_event(type_, json.loads(line))]
        finally:
            writer.transport.abort()

    async def create(self, obj: T, *, subresource: str = "", name: str = "", namespace: str = "") -> T:
        body = codec.to_builtins(obj)
        path = _path(type(obj), namespace or body["metadata"].get("namespace", ""))
        return codec.decode(type(obj), await self._ask("POST", path, body))

    async def update(self, obj: T, *, subresource: str = "") -> T:
        body = codec.to_builtins(obj)
        path = _path(type(obj), body["metadata"].get("namespace", ""), body["metadata"]["name"], subresource)
        return codec.decode(type(obj), await self._ask("PUT", path, body))

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
        path = _path(type_, namespace, name, subresource)
        return codec.decode(type_, await self._ask("PATCH", path, patch, f"{PATCHES[kind]}+json"))

    async def delete(
        self,
        type_: type[T],
        name: str,
        namespace: str = "",
        *,
        grace_seconds: int | None = None,
        propagation: Propagation | None = None,
        uid: str = "",
    ) -> None:
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if propagation:
            options["propagationPolicy"] = propagation
        if uid:
            options["preconditions"] = {"uid": uid}
        await self._ask("DELETE", _path(type_, namespace, name), options)


def _path(type_: Any, namespace: str, name: str = "", subresource: str = "") -> str:
    resource = SCHEME.resource_of(type_)
    path = resource.path(namespace, name) if name else resource.path(namespace)
    return f"{path}/{subresource}" if subresource else path


def _event(type_: type[T], said: dict[str, Any]) -> WatchEvent[T]:
    if said["type"] == "ERROR":
        raise from_status(said["object"])
    kind: EventType = said["type"]
    return WatchEvent(
        kind, codec.from_builtins(type_, said["object"]), int(said["object"]["metadata"]["resourceVersion"])
    )
