"""The HTTP door: Kubernetes' REST API, as unmodified clients speak it.

    Request → RequestInfo → who asks → may they → verb → Calls → the form the client accepts → Reply

Whatever is wrong leaves here as a metav1.Status with its code; what is a defect of ours is logged, and is a 500.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

import msgspec

from controlplane.apiserver import discovery
from controlplane.apiserver.auth.attributes import User
from controlplane.apiserver.auth.impersonation import PREFIX, wished
from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.doors import encode
from controlplane.apiserver.doors.access import SLOW, Access, Ended, subject_of
from controlplane.apiserver.doors.bodies import MISSING, delete_options
from controlplane.apiserver.doors.calls import PARENT_WRITES, Calls, context, find
from controlplane.apiserver.doors.http_messages import Reply, Request
from controlplane.apiserver.doors.metrics import NOWHERE, READS, Metrics, Where, scope_of
from controlplane.apiserver.doors.negotiate import (
    body_encoding,
    discovery_version,
    patch_kind,
    wanted,
)
from controlplane.apiserver.doors.request_info import RequestInfo, parse
from controlplane.apiserver.doors.watching import watch_reply
from controlplane.apiserver.streaming.sessions import SERVED, Sessions
from kubeapi import openapi_v2
from kubeapi.clock import Clock
from kubeapi.errors import (
    ApiError,
    BadRequest,
    InternalError,
    MethodNotAllowed,
    NotFound,
    UnsupportedMediaType,
)
from kubeapi.meta import replace
from kubeapi.openapi import openapi_v3, openapi_v3_index
from kubeapi.scheme import Resource
from kubeapi.version import GIT_VERSION, MAJOR, MINOR

log = logging.getLogger("sampan.http")
OPENAPI_V2 = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
SESSIONS = ("exec", "attach", "portforward")
HEALTH = ("/healthz", "/livez", "/readyz")
JSON = [("Content-Type", "application/json")]
VERSION = {
    "major": MAJOR,
    "minor": MINOR,
    "gitVersion": GIT_VERSION,
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}


class HttpDoor:
    def __init__(
        self,
        calls: Calls,
        *,
        sessions: Sessions | None,
        metrics: Metrics,
        clock: Clock,
        ready: Callable[[], bool],
        address: str = "",
        access: Access | None = None,
    ) -> None:
        self._calls = calls
        self._sessions = sessions
        self._metrics = metrics
        self._clock = clock
        self._access = access or Access(clock=clock, rng=Random(0))
        self._ready = ready
        self._address = address
        """host:port, as legacy discovery tells it."""

    async def handle(self, request: Request) -> Reply:
        begun = self._clock.monotonic()
        given = self._access.begin(request.headers.get("audit-id", ""))
        info: RequestInfo | None = None
        inflight, writes = self._metrics.inflight, request.method not in READS
        inflight[writes] += 1
        try:
            info = parse(request.method, request.target)
            reply = await self._answer(request, info)
        except ApiError as error:
            reply = refusal(error)
        except Exception:
            log.exception("a defect: %s %s", request.method, request.target)
            reply = refusal(InternalError("an error on the server has prevented the request from succeeding"))
        finally:
            inflight[writes] -= 1
        seconds = self._clock.monotonic() - begun
        reply.headers.append(("Audit-Id", given))
        long = self._count(info, reply, seconds)
        session = long and info is not None and info.subresource in SESSIONS
        if reply.status >= 500 or session or (seconds > SLOW and not long) or (writes and self._access.writes):
            self._tell(request, info, reply.status, begun, seconds)
        return reply

    def _tell(self, request: Request, info: RequestInfo | None, code: int, begun: float, seconds: float) -> None:
        subject = None
        if info is not None:
            if info.path.startswith(HEALTH):
                return  # who asks is told
            subject = subject_of(info.group, info.version, info.resource, info.namespace, info.name)
        authorized = request.authorized or begun + seconds
        answered = request.answered or begun + seconds
        stages = (
            ("auth", authorized - begun),
            ("store", answered - authorized),
            ("encode", begun + seconds - answered),
        )
        what = f"{request.method} {request.target}"
        self._access.tell(Ended(what, code, seconds, user=request.user, subject=subject, stages=stages))

    def _answered(self, request: Request) -> Clock:
        """The store's part is done; what follows is encoding, which in a table wants to know how late it is."""
        request.answered = self._clock.monotonic()
        return self._clock

    def _count(self, info: RequestInfo | None, reply: Reply, seconds: float) -> bool:
        """Whether it is a stream, which goes on."""
        long = not isinstance(reply.body, bytes) or reply.takeover is not None or reply.push is not None
        where: Where
        if info is not None and info.resource:
            scope = scope_of(info.name, info.namespace, info.verb)
            where = (info.verb, info.group, info.version, info.resource, info.subresource, scope)
        else:
            where = (info.verb if info else "", *NOWHERE)
        if long:
            self._metrics.follow(reply, where)
        dry_run = info.query.get("dryRun", ()) if info is not None and info.query else ()
        dry = "" if not dry_run else "All" if set(dry_run) == {"All"} else "invalid"
        self._metrics.observe(where, reply.status, None if long else seconds, "http", dry)
        return long

    async def _answer(self, request: Request, info: RequestInfo) -> Reply:
        if not info.resource and info.path.startswith(HEALTH):
            return self._health(info)
        user = self._calls.authenticator.user_of(
            subject=request.subject, authorization=request.headers.get("authorization", "")
        )
        if wished(request.headers):
            user = self._calls.impersonated(user, _impersonation(request.headers))
        self._calls.allow(user, info.attributes())
        request.user, request.authorized = user, self._clock.monotonic()
        if not info.resource:
            return await self._other(request, info)
        resource = find(info.group, info.version, info.resource)
        if info.namespace and not resource.namespaced and info.resource != "namespaces":
            raise NotFound(MISSING)
        ctx = context(
            user,
            manager=info.one("fieldManager"),
            validation=info.one("fieldValidation"),
            dry_run=_dry_run(info.query["dryRun"]) if "dryRun" in info.query else False,
        )
        reply = await self._resource(request, info, resource, ctx, user)
        if ctx.warnings:
            reply.headers.extend(("Warning", f'299 - "{_quoted(text)}"') for text in ctx.warnings)
        return reply

    # ------------------------------------------------------------------ resources

    async def _resource(
        self, request: Request, info: RequestInfo, resource: Resource, ctx: RequestContext, user: User
    ) -> Reply:
        if info.subresource and not info.group and info.name and info.subresource in SERVED.get(info.resource, ()):
            if self._sessions is None:
                raise NotFound(MISSING)
            return await self._sessions.http(request, info)
        namespace = info.namespace if resource.namespaced else ""
        accept = request.headers.get("accept", "")
        calls = self._calls
        if info.verb == "get":
            form = wanted(accept)
            version = info.one("resourceVersion")
            item = await calls.get(ctx, resource, namespace, info.name, info.subresource, version)
            return encode.one(resource, item, form, self._answered(request), info.one("includeObject"))
        if info.verb == "list":
            form = wanted(accept)
            listing = await calls.list(
                ctx,
                resource,
                namespace,
                label_selector=info.one("labelSelector"),
                field_selector=info.one("fieldSelector"),
                limit=info.number("limit") or 0,
                continue_=info.one("continue"),
                resource_version=info.one("resourceVersion"),
                resource_version_match=info.one("resourceVersionMatch"),
            )
            return encode.many(resource, listing, form, self._answered(request), info.one("includeObject"))
        if info.verb == "watch":
            return await watch_reply(calls, ctx, resource, namespace, info, wanted(accept, watch=True), self._clock)
        if info.verb == "create":
            form = wanted(accept)
            encoding = body_encoding(request.headers.get("content-type", ""))
            item = await calls.create(ctx, resource, namespace, info.name, info.subresource, request.body, encoding)
            if info.subresource in PARENT_WRITES or info.resource == "bindings":
                return Reply(201, list(JSON), msgspec.json.encode(success(201)))
            return encode.one(resource, item, form, self._answered(request), "", status=201)
        if info.verb == "update":
            form = wanted(accept)
            encoding = body_encoding(request.headers.get("content-type", ""))
            item = await calls.update(ctx, resource, namespace, info.name, info.subresource, request.body, encoding)
            return encode.one(resource, item, form, self._answered(request), "")
        if info.verb == "patch":
            form = wanted(accept)
            kind = patch_kind(request.headers.get("content-type", ""))
            if kind == "apply":
                raise UnsupportedMediaType("server-side apply is not served yet; use client-side apply")
            item = await calls.patch(ctx, resource, namespace, info.name, info.subresource, request.body, kind)
            return encode.one(resource, item, form, self._answered(request), "")
        return await self._delete(request, info, resource, ctx)

    async def _delete(self, request: Request, info: RequestInfo, resource: Resource, ctx: RequestContext) -> Reply:
        if info.subresource:
            raise MethodNotAllowed("a subresource cannot be deleted")
        form = wanted(request.headers.get("accept", ""))
        options = delete_options(request.body, body_encoding(request.headers.get("content-type", "")))
        if (grace := info.number("gracePeriodSeconds")) is not None:
            options = replace(options, grace_period_seconds=grace)
        if policy := info.one("propagationPolicy"):
            options = replace(options, propagation_policy=policy)
        if "orphanDependents" in info.query:
            options = replace(options, orphan_dependents=info.flag("orphanDependents"))
        if options.grace_period_seconds is not None and options.grace_period_seconds < 0:
            raise BadRequest("gracePeriodSeconds: must be greater than or equal to 0")
        if _dry_run(options.dry_run or []) and not ctx.dry_run:
            ctx = replace_dry_run(ctx)
        namespace = info.namespace if resource.namespaced else ""
        if info.name:
            deleted = await self._calls.api.delete(ctx, resource, namespace, info.name, options)
            if deleted.gone:
                meta = deleted.item.object.metadata
                details = {"name": meta.name, "group": resource.group, "kind": resource.plural, "uid": meta.uid}
                return Reply(200, list(JSON), msgspec.json.encode(success(200, details)))
            return encode.one(resource, deleted.item, form, self._answered(request), "")
        await self._calls.api.delete_collection(
            ctx,
            resource,
            namespace,
            options,
            label_selector=info.one("labelSelector"),
            field_selector=info.one("fieldSelector"),
        )
        return Reply(200, list(JSON), msgspec.json.encode(success(200)))

    # ------------------------------------------------------------------ all else

    def _health(self, info: RequestInfo) -> Reply:
        if info.verb != "get":
            raise MethodNotAllowed("health is only read")
        ready = self._ready() or not info.path.startswith("/readyz")
        text = "ok" if ready else "not ready"
        if info.flag("verbose"):
            mark = "[+]" if ready else "[-]"
            text = f"{mark}store ok\n{mark}watch-cache ok\n{info.path.strip('/').split('/')[0]} check "
            text += "passed\n" if ready else "failed\n"
        kind = [("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")]
        return Reply(200 if ready else 500, kind, text.encode())

    async def _other(self, request: Request, info: RequestInfo) -> Reply:
        if info.verb != "get":
            raise MethodNotAllowed(f"the server does not allow {request.method} on {info.path}")
        parts = info.path.strip("/").split("/")
        accept = request.headers.get("accept", "")
        match parts:
            case ["api"] | ["apis"]:
                core = parts == ["api"]
                if version := discovery_version(accept):
                    kind = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
                    return Reply(200, [("Content-Type", kind)], discovery.aggregated(core, version))
                body = discovery.api_versions(self._address) if core else discovery.api_groups()
                return self._found(body)
            case ["api", version]:
                return self._found(discovery.api_resources("", version))
            case ["apis", group]:
                return self._found(discovery.api_group(group))
            case ["apis", group, version]:
                return self._found(discovery.api_resources(group, version))
            case ["openapi", "v2"] | ["swagger.json"] | ["swagger-2.0.0.pb-v1"]:
                if parts[-1] != "swagger.json" and (OPENAPI_V2 in accept or parts[-1].endswith("pb-v1")):
                    # The canonical type has an @, which Go's parser of media types refuses: this one passes.
                    kind = "application/octet-stream"
                    return Reply(200, [("Content-Type", kind)], await asyncio.to_thread(openapi_v2.as_protobuf))
                return self._found(await asyncio.to_thread(openapi_v2.as_json))
            case ["openapi", "v3"]:
                return self._found(await asyncio.to_thread(openapi_v3_index))
            case ["openapi", "v3", "api", version]:
                return self._found(await asyncio.to_thread(openapi_v3, "", version))
            case ["openapi", "v3", "apis", group, version]:
                return self._found(await asyncio.to_thread(openapi_v3, group, version))
            case [".well-known", "openid-configuration"]:
                return self._found(msgspec.json.encode(self._calls.issuer_document(self._address)))
            case ["openid", "v1", "jwks"]:
                return self._found(msgspec.json.encode(self._calls.jwks()))
            case ["version"]:
                return self._found(msgspec.json.encode(VERSION))
            case ["metrics"]:
                return Reply(200, [("Content-Type", "text/plain; version=0.0.4")], await self._metrics.render())
            case [""]:
                paths = [
                    "/api",
                    "/apis",
                    "/healthz",
                    "/livez",
                    "/metrics",
                    "/openapi/v2",
                    "/openapi/v3",
                    "/readyz",
                    "/version",
                ]
                return self._found(msgspec.json.encode({"paths": paths}))
        raise NotFound(MISSING)

    @staticmethod
    def _found(body: bytes | None) -> Reply:
        if body is None:
            raise NotFound(MISSING)
        return Reply(200, list(JSON), body)


