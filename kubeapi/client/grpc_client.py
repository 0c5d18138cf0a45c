"""The client over gRPC: objects go as encoded JSON, errors come back as those of kubeapi.errors.

One HTTP/2 channel carries all calls and watches. gRPC reconnects it by itself, quickly at first; a call made
meanwhile fails with ServiceUnavailable, and whoever made it backs off. Keepalive pings find a dead server or
cable within fifteen seconds, also under an idle watch. Every unary call has a deadline.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import grpc
import msgspec

from kubeapi import codec
from kubeapi.client.grpc_errors import translated
from kubeapi.client.grpc_streams import RemoteCommand
from kubeapi.client.grpc_target import target
from kubeapi.client.interface import (
    BatchResult,
    EventType,
    Listing,
    PatchType,
    Propagation,
    WatchEvent,
    Write,
)
from kubeapi.client.parents import resource_for
from kubeapi.errors import from_status
from kubeapi.pb.sampan.v1 import api_pb2 as pb
from kubeapi.pb.sampan.v1.api_pb2_grpc import ApiServerStub
from kubeapi.request_id import outgoing
from kubeapi.scheme import Resource

T = TypeVar("T")

OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", 256 << 20),
    ("grpc.max_send_message_length", 16 << 20),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # what an attempt may take: a busy server's handshakes are slow
    ("grpc.max_reconnect_backoff_ms", 1_000),
)

_EVENTS: dict[int, EventType] = {
    pb.Event.ADDED: "ADDED",
    pb.Event.MODIFIED: "MODIFIED",
    pb.Event.DELETED: "DELETED",
    pb.Event.BOOKMARK: "BOOKMARK",
}
_PATCHES = {
    "strategic": pb.PatchRequest.STRATEGIC,
    "merge": pb.PatchRequest.MERGE,
    "json": pb.PatchRequest.JSON,
}


@contextlib.asynccontextmanager
async def connect(
    address: str,
    *,
    ca: bytes | None = None,
    cert: bytes | None = None,
    key: bytes | None = None,
    token: str = "",
    timeout: float = 30.0,
    on_warning: Callable[[str], None] | None = None,
    field_manager: str = "",
) -> AsyncIterator[GrpcClient]:
    """TLS with the client's certificate; without `ca` plain text (for tests and a local socket, `unix:...`).

    `address` may be a list: of several API servers any will do, and when one is lost the next takes over.

    `timeout` is each unary call's, in seconds.
    """
    where, further = await asyncio.to_thread(target, address)
    options = (*OPTIONS, *further)
    if ca is None:
        channel = grpc.aio.insecure_channel(where, options=options)
    else:
        credentials = grpc.ssl_channel_credentials(ca, key, cert)
        channel = grpc.aio.secure_channel(where, credentials, options=options)
    async with channel:
        yield GrpcClient(channel, token=token, timeout=timeout, on_warning=on_warning, field_manager=field_manager)


def type_ref(resource: Resource) -> pb.TypeRef:
    return pb.TypeRef(group=resource.group, version=resource.version, resource=resource.plural, kind=resource.kind)


class GrpcClient:
    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        token: str = "",
        timeout: float = 30.0,
        on_warning: Callable[[str], None] | None = None,
        field_manager: str = "",
    ) -> None:
        self._stub: Any = ApiServerStub(channel)
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._timeout = timeout
        self._warn = on_warning or (lambda text: None)
        self._options = pb.WriteOptions(field_manager=field_manager)

    async def _call(self, method: Any, request: Any) -> Any:
        with translated():
            return await method(request, timeout=self._timeout, metadata=(*self._metadata, *outgoing()))

    def _object(self, type_: type[T], reply: pb.ObjectReply) -> T:
        for warning in reply.warnings:
            self._warn(warning)
        return codec.decode(type_, reply.object)

    async def get(self, type_: type[T], name: str, namespace: str = "") -> T:
        request = pb.GetRequest(type=type_ref(resource_for(type_)), namespace=namespace, name=name)
        return self._object(type_, await self._call(self._stub.Get, request))

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
        request = pb.ListRequest(
            type=type_ref(resource_for(type_)),
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            limit=limit,
        )
        setattr(request, "continue", next)
        reply = await self._call(self._stub.List, request)
        items = [codec.decode(type_, data) for data in reply.items]
        return Listing(items, reply.resource_version, getattr(reply, "continue"))

    async def watch(
        self,
        type_: type[T],
        namespace: str = "",
        *,
        resource_version: int,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[Sequence[WatchEvent[T]]]:
        request = pb.WatchRequest(
            type=type_ref(resource_for(type_)),
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=str(resource_version),
            bookmarks=True,
        )
        call = self._stub.Watch(request, metadata=self._metadata)
        try:
            with translated():
                async for reply in call:
                    age = reply.age_seconds
                    batch = [
                        WatchEvent(_EVENTS[event.type], _event_object(type_, event), event.resource_version)
                        for event in reply.events
                    ]
                    if age:
                        batch[0] = replace(batch[0], age=age)
                    yield batch
        finally:
            call.cancel()

    async def create(self, obj: T, *, subresource: str = "", name: str = "", namespace: str = "") -> T:
        request = self._create(Write("create", obj, subresource, name, namespace))
        reply = await self._call(self._stub.Create, request)
        return self._written(obj, reply)

    async def update(self, obj: T, *, subresource: str = "") -> T:
        reply = await self._call(self._stub.Update, self._update(Write("update", obj, subresource)))
        return self._written(obj, reply)

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
        request = pb.PatchRequest(
            type=type_ref(resource_for(type_)),
            namespace=namespace,
            name=name,
            subresource=subresource,
            kind=_PATCHES[kind],
            patch=msgspec.json.encode(patch),
            options=self._options,
        )
        return self._object(type_, await self._call(self._stub.Patch, request))

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
        if not name:
            raise ValueError("delete needs a name: an empty one would mean the whole collection")
        request = pb.DeleteRequest(
            type=type_ref(resource_for(type_)),
            namespace=namespace,
            name=name,
            grace_period_seconds=grace_seconds,
            propagation_policy=propagation or "",
            precondition_uid=uid,
            precondition_resource_version=str(resource_version) if resource_version else "",
        )
        await self._call(self._stub.Delete, request)

    async def batch(self, writes: Sequence[Write[T]]) -> builtins.list[BatchResult[T]]:
        request = pb.BatchRequest(
            writes=[
                pb.Write(create=self._create(write)) if write.verb == "create" else pb.Write(update=self._update(write))
                for write in writes
            ]
        )
        reply = await self._call(self._stub.Batch, request)
        return [
            BatchResult(error=from_status(json.loads(result.status)))
            if result.status
            else BatchResult(object=self._written(write.object, result.reply))
            for write, result in zip(writes, reply.results, strict=True)
        ]

    def _written(self, obj: T, reply: pb.ObjectReply) -> T:
        """A write to another object's subresource may answer with nothing."""
        return self._object(type(obj), reply) if reply.object else obj

    def _create(self, write: Write[Any]) -> pb.CreateRequest:
        metadata = write.object.metadata
        return pb.CreateRequest(
            type=type_ref(resource_for(write.object, write.subresource)),
            namespace=write.namespace or metadata.namespace,
            name=write.name or (metadata.name if write.subresource else ""),
            subresource=write.subresource,
            object=codec.encode(write.object),
            options=self._options,
        )

    def _update(self, write: Write[Any]) -> pb.UpdateRequest:
        metadata = write.object.metadata
        return pb.UpdateRequest(
            type=type_ref(resource_for(write.object, write.subresource)),
            namespace=write.namespace or metadata.namespace,
            name=write.name or metadata.name,
            subresource=write.subresource,
            object=codec.encode(write.object),
            options=self._options,
        )

    # ------------------------------------------------------------------ what only a person asks for

    async def table(
        self, resource: Resource, namespace: str, name: str, *, label_selector: str, field_selector: str
    ) -> dict[str, Any]:
        request = pb.TableRequest(
            type=type_ref(resource),
            namespace=namespace,
            name=name,
            label_selector=label_selector,
            field_selector=field_selector,
        )
        reply = await self._call(self._stub.Table, request)
        return msgspec.json.decode(reply.table, type=dict[str, Any])

    async def version(self) -> dict[str, Any]:
        reply = await self._call(self._stub.Version, pb.VersionRequest())
        return {
            "major": reply.major,
            "minor": reply.minor,
            "gitVersion": reply.git_version,
            "platform": reply.platform,
        }

    async def logs(
        self,
        name: str,
        namespace: str,
        *,
        container: str = "",
        follow: bool = False,
        previous: bool = False,
        tail: int | None = None,
        since_seconds: int | None = None,
        timestamps: bool = False,
    ) -> AsyncIterator[bytes]:
        request = pb.LogsRequest(
            namespace=namespace,
            pod=name,
            container=container,
            follow=follow,
            previous=previous,
            tail_lines=tail,
            since_seconds=since_seconds,
            timestamps=timestamps,
        )
        call = self._stub.Logs(request, metadata=self._metadata)
        try:
            with translated():
                async for reply in call:
                    yield reply.data
        finally:
            call.cancel()

    async def exec(
        self,
        name: str,
        namespace: str,
        command: Sequence[str],
        *,
        container: str = "",
        tty: bool = False,
        stdin: bool = False,
    ) -> RemoteCommand:
        start = pb.ExecStart(
            namespace=namespace,
            pod=name,
            container=container,
            command=command,
            stdin=stdin,
            stdout=True,
            stderr=not tty,
            tty=tty,
        )
        remote = RemoteCommand(self._stub.Exec(metadata=self._metadata))
        await remote.start(start)
        return remote


def _event_object(type_: type[T], event: pb.Event) -> T:
    return codec.decode(type_, event.object or b"{}")
