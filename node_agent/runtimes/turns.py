"""Whose turn it is, where only so many may work at a time: what finishes something goes before what begins something.

Twenty pods at once are twenty sandboxes and then twenty containers: in the order of asking, none would run before all
were begun. With containers first the first pod runs after a twentieth of the time, and the last one no later.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager


class Turns:
    _waiting: tuple[deque[asyncio.Future[None]], ...]
    """By rank, each in the order of asking; those that are done have given up. Someone waits only while none is free."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting = (deque(), deque(), deque())

    def first(self) -> AbstractAsyncContextManager[None]:
        """What makes something complete."""
        return self._turn(0)

    def later(self) -> AbstractAsyncContextManager[None]:
        """What begins something."""
        return self._turn(1)

    def last(self) -> AbstractAsyncContextManager[None]:
        """What nobody waits for."""
        return self._turn(2)

    @asynccontextmanager
    async def _turn(self, rank: int) -> AsyncIterator[None]:
        if self._free:
            self._free -= 1
        else:
            mine = asyncio.get_running_loop().create_future()
            self._waiting[rank].append(mine)
            try:
                await mine
            except asyncio.CancelledError:
                if not mine.cancelled():
                    self._pass_on()  # it was given to us in the same moment
                raise
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        for queue in self._waiting:
            while queue:
                if not (next_one := queue.popleft()).done():
                    next_one.set_result(None)
                    return
        self._free += 1
