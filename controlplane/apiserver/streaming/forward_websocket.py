"""port-forward over WebSocket channels, as the official Python client speaks it: `?ports=80&ports=443`.

Port number n of the query has two channels: 2n carries its bytes, 2n+1 what went wrong. Each begins with two bytes
from us, the port in little endian. A channel cannot be half-closed: a port's connection ends with the pod's side of
it, and when all have ended so does the conversation.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import struct
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from controlplane.apiserver.doors.http_messages import Takeover
from controlplane.apiserver.streaming.forward import connection_to, splice
from controlplane.apiserver.streaming.node_link import NodeLink
from controlplane.apiserver.streaming.websocket import (
    BINARY,
    TEXT,
    ProtocolError,
    Stream,
    WebSocket,
    kept_alive,
)
from kubeapi.errors import ApiError, BadRequest

PROTOCOLS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io")
MAX_PORTS = 5
"""So that channel numbers stay one digit, as the base64 protocols need."""


def ports_of(values: Sequence[str]) -> list[int]:
    """Raises BadRequest."""
    texts = [text for value in values for text in value.split(",")]
    if not texts:
        raise BadRequest("query parameter ports: at least one is needed")
    if len(texts) > MAX_PORTS:
        raise BadRequest(f"query parameter ports: at most {MAX_PORTS} on one connection")
    for text in texts:
        if not text.isdecimal() or not 0 < int(text) < 65536:
            raise BadRequest(f"query parameter ports: {text!r} is no port")
    return [int(text) for text in texts]


def takeover(link: NodeLink, pod: dict[str, Any], ports: Sequence[int], protocol: str) -> Takeover:
    async def run(connection: Stream) -> None:
        socket = WebSocket(connection)
        async with kept_alive(socket) as gone:
            channels = [_Channel(socket, number, port, "base64" in protocol) for number, port in enumerate(ports)]
            for channel in channels:
                await channel.greet()
            tasks = [
                asyncio.create_task(_read(socket, channels)),
                asyncio.create_task(_serve_all(link, pod, channels)),
                asyncio.create_task(_until(gone)),
            ]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            await socket.finish()

    return run


async def _read(socket: WebSocket, channels: Sequence[_Channel]) -> None:
    try:
        while (message := await socket.receive()) is not None:
            if not message:
                continue
            number = message[0] - (ord("0") if channels[0].base64 else 0)
            if number % 2 == 0 and 0 <= number // 2 < len(channels):
                await channels[number // 2].feed(message[1:])
    except ProtocolError as error:
        await socket.close(error.code, str(error))


async def _serve_all(link: NodeLink, pod: dict[str, Any], channels: Sequence[_Channel]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for channel in channels:
            tasks.create_task(_serve(link, pod, channel))


async def _until(gone: asyncio.Event) -> None:
    await gone.wait()


async def _serve(link: NodeLink, pod: dict[str, Any], channel: _Channel) -> None:
    try:
        async with connection_to(link, pod, channel.port) as near:
            await splice(near, channel)
    except ApiError as refusal:
        await channel.tell(refusal.message)
    except _PodEnded:
        return
    except ConnectionResetError as error:
        await channel.tell(str(error))


class _PodEnded(Exception):
    """The pod has closed its side, and the client has no way to be told but by the end."""


class _Channel:
    def __init__(self, socket: WebSocket, number: int, port: int, text: bool) -> None:
        self.port = port
        self.base64 = text
        self._socket = socket
        self._number = number * 2
        self._received: asyncio.Queue[bytes] = asyncio.Queue(8)

    async def greet(self) -> None:
        for number in (self._number, self._number + 1):
            await self._send(number, struct.pack("<H", self.port))

    async def feed(self, payload: bytes) -> None:
        """Raises ProtocolError."""
        if self.base64:
            try:
                payload = base64.b64decode(payload)
            except binascii.Error as error:
                raise ProtocolError(1007, "not base64") from error
        if payload:
            await self._received.put(payload)

    async def data(self) -> AsyncGenerator[bytes, None]:
        while True:
            yield await self._received.get()

    async def write(self, data: bytes) -> None:
        await self._send(self._number, data)

    async def close(self) -> None:
        raise _PodEnded

    async def tell(self, text: str) -> None:
        await self._send(self._number + 1, text.encode())

    async def _send(self, number: int, data: bytes) -> None:
        if self.base64:
            await self._socket.send(b"%d" % number + base64.b64encode(data), opcode=TEXT)
        else:
            await self._socket.send(bytes([number]) + data, opcode=BINARY)
