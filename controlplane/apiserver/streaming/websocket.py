"""RFC 6455 on a connection that has left HTTP: the handshake's answer, and messages in and out.

Only what kubectl and the Python client use: binary and text messages, fragments, ping and pong, close. No
extension is ever agreed to, so a reserved bit is an error, and the connection is closed with 1002.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_MESSAGE = 4 * 1024 * 1024
HEARTBEAT = 3.0
"""Seconds between two signs of life from us."""
LINGER = 5.0
"""Seconds that a client gets to read our last message and to close its side."""
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Stream(Protocol):
    async def read(self) -> bytes: ...
    async def write(self, data: bytes) -> None: ...


class ProtocolError(Exception):
    """The peer does not speak RFC 6455."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


def is_upgrade(headers: Mapping[str, str]) -> bool:
    return headers.get("upgrade", "").lower() == "websocket" and "sec-websocket-key" in headers


def choose(headers: Mapping[str, str], supported: Iterable[str]) -> str | None:
    """The client's first protocol that we speak; clients offer several in one header or in many."""
    offered = [part.strip() for part in headers.get("sec-websocket-protocol", "").split(",")]
    ours = set(supported)
    return next((name for name in offered if name in ours), None)


def answer(headers: Mapping[str, str], protocol: str | None) -> list[tuple[str, str]]:
    """The headers of the 101."""
    key = headers["sec-websocket-key"].strip().encode("latin-1")
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
    lines = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)]
    return [*lines, ("Sec-WebSocket-Protocol", protocol)] if protocol else lines


def frame(opcode: int, payload: bytes, *, mask: bytes = b"") -> bytes:
    """One final frame. Servers never mask; clients always do."""
    bit = 0x80 if mask else 0
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, bit | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x80 | opcode, bit | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, bit | 127, size)
    return head + mask + (unmask(payload, mask) if mask else payload)


def unmask(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    if not size:
        return b""
    whole = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(size, "big")


class WebSocket:
    """The server's end."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self.closed = False
        """Either side has said so; nothing more is sent."""

    async def receive(self) -> bytes | None:
        """The next message, whole; None once the peer has closed or gone. ProtocolError."""
        parts: list[bytes] = []
        size = 0
        while True:
            got = await self._frame()
            if got is None:
                return None
            final, opcode, payload = got
            if opcode == PING:
                await self._stream.write(frame(PONG, payload))
            elif opcode == CLOSE:
                await self.close(struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1000)
                return None
            elif opcode in (TEXT, BINARY, CONTINUATION):
                if (opcode == CONTINUATION) != bool(parts):
                    raise ProtocolError(1002, "a fragment out of place")
                parts.append(payload)
                size += len(payload)
                if size > MAX_MESSAGE:
                    raise ProtocolError(1009, "the message is too large")
                if final:
                    return b"".join(parts)
            elif opcode != PONG:
                raise ProtocolError(1002, f"opcode {opcode} means nothing")

    async def send(self, payload: bytes, *, opcode: int = BINARY) -> None:
        if not self.closed:
            await self._stream.write(frame(opcode, payload))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if not self.closed:
            self.closed = True
            await self._stream.write(frame(CLOSE, struct.pack("!H", code) + reason.encode()[:120]))

    async def finish(self) -> None:
        """Closes, and lets the client leave first: a connection closed under unread bytes loses our last ones."""
        if self.closed:
            return
        try:
            async with asyncio.timeout(LINGER):
                await self.close()
                while await self.receive() is not None:
                    pass
        except (TimeoutError, ProtocolError, ConnectionError):
            return

    async def beat(self) -> None:
        """An answer to a ping that was not asked: the client's patience begins anew, and nothing comes back."""
        if not self.closed:
            await self._stream.write(frame(PONG, b""))

    async def _frame(self) -> tuple[bool, int, bytes] | None:
        if not await self._have(2):
            return None
        first, second = self._buffer[0], self._buffer[1]
        if first & 0x70:
            raise ProtocolError(1002, "a reserved bit is set")
        if not second & 0x80:
            raise ProtocolError(1002, "a client's frame is not masked")
        size, offset = second & 0x7F, 2
        if size == 126:
            if not await self._have(4):
                return None
            size, offset = struct.unpack_from("!H", self._buffer, 2)[0], 4
        elif size == 127:
            if not await self._have(10):
                return None
            size, offset = struct.unpack_from("!Q", self._buffer, 2)[0], 10
        if size > MAX_MESSAGE:
            raise ProtocolError(1009, "the frame is too large")
        if not await self._have(offset + 4 + size):
            return None
        mask = bytes(self._buffer[offset : offset + 4])
        payload = bytes(self._buffer[offset + 4 : offset + 4 + size])
        del self._buffer[: offset + 4 + size]
        return bool(first & 0x80), first & 0x0F, unmask(payload, mask)

    async def _have(self, size: int) -> bool:
        while len(self._buffer) < size:
            data = await self._stream.read()
            if not data:
                return False
            self._buffer += data
        return True


@asynccontextmanager
async def kept_alive(socket: WebSocket, every: float = HEARTBEAT) -> AsyncIterator[asyncio.Event]:
    """While the block runs the client hears from us, even when we do not read because a command does not; the event
    is set once it turns out that nobody is there."""
    gone = asyncio.Event()

    async def beat() -> None:
        try:
            while True:
                await asyncio.sleep(every)
                await socket.beat()
        except ConnectionError:
            gone.set()

    task = asyncio.create_task(beat())
    try:
        yield gone
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Tunnel:
    """A byte stream inside the messages of a WebSocket, cut anywhere."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        """b"" once the peer has closed or gone, or has sent what is no WebSocket message."""
        try:
            while (message := await self._socket.receive()) is not None:
                if message:
                    return message
        except ProtocolError as error:
            await self._socket.close(error.code, str(error))
        return b""

    async def write(self, data: bytes) -> None:
        if self._socket.closed:
            raise ConnectionResetError("the WebSocket is closed")
        await self._socket.send(data)
