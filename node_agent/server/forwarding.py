"""port-forward: one TCP connection, made inside the pod's network namespace. Each direction ends by itself."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from kubeapi.errors import ServiceUnavailable
from kubeapi.pb.sampan.v1 import node_pb2 as pb
from node_agent.dialing import Dialer
from node_agent.runtimes.interface import Container

CHUNK = 64 * 1024
LOOPBACK = "127.0.0.1"
PATIENCE = 10.0
"""Seconds in which the pod must accept."""


async def forward(
    dialer: Dialer, sandbox: Container, start: Any, requests: AsyncIterator[Any]
) -> AsyncGenerator[Any, None]:
    """Raises ServiceUnavailable: the port is refused, or the pod has broken the connection."""
    address = start.address or LOOPBACK
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await dialer.dial(sandbox.pid, address, start.port)
    except (OSError, TimeoutError) as error:
        text = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else "no answer"
        raise ServiceUnavailable(
            f"error forwarding port {start.port} to pod {start.pod}: cannot connect to {address}:{start.port}: {text}"
        ) from error
    sending = asyncio.create_task(_send(requests, writer))
    try:
        yield pb.PortForwardOutput(connected=True)
        while data := await reader.read(CHUNK):
            yield pb.PortForwardOutput(data=data)
        yield pb.PortForwardOutput(close=True)
        await sending
    except ConnectionError as error:
        raise ServiceUnavailable(f"the connection to port {start.port} of pod {start.pod} broke: {error}") from error
    finally:
        # First, for a caller that goes now cancels whatever is still awaited here.
        if sending.done():
            writer.close()
        else:
            writer.transport.abort()  # the caller has gone: nothing that is still to be sent matters
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _send(requests: AsyncIterator[Any], writer: asyncio.StreamWriter) -> None:
    async for message in requests:
        if message.WhichOneof("input") == "close":
            break
        writer.write(message.data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
