"""An etcd with one key whose watches go wrong as they are told to: what a real one does only once in a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from aetcd import rpc
from aetcd.rpc import rpc_pb2_grpc

from controlplane.storage.etcd_batch import FORMAT

Ending = Callable[[Any], Awaitable[None]]
"""What becomes of a watch once it was created, given its call's context."""


async def deaf(context: Any) -> None:
    """It lives, and shows nothing."""
    await asyncio.Event().wait()


async def slow(context: Any) -> None:
    """It takes its time, and then shows what there is."""
    await asyncio.sleep(0.5)


async def cancelled_by_the_server(context: Any) -> None:
    await context.abort(grpc.StatusCode.CANCELLED, "so it pleased the server")


class OddEtcd(rpc_pb2_grpc.KVServicer, rpc_pb2_grpc.WatchServicer):  # type: ignore[misc]
    """Each watch takes the next of `endings`; one for which none is left shows every put."""

    def __init__(self, endings: Sequence[Ending]) -> None:
        self._endings = list(endings)
        self._puts: list[tuple[int, bytes, bytes]] = []
        self._grew = asyncio.Event()
        self.watches = 0
        self.watched = asyncio.Event()

    @property
    def _header(self) -> Any:
        return rpc.ResponseHeader(revision=1 + len(self._puts))

    def put(self, key: bytes, value: bytes = bytes((0, FORMAT))) -> int:
        self._puts.append((2 + len(self._puts), key, value))
        self._grew.set()
        self._grew = asyncio.Event()
        return self._puts[-1][0]

    async def Put(self, request: Any, context: Any) -> Any:
        self.put(request.key, request.value)
        return rpc.PutResponse(header=self._header)

    async def Range(self, request: Any, context: Any) -> Any:
        return rpc.RangeResponse(header=self._header)

    async def Watch(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        self.watches += 1
        wish = (await anext(requests)).create_request
        yield rpc.WatchResponse(header=self._header, created=True)
        self.watched.set()
        if self._endings:
            await self._endings.pop(0)(context)
        told = max(0, wish.start_revision - 2)
        while True:
            for revision, key, value in self._puts[told:]:
                kv = rpc.KeyValue(key=key, value=value, mod_revision=revision, create_revision=revision, version=1)
                yield rpc.WatchResponse(header=self._header, events=[rpc.Event(type=rpc.Event.PUT, kv=kv)])
            told, grew = len(self._puts), self._grew
            await grew.wait()


@asynccontextmanager
async def odd_etcd(*endings: Ending) -> AsyncIterator[tuple[OddEtcd, str]]:
    """With its endpoint."""
    odd, server = OddEtcd(endings), grpc.aio.server()
    rpc_pb2_grpc.add_KVServicer_to_server(odd, server)
    rpc_pb2_grpc.add_WatchServicer_to_server(odd, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield odd, f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
