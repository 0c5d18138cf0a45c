"""A command that runs in a container, as the caller of Exec sees it.

What is sent to a command that has ended is dropped: output() and exit_code() tell how it ended.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from kubeapi.client.grpc_errors import translated
from kubeapi.errors import ApiError, InternalError, from_status
from kubeapi.pb.sampan.v1 import api_pb2 as pb

_CHUNK = 32 << 10


class RemoteCommand:
    def __init__(self, call: Any) -> None:
        self._call = call
        self._status: bytes | None = None

    async def start(self, start: pb.ExecStart) -> None:
        with translated():
            await self._call.write(pb.ExecInput(start=start))

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """(1, stdout) and (2, stderr), until the command has ended."""
        try:
            with translated():
                async for reply in self._call:
                    match reply.WhichOneof("output"):
                        case "stdout":
                            yield 1, reply.stdout
                        case "stderr":
                            yield 2, reply.stderr
                        case "status":
                            self._status = reply.status
        finally:
            if self._status is None:
                self._call.cancel()

    async def write(self, data: bytes) -> None:
        for at in range(0, len(data), _CHUNK):
            await self._send(pb.ExecInput(stdin=data[at : at + _CHUNK]))

    async def close_stdin(self) -> None:
        await self._send(pb.ExecInput(close_stdin=True))

    async def resize(self, width: int, height: int) -> None:
        await self._send(pb.ExecInput(resize=pb.TerminalSize(width=width, height=height)))

    async def _send(self, message: pb.ExecInput) -> None:
        with translated(), suppress(asyncio.InvalidStateError):
            await self._call.write(message)

    async def exit_code(self) -> int:
        """After output() has ended. Raises what kept the command from running."""
        if self._status is None:
            async for _ in self.output():
                pass
        if self._status is None:
            raise InternalError("the connection ended before the command did")
        return exit_code_in(json.loads(self._status))


def exit_code_in(status: dict[str, Any]) -> int:
    """0 of a Success; of a NonZeroExitCode what its cause says. Raises the error that another Status tells of."""
    if status.get("status") == "Success":
        return 0
    if status.get("reason") == "NonZeroExitCode":
        for cause in (status.get("details") or {}).get("causes") or []:
            if cause.get("reason") == "ExitCode":
                return int(cause.get("message", "1"))
        return 1
    error: ApiError = from_status(status)
    raise error
