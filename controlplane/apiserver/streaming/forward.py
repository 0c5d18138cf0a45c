"""One forwarded connection: a client's bytes ↔ the node's agent ↔ a TCP port in the pod's network.

Each direction ends by itself (half-close). What went wrong before the connection stood is told in words, raised as
an ApiError; one that breaks later is just broken off, as TCP would do it, and harms no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Protocol

import grpc.aio

from controlplane.apiserver.streaming.node_link import EOF, NodeLink
from kubeapi.errors import BadRequest
from kubeapi.pb.sampan.v1 import node_pb2 as pb
from kubeapi.request_id import outgoing


class PodConnection:
    """A connection into a pod."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def read(self) -> bytes:
        """b"" once the pod sends no more. Raises ConnectionResetError."""
        try:
            while (reply := await self._call.read()) is not EOF:
                which = reply.WhichOneof("output")
                if which == "data" and reply.data:
                    return bytes(reply.data)
                if which == "close":
                    return b""
            code = await self._call.code()
        except grpc.aio.AioRpcError as error:
            code = error.code()
        if code is not grpc.StatusCode.OK:
            raise ConnectionResetError("the connection into the pod broke")
        return b""

    async def write(self, data: bytes) -> None:
        """Raises ConnectionResetError."""
        await self._send(pb.PortForwardInput(data=data))

    async def close_writing(self) -> None:
        await self._send(pb.PortForwardInput(close=True))

    async def _send(self, message: Any) -> None:
        try:
            await self._call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise ConnectionResetError("the connection into the pod broke") from error


@asynccontextmanager
async def connection_to(
    link: NodeLink, pod: dict[str, Any], port: int, *, address: str = ""
) -> AsyncIterator[PodConnection]:
    """An established connection; `address` as a process in the pod would name it, empty is loopback. ApiError."""
    meta = pod["metadata"]
    start = pb.PortForwardStart(
        namespace=meta["namespace"], pod=meta["name"], pod_uid=meta.get("uid", ""), port=port, address=address
    )
    async with link.agent_of(pod) as agent:
        call = agent.PortForward(metadata=outgoing())
        try:
            with suppress(asyncio.InvalidStateError):  # the call has ended already: reading tells why
                await call.write(pb.PortForwardInput(start=start))
            if (first := await call.read()) is EOF or not first.connected:
                code, trailer = await call.code(), await call.trailing_metadata()
                raise grpc.aio.AioRpcError(code, await call.initial_metadata(), trailer, await call.details(), None)
            yield PodConnection(call)
        finally:
            call.cancel()


class Far(Protocol):
    """The client's side of a forwarded connection."""

    def data(self) -> AsyncGenerator[bytes, None]:
        """Ends when the client sends no more."""
        ...

    async def write(self, data: bytes) -> None: ...
    async def close(self) -> None:
        """The pod sends no more."""
        ...


async def splice(near: PodConnection, far: Far) -> None:
    """Until both directions have ended. Raises ConnectionResetError."""

    async def up() -> None:
        async with aclosing(far.data()) as pieces:
            async for piece in pieces:
                await near.write(piece)
        await near.close_writing()

    async def down() -> None:
        while data := await near.read():
            await far.write(data)
        await far.close()

    tasks = [asyncio.create_task(up()), asyncio.create_task(down())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def check_forwardable(pod: dict[str, Any]) -> None:
    """Raises BadRequest."""
    phase = pod.get("status", {}).get("phase", "")
    if not pod.get("spec", {}).get("nodeName") or phase in ("Succeeded", "Failed"):
        raise BadRequest(f"unable to forward port because pod is not running. Current status={phase or 'Pending'}")
