"""HTTP/1.1 over TLS, and no more of it than an API server needs: no routes, no middleware, no templates.

    bytes → httptools → Request → queue → one task per connection → handle(request) → Reply → bytes

Requests of one connection are answered one after the other, in order: pipelining is safe. A body is read in
full (it is an object, of at most three megabytes) before its request is handled. Requests and replies are http_messages.py's.

What a peer may do to us is bounded: the head's size, the body's size, the requests in the queue, the unread
bytes of a taken-over connection, and the time a silent connection is kept.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import cast

import httptools

from controlplane.apiserver.auth.authn import User, subject_of
from controlplane.apiserver.doors.http_messages import Duplex, Handler, Outlet, Reply, Request, chunk

MAX_BODY = 3 * 1024 * 1024
MAX_HEAD = 64 * 1024
MOST_NAMES = 256
MAX_WAITING = 16
"""Pipelined requests; past it the connection is not read until some are answered."""
MAX_UNREAD = 1024 * 1024
IDLE = 240.0
"""Seconds that a connection without a request is kept; client pools give theirs up after 90."""
LINGER = 2.0
"""Seconds in which a client that still sends may read why it was refused."""

log = logging.getLogger("sampan.http")
_NAMES: dict[bytes, str] = {}
"""Header names as clients write them, in lower case; only as many as there are in use."""
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class HttpServer:
    """`async with HttpServer(handle, tls) as server: await server.listen(host, port)`."""

    def __init__(
        self, handle: Handler, *, tls: ssl.SSLContext | None, shown: Callable[[float], None] = lambda ends: None
    ) -> None:
        """`shown`: called with the end of each client's certificate, in seconds since 1970."""
        self._handle = handle
        self._tls = tls
        self.shown = shown
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0

    async def listen(self, host: str, port: int) -> int:
        """Returns the port, which the system chose when `port` is 0."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: _Connection(self), host, port, ssl=self._tls, backlog=1024, reuse_address=True
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> HttpServer:
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def start(self, connection: _Connection) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(connection.serve(self._handle))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection's task failed", exc_info=error)


class _Connection(asyncio.Protocol):
    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[Request] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        """Pending while the peer reads slower than we write."""
        self.on_room: Callable[[], None] | None = None
        self._subject: User | None = None
        self._gone = False
        self._long = False
        """The reply now going out ends only when the peer leaves: a watch, a taken-over connection."""
        self._deaf = False
        """A refusal was sent; whatever else comes is dropped until the connection closes."""
        self._raw: deque[bytes] | None = None
        """Bytes behind an upgrade request; None while this is HTTP."""
        self._raw_size = 0
        self._owed_continue = False
        self._idle: asyncio.TimerHandle | None = None
        self._quiet_since = 0.0
        self._reset()

    def _reset(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._size = 0
        self._head_size = 0
        self._in_head = True

    # --- from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's TLS transport does not derive from asyncio.Transport
        self._transport = cast(asyncio.Transport, transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and (certificate := tls.getpeercert()):
            self._subject = subject_of(certificate)
            self._server.shown(ssl.cert_time_to_seconds(certificate["notAfter"]))
        self._server.connections += 1
        self._task = self._server.start(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        self._server.connections -= 1
        if self._idle is not None:
            self._idle.cancel()
        self._resume()
        self._nudge()
        if self._long and self._task is not None and self._raw is None:
            self._task.cancel()

    def pause_writing(self) -> None:
        if self._room is None:
            self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        self._resume()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._raw is not None:
            self._keep_raw(data)
            return
        if self._in_head:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._raw = deque()
            self._keep_raw(data[upgrade.args[0] :])
        except _Refused as refused:
            self._refuse(refused.code, str(refused))
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, _Refused):
                self._refuse(error.__context__.code, str(error.__context__))
            else:
                raise
        except httptools.HttpParserError:
            self._refuse(400, "the request is not HTTP/1.1")
        if self._in_head and self._head_size > MAX_HEAD:
            self._refuse(431, "the request's head is too large")

    # --- from the parser

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = _NAMES.get(name) or _lower(name), value.decode("latin-1")
        known = self._headers.get(key)
        self._headers[key] = text if known is None else f"{known}, {text}"

    def on_headers_complete(self) -> None:
        self._in_head = False
        length = self._headers.get("content-length", "0")
        if length.isdecimal() and int(length) > MAX_BODY:
            raise _Refused(413, "the request's body is too large")
        if self._headers.get("expect", "").lower() == "100-continue":
            self._owed_continue = True
            if not self._waiting and self._wake is not None:
                self._send_continue()

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > MAX_BODY:
            raise _Refused(413, "the request's body is too large")
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        self._owed_continue = False
        self._waiting.append(
            Request(
                method=self._parser.get_method().decode("latin-1"),
                target=self._target.decode("latin-1"),
                headers=self._headers,
                body=b"".join(self._chunks),
                subject=self._subject,
                keep_alive=self._parser.should_keep_alive(),
                upgrade=self._parser.should_upgrade(),
                http10=self._parser.get_http_version() == "1.0",
            )
        )
        self._reset()
        if len(self._waiting) >= MAX_WAITING and self._transport is not None:
            self._transport.pause_reading()
        self._nudge()

    # --- the connection's task

    async def serve(self, handle: Handler) -> None:
        try:
            while not self._gone and not self._deaf:
                if not self._waiting:
                    await self._next()
                    continue
                request = self._waiting.popleft()
                if self._transport is not None and len(self._waiting) < MAX_WAITING and self._raw is None:
                    self._transport.resume_reading()
                reply = await handle(request)
                if type(reply.body) is bytes and reply.push is None and reply.takeover is None:
                    keep = self._answer(request, reply, reply.body)
                    if self._room is not None:
                        await self._room
                else:
                    keep = await self._stream(request, reply)
                if not keep:
                    return
        except ConnectionResetError:
            pass  # the peer left in the middle of a reply; nobody is there to be told
        finally:
            if self._transport is not None and not self._deaf:
                self._transport.close()

    async def _next(self) -> None:
        self._wake = self._loop.create_future()
        if self._owed_continue:
            self._send_continue()
        self._quiet_since = self._loop.time()
        if self._idle is None:
            self._idle = self._loop.call_later(IDLE, self._silent)
        try:
            await self._wake
        finally:
            self._wake = None

    def _answer(self, request: Request, reply: Reply, body: bytes) -> bool:
        """Sends a reply that is whole. Whether the connection goes on."""
        if self._gone or self._transport is None:
            return False
        keep = request.keep_alive and not request.upgrade
        head = _head(reply)
        if not keep:
            head += "Connection: close\r\n"
        if reply.status != 204:
            head += f"Content-Length: {len(body)}\r\n"
        start = f"{head}\r\n".encode("latin-1", "replace")
        self._transport.write(start if request.method == "HEAD" else start + body)
        return keep

    async def _stream(self, request: Request, reply: Reply) -> bool:
        """Sends a reply that comes piece by piece, or gives the connection away. Whether it goes on."""
        keep = request.keep_alive and not (request.upgrade and reply.takeover is None)
        head = _head(reply)
        if reply.takeover is not None:
            self._long = True
            await self.send(f"{head}\r\n".encode("latin-1", "replace"))
            if self._raw is None:
                self._raw = deque()
            await reply.takeover(Duplex(self))
            return False
        if not keep:
            head += "Connection: close\r\n"
        chunked = not request.http10
        head += "Transfer-Encoding: chunked\r\n\r\n" if chunked else "\r\n"
        self._long = True
        if reply.push is not None:
            await self.send(head.encode("latin-1", "replace"))
            try:
                await reply.push(Outlet(self, chunked))
            finally:
                self.on_room = None
        else:
            assert not isinstance(reply.body, bytes)
            async with aclosing(reply.body) as pieces:
                await self.send(head.encode("latin-1", "replace"))
                async for piece in pieces:
                    if piece:
                        await self.send(chunk(piece) if chunked else piece)
        self._long = False
        if chunked:
            await self.send(b"0\r\n\r\n")
        return keep and chunked

    async def send(self, data: bytes) -> None:
        if self._gone or self._transport is None:
            raise ConnectionResetError("the peer has gone")
        self._transport.write(data)
        if self._room is not None:
            await self._room

    @property
    def full(self) -> bool:
        return self._room is not None

    def write(self, data: bytes) -> None:
        """To nobody, once the peer has gone."""
        if not self._gone and self._transport is not None:
            self._transport.write(data)

    async def read_raw(self) -> bytes:
        assert self._raw is not None
        while not self._raw:
            if self._gone:
                return b""
            self._wake = self._loop.create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        data = b"".join(self._raw)
        self._raw.clear()
        self._raw_size = 0
        if self._transport is not None and not self._gone:
            self._transport.resume_reading()
        return data

    # --- small things

    def _keep_raw(self, data: bytes) -> None:
        assert self._raw is not None
        if data:
            self._raw.append(data)
            self._raw_size += len(data)
            if self._raw_size > MAX_UNREAD and self._transport is not None:
                self._transport.pause_reading()
            self._nudge()

    def _send_continue(self) -> None:
        self._owed_continue = False
        if self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse(self, code: int, why: str) -> None:
        """Ends a connection whose bytes cannot be trusted any more; but lets the peer read why."""
        if self._deaf or self._transport is None:
            return
        self._deaf = True
        text = f"{why}\n".encode()
        head = f"HTTP/1.1 {code} {_REASONS[code]}\r\nContent-Type: text/plain\r\n"
        head += f"Connection: close\r\nContent-Length: {len(text)}\r\n\r\n"
        self._transport.write(head.encode() + text)
        self._loop.call_later(LINGER, self._transport.close)
        self._nudge()

    def _silent(self) -> None:
        """One timer for the connection's life, set anew when it fires: a timer for each request would cost more."""
        busy = self._wake is None or self._long or self._raw is not None
        left = IDLE if busy else self._quiet_since + IDLE - self._loop.time()
        self._idle = None
        if self._gone or self._transport is None:
            return
        if left > 0:
            self._idle = self._loop.call_later(left, self._silent)
        else:
            self._transport.close()

    def _nudge(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _resume(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)
        if self.on_room is not None and not self._gone:
            self.on_room()


def _head(reply: Reply) -> str:
    """The status line, and the reply's own headers."""
    head = f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Unknown')}\r\n"
    for name, value in reply.headers:
        head += f"{name}: {value}\r\n"
    return head


def _lower(name: bytes) -> str:
    text = name.decode("latin-1").lower()
    if len(_NAMES) < MOST_NAMES:
        _NAMES[name] = text
    return text


class _Refused(Exception):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


def server_context(cert_file: str, key_file: str, ca_file: str) -> ssl.SSLContext:
    """TLS that asks for a client certificate of our authority, and lets in (to authn) who has none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert_file, key_file)
    context.load_verify_locations(ca_file)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context
