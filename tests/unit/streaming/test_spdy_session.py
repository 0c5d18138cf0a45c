"""One SPDY session in memory: half-close, windows, back-pressure, and clients that misbehave or vanish."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane.apiserver.streaming import spdy
from controlplane.apiserver.streaming import spdy_frames as frames
from controlplane.apiserver.streaming.spdy import SpdySession, SpdyStream, spdy_session
from controlplane.apiserver.streaming.spdy_frames import Control, Data, HeaderCodec, Parser
from tests.unit.streaming.pipe import Pipe


class Client:
    """The other end, frame by frame."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self._headers = HeaderCodec()
        self._parser = Parser()
        self._frames: list[Control | Data] = []

    def open(self, id_: int, kind: str = "data", *, fin: bool = False) -> None:
        self.pipe.feed(frames.syn_stream(id_, self._headers.write({"streamType": kind}), fin=fin))

    async def next(self, *types: int) -> Control | Data:
        """The next frame of these types (0: data); others are skipped."""
        while True:
            while self._frames:
                frame = self._frames.pop(0)
                if (frame.type if isinstance(frame, Control) else 0) in types:
                    return frame
            self._frames += list(self._parser.feed(await self.pipe.take()))


@asynccontextmanager
async def talk(**options: Any) -> AsyncIterator[tuple[Client, SpdySession]]:
    pipe = Pipe(**options)
    async with asyncio.timeout(20), spdy_session(pipe, heartbeat=1.0) as session:
        yield Client(pipe), session
        pipe.leave()


async def opened(client: Client, session: SpdySession, id_: int = 1) -> SpdyStream:
    client.open(id_)
    stream = await session.accept()
    assert stream is not None and stream.id == id_
    return stream


async def test_a_stream_is_replied_to_and_carries_both_ways() -> None:
    async with talk() as (client, session):
        stream = await opened(client, session)
        assert stream.headers == {"streamtype": "data"}
        reply = await client.next(frames.SYN_REPLY)
        assert isinstance(reply, Control) and HeaderCodec().read(reply.body[4:]) == {}
        client.pipe.feed(frames.data(1, b"up") + frames.data(1, b"", fin=True))
        assert [piece async for piece in stream.data()] == [b"up"]
        await stream.write(b"down")
        assert await client.next(0) == Data(1, b"down")
        await stream.close()
        assert await client.next(0) == Data(1, b"", True)


async def test_after_its_half_close_the_other_direction_goes_on() -> None:
    async with talk() as (client, session):
        stream = await opened(client, session)
        await stream.close()
        client.pipe.feed(frames.data(1, b"late", fin=True))
        assert [piece async for piece in stream.data()] == [b"late"]
        assert stream.over


async def test_odd_pings_are_answered_and_even_ones_are_ours() -> None:
    async with talk() as (client, _):
        client.pipe.feed(frames.ping(2) + frames.ping(7))
        assert await client.next(frames.PING) == Control(frames.PING, 0, b"\0\0\0\7")


async def test_a_reset_ends_reading_and_writing() -> None:
    async with talk() as (client, session):
        stream = await opened(client, session)
        client.pipe.feed(frames.data(1, b"x") + frames.rst_stream(1, frames.CANCEL))
        client.open(3)
        await session.accept()
        assert [piece async for piece in stream.data()] == []
        assert stream.was_reset
        await stream.write(b"into the void")
        await stream.close()


async def test_an_unread_stream_holds_the_client_back() -> None:
    async with talk() as (client, session):
        stream = await opened(client, session)
        for _ in range(100):
            client.pipe.feed(frames.data(1, bytes(65536)))
        while client.pipe.taken < spdy.STREAM_BUFFER:  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0)
        for _ in range(50):
            await asyncio.sleep(0)
        assert client.pipe.taken < 2 * spdy.STREAM_BUFFER
        client.pipe.feed(frames.data(1, b"", fin=True))
        assert sum([len(piece) async for piece in stream.data()]) == 100 * 65536


async def test_consumed_bytes_are_acknowledged_on_stream_and_session() -> None:
    async with talk() as (client, session):
        stream = await opened(client, session)
        for _ in range(4):
            client.pipe.feed(frames.data(1, bytes(16384)))
        client.pipe.feed(frames.data(1, b"", fin=True))
        assert sum([len(piece) async for piece in stream.data()]) == 65536
        update = await client.next(frames.WINDOW_UPDATE)
        assert isinstance(update, Control)
        assert frames.words(update.body, 2) == (1, 32768)


async def test_a_client_without_windows_is_never_waited_for() -> None:
    async with talk(limit=10 << 20) as (client, session):
        stream = await opened(client, session)
        await stream.write(bytes(1 << 20))
        assert len(client.pipe.sent) > 1 << 20


async def test_a_client_with_windows_gets_no_more_than_they_allow() -> None:
    async with talk(limit=10 << 20) as (client, session):
        client.pipe.feed(frames.control(frames.SETTINGS, b"\0\0\0\1\0\0\0\7\0\0\x03\xe8"))  # 1000 bytes a stream
        stream = await opened(client, session)
        writing = asyncio.create_task(stream.write(bytes(2500)))
        assert await client.next(0) == Data(1, bytes(1000))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not writing.done()
        client.pipe.feed(frames.window_update(1, 2000))
        assert await client.next(0) == Data(1, bytes(1500))
        await writing


async def test_a_client_that_vanishes_is_noticed_though_nobody_reads_it() -> None:
    async with talk() as (client, session):
        await opened(client, session)
        for _ in range(100):
            client.pipe.feed(frames.data(1, bytes(65536)))
        await client.pipe.die()
        await session.gone.wait()
        assert await session.accept() is None


async def test_too_many_streams_are_refused_one_by_one() -> None:
    async with talk(limit=10 << 20) as (client, _):
        for n in range(spdy.MAX_STREAMS + 1):
            client.open(2 * n + 1)
        refused = await client.next(frames.RST_STREAM)
        assert isinstance(refused, Control)
        assert frames.words(refused.body, 2) == (2 * spdy.MAX_STREAMS + 1, frames.REFUSED_STREAM)


@pytest.mark.parametrize(
    "wire",
    [b"\x80\x02\0\1\0\0\0\0", frames.syn_stream(2, b""), frames.control(3, b"")],
    ids=["another-version", "no-headers", "short"],
)
async def test_what_is_no_spdy_ends_the_session_with_a_reason(wire: bytes) -> None:
    async with talk() as (client, session):
        client.pipe.feed(wire)
        assert await session.accept() is None
        assert session.fault


async def test_the_end_waits_for_the_client_and_drops_what_it_still_sends() -> None:
    pipe = Pipe()
    client = Client(pipe)
    async with asyncio.timeout(20):

        async def serve() -> None:
            async with spdy_session(pipe) as session:
                stream = await opened(client, session)
                await stream.write(b"last")
                await stream.close()

        serving = asyncio.create_task(serve())
        assert await client.next(0) == Data(1, b"last")
        await client.next(frames.GOAWAY)
        for _ in range(100):
            pipe.feed(frames.data(1, bytes(65536)))
        while pipe.unread:  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0)
        assert not serving.done()
        pipe.leave()
        await serving
