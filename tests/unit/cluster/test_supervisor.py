"""The supervisor with real processes: small ones that say when they start."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from sampan.cluster_supervisor import Component, Supervisor


async def started(reader: asyncio.StreamReader) -> int:
    async with asyncio.timeout(10):
        return int(await reader.readline())


async def test_a_killed_component_comes_back_and_stop_ends_it(tmp_path: Path) -> None:
    fifo, log, pids = tmp_path / "starts", tmp_path / "log", tmp_path / "pids"
    os.mkfifo(fifo)
    held = os.open(fifo, os.O_RDWR)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(held), "rb")
    )
    said: list[str] = []
    supervisor = Supervisor(say=said.append, pids=pids)
    code = f"import os, signal; open({str(fifo)!r}, 'w').write(f'{{os.getpid()}}\\n'); signal.pause()"
    component = Component("sleeper", [sys.executable, "-S", "-c", code], log)
    async with asyncio.TaskGroup() as group:
        group.create_task(supervisor.keep(component))
        first = await started(reader)
        assert pids.read_text() == f"{first} sleeper\n"
        os.kill(first, signal.SIGKILL)
        second = await started(reader)
        assert second != first
        assert "signal SIGKILL" in said[0]
        await supervisor.stop()
    assert pids.read_text() == ""
    transport.close()
    os.close(held)
