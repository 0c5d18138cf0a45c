"""pods/log, exec, attach, portforward and proxy over HTTP: what the query asks, and which way the client upgrades.

    Upgrade: SPDY/3.1     kubectl up to 1.29 (exec), 1.30 (port-forward); X-Stream-Protocol-Version offers versions
    Upgrade: websocket    newer kubectl, the Python client; Sec-WebSocket-Protocol offers versions

Whatever can be refused is refused before the upgrade, as an ordinary Status: clients show it best.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing

from controlplane.apiserver.doors.http_messages import Reply, Request
from controlplane.apiserver.doors.request_info import RequestInfo
from controlplane.apiserver.streaming import (
    exec_spdy,
    exec_websocket,
    forward_spdy,
    forward_websocket,
    websocket,
)
from controlplane.apiserver.streaming.exec import Wish, prepare
from controlplane.apiserver.streaming.forward import check_forwardable
from controlplane.apiserver.streaming.logs import LogWish, open_log
from controlplane.apiserver.streaming.node_link import NodeLink
from controlplane.apiserver.streaming.proxy import Proxy
from controlplane.apiserver.streaming.spdy import PROTOCOL as SPDY
from kubeapi.clock import Clock
from kubeapi.errors import ApiError, BadRequest

VERSIONS = "x-stream-protocol-version"


SERVED = {
    "pods": ("log", "exec", "attach", "portforward", "proxy"),
    "services": ("proxy",),
    "nodes": ("proxy",),
}
"""By resource of the core group: the subresources that are served here."""


class Sessions:
    def __init__(self, link: NodeLink, clock: Clock) -> None:
        self.link = link
        self.clock = clock
        self._proxy = Proxy(link)

    async def http(self, request: Request, info: RequestInfo) -> Reply:
        if info.subresource == "log":
            body = await open_log(self.link, log_wish(info), self.clock)
            return Reply(200, [("Content-Type", "text/plain; charset=utf-8")], _told(body))
        if info.subresource == "proxy":
            return await self._proxy.http(request, info)
        if info.subresource in ("exec", "attach"):
            return await self._exec(request, info)
        return await self._forward(request, info)

    async def _exec(self, request: Request, info: RequestInfo) -> Reply:
        wish = Wish(
            namespace=info.namespace,
            pod=info.name,
            container=info.one("container"),
            command=info.query.get("command", []),
            stdin=info.flag("stdin"),
            stdout=info.flag("stdout"),
            stderr=info.flag("stderr"),
            tty=info.flag("tty"),
            attach=info.subresource == "attach",
        )
        if websocket.is_upgrade(request.headers):
            protocol = _agreed(websocket.choose(request.headers, exec_websocket.PROTOCOLS), exec_websocket.PROTOCOLS)
            plan = await prepare(self.link, wish)
            headers = websocket.answer(request.headers, protocol)
            return Reply(101, headers, takeover=exec_websocket.takeover(self.link, plan, protocol))
        protocol = _spdy_version(request.headers, exec_spdy.PROTOCOLS, default=exec_spdy.V1)
        plan = await prepare(self.link, wish)
        return Reply(101, _spdy_answer(protocol), takeover=exec_spdy.takeover(self.link, plan, protocol))

    async def _forward(self, request: Request, info: RequestInfo) -> Reply:
        pod = await self.link.pod(info.namespace, info.name)
        check_forwardable(pod)
        if websocket.is_upgrade(request.headers):
            spoken = (forward_spdy.TUNNEL, *forward_websocket.PROTOCOLS)
            protocol = _agreed(websocket.choose(request.headers, spoken), spoken)
            headers = websocket.answer(request.headers, protocol)
            if protocol == forward_spdy.TUNNEL:
                return Reply(101, headers, takeover=forward_spdy.takeover(self.link, pod, tunnel=True))
            ports = forward_websocket.ports_of(info.query.get("ports", []))
            return Reply(101, headers, takeover=forward_websocket.takeover(self.link, pod, ports, protocol))
        protocol = _spdy_version(request.headers, (forward_spdy.PROTOCOL,), default=forward_spdy.PROTOCOL)
        return Reply(101, _spdy_answer(protocol), takeover=forward_spdy.takeover(self.link, pod, tunnel=False))


def _agreed(protocol: str | None, spoken: Iterable[str]) -> str:
    if protocol is None:
        raise BadRequest(f"none of the offered protocols is spoken here: {', '.join(spoken)}")
    return protocol


def _spdy_version(headers: Mapping[str, str], spoken: tuple[str, ...], *, default: str) -> str:
    """The best that both speak; a client that offers none means the oldest. Raises BadRequest."""
    if headers.get("upgrade", "").lower() != SPDY.lower():
        raise BadRequest("Upgrade request required: to a WebSocket or to SPDY/3.1")
    offered = [part.strip() for part in headers.get(VERSIONS, "").split(",") if part.strip()]
    if not offered:
        return default
    return _agreed(next((version for version in spoken if version in offered), None), spoken)


def _spdy_answer(protocol: str) -> list[tuple[str, str]]:
    return [("Connection", "Upgrade"), ("Upgrade", SPDY), ("X-Stream-Protocol-Version", protocol)]


async def _told(body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The head has gone out, so an error is told in the log itself; and the reply is torn, not ended, so that the
    reader does not take what it has for all there is."""
    async with aclosing(body):
        try:
            async for data in body:
                yield data
        except ApiError as error:
            yield f"error: {error.message}\n".encode()
            raise ConnectionResetError(error.message) from error


def log_wish(info: RequestInfo) -> LogWish:
    return LogWish(
        namespace=info.namespace,
        pod=info.name,
        container=info.one("container"),
        follow=info.flag("follow"),
        previous=info.flag("previous"),
        tail_lines=info.number("tailLines"),
        since_seconds=info.number("sinceSeconds"),
        since_time=info.one("sinceTime"),
        timestamps=info.flag("timestamps"),
        limit_bytes=info.number("limitBytes"),
    )
