"""A connection in memory: what a client sends, and what it gets back, both in a test's hands."""

import asyncio


class Pipe:
    """The server's end. `limit` bytes may wait to be read by the client; past it, writing waits."""

    def __init__(self, limit: int = 1 << 20) -> None:
        self._incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self._changed = asyncio.Condition()
        self._limit = limit
        self.sent = bytearray()
        """What the server has written and the client has not taken."""
        self.taken = 0
        """Bytes that the server has read."""
        self._dead = False

    async def read(self) -> bytes:
        data = await self._incoming.get()
        self.taken += len(data)
        return data

    async def write(self, data: bytes) -> None:
        async with self._changed:
            if self._dead:
                raise ConnectionResetError("the client has gone")
            self.sent += data
            self._changed.notify_all()
            await self._changed.wait_for(lambda: len(self.sent) <= self._limit or self._dead)

    def feed(self, data: bytes) -> None:
        """The client sends."""
        self._incoming.put_nowait(data)

    @property
    def unread(self) -> int:
        return self._incoming.qsize()

    async def die(self) -> None:
        """The client vanishes without a word: only who writes finds out."""
        async with self._changed:
            self._dead = True
            self._changed.notify_all()

    def leave(self) -> None:
        """The client closes in order."""
        self.feed(b"")

    async def take(self) -> bytes:
        """The client reads what there is, at least one byte."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.sent)
            data = bytes(self.sent)
            self.sent.clear()
            self._changed.notify_all()
            return data
