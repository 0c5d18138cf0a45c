"""exec and attach over a WebSocket: the first byte of each message is its channel.

0 stdin, 1 stdout, 2 stderr, 3 the final Status, 4 resize; with v5 also 255, whose second byte names a channel
that the client closes (only stdin makes sense). `base64.` protocols are the same in text, the channel as a digit.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator

import msgspec

from controlplane.apiserver.doors.http_messages import Takeover
from controlplane.apiserver.streaming.exec import Plan, converse
from controlplane.apiserver.streaming.node_link import NodeLink
from controlplane.apiserver.streaming.websocket import (
    BINARY,
    TEXT,
    ProtocolError,
    Stream,
    WebSocket,
    kept_alive,
)
from kubeapi.pb.sampan.v1 import node_pb2 as pb

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
PROTOCOLS = (V5, V4, "channel.k8s.io", "v4.base64.channel.k8s.io", "base64.channel.k8s.io")
STDIN, STATUS, RESIZE, CLOSE = 0, 3, 4, 255


def takeover(link: NodeLink, plan: Plan, protocol: str) -> Takeover:
    async def run(stream: Stream) -> None:
        channel = _Channels(WebSocket(stream), protocol)
        async with kept_alive(channel.socket) as gone:
            await channel.emit(1, b"")  # says that the conversation stands
            status = await converse(link, plan, channel.inputs(), channel.emit, gone)
            if status is not None:
                await channel.emit(STATUS, msgspec.json.encode(status))
                await channel.socket.finish()

    return run


class _Channels:
    def __init__(self, socket: WebSocket, protocol: str) -> None:
        self.socket = socket
        self._base64 = "base64" in protocol
        self._closing = protocol == V5

    async def emit(self, channel: int, data: bytes) -> None:
        if self._base64:
            await self.socket.send(b"%d" % channel + base64.b64encode(data), opcode=TEXT)
        else:
            await self.socket.send(bytes([channel]) + data, opcode=BINARY)

    async def inputs(self) -> AsyncGenerator[pb.StreamInput, None]:
        try:
            while (message := await self.socket.receive()) is not None:
                item = self._read(message)
                if item is not None:
                    yield item
        except ProtocolError as error:
            await self.socket.close(error.code, str(error))

    def _read(self, message: bytes) -> pb.StreamInput | None:
        if not message:
            return None
        channel, data = message[0], message[1:]
        if self._base64:
            channel -= ord("0")
            try:
                data = base64.b64decode(data)
            except binascii.Error as error:
                raise ProtocolError(1007, "not base64") from error
        if channel == STDIN and data:
            return pb.StreamInput(stdin=data)
        if channel == CLOSE and self._closing and data[:1] == b"\0":
            return pb.StreamInput(close_stdin=True)
        if channel == RESIZE:
            return resize(data)
        return None


class _Size(msgspec.Struct):
    Width: int = 0
    Height: int = 0


def resize(data: bytes) -> pb.StreamInput | None:
    """None for what is no size: a terminal of an odd size is no reason to end a session."""
    try:
        size = msgspec.json.decode(data, type=_Size)
    except msgspec.MsgspecError:
        return None
    if not (0 < size.Width < 65536 and 0 < size.Height < 65536):
        return None
    return pb.StreamInput(resize=pb.Resize(width=size.Width, height=size.Height))
