"""One question for all who ask at the same time: nobody gets an answer that was sought before they asked."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import looptime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.storage.errors import StoreUnavailable
from controlplane.storage.turns import GATHERING, Turns

pytestmark = pytest.mark.looptime
TAKES = 0.01


@dataclass
class Server:
    """Each question takes its time, and is answered with when it began."""

    begun: list[float] = field(default_factory=list)
    at_once: int = 0
    broken: bool = False

    async def begin(self) -> float:
        self.at_once += 1
        assert self.at_once == 1
        now = asyncio.get_running_loop().time()
        self.begun.append(now)
        await asyncio.sleep(TAKES)
        self.at_once -= 1
        if self.broken:
            raise StoreUnavailable("no answer")
        return now

    async def end(self, began: float) -> float:
        await asyncio.sleep(TAKES)
        return began


@asynccontextmanager
async def asking(server: Server) -> AsyncIterator[Turns[float, float]]:
    tasks: set[asyncio.Task[Any]] = set()

    def spawn(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        tasks.add(task)
        return task

    yield Turns(server.begin, server.end, spawn=spawn)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def now() -> float:
    return asyncio.get_running_loop().time()


@given(st.lists(st.floats(0, 0.1), min_size=1, max_size=30))
def test_an_answer_is_never_older_than_its_question(moments: list[float]) -> None:
    async def main() -> None:
        server = Server()
        async with asking(server) as turns:

            async def ask(at: float) -> None:
                await asyncio.sleep(at)
                asked = now()
                assert asked <= await turns.ask() <= asked + TAKES + GATHERING + 1e-6

            async with asyncio.TaskGroup() as tasks:
                for at in moments:
                    tasks.create_task(ask(at))
        assert len(server.begun) <= len(moments)

    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        runner.run(main())


async def test_who_asks_alone_waits_for_nobody() -> None:
    async with asking(Server()) as turns:
        for _ in range(5):
            asked = now()
            assert await turns.ask() == asked


async def test_those_who_ask_over_and_over_share_one_turn_each_time() -> None:
    server = Server()
    async with asking(server) as turns:

        async def ask_often() -> None:
            for _ in range(10):
                await turns.ask()
                await asyncio.sleep(GATHERING / 3)

        await asyncio.gather(*(ask_often() for _ in range(16)))
    assert len(server.begun) <= 13


async def test_a_failed_question_is_told_to_all_who_asked_and_to_nobody_else() -> None:
    server = Server(broken=True)
    async with asking(server) as turns:
        found = await asyncio.gather(*(turns.ask() for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in found] == [StoreUnavailable] * 3
        server.broken = False
        assert await turns.ask() >= TAKES


async def test_who_gives_up_takes_nobody_along() -> None:
    async with asking(Server()) as turns:
        impatient, patient = asyncio.create_task(turns.ask()), asyncio.create_task(turns.ask())
        await asyncio.sleep(TAKES / 2)
        impatient.cancel()
        assert await patient == 0.0 or patient.done()
        assert impatient.cancelled()
