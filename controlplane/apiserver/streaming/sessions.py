"""pods/log, exec, attach over HTTP: what the query asks, and which way the client upgrades."""

from __future__ import annotations

from controlplane.apiserver.doors.http1 import Reply, Request
from controlplane.apiserver.doors.request_info import RequestInfo
from controlplane.apiserver.streaming import exec_websocket, websocket
from controlplane.apiserver.streaming.exec import Wish, prepare
from controlplane.apiserver.streaming.logs import LogWish, open_log
from controlplane.apiserver.streaming.node_link import NodeLink
from kubeapi.clock import Clock
from kubeapi.errors import BadRequest


class Sessions:
    def __init__(self, link: NodeLink, clock: Clock) -> None:
        self.link = link
        self.clock = clock

    async def http(self, request: Request, info: RequestInfo) -> Reply:
        if info.subresource == "log":
            body = await open_log(self.link, log_wish(info), self.clock)
            return Reply(200, [("Content-Type", "text/plain; charset=utf-8")], body)
        if info.subresource in ("exec", "attach"):
            return await self._exec(request, info)
        raise BadRequest("port-forward is not served yet")

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
        if not websocket.is_upgrade(request.headers):
            raise BadRequest("you must ask for an upgrade to a WebSocket (kubectl 1.30 and later do)")
        protocol = websocket.choose(request.headers, exec_websocket.PROTOCOLS)
        if protocol is None:
            raise BadRequest(f"none of the offered protocols is spoken here: {', '.join(exec_websocket.PROTOCOLS)}")
        plan = await prepare(self.link, wish)
        headers = websocket.answer(request.headers, protocol)
        return Reply(101, headers, takeover=exec_websocket.takeover(self.link, plan, protocol))


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
