"""exec and attach: a command's streams ↔ the caller's. When the caller goes, so does what it has started.

Input is fed by a task of its own: a command that does not read holds up its input, not its output. The terminal's
size is not fed in line: the runtime refuses it until the process is there, and only the latest size matters.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from kubeapi.pb.sampan.v1 import node_pb2 as pb
from node_agent.runtimes.errors import RuntimeFault
from node_agent.runtimes.interface import Container, ExecStream, Runtime

RESIZE_TRIES = 20
RESIZE_WAIT = 0.05
"""Seconds between two tries."""


async def run_command(
    runtime: Runtime, container: Container, start: Any, requests: AsyncIterator[Any], *, attach: bool
) -> AsyncGenerator[Any, None]:
    """StreamOutput after StreamOutput, an exit at the end. Raises RuntimeFault.

    A container that was attached to has its own exit code in its pod's status: the conversation just ends well.
    """
    if attach:
        stream = await runtime.attach(container.id, tty=start.tty, stdin=start.stdin)
    else:
        stream = await runtime.exec(container.id, list(start.command), tty=start.tty, stdin=start.stdin)
    feeding = asyncio.create_task(_feed(requests, stream))
    try:
        output: Any = stream.output()
        async with contextlib.aclosing(output):
            async for channel, data in output:
                if channel == 2:
                    if start.stderr:
                        yield pb.StreamOutput(stderr=data)
                elif start.stdout:
                    yield pb.StreamOutput(stdout=data)
        yield pb.StreamOutput(exit=pb.Exit(code=0 if attach else await stream.exit_code()))
    finally:
        feeding.cancel()
        try:
            await asyncio.gather(feeding, return_exceptions=True)
        finally:
            await stream.close()


async def _feed(requests: AsyncIterator[Any], stream: ExecStream) -> None:
    """Until the caller has no more. That the command has ended first is no error."""
    sizes: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
    resizing = asyncio.create_task(_resize(stream, sizes))
    try:
        with contextlib.suppress(ConnectionError):
            async for message in requests:
                match message.WhichOneof("input"):
                    case "stdin":
                        await stream.write(message.stdin)
                    case "close_stdin":
                        await stream.close_stdin()
                    case "resize":
                        sizes.put_nowait((message.resize.width, message.resize.height))
    finally:
        resizing.cancel()
        await asyncio.gather(resizing, return_exceptions=True)


async def _resize(stream: ExecStream, sizes: "asyncio.Queue[tuple[int, int]]") -> None:
    """One after the other: two at once might arrive in the wrong order, and the older size would stay."""
    while True:
        wanted = await sizes.get()
        for _ in range(RESIZE_TRIES):
            while not sizes.empty():
                wanted = sizes.get_nowait()
            try:
                await stream.resize(*wanted)
                break
            except RuntimeFault:
                await asyncio.sleep(RESIZE_WAIT)
