"""How many watchers are told between two turns of the loop."""

from __future__ import annotations

import asyncio

from controlplane.apiserver.telling import LONGEST, SHARE, Teller
from tests.support.hand_clock import HandClock

COST = 0.0001
"""Seconds of telling one."""


class Watcher:
    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self.told = 0

    def call(self) -> None:
        self.told += 1
        self._clock.at += COST


async def turns(busy: float, watchers: int) -> list[int]:
    """How many were told in each turn of a loop that does something else for `busy` seconds in each."""
    clock = HandClock(100.0)
    teller, all_ = Teller(clock), [Watcher(clock) for _ in range(watchers)]
    teller.add(all_)
    found, before = [], 0
    while before < watchers:
        clock.at += busy
        await asyncio.sleep(0)
        found.append(sum(w.told for w in all_) - before)
        before += found[-1]
    assert all(w.told == 1 for w in all_)
    return found


async def test_where_nothing_else_is_to_do_it_is_one_in_a_turn() -> None:
    assert await turns(0.0, 5) == [1] * 5


async def test_the_busier_the_loop_the_more_are_told_in_each_of_its_turns() -> None:
    assert await turns(COST * 3.6 / SHARE, 12) == [4, 4, 4]


async def test_a_turn_has_an_end_however_busy_the_loop() -> None:
    most = max(await turns(10.0, 1000))
    assert LONGEST <= most * COST <= LONGEST + 2 * COST


async def test_who_comes_later_stands_behind_and_is_told() -> None:
    clock = HandClock(100.0)
    teller, first, second = Teller(clock), Watcher(clock), Watcher(clock)
    teller.add([first, first])
    await asyncio.sleep(0)
    teller.add([second])
    await asyncio.sleep(0)
    assert (first.told, second.told) == (2, 0)
    await asyncio.sleep(0)
    assert second.told == 1
    teller.add([])
    await asyncio.sleep(0)
    teller.add([first])
    await asyncio.sleep(0)
    assert (first.told, second.told) == (3, 1)
