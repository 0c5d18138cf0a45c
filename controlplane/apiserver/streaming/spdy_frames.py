"""SPDY/3.1 on the wire: bytes to frames and back. Pure: no I/O, so that a test may split a frame at any byte.

    bytes ─feed()─► Data(stream, piece, fin) | Control(type, flags, body) ─► session

A control frame comes out whole. A data frame comes out in pieces, as they arrive: its size, up to 16 MB, need not
be kept. Frames, types, flags and the compression dictionary are those of the draft `mbelshe-httpbis-spdy-00`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

VERSION = 3
HEAD = 8
MAX_CONTROL = 64 * 1024
MAX_HEADERS = 64 * 1024
"""Bytes of one header block after it is inflated."""
MAX_PAYLOAD = 0xFFFFFF

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FIN = 0x01
UNIDIRECTIONAL = 0x02
PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, CANCEL, FLOW_CONTROL_ERROR, STREAM_IN_USE = 1, 2, 3, 5, 7, 8
INITIAL_WINDOW_SIZE = 7
"""The one setting that matters here."""
DEFAULT_WINDOW = 64 * 1024

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


class NotSpdy(Exception):
    """The peer's bytes make no sense; nothing after them can be trusted."""


@dataclass(frozen=True, slots=True)
class Data:
    stream: int
    piece: bytes
    fin: bool = False
    """The peer sends no more on this stream."""


@dataclass(frozen=True, slots=True)
class Control:
    type: int
    flags: int
    body: bytes


class Parser:
    """One direction of one connection."""

    _left: int
    """Bytes still to come of the data frame that is being passed on; -1 between frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._left = -1
        self._stream = 0
        self._fin = False

    def feed(self, data: bytes) -> Iterator[Data | Control]:
        """Raises NotSpdy. To be exhausted before the next call."""
        self._buffer += data
        while True:
            if self._left >= 0:
                piece = bytes(self._buffer[: self._left])
                del self._buffer[: self._left]
                self._left -= len(piece)
                if not self._left:
                    self._left = -1
                    yield Data(self._stream, piece, self._fin)
                    continue
                if piece:
                    yield Data(self._stream, piece)
                return
            if len(self._buffer) < HEAD:
                return
            first, second = struct.unpack_from("!II", self._buffer)
            flags, size = second >> 24, second & 0xFFFFFF
            if not first >> 31:
                del self._buffer[:HEAD]
                self._stream, self._fin, self._left = first, bool(flags & FIN), size
                continue
            if first >> 16 & 0x7FFF != VERSION:
                raise NotSpdy(f"version {first >> 16 & 0x7FFF} of SPDY is not spoken here")
            if size > MAX_CONTROL:
                raise NotSpdy(f"a control frame of {size} bytes is too large")
            if len(self._buffer) < HEAD + size:
                return
            body = bytes(self._buffer[HEAD : HEAD + size])
            del self._buffer[: HEAD + size]
            yield Control(first & 0xFFFF, flags, body)


class HeaderCodec:
    """The header blocks of one connection. Each direction is one zlib stream from the first block to the last,
    so blocks must be read, and sent, in the order of their making."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def read(self, block: bytes) -> dict[str, str]:
        """Names in lower case. Raises NotSpdy."""
        try:
            plain = self._inflate.decompress(block, MAX_HEADERS)
        except zlib.error as error:
            raise NotSpdy(f"a header block cannot be inflated: {error}") from error
        if self._inflate.unconsumed_tail:
            raise NotSpdy("a header block is too large")
        try:
            return dict(_pairs(plain))
        except (struct.error, UnicodeDecodeError) as error:
            raise NotSpdy(f"a header block cannot be read: {error}") from error

    def write(self, headers: Mapping[str, str]) -> bytes:
        plain = bytearray(struct.pack("!I", len(headers)))
        for pair in headers.items():
            for text in pair:
                raw = text.encode()
                plain += struct.pack("!I", len(raw)) + raw
        return self._deflate.compress(bytes(plain)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def _pairs(plain: bytes) -> Iterator[tuple[str, str]]:
    (count,) = struct.unpack_from("!I", plain)
    at = 4
    for _ in range(count):
        pair = []
        for _ in range(2):
            (size,) = struct.unpack_from("!I", plain, at)
            at += 4
            if at + size > len(plain):
                raise NotSpdy("a header block ends within a word")
            pair.append(plain[at : at + size].decode())
            at += size
        yield pair[0].lower(), pair[1]


def control(type_: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack("!HHI", 0x8000 | VERSION, type_, flags << 24 | len(body)) + body


def data(stream: int, piece: bytes, *, fin: bool = False) -> bytes:
    return struct.pack("!II", stream, (FIN << 24 if fin else 0) | len(piece)) + piece


def syn_stream(stream: int, block: bytes, *, fin: bool = False) -> bytes:
    return control(SYN_STREAM, struct.pack("!IIBB", stream, 0, 0, 0) + block, FIN if fin else 0)


def syn_reply(stream: int, block: bytes) -> bytes:
    return control(SYN_REPLY, struct.pack("!I", stream) + block)


def rst_stream(stream: int, status: int) -> bytes:
    return control(RST_STREAM, struct.pack("!II", stream, status))


def ping(number: int) -> bytes:
    return control(PING, struct.pack("!I", number))


def goaway(last: int, status: int = 0) -> bytes:
    return control(GOAWAY, struct.pack("!II", last, status))


def window_update(stream: int, grown: int) -> bytes:
    return control(WINDOW_UPDATE, struct.pack("!II", stream, grown))


def settings(body: bytes) -> dict[int, int]:
    """Raises NotSpdy."""
    try:
        (count,) = struct.unpack_from("!I", body)
        if count > len(body) // 8:
            raise NotSpdy("a settings frame ends too early")
        rows = (struct.unpack_from("!II", body, 4 + 8 * n) for n in range(count))
        return {flags_and_id & 0xFFFFFF: value for flags_and_id, value in rows}
    except struct.error as error:
        raise NotSpdy(f"a settings frame cannot be read: {error}") from error


def words(body: bytes, count: int) -> tuple[int, ...]:
    """The first `count` 32-bit numbers of a control frame, their highest bit (reserved) cleared. Raises NotSpdy."""
    try:
        return tuple(word & 0x7FFFFFFF for word in struct.unpack_from(f"!{count}I", body))
    except struct.error as error:
        raise NotSpdy(f"a control frame ends too early: {error}") from error
