"""The server's end of one SPDY/3.1 connection: streams that the client opens, data both ways, half-close.

    connection ─► reader task ─► SpdyStream's buffer ─data()─► who serves the stream
                      │ waits while a buffer is full, so the client is held back by TCP

exec, attach and port-forward of kubectl speak it: bare up to 1.29, inside a WebSocket (port-forward) from 1.31 on.
Windows: we tell the client of every byte that was consumed. Its own windows bind us only once it has shown that it
keeps any, by SETTINGS or a WINDOW_UPDATE: the library inside kubectl never does, and would wait for ever.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from controlplane.apiserver.streaming import spdy_frames as frames
from controlplane.apiserver.streaming.spdy_frames import Control, Data, HeaderCodec, NotSpdy, Parser
from controlplane.apiserver.streaming.websocket import Stream

PROTOCOL = "SPDY/3.1"
MAX_STREAMS = 2048
CHUNK = 32 * 1024
STREAM_BUFFER = 256 * 1024
SESSION_BUFFER = 4 * 1024 * 1024
"""Unread bytes of one stream, and of all together, past which the connection is not read."""
HEARTBEAT = 3.0
"""Seconds between two pings. They find out that a client is gone while we do not read from it."""
LINGER = 5.0
"""Seconds that a client gets to read the end and to leave, before the connection is closed under it."""


class SpdyStream:
    """One stream that the client has opened."""

    _window: int
    """Bytes that the client would still take. Counted always, obeyed once it is known to keep windows."""

    def __init__(self, session: SpdySession, id_: int, headers: dict[str, str], window: int) -> None:
        self.id = id_
        self.headers = headers
        self._session = session
        self._window = window
        self._chunks: deque[bytes] = deque()
        self._unread = 0
        self._consumed = 0
        self._ended = False
        self._deaf = False
        self._closed = False
        self._news = asyncio.Event()
        self.was_reset = False
        """The client wants no more of it, in either direction."""

    async def data(self) -> AsyncIterator[bytes]:
        """Ends when the client half-closes, resets, or goes."""
        while True:
            while self._chunks:
                piece = self._chunks.popleft()
                self._unread -= len(piece)
                self._session.took(len(piece))
                yield piece
                await self._acknowledge(len(piece))
            if self._ended:
                return
            self._news.clear()
            await self._news.wait()

    async def write(self, data: bytes) -> None:
        """Raises ConnectionResetError once the client has gone. A stream that is closed takes it and drops it."""
        at = 0
        while at < len(data) and not self._closed:
            size = min(CHUNK, len(data) - at)
            if self._session.windowed:
                room = min(self._window, self._session.window)
                if room <= 0:
                    await self._session.window_grown()
                    continue
                size = min(size, room)
            self._window -= size
            self._session.window -= size
            await self._session.send(frames.data(self.id, data[at : at + size]))
            at += size

    async def close(self) -> None:
        """Half-close: the client may still send."""
        if not self._closed:
            self._closed = True
            await self._session.send(frames.data(self.id, b"", fin=True))
            self._session.forget_if_over(self)

    async def reset(self, status: int = frames.CANCEL) -> None:
        """Neither side has more to say."""
        self.discard()
        if not self.over:
            self._closed = self._ended = True
            await self._session.send(frames.rst_stream(self.id, status))
            self._session.forget_if_over(self)

    def discard(self) -> None:
        """Whatever the client has sent, or will, is dropped: nobody reads it."""
        self._deaf = True
        self._session.took(self._unread)
        self._unread = 0
        self._chunks.clear()

    # --- for the session

    @property
    def over(self) -> bool:
        return self._closed and self._ended

    @property
    def unread(self) -> int:
        return self._unread

    def feed(self, piece: bytes, fin: bool) -> int:
        """How many bytes have been kept."""
        kept = 0
        if piece and not self._deaf and not self._ended:
            self._chunks.append(piece)
            kept = len(piece)
            self._unread += kept
        self._ended = self._ended or fin
        self._news.set()
        return kept

    def end(self, *, reset: bool) -> None:
        """The client has reset the stream, or gone."""
        self.was_reset = self.was_reset or reset
        self._closed = self._ended = True
        self.discard()
        self._news.set()

    def grow(self, bytes_: int) -> None:
        self._window += bytes_

    async def _acknowledge(self, size: int) -> None:
        self._consumed += size
        if self._consumed >= frames.DEFAULT_WINDOW // 2 and not self.over:
            grown, self._consumed = self._consumed, 0
            await self._session.send(frames.window_update(self.id, grown))


class SpdySession:
    windowed: bool
    """The client keeps windows of its own."""
    window: int
    """Bytes that it would still take over all streams."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._parser = Parser()
        self._headers = HeaderCodec()
        self._streams: dict[int, SpdyStream] = {}
        self._last = 0
        self._opened: asyncio.Queue[SpdyStream | None] = asyncio.Queue()
        self._sending = asyncio.Lock()
        self._unread = 0
        self._room = asyncio.Event()
        self._grown = asyncio.Event()
        self._initial = frames.DEFAULT_WINDOW
        self._consumed = 0
        self._draining = False
        self.windowed = False
        self.window = frames.DEFAULT_WINDOW
        self.gone = asyncio.Event()
        """The client has left, or sent what is no SPDY."""
        self.fault = ""
        """What was wrong with the client's bytes."""

    async def accept(self) -> SpdyStream | None:
        """The next stream that the client opens; None once it has gone."""
        if self.gone.is_set() and self._opened.empty():
            return None
        return await self._opened.get()

    async def streams(self) -> AsyncIterator[SpdyStream]:
        while (stream := await self.accept()) is not None:
            yield stream

    async def send(self, frame: bytes) -> None:
        async with self._sending:
            await self._stream.write(frame)

    async def window_grown(self) -> None:
        self._grown.clear()
        await self._grown.wait()

    def took(self, size: int) -> None:
        """So many bytes have left a stream's buffer."""
        self._unread -= size
        self._consumed += size
        self._room.set()

    def forget_if_over(self, stream: SpdyStream) -> None:
        if stream.over:
            self._streams.pop(stream.id, None)

    async def finish(self) -> None:
        """Says that all is said, and lets the client leave first: closing under unread bytes would lose our last."""
        self._draining = True
        for stream in self._streams.values():
            stream.discard()
        self._room.set()
        try:
            async with asyncio.timeout(LINGER):
                await self.send(frames.goaway(self._last))
                await self.gone.wait()
        except (TimeoutError, ConnectionError):
            return

    async def read(self) -> None:
        try:
            while data := await self._stream.read():
                for frame in self._parser.feed(data):
                    if isinstance(frame, Data):
                        await self._on_data(frame)
                    else:
                        await self._on_control(frame)
                if self._consumed >= frames.DEFAULT_WINDOW // 2:
                    grown, self._consumed = self._consumed, 0
                    await self.send(frames.window_update(0, grown))
        except NotSpdy as error:
            self.fault = str(error)
            await self.send(frames.goaway(self._last, frames.PROTOCOL_ERROR))
        except ConnectionError:
            pass  # found while writing: it is gone, as `gone` will tell
        finally:
            self._leave()

    async def beat(self, every: float) -> None:
        number = 0
        try:
            while True:
                await asyncio.sleep(every)
                number = (number + 2) & 0x7FFFFFFE
                await self.send(frames.ping(number))
        except ConnectionError:
            self._leave()

    def _leave(self) -> None:
        self.gone.set()
        for stream in self._streams.values():
            stream.end(reset=False)
        self._streams.clear()
        self._opened.put_nowait(None)
        self._room.set()
        self._grown.set()
        self.windowed = False

    async def _on_data(self, frame: Data) -> None:
        stream = self._streams.get(frame.stream)
        if stream is None:
            if frame.stream > self._last:
                await self.send(frames.rst_stream(frame.stream, frames.INVALID_STREAM))
            return
        kept = stream.feed(frame.piece, frame.fin)
        self._unread += kept
        self._consumed += len(frame.piece) - kept
        self.forget_if_over(stream)
        while (stream.unread > STREAM_BUFFER or self._unread > SESSION_BUFFER) and not self._draining:
            self._room.clear()
            await self._room.wait()

    async def _on_control(self, frame: Control) -> None:
        match frame.type:
            case frames.SYN_STREAM:
                await self._on_open(frame)
            case frames.RST_STREAM:
                (id_, _) = frames.words(frame.body, 2)
                if (stream := self._streams.pop(id_, None)) is not None:
                    stream.end(reset=True)
                    self._grown.set()
            case frames.PING:
                (number,) = frames.words(frame.body, 1)
                if number % 2:
                    await self.send(frames.ping(number))
            case frames.HEADERS:
                self._headers.read(frame.body[4:])  # for the compression's state
            case frames.SYN_REPLY:
                raise NotSpdy("we have opened no stream that could be replied to")
            case frames.SETTINGS:
                self._on_settings(frames.settings(frame.body))
            case frames.WINDOW_UPDATE:
                id_, grown = frames.words(frame.body, 2)
                self.windowed = True
                if id_ == 0:
                    self.window += grown
                elif (stream := self._streams.get(id_)) is not None:
                    stream.grow(grown)
                self._grown.set()
            # GOAWAY: it opens no more; what is open goes on. Other types are to be ignored, says the draft.

    async def _on_open(self, frame: Control) -> None:
        id_, _ = frames.words(frame.body, 2)
        headers = self._headers.read(frame.body[10:])
        if id_ <= self._last or id_ % 2 == 0:
            raise NotSpdy(f"stream {id_} opens out of turn")
        self._last = id_
        if len(self._streams) >= MAX_STREAMS or self._draining:
            await self.send(frames.rst_stream(id_, frames.REFUSED_STREAM))
            return
        stream = SpdyStream(self, id_, headers, self._initial)
        self._streams[id_] = stream
        async with self._sending:  # made and sent in the same order: the compression has a state
            await self._stream.write(frames.syn_reply(id_, self._headers.write({})))
        if frame.flags & frames.FIN:
            stream.feed(b"", True)
        self._opened.put_nowait(stream)

    def _on_settings(self, found: dict[int, int]) -> None:
        if (size := found.get(frames.INITIAL_WINDOW_SIZE)) is None:
            return
        self.windowed = True
        for stream in self._streams.values():
            stream.grow(size - self._initial)
        self._initial = size
        self._grown.set()


@asynccontextmanager
async def spdy_session(stream: Stream, *, heartbeat: float = HEARTBEAT) -> AsyncIterator[SpdySession]:
    """A session that is read and kept alive while the block runs, and is ended in order when it ends well."""
    session = SpdySession(stream)
    tasks = [asyncio.create_task(session.read()), asyncio.create_task(session.beat(heartbeat))]
    try:
        yield session
        await session.finish()
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception) and not isinstance(end, ConnectionError):
            raise end
