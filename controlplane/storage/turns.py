"""One question for all who have it at the same time.

    ask() ─► waiting ─► (the question before has its answer) ─► begin ─► end ─► all who waited

An answer counts only for who asked before its question began: that makes it linearizable for each of them. Who comes while
one is under way shares the next. Sixteen readers who ask over and over would so be parted into those of even turns and
those of odd ones; a turn therefore waits a moment for as many as the last one had. Who asks alone waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from controlplane.storage.errors import StoreUnavailable

Q = TypeVar("Q")
A = TypeVar("A")

GATHERING = 0.001
"""Seconds, at most."""


class Turns(Generic[Q, A]):
    """Each waiter has a future of its own: shielding a shared one costs several times as much."""

    def __init__(
        self,
        begin: Callable[[], Awaitable[Q]],
        end: Callable[[Q], Awaitable[A]],
        *,
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    ) -> None:
        """`begin` runs alone, `end` while later turns go on. `spawn` owns the tasks."""
        self._begin, self._end, self._spawn = begin, end, spawn
        self._waiting: list[asyncio.Future[A]] | None = None
        """Of the turn that has not begun."""
        self._enough: asyncio.Event | None = None
        """Set when as many wait as the last turn had; None while nobody gathers."""
        self._last = 0
        self._alone = asyncio.Lock()

    async def ask(self) -> A:
        """Raises what the question raised."""
        waiting = self._waiting
        if waiting is None:
            waiting = self._waiting = []
            self._spawn(self._turn(waiting))
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        waiting.append(future)
        if self._enough is not None and len(waiting) >= self._last:
            self._enough.set()
        return await future

    async def _turn(self, waiting: list[asyncio.Future[A]]) -> None:
        try:
            async with self._alone:
                if len(waiting) < self._last:
                    await self._gather()
                self._last, self._waiting = len(waiting), None
                question = await self._begin()
            answer = await self._end(question)
            for future in waiting:
                if not future.done():
                    future.set_result(answer)
        except asyncio.CancelledError:
            self._fail(waiting, StoreUnavailable("the store is closed"))
            raise
        except Exception as error:
            self._fail(waiting, error)

    async def _gather(self) -> None:
        self._enough = asyncio.Event()
        try:
            async with asyncio.timeout(GATHERING):
                await self._enough.wait()
        except TimeoutError:
            pass
        finally:
            self._enough = None

    def _fail(self, waiting: list[asyncio.Future[A]], error: Exception) -> None:
        if self._waiting is waiting:
            self._waiting = None
        for future in waiting:
            if not future.done():
                future.set_exception(error)
