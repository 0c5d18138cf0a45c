"""The API server as kubectl-lite sees it: plain JSON values over gRPC, of every kind, known at build time or not.

The typed client of `kubeapi.client` is for programs that know their kinds. A person's tool must show fields that it
has never heard of, and must start fast: so nothing here imports the types, msgspec or yaml.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc

from kubeapi.client.grpc_errors import translated
from kubeapi.client.grpc_streams import RemoteCommand
from kubeapi.pb.sampan.v1 import api_pb2 as pb
from kubeapi.pb.sampan.v1.api_pb2_grpc import ApiServerStub
from kubeapi.request_id import METADATA
from kubeapi.scheme import Resource

Object = dict[str, Any]

OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", 512 << 20),
    ("grpc.max_send_message_length", 16 << 20),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)
_EVENTS = {1: "ADDED", 2: "MODIFIED", 3: "DELETED", 4: "BOOKMARK"}
_PATCHES = {"strategic": 1, "merge": 2, "json": 3}
FORWARD_CHUNK = 64 * 1024
FIELD_MANAGER = "kubectl-lite"


@dataclass(frozen=True, slots=True)
class Writing:
    """How to write."""

    dry_run: bool = False
    validation: str = "Strict"
    """Strict, Warn or Ignore: what becomes of unknown and duplicate fields."""
    manager: str = FIELD_MANAGER


WRITING = Writing()


class Server:
    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        token: str,
        timeout: float | None,
        warn: Callable[[str], None],
        request_id: str = "",
        impersonate: Sequence[tuple[str, str]] = (),
    ) -> None:
        """`request_id`: of all that is asked here; the server and the nodes write it into their logs.

        `impersonate`: the headers of --as, by which the server takes us for somebody else, if we may.
        """
        self._stub: Any = ApiServerStub(channel)
        known = (("authorization", f"Bearer {token}" if token else ""), (METADATA, request_id), *impersonate)
        self._metadata = tuple((name, value) for name, value in known if value)
        self.request_id = request_id
        self._timeout = timeout
        self._warn = warn

    async def _call(self, method: Any, request: Any) -> Any:
        with translated():
            return await method(request, timeout=self._timeout, metadata=self._metadata)

    def _warned(self, reply: Any) -> Any:
        for warning in reply.warnings:
            self._warn(warning)
        return reply

    def _object(self, reply: Any) -> Object:
        self._warned(reply)
        return json.loads(reply.object) if reply.object else {}

    # ------------------------------------------------------------------ reads

    async def get(self, resource: Resource, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        request = pb.GetRequest(type=_ref(resource), namespace=namespace, name=name, subresource=subresource)
        return self._object(await self._call(self._stub.Get, request))

    async def list(
        self, resource: Resource, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> tuple[list[Object], int]:
        """The objects, and the collection's version to watch from."""
        request = pb.ListRequest(type=_ref(resource), namespace=namespace, label_selector=labels, field_selector=fields)
        reply = self._warned(await self._call(self._stub.List, request))
        return [json.loads(data) for data in reply.items], reply.resource_version

    async def watch(
        self, resource: Resource, namespace: str, version: int, *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[tuple[str, Object]]:
        """(ADDED | MODIFIED | DELETED, object), until the server ends it. Raises Expired."""
        async for type_, obj, _ in self._watch(resource, namespace, version, labels, fields):
            yield type_, obj

    async def watch_table(
        self,
        resource: Resource,
        namespace: str,
        version: int,
        *,
        labels: str = "",
        fields: str = "",
        include: str = "Metadata",
    ) -> AsyncIterator[tuple[str, Object, int]]:
        """As `watch`, but each object as a Table of its row, beside the event's version; only the first has columns."""
        async for event in self._watch(resource, namespace, version, labels, fields, as_table=True, include=include):
            yield event

    async def _watch(
        self,
        resource: Resource,
        namespace: str,
        version: int,
        labels: str,
        fields: str,
        *,
        as_table: bool = False,
        include: str = "",
    ) -> AsyncIterator[tuple[str, Object, int]]:
        request = pb.WatchRequest(
            type=_ref(resource),
            namespace=namespace,
            label_selector=labels,
            field_selector=fields,
            resource_version=str(version),
            as_table=as_table,
            include_object=include,
        )
        call = self._stub.Watch(request, metadata=self._metadata)
        try:
            with translated():
                async for reply in call:
                    for event in reply.events:
                        if event.type != pb.Event.BOOKMARK:
                            yield _EVENTS[event.type], json.loads(event.object), event.resource_version
        finally:
            call.cancel()

    async def table(
        self,
        resource: Resource,
        namespace: str = "",
        name: str = "",
        *,
        labels: str = "",
        fields: str = "",
        include: str = "Metadata",
    ) -> Object:
        """A meta.k8s.io/v1 Table."""
        request = pb.TableRequest(
            type=_ref(resource),
            namespace=namespace,
            name=name,
            label_selector=labels,
            field_selector=fields,
            include_object=include,
        )
        reply = self._warned(await self._call(self._stub.Table, request))
        table: Object = json.loads(reply.table)
        return table

    async def discovery(self) -> Object:
        """An apidiscovery.k8s.io/v2 APIGroupDiscoveryList."""
        reply = await self._call(self._stub.Discovery, pb.DiscoveryRequest())
        groups: Object = json.loads(reply.groups)
        return groups

    async def schema(self, group: str, version: str) -> Object:
        """An OpenAPI v3 document."""
        reply = await self._call(self._stub.Schema, pb.SchemaRequest(group=group, version=version))
        found: Object = json.loads(reply.openapi)
        return found

    async def version(self) -> dict[str, str]:
        reply = await self._call(self._stub.Version, pb.VersionRequest())
        return {
            "gitVersion": reply.git_version,
            "major": reply.major,
            "minor": reply.minor,
            "platform": reply.platform,
        }

    # ------------------------------------------------------------------ writes

    async def create(
        self,
        resource: Resource,
        obj: Object,
        namespace: str = "",
        *,
        name: str = "",
        subresource: str = "",
        writing: Writing = WRITING,
    ) -> Object:
        """With a subresource `name` is the parent's."""
        request = pb.CreateRequest(
            type=_ref(resource),
            namespace=namespace,
            name=name,
            subresource=subresource,
            object=_encoded(obj),
            options=_options(writing),
        )
        return self._object(await self._call(self._stub.Create, request))

    async def update(
        self, resource: Resource, obj: Object, namespace: str = "", *, subresource: str = "", writing: Writing = WRITING
    ) -> Object:
        request = pb.UpdateRequest(
            type=_ref(resource),
            namespace=namespace,
            name=obj["metadata"]["name"],
            subresource=subresource,
            object=_encoded(obj),
            options=_options(writing),
        )
        return self._object(await self._call(self._stub.Update, request))

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Mapping[str, Any] | Sequence[Any],
        namespace: str = "",
        *,
        kind: str = "merge",
        subresource: str = "",
        writing: Writing = WRITING,
    ) -> Object:
        request = pb.PatchRequest(
            type=_ref(resource),
            namespace=namespace,
            name=name,
            subresource=subresource,
            kind=_PATCHES[kind],  # type: ignore[arg-type]
            patch=_encoded(patch),
            options=_options(writing),
        )
        return self._object(await self._call(self._stub.Patch, request))

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        grace: int | None = None,
        propagation: str = "",
        uid: str = "",
        dry_run: bool = False,
    ) -> None:
        if not name:
            raise ValueError("delete needs a name: an empty one would mean the whole collection")
        request = pb.DeleteRequest(
            type=_ref(resource),
            namespace=namespace,
            name=name,
            grace_period_seconds=grace,
            propagation_policy=propagation,
            precondition_uid=uid,
            dry_run=dry_run,
        )
        self._warned(await self._call(self._stub.Delete, request))

    # ------------------------------------------------------------------ streams

    async def logs(
        self,
        pod: str,
        namespace: str,
        *,
        container: str = "",
        follow: bool = False,
        previous: bool = False,
        tail: int | None = None,
        since_seconds: int | None = None,
        since_time: str = "",
        timestamps: bool = False,
        limit_bytes: int | None = None,
    ) -> AsyncIterator[bytes]:
        request = pb.LogsRequest(
            namespace=namespace,
            pod=pod,
            container=container,
            follow=follow,
            previous=previous,
            tail_lines=tail,
            since_seconds=since_seconds,
            since_time=since_time,
            timestamps=timestamps,
            limit_bytes=limit_bytes,
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
        pod: str,
        namespace: str,
        command: Sequence[str],
        *,
        container: str = "",
        tty: bool = False,
        stdin: bool = False,
        attach: bool = False,
    ) -> RemoteCommand:
        start = pb.ExecStart(
            namespace=namespace,
            pod=pod,
            container=container,
            command=command,
            stdin=stdin,
            stdout=True,
            stderr=not tty,
            tty=tty,
            attach=attach,
        )
        remote = RemoteCommand(self._stub.Exec(metadata=self._metadata))
        await remote.start(start)
        return remote

    async def forward(
        self, pod: str, namespace: str, port: int, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        """One connection, until both directions have ended. Raises what kept it from being established, or broke it."""
        call = self._stub.PortForward(metadata=self._metadata)

        async def up() -> None:
            while data := await source.read(FORWARD_CHUNK):
                await call.write(pb.ForwardInput(data=data))
            await call.write(pb.ForwardInput(close=True))

        sending: asyncio.Task[None] | None = None
        try:
            with translated():
                start = pb.ForwardStart(namespace=namespace, pod=pod, port=port)
                with suppress(asyncio.InvalidStateError):  # the call has ended already: reading tells why
                    await call.write(pb.ForwardInput(start=start))
                async for reply in call:
                    match reply.WhichOneof("output"):
                        case "connected":
                            sending = asyncio.create_task(up(), name="forward-up")
                        case "data":
                            sink.write(reply.data)
                            await sink.drain()
                        case "close" if sink.can_write_eof():
                            sink.write_eof()
        finally:
            call.cancel()
            if sending is not None:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)


def _ref(resource: Resource) -> Any:
    return pb.TypeRef(group=resource.group, version=resource.version, resource=resource.plural, kind=resource.kind)


def _encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _options(writing: Writing) -> Any:
    return pb.WriteOptions(field_manager=writing.manager, dry_run=writing.dry_run, field_validation=writing.validation)
