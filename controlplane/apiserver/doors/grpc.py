"""The gRPC door: the cluster's own parts come in here. The same Calls as the HTTP door's, other bytes around them.

Who asks is in the client's certificate (mutual TLS; the listener lets nobody in without) or in a bearer token.
An error ends the call with the code of its class, and travels whole in the trailing metadata.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import grpc
import grpc.aio
import msgspec
from cryptography import x509
from cryptography.x509.oid import NameOID

from controlplane.apiserver import discovery
from controlplane.apiserver.auth.authn import User
from controlplane.apiserver.auth.authz import Attributes
from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.doors.calls import PARENT_WRITES, Calls, context, find
from controlplane.apiserver.doors.deadline import until
from controlplane.apiserver.doors.encode import include_of
from controlplane.apiserver.doors.http import VERSION
from controlplane.apiserver.doors.metrics import NOWHERE, Metrics, Where, scope_of
from controlplane.apiserver.items import Item
from controlplane.apiserver.streaming.exec import STDOUT, Wish, converse, prepare
from controlplane.apiserver.streaming.forward import check_forwardable, connection_to, splice
from controlplane.apiserver.streaming.logs import LogWish, open_log
from controlplane.apiserver.streaming.sessions import Sessions
from controlplane.apiserver.tables.table import make_table
from kubeapi import codec
from kubeapi.clock import Clock
from kubeapi.errors import ApiError, BadRequest, InternalError, NotFound, ServiceUnavailable, UnsupportedMediaType
from kubeapi.pb.sampan.v1 import api_pb2 as pb
from kubeapi.pb.sampan.v1 import api_pb2_grpc, node_pb2
from kubeapi.scheme import Resource
from kubeapi.types import meta_v1

log = logging.getLogger("sampan.grpc")
STATUS_KEY = "sampan-status-bin"
OPTIONS = [
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
]
_PATCHES: dict[int, Any] = {
    pb.PatchRequest.STRATEGIC: "strategic",
    pb.PatchRequest.MERGE: "merge",
    pb.PatchRequest.JSON: "json",
}


class GrpcDoor(api_pb2_grpc.ApiServerServicer):  # type: ignore[misc]
    def __init__(
        self,
        calls: Calls,
        *,
        sessions: Sessions | None,
        metrics: Metrics,
        clock: Clock,
        insecure_user: User | None = None,
    ) -> None:
        self._calls = calls
        self._sessions = sessions
        self._metrics = metrics
        self._clock = clock
        self._insecure_user = insecure_user
        """Who everybody is on a listener without TLS: for tests."""

    # ------------------------------------------------------------------ reads

    async def Get(self, request: Any, call: Any) -> Any:
        async def run(user: User) -> Any:
            resource = self._allowed(user, "get", request)
            item = await self._calls.get(
                context(user), resource, request.namespace, request.name, request.subresource, request.resource_version
            )
            return _reply(item)

        return await self._unary("get", request, call, run)

    async def List(self, request: Any, call: Any) -> Any:
        async def run(user: User) -> Any:
            resource = self._allowed(user, "list", request)
            found = await self._calls.list(
                context(user),
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
                resource_version=found.revision, items=[i.json for i in found.items], remaining=found.remaining
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
            async with aclosing(until(batches, request.timeout_seconds)) as events:
                async for batch in events:
                    news = next((e.revision for e in batch if e.item is not None), 0)
                    yield pb.WatchReply(
                        events=[_event(resource, event) for event in batch],
                        age_seconds=self._calls.api.age(news) if news else 0.0,
                    )

        async for reply in self._streamed("watch", request, call, run):
            yield reply

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
            return pb.TableReply(table=codec.encode(table))

        return await self._unary("list", request, call, run)

    async def Discovery(self, request: Any, call: Any) -> Any:
        async def run(user: User) -> Any:
            self._calls.allow(user, Attributes("get", path="/apis"))
            both = [msgspec.json.decode(discovery.aggregated(core, "v2")) for core in (True, False)]
            both[0]["items"] += both[1]["items"]
            return pb.DiscoveryReply(groups=msgspec.json.encode(both[0]))

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
            return pb.ObjectReply()
        deleted = await self._calls.api.delete(ctx, resource, request.namespace, request.name, options)
        return pb.ObjectReply() if deleted.gone else _reply(deleted.item)

    # ------------------------------------------------------------------ streams

    async def Logs(self, request: Any, call: Any) -> AsyncIterator[Any]:
        def optional(name: str) -> int | None:
            return int(getattr(request, name)) if request.HasField(name) else None

        async def run(user: User) -> AsyncIterator[Any]:
            self._calls.allow(user, Attributes("get", "", "pods", "log", request.namespace, request.pod))
            sessions = self._need_sessions()
            wish = LogWish(
                request.namespace,
                request.pod,
                request.container,
                request.follow,
                request.previous,
                optional("tail_lines"),
                optional("since_seconds"),
                request.since_time,
                request.timestamps,
                optional("limit_bytes"),
            )
            async with aclosing(await open_log(sessions.link, wish, sessions.clock)) as chunks:
                async for data in chunks:
                    yield pb.LogsReply(data=data)

        async for reply in self._streamed("get", "log", call, run):
            yield reply

    async def Exec(self, requests: Any, call: Any) -> None:
        async def run(user: User) -> AsyncIterator[Any]:
            first = await anext(requests, None)
            if first is None or first.WhichOneof("input") != "start":
                raise BadRequest("the first message of an exec is its start")
            start = first.start
            sub = "attach" if start.attach else "exec"
            self._calls.allow(user, Attributes("create", "", "pods", sub, start.namespace, start.pod))
            link = self._need_sessions().link
            wish = Wish(
                start.namespace,
                start.pod,
                start.container,
                list(start.command),
                start.stdin,
                start.stdout,
                start.stderr,
                start.tty,
                start.attach,
            )
            plan = await prepare(link, wish)

            async def emit(channel: int, data: bytes) -> None:
                await call.write(pb.ExecOutput(stdout=data) if channel == STDOUT else pb.ExecOutput(stderr=data))

            async def inputs() -> AsyncGenerator[Any, None]:
                async for message in requests:
                    which = message.WhichOneof("input")
                    if which == "stdin":
                        yield node_pb2.StreamInput(stdin=message.stdin)
                    elif which == "close_stdin":
                        yield node_pb2.StreamInput(close_stdin=True)
                    elif which == "resize":
                        size = message.resize
                        yield node_pb2.StreamInput(resize=node_pb2.Resize(width=size.width, height=size.height))
                # A caller that has half-closed waits for the end of the command: the call's end cancels us.
                yield node_pb2.StreamInput(close_stdin=True)
                await call_ended.wait()

            call_ended = asyncio.Event()
            status = await converse(link, plan, inputs(), emit)
            yield pb.ExecOutput(status=msgspec.json.encode(status))

        async for reply in self._streamed("create", "exec", call, run):
            await call.write(reply)

    async def PortForward(self, requests: Any, call: Any) -> None:
        async def run(user: User) -> AsyncIterator[Any]:
            first = await anext(requests, None)
            if first is None or first.WhichOneof("input") != "start":
                raise BadRequest("the first message of a port-forward is its start")
            start = first.start
            self._calls.allow(user, Attributes("create", "", "pods", "portforward", start.namespace, start.pod))
            if not 0 < start.port < 65536:
                raise BadRequest(f"port: {start.port} is no port; it must be from 1 to 65535")
            link = self._need_sessions().link
            pod = await link.pod(start.namespace, start.pod)
            check_forwardable(pod)
            async with connection_to(link, pod, start.port) as near:
                yield pb.ForwardOutput(connected=True)
                try:
                    await splice(near, _Forwarded(requests, call))
                except ConnectionResetError as error:
                    raise ServiceUnavailable(str(error)) from error

        async for reply in self._streamed("create", "portforward", call, run):
            await call.write(reply)

    def _need_sessions(self) -> Sessions:
        if self._sessions is None:
            raise NotFound("this server reaches no node")
        return self._sessions

    # ------------------------------------------------------------------ around every call

    def _allowed(self, user: User, verb: str, request: Any) -> Resource:
        type_ = request.type
        resource = find(type_.group, type_.version, type_.resource, type_.kind)
        ask = Attributes(
            verb,
            resource.group,
            resource.plural,
            getattr(request, "subresource", ""),
            request.namespace,
            getattr(request, "name", ""),
            field_selector=getattr(request, "field_selector", ""),
        )
        self._calls.allow(user, ask)
        return resource

    def _user(self, call: Any) -> User:
        headers = dict(call.invocation_metadata() or ())
        authorization = headers.get("authorization", "")
        subject = _subject(call) or self._insecure_user
        return self._calls.authenticator.user_of(subject=subject, authorization=str(authorization))

    async def _unary(self, verb: str, request: Any, call: Any, run: Callable[[User], Awaitable[Any]]) -> Any:
        begun = self._clock.monotonic()
        code = 200
        inflight, writes = self._metrics.inflight, verb not in ("get", "list")
        inflight[writes] += 1
        try:
            return await run(self._user(call))
        except ApiError as error:
            code = error.http
            await _abort(call, error)
        except Exception as error:
            if isinstance(error, grpc.aio.AbortError):
                raise
            code = 500
            log.exception("a defect in %s", verb)
            await _abort(call, InternalError("an error on the server has prevented the request from succeeding"))
        finally:
            inflight[writes] -= 1
            self._metrics.observe(_where(verb, request), code, self._clock.monotonic() - begun, "grpc")

    async def _streamed(
        self, verb: str, request: Any, call: Any, run: Callable[[User], AsyncIterator[Any]]
    ) -> AsyncIterator[Any]:
        code = 200
        try:
            async with aclosing(run(self._user(call))) as replies:  # type: ignore[type-var]
                with self._metrics.lasting(_where(verb, request)):
                    async for reply in replies:
                        yield reply
        except ApiError as error:
            code = error.http
            await _abort(call, error)
        except Exception as error:
            if isinstance(error, grpc.aio.AbortError):
                raise
            code = 500
            log.exception("a defect in %s", verb)
            await _abort(call, InternalError("an error on the server has prevented the request from succeeding"))
        finally:
            self._metrics.observe(_where(verb, request), code, None, "grpc")


class _Forwarded:
    """The caller's side of a port-forward, as `splice` wants it."""

    def __init__(self, requests: Any, call: Any) -> None:
        self._requests, self._call = requests, call

    async def data(self) -> AsyncGenerator[bytes, None]:
        async for message in self._requests:
            which = message.WhichOneof("input")
            if which == "close":
                return
            if which == "data":
                yield message.data

    async def write(self, data: bytes) -> None:
        await self._call.write(pb.ForwardOutput(data=data))

    async def close(self) -> None:
        await self._call.write(pb.ForwardOutput(close=True))


