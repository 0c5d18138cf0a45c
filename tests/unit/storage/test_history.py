"""The fan-out: who is cut off, and who ends."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.storage import history
from controlplane.storage.errors import Compacted
from controlplane.storage.history import History
from controlplane.storage.interface import Change


def change(revision: int, size: int = 0) -> Change:
    return Change("put", "/a", b"x" * size, revision)


@pytest.mark.parametrize(
    ("sizes", "kept"),
    [
        pytest.param([1] * 12, 12, id="up to a quarter more than the limit are kept"),
        pytest.param([1] * 13, 10, id="then as many as the limit"),
        pytest.param([30] * 4, 4, id="up to a quarter more bytes"),
        pytest.param([30] * 5, 3, id="then as many bytes as are allowed"),
        pytest.param([1, 1, 1, 500], 1, id="the newest always, however large"),
        pytest.param([500], 1, id="even alone"),
        pytest.param([500, 1, 1], 2, id="old ones go first"),
    ],
)
def test_only_so_many_changes_and_so_many_bytes_are_kept(sizes: list[int], kept: int) -> None:
    past = History(limit=10, most_bytes=100)
    for revision, size in enumerate(sizes, 1):
        past.append([change(revision, size)])
    assert len(past.since(past.compacted)) == kept
    assert past.compacted == len(sizes) - kept


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
