"""exec and attach over SPDY: one stream per channel, told apart by their `streamType` header.

    error   we write how it ended: from v4 on a metav1.Status, before that a sentence; nothing when all is well
    stdin, stdout, stderr    bytes; stderr is not opened with a terminal
    resize  (v3 on, with a terminal) one JSON object {"Width", "Height"} after the other

The client opens them all before it sends anything; then it closes its half of each but stdin and resize.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import msgspec

from controlplane.apiserver.doors.http_messages import Takeover
from controlplane.apiserver.streaming.exec import STDOUT, Plan, converse
from controlplane.apiserver.streaming.exec_websocket import resize
from controlplane.apiserver.streaming.node_link import NodeLink
from controlplane.apiserver.streaming.spdy import SpdySession, SpdyStream, spdy_session
from controlplane.apiserver.streaming.websocket import Stream
from kubeapi.pb.sampan.v1 import node_pb2 as pb

V4, V3, V2, V1 = "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"
PROTOCOLS = (V4, V3, V2, V1)
PATIENCE = 30.0
"""Seconds in which a client must have opened all its streams."""
MAX_SIZE_TEXT = 1024


def takeover(link: NodeLink, plan: Plan, protocol: str) -> Takeover:
    async def run(connection: Stream) -> None:
        async with spdy_session(connection) as session:
            streams = await _open(session, _expected(plan, protocol))
            if streams is None:
                return

            async def emit(channel: int, data: bytes) -> None:
                if (stream := streams.get("stdout" if channel == STDOUT else "stderr")) is not None:
                    await stream.write(data)

            status = await converse(link, plan, _inputs(streams), emit, session.gone)
            if status is not None:
                if text := final_words(status, protocol):
                    await streams["error"].write(text)
                for stream in streams.values():
                    await stream.close()

    return run


def _expected(plan: Plan, protocol: str) -> set[str]:
    start = plan.start
    wanted = {"stdin": start.stdin, "stdout": start.stdout, "stderr": start.stderr}
    wanted["resize"] = start.tty and protocol in (V4, V3)
    return {"error", *(name for name, asked in wanted.items() if asked)}


async def _open(session: SpdySession, expected: set[str]) -> dict[str, SpdyStream] | None:
    """All streams; None when the client leaves, dawdles, or opens what it has not asked for."""
    streams: dict[str, SpdyStream] = {}
    try:
        async with asyncio.timeout(PATIENCE):
            while len(streams) < len(expected):
                stream = await session.accept()
                if stream is None:
                    return None
                kind = stream.headers.get("streamtype", "").lower()
                if kind not in expected or kind in streams:
                    return None
                streams[kind] = stream
    except TimeoutError:
        return None
    return streams


async def _inputs(streams: dict[str, SpdyStream]) -> AsyncGenerator[pb.StreamInput, None]:
    """stdin and the sizes of the terminal as they come. Does not end: the session tells when the client has gone."""
    queue: asyncio.Queue[pb.StreamInput] = asyncio.Queue(1)

    async def stdin(stream: SpdyStream) -> None:
        async for data in stream.data():
            await queue.put(pb.StreamInput(stdin=data))
        await queue.put(pb.StreamInput(close_stdin=True))

    async def sizes(stream: SpdyStream) -> None:
        async for text in _objects(stream):
            if (size := resize(text)) is not None:
                await queue.put(size)

    pumps = {"stdin": stdin, "resize": sizes}
    tasks = [asyncio.create_task(pump(streams[name])) for name, pump in pumps.items() if name in streams]
    try:
        while True:
            yield await queue.get()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _objects(stream: SpdyStream) -> AsyncIterator[bytes]:
    """Flat JSON objects, however the bytes were cut."""
    text = b""
    async for data in stream.data():
        text += data
        while found := re.match(rb"\s*(\{[^{}]*\})", text):
            yield found[1]
            text = text[found.end() :]
        text = text[-MAX_SIZE_TEXT:]


def final_words(status: dict[str, Any], protocol: str) -> bytes:
    """What stands on the error stream."""
    if protocol == V4:
        return msgspec.json.encode(status)
    return b"" if status.get("status") == "Success" else str(status.get("message", "")).encode()
