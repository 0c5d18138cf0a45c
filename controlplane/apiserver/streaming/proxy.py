"""pods, services and nodes `/proxy`: an HTTP request passed on to what runs in the cluster.

    client ─► HTTP door ─► agent of the pod's node ─► the pod's address and port
    client ◄─ the answer, streamed as it comes; after a 101 the bytes of both sides, untouched

The client's credentials stop here. A redirect is rewritten so that it leads back through the proxy; links in HTML
are left alone. A request's body has been read in full by then, as all are, and is bounded as all are.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import httptools
import msgspec

from controlplane.apiserver.doors.http_messages import Duplex, Reply, Request
from controlplane.apiserver.doors.request_info import RequestInfo
from controlplane.apiserver.streaming.forward import PodConnection, check_forwardable, connection_to, splice
from controlplane.apiserver.streaming.node_link import NodeLink
from controlplane.apiserver.streaming.proxy_target import Aim, aim_of, backends_of, path_of, port_of_pod, prefix_of
from kubeapi.errors import NotFound, ServiceUnavailable
from kubeapi.pb.sampan.v1 import node_pb2 as pb

HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding")
)
PRIVATE = frozenset(("authorization", "cookie2", "content-length", "expect", "host", "upgrade"))
PATIENCE = 60.0
"""Seconds in which the head of an answer must have come."""
MAX_HEAD = 64 * 1024


class Proxy:
    def __init__(self, link: NodeLink) -> None:
        self._link = link
        self._turn = itertools.count()

    async def http(self, request: Request, info: RequestInfo) -> Reply:
        """Raises ApiError while nothing has been answered yet."""
        aim = aim_of(info.name)
        if info.resource == "nodes":
            return await self._node(aim, info)
        pod, address, port = await self._backend(aim, info)
        check_forwardable(pod)
        async with AsyncExitStack() as stack:
            near = await stack.enter_async_context(connection_to(self._link, pod, port, address=address))
            answer = _Answer(near, head_only=request.method == "HEAD")
            try:
                async with asyncio.timeout(PATIENCE):
                    await near.write(_request_head(request, f"{address}:{port}") + request.body)
                    await answer.read_head()
            except (TimeoutError, ConnectionError) as error:
                raise ServiceUnavailable(f"error trying to reach service: {error or 'no answer'}") from error
            return await _reply(answer, near, stack.pop_all(), prefix_of(request.target, namespaced=True))
        raise AssertionError("unreachable: the stack suppresses nothing")

    async def _backend(self, aim: Aim, info: RequestInfo) -> tuple[dict[str, Any], str, int]:
        if info.resource == "services":
            service = await self._link.get("services", info.namespace, aim.name)
            try:
                endpoints = await self._link.get("endpoints", info.namespace, aim.name)
            except NotFound:
                endpoints = {}
            backends = backends_of(service, endpoints, aim.port)
            chosen = backends[next(self._turn) % len(backends)]
            pod = await self._link.pod(info.namespace, chosen.pod)
            if chosen.address != pod.get("status", {}).get("podIP", ""):
                # Else whoever writes Endpoints could make us knock anywhere that the pod's network reaches.
                raise ServiceUnavailable(f"address {chosen.address} is not that of pod {chosen.pod}")
            return pod, chosen.address, chosen.port
        pod = await self._link.pod(info.namespace, aim.name)
        address = pod.get("status", {}).get("podIP", "")
        if not address:
            raise ServiceUnavailable(f"pod {aim.name} has no address yet")
        return pod, address, port_of_pod(pod, aim.port)

    async def _node(self, aim: Aim, info: RequestInfo) -> Reply:
        """The node's agent speaks gRPC to us alone: what of it HTTP clients ask for is put together here."""
        if aim.port or info.rest.strip("/") not in ("healthz", "metrics", "stats/summary"):
            raise NotFound("of a node only /healthz, /metrics and /stats/summary are served, without a port")
        async with self._link.agent_on(aim.name) as agent:
            if info.rest.strip("/") == "metrics":
                found = await agent.Metrics(pb.MetricsRequest(), timeout=PATIENCE)
                return Reply(200, [("Content-Type", found.content_type)], found.body)
            stats = await agent.Stats(pb.StatsRequest(), timeout=PATIENCE)
        if info.rest.strip("/") == "healthz":
            return Reply(200, [("Content-Type", "text/plain; charset=utf-8")], b"ok")
        return Reply(200, [("Content-Type", "application/json")], msgspec.json.encode(_summary(stats)))


