"""The HTTP/1.1 server without sockets: how long a connection is kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controlplane.apiserver.doors.http1 import IDLE, HttpServer, _Connection
from controlplane.apiserver.doors.http_messages import Outlet, Reply, Request, chunk


class Wire:
    """A transport that remembers."""

    def __init__(self) -> None:
        self.sent = b""
        self.closed = False

    def get_extra_info(self, name: str) -> Any:
        return None

    def write(self, data: bytes) -> None:
        self.sent += data

    def resume_reading(self) -> None: ...

    def close(self) -> None:
        self.closed = True


async def hello(request: Request) -> Reply:
    return Reply(200, [], b"hello")


@pytest.mark.looptime
async def test_a_connection_is_kept_while_requests_come_and_closed_when_none_came_for_long() -> None:
    async with HttpServer(hello, tls=None) as server:
        wire, connection = Wire(), _Connection(server)
        connection.connection_made(wire)  # type: ignore[arg-type]
        for _ in range(3):
            await asyncio.sleep(IDLE * 0.9)
            connection.data_received(b"GET / HTTP/1.1\r\nHOST: a\r\n\r\n")
            await asyncio.sleep(0.1)
        assert wire.sent.count(b"hello") == 3
        await asyncio.sleep(IDLE * 0.9)
        assert not wire.closed
        await asyncio.sleep(IDLE * 0.2)
        assert wire.closed


@pytest.mark.looptime
async def test_a_pushed_reply_is_framed_in_chunks_and_outlives_the_idle_time() -> None:
    async def push(out: Outlet) -> None:
        out.write(chunk(b"one"), chunk(b"two!"))
        await asyncio.sleep(IDLE * 3)
        out.write(chunk(b"end"))

    async def watch(request: Request) -> Reply:
        return Reply(200, [], push=push)

    async with HttpServer(watch, tls=None) as server:
        for version, expected in (
            (b"1.1", b"3\r\none\r\n4\r\ntwo!\r\n3\r\nend\r\n0\r\n\r\n"),
            (b"1.0", b"onetwo!end"),
        ):
            wire, connection = Wire(), _Connection(server)
            connection.connection_made(wire)  # type: ignore[arg-type]
            connection.data_received(b"GET / HTTP/" + version + b"\r\n\r\n")
            await asyncio.sleep(IDLE * 2.5)
            assert not wire.closed
            await asyncio.sleep(IDLE)
            assert wire.sent.partition(b"\r\n\r\n")[2] == expected
