"""Watches over HTTP without sockets: what a bookmark promises, and that a watch which lost events never gives one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from controlplane.apiserver.api import Api
from controlplane.apiserver.build import api_core
from controlplane.apiserver.collection import MOST_PENDING
from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.doors.http1 import HttpServer, _Connection
from controlplane.apiserver.doors.http_messages import Outlet, Reply, Request
from controlplane.apiserver.doors.negotiate import Form
from controlplane.apiserver.doors.watching import _Lines, _Stream
from controlplane.apiserver.watch import BOOKMARK_EVERY
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.clock import SystemClock
from kubeapi.errors import Expired
from kubeapi.scheme import SCHEME
from kubeapi.types import core_v1, meta_v1

pytestmark = [pytest.mark.looptime, pytest.mark.timeout(10)]

CONFIG = SCHEME.resource_of(core_v1.ConfigMap)
COLLECTION = "/registry/core/configmaps/"


class Wire:
    """A transport that remembers, and can be broken."""

    def __init__(self) -> None:
        self.sent = b""
        self.closed = self.broken = False

    def get_extra_info(self, name: str) -> Any:
        return None

    def write(self, data: bytes) -> None:
        if self.broken:
            raise RuntimeError("the transport cannot write")
        self.sent += data

    def resume_reading(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    def events(self) -> list[str]:
        """ADDED name, BOOKMARK, ERROR code: in the order of the stream."""
        lines = [json.loads(line) for line in self.sent.splitlines() if line.startswith(b"{")]
        return [" ".join(map(str, filter(None, (e["type"], name_of(e["object"]))))) for e in lines]


def name_of(obj: dict[str, Any]) -> Any:
    return obj.get("code") or obj["metadata"].get("name")


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with api_core(store=EmbeddedStore(), clock=SystemClock(), rng=Random(7)) as api:
        yield api


@asynccontextmanager
async def watching(api: Api) -> AsyncIterator[tuple[Wire, _Connection]]:
    """A client that watches ConfigMaps from now on and wants bookmarks."""

    async def handle(request: Request) -> Reply:
        watch = await api.open_watch(CONFIG, "default", resource_version=str(api.cache.revision))
        lines = _Lines(CONFIG, Form(), "", SystemClock())
        return Reply(200, push=_Stream(watch, lines, BOOKMARK_EVERY, 3600.0).run)

    async with HttpServer(handle, tls=None) as server:
        wire, connection = Wire(), _Connection(server)
        connection.connection_made(wire)  # type: ignore[arg-type]
        connection.data_received(b"GET / HTTP/1.1\r\n\r\n")
        await asyncio.sleep(1)
        yield wire, connection


async def create(api: Api, name: str) -> None:
    metadata = meta_v1.ObjectMeta(name=name, namespace="default")
    await api.create(RequestContext(), CONFIG, "default", core_v1.ConfigMap(metadata=metadata))
    await api.cache.fresh()


async def test_bookmarks_come_while_nothing_else_does(api: Api) -> None:
    async with watching(api) as (wire, _):
        await asyncio.sleep(BOOKMARK_EVERY / 2)
        await create(api, "a")
        await asyncio.sleep(BOOKMARK_EVERY * 2.5)
        assert wire.events() == ["ADDED a", "BOOKMARK", "BOOKMARK"]


@pytest.mark.parametrize("cut", [True, False], ids=["its last word", "an event"])
async def test_a_watch_whose_writing_failed_ends_and_never_gives_a_bookmark(api: Api, cut: bool) -> None:
    async with watching(api) as (wire, _):
        await create(api, "a")
        await asyncio.sleep(1)
        wire.broken = True
        if cut:
            [watcher] = api.cache.collection(COLLECTION).watchers
            watcher.end()
        else:
            await create(api, "lost")
        await asyncio.sleep(1)
        wire.broken = False
        await create(api, "b")
        await asyncio.sleep(BOOKMARK_EVERY * 2)
        assert wire.closed
        assert wire.events() == ["ADDED a"]
        assert not api.cache.collection(COLLECTION).watchers


async def test_a_watch_that_could_not_be_told_of_a_change_says_so_instead_of_a_bookmark(api: Api) -> None:
    async with watching(api) as (wire, _):
        [watcher] = api.cache.collection(COLLECTION).watchers
        watcher.tell = lambda: 1 / 0  # type: ignore[assignment, return-value]
        await create(api, "lost")
        await asyncio.sleep(BOOKMARK_EVERY * 2)
        assert wire.events() == ["ERROR 410"]
        assert wire.sent.endswith(b"0\r\n\r\n")


async def test_what_was_not_taken_yet_comes_instead_of_a_bookmark(api: Api) -> None:
    """A client that goes on from a bookmark would never see it."""
    watch = await api.open_watch(CONFIG, "default", resource_version=str(api.cache.revision))
    await create(api, "a")
    assert [event.type for event in watch.bookmark()] == ["ADDED"]
    assert [event.type for event in watch.bookmark()] == ["BOOKMARK"]
    watch.close()


async def test_a_watch_that_fell_too_far_behind_gives_no_bookmark(api: Api) -> None:
    watch = await api.open_watch(CONFIG, "default", resource_version=str(api.cache.revision))
    [watcher] = api.cache.collection(COLLECTION).watchers
    await create(api, "a")
    for _ in range(MOST_PENDING):
        watcher.give(watcher._steps[:1])
    with pytest.raises(Expired):
        watch.bookmark()
    watch.close()


class Full(Outlet):
    """To a client that reads nothing; tires of being asked about it."""

    asked = 0

    @property
    def full(self) -> bool:
        self.asked += 1
        assert self.asked < 100
        return True

    def when_room(self, ready: Callable[[], None]) -> None: ...


async def test_a_client_that_reads_nothing_is_looked_after_once_a_bookmark(api: Api) -> None:
    """And not in every turn of the loop, from the first bookmark that is due until the client reads again."""
    async with HttpServer(unasked, tls=None) as server:
        watch = await api.open_watch(CONFIG, "default", resource_version=str(api.cache.revision))
        stream = _Stream(watch, _Lines(CONFIG, Form(), "", SystemClock()), BOOKMARK_EVERY, BOOKMARK_EVERY * 9.5)
        await stream.run(Full(_Connection(server), True))


async def unasked(request: Request) -> Reply:
    raise AssertionError("nobody asks")


async def test_what_came_while_the_client_read_nothing_is_sent_when_it_reads_again(api: Api) -> None:
    async with watching(api) as (wire, connection):
        connection.pause_writing()
        await asyncio.sleep(BOOKMARK_EVERY * 3)
        await create(api, "a")
        await asyncio.sleep(BOOKMARK_EVERY / 4)
        assert wire.events() == []
        connection.resume_writing()
        assert wire.events() == ["ADDED a"]
