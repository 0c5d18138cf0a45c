"""Turns: what finishes goes before what begins, and nobody's giving up costs a turn."""

import asyncio
from contextlib import AbstractAsyncContextManager

from node_agent.runtimes.turns import Turns


async def test_what_completes_something_overtakes_what_begins_something() -> None:
    turns, order, hold = Turns(1), list[str](), asyncio.Event()

    async def work(name: str, turn: AbstractAsyncContextManager[None]) -> None:
        async with turn:
            order.append(name)
            await hold.wait()

    async with asyncio.TaskGroup() as tasks:
        for name, turn in (
            ("begun", turns.later()), ("removal", turns.last()), ("second", turns.later()), ("third", turns.later()),
            ("container", turns.first()),
        ):  # fmt: skip
            tasks.create_task(work(name, turn))
        await asyncio.sleep(0)
        assert order == ["begun"]
        hold.set()
    assert order == ["begun", "container", "second", "third", "removal"]


async def test_never_more_than_so_many() -> None:
    turns, busy, most = Turns(3), 0, 0

    async def work() -> None:
        nonlocal busy, most
        async with turns.later():
            busy += 1
            most = max(most, busy)
            await asyncio.sleep(0)
            busy -= 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(work())
    assert most == 3


async def test_who_gives_up_costs_no_turn() -> None:
    turns, hold, reached = Turns(1), asyncio.Event(), asyncio.Event()

    async def holder() -> None:
        async with turns.first():
            await hold.wait()
        chosen.cancel()  # in the moment in which the turn is given to it

    async def waiter() -> None:
        async with turns.first():
            reached.set()

    first = asyncio.create_task(holder())
    impatient, chosen, patient = (asyncio.create_task(waiter()) for _ in range(3))
    await asyncio.sleep(0)
    impatient.cancel()
    hold.set()
    await first
    async with asyncio.timeout(1):
        await patient
    assert reached.is_set()
    async with asyncio.timeout(1), turns.later():
        pass
    assert impatient.cancelled() and chosen.cancelled()
