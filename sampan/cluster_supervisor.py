"""Keeps the processes of a one-machine cluster alive: starts each, starts it again when it ends, ends all together.

A child dies with its supervisor (parent-death signal), so a killed supervisor leaves no process behind.
"""

import asyncio
import ctypes
import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kubeapi.tasks import Backoff

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_GRACE = 8.0
"""Seconds a component has to end after TERM."""


@dataclass(frozen=True, slots=True)
class Component:
    name: str
    command: Sequence[str]
    log: Path


class Supervisor:
    def __init__(self, *, say: Callable[[str], None], pids: Path) -> None:
        self._say, self._pids = say, pids
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._stopping = False
        self.ended: Counter[str] = Counter()
        """How often each component has ended by itself."""

    async def keep(self, component: Component) -> None:
        """Never returns before stop(); a component that ends is started again, with backoff."""
        loop = asyncio.get_running_loop()
        backoff, failures = Backoff(first=0.2, most=10.0), 0
        while not self._stopping:
            begun = loop.time()
            with component.log.open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    *component.command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                    preexec_fn=_die_with_parent,
                )  # fmt: skip
            self._running[component.name] = process
            self._note()
            try:
                code = await process.wait()
            finally:
                self._running.pop(component.name, None)
                self._note()
            if self._stopping:
                return
            self.ended[component.name] += 1
            failures = 0 if loop.time() - begun > 30 else failures + 1
            self._say(f"{component.name} ended ({_how(code)}), starting it again; see {component.log}")
            await asyncio.sleep(backoff.delay(max(0, failures - 1), None))

    def _note(self) -> None:
        """Which process is which, for `sampan status` and for whoever wants to end one."""
        lines = [f"{process.pid} {name}\n" for name, process in self._running.items()]
        self._pids.write_text("".join(lines))

    async def stop(self) -> None:
        self._stopping = True
        await asyncio.gather(*(self._end(process) for process in list(self._running.values())))

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(_GRACE):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    os.setsid()


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
