"""The calls that go on: a container's log, a command in it, a connection to a port of its pod. All reach into a node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec

from controlplane.apiserver.auth.authn import User
from controlplane.apiserver.auth.authz import Attributes
from controlplane.apiserver.doors.grpc_around import Around
from controlplane.apiserver.streaming.exec import STDOUT, Wish, converse, prepare
from controlplane.apiserver.streaming.forward import check_forwardable, connection_to, splice
from controlplane.apiserver.streaming.logs import LogWish, open_log
from controlplane.apiserver.streaming.sessions import Sessions
from kubeapi.errors import BadRequest, NotFound, ServiceUnavailable
from kubeapi.pb.sampan.v1 import api_pb2 as pb
from kubeapi.pb.sampan.v1 import node_pb2


class Streams(Around):
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
            self._session_begins(user, sub, start.namespace, start.pod)
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
            self._session_begins(user, "portforward", start.namespace, start.pod)
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
