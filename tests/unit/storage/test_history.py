"""The fan-out: who is cut off, and who ends."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.storage import history
from controlplane.storage.errors import Compacted
from controlplane.storage.history import History
from controlplane.storage.interface import Change


def change(revision: int) -> Change:
    return Change("put", "/a", b"", revision)


async def test_a_slow_watcher_is_cut_off_and_holds_nothing() -> None:
    past = History(limit=10, changes=[change(1)])
    watch = aiter(past.watch("/", after=0))
    await anext(watch)
    past.append([change(2 + n) for n in range(history.MOST_PENDING + 1)])
    with pytest.raises(Compacted):
        await anext(watch)


async def test_a_watch_ahead_of_the_history_gives_only_what_comes_after_it() -> None:
    past = History(limit=10, changes=[change(1)])
    ahead = aiter(past.watch("/", after=3))
    first = asyncio.ensure_future(anext(ahead))
    await asyncio.sleep(0)
    past.append([change(2), change(3), change(4)])
    assert [c.revision for c in await first] == [4]


async def test_a_watch_of_a_closed_history_ends() -> None:
    past = History(limit=10)
    past.close()
    async with asyncio.timeout(1):
        assert [batch async for batch in past.watch("/", after=0)] == []
