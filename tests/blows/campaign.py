"""Traffic around a rig under blows: `async with` it, deal blows inside, judge afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from itertools import pairwise
from random import Random
from types import TracebackType

from kubeapi.client.interface import Client
from kubeapi.errors import ApiError
from kubeapi.types.core_v1 import ConfigMap, Namespace
from tests.support.linearizability import Operation, check
from tests.support.processes import Process
from tests.support.rig import Rig
from tests.support.traffic import AWAY, NAMESPACE, Watcher, Writer, config_map, faults_of, faults_of_lists

SETTLE = 20.0
"""Seconds, after the last blow, until everybody must have caught up."""


class Campaign:
    """Blows come one after the other; each is over (the process is back) when the next begins."""

    def __init__(
        self, rig: Rig, rng: Random, *, writers: int = 6, watchers: int = 3, keys: int = 6, pause: float = 0.005
    ) -> None:
        self.rig, self.rng = rig, rng
        self.blows: list[str] = []
        self._names = [f"key-{i}" for i in range(keys)]
        self._sizes = writers, watchers, pause
        self._stack = AsyncExitStack()
        self._stop = asyncio.Event()
        self.writers: list[Writer] = []
        self.watchers: list[Watcher] = []
        self._begun = time.monotonic()

    async def __aenter__(self) -> Campaign:
        clients = await self._stack.enter_async_context(self.rig.clients())
        self.clients = clients
        writers, watchers, pause = self._sizes
        self._tasks = await self._stack.enter_async_context(asyncio.TaskGroup())
        for i in range(watchers):
            self.watchers.append(Watcher(f"watcher-{i}", clients, Random(self.rng.random())))
        self._watching = [self._tasks.create_task(w.run(), name=w.name) for w in self.watchers]
        for i in range(writers):
            self.writers.append(Writer(f"w{i}", clients, self._names, Random(self.rng.random()), pause))
        self._writing = [self._tasks.create_task(w.run(self._stop), name=w.name) for w in self.writers]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self._finish()
        finally:
            for task in [*self._watching, *self._writing]:
                task.cancel()
            await self._stack.__aexit__(kind, error, trace)

    async def _finish(self) -> None:
        """Writers end, a last write is made, and every watcher must come to see it; then each key is read once more."""
        self._stop.set()
        async with asyncio.timeout(SETTLE):
            await asyncio.gather(*self._writing)
            last = await self._last_write()
            await asyncio.gather(*(w.reached(last) for w in self.watchers))
            reader = Writer("last", self.clients, self._names, self.rng, 0)
            for client in self.clients:
                for key in self._names:
                    operation = await reader.act(client, "get", key, "")
                    assert operation is not None and operation.answer != "unknown"
                    reader.history.append(operation)
        self.writers.append(reader)

    async def _last_write(self) -> int:
        """Of a key that nobody else writes."""
        while True:
            try:
                made = await self.clients[0].create(config_map("the-last", "x"))
                return int(made.metadata.resource_version)
            except AWAY:
                await asyncio.sleep(0.1)
            except ApiError:
                held = await self.clients[0].get(ConfigMap, "the-last", NAMESPACE)
                return int(held.metadata.resource_version)

    # ------------------------------------------------------------------ blows

    def note(self, text: str) -> None:
        self.blows.append(f"{time.monotonic() - self._begun:7.2f} s  {text}")

    async def kill(self, process: Process, down: float | None = None) -> None:
        """Without warning; it stays away for a while, and is well again before the next blow."""
        down = self.rng.uniform(0.1, 1.2) if down is None else down
        self.note(f"kill {process.name}, down for {down:.2f} s")
        process.kill()
        await asyncio.sleep(down)
        process.start()
        await self.well(process)
        await asyncio.sleep(self.rng.uniform(0.1, 0.6))

    async def freeze(self, process: Process, seconds: float) -> float:
        """It keeps its connections, and answers nothing. Returns the longest time, from now on, without a write acknowledged."""
        return await self.interrupt(process, f"freeze {process.name}", process.freeze, process.thaw, seconds)

    async def interrupt(
        self, process: Process, blow: str, begin: Callable[[], None], end: Callable[[], None], seconds: float
    ) -> float:
        begun = time.monotonic()
        self.note(f"{blow} for {seconds:.1f} s")
        begin()
        await asyncio.sleep(seconds)
        end()
        await self.well(process)
        done = sorted(
            op.returned for op in self.history if op.answer == "ok" and op.verb != "get" and op.returned > begun
        )
        edges = [begun, *done, time.monotonic()]
        silence = max(after - before for before, after in pairwise(edges))
        self.note(f"{process.name} goes on; the longest silence was {silence:.2f} s")
        return silence

    async def well(self, process: Process) -> None:
        begun = time.monotonic()
        if process in self.rig.apis:
            await self.rig.ready(self.rig.apis.index(process))
        elif process in self.rig.etcds:
            for i in range(len(self.rig.apis)):
                await self.rig.ready(i)
        back = time.monotonic() - begun
        async with asyncio.timeout(SETTLE):
            await asyncio.gather(*(answers(client) for client in self.clients))
        away = time.monotonic() - begun - back
        self.note(f"{process.name} is back, {back:.2f} s after its start; all clients {away:.2f} s later")

    # ------------------------------------------------------------------ judgement

    @property
    def history(self) -> list[Operation]:
        return [op for writer in self.writers for op in writer.history]

    @property
    def acknowledged(self) -> int:
        return sum(op.answer == "ok" and op.verb != "get" for op in self.history)

    @property
    def relists(self) -> int:
        return sum(len(w.stretches) - 1 for w in self.watchers)

    def judge(self) -> None:
        faults = [fault for writer in self.writers for fault in writer.faults]
        faults += faults_of(self.watchers, self.history)
        faults += faults_of_lists(self.writers, self.watchers)
        faults += [str(violation) for violation in check(self.history)]
        print("\n".join([*self.blows, self.report()]))
        assert not faults, self._failure(faults)

    def report(self) -> str:
        lost = sum(op.answer == "unknown" for op in self.history)
        events = sum(len(s.events) for w in self.watchers for s in w.stretches)
        resumed = sum(w.resumed for w in self.watchers)
        return (
            f"{len(self.history)} operations, {self.acknowledged} writes acknowledged, {lost} outcomes unknown; "
            f"{events} events seen, {resumed} times resumed, {self.relists} lists anew; {len(self.blows)} notes"
        )

    def _failure(self, faults: Sequence[str]) -> str:
        return "\n".join([f"{len(faults)} faults", *faults[:10], "blows:", *self.blows, self.report()])


async def answers(client: Client) -> None:
    while True:
        try:
            await client.get(Namespace, "default")
            return
        except AWAY:
            await asyncio.sleep(0.02)
