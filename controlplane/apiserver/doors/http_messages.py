"""What a handler of HTTP requests sees: a Request, the Reply it makes, and what a reply may go on as.

A reply is bytes, or an iterator of chunks, or a Push: a function that writes chunks to an Outlet for as long as it likes
(a watch), or a Takeover: one that gets the bare connection as a Duplex (WebSocket, SPDY).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol

from msgspec import Struct

from controlplane.apiserver.auth.authn import User


class Request(Struct, eq=False):
    method: str
    target: str
    """As sent: path, `?`, query; not yet unquoted."""
    headers: dict[str, str]
    """Names in lower case; repeated ones joined by a comma."""
    body: bytes = b""
    subject: User | None = None
    """From the client's certificate."""
    keep_alive: bool = True
    upgrade: bool = False
    http10: bool = False
    user: User | None = None
    """Who asks, once that is known."""
    authorized: float = 0.0
    """When it was known who asks and that they may; 0: not yet. For the log of slow requests, as is the next."""
    answered: float = 0.0
    """When the store or the cache had answered, and encoding began."""


Takeover = Callable[["Duplex"], Awaitable[None]]
Push = Callable[["Outlet"], Awaitable[None]]


class Reply(Struct, eq=False):
    status: int = 200
    headers: list[tuple[str, str]] = []
    body: bytes | AsyncGenerator[bytes, None] = b""
    takeover: Takeover | None = None
    """After the head (101) is sent, the connection is this function's; when it returns, it is closed."""
    push: Push | None = None
    """Instead of a body: writes chunks, from wherever it is called, until it returns."""


Handler = Callable[[Request], Awaitable[Reply]]


class Connection(Protocol):
    """To the peer, as its replies need it."""

    on_room: Callable[[], None] | None
    """Called when the connection is no longer full."""

    @property
    def full(self) -> bool: ...
    def write(self, data: bytes) -> None:
        """Never waits. To nobody, once the peer has gone."""
        ...

    async def send(self, data: bytes) -> None:
        """Waits while the connection is full. Raises ConnectionResetError once the peer has gone."""
        ...

    async def read_raw(self) -> bytes:
        """Some bytes behind the request; b"" once the peer has gone."""
        ...


class Duplex:
    """A connection that has left HTTP: bytes in, bytes out."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def read(self) -> bytes:
        """Some bytes; b"" once the peer has gone."""
        return await self._connection.read_raw()

    async def write(self, data: bytes) -> None:
        """Raises ConnectionResetError once the peer has gone."""
        await self._connection.send(data)


class Outlet:
    """Where a pushed body goes. Writing never waits: who writes to a `full` one fills the memory."""

    def __init__(self, connection: Connection, chunked: bool) -> None:
        self._connection, self._chunked = connection, chunked

    @property
    def full(self) -> bool:
        """The peer reads slower than we write; `when_room` is called once that is over."""
        return self._connection.full

    def when_room(self, ready: Callable[[], None]) -> None:
        self._connection.on_room = ready

    def write(self, *chunks: bytes) -> None:
        """Each as `chunk()` made it: with its frame."""
        self._connection.write(b"".join(chunks if self._chunked else map(_bare, chunks)))


def chunk(data: bytes) -> bytes:
    """In the frame of HTTP's chunked coding, so that many connections may share the same bytes."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _bare(framed: bytes) -> bytes:
    return framed[framed.index(b"\r\n") + 2 : -2]