class _Answer:
    """What comes back, parsed as far as its head; the body passes through."""

    def __init__(self, near: PodConnection, *, head_only: bool) -> None:
        self._near = near
        self.head_only = head_only
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._headed = False
        self._complete = False
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.rest = b""
        """Behind the head of a 101."""

    async def read_head(self) -> None:
        """Raises ServiceUnavailable, ConnectionResetError."""
        seen = 0
        while not self._headed or (100 <= self.status < 200 and self.status != 101):
            data = await self._near.read()
            if not data:
                raise ConnectionResetError("it hung up before it answered")
            seen += len(data)
            self._feed(data)
            if not self._headed and seen > MAX_HEAD:
                raise ServiceUnavailable("error trying to reach service: the head of its answer is too large")

    async def body(self) -> AsyncGenerator[bytes, None]:
        """Raises ConnectionResetError when it is torn: so is our reply, then."""
        while True:
            pieces, self._body = self._body, []
            for piece in pieces:
                yield piece
            if self._complete or self.head_only:
                return
            data = await self._near.read()
            if not data:
                if self._bounded:
                    raise ConnectionResetError("the answer ended too early")
                return
            try:
                self._feed(data)
            except ServiceUnavailable as error:
                raise ConnectionResetError(error.message) from error

    @property
    def _bounded(self) -> bool:
        """The head says where the body ends; else it ends with the connection."""
        return any(name.lower() in ("content-length", "transfer-encoding") for name, _ in self.headers)

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.rest = data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            raise ServiceUnavailable("error trying to reach service: what it answers is not HTTP/1.1") from error

    # --- from the parser

    def on_message_begin(self) -> None:
        self.headers, self._headed, self._complete = [], False, False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._headed = True

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._complete = True


class _Client:
    """The client's connection after a 101, as `splice` wants it."""

    def __init__(self, duplex: Duplex) -> None:
        self._duplex = duplex

    async def data(self) -> AsyncGenerator[bytes, None]:
        while data := await self._duplex.read():
            yield data
        raise ConnectionResetError("the client has gone")

    async def write(self, data: bytes) -> None:
        await self._duplex.write(data)

    async def close(self) -> None:
        raise ConnectionResetError("the far side has ended: closing the connection is how the client is told")


async def _reply(answer: _Answer, near: PodConnection, stack: AsyncExitStack, prefix: str) -> Reply:
    headers = _headers(answer.headers, prefix)
    if answer.status == 101:
        upgraded = [(name, value) for name, value in answer.headers if name.lower() in ("connection", "upgrade")]

        async def both_ways(duplex: Duplex) -> None:
            async with stack:
                if answer.rest:
                    await duplex.write(answer.rest)
                await splice(near, _Client(duplex))

        return Reply(101, [*headers, *upgraded], takeover=both_ways)
    if answer.status in (204, 304) or answer.head_only:
        await stack.aclose()
        return Reply(answer.status, headers)

    async def body() -> AsyncGenerator[bytes, None]:
        async with stack:
            yield b""  # so that the stack is closed even when nobody ever reads on
            async for piece in answer.body():
                yield piece

    pieces = body()
    await anext(pieces)
    return Reply(answer.status, headers, pieces)


def _request_head(request: Request, host: str) -> bytes:
    lines = [f"{request.method} {path_of(request.target, namespaced=True)} HTTP/1.1", f"Host: {host}"]
    gone = _named_by_connection(request.headers.get("connection", ""))
    for name, value in request.headers.items():
        if name not in HOP_BY_HOP and name not in PRIVATE and name not in gone:
            lines.append(f"{name}: {value}")
    lines.append("X-Forwarded-Proto: https")
    if original := request.headers.get("host"):
        lines.append(f"X-Forwarded-Host: {original}")
    if (upgrade := request.headers.get("upgrade")) and request.upgrade:
        lines += ["Connection: Upgrade", f"Upgrade: {upgrade}"]
    else:
        lines.append("Connection: close")
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(request.body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def _headers(found: Iterable[tuple[str, str]], prefix: str) -> list[tuple[str, str]]:
    kept = []
    gone = {"content-length", "upgrade"}.union(
        *(_named_by_connection(value) for name, value in found if name.lower() == "connection")
    )
    for name, value in found:
        if name.lower() in HOP_BY_HOP or name.lower() in gone:
            continue
        if name.lower() == "location" and (parts := urlsplit(value)).path.startswith("/"):
            value = prefix + parts.path + (f"?{parts.query}" if parts.query else "")
        kept.append((name, value))
    return kept


def _named_by_connection(value: str) -> set[str]:
    return {part.strip().lower() for part in value.split(",")}


def _summary(stats: Any) -> dict[str, Any]:
    def use(cores: float, memory: int) -> dict[str, Any]:
        return {
            "cpu": {"time": stats.timestamp, "usageNanoCores": int(cores * 1e9)},
            "memory": {"time": stats.timestamp, "workingSetBytes": memory},
        }

    pods = [
        {
            "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "containers": [{"name": c.name, **use(c.cpu_cores, c.memory_bytes)} for c in pod.containers],
        }
        for pod in stats.pods
    ]
    return {"node": {"nodeName": stats.node, **use(stats.cpu_cores, stats.memory_bytes)}, "pods": pods}
