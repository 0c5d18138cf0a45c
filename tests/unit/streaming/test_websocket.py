"""RFC 6455 as a server: the RFC's own examples, any cut, and what must close the connection."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.apiserver.streaming import websocket
from controlplane.apiserver.streaming.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    ProtocolError,
    Tunnel,
    WebSocket,
    answer,
    choose,
    frame,
    kept_alive,
)
from tests.unit.streaming.pipe import Pipe

MASK = b"\x37\xfa\x21\x3d"


def test_the_handshake_of_the_rfc() -> None:
    headers = dict(answer({"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}, "v5.channel.k8s.io"))
    assert headers["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert headers["Sec-WebSocket-Protocol"] == "v5.channel.k8s.io"


def test_the_clients_first_choice_that_we_speak() -> None:
    offered = {"sec-websocket-protocol": "v9, v5.channel.k8s.io,v4.channel.k8s.io"}
    assert choose(offered, ("v4.channel.k8s.io", "v5.channel.k8s.io")) == "v5.channel.k8s.io"
    assert choose(offered, ("other",)) is None


async def test_the_masked_hello_of_the_rfc() -> None:
    pipe = Pipe()
    pipe.feed(bytes.fromhex("818537fa213d7f9f4d5158"))
    assert await WebSocket(pipe).receive() == b"Hello"


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.data())
def test_messages_are_the_same_however_they_are_cut(messages: list[bytes], draw: st.DataObject) -> None:
    wire = b"".join(frame(BINARY, message, mask=MASK) for message in messages)

    async def run() -> None:
        pipe, at = Pipe(), 0
        while at < len(wire):
            size = draw.draw(st.integers(1, min(200, len(wire) - at)))
            pipe.feed(wire[at : at + size])
            at += size
        pipe.leave()
        socket = WebSocket(pipe)
        assert [await socket.receive() for _ in messages] == messages
        assert await socket.receive() is None

    asyncio.run(run())


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 1 << 20])
async def test_every_length_of_a_length(size: int) -> None:
    pipe = Pipe()
    pipe.feed(frame(BINARY, bytes(size), mask=MASK))
    assert await WebSocket(pipe).receive() == bytes(size)


async def test_a_ping_between_fragments_is_answered() -> None:
    pipe = Pipe()
    first = bytearray(frame(BINARY, b"one ", mask=MASK))
    first[0] &= 0x7F
    pipe.feed(bytes(first) + frame(PING, b"?", mask=MASK) + frame(CONTINUATION, b"two", mask=MASK))
    assert await WebSocket(pipe).receive() == b"one two"
    assert await pipe.take() == frame(websocket.PONG, b"?")


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (frame(BINARY, b"x"), 1002),  # not masked
        (bytes([0xC2, 0x80]) + MASK, 1002),  # a reserved bit
        (frame(CONTINUATION, b"x", mask=MASK), 1002),
        (frame(5, b"", mask=MASK), 1002),
        (b"\x82\xff" + (1 << 40).to_bytes(8, "big") + MASK, 1009),
    ],
)
async def test_what_breaks_the_protocol(wire: bytes, code: int) -> None:
    pipe = Pipe()
    pipe.feed(wire)
    with pytest.raises(ProtocolError) as raised:
        await WebSocket(pipe).receive()
    assert raised.value.code == code


async def test_a_tunnel_is_a_byte_stream_that_ends() -> None:
    pipe = Pipe()
    tunnel = Tunnel(WebSocket(pipe))
    pipe.feed(frame(BINARY, b"", mask=MASK) + frame(BINARY, b"bytes", mask=MASK) + frame(CLOSE, b"", mask=MASK))
    assert await tunnel.read() == b"bytes"
    assert await tunnel.read() == b""
    with pytest.raises(ConnectionResetError):
        await tunnel.write(b"too late")


async def test_whoever_vanishes_is_noticed_though_nobody_reads() -> None:
    pipe = Pipe()
    async with asyncio.timeout(5), kept_alive(WebSocket(pipe), every=0.01) as gone:
        assert await pipe.take() == frame(websocket.PONG, b"")
        await pipe.die()
        await gone.wait()