def _where(verb: str, request: Any) -> Where:
    """`request`: a message with a type, or the name of a subresource of pods, or nothing."""
    if isinstance(request, str):
        return (verb, "", "v1", "pods", request, "resource")
    type_ = getattr(request, "type", None)
    if type_ is None:
        return (verb, *NOWHERE)
    name, subresource = getattr(request, "name", ""), getattr(request, "subresource", "")
    return (verb, type_.group, type_.version, type_.resource, subresource, scope_of(name, request.namespace, verb))


async def _gather(writes: list[Awaitable[Any]]) -> list[Any]:

    return list(await asyncio.gather(*writes))


async def _abort(call: Any, error: ApiError) -> None:
    trailer = ((STATUS_KEY, msgspec.json.encode(error.status())),)
    await call.abort(grpc.StatusCode[error.grpc], error.message[:1000], trailer)


def _reply(item: Item, ctx: RequestContext | None = None) -> Any:
    return pb.ObjectReply(
        resource_version=item.revision, object=item.json, warnings=ctx.warnings if ctx is not None else ()
    )


def _context(user: User, options: Any) -> RequestContext:
    return context(user, manager=options.field_manager, validation=options.field_validation, dry_run=options.dry_run)


def _event(resource: Resource, event: Any) -> Any:
    if event.item is not None:
        return pb.Event(type=event.type, resource_version=event.revision, object=event.item.json)
    metadata: dict[str, Any] = {"resourceVersion": str(event.revision)}
    if event.initial_events_end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    inner = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    return pb.Event(type="BOOKMARK", resource_version=event.revision, object=msgspec.json.encode(inner))


def _subject(call: Any) -> User | None:
    auth = call.auth_context()
    pem = auth.get("x509_pem_cert")
    if not pem:
        return None
    with suppress(ValueError):
        subject = x509.load_pem_x509_certificate(pem[0]).subject
        names = [str(a.value) for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        groups = tuple(str(a.value) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
        return User(names[-1], groups) if names else None
    return None
