"""Signals to processes of containers, past the engine.

hang_up ends a command whose caller has gone, as a terminal that is unplugged would: HUP to its process group, then
KILL; Docker has no call for it. signal_container does what the engine would start three processes for, at a quarter of
what the end of a container costs altogether. The process id, as the engine tells it, means something to us only if the engine
runs on this machine, in our process namespace: so it must stand in the control group of the container first.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

GRACE = 2.0
"""Seconds between HUP and KILL."""


async def hang_up(pid: int, container_id: str, running: Callable[[], Awaitable[bool]]) -> None:
    """Does nothing where the process cannot be told for sure."""
    if pid <= 1 or not _belongs(pid, container_id):
        return
    _signal(pid, signal.SIGHUP)
    deadline = asyncio.get_running_loop().time() + GRACE
    while await running():
        if asyncio.get_running_loop().time() >= deadline:
            if _belongs(pid, container_id):
                _signal(pid, signal.SIGKILL)
            return
        await asyncio.sleep(0.05)


def signal_container(pid: int, container_id: str, name: str) -> bool:
    """To the container's first process. False where that cannot be told for sure: then the engine must do it."""
    number = getattr(signal, name if name.startswith("SIG") else f"SIG{name}", None)
    if not isinstance(number, signal.Signals):
        return False
    with _process_of(pid, container_id) as process:
        return process is not None and _sent(process, number)


async def kill_container(pid: int, container_id: str, *, within: float) -> bool:
    """Like signal_container with KILL, and waits until the process is dead, with all that had their own process
    namespace from it. The engine notices a while later."""
    loop = asyncio.get_running_loop()
    with _process_of(pid, container_id) as process:
        if process is None or not _sent(process, signal.SIGKILL):
            return False
        dead = asyncio.Event()
        loop.add_reader(process, dead.set)
        try:
            async with asyncio.timeout(within):
                await dead.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(process)
    return True


@contextlib.contextmanager
def _process_of(pid: int, container_id: str) -> Iterator[int | None]:
    """A descriptor of the container's first process; it stays that process, so it is enough to look after opening it."""
    try:
        process = os.pidfd_open(pid) if pid > 1 else -1
    except OSError:
        process = -1
    try:
        yield process if process >= 0 and _belongs(pid, container_id) else None
    finally:
        if process >= 0:
            os.close(process)


def _sent(process: int, number: signal.Signals) -> bool:
    try:
        signal.pidfd_send_signal(process, number)
    except OSError:
        return False
    return True


def _belongs(pid: int, container_id: str) -> bool:
    try:
        return container_id in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    """To the whole group when the process leads one, as commands in containers do."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
