"""What comes out of a Docker engine's containers, and goes in: logs, commands run beside them, and their own streams."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any

from node_agent.runtimes.docker_calls import EngineCalls, about_container
from node_agent.runtimes.docker_http import HijackedStream, StreamingEngine, frames
from node_agent.runtimes.errors import ContainerNotFound
from node_agent.runtimes.hangup import hang_up
from node_agent.runtimes.interface import ExecStream
from node_agent.runtimes.log_files import follow as log_files
from node_agent.runtimes.log_files import followable

PID_TRIES = 40
"""So often the engine is asked for the process id of a command that it has only just started."""


class DockerStreams:
    def __init__(self, engine: EngineCalls, streams: StreamingEngine) -> None:
        self._engine = engine
        self._streams = streams

    async def logs(
        self, container_id: str, *, follow: bool, tail: int | None, since: datetime | None, timestamps: bool
    ) -> AsyncIterator[bytes]:
        """Followed in their files, where those are on this machine."""
        raw = await self._engine.inspect(container_id)
        if follow and (path := followable(raw)) is not None:

            async def running() -> bool:
                try:
                    found = await self._engine.inspect(container_id)
                except ContainerNotFound:
                    return False
                return bool(found["State"].get("Running"))

            files = log_files(path, tail=tail, since=since, timestamps=timestamps, running=running)
            async with aclosing(files) as pieces:
                async for data in pieces:
                    yield data
            return
        query = {
            "stdout": "1",
            "stderr": "1",
            "follow": str(int(follow)),
            "timestamps": str(int(timestamps)),
            "tail": "all" if tail is None else str(tail),
            "since": f"{since.timestamp():.9f}" if since else "0",
        }
        connection = await self._streams.open("GET", f"/containers/{container_id}/logs", query=query)
        try:
            async for _, data in frames(connection, tty=bool(raw["Config"].get("Tty"))):
                yield data
        finally:
            await connection.close()

    async def exec(self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool) -> ExecStream:
        wish = {
            "Cmd": list(command), "Tty": tty, "AttachStdin": stdin, "AttachStdout": True, "AttachStderr": True,
        }  # fmt: skip
        with about_container():
            exec_id = (await self._engine.json("POST", f"/containers/{container_id}/exec", body=wish))["Id"]
        connection = await self._streams.open(
            "POST", f"/exec/{exec_id}/start", body={"Detach": False, "Tty": tty}, upgrade=True
        )

        async def resize(width: int, height: int) -> None:
            await self._resize(f"/exec/{exec_id}", width, height)

        async def exit_code() -> int:
            delay = 0.01
            while True:
                state = await self._exec_state(exec_id)
                if not state["Running"]:
                    return int(state["ExitCode"] or 0)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 0.5)

        async def end() -> None:
            for _ in range(PID_TRIES):
                state = await self._exec_state(exec_id)
                if not state["Running"]:
                    return
                if pid := int(state.get("Pid") or 0):
                    await hang_up(pid, container_id, running)
                    return
                await asyncio.sleep(0.05)  # a command may speak before the engine knows its process id

        async def running() -> bool:
            return bool((await self._exec_state(exec_id))["Running"])

        return HijackedStream(connection, tty=tty, resize=resize, exit_code=exit_code, end=end)

    async def attach(self, container_id: str, *, stdin: bool) -> ExecStream:
        config = (await self._engine.inspect(container_id))["Config"]
        tty, stdin = bool(config.get("Tty")), stdin and bool(config.get("OpenStdin"))
        query = {"stream": "1", "stdout": "1", "stderr": "1", "stdin": str(int(stdin))}
        connection = await self._streams.open("POST", f"/containers/{container_id}/attach", query=query, upgrade=True)

        async def resize(width: int, height: int) -> None:
            await self._resize(f"/containers/{container_id}", width, height)

        async def exit_code() -> int:
            while True:
                raw = await self._engine.inspect(container_id)
                if not raw["State"].get("Running"):
                    return int(raw["State"].get("ExitCode") or 0)
                await asyncio.sleep(0.2)

        half_close = bool(config.get("StdinOnce"))
        return HijackedStream(connection, tty=tty, resize=resize, exit_code=exit_code, half_close=half_close)

    async def _exec_state(self, exec_id: str) -> Any:
        with about_container():
            return await self._engine.json("GET", f"/exec/{exec_id}/json")

    async def _resize(self, path: str, width: int, height: int) -> None:
        with about_container():
            await self._engine.ask("POST", f"{path}/resize", query={"h": str(height), "w": str(width)})
