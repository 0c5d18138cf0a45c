"""The few Docker calls that stream, spoken straight over asyncio: events, logs, exec, attach.

The SDK serves streams with one blocked thread each and, on upgraded connections, may leave the first bytes in a
buffer of its own. A stream here costs no thread, ends when its task does, and can half-close its input.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

from node_agent.runtimes.docker_calls import message_of
from node_agent.runtimes.errors import ContainerNotFound, RuntimeFault, RuntimeUnavailable

HEADER = 8
"""Bytes before each frame of a stream without a terminal: channel, three zeros, big-endian length."""
NOT_STARTED = b"OCI runtime exec failed"
"""What the engine writes into a command's output when it cannot start it."""


class Connection:
    """One request and the bytes that follow its answer's head."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.chunked = False

    async def body(self) -> AsyncIterator[bytes]:
        if not self.chunked:
            while data := await self.reader.read(65536):
                yield data
            return
        while size := int((await self.reader.readline()).split(b";")[0] or b"0", 16):
            yield await self.reader.readexactly(size)
            await self.reader.readexactly(2)

    def abort(self) -> None:
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            return


class StreamingEngine:
    """Opens connections to the engine at `base_url` (unix:///path or tcp://host:port)."""

    def __init__(self, base_url: str, *, version: str) -> None:
        self._url = urlsplit(base_url)
        self._version = version

    async def open(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Any = None,
        upgrade: bool = False,
    ) -> Connection:
        try:
            if self._url.scheme in ("unix", "http+unix"):
                reader, writer = await asyncio.open_unix_connection(self._url.path)
            else:
                reader, writer = await asyncio.open_connection(self._url.hostname, self._url.port)
        except OSError as error:
            raise RuntimeUnavailable(f"cannot reach the Docker engine: {error}") from error
        connection = Connection(reader, writer)
        try:
            await self._ask(connection, method, path, query or {}, body, upgrade)
        except BaseException:
            writer.close()
            raise
        return connection

    async def _ask(
        self, connection: Connection, method: str, path: str, query: dict[str, str], body: Any, upgrade: bool
    ) -> None:
        payload = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} /v{self._version}{path}?{urlencode(query)} HTTP/1.1", "Host: docker"]
        if body is not None:
            lines.append("Content-Type: application/json")
        lines.append(f"Content-Length: {len(payload)}")
        if upgrade:
            lines += ["Connection: Upgrade", "Upgrade: tcp"]
        connection.writer.write("\r\n".join([*lines, "", ""]).encode() + payload)
        try:
            await connection.writer.drain()
            head = (await connection.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        except (OSError, asyncio.IncompleteReadError) as error:
            raise RuntimeUnavailable(f"the Docker engine hung up: {error}") from error
        status = int(head.split(" ", 2)[1])
        connection.chunked = "transfer-encoding: chunked" in head
        if status >= 400:
            length = next((line[15:] for line in head.splitlines() if line.startswith("content-length:")), "0")
            raw = await connection.reader.read(int(length)) if not connection.chunked else b""
            if connection.chunked:
                async for part in connection.body():
                    raw += part
            message = message_of(raw)
            raise (ContainerNotFound if status in (404, 409) else RuntimeFault)(message)


async def frames(connection: Connection, *, tty: bool) -> AsyncIterator[tuple[int, bytes]]:
    """(1 stdout | 2 stderr, data), in order, until the other side ends."""
    buffer = bytearray()
    async for data in connection.body():
        if tty:
            yield 1, data
            continue
        buffer += data
        while len(buffer) >= HEADER:
            size = int.from_bytes(buffer[4:HEADER], "big")
            if len(buffer) < HEADER + size:
                break
            if size:
                yield buffer[0] or 1, bytes(buffer[HEADER : HEADER + size])
            del buffer[: HEADER + size]


class HijackedStream:
    """A running command (or a container's own process) over one upgraded connection."""

    def __init__(
        self,
        connection: Connection,
        *,
        tty: bool,
        resize: Callable[[int, int], Awaitable[None]],
        exit_code: Callable[[], Awaitable[int]],
        end: Callable[[], Awaitable[None]] | None = None,
        half_close: bool = True,
    ) -> None:
        """`end` ends the process, if closing the stream early is to do so. `half_close` is whether the end of our
        input may be told: of a container whose stdin stays open the engine would end the output, too."""
        self._connection = connection
        self._tty = tty
        self._resize = resize
        self._exit_code = exit_code
        self._end = end
        self._half_close = half_close
        self._ended = False
        self._said = False

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        try:
            async for channel, data in frames(self._connection, tty=self._tty):
                if not self._said and not self._tty and self._end and data.startswith(NOT_STARTED):
                    channel = 2  # the engine says why there is no process: no output of one
                self._said = True
                yield channel, data
        except ConnectionError:
            return

    async def write(self, data: bytes) -> None:
        self._connection.writer.write(data)
        await self._connection.writer.drain()

    async def close_stdin(self) -> None:
        writer = self._connection.writer
        if self._half_close and writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()

    async def resize(self, width: int, height: int) -> None:
        await self._resize(width, height)

    async def exit_code(self) -> int:
        code = await self._exit_code()
        self._ended = True
        return code

    async def close(self) -> None:
        """Ends the command if it has not ended. What was not sent yet is dropped: nobody may be reading it."""
        try:
            if self._end is not None and not self._ended:
                await self._end()
        except RuntimeFault:
            return  # container or engine are gone, and the process with them
        finally:
            self._connection.abort()
