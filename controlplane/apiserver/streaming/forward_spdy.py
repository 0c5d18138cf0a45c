"""port-forward over SPDY, bare or inside a WebSocket: two streams per forwarded connection.

    streamType: error, port, requestID   how it went wrong, in words; nothing when all is well
    streamType: data,  port, requestID   the bytes

A connection that fails leaves the others alone. When the pod ends its side, the error stream is ended too: that is
what kubectl waits for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any

from controlplane.apiserver.doors.http_messages import Takeover
from controlplane.apiserver.streaming import spdy_frames
from controlplane.apiserver.streaming.forward import connection_to, splice
from controlplane.apiserver.streaming.node_link import NodeLink
from controlplane.apiserver.streaming.spdy import SpdySession, SpdyStream, spdy_session
from controlplane.apiserver.streaming.websocket import Stream, Tunnel, WebSocket
from kubeapi.errors import ApiError

PROTOCOL = "portforward.k8s.io"
TUNNEL = f"SPDY/3.1+{PROTOCOL}"
PATIENCE = 30.0
"""Seconds after which a stream whose other half has not come is reset."""

log = logging.getLogger("sampan.portforward")


def takeover(link: NodeLink, pod: dict[str, Any], *, tunnel: bool) -> Takeover:
    async def run(connection: Stream) -> None:
        socket = WebSocket(connection) if tunnel else None
        stream: Stream = Tunnel(socket) if socket else connection
        async with spdy_session(stream) as session, asyncio.TaskGroup() as tasks:
            await _serve(session, link, pod, tasks)
        if socket:
            await socket.finish()

    return run


async def _serve(session: SpdySession, link: NodeLink, pod: dict[str, Any], tasks: asyncio.TaskGroup) -> None:
    halves: dict[str, SpdyStream] = {}
    running: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()

    def expire(key: str) -> None:
        if (half := halves.pop(key, None)) is not None:
            tasks.create_task(half.reset())

    async for stream in session.streams():
        kind = stream.headers.get("streamtype", "").lower()
        port = stream.headers.get("port", "")
        if kind not in ("error", "data") or not port.isdecimal() or not 0 < int(port) < 65536:
            await stream.reset(spdy_frames.REFUSED_STREAM)
            continue
        key = stream.headers.get("requestid") or str(stream.id if kind == "error" else stream.id - 2)
        other = halves.pop(key, None)
        if other is None:
            halves[key] = stream
            loop.call_later(PATIENCE, expire, key)
            continue
        error, data = (stream, other) if kind == "error" else (other, stream)
        task = tasks.create_task(_forward(link, pod, int(port), error, data))
        running.add(task)
        task.add_done_callback(running.discard)
    halves.clear()
    for task in running:  # the client has gone, and its connections with it
        task.cancel()


async def _forward(link: NodeLink, pod: dict[str, Any], port: int, error: SpdyStream, data: SpdyStream) -> None:
    error.discard()
    try:
        try:
            async with connection_to(link, pod, port) as near:
                await splice(near, _Pair(error, data))
        except ApiError as refusal:
            await error.write(refusal.message.encode())
        except ConnectionResetError:
            log.debug("a connection to port %d of pod %s broke", port, pod["metadata"]["name"])
        await data.reset()
        await error.close()
    except ConnectionError:
        return  # the client has gone; the session ends by itself


class _Pair:
    def __init__(self, error: SpdyStream, data: SpdyStream) -> None:
        self._error = error
        self._data = data

    async def data(self) -> AsyncGenerator[bytes, None]:
        async for piece in self._data.data():
            yield piece
        if self._data.was_reset:
            raise ConnectionResetError("the client has reset the stream")

    async def write(self, data: bytes) -> None:
        await self._data.write(data)

    async def close(self) -> None:
        await self._data.close()
        await self._error.close()
