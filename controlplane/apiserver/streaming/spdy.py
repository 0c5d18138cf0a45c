"""SPDY/3.1, as far as kubectl speaks it: streams that the client opens, data both ways, half-close.

Exec of kubectl up to 1.29 and port-forward of every kubectl use it, the newer ones inside a WebSocket. There is no
flow control: the client library that everybody uses neither honours nor needs it. Frames, types and the
compression dictionary are those of the SPDY draft 3.1.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator

from controlplane.apiserver.streaming.websocket import ProtocolError, Stream

PROTOCOL = "SPDY/3.1"
MAX_FRAME = 1024 * 1024
MAX_STREAMS = 512
CHUNK = 32 * 1024
SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FIN = 0x01
CANCEL = 5

_WORDS = (
    "options,head,post,put,delete,trace,accept,accept-charset,accept-encoding,accept-language,"
    "accept-ranges,age,allow,authorization,cache-control,connection,content-base,content-encoding,"
    "content-language,content-length,content-location,content-md5,content-range,content-type,date,"
    "etag,expect,expires,from,host,if-match,if-modified-since,if-none-match,if-range,"
    "if-unmodified-since,last-modified,location,max-forwards,pragma,proxy-authenticate,"
    "proxy-authorization,range,referer,retry-after,server,te,trailer,transfer-encoding,upgrade,"
    "user-agent,vary,via,warning,www-authenticate,method,get,status,200 OK,version,HTTP/1.1,url,"
    "public,set-cookie,keep-alive,origin"
)
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 No"
    "n-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403"
    " Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Fe"
    "b Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunke"
    "d,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/"
    "javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack("!I", len(w)) + w.encode() for w in _WORDS.split(",")) + _TAIL.encode()


class SpdyStream:
    """One stream that the client has opened."""

    def __init__(self, session: SpdySession, id_: int, headers: dict[str, str]) -> None:
        self.id = id_
        self.headers = headers
        self._session = session
        self._received: asyncio.Queue[bytes] = asyncio.Queue(64)
        self.closed = False
        """We send no more on it."""

    async def data(self) -> AsyncIterator[bytes]:
        """Ends when the client half-closes, resets, or goes."""
        while data := await self._received.get():
            yield data

    async def write(self, data: bytes) -> None:
        if not self.closed:
            for start in range(0, len(data), CHUNK):
                await self._session.send(_data_frame(self.id, 0, data[start : start + CHUNK]))

    async def close(self) -> None:
        """Half-close: the client may still send."""
        if not self.closed:
            self.closed = True
            await self._session.send(_data_frame(self.id, FIN, b""))

    async def reset(self) -> None:
        if not self.closed:
            self.closed = True
            await self._session.send(_control(RST_STREAM, 0, struct.pack("!II", self.id, CANCEL)))

    async def feed(self, data: bytes) -> None:
        await self._received.put(data)

    def end(self) -> None:
        """The client has gone: what is unread does not matter any more."""
        while self._received.full():
            self._received.get_nowait()
        self._received.put_nowait(b"")


class SpdySession:
    """The server's end of one connection. `async for stream in session.streams()` also does the reading."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._open: dict[int, SpdyStream] = {}
        self._sending = asyncio.Lock()

    async def streams(self) -> AsyncIterator[SpdyStream]:
        """Each stream, as the client opens it; ends when the client has gone. ProtocolError."""
        try:
            while (head := await self._take(8)) is not None:
                first, second = struct.unpack("!II", head)
                flags, size = second >> 24, second & 0xFFFFFF
                if size > MAX_FRAME:
                    raise ProtocolError(1009, "the frame is too large")
                body = await self._take(size)
                if body is None:
                    return
                if not first & 0x80000000:
                    await self._on_data(first & 0x7FFFFFFF, flags, body)
                elif first & 0xFFFF == SYN_STREAM:
                    yield await self._on_open(flags, body)
                elif first & 0xFFFF == GOAWAY:
                    return
                else:
                    await self._on_control(first & 0xFFFF, flags, body)
        except (struct.error, zlib.error, UnicodeDecodeError) as error:
            raise ProtocolError(1002, f"not a SPDY frame: {error}") from error
        finally:
            for stream in self._open.values():
                stream.end()
            self._open.clear()

    async def send(self, frame: bytes) -> None:
        async with self._sending:
            await self._stream.write(frame)

    async def _on_open(self, flags: int, body: bytes) -> SpdyStream:
        id_ = struct.unpack_from("!I", body)[0] & 0x7FFFFFFF
        if id_ in self._open or len(self._open) >= MAX_STREAMS:
            raise ProtocolError(1008, "too many streams, or one opened twice")
        stream = self._open[id_] = SpdyStream(self, id_, self._headers(body[10:]))
        async with self._sending:  # one compression state: made and sent in the same order
            block = self._deflate.compress(struct.pack("!I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            await self._stream.write(_control(SYN_REPLY, 0, struct.pack("!I", id_) + block))
        if flags & FIN:
            await stream.feed(b"")
        return stream

    async def _on_data(self, id_: int, flags: int, body: bytes) -> None:
        stream = self._open.get(id_)
        if stream is None:
            return
        if body:
            await stream.feed(body)
        if flags & FIN:
            await stream.feed(b"")
            if stream.closed:
                del self._open[id_]

    async def _on_control(self, type_: int, flags: int, body: bytes) -> None:
        if type_ == PING:
            await self.send(_control(PING, 0, body))
        elif type_ == RST_STREAM:
            stream = self._open.pop(struct.unpack_from("!I", body)[0] & 0x7FFFFFFF, None)
            if stream is not None:
                stream.closed = True
                stream.end()
        elif type_ == HEADERS:
            self._headers(body[4:])  # read for the compression state's sake
        elif type_ not in (SYN_REPLY, SETTINGS, WINDOW_UPDATE):
            raise ProtocolError(1002, f"frame type {type_} means nothing")

    def _headers(self, block: bytes) -> dict[str, str]:
        plain = self._inflate.decompress(block, MAX_FRAME)
        (count,) = struct.unpack_from("!I", plain)
        found, at = {}, 4
        for _ in range(count):
            pair = []
            for _ in range(2):
                (size,) = struct.unpack_from("!I", plain, at)
                pair.append(plain[at + 4 : at + 4 + size].decode())
                at += 4 + size
            found[pair[0].lower()] = pair[1]
        return found

    async def _take(self, size: int) -> bytes | None:
        while len(self._buffer) < size:
            data = await self._stream.read()
            if not data:
                return None
            self._buffer += data
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def _control(type_: int, flags: int, body: bytes) -> bytes:
    return struct.pack("!HHI", 0x8003, type_, flags << 24 | len(body)) + body


def _data_frame(id_: int, flags: int, body: bytes) -> bytes:
    return struct.pack("!II", id_, flags << 24 | len(body)) + body