def _impersonation(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Headers of one name have been joined by commas; of these there may be several."""
    for name, value in headers.items():
        if name.startswith((f"{PREFIX}group", f"{PREFIX}extra")):
            yield from ((name, part.strip()) for part in value.split(","))
        else:
            yield name, value


def refusal(error: ApiError) -> Reply:
    headers = list(JSON)
    if error.retry_after:
        headers.append(("Retry-After", str(error.retry_after)))
    return Reply(error.http, headers, msgspec.json.encode(error.status()))


def success(code: int, details: dict[str, Any] | None = None) -> dict[str, Any]:
    body: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details:
        return body | {"details": details}
    return body | {"code": code}


def replace_dry_run(ctx: RequestContext) -> RequestContext:
    return RequestContext(
        user=ctx.user,
        groups=ctx.groups,
        field_manager=ctx.field_manager,
        field_validation=ctx.field_validation,
        dry_run=True,
        warnings=ctx.warnings,
        uid=ctx.uid,
        extra=ctx.extra,
    )


def _dry_run(values: list[str]) -> bool:
    if any(value not in ("All", "") for value in values):
        raise BadRequest(f'dryRun: Unsupported value: "{values[0]}": supported values: "All"')
    return bool(values)


def _quoted(text: str) -> str:
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain.replace("\\", "\\\\").replace('"', '\\"').encode("latin-1", "replace").decode("latin-1")
