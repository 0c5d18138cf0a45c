"""The gRPC door: the cluster's own parts come in here. The same Calls as the HTTP door's, other bytes around them.

grpc_around    what stands around every call: who asks, errors as codes, measuring
grpc_streams   logs, exec, port-forward
grpc           all that is about objects: this file
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import msgspec

from controlplane.apiserver import discovery
from controlplane.apiserver.auth.authn import User
from controlplane.apiserver.auth.authz import Attributes
from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.doors.calls import PARENT_WRITES, context
from controlplane.apiserver.doors.deadline import until
from controlplane.apiserver.doors.encode import include_of
from controlplane.apiserver.doors.grpc_streams import Streams
from controlplane.apiserver.doors.http import VERSION
from controlplane.apiserver.items import Item
from controlplane.apiserver.tables.table import make_table
from kubeapi import codec
from kubeapi.errors import ApiError, BadRequest, InternalError, NotFound, UnsupportedMediaType
from kubeapi.openapi import openapi_v3
from kubeapi.pb.sampan.v1 import api_pb2 as pb
from kubeapi.scheme import Resource
from kubeapi.types import meta_v1

log = logging.getLogger("sampan.grpc")
OPTIONS = [
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
]
Encoded = Callable[[Item, int], bytes]
"""What a watcher gets of an item, at the revision of the event."""
_PATCHES: dict[int, Any] = {
    pb.PatchRequest.STRATEGIC: "strategic",
    pb.PatchRequest.MERGE: "merge",
    pb.PatchRequest.JSON: "json",
}


class GrpcDoor(Streams):
    # ------------------------------------------------------------------ reads

    async def Get(self, request: Any, call: Any) -> Any:
        async def run(user: User) -> Any:
            resource = self._allowed(user, "get", request)
            ctx = context(user)
            item = await self._calls.get(
                ctx, resource, request.namespace, request.name, request.subresource, request.resource_version
            )
            return _reply(item, ctx)

        return await self._unary("get", request, call, run)

    async def List(self, request: Any, call: Any) -> Any:
        async def run(user: User) -> Any:
            resource = self._allowed(user, "list", request)
            ctx = context(user)
            found = await self._calls.list(
                ctx,
                resource,
                request.namespace,
                label_selector=request.label_selector,
                field_selector=request.field_selector,
                limit=request.limit,
                continue_=getattr(request, "continue"),
                resource_version=request.resource_version,
                resource_version_match=request.resource_version_match,
            )
            reply = pb.ListReply(
                resource_version=found.revision,
                items=[i.json for i in found.items],
                remaining=found.remaining,
                warnings=ctx.warnings,
            )
            setattr(reply, "continue", found.continue_)
            return reply

        return await self._unary("list", request, call, run)

    async def Watch(self, request: Any, call: Any) -> AsyncIterator[Any]:
        async def run(user: User) -> AsyncIterator[Any]:
            resource = self._allowed(user, "watch", request)
            batches = self._calls.watch(
                context(user),
                resource,
                request.namespace,
                label_selector=request.label_selector,
                field_selector=request.field_selector,
                resource_version=request.resource_version,
                bookmarks=request.bookmarks,
                send_initial_events=request.send_initial_events or None,
            )
            if request.timeout_seconds < 0:
                raise BadRequest("timeout_seconds: must be greater than or equal to 0")
            encoded = self._rows(resource, request.include_object) if request.as_table else _object
            async with aclosing(until(batches, request.timeout_seconds)) as events:
                async for batch in events:
                    news = next((e.revision for e in batch if e.item is not None), 0)
                    yield pb.WatchReply(
                        events=[_event(resource, event, encoded) for event in batch],
                        age_seconds=self._calls.api.age(news) if news else 0.0,
                    )

        async for reply in self._streamed("watch", request, call, run):
            yield reply

    def _rows(self, resource: Resource, include_object: str) -> Encoded:
        """Of one watch: the columns go with its first row."""
        include, first = include_of(include_object), True

        def encoded(item: Item, revision: int) -> bytes:
            nonlocal first
            columns, first = first, False
            now = self._clock.now()
            table = make_table(resource, [item], now, revision=revision, include=include, with_columns=columns)
            return codec.encode(table)

        return encoded

    async def Table(self, request: Any, call: Any) -> Any:
        async def run(user: User) -> Any:
            resource = self._allowed(user, "get" if request.name else "list", request)
            ctx, now = context(user), self._clock.now()
            include = include_of(request.include_object)
            if request.name:
                item = await self._calls.get(ctx, resource, request.namespace, request.name, "")
                table = make_table(resource, [item], now, revision=item.revision, include=include)
            else:
                found = await self._calls.list(
                    ctx,
                    resource,
                    request.namespace,
                    label_selector=request.label_selector,
                    field_selector=request.field_selector,
                    limit=request.limit,
                    continue_=getattr(request, "continue"),
                )
                table = make_table(
                    resource,
                    found.items,
                    now,
                    revision=found.revision,
                    continue_=found.continue_,
                    remaining=found.remaining,
                    include=include,
                )
            return pb.TableReply(table=codec.encode(table), warnings=ctx.warnings)

        return await self._unary("list", request, call, run)

    async def Discovery(self, request: Any, call: Any) -> Any:
        async def run(user: User) -> Any:
            self._calls.allow(user, Attributes("get", path="/apis"))
            both = [msgspec.json.decode(discovery.aggregated(core, "v2")) for core in (True, False)]
            both[0]["items"] += both[1]["items"]
            return pb.DiscoveryReply(groups=msgspec.json.encode(both[0]))

        return await self._unary("get", None, call, run)

    async def Schema(self, request: Any, call: Any) -> Any:
        async def run(user: User) -> Any:
            self._calls.allow(user, Attributes("get", path="/openapi/v3"))
            found = await asyncio.to_thread(openapi_v3, request.group, request.version)
            if found is None:
                raise NotFound(f"the server serves no {request.group}/{request.version}".replace(" /", " "))
            return pb.SchemaReply(openapi=found)

        return await self._unary("get", None, call, run)

    async def Version(self, request: Any, call: Any) -> Any:
        async def run(user: User) -> Any:
            return pb.VersionReply(
                major=VERSION["major"],
                minor=VERSION["minor"],
                git_version=VERSION["gitVersion"],
                platform=VERSION["platform"],
            )

        return await self._unary("get", None, call, run)

    # ------------------------------------------------------------------ writes

    async def Create(self, request: Any, call: Any) -> Any:
        return await self._unary("create", request, call, lambda user: self._create(user, request))

    async def Update(self, request: Any, call: Any) -> Any:
        return await self._unary("update", request, call, lambda user: self._update(user, request))

    async def Patch(self, request: Any, call: Any) -> Any:
        return await self._unary("patch", request, call, lambda user: self._patch(user, request))

    async def Delete(self, request: Any, call: Any) -> Any:
        return await self._unary("delete", request, call, lambda user: self._delete(user, request))

    async def Batch(self, request: Any, call: Any) -> Any:
        """Writes run side by side, so that the store commits them as one; each has its own result."""

        async def run(user: User) -> Any:
            results = await _gather([self._write(user, write) for write in request.writes])
            return pb.BatchReply(results=results)

        return await self._unary("batch", None, call, run)

    async def _write(self, user: User, write: Any) -> Any:
        which = write.WhichOneof("write")
        one: dict[str, Callable[[User, Any], Awaitable[Any]]] = {
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
        }
        try:
            if which is None:
                raise BadRequest("a write of a batch says nothing")
            return pb.WriteResult(reply=await one[which](user, getattr(write, which)))
        except ApiError as error:
            return pb.WriteResult(status=msgspec.json.encode(error.status()))
        except Exception:
            log.exception("a defect in a batched %s", which)
            defect = InternalError("an error on the server has prevented the write from succeeding")
            return pb.WriteResult(status=msgspec.json.encode(defect.status()))

    async def _create(self, user: User, request: Any) -> Any:
        resource = self._allowed(user, "create", request)
        ctx = _context(user, request.options)
        item = await self._calls.create(
            ctx, resource, request.namespace, request.name, request.subresource, request.object
        )
        if request.subresource in PARENT_WRITES or resource.plural == "bindings":
            return pb.ObjectReply(resource_version=item.revision, warnings=ctx.warnings)
        return _reply(item, ctx)

    async def _update(self, user: User, request: Any) -> Any:
        resource = self._allowed(user, "update", request)
        ctx = _context(user, request.options)
        item = await self._calls.update(
            ctx, resource, request.namespace, request.name, request.subresource, request.object
        )
        return _reply(item, ctx)

    async def _patch(self, user: User, request: Any) -> Any:
        resource = self._allowed(user, "patch", request)
        ctx = _context(user, request.options)
        kind = _PATCHES.get(request.kind)
        if kind is None:
            raise UnsupportedMediaType("the kind of patch must be STRATEGIC, MERGE or JSON")
        item = await self._calls.patch(
            ctx, resource, request.namespace, request.name, request.subresource, request.patch, kind
        )
        return _reply(item, ctx)

    async def _delete(self, user: User, request: Any) -> Any:
        resource = self._allowed(user, "delete" if request.name else "deletecollection", request)
        ctx = context(user, dry_run=request.dry_run)
        preconditions = None
        if request.precondition_uid or request.precondition_resource_version:
            preconditions = meta_v1.Preconditions(
                uid=request.precondition_uid or None,
                resource_version=request.precondition_resource_version or None,
            )
        options = meta_v1.DeleteOptions(
            grace_period_seconds=request.grace_period_seconds if request.HasField("grace_period_seconds") else None,
            propagation_policy=request.propagation_policy or None,
            preconditions=preconditions,
        )
        if (options.grace_period_seconds or 0) < 0:
            raise BadRequest("gracePeriodSeconds: must be greater than or equal to 0")
        if not request.name:
            await self._calls.api.delete_collection(
                ctx,
                resource,
                request.namespace,
                options,
                label_selector=request.label_selector,
                field_selector=request.field_selector,
            )
            return pb.ObjectReply(warnings=ctx.warnings)
        deleted = await self._calls.api.delete(ctx, resource, request.namespace, request.name, options)
        return pb.ObjectReply(warnings=ctx.warnings) if deleted.gone else _reply(deleted.item, ctx)


async def _gather(writes: list[Awaitable[Any]]) -> list[Any]:

    return list(await asyncio.gather(*writes))


def _reply(item: Item, ctx: RequestContext | None = None) -> Any:
    return pb.ObjectReply(
        resource_version=item.revision, object=item.json, warnings=ctx.warnings if ctx is not None else ()
    )


def _context(user: User, options: Any) -> RequestContext:
    return context(user, manager=options.field_manager, validation=options.field_validation, dry_run=options.dry_run)


def _object(item: Item, revision: int) -> bytes:
    return item.json


def _event(resource: Resource, event: Any, encoded: Encoded) -> Any:
    if event.item is not None:
        found = encoded(event.item, event.revision)
        return pb.Event(type=event.type, resource_version=event.revision, object=found)
    metadata: dict[str, Any] = {"resourceVersion": str(event.revision)}
    if event.initial_events_end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    inner = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    return pb.Event(type="BOOKMARK", resource_version=event.revision, object=msgspec.json.encode(inner))
